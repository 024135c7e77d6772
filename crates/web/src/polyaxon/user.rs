//! Logging in, accounts, administrators (contract "polyaxon", sections 3.1 and 3.3).

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use domain::authz::{ChangeUser, DecideRegistrations, DeleteUser, Deletion, SeeUser};
use domain::user::{Status, User, UserPatch};
use master::Error;
use master::open::{AccountName, may};
use serde::Deserialize;
use serde_json::json;

use super::wire::{Me, Token};
use super::{Answer, PolyaxonCaller, Refusal};
use crate::App;
use crate::access::Access;
use crate::extract::presented;
use crate::late::{Body, Form};
use crate::origin::Arrival;
use crate::table::{Endpoint, LOGIN_LIMIT};

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::post("/api/v1/users/token/", Access::Public, log_in)
            .says("Log in, for thirty days")
            .limited(LOGIN_LIMIT)
            .takes_form(&["username", "password"])
            .answers::<Token>(),
        Endpoint::get("/api/v1/users/", Access::Polyaxon, me).says("Who the caller is").answers::<Me>(),
        Endpoint::post("/api/v1/users/activate/{name}/", Access::Polyaxon, activate)
            .says("Let an account in; for administrators")
            .asks::<SeeUser>()
            .asks::<ChangeUser>()
            .answers_nothing(200),
        Endpoint::delete("/api/v1/users/delete/{name}/", Access::Polyaxon, delete)
            .says("Take an account away for good; for administrators")
            .asks::<SeeUser>()
            .may_ask::<DeleteUser>()
            .may_ask::<DecideRegistrations>()
            .answers_nothing(204),
        Endpoint::post("/api/v1/superusers/grant/{name}/", Access::Polyaxon, grant)
            .says("Make an administrator; for administrators")
            .asks::<SeeUser>()
            .asks::<ChangeUser>()
            .answers_nothing(200),
        Endpoint::post("/api/v1/superusers/revoke/{name}/", Access::Polyaxon, revoke)
            .says("Take the role away; for administrators")
            .asks::<SeeUser>()
            .asks::<ChangeUser>()
            .answers_nothing(200),
    ]
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Login {
    username: String,
    password: String,
}

/// What is said to everybody who can't come in, whatever the reason (R17).
fn unable() -> Refusal {
    Refusal::Fields(json!({ "non_field_errors": ["Unable to log in with provided credentials."] }))
}

/// A form, or JSON. The token is a session of thirty days, as every login gives.
pub(crate) async fn log_in(
    State(app): State<App>,
    arrival: Arrival,
    request: Request,
) -> Answer<Json<Token>> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let is_json = kind.is_some_and(|kind| kind.starts_with("application/json"));
    let why = "anybody may try to log in";
    let login: Login =
        if is_json { Body::of(request).unasked(why).await? } else { Form::of(request).unasked(why).await? };
    if login.username.is_empty() {
        return Err(Refusal::Fields(json!({ "username": ["This field is required."] })));
    }
    let password = presented(Some(login.password), None)?;
    let visitor = arrival.with(&app, &password).await;
    match app.master.sessions.log_in(&login.username, password, visitor).await {
        Ok(opened) => Ok(Json(Token { token: opened.token })),
        Err(Error::Unauthenticated(_)) => Err(unable()),
        // Told apart by Determined's clients only.
        Err(Error::Forbidden(text)) if text == master::session::NOT_ACTIVE => Err(unable()),
        Err(other) => Err(other.into()),
    }
}

pub(crate) async fn me(PolyaxonCaller(caller): PolyaxonCaller) -> Json<Me> {
    let user = &caller.user;
    // The client breaks on an address whose host has no dot.
    let readable = |email: &&String| email.rsplit_once('@').is_some_and(|(_, host)| host.contains('.'));
    Json(Me {
        username: user.username.clone(),
        email: user.email.as_ref().filter(readable).cloned(),
        is_superuser: user.admin,
    })
}

async fn change(
    app: &App,
    PolyaxonCaller(caller): PolyaxonCaller,
    name: &str,
    patch: UserPatch,
) -> Answer<User> {
    let user = app.master.open::<SeeUser>(&caller, AccountName(name.to_owned())).await?.into_target();
    let permit = may::<ChangeUser>(&caller, (user, patch))?;
    Ok(app.master.accounts.change(permit).await?)
}

pub(crate) async fn activate(
    State(app): State<App>,
    caller: PolyaxonCaller,
    Path(name): Path<String>,
) -> Answer<StatusCode> {
    let patch = UserPatch { active: Some(true), ..UserPatch::default() };
    change(&app, caller, &name, patch).await.map(|_| StatusCode::OK)
}

/// What the account made stays, under its name. One that waits to be let in is turned away: this client has no other
/// verb for that (contract "polyaxon", section 3.3).
pub(crate) async fn delete(
    State(app): State<App>,
    PolyaxonCaller(caller): PolyaxonCaller,
    Path(name): Path<String>,
) -> Answer<StatusCode> {
    let user = app.master.open::<SeeUser>(&caller, AccountName(name.clone())).await?.into_target();
    if user.status == Status::Pending {
        let permit = may::<DecideRegistrations>(&caller, ())?;
        app.master.registrations.reject(permit, &name).await?;
        return Ok(StatusCode::NO_CONTENT);
    }
    let permit = may::<DeleteUser>(&caller, Deletion { user, heir: None })?;
    app.master.accounts.delete(permit).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn grant(
    State(app): State<App>,
    caller: PolyaxonCaller,
    Path(name): Path<String>,
) -> Answer<StatusCode> {
    let patch = UserPatch { admin: Some(true), ..UserPatch::default() };
    change(&app, caller, &name, patch).await.map(|_| StatusCode::OK)
}

pub(crate) async fn revoke(
    State(app): State<App>,
    caller: PolyaxonCaller,
    Path(name): Path<String>,
) -> Answer<StatusCode> {
    let patch = UserPatch { admin: Some(false), ..UserPatch::default() };
    change(&app, caller, &name, patch).await.map(|_| StatusCode::OK)
}
