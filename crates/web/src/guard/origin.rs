//! Where a request comes from: the machine itself or elsewhere (R15), our own pages or others (R07), under which name
//! (R08).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::Request;
use axum::http::{Extensions, HeaderMap, header};
use master::config::{Subnet, any_contains};
use master::password::Presented;
use master::session::{Device, Origin, Visitor};
use neighbour::Neighbours;

use crate::App;
use crate::cookie::Channel;
use crate::peer::Peer;
use crate::server::Standing;

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

/// In a request whose peer is a proxy that is believed: what it says of where the request comes from counts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Proxied;

/// Notes whether the peer is a proxy that is believed, and whether the request came to it by https.
pub(crate) async fn note_proxy(app: &App, request: &mut Request) {
    let extensions = request.extensions();
    let (peer, standing) = (extensions.get::<Peer>().cloned(), extensions.get::<Standing>().cloned());
    if !is_believed(app, peer, standing).await {
        return;
    }
    request.extensions_mut().insert(Proxied);
    if is_forwarded_https(request.headers()) {
        request.extensions_mut().insert(Channel::Encrypted);
    }
}

/// Whether a peer's word on whom it speaks for counts: its address is listed, and if that is one of this machine's, it is
/// root's, the master's own Unix user's, or a listed one's. Any program here can connect from such an address.
async fn is_believed(app: &App, peer: Option<Peer>, standing: Option<Standing>) -> bool {
    let security = &app.master.config.security;
    let listed = |peer: &Peer| peer.ip().is_some_and(|ip| any_contains(&security.trusted_proxies, ip));
    let Some(peer) = peer.filter(listed) else { return false };
    let uid = match &peer {
        Peer::Tcp { address, local, .. } if !is_of_this_machine(*address, *local) => return true,
        peer => uid_of(app, peer, standing.as_ref()).await,
    };
    let ours = rustix::process::geteuid().as_raw();
    let believed = uid.is_some_and(|uid| uid == 0 || uid == ours || security.proxy_uids.contains(&uid));
    if !believed && !app.warned.swap(true, Ordering::Relaxed) {
        let who = uid.map_or_else(|| "unknown".to_owned(), |uid| uid.to_string());
        tracing::warn!(
            "a program of this machine that connects from a trusted proxy's address isn't believed: it is of uid {who}; if it is your proxy, add that to security.proxy_uids"
        );
    }
    believed
}

/// Whether a connection comes from an address of this machine, as far as it says that itself.
fn is_of_this_machine(address: SocketAddr, local: SocketAddr) -> bool {
    let ip = address.ip().to_canonical();
    ip.is_loopback() || ip == local.ip().to_canonical()
}

/// The Unix user at the other end, when that is on this machine.
async fn uid_of(app: &App, peer: &Peer, standing: Option<&Standing>) -> Option<u32> {
    match peer {
        Peer::Tcp { address, local, .. } if is_of_this_machine(*address, *local) => match standing {
            Some(standing) => standing.whose(whose(app, *address, *local)).await,
            None => whose(app, *address, *local).await,
        },
        Peer::Unix { uid, .. } => Some(*uid),
        Peer::Tcp { .. } | Peer::Relay { .. } => None,
    }
}

/// The Unix user of the socket at the other end, on this machine.
async fn whose(app: &App, address: SocketAddr, local: SocketAddr) -> Option<u32> {
    let turn = Arc::clone(&app.owners).acquire_owned().await.ok()?;
    let looked = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        Neighbours::behind(local, address)
    });
    let found = looked.await.ok()?.ok()??;
    // More than one is nobody in particular.
    let (first, rest) = found.split_first()?;
    rest.iter().all(|other| other.uid == first.uid).then_some(first.uid)
}

/// Whether a proxy says that it was asked by https; the last word is its own.
fn is_forwarded_https(headers: &HeaderMap) -> bool {
    let last = |name: &str| {
        let line = headers.get_all(name).into_iter().next_back()?.to_str().ok()?;
        line.rsplit(',').next().map(|word| word.trim().to_ascii_lowercase())
    };
    let forwarded = last("forwarded").unwrap_or_default();
    let mut pairs = forwarded.split(';').filter_map(|pair| pair.split_once('='));
    let standard = pairs.find(|(name, _)| name.trim() == "proto");
    let standard = standard.map(|(_, value)| value.trim().trim_matches('"') == "https");
    let usual = last("x-forwarded-proto").map(|scheme| scheme == "https");
    // Where they differ, one of them is the client's own.
    match (usual, standard) {
        (Some(usual), Some(standard)) => usual && standard,
        (one, other) => one.or(other).unwrap_or(false),
    }
}

/// Where a request came from. Whether from a person's own program on this machine is asked only where it matters: the
/// answer costs a look at all processes.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    address: Option<IpAddr>,
    /// There when addresses and headers don't speak against it; the kernel has the last word.
    near: Option<(Peer, Option<Standing>)>,
    /// There when the peer speaks for itself.
    itself: Option<(Peer, Option<Standing>)>,
}

impl Arrival {
    /// Of a request as it came in. What a proxy says of it counts from those in `security.trusted_proxies` alone
    /// ([`note_proxy`]); the words of others are taken out of the headers after this.
    pub(crate) fn of(app: &App, request: &mut Request) -> Self {
        let believed = request.extensions().get::<Proxied>().is_some();
        let trusted = if believed { app.master.config.security.trusted_proxies.as_slice() } else { &[] };
        let arrival = Self::new(trusted, request.extensions(), request.headers());
        if !believed {
            for name in FORWARDING {
                request.headers_mut().remove(name);
            }
        }
        arrival
    }

    /// The address for the audit log and for counting failures.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.address
    }

    fn new(trusted: &[Subnet], extensions: &Extensions, headers: &HeaderMap) -> Self {
        let peer = extensions.get::<Peer>();
        let near = peer.filter(|peer| may_be_near(peer, headers));
        let with_standing = |peer: &Peer| (peer.clone(), extensions.get::<Standing>().cloned());
        let itself = peer.filter(|_| trusted.is_empty()).map(with_standing);
        let address = peer.and_then(|peer| client_address(trusted, peer, headers));
        Self { address, near: near.map(with_standing), itself }
    }

    /// Whether it came from a person's own program on this machine: the kernel says so of the process at the other end,
    /// and `Host` and forwarding headers don't speak against it (R15, A3).
    pub(crate) async fn origin(&self, app: &App) -> Origin {
        let near = match &self.near {
            None => false,
            Some((peer, None)) => look(app, peer.clone(), None).await,
            Some((peer, Some(standing))) => standing.near(look(app, peer.clone(), Some(standing))).await,
        };
        if near { Origin::Local } else { Origin::Remote }
    }

    /// For who may come in without a password.
    pub(crate) async fn asked(&self, app: &App) -> Visitor {
        let device = Device::None;
        Visitor { origin: self.origin(app).await, address: self.address, uid: None, device }
    }

    /// For a login: a password that isn't blank is as good from anywhere.
    pub(crate) async fn with(&self, app: &App, password: &Presented) -> Visitor {
        if password.is_blank() { self.asked(app).await } else { self.placed(app).await }
    }

    /// For a password that is looked at wherever it comes from: whose failures these will be (A8).
    pub(crate) async fn placed(&self, app: &App) -> Visitor {
        let uid = match &self.itself {
            Some((peer, standing)) => uid_of(app, peer, standing.as_ref()).await,
            None => None,
        };
        Visitor { uid, ..self.from_anywhere() }
    }

    /// Where it makes no difference.
    #[expect(clippy::wrong_self_convention, reason = "it says where the visitor comes from")]
    pub(crate) fn from_anywhere(&self) -> Visitor {
        Visitor { origin: Origin::Remote, address: self.address, uid: None, device: Device::None }
    }
}

/// The address of who asks: the peer's, or behind a trusted proxy the last one that isn't a trusted proxy's.
fn client_address(trusted: &[Subnet], peer: &Peer, headers: &HeaderMap) -> Option<IpAddr> {
    let mut address = peer.ip()?;
    let mut named = forwarded_for(headers);
    while any_contains(trusted, address) {
        match named.pop() {
            Some(Some(before)) => address = before,
            // Nothing more, or a word that is no address: who said it is the last that is known.
            Some(None) | None => break,
        }
    }
    Some(address)
}

/// The addresses that proxies have noted, each the one that it was asked from; the last was noted last. A proxy writes one
/// of two headers and passes on what its client wrote into the other, so where they differ nothing is known (A8).
fn forwarded_for(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let all = |name: &str| {
        let lines = headers.get_all(name).into_iter().map(|value| value.to_str().unwrap_or(""));
        lines.flat_map(|line| line.split(',')).map(|word| word.trim().to_owned()).collect::<Vec<_>>()
    };
    let plain = all("x-forwarded-for");
    let plain: Vec<_> = plain.iter().map(|word| noted_address(word)).collect();
    let of = |element: &String| {
        let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
        let mut who = pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case("for"));
        who.next().and_then(|(_, value)| noted_address(value.trim().trim_matches('"')))
    };
    let standard: Vec<_> = all("forwarded").iter().map(of).collect();
    match (plain.last(), standard.last()) {
        (Some(usual), Some(other)) if usual != other => Vec::new(),
        (Some(_), _) => plain,
        (None, _) => standard,
    }
}

/// `10.0.0.7`, `10.0.0.7:5000`, `2001:db8::1`, `[2001:db8::1]:5000`.
fn noted_address(word: &str) -> Option<IpAddr> {
    let bare = word.strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|(address, _)| address);
    let address = bare.unwrap_or(word).parse::<IpAddr>().ok();
    let address = address.or_else(|| word.parse::<SocketAddr>().ok().map(|address| address.ip()));
    address.map(|address| address.to_canonical())
}

/// What can be seen without asking the kernel.
fn may_be_near(peer: &Peer, headers: &HeaderMap) -> bool {
    let near = match peer {
        Peer::Tcp { address, .. } => address.ip().to_canonical().is_loopback(),
        Peer::Unix { .. } => true,
        Peer::Relay { .. } => false,
    };
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok());
    let named = host.is_some_and(|host| is_loopback_name(&host_name(host)));
    let forwarded = FORWARDING.iter().any(|name| headers.contains_key(*name));
    near && named && !forwarded
}

/// Asks the kernel. Few at once, and fewer for each Unix user: it reads what every process has open, and anybody may make
/// us ask.
async fn look(app: &App, peer: Peer, standing: Option<&Standing>) -> bool {
    let neighbours = app.neighbours.clone();
    let (shown, uid) = (peer.clone(), uid_of(app, &peer, standing).await);
    let looked = app.looks.work(uid, move || match peer {
        Peer::Tcp { address, local, .. } => neighbours.at_tcp(address, local),
        Peer::Unix { socket, .. } => neighbours.at_unix(socket),
        Peer::Relay { .. } => Err(neighbour::Doubt::Elsewhere),
    });
    match looked.await {
        Ok(Ok(())) => true,
        Ok(Err(doubt)) => {
            tracing::debug!(peer = ?shown, %doubt, "not taken for a person of this machine");
            false
        }
        Err(_) => false,
    }
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

/// Whether a browser says that another site's page has sent this. Who is no browser says nothing.
pub(crate) fn is_foreign(headers: &HeaderMap) -> bool {
    match headers.get("sec-fetch-site") {
        Some(site) => site != "same-origin" && site != "none",
        None => headers.contains_key(header::ORIGIN) && !same_origin(headers),
    }
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
    fn r15_headers_and_addresses_can_only_speak_against_it() {
        let tcp = |ip: [u8; 4]| {
            let (address, local) = (SocketAddr::from((ip, 5)), SocketAddr::from(([127, 0, 0, 1], 8080)));
            Peer::Tcp { address, local, encrypted: false }
        };
        let (here, there) = (tcp([127, 0, 0, 1]), tcp([10, 0, 0, 7]));
        let task = "6f1c7f3e-5b0f-4a4c-9d8e-2b1a00000000.1".parse().expect("an id");
        let relay = Peer::Relay { allocation: task };
        let local = |peer: &Peer, pairs: &[_]| may_be_near(peer, &headers(pairs));
        let (here, there) = (&here, &there);
        assert!(!local(&relay, &[("host", "localhost")]), "a task is nobody's neighbour");
        assert!(local(here, &[("host", "127.0.0.1:8080")]));
        assert!(local(here, &[("host", "localhost")]));
        assert!(local(here, &[("host", "[::1]:8080")]));
        assert!(!local(there, &[("host", "localhost")]));
        assert!(!local(here, &[("host", "muster.example.org")]));
        assert!(!local(here, &[]));
        for sign in FORWARDING {
            assert!(!local(here, &[("host", "localhost"), (sign, "x")]), "{sign}");
        }
    }

    #[test]
    fn a08_only_a_trusted_proxy_says_who_asks() {
        let trusted: Vec<Subnet> =
            ["10.0.0.0/8", "fd00::/8"].iter().map(|text| text.parse().expect("a network")).collect();
        let tcp = |address: &str| {
            let address = SocketAddr::new(address.parse().expect("an address"), 5);
            Peer::Tcp { address, local: address, encrypted: false }
        };
        let asks = |peer: &str, pairs: &[_]| {
            client_address(&trusted, &tcp(peer), &headers(pairs)).expect("an address").to_string()
        };
        let forged = ("x-forwarded-for", "192.0.2.1, 203.0.113.9");
        assert_eq!(asks("198.51.100.1", &[forged]), "198.51.100.1", "nobody's word");
        assert_eq!(asks("10.0.0.1", &[forged]), "203.0.113.9", "what the proxy itself has seen");
        assert_eq!(asks("10.0.0.1", &[("x-forwarded-for", "192.0.2.1, 10.0.0.2")]), "192.0.2.1");
        assert_eq!(asks("10.0.0.1", &[("x-forwarded-for", "192.0.2.1, unknown")]), "10.0.0.1");
        assert_eq!(asks("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(
            asks("fd00::1", &[("forwarded", "for=192.0.2.1;proto=https, for=\"[2001:db8::7]:44\"")]),
            "2001:db8::7"
        );
        assert_eq!(asks("::ffff:10.0.0.1", &[("x-forwarded-for", "192.0.2.1:99")]), "192.0.2.1");
        // Which of two the proxy wrote isn't known; where both say the same it doesn't matter.
        let noted = ("forwarded", "for=203.0.113.8");
        assert_eq!(asks("10.0.0.1", &[noted, ("x-forwarded-for", "8.8.8.8")]), "10.0.0.1");
        assert_eq!(asks("10.0.0.1", &[noted, ("x-forwarded-for", "192.0.2.1, 203.0.113.8")]), "203.0.113.8");
    }

    #[test]
    fn a09_the_proxys_own_word_on_https_is_the_last() {
        let https = |pairs: &[_]| is_forwarded_https(&headers(pairs));
        assert!(https(&[("x-forwarded-proto", "https")]) && https(&[("x-forwarded-proto", "http, HTTPS")]));
        assert!(https(&[("forwarded", "for=192.0.2.1;proto=http, for=192.0.2.7; proto=\"https\"")]));
        for no in [("x-forwarded-proto", "https, http"), ("forwarded", "for=192.0.2.1"), ("via", "https")] {
            assert!(!https(&[no]), "{no:?}");
        }
        assert!(!https(&[("x-forwarded-proto", "http"), ("forwarded", "proto=https")]));
        assert!(
            !https(&[("x-forwarded-proto", "https"), ("forwarded", "proto=http")]),
            "one is the client's"
        );
    }

    #[test]
    fn a14_r09_other_sites_pages_are_told_from_programs() {
        let foreign = |pairs: &[_]| is_foreign(&headers(pairs));
        let host = ("host", "a.localhost:8080");
        assert!(!foreign(&[host]), "no browser");
        assert!(!foreign(&[host, ("origin", "http://a.localhost:8080")]));
        assert!(!foreign(&[host, ("sec-fetch-site", "same-origin"), ("origin", "https://lab.example.org")]));
        for origin in ["null", "http://b.localhost:8080", "http://a.localhost:8081"] {
            assert!(foreign(&[host, ("origin", origin)]), "{origin}");
        }
        for site in ["cross-site", "same-site"] {
            assert!(foreign(&[host, ("sec-fetch-site", site)]), "{site}");
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
