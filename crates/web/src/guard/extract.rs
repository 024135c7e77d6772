//! What handlers take from a request: the caller that the guard found, parameters, typed ids. Bodies are in `late`.

use std::str::FromStr;
use std::sync::Arc;

use ::api::page::{PageQuery, Pagination};
use axum::extract::{FromRequestParts, Request};
use axum::http::Uri;
use axum::http::request::Parts;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Body as _;
use master::Error;
use master::password::Presented;
use master::session::Caller;

use crate::App;
use crate::access::{AnyCaller, BodyLimit};
use crate::origin::Arrival;
use crate::respond::Failure;

/// Most rows of one answer (R47).
pub(crate) const PAGE_CAP: i64 = 250;

/// Longest query, in bytes, …
const QUERY_LIMIT: usize = 12 << 10;

/// … and most parameters in one: some are looked up, some compared with every line of a log (A6).
const MOST_PARAMETERS: usize = 1000;

/// The session or default user that the guard let in.
#[derive(Debug)]
pub(crate) struct User(pub(crate) Caller);

/// The guard lets nobody in without one; not finding it is a refusal all the same (R27).
fn missing() -> Failure {
    Failure(Error::Unauthenticated("token missing"))
}

impl FromRequestParts<App> for User {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Failure> {
        parts.extensions.get::<Caller>().cloned().map(Self).ok_or_else(missing)
    }
}

impl FromRequestParts<App> for AnyCaller {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Failure> {
        parts.extensions.get::<Self>().cloned().ok_or_else(missing)
    }
}

impl FromRequestParts<App> for Arrival {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Failure> {
        parts.extensions.get::<Self>().cloned().ok_or_else(missing)
    }
}

/// All of a body, up to the row's limit, in one piece of memory that is as large as it says: many small ones would be
/// held twice for a moment, and leave holes.
pub(crate) async fn collected(request: Request) -> Result<Bytes, Failure> {
    let limit = request.extensions().get::<BodyLimit>().map_or(0, |limit| limit.0);
    let body = request.into_body();
    let announced = body.size_hint().exact().and_then(|size| usize::try_from(size).ok());
    let mut body = Limited::new(body, limit);
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Failure(if error.downcast_ref::<LengthLimitError>().is_some() {
                Error::TooLarge(format!("the request is larger than {limit} bytes"))
            } else {
                Error::Invalid("the request broke off".to_owned())
            })
        })?;
        let Ok(piece) = frame.into_data() else { continue };
        if all.is_empty() && body.is_end_stream() {
            return Ok(piece);
        }
        if all.is_empty() {
            all.reserve(announced.unwrap_or(0).min(limit));
        }
        all.extend_from_slice(&piece);
    }
    Ok(all.freeze())
}

/// The request with all of its body in memory, up to the row's limit: it needs its connection no more.
pub(crate) async fn whole(request: Request) -> Result<Request, Failure> {
    let (parts, body) = request.into_parts();
    let bytes = collected(Request::from_parts(parts.clone(), body)).await?;
    Ok(Request::from_parts(parts, bytes.into()))
}

/// Query parameters; keys may repeat. Where a permission is asked for, [`crate::late::Query`] comes before them.
#[derive(Debug)]
pub(crate) struct Params {
    sent: Vec<(String, String)>,
    keys: Option<Keys>,
}

/// The keys that a row says it takes; known in builds for tests, where others may not be asked for.
#[derive(Debug, Clone)]
pub(crate) struct Keys(pub(crate) Arc<[&'static str]>);

impl FromRequestParts<App> for Params {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Failure> {
        Self::of(&parts.uri, parts.extensions.get().cloned())
    }
}

/// A key in the spelling that handlers ask for: clients send either (contract "rest", section 0).
fn camel_case(key: &str) -> String {
    let mut parts = key.split('_').filter(|part| !part.is_empty());
    let mut camel = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let mut letters = part.chars();
        camel.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        camel.push_str(letters.as_str());
    }
    camel
}

impl Params {
    /// Those of an address.
    pub(crate) fn of(uri: &Uri, keys: Option<Keys>) -> Result<Self, Failure> {
        let invalid = |text: String| Failure(Error::Invalid(text));
        let size = uri.query().map_or(0, str::len);
        if size > QUERY_LIMIT {
            return Err(invalid(format!("the query has {size} bytes, and {QUERY_LIMIT} is the limit")));
        }
        let query = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri);
        let mut query = query.map_err(|e| invalid(e.to_string()))?.0;
        query.iter_mut().for_each(|(key, _)| *key = camel_case(key));
        if query.len() > MOST_PARAMETERS {
            return Err(invalid(format!("the query has more than {MOST_PARAMETERS} parameters")));
        }
        Ok(Self { sent: query, keys })
    }

    /// The first value of a key; empty counts as unset.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.all(key).next()
    }

    /// All values of a key.
    pub(crate) fn all<'a, 'k>(&'a self, key: &'k str) -> impl Iterator<Item = &'a str> + use<'a, 'k> {
        let said = self.keys.as_ref().is_none_or(|keys| keys.0.contains(&key));
        debug_assert!(said, "its row doesn't say that it takes {key}");
        self.sent.iter().filter(move |(k, v)| k == key && !v.is_empty()).map(|(_, v)| v.as_str())
    }

    /// A value of a certain type.
    pub(crate) fn parse<T: FromStr>(&self, key: &str) -> Result<Option<T>, Failure> {
        let bad = |text: &str| {
            Failure(Error::Invalid(format!("{key}: '{}' can't be understood", text.escape_debug())))
        };
        self.get(key).map(|text| text.parse().map_err(|_| bad(text))).transpose()
    }

    /// A truth value.
    pub(crate) fn flag(&self, key: &str) -> Result<bool, Failure> {
        Ok(self.parse(key)?.unwrap_or(false))
    }

    /// Offset and limit.
    pub(crate) fn page(&self) -> Result<PageQuery, Failure> {
        Ok(PageQuery { offset: self.parse("offset")?.unwrap_or(0), limit: self.parse("limit")?.unwrap_or(0) })
    }

    /// `orderBy=ORDER_BY_DESC`.
    pub(crate) fn descending(&self) -> bool {
        self.get("orderBy") == Some("ORDER_BY_DESC")
    }
}

/// Turns the number of rows into the page that was asked for, or the whole list: a client that names no limit doesn't come
/// again for the rest (B10).
pub(crate) fn paged(query: PageQuery) -> impl FnOnce(i64) -> Result<(Pagination, i64, i64), Error> {
    paged_up_to(query, if query.limit == 0 { i64::MAX } else { PAGE_CAP })
}

/// The same with another cap.
pub(crate) fn paged_up_to(
    query: PageQuery,
    cap: i64,
) -> impl FnOnce(i64) -> Result<(Pagination, i64, i64), Error> {
    move |total| {
        let page =
            query.resolve(total, cap).map_err(|_| Error::Invalid("offset out of bounds".to_owned()))?;
        Ok((page, page.start_index, page.end_index - page.start_index))
    }
}

/// A request about many things at once has a limit too (R47).
pub(crate) fn check_count(count: usize) -> Result<(), Failure> {
    if i64::try_from(count).is_ok_and(|count| count <= PAGE_CAP) {
        return Ok(());
    }
    Err(Failure(Error::Invalid(format!("too many at once: {PAGE_CAP} at most"))))
}

/// Reads a typed id from a path (R34); what is no id isn't there.
pub(crate) fn id<T: FromStr>(text: &str, missing: impl FnOnce() -> String) -> Result<T, Failure> {
    text.parse().map_err(|_| Failure(Error::NotFound(missing())))
}

/// Takes a password from a request; refuses over-long ones before anything is done with them (R19).
pub(crate) fn presented(password: Option<String>, is_hashed: Option<bool>) -> Result<Presented, Failure> {
    let max = domain::password::MAX_BYTES;
    if password.as_ref().is_some_and(|password| password.len() > max) {
        return Err(Failure(Error::Invalid(format!("the password is longer than {max} bytes"))));
    }
    Ok(Presented::new(password, is_hashed.unwrap_or(false)))
}
