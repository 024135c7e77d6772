//! What handlers of pages take from a request.

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use master::Error;
use master::session::Caller;

use crate::App;
use crate::respond::PageFailure;
use crate::ui::shell::{Shell, ShownCaller, Urge};

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
        let shell = Shell {
            caller: Some(ShownCaller::of(&caller, here)),
            urge: urge(app, &caller, fragment).await?,
            message: if fragment { None } else { message(app).await? },
        };
        Ok(Self { caller, shell, fragment })
    }
}

/// What stands around a page for who isn't known yet.
pub(crate) async fn around(app: &App) -> Result<Shell, Error> {
    Ok(Shell { message: message(app).await?, ..Shell::default() })
}

async fn message(app: &App) -> Result<Option<String>, Error> {
    Ok(app.master.cluster_messages.shown().await?.map(|message| message.text))
}

/// htmx asks for pieces, except when it goes back in the browser's history.
fn wants_fragment(headers: &HeaderMap) -> bool {
    headers.contains_key("hx-request") && !headers.contains_key("hx-history-restore-request")
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
