//! Forwarders of two processes, one of which is connected to the master and to nobody else: none is a person (R15, A3).

use std::process::Command;

use crate::support::{Muster, Process, eventually, free_port, run};

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

/// One in the middle that talks with two others by pipes or terminals: one knows the stranger, the other one the master.
const MIDDLE: &str = r"
import os, pty, subprocess, sys, threading, tty
how, far, near = sys.argv[1].split(','), sys.argv[2], sys.argv[3]
def start(by, port):
    own = 'setsid' in how
    line = ['socat', '-', 'TCP:127.0.0.1:' + port]
    if by == 'terminal':
        maker, line_end = pty.openpty()
        tty.setraw(line_end)
        subprocess.Popen(line, stdin=line_end, stdout=line_end, start_new_session=own)
        os.close(line_end)
        return maker, maker
    child = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=own)
    globals().setdefault('kept', []).append(child)
    return child.stdout.fileno(), child.stdin.fileno()
def carry(take, give):
    try:
        while data := os.read(take, 65536):
            os.write(give, data)
    except OSError: pass
(hear, say), (from_far, to_far) = start(how[0], near), start(how[1], far)
threading.Thread(target=carry, args=(from_far, say), daemon=True).start()
carry(hear, to_far)
";

/// One that knows the stranger, and one that knows the master and was started by one that was started by it; or they have
/// memory together; or the connection is made at home, and another pid namespace uses it.
const FAMILY: &str = r"
import ctypes, mmap, os, signal, socket, sys, threading, time
how, far, near = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
def connect(port): return socket.create_connection(('127.0.0.1', port))
def carry(take, give):
    while data := take(): give(data)
def both(one, other):
    threading.Thread(target=carry, args=(one[0], other[1]), daemon=True).start()
    carry(other[0], one[1])
def of(sock): return (lambda: sock.recv(65536)), sock.sendall
children = []
def child(run):
    pid = os.fork()
    if pid: return pid
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    run()
    os._exit(0)
if how == 'grandchild':
    a, b = socket.socketpair()
    def below():
        os.setsid()
        both(of(connect(near)), of(b))
    def between():
        os.setsid()
        child(below)
        signal.pause()
    child(between)
    both(of(connect(far)), of(a))
elif how == 'memory':
    memory = mmap.mmap(-1, 1 << 17)
    def box(at):
        def give(data):
            while memory[at] != 0: time.sleep(0.001)
            memory[at + 4:at + 4 + len(data)] = data
            memory[at + 1:at + 4] = len(data).to_bytes(3, 'little')
            memory[at] = 1
        def take():
            while memory[at] == 0: time.sleep(0.001)
            data = memory[at + 4:at + 4 + int.from_bytes(memory[at + 1:at + 4], 'little')]
            memory[at] = 0
            return data
        return take, give
    (take_in, give_in), (take_out, give_out) = box(0), box(1 << 16)
    def below():
        os.setsid()
        both(of(connect(near)), (take_in, give_out))
    child(below)
    both(of(connect(far)), (take_out, give_in))
else:
    master = connect(near)
    def inner():
        both(of(connect(far)), of(master))
    def between():
        assert ctypes.CDLL(None).unshare(0x20000000) == 0
        child(inner)
        master.close()
        signal.pause()
    child(between)
    signal.pause()
";

/// A browser that a program drives by a pipe, as tests of pages do; that program's own friend is elsewhere, if anybody is.
const DRIVER: &str = r"
import json, os, socket, subprocess, sys
url, profile, far = sys.argv[1], sys.argv[2], int(sys.argv[3])
stranger = socket.create_connection(('127.0.0.1', far)) if far else None
(theirs, to_them), (hear, from_them) = os.pipe(), os.pipe()
def before():
    os.dup2(theirs, 103); os.dup2(from_them, 104); os.dup2(103, 3); os.dup2(104, 4)
    os.close(103); os.close(104)
browser = subprocess.Popen(['chromium', '--headless', '--no-sandbox', '--disable-gpu', '--remote-debugging-pipe',
    '--user-data-dir=' + profile, 'about:blank'], preexec_fn=before, close_fds=False,
    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
os.close(theirs); os.close(from_them)
buffer, count = b'', 0
def call(method, session=None, **params):
    global buffer, count
    count += 1
    message = {'id': count, 'method': method, 'params': params}
    if session: message['sessionId'] = session
    os.write(to_them, json.dumps(message).encode() + bytes(1))
    while True:
        while bytes(1) not in buffer:
            piece = os.read(hear, 65536)
            assert piece, 'the browser is over'
            buffer += piece
        answer, buffer = buffer.split(bytes(1), 1)
        answer = json.loads(answer)
        if answer.get('id') == count: return answer.get('result', answer)
page = call('Target.createTarget', url='about:blank')['targetId']
session = call('Target.attachToTarget', targetId=page, flatten=True)['sessionId']
call('Page.navigate', session, url=url + '/info')
said = ''
while 'master_id' not in said:
    body = call('Runtime.evaluate', session, expression='document.body ? document.body.innerText : String()')
    said = body['result'].get('value', '')
if stranger:
    stranger.recv(65536)
    stranger.sendall(said.encode())
print(said)
browser.kill()
";

/// What the stranger hears when somebody forwards it by what `start` starts, which is given the stranger's port.
#[track_caller]
fn heard(how: &str, start: impl FnOnce(&str) -> Process) {
    let port = free_port().to_string();
    let stranger = Process::start(&mut python(STRANGER, &["out", &port]), "");
    stranger.stdout.wait_for("ready");
    let forwarder = start(&port);
    let said = stranger.finish().ok();
    assert!(said.contains("master_id"), "{how}: {said}");
    assert!(!said.contains(LOCAL), "{how}: {said}");
    forwarder.kill();
}

#[test]
fn a03_r15_three_processes_are_no_person_either() {
    let muster = Muster::up();
    let master = muster.url.rsplit(':').next().expect("a port");
    let talk = |port: &str| format!("socat - TCP\\:127.0.0.1\\:{port}");
    for filter in ["cat", "tee /dev/null"] {
        heard(filter, |port| {
            let system = format!("SYSTEM:{filter} | {} | {filter}", talk(master));
            Process::start(Command::new("socat").args([system, format!("EXEC:{}", talk(port))]), "")
        });
    }
    for how in ["pipe,terminal", "terminal,pipe", "terminal,terminal", "pipe,pipe"] {
        for how in [how.to_owned(), format!("{how},setsid")] {
            heard(&how, |port| Process::start(&mut python(MIDDLE, &[&how, port, master]), ""));
        }
    }
    for how in ["grandchild", "memory", "namespace"] {
        heard(how, |port| Process::start(&mut python(FAMILY, &[how, port, master]), ""));
    }
}

#[test]
fn a03_r15_a_terminal_that_others_type_at_is_no_persons() {
    let muster = Muster::up();
    let (master, dir) = (muster.url.rsplit(':').next().expect("a port"), muster.dir.path());
    let tmux = |words: &[&str]| {
        let mut tmux = Command::new("tmux");
        tmux.arg("-S").arg(dir.join("tmux")).args(["-f", "/dev/null"]).args(words);
        run(&mut tmux, "")
    };
    // A person there, beside one who is connected elsewhere, is one.
    let said = dir.join("said");
    let line = format!("curl -sS {}/info > {}.part; mv {1}.part {1}; sleep 600", muster.url, said.display());
    let elsewhere = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let other = format!("socat - TCP:{}", elsewhere.local_addr().expect("bound"));
    tmux(&["new-session", "-d", "-s", "other", &other]).exits(0);
    let _other = elsewhere.accept().expect("it comes");
    drop(elsewhere);
    tmux(&["new-session", "-d", "-s", "own", &line]).exits(0);
    let said = eventually("curl says", || std::fs::read_to_string(&said).ok());
    assert!(said.contains(LOCAL), "{said}");
    let line = format!("stty raw -echo; exec socat - TCP:127.0.0.1:{master}");
    tmux(&["new-session", "-d", "-s", "driven", &line]).exits(0);
    heard("pipe-pane", |port| {
        tmux(&["pipe-pane", "-I", "-O", "-t", "driven", &format!("socat - TCP:127.0.0.1:{port}")]).exits(0);
        Process::start(Command::new("sleep").arg("600"), "")
    });
    tmux(&["kill-server"]).exits(0);
}

#[test]
fn a03_r15_a_browser_is_whose_program_drives_it() {
    let muster = Muster::up();
    let profile = |name: &str| muster.dir.path().join(name).display().to_string();
    let said = run(&mut python(DRIVER, &[&muster.url, &profile("own"), "0"]), "").ok();
    assert!(said.contains(LOCAL), "{said}");
    heard("a browser by a pipe", |port| {
        Process::start(&mut python(DRIVER, &[&muster.url, &profile("other"), port]), "")
    });
}
