//! Whoever makes the kernel wait (a FUSE file system that stops answering) holds up no judgement about others (S5, R15,
//! A3): what a process has open, or has in its memory, is asked in a way that waits for nobody, or not for long.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use neighbour::{Doubt, Neighbours};

/// Whose file system it is.
const OWNER: u32 = 5001;
/// How long a judgement may take at most.
const MOST: Duration = Duration::from_secs(30);
/// Less than one is waited for who holds up a judgement.
const QUICK: Duration = Duration::from_millis(900);

/// A file system that doesn't answer, and the process that it holds up; until it is dropped.
struct Hanging {
    script: Child,
    _dir: tempfile::TempDir,
}

impl Hanging {
    fn start(how: &str) -> Self {
        Self::start_with(how, Stdio::null())
    }

    /// With something that only those hold whom it holds up.
    fn start_with(how: &str, shared: Stdio) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hanging.py");
        let mut python = Command::new("/usr/bin/python3");
        python.args([script, how, &OWNER.to_string()]).env("TMPDIR", dir.path());
        // The owner has to come to it.
        std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .expect("ours");
        python.stderr(shared);
        let mut script = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("started");
        let mut said = BufReader::new(script.stdout.take().expect("a pipe")).lines();
        let ready = said.next().expect("it is ready").expect("readable");
        assert!(ready.starts_with("ready"), "{ready}");
        Self { script, _dir: dir }
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        // That it ends lets everybody go on who waits for it.
        drop(self.script.stdin.take());
        let _ = self.script.wait();
    }
}

/// Is connected to the master, and has a file without a name, so that everybody is looked at who may share it.
const CLIENT: &str = "
import os, signal, socket, sys
os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[2]))
kept = os.memfd_create('x')
master = socket.create_connection(('127.0.0.1', int(sys.argv[1])))
signal.pause()
";

/// What is said of a program, if anything, and how long that takes.
type Judged = (Option<Result<(), Doubt>>, Duration);

/// Judges a program of that user's.
fn judge(neighbours: &Neighbours, uid: u32) -> Judged {
    judge_with(neighbours, uid, Stdio::null())
}

/// Judges one that has this as its input.
fn judge_with(neighbours: &Neighbours, uid: u32, input: Stdio) -> Judged {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let here: SocketAddr = listener.local_addr().expect("bound");
    let mut python = Command::new("/usr/bin/python3");
    python.args(["-c", CLIENT, &here.port().to_string(), &uid.to_string()]);
    python.stdin(input).stdout(Stdio::null());
    let mut client = python.spawn().expect("started");
    // With it what it was given.
    drop(python);
    let (_connection, peer) = listener.accept().expect("accepted");
    let (says, said) = channel();
    let (begun, neighbours) = (Instant::now(), neighbours.clone());
    // A thread of its own: it may hang for as long as the file system does.
    std::thread::spawn(move || says.send(neighbours.at_tcp(peer, here)));
    let verdict = said.recv_timeout(MOST).ok();
    let took = begun.elapsed();
    client.kill().expect("killed");
    client.wait().expect("over");
    (verdict, took)
}

fn may_mount() -> bool {
    rustix::process::geteuid().is_root() && Path::new("/dev/fuse").exists()
}

/// Judges programs of root's and of another user's. Who has held up a judgement doesn't hold up those after it.
fn assert_quick(how: &str) {
    if !may_mount() {
        return;
    }
    let hanging = Hanging::start(how);
    let neighbours = Neighbours::new(0..0);
    let begun = Instant::now();
    let mut judged = Vec::new();
    // Another test's, which has only just begun, may hold it up once more.
    while judged.len() < 2 || (judged.iter().all(is_slow) && begun.elapsed() < MOST) {
        judged.extend([0, 6001].map(|uid| judge(&neighbours, uid)));
    }
    drop(hanging);
    let wrong = |(verdict, _): &&Judged| *verdict != Some(Ok(()));
    assert_eq!(judged.iter().find(wrong), None, "{how}");
    assert!(!judged.iter().all(is_slow), "{how}: {judged:?}");
}

fn is_slow((_, took): &Judged) -> bool {
    *took >= QUICK
}

#[test]
fn a03_r15_a_file_whose_server_hangs_holds_up_nobody() {
    assert_quick("stat");
}

#[test]
fn a03_r15_a_process_whose_memory_cant_be_described_holds_up_nobody() {
    assert_quick("exec");
}

#[test]
fn a03_r15_a_process_whose_command_cant_be_read_holds_up_nobody() {
    assert_quick("memory");
}

#[test]
fn a03_r15_many_processes_that_answer_just_in_time_hold_up_nobody() {
    assert_quick("late");
}

/// MJ4: what the kernel says of a descriptor waited for an epoll, and that for its owner's memory.
#[test]
fn a03_r15_mj4_an_epoll_that_cant_be_described_holds_up_nobody() {
    assert_quick("epoll");
}

#[test]
fn a03_r15_who_is_left_out_for_being_late_isnt_invisible() {
    if !may_mount() {
        return;
    }
    for how in ["late", "exec"] {
        for has_name in [false, true] {
            let (input, theirs) = ends_of_pipe(has_name);
            let hanging = Hanging::start_with(how, theirs);
            let neighbours = Neighbours::new(0..0);
            // The first look finds out who is late; those after it don't ask him.
            let (of_another, took) = judge(&neighbours, 6001);
            let (of_one_he_speaks_to, then) = judge_with(&neighbours, 6001, input);
            let of_his = judge(&neighbours, OWNER).0;
            drop(hanging);
            assert_eq!(of_another, Some(Ok(())), "{how}");
            let spoken_to = matches!(of_one_he_speaks_to, Some(Err(_)));
            assert!(spoken_to, "{how}, {has_name}: after {took:?} and {then:?}");
            assert!(matches!(of_his, Some(Err(Doubt::HeldUp(_)))), "{how}: {of_his:?}");
        }
    }
}

/// A pipe, of which this process has nothing.
fn ends_of_pipe(has_name: bool) -> (Stdio, Stdio) {
    if !has_name {
        let (input, theirs) = std::io::pipe().expect("a pipe");
        return (input.into(), theirs.into());
    }
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("pipe");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("made");
    let both = std::fs::File::options().read(true).write(true).open(&path).expect("opened");
    let theirs = std::fs::File::options().write(true).open(&path).expect("opened");
    let input = std::fs::File::open(&path).expect("opened");
    drop(both);
    (input.into(), theirs.into())
}

#[test]
fn a03_r15_what_a_users_own_process_has_in_memory_has_to_be_known() {
    if !may_mount() {
        return;
    }
    let hanging = Hanging::start("exec");
    let (verdict, took) = judge(&Neighbours::new(0..0), OWNER);
    drop(hanging);
    // It may have what the client has. Another test's may, too.
    assert!(matches!(verdict, Some(Err(Doubt::HeldUp(_)))), "{verdict:?} after {took:?}");
}

/// Has so many pieces of one file in its memory that there is more to be said of them than is read.
const PIECES: &str = "
import ctypes, os, signal, sys
os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[2]))
mmap = ctypes.CDLL(None).mmap
mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
file = os.open(sys.argv[1], os.O_RDONLY)
for _ in range(20000): mmap(None, 4096, 1, 2, file, 0)
print('ready', flush=True)
signal.pause()
";

#[test]
fn a03_r15_what_a_user_has_in_memory_is_too_much_for_him_alone() {
    if !may_mount() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("ours");
    let deep = (0..5).fold(dir.path().to_owned(), |path, _| path.join("x".repeat(200)));
    std::fs::create_dir_all(&deep).expect("made");
    std::fs::write(deep.join("f"), "x").expect("written");
    let mut python = Command::new("/usr/bin/python3");
    python.args(["-c", PIECES]).arg(deep.join("f")).arg("5003").stdout(Stdio::piped());
    let mut has_much = python.stderr(Stdio::null()).spawn().expect("started");
    let mut said = BufReader::new(has_much.stdout.take().expect("a pipe")).lines();
    assert_eq!(said.next().expect("it is ready").expect("readable"), "ready");
    let neighbours = Neighbours::new(0..0);
    let judged = [6001, 5003].map(|uid| judge(&neighbours, uid).0);
    has_much.kill().expect("killed");
    has_much.wait().expect("over");
    let [of_another, of_his] = judged;
    assert_eq!(of_another, Some(Ok(())));
    // To read even that may take longer than is waited.
    assert!(matches!(of_his, Some(Err(Doubt::TooMuch(5003) | Doubt::HeldUp(_)))), "{of_his:?}");
}

/// Tells the test below that it is the process that looks.
const ITSELF: &str = "HELD_UP_TEST_LOOKS";

#[test]
fn a03_r15_who_is_held_up_can_end() {
    if !may_mount() {
        return;
    }
    if std::env::var_os(ITSELF).is_some() {
        // It ends, although a thread still waits.
        assert!(judge(&Neighbours::new(0..0), 0).0.is_some());
        return;
    }
    for how in ["stat", "exec", "memory"] {
        let hanging = Hanging::start(how);
        let mut looks = Command::new(std::env::current_exe().expect("it runs"));
        let looks = looks.args(["--exact", "a03_r15_who_is_held_up_can_end"]).env(ITSELF, "1");
        let mut looks = looks.stdout(Stdio::null()).spawn().expect("started");
        let (says, ended) = channel();
        let waits = std::thread::spawn(move || says.send(looks.wait().map(|status| status.success())));
        let ended = ended.recv_timeout(MOST);
        // It goes on now, if it couldn't.
        drop(hanging);
        waits.join().expect("over").expect("heard");
        assert!(matches!(ended, Ok(Ok(true))), "{how}: {ended:?}");
    }
}
