//! One TCP connection of a task: two connections, the task's with this process (smoltcp) and this process's with the
//! world (the kernel), and what is read from one is written to the other. Ends, half-closes and resets are carried
//! over; the task's connection opens only when the other one has.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::sockopt::set_socket_linger;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpCidr, IpEndpoint};

use super::device::Link;

/// Bytes on their way in each direction that one connection may hold.
const BUFFER: usize = 1 << 20;

/// A connection that both sides have agreed to.
pub(super) struct Connection {
    outside: OwnedFd,
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    /// The kernel may have something to read, or room to write: until it says otherwise.
    readable: bool,
    writable: bool,
    /// The world has said its last; the task is told so. The task has; the world is told so.
    world_ended: bool,
    closed: bool,
    task_ended: bool,
    told: bool,
    /// When smoltcp wants to be asked again.
    pub(super) due: Option<Instant>,
}

impl Connection {
    /// Answers the task's opening packet, which is in `link`, now that the world has answered.
    pub(super) fn open(
        outside: OwnedFd,
        address: SocketAddr,
        seed: u64,
        now: Instant,
        link: &mut Link<'_>,
    ) -> Option<Self> {
        let interface = interface(address, seed, now, link);
        let buffer = || SocketBuffer::new(vec![0; BUFFER]);
        let mut socket = Socket::new(buffer(), buffer());
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(None);
        socket.listen(IpEndpoint::from(address)).ok()?;
        let mut sockets = SocketSet::new(Vec::with_capacity(1));
        let handle = sockets.add(socket);
        Some(Self {
            outside,
            interface,
            sockets,
            handle,
            readable: true,
            writable: true,
            world_ended: false,
            closed: false,
            task_ended: false,
            told: false,
            due: None,
        })
    }

    /// The kernel says so.
    pub(super) fn woken(&mut self, readable: bool, writable: bool) {
        self.readable |= readable;
        self.writable |= writable;
    }

    /// Carries what there is to carry; whether the connection goes on.
    pub(super) fn drive(&mut self, now: Instant, link: &mut Link<'_>) -> bool {
        loop {
            self.interface.poll(now, link, &mut self.sockets);
            match self.carry() {
                Carried::Nothing => break,
                Carried::Something => {}
                Carried::Broken => {
                    self.sockets.get_mut::<Socket<'_>>(self.handle).abort();
                    self.interface.poll(now, link, &mut self.sockets);
                    return false;
                }
            }
        }
        self.due = self.interface.poll_at(now, &self.sockets);
        let socket = self.sockets.get::<Socket<'_>>(self.handle);
        match socket.state() {
            // Both have said their last; some of it may still be on its way.
            State::Closed | State::TimeWait if self.task_ended => socket.can_recv(),
            State::Closed => {
                // The task reset it, or gave it up: the world is told the same way.
                let _ = set_socket_linger(&self.outside, Some(std::time::Duration::ZERO));
                false
            }
            _ => true,
        }
    }

    /// Moves bytes both ways.
    fn carry(&mut self) -> Carried {
        let socket = self.sockets.get_mut::<Socket<'_>>(self.handle);
        let outside = &self.outside;
        let mut carried = Carried::Nothing;
        while self.readable && !self.world_ended && socket.can_send() {
            let read = socket.send(|room| match recv(outside, room, RecvFlags::DONTWAIT) {
                Ok((_, n)) => (n, Ok(n)),
                Err(e) => (0, Err(e)),
            });
            match read {
                Ok(Ok(0)) => self.world_ended = true,
                Ok(Ok(_) | Err(Errno::INTR)) => {}
                Ok(Err(Errno::AGAIN)) => {
                    self.readable = false;
                    break;
                }
                _ => return Carried::Broken,
            }
            carried = Carried::Something;
        }
        // Not before the task has all of it: a socket that both sides have closed takes no word of the task's that it
        // has room again, and would ask once a second.
        if self.world_ended && !self.closed && socket.send_queue() == 0 {
            self.closed = true;
            socket.close();
            carried = Carried::Something;
        }
        while self.writable && socket.can_recv() {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            let written = socket.recv(|bytes| match send(outside, bytes, flags) {
                Ok(n) => (n, Ok(())),
                Err(e) => (0, Err(e)),
            });
            match written {
                Ok(Ok(()) | Err(Errno::INTR)) => carried = Carried::Something,
                Ok(Err(Errno::AGAIN)) => self.writable = false,
                _ => return Carried::Broken,
            }
        }
        let said_last =
            matches!(socket.state(), State::CloseWait | State::LastAck | State::Closing | State::TimeWait);
        self.task_ended |= said_last;
        if self.task_ended && !self.told && !socket.can_recv() {
            self.told = true;
            let _ = shutdown(&self.outside, Shutdown::Write);
        }
        carried
    }
}

/// What carrying has come to.
enum Carried {
    /// There was nothing to do.
    Nothing,
    /// smoltcp may have something to say to it.
    Something,
    /// The world has broken the connection off.
    Broken,
}

/// Answers a packet of no connection as the kernel of the other end would: with a reset.
pub(super) fn reset(address: SocketAddr, now: Instant, link: &mut Link<'_>) {
    interface(address, 0, now, link).poll(now, link, &mut SocketSet::new(vec![]));
}

/// The other end of a connection, which to smoltcp is a machine of its own.
fn interface(address: SocketAddr, seed: u64, now: Instant, link: &mut Link<'_>) -> Interface {
    let mut config = Config::new(HardwareAddress::Ip);
    config.random_seed = seed;
    let mut interface = Interface::new(config, link, now);
    let ip = address.ip();
    interface.update_ip_addrs(|own| {
        // There is room for two.
        let _ = own.push(IpCidr::new(ip.into(), if ip.is_ipv4() { 32 } else { 128 }));
    });
    interface
}
