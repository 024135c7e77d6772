//! Templates on the wire (contract "runtime", section 1.1).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::page::Pagination;
use crate::wire::flexible_i64;

/// A template.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Template {
    /// Its name.
    pub name: String,
    /// The configuration.
    pub config: Value,
    /// Where it is.
    pub workspace_id: i64,
    /// Owner. Muster's own.
    #[serde(default)]
    pub user_id: i64,
    /// Owner's name. Muster's own.
    #[serde(default)]
    pub username: String,
}

/// `{"template": …}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TemplateResponse {
    /// The template.
    pub template: Template,
}

/// Answer of `GET templates`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ListTemplates {
    /// A page of them.
    pub templates: Vec<Template>,
    /// Where it lies.
    pub pagination: Pagination,
}

/// Body of `POST templates/{name}` and of `PUT templates/{name}`; the name is the path's.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NewTemplate {
    /// The configuration.
    #[schemars(with = "Value")]
    pub config: Option<Box<RawValue>>,
    /// Where it is to be; absent or 0 is the workspace that everybody shares.
    #[serde(alias = "workspace_id", deserialize_with = "flexible_i64")]
    pub workspace_id: Option<i64>,
}

/// Body of `PATCH template/rename`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RenameTemplate {
    /// The name now.
    #[serde(alias = "old_name")]
    pub old_name: String,
    /// The name from now on.
    #[serde(alias = "new_name")]
    pub new_name: String,
}

/// Which templates.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TemplateQuery {
    /// Rows to skip; negative counts from the end.
    pub offset: Option<i64>,
    /// Most rows; all without it.
    pub limit: Option<i64>,
    /// `ORDER_BY_ASC` or `ORDER_BY_DESC`.
    pub order_by: Option<String>,
    /// With this in their name.
    pub name: Option<String>,
    /// In any of these workspaces.
    pub workspace_ids: Vec<String>,
}
