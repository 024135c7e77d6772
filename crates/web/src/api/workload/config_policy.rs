//! Configuration policies over the API.

use ::api::config_policy::{ConfigPolicies, SetConfigPolicies};
use ::api::wire::Empty;
use axum::Json;
use axum::extract::{Path, State};
use domain::authz::{Act, ChangeConfigPolicies, ConfigPoliciesOf, Permit, ReadConfigPolicies};
use domain::config::policy::Workload;
use master::Error;
use master::open::PoliciesOf;
use master::session::Caller;

use crate::App;
use crate::access::Access;
use crate::extract::User;
use crate::late::Body;
use crate::open::key;
use crate::respond::Answer;
use crate::table::Endpoint;

const GLOBAL: &str = "/api/v1/config-policies/global/{workload}";
const IN_WORKSPACE: &str = "/api/v1/config-policies/workspaces/{workspace}/{workload}";

/// `{workload}` is `EXPERIMENT` or `NTSC`.
pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get(GLOBAL, Access::User, get_global)
            .says("What is laid down for all configurations")
            .grows()
            .asks::<ReadConfigPolicies>()
            .answers::<ConfigPolicies>(),
        Endpoint::put(GLOBAL, Access::User, set_global)
            .says("Lay down something for all configurations; for administrators")
            .asks::<ChangeConfigPolicies>()
            .takes::<SetConfigPolicies>()
            .answers::<ConfigPolicies>(),
        Endpoint::delete(GLOBAL, Access::User, delete_global)
            .says("Lay down nothing for all configurations; for administrators")
            .asks::<ChangeConfigPolicies>()
            .answers::<Empty>(),
        Endpoint::get(IN_WORKSPACE, Access::User, get_in_workspace)
            .says("What is laid down for configurations in a workspace")
            .grows()
            .asks::<ReadConfigPolicies>()
            .answers::<ConfigPolicies>(),
        Endpoint::put(IN_WORKSPACE, Access::User, set_in_workspace)
            .says("Lay down something for configurations in a workspace; for its administrators")
            .asks::<ChangeConfigPolicies>()
            .takes::<SetConfigPolicies>()
            .answers::<ConfigPolicies>(),
        Endpoint::delete(IN_WORKSPACE, Access::User, delete_in_workspace)
            .says("Lay down nothing for configurations in a workspace; for its administrators")
            .asks::<ChangeConfigPolicies>()
            .answers::<Empty>(),
    ]
}

/// Asks the policy about what a path names: a workspace or, with none, everywhere, and a kind of work.
async fn opened<A: Act<Target = ConfigPoliciesOf>>(
    app: &App,
    caller: &Caller,
    workspace: Option<&str>,
    workload: &str,
) -> Result<Permit<A>, Error> {
    let workspace = workspace.map(key).transpose()?;
    let known = Workload::parse(workload);
    // Who may not is told just that, whatever they asked for; what is said of experiments is the stricter.
    let of = PoliciesOf { workspace, workload: known.unwrap_or(Workload::Experiment) };
    let permit = app.master.open(caller, of).await?;
    let unknown = || Error::Invalid(format!("invalid workload type: {}", workload.escape_debug()));
    known.map(|_| permit).ok_or_else(unknown)
}

async fn get(app: &App, caller: &Caller, workspace: Option<&str>, workload: &str) -> Answer<ConfigPolicies> {
    let permit = opened::<ReadConfigPolicies>(app, caller, workspace, workload).await?;
    let config_policies = app.master.config_policies.get(&permit).await?;
    Ok(Json(ConfigPolicies { config_policies }))
}

async fn set(
    app: &App,
    caller: &Caller,
    workspace: Option<&str>,
    workload: &str,
    request: Body<SetConfigPolicies>,
) -> Answer<ConfigPolicies> {
    let permit = opened::<ChangeConfigPolicies>(app, caller, workspace, workload).await?;
    let text = request.after(&permit).await?.config_policies.unwrap_or_default();
    let config_policies = app.master.config_policies.set(&permit, &text).await?;
    Ok(Json(ConfigPolicies { config_policies }))
}

async fn delete(app: &App, caller: &Caller, workspace: Option<&str>, workload: &str) -> Answer<Empty> {
    let permit = opened::<ChangeConfigPolicies>(app, caller, workspace, workload).await?;
    app.master.config_policies.delete(&permit).await?;
    Ok(Json(Empty {}))
}

pub(crate) async fn get_global(
    State(app): State<App>,
    User(caller): User,
    Path(workload): Path<String>,
) -> Answer<ConfigPolicies> {
    get(&app, &caller, None, &workload).await
}

pub(crate) async fn set_global(
    State(app): State<App>,
    User(caller): User,
    Path(workload): Path<String>,
    request: Body<SetConfigPolicies>,
) -> Answer<ConfigPolicies> {
    set(&app, &caller, None, &workload, request).await
}

pub(crate) async fn delete_global(
    State(app): State<App>,
    User(caller): User,
    Path(workload): Path<String>,
) -> Answer<Empty> {
    delete(&app, &caller, None, &workload).await
}

pub(crate) async fn get_in_workspace(
    State(app): State<App>,
    User(caller): User,
    Path((workspace, workload)): Path<(String, String)>,
) -> Answer<ConfigPolicies> {
    get(&app, &caller, Some(&workspace), &workload).await
}

pub(crate) async fn set_in_workspace(
    State(app): State<App>,
    User(caller): User,
    Path((workspace, workload)): Path<(String, String)>,
    request: Body<SetConfigPolicies>,
) -> Answer<ConfigPolicies> {
    set(&app, &caller, Some(&workspace), &workload, request).await
}

pub(crate) async fn delete_in_workspace(
    State(app): State<App>,
    User(caller): User,
    Path((workspace, workload)): Path<(String, String)>,
) -> Answer<Empty> {
    delete(&app, &caller, Some(&workspace), &workload).await
}
