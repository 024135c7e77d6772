//! Logging in and out in the browser (P9, P10).

use askama::Template;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{AppendHeaders, IntoResponse, Redirect, Response};
use domain::session::LIFETIME;
use domain::throttle::PLACE_FORGOTTEN_AFTER;
use master::Error;
use master::config::Registration as Mode;
use master::session::{Device, Visitor};
use serde::Deserialize;

use crate::App;
use crate::access::Access;
use crate::cookie::{Channel, Cookie};
use crate::extract::{Params, presented};
use crate::late::Form;
use crate::origin::{Arrival, is_unencrypted, same_origin};
use crate::respond::{PageFailure, sentence, status};
use crate::table::{Endpoint, LOGIN_LIMIT};
use crate::ui::page::{self, Page};
use crate::ui::redirect::{login_for, own};
use crate::ui::shell::{Shell, render};

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/login", Access::Public, show),
        Endpoint::post("/login", Access::Public, log_in).limited(LOGIN_LIMIT),
        Endpoint::post("/logout", Access::Page, log_out).ends(),
        Endpoint::get("/det/login", Access::Public, det_login),
    ]
}

/// The login page.
#[derive(Template)]
#[template(path = "session/login.html")]
struct LoginPage<'a> {
    shell: Shell,
    username: &'a str,
    redirect: &'a str,
    /// Why the last attempt failed.
    problem: Option<String>,
    /// The password travels in the clear (D9).
    unencrypted: bool,
    /// The account that needs no password here (P2).
    default_user: Option<String>,
    /// Who has no account can ask for one.
    may_register: bool,
}

/// What the form sends. An absent password is the blank one.
#[derive(Deserialize)]
pub(crate) struct Login {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    redirect: String,
}

pub(crate) async fn show(
    State(app): State<App>,
    arrival: Arrival,
    channel: Channel,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, PageFailure> {
    let asked = Login {
        username: String::new(),
        password: String::new(),
        redirect: params.get("redirect").unwrap_or("/").to_owned(),
    };
    Ok(login_page(&app, &arrival, is_unencrypted(channel, &headers), &asked, None).await?.into_response())
}

/// Anybody may ask, so the proof that the form is ours is asked for here (R07): no page logs its visitor in as somebody.
pub(crate) async fn log_in(
    State(app): State<App>,
    arrival: Arrival,
    channel: Channel,
    headers: HeaderMap,
    login: Form<Login>,
) -> Result<Response, PageFailure> {
    if !same_origin(&headers) {
        return Err(Error::Forbidden("this form was not sent from Muster's own pages".to_owned()).into());
    }
    let login = login.unasked("anybody may try to log in").await?;
    let password = presented(Some(login.password.clone()), None)?;
    let device = Device::keeping(channel.read(&headers, Cookie::Device).as_deref());
    let visitor = Visitor { device, ..arrival.with(&app, &password).await };
    match app.master.sessions.log_in(login.username.trim(), password, visitor).await {
        Ok(opened) => {
            let mut cookies =
                vec![channel.set(Cookie::Session, &opened.token, LIFETIME), channel.clear(Cookie::SignedOut)];
            if let Some(device) = &opened.device {
                cookies.push(channel.set(Cookie::Device, device, PLACE_FORGOTTEN_AFTER));
            }
            Ok((AppendHeaders(cookies), Redirect::to(own(&login.redirect))).into_response())
        }
        Err(error) => {
            let code = status(error.code());
            let unencrypted = is_unencrypted(channel, &headers);
            let page = login_page(&app, &arrival, unencrypted, &login, Some(error)).await?;
            Ok((code, page).into_response())
        }
    }
}

async fn login_page(
    app: &App,
    arrival: &Arrival,
    unencrypted: bool,
    asked: &Login,
    problem: Option<Error>,
) -> Result<impl IntoResponse + use<>, Error> {
    let default_user = app.master.cluster.default_user();
    let default_user =
        app.master.sessions.default_caller(default_user, arrival.asked(app).await.origin).await?;
    let may_register = app.master.registrations.mode() != Mode::Closed;
    // The same to everybody (R17).
    let waits = if may_register { " Who has registered waits until an administrator accepts." } else { "" };
    render(&LoginPage {
        shell: page::around(app).await?,
        username: &asked.username,
        redirect: own(&asked.redirect),
        problem: problem.map(|error| match error {
            Error::Unauthenticated(_) => format!("Wrong user name or password.{waits}"),
            other => sentence(&other),
        }),
        unencrypted,
        default_user: default_user.map(|caller| caller.user.username.clone()),
        may_register,
    })
}

/// Ends the session here and on the server; the default user isn't let in again without being asked for.
pub(crate) async fn log_out(
    State(app): State<App>,
    channel: Channel,
    page: Page,
) -> Result<Response, PageFailure> {
    app.master.sessions.log_out(&page.caller).await?;
    let cookies = [channel.clear(Cookie::Session), channel.set(Cookie::SignedOut, "1", LIFETIME)];
    Ok((AppendHeaders(cookies), Redirect::to("/login")).into_response())
}

/// Where Determined's clients send a browser.
pub(crate) async fn det_login(params: Params) -> Redirect {
    Redirect::to(&login_for(params.get("redirect").unwrap_or("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_escapes_what_was_typed() {
        let page = LoginPage {
            shell: Shell::default(),
            username: "\"><script>",
            redirect: "/commands?q=\"",
            problem: Some("No.".to_owned()),
            unencrypted: true,
            default_user: Some("determined".to_owned()),
            may_register: true,
        };
        let html = page.render().expect("a page");
        assert!(!html.contains("\"><script>") && html.contains("No.") && html.contains("not encrypted"));
    }
}
