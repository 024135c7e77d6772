//! What handlers take from a request: the caller that the guard found, parameters of pages, typed ids. Bodies are in `late`, queries
//! of the API in `query`.

use std::str::FromStr;

use ::api::page::{PageQuery, Pagination};
use axum::extract::FromRequestParts;
use axum::http::Uri;
use axum::http::request::Parts;
use master::Error;
use master::password::Presented;
use master::session::Caller;
use master::task::TaskCaller;

use crate::App;
use crate::access::AnyCaller;
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
        let found = &parts.extensions;
        if let Some(task) = found.get::<TaskCaller>() {
            return Ok(Self::Task(Box::new(task.clone())));
        }
        found.get::<Caller>().map(|caller| Self::User(Box::new(caller.clone()))).ok_or_else(missing)
    }
}

impl FromRequestParts<App> for Arrival {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Failure> {
        parts.extensions.get::<Self>().cloned().ok_or_else(missing)
    }
}

/// Query parameters as pages and Polyaxon's rows read them; keys may repeat. Rows of the API have a type for theirs
/// ([`crate::query`]).
#[derive(Debug)]
pub(crate) struct Params(Vec<(String, String)>);

impl FromRequestParts<App> for Params {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Failure> {
        Self::of(&parts.uri)
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
    pub(crate) fn of(uri: &Uri) -> Result<Self, Failure> {
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
        Ok(Self(query))
    }

    /// All that isn't empty.
    pub(crate) fn sent(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| (k.as_str(), v.as_str()))
    }

    /// The first value of a key; empty counts as unset.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.all(key).next()
    }

    /// All values of a key.
    pub(crate) fn all<'a, 'k>(&'a self, key: &'k str) -> impl Iterator<Item = &'a str> + use<'a, 'k> {
        self.sent().filter(move |(k, _)| *k == key).map(|(_, v)| v)
    }

    /// A value of a certain type.
    pub(crate) fn parse<T: FromStr>(&self, key: &str) -> Result<Option<T>, Failure> {
        let parsed = |text| parsed(key, text).map_err(|why| Failure(Error::Invalid(why)));
        self.get(key).map(parsed).transpose()
    }
}

/// The value of a key, of a certain type.
pub(crate) fn parsed<T: FromStr>(key: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{key}: '{}' can't be understood", text.escape_debug()))
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
