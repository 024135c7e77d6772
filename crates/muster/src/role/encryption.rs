//! The encrypted listener of a master (D9): under which names it can be reached, and what is said of it at the start.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result};
use master::Config;
use master::system::{Clock as _, SystemClock};
use nix::ifaddrs::getifaddrs;
use web::Tls;

use crate::output;

/// What `tls` of the configuration asks for, on a listener at `address`.
pub(super) fn open(config: &Config, data_dir: &Path, address: SocketAddr) -> Result<Option<Tls>> {
    let Some(encryption) = &config.tls else { return Ok(None) };
    let hosts = config.security.hosts.clone();
    let names = Box::new(move || names(&hosts, address));
    let tls = Tls::open(encryption, data_dir, names, SystemClock.now());
    Ok(Some(tls.context("tls in the configuration")?))
}

/// Everything that may stand in an address of this master: its names, and the addresses that it listens on.
fn names(hosts: &[String], address: SocketAddr) -> Vec<String> {
    let mut names: Vec<String> = ["localhost", "*.localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    names.extend(hosts.iter().cloned());
    if address.ip().is_unspecified() {
        let found = getifaddrs().into_iter().flatten().filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|v4| v4.ip().to_string());
            // Addresses of one link alone stand in no URL.
            let v6 = address.as_sockaddr_in6().map(|v6| v6.ip()).filter(|ip| !ip.is_unicast_link_local());
            v4.or_else(|| v6.map(|v6| v6.to_string()))
        });
        names.extend(found);
    } else {
        names.push(address.ip().to_canonical().to_string());
    }
    names.sort();
    names.dedup();
    names
}

/// What people compare at first contact.
pub(super) fn tell(tls: &Tls) {
    output::note(&format!("The fingerprint of its certificate's authority is {}", tls.fingerprint()));
    output::note(&format!(
        "That of the certificate itself, which det shows and which changes with each renewal, is {}",
        tls.own_fingerprint()
    ));
}

/// Says what a listener without encryption means where others reach it.
pub(super) fn warn_of_plain(address: SocketAddr) {
    if !address.ip().to_canonical().is_loopback() {
        tracing::warn!(
            "others can reach {address}, and nothing that is said there is encrypted: passwords and tokens can be read \
             on the network. Set `tls: self` in the configuration, or a certificate of your own"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d09_every_way_to_the_listener_is_named_once() {
        let hosts = ["lab.example".to_owned(), "localhost".to_owned()];
        let one = names(&hosts, SocketAddr::from(([10, 1, 2, 3], 8080)));
        assert_eq!(one, ["*.localhost", "10.1.2.3", "127.0.0.1", "::1", "lab.example", "localhost"]);
        let all = names(&hosts, SocketAddr::from(([0, 0, 0, 0], 8080)));
        assert!(all.contains(&"127.0.0.1".to_owned()) && !all.contains(&"0.0.0.0".to_owned()), "{all:?}");
    }
}
