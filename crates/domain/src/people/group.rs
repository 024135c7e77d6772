//! Groups of accounts: a name for several people, who are members of workspaces and projects together.

use crate::id::{GroupId, UserId};
use crate::text::is_in_no_name;

/// Longest name, in characters.
const NAME_MAX: usize = 80;

/// A group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its id.
    pub id: GroupId,
    /// Its name, unique.
    pub name: String,
}

/// A group that is to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewGroup {
    /// Its name.
    pub name: String,
    /// Who is in it.
    pub add: Vec<UserId>,
}

/// What is to change of a group; what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupChange {
    /// Its name.
    pub name: Option<String>,
    /// Who comes in.
    pub add: Vec<UserId>,
    /// Who goes out.
    pub remove: Vec<UserId>,
}

/// Several accounts into several groups, and out of others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Assignment {
    /// The accounts.
    pub users: Vec<UserId>,
    /// The groups that they are in afterwards.
    pub add: Vec<GroupId>,
    /// The groups that they aren't in afterwards.
    pub remove: Vec<GroupId>,
}

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Nothing but white space.
    #[error("group name cannot be empty")]
    Empty,
    /// Too long.
    #[error("group name cannot be longer than {NAME_MAX} characters")]
    TooLong,
    /// Control characters, or what separates the columns of tables.
    #[error("group name cannot contain control characters or '|'")]
    BadCharacter,
    /// What Determined calls the group of a single account.
    #[error("group name cannot contain 'DeterminedPersonalGroup'")]
    Personal,
}

/// Trims and checks a group's name.
///
/// # Errors
/// The rule that it breaks.
pub fn name(raw: &str) -> Result<String, InvalidName> {
    let name = raw.trim();
    if name.is_empty() {
        return Err(InvalidName::Empty);
    }
    if name.chars().count() > NAME_MAX {
        return Err(InvalidName::TooLong);
    }
    if name.contains(|c: char| is_in_no_name(c) || c == '|') {
        return Err(InvalidName::BadCharacter);
    }
    if name.contains("DeterminedPersonalGroup") {
        return Err(InvalidName::Personal);
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_trimmed_and_checked() {
        assert_eq!(name("  Vision lab "), Ok("Vision lab".to_owned()));
        assert_eq!(name(&"ü".repeat(80)).map(|name| name.len()), Ok(160));
        assert_eq!(name(&"x".repeat(81)), Err(InvalidName::TooLong));
        assert_eq!(name(" "), Err(InvalidName::Empty));
        for bad in ["a|b", "a\nb", "a\0b", "a\u{1b}b", "a\u{200b}b"] {
            assert_eq!(name(bad), Err(InvalidName::BadCharacter), "{bad:?}");
        }
        assert_eq!(name("7DeterminedPersonalGroup"), Err(InvalidName::Personal));
    }
}
