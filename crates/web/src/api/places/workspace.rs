//! Workspaces over the API.

use ::api::page::{PageQuery, Pagination};
use ::api::user::AgentUserGroup;
use ::api::wire::{Empty, Unkept};
use ::api::workspace::{
    AvailablePools, Deleted, EditWorkspace, ListWorkspaces, NamespaceBindings, Workspace, WorkspaceChanged,
    WorkspaceQuery, WorkspaceResponse,
};
use axum::Json;
use axum::extract::{Path, State};
use domain::authz::{self, ChangeWorkspace, CreateWorkspace, ReadWorkspace, SeeUser, Visible};
use domain::id::UNCATEGORIZED;
use domain::identity::IdentityParts;
use domain::place::{self, NewWorkspace, WorkspaceChange};
use master::Error;
use master::open::{may, to};
use master::session::Caller;
use master::workspace::{SortBy, WorkspaceFilter};
use serde_json::json;

use crate::App;
use crate::access::Access;
use crate::api::command::owners;
use crate::api::user::identity;
use crate::extract::{User, paged};
use crate::late::{Body, Query};
use crate::open::{open, open_to_change};
use crate::query::{Asked, is_descending, page};
use crate::respond::{Answer, Failure};
use crate::table::Endpoint;

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/api/v1/workspaces", Access::User, list)
            .says("Workspaces")
            .grows()
            .query::<WorkspaceQuery>()
            .may_ask::<SeeUser>()
            .answers::<ListWorkspaces>(),
        Endpoint::post("/api/v1/workspaces", Access::User, create)
            .says("Make a workspace; a Unix identity is for administrators to set")
            .asks::<CreateWorkspace>()
            .takes::<EditWorkspace>()
            .answers::<WorkspaceChanged>(),
        Endpoint::get("/api/v1/workspaces/{workspace}", Access::User, get)
            .says("One workspace")
            .grows()
            .asks::<ReadWorkspace>()
            .answers::<WorkspaceResponse>(),
        Endpoint::patch("/api/v1/workspaces/{workspace}", Access::User, patch)
            .says("Change a workspace: what is absent stays")
            .asks::<authz::EditWorkspace>()
            .takes::<EditWorkspace>()
            .answers::<WorkspaceChanged>(),
        Endpoint::delete("/api/v1/workspaces/{workspace}", Access::User, delete)
            .says("Delete a workspace with its projects and templates")
            .asks::<ChangeWorkspace>()
            .answers::<Deleted>(),
        Endpoint::post("/api/v1/workspaces/{workspace}/archive", Access::User, archive)
            .says("Put a workspace away")
            .asks::<ChangeWorkspace>()
            .answers::<Empty>(),
        Endpoint::post("/api/v1/workspaces/{workspace}/unarchive", Access::User, unarchive)
            .says("Take a workspace out again")
            .asks::<ChangeWorkspace>()
            .answers::<Empty>(),
        Endpoint::get("/api/v1/workspaces/{workspace}/available-resource-pools", Access::User, pools)
            .says("Pools that its tasks may use")
            .asks::<ReadWorkspace>()
            .query::<PageQuery>()
            .answers::<AvailablePools>(),
        Endpoint::get("/api/v1/workspaces/{workspace}/list-namespace-bindings", Access::User, bindings)
            .says("Nothing: for Kubernetes")
            .asks::<ReadWorkspace>()
            .answers::<NamespaceBindings>(),
    ]
}

/// A workspace as it goes over the wire.
fn shown(caller: &Caller, workspace: place::Workspace, num_projects: i64) -> Workspace {
    let storage = workspace.checkpoint_storage.as_ref();
    let storage =
        storage.map(|storage| storage.shown_as_storage(&caller.actor, workspace.owner).into_value());
    let IdentityParts { user, uid, group, gid } = workspace.identity.clone();
    let agent_user_group = workspace.identity.shown().map(|_| AgentUserGroup {
        agent_uid: uid,
        agent_gid: gid,
        agent_user: user,
        agent_group: group,
    });
    Workspace {
        id: workspace.id.0,
        name: workspace.name,
        archived: workspace.archived,
        immutable: workspace.id == UNCATEGORIZED,
        num_experiments: 0,
        num_projects,
        pinned: false,
        state: "WORKSPACE_STATE_UNSPECIFIED".to_owned(),
        error_message: String::new(),
        user_id: workspace.owner.0,
        username: workspace.owner_name,
        agent_user_group,
        checkpoint_storage_config: storage,
        private: workspace.private,
    }
}

/// The same, with the projects in it that the caller sees counted.
async fn counted(app: &App, caller: &Caller, workspace: place::Workspace) -> Result<Workspace, Failure> {
    let counts = app.master.workspaces.project_counts(Visible::to(&caller.actor)).await?;
    let count = counts.get(&workspace.id).copied().unwrap_or(0);
    Ok(shown(caller, workspace, count))
}

/// What can't be set is refused, not dropped.
fn refuse_more(more: &EditWorkspace) -> Result<(), Failure> {
    let says_nothing = |value: &Option<Unkept>| *value != Some(Unkept::Something);
    let pools = [&more.default_compute_pool, &more.default_aux_pool];
    let text = if pools.into_iter().flatten().any(|pool| !matches!(pool.as_str(), "" | "default")) {
        "unable to bind a resource pool that does not exist or is not available to the workspace: a workspace has none of \
         its own; name one with each task"
    } else if !says_nothing(&more.cluster_namespace_meta) || !says_nothing(&more.cluster_quota_pairs) {
        "namespaces and resource quotas are for Kubernetes, which isn't there"
    } else {
        return Ok(());
    };
    Err(Failure(Error::Invalid(text.to_owned())))
}

pub(crate) async fn list(
    State(app): State<App>,
    User(caller): User,
    Asked(query): Asked<WorkspaceQuery>,
) -> Answer<ListWorkspaces> {
    let mut filter = WorkspaceFilter {
        name: query.name_case_sensitive,
        name_in_any_case: query.name,
        archived: query.archived,
        owners: owners(&app, &caller, &query.users, &query.user_ids).await?,
        seen_by: None,
        sort: if query.sort_by.as_deref() == Some("SORT_BY_NAME") { SortBy::Name } else { SortBy::Id },
        descending: is_descending(query.order_by.as_deref()),
    };
    if query.pinned == Some(true) {
        // Nothing ever is.
        filter.owners = Some(Vec::new());
    }
    let workspaces = &app.master.workspaces;
    let counts = workspaces.project_counts(Visible::to(&caller.actor)).await?;
    let page = paged(page(query.offset, query.limit));
    let (found, pagination) = workspaces.list(Visible::to(&caller.actor), filter, page).await?;
    let shown = |workspace: place::Workspace| {
        let count = counts.get(&workspace.id).copied().unwrap_or(0);
        shown(&caller, workspace, count)
    };
    Ok(Json(ListWorkspaces { workspaces: found.into_iter().map(shown).collect(), pagination }))
}

pub(crate) async fn create(
    State(app): State<App>,
    User(caller): User,
    request: Body<EditWorkspace>,
) -> Answer<WorkspaceChanged> {
    // Any workspace at all, if not that one.
    let permit = may::<CreateWorkspace>(&caller, NewWorkspace::default())?;
    let request = request.after(&permit).await?;
    refuse_more(&request)?;
    let new = NewWorkspace {
        name: request.name.unwrap_or_default(),
        private: request.private.unwrap_or(false),
        identity: request.agent_user_group.map(identity),
        checkpoint_storage: request.checkpoint_storage_config.map(|storage| storage.get().to_owned()),
    };
    let made = app.master.workspaces.create(&may(&caller, new)?).await?;
    Ok(Json(WorkspaceChanged { workspace: shown(&caller, made, 0), namespace_bindings: json!({}) }))
}

pub(crate) async fn get(
    State(app): State<App>,
    User(caller): User,
    Path(workspace): Path<String>,
) -> Answer<WorkspaceResponse> {
    let permit = open::<ReadWorkspace>(&app, &caller, &workspace).await?;
    let found = app.master.workspaces.get(&permit).await?;
    Ok(Json(WorkspaceResponse { workspace: counted(&app, &caller, found).await? }))
}

pub(crate) async fn patch(
    State(app): State<App>,
    User(caller): User,
    Path(workspace): Path<String>,
    request: Body<EditWorkspace>,
) -> Answer<WorkspaceChanged> {
    let permit = open_to_change::<authz::EditWorkspace>(&app, &caller, &workspace).await?;
    let request = request.after(&permit).await?;
    refuse_more(&request)?;
    let change = WorkspaceChange {
        name: request.name,
        private: request.private,
        identity: request.agent_user_group.map(identity),
        checkpoint_storage: request.checkpoint_storage_config.map(|storage| storage.get().to_owned()),
    };
    let changed = app.master.workspaces.change(&to(&caller, permit, change)?).await?;
    let workspace = counted(&app, &caller, changed).await?;
    Ok(Json(WorkspaceChanged { workspace, namespace_bindings: json!({}) }))
}

pub(crate) async fn delete(
    State(app): State<App>,
    User(caller): User,
    Path(workspace): Path<String>,
) -> Answer<Deleted> {
    let permit = open::<ChangeWorkspace>(&app, &caller, &workspace).await?;
    app.master.workspaces.delete(&permit).await?;
    Ok(Json(Deleted { completed: true }))
}

async fn set_archived(app: &App, caller: &Caller, workspace: &str, archived: bool) -> Answer<Empty> {
    let permit = open::<ChangeWorkspace>(app, caller, workspace).await?;
    app.master.workspaces.set_archived(&permit, archived).await?;
    Ok(Json(Empty {}))
}

pub(crate) async fn archive(
    State(app): State<App>,
    User(caller): User,
    Path(workspace): Path<String>,
) -> Answer<Empty> {
    set_archived(&app, &caller, &workspace, true).await
}

pub(crate) async fn unarchive(
    State(app): State<App>,
    User(caller): User,
    Path(workspace): Path<String>,
) -> Answer<Empty> {
    set_archived(&app, &caller, &workspace, false).await
}

/// Every workspace may use all pools.
pub(crate) async fn pools(
    State(app): State<App>,
    User(caller): User,
    Path(workspace): Path<String>,
    query: Query<PageQuery>,
) -> Answer<AvailablePools> {
    let permit = open::<ReadWorkspace>(&app, &caller, &workspace).await?;
    let query = query.after(&permit).await?;
    app.master.workspaces.get(&permit).await?;
    let pools = app.master.config.pools();
    let (pagination, start, count): (Pagination, _, _) =
        paged(query)(i64::try_from(pools.len()).unwrap_or(i64::MAX))?;
    let (start, count) = (usize::try_from(start).unwrap_or(0), usize::try_from(count).unwrap_or(0));
    let pools = pools.into_iter().skip(start).take(count).map(|pool| pool.pool_name);
    Ok(Json(AvailablePools { resource_pools: pools.collect(), pagination }))
}

/// Namespaces are for Kubernetes: there are none.
pub(crate) async fn bindings(
    State(app): State<App>,
    User(caller): User,
    Path(workspace): Path<String>,
) -> Answer<NamespaceBindings> {
    let permit = open::<ReadWorkspace>(&app, &caller, &workspace).await?;
    app.master.workspaces.get(&permit).await?;
    Ok(Json(NamespaceBindings::default()))
}
