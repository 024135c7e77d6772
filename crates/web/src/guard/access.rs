//! The guard before every route: who is asking, and may they get as far as the handler.
//!
//! What a caller may do to a certain thing is decided by the policy (`domain::authz`), which handlers ask.

use std::net::IpAddr;
use std::sync::Arc;

use api::auth::EXPECTED_USER;
use axum::extract::{Request, State};
use axum::http::{Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use domain::audit::{By, Who};
use domain::authz::{READ_ONLY, Via};
use hyper::body::Body as _;
use master::Error;
use master::session::{Caller, Origin};
use master::task::TaskCaller;

use crate::answers;
use crate::bodies::{Came, Charge, Payer};
use crate::body::{BodyLimit, whole};
use crate::cookie::{Channel, Cookie};
use crate::origin::{Arrival, is_foreign, same_origin};
use crate::respond::{Failure, NO_CREDENTIALS, PageFailure, Refused};
use crate::server::{Holder, Standing};
use crate::turns::Turn;
use crate::{App, polyaxon};

/// Who gets through to a route's handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// Anybody.
    Public,
    /// A session of an active account.
    User,
    /// The same, or a running task with its own token.
    UserOrTask,
    /// An agent; it proves itself in the protocol, on the connection itself.
    Agent,
    /// A session or access token, shown as Polyaxon's client shows it.
    Polyaxon,
    /// A web page: a session by cookie, or the default user on the machine itself (P2); others go to the login page.
    Page,
}

/// Longer texts are read in turns, in bytes. Most of what people and programs send is shorter.
const LONG: u64 = 8 << 10;

/// Who is asking, for handlers of [`Access::UserOrTask`].
#[derive(Debug)]
pub(crate) enum AnyCaller {
    User(Box<Caller>),
    Task(Box<TaskCaller>),
}

#[derive(Clone)]
pub(crate) struct Guard {
    pub(crate) app: App,
    pub(crate) access: Access,
    pub(crate) limit: usize,
    pub(crate) reads: bool,
    pub(crate) ends: bool,
}

/// Credentials in the order in which they count (contract "identity", section 1.2). Never from the address (R13).
enum Credential {
    Bearer(String),
    Cookie(String),
    Task(String),
    Malformed,
    None,
}

fn credential(request: &Request) -> Credential {
    let headers = request.headers();
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("").to_owned());
    let bearer = |value: String| match value.strip_prefix("Bearer ") {
        Some(token) if !token.trim().is_empty() => Credential::Bearer(token.trim().to_owned()),
        _ => Credential::Malformed,
    };
    if let Some(value) = text("grpc-metadata-x-user-token").or_else(|| text("authorization")) {
        return bearer(value);
    }
    if let Some(token) = Channel::of(request.extensions()).read(headers, Cookie::Session) {
        return Credential::Cookie(token);
    }
    match text("grpc-metadata-x-allocation-token").map(bearer) {
        Some(Credential::Bearer(token)) => Credential::Task(token),
        Some(other) => other,
        None => Credential::None,
    }
}

/// Runs before the handler of every row.
pub(crate) async fn guard(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(BodyLimit(guard.limit));
    let route = format!("{} {:.200}", request.method(), request.uri().path());
    let arrival = Arrival::of(&guard.app, &mut request);
    let address = arrival.address();
    request.extensions_mut().insert(arrival);
    let allowed = admit(&guard, &mut request).await;
    if let (Ok(()), Some(standing)) = (&allowed, request.extensions().get::<Standing>()) {
        holder(&request).into_iter().for_each(|holder| standing.is_known(holder));
    }
    if let Err(error) = allowed {
        return refused(&guard, error, &by(&request, address), &route, &request);
    }
    if looks(request.method()) {
        let by = by(&request, address);
        let (holder, path) = (holder(&request), request.uri().path().to_owned());
        let paid = answers::paid(&guard.app, holder, next.run(request).await).await;
        let response = paid.unwrap_or_else(|error| in_dialect(guard.access, &path, Failure(error)));
        return noted(&guard, &by, &route, response);
    }
    if let Err(error) = may_change_more(&guard, holder(&request)) {
        return in_dialect(guard.access, request.uri().path(), Failure(error));
    }
    let size = request.body().size_hint().upper().unwrap_or(u64::MAX);
    let standing = request.extensions().get().cloned();
    let charge = match charge(&guard, holder(&request), standing, size).await {
        Ok(charge) => charge,
        Err(error) => return in_dialect(guard.access, request.uri().path(), Failure(error)),
    };
    let (path, waits) = (request.uri().path().to_owned(), !request.body().is_end_stream());
    let read = match &charge {
        Some(charge) => charge.while_read(whole(request)).await.unwrap_or_else(|error| Err(Failure(error))),
        None => whole(request).await,
    };
    let mut request = match read {
        Ok(request) => request,
        Err(failure) => return in_dialect(guard.access, &path, failure),
    };
    let turn = match guard.app.changes.take(holder(&request)).await {
        Ok(turn) => turn,
        Err(source) => {
            return in_dialect(guard.access, &path, Failure(Error::io("waiting for a turn")(source)));
        }
    };
    // Whoever sends a body decides when its last byte comes: what counts is who they are then, not when they began (W1).
    if waits && let Err(error) = admit(&guard, &mut request).await {
        return refused(&guard, error, &by(&request, address), &route, &request);
    }
    // Nor have they what they have used up meanwhile (MM2).
    if waits && let Err(error) = may_change_more(&guard, holder(&request)) {
        return in_dialect(guard.access, &path, Failure(error));
    }
    let (by, app, holder) = (by(&request, address), guard.app.clone(), holder(&request));
    let access = guard.access;
    let becomes = match holder.and_then(Payer::of) {
        Some(payer) => app.bodies.becoming(payer, request.body().size_hint().lower()).await,
        None => Ok(None),
    };
    let becomes = match becomes {
        Ok(becomes) => becomes,
        Err(error) => return in_dialect(access, &path, Failure(error)),
    };
    let text = match holder.and_then(Holder::account) {
        Some(account) if request.body().size_hint().lower() > LONG => app.texts.take(account).await.map(Some),
        _ => Ok(None),
    };
    let text = match text {
        Ok(text) => text,
        Err(source) => {
            return in_dialect(access, &path, Failure(Error::io("waiting for a turn")(source)));
        }
    };
    let response = carried_out(guard, by, route, request, next, (charge, becomes, [turn, text])).await;
    let paid = answers::paid(&app, holder, response).await;
    paid.unwrap_or_else(|error| in_dialect(access, &path, Failure(error)))
}

/// Finds out who asks, as things are now, and whether they get as far as the handler.
async fn admit(guard: &Guard, request: &mut Request) -> Result<(), Error> {
    match guard.access {
        _ if is_from_elsewhere(guard.access, request) => Err(Error::Forbidden(ELSEWHERE.to_owned())),
        Access::Public | Access::Agent => Ok(()),
        Access::User => user(&guard.app, request).await,
        Access::UserOrTask => user_or_task(&guard.app, request).await,
        Access::Polyaxon => {
            let address = peer(request);
            polyaxon::authenticate(&guard.app, request).await.map(|caller| {
                request.extensions_mut().insert(caller.from_address(address));
            })
        }
        Access::Page => page(&guard.app, request).await,
    }?;
    may_change(guard, request)
}

/// Whose the connection is from now on, as far as limits are concerned.
fn holder(request: &Request) -> Option<Holder> {
    let found = request.extensions();
    let account = |caller: &Caller| Holder::Account { user: caller.actor.user, admin: caller.actor.admin };
    let task = |task: &TaskCaller| Holder::Task { owner: task.owner.id, task: task.actor.task };
    found.get().map(task).or_else(|| found.get().map(account))
}

/// Room for the body, before a byte of it is taken: it is held in memory as a whole (W10).
async fn charge(
    guard: &Guard,
    holder: Option<Holder>,
    standing: Option<Standing>,
    size: u64,
) -> Result<Option<Charge>, Error> {
    // Strangers' bodies are short, and their connections are counted.
    let Some(payer) = holder.and_then(Payer::of) else { return Ok(None) };
    let came: Came = Arc::new(move || standing.as_ref().map_or(0, Standing::came));
    let size = size.min(u64::try_from(guard.limit).unwrap_or(u64::MAX));
    if size == 0 {
        return Ok(None);
    }
    guard.app.bodies.charge(payer, size, came).await.map(Some)
}

/// The answer to who doesn't get as far as the handler.
fn refused(guard: &Guard, error: Error, by: &By, route: &str, request: &Request) -> Response {
    let response = match guard.access {
        Access::Page => PageFailure::new(error, request).respond(),
        Access::Polyaxon => polyaxon::Refusal::from(error).into_response(),
        _ => Failure(error).into_response(),
    };
    noted(guard, by, route, response)
}

/// What changes something happens as a whole, whether or not its client is still there for the answer (B1–B4): hyper
/// drops the handler of a connection that is gone, also between a commit and what follows from it. The body was read
/// before, as long as the client is needed; a change that was refused is noted without it, too.
async fn carried_out(
    guard: Guard,
    by: By,
    route: String,
    request: Request,
    next: Next,
    held: (Option<Charge>, Option<Charge>, [Option<Turn>; 2]),
) -> Response {
    let unbroken = guard.app.master.unbroken.clone();
    let handled = async move {
        // What was sent is in memory, and the turn taken, until the handler is done.
        let _held = held;
        noted(&guard, &by, &route, next.run(request).await)
    };
    match unbroken.run(handled).await {
        Ok(response) => response,
        Err(error) => Failure(error).into_response(),
    }
}

/// A body that can't be had, as the route's clients read it.
fn in_dialect(access: Access, path: &str, failure: Failure) -> Response {
    let polyaxon = access == Access::Polyaxon || (path.starts_with("/api/") && path.ends_with('/'));
    if polyaxon {
        polyaxon::Refusal::from(failure).into_response()
    } else if access == Access::Page || !path.starts_with("/api/") {
        PageFailure::from(failure).respond()
    } else {
        failure.into_response()
    }
}

/// Whether a request is one that changes nothing by what HTTP says of its method.
fn looks(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Has refusals noted in the audit log. Logins and the like, which anybody may try, do that for themselves.
fn noted(guard: &Guard, by: &By, route: &str, response: Response) -> Response {
    let public = matches!(guard.access, Access::Public | Access::Agent);
    if let Some(Refused(reason)) = response.extensions().get().filter(|_| !public) {
        let route = Who::named("route", &route, "");
        guard.app.master.audit.refused(by, master::audit::STOPPED, route, reason.clone());
    }
    response
}

/// A token for reading stops here, whatever the handler asks the policy.
fn may_change(guard: &Guard, request: &Request) -> Result<(), Error> {
    let caller = request.extensions().get::<Caller>();
    let reader = caller.is_some_and(|caller| matches!(caller.actor.via, Via::ReadOnlyToken(_)));
    if reader && !guard.reads { Err(Error::Forbidden(READ_ONLY.to_owned())) } else { Ok(()) }
}

/// Who has made the audit log grow too fast waits, before anything is done for them, unless they end something (KX4). A
/// task's requests are its data, which isn't written there: what is, `Tx::commit` asks about.
fn may_change_more(guard: &Guard, holder: Option<Holder>) -> Result<(), Error> {
    match holder {
        Some(Holder::Account { user, admin: false }) if !guard.reads && !guard.ends => {
            guard.app.master.audit.may_change(user)
        }
        _ => Ok(()),
    }
}

/// For the audit log: who the guard let in.
fn by(request: &Request, address: Option<IpAddr>) -> By {
    if let Some(caller) = request.extensions().get::<Caller>() {
        return By::from(&caller.actor);
    }
    let task = request.extensions().get::<TaskCaller>();
    task.map_or(By::Anonymous { address }, |task| By::from(&task.actor))
}

fn peer(request: &Request) -> Option<IpAddr> {
    request.extensions().get::<Arrival>().and_then(Arrival::address)
}

/// Whether another site's page asks for what needs no credentials: to log its visitor in or out of things, or to open a
/// WebSocket, for which browsers ask nobody (R09, A8, A14).
fn is_from_elsewhere(access: Access, request: &Request) -> bool {
    let opens = request.headers().contains_key(header::UPGRADE);
    let changes = matches!(access, Access::Public | Access::Agent) && !looks(request.method());
    (opens || changes) && is_foreign(request.headers())
}

/// What is said to other sites' pages.
const ELSEWHERE: &str = "this request did not come from Muster's own pages";

/// Task tokens are good only where a row says so.
const NOT_FOR_TASKS: &str = "a task's token is not good for this";

async fn user(app: &App, request: &mut Request) -> Result<(), Error> {
    let shown = credential(request);
    let caller = match shown {
        Credential::Bearer(token) => app.master.sessions.authenticate(&token).await?,
        Credential::Cookie(token) => {
            prove_same_origin(request)?;
            app.master.sessions.authenticate(&token).await?
        }
        Credential::Task(token) => {
            app.master.tasks.authenticate(&token).await?;
            return Err(Error::Forbidden(NOT_FOR_TASKS.to_owned()));
        }
        Credential::Malformed => return Err(Error::Unauthenticated("invalid credentials")),
        Credential::None => return Err(Error::Unauthenticated(NO_CREDENTIALS)),
    };
    let expected = request.headers().get(EXPECTED_USER);
    if expected.is_some_and(|name| name.as_bytes() != caller.user.username.as_bytes()) {
        return Err(Error::OtherAccount(caller.user.username.clone()));
    }
    let caller = caller.from_address(peer(request));
    request.extensions_mut().insert(caller);
    Ok(())
}

async fn user_or_task(app: &App, request: &mut Request) -> Result<(), Error> {
    let shown = credential(request);
    let task = match shown {
        Credential::Task(token) => Some(token),
        // The clients in a task send its token as a user's.
        Credential::Bearer(token) if token.starts_with("mtt_") => Some(token),
        _ => None,
    };
    let Some(token) = task else { return user(app, request).await };
    let caller = app.master.tasks.authenticate(&token).await?.from_address(peer(request));
    request.extensions_mut().insert(caller);
    Ok(())
}

async fn page(app: &App, request: &mut Request) -> Result<(), Error> {
    let log_in = || Error::Unauthenticated("log in first");
    let channel = Channel::of(request.extensions());
    let session = channel.read(request.headers(), Cookie::Session);
    let caller = match session {
        // A session that is over says so (P6); its visitor doesn't become somebody else without a word.
        Some(token) => match app.master.sessions.authenticate(&token).await {
            Err(Error::Unauthenticated(_) | Error::Forbidden(_)) => return Err(log_in()),
            other => other?,
        },
        None => {
            let signed_out = channel.read(request.headers(), Cookie::SignedOut).is_some();
            let origin = if signed_out {
                Origin::Remote
            } else {
                match request.extensions().get::<Arrival>() {
                    Some(arrival) => arrival.origin(app).await,
                    None => Origin::Remote,
                }
            };
            default_user(app, origin).await?.ok_or_else(log_in)?
        }
    };
    prove_same_origin(request)?;
    let caller = caller.from_address(peer(request));
    request.extensions_mut().insert(caller);
    Ok(())
}

/// The default user without a login (P2); who signed out in this browser counts as remote.
async fn default_user(app: &App, origin: Origin) -> Result<Option<Caller>, Error> {
    match origin {
        Origin::Remote => Ok(None),
        Origin::Local => {
            let default_user = app.master.cluster.default_user();
            app.master.sessions.default_caller(default_user, origin).await
        }
    }
}

/// What a browser sends by itself proves nothing for a change (R07).
fn prove_same_origin(request: &Request) -> Result<(), Error> {
    if looks(request.method()) || same_origin(request.headers()) {
        Ok(())
    } else {
        Err(Error::Forbidden(ELSEWHERE.to_owned()))
    }
}
