//! What this front door answers, as its client reads it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The body of a refusal: why, or what is wrong with each field.
#[derive(Debug, JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "for the description of the API")]
pub(crate) enum Refused {
    Detail { detail: String },
    Fields(BTreeMap<String, Vec<String>>),
    Texts(Vec<String>),
}

/// Which rows of a list.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Rows {
    /// Rows to skip.
    pub(crate) offset: Option<i64>,
    /// Most rows.
    pub(crate) limit: Option<i64>,
}

/// A page of a list.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Paged<T> {
    pub(crate) count: i64,
    pub(crate) next: Option<String>,
    pub(crate) previous: Option<String>,
    pub(crate) results: Vec<T>,
}

/// What there is none of.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Nothing {}

/// A project in a list.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Brief {
    pub(crate) id: i64,
    pub(crate) uuid: String,
    pub(crate) name: String,
    pub(crate) user: String,
    pub(crate) owner: String,
    pub(crate) unique_name: String,
    pub(crate) description: String,
    pub(crate) tags: Vec<String>,
    pub(crate) is_public: bool,
    pub(crate) created_at: String,
    pub(crate) updated_at: String,
    pub(crate) bookmarked: bool,
}

/// A project by itself.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Detail {
    #[serde(flatten)]
    pub(crate) project: Brief,
    pub(crate) readme: Option<String>,
    #[serde(flatten)]
    pub(crate) content: Content,
}

/// What runs in a project: nothing yet.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(crate) struct Content {
    has_code: bool,
    tensorboard: Option<String>,
    notebook: Option<String>,
    has_tensorboard: bool,
    has_notebook: bool,
    num_experiment_groups: u32,
    num_independent_experiments: u32,
    num_experiments: u32,
    num_jobs: u32,
    num_builds: u32,
}

/// A project that the caller marked; the client finds it inside the mark.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Marked {
    pub(crate) content_object: Brief,
}

/// Of a session.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Token {
    pub(crate) token: String,
}

/// Who the caller is.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Me {
    pub(crate) username: String,
    pub(crate) email: Option<String>,
    pub(crate) is_superuser: bool,
}

/// Which versions get along.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Versions {
    pub(crate) latest_version: &'static str,
    pub(crate) min_version: &'static str,
}

/// Which version there is.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Version {
    pub(crate) version: &'static str,
}

/// Where errors are reported.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct LogHandler {
    pub(crate) dsn: Option<String>,
    pub(crate) environment: &'static str,
    pub(crate) tags: BTreeMap<String, String>,
}
