//! The network of a task beside the machine's own: how much goes through, and how soon it is there.
//!
//! The world outside is a network namespace at the end of a wire that this measurement makes and takes away again. It
//! needs root, as the tasks' own users do.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns};

use super::Bench;
use super::commands::{finish, launch};
use super::stats::{median, ms};
use super::table::{Table, Unit, Wanted};
use crate::http::Http;
use crate::shell;

/// Bytes of one transfer.
const TRANSFER: usize = 1 << 30;
const RUNS: usize = 3;
/// Tasks that are started at once.
const MANY: usize = 40;
const PATIENCE: Duration = Duration::from_secs(60);

/// Takes or gives `TRANSFER` bytes and prints the seconds that it took: `PROGRAM get|put HOST PORT BYTES`.
const CLIENT: &str = "
import socket, sys, time
verb, host, port, left = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
s = socket.create_connection((host, port), 30); began = time.monotonic(); s.sendall(verb.encode())
block = bytearray(1 << 20)
if verb == 'get':
    while left: left -= s.recv_into(block, min(left, len(block)))
else:
    while left:
        part = memoryview(block)[:min(left, len(block))]; s.sendall(part); left -= len(part)
    s.recv(1)
print(time.monotonic() - began)
";

pub(super) fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let world = World::new()?;
    let server = bench.up("network", &["--slots", "40"])?;
    let mut http = Http::log_in(server.address, "determined")?;
    for (verb, direction) in [("get", "from the world outside"), ("put", "to the world outside")] {
        let (mut own, mut task) = (vec![], vec![]);
        for _ in 0..RUNS {
            own.push(on_machine(&world, verb)?);
            task.push(in_task(&mut http, &world, verb)?);
        }
        let ratio = median(&mut own) / median(&mut task);
        let what =
            format!("bytes a second {direction}, a task beside the machine (median of {RUNS} × 1 GiB)");
        table.add(what, ratio, Unit::Ratio, Wanted::Nothing);
    }

    world.forget();
    let began = Instant::now();
    let line = format!("exec 3<>/dev/tcp/{}/{} && printf hi >&3", world.address.ip(), world.address.port());
    let ids: Result<Vec<String>> = (0..MANY).map(|_| launch(&mut http, &["bash", "-c", &line])).collect();
    let ids = ids?;
    let last = world.connections(MANY)?;
    let what = format!("{MANY} tasks at once, from the first request until the last has reached the world");
    table.add(what, ms(last.duration_since(began)), Unit::Milliseconds, Wanted::AtMost(1000.0));
    ids.iter().try_for_each(|id| finish(&mut http, id))?;
    server.stop()
}

/// Seconds that a transfer of a process on the machine takes.
fn on_machine(world: &World, verb: &str) -> Result<f64> {
    let (host, port) = (world.address.ip().to_string(), world.address.port().to_string());
    let size = TRANSFER.to_string();
    let said =
        shell::output(Command::new("/usr/bin/python3").args(["-c", CLIENT, verb, &host, &port, &size]))?;
    said.trim().parse().with_context(|| format!("the client printed {said:?}"))
}

/// The same in a task.
fn in_task(http: &mut Http, world: &World, verb: &str) -> Result<f64> {
    let (host, port) = (world.address.ip().to_string(), world.address.port().to_string());
    let size = TRANSFER.to_string();
    let id = launch(http, &["/usr/bin/python3", "-c", CLIENT, verb, &host, &port, &size])?;
    let mut said = String::new();
    http.stream(&format!("/api/v1/tasks/{id}/logs?follow=true"))?.read_to_string(&mut said)?;
    // Lines of the master and the agent are about the task; its own is a number.
    let lines = said.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let seconds = lines.filter_map(|line| line["result"]["log"].as_str()?.trim().parse().ok()).next_back();
    seconds.with_context(|| format!("the task printed {said:?}"))
}

/// A network namespace at the other end of a wire, and a server in it. Gone with the value.
struct World {
    name: String,
    address: SocketAddr,
    /// When each connection came.
    came: Receiver<Instant>,
}

impl World {
    fn new() -> Result<Self> {
        let name = format!("mb{}", std::process::id());
        let (sender, came) = channel();
        let mut world = Self { address: SocketAddr::from(([10, 99, 7, 2], 0)), name, came };
        let (name, wire) = (&world.name, format!("{}w", world.name));
        for line in [
            format!("netns add {name}"),
            format!("link add {wire} type veth peer name wire netns {name}"),
            format!("addr add 10.99.7.1/24 dev {wire}"),
            format!("-n {name} addr add {}/24 dev wire", world.address.ip()),
            format!("link set {wire} up"),
            format!("-n {name} link set wire up"),
        ] {
            shell::run(Command::new("ip").args(line.split(' ')))?;
        }
        let netns = File::open(format!("/run/netns/{name}"))?;
        let address = world.address;
        let listener = thread::spawn(move || -> Result<TcpListener> {
            // This thread alone is in the other namespace; what it opens stays there.
            setns(netns, CloneFlags::CLONE_NEWNET)?;
            Ok(TcpListener::bind(address)?)
        });
        let listener = listener.join().map_err(|_| anyhow!("the world broke down"))??;
        world.address = listener.local_addr()?;
        thread::spawn(move || serve(&listener, &sender));
        Ok(world)
    }

    fn forget(&self) {
        while self.came.try_recv().is_ok() {}
    }

    /// When the last of so many connections came.
    fn connections(&self, count: usize) -> Result<Instant> {
        let mut last = Instant::now();
        for _ in 0..count {
            last = self.came.recv_timeout(PATIENCE).context("a task never reached the world")?;
        }
        Ok(last)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // The wire goes with its end in the namespace. Best effort: we are on our way out.
        let _ = Command::new("ip").args(["link", "del", &format!("{}w", self.name)]).status();
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

fn serve(listener: &TcpListener, came: &Sender<Instant>) {
    for stream in listener.incoming().flatten() {
        if came.send(Instant::now()).is_err() {
            return;
        }
        thread::spawn(move || drop(carry(stream)));
    }
}

fn carry(mut stream: TcpStream) -> std::io::Result<()> {
    let mut verb = [0; 3];
    stream.read_exact(&mut verb)?;
    let mut block = vec![0; 1 << 20];
    let mut left = TRANSFER;
    while left > 0 {
        let part = left.min(block.len());
        if &verb == b"get" {
            stream.write_all(&block[..part])?;
            left -= part;
        } else {
            match stream.read(&mut block[..part])? {
                0 => return Ok(()),
                read => left -= read,
            }
        }
    }
    stream.write_all(b".")
}
