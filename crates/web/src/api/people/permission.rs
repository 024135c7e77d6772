//! What an account may do, in the words of Determined's permissions. The policy is asked for each, about a place as a role
//! stands to it, so that this says nothing of its own.

use ::api::role::{Permission, PermissionsSummary, RolePermissions, RoleScopes, ScopeTypeMask};
use axum::Json;
use axum::extract::State;
use domain::authz::{
    self, Act, Actor, AddTemplate, AddToWorkspace, ChangeGroup, ChangeProject, ChangeWorkspace,
    CreateWorkspace, EditWorkspace, ManageAgents, ManageProject, ReadMasterConfig, ReadProject,
    ReadWorkspace, SeeGroups, SeeMembers, SeeTokens, StartTask, Via, Visible,
};
use domain::group::GroupChange;
use domain::id::{GroupId, ProjectId, UNCATEGORIZED, UserId, WorkspaceId};
use domain::identity::IdentityParts;
use domain::place::{NewWorkspace, Place, ProjectChange, ProjectPlace, Role, WorkspaceChange};
use domain::user::NewUser;
use master::session::Caller;
use master::workspace::WorkspaceFilter;

use crate::App;
use crate::access::Access;
use crate::api::role::{ROLES, number, of_person};
use crate::extract::User;
use crate::respond::{Answer, Failure};
use crate::table::Endpoint;

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/api/v1/permissions/summary", Access::User, summary)
            .says("What the caller may do, by role and workspace, in the words of Determined's permissions")
            .grows()
            .asks::<SeeGroups>()
            .answers::<PermissionsSummary>(),
    ]
}

/// Whether somebody may do something in a place.
type InPlace = fn(&Actor, &Place) -> bool;

/// What there is to do in a workspace.
const IN_PLACES: [(&str, InPlace); 15] = [
    ("VIEW_WORKSPACE", may::<ReadWorkspace>),
    ("UPDATE_WORKSPACE", may::<ChangeWorkspace>),
    ("DELETE_WORKSPACE", may::<ChangeWorkspace>),
    ("ASSIGN_ROLES", may::<ChangeWorkspace>),
    ("SET_WORKSPACE_AGENT_USER_GROUP", |actor, place| {
        let identity = Some(IdentityParts::default());
        let change = WorkspaceChange { identity, ..WorkspaceChange::default() };
        may_to::<EditWorkspace>(actor, &(place.clone(), change))
    }),
    ("VIEW_PROJECT", in_project::<ReadProject>),
    ("CREATE_PROJECT", may::<AddToWorkspace>),
    ("UPDATE_PROJECT", |actor, place| {
        may_to::<ChangeProject>(actor, &(private_project(place), ProjectChange::default()))
    }),
    ("DELETE_PROJECT", in_project::<ManageProject>),
    // Who sees what is in it sees its tasks and templates, and who is in it.
    ("VIEW_NSC", may::<SeeMembers>),
    ("CREATE_NSC", may::<StartTask>),
    ("VIEW_TEMPLATES", may::<SeeMembers>),
    ("CREATE_TEMPLATES", may::<AddTemplate>),
    // Other people's: a workspace's administrators may.
    ("UPDATE_TEMPLATES", may::<ChangeWorkspace>),
    ("DELETE_TEMPLATES", may::<ChangeWorkspace>),
];

/// Whether an account holds something.
type Holds = fn(&Actor) -> bool;

/// What there is to do besides.
const EVERYWHERE: [(&str, Holds); 7] = [
    ("ADMINISTRATE_USER", |actor| may_to::<authz::CreateUser>(actor, &NewUser::default())),
    ("UPDATE_GROUP", |actor| may_to::<ChangeGroup>(actor, &(GroupId(0), GroupChange::default()))),
    ("UPDATE_AGENTS", |actor| may_to::<ManageAgents>(actor, &())),
    ("VIEW_MASTER_CONFIG", |actor| may_to::<ReadMasterConfig>(actor, &())),
    ("CREATE_WORKSPACE", |actor| may_to::<CreateWorkspace>(actor, &NewWorkspace::default())),
    ("VIEW_TOKEN", |actor| may_to::<SeeTokens>(actor, &Some(actor.user))),
    ("VIEW_OTHER_TOKEN", |actor| may_to::<SeeTokens>(actor, &None)),
];

fn may_to<A: Act>(actor: &Actor, target: &A::Target) -> bool {
    A::check(actor, target).is_ok()
}

fn may<A: Act<Target = Place>>(actor: &Actor, place: &Place) -> bool {
    may_to::<A>(actor, place)
}

/// The same about somebody else's project in it.
fn in_project<A: Act<Target = ProjectPlace>>(actor: &Actor, place: &Place) -> bool {
    may_to::<A>(actor, &private_project(place))
}

fn private_project(place: &Place) -> ProjectPlace {
    let (project, owner, workspace) = (ProjectId(0), place.owner, place.clone());
    ProjectPlace { project, owner, private: true, role: None, workspace }
}

/// A permission as it goes over the wire.
fn shown(name: &str, in_places: bool) -> Permission {
    let scope_type_mask = ScopeTypeMask { cluster: true, workspace: in_places };
    let text = name.to_lowercase().replace('_', " ");
    Permission { id: format!("PERMISSION_TYPE_{name}"), name: text, scope_type_mask }
}

/// What an actor may do in a place.
fn in_place(actor: &Actor, place: &Place) -> Vec<Permission> {
    let may = IN_PLACES.iter().filter(|(_, may)| may(actor, place));
    may.map(|(name, _)| shown(name, true)).collect()
}

/// Somebody's place that has nothing to do with who asks.
fn elsewhere(role: Option<Role>) -> Place {
    Place { workspace: WorkspaceId(0), owner: UserId(0), private: true, role, guest: false }
}

/// What members with that role may do in a workspace.
pub(crate) fn of_role(role: Role) -> Vec<Permission> {
    let member = Actor {
        user: UserId(-1),
        username: String::new(),
        admin: false,
        via: Via::DefaultUser,
        address: None,
        as_of: 0,
    };
    in_place(&member, &elsewhere(Some(role)))
}

/// In the summary alone: what is to do in the workspace that all share, and what is to do everywhere.
const SHARED: i64 = 4;
const ACCOUNT: i64 = 5;

/// What the caller may do: by role in the workspaces where one was given or that are theirs, and everywhere. What
/// everybody may do in public workspaces is left out, one by one they would be too many.
pub(crate) async fn summary(State(app): State<App>, User(caller): User) -> Answer<PermissionsSummary> {
    let (actor, mut roles, mut assignments) = (&caller.actor, Vec::new(), Vec::new());
    let mut add = |id: i64, permissions: Vec<Permission>, everywhere: bool, workspaces: Vec<WorkspaceId>| {
        roles.push(RolePermissions { role_id: id, permissions });
        let scope_workspace_ids = workspaces.into_iter().map(|workspace| workspace.0).collect();
        assignments.push(RoleScopes { role_id: id, scope_workspace_ids, scope_cluster: everywhere });
    };
    let everywhere = EVERYWHERE.iter().filter(|(_, may)| may(actor)).map(|(name, _)| shown(name, false));
    let everywhere = everywhere.chain(in_place(actor, &elsewhere(None))).collect();
    add(ACCOUNT, everywhere, true, Vec::new());
    let shared = Place { workspace: UNCATEGORIZED, private: false, ..elsewhere(None) };
    add(SHARED, in_place(actor, &shared), false, vec![UNCATEGORIZED]);
    let given = of_person(&app, &caller, actor.user).await?;
    let own = own(&app, &caller).await?.into_iter().map(|workspace| (workspace, Role::Administrator));
    let mut had: Vec<_> = given.into_iter().map(|(at, member)| (at, member.role)).chain(own).collect();
    had.sort_unstable();
    had.dedup();
    for role in ROLES {
        let places: Vec<_> = had.iter().filter(|(_, had)| *had == role).map(|(at, _)| *at).collect();
        if !places.is_empty() {
            add(number(role), of_role(role), false, places);
        }
    }
    Ok(Json(PermissionsSummary { roles, assignments }))
}

/// The workspaces that the caller made.
async fn own(app: &App, caller: &Caller) -> Result<Vec<WorkspaceId>, Failure> {
    let filter = WorkspaceFilter { owners: Some(vec![caller.actor.user]), ..WorkspaceFilter::default() };
    let all = |total: i64| Ok(((), 0, total));
    let (found, ()) = app.master.workspaces.list(Visible::to(&caller.actor), filter, all).await?;
    Ok(found.into_iter().map(|workspace| workspace.id).collect())
}
