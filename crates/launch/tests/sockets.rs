//! No task reaches a Unix socket of the machine that has a file, wherever it sees that (R15, I7): whoever answers there
//! would do for it what they do for its user outside, such as another terminal.

mod support;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use launch::TaskSpec;
use launch::spec::BindMount;
use support::machine::{Machine, Root};
use support::{Task, TestDir, bind, own_script, script};

/// Programs that listen on a machine until they are dropped.
struct Listener {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Listener {
    /// Runs Python in a directory of the machine as a user. `names` is bound there, whatever happens to it then.
    fn start(machine: &Machine, uid: u32, dir: &str, then: &str) -> Self {
        Self::start_by(&[], machine, uid, dir, then)
    }

    /// The same by way of a command that runs another one.
    fn start_by(way: &[&str], machine: &Machine, uid: u32, dir: &str, then: &str) -> Self {
        let text = format!(
            "import os, socket, sys
os.setgid({uid}); os.setuid({uid}); os.chdir('{dir}')
def at(name, kind=socket.SOCK_STREAM, listen=True):
    s = socket.socket(socket.AF_UNIX, kind); s.bind(name); os.chmod(name, 0o777)
    if listen and kind != socket.SOCK_DGRAM: s.listen()
    return s
{then}
print('ready', flush=True); sys.stdin.read()"
        );
        let mut command: Command = machine.enter();
        command.args(way).args(["python3", "-c", &text]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("python");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        assert_eq!(line, "ready\n");
        let stdin = child.stdin.take();
        Self { child, stdin }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.wait();
    }
}

/// A script that says which of these it can connect to or send to.
fn tries(paths: &[&str]) -> String {
    format!(
        "python3 -c \"
import socket
for path in '{}'.split():
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        try: socket.socket(socket.AF_UNIX, kind).connect(path); print('reached', path)
        except OSError: pass
print('end')\"",
        paths.join(" ")
    )
}

const SETUP: &str = "mount -t tmpfs none /srv; mkdir -p /srv/home/private/ssh /srv/alias /srv/data
    chmod 700 /srv/home/private; chown -R 5001:5001 /srv/home; mount --bind /srv/home /srv/alias; mkdir -p /mnt";

#[test]
fn r15_a_task_reaches_no_socket_of_the_machine_that_has_a_file() {
    let machine = Machine::new(Root::Shared, SETUP);
    let _root = Listener::start(
        &machine,
        0,
        "/srv/data",
        "a = at('/srv/data/plain'); b = at('/srv/data/dgram', socket.SOCK_DGRAM)
c = at('/srv/data/later', listen=False)",
    );
    let _alice = Listener::start(
        &machine,
        5001,
        "/srv/home",
        "d = at('/srv/home/private/ssh/cm.123'); os.link('/srv/home/private/ssh/cm.123', '/srv/home/private/ssh/cm')
os.unlink('/srv/home/private/ssh/cm.123')
e = at('./relative'); f = at('/srv/alias/by-alias'); g = at('private/tmux')",
    );
    let names = [
        "data/plain",
        "data/dgram",
        "data/later",
        "home/private/ssh/cm",
        "home/relative",
        "home/by-alias",
        "home/private/tmux",
        "alias/private/ssh/cm",
        "alias/relative",
        "alias/by-alias",
    ];
    let paths: Vec<String> =
        ["/srv", "/x"].iter().flat_map(|at| names.map(|name| format!("{at}/{name}"))).collect();
    let mut paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    paths.extend(["/y/ssh/cm", "/y/tmux", "/z/plain"]);
    let text = format!("{}; ls /srv/home/private/ssh /srv/data | tr '\\n' ' '", tries(&paths));
    let read_only = BindMount { read_only: true, ..bind(Path::new("/srv/data"), "/z") };
    let bind_mounts =
        vec![bind(Path::new("/srv"), "/x"), bind(Path::new("/srv/home/private"), "/y"), read_only];
    let done = Task::create(&TaskSpec { bind_mounts, ..script(&text) }).run_on(&machine);
    let expected = "end\n/srv/data: dgram later plain  /srv/home/private/ssh: cm ";
    assert_eq!(done.stdout, expected, "{done:?}");

    // Nothing was asked for, and the task is nobody on the machine.
    let paths: Vec<&str> = paths.into_iter().filter(|path| path.starts_with("/srv")).collect();
    for spec in [script(&tries(&paths)), support::root_script(&tries(&paths))] {
        for network in [launch::spec::Network::Private, launch::spec::Network::Host] {
            let done = Task::create(&TaskSpec { network, ..spec.clone() }).run_on(&machine);
            assert_eq!(done.stdout, "end\n", "{network:?}: {done:?}");
        }
    }
}

#[test]
fn r15_a_task_of_the_agents_own_user_reaches_none_either() {
    let machine = Machine::new(Root::Shared, SETUP);
    let _root = Listener::start(&machine, 0, "/srv/data", "a = at('/srv/data/plain')");
    machine.sh("chown -R 65530:65530 /srv/home");
    let _own = Listener::start(&machine, 65_530, "/srv/home", "b = at('/srv/home/private/tmux')");
    let paths = ["/srv/data/plain", "/srv/home/private/tmux", "/srv/alias/private/tmux", "/x/private/tmux"];
    let bind_mounts = vec![bind(Path::new("/srv/home"), "/x")];
    let spec = TaskSpec { bind_mounts, ..own_script(&tries(&paths)) };
    let done = Task::create_for(&spec, 65_530).run_on(&machine);
    assert_eq!(done.stdout, "end\n", "{done:?}");
}

/// A program in a network of its own, as `ip netns exec` makes one, names its socket there.
#[test]
fn r15_a_task_reaches_no_socket_that_was_named_in_another_network() {
    let setup = format!("{SETUP}; mkdir /srv/ns; touch /srv/ns/vpn; unshare --net=/srv/ns/vpn true");
    let machine = Machine::new(Root::Shared, &setup);
    let vpn = ["nsenter", "--net=/srv/ns/vpn"];
    let _tmux = Listener::start_by(
        &vpn,
        &machine,
        5001,
        "/srv/home",
        "a = at('/srv/home/private/tmux'); b = at('./relative')",
    );
    let paths = ["/srv/home/private/tmux", "/srv/alias/relative", "/x/private/tmux", "/x/relative"];
    for network in [launch::spec::Network::Private, launch::spec::Network::Host] {
        let bind_mounts = vec![bind(Path::new("/srv/home"), "/x")];
        let spec = TaskSpec { bind_mounts, network, ..script(&tries(&paths)) };
        let done = Task::create(&spec).run_on(&machine);
        assert_eq!(done.stdout, "end\n", "{network:?}: {done:?}");
    }
}

/// Whether the agent has a network namespace of its own or not.
#[test]
fn r15_a_temporary_directory_is_shown_without_its_sockets() {
    let dir = TestDir::new();
    let source = dir.dir("tmp", 0o777, 0);
    let machine = Machine::new(Root::Shared, "");
    let _tmux = Listener::start(&machine, 5001, "/", &format!("a = at('{}/tmux')", source.display()));
    let spec = TaskSpec { bind_mounts: vec![bind(&source, "/x")], ..script(&tries(&["/x/tmux"])) };
    let done = Task::create(&spec).run_on(&machine);
    assert_eq!(done.stdout, "end\n", "{done:?}");
    let task = Task::create(&spec);
    assert!(task.start_by(&["unshare", "-n"]));
    task.wait();
    let done = task.outcome();
    assert_eq!(done.stdout, "end\n", "{done:?}");
}

#[test]
fn r15_sockets_of_tasks_and_those_that_the_administrator_allows_are_reached() {
    let dir = TestDir::new();
    let shared = dir.dir("shared", 0o777, 0);
    let machine = Machine::new(
        Root::Shared,
        "mount -t tmpfs none /run; mkdir /run/service; echo 'd /run/service' > /dev/null",
    );
    let _service = Listener::start(&machine, 0, "/", "a = at('/run/service/socket')");
    // Two tasks speak to each other, and a task to itself.
    let text = format!(
        "python3 -c \"
import os, socket
s = socket.socket(socket.AF_UNIX); s.bind('/x/of-a-task'); os.chmod('/x/of-a-task', 0o777); s.listen()
print('ready', flush=True); s.accept(); s.accept()\" & {}; wait",
        tries(&["/x/of-a-task"])
    );
    let bind_mounts = vec![bind(&shared, "/x")];
    // The first try is when it is ready.
    let text = text.replace("& python3", "& until test -S /x/of-a-task; do :; done; python3");
    let one = Task::create(&TaskSpec { bind_mounts: bind_mounts.clone(), ..script(&text) });
    assert!(one.start_on(&machine));
    one.wait_for("ready");
    let spec = TaskSpec {
        bind_mounts: [bind_mounts, vec![bind(Path::new("/run/service"), "/y")]].concat(),
        bind_prefixes: Some(vec!["/run/service".into(), dir.0.clone()]),
        ..script(&tries(&["/x/of-a-task", "/y/socket"]))
    };
    let done = Task::create(&spec).run_on(&machine);
    assert_eq!(done.stdout, "reached /x/of-a-task\nreached /y/socket\nend\n", "{done:?}");
    one.wait();
}
