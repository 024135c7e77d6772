//! The table of all routes.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::Method;
use axum::middleware;
use axum::response::Response;
use tower_service::Service as _;

use crate::access::Access::{Agent, Page, Polyaxon, Public, User, UserOrTask};
use crate::table::{Row, Table};
use crate::{App, api, openapi, polyaxon, respond, slash, ui};

/// Longest login body, in bytes (R19).
const LOGIN_LIMIT: usize = 16 << 10;

/// All rows. What a caller may do behind the guard is the policy's to say (`domain::authz`).
fn table(app: App) -> Table {
    // Base64 makes four bytes of three; names and numbers come on top.
    let context = usize::try_from(app.master.config.max_context_bytes).unwrap_or(usize::MAX);
    let launch_limit = context.saturating_mul(4) / 3 + (16 << 20);
    let post = |path, access, limit| Row::new(Method::POST, path, access, limit);
    Table::new(app)
        .get("/info", Public, api::cluster::info)
        .get("/health", Public, api::cluster::health)
        .get("/api/v1/openapi.json", Public, openapi::show)
        .get("/api/v1/master", Public, api::cluster::master)
        .get("/api/v1/master/telemetry", Public, api::cluster::telemetry)
        .get("/api/v1/master/config", User, api::cluster::config)
        .list("/api/v1/workspaces", User, api::workspace::list)
        .post("/api/v1/workspaces", User, api::workspace::create)
        .list("/api/v1/workspaces/{workspace}", User, api::workspace::get)
        .patch("/api/v1/workspaces/{workspace}", User, api::workspace::patch)
        .delete("/api/v1/workspaces/{workspace}", User, api::workspace::delete)
        .post("/api/v1/workspaces/{workspace}/archive", User, api::workspace::archive)
        .post("/api/v1/workspaces/{workspace}/unarchive", User, api::workspace::unarchive)
        .get("/api/v1/workspaces/{workspace}/available-resource-pools", User, api::workspace::pools)
        .get("/api/v1/workspaces/{workspace}/list-namespace-bindings", User, api::workspace::bindings)
        .list("/api/v1/workspaces/{workspace}/members", User, api::member::of_workspace)
        .put("/api/v1/workspaces/{workspace}/members", User, api::member::set_in_workspace)
        .delete("/api/v1/workspaces/{workspace}/members", User, api::member::remove_from_workspace)
        .list("/api/v1/roles/workspace/{workspace}", User, api::member::by_role)
        .steps("/api/v1/workspaces/{workspace}/projects", User, api::project::list)
        .post("/api/v1/workspaces/{workspace}/projects", User, api::project::create)
        .get("/api/v1/projects/{project}", User, api::project::get)
        .get("/api/v1/projects/key/{key}", User, api::project::get_by_key)
        .patch("/api/v1/projects/{project}", User, api::project::patch)
        .delete("/api/v1/projects/{project}", User, api::project::delete)
        .post("/api/v1/projects/{project}/archive", User, api::project::archive)
        .post("/api/v1/projects/{project}/unarchive", User, api::project::unarchive)
        .post("/api/v1/projects/{project}/move", User, api::project::move_to)
        .post("/api/v1/projects/{project}/notes", User, api::project::add_note)
        .put("/api/v1/projects/{project}/notes", User, api::project::put_notes)
        .list("/api/v1/projects/{project}/members", User, api::member::of_project)
        .put("/api/v1/projects/{project}/members", User, api::member::set_in_project)
        .delete("/api/v1/projects/{project}/members", User, api::member::remove_from_project)
        .steps("/api/v1/templates", User, api::template::list)
        .get("/api/v1/templates/{template}", User, api::template::get)
        .post("/api/v1/templates/{template}", User, api::template::create)
        .put("/api/v1/templates/{template}", User, api::template::put)
        .patch("/api/v1/templates/{template}", User, api::template::patch)
        .delete("/api/v1/templates/{template}", User, api::template::delete)
        .patch("/api/v1/template/rename", User, api::template::rename)
        .row(post("/api/v1/auth/login", Public, LOGIN_LIMIT), api::auth::log_in)
        // An access token is revoked, not logged out.
        .search("/api/v1/auth/logout", User, api::auth::log_out)
        .get("/api/v1/auth/user", User, api::auth::current)
        .get("/api/v1/me", UserOrTask, api::auth::me)
        .steps("/api/v1/users", User, api::user::list)
        .post("/api/v1/users", User, api::user::create)
        .patch("/api/v1/users", User, api::user::patch_many)
        .patch("/api/v1/users/assignments", User, api::group::assign)
        .list("/api/v1/users/setting", User, api::setting::list)
        .row(post("/api/v1/users/setting", User, 2 << 20), api::setting::set)
        .post("/api/v1/users/setting/reset", User, api::setting::reset)
        .search("/api/v1/users/activity", User, api::setting::activity)
        .get("/api/v1/users/{user}", User, api::user::get)
        .patch("/api/v1/users/{user}", User, api::user::patch)
        .get("/api/v1/users/{user}/by-username", User, api::user::by_username)
        .get("/api/v1/users/{user}/sessions", User, api::session::list)
        .delete("/api/v1/sessions/{session}", User, api::session::end)
        .post("/api/v1/users/{user}/password", User, api::user::set_password)
        .list("/api/v1/audit", User, api::audit::list)
        .pieces("/api/v1/audit/export", User, api::audit::export)
        .pieces("/api/v1/audit/verify", User, api::audit::verify)
        .list("/api/v1/tokens", User, api::token::list)
        .post("/api/v1/tokens", User, api::token::create)
        .patch("/api/v1/tokens/{token}", User, api::token::patch)
        .post("/api/v1/groups", User, api::group::create)
        .search_many("/api/v1/groups/search", User, api::group::search)
        .list("/api/v1/groups/{group}", User, api::group::get)
        .put("/api/v1/groups/{group}", User, api::group::update)
        .delete("/api/v1/groups/{group}", User, api::group::delete)
        .list("/api/v1/permissions/summary", User, api::permission::summary)
        .search("/api/v1/roles/search", User, api::role::search)
        .search("/api/v1/roles/search/by-assignability", User, api::role::search)
        .search_many("/api/v1/roles/search/by-ids", User, api::role::by_ids)
        .list("/api/v1/roles/search/by-user/{user}", User, api::role::of_user)
        .list("/api/v1/roles/search/by-group/{group}", User, api::role::of_group)
        .post("/api/v1/roles/add-assignments", User, api::role::assign)
        .post("/api/v1/roles/remove-assignments", User, api::role::unassign)
        .delete("/api/v1/users/{user}", User, api::user::delete)
        .row(post("/api/v1/users/register", Public, LOGIN_LIMIT), api::registration::register)
        .list("/api/v1/registrations", User, api::registration::list)
        .post("/api/v1/registrations/{username}/accept", User, api::registration::accept)
        .post("/api/v1/registrations/{username}/reject", User, api::registration::reject)
        .list("/api/v1/invitations", User, api::registration::invitations)
        .post("/api/v1/invitations", User, api::registration::invite)
        .steps("/api/v1/commands", User, api::command::list)
        .row(post("/api/v1/commands", User, launch_limit), api::command::launch)
        .get("/api/v1/commands/{task}", User, api::command::get)
        .post("/api/v1/commands/{task}/kill", User, api::command::kill)
        .post("/api/v1/commands/{task}/set_priority", User, api::command::set_priority)
        .get("/api/v1/notebooks", User, api::empty::notebooks)
        .get("/api/v1/tensorboards", User, api::empty::tensorboards)
        .get("/api/v1/shells", User, api::empty::shells)
        .get("/api/v1/experiments", User, api::empty::experiments)
        .steps("/api/v1/job-queues-v2", User, api::job::list)
        .list("/api/v1/resource-pools", User, api::job::pools)
        .get("/api/v1/resource-pools/{pool}/workspace-bindings", User, api::job::bindings)
        .steps("/api/v1/tasks", User, api::task::list)
        .get("/api/v1/tasks/{task}", UserOrTask, api::task::get)
        .pieces("/api/v1/tasks/{task}/logs", User, api::log::lines)
        .pieces("/api/v1/tasks/{task}/output", User, api::log::output)
        .pieces("/api/v1/tasks/{task}/context_directory", UserOrTask, api::task::context)
        .list("/api/v1/agents", User, api::agent::list)
        .post("/api/v1/agents/invitations", User, api::agent::invite)
        .get(::api::agent::CONNECT_PATH, Agent, api::link::connect)
        .list("/api/v1/agents/{agent}", User, api::agent::get)
        .post("/api/v1/agents/{agent}/revoke", User, api::agent::revoke)
        .post("/api/v1/agents/{agent}/enable", User, api::agent::enable)
        .post("/api/v1/agents/{agent}/disable", User, api::agent::disable)
        .list("/api/v1/agents/{agent}/slots", User, api::agent::slots)
        .list("/api/v1/agents/{agent}/slots/{slot}", User, api::agent::slot)
        .post("/api/v1/agents/{agent}/slots/{slot}/enable", User, api::agent::enable_slot)
        .post("/api/v1/agents/{agent}/slots/{slot}/disable", User, api::agent::disable_slot)
        .row(post("/api/v1/users/token/", Public, LOGIN_LIMIT), polyaxon::user::log_in)
        .get("/api/v1/versions/cli/", Public, polyaxon::version::client)
        .get("/api/v1/versions/lib/", Public, polyaxon::version::client)
        .get("/api/v1/versions/platform/", Public, polyaxon::version::client)
        .get("/api/v1/versions/chart/", Public, polyaxon::version::chart)
        .get("/api/v1/log_handler/", Public, polyaxon::version::log_handler)
        .get("/api/v1/users/", Polyaxon, polyaxon::user::me)
        .post("/api/v1/users/activate/{name}/", Polyaxon, polyaxon::user::activate)
        .delete("/api/v1/users/delete/{name}/", Polyaxon, polyaxon::user::delete)
        .post("/api/v1/superusers/grant/{name}/", Polyaxon, polyaxon::user::grant)
        .post("/api/v1/superusers/revoke/{name}/", Polyaxon, polyaxon::user::revoke)
        .post("/api/v1/projects/", Polyaxon, polyaxon::project::create)
        .list("/api/v1/bookmarks/{user}/{kind}/", Polyaxon, polyaxon::project::bookmarks)
        .list("/api/v1/{owner}/", Polyaxon, polyaxon::project::list)
        .get("/api/v1/{owner}/{project}/", Polyaxon, polyaxon::project::get)
        .patch("/api/v1/{owner}/{project}/", Polyaxon, polyaxon::project::update)
        .delete("/api/v1/{owner}/{project}/", Polyaxon, polyaxon::project::delete)
        .post("/api/v1/{owner}/{project}/bookmark/", Polyaxon, polyaxon::project::bookmark)
        .delete("/api/v1/{owner}/{project}/unbookmark/", Polyaxon, polyaxon::project::unbookmark)
        .get("/api/v1/{owner}/{project}/experiments/", Polyaxon, polyaxon::project::content)
        .get("/api/v1/{owner}/{project}/groups/", Polyaxon, polyaxon::project::content)
        .get("/api/v1/{owner}/{project}/jobs/", Polyaxon, polyaxon::project::content)
        .get("/api/v1/{owner}/{project}/builds/", Polyaxon, polyaxon::project::content)
        .get("/api/v1/{owner}/{project}/tensorboards/", Polyaxon, polyaxon::project::content)
        .get("/assets/{name}", Public, ui::asset::get)
        .get("/login", Public, ui::session::show)
        .row(post("/login", Public, LOGIN_LIMIT), ui::session::log_in)
        .post("/logout", Page, ui::session::log_out)
        .get("/users/register", Public, ui::register::show)
        .get("/users/register/", Public, ui::register::show)
        .row(post("/users/register", Public, LOGIN_LIMIT), ui::register::register)
        .row(post("/users/register/", Public, LOGIN_LIMIT), ui::register::register)
        .get("/users/register/complete", Public, ui::register::complete)
        .get("/users/register/complete/", Public, ui::register::complete)
        .get("/account", Page, ui::account::show)
        .row(post("/account/password", Page, LOGIN_LIMIT), ui::account::change_password)
        .post("/account/sessions/{session}/end", Page, ui::account::end_session)
        .get("/det", Public, ui::det)
        .get("/det/", Public, ui::det)
        .get("/det/login", Public, ui::session::det_login)
        .get("/", Page, ui::home)
        .list("/commands", Page, ui::command::list)
        .get("/commands/{task}", Page, ui::command::show)
        .post("/commands/{task}/kill", Page, ui::command::kill)
        .pieces("/commands/{task}/log", Page, ui::log::follow)
        .pieces("/commands/{task}/log.txt", Page, ui::log::text)
}

/// Every route with its access, for the permission matrix.
#[must_use]
pub fn rows(app: App) -> Vec<Row> {
    table(app).into_parts().1
}

pub(crate) fn router(app: App) -> Router {
    let (router, rows) = table(app.clone()).into_parts();
    let envelope = middleware::from_fn_with_state(app.clone(), respond::envelope);
    let router = router.method_not_allowed_fallback(respond::no_method).fallback(respond::no_route);
    let exact = router.layer(envelope).with_state(app);
    let rows: Arc<[Row]> = rows.into();
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
