//! Asking to be let in, in the browser (X11). Polyaxon's people know `/users/register/`.

use askama::Template;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Redirect, Response};
use master::Error;
use master::config::Registration as Mode;
use master::registration::Wish;
use serde::Deserialize;

use crate::App;
use crate::access::Access;
use crate::cookie::{Channel, Cookie};
use crate::extract::presented;
use crate::late::Form;
use crate::origin::{Arrival, is_unencrypted, same_origin};
use crate::respond::{PageFailure, sentence, status};
use crate::table::{Endpoint, LOGIN_LIMIT};
use crate::ui::shell::{Shell, render};

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/users/register", Access::Public, show),
        Endpoint::get("/users/register/", Access::Public, show),
        Endpoint::post("/users/register", Access::Public, register).limited(LOGIN_LIMIT),
        Endpoint::post("/users/register/", Access::Public, register).limited(LOGIN_LIMIT),
        Endpoint::get("/users/register/complete", Access::Public, complete),
        Endpoint::get("/users/register/complete/", Access::Public, complete),
    ]
}

/// The form.
#[derive(Template)]
#[template(path = "register/form.html")]
struct FormPage<'a> {
    shell: Shell,
    mode: Mode,
    asked: &'a Asked,
    /// Why the last attempt failed.
    problem: Option<String>,
    /// The password travels in the clear (D9).
    unencrypted: bool,
}

/// What happens next.
#[derive(Template)]
#[template(path = "register/complete.html")]
struct CompletePage {
    shell: Shell,
    /// The account can log in already.
    active: bool,
}

/// What the form sends.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Asked {
    username: String,
    email: String,
    password: String,
    again: String,
    invitation: String,
}

/// Whether somebody is logged in here; the default user without a login is nobody yet.
async fn is_logged_in(app: &App, channel: Channel, headers: &HeaderMap) -> bool {
    match channel.read(headers, Cookie::Session) {
        Some(token) => app.master.sessions.authenticate(&token).await.is_ok(),
        None => false,
    }
}

pub(crate) async fn show(
    State(app): State<App>,
    channel: Channel,
    headers: HeaderMap,
) -> Result<Response, PageFailure> {
    if is_logged_in(&app, channel, &headers).await {
        return Ok(Redirect::to("/").into_response());
    }
    form(&app, is_unencrypted(channel, &headers), &Asked::default(), None)
}

/// Anybody may ask, so the proof that the form is ours is asked for here (R07).
pub(crate) async fn register(
    State(app): State<App>,
    arrival: Arrival,
    channel: Channel,
    headers: HeaderMap,
    asked: Form<Asked>,
) -> Result<Response, PageFailure> {
    if !same_origin(&headers) {
        return Err(Error::Forbidden("this form was not sent from Muster's own pages".to_owned()).into());
    }
    if is_logged_in(&app, channel, &headers).await {
        return Ok(Redirect::to("/").into_response());
    }
    let asked = asked.unasked("anybody may ask to be let in").await?;
    let unencrypted = is_unencrypted(channel, &headers);
    presented(Some(asked.password.clone()), None)?;
    if asked.password != asked.again {
        let problem = Error::Invalid("the two passwords differ".to_owned());
        return form(&app, unencrypted, &asked, Some(problem));
    }
    let wish = Wish {
        username: asked.username.clone(),
        email: asked.email.clone(),
        password: asked.password.clone(),
        is_hashed: false,
        display_name: String::new(),
        invitation: Some(asked.invitation.clone()).filter(|code| !code.trim().is_empty()),
    };
    match app.master.registrations.register(wish, arrival.from_anywhere()).await {
        Ok(user) if user.is_active() => Ok(Redirect::to("/users/register/complete?active=1").into_response()),
        Ok(_) => Ok(Redirect::to("/users/register/complete").into_response()),
        Err(error) => form(&app, unencrypted, &asked, Some(error)),
    }
}

fn form(
    app: &App,
    unencrypted: bool,
    asked: &Asked,
    problem: Option<Error>,
) -> Result<Response, PageFailure> {
    let page = render(&FormPage {
        shell: Shell::default(),
        mode: app.master.registrations.mode(),
        asked,
        problem: problem.as_ref().map(sentence),
        unencrypted,
    })?;
    let Some(error) = problem else { return Ok(page.into_response()) };
    let mut response = (status(error.code()), page).into_response();
    crate::respond::add_hints(&error, &mut response);
    Ok(response)
}

pub(crate) async fn complete(params: crate::extract::Params) -> Result<impl IntoResponse, PageFailure> {
    let active = params.get("active").is_some();
    Ok(render(&CompletePage { shell: Shell::default(), active })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x11_the_form_keeps_what_was_typed_except_passwords() {
        let asked = Asked {
            username: "\"><script>".to_owned(),
            email: "a@b".to_owned(),
            password: "a quiet lake".to_owned(),
            again: "a quiet lake".to_owned(),
            invitation: "mui_secret".to_owned(),
        };
        let page = FormPage {
            shell: Shell::default(),
            mode: Mode::Invite,
            asked: &asked,
            problem: Some("No.".to_owned()),
            unencrypted: true,
        };
        let html = page.render().expect("a page");
        assert!(!html.contains("\"><script>") && html.contains("a@b") && html.contains("not encrypted"));
        assert!(!html.contains("quiet lake") && !html.contains("mui_secret"));
    }
}
