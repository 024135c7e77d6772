//! Logging in and out over the API.

use ::api::auth::{Login, LoginResponse};
use ::api::user::{Me, UserResponse};
use ::api::wire::Empty;
use axum::Json;
use axum::extract::State;
use domain::user::Password;
use master::Error;
use master::session::{Device, Visitor};

use crate::App;
use crate::access::Access;
use crate::access::AnyCaller;
use crate::api::user::{shown, shown_to};
use crate::extract::{User, presented};
use crate::late::Body;
use crate::origin::Arrival;
use crate::respond::Answer;
use crate::table::{Endpoint, LOGIN_LIMIT};

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::post("/api/v1/auth/login", Access::Public, log_in)
            .says("Log in, for thirty days")
            .limited(LOGIN_LIMIT)
            .takes::<Login>()
            .answers::<LoginResponse>(),
        Endpoint::post("/api/v1/auth/logout", Access::User, log_out)
            .says("End the caller's session")
            .reads()
            .answers::<Empty>(),
        Endpoint::get("/api/v1/auth/user", Access::User, current)
            .says("Who the caller is")
            .answers::<UserResponse>(),
        Endpoint::get("/api/v1/me", Access::UserOrTask, me)
            .says("Who the caller is; for tasks too")
            .answers::<Me>(),
    ]
}

pub(crate) async fn log_in(
    State(app): State<App>,
    arrival: Arrival,
    login: Body<Login>,
) -> Answer<LoginResponse> {
    let login = login.unasked("anybody may try to log in").await?;
    let password = presented(login.password, login.is_hashed)?;
    let visitor = arrival.with(&app, &password).await;
    let device = login
        .device
        .as_deref()
        .map_or(Device::None, |device| Device::keeping(Some(device).filter(|device| !device.is_empty())));
    let visitor = Visitor { device, ..visitor };
    let username = login.username.unwrap_or_default();
    let opened = app.master.sessions.log_in(&username, password, visitor).await?;
    Ok(Json(LoginResponse {
        token: opened.token,
        blank_password: opened.user.password == Password::Blank,
        user: shown(&opened.user),
        expires_at: opened.session.expires_at.rfc3339(),
        device: opened.device,
    }))
}

pub(crate) async fn log_out(State(app): State<App>, User(caller): User) -> Answer<Empty> {
    app.master.sessions.log_out(&caller).await?;
    Ok(Json(Empty {}))
}

pub(crate) async fn current(User(caller): User) -> Json<UserResponse> {
    Json(UserResponse { user: shown_to(&caller.actor, &caller.user) })
}

/// A task whose owner is deactivated goes on with its own data; it is nobody's stand-in any more (A14, P17).
pub(crate) async fn me(caller: AnyCaller) -> Answer<Me> {
    let (user, shown) = match &caller {
        AnyCaller::User(caller) => (&*caller.user, shown_to(&caller.actor, &caller.user)),
        AnyCaller::Task(task) if !task.owner.is_active() => {
            return Err(Error::Forbidden(master::session::NOT_ACTIVE.to_owned()).into());
        }
        AnyCaller::Task(task) => (&task.owner, shown(&task.owner)),
    };
    Ok(Json(Me { user: shown, blank_password: user.password == Password::Blank }))
}
