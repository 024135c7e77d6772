//! The one place where errors become answers, as JSON or as a page, and the headers that every answer carries.

use ::api::error::{Code, ErrorBody};
use ::api::page::Pagination;
use askama::Template;
use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Redirect, Response};
use master::Error;
use serde::Serialize;

use crate::App;
use crate::cookie::Channel;
use crate::origin::{is_public, note_proxy};
use crate::ui::display::capitalized;
use crate::ui::redirect::login_for;
use crate::ui::shell::Shell;
use crate::whole::lost;

/// A service's error as JSON.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) Error);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

/// What is said to who shows no credentials.
pub(crate) const NO_CREDENTIALS: &str = "token missing";

/// What handlers of the API answer.
pub(crate) type Answer<T> = Result<Json<T>, Failure>;

/// A row of a list as JSON has about so many bytes.
const ROW: usize = 640;

/// The list `{"NAME": [rows], "pagination": …}`. Each row is made as it is written, so that the memory of one is the next
/// one's, and the text has room for all from the beginning: rows that are made first and a text that grows take a fifth of a
/// list's time.
///
/// # Errors
/// When it can't be said in JSON: our own fault.
pub(crate) fn list<R: Serialize>(
    name: &'static str,
    rows: impl ExactSizeIterator<Item = R>,
    pagination: &Pagination,
) -> Result<Response, Failure> {
    let mut text = Vec::with_capacity(rows.len().saturating_mul(ROW).saturating_add(ROW));
    let failed = |error: serde_json::Error| Failure(lost(error.into()));
    text.extend_from_slice(format!("{{\"{name}\":[").as_bytes());
    for (number, row) in rows.enumerate() {
        if number > 0 {
            text.push(b',');
        }
        serde_json::to_writer(&mut text, &row).map_err(failed)?;
    }
    text.extend_from_slice(b"],\"pagination\":");
    serde_json::to_writer(&mut text, pagination).map_err(failed)?;
    text.push(b'}');
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}

pub(crate) fn status(code: Code) -> StatusCode {
    StatusCode::from_u16(code.http()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// Our own faults go to the log in full; the answer says only that there was one.
pub(crate) fn message(error: &Error) -> String {
    if error.code() == Code::Internal {
        tracing::error!(error = format!("{error:#}"), "a request failed");
        return "internal error: the master's log has the details".to_owned();
    }
    error.to_string()
}

/// The message as a page shows it.
pub(crate) fn sentence(error: &Error) -> String {
    let text = message(error);
    let end = if text.ends_with(['.', '!', '?']) { "" } else { "." };
    capitalized(&text) + end
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let code = self.0.code();
        let mut response = (status(code), Json(ErrorBody::new(code, message(&self.0)))).into_response();
        add_hints(&self.0, &mut response);
        response
    }
}

/// Goes with an answer that refuses, for the audit log. Who shows no credentials at all is only sent to log in.
#[derive(Debug, Clone)]
pub(crate) struct Refused(pub(crate) String);

impl Refused {
    /// The mark of an error that refuses.
    fn by(error: &Error) -> Option<Self> {
        match error {
            Error::Forbidden(text) | Error::Hidden(text) => Some(Self(text.clone())),
            Error::Unauthenticated(text) if *text != NO_CREDENTIALS => Some(Self((*text).to_owned())),
            _ => None,
        }
    }
}

/// What goes with a refusal besides its text: when to come again, how to log in, and the mark for the audit log.
pub(crate) fn add_hints(error: &Error, response: &mut Response) {
    if let Some(refused) = Refused::by(error) {
        response.extensions_mut().insert(refused);
    }
    let hint = match (error.code(), error.retry_after()) {
        (_, Some(seconds)) => (header::RETRY_AFTER, HeaderValue::from(seconds)),
        (Code::Unavailable | Code::ResourceExhausted, _) => {
            (header::RETRY_AFTER, HeaderValue::from_static("1"))
        }
        (Code::Unauthenticated, _) => (header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")),
        _ => return,
    };
    response.headers_mut().insert(hint.0, hint.1);
}

/// A service's error as a page; not logged in means off to the login page, and back afterwards (P9).
#[derive(Debug)]
pub(crate) struct PageFailure {
    error: Error,
    asked: Option<String>,
    fragment: bool,
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage {
    shell: Shell,
    status: u16,
    title: &'static str,
    message: String,
}

fn title(code: Code) -> &'static str {
    match code {
        Code::NotFound => "Not found",
        Code::PermissionDenied => "Not allowed",
        Code::Unavailable | Code::ResourceExhausted => "Try again in a moment",
        Code::Internal => "Something went wrong",
        _ => "That didn’t work",
    }
}

/// Whether a page asks for a piece of itself, not its reader for a page.
fn is_part(request: &Request) -> bool {
    let headers = request.headers();
    let streams = headers.get(header::ACCEPT).is_some_and(|accept| accept == "text/event-stream");
    streams || headers.contains_key("hx-request")
}

impl PageFailure {
    pub(crate) fn new(error: Error, request: &Request) -> Self {
        let reads = request.method() == axum::http::Method::GET;
        let asked = request.uri().path_and_query().map(ToString::to_string).filter(|_| reads);
        Self { error, asked, fragment: is_part(request) }
    }

    pub(crate) fn respond(self) -> Response {
        let code = self.error.code();
        if code == Code::Unauthenticated {
            let asked = self.asked.unwrap_or_else(|| "/".to_owned());
            let login = login_for(&asked);
            if self.fragment {
                // A piece of a page can't be redirected; htmx moves the whole page.
                let header = HeaderValue::from_str(&login).unwrap_or(HeaderValue::from_static("/login"));
                return (StatusCode::UNAUTHORIZED, [("hx-redirect", header)]).into_response();
            }
            return Redirect::to(&login).into_response();
        }
        let page = ErrorPage {
            shell: Shell::default(),
            status: code.http(),
            title: title(code),
            message: sentence(&self.error),
        };
        let html = page.render().unwrap_or_else(|_| "error".to_owned());
        let mut response = (status(code), Html(html)).into_response();
        add_hints(&self.error, &mut response);
        response
    }
}

impl From<Error> for PageFailure {
    fn from(error: Error) -> Self {
        Self { error, asked: None, fragment: false }
    }
}

impl From<Failure> for PageFailure {
    fn from(failure: Failure) -> Self {
        failure.0.into()
    }
}

impl IntoResponse for PageFailure {
    fn into_response(self) -> Response {
        self.respond()
    }
}

/// No inline script, no other host, no frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Half a year; for this name alone, not those below it.
const HSTS: &str = "max-age=15768000";

/// Runs around everything: the `Host` check (R08), and headers that keep content from being misread (R05, R10).
pub(crate) async fn envelope(State(app): State<App>, mut request: Request, next: Next) -> Response {
    note_proxy(&app, &mut request).await;
    // Only a certificate that browsers know: a name that is pinned to https is out of reach without one.
    let supplied = app.tls.as_ref().is_some_and(|tls| !tls.is_own());
    let pins =
        supplied && Channel::of(request.extensions()) == Channel::Encrypted && is_public(request.headers());
    let mut response = if app.hosts.accepts(request.headers()) {
        next.run(request).await
    } else {
        let text = "this master does not answer to that name: add it to security.hosts in master.yaml";
        (StatusCode::MISDIRECTED_REQUEST, Json(ErrorBody::new(Code::PermissionDenied, text))).into_response()
    };
    let headers = response.headers_mut();
    let fixed = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_FRAME_OPTIONS, "DENY"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if pins {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(HSTS));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
