//! The table of all routes: those of each noun.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware;
use axum::response::Response;
use serde_json::Value;
use tower_service::Service as _;

use crate::table::{Endpoint, Row};
use crate::{App, api, missing, openapi, polyaxon, respond, slash, ui};

/// All of them. What a caller may do behind the guard is the policy's to say (`domain::authz`).
fn endpoints() -> impl Iterator<Item = Endpoint> {
    let nouns = [
        openapi::endpoints(),
        api::cluster::endpoints(),
        api::cluster_message::endpoints(),
        api::master_log::endpoints(),
        api::workspace::endpoints(),
        api::member::endpoints(),
        api::project::endpoints(),
        api::template::endpoints(),
        api::auth::endpoints(),
        api::user::endpoints(),
        api::group::endpoints(),
        api::setting::endpoints(),
        api::session::endpoints(),
        api::audit::endpoints(),
        api::token::endpoints(),
        api::permission::endpoints(),
        api::role::endpoints(),
        api::registration::endpoints(),
        api::command::endpoints(),
        api::empty::endpoints(),
        api::config_policy::endpoints(),
        api::job::endpoints(),
        api::signal::endpoints(),
        api::task::endpoints(),
        api::log::endpoints(),
        api::agent::endpoints(),
        api::link::endpoints(),
        polyaxon::user::endpoints(),
        polyaxon::version::endpoints(),
        polyaxon::project::endpoints(),
        ui::asset::endpoints(),
        ui::session::endpoints(),
        ui::register::endpoints(),
        ui::account::endpoints(),
        ui::command::endpoints(),
        ui::log::endpoints(),
        ui::endpoints(),
    ];
    nouns.into_iter().flatten()
}

/// Every route with its access, for whoever needs the table without its handlers.
#[must_use]
pub fn rows() -> Vec<Row> {
    endpoints().map(Endpoint::into_row).collect()
}

/// The description of the API; no master is needed.
#[must_use]
pub fn document() -> Value {
    openapi::document(&rows())
}

/// Rows of the API that don't say what they are for or what they answer.
#[must_use]
pub fn undescribed() -> Vec<String> {
    openapi::undescribed(&rows())
}

pub(crate) fn router(app: App) -> Router {
    let rows: Arc<[Row]> = app.rows.get_or_init(|| rows().into()).clone();
    let router = endpoints().fold(Router::new(), |router, endpoint| endpoint.mount(router, &app));
    let envelope = middleware::from_fn_with_state(app.clone(), respond::envelope);
    let router = router.method_not_allowed_fallback(missing::no_method).fallback(missing::no_route);
    let exact = router.layer(envelope).with_state(app);
    Router::new().fallback(move |request| with_or_without_slash(rows, exact, request))
}

/// An address of the API means the same with a slash at its end (`determined-identity.md` section 1). Which row it reaches is
/// settled before anything else is asked, so that it is that row whole, with its access.
async fn with_or_without_slash(rows: Arc<[Row]>, mut exact: Router, mut request: Request) -> Response {
    if let Some(plain) = slash::without(&rows, &request) {
        *request.uri_mut() = plain;
    }
    exact.call(request).await.unwrap_or_else(|never| match never {})
}
