//! What stands around every page: the header with its tabs and user menu, and what an administrator is urged to do.

use std::net::SocketAddr;

use askama::Template;
use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum::response::Html;
use master::Error;
use master::session::Caller;

use crate::App;
use crate::respond::PageFailure;
use crate::ui::redirect::login_for;

/// For the templates. Without a caller there is the product's name and nothing to click.
#[derive(Debug, Default)]
pub(crate) struct Shell {
    pub(crate) caller: Option<ShownCaller>,
    pub(crate) urge: Option<Urge>,
}

/// Who asked for the page, as it shows them.
#[derive(Debug)]
pub(crate) struct ShownCaller {
    /// As people call them.
    pub(crate) name: String,
    /// The account's name.
    pub(crate) username: String,
    pub(crate) admin: bool,
    /// Came in without a login (P2).
    pub(crate) is_default: bool,
    /// The login page, which leads back here.
    pub(crate) login: String,
}

/// The first administrator has no password yet (P4).
#[derive(Debug)]
pub(crate) struct Urge {
    /// That account's name.
    pub(crate) admin: String,
    /// Where the master listens, when others can reach it there (R15).
    pub(crate) exposed: Option<SocketAddr>,
}

/// A page's request: who asks, and whether htmx wants a piece of the page only.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) caller: Caller,
    pub(crate) shell: Shell,
    pub(crate) fragment: bool,
}

impl FromRequestParts<App> for Page {
    type Rejection = PageFailure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, PageFailure> {
        // The guard lets nobody in without one; not finding it is a refusal all the same (R27).
        let caller = parts.extensions.get::<Caller>().cloned();
        let caller = caller.ok_or(Error::Unauthenticated("log in first"))?;
        let fragment = wants_fragment(&parts.headers);
        let here = parts.uri.path_and_query().map_or("/", |asked| asked.as_str());
        let shell =
            Shell { caller: Some(ShownCaller::of(&caller, here)), urge: urge(app, &caller, fragment).await? };
        Ok(Self { caller, shell, fragment })
    }
}

/// htmx asks for pieces, except when it goes back in the browser's history.
fn wants_fragment(headers: &HeaderMap) -> bool {
    headers.contains_key("hx-request") && !headers.contains_key("hx-history-restore-request")
}

impl ShownCaller {
    fn of(caller: &Caller, here: &str) -> Self {
        let user = &caller.user;
        let name = if user.display_name.is_empty() { &user.username } else { &user.display_name };
        Self {
            name: name.clone(),
            username: user.username.clone(),
            admin: user.admin,
            is_default: caller.is_default(),
            login: login_for(here),
        }
    }

    /// What stands in the circle.
    pub(crate) fn initial(&self) -> String {
        self.name.chars().next().map(|c| c.to_uppercase().collect()).unwrap_or_default()
    }
}

/// Told to those who can do something about it.
async fn urge(app: &App, caller: &Caller, fragment: bool) -> Result<Option<Urge>, Error> {
    let concerned = caller.user.admin || caller.is_default();
    if fragment || !concerned {
        return Ok(None);
    }
    let near = app.listen.ip().to_canonical().is_loopback();
    let admin = app.master.cluster.unprotected_admin().await?;
    Ok(admin.map(|admin| Urge { admin, exposed: (!near).then_some(app.listen) }))
}

/// A template's page. Templates write to memory only: failing is a fault of ours.
pub(crate) fn render(template: &impl Template) -> Result<Html<String>, Error> {
    template.render().map(Html).map_err(|e| Error::io("a page")(std::io::Error::other(e)))
}
