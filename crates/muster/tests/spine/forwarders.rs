//! Forwarders of two processes, one of which is connected to the master and to nobody else: none is a person (R15, A3).

use std::process::Command;

use crate::support::{Muster, Process, free_port, run};

/// Two processes of one program: the first one knows the stranger, the second one the master. Nobody closes the ends that
/// he doesn't need, unless he is told to.
const FORK: &str = r"
import os, pty, socket, sys, threading
how, way, options, far, near = sys.argv[1], sys.argv[2], sys.argv[3].split(','), int(sys.argv[4]), int(sys.argv[5])
kinds = {'stream': socket.SOCK_STREAM, 'datagrams': socket.SOCK_DGRAM, 'packets': socket.SOCK_SEQPACKET}
def carry(take, give):
    while data := take():
        give(data)
def both(one, other):
    threading.Thread(target=carry, args=(one[0], other[1]), daemon=True).start()
    carry(other[0], one[1])
def ends(take, give):
    return (lambda: os.read(take, 65536)), (lambda data: os.write(give, data))
def of(sock):
    return (lambda: sock.recv(65536)), sock.sendall
if how == 'pipes':
    (ours, to_them), (theirs, to_us) = os.pipe(), os.pipe()
    parent, child = ends(ours, to_us), ends(theirs, to_them)
elif how == 'terminal':
    maker, line = pty.openpty()
    import tty
    tty.setraw(line)
    parent, child = ends(line, line), ends(maker, maker)
else:
    a, b = socket.socketpair(socket.AF_UNIX, kinds[how])
    parent, child = ends(a.fileno(), a.fileno()), ends(b.fileno(), b.fileno())
if os.fork() == 0:
    if 'setsid' in options: os.setsid()
    if 'closed' in options: a.close()
    both(of(socket.create_connection(('127.0.0.1', near))), child)
    os._exit(0)
if 'closed' in options: b.close()
if way == 'in':
    listener = socket.create_server(('127.0.0.1', far))
    stranger, _ = listener.accept()
else:
    stranger = socket.create_connection(('127.0.0.1', far))
both(of(stranger), parent)
";

/// The stranger: asks whoever comes to its port, or listens at it.
const STRANGER: &str = r"
import socket, sys, time
way, port = sys.argv[1], int(sys.argv[2])
if way == 'out':
    listener = socket.create_server(('127.0.0.1', port))
    print('ready', flush=True)
    near, _ = listener.accept()
else:
    end = time.monotonic() + 60
    while True:
        try:
            near = socket.create_connection(('127.0.0.1', port))
            break
        except ConnectionRefusedError:
            assert time.monotonic() < end, 'nobody listens'
near.settimeout(60)
near.sendall(b'GET /info HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n')
answer = b''
while b'}' not in answer:
    piece = near.recv(65536)
    assert piece, answer
    answer += piece
print(answer.decode(), flush=True)
";

/// What `/info` says to people of the machine alone.
const LOCAL: &str = r#""default_user":""#;

fn python(program: &str, args: &[&str]) -> Command {
    let mut python = Command::new("/usr/bin/python3");
    python.args(["-c", program]).args(args);
    python
}

#[test]
fn a03_r15_two_processes_that_share_a_channel_are_no_person() {
    let muster = Muster::up();
    let master = muster.url.rsplit(':').next().expect("a port");
    // The way that it is asked is what people's own programs use, too.
    let own =
        "import urllib.request, sys; print(urllib.request.urlopen(sys.argv[1] + '/info').read().decode())";
    assert!(run(&mut python(own, &[&muster.url]), "").ok().contains(LOCAL));
    for (how, way, options) in [
        ("pipes", "out", ""),
        ("pipes", "out", "setsid"),
        ("pipes", "in", "setsid"),
        ("stream", "out", ""),
        ("stream", "out", "setsid"),
        ("stream", "in", "setsid"),
        ("packets", "out", "setsid"),
        ("datagrams", "out", ""),
        ("datagrams", "out", "closed"),
        ("datagrams", "out", "closed,setsid"),
        ("datagrams", "in", "closed,setsid"),
        ("terminal", "out", ""),
        ("terminal", "out", "setsid"),
    ] {
        let port = free_port().to_string();
        let stranger = Process::start(&mut python(STRANGER, &[way, &port]), "");
        if way == "out" {
            stranger.stdout.wait_for("ready");
        }
        let forwarder = Process::start(&mut python(FORK, &[how, way, options, &port, master]), "");
        let said = stranger.finish().ok();
        assert!(said.contains("master_id"), "{how} {way} {options}: {said}");
        assert!(!said.contains(LOCAL), "{how} {way} {options}: {said}");
        forwarder.kill();
    }
}
