//! Projects on the wire (contract "runtime", section 1.1).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::few::Few;
use crate::page::Pagination;
use crate::wire::{flexible_i64, null_default};

/// A project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Project {
    /// Its id.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// A short name, unique.
    pub key: String,
    /// One sentence.
    pub description: String,
    /// Where it is.
    pub workspace_id: i64,
    /// Archived.
    pub archived: bool,
    /// Can't be changed.
    pub immutable: bool,
    /// How many experiments it has.
    pub num_experiments: i64,
    /// How many experiments run.
    pub num_active_experiments: i64,
    /// How many runs it has.
    pub num_runs: i64,
    /// Texts for people.
    pub notes: Vec<Note>,
    /// `WORKSPACE_STATE_UNSPECIFIED`.
    pub state: String,
    /// Empty.
    pub error_message: String,
    /// Owner.
    pub user_id: i64,
    /// Owner's name.
    pub username: String,
    /// Words to find it by. Muster's own.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Exists for its members, and those of its workspace, only. Muster's own.
    #[serde(default)]
    pub private: bool,
}

/// A text of a project.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Note {
    /// Its heading.
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    /// Markdown.
    #[serde(deserialize_with = "null_default")]
    pub contents: String,
}

/// `{"project": …}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProjectResponse {
    /// The project.
    pub project: Project,
}

/// Answer of `GET workspaces/{id}/projects`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListProjects {
    /// A page of them.
    pub projects: Vec<Project>,
    /// Where it lies.
    pub pagination: Pagination,
}

/// Body of `POST workspaces/{id}/projects` and of `PATCH projects/{id}`, where what is absent stays.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct EditProject {
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its key; made from the name when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// One sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Words to find it by. Muster's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Few<String>>,
    /// Exists for its members, and those of its workspace, only. Muster's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private: Option<bool>,
}

/// Body of `POST projects/{id}/move`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct MoveProject {
    /// The workspace that it moves to.
    #[serde(alias = "destination_workspace_id", deserialize_with = "flexible_i64")]
    pub destination_workspace_id: Option<i64>,
}

/// Body of `PUT projects/{id}/notes`, and what all requests about notes answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Notes {
    /// All of them.
    #[serde(deserialize_with = "null_default")]
    pub notes: Few<Note>,
}

/// Which projects of a workspace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ProjectQuery {
    /// Rows to skip; negative counts from the end.
    pub offset: Option<i64>,
    /// Most rows; all without it.
    pub limit: Option<i64>,
    /// `ORDER_BY_ASC` or `ORDER_BY_DESC`.
    pub order_by: Option<String>,
    /// `SORT_BY_NAME`, `SORT_BY_DESCRIPTION` or `SORT_BY_ID`.
    pub sort_by: Option<String>,
    /// With this in their name.
    pub name: Option<String>,
    /// Put away, or not.
    pub archived: Option<bool>,
    /// Of any of these accounts, by name, …
    pub users: Vec<String>,
    /// … or number.
    pub user_ids: Vec<String>,
}
