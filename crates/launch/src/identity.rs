//! What a task's identity becomes on the machine (R37): which numbers the kernel sees, and which it may never see.
//! Applying them is in `shim::task`.

use crate::spec::{Identity, Mode, TaskSpec};

/// Ids after the range that stand for no file's owner and no process: one for each task, to make its user namespace. As
/// many as a machine may have processes.
const OWNERS: u32 = 1 << 22;

/// Ids after those: one for each account, which root in its tasks is. What the kernel counts for each user (descriptors in
/// flight, memory of pipes, watches of epoll), one account doesn't take from another (F10, I11).
const ACCOUNTS: u32 = 1 << 22;

/// How many ids after the range for root in tasks are the launcher's too.
pub const FURTHER_IDS: u32 = OWNERS + ACCOUNTS;

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
        /// First id on the machine: group 0 of all accounts' tasks. User 0 is the account's own, `host_uid`.
        base: u32,
        /// How many ids the task has, at least 2. The range has one more, which is the network helper's: no task can become it.
        len: u32,
        /// Who makes the namespace: nobody else. The kernel charges what a namespace's processes take of its limits per
        /// user (inotify instances, namespaces) to who made it.
        owner: u32,
    },
    /// By a user namespace made first, with the launcher's own ids.
    Own,
}

/// Decides what the identity of a task becomes for a launcher with these ids. `shim` is the id of the task's shim, which
/// no other process of the machine has.
///
/// # Errors
/// One sentence with the remedy when the identity can't be given. No task ever runs as somebody else.
pub(crate) fn resolve(
    spec: &TaskSpec,
    (own_uid, own_gid): (u32, u32),
    shim: u32,
) -> Result<Credentials, String> {
    let Identity { user, uid, gid, .. } = &spec.identity;
    let (uid, gid) = (*uid, *gid);
    if uid == u32::MAX || gid == u32::MAX {
        return Err(format!(
            "user {user} is linked to {uid}:{gid}, and 4294967295 is no id: link another one"
        ));
    }
    match spec.mode {
        Mode::Root { root_range_base: base, root_range_len: len } => {
            if own_uid != 0 {
                return Err("the agent is configured as root but isn't: start it as root".into());
            }
            let end = base.checked_add(len).and_then(|end| end.checked_add(FURTHER_IDS));
            let Some(end) = end.filter(|end| *end < u32::MAX && base >= LOWEST_RANGE && len > 2) else {
                return Err(format!(
                    "the range {base}+{len} for root in tasks is not a range of unprivileged ids"
                ));
            };
            if spec.groups.iter().any(|gid| [0, u32::MAX].contains(gid) || (base..end).contains(gid)) {
                return Err(format!("{user} is in groups {:?}, one of which no task can be in", spec.groups));
            }
            let mapped = How::Mapped { base, len: len - 1, owner: base + len + shim % OWNERS };
            let account = spec.owner.as_ref().and_then(|owner| owner.account);
            if let Some(number) = account.filter(|number| *number >= ACCOUNTS) {
                return Err(format!(
                    "the account's number {number} is none that a machine has an id for: it would be another account's"
                ));
            }
            let root = account.map_or(base, |number| base + len + OWNERS + number);
            real_or_mapped(user, (uid, gid), root, base..end, mapped)
        }
        Mode::Unprivileged => own(user, uid, gid, own_uid, own_gid),
    }
}

fn real_or_mapped(
    user: &str,
    (uid, gid): (u32, u32),
    root: u32,
    range: std::ops::Range<u32>,
    mapped: How,
) -> Result<Credentials, String> {
    if let (0, How::Mapped { len, .. }) = (uid, mapped) {
        if gid >= len {
            return Err(format!(
                "group {gid} isn't among the {len} groups that root in a task has: link a user other than root"
            ));
        }
        let (host_uid, host_gid) = (root, range.start + gid);
        return Ok(Credentials { uid, gid, host_uid, host_gid, how: mapped });
    }
    if gid == 0 {
        return Err(format!(
            "user {user} (uid {uid}) is linked to group 0, which on this machine is root's: gid 0 needs uid 0"
        ));
    }
    if range.contains(&uid) || range.contains(&gid) {
        return Err(format!(
            "{uid}:{gid} lies in the range that root in tasks is mapped to: link another id"
        ));
    }
    Ok(Credentials { uid, gid, host_uid: uid, host_gid: gid, how: How::Real })
}

fn own(user: &str, uid: u32, gid: u32, own_uid: u32, own_gid: u32) -> Result<Credentials, String> {
    if own_uid == 0 {
        return Err("the agent is configured as an ordinary user but is root: use its root mode".into());
    }
    if uid != 0 && uid != own_uid {
        return Err(format!(
            "this agent runs as uid {own_uid} without root and can't run a task as {user} (uid {uid}): start the \
             agent as root, or link the account to uid {own_uid}"
        ));
    }
    if gid != 0 && gid != own_gid {
        return Err(format!(
            "this agent runs as gid {own_gid} without root and can't give a task gid {gid}: start the agent as \
             root, or link the account to gid {own_gid}"
        ));
    }
    Ok(Credentials { uid, gid, host_uid: own_uid, host_gid: own_gid, how: How::Own })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Owner, Together};

    const RANGE: std::ops::Range<u32> = 1_900_000_000..1_908_454_144;
    const MAPPED: How = How::Mapped { base: RANGE.start, len: 65_535, owner: 1_900_065_543 };

    fn root(uid: u32, gid: u32) -> Result<Credentials, String> {
        real_or_mapped("alice", (uid, gid), RANGE.start, RANGE, MAPPED)
    }

    fn spec() -> TaskSpec {
        serde_json::from_value(serde_json::json!({
            "task_id": "t", "argv": ["true"], "env": [], "work_dir": null, "bind_mounts": [],
            "identity": {"user": "root", "uid": 0, "group": "root", "gid": 0},
            "limits": {"memory_bytes": null, "pids": null, "cpus": null}, "shm_bytes": null, "masked": [],
            "mode": {"kind": "root", "root_range_base": RANGE.start, "root_range_len": 65_536},
            "bind_prefixes": null, "devices": []
        }))
        .unwrap()
    }

    fn of_account(account: Option<u32>) -> Result<Credentials, String> {
        let owner = Owner { key: "k".into(), account, limits: Together::default() };
        resolve(&TaskSpec { owner: Some(owner), ..spec() }, (0, 0), 7)
    }

    #[test]
    fn a12_root_in_a_task_is_an_id_of_its_accounts() {
        let root_of = |account| of_account(account).unwrap();
        assert_eq!((root_of(None).host_uid, root_of(None).host_gid), (RANGE.start, RANGE.start));
        let ids = [0, 1, 2, ACCOUNTS - 1].map(|account| root_of(Some(account)).host_uid);
        assert_eq!(ids, [1_904_259_840, 1_904_259_841, 1_904_259_842, RANGE.end - 1]);
        assert_eq!(root_of(Some(1)).host_gid, RANGE.start, "files can be shared by the group");
    }

    /// Nobody gets an account whose number comes round to another's (U1).
    #[test]
    fn f10_a_number_that_there_is_not_is_no_other_accounts() {
        for number in [ACCOUNTS, ACCOUNTS + 1, u32::MAX] {
            let refused = of_account(Some(number)).unwrap_err();
            assert!(refused.contains(&number.to_string()), "{refused}");
        }
    }

    #[test]
    fn a12_each_task_has_a_maker_of_its_namespace() {
        let spec = spec();
        assert_eq!(resolve(&spec, (0, 0), 7).unwrap().how, MAPPED);
        let owner = |shim| match resolve(&spec, (0, 0), shim).unwrap().how {
            How::Mapped { owner, .. } => owner,
            how => panic!("{how:?}"),
        };
        assert!(owner(8) != owner(7) && owner(OWNERS - 1) < 1_904_259_840);
    }

    #[test]
    fn r37_ids_are_exact_or_refused() {
        for id in [1, 5001, 2_000_000_000, (1 << 31) - 1, 1 << 31, u32::MAX - 1] {
            let got = root(id, id).unwrap();
            assert_eq!((got.host_uid, got.host_gid, got.how), (id, id, How::Real));
        }
        assert!(root(5001, 0).unwrap_err().contains("gid 0 needs uid 0"));
        assert!(root(1_900_000_000, 5001).is_err());
        assert!(root(5001, 1_900_065_535).is_err());
        assert!(root(1_900_070_000, 5001).is_err());
        assert!(root(0, 65_535).is_err());
        assert!(root(0, 70_000).is_err());
    }

    #[test]
    fn d05_root_becomes_the_range() {
        let got = root(0, 0).unwrap();
        assert_eq!((got.uid, got.gid, got.host_uid, got.host_gid), (0, 0, RANGE.start, RANGE.start));
        assert_eq!(got.how, MAPPED);
    }

    #[test]
    fn r37_an_ordinary_user_gives_only_itself() {
        assert_eq!(own("a", 0, 0, 1000, 1000).unwrap().host_uid, 1000);
        assert_eq!(own("a", 1000, 1000, 1000, 1000).unwrap().uid, 1000);
        assert!(own("a", 1001, 1000, 1000, 1000).unwrap_err().contains("start the agent as root"));
        assert!(own("a", 1000, 1001, 1000, 1000).is_err());
        assert!(own("a", 0, 0, 0, 0).is_err());
    }
}
