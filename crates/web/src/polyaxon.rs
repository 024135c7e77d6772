//! The front door for `polyaxon-cli` 0.6.1 (contract "polyaxon"): paths that end in `/`, credentials as
//! `Authorization: Token …`, errors as `{"detail": …}`. Handlers go to the same services, with the same permits, as
//! the API's.

pub(crate) mod project;
pub(crate) mod user;
pub(crate) mod version;
pub(crate) mod wire;

use ::api::error::Code;
use axum::Json;
use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use master::Error;
use master::session::Caller;
use serde_json::{Value, json};

use crate::App;
use crate::respond;

/// A refusal as this client's users know it; it prints the body as it is.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// An error of a service.
    Service(Error),
    /// A body of this front door's own: 400.
    Fields(Value),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Service(error)
    }
}

impl From<respond::Failure> for Refusal {
    fn from(failure: respond::Failure) -> Self {
        Self::Service(failure.0)
    }
}

/// What handlers answer.
pub(crate) type Answer<T> = Result<T, Refusal>;

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let error = match self {
            Self::Fields(body) => return (StatusCode::BAD_REQUEST, Json(body)).into_response(),
            Self::Service(error) => error,
        };
        let code = error.code();
        // What can't be accepted is 400 here, also when a name is taken (contract "polyaxon", section 2).
        let status =
            if code == Code::AlreadyExists { StatusCode::BAD_REQUEST } else { respond::status(code) };
        let detail = match &error {
            Error::NotFound(_) | Error::Hidden(_) => "Not found.".to_owned(),
            other => format!("{}.", respond::message(other).trim_end_matches('.')),
        };
        let mut response = (status, Json(json!({ "detail": detail }))).into_response();
        respond::add_hints(&error, &mut response);
        if code == Code::Unauthenticated {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Token"));
        }
        response
    }
}

/// The texts by which the client's users know what is wrong with their token.
const NOT_PROVIDED: &str = respond::NO_CREDENTIALS;
const NO_TOKEN: &str = "Invalid token header. No credentials provided";
const SPACES: &str = "Invalid token header. Token string should not contain spaces";
const INVALID: &str = "Invalid token";
const INACTIVE: &str = "User inactive or deleted";

/// Who a request of this client's speaks for. A task's token is not good here.
pub(crate) async fn authenticate(app: &App, request: &mut Request) -> Result<Caller, Error> {
    let token = token(request.headers())?.to_owned();
    app.master.sessions.authenticate(&token).await.map_err(|error| match error {
        Error::Unauthenticated(_) => Error::Unauthenticated(INVALID),
        Error::Forbidden(_) => Error::Unauthenticated(INACTIVE),
        other => other,
    })
}

fn token(headers: &HeaderMap) -> Result<&str, Error> {
    let value = headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap_or(""));
    let value = value.ok_or(Error::Unauthenticated(NOT_PROVIDED))?;
    let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
    if !scheme.eq_ignore_ascii_case("token") && !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Error::Unauthenticated(NOT_PROVIDED));
    }
    match rest.trim() {
        "" => Err(Error::Unauthenticated(NO_TOKEN)),
        token if token.contains(' ') => Err(Error::Unauthenticated(SPACES)),
        token => Ok(token),
    }
}

/// Who asks; the guard has let them in.
#[derive(Debug)]
pub(crate) struct PolyaxonCaller(pub(crate) Caller);

impl FromRequestParts<App> for PolyaxonCaller {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Refusal> {
        let caller = parts.extensions.get::<Caller>().cloned();
        caller.map(Self).ok_or(Refusal::Service(Error::Unauthenticated(NOT_PROVIDED)))
    }
}

/// A list of this client's: a part of it, and whether there is more on either side.
pub(crate) fn list<T>(
    count: i64,
    offset: i64,
    limit: i64,
    path: &str,
    results: Vec<T>,
) -> Json<wire::Paged<T>> {
    let page = |offset: i64| format!("{path}?limit={limit}&offset={offset}");
    // Both are whatever somebody sent.
    let behind = offset.saturating_add(limit);
    let next = (behind < count).then(|| page(behind));
    let previous = (offset > 0).then(|| page(offset.saturating_sub(limit).max(0)));
    Json(wire::Paged { count, next, previous, results })
}
