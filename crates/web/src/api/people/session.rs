//! Login sessions over the API: people see and end their own.

use ::api::auth::{ListSessions, Session};
use ::api::wire::Empty;
use axum::Json;
use axum::extract::{Path, State};
use domain::authz::{EndSession, SeeSessions};

use crate::App;
use crate::access::Access;
use crate::extract::User;
use crate::open::open;
use crate::respond::Answer;
use crate::table::Endpoint;

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/api/v1/users/{user}/sessions", Access::User, list)
            .says("Where an account is logged in")
            .grows()
            .asks::<SeeSessions>()
            .answers::<ListSessions>(),
        Endpoint::delete("/api/v1/sessions/{session}", Access::User, end)
            .says("End a session, wherever its token is")
            .ends()
            .asks::<EndSession>()
            .answers::<Empty>(),
    ]
}

pub(crate) async fn list(
    State(app): State<App>,
    User(caller): User,
    Path(user): Path<String>,
) -> Answer<ListSessions> {
    let permit = open::<SeeSessions>(&app, &caller, &user).await?;
    // All that `limits.sessions` leaves there: one that isn't shown can't be ended.
    let sessions = app.master.sessions.list(permit, i64::MAX).await?;
    let shown = |session: domain::session::Session| Session {
        id: session.id.0,
        user_id: session.user_id.0,
        created_at: session.created_at.rfc3339(),
        expires_at: session.expires_at.rfc3339(),
        current: caller.actor.session() == Some(session.id),
    };
    Ok(Json(ListSessions { sessions: sessions.into_iter().map(shown).collect() }))
}

pub(crate) async fn end(
    State(app): State<App>,
    User(caller): User,
    Path(session): Path<String>,
) -> Answer<Empty> {
    let permit = open::<EndSession>(&app, &caller, &session).await?;
    app.master.sessions.end(permit).await?;
    Ok(Json(Empty {}))
}
