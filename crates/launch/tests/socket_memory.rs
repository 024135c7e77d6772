//! The kernel's memory that waits in a task's TCP and UDP sockets and that no limit counts (A12): reports about what was
//! sent, in sockets that are in no table and in those of TCP, and what came for connections that nobody accepts.

mod support;

use launch::spec::{Limits, Network};
use launch::{Limit, TaskSpec};
use support::{Outcome, Task, own_script, root_script, script};

/// What all of them begin with. A report has a copy of what was sent; it is asked for with each message, too, so that no
/// option of the socket's tells of it.
const BEGIN: &str = "import array, ctypes, resource, socket, struct, time
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
libc, kept, held = ctypes.CDLL(None, use_errno=True), [], 0
report = [(socket.SOL_SOCKET, 37, struct.pack('I', 2 | 256))]
def waits(s): return struct.unpack('=2I', s.getsockopt(socket.SOL_SOCKET, 55, 36)[:8])
def hide(s): assert libc.connect(s.fileno(), bytes(16), 16) == 0
def pair(server):
    a = socket.create_connection(server.getsockname()[:2])
    return a, server.accept()[0]
";

/// Datagram sockets whose reports stay when they have given up their address, in descriptors or on their way.
const HIDDEN: &str = "
def fill():
    s = socket.socket(FAMILY, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    size, room = 0, 1 << 18
    while size + (1 << 17) < room:
        try: s.sendmsg([bytes(60000)], report, 0, (WHERE, 9))
        except OSError: pass
        size, room = waits(s)
    hide(s)
    return s, size
while held < MOST:
    s, size = fill()
    held += size
    kept.append(s)
    if SENT:
        kept[-1:] = socket.socketpair()
        socket.send_fds(kept[-1], [b'x'], [s.fileno()])
        s.close()
";

const TCP_REPORTS: &str = "
server = socket.create_server((WHERE, 0), family=FAMILY)
while held < MOST:
    a, b = pair(server)
    a.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    a.setsockopt(6, socket.TCP_NODELAY, 1)
    for _ in range(200):
        size, room = waits(a)
        if size + (1 << 17) > room: break
        a.sendmsg([bytes(32000)], report)
        b.recv(1 << 20)
    held += size
    kept.append(a)
    b.close()
";

const NOT_ACCEPTED: &str = "
while held < MOST:
    server = socket.socket(FAMILY)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    server.bind((WHERE, 0))
    server.listen(100)
    kept.append(server)
    for _ in range(50):
        a = socket.create_connection(server.getsockname()[:2])
        a.setblocking(False)
        try:
            while True: held += a.send(bytes(65536))
        except BlockingIOError: a.close()
";

fn held(spec: &TaskSpec, uid: u32, variables: &str, fill: &str, then: &str) -> Outcome {
    let text = format!("{BEGIN}{variables}{fill}\nprint('held', flush=True)\n{then}");
    let limits = Limits { memory_bytes: Some(2 << 30), ..Limits::default() };
    let argv = vec!["/usr/bin/python3".into(), "-c".into(), text];
    Task::create_for(&TaskSpec { argv, limits, ..spec.clone() }, uid).run()
}

/// 900 MiB of it are too much, whoever the task is, and 1400 MiB where what is received is counted nowhere.
fn ends(fill: &str, variables: &str, told: &str) {
    let tasks = [
        (script(""), 0, Network::Private),
        (root_script(""), 0, Network::None),
        (own_script(""), 5001, Network::Private),
    ];
    for (spec, uid, network) in tasks {
        let most = if uid == 0 { 900 } else { 1400 };
        let variables = format!("MOST = {most} << 20\n{variables}");
        let spec = TaskSpec { network, ..spec };
        let done = held(&spec, uid, &variables, fill, "time.sleep(1000)");
        assert_eq!((done.exit.limit, done.exit.signal), (Some(Limit::Memory), Some(9)), "{done:?}");
        assert!(done.agent.contains(told), "{done:?}");
    }
}

const UNPAID: &str = "in its TCP and UDP sockets that is in no limit";
const V4: &str = "FAMILY, WHERE = 2, '127.0.0.1'\n";
const V6: &str = "FAMILY, WHERE = 10, '::1'\n";

#[test]
fn a12_reports_in_sockets_that_are_in_no_table_end_the_task() {
    ends(HIDDEN, &format!("{V4}SENT = False\n"), UNPAID);
}

#[test]
fn a12_reports_in_sockets_that_no_process_has_end_the_task() {
    ends(HIDDEN, &format!("{V6}SENT = True\n"), "that none of its processes is found to have");
}

#[test]
fn a12_reports_in_tcp_sockets_end_the_task() {
    ends(TCP_REPORTS, V4, UNPAID);
}

#[test]
fn a12_connections_that_nobody_accepts_end_the_task() {
    ends(NOT_ACCEPTED, V4, UNPAID);
    ends(NOT_ACCEPTED, V6, UNPAID);
}

/// The same kind, without anything sent: a report for each datagram that is too large.
#[test]
fn a12_there_are_no_reports_of_what_was_not_sent() {
    let text = "
for family, where, level, option, discover in [(2, '127.0.0.1', 0, 11, 10), (10, '::1', 41, 25, 23)]:
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.setsockopt(level, option, 1)
    s.setsockopt(level, discover, 2)
    s.connect((where, 9))
    for _ in range(100):
        try: s.send(bytes(65508 + 40))
        except OSError: pass
    held += waits(s)[0]
    # Who is connected is told of a port where nobody is.
    for _ in range(2):
        try: s.send(b'x')
        except ConnectionRefusedError: print('refused', flush=True)
print(held)
socket.getaddrinfo('localhost', 80)";
    for (spec, uid) in [(script(""), 0), (root_script(""), 0), (own_script(""), 5001)] {
        let done = held(&spec, uid, "", text, "");
        assert_eq!(done.stdout, "refused\nrefused\n0\nheld\n", "{done:?}");
    }
}

/// More sockets without an address than anybody looks at.
#[test]
fn a12_too_many_sockets_without_an_address_end_the_task() {
    let many = "for _ in range(5000): kept.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))";
    let done = held(&script(""), 0, "", many, "time.sleep(1000)");
    assert_eq!((done.exit.limit, done.exit.signal), (Some(Limit::Memory), Some(9)), "{done:?}");
    assert!(done.agent.contains("more than 4096 TCP and UDP sockets without an address"), "{done:?}");
}

/// What programs do: thousands of connections, some that aren't accepted yet, sockets whose connection is over and that
/// nobody has closed, and much traffic.
#[test]
fn a12_servers_and_who_forgets_to_close_are_left_alone() {
    let honest = "
server = socket.create_server(('127.0.0.1', 0), backlog=4096)
for _ in range(2000): kept.extend(pair(server))
for i in range(0, 4000, 4): kept[i].send(bytes(100))
for i in range(0, 1000, 2):
    # Ended by force: the other end has no address any more.
    kept[i].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    kept[i].close()
left, right = pair(server)
for _ in range(200):
    a = socket.create_connection(server.getsockname())
    a.send(bytes(50000))
    kept.append(a)
for _ in range(4000):
    left.sendall(bytes(1 << 18))
    right.recv(1 << 18, socket.MSG_WAITALL)
for _ in range(1000): kept.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
for _ in range(2000):
    left.sendall(bytes(1 << 18))
    right.recv(1 << 18, socket.MSG_WAITALL)
";
    let done = held(&script(""), 0, "", honest, "time.sleep(1)");
    assert_eq!((done.exit.code, done.stdout.as_str()), (0, "held\n"), "{done:?}");
    assert_eq!(done.agent, "", "{done:?}");
}
