//! Connections that take and give nothing: a thousand silent ones, and a thousand that send a byte a second, while
//! somebody who is logged in goes on reading (A7).

use std::io::{ErrorKind, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};

use super::Bench;
use super::logins::reads;
use super::stats::quantile;
use super::table::{Table, Unit, Wanted};
use crate::http::Http;

const CROWD: usize = 1_000;
/// Between two bytes of a slow one.
const BEAT: Duration = Duration::from_secs(1);
/// Strangers don't all speak at the same moment: so many parts of the crowd take turns within a beat.
const PARTS: usize = 50;
/// On how many addresses they are: on few enough that each one has its places (`server.connections.max_per_address`).
const ADDRESSES: u8 = 10;

pub(super) fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let server = bench.up("crowd", &[])?;
    let token = Http::log_in(server.address, "admin")?.token().to_owned();
    let mut quiet = reads(&server, &token, &AtomicBool::new(false))?;
    let quiet = quantile(&mut quiet, 0.99);
    table.add("99 % of reads take, when it is quiet", quiet, Unit::Milliseconds, Wanted::Nothing);
    for (name, says) in [("1 000 silent connections", false), ("1 000 that send a byte a second", true)] {
        let done = AtomicBool::new(false);
        let mut crowded = thread::scope(|scope| -> Result<_> {
            let (address, done) = (server.address, &done);
            let crowd = scope.spawn(move || crowd(address, says, done));
            let times = reads(&server, &token, done);
            done.store(true, Ordering::Relaxed);
            crowd.join().map_err(|_| anyhow!("the crowd broke down"))??;
            times
        })?;
        let crowded = quantile(&mut crowded, 0.99);
        table.add(format!("the same among {name}"), crowded, Unit::Milliseconds, Wanted::Nothing);
        table.add("the latter by the former", crowded / quiet, Unit::Ratio, Wanted::AtMost(2.0));
    }
    server.stop()
}

/// Keeps the crowd at its size: who is shown the door comes back.
#[expect(clippy::disallowed_methods, reason = "a load is to have a pace")]
fn crowd(address: SocketAddr, says: bool, done: &AtomicBool) -> Result<()> {
    let mut parts: Vec<Vec<TcpStream>> = (0..PARTS).map(|_| Vec::with_capacity(CROWD / PARTS)).collect();
    for turn in (0..PARTS).cycle() {
        if done.load(Ordering::Relaxed) {
            break;
        }
        let Some(part) = parts.get_mut(turn) else { continue };
        part.retain_mut(|stream| {
            let closed = match stream.peek(&mut [0]) {
                Ok(_) => true,
                Err(error) => error.kind() != ErrorKind::WouldBlock,
            };
            !closed && (!says || stream.write_all(b"G").is_ok())
        });
        while part.len() < CROWD / PARTS {
            let from = 2 + u8::try_from(turn % usize::from(ADDRESSES))?;
            let stream = come(Ipv4Addr::new(127, 0, 0, from), address)?;
            stream.set_nonblocking(true)?;
            part.push(stream);
        }
        thread::sleep(BEAT / u32::try_from(PARTS)?);
    }
    Ok(())
}

/// A connection from one of this machine's addresses.
fn come(from: Ipv4Addr, to: SocketAddr) -> Result<TcpStream> {
    let SocketAddr::V4(to) = to else { bail!("the server listens on {to}") };
    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    bind(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(from, 0)))?;
    connect(socket.as_raw_fd(), &SockaddrIn::from(to))?;
    Ok(socket.into())
}
