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
    if path.starts_with("/api/") {
        return Failure(Error::NotFound(format!("api not found: {method} {}", path.escape_debug())))
            .into_response();
    }
    let wants_page = request
        .headers()
        .get(header::ACCEPT)
        .and_then(|v| v.to_str().ok())
        .is_some_and(|a| a.contains("text/html"));
    if wants_page {
        return PageFailure::from(Error::NotFound("there is no such page".to_owned())).respond();
    }
    let message = format!("api not found: {method} {}", path.escape_debug());
    (StatusCode::NOT_FOUND, Json(serde_json::json!({ "message": message }))).into_response()
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
