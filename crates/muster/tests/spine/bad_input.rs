//! Bad input and bad luck: each a clear message, the right exit status, and nothing half done.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::support::{Muster, Output, Setup, dir_for_all, eventually, mode, run, sql};

/// Tries to start a server that can't.
#[track_caller]
fn refused(muster: &Muster, args: &[&str]) -> Output {
    let output = run(muster.server_command().args(args), "").exits(1);
    assert_eq!(output.out(), "", "it never said that it was ready");
    output
}

#[test]
fn a_taken_port() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let muster = Setup::default().install();
    let mut command = muster.role(&["up", "--listen", &address, "--data-dir"]);
    let said = run(command.arg(muster.data_dir()), "").exits(1);
    said.says(&format!("can't listen on {address}")).says("--listen");
}

#[test]
fn d10_a_wrong_master_yaml_is_refused_with_file_line_and_reason() {
    for (yaml, line, reason) in [
        ("cluster_name: lab\nsecurity:\n  blank_pasword: deny\n", "3", "blank_pasword"),
        ("cluster_name: lab\nlisten: nowhere\n", "2", "nowhere"),
        ("cluster_name: [\n", "", ""),
        ("agent_lost_after: soon\n", "1", "is not a whole number"),
        ("security: {default_task: {uid: -1}}\n", "", "-1 is not a Unix id"),
        ("db: {url: 'mysql://x'}\n", "", "db.url"),
    ] {
        let muster = Setup::default().config(yaml).install();
        let said = refused(&muster, &[]).says("master.yaml: ").says(reason);
        assert!(said.err().contains(line), "no line {line}: {}", said.err());
    }
    let muster = Setup::default().install();
    fs::remove_file(muster.dir.path().join("master.yaml")).expect("there");
    refused(&muster, &[]).says("master.yaml: can't be read: No such file or directory");
    let muster = Setup::default().uid(6001).install();
    mode(&muster.dir.path().join("master.yaml"), 0o600, 0);
    refused(&muster, &[]).says("master.yaml: can't be read: Permission denied");
}

#[test]
fn a_database_of_a_newer_version() {
    let mut muster = Muster::up();
    muster.stop();
    let file = muster.data_dir().join("muster.db");
    sql(&file, "INSERT INTO schema_version SELECT MAX(version) + 1 FROM schema_version");
    refused(&muster, &[]).says("newer");
    sql(&file, "DELETE FROM schema_version WHERE version = (SELECT MAX(version) FROM schema_version)");
    muster.begin();
}

#[test]
fn a_second_up_on_the_same_directory() {
    let muster = Muster::up();
    let first = muster.server().pid();
    refused(&muster, &[]).says("Muster is already running on").says(&format!("(process {first})"));
    assert_eq!(muster.person("me").muster("user whoami").ok(), "determined", "the first one goes on");
}

#[test]
fn l03_a_full_disk() {
    let place = dir_for_all();
    let disk = Disk::mount(place.path(), "160m");
    let muster = Setup::default().data_dir(place.path().join("data")).up();
    let (me, admin) = (muster.person("me"), muster.admin());
    me.muster("command run echo before").exits(0);
    let filler = place.path().join("filler");
    disk.fill(&filler);
    // What isn't urgent has half of the reserve (A4).
    let template = muster.dir.path().join("template.yaml");
    let variable = format!("environment: {{environment_variables: [A={}]}}\n", "x".repeat(30_000));
    fs::write(&template, variable).expect("written");
    let mut number = 0;
    let full = eventually("a change is refused", || {
        number += 1;
        let output = admin.muster(&format!("template set t{number} {}", template.display()));
        (output.code() != 0).then_some(output)
    });
    full.exits(1).says("full");
    assert_eq!(me.muster("user whoami").ok(), "determined", "reading goes on");
    assert_eq!(muster.person("another").muster("user whoami").ok(), "determined", "and logging in");
    assert!(number > 1, "the reserve lets some changes through");
    fs::remove_file(filler).expect("there");
    eventually("changes are taken again", || (admin.muster("user create bob").code() == 0).then_some(()));
    assert_eq!(me.muster("command run echo after").ok(), "after");
    let names = admin.muster("user list -a").ok();
    assert!(names.contains("bob"), "{names}");
    drop(muster);
    drop(disk);
}

#[test]
fn unknown_users_and_bad_ids() {
    let muster = Muster::up();
    let admin = muster.admin();
    for line in ["user activate", "user deactivate", "superuser grant", "user edit --display-name x"] {
        admin.muster(&format!("{line} nobody")).exits(6).says("user not found");
    }
    admin.muster_with("user change-password nobody --password-stdin", "correct horse\n").exits(6);
    muster.person("me").muster("-u nobody user whoami").exits(4);
    let link = |uid: &str, gid: &str| {
        let names = "--agent-user a --agent-group g";
        admin.muster(&format!("user link-with-agent-user admin --agent-uid={uid} --agent-gid={gid} {names}"))
    };
    for bad in ["-1", "text", "4294967296", "1.5", ""] {
        link(bad, "5001").exits(2);
        link("5001", bad).exits(2);
    }
    link("4294967295", "5001").exits(1).says("4294967295 is not a Unix id");
    link("5001", "4294967295").exits(1).says("is not a Unix id");
    link("5001", "0").exits(1).says("agentGid 0 needs agentUid 0");
    assert!(!admin.muster("user list").ok().contains("5001"), "nothing half done");
    link("4294967294", "4294967294").exits(0);
    link("2147483647", "5001").exits(0);
    assert_eq!(admin.muster("command run id -u").ok(), "2147483647", "R37: exactly that one");
    for name in ["a/b", "ünïcode", "x|y"] {
        admin.muster(&format!("user create {name}")).exits(1);
    }
}

#[test]
fn r38_bind_mounts_that_are_not_there_or_not_allowed() {
    let muster = Muster::up();
    let alice = muster.linked_user("alice", 5001);
    let data = muster.data_dir();
    let socket = muster.dir.path().join("docker.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
    mode(&socket, 0o777, 0);
    let link = muster.dir.path().join("innocent");
    std::os::unix::fs::symlink(&data, &link).expect("a link");
    for (source, reason) in [
        (Path::new("/no/such/place"), "no such file or directory on agent machine"),
        (Path::new("/proc"), "/proc belongs to the machine"),
        (Path::new("/sys/fs"), "/sys belongs to the machine"),
        (Path::new("/dev"), "/dev belongs to the machine"),
        (Path::new("/"), "the whole machine can't be bound"),
        (&socket, "no sockets, devices or pipes"),
        (&data, "bind mount"),
        (&link, "bind mount"),
    ] {
        let output = alice.script(&format!("--volume {}:/x", source.display()), "echo ran").exits(125);
        assert_eq!(output.out(), "", "{}", source.display());
        output.says(reason);
    }
    alice.script("--volume relative:/x", "true").exits(2).says("must be an absolute path");
    alice.script("--volume /srv", "true").exits(2).says("SRC:DST");
}

#[test]
fn no_master() {
    let nowhere = {
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        free.local_addr().expect("bound")
    };
    let muster = Setup::default().install();
    let me = muster.person("me");
    let output = me.muster(&format!("-m http://{nowhere} user whoami")).exits(8);
    output.says("can't reach a Muster master").says("muster up");
    me.muster(&format!("-m http://{nowhere} version")).exits(0);
    me.muster("-m ftp://x user whoami").exits(2);
    me.muster(&format!("-m https://{nowhere} user whoami")).exits(8).says("can't reach");
    me.muster("nonsense").exits(2);
}

#[test]
fn r28_an_invitation_is_good_once() {
    let muster = Setup::default().master_alone().up();
    let file = muster.dir.path().join("invitation");
    let invite =
        |options: &str| fs::write(&file, muster.admin().muster(&format!("agent invite {options}")).ok());
    let agent =
        |name| muster.agent(name, &["--slots", "1", "--invitation-file", file.to_str().expect("text")]);
    let forget = || fs::remove_dir_all(muster.dir.path().join("apart")).expect("there");

    muster.agent("first", &[]).finish().exits(1).says("muster agent invite");
    forget();
    invite("--name first").expect("written");
    agent("second").finish().exits(1).says("the master refused the invitation");
    forget();
    let first = agent("first");
    first.stdout.wait_for("Agent first is connected to ");
    first.end(Signal::SIGTERM).0.exits(0);

    // Whoever finds the used one, or takes a name that is somebody's, gets nowhere.
    forget();
    agent("first").finish().exits(1).says("the master refused the invitation");
    forget();
    invite("").expect("written");
    agent("first").finish().exits(1).says("agent first is already enrolled");
}

#[test]
fn the_master_goes_while_a_command_is_followed() {
    let mut muster = Setup::default().keeps_port().up();
    let me = muster.person("me");
    let dir = muster.dir.path().join("signals");
    fs::create_dir(&dir).expect("a directory");
    mode(&dir, 0o777, 0);
    let script = "echo on; while [ ! -e /signals/go ]; do sleep 0.02; done; echo off; exit 3";
    let running = me.start_script(&format!("--volume {}:/signals", dir.display()), script);
    running.stdout.wait_for("on\n");
    muster.stop();
    me.muster("user whoami").exits(8);
    muster.begin();
    fs::write(dir.join("go"), "").expect("written");
    assert_eq!(running.finish().exits(3).out(), "on\noff\n");
}

/// A small file system that goes with the value.
struct Disk<'a>(&'a Path);

impl<'a> Disk<'a> {
    fn mount(place: &'a Path, size: &str) -> Self {
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &format!("size={size},mode=755"), "none"]).arg(place);
        run(&mut command, "").exits(0);
        Self(place)
    }

    /// Takes all space that is left.
    fn fill(&self, file: &Path) {
        let target = fs::File::create(file).expect("made");
        let mut source = std::io::repeat(b'x');
        let end = std::io::copy(&mut source, &mut &target).expect_err("it must get full");
        assert_eq!(end.kind(), std::io::ErrorKind::StorageFull);
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).status();
    }
}

/// The status of `GET /info` under a `Host` name.
fn status_under(muster: &Muster, host: &str) -> String {
    let address = muster.url.strip_prefix("http://").expect("an address");
    let mut stream = TcpStream::connect(address).expect("connected");
    write!(stream, "GET /info HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    answer.split(' ').nth(1).expect("a status").to_owned()
}

#[test]
fn r08_names_that_are_not_ours_are_refused() {
    let muster = Setup::default().config("security: {hosts: [muster.lab.example]}\n").up();
    let own = nix::unistd::gethostname().expect("a name").into_string().expect("text");
    for host in ["localhost:1", "127.0.0.1", "muster.lab.example:8080", &own] {
        assert_eq!(status_under(&muster, host), "200", "{host}");
    }
    for host in ["evil.example", "muster.lab.example.evil.example"] {
        assert_eq!(status_under(&muster, host), "421", "{host}");
    }
}
