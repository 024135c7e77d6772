//! What is to be made or changed of places, as it was asked for: nothing of it is checked yet, for who may not do it is told
//! just that.

use super::Note;
use crate::identity::IdentityParts;

/// A workspace that is to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewWorkspace {
    /// Its name.
    pub name: String,
    /// Exists for its members only.
    pub private: bool,
    /// Unix identity of its tasks.
    pub identity: Option<IdentityParts>,
    /// Where its experiments' checkpoints go, JSON.
    pub checkpoint_storage: Option<String>,
}

/// What is to change of a workspace; what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkspaceChange {
    /// Its name.
    pub name: Option<String>,
    /// Exists for its members only.
    pub private: Option<bool>,
    /// Unix identity of its tasks: all four parts are replaced.
    pub identity: Option<IdentityParts>,
    /// Where its experiments' checkpoints go, JSON; an empty map is where the installation's go.
    pub checkpoint_storage: Option<String>,
}

/// What is to change of a project; what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProjectChange {
    /// Its name.
    pub name: Option<String>,
    /// Its key.
    pub key: Option<String>,
    /// One sentence.
    pub description: Option<String>,
    /// Texts for people.
    pub notes: Option<Vec<Note>>,
    /// One more of them.
    pub new_note: Option<Note>,
    /// Words to find it by.
    pub tags: Option<Vec<String>>,
    /// Exists for its members only, or not: takes more than the rest.
    pub private: Option<bool>,
}
