//! What the task's init makes in the task's network: loopback, the listener that the relay to the master accepts on,
//! and the interface to the world outside. It has every right over a new namespace, and gives them up before the task's
//! command starts.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, listen, socket_with};

use super::descriptors::send_patiently;
use super::netlink::{LOOPBACK, Netlink};
use super::{MTU, OWN, RELAY, diag};
use crate::failure::{Explain, Failure};
use crate::spec::Network;
use crate::sys::net;

/// Connections to the master that may wait for the agent.
const BACKLOG: i32 = 1024;

/// Bytes that a socket may have for its options, and for what goes with one message.
const OPTIONS: &str = "20480";
/// What a task's network remembers of connections that are over.
const REMNANTS: &str = "8192";

/// Name of the interface to the world outside.
const INTERFACE: &str = "net0";

/// Makes the network of this process's namespace what a task needs and hands to the shim what it needs of it.
/// Returns the port of the relay.
///
/// # Errors
/// One sentence.
pub(crate) fn set_up(network: Network, ipv6: bool, shim: BorrowedFd<'_>) -> Result<u16, Failure> {
    let mut address = RELAY;
    let mut interface = None;
    let mut words = String::new();
    match network {
        Network::Host => address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0),
        Network::None => drop(loopback()?),
        Network::Private => {
            let netlink = loopback()?;
            match way_out(&netlink, ipv6) {
                Ok(tun) => interface = Some(tun),
                // The task may need no more than the master.
                Err(e) => {
                    words = format!(
                        "the task reaches nothing outside, for its network can't be connected (/dev/net/tun): {e}; \
                         load the module tun, or let the agent's user open that file"
                    );
                }
            }
        }
    }
    let what = || "can't make the way to the master".to_owned();
    let (relay, port) = listener(address).explain(what)?;
    // The machine's own sockets aren't the task's alone. Best effort: a kernel may tell nothing of them.
    let diag = if network == Network::Host { None } else { diag::open().ok() };
    let made = [Some(&relay), interface.as_ref(), diag.as_ref()];
    let descriptors: Vec<&OwnedFd> = made.into_iter().flatten().collect();
    send_patiently(shim, &descriptors, &words).explain(what)?;
    Ok(port)
}

fn loopback() -> Result<Netlink, Failure> {
    // What options take of a socket is in no limit (A12). It was that much until it was the namespace's own.
    let _ = std::fs::write("/proc/sys/net/core/optmem_max", OPTIONS);
    // Connections that are over are in the machine's one table.
    let _ = std::fs::write("/proc/sys/net/ipv4/tcp_max_tw_buckets", REMNANTS);
    let up = |netlink: Netlink| netlink.up(LOOPBACK, None).map(|()| netlink);
    Netlink::open().and_then(up).explain(|| "can't make the task's own network".into())
}

/// Makes the interface to the world outside and sends everything there.
fn way_out(netlink: &Netlink, ipv6: bool) -> io::Result<OwnedFd> {
    let tun = net::open_tun(INTERFACE)?;
    let asks = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    let index = name_to_index(&asks, INTERFACE)?;
    netlink.up(index, Some(MTU.into()))?;
    let give = |address: IpAddr| {
        netlink.add_address(index, address)?;
        netlink.add_default_route(index, address)
    };
    give(OWN.0.into())?;
    if ipv6 {
        // A kernel may have it and this namespace not.
        let _ = give(OWN.1.into());
    }
    Ok(tun)
}

fn listener(address: SocketAddrV4) -> io::Result<(OwnedFd, u16)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    let bound = SocketAddrV4::try_from(getsockname(&socket)?)?;
    Ok((socket, bound.port()))
}
