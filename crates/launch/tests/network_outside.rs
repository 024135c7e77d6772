//! A2, A3: the world outside, from a task. A machine and a world in network namespaces of the test's own, with a wire
//! between them: the task reaches the world and the machine's resolver, and nothing of the machine itself.

mod support;

use std::process::Command;

use launch::TaskSpec;
use launch::spec::Network;
use support::world::{ASK, SERVE, World};
use support::{own_script, root_script, script};

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
