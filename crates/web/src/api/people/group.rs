//! Groups of accounts over the API.

use ::api::few::Few;
use ::api::group::{
    CreateGroup, FoundGroup, Group, GroupDetails, GroupResponse, ListGroups, SearchGroups, UpdateGroup,
};
use ::api::page::Pagination;
use ::api::user::AssignGroups;
use ::api::wire::Empty;
use axum::Json;
use axum::extract::{Path, State};
use domain::authz::{self, ChangeGroup, DeleteGroup, SeeGroups};
use domain::group::{Assignment, GroupChange, NewGroup};
use domain::id::{GroupId, UserId};
use master::Error;
use master::group::{GroupFilter, Members, not_found};
use master::open::may;

use crate::App;
use crate::access::Access;
use crate::api::user;
use crate::extract::{User, check_count, id};
use crate::late::Body;
use crate::respond::{Answer, Failure};
use crate::table::Endpoint;

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::patch("/api/v1/users/assignments", Access::User, assign)
            .says("Put accounts into groups and take them out of others; for administrators")
            .asks::<authz::AssignGroups>()
            .takes::<AssignGroups>()
            .answers::<Empty>(),
        Endpoint::post("/api/v1/groups", Access::User, create)
            .says("Make a group; for administrators")
            .asks::<authz::CreateGroup>()
            .takes::<CreateGroup>()
            .answers::<GroupResponse>(),
        Endpoint::post("/api/v1/groups/search", Access::User, search)
            .says("Groups, and how many are in each; limit is 1 to 500")
            .reads()
            .grows()
            .asks::<SeeGroups>()
            .takes::<SearchGroups>()
            .answers::<ListGroups>(),
        Endpoint::get("/api/v1/groups/{group}", Access::User, get)
            .says("A group and who is in it")
            .grows()
            .asks::<SeeGroups>()
            .answers::<GroupResponse>(),
        Endpoint::put("/api/v1/groups/{group}", Access::User, update)
            .says("Change a group's name and members; for administrators")
            .asks::<ChangeGroup>()
            .takes::<UpdateGroup>()
            .answers::<GroupResponse>(),
        Endpoint::delete("/api/v1/groups/{group}", Access::User, delete)
            .says("Delete a group; for administrators")
            .asks::<DeleteGroup>()
            .answers::<Empty>(),
    ]
}

/// In place of a group, where it is asked for any.
const NO_GROUP: GroupId = GroupId(0);

/// Most groups of one answer.
const LIMIT: i64 = 500;

fn shown(members: &Members) -> Json<GroupResponse> {
    Json(GroupResponse {
        group: GroupDetails {
            group_id: members.group.id.0,
            name: members.group.name.clone(),
            users: members.users.iter().map(user::shown).collect(),
        },
    })
}

pub(crate) fn group_id(text: &str) -> Result<GroupId, Failure> {
    id(text, || not_found(text))
}

fn users(ids: Few<i64>) -> Result<Vec<UserId>, Failure> {
    check_count(ids.len())?;
    Ok(ids.into_iter().map(UserId).collect())
}

fn groups(ids: Few<i64>) -> Result<Vec<GroupId>, Failure> {
    check_count(ids.len())?;
    Ok(ids.into_iter().map(GroupId).collect())
}

/// An offset beyond the end is no error here (contract "identity", section 6).
pub(crate) async fn search(
    State(app): State<App>,
    User(caller): User,
    request: Body<SearchGroups>,
) -> Answer<ListGroups> {
    let permit = may::<SeeGroups>(&caller, ())?;
    let request = request.after(&permit).await?;
    let (limit, offset) = (request.limit.unwrap_or(0), request.offset.unwrap_or(0));
    if !(1..=LIMIT).contains(&limit) {
        let text = format!("Bad request: limit is required and must be <= {LIMIT}");
        return Err(Failure(Error::Invalid(text)));
    }
    if offset < 0 {
        return Err(Failure(Error::Invalid("offset out of bounds".to_owned())));
    }
    let filter = GroupFilter { name: request.name, member: request.user_id.map(UserId) };
    let page = |total: i64| {
        let start_index = offset.min(total);
        let end_index = start_index.saturating_add(limit).min(total);
        let pagination = Pagination { offset, limit, start_index, end_index, total };
        Ok((pagination, start_index, end_index - start_index))
    };
    let (found, pagination) = app.master.groups.list(&permit, &filter, page).await?;
    let shown = |(group, num_members): (domain::group::Group, i64)| FoundGroup {
        group: Group { group_id: group.id.0, name: group.name },
        num_members,
    };
    Ok(Json(ListGroups { groups: found.into_iter().map(shown).collect(), pagination }))
}

pub(crate) async fn create(
    State(app): State<App>,
    User(caller): User,
    request: Body<CreateGroup>,
) -> Answer<GroupResponse> {
    // Any group at all, if not that one.
    let permit = may::<authz::CreateGroup>(&caller, NewGroup::default())?;
    let request = request.after(&permit).await?;
    let new = NewGroup { name: request.name.unwrap_or_default(), add: users(request.add_users)? };
    let permit = may::<authz::CreateGroup>(&caller, new)?;
    Ok(shown(&app.master.groups.create(permit).await?))
}

pub(crate) async fn get(
    State(app): State<App>,
    User(caller): User,
    Path(group): Path<String>,
) -> Answer<GroupResponse> {
    let (permit, id) = (may::<SeeGroups>(&caller, ())?, group_id(&group)?);
    Ok(shown(&app.master.groups.get(&permit, id).await?))
}

pub(crate) async fn update(
    State(app): State<App>,
    User(caller): User,
    Path(group): Path<String>,
    request: Body<UpdateGroup>,
) -> Answer<GroupResponse> {
    // Any change at all, if not that one.
    let permit = may::<ChangeGroup>(&caller, (NO_GROUP, GroupChange::default()))?;
    let id = group_id(&group)?;
    let request = request.after(&permit).await?;
    let (add, remove) = (users(request.add_users)?, users(request.remove_users)?);
    let permit = may::<ChangeGroup>(&caller, (id, GroupChange { name: request.name, add, remove }))?;
    Ok(shown(&app.master.groups.change(permit).await?))
}

pub(crate) async fn delete(
    State(app): State<App>,
    User(caller): User,
    Path(group): Path<String>,
) -> Answer<Empty> {
    // What names no group isn't there, for those who may delete some.
    let id = group_id(&group);
    let permit = may::<DeleteGroup>(&caller, *id.as_ref().unwrap_or(&NO_GROUP))?;
    id?;
    app.master.groups.delete(permit).await?;
    Ok(Json(Empty {}))
}

/// Several accounts into several groups, and out of others.
pub(crate) async fn assign(
    State(app): State<App>,
    User(caller): User,
    request: Body<AssignGroups>,
) -> Answer<Empty> {
    // Out of groups, if not into some.
    let permit = may::<authz::AssignGroups>(&caller, Assignment::default())?;
    let request = request.after(&permit).await?;
    check_count(request.user_ids.len() * (request.add_groups.len() + request.remove_groups.len()))?;
    let (add, remove) = (groups(request.add_groups)?, groups(request.remove_groups)?);
    let assignment = Assignment { users: users(request.user_ids)?, add, remove };
    app.master.groups.assign(may::<authz::AssignGroups>(&caller, assignment)?).await?;
    Ok(Json(Empty {}))
}
