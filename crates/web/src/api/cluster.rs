//! The installation over the API.

use ::api::DETERMINED_VERSION;
use ::api::cluster::{Info, ListWorkspaces, Master, Telemetry, Workspace};
use ::api::error::Code;
use axum::Json;
use axum::extract::{Path, State};
use domain::authz::{ReadMasterConfig, authorize};
use domain::id::WorkspaceId;
use master::Error;
use serde_json::{Value, json};

use crate::App;
use crate::extract::{From, Params, User, id, paged};
use crate::respond::{Answer, Failure};

pub(crate) async fn info(State(app): State<App>, From(visitor): From) -> Answer<Info> {
    let cluster = &app.master.cluster;
    let default_user = cluster.default_user();
    let caller = app.master.sessions.default_caller(default_user, visitor.origin).await?;
    Ok(Json(Info {
        version: DETERMINED_VERSION.to_owned(),
        master_id: cluster.id().to_owned(),
        cluster_id: cluster.id().to_owned(),
        cluster_name: cluster.name().to_owned(),
        telemetry: Telemetry::default(),
        sso_providers: None,
        muster_version: env!("CARGO_PKG_VERSION").to_owned(),
        default_user: caller.map(|caller| caller.actor.username),
        max_context_bytes: app.master.config.max_context_bytes,
    }))
}

/// 200 when the database answers.
pub(crate) async fn health(State(app): State<App>) -> Answer<Value> {
    app.master.cluster.check().await?;
    Ok(Json(json!({ "status": "up" })))
}

pub(crate) async fn master(State(app): State<App>) -> Json<Master> {
    let cluster = &app.master.cluster;
    Json(Master {
        version: DETERMINED_VERSION.to_owned(),
        master_id: cluster.id().to_owned(),
        cluster_id: cluster.id().to_owned(),
        cluster_name: cluster.name().to_owned(),
        strict_job_queue_control: false,
        has_custom_logo: false,
        telemetry_enabled: false,
        sso_providers: Vec::new(),
        external_login_uri: String::new(),
        external_logout_uri: String::new(),
        branding: "determined".to_owned(),
        rbac_enabled: false,
        product: "PRODUCT_UNSPECIFIED".to_owned(),
        feature_switches: Vec::new(),
        user_management_enabled: true,
        cluster_message: None,
    })
}

pub(crate) async fn telemetry() -> Json<Value> {
    Json(json!({ "enabled": false, "segmentKey": "" }))
}

pub(crate) async fn config(State(app): State<App>, User(caller): User) -> Answer<Value> {
    let permit = authorize::<ReadMasterConfig>(&caller.actor, ());
    let permit = permit.map_err(|refusal| Error::refused(refusal, Code::NotFound.reason().to_owned()))?;
    Ok(Json(json!({ "config": app.master.cluster.shown_config(permit, &app.master.config) })))
}

fn shown(workspace: domain::place::Workspace) -> Workspace {
    Workspace {
        id: workspace.id.0,
        name: workspace.name,
        archived: false,
        immutable: true,
        num_experiments: 0,
        num_projects: 0,
        pinned: false,
        state: "WORKSPACE_STATE_UNSPECIFIED".to_owned(),
        error_message: String::new(),
        user_id: workspace.owner.0,
        username: workspace.owner_name,
        agent_user_group: None,
        checkpoint_storage_config: None,
    }
}

pub(crate) async fn list_workspaces(
    State(app): State<App>,
    User(_): User,
    params: Params,
) -> Answer<ListWorkspaces> {
    let mut all = app.master.cluster.workspaces().await?;
    if let Some(name) = params.get("nameCaseSensitive") {
        all.retain(|workspace| workspace.name == name);
    }
    let total = i64::try_from(all.len()).unwrap_or(i64::MAX);
    let (pagination, start, count) = paged(params.page()?)(total)?;
    let (start, count) = (usize::try_from(start).unwrap_or(0), usize::try_from(count).unwrap_or(0));
    let workspaces = all.into_iter().skip(start).take(count).map(shown).collect();
    Ok(Json(ListWorkspaces { workspaces, pagination }))
}

pub(crate) async fn get_workspace(
    State(app): State<App>,
    User(_): User,
    Path(workspace): Path<String>,
) -> Answer<Value> {
    let missing = || format!("workspace '{}' not found", workspace.escape_debug());
    let id: WorkspaceId = id(&workspace, missing)?;
    let all = app.master.cluster.workspaces().await?;
    let found = all.into_iter().find(|workspace| workspace.id == id);
    let found = found.ok_or_else(|| Failure(Error::NotFound(missing())))?;
    Ok(Json(json!({ "workspace": shown(found), "projects": [] })))
}
