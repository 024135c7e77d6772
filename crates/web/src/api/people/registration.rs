//! Asking to be let in, deciding, inviting (X5, X11).

use ::api::page::PageQuery;
use ::api::registration as wire;
use ::api::wire::Empty;
use axum::Json;
use axum::extract::{Path, State};
use domain::authz::{DecideRegistrations, InviteUser, SeeRegistrations};
use domain::registration::{Invitation, Registration, State as Decision};
use domain::time::Timestamp;
use master::Error;
use master::open::may;
use master::registration::Wish;

use crate::App;
use crate::access::Access;
use crate::api::user::shown;
use crate::extract::{User, paged, presented};
use crate::late::{Body, Query};
use crate::origin::Arrival;
use crate::query::page;
use crate::respond::Answer;
use crate::table::{Endpoint, LOGIN_LIMIT};

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::post("/api/v1/users/register", Access::Public, register)
            .says("Ask for an account")
            .limited(LOGIN_LIMIT)
            .takes::<::api::registration::Register>()
            .answers::<::api::registration::Registered>(),
        Endpoint::get("/api/v1/registrations", Access::User, list)
            .says("Who asked to be let in, the newest first; for administrators")
            .grows()
            .asks::<SeeRegistrations>()
            .query::<::api::registration::RegistrationQuery>()
            .answers::<::api::registration::ListRegistrations>(),
        Endpoint::post("/api/v1/registrations/{username}/accept", Access::User, accept)
            .says("Let somebody in; for administrators")
            .asks::<DecideRegistrations>()
            .answers::<Empty>(),
        Endpoint::post("/api/v1/registrations/{username}/reject", Access::User, reject)
            .says("Turn somebody away; for administrators")
            .asks::<DecideRegistrations>()
            .answers::<Empty>(),
        Endpoint::get("/api/v1/invitations", Access::User, invitations)
            .says("Invitations to register, the newest first; for administrators")
            .grows()
            .asks::<SeeRegistrations>()
            .query::<PageQuery>()
            .answers::<::api::registration::ListInvitations>(),
        Endpoint::post("/api/v1/invitations", Access::User, invite)
            .says("Invite somebody to register; for administrators")
            .asks::<InviteUser>()
            .takes::<::api::registration::Invite>()
            .answers::<::api::registration::Invited>(),
    ]
}

pub(crate) async fn register(
    State(app): State<App>,
    arrival: Arrival,
    body: Body<wire::Register>,
) -> Answer<wire::Registered> {
    let body = body.unasked("anybody may ask to be let in").await?;
    presented(body.password.clone(), body.is_hashed)?;
    let wish = Wish {
        username: body.username.unwrap_or_default(),
        email: body.email.unwrap_or_default(),
        password: body.password.unwrap_or_default(),
        is_hashed: body.is_hashed.unwrap_or(false),
        display_name: body.display_name.unwrap_or_default(),
        invitation: body.invitation.filter(|code| !code.is_empty()),
    };
    let user = app.master.registrations.register(wish, arrival.from_anywhere()).await?;
    Ok(Json(wire::Registered { user: shown(&user) }))
}

pub(crate) async fn list(
    State(app): State<App>,
    User(caller): User,
    query: Query<wire::RegistrationQuery>,
) -> Answer<wire::ListRegistrations> {
    let permit = may::<SeeRegistrations>(&caller, ())?;
    let query = query.after(&permit).await?;
    let unknown =
        |text: &str| Error::Invalid(format!("state: '{}' can't be understood", text.escape_debug()));
    let state = query.state.map(|text| Decision::parse(&text).ok_or_else(|| unknown(&text))).transpose()?;
    let page = paged(page(query.offset, query.limit));
    let (registrations, pagination) = app.master.registrations.list(&permit, state, page).await?;
    let registrations = registrations.into_iter().map(registration).collect();
    Ok(Json(wire::ListRegistrations { registrations, pagination }))
}

fn registration(registration: Registration) -> wire::Registration {
    wire::Registration {
        id: registration.id,
        username: registration.username,
        email: registration.email,
        user_id: registration.user.0,
        state: registration.state.as_str().to_owned(),
        address: registration.address,
        created_at: registration.created_at.rfc3339(),
        decided_at: registration.decided_at.map(Timestamp::rfc3339),
        decided_by: registration.decided_by.map(|by| by.0),
    }
}

pub(crate) async fn accept(
    State(app): State<App>,
    User(caller): User,
    Path(username): Path<String>,
) -> Answer<Empty> {
    let permit = may::<DecideRegistrations>(&caller, ())?;
    app.master.registrations.accept(permit, &username).await?;
    Ok(Json(Empty {}))
}

pub(crate) async fn reject(
    State(app): State<App>,
    User(caller): User,
    Path(username): Path<String>,
) -> Answer<Empty> {
    let permit = may::<DecideRegistrations>(&caller, ())?;
    app.master.registrations.reject(permit, &username).await?;
    Ok(Json(Empty {}))
}

pub(crate) async fn invite(
    State(app): State<App>,
    User(caller): User,
    body: Body<wire::Invite>,
) -> Answer<wire::Invited> {
    let permit = may::<InviteUser>(&caller, ())?;
    let body = body.after(&permit).await?;
    let (code, made) = app.master.registrations.invite(permit, body.email.as_deref(), body.days).await?;
    Ok(Json(wire::Invited { code, invitation: invitation(made) }))
}

pub(crate) async fn invitations(
    State(app): State<App>,
    User(caller): User,
    query: Query<PageQuery>,
) -> Answer<wire::ListInvitations> {
    let permit = may::<SeeRegistrations>(&caller, ())?;
    let query = query.after(&permit).await?;
    let (invitations, pagination) = app.master.registrations.invitations(&permit, paged(query)).await?;
    let invitations = invitations.into_iter().map(invitation).collect();
    Ok(Json(wire::ListInvitations { invitations, pagination }))
}

fn invitation(invitation: Invitation) -> wire::Invitation {
    wire::Invitation {
        id: invitation.id,
        email: invitation.email,
        created_by: invitation.created_by.map(|by| by.0),
        created_at: invitation.created_at.rfc3339(),
        expires_at: invitation.expires_at.rfc3339(),
        used_by: invitation.used_by.map(|by| by.0),
        used_at: invitation.used_at.map(Timestamp::rfc3339),
    }
}
