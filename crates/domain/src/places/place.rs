//! Workspaces, projects and templates: where assets belong, who is what in them (X4, X10).

mod change;

use serde::{Deserialize, Serialize};

pub use change::{NewWorkspace, ProjectChange, WorkspaceChange};

use crate::config::secrets::Layer;
use crate::id::{GroupId, ProjectId, UNCATEGORIZED, UserId, WorkspaceId};
use crate::identity::IdentityParts;
use crate::text::{is_in_no_name, mixes_scripts};
use crate::time::Timestamp;

/// What a member may do in a workspace or project; each may what the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Read.
    Viewer,
    /// Make and change things in it.
    Editor,
    /// Change itself, and say who is in it.
    Administrator,
}

impl Role {
    /// The text in the database and on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Editor => "editor",
            Self::Administrator => "administrator",
        }
    }

    /// Reads the text of [`Self::as_str`]; anything else is no role (R27).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Viewer, Self::Editor, Self::Administrator].into_iter().find(|role| role.as_str() == text)
    }
}

/// A workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workspace {
    /// Its id.
    pub id: WorkspaceId,
    /// Its name, unique.
    pub name: String,
    /// Who made it.
    pub owner: UserId,
    /// That account's name.
    pub owner_name: String,
    /// Exists for its members only.
    pub private: bool,
    /// Hidden from lists unless asked for; nothing new gets in.
    pub archived: bool,
    /// Each part that is set overlays that of a user's own Unix identity.
    pub identity: IdentityParts,
    /// Where its experiments' checkpoints go; `None` is where the installation's go.
    pub checkpoint_storage: Option<Layer>,
    /// The account whose Polyaxon projects are here.
    pub personal_of: Option<UserId>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// Its id.
    pub id: ProjectId,
    /// Where it is.
    pub workspace: WorkspaceId,
    /// Its name, unique in its workspace.
    pub name: String,
    /// A short name, unique; Determined's `key`.
    pub code: String,
    /// One sentence.
    pub description: String,
    /// Texts for people.
    pub notes: Vec<Note>,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// Exists for its members, and those of its workspace, only.
    pub private: bool,
    /// Hidden from lists unless asked for; nothing new gets in.
    pub archived: bool,
    /// Who made it.
    pub owner: UserId,
    /// That account's name.
    pub owner_name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub modified_at: Timestamp,
}

/// A text of a project.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Note {
    /// Its heading.
    pub name: String,
    /// Markdown.
    pub contents: String,
}

/// A configuration that tasks are laid over.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    /// Its name, unique.
    pub name: String,
    /// The configuration: some keys of a task's.
    pub config: Layer,
    /// Where it is.
    pub workspace: WorkspaceId,
    /// Who made it.
    pub owner: UserId,
    /// That account's name.
    pub owner_name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub modified_at: Timestamp,
}

/// What has members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// A workspace.
    Workspace(WorkspaceId),
    /// A project.
    Project(ProjectId),
}

/// Who is a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberId {
    /// An account.
    User(UserId),
    /// All of a group.
    Group(GroupId),
}

/// A member of a workspace or project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The account or group.
    pub id: MemberId,
    /// The account's or group's name.
    pub name: String,
    /// As what.
    pub role: Role,
}

/// What the policy has to know of a workspace, as one actor stands to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The workspace.
    pub workspace: WorkspaceId,
    /// Who made it.
    pub owner: UserId,
    /// Exists for its members only. A deleted one counts as private, without members.
    pub private: bool,
    /// The actor's role in it, by name or by group.
    pub role: Option<Role>,
    /// The actor has a role in one of its projects: sees that the workspace is there.
    pub guest: bool,
}

impl Place {
    /// The workspace where everybody may start tasks.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.workspace == UNCATEGORIZED
    }
}

/// What the policy has to know of a project, as one actor stands to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectPlace {
    /// The project.
    pub project: ProjectId,
    /// Who made it.
    pub owner: UserId,
    /// Exists for its members, and those of its workspace, only.
    pub private: bool,
    /// The actor's own role in it, by name or by group.
    pub role: Option<Role>,
    /// Where it is.
    pub workspace: Place,
}

/// Why a name or key was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Nothing, too much, or what a terminal would obey.
    #[error("{what} must have 1 to 80 printable characters")]
    Name {
        /// `workspace name`, `project name`, `template name`.
        what: &'static str,
    },
    /// Looks like what it isn't.
    #[error("{what} cannot mix letters of different scripts in a word")]
    MixesScripts {
        /// What has the name.
        what: &'static str,
    },
    /// No key.
    #[error("project key '{0}' must be 1 to 5 letters or digits")]
    Key(String),
}

/// Longest name, in characters.
const NAME_MAX: usize = 80;
/// Longest key of a project.
const KEY_MAX: usize = 5;

/// Trims and checks the name of a workspace, project or template; `what` is for the message.
///
/// # Errors
/// When it is none.
pub fn name(what: &'static str, raw: &str) -> Result<String, InvalidName> {
    let name = raw.trim();
    if name.is_empty() || name.chars().count() > NAME_MAX || name.contains(is_in_no_name) {
        return Err(InvalidName::Name { what });
    }
    if mixes_scripts(name) { Err(InvalidName::MixesScripts { what }) } else { Ok(name.to_owned()) }
}

/// Checks a project's key; small letters become capitals.
///
/// # Errors
/// When it is none.
pub fn project_key(raw: &str) -> Result<String, InvalidName> {
    let key = raw.trim().to_ascii_uppercase();
    let fits = (1..=KEY_MAX).contains(&key.len()) && key.chars().all(|c| c.is_ascii_alphanumeric());
    if fits { Ok(key) } else { Err(InvalidName::Key(raw.escape_debug().to_string())) }
}

/// Keys for a project that was given none, the best first: from its name with a number that only this project has, then
/// with ones behind that. The name alone would be nicer, but by it being taken one finds what others have (KX8).
pub fn keys_for(name: &str, id: ProjectId) -> impl Iterator<Item = String> + use<> {
    let letters = name.chars().filter(char::is_ascii_alphanumeric);
    let base: String = letters.take(KEY_MAX).collect::<String>().to_ascii_uppercase();
    (id.0..).map(move |number| {
        let number = base36(number);
        let kept: String = base.chars().take(KEY_MAX.saturating_sub(number.len())).collect();
        kept + &number
    })
}

fn base36(mut number: i64) -> String {
    let mut digits = Vec::new();
    while number > 0 {
        let digit = u32::try_from(number % 36).unwrap_or_default();
        digits.extend(char::from_digit(digit, 36).map(|digit| digit.to_ascii_uppercase()));
        number /= 36;
    }
    digits.into_iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_trimmed_and_checked() {
        assert_eq!(name("workspace name", "  Vision — 視覚 "), Ok("Vision — 視覚".to_owned()));
        assert!(name("workspace name", &"é".repeat(80)).is_ok());
        for bad in ["", "  ", "a\nb", "a\0b", "a\u{202e}b", "a\u{200b}b", "\u{1b}[2J", &"é".repeat(81)] {
            assert!(name("workspace name", bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a14_names_of_places_are_no_look_alikes() {
        for bad in ["\u{430}dmin", "lab b\u{3bf}b"] {
            let what = "workspace name";
            assert_eq!(name(what, bad), Err(InvalidName::MixesScripts { what }), "{bad}");
        }
        for good in ["Алиса", "Anna Алиса", "視覚 lab"] {
            assert!(name("project name", good).is_ok(), "{good}");
        }
    }

    #[test]
    fn keys_are_short_and_never_run_out() {
        assert_eq!(project_key(" abc1 "), Ok("ABC1".to_owned()));
        for bad in ["", "abcdef", "a-b", "é"] {
            assert!(project_key(bad).is_err(), "{bad:?}");
        }
        let keys = |name: &str| keys_for(name, ProjectId(37)).take(3).collect::<Vec<_>>();
        assert_eq!(keys("my project"), ["MYP11", "MYP12", "MYP13"]);
        assert_eq!(keys("視覚"), ["11", "12", "13"]);
    }
}
