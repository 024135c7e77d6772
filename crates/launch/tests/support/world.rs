//! A machine and a world in network namespaces of a test's own, with a wire between them.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use launch::TaskSpec;

use super::{Outcome, Task, TestDir};

/// A program in Python for the world: `serve.py PORT` answers on TCP and UDP, IPv4 and IPv6.
pub(crate) const SERVE: &str = r#"
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

/// Helpers of the programs that run as tasks.
pub(crate) const ASK: &str = r#"
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

/// Where the kernel says what the table of connections is.
const TABLE: &str = "/proc/sys/net/netfilter";

/// A machine and a world with a wire between them; gone with the test.
pub(crate) struct World {
    name: String,
    children: Vec<Child>,
    /// Files that say what the machine's table of connections is.
    table: Option<TestDir>,
}

impl World {
    pub(crate) fn new(resolv_conf: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("mt{}x{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let mut world = Self { name, children: vec![], table: None };
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

    pub(crate) fn machine(&self) -> String {
        format!("{}m", self.name)
    }

    pub(crate) fn world(&self) -> String {
        format!("{}w", self.name)
    }

    /// What `ip netns exec` puts over `/etc` in the machine.
    fn netns_etc(&self) -> PathBuf {
        Path::new("/etc/netns").join(self.machine())
    }

    /// Runs a program there and waits until it is ready.
    pub(crate) fn python(&mut self, netns: &str, program: &str, argument: &str) {
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
    pub(crate) fn run(&self, spec: &TaskSpec, uid: u32) -> Outcome {
        let task = self.start(spec, uid);
        task.wait();
        task.outcome()
    }

    /// Says how many connections the machine has in its table, and how many there may be, to tasks that start from now on;
    /// false on a machine that has none.
    pub(crate) fn table(&mut self, taken: u32, all: u32) -> bool {
        let table = self.table.get_or_insert_with(TestDir::new);
        table.file("nf_conntrack_max", &all.to_string(), 0o644);
        self.fill_table(taken);
        Path::new(TABLE).join("nf_conntrack_max").exists()
    }

    /// Says so to tasks that are running, too.
    pub(crate) fn fill_table(&self, taken: u32) {
        let table = self.table.as_ref().expect("it was made");
        // In place and of one length, as it is read while it is written.
        let path = table.0.join("nf_conntrack_count");
        let file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(path).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, format!("{taken:8}").as_bytes(), 0).unwrap();
    }

    /// Starts a task on the machine.
    pub(crate) fn start(&self, spec: &TaskSpec, uid: u32) -> Task {
        self.begin(Task::create_for(spec, uid))
    }

    /// The same, of the agent of another one.
    pub(crate) fn start_beside(&self, other: &Task, spec: &TaskSpec) -> Task {
        self.begin(Task::create_beside(other, spec))
    }

    fn begin(&self, task: Task) -> Task {
        // As udev makes it; `ip netns exec` has a mount namespace of its own.
        let mut way = "mount -t tmpfs none /dev/net && mknod -m 666 /dev/net/tun c 10 200".to_owned();
        if let Some(table) = &self.table {
            for name in ["nf_conntrack_count", "nf_conntrack_max"] {
                way += &format!(" && mount --bind {}/{name} {TABLE}/{name}", table.0.display());
            }
        }
        way += " && exec \"$@\"";
        let way = ["ip", "netns", "exec", &self.machine(), "sh", "-c", &way, "sh"];
        assert!(task.start_by(&way), "the shim isn't up");
        task
    }

    /// Runs a program in Python as a task, and returns what it prints.
    pub(crate) fn ask(&self, spec: impl Fn(&str) -> TaskSpec, uid: u32, program: &str) -> String {
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
