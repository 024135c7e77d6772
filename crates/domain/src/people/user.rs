//! Accounts: names, roles, states.

mod change;

use serde::{Deserialize, Serialize};

pub use change::{NewUser, Parts, UserPatch};

use crate::id::UserId;
use crate::identity::UnixIdentity;
use crate::text::{ADMINISTRATOR, Looks, is_in_no_name, mixes_scripts};
use crate::time::Timestamp;

/// Longest user or display name, in bytes (R19).
pub const NAME_MAX_BYTES: usize = 64;

/// Whether an account may do anything (P17, X11).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Registered, not yet accepted: can do what anonymous can (R16).
    Pending,
    /// May come in.
    Active,
    /// Was let go; what it made stays (P18).
    Deactivated,
}

impl Status {
    /// The text in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Deactivated => "deactivated",
        }
    }

    /// Reads the text of [`Self::as_str`]; anything unknown counts as deactivated (R27).
    #[must_use]
    pub fn from_stored(text: &str) -> Self {
        match text {
            "pending" => Self::Pending,
            "active" => Self::Active,
            _ => Self::Deactivated,
        }
    }
}

/// How an account proves itself with a password.
#[derive(Clone, PartialEq, Eq)]
pub enum Password {
    /// Logs in with nothing, where the blank-password rule allows it (R15).
    Blank,
    /// A PHC string of the client-side transform.
    Hash(String),
    /// No password works: sign-on only.
    Impossible,
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Blank => "Blank",
            Self::Hash(_) => "Hash(…)",
            Self::Impossible => "Impossible",
        })
    }
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// Its name: exact case, unique in any case.
    pub username: String,
    /// A name for people; empty when none was given.
    pub display_name: String,
    /// Administrator (X1).
    pub admin: bool,
    /// Whether it may come in.
    pub status: Status,
    /// Managed by a sign-on provider.
    pub remote: bool,
    /// How it logs in.
    pub password: Password,
    /// The Unix identity of its tasks, when linked (D2).
    pub identity: Option<UnixIdentity>,
    /// Where mail reaches its person.
    pub email: Option<String>,
    /// Belongs to no person: acts by access tokens alone.
    pub service: bool,
    /// When it was last changed (not: logged in).
    pub modified_at: Timestamp,
    /// When it last logged in.
    pub last_login_at: Option<Timestamp>,
    /// When it was taken away for good; its name stays with what it made (X6, R35).
    pub deleted_at: Option<Timestamp>,
}

impl User {
    /// Whether the account may do anything (P17).
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.status == Status::Active
    }
}

/// Why a name was refused (contract "identity", section 5; the texts are what its clients print).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Other than printable ASCII.
    #[error("Display name and username cannot contain non-ASCII characters.")]
    NonAscii,
    /// Characters that show nothing of their own.
    #[error("Display name cannot contain control characters.")]
    Steers,
    /// Says what its bearer isn't.
    #[error("Display name cannot say that this is an administrator, or the system.")]
    ClaimsOffice,
    /// Looks like what it isn't.
    #[error("Display name cannot mix letters of different scripts in a word.")]
    MixesScripts,
    /// Too short.
    #[error("Display name or username value has minimum length.")]
    TooShort,
    /// Too long (R19).
    #[error("Display name or username cannot be longer than 64 bytes.")]
    TooLong,
    /// Would break paths or tables.
    #[error("username cannot contain '/' or '|', nor be '.' or '..'")]
    BadCharacter,
    /// `admin` is for the administrator.
    #[error("Non-admin user cannot be renamed 'admin'")]
    ReservedAdmin,
    /// `determined` is for the default user.
    #[error("User cannot be renamed 'determined'")]
    ReservedDetermined,
}

/// Trims and checks a user name.
///
/// # Errors
/// The rule that it breaks.
pub fn username(raw: &str) -> Result<String, InvalidName> {
    let name = printable(raw, 2)?;
    if name.contains(['/', '|']) || matches!(name.as_str(), "." | "..") {
        return Err(InvalidName::BadCharacter);
    }
    Ok(name)
}

/// Trims and checks a display name, which may be in any script (B20); empty clears it.
///
/// # Errors
/// The rule that it breaks.
pub fn display_name(raw: &str) -> Result<String, InvalidName> {
    let name = raw.trim();
    if name.len() > NAME_MAX_BYTES {
        return Err(InvalidName::TooLong);
    }
    if name.contains(is_in_no_name) {
        return Err(InvalidName::Steers);
    }
    if mixes_scripts(name) { Err(InvalidName::MixesScripts) } else { Ok(name.to_owned()) }
}

/// Checks that `new` isn't a name kept for somebody else, and doesn't pass for one (A14).
///
/// # Errors
/// Which reserved name it is.
pub fn reserved(new: &str, old: Option<&str>, admin: bool) -> Result<(), InvalidName> {
    let looks = Looks::of(new);
    let passes_for = |name: &str| looks.passes_for(&Looks::of(name));
    if ADMINISTRATOR.iter().any(|name| passes_for(name)) && !admin {
        return Err(InvalidName::ReservedAdmin);
    }
    if passes_for("determined") && old != Some("determined") {
        return Err(InvalidName::ReservedDetermined);
    }
    Ok(())
}

/// Longest e-mail address, in bytes.
const EMAIL_MAX_BYTES: usize = 254;

/// The text is no e-mail address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not an e-mail address")]
pub struct InvalidEmail;

/// Trims and checks an e-mail address. Whether mail gets there, only sending some can tell.
///
/// # Errors
/// When it is none.
pub fn email(raw: &str) -> Result<String, InvalidEmail> {
    let email = raw.trim();
    let plain =
        email.len() <= EMAIL_MAX_BYTES && !email.contains(|c: char| c.is_whitespace() || is_in_no_name(c));
    let parts: Vec<&str> = email.split('@').collect();
    match parts.as_slice() {
        [local, domain] if plain && !local.is_empty() && !domain.is_empty() => Ok(email.to_owned()),
        _ => Err(InvalidEmail),
    }
}

fn printable(raw: &str, min: usize) -> Result<String, InvalidName> {
    let name = raw.trim();
    if name.len() > NAME_MAX_BYTES {
        return Err(InvalidName::TooLong);
    }
    // Other white space than a blank is accepted by Determined; a line break in a table helps nobody.
    if !name.chars().all(|c| c == ' ' || c.is_ascii_graphic()) {
        return Err(InvalidName::NonAscii);
    }
    if name.len() < min {
        return Err(InvalidName::TooShort);
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_trimmed_and_checked() {
        assert_eq!(username("  alice "), Ok("alice".to_owned()));
        assert_eq!(username("a$b c@d"), Ok("a$b c@d".to_owned()));
        assert_eq!(username("a"), Err(InvalidName::TooShort));
        assert_eq!(username(".."), Err(InvalidName::BadCharacter));
        assert_eq!(username("zoë"), Err(InvalidName::NonAscii));
        assert_eq!(username("a\u{1b}b"), Err(InvalidName::NonAscii));
        assert_eq!(username(&"a".repeat(65)), Err(InvalidName::TooLong));
        assert_eq!(display_name("  "), Ok(String::new()));
        for any in ["Zoë Müller", "李小龍", "Алиса", "أليس"] {
            assert_eq!(display_name(any), Ok(any.to_owned()), "b20: any script");
        }
        for steering in ["a\nb", "a\u{1b}[2J", "a\u{0}", "a\u{202e}b", "ad\u{ad}min", "a\u{e0041}"] {
            assert_eq!(display_name(steering), Err(InvalidName::Steers), "{steering:?}");
        }
    }

    #[test]
    fn e_mail_addresses_have_one_at_and_no_blanks() {
        assert_eq!(email(" a@b.c "), Ok("a@b.c".to_owned()));
        assert_eq!(email("zoë@exämple.org"), Ok("zoë@exämple.org".to_owned()));
        for bad in [
            "",
            "a",
            "@",
            "a@",
            "@b",
            "a@b@c",
            "a b@c",
            "a@b\r\nBcc: x",
            "a@b\0c",
            &format!("{}@b", "a".repeat(253)),
        ] {
            assert_eq!(email(bad), Err(InvalidEmail), "{bad:?}");
        }
    }

    #[test]
    fn reserved_names_stay_with_their_owners() {
        assert_eq!(reserved("Admin", Some("bob"), false), Err(InvalidName::ReservedAdmin));
        assert_eq!(reserved("adm1n.", Some("bob"), false), Err(InvalidName::ReservedAdmin));
        assert_eq!(reserved("d.etermined", Some("bob"), false), Err(InvalidName::ReservedDetermined));
        assert_eq!(reserved("admin", Some("root"), true), Ok(()));
        assert_eq!(reserved("Determined", Some("bob"), true), Err(InvalidName::ReservedDetermined));
        assert_eq!(reserved("determined", Some("determined"), false), Ok(()));
    }
}
