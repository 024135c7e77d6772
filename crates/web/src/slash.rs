//! Slashes at the end of addresses of the API. Determined's rows have none and are meant with one, too; Polyaxon's have one,
//! and some begin with an account's name, which may be any noun of ours: `/api/v1/agents/` is what our agents are, and what
//! the account `agents` has. Polyaxon's client says who it is by its credentials (`Authorization: Token …`).

use axum::extract::Request;
use axum::http::{HeaderMap, Method, Uri, header};

use crate::table::Row;

/// What is asked for without its slash, where that is a row and what stands there isn't meant.
pub(crate) fn without(rows: &[Row], request: &Request) -> Option<Uri> {
    let uri = request.uri();
    let path = uri.path();
    let plain = path.strip_suffix('/').filter(|path| path.starts_with("/api/v1/"))?;
    if is_meant(rows, request.method(), path, plain, speaks_polyaxon(request.headers())) {
        return None;
    }
    let plain = uri.query().map_or_else(|| plain.to_owned(), |query| format!("{plain}?{query}"));
    // What was an address is one without its last character, too.
    plain.parse().ok()
}

/// Whether `path` is meant with its slash.
fn is_meant(rows: &[Row], method: &Method, path: &str, plain: &str, polyaxon: bool) -> bool {
    let of_method =
        |row: &&Row| row.method == *method || (*method == Method::HEAD && row.method == Method::GET);
    let slashed = || rows.iter().filter(|row| fits(row.path, path));
    let ours = || rows.iter().filter(|row| fits(row.path, plain));
    if slashed().next().is_none() {
        return ours().next().is_none();
    }
    // A row that names a noun itself, such as `/api/v1/users/`, is nobody else's.
    let named = slashed().filter(of_method).any(|row| !row.path.starts_with("/api/v1/{"));
    polyaxon || named || !ours().any(|row| of_method(&row))
}

fn speaks_polyaxon(headers: &HeaderMap) -> bool {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    value.and_then(|value| value.split(' ').next()).is_some_and(|scheme| scheme.eq_ignore_ascii_case("token"))
}

/// Whether a row's path with its `{parameters}` is that of an address.
fn fits(row: &str, path: &str) -> bool {
    let (mut row, mut path) = (row.split('/'), path.split('/'));
    loop {
        match (row.next(), path.next()) {
            (None, None) => return true,
            (Some(part), Some(word)) if part == word || (part.starts_with('{') && !word.is_empty()) => {}
            _ => return false,
        }
    }
}
