//! The Unix identity a task runs as (D2–D4, D7, R37). Becoming it is `launch`'s work.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How many ids of a machine, from `agent.root_range_base` on, are tasks' (D5): 65536 that stand for their common group and
/// what serves them, 4194304 that `launch` has for namespaces' makers, and 4096 for each account.
pub const TASK_IDS: u32 = 65_536 + (1 << 22) + (MachineNumber::SPACE << 12);

/// By which number machines know an account: root and all others in its tasks are ids by it, which no other account's are
/// (F10, T6). Nothing follows from an account's id, for after a back-up was restored that is given again (KP2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MachineNumber(u32);

impl MachineNumber {
    /// How many there are, from 0 on. For so many accounts `launch` has ids: all of them lie in the upper half of what ids
    /// there are, where no directory of people has any.
    pub const SPACE: u32 = 520_000;

    /// That number; `None` when there is no such: no two numbers ever become one.
    #[must_use]
    pub fn new(number: u32) -> Option<Self> {
        (number < Self::SPACE).then_some(Self(number))
    }

    /// One that such bytes tell, all as likely as each other.
    #[must_use]
    pub fn drawn(bytes: [u8; 4]) -> Self {
        Self(u32::from_le_bytes(bytes) % Self::SPACE)
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }
}

/// A complete Unix identity: names for people, numbers for the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnixIdentity {
    /// User name shown by `id` in the task.
    pub user: String,
    /// User id.
    pub uid: u32,
    /// Group name.
    pub group: String,
    /// Group id; the only group that the task has.
    pub gid: u32,
}

impl UnixIdentity {
    /// `root`, the identity of accounts without a link unless the configuration names another (D4).
    #[must_use]
    pub fn root() -> Self {
        Self { user: "root".to_owned(), uid: 0, group: "root".to_owned(), gid: 0 }
    }
}

impl fmt::Display for UnixIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}:{}", self.user, self.uid, self.group, self.gid)
    }
}

/// Why an identity was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIdentity {
    /// Some of the four parts are missing.
    #[error("agentUid, agentGid, agentUser and agentGroup cannot be empty")]
    Incomplete,
    /// A name is blank.
    #[error("agentUser and agentGroup names cannot be empty")]
    BlankName,
    /// A number is no usable id.
    #[error("{what} {number} is not a Unix id: give a whole number from 0 to 4294967294")]
    OutOfRange {
        /// `agentUid` or `agentGid`.
        what: &'static str,
        /// What was given.
        number: i64,
    },
    /// A name can't stand in `/etc/passwd`.
    #[error(
        "{what} '{name}' is not a Unix name: use at most 32 letters, digits and . _ - @ $, not beginning with -"
    )]
    BadName {
        /// `agentUser` or `agentGroup`.
        what: &'static str,
        /// What was given.
        name: String,
    },
    /// Group 0 without user 0 would be the machine's own group root.
    #[error("agentGid 0 needs agentUid 0: another user in group 0 would be in the machine's own group root")]
    RootGroup,
}

/// The parts of an identity as they come from outside, each of them optional.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IdentityParts {
    /// User name.
    pub user: Option<String>,
    /// User id.
    pub uid: Option<i64>,
    /// Group name.
    pub group: Option<String>,
    /// Group id.
    pub gid: Option<i64>,
}

impl IdentityParts {
    /// Checks that all four parts are there and usable (D2, R37).
    ///
    /// # Errors
    /// The first thing wrong, in the order in which the Determined clients expect it to be told.
    pub fn complete(self) -> Result<UnixIdentity, InvalidIdentity> {
        let (Some(user), Some(uid), Some(group), Some(gid)) = (self.user, self.uid, self.group, self.gid)
        else {
            return Err(InvalidIdentity::Incomplete);
        };
        if user.trim().is_empty() || group.trim().is_empty() {
            return Err(InvalidIdentity::BlankName);
        }
        let uid = unix_number("agentUid", uid)?;
        let gid = unix_number("agentGid", gid)?;
        unix_name("agentUser", &user)?;
        unix_name("agentGroup", &group)?;
        if gid == 0 && uid != 0 {
            return Err(InvalidIdentity::RootGroup);
        }
        Ok(UnixIdentity { user, uid, group, gid })
    }

    /// Checks the parts that are there, each as [`Self::complete`] does; a workspace may set any of them.
    ///
    /// # Errors
    /// The first thing wrong.
    pub fn checked(self) -> Result<Self, InvalidIdentity> {
        let Self { user, uid, group, gid } = self.clone();
        // What is missing is filled with what fits to the rest.
        let name = || Some("root".to_owned());
        Self {
            user: user.or_else(name),
            uid: uid.or(gid).or(Some(0)),
            group: group.or_else(name),
            gid: gid.or(uid).or(Some(0)),
        }
        .complete()?;
        Ok(self)
    }

    /// `user:uid:group:gid`, each part empty where it isn't set; nothing at all when none is.
    #[must_use]
    pub fn shown(&self) -> Option<String> {
        let text = |part: &Option<String>| part.clone().unwrap_or_default();
        let number = |part: Option<i64>| part.map(|part| part.to_string()).unwrap_or_default();
        let shown = [text(&self.user), number(self.uid), text(&self.group), number(self.gid)].join(":");
        (shown != ":::").then_some(shown)
    }
}

/// 2³²−1 is no id: the kernel reads it as "leave unchanged".
fn unix_number(what: &'static str, number: i64) -> Result<u32, InvalidIdentity> {
    match u32::try_from(number) {
        Ok(id) if id != u32::MAX => Ok(id),
        _ => Err(InvalidIdentity::OutOfRange { what, number }),
    }
}

fn unix_name(what: &'static str, name: &str) -> Result<(), InvalidIdentity> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@' | '$');
    if name.len() <= 32 && !name.starts_with('-') && name.chars().all(allowed) {
        Ok(())
    } else {
        Err(InvalidIdentity::BadName { what, name: name.to_owned() })
    }
}

/// The identity of a task: the owner's link, else the installation's default, overlaid part by part with what the
/// workspace sets (D3, D4).
///
/// # Errors
/// When that doesn't make a usable identity.
pub fn effective(
    link: Option<&UnixIdentity>,
    overlay: &IdentityParts,
    default: &UnixIdentity,
) -> Result<UnixIdentity, InvalidIdentity> {
    let base = link.unwrap_or(default).clone();
    let overlay = overlay.clone();
    IdentityParts {
        user: overlay.user.or(Some(base.user)),
        uid: overlay.uid.or(Some(i64::from(base.uid))),
        group: overlay.group.or(Some(base.group)),
        gid: overlay.gid.or(Some(i64::from(base.gid))),
    }
    .complete()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(uid: i64, gid: i64) -> IdentityParts {
        IdentityParts {
            user: Some("alice".into()),
            uid: Some(uid),
            group: Some("lab".into()),
            gid: Some(gid),
        }
    }

    #[test]
    fn r37_edges_are_exact_or_refused() {
        for uid in [1, 5001, 2_000_000_000, i64::from(i32::MAX), i64::from(u32::MAX) - 1] {
            assert_eq!(i64::from(parts(uid, 5001).complete().expect("valid").uid), uid);
        }
        for uid in [-1, i64::from(u32::MAX), i64::from(u32::MAX) + 1, i64::MIN, i64::MAX] {
            assert!(parts(uid, 5001).complete().is_err(), "{uid}");
        }
        assert_eq!(parts(0, 0).complete().expect("root may be linked").uid, 0);
        assert_eq!(parts(5001, 0).complete(), Err(InvalidIdentity::RootGroup));
    }

    #[test]
    fn a_workspace_overlays_part_by_part() {
        let link = parts(5001, 5001).complete().expect("valid");
        let overlay =
            IdentityParts { gid: Some(7000), group: Some("shared".into()), ..IdentityParts::default() };
        let none = IdentityParts::default();
        let made = |link: Option<&UnixIdentity>, overlay: &IdentityParts| {
            effective(link, overlay, &UnixIdentity::root()).map(|made| made.to_string())
        };
        assert_eq!(made(Some(&link), &overlay), Ok("alice:5001:shared:7000".to_owned()));
        assert_eq!(made(None, &overlay), Ok("root:0:shared:7000".to_owned()));
        assert_eq!(made(Some(&link), &none), Ok("alice:5001:lab:5001".to_owned()));
        let bad = IdentityParts { gid: Some(0), ..IdentityParts::default() };
        assert_eq!(made(Some(&link), &bad), Err(InvalidIdentity::RootGroup));
    }

    #[test]
    fn any_part_of_an_overlay_is_checked() {
        let none = IdentityParts::default;
        for good in
            [none(), IdentityParts { gid: Some(0), ..none() }, IdentityParts { uid: Some(7), ..none() }]
        {
            assert_eq!(good.clone().checked(), Ok(good));
        }
        let bad_name = IdentityParts { user: Some("a:b".into()), ..none() };
        let bad_number = IdentityParts { gid: Some(-1), ..none() };
        let root_group = IdentityParts { uid: Some(7), gid: Some(0), ..none() };
        for bad in [bad_name, bad_number, root_group] {
            assert!(bad.clone().checked().is_err(), "{bad:?}");
        }
        assert_eq!(parts(1, 2).shown().as_deref(), Some("alice:1:lab:2"));
        assert_eq!(IdentityParts { gid: Some(2), ..none() }.shown().as_deref(), Some(":::2"));
        assert_eq!(none().shown(), None);
    }

    #[test]
    fn d2_all_four_are_required() {
        let missing = IdentityParts { gid: None, ..parts(1, 1) };
        assert_eq!(missing.complete(), Err(InvalidIdentity::Incomplete));
        let blank = IdentityParts { group: Some(" ".into()), ..parts(1, 1) };
        assert_eq!(blank.complete(), Err(InvalidIdentity::BlankName));
        for name in ["a:b", "a\nroot", "-x", "a b", &"y".repeat(33)] {
            let bad = IdentityParts { user: Some(name.to_owned()), ..parts(1, 1) };
            assert!(bad.complete().is_err(), "{name:?}");
        }
    }
}
