//! Who is in a workspace or project, over the API.

use ::api::group::GroupDetails;
use ::api::role::MembersByRole;
use ::api::workspace::{ListMembers, Member, MemberQuery, MembersByRoleQuery, SetMember};
use axum::Json;
use axum::extract::{Path, State};
use domain::authz::{ChangeWorkspace, ManageProject, ReadProject, SeeMembers, SeeUser};
use domain::place::{self, MemberId, Role};
use master::Error;
use master::member::named;

use crate::App;
use crate::access::Access;
use crate::api::role;
use crate::extract::User;
use crate::late::{Body, Query};
use crate::open::open;
use crate::respond::{Answer, Failure};
use crate::table::Endpoint;

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/api/v1/workspaces/{workspace}/members", Access::User, of_workspace)
            .says("Who is in a workspace")
            .grows()
            .asks::<SeeMembers>()
            .answers::<ListMembers>(),
        Endpoint::put("/api/v1/workspaces/{workspace}/members", Access::User, set_in_workspace)
            .says("Give somebody a role in a workspace")
            .asks::<ChangeWorkspace>()
            .takes::<SetMember>()
            .answers::<ListMembers>(),
        Endpoint::delete("/api/v1/workspaces/{workspace}/members", Access::User, remove_from_workspace)
            .says("Take somebody's role in a workspace away")
            .asks::<ChangeWorkspace>()
            .query::<MemberQuery>()
            .answers::<ListMembers>(),
        Endpoint::get("/api/v1/roles/workspace/{workspace}", Access::User, by_role)
            .says("Who is in a workspace, by role")
            .grows()
            .asks::<SeeMembers>()
            .may_ask::<SeeUser>()
            .query::<MembersByRoleQuery>()
            .answers::<MembersByRole>(),
        Endpoint::get("/api/v1/projects/{project}/members", Access::User, of_project)
            .says("Who is in a project")
            .grows()
            .asks::<ReadProject>()
            .answers::<ListMembers>(),
        Endpoint::put("/api/v1/projects/{project}/members", Access::User, set_in_project)
            .says("Give somebody a role in a project")
            .asks::<ManageProject>()
            .takes::<SetMember>()
            .answers::<ListMembers>(),
        Endpoint::delete("/api/v1/projects/{project}/members", Access::User, remove_from_project)
            .says("Take somebody's role in a project away")
            .asks::<ManageProject>()
            .query::<MemberQuery>()
            .answers::<ListMembers>(),
    ]
}

fn shown(members: Vec<place::Member>) -> Json<ListMembers> {
    let members = members.into_iter().map(|member| {
        let (user_id, group_id) = match member.id {
            MemberId::User(id) => (Some(id.0), None),
            MemberId::Group(id) => (None, Some(id.0)),
        };
        Member { user_id, group_id, name: member.name, role: member.role.as_str().to_owned() }
    });
    Json(ListMembers { members: members.collect() })
}

/// Who is to get which role.
fn wanted(request: SetMember) -> Result<(MemberId, Role), Failure> {
    let member = named(request.user_id, request.group_id)?;
    let role = request.role.as_deref().and_then(Role::parse);
    let role = role.ok_or_else(|| Error::Invalid("role: give viewer, editor or administrator".to_owned()))?;
    Ok((member, role))
}

fn unwanted(query: &MemberQuery) -> Result<MemberId, Failure> {
    Ok(named(query.user_id, query.group_id)?)
}

pub(crate) async fn of_workspace(
    State(app): State<App>,
    User(caller): User,
    Path(workspace): Path<String>,
) -> Answer<ListMembers> {
    let permit = open::<SeeMembers>(&app, &caller, &workspace).await?;
    Ok(shown(app.master.workspaces.members(&permit).await?))
}

pub(crate) async fn set_in_workspace(
    State(app): State<App>,
    User(caller): User,
    Path(workspace): Path<String>,
    request: Body<SetMember>,
) -> Answer<ListMembers> {
    let permit = open::<ChangeWorkspace>(&app, &caller, &workspace).await?;
    let (member, role) = wanted(request.after(&permit).await?)?;
    Ok(shown(app.master.workspaces.set_member(&permit, member, Some(role)).await?))
}

pub(crate) async fn remove_from_workspace(
    State(app): State<App>,
    User(caller): User,
    Path(workspace): Path<String>,
    query: Query<MemberQuery>,
) -> Answer<ListMembers> {
    let permit = open::<ChangeWorkspace>(&app, &caller, &workspace).await?;
    let member = unwanted(&query.after(&permit).await?)?;
    Ok(shown(app.master.workspaces.set_member(&permit, member, None).await?))
}

pub(crate) async fn of_project(
    State(app): State<App>,
    User(caller): User,
    Path(project): Path<String>,
) -> Answer<ListMembers> {
    let permit = open::<ReadProject>(&app, &caller, &project).await?;
    Ok(shown(app.master.projects.members(&permit).await?))
}

pub(crate) async fn set_in_project(
    State(app): State<App>,
    User(caller): User,
    Path(project): Path<String>,
    request: Body<SetMember>,
) -> Answer<ListMembers> {
    let permit = open::<ManageProject>(&app, &caller, &project).await?;
    let (member, role) = wanted(request.after(&permit).await?)?;
    Ok(shown(app.master.projects.set_member(&permit, member, Some(role)).await?))
}

pub(crate) async fn remove_from_project(
    State(app): State<App>,
    User(caller): User,
    Path(project): Path<String>,
    query: Query<MemberQuery>,
) -> Answer<ListMembers> {
    let permit = open::<ManageProject>(&app, &caller, &project).await?;
    let member = unwanted(&query.after(&permit).await?)?;
    Ok(shown(app.master.projects.set_member(&permit, member, None).await?))
}

/// The members of a workspace as Determined's clients read them: by role.
pub(crate) async fn by_role(
    State(app): State<App>,
    User(caller): User,
    Path(workspace): Path<String>,
    query: Query<MembersByRoleQuery>,
) -> Answer<MembersByRole> {
    let permit = open::<SeeMembers>(&app, &caller, &workspace).await?;
    let query = query.after(&permit).await?;
    let mut members = app.master.workspaces.members(&permit).await?;
    if let Some(part) = query.name {
        members.retain(|member| member.name.contains(&part));
    }
    let (mut users, mut groups) = (Vec::new(), Vec::new());
    for member in &members {
        match member.id {
            MemberId::User(id) => {
                let user = app.master.open::<SeeUser>(&caller, id).await?;
                users.push(crate::api::user::shown(user.target()));
            }
            MemberId::Group(id) => {
                groups.push(GroupDetails { group_id: id.0, name: member.name.clone(), users: Vec::new() });
            }
        }
    }
    let place = permit.target().workspace;
    let members: Vec<_> = members.into_iter().map(|member| (place, member)).collect();
    let assignments = role::ROLES.map(|role| role::with_members(role, &members)).into();
    Ok(Json(MembersByRole { groups, users_assigned_directly: users, assignments }))
}
