//! What is answered where there is no route, or none for a method.

use ::api::error::{Code, ErrorBody};
use axum::Json;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use master::Error;

use crate::polyaxon;
use crate::respond::{Failure, PageFailure};

/// No such route.
pub(crate) async fn no_route(request: Request) -> Response {
    let (method, path) = (request.method(), request.uri().path());
    if path.starts_with("/api/") && path.ends_with('/') {
        return polyaxon::Refusal::from(Error::NotFound(String::new())).into_response();
    }
    let message = if is_determineds(path) {
        format!("{method} {} is not supported by this master", path.escape_debug())
    } else {
        format!("api not found: {method} {}", path.escape_debug())
    };
    if path.starts_with("/api/") {
        return Failure(Error::NotFound(message)).into_response();
    }
    let wants_page = request
        .headers()
        .get(header::ACCEPT)
        .and_then(|v| v.to_str().ok())
        .is_some_and(|a| a.contains("text/html"));
    if wants_page {
        return PageFailure::from(Error::NotFound("there is no such page".to_owned())).respond();
    }
    (StatusCode::NOT_FOUND, Json(serde_json::json!({ "message": message }))).into_response()
}

/// Whether Determined's API has something there: its client's verbs that aren't supported shall read as such.
fn is_determineds(path: &str) -> bool {
    const NOUNS: [&str; 20] = [
        "agents",
        "allocations",
        "checkpoints",
        "cluster",
        "commands",
        "experiments",
        "generic-tasks",
        "master",
        "model",
        "models",
        "notebooks",
        "resource-pools",
        "resources",
        "runs",
        "searches",
        "shells",
        "tasks",
        "tensorboards",
        "trials",
        "workspaces",
    ];
    let noun = path.strip_prefix("/api/v1/").and_then(|rest| rest.split(['/', ':']).next());
    noun.is_some_and(|noun| NOUNS.contains(&noun)) || path.starts_with("/resources/")
}

/// A path that is there for other methods: of Determined's API some verbs aren't there yet.
pub(crate) async fn no_method(request: Request) -> Response {
    let (method, path) = (request.method(), request.uri().path());
    let message = format!("{method} {} is not supported by this master", path.escape_debug());
    let status = StatusCode::METHOD_NOT_ALLOWED;
    if path.starts_with("/api/") && path.ends_with('/') {
        return (status, Json(serde_json::json!({ "detail": message }))).into_response();
    }
    (status, Json(ErrorBody::new(Code::Unimplemented, message))).into_response()
}
