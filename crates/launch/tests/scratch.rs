//! What a task leaves on the disk, and what that costs others (A4): files, not only bytes; what has no name; the shim's own
//! memory; and ends that somebody outside tries to hold up.

mod support;

use std::fs;
use std::process::{Command, Stdio};

use launch::spec::Limits;
use launch::{Limit, TaskSpec};
use support::{Task, bind, root_script, run, script};

fn python(spec: TaskSpec, text: &str) -> TaskSpec {
    TaskSpec { argv: vec!["/usr/bin/python3".into(), "-c".into(), text.into()], ..spec }
}

fn limits(bytes: Option<u64>, files: Option<u64>) -> Limits {
    Limits { scratch_bytes: bytes, scratch_files: files, ..Limits::default() }
}

#[test]
fn a04_too_many_files_end_the_task() {
    let text = "import os
for i in range(900): os.mkdir(f'd{i}')
print('fine', flush=True)
for i in range(10**9): open(f'/tmp/{i}', 'w').close()";
    let done = run(&TaskSpec { limits: limits(None, Some(1000)), ..python(script(""), text) });
    assert_eq!((done.exit.limit, done.exit.signal), (Some(Limit::Scratch), Some(9)), "{done:?}");
    assert!(done.agent.contains("more than its limit of 1000 (agent.task_limits.scratch_files)"), "{done:?}");
    assert_eq!(done.stdout, "fine\n");
}

/// F13: who takes all the files that a disk can have is ended, and then others start and end as before.
#[test]
fn a04_a_disk_has_files_for_others() {
    let place = support::TestDir::new();
    let path = place.dir("disk", 0o755, 0);
    let options = ["-t", "tmpfs", "-o", "size=256m,nr_inodes=4000", "none"];
    assert!(Command::new("mount").args(options).arg(&path).status().unwrap().success());
    let disk = support::Disk(path);
    let on = |spec: &TaskSpec| Task {
        dir: support::TestDir::new(),
        task_dir: launch::create_task_dir(&disk.0, &spec.task_id, spec).unwrap(),
        uid: 0,
    };
    let other = on(&script("echo ready; exec sleep 1000"));
    assert!(other.start());
    other.wait_for("ready");
    let text = "n = 0
while True:
    try: open(f'/tmp/{n}', 'w').close(); n += 1
    except OSError: pass";
    let greedy = on(&TaskSpec { limits: limits(None, Some(2000)), ..python(script(""), text) });
    assert!(greedy.start());
    greedy.wait();
    assert_eq!(greedy.exit().unwrap().limit, Some(Limit::Scratch));
    other.shim().unwrap().kill().unwrap();
    other.wait();
    assert!(other.exit().unwrap().killed);
    assert_eq!(on(&script("echo fine")).run().stdout, "fine\n");
}

#[test]
fn a04_what_is_only_mapped_takes_space_too() {
    let text = "import mmap, os, time
f = os.open('/tmp/f', os.O_CREAT | os.O_RDWR)
os.ftruncate(f, 20 << 20)
m = mmap.mmap(f, 20 << 20)
os.unlink('/tmp/f')
# The mapping keeps a descriptor of its own.
os.closerange(3, 100)
for at in range(0, 20 << 20, 4096): m[at] = 1
m.flush()
print(os.listdir('/proc/self/fd'), flush=True)
time.sleep(1000)";
    let done = run(&TaskSpec { limits: limits(Some(8 << 20), None), ..python(script(""), text) });
    assert_eq!(done.exit.limit, Some(Limit::Scratch), "{done:?}");
}

#[test]
fn a04_directories_nested_deeper_than_anybody_looks_end_the_task() {
    let text = "import os, time
for i in range(1000): os.mkdir('d'); os.chdir('d')
time.sleep(1000)";
    let done = run(&TaskSpec { limits: limits(Some(1 << 30), None), ..python(script(""), text) });
    assert_eq!(done.exit.limit, Some(Limit::Scratch), "{done:?}");
    assert!(done.agent.contains("more than 256 directories below each other"), "{done:?}");
}

#[test]
fn a12_directories_cost_the_shim_no_memory() {
    let text = "import os
for i in range(12): os.mkdir('d' * 250); os.chdir('d' * 250)
for i in range(4000): os.mkdir(f'{i}')
print('ready', flush=True)
input()";
    let mut spec = python(script(""), text);
    spec.limits = limits(Some(1 << 40), Some(1 << 40));
    let text = format!(
        "mkfifo /mnt/go; exec 0<>/mnt/go; exec /usr/bin/python3 -c '{}'",
        text.replace('\'', "'\\''")
    );
    let dir = support::TestDir::new();
    let place = dir.dir("place", 0o777, 5001);
    spec.argv = vec!["/bin/sh".into(), "-c".into(), text];
    spec.bind_mounts = vec![bind(&place, "/mnt")];
    let task = Task::create(&spec);
    assert!(task.start());
    let pid = fs::read_to_string(task.task_dir.join("shim.pid")).unwrap();
    let pid = pid.split_whitespace().next().unwrap().to_owned();
    let peak = || {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()
    };
    task.wait_for("ready");
    let before = peak().unwrap();
    fs::write(place.join("go"), "\n").unwrap();
    let mut most = before;
    // It is emptied now.
    support::wait_until("the shim has gone", || {
        task.exit().is_some()
            || peak().is_none_or(|now| {
                most = most.max(now);
                false
            })
    });
    task.wait();
    assert_eq!(task.exit().unwrap().code, 0);
    // With a list of paths it was 7.5 KiB for each of them.
    assert!(most < before + 20_000 && most < 64_000, "{before} {most}");
}

/// Traces a process and never waits for it.
const TRACER: &str = "import ctypes, sys, time
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long] * 4
print(libc.ptrace(0x4206, int(sys.argv[1]), 0, int(sys.argv[2])), flush=True)
sys.stdin.read()
";

#[test]
fn b15_a_task_that_somebody_outside_traces_ends_all_the_same() {
    // The last one stops it on its way out, which not even SIGKILL ends.
    for (killed, options) in [(true, "0"), (false, "0"), (true, "64")] {
        let dir = support::TestDir::new();
        let place = dir.dir("place", 0o777, 5001);
        let text = "mkfifo /mnt/go; sleep 1000 & echo ready; read x < /mnt/go; exit 7";
        let task = Task::create(&TaskSpec { bind_mounts: vec![bind(&place, "/mnt")], ..script(text) });
        assert!(task.start());
        task.wait_for("ready");
        let name = fs::read_to_string(task.task_dir.join("shim.pid")).unwrap();
        let shim = name.split_whitespace().next().unwrap().to_owned();
        support::wait_until("it sleeps", || descendant(&shim, "sleep").is_some());
        let traced = descendant(&shim, "sleep").unwrap();
        let mut tracer = Command::new("python3")
            .args(["-c", TRACER, &traced, options])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(tracer.stdout.take().unwrap()), &mut line)
            .unwrap();
        assert_eq!(line, "0\n");
        if killed {
            task.shim().unwrap().kill_now().unwrap();
        } else {
            fs::write(place.join("go"), "\n").unwrap();
        }
        task.wait();
        let done = task.outcome();
        drop(tracer.stdin.take());
        tracer.wait().unwrap();
        let expected = if killed { (137, true) } else { (7, false) };
        assert_eq!((done.exit.code, done.exit.killed), expected, "{done:?}");
        assert!(done.agent.contains(&format!("traces process {traced} of the task")), "{done:?}");
    }
}

/// The process of this name below another one.
fn descendant(of: &str, name: &str) -> Option<String> {
    let mut parents = vec![of.to_owned()];
    while let Some(parent) = parents.pop() {
        let children =
            fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
        for child in children.split_whitespace() {
            if fs::read_to_string(format!("/proc/{child}/comm")).is_ok_and(|comm| comm.trim() == name) {
                return Some(child.to_owned());
            }
            parents.push(child.to_owned());
        }
    }
    None
}

#[test]
fn a04_a_directory_that_was_handed_to_another_task_is_emptied() {
    let dir = support::TestDir::new();
    let place = dir.dir("place", 0o777, 5001);
    let shared = |spec: TaskSpec| TaskSpec { bind_mounts: vec![bind(&place, "/mnt")], ..spec };
    let keeps = "import array, os, socket, time
s = socket.socket(socket.AF_UNIX); s.bind('/mnt/s'); os.chmod('/mnt/s', 0o777); s.listen()
print('ready', flush=True)
c, _ = s.accept()
_, anc, _, _ = c.recvmsg(1, socket.CMSG_SPACE(4))
fd = array.array('i', anc[0][2])[0]
print('got', flush=True)
i = 0
while True:
    try:
        os.close(os.open(f'f{i}', os.O_CREAT | os.O_WRONLY, dir_fd=fd)); i += 1
    except OSError as e:
        print('stopped', e.errno, flush=True)
        time.sleep(1000)
";
    let gives = "import array, os, socket
c = socket.socket(socket.AF_UNIX); c.connect('/mnt/s')
os.mkdir('d'); os.chmod('d', 0o777)
c.sendmsg([b'd'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [os.open('d', os.O_RDONLY)]))])
while len(os.listdir('d')) < 10: pass
";
    let other = Task::create(&shared(python(root_script(""), keeps)));
    assert!(other.start());
    other.wait_for("ready");
    let task = Task::create(&shared(python(root_script(""), gives)));
    let done = task.run();
    assert_eq!(done.exit.code, 0, "{done:?}");
    assert!(!done.agent.contains("can't be emptied"), "{done:?}");
    other.wait_for("stopped");
    assert_eq!(fs::read_dir(task.task_dir.join("scratch")).unwrap().count(), 0);
    launch::remove_task_dir(&task.task_dir).unwrap();
    assert!(!task.task_dir.exists());
}

/// G2: makes a file of 20 MB in `hide`, which takes its name away before it is written, and stays.
const HIDES: &str = "import ctypes, mmap, os, threading, time
libc = ctypes.CDLL(None, use_errno=True)
def make(path=b'/tmp/h'):
    file = os.open(path, os.O_CREAT | os.O_RDWR)
    os.unlink(path)
    return file
def fill(file):
    for _ in range(20): os.write(file, bytes(1 << 20))
    os.fsync(file)
    print('full', flush=True)
    time.sleep(1000)
";

/// What only a thread has; what a process has whose first thread is over; what comes after a name that is no text; what is
/// beside a table that many processes share.
const HIDDEN: [&str; 4] = [
    "def hide():
    assert libc.unshare(0x400) == 0
    fill(make())
threading.Thread(target=hide).start()
time.sleep(1000)",
    "threading.Thread(target=lambda: fill(make())).start()
libc.pthread_exit(None)",
    "def map(file, size, at):
    libc.mmap.argtypes, libc.mmap.restype = [ctypes.c_void_p] + [ctypes.c_int] * 4 + [ctypes.c_long], ctypes.c_void_p
    os.ftruncate(file, size)
    assert libc.mmap(at, size, 3, 0x100001, file, 0) == at
    os.close(file)
map(os.open(b'/tmp/\\xff', os.O_CREAT | os.O_RDWR), 4096, 1 << 40)
map(make(b'/tmp/\\xfe'), 20 << 20, 2 << 40)
ctypes.memset(2 << 40, 1, 20 << 20)
print('full', flush=True)
time.sleep(1000)",
    "ends = os.pipe()
for _ in range(10000): os.dup(ends[0])
for _ in range(150):
    if libc.syscall(CLONE, 0x400 | 17, 0, 0, 0, 0) == 0:
        while True: libc.pause()
fill(make())",
];

#[test]
fn a04_what_no_process_shows_takes_space_too() {
    let clone = if cfg!(target_arch = "x86_64") { 56 } else { 220 };
    let text = |hides: &str| format!("{HIDES}CLONE = {clone}\n{hides}");
    for hides in HIDDEN {
        let done = run(&TaskSpec { limits: limits(Some(8 << 20), None), ..python(script(""), &text(hides)) });
        assert_eq!((done.exit.limit, done.exit.signal), (Some(Limit::Scratch), Some(9)), "{hides} {done:?}");
        assert!(done.agent.contains("more than its limit of 8 MiB"), "{hides} {done:?}");
    }
    // Also where nothing but the user of the agent looks on; what is only mapped isn't seen there.
    for hides in &HIDDEN[..2] {
        let spec =
            TaskSpec { limits: limits(Some(8 << 20), None), ..python(support::own_script(""), &text(hides)) };
        let done = Task::create_for(&spec, 5001).run();
        assert_eq!(done.exit.limit, Some(Limit::Scratch), "{hides} {done:?}");
    }
}

/// G2b: tables of open files that nobody could look through in time.
#[test]
fn a04_more_open_files_than_can_be_looked_at_end_the_task() {
    let text = "import os, resource, time
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
each = min(most, 20000)
resource.setrlimit(resource.RLIMIT_NOFILE, (each, most))
ends = os.pipe()
for _ in range(each - 10): os.dup(ends[0])
for _ in range(1000000 // (each - 10) + 1):
    if os.fork() == 0: time.sleep(1000)
print('open', flush=True)
# Now is the time to look.
with open('/tmp/f', 'wb') as f: f.write(bytes(40 << 20)); f.flush(); os.fsync(f)
time.sleep(1000)";
    let done = run(&TaskSpec { limits: limits(Some(20 << 20), None), ..python(script(""), text) });
    assert_eq!((done.exit.limit, done.exit.signal), (Some(Limit::Scratch), Some(9)), "{done:?}");
    assert!(done.agent.contains("more open files, mappings and threads than can be looked at"), "{done:?}");
    assert_eq!(done.stdout, "open\n");
}

/// I3: programs whose file has no name, and that have unmapped it: only the kernel's note of what was executed has it.
#[test]
fn a04_what_was_only_executed_takes_space_too() {
    if !cfg!(target_arch = "x86_64") {
        return;
    }
    let text = "import os, struct, time
# munmap(0x400000, 4096), then pause() for ever, from a page of its own.
stub = bytes.fromhex('bf00004000be00100000b80b0000000f05b8220000000f05ebf7')
code = bytes.fromhex('b80900000031ffbe00100000ba0700000041ba2200000049c7c0ffffffff4531c90f054889c74889c3488d3509000000b9')
code += struct.pack('<I', len(stub)) + bytes.fromhex('f3a4ffe3') + stub
head = b'\\x7fELF\\2\\1\\1' + bytes(9) + struct.pack('<HHIQQQIHHHHHH', 2, 62, 1, 0x400078, 64, 0, 0, 64, 56, 1, 0, 0, 0)
head += struct.pack('<IIQQQQQQ', 1, 5, 0, 0x400000, 0x400000, 120 + len(code), 120 + len(code), 4096)
for n in range(5):
    name = f'/tmp/program{n}'
    with open(name, 'wb') as f:
        f.write(head + code + bytes(6 << 20)); f.flush(); os.fsync(f)
    os.chmod(name, 0o755)
    child = os.fork()
    if child == 0: os.execv(name, [name])
    while os.readlink(f'/proc/{child}/exe') != name or name in open(f'/proc/{child}/maps').read(): time.sleep(0.01)
    os.unlink(name)
print('hidden', flush=True)
time.sleep(1000)";
    for (spec, uid) in [(script(""), 0), (support::own_script(""), 5001)] {
        let done =
            Task::create_for(&TaskSpec { limits: limits(Some(8 << 20), None), ..python(spec, text) }, uid)
                .run();
        assert_eq!((done.exit.limit, done.exit.signal), (Some(Limit::Scratch), Some(9)), "{done:?}");
        assert!(done.agent.contains("more than its limit of 8 MiB"), "{done:?}");
    }
}

/// Sees where a count is, and moves what it has: `under` out of its way, `over` in front of it.
const MOVER: &str = "import ctypes, os, struct, threading, time
how, many, size, dirs, links = HOW
os.mkdir('/tmp/h')
open('/tmp/one', 'w').close()
for d in range(dirs): os.mkdir(f'/tmp/h/{d}')
order = [e.name for e in os.scandir('/tmp/h')]
for d in order:
    for k in range(links): os.link('/tmp/one', f'/tmp/h/{d}/l{k}')
at = dirs - 1 if how == 'under' else 0
name = lambda d, n: f'/tmp/h/{order[d]}/big{n}'
libc = ctypes.CDLL(None)
fd = libc.inotify_init1(0)
# IN_CLOSE_NOWRITE
watches = {libc.inotify_add_watch(fd, f'/tmp/h/{d}'.encode(), 16): n for n, d in enumerate(order)}
files = [open(name(at, n), 'wb') for n in range(many)]
def move():
    global at
    while True:
        data = os.read(fd, 65536)
        while data:
            watch, mask, cookie, length = struct.unpack_from('iIII', data)
            data = data[16 + length:]
            read = watches.get(watch)
            if read is None: continue
            if how == 'over': to = (read + 1) % dirs if read in (at, 0) else at
            else: to = {0: 0, dirs - 1: dirs - 1}.get(read, at)
            if to == at: continue
            for n in range(many): os.rename(name(at, n), name(to, n))
            at = to
threading.Thread(target=move, daemon=True).start()
for file in files:
    for i in range(0, size, 65536): file.write(os.urandom(65536))
    file.flush()
    os.fsync(file)
print('ready', flush=True)
time.sleep(1000)";

/// MD6: what is moved to where the count has been is found all the same, soon.
#[test]
fn md06_nobody_hides_what_he_has_by_moving_it() {
    let mover = MOVER.replace("HOW", "'under', 1, 48 << 20, 12, 2000");
    let done = run(&TaskSpec { limits: limits(Some(16 << 20), None), ..python(script(""), &mover) });
    assert_eq!(done.exit.limit, Some(Limit::Scratch), "{done:?}");
}

/// MD5: nor does a task seem to have more than it has.
#[test]
fn md05_nobody_seems_to_have_more_than_he_has_by_moving_it() {
    let mover = MOVER.replace("HOW", "'over', 20, 512 << 10, 12, 1000");
    let task = Task::create(&python(script(""), &mover));
    assert!(task.start());
    task.wait_for("ready");
    for _ in 0..10 {
        let held = launch::holdings(&[&task.task_dir]).pop().unwrap().unwrap();
        // And what its directories have, and its log.
        assert!((10 << 20..16 << 20).contains(&held.bytes), "{held:?}");
    }
}

/// MD5: nor do two have the same, of which each has a descriptor.
#[test]
fn md05_what_two_tasks_hold_together_is_counted_once() {
    let dir = support::TestDir::new();
    let place = dir.dir("place", 0o777, 5001);
    let text = |how: &str| {
        let mut spec = python(
            script(""),
            &format!(
                "import array, os, socket, time
s = socket.socket(socket.AF_UNIX)
{how}
print('ready', flush=True)
time.sleep(1000)"
            ),
        );
        spec.bind_mounts = vec![bind(&place, "/mnt")];
        spec
    };
    let one = Task::create(&text(
        "f = open('/tmp/f', 'wb'); os.unlink('/tmp/f')
f.write(os.urandom(8 << 20)); f.flush(); os.fsync(f)
s.bind('/mnt/s.new'); s.listen(); os.rename('/mnt/s.new', '/mnt/s'); print('listens', flush=True)
c = s.accept()[0]
socket.send_fds(c, [b'x'], [f.fileno()])",
    ));
    let other = Task::create_beside(
        &one,
        &text(
            "while True:
    try: s.connect('/mnt/s'); break
    except OSError: time.sleep(0.01)
got = socket.recv_fds(s, 1, 1)",
        ),
    );
    assert!(other.start() && one.start());
    one.wait_for("ready");
    other.wait_for("ready");
    let held = launch::holdings(&[&one.task_dir, &other.task_dir]);
    let held: u64 = held.into_iter().map(|held| held.unwrap().bytes).sum();
    assert!((8 << 20..9 << 20).contains(&held), "{held}");
}

/// A task goes on whose counter was killed.
#[test]
fn md05_nobody_stands_still_for_a_counter_that_has_gone() {
    let task = Task::create(&script("echo ready; exec sleep 1000"));
    assert!(task.start());
    task.wait_for("ready");
    let below = format!("muster/muster-{}", task.task_dir.file_name().unwrap().to_str().unwrap());
    let places = ["unified/", "", "freezer/"].map(|place| format!("/sys/fs/cgroup/{place}{below}"));
    let switches = places.iter().flat_map(|dir| {
        [(format!("{dir}/cgroup.freeze"), "1", "0"), (format!("{dir}/freezer.state"), "FROZEN", "THAWED")]
    });
    let (switch, still, goes_on) =
        switches.into_iter().find(|(switch, ..)| fs::exists(switch).unwrap()).expect("a freezer");
    for _ in 0..2 {
        fs::write(&switch, still).unwrap();
        support::wait_until("it goes on", || fs::read_to_string(&switch).unwrap().trim() == goes_on);
    }
}
