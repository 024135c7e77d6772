//! Who counts as a person of this machine (P2, R15, A3): real programs at the other end of the master's port. A blank
//! password is good for people's own programs; a task, a proxy and a tunnel are none.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use crate::support::{Muster, Process, Setup, free_port, mode, run};

/// Whether `/info`, which names the default user to people of the machine alone, did so.
#[track_caller]
fn is_local(info: &str) -> bool {
    let info: serde_json::Value =
        serde_json::from_str(info).unwrap_or_else(|error| panic!("{error}: {info:?}"));
    assert!(info["master_id"].is_string(), "{info}");
    info["default_user"].is_string()
}

fn curl(url: &str) -> Command {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--max-time", "20", url]);
    curl
}

fn info(url: &str) -> String {
    format!("{url}/info")
}

/// Waits until somebody listens on a port of 127.0.0.1, and gives what is said at `/info` there.
#[track_caller]
fn info_at(port: u16) -> String {
    let mut curl = curl(&info(&format!("http://127.0.0.1:{port}")));
    run(curl.args(["--retry", "60", "--retry-connrefused", "--retry-delay", "1"]), "").ok()
}

/// A login as the administrator, whose password is blank, by way of `port`.
#[track_caller]
fn assert_no_way_in(port: u16) {
    assert!(!is_local(&info_at(port)));
    let url = format!("http://127.0.0.1:{port}");
    let mut login = curl(&format!("{url}/api/v1/auth/login"));
    let answer = run(login.args(["--data", r#"{"username":"admin","password":""}"#]), "").ok();
    assert!(answer.contains("on the master's own machine only"), "{answer}");
    // Nor by a page: the default user's password can't be set by who isn't that user (P2).
    let form =
        ["--data", "current=&new=a+quiet+lake&again=a+quiet+lake", "--header", "Sec-Fetch-Site: same-origin"];
    let mut change = curl(&format!("{url}/account/password"));
    let answer =
        run(change.args(form).args(["--output", "/dev/null", "--write-out", "%{redirect_url}"]), "").ok();
    assert!(answer.contains("/login"), "{answer}");
}

fn port_of(muster: &Muster) -> u16 {
    muster.url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")
}

#[test]
fn a03_r15_peoples_own_programs_are_local() {
    let muster = Muster::up();
    assert!(is_local(&run(&mut curl(&info(&muster.url)), "").ok()));
    // Another user of the machine is a person too.
    let mut other = Command::new("setpriv");
    other.args(["--reuid", "6002", "--regid", "6002", "--clear-groups", "curl", "-sS", &info(&muster.url)]);
    assert!(is_local(&run(&mut other, "").ok()));
    let script =
        format!("import urllib.request as r; print(r.urlopen('{}').read().decode())", info(&muster.url));
    assert!(is_local(&run(Command::new("/usr/bin/python3").args(["-c", &script]), "").ok()));
    let me = muster.person("me");
    assert!(me.det_with("user whoami", "\n\n").ok().contains("determined"));
    me.muster("command run true").exits(0);
}

#[test]
fn a03_headers_take_away_what_the_kernel_says() {
    let muster = Muster::up();
    for header in
        ["X-Forwarded-For: 127.0.0.1", "Via: 1.1 proxy", "Host: lab.example.org:80", "Forwarded: for=x"]
    {
        let mut curl = curl(&info(&muster.url));
        let answer = run(curl.args(["--header", header]), "").ok();
        assert!(!answer.contains("determined"), "{header}: {answer}");
    }
}

/// Asks as a task does: at the address that it is given, and at the machine's own.
const TASK: &str = r"python3 - <<'E'
import json, os, urllib.error, urllib.request as r
def ask(base, path, data=None, headers={}):
    try:
        return r.urlopen(r.Request(base + path, data, headers), timeout=10).read().decode()
    except urllib.error.HTTPError as error:
        return error.read().decode()
    except OSError:
        return 'unreachable'
blank = json.dumps({'username': 'admin', 'password': ''}).encode()
for base in [os.environ['DET_MASTER'], 'http://127.0.0.1:PORT', 'http://[::1]:PORT', 'http://localhost:PORT']:
    print(ask(base, '/info'))
    print(ask(base, '/api/v1/auth/login', blank))
    print(ask(base, '/api/v1/auth/login', blank, {'Host': 'localhost'}))
E";

#[track_caller]
fn assert_tasks_are_no_people(muster: &Muster) {
    let script = TASK.replace("PORT", &port_of(muster).to_string());
    for person in [&muster.person("me"), &muster.linked_user("alice", 5001), &muster.admin()] {
        let said = person.script("", &script).exits(0);
        let said = said.out();
        assert!(said.contains("own machine only"), "the master was reached: {said}");
        assert!(!said.contains("\"default_user\":\"determined\"") && !said.contains("\"token\""), "{said}");
    }
}

#[test]
fn a03_a_task_is_no_person() {
    assert_tasks_are_no_people(&Muster::up());
}

#[test]
fn a03_a_task_on_the_machines_network_is_no_person() {
    assert_tasks_are_no_people(&Setup::default().config("agent: {network: host}").up());
}

#[test]
fn a03_nginx_with_a_plain_proxy_pass_is_no_person() {
    let muster = Muster::up();
    let (dir, port) = (muster.dir.path().join("nginx"), free_port());
    fs::create_dir(&dir).expect("a directory");
    let config = format!(
        "daemon off; pid {0}/pid; error_log {0}/error.log;\nevents {{}}\nhttp {{ access_log off; \
         client_body_temp_path {0}/a; proxy_temp_path {0}/b; fastcgi_temp_path {0}/c; uwsgi_temp_path {0}/d; \
         scgi_temp_path {0}/e;\nserver {{ listen 127.0.0.1:{port}; location / {{ proxy_pass {1}; }} }} }}\n",
        dir.display(),
        muster.url
    );
    fs::write(dir.join("conf"), config).expect("written");
    let nginx = Process::start(
        Command::new("nginx").arg("-e").arg(dir.join("error.log")).arg("-c").arg(dir.join("conf")),
        "",
    );
    assert_no_way_in(port);
    nginx.end(nix::sys::signal::Signal::SIGTERM);
}

#[test]
fn a03_socat_is_no_person() {
    let muster = Muster::up();
    let to = format!("TCP:127.0.0.1:{}", port_of(&muster));
    let port = free_port();
    let socat = Process::start(
        Command::new("socat").args([&format!("TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork"), &to]),
        "",
    );
    assert_no_way_in(port);
    socat.end(nix::sys::signal::Signal::SIGTERM);
    // Without fork it serves one, and holds no listener by then.
    let port = free_port();
    let socat = Process::start(
        Command::new("socat").args([&format!("TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr"), &to]),
        "",
    );
    assert!(!is_local(&info_at(port)));
    socat.finish();
    let socket = muster.dir.path().join("socket");
    let listen = format!("UNIX-LISTEN:{}", socket.display());
    let socat = Process::start(Command::new("socat").args([&listen, &to]), "");
    crate::support::eventually("socat listens", || socket.exists().then_some(()));
    let mut curl = curl("http://localhost/info");
    assert!(!is_local(&run(curl.arg("--unix-socket").arg(&socket), "").ok()));
    socat.finish();
}

/// A master whose port is forwarded by what this starts, with the words `PORT` and `MASTER` put in: W2.
#[track_caller]
fn assert_forwards_nobody(muster: &Muster, how: &str, program: &[&str]) {
    let (port, master) = (free_port(), port_of(muster));
    let word = |word: &&str| word.replace("PORT", &port.to_string()).replace("MASTER", &master.to_string());
    let words: Vec<String> = program.iter().map(word).collect();
    let mut command = Command::new(&words[0]);
    let forwarder =
        Process::start(command.args(&words[1..]).current_dir(muster.dir.path()).process_group(0), "");
    assert!(!is_local(&info_at(port)), "{how}");
    nix::sys::signal::killpg(forwarder.pid(), nix::sys::signal::Signal::SIGTERM).expect("its own group");
    forwarder.finish();
}

#[test]
fn a03_r15_a_forwarder_of_several_processes_is_no_person() {
    let muster = Muster::up();
    let script = |name: &str, line: &str| {
        let path = muster.dir.path().join(name);
        fs::write(&path, format!("#!/bin/sh\nexec socat {line}\n")).expect("written");
        mode(&path, 0o755, 0);
    };
    script("talk", "STDIO TCP:127.0.0.1:$1");
    script("hear", "TCP-LISTEN:$1,bind=127.0.0.1,reuseaddr STDIO");
    let forking = "TCP-LISTEN:PORT,bind=127.0.0.1,reuseaddr,fork";
    let socat = |how: &str, options: &str| {
        assert_forwards_nobody(&muster, how, &["socat", forking, &format!("EXEC:./talk MASTER{options}")]);
    };
    socat("a program for each client", "");
    socat("by pipes", ",pipes");
    socat("in a session of its own", ",setsid");
    socat("at a terminal", ",pty,setsid,raw,echo=0");
    assert_forwards_nobody(
        &muster,
        "two programs of one",
        &["socat", "EXEC:./hear PORT", "EXEC:./talk MASTER"],
    );
    let shell = |how: &str, line: &str| assert_forwards_nobody(&muster, how, &["sh", "-c", line]);
    shell("pipes with and without a name", "mkfifo f; ./hear PORT <f | ./talk MASTER >f");
    shell("with one between", "mkfifo g; ./hear PORT <g | cat | ./talk MASTER >g");
    let line = format!(
        "socat UNIX-LISTEN:s,fork 'EXEC:./talk MASTER' & until test -e s; do :; done; exec socat {forking} UNIX-CONNECT:s"
    );
    shell("over a Unix socket", &line);
    // What serves others serves them by what it starts, too.
    let shell = format!("exec /usr/bin/python3 -c \"$1\" {}", muster.url);
    let said = run(Command::new("sh").args(["-c", &shell, "sh", CGI]), "").ok();
    assert!(!is_local(&said), "a service that starts curl");
}

/// A service that asks the master for its client, by curl.
const CGI: &str = r"
import socket, subprocess, sys
listener = socket.create_server(('127.0.0.1', 0))
subprocess.run(['curl', '-sS', '--max-time', '20', sys.argv[1] + '/info'], check=True)
";

/// Carries datagrams to the master and back.
const DATAGRAMS: &str = r"
import socket, sys
near = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
near.bind(('127.0.0.1', 0))
stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
stranger.connect(near.getsockname())
stranger.send(b'GET /info HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n')
request, _ = near.recvfrom(65536)
stranger.close()
far = socket.create_connection(('127.0.0.1', int(sys.argv[1])))
far.sendall(request)
answer = b''
while True:
    piece = far.recv(65536)
    if not piece:
        break
    answer += piece
print(answer.partition(b'\r\n\r\n')[2].decode())
";

#[test]
fn a03_r15_what_carries_datagrams_is_no_person() {
    let muster = Muster::up();
    let port = port_of(&muster).to_string();
    let said = run(Command::new("/usr/bin/python3").args(["-c", DATAGRAMS, &port]), "").ok();
    assert!(!is_local(&said), "{said}");
}

#[test]
fn r15_people_use_pipes_and_terminals() {
    let muster = Muster::up();
    let url = info(&muster.url);
    let ways = [
        format!("curl -sS {url} | cat"),
        format!("said=$(curl -sS {url}); echo \"$said\""),
        format!("curl -sS {url} > f; cat f"),
        format!("echo x | curl -sS {url} | cat | cat"),
        format!("script -qec 'curl -sS {url}' /dev/null </dev/null"),
        format!("setsid curl -sS {url}"),
        format!("curl -sS {url} 7<&0 8>&1"),
    ];
    for way in ways {
        let said = run(Command::new("bash").args(["-c", &way]).current_dir(muster.dir.path()), "").ok();
        assert!(is_local(said.trim()), "{way}");
    }
}

/// A browser at the page of an account, and whether that is the default user's; `options` are the browser's.
fn is_browser_local(muster: &Muster, options: &[&str]) -> bool {
    let mut chromium = Command::new("chromium");
    chromium.args(["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=1"]);
    chromium.arg(format!("--user-data-dir={}", muster.dir.path().join("chromium").display()));
    chromium.args(options).args(["--dump-dom", &info(&muster.url)]).process_group(0);
    // One that others may drive doesn't end by itself.
    let browser = Process::start(&mut chromium, "");
    let said = browser.stdout.wait_for("</html>");
    nix::sys::signal::killpg(browser.pid(), nix::sys::signal::Signal::SIGKILL).expect("its own group");
    browser.finish();
    assert!(said.contains("master_id"), "{said}");
    said.contains("\"default_user\"") && !said.contains("\"default_user\":null")
}

#[test]
fn a03_r15_a_browser_is_a_person_and_one_that_others_drive_is_none() {
    let muster = Muster::up();
    assert!(is_browser_local(&muster, &[]));
    assert!(!is_browser_local(&muster, &["--remote-debugging-port=0"]));
}

/// A forwarder in Python. `CLOSES`: its listener is gone before it connects. `NETNS`: it listens in another network
/// namespace, and so does its client.
const FORWARDER: &str = r"
import ctypes, os, socket, subprocess, sys, threading
port, how = int(sys.argv[1]), sys.argv[2]
home = os.open('/proc/self/ns/net', os.O_RDONLY)
libc = ctypes.CDLL(None, use_errno=True)
if how == 'NETNS':
    assert libc.unshare(0x40000000) == 0
    subprocess.run(['ip', 'link', 'set', 'lo', 'up'], check=True)
listener = socket.create_server(('127.0.0.1', 0))
ask = ['curl', '-sS', '--max-time', '20', 'http://127.0.0.1:%d/info' % listener.getsockname()[1]]
stranger = subprocess.Popen(ask, stdout=subprocess.PIPE)
near, _ = listener.accept()
if how == 'CLOSES':
    listener.close()
if how == 'NETNS':
    assert libc.setns(home, 0x40000000) == 0
far = socket.create_connection(('127.0.0.1', port))
request = near.recv(65536)
far.sendall(request.replace(b'Host: ', b'Connection: close\r\nHost: '))
while True:
    piece = far.recv(65536)
    if not piece:
        break
    near.sendall(piece)
near.close()
print(stranger.communicate()[0].decode())
";

#[test]
fn a03_a_forwarder_in_python_is_no_person() {
    let muster = Muster::up();
    let port = port_of(&muster).to_string();
    for how in ["PLAIN", "CLOSES", "NETNS"] {
        let said = run(Command::new("/usr/bin/python3").args(["-c", FORWARDER, &port, how]), "").ok();
        assert!(!is_local(&said), "{how}");
    }
}

/// A connection that was a person's when it was opened, and is kept; then its holder begins to serve others.
const TURNCOAT: &str = r"
import socket, sys, time
def ask(far):
    far.sendall(b'GET /info HTTP/1.1\r\nHost: localhost\r\n\r\n')
    head, _, body = far.recv(65536).partition(b'\r\n\r\n')
    return body.decode()
far = socket.create_connection(('127.0.0.1', int(sys.argv[1])))
print(ask(far))
listener = socket.create_server(('127.0.0.1', 0))
end = time.monotonic() + 20
while 'determined' in (said := ask(far)) and time.monotonic() < end: pass
print(said)
";

#[test]
fn a03_a_connection_is_looked_at_again() {
    let muster = Muster::up();
    let said =
        run(Command::new("/usr/bin/python3").args(["-c", TURNCOAT, &port_of(&muster).to_string()]), "").ok();
    let answers: Vec<bool> = said.lines().filter(|line| !line.is_empty()).map(is_local).collect();
    assert_eq!(answers, [true, false]);
}

/// A real `sshd` for one test, into which root may log in with a key of its own.
struct Sshd {
    dir: std::path::PathBuf,
    port: u16,
    process: Option<Process>,
}

impl Sshd {
    fn start(at: &Path) -> Self {
        let (dir, port) = (at.join("ssh"), free_port());
        fs::create_dir(&dir).expect("a directory");
        mode(&dir, 0o755, 0);
        fs::create_dir_all("/run/sshd").expect("the daemon's own directory");
        for key in ["host", "user"] {
            let mut make = Command::new("ssh-keygen");
            run(make.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(dir.join(key)), "").exits(0);
        }
        fs::copy(dir.join("user.pub"), dir.join("authorized")).expect("copied");
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {0}/host\nAuthorizedKeysFile {0}/authorized\n\
             PermitRootLogin yes\nPasswordAuthentication no\nUsePAM no\nStrictModes no\nPidFile none\n",
            dir.display()
        );
        fs::write(dir.join("config"), config).expect("written");
        let process = Process::start(
            Command::new("/usr/sbin/sshd").args(["-D", "-e", "-f"]).arg(dir.join("config")),
            "",
        );
        process.stderr.wait_for("Server listening");
        Self { dir, port, process: Some(process) }
    }

    fn ssh(&self) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]);
        ssh.args(["-o", "IdentitiesOnly=yes", "-o", "LogLevel=ERROR", "-o", "ExitOnForwardFailure=yes"]);
        ssh.arg("-i").arg(self.dir.join("user")).args(["-p", &self.port.to_string()]);
        ssh
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        if let Some(process) = self.process.take() {
            process.end(nix::sys::signal::Signal::SIGTERM);
        }
    }
}

#[test]
fn a03_a_session_over_ssh_is_a_person_and_a_tunnel_is_none() {
    let muster = Muster::up();
    let sshd = Sshd::start(muster.dir.path());
    let mut ssh = sshd.ssh();
    let line = format!("curl -sS --max-time 20 {}", info(&muster.url));
    assert!(is_local(&run(ssh.args(["root@127.0.0.1", &line]), "").ok()));
    let to = format!("127.0.0.1:{}", port_of(&muster));
    for way in ["-R", "-L"] {
        let port = free_port();
        let mut ssh = sshd.ssh();
        let tunnel =
            Process::start(ssh.args(["-N", way, &format!("127.0.0.1:{port}:{to}"), "root@127.0.0.1"]), "");
        assert_no_way_in(port);
        tunnel.end(nix::sys::signal::Signal::SIGTERM);
    }
    // It isn't ssh that holds the connection to the other machine then (W2).
    let proxy = format!("ProxyCommand=socat STDIO TCP:127.0.0.1:{}", sshd.port);
    for kind in ["port", "socket"] {
        let (port, socket) = (free_port(), muster.dir.path().join("tunnel"));
        let near = if kind == "port" { format!("127.0.0.1:{port}") } else { socket.display().to_string() };
        let mut ssh = sshd.ssh();
        ssh.args(["-o", &proxy, "-N", "-R", &format!("{near}:{to}"), "root@127.0.0.1"]);
        let tunnel = Process::start(&mut ssh, "");
        if kind == "port" {
            assert_no_way_in(port);
        } else {
            crate::support::eventually("ssh listens", || socket.exists().then_some(()));
            let mut curl = curl("http://localhost/info");
            assert!(!is_local(&run(curl.arg("--unix-socket").arg(&socket), "").ok()));
        }
        // On SIGTERM ssh waits for the proxy, which may wait for ssh.
        tunnel.kill();
    }
    // At a terminal, and by pipes.
    for line in [format!("{line} | cat"), format!("echo $({line})")] {
        assert!(is_local(&run(sshd.ssh().args(["root@127.0.0.1", &line]), "").ok()), "{line}");
    }
    let said = run(sshd.ssh().args(["-tt", "root@127.0.0.1", &line]), "").ok();
    assert!(is_local(said.trim()), "at a terminal");
}

#[test]
fn a03_who_cant_be_looked_into_is_no_person() {
    let muster = Setup::default().uid(6001).up();
    assert!(is_local(&run(curl(&info(&muster.url)).uid_of(6001), "").ok()), "the same user");
    assert!(!is_local(&run(curl(&info(&muster.url)).uid_of(6002), "").ok()), "somebody else");
}

trait UidOf {
    fn uid_of(&mut self, uid: u32) -> &mut Self;
}

impl UidOf for Command {
    fn uid_of(&mut self, uid: u32) -> &mut Self {
        // Another group is enough not to be looked into.
        self.uid(uid).gid(uid)
    }
}
