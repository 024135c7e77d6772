//! Who is in a workspace or project, over the API.

use ::api::workspace::{ListMembers, Member, SetMember};
use axum::Json;
use axum::extract::{Path, State};
use domain::authz::{ChangeWorkspace, ManageProject, ReadProject, SeeMembers};
use domain::place::{self, MemberId, Role};
use master::Error;
use master::member::named;
use serde_json::{Value, json};

use crate::App;
use crate::api::{project, role, workspace};
use crate::extract::{Params, User};
use crate::late::{Body, Query};
use crate::respond::{Answer, Failure};

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

fn unwanted(params: &Params) -> Result<MemberId, Failure> {
    Ok(named(params.parse("userId")?, params.parse("groupId")?)?)
}

pub(crate) async fn of_workspace(
    State(app): State<App>,
    User(caller): User,
    Path(workspace): Path<String>,
) -> Answer<ListMembers> {
    let permit = workspace::permitted::<SeeMembers>(&app, &caller, &workspace).await?;
    Ok(shown(app.master.workspaces.members(&permit).await?))
}

pub(crate) async fn set_in_workspace(
    State(app): State<App>,
    User(caller): User,
    Path(workspace): Path<String>,
    request: Body<SetMember>,
) -> Answer<ListMembers> {
    let permit = workspace::permitted::<ChangeWorkspace>(&app, &caller, &workspace).await?;
    let (member, role) = wanted(request.after(&permit).await?)?;
    Ok(shown(app.master.workspaces.set_member(&permit, member, Some(role)).await?))
}

pub(crate) async fn remove_from_workspace(
    State(app): State<App>,
    User(caller): User,
    Path(workspace): Path<String>,
    query: Query,
) -> Answer<ListMembers> {
    let permit = workspace::permitted::<ChangeWorkspace>(&app, &caller, &workspace).await?;
    let member = unwanted(&query.after(&permit).await?)?;
    Ok(shown(app.master.workspaces.set_member(&permit, member, None).await?))
}

pub(crate) async fn of_project(
    State(app): State<App>,
    User(caller): User,
    Path(project): Path<String>,
) -> Answer<ListMembers> {
    let permit = project::permitted::<ReadProject>(&app, &caller, &project).await?;
    Ok(shown(app.master.projects.members(&permit).await?))
}

pub(crate) async fn set_in_project(
    State(app): State<App>,
    User(caller): User,
    Path(project): Path<String>,
    request: Body<SetMember>,
) -> Answer<ListMembers> {
    let permit = project::permitted::<ManageProject>(&app, &caller, &project).await?;
    let (member, role) = wanted(request.after(&permit).await?)?;
    Ok(shown(app.master.projects.set_member(&permit, member, Some(role)).await?))
}

pub(crate) async fn remove_from_project(
    State(app): State<App>,
    User(caller): User,
    Path(project): Path<String>,
    query: Query,
) -> Answer<ListMembers> {
    let permit = project::permitted::<ManageProject>(&app, &caller, &project).await?;
    let member = unwanted(&query.after(&permit).await?)?;
    Ok(shown(app.master.projects.set_member(&permit, member, None).await?))
}

/// The members of a workspace as Determined's clients read them: by role.
pub(crate) async fn by_role(
    State(app): State<App>,
    User(caller): User,
    Path(workspace): Path<String>,
    query: Query,
) -> Answer<Value> {
    let permit = workspace::permitted::<SeeMembers>(&app, &caller, &workspace).await?;
    let params = query.after(&permit).await?;
    let mut members = app.master.workspaces.members(&permit).await?;
    if let Some(part) = params.get("name") {
        members.retain(|member| member.name.contains(part));
    }
    let (mut users, mut groups) = (Vec::new(), Vec::new());
    for member in &members {
        match member.id {
            MemberId::User(id) => {
                let user = app.master.accounts.by_id(&caller.actor, id).await?;
                users.push(crate::api::user::shown(&user));
            }
            MemberId::Group(id) => groups.push(json!({ "groupId": id, "name": member.name, "users": [] })),
        }
    }
    let place = permit.target().workspace;
    let members: Vec<_> = members.into_iter().map(|member| (place, member)).collect();
    let assignments = role::ROLES.map(|role| role::with_members(role, &members));
    Ok(Json(json!({ "groups": groups, "usersAssignedDirectly": users, "assignments": assignments })))
}
