//! Cookies: their names, their attributes, and on which kind of connection they count (A9).
//!
//! A browser sends a host's cookies to every port of it, and takes them from every port. Over TLS their names begin
//! with `__Host-`: browsers then send them over https alone, and take them from there alone, so that what listens on
//! another port without a certificate of ours neither gets nor replaces one. A cookie by the old name isn't accepted
//! there. In the clear there is nothing of the kind: README says what that means.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, HeaderName, header};

use crate::peer::Peer;

/// How a request came, as far as cookies are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Channel {
    /// In the clear, as far as a browser knows.
    Plain,
    /// By https.
    Encrypted,
}

/// A cookie of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cookie {
    /// The session.
    Session,
    /// Set by "Sign out": the default user isn't let in without asking until the next login.
    SignedOut,
    /// What tells this browser from others behind its address at the next login (A8).
    Device,
}

impl Cookie {
    fn name(self, channel: Channel) -> &'static str {
        match (self, channel) {
            (Self::Session, Channel::Plain) => "auth",
            (Self::Session, Channel::Encrypted) => "__Host-auth",
            (Self::SignedOut, Channel::Plain) => "signed_out",
            (Self::SignedOut, Channel::Encrypted) => "__Host-signed_out",
            (Self::Device, Channel::Plain) => "device",
            (Self::Device, Channel::Encrypted) => "__Host-device",
        }
    }
}

impl Channel {
    /// That of the request with these extensions: what a trusted proxy says of it, else the connection's.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        if let Some(told) = extensions.get::<Self>() {
            return *told;
        }
        match extensions.get() {
            Some(Peer::Tcp { encrypted: true, .. }) => Self::Encrypted,
            _ => Self::Plain,
        }
    }

    /// A cookie's value.
    pub(crate) fn read(self, headers: &HeaderMap, cookie: Cookie) -> Option<String> {
        let name = cookie.name(self);
        let all = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
        all.flat_map(|line| line.split(';')).find_map(|pair| {
            let (key, value) = pair.trim().split_once('=')?;
            (key == name && !value.is_empty()).then(|| value.to_owned())
        })
    }

    /// The header that sets a cookie.
    pub(crate) fn set(self, cookie: Cookie, value: &str, age: Duration) -> (HeaderName, String) {
        let secure = if self == Self::Encrypted { "; Secure" } else { "" };
        let (name, age) = (cookie.name(self), age.as_secs());
        (header::SET_COOKIE, format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={age}{secure}"))
    }

    /// The header that takes a cookie away.
    pub(crate) fn clear(self, cookie: Cookie) -> (HeaderName, String) {
        self.set(cookie, "", Duration::ZERO)
    }
}

impl<S: Sync> FromRequestParts<S> for Channel {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.extensions))
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a09_cookies_are_for_the_server_alone() {
        let day = Duration::from_secs(86_400);
        let (_, plain) = Channel::Plain.set(Cookie::Session, "mst_x", day);
        assert_eq!(plain, "auth=mst_x; Path=/; HttpOnly; SameSite=Lax; Max-Age=86400");
        let (_, encrypted) = Channel::Encrypted.set(Cookie::Session, "mst_x", day);
        assert_eq!(encrypted, "__Host-auth=mst_x; Path=/; HttpOnly; SameSite=Lax; Max-Age=86400; Secure");
        assert!(Channel::Encrypted.clear(Cookie::SignedOut).1.starts_with("__Host-signed_out=; "));
    }

    #[test]
    fn a09_a_name_counts_on_its_own_kind_of_connection_alone() {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, HeaderValue::from_static("x=1; auth=planted; __Host-auth=ours"));
        assert_eq!(Channel::Encrypted.read(&headers, Cookie::Session).as_deref(), Some("ours"));
        assert_eq!(Channel::Plain.read(&headers, Cookie::Session).as_deref(), Some("planted"));
        headers.insert(header::COOKIE, HeaderValue::from_static("auth=planted"));
        assert_eq!(Channel::Encrypted.read(&headers, Cookie::Session), None);
    }
}
