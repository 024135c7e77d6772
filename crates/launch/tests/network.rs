//! A2, A3: a task's network is its own. The machine's ports, loopback services, abstract sockets and other tasks are
//! out of its reach; its way to the master is there, also for the next agent.

#![expect(clippy::unwrap_used, reason = "a test that can't be set up has failed")]

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use launch::spec::Network;
use launch::{Shim, TaskSpec};
use support::{Task, mode, own_script, root_script, run, script};

/// Tells whether a TCP connection to an address can be made.
const CONNECT: &str = r#"connect() { /usr/bin/python3 -c '
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), 5).close()
    print("reached")
except OSError as e:
    print("no")
' "$1" "$2"; }; "#;

fn with(network: Network, spec: TaskSpec) -> TaskSpec {
    TaskSpec { network, ..spec }
}

fn closed(network: Network, spec: impl Fn(&str) -> TaskSpec) {
    let machine = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = machine.local_addr().unwrap().port();
    let machine6 = TcpListener::bind("[::1]:0").unwrap();
    let port6 = machine6.local_addr().unwrap().port();
    let name = format!("muster-test-{}-{port}", std::process::id());
    let _abstract = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let text = format!(
        r#"{CONNECT}
connect 127.0.0.1 {port}; connect ::1 {port6}; connect 0.0.0.0 {port}
/usr/bin/python3 -c '
import socket
try:
    socket.socket(socket.AF_UNIX).connect("\0{name}"); print("reached")
except OSError: print("no")
own = socket.create_server(("0.0.0.0", {port})); print("own port")
socket.create_connection(("127.0.0.1", {port})).close(); print("own loopback")
'"#
    );
    let done = run(&with(network, spec(&text)));
    assert_eq!(done.exit.code, 0, "{done:?}");
    assert_eq!(done.stdout, "no\nno\nno\nno\nown port\nown loopback\n", "{done:?}");
}

#[test]
fn a02_a03_the_machines_ports_loopback_and_abstract_sockets_are_out_of_reach() {
    for network in [Network::Private, Network::None] {
        closed(network, script);
        closed(network, root_script);
    }
}

#[test]
fn a02_a_task_cant_take_a_port_of_the_machine() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let listen = format!(
        "import socket; l = socket.create_server(('', {port})); print('listens', flush=True); l.accept()"
    );
    let spec =
        TaskSpec { argv: ["/usr/bin/python3", "-c", &listen].map(str::to_owned).to_vec(), ..script("") };
    let task = Task::create(&spec);
    assert!(task.start());
    task.wait_for("listens");
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "the task listens on the machine");
    TcpListener::bind(("0.0.0.0", port)).unwrap();
    // Nor can another task reach it.
    let other = run(&script(&format!("{CONNECT} connect 127.0.0.1 {port}")));
    assert_eq!(other.stdout, "no\n");
    task.shim().unwrap().kill().unwrap();
    task.wait();
}

#[test]
fn a02_a_network_of_the_machine_is_given_only_when_asked_for_and_says_so() {
    let machine = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = machine.local_addr().unwrap().port();
    let done = run(&with(Network::Host, script(&format!("{CONNECT} connect 127.0.0.1 {port}"))));
    assert_eq!(done.stdout, "reached\n", "{done:?}");
    assert!(done.agent.contains("shares the machine's network"), "{done:?}");
}

/// Serves one connection of a task as its agent would.
fn serve_once(task: &Task, word: &str) -> String {
    let listener = TcpListener::from(Shim::relay_listener(&task.task_dir).unwrap().expect("a listener"));
    listener.set_nonblocking(false).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    let mut line = [0; 5];
    stream.read_exact(&mut line).unwrap();
    stream.write_all(word.as_bytes()).unwrap();
    String::from_utf8(line.to_vec()).unwrap()
}

fn asks_twice(network: Network, spec: fn(&str) -> TaskSpec) -> TaskSpec {
    let text = r#"/usr/bin/python3 -c '
import os, socket
for n in range(2):
    s = socket.create_connection(("127.0.0.1", int(os.environ["DET_MASTER_PORT"])), 60)
    s.sendall(b"task\n"); print(s.makefile().read(), flush=True)'"#;
    let relay_env = vec![("DET_MASTER_PORT".to_owned(), "{port}".to_owned())];
    TaskSpec {
        env: vec![("DET_MASTER_PORT".to_owned(), "1".to_owned())],
        relay_env,
        ..with(network, spec(text))
    }
}

fn is_served_twice(task: &Task) {
    assert!(task.start());
    // Each call is another agent: the first one's copy of the listener is closed.
    assert_eq!(serve_once(task, "one"), "task\n");
    task.wait_for("one");
    assert_eq!(serve_once(task, "two"), "task\n");
    task.wait();
    let done = task.outcome();
    assert_eq!((done.exit.code, done.stdout.as_str()), (0, "one\ntwo\n"), "{done:?}");
    assert!(Shim::relay_listener(&task.task_dir).unwrap().is_none(), "the task has ended");
}

#[test]
fn a03_the_way_to_the_master_is_there_on_every_network_and_outlives_an_agent() {
    for network in [Network::Private, Network::None, Network::Host] {
        is_served_twice(&Task::create(&asks_twice(network, script)));
    }
    is_served_twice(&Task::create(&asks_twice(Network::Private, root_script)));
}

#[test]
fn a03_an_agent_without_root_gives_the_same_network() {
    let uid = 5077;
    let task = Task::create_for(&asks_twice(Network::Private, own_script), uid);
    for path in task.task_dir.ancestors().skip(1).take(2) {
        mode(path, 0o755);
    }
    is_served_twice(&task);
    let machine = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = machine.local_addr().unwrap().port();
    let task = Task::create_for(&own_script(&format!("{CONNECT} connect 127.0.0.1 {port}")), uid);
    let done = task.run();
    assert_eq!(done.stdout, "no\n", "{done:?}");
}

#[test]
fn a03_the_helper_of_a_network_has_no_rights_and_ends_with_its_shim() {
    let task = Task::create(&script("echo up; exec tail -f /dev/null"));
    assert!(task.start());
    task.wait_for("up");
    drop(Shim::relay_listener(&task.task_dir).unwrap().expect("a listener"));
    let shim = std::fs::read_to_string(task.task_dir.join("shim.pid")).unwrap();
    let shim = shim.split_whitespace().next().unwrap().to_owned();
    let children = std::fs::read_to_string(format!("/proc/{shim}/task/{shim}/children")).unwrap();
    let status = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let helper =
        children.split_whitespace().find(|pid| status(pid).contains("muster-network")).expect("a helper");
    let text = status(helper);
    let last = support::RANGE + 65_535;
    assert!(text.contains(&format!("Uid:\t{last}\t{last}\t{last}\t{last}\n")), "{text}");
    assert!(text.contains("CapPrm:\t0000000000000000") && text.contains("NoNewPrivs:\t1"), "{text}");
    assert!(text.contains("Groups:\t \n"), "{text}");

    let raw = helper.parse().ok().and_then(rustix::process::Pid::from_raw).unwrap();
    let pidfd = rustix::process::pidfd_open(raw, rustix::process::PidfdFlags::empty()).unwrap();
    let raw = shim.parse().ok().and_then(rustix::process::Pid::from_raw).unwrap();
    rustix::process::kill_process(raw, rustix::process::Signal::KILL).unwrap();
    let mut fds = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
    let limit = rustix::event::Timespec { tv_sec: 10, tv_nsec: 0 };
    assert_eq!(rustix::event::poll(&mut fds, Some(&limit)).unwrap(), 1, "the helper outlives its shim");
}
