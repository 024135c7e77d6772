//! How our own command line finds the master of its machine, and whom it never takes for it (A2).

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;

use crate::support::{Muster, Process, Setup, run};

fn port(muster: &Muster) -> &str {
    muster.url.rsplit(':').next().expect("a port")
}

fn socket(muster: &Muster) -> PathBuf {
    Path::new("/run/muster").join(format!("{}.sock", port(muster)))
}

/// Takes the port of a master that is down, and tells what it is given.
const STRANGER: &str = r"
import socket, sys
listener = socket.create_server(('127.0.0.1', int(sys.argv[1])))
print('listening', flush=True)
while True:
    peer, _ = listener.accept()
    print(peer.recv(65536).decode(), flush=True)
    peer.close()
";

#[test]
fn a02_who_takes_a_masters_port_is_not_given_the_token() {
    let mut muster = Setup::default().keeps_port().up();
    let alice = muster.user("alice");
    alice.muster("user whoami").exits(0);
    muster.stop();
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", STRANGER, port(&muster)]).uid(6002).gid(6002);
    let stranger = Process::start(&mut command, "");
    stranger.stdout.wait_for("listening");
    alice.muster("user whoami").exits(1).says("belongs to uid 6002");
    alice.muster("user login alice").exits(1).says("MUSTER_TRUST_UID");
    assert!(!stranger.stdout.text().contains("HTTP"), "{}", stranger.stdout.text());
    // Who says so gets what was asked for.
    let mut trusting = alice.command(["user", "whoami"]);
    assert_ne!(run(trusting.env("MUSTER_TRUST_UID", "6002"), "").code(), 0);
    stranger.stdout.wait_for("Bearer mst_");
    stranger.end(Signal::SIGTERM);
    muster.begin();
    alice.muster("user whoami").exits(0);
}

/// As [`STRANGER`], at every address of the machine, old and new.
fn everywhere() -> String {
    let socket =
        "socket.create_server(('::', int(sys.argv[1])), family=socket.AF_INET6, dualstack_ipv6=True)";
    STRANGER.replace("socket.create_server(('127.0.0.1', int(sys.argv[1])))", socket)
}

/// An address under which other machines may know this one; the kernel says without sending anything.
fn own_address() -> Option<String> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.77:9").ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_loopback() && !ip.is_unspecified()).then(|| ip.to_string())
}

/// W9: whatever the name is by which the master is called, what counts is where the connection ends.
#[test]
fn a02_no_name_of_this_machine_gives_a_stranger_the_token() {
    let mut muster = Setup::default().keeps_port().up();
    let alice = muster.user("alice");
    muster.stop();
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", &everywhere(), port(&muster)]).uid(6002).gid(6002);
    let stranger = Process::start(&mut command, "");
    stranger.stdout.wait_for("listening");
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("readable").trim().to_owned();
    let names = [
        "127.0.0.1",
        "127.0.1.1",
        "0.0.0.0",
        "[::ffff:127.0.0.1]",
        "[::]",
        "[::1]",
        "localhost",
        "2130706433",
    ];
    for name in names.into_iter().map(str::to_owned).chain([name]).chain(own_address()) {
        for secret in ["MUSTER_TOKEN", "DET_PASS"] {
            let mut ask = alice.command(["user", "whoami"]);
            ask.env("MUSTER_MASTER", format!("http://{name}:{}", port(&muster)));
            ask.env("DET_USER", "alice").env(secret, "mst_a-secret");
            let said = run(&mut ask, "");
            assert_ne!(said.code(), 0, "{name}");
            let told = said.err().contains("belongs to uid 6002") || said.err().contains("can't reach");
            assert!(told, "{name}: {}", said.err());
        }
    }
    assert!(!stranger.stdout.text().contains("HTTP"), "{}", stranger.stdout.text());
    stranger.end(Signal::SIGTERM);
}

#[test]
fn a02_the_masters_socket_is_for_people_of_the_machine() {
    let mut muster = Setup::default().keeps_port().up();
    let path = socket(&muster);
    let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(Path::new("/run/muster"))), (0o666, 0o755));
    let info = |uid: u32, header: &str| {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--max-time", "20", "-H", header, "http://localhost/info", "--unix-socket"]);
        run(curl.arg(&path).uid(uid).gid(uid), "").ok()
    };
    for uid in [0, 6002] {
        assert!(info(uid, "X-Nothing: x").contains(r#""default_user":"determined""#), "uid {uid}");
        assert!(!info(uid, "Via: 1.1 proxy").contains(r#""default_user":"determined""#), "uid {uid}");
    }
    // It is no account: who shows nothing is nobody.
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--max-time", "20", "http://localhost/api/v1/me", "--unix-socket"]);
    assert!(run(curl.arg(&path), "").ok().contains("token missing"));
    // No task finds it, under whatever name.
    let me = muster.person("me");
    me.script("", "test ! -e /run/muster").exits(0);
    me.script("--volume /run:/x", "true").exits(125).says("belongs to the machine's services");
    muster.stop();
    assert!(!path.exists());
    // One that a killed master left is in nobody's way.
    muster.begin();
    muster.kill();
    assert!(path.exists());
    muster.begin();
    me.muster("user whoami").exits(0);
}

/// Opens the master's socket and hands it to a process of another network, which a task's is too; stays alive. The other
/// one logs in as whose password is blank.
const HANDED_ON: &str = r#"
import ctypes, os, socket, sys
way = socket.socket(socket.AF_UNIX); way.connect(sys.argv[1])
if os.fork():
    way.close(); _, status = os.wait(); sys.exit(os.waitstatus_to_exitcode(status))
assert ctypes.CDLL(None, use_errno=True).unshare(0x40000000) == 0
body = b'{"username": "admin", "password": ""}'
head = 'POST /api/v1/auth/login HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n'
way.sendall((head % len(body)).encode() + body)
print(way.recv(65536).decode().split('\r\n')[0])
"#;

#[test]
fn a03_who_opened_the_socket_says_nothing_of_who_has_it() {
    let muster = Muster::up();
    let mut python = Command::new("python3");
    let said = run(python.args(["-c", HANDED_ON]).arg(socket(&muster)), "").ok();
    assert!(said.starts_with("HTTP/1.1 403"), "{said}");
    // Who keeps it is let in.
    let mut curl = Command::new("curl");
    curl.args([
        "-sS",
        "--max-time",
        "20",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "http://localhost/api/v1/auth/login",
    ]);
    curl.args(["-d", r#"{"username": "admin", "password": ""}"#, "--unix-socket"]);
    assert_eq!(run(curl.arg(socket(&muster)), "").ok(), "200");
}
