//! Where a request comes from: the machine itself or elsewhere (R15), our own pages or others (R07), under which name
//! (R08).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::Request;
use axum::http::{HeaderMap, header};
use master::session::Origin;

use crate::cookie::Channel;
use crate::peer::Peer;

/// Signs of a proxy: with one of them a request is nobody's neighbour.
const FORWARDING: [&str; 7] = [
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "x-forwarded-server",
];

/// The `Host` names that the master answers to. An address in place of a name can't have been rebound (R08).
#[derive(Debug, Clone)]
pub(crate) struct Hosts {
    names: Arc<[String]>,
}

impl Hosts {
    pub(crate) fn new(configured: &[String], _listen: SocketAddr) -> Self {
        Self { names: configured.iter().map(|name| name.to_ascii_lowercase()).collect() }
    }

    pub(crate) fn accepts(&self, headers: &HeaderMap) -> bool {
        let Some(host) = headers.get(header::HOST).and_then(|value| value.to_str().ok()) else {
            // HTTP/1.1 demands one; who leaves it out is no browser.
            return true;
        };
        let name = host_name(host);
        is_loopback_name(&name) || name.parse::<IpAddr>().is_ok() || self.names.contains(&name)
    }
}

/// The name in a `Host` header, lower case, without port and brackets.
fn host_name(host: &str) -> String {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.trim_end_matches('.').to_ascii_lowercase()
}

fn is_loopback_name(name: &str) -> bool {
    name == "localhost"
        || name.ends_with(".localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether a request names the master by a name that other machines know it under, too: no address, not localhost.
pub(crate) fn is_public(headers: &HeaderMap) -> bool {
    let name = headers.get(header::HOST).and_then(|host| host.to_str().ok()).map(host_name);
    name.is_some_and(|name| !is_loopback_name(&name) && name.parse::<IpAddr>().is_err())
}

/// Whether what a browser sends to a page crosses a network in the clear (D9); a proxy in front may have taken care.
pub(crate) fn is_unencrypted(channel: Channel, headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let near = text("host").is_some_and(|host| is_loopback_name(&host_name(host)));
    channel == Channel::Plain && !near && text("x-forwarded-proto") != Some("https")
}

/// Whether a request came from the machine itself: peer, `Host`, and no sign of a proxy, all three (R15).
pub(crate) fn origin_of(request: &Request) -> Origin {
    classify(request.extensions().get(), request.headers())
}

pub(crate) fn classify(peer: Option<&Peer>, headers: &HeaderMap) -> Origin {
    let near = match peer {
        Some(Peer::Tcp { address, .. }) => address.ip().to_canonical().is_loopback(),
        Some(Peer::Unix { .. }) => true,
        Some(Peer::Relay { .. }) | None => false,
    };
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok());
    let named = host.is_some_and(|host| is_loopback_name(&host_name(host)));
    let forwarded = FORWARDING.iter().any(|name| headers.contains_key(*name));
    if near && named && !forwarded { Origin::Local } else { Origin::Remote }
}

/// Proof that a browser sent the request from one of our own pages (R07).
pub(crate) fn same_origin(headers: &HeaderMap) -> bool {
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = headers.get("sec-fetch-site") {
        return site == "same-origin";
    }
    let (Some(origin), Some(host)) = (text(header::ORIGIN), text(header::HOST)) else {
        return false;
    };
    origin.split_once("://").is_some_and(|(scheme, rest)| matches!(scheme, "http" | "https") && rest == host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderName, HeaderValue};

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn r15_local_needs_peer_host_and_no_proxy() {
        let tcp = |ip: [u8; 4]| {
            let (address, local) = (SocketAddr::from((ip, 5)), SocketAddr::from(([127, 0, 0, 1], 8080)));
            Peer::Tcp { address, local, encrypted: false }
        };
        let (here, there) = (tcp([127, 0, 0, 1]), tcp([10, 0, 0, 7]));
        let (here, there) = (Some(&here), Some(&there));
        let task = "6f1c7f3e-5b0f-4a4c-9d8e-2b1a00000000.1".parse().expect("an id");
        let relay = Peer::Relay { allocation: task };
        let local = |peer, pairs: &[_]| classify(peer, &headers(pairs)) == Origin::Local;
        assert!(!local(Some(&relay), &[("host", "localhost")]), "a task is nobody's neighbour");
        assert!(local(here, &[("host", "127.0.0.1:8080")]));
        assert!(local(here, &[("host", "localhost")]));
        assert!(local(here, &[("host", "[::1]:8080")]));
        assert!(!local(there, &[("host", "localhost")]));
        assert!(!local(None, &[("host", "localhost")]));
        assert!(!local(here, &[("host", "muster.example.org")]));
        assert!(!local(here, &[]));
        for sign in FORWARDING {
            assert!(!local(here, &[("host", "localhost"), (sign, "x")]), "{sign}");
        }
    }

    #[test]
    fn r07_same_origin_proof() {
        let proof = |pairs: &[_]| same_origin(&headers(pairs));
        let host = ("host", "a.localhost:8080");
        assert!(proof(&[host, ("sec-fetch-site", "same-origin")]));
        assert!(proof(&[host, ("origin", "http://a.localhost:8080")]));
        for bad in
            ["null", "http://b.localhost:8080", "http://a.localhost", "http://a.localhost:8080.evil.org"]
        {
            assert!(!proof(&[host, ("origin", bad)]), "{bad}");
        }
        for site in ["cross-site", "same-site", "none"] {
            assert!(
                !proof(&[host, ("sec-fetch-site", site), ("origin", "http://a.localhost:8080")]),
                "{site}"
            );
        }
        assert!(!proof(&[host]), "no proof at all");
    }

    #[test]
    fn r08_rebound_names_are_refused() {
        let hosts = Hosts::new(&["Lab.example.org".to_owned()], SocketAddr::from(([0, 0, 0, 0], 80)));
        let accepts = |host: &'static str| hosts.accepts(&headers(&[("host", host)]));
        assert!(accepts("lab.example.org:8080") && accepts("10.1.2.3:8080") && accepts("x.localhost"));
        assert!(!accepts("evil.example.org") && !accepts("lab.example.org.evil.org"));
    }
}
