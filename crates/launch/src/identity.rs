//! What a task's identity becomes on the machine (R37): which numbers the kernel sees, and which it may never see.
//! Applying them is in `shim::task`.

use crate::failure::Failure;
use crate::spec::{Identity, Mode, TaskSpec};

/// Ids at the beginning of the launcher's range. The first is the one group of all accounts' tasks, the last the network
/// helper's, and a range of an account's size is for tasks whose account nobody told. The rest is nobody's: as such ids all
/// accounts' tasks wrote files once.
const COMMON: u32 = 65_536;

/// Ids after those that stand for no file's owner and no process: one for each account, to make its tasks' user namespaces. The
/// last is for tasks whose account nobody told.
const OWNERS: u32 = 1 << 22;

/// How many accounts have ids after those.
pub const ACCOUNTS: u32 = 520_000;

/// Ids of each account, so that all that its tasks do and leave on disks is its own, whoever they are inside (T6), and what
/// the kernel counts for each user (descriptors in flight, memory of pipes, watches of epoll), one account doesn't take from
/// another (F10, I11). All but the last are the task's from 0 on.
const PER_ACCOUNT: u32 = 4096;

/// The last one in the task: `nobody`, whom programs become that want no rights.
const NOBODY: u32 = 65_534;

/// How many ids of the machine the launcher has, from `root_range_base` on.
pub const TASK_IDS: u32 = COMMON + OWNERS + ACCOUNTS * PER_ACCOUNT;

/// The lowest id that a range for root in tasks may begin with: below are the machine's own accounts.
const LOWEST_RANGE: u32 = 65_536;

/// An identity that has been found possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Credentials {
    /// Ids that the task sees.
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Ids on the machine: owner of the task's files, and whose access decides about bind mounts.
    pub(crate) host_uid: u32,
    pub(crate) host_gid: u32,
    pub(crate) how: How,
}

/// How a process gets the identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// By `setresuid`: the ids are the machine's.
    Real,
    /// By a user namespace made last, which has no say over the mounts: root in the task is nobody (D5).
    Mapped {
        /// What a task's ids are.
        ids: Ids,
        /// Who makes the namespace: an id that stands for the account alone. The kernel charges what a namespace's processes
        /// take of its limits per user (inotify instances, namespaces) to who made it: what a watch of one's costs everybody
        /// who opens what is watched, as many as a user of the machine may have are all that an account gets (MA10).
        owner: u32,
    },
    /// By a user namespace made first, with the launcher's own ids.
    Own,
}

/// The ids of a mapped task: those of its account, but for the one group that all tasks have together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ids {
    /// First id of the account on the machine: user 0.
    first: u32,
    /// Group 0 on the machine.
    group: u32,
    /// The identity's own group in the task, where it isn't one that all tasks have: `first`, which is no other group.
    own_group: Option<u32>,
}

impl Ids {
    /// Those of a task in this group, of an account whose ids begin at `first`.
    fn new(first: u32, group: u32, gid: u32) -> Self {
        let own_group = (gid >= PER_ACCOUNT - 1 && gid != NOBODY).then_some(gid);
        Self { first, group, own_group }
    }

    /// What `uid_map` says of it.
    pub(crate) fn users(self) -> String {
        let Self { first, .. } = self;
        format!("0 {first} {}\n{NOBODY} {} 1\n", PER_ACCOUNT - 1, first + PER_ACCOUNT - 1)
    }

    /// What `gid_map` says of it.
    pub(crate) fn groups(self) -> String {
        let Self { first, group, own_group } = self;
        let own = own_group.map(|gid| format!("{gid} {first} 1\n")).unwrap_or_default();
        let (others, nogroup) = (PER_ACCOUNT - 2, first + PER_ACCOUNT - 1);
        format!("0 {group} 1\n1 {} {others}\n{NOBODY} {nogroup} 1\n{own}", first + 1)
    }

    /// What the identity's group is on the machine.
    fn host_gid(self, gid: u32) -> u32 {
        match gid {
            _ if self.own_group.is_some() => self.first,
            0 => self.group,
            NOBODY => self.first + PER_ACCOUNT - 1,
            _ => self.first + gid,
        }
    }
}

/// The id of networks' helpers, which no task can become.
pub(crate) fn helper(base: u32) -> u32 {
    base.saturating_add(COMMON - 1)
}

/// Decides what the identity of a task becomes for a launcher with these ids.
///
/// # Errors
/// One sentence with the remedy when the identity can't be given. No task ever runs as somebody else.
pub(crate) fn resolve(spec: &TaskSpec, (own_uid, own_gid): (u32, u32)) -> Result<Credentials, Failure> {
    let Identity { user, uid, gid, .. } = &spec.identity;
    let (uid, gid) = (*uid, *gid);
    if uid == u32::MAX || gid == u32::MAX {
        return Err(Failure::refused(format!(
            "user {user} is linked to {uid}:{gid}, and 4294967295 is no id: link another one"
        )));
    }
    match spec.mode {
        Mode::Root { root_range_base: base } => {
            if own_uid != 0 {
                return Err(Failure::machine("the agent is configured as root but isn't: start it as root"));
            }
            let end = base.checked_add(TASK_IDS).filter(|end| *end < u32::MAX && base >= LOWEST_RANGE);
            let Some(end) = end else {
                return Err(Failure::machine(format!(
                    "the {TASK_IDS} ids from {base} on for tasks are no range of unprivileged ids: set \
                     agent.root_range_base to {} at most",
                    u32::MAX - TASK_IDS - 1
                )));
            };
            if spec.groups.iter().any(|gid| [0, u32::MAX].contains(gid) || (base..end).contains(gid)) {
                return Err(Failure::refused(format!(
                    "{user} is in groups {:?}, one of which no task can be in",
                    spec.groups
                )));
            }
            let account = spec.owner.as_ref().and_then(|owner| owner.account);
            if let Some(number) = account.filter(|number| *number >= ACCOUNTS) {
                return Err(Failure::refused(format!(
                    "the account's number {number} is none that a machine has an id for: it would be another account's"
                )));
            }
            let first =
                account.map_or(base + PER_ACCOUNT, |number| base + COMMON + OWNERS + number * PER_ACCOUNT);
            let ids = Ids::new(first, base, gid);
            let mapped = How::Mapped { ids, owner: base + COMMON + account.unwrap_or(OWNERS - 1) };
            real_or_mapped(user, (uid, gid), base..end, mapped)
        }
        Mode::Unprivileged => own(user, uid, gid, own_uid, own_gid),
    }
}

fn real_or_mapped(
    user: &str,
    (uid, gid): (u32, u32),
    range: std::ops::Range<u32>,
    mapped: How,
) -> Result<Credentials, Failure> {
    if let (0, How::Mapped { ids, .. }) = (uid, mapped) {
        let (host_uid, host_gid) = (ids.first, ids.host_gid(gid));
        return Ok(Credentials { uid, gid, host_uid, host_gid, how: mapped });
    }
    if gid == 0 {
        return Err(Failure::refused(format!(
            "user {user} (uid {uid}) is linked to group 0, which on this machine is root's: gid 0 needs uid 0"
        )));
    }
    if range.contains(&uid) || range.contains(&gid) {
        return Err(Failure::refused(format!(
            "{uid}:{gid} lies in the range {} to {} that tasks of accounts without a link have: link another id, or \
             move that (agent.root_range_base)",
            range.start,
            range.end - 1
        )));
    }
    Ok(Credentials { uid, gid, host_uid: uid, host_gid: gid, how: How::Real })
}

fn own(user: &str, uid: u32, gid: u32, own_uid: u32, own_gid: u32) -> Result<Credentials, Failure> {
    if own_uid == 0 {
        return Err(Failure::machine(
            "the agent is configured as an ordinary user but is root: use its root mode",
        ));
    }
    if uid != 0 && uid != own_uid {
        return Err(Failure::refused(format!(
            "this agent runs as uid {own_uid} without root and can't run a task as {user} (uid {uid}): start the \
             agent as root, or link the account to uid {own_uid}"
        )));
    }
    if gid != 0 && gid != own_gid {
        return Err(Failure::refused(format!(
            "this agent runs as gid {own_gid} without root and can't give a task gid {gid}: start the agent as \
             root, or link the account to gid {own_gid}"
        )));
    }
    Ok(Credentials { uid, gid, host_uid: own_uid, host_gid: own_gid, how: How::Own })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Owner, Together};

    const RANGE: std::ops::Range<u32> = 1_900_000_000..4_034_179_840;
    /// The first account's first id.
    const FIRST: u32 = 1_904_259_840;

    fn spec() -> TaskSpec {
        serde_json::from_value(serde_json::json!({
            "task_id": "t", "argv": ["true"], "env": [], "work_dir": null, "bind_mounts": [],
            "identity": {"user": "root", "uid": 0, "group": "root", "gid": 0},
            "limits": {"memory_bytes": null, "pids": null, "cpus": null}, "shm_bytes": null, "masked": [],
            "mode": {"kind": "root", "root_range_base": RANGE.start},
            "bind_prefixes": null, "devices": []
        }))
        .unwrap()
    }

    /// That of account number 0.
    fn root(uid: u32, gid: u32) -> Result<Credentials, Failure> {
        let identity = Identity { uid, gid, ..spec().identity };
        let owner = Owner { key: "k".into(), account: Some(0), limits: Together::default() };
        resolve(&TaskSpec { owner: Some(owner), identity, ..spec() }, (0, 0))
    }

    fn of_account(account: Option<u32>) -> Result<Credentials, Failure> {
        let owner = Owner { key: "k".into(), account, limits: Together::default() };
        resolve(&TaskSpec { owner: Some(owner), ..spec() }, (0, 0))
    }

    fn mapped(credentials: Credentials) -> (Ids, u32) {
        match credentials.how {
            How::Mapped { ids, owner } => (ids, owner),
            how => panic!("{how:?}"),
        }
    }

    #[test]
    fn a12_root_in_a_task_is_an_id_of_its_accounts() {
        let root_of = |account| of_account(account).unwrap();
        let ids = [0, 1, 2, ACCOUNTS - 1].map(|account| root_of(Some(account)).host_uid);
        assert_eq!(ids, [FIRST, FIRST + 4096, FIRST + 8192, RANGE.end - 4096]);
        assert_eq!(root_of(Some(1)).host_gid, RANGE.start, "files can be shared by the group");
        // Those whose account nobody told are like one account, which is no other.
        let untold = root_of(None);
        assert_eq!((untold.host_uid, untold.host_gid), (RANGE.start + 4096, RANGE.start));
        assert!(untold.host_uid + 4096 < helper(RANGE.start) && helper(RANGE.start) < FIRST - OWNERS);
    }

    /// Whoever somebody is in a task, on the machine it is an id of the account's (T6).
    #[test]
    fn f10_all_ids_of_a_task_but_one_group_are_its_accounts() {
        let (ids, _) = mapped(of_account(Some(2)).unwrap());
        let first = FIRST + 8192;
        assert_eq!(ids.users(), format!("0 {first} 4095\n65534 {} 1\n", first + 4095));
        let groups = format!("0 1900000000 1\n1 {} 4094\n65534 {} 1\n", first + 1, first + 4095);
        assert_eq!(ids.groups(), groups);
        // The identity's own group is there whatever its number.
        for (gid, on_the_machine) in [(1, FIRST + 1), (4094, FIRST + 4094), (65_534, FIRST + 4095)] {
            let got = root(0, gid).unwrap();
            assert_eq!((got.gid, got.host_gid), (gid, on_the_machine));
            assert!(mapped(got).0.groups().ends_with(&format!("65534 {} 1\n", FIRST + 4095)));
        }
        for gid in [4095, 7000, 65_535, u32::MAX - 1] {
            let got = root(0, gid).unwrap();
            assert_eq!((got.gid, got.host_gid), (gid, FIRST));
            assert!(mapped(got).0.groups().ends_with(&format!("\n{gid} {FIRST} 1\n")));
        }
    }

    /// Nobody gets an account whose number comes round to another's (U1).
    #[test]
    fn f10_a_number_that_there_is_not_is_no_other_accounts() {
        for number in [ACCOUNTS, ACCOUNTS + 1, 1 << 20, 1 << 22, u32::MAX] {
            let refused = of_account(Some(number)).unwrap_err().to_string();
            assert!(refused.contains(&number.to_string()), "{refused}");
        }
    }

    #[test]
    fn a12_each_account_has_a_maker_of_its_namespaces() {
        let owner = |account| mapped(of_account(account).unwrap()).1;
        assert_eq!([owner(Some(0)), owner(Some(7))], [1_900_065_536, 1_900_065_543]);
        assert!(owner(Some(ACCOUNTS - 1)) < owner(None) && owner(None) < FIRST);
    }

    #[test]
    fn r37_ids_are_exact_or_refused() {
        for id in [1, 5001, RANGE.start - 1, RANGE.end, u32::MAX - 1] {
            let got = root(id, id).unwrap();
            assert_eq!((got.host_uid, got.host_gid, got.how), (id, id, How::Real));
        }
        assert!(root(5001, 0).unwrap_err().to_string().contains("gid 0 needs uid 0"));
        for id in [RANGE.start, helper(RANGE.start), FIRST, (1 << 31) - 1, 1 << 31, RANGE.end - 1] {
            for (uid, gid) in [(id, 5001), (5001, id)] {
                let refused = root(uid, gid).unwrap_err().to_string();
                assert!(refused.contains("the range 1900000000 to 4034179839"), "{refused}");
            }
        }
        assert!(root(0, u32::MAX).is_err());
    }

    #[test]
    fn d05_a_range_ends_where_ids_end() {
        let with =
            |root_range_base| resolve(&TaskSpec { mode: Mode::Root { root_range_base }, ..spec() }, (0, 0));
        let highest = u32::MAX - TASK_IDS - 1;
        assert_eq!(with(highest).unwrap().host_gid, highest);
        for bad in [0, LOWEST_RANGE - 1, highest + 1, u32::MAX] {
            assert!(with(bad).unwrap_err().to_string().contains("2160787454 at most"), "{bad}");
        }
    }

    /// What an earlier version wrote of a task is read as it was meant.
    #[test]
    fn kp02_records_of_earlier_versions_are_understood() {
        let mut record = serde_json::to_value(spec()).unwrap();
        record["mode"]["root_range_len"] = 65_536.into();
        assert_eq!(serde_json::from_value::<TaskSpec>(record).unwrap(), spec());
    }

    #[test]
    fn r37_an_ordinary_user_gives_only_itself() {
        assert_eq!(own("a", 0, 0, 1000, 1000).unwrap().host_uid, 1000);
        assert_eq!(own("a", 1000, 1000, 1000, 1000).unwrap().uid, 1000);
        assert!(
            own("a", 1001, 1000, 1000, 1000).unwrap_err().to_string().contains("start the agent as root")
        );
        assert!(own("a", 1000, 1001, 1000, 1000).is_err());
        assert!(own("a", 0, 0, 0, 0).is_err());
    }
}
