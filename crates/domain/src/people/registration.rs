//! People who ask to be let in (X5, X11): which names they may choose, how many may ask, what becomes of it.

use std::time::Duration;

use crate::id::UserId;
use crate::text::claims_an_office;
use crate::time::Timestamp;

/// Most accounts that wait to be accepted at a time (R16).
pub const WAITING_MAX: i64 = 100;
/// The time in which registrations are counted.
pub const WINDOW: Duration = Duration::from_secs(60 * 60);
/// Most registrations from one address in [`WINDOW`].
pub const PER_ADDRESS: i64 = 5;
/// Most registrations in [`WINDOW`].
pub const OVERALL: i64 = 60;

/// What became of a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nobody has decided yet.
    Pending,
    /// The account may come in.
    Accepted,
    /// The account is gone, its name free again.
    Rejected,
}

impl State {
    /// The text in the database and on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
        }
    }

    /// Reads the text of [`Self::as_str`]; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Pending, Self::Accepted, Self::Rejected].into_iter().find(|state| state.as_str() == text)
    }
}

/// Somebody who asked to be let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// Its number.
    pub id: i64,
    /// The name that they chose.
    pub username: String,
    /// Where mail reaches them.
    pub email: String,
    /// The account; it is gone after a rejection.
    pub user: UserId,
    /// What became of it.
    pub state: State,
    /// From where: an IPv4 address, or an IPv6 network.
    pub address: String,
    /// When it was asked for, or made.
    pub created_at: Timestamp,
    /// When it was decided.
    pub decided_at: Option<Timestamp>,
    /// By whom; `None` when an invitation did.
    pub decided_by: Option<UserId>,
}

/// An invitation to register; its code is known to who was given it alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// Its number.
    pub id: i64,
    /// The only e-mail address that may register with it.
    pub email: Option<String>,
    /// Who invited.
    pub created_by: Option<UserId>,
    /// When it was asked for, or made.
    pub created_at: Timestamp,
    /// When it lapses.
    pub expires_at: Timestamp,
    /// The account that was made with it.
    pub used_by: Option<UserId>,
    /// When that was.
    pub used_at: Option<Timestamp>,
}

impl Invitation {
    /// Whether somebody with this e-mail address may register with it.
    #[must_use]
    pub fn admits(&self, email: &str, now: Timestamp) -> bool {
        let theirs = self.email.as_ref().is_none_or(|invited| invited.eq_ignore_ascii_case(email));
        self.used_at.is_none() && now < self.expires_at && theirs
    }
}

/// Why a name can't be registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Other characters, too short or too long.
    #[error("a user name has 2 to 64 letters a to z, digits, '-' and '_'")]
    Shape,
    /// Kept for a page or for us.
    #[error("this user name is reserved: choose another")]
    Reserved,
}

/// Names that are words of an address, or that people would take for ours; lower case.
const RESERVED: &[&str] = &[
    "about",
    "access",
    "account",
    "accounts",
    "activate",
    "admin",
    "administrator",
    "admins",
    "agent",
    "agents",
    "anonymous",
    "api",
    "app",
    "archive",
    "archives",
    "assets",
    "audit",
    "auth",
    "bookmark",
    "bookmarks",
    "build",
    "builds",
    "catalogs",
    "cluster",
    "clusters",
    "command",
    "commands",
    "complete",
    "config",
    "dashboard",
    "default",
    "delete",
    "det",
    "determined",
    "docs",
    "everyone",
    "experiment",
    "experiments",
    "group",
    "groups",
    "guest",
    "health",
    "healthz",
    "help",
    "home",
    "info",
    "invitations",
    "job",
    "jobs",
    "log",
    "log_handler",
    "login",
    "logout",
    "logs",
    "master",
    "me",
    "muster",
    "nobody",
    "node",
    "nodes",
    "notebook",
    "notebooks",
    "owner",
    "password",
    "polyaxon",
    "profile",
    "project",
    "projects",
    "queue",
    "queues",
    "register",
    "registrations",
    "root",
    "saml",
    "scim",
    "search",
    "security",
    "session",
    "sessions",
    "settings",
    "signin",
    "signout",
    "signup",
    "slot",
    "slots",
    "static",
    "status",
    "superuser",
    "superusers",
    "support",
    "system",
    "task",
    "tasks",
    "team",
    "teams",
    "template",
    "templates",
    "tensorboard",
    "tensorboards",
    "token",
    "tokens",
    "user",
    "users",
    "version",
    "versions",
    "workspace",
    "workspaces",
    "ws",
];

/// Checks a name that somebody chose for themselves; whether it is taken is asked elsewhere.
///
/// # Errors
/// The rule that it breaks.
pub fn username(raw: &str) -> Result<String, InvalidName> {
    let name = raw.trim();
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if !plain || !(2..=crate::user::NAME_MAX_BYTES).contains(&name.len()) {
        return Err(InvalidName::Shape);
    }
    if RESERVED.contains(&name.to_ascii_lowercase().as_str()) || claims_an_office(name) {
        return Err(InvalidName::Reserved);
    }
    Ok(name.to_owned())
}

/// Whether a word of this name is one that is kept for a page or for us, or it begins as what isn't a person's does in a list
/// (MB6).
#[must_use]
pub fn is_ours(name: &str) -> bool {
    let ours = |word: &str| RESERVED.contains(&word.to_ascii_lowercase().as_str());
    name.starts_with('(')
        || name.split(|c: char| !c.is_ascii_alphanumeric()).any(ours)
        || claims_an_office(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mb06_nobody_becomes_by_name_what_is_no_person() {
        for ours in ["system", "the system", "Agent vm", "task of bob", "(system)", "root"] {
            assert!(is_ours(ours), "{ours}");
        }
        for people in ["alice", "first.last", "taskmaster", "bob 2"] {
            assert!(!is_ours(people), "{people}");
        }
    }

    #[test]
    fn x11_names_are_plain_and_nobody_elses_words() {
        for good in ["alice", " bob ", "a1", "_-", &"x".repeat(64)] {
            assert_eq!(username(good), Ok(good.trim().to_owned()));
        }
        for bad in ["", "a", "a b", "a\nb", "a.b", "zoë", "a/b", "a@b", &"x".repeat(65)] {
            assert_eq!(username(bad), Err(InvalidName::Shape), "{bad:?}");
        }
        for reserved in
            ["admin", "Root", "LOG_HANDLER", "users", "register", "static", "adm1n", "sys-tem", "Anonymous"]
        {
            assert_eq!(username(reserved), Err(InvalidName::Reserved), "{reserved}");
        }
    }

    #[test]
    fn x11_an_invitation_is_good_once_in_time_and_for_whom_it_names() {
        let open = Invitation {
            id: 1,
            email: None,
            created_by: None,
            created_at: Timestamp(0),
            expires_at: Timestamp(10),
            used_by: None,
            used_at: None,
        };
        assert!(open.admits("a@b", Timestamp(9)));
        assert!(!open.admits("a@b", Timestamp(10)));
        assert!(!Invitation { used_at: Some(Timestamp(1)), ..open.clone() }.admits("a@b", Timestamp(2)));
        let named = Invitation { email: Some("A@b".to_owned()), ..open };
        assert!(named.admits("a@B", Timestamp(1)) && !named.admits("c@b", Timestamp(1)));
    }
}
