//! Configuration policies.

use serde_json::Value;

use super::{Client, Result, encoded};
use crate::config_policy::{ConfigPolicies, SetConfigPolicies};

/// Where the policies of a workspace are, or with none those that hold everywhere.
fn path(workspace: Option<i64>, workload: &str) -> String {
    let workload = encoded(workload);
    match workspace {
        Some(id) => format!("/api/v1/config-policies/workspaces/{id}/{workload}"),
        None => format!("/api/v1/config-policies/global/{workload}"),
    }
}

impl Client {
    /// The policies for `EXPERIMENT` or `NTSC`.
    ///
    /// # Errors
    /// What went wrong, on the way or there.
    pub async fn config_policies(&self, workspace: Option<i64>, workload: &str) -> Result<ConfigPolicies> {
        self.get(&path(workspace, workload)).await
    }

    /// Sets them, YAML or JSON.
    ///
    /// # Errors
    /// What went wrong, on the way or there.
    pub async fn set_config_policies(
        &self,
        workspace: Option<i64>,
        workload: &str,
        text: &str,
    ) -> Result<ConfigPolicies> {
        let body = SetConfigPolicies { config_policies: Some(text.to_owned()) };
        self.put(&path(workspace, workload), &body).await
    }

    /// Takes them away.
    ///
    /// # Errors
    /// What went wrong, on the way or there.
    pub async fn delete_config_policies(&self, workspace: Option<i64>, workload: &str) -> Result<()> {
        self.delete::<Value>(&path(workspace, workload)).await.map(drop)
    }
}
