//! Accounts over the API.

use ::api::page::Pagination;
use ::api::user::{
    AgentUserGroup, CreateUser, DeleteUserQuery, ListUsers, PatchUser, PatchUsers, PatchUsersResponse,
    UserQuery, UserResponse, UserResult,
};
use ::api::wire::Empty;
use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use domain::audit::{By, Who};
use domain::authz::{self, Actor, ChangeUser, DeleteUser, Deletion, EditUser, SeeUser, Visible};
use domain::id::UserId;
use domain::identity::IdentityParts;
use domain::password::Sent;
use domain::user::{NewUser, UserPatch};
use master::Error;
use master::account::{SortBy, UserFilter};
use master::open::{AccountName, may, to};
use master::session::Caller;

use crate::App;
use crate::access::Access;
use crate::extract::{PAGE_CAP, User, check_count, paged_up_to, presented};
use crate::late::{Body, Query};
use crate::open::open;
use crate::query::{Asked, is_descending, page};
use crate::respond::{self, Answer, Failure};
use crate::table::Endpoint;
use crate::whole::{self, Step};

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/api/v1/users", Access::User, list)
            .says("Accounts")
            .pages()
            .query::<UserQuery>()
            .answers::<ListUsers>(),
        Endpoint::post("/api/v1/users", Access::User, create)
            .says("Make an account; for administrators")
            .asks::<domain::authz::CreateUser>()
            .takes::<CreateUser>()
            .answers::<UserResponse>(),
        Endpoint::patch("/api/v1/users", Access::User, patch_many)
            .says("Let several accounts in or out; what is refused is said of each")
            .may_ask::<SeeUser>()
            .may_ask::<ChangeUser>()
            .takes::<PatchUsers>()
            .answers::<PatchUsersResponse>(),
        Endpoint::get("/api/v1/users/{user}", Access::User, get)
            .says("One account")
            .asks::<SeeUser>()
            .answers::<UserResponse>(),
        Endpoint::patch("/api/v1/users/{user}", Access::User, patch)
            .says("Change an account: what is absent stays")
            .ends()
            .asks::<SeeUser>()
            .asks::<EditUser>()
            .asks::<ChangeUser>()
            .takes::<PatchUser>()
            .answers::<UserResponse>(),
        Endpoint::get("/api/v1/users/{user}/by-username", Access::User, by_username)
            .says("One account by its exact name")
            .asks::<SeeUser>()
            .answers::<UserResponse>(),
        Endpoint::post("/api/v1/users/{user}/password", Access::User, set_password)
            .says("Set a password: the body is a JSON string, the password")
            .ends()
            .asks::<SeeUser>()
            .asks::<ChangeUser>()
            .takes::<String>()
            .answers::<UserResponse>(),
        Endpoint::delete("/api/v1/users/{user}", Access::User, delete)
            .says("Take an account away for good; for administrators")
            .ends()
            .asks::<SeeUser>()
            .asks::<DeleteUser>()
            .query::<DeleteUserQuery>()
            .answers::<Empty>(),
    ]
}

/// An account as it goes over the wire.
pub(crate) fn shown(user: &domain::user::User) -> ::api::user::User {
    ::api::user::User {
        id: user.id.0,
        username: user.username.clone(),
        admin: user.admin,
        active: user.is_active(),
        remote: user.remote,
        service: user.service,
        display_name: user.display_name.clone(),
        agent_user_group: user.identity.as_ref().map(|identity| AgentUserGroup {
            agent_uid: Some(i64::from(identity.uid)),
            agent_gid: Some(i64::from(identity.gid)),
            agent_user: Some(identity.user.clone()),
            agent_group: Some(identity.group.clone()),
        }),
        email: None,
        modified_at: user.modified_at.rfc3339(),
        last_auth_at: user.last_login_at.map(domain::time::Timestamp::rfc3339),
    }
}

/// The same for its own person and for administrators, who may know where mail reaches it.
pub(crate) fn shown_to(actor: &Actor, user: &domain::user::User) -> ::api::user::User {
    let email = user.email.clone().filter(|_| actor.admin || actor.user == user.id);
    ::api::user::User { email, ..shown(user) }
}

pub(crate) async fn list(
    State(app): State<App>,
    User(caller): User,
    Asked(query): Asked<UserQuery>,
) -> Result<Response, Failure> {
    if query.role_id_assigned_directly_to_user.is_some() {
        return Err(Failure(Error::Invalid("cannot filter by role id. RBAC must be enabled.".to_owned())));
    }
    let filter = UserFilter {
        name: query.name,
        active: query.active,
        admin: query.admin,
        sort: sort_by(query.sort_by.as_deref().unwrap_or("")),
        descending: is_descending(query.order_by.as_deref()),
    };
    // Determined's client looks names up in a list that it asks for without paging, and doesn't ask on.
    if query.offset.is_none() && query.limit.is_none() {
        return Ok(all(&app, &caller, filter));
    }
    let scope = Visible::to(&caller.actor);
    let page = paged_up_to(page(query.offset, query.limit), PAGE_CAP);
    let (users, pagination) = app.master.accounts.list(scope, &filter, page).await?;
    respond::list("users", users.iter().map(|user| shown_to(&caller.actor, user)), &pagination)
}

/// Rows that are read at a time for a list without a limit.
const STEP: i64 = 250;

/// The whole list, each step from where the last one ended.
fn all(app: &App, caller: &Caller, filter: UserFilter) -> Response {
    let (master, actor) = (app.master.clone(), caller.actor.clone());
    let next = move |last: Option<domain::user::User>, _| {
        let (master, actor, filter) = (master.clone(), actor.clone(), filter.clone());
        async move {
            let scope = Visible::to(&actor);
            let mut users = master.accounts.after(scope, &filter, last.as_ref(), STEP).await?;
            let rows =
                users.iter().map(|user| whole::row(&shown_to(&actor, user))).collect::<Result<_, _>>()?;
            Ok(Step { rows, last: users.pop() })
        }
    };
    whole::written(app, caller, "users", Pagination::default(), next)
}

fn sort_by(text: &str) -> SortBy {
    match text.trim_start_matches("SORT_BY_") {
        "DISPLAY_NAME" => SortBy::DisplayName,
        "USER_NAME" => SortBy::Username,
        "ADMIN" => SortBy::Admin,
        "ACTIVE" => SortBy::Active,
        "MODIFIED_TIME" => SortBy::ModifiedAt,
        "NAME" => SortBy::Name,
        "LAST_AUTH_TIME" => SortBy::LastLogin,
        "REMOTE" => SortBy::Remote,
        _ => SortBy::Id,
    }
}

pub(crate) async fn create(
    State(app): State<App>,
    User(caller): User,
    request: Body<CreateUser>,
) -> Answer<UserResponse> {
    // Any account at all, if not that one.
    let permit = may::<authz::CreateUser>(&caller, NewUser::without_a_way_in())?;
    let request = request.after(&permit).await?;
    let new = request.user.ok_or_else(|| Error::Invalid("must specify user to create".to_owned()))?;
    let (new, password) = (new_user(new), presented(request.password, request.is_hashed)?);
    app.master.accounts.prepare(&new, &password)?;
    let permit = may::<authz::CreateUser>(&caller, new)?;
    let user = app.master.accounts.create(permit, password).await?;
    Ok(Json(UserResponse { user: shown_to(&caller.actor, &user) }))
}

fn new_user(new: ::api::user::NewUser) -> NewUser {
    NewUser {
        username: new.username.unwrap_or_default(),
        display_name: new.display_name.unwrap_or_default(),
        admin: new.admin.unwrap_or(false),
        active: new.active.unwrap_or(false),
        remote: new.remote.unwrap_or(false),
        service: new.service.unwrap_or(false),
        identity: new.agent_user_group.map(identity),
    }
}

/// A Unix identity as it was sent.
pub(crate) fn identity(group: AgentUserGroup) -> IdentityParts {
    let AgentUserGroup { agent_uid, agent_gid, agent_user, agent_group } = group;
    IdentityParts { user: agent_user, uid: agent_uid, group: agent_group, gid: agent_gid }
}

pub(crate) async fn get(
    State(app): State<App>,
    User(caller): User,
    Path(user): Path<String>,
) -> Answer<UserResponse> {
    let permit = open::<SeeUser>(&app, &caller, &user).await?;
    Ok(Json(UserResponse { user: shown_to(&caller.actor, permit.target()) }))
}

pub(crate) async fn by_username(
    State(app): State<App>,
    User(caller): User,
    Path(username): Path<String>,
) -> Answer<UserResponse> {
    let permit = app.master.open::<SeeUser>(&caller, AccountName(username)).await?;
    Ok(Json(UserResponse { user: shown_to(&caller.actor, permit.target()) }))
}

pub(crate) async fn patch(
    State(app): State<App>,
    User(caller): User,
    Path(user): Path<String>,
    patch: Body<PatchUser>,
) -> Answer<UserResponse> {
    let user = open::<SeeUser>(&app, &caller, &user).await?.into_target();
    let patch = sent(&caller, &user, patch).await?;
    Ok(Json(UserResponse { user: shown_to(&caller.actor, &change(&app, &caller, user, patch).await?) }))
}

/// What is to change of an account.
async fn sent(
    caller: &Caller,
    user: &domain::user::User,
    body: Body<PatchUser>,
) -> Result<PatchUser, Failure> {
    match may::<EditUser>(caller, user.clone()) {
        Ok(permit) => body.after(&permit).await,
        Err(refusal) => {
            let read = body.unasked("the refusal names what they wanted to change").await;
            read.map_err(|_| Failure(refusal))
        }
    }
}

async fn change(
    app: &App,
    caller: &Caller,
    user: domain::user::User,
    patch: PatchUser,
) -> Result<domain::user::User, Failure> {
    let patch = patched(patch);
    let password = patch.password.clone();
    let permit = may::<ChangeUser>(caller, (user, patch))?;
    if let Some(password) = password {
        presented(Some(password.text), Some(password.is_hashed))?;
    }
    Ok(app.master.accounts.change(permit).await?)
}

/// What is to change of an account, as it was sent.
fn patched(patch: PatchUser) -> UserPatch {
    let is_hashed = patch.is_hashed.unwrap_or(false);
    UserPatch {
        username: patch.username,
        display_name: patch.display_name,
        email: patch.email,
        password: patch.password.map(|text| Sent { text, is_hashed }),
        admin: patch.admin,
        remote: patch.remote,
        active: patch.active,
        identity: patch.agent_user_group.map(identity),
        unlinks: patch.unlink_agent_user.unwrap_or(false),
        kill_tasks: patch.kill_tasks.unwrap_or(false),
    }
}

pub(crate) async fn delete(
    State(app): State<App>,
    User(caller): User,
    Path(user): Path<String>,
    query: Query<DeleteUserQuery>,
) -> Answer<Empty> {
    let user = open::<SeeUser>(&app, &caller, &user).await?.into_target();
    // If not with that heir.
    let permit = may::<DeleteUser>(&caller, Deletion { user, heir: None })?;
    let heir = query.after(&permit).await?.assets_to.map(UserId);
    let permit = may::<DeleteUser>(&caller, Deletion { heir, ..permit.into_target() })?;
    app.master.accounts.delete(permit).await?;
    Ok(Json(Empty {}))
}

/// Lets several accounts in or out. What is refused or goes wrong is said of each in the answer, as Determined's clients
/// know it.
pub(crate) async fn patch_many(
    State(app): State<App>,
    User(caller): User,
    request: Body<PatchUsers>,
) -> Answer<PatchUsersResponse> {
    let request =
        request.unasked("the accounts are in it: of each is said whether it may be changed").await?;
    if request.activate.is_none() {
        return Err(Failure(Error::Invalid("missing argument: activate".to_owned())));
    }
    check_count(request.user_ids.len())?;
    let patch = PatchUser { active: request.activate, ..PatchUser::default() };
    let by = By::from(&caller.actor);
    let mut results = Vec::new();
    for id in request.user_ids {
        let found = app.master.open::<SeeUser>(&caller, UserId(id)).await;
        let done = match found {
            Ok(permit) => change(&app, &caller, permit.into_target(), patch.clone()).await,
            Err(error) => Err(Failure(error)),
        };
        let error = match done {
            Ok(_) => String::new(),
            // A fault of ours is no matter of one account.
            Err(failure) if failure.0.code().http() >= 500 => return Err(failure),
            Err(Failure(error)) => error.to_string(),
        };
        if !error.is_empty() {
            app.master.audit.refused(&by, "user.update", Who::named("user", &id, ""), error.clone());
        }
        results.push(UserResult { id, error });
    }
    Ok(Json(PatchUsersResponse { results }))
}

/// The body is a bare JSON string, the password in plain text.
pub(crate) async fn set_password(
    State(app): State<App>,
    User(caller): User,
    Path(user): Path<String>,
    password: Body<String>,
) -> Answer<UserResponse> {
    let user = open::<SeeUser>(&app, &caller, &user).await?.into_target();
    // Any password at all, if not that one.
    let permit = may::<ChangeUser>(&caller, (user, UserPatch::password(Sent::default())))?;
    let text = password.after(&permit).await?;
    presented(Some(text.clone()), Some(false))?;
    let permit = to(&caller, permit, UserPatch::password(Sent { text, is_hashed: false }))?;
    let user = app.master.accounts.change(permit).await?;
    Ok(Json(UserResponse { user: shown_to(&caller.actor, &user) }))
}
