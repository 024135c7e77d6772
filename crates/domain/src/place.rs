//! Workspaces and projects: where assets belong, who is what in them (X4, X10).

use serde::{Deserialize, Serialize};

use crate::id::{ProjectId, UNCATEGORIZED, UserId, WorkspaceId};
use crate::identity::IdentityParts;
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

/// What the policy has to know of a workspace, as one actor stands to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Which.
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
    /// Which.
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
