//! Roles over the API, as Determined's clients know them: what members of workspaces are (B21). Nobody has one
//! everywhere; an account is an administrator of the installation or not.

use ::api::page::Pagination;
use ::api::role as wire;
use ::api::role::{AssignRoles as Request, RolesById};
use ::api::role::{
    Given, ListRoles, RoleOfGroup, RoleOfUser, RoleScopes, RoleWithMembers, RolesOfGroup, RolesWithMembers,
    ScopeTypeMask,
};
use ::api::wire::Empty;
use axum::Json;
use axum::extract::{Path, State};
use domain::authz::{AssignRoles, ChangeWorkspace, SeeGroups, SeeUser, Visible};
use domain::id::{UserId, WorkspaceId};
use domain::place::{Member, MemberId, Role};
use master::Error;
use master::group::GroupFilter;
use master::member::named;
use master::open::may;
use master::session::Caller;

use crate::App;
use crate::access::Access;
use crate::api::group::group_id;
use crate::api::permission;
use crate::extract::User;
use crate::late::Body;
use crate::open::open;
use crate::respond::{Answer, Failure};
use crate::table::Endpoint;

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::post("/api/v1/roles/search", Access::User, search)
            .says("Roles that members of workspaces have")
            .reads()
            .answers::<ListRoles>(),
        Endpoint::post("/api/v1/roles/search/by-assignability", Access::User, search)
            .says("Roles that members of workspaces have")
            .reads()
            .answers::<ListRoles>(),
        Endpoint::post("/api/v1/roles/search/by-ids", Access::User, by_ids)
            .says("Roles, and who has them in workspaces that the caller sees into")
            .reads()
            .grows()
            .takes::<RolesById>()
            .answers::<RolesWithMembers>(),
        Endpoint::get("/api/v1/roles/search/by-user/{user}", Access::User, of_user)
            .says("An account's roles in workspaces, its own and those of its groups")
            .grows()
            .asks::<SeeUser>()
            .asks::<SeeGroups>()
            .answers::<RolesWithMembers>(),
        Endpoint::get("/api/v1/roles/search/by-group/{group}", Access::User, of_group)
            .says("A group's roles in workspaces")
            .grows()
            .asks::<SeeGroups>()
            .answers::<RolesOfGroup>(),
        Endpoint::post("/api/v1/roles/add-assignments", Access::User, assign)
            .says("Give somebody a role in a workspace, one at a time")
            .asks::<ChangeWorkspace>()
            .may_ask::<AssignRoles>()
            .takes::<Request>()
            .answers::<Empty>(),
        Endpoint::post("/api/v1/roles/remove-assignments", Access::User, unassign)
            .says("Take somebody's role in a workspace away")
            .asks::<ChangeWorkspace>()
            .may_ask::<AssignRoles>()
            .takes::<Request>()
            .answers::<Empty>(),
    ]
}

const EVERYWHERE: &str =
    "roles are given in workspaces: name one, or make the account an administrator of all";

/// All roles, by number.
pub(crate) const ROLES: [Role; 3] = [Role::Viewer, Role::Editor, Role::Administrator];

/// A role's number and name: Determined's numbers are its own; these are only told apart by them.
fn number_and_name(role: Role) -> (i64, &'static str) {
    match role {
        Role::Viewer => (1, "Viewer"),
        Role::Editor => (2, "Editor"),
        Role::Administrator => (3, "WorkspaceAdmin"),
    }
}

/// A role's number.
pub(crate) fn number(role: Role) -> i64 {
    number_and_name(role).0
}

pub(crate) fn shown(role: Role) -> wire::Role {
    wire::Role { permissions: Some(permission::of_role(role)), ..in_short(role) }
}

/// A role where it is said once for each who has it: its permissions are said of the role itself.
fn in_short(role: Role) -> wire::Role {
    let (role_id, name) = number_and_name(role);
    let scope_type_mask = ScopeTypeMask { cluster: false, workspace: true };
    wire::Role { role_id, name: name.to_owned(), scope_type_mask, permissions: None }
}

/// A role with those who have it.
pub(crate) fn with_members(role: Role, members: &[(WorkspaceId, Member)]) -> RoleWithMembers {
    let of_role = members.iter().filter(|(_, member)| member.role == role);
    let (mut users, mut groups) = (Vec::new(), Vec::new());
    for (workspace, member) in of_role {
        let role_assignment =
            Given { role: in_short(role), scope_workspace_id: workspace.0, scope_cluster: false };
        match member.id {
            MemberId::User(id) => users.push(RoleOfUser { user_id: id.0, role_assignment }),
            MemberId::Group(id) => groups.push(RoleOfGroup { group_id: id.0, role_assignment }),
        }
    }
    RoleWithMembers { role: shown(role), user_role_assignments: users, group_role_assignments: groups }
}

/// The roles in workspaces that the caller sees into, of these members.
async fn roles(app: &App, caller: &Caller, of: &[MemberId]) -> Result<Vec<(WorkspaceId, Member)>, Failure> {
    Ok(app.master.workspaces.roles(Visible::to(&caller.actor), Some(of), None).await?)
}

/// A person's roles in workspaces that the caller sees into: given to themselves, or to a group that they are in.
pub(crate) async fn of_person(
    app: &App,
    caller: &Caller,
    person: UserId,
) -> Result<Vec<(WorkspaceId, Member)>, Failure> {
    let filter = GroupFilter { member: Some(person), ..GroupFilter::default() };
    let all = |total: i64| Ok(((), 0, total));
    let see = may::<SeeGroups>(caller, ())?;
    let (groups, ()) = app.master.groups.list(&see, &filter, all).await?;
    let groups = groups.into_iter().map(|(group, _)| MemberId::Group(group.id));
    let whoever: Vec<_> = std::iter::once(MemberId::User(person)).chain(groups).collect();
    roles(app, caller, &whoever).await
}

pub(crate) async fn search(User(_): User) -> Json<ListRoles> {
    let all = i64::try_from(ROLES.len()).unwrap_or(i64::MAX);
    let page = Pagination { end_index: all, total: all, ..Pagination::default() };
    Json(ListRoles { roles: ROLES.map(shown).into(), pagination: page })
}

pub(crate) async fn by_ids(
    State(app): State<App>,
    User(caller): User,
    request: Body<RolesById>,
) -> Answer<RolesWithMembers> {
    let request = request.unasked("everybody sees roles where they see members").await?;
    let asked = |role: &Role| request.role_ids.contains(&number(*role));
    let mut members = Vec::new();
    for role in ROLES.into_iter().filter(asked) {
        let scope = Visible::to(&caller.actor);
        members.push((role, app.master.workspaces.roles(scope, None, Some(role)).await?));
    }
    let roles = members.iter().map(|(role, members)| with_members(*role, members));
    Ok(Json(RolesWithMembers { roles: roles.collect() }))
}

pub(crate) async fn of_user(
    State(app): State<App>,
    User(caller): User,
    Path(user): Path<String>,
) -> Answer<RolesWithMembers> {
    let user = open::<SeeUser>(&app, &caller, &user).await?;
    let members = of_person(&app, &caller, user.target().id).await?;
    let had = ROLES.into_iter().filter(|role| members.iter().any(|(_, member)| member.role == *role));
    Ok(Json(RolesWithMembers { roles: had.map(|role| with_members(role, &members)).collect() }))
}

pub(crate) async fn of_group(
    State(app): State<App>,
    User(caller): User,
    Path(group): Path<String>,
) -> Answer<RolesOfGroup> {
    let see = may::<SeeGroups>(&caller, ())?;
    let group = app.master.groups.get(&see, group_id(&group)?).await?;
    let members = roles(&app, &caller, &[MemberId::Group(group.group.id)]).await?;
    let (mut had, mut assignments) = (Vec::new(), Vec::new());
    for role in ROLES {
        let places = members.iter().filter(|(_, m)| m.role == role).map(|(place, _)| place.0);
        let scope_workspace_ids: Vec<_> = places.collect();
        if !scope_workspace_ids.is_empty() {
            had.push(shown(role));
            assignments.push(RoleScopes { role_id: number(role), scope_workspace_ids, scope_cluster: false });
        }
    }
    Ok(Json(RolesOfGroup { roles: had, assignments }))
}

pub(crate) async fn assign(
    State(app): State<App>,
    User(caller): User,
    request: Body<Request>,
) -> Answer<Empty> {
    set(&app, &caller, request, true).await
}

pub(crate) async fn unassign(
    State(app): State<App>,
    User(caller): User,
    request: Body<Request>,
) -> Answer<Empty> {
    set(&app, &caller, request, false).await
}

/// Gives or takes one role in one workspace, which is what clients send at a time: more couldn't be one change.
async fn set(app: &App, caller: &Caller, request: Body<Request>, give: bool) -> Answer<Empty> {
    let request = request.unasked("the workspace is in it: its administrators may do this there").await?;
    let users = request.user_role_assignments.unwrap_or_default();
    let groups = request.group_role_assignments.unwrap_or_default();
    let wanted: Vec<_> = users.into_iter().chain(groups).collect();
    let place = wanted.first().and_then(|assignment| assignment.role_assignment.scope_workspace_id);
    let Some(place) = place else {
        may::<AssignRoles>(caller, ())?;
        return Err(Failure(Error::Invalid(EVERYWHERE.to_owned())));
    };
    let permit = open::<ChangeWorkspace>(app, caller, &place.to_string()).await?;
    let [assignment] = wanted.as_slice() else {
        return Err(Failure(Error::Invalid("give one role at a time".to_owned())));
    };
    let member = named(assignment.user_id, assignment.group_id)?;
    let wanted = assignment.role_assignment.role.role_id;
    let role = ROLES.into_iter().find(|role| Some(number(*role)) == wanted);
    let role = role.ok_or_else(|| Error::NotFound("there is no such role: see roles/search".to_owned()))?;
    if !give {
        let has = roles(app, caller, &[member]).await?;
        let had = |(at, m): &(WorkspaceId, Member)| at.0 == place && m.role == role;
        if !has.iter().any(had) {
            let name = number_and_name(role).1;
            return Err(Failure(Error::NotFound(format!("they don't have the role {name} there"))));
        }
    }
    app.master.workspaces.set_member(&permit, member, give.then_some(role)).await?;
    Ok(Json(Empty {}))
}
