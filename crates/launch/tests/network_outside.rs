//! A2, A3: the world outside, from a task. A machine and a world in network namespaces of the test's own, with a wire
//! between them: the task reaches the world and the machine's resolver, and nothing of the machine itself.

#![expect(clippy::unwrap_used, reason = "a test that can't be set up has failed")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use launch::TaskSpec;
use launch::spec::Network;
use support::{Outcome, Task, own_script, root_script, script};

/// A program in Python for the world: `serve.py PORT` answers on TCP and UDP, IPv4 and IPv6.
const SERVE: &str = r#"
import hashlib, socket, sys, threading
port = int(sys.argv[1])
def tcp(peer):
    with peer, peer.makefile("rb") as lines:
        verb, size = lines.readline().split()
        size = int(size)
        if verb == b"get":
            block, digest = bytes(range(256)) * 1024, hashlib.sha256()
            while size > 0:
                part = block[:min(size, len(block))]
                peer.sendall(part); digest.update(part); size -= len(part)
            peer.sendall(digest.digest())
        elif verb == b"put":
            digest = hashlib.sha256()
            while size > 0:
                part = lines.read(min(size, 1 << 20))
                if not part: return
                digest.update(part); size -= len(part)
            peer.sendall(digest.digest())
        elif verb == b"echo":
            # To the end of what the other side says, which it says first.
            rest = lines.read()
            peer.sendall(rest.upper())
def udp(sock):
    while True:
        data, who = sock.recvfrom(65536)
        sock.sendto(data.upper(), who)
servers = []
for family, host in (socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::"):
    t = socket.socket(family); t.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    u = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        for s in t, u: s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    t.bind((host, port)); t.listen(1000); u.bind((host, port))
    def accept(t=t):
        while True:
            peer, _ = t.accept()
            threading.Thread(target=tcp, args=(peer,), daemon=True).start()
    servers.append(threading.Thread(target=accept)); servers.append(threading.Thread(target=udp, args=(u,)))
for s in servers: s.start()
print("ready", flush=True)
"#;

/// A resolver that knows one address, in Python: `resolve.py ADDRESS`.
const RESOLVE: &str = r#"
import socket, sys
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind((sys.argv[1], 53))
print("ready", flush=True)
while True:
    q, who = u.recvfrom(4096)
    end = q.index(b"\0", 12) + 5
    a = q[end - 4:end - 2] == b"\0\1"
    answer = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + bytes([10, 99, 0, 2]) if a else b""
    u.sendto(q[:2] + b"\x81\x80\0\1" + (b"\0\1" if a else b"\0\0") + b"\0\0\0\0" + q[12:end] + answer, who)
"#;

/// Helpers of the programs that run as tasks.
const ASK: &str = r#"
import hashlib, socket, sys, time
def get(host, size):
    s = socket.create_connection((host, 7000), 60); s.sendall(b"get %d\n" % size)
    digest, left, f = hashlib.sha256(), size, s.makefile("rb")
    while left:
        part = f.read(min(left, 1 << 20)); assert part; digest.update(part); left -= len(part)
    assert f.read() == digest.digest(); return "ok"
def put(host, size):
    s = socket.create_connection((host, 7000), 60); s.sendall(b"put %d\n" % size)
    block, digest = bytes(reversed(range(256))) * 4096, hashlib.sha256()
    while size:
        part = block[:min(size, len(block))]
        s.sendall(part); digest.update(part); size -= len(part)
    assert s.makefile("rb").read() == digest.digest(); return "ok"
def echo(host, text=b"word"):
    s = socket.create_connection((host, 7000), 60); s.sendall(b"echo 0\n" + text); s.shutdown(socket.SHUT_WR)
    assert s.makefile("rb").read() == text.upper(); return "ok"
def udp(host, text=b"word"):
    s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(20)
    s.connect((host, 7000)); s.send(text); assert s.recv(65536) == text.upper(); return "ok"
def attempt(what, *args):
    try: return what(*args)
    except OSError as e: return type(e).__name__ + " " + str(e.errno)
"#;

/// A machine and a world with a wire between them; gone with the test.
struct World {
    name: String,
    children: Vec<Child>,
}

impl World {
    fn new(resolv_conf: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("mt{}x{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let mut world = Self { name, children: vec![] };
        fs::create_dir_all(world.netns_etc()).unwrap();
        fs::write(world.netns_etc().join("resolv.conf"), resolv_conf).unwrap();
        let (m, w) = (world.machine(), world.world());
        for line in [
            format!("netns add {m}"),
            format!("netns add {w}"),
            format!("-n {m} link add wire type veth peer name wire netns {w}"),
            format!("-n {m} link add second type veth peer name third"),
            format!("-n {m} addr add 10.99.0.1/24 dev wire"),
            format!("-n {m} addr add 10.99.0.3/24 dev wire"),
            format!("-n {m} addr add fd99::1/64 dev wire nodad"),
            format!("-n {m} addr add 10.98.0.1/24 dev second"),
            format!("-n {m} addr add fd98::1/64 dev second nodad"),
            format!("-n {w} addr add 10.99.0.2/24 dev wire"),
            format!("-n {w} addr add fd99::2/64 dev wire nodad"),
            format!("-n {m} link set lo up"),
            format!("-n {w} link set lo up"),
            format!("-n {m} link set second up"),
            format!("-n {m} link set third up"),
            format!("-n {m} link set wire up"),
            format!("-n {w} link set wire up"),
            format!("-n {m} route add default via 10.99.0.2"),
            format!("-n {m} -6 route add default via fd99::2"),
        ] {
            assert!(Command::new("ip").args(line.split(' ')).status().unwrap().success(), "ip {line}");
        }
        world.python(&world.world(), SERVE, "7000");
        world
    }

    fn machine(&self) -> String {
        format!("{}m", self.name)
    }

    fn world(&self) -> String {
        format!("{}w", self.name)
    }

    /// What `ip netns exec` puts over `/etc` in the machine.
    fn netns_etc(&self) -> std::path::PathBuf {
        std::path::Path::new("/etc/netns").join(self.machine())
    }

    /// Runs a program there and waits until it is ready.
    fn python(&mut self, netns: &str, program: &str, argument: &str) {
        let mut child = Command::new("ip")
            .args(["netns", "exec", netns, "/usr/bin/python3", "-c", program, argument])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        self.children.push(child);
        assert_eq!(line, "ready\n");
    }

    /// Runs a task on the machine to its end.
    fn run(&self, spec: &TaskSpec, uid: u32) -> Outcome {
        let task = self.start(spec, uid);
        task.wait();
        task.outcome()
    }

    /// Starts a task on the machine.
    fn start(&self, spec: &TaskSpec, uid: u32) -> Task {
        let task = Task::create_for(spec, uid);
        // As udev makes it; `ip netns exec` has a mount namespace of its own.
        let tun = "mount -t tmpfs none /dev/net && mknod -m 666 /dev/net/tun c 10 200 && exec \"$@\"";
        let way = ["ip", "netns", "exec", &self.machine(), "sh", "-c", tun, "sh"];
        assert!(task.start_by(&way), "the shim isn't up");
        task
    }

    /// Runs a program in Python as a task, and returns what it prints.
    fn ask(&self, spec: impl Fn(&str) -> TaskSpec, uid: u32, program: &str) -> String {
        let argv = ["/usr/bin/python3", "-c", &format!("{ASK}{program}")].map(str::to_owned).to_vec();
        let done = self.run(&TaskSpec { argv, ..spec("") }, uid);
        assert_eq!((done.exit.code, done.agent.as_str()), (0, ""), "{done:?}");
        done.stdout
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        for netns in [self.machine(), self.world()] {
            let _ = Command::new("ip").args(["netns", "del", &netns]).status();
        }
        let _ = fs::remove_dir_all(self.netns_etc());
        // Only if it was ours alone.
        let _ = fs::remove_dir("/etc/netns");
    }
}

#[test]
fn a02_the_world_is_reached_over_both_protocols_and_families() {
    let world = World::new("nameserver 10.99.0.2\n");
    let program = r#"
for host in "10.99.0.2", "fd99::2": print(echo(host), echo(host, b"x" * 3_000_000), udp(host), udp(host, b"u" * 60_000))
many = [socket.create_connection(("10.99.0.2", 7000), 60) for _ in range(200)]
for n, s in enumerate(many): s.sendall(b"echo 0\n%d" % n); s.shutdown(socket.SHUT_WR)
print(all(s.makefile("rb").read() == b"%d" % n for n, s in enumerate(many)))
print(attempt(socket.create_connection, ("10.99.0.2", 9), 20), attempt(socket.create_connection, ("fd99::2", 9), 20))
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(20); s.connect(("10.99.0.2", 9)); s.send(b"x")
print(attempt(s.recv, 10))
"#;
    let expected = "ok ok ok ok\nok ok ok ok\nTrue\nConnectionRefusedError 111 ConnectionRefusedError 111\n\
                    ConnectionRefusedError 111\n";
    assert_eq!(world.ask(script, 0, program), expected);
    assert_eq!(world.ask(root_script, 0, program), expected);
    assert_eq!(world.ask(own_script, 65_530, program), expected, "an agent without root");
}

#[test]
fn a02_a_large_transfer_arrives_whole_in_both_directions() {
    let world = World::new("nameserver 10.99.0.2\n");
    let mib = 256;
    let program = format!(
        "n = {mib} << 20\nprint(get('10.99.0.2', n), put('10.99.0.2', n), get('fd99::2', n // 8), put('fd99::2', n // 8))"
    );
    assert_eq!(world.ask(script, 0, &program), "ok ok ok ok\n");
}

#[test]
fn a03_no_address_of_the_machine_leads_to_it() {
    let mut world = World::new("nameserver 10.99.0.2\n");
    // What listens on the machine listens everywhere there, and the world does reach it.
    let serve = SERVE
        .replace("= int(sys.argv[1])", "= int(sys.argv[1])\nsocket.create_connection(('10.99.0.2', 7000))");
    world.python(&world.machine(), &serve, "7000");
    let w = world.world();
    let reached = format!("{ASK}print(echo('10.99.0.1'), echo('fd99::1'))");
    let output =
        Command::new("ip").args(["netns", "exec", &w, "/usr/bin/python3", "-c", &reached]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "ok ok\n");

    let program = r#"
own = ["127.0.0.1", "127.0.0.53", "0.0.0.0", "10.99.0.1", "10.99.0.3", "10.98.0.1", "::1", "fd99::1", "fd98::1",
    "::ffff:10.99.0.1", "::ffff:127.0.0.1", "192.0.0.2", "192.0.0.3", "10.99.0.255", "ff02::1"]
for host in own:
    s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(0.5)
    t = attempt(echo, host)
    def ask(): s.connect((host, 7000)); s.send(b"x"); return "ok" if s.recv(10) else ""
    print(host, "ok" in (t, attempt(ask)))
"#;
    for (answers, who) in [
        (world.ask(script, 0, program), "alice"),
        (world.ask(own_script, 65_530, program), "an agent without root"),
    ] {
        assert!(answers.lines().count() > 10 && !answers.contains("True"), "{who}: {answers}");
    }
}

#[test]
fn a02_the_machines_resolver_works_also_on_a_loopback_address() {
    for address in ["127.0.0.53", "127.0.0.1", "10.98.0.1"] {
        let mut world = World::new(&format!("search lab.example\nnameserver {address}\n"));
        world.python(&world.machine(), RESOLVE, address);
        let program = "print(socket.gethostbyname('files.muster.test'))\n\
                       print(attempt(socket.create_connection, ('192.0.0.3', 80), 5) in ('OSError 113',))\n\
                       print(open('/etc/resolv.conf').read())";
        let expected = "10.99.0.2\nTrue\nsearch lab.example\nnameserver 192.0.0.3\n\n";
        assert_eq!(world.ask(script, 0, program), expected, "{address}");
    }
}

#[test]
fn a02_a_task_without_a_network_has_loopback_alone() {
    let world = World::new("nameserver 10.99.0.2\n");
    let program = r#"
print(attempt(echo, "10.99.0.2"), attempt(echo, "fd99::2"), attempt(udp, "10.99.0.2"))
print(sorted(name for _, name in socket.if_nameindex()))
"#;
    let spec = |text: &str| TaskSpec { network: Network::None, ..script(text) };
    let expected = "OSError 101 OSError 101 OSError 101\n['lo']\n";
    assert_eq!(world.ask(spec, 0, program), expected);
}

#[test]
fn a02_a_broken_connection_is_seen_as_broken_on_both_sides() {
    let mut world = World::new("nameserver 10.99.0.2\n");
    // The world resets one connection, and tells how the other one ended.
    let serve = r#"
import socket, struct
l = socket.create_server(("0.0.0.0", 7001)); print("ready", flush=True)
p, _ = l.accept(); p.recv(4)
p.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)); p.close()
p, _ = l.accept()
try: end = "end" if p.recv(10) == b"" else "data"
except ConnectionResetError: end = "reset"
p, _ = l.accept(); p.sendall(end.encode()); p.close()
l.accept()
"#;
    world.python(&world.world(), serve, "");
    let program = r#"
import struct
s = socket.create_connection(("10.99.0.2", 7001), 20); s.sendall(b"word"); print(attempt(s.recv, 1))
s = socket.create_connection(("10.99.0.2", 7001), 20)
s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)); s.close()
s = socket.create_connection(("10.99.0.2", 7001), 20); print(s.makefile().read())
"#;
    assert_eq!(world.ask(script, 0, program), "ConnectionResetError 104\nreset\n");
}

/// F5: what one task has open of UDP is few of the machine's ports, whatever it does.
#[test]
fn a05_a_task_takes_few_of_the_machines_ports() {
    let mut world = World::new("nameserver 10.99.0.2\n");
    let hear = r#"
import socket
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
u.bind(("0.0.0.0", 7002)); print("ready", flush=True)
while True:
    data, who = u.recvfrom(100); u.sendto(b"%d" % who[1], who)
"#;
    world.python(&world.world(), hear, "");
    let program = r#"
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
talks = []
for n in range(700):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(20); s.connect(("10.99.0.2", 7002))
    s.send(b"x"); talks.append((s, s.recv(100)))
def keeps(talk):
    talk[0].send(b"x"); return talk[0].recv(100) == talk[1]
# Which of the machine's ports it is, the world tells: those that were silent for longest have another by now.
print(all(keeps(talk) for talk in talks[-100:]), any(keeps(talk) for talk in talks[:100]))
many, refused = [], 0
for n in range(700):
    try: many.append(socket.create_connection(("10.99.0.2", 7000), 20))
    except OSError as e: refused += 1
print(len(many), refused > 0)
for s in many: s.close()
"#;
    let said = world.ask(script, 0, program);
    assert_eq!(said, "True False\n512 True\n");
}

/// G5: connections that have ended keep their ports for a minute. A task that makes many of those waits, and the machine
/// has ports of its own to the same place.
#[test]
fn a05_a_task_that_ends_many_connections_leaves_the_machine_its_ports() {
    let mut world = World::new("nameserver 10.99.0.2\n");
    // Says which port of the machine's it is, and lets the other side end first.
    let tell = r#"
import socket, threading
l = socket.create_server(("0.0.0.0", 7003), backlog=1000); print("ready", flush=True)
def tell(peer, who):
    with peer: peer.sendall(b"%d\n" % who[1]); peer.recv(1)
while True: threading.Thread(target=tell, args=l.accept(), daemon=True).start()
"#;
    world.python(&world.world(), tell, "");
    let m = world.machine();
    let machine = |program: &[&str]| {
        let output = Command::new("ip").args(["netns", "exec", &m]).args(program).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let ports = |range: &str| {
        machine(&["sh", "-c", &format!("echo {range} > /proc/sys/net/ipv4/ip_local_port_range")])
    };
    ports("40000 41023");
    let program = r#"
def once(patience):
    with socket.create_connection(("10.99.0.2", 7003), patience) as s:
        port = int(s.makefile().readline()); s.shutdown(socket.SHUT_WR); s.recv(1); return port
took = []
try:
    while len(took) < 1100: took.append(once(2))
except OSError as e: print(type(e).__name__)
def can():
    with socket.socket() as s: s.setsockopt(socket.IPPROTO_IP, 51, 0); return "ok"
print(len(took), min(took) >= 40256 or attempt(can) != "ok")
print("waits", flush=True)
print(once(60) > 0)
"#;
    let argv = ["/usr/bin/python3", "-c", &format!("{ASK}{program}")].map(str::to_owned).to_vec();
    let task = world.start(&TaskSpec { argv, ..script("") }, 0);
    task.wait_for("waits");
    let many =
        "import socket\nprint(len([socket.create_connection(('10.99.0.2', 7003), 20) for n in range(200)]))";
    assert_eq!(machine(&["/usr/bin/python3", "-c", many]), "200\n");
    // Later, not never: the machine has more ports now.
    ports("32768 60999");
    task.wait();
    let done = task.outcome();
    assert_eq!(done.stdout, "TimeoutError\n512 True\nwaits\nTrue\n", "{done:?}");
}

/// F6: what tells the machine who it is, by its own link or elsewhere, is for those that the administrator lists.
#[test]
fn a03_what_says_who_the_machine_is_isnt_a_tasks() {
    let world = World::new("nameserver 10.99.0.2\n");
    let places = ["169.254.169.254", "100.100.100.200", "fd00:ec2::254"];
    let (m, w) = (world.machine(), world.world());
    for place in places {
        let bits = if place.contains(':') { 128 } else { 32 };
        for line in [format!("-n {w} addr add {place}/{bits} dev lo"), format!("-n {m} route get {place}")] {
            assert!(Command::new("ip").args(line.split(' ')).status().unwrap().success(), "ip {line}");
        }
    }
    let program = format!(
        "def ask(host):\n    s = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET, socket.SOCK_DGRAM)\n    \
         s.settimeout(0.5); s.connect((host, 7000)); s.send(b'word'); return 'ok' if s.recv(9) else ''\n\
         print(*['ok' in (attempt(echo, h), attempt(ask, h)) for h in {places:?}])"
    );
    assert_eq!(world.ask(script, 0, &program), "False False False\n");
    let reach = places.map(|place| place.parse().unwrap()).to_vec();
    let listed = |text: &str| TaskSpec { reach: reach.clone(), ..script(text) };
    assert_eq!(world.ask(listed, 0, &program), "True True True\n");
}
