//! What the task's init makes in the task's network: loopback, and the listener that the relay to the master accepts
//! on. It has every right over a new namespace, and gives them up before the task's command starts.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, SocketAddrAny, SocketFlags, SocketType, bind, getsockname, listen, socket_with,
};

use super::RELAY;
use super::descriptors::send_descriptors;
use super::netlink::{LOOPBACK, Netlink};
use crate::spec::Network;
use crate::sys::Explain;

/// Connections to the master that may wait for the agent.
const BACKLOG: i32 = 1024;

/// Makes the network of this process's namespace what a task needs and hands to the shim what it needs of it.
/// Returns the port of the relay.
///
/// # Errors
/// One sentence.
pub(crate) fn set_up(network: Network, shim: BorrowedFd<'_>) -> Result<u16, String> {
    let address = match network {
        Network::Private | Network::None => {
            let what = || "can't make the task's own network".to_owned();
            Netlink::open().and_then(|netlink| netlink.up(LOOPBACK)).explain(what)?;
            RELAY
        }
        Network::Host => SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0),
    };
    let what = || "can't make the way to the master".to_owned();
    let (relay, port) = listener(address).explain(what)?;
    send_descriptors(shim, &[&relay]).explain(what)?;
    Ok(port)
}

fn listener(address: SocketAddrV4) -> std::io::Result<(OwnedFd, u16)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    let bound = SocketAddrV4::try_from(SocketAddrAny::from(getsockname(&socket)?))?;
    Ok((socket, bound.port()))
}
