//! Roles over the API. Muster has none of Determined's: an account is an administrator or not, and workspaces and
//! projects have members. Lists are empty, and nothing can be assigned.

use ::api::page::Pagination;
use axum::Json;
use axum::extract::{Path, State};
use domain::authz::{AssignRoles, Visible, authorize};
use master::Error;
use serde_json::{Value, json};

use crate::App;
use crate::api::group::group_id;
use crate::api::user::user_id;
use crate::extract::User;
use crate::respond::{Answer, Failure};

const OFF: &str =
    "role-based access is off: make accounts administrators, or members of workspaces and projects";

pub(crate) async fn search(User(_): User) -> Json<Value> {
    Json(json!({ "roles": [], "pagination": Pagination::default() }))
}

pub(crate) async fn by_ids(User(_): User) -> Json<Value> {
    Json(json!({ "roles": [] }))
}

pub(crate) async fn permissions(User(_): User) -> Json<Value> {
    Json(json!({ "roles": [], "assignments": [] }))
}

pub(crate) async fn of_user(
    State(app): State<App>,
    User(caller): User,
    Path(user): Path<String>,
) -> Answer<Value> {
    app.master.accounts.by_id(&caller.actor, user_id(&user)?).await?;
    Ok(Json(json!({ "roles": [] })))
}

pub(crate) async fn of_group(
    State(app): State<App>,
    User(caller): User,
    Path(group): Path<String>,
) -> Answer<Value> {
    app.master.groups.get(Visible::to(&caller.actor), group_id(&group)?).await?;
    Ok(Json(json!({ "roles": [], "assignments": [] })))
}

pub(crate) async fn assign(User(caller): User) -> Answer<Value> {
    let permit = authorize::<AssignRoles>(&caller.actor, ());
    permit.map_err(|refusal| Error::refused(refusal, "not found".to_owned()))?;
    Err(Failure(Error::Invalid(OFF.to_owned())))
}
