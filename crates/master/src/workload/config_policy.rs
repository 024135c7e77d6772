//! Configuration policies: setting, showing and taking them away. What they mean for a task is asked where it is made
//! (`task`).

use std::sync::Arc;

use domain::audit::{Entry, Who};
use domain::authz::{ChangeConfigPolicies, ConfigPoliciesOf, Permit, ReadConfigPolicies};
use domain::config::Resources;
use domain::config::policy::{InvalidPolicies, Policies, Workload};
use domain::id::WorkspaceId;
use domain::refusal::in_words;
use serde_json::{Value, json};
use store::{Conn, Store, Tx};

use super::yaml;
use crate::config::Limits;
use crate::system::Clock;
use crate::{Error, again, workspace};

/// Configuration policies.
#[derive(Clone)]
pub struct ConfigPolicies {
    store: Store,
    limits: Limits,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for ConfigPolicies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ConfigPolicies")
    }
}

fn target(of: &ConfigPoliciesOf) -> Who {
    let place = of.place.as_ref().map_or_else(|| "global".to_owned(), |place| place.workspace.to_string());
    Who::named("config policies", &format!("{place} {}", of.workload.as_str()), "")
}

/// What an invariant configuration holds isn't for everybody's eyes.
fn facts(policies: &Policies) -> Value {
    json!({ "policies": policies.shown(false) })
}

impl ConfigPolicies {
    pub(crate) fn new(store: Store, limits: Limits, clock: Arc<dyn Clock>) -> Self {
        Self { store, limits, clock }
    }

    /// The policies as they were set; who may set them sees what is masked for others.
    ///
    /// # Errors
    /// When the workspace was deleted.
    pub async fn get(&self, permit: &Permit<ReadConfigPolicies>) -> Result<Value, Error> {
        let of = permit.target();
        let mut conn = self.store.read().await?;
        if let Some(place) = &of.place {
            workspace::there(&mut conn, place.workspace).await?;
        }
        let found = store::config_policy::of(&mut conn, workspace_of(of), of.workload).await?;
        let exactly = permit.covers::<ChangeConfigPolicies>();
        Ok(found.map_or_else(|| json!({}), |policies| policies.shown(exactly)))
    }

    /// Sets policies that were written as YAML or JSON, in place of those that there are.
    ///
    /// # Errors
    /// When they aren't acceptable.
    pub async fn set(&self, permit: &Permit<ChangeConfigPolicies>, text: &str) -> Result<Value, Error> {
        let of = permit.target();
        let policies = self.checked(of.workload, text)?;
        let nobody = || Error::Forbidden("only accounts set configuration policies".to_owned());
        let by = permit.actor().ok_or_else(nobody)?;
        let mut tx = self.begin(permit).await?;
        let workspace = workspace_of(of);
        if workspace.is_some()
            && let Some(everywhere) = store::config_policy::of(&mut tx, None, of.workload).await?
        {
            policies.check_under(everywhere.constraints).map_err(invalid)?;
        }
        let before = store::config_policy::of(&mut tx, workspace, of.workload).await?;
        let now = self.clock.now();
        store::config_policy::set(&mut tx, workspace, of.workload, &policies, (by, now)).await?;
        let entry = Entry::done(permit.by(), "config_policies.set", target(of));
        let entry = match before {
            Some(before) => entry.changed(facts(&before), facts(&policies)),
            None => entry.made(facts(&policies)),
        };
        tx.commit(&entry, now).await?;
        Ok(policies.shown(true))
    }

    /// Takes policies away; that there are none is fine.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn delete(&self, permit: &Permit<ChangeConfigPolicies>) -> Result<(), Error> {
        let of = permit.target();
        let mut tx = self.begin(permit).await?;
        let workspace = workspace_of(of);
        let Some(before) = store::config_policy::of(&mut tx, workspace, of.workload).await? else {
            return Ok(());
        };
        store::config_policy::delete(&mut tx, workspace, of.workload).await?;
        let entry = Entry::done(permit.by(), "config_policies.delete", target(of)).removed(facts(&before));
        Ok(tx.commit(&entry, self.clock.now()).await?)
    }

    async fn begin(&self, permit: &Permit<ChangeConfigPolicies>) -> Result<Tx, Error> {
        let mut tx = again::begin(&self.store, permit).await?;
        if let Some(place) = &permit.target().place {
            workspace::there(&mut tx, place.workspace).await?;
        }
        Ok(tx)
    }

    fn checked(&self, workload: Workload, text: &str) -> Result<Policies, Error> {
        let bad = |why: String| invalid(InvalidPolicies::Form { workload, why });
        let limits = self.limits.of_configs();
        if text.trim().is_empty() {
            return Err(Error::Invalid("no specified config policies".to_owned()));
        }
        if text.len() > limits.submitted {
            let (size, limit) = (text.len(), limits.submitted);
            return Err(bad(format!("it has {size} bytes, and {limit} is the limit")));
        }
        // What is JSON is YAML, too.
        let value = yaml::read(text, limits.submitted).map_err(|why| bad(in_words(&why)))?;
        let value = limits.read(Some(&value.to_string())).map_err(|e| bad(e.0))?;
        Policies::checked(workload, value).map_err(invalid)
    }
}

/// Which priority a task gets that asks for these resources in a workspace, when the policies there allow them.
pub(crate) async fn priority(
    conn: &mut Conn,
    workspace: WorkspaceId,
    resources: &Resources,
) -> Result<i64, Error> {
    let constraints = store::config_policy::constraints(conn, workspace, Workload::Tasks).await?;
    let refused = |e| Error::Invalid(format!("failed constraint check: {e}"));
    constraints.check_task(resources).map_err(refused)
}

/// Whether a task in a workspace may get this priority.
pub(crate) async fn check_priority(
    conn: &mut Conn,
    workspace: WorkspaceId,
    priority: i64,
) -> Result<(), Error> {
    let constraints = store::config_policy::constraints(conn, workspace, Workload::Tasks).await?;
    let refused = |e| Error::Invalid(format!("priority exceeds task config policy's priority_limit: {e}"));
    constraints.check_priority(priority).map_err(refused)
}

fn workspace_of(of: &ConfigPoliciesOf) -> Option<WorkspaceId> {
    of.place.as_ref().map(|place| place.workspace)
}

fn invalid(error: InvalidPolicies) -> Error {
    Error::Invalid(error.to_string())
}
