//! One's own account in the browser: another password (R26), and where one is signed in.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{AppendHeaders, IntoResponse, Redirect, Response};
use domain::authz::{ChangeUser, EndSession, SeeSessions};
use domain::password::Sent;
use domain::session::LIFETIME;
use domain::user::{Password, UserPatch};
use master::Error;
use master::open::{may, to};
use serde::Deserialize;

use crate::App;
use crate::access::Access;
use crate::cookie::{Channel, Cookie};
use crate::extract::{Params, presented};
use crate::late::Form;
use crate::open::open;
use crate::origin::{Arrival, is_unencrypted};
use crate::respond::{PageFailure, sentence, status};
use crate::table::{Endpoint, LOGIN_LIMIT};
use crate::ui::display::{ago, moment};
use crate::ui::page::Page;
use crate::ui::shell::{Shell, render};

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/account", Access::Page, show).grows().asks::<SeeSessions>(),
        Endpoint::post("/account/password", Access::Page, change_password)
            .limited(LOGIN_LIMIT)
            .ends()
            .asks::<ChangeUser>()
            .may_ask::<SeeSessions>(),
        Endpoint::post("/account/sessions/{session}/end", Access::Page, end_session)
            .ends()
            .asks::<EndSession>(),
    ]
}

/// Most sessions that are shown.
const SESSIONS: i64 = 100;

/// The page.
#[derive(Template)]
#[template(path = "account/show.html")]
struct AccountPage {
    shell: Shell,
    username: String,
    email: Option<String>,
    /// Signs on elsewhere, or is no person.
    no_password: bool,
    /// The current password has to be entered.
    ask_current: bool,
    /// Why the last attempt failed.
    problem: Option<String>,
    /// The password was just changed.
    changed: bool,
    /// The password travels in the clear (D9).
    unencrypted: bool,
    sessions: Vec<Row>,
}

/// One session.
struct Row {
    id: i64,
    /// How long ago, and when.
    opened: (String, String),
    ends: String,
    current: bool,
}

/// What the form sends. An absent current password is the blank one.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Change {
    current: String,
    new: String,
    again: String,
    /// The box is ticked.
    end_others: Option<String>,
}

pub(crate) async fn show(
    State(app): State<App>,
    channel: Channel,
    headers: HeaderMap,
    params: Params,
    page: Page,
) -> Result<Response, PageFailure> {
    let changed = params.get("changed").is_some();
    Ok(account_page(&app, is_unencrypted(channel, &headers), page, changed, None).await?.into_response())
}

async fn account_page(
    app: &App,
    unencrypted: bool,
    page: Page,
    changed: bool,
    problem: Option<&Error>,
) -> Result<impl IntoResponse + use<>, Error> {
    let Page { caller, shell, .. } = page;
    let user = &caller.user;
    let permit = may::<SeeSessions>(&caller, (**user).clone())?;
    let now = app.master.clock.now();
    let sessions = app.master.sessions.list(permit, SESSIONS).await?;
    let row = |session: domain::session::Session| Row {
        id: session.id.0,
        opened: (ago(now, session.created_at), moment(session.created_at)),
        ends: moment(session.expires_at),
        current: caller.actor.session() == Some(session.id),
    };
    render(&AccountPage {
        shell,
        username: user.username.clone(),
        email: user.email.clone(),
        no_password: user.remote || user.service,
        ask_current: !caller.is_default() && user.password != Password::Blank,
        problem: problem.map(sentence),
        changed,
        unencrypted,
        sessions: sessions.into_iter().map(row).collect(),
    })
}

/// Changes the password; this browser goes on with a session of its own.
pub(crate) async fn change_password(
    State(app): State<App>,
    arrival: Arrival,
    channel: Channel,
    headers: HeaderMap,
    page: Page,
    change: Form<Change>,
) -> Result<Response, PageFailure> {
    // Any password at all, if not that one.
    let user = (*page.caller.user).clone();
    let permit = may::<ChangeUser>(&page.caller, (user, UserPatch::password(Sent::default())))?;
    let change = change.after(&permit).await?;
    let current = presented(Some(change.current), None)?;
    presented(Some(change.new.clone()), None)?;
    let visitor = arrival.placed(&app).await;
    let end_others = change.end_others.is_some();
    let changed = if change.new == change.again {
        let sent = Sent { text: change.new, is_hashed: false };
        let permit = to(&page.caller, permit, UserPatch::password(sent))?;
        app.master.sessions.change_own_password(&permit, current, end_others, visitor).await
    } else {
        Err(Error::Invalid("the two new passwords differ".to_owned()))
    };
    match changed {
        Ok(opened) => {
            let cookies =
                [channel.set(Cookie::Session, &opened.token, LIFETIME), channel.clear(Cookie::SignedOut)];
            Ok((AppendHeaders(cookies), Redirect::to("/account?changed=1")).into_response())
        }
        Err(error @ Error::Unauthenticated(_)) => Err(error.into()),
        Err(error) => {
            let code = status(error.code());
            let unencrypted = is_unencrypted(channel, &headers);
            let html = account_page(&app, unencrypted, page, false, Some(&error)).await?;
            let mut response = (code, html).into_response();
            crate::respond::add_hints(&error, &mut response);
            Ok(response)
        }
    }
}

/// Ends one of the caller's sessions; ending the one of this browser is signing out.
pub(crate) async fn end_session(
    State(app): State<App>,
    channel: Channel,
    page: Page,
    Path(session): Path<String>,
) -> Result<Response, PageFailure> {
    let permit = open::<EndSession>(&app, &page.caller, &session).await?;
    let own = page.caller.actor.session() == Some(permit.target().id);
    app.master.sessions.end(permit).await?;
    let cookies = AppendHeaders(own.then(|| channel.clear(Cookie::Session)));
    Ok((cookies, Redirect::to("/account")).into_response())
}
