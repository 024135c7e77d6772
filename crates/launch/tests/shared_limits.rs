//! What one task can't take from everybody: limits of the kernel that are counted for each user, or for the machine (A7,
//! A12); and who nobody becomes by what a task leaves behind (D5).

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use launch::TaskSpec;
use launch::spec::{Owner, Seccomp, Together};
use support::{ROOT, Task, TestDir, bind, own_script, root_script, run, script};

fn python(spec: TaskSpec, text: &str) -> TaskSpec {
    TaskSpec { argv: vec!["/usr/bin/python3".into(), "-c".into(), text.into()], ..spec }
}

/// Every way that there is to make a file that gives ids to who executes it.
const SET_IDS: &str = "import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *args):
    ctypes.set_errno(0)
    libc.syscall(number, *args)
    return errno.errorcode.get(ctypes.get_errno(), 'fine')
os.chdir(os.environ['PLACE'])
os.umask(0)
open('f', 'w').close()
fd = os.open('f', os.O_RDONLY)
here = ctypes.c_int(-100)
new, tmp = os.O_CREAT | os.O_WRONLY, os.O_TMPFILE | os.O_RDWR
how = (ctypes.c_uint64 * 3)(new, 0o4755, 0)
for bits in 0o4755, 0o2755, 0o6711:
    print('chmod', call(90, b'f', bits), call(91, fd, bits), call(268, here, b'f', bits), call(452, here, b'f', bits, 0))
    print('open', call(2, b'a', new, bits), call(257, here, b'b', new, bits), call(85, b'c', bits), call(437, here, b'd', how, 24))
    print('tmp', call(2, b'.', tmp, bits), call(257, here, b'.', tmp, bits), call(133, b'g', 0o100000 | bits, 0), call(259, here, b'h', 0o100000 | bits, 0))
    print('others', call(425, 1, how), call(0x40000000 | 90, b'f', bits), call(0x40000000 | 2, b'i', new, bits))
print('plain', call(90, b'f', 0o1755), call(257, here, b'j', new, 0o755), call(2, b'f', os.O_RDONLY, 0o6755), call(83, b'k', 0o755))
";

#[test]
fn d05_nobody_becomes_what_root_in_a_task_is() {
    if !cfg!(target_arch = "x86_64") {
        return;
    }
    let refused = "chmod EPERM EPERM EPERM EPERM\nopen EPERM EPERM EPERM ENOSYS\ntmp EPERM EPERM EPERM EPERM\n\
                   others ENOSYS ENOSYS ENOSYS\n";
    for (kind, uid, owner) in [(root_script as fn(&str) -> TaskSpec, 0, ROOT), (own_script, 5001, 5001)] {
        for seccomp in [Seccomp::Off, Seccomp::Namespaces, Seccomp::Default] {
            let dir = TestDir::new();
            let shared = dir.dir("shared", 0o1777, 0);
            let mut spec = python(TaskSpec { seccomp, ..kind("") }, SET_IDS);
            spec.bind_mounts = vec![bind(&shared, "/mnt/x")];
            spec.env = vec![("PLACE".into(), "/mnt/x".into())];
            let done = Task::create_for(&spec, uid).run();
            let expected = format!("{}plain fine fine fine fine\n", refused.repeat(3));
            assert_eq!(done.stdout, expected, "{uid} {seccomp:?}: {done:?}");
            for file in fs::read_dir(&shared).unwrap() {
                let file = file.unwrap().metadata().unwrap();
                assert_eq!((file.mode() & 0o6000, file.uid()), (0, owner));
            }
        }
    }
    // Who is a user of the machine's own may do with his files as he does outside.
    let done = run(&script("touch f; chmod 2711 f && stat -c %a f"));
    assert_eq!(done.stdout, "2711\n", "{done:?}");
}

#[test]
fn d05_nobody_becomes_what_root_in_a_task_is_by_32_bit_calls() {
    let dir = TestDir::new();
    // chmod("f", 06755) by the old way into the kernel, which has other numbers.
    let source = "int main(void) { int r; __asm__ volatile(\"int $0x80\" : \"=a\"(r) : \"a\"(15), \"b\"(\"f\"), \
                  \"c\"(06755) : \"memory\"); return r ? 1 : 0; }";
    let file = dir.file("f.c", source, 0o644);
    let program = dir.0.join("program");
    let built = Command::new("cc").args(["-static", "-no-pie", "-o"]).arg(&program).arg(&file).status();
    if !cfg!(target_arch = "x86_64") || !built.is_ok_and(|status| status.success()) {
        return;
    }
    let mut spec =
        TaskSpec { seccomp: Seccomp::Off, ..root_script("touch f; /mnt/program; echo $?; stat -c %a f") };
    spec.bind_mounts = vec![bind(&dir.0, "/mnt")];
    assert_eq!(run(&spec).stdout, "159\n644\n");
}

#[test]
fn d05_a_task_cannot_become_its_networks_helper() {
    let done = run(&python(root_script(""), "import os\nos.setuid(65534); print(os.getuid())"));
    assert_eq!(done.stdout, "65534\n", "{done:?}");
    for id in [4095, 4096, 65_533, 65_535] {
        let done = run(&python(root_script(""), &format!("import os\nos.setuid({id})")));
        assert!(done.stderr.contains("Invalid argument"), "{id}: {done:?}");
    }
}

/// Takes all that it gets, and says so.
const GREEDY: &str = "import ctypes, os, sys, time
libc = ctypes.CDLL(None, use_errno=True)
n = 0
while libc.inotify_init() >= 0 and n < 3000:
    n += 1
pids = 0
os.setgid(0) if os.getuid() == 0 else None
CLONE_NEWIPC, CLONE_NEWNET = 0x08000000, 0x40000000
kept = []
def take(flag, most):
    got = 0
    while got < most and libc.unshare(flag) == 0:
        kept.append(os.open('/proc/self/ns/' + ('ipc' if flag == CLONE_NEWIPC else 'net'), os.O_RDONLY))
        got += 1
    return got
rt = ctypes.CDLL('librt.so.1', use_errno=True)
queues = 0
while queues < 1000 and rt.mq_open(b'/q%d' % queues, os.O_CREAT | os.O_RDWR, 0o600, None) >= 0:
    queues += 1
print('queues', queues)
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, [40])
signals = 0
class Value(ctypes.Union): _fields_ = [('i', ctypes.c_int), ('p', ctypes.c_void_p)]
libc.sigqueue.argtypes = [ctypes.c_int, ctypes.c_int, Value]
while signals < 400000 and libc.sigqueue(os.getpid(), 40, Value(1)) == 0:
    signals += 1
print('signals', signals)
import resource
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
print('ipc', take(CLONE_NEWIPC, 5000))
try:
    open('/proc/sys/user/max_ipc_namespaces', 'w').write('100000')
    print('raised')
except OSError:
    pass
print('taken', n, flush=True)
time.sleep(1000)
";

/// The same things, a little of each.
const MODEST: &str = "import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
rt = ctypes.CDLL('librt.so.1', use_errno=True)
queue = rt.mq_open(b'/launch-test', os.O_CREAT | os.O_RDWR, 0o600, None)
rt.mq_unlink(b'/launch-test')
timer = ctypes.c_void_p()
print('inotify', libc.inotify_init() >= 0, 'queue', queue >= 0, 'timer', rt.timer_create(0, None, ctypes.byref(timer)) == 0,
      'ipc', libc.unshare(0x08000000) == 0)
";

#[test]
fn a07_ma10_an_account_uses_up_its_own_of_what_the_kernel_counts_by_user() {
    // Where its tasks may make namespaces; what they have by themselves is the same.
    let of = |account: u32| {
        let key = format!("test-{}-{account}", std::process::id());
        Some(Owner { key, account: Some(account), limits: Together::default() })
    };
    let root = || TaskSpec { seccomp: Seccomp::Namespaces, owner: of(1), ..root_script("") };
    let greedy = Task::create(&python(root(), GREEDY));
    assert!(greedy.start());
    greedy.wait_for("taken");
    let said = greedy.output(launch::record::Source::Stdout);
    assert!(!said.contains("raised"), "{said}");
    let number = |what: &str| -> u64 {
        let line = said.lines().find_map(|line| line.strip_prefix(what)).unwrap();
        line.trim().parse().unwrap()
    };
    // It got to the end of what it gets.
    let most = fs::read_to_string("/proc/sys/fs/inotify/max_user_instances").unwrap();
    assert!(number("taken") < 3000 && number("taken") <= most.trim().parse().unwrap(), "{said}");
    assert!((1..=1024).contains(&number("ipc")), "{said}");
    // Root's are there, and so are another account's. Its own tasks share them: a hundred of those watch no more than one.
    let flags = rustix::fs::inotify::CreateFlags::CLOEXEC;
    let ours: Vec<_> = (0..8).map(|_| rustix::fs::inotify::init(flags).expect("root's own")).collect();
    drop(ours);
    let modest = "inotify True queue True timer True ipc True\n";
    let outside = Command::new("python3").args(["-c", MODEST]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&outside.stdout), modest, "{outside:?} {said}");
    let done = run(&python(TaskSpec { owner: of(2), ..root() }, MODEST));
    assert_eq!(done.stdout, modest, "{done:?} {said}");
    let done = run(&python(root(), MODEST));
    assert!(done.stdout.starts_with("inotify False"), "{done:?} {said}");
    let done = run(&python(script(""), "import ctypes; print(ctypes.CDLL(None).inotify_init() >= 0)"));
    assert_eq!(done.stdout, "True\n", "{done:?}");
}

#[test]
fn a07_an_agent_without_root_keeps_most_of_its_users() {
    let text = "import ctypes, os
libc = ctypes.CDLL(None)
n = 0
while libc.inotify_init() >= 0 and n < 100000: n += 1
print(n, open('/proc/sys/user/max_ipc_namespaces').read().strip())
";
    let done = Task::create_for(&python(own_script(""), text), 5001).run();
    let most: u64 =
        fs::read_to_string("/proc/sys/fs/inotify/max_user_instances").unwrap().trim().parse().unwrap();
    assert_eq!(done.stdout, format!("{} 1024\n", most / 4), "{done:?}");
}

#[test]
fn a07_pseudo_terminals_are_not_all_one_tasks_nor_one_accounts() {
    let text = "import os\nn, kept = 0, []
try:
    while n < 4000:
        kept.append(os.openpty()); n += 1
except OSError:
    pass
print(n)";
    let limits = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)\n";
    for spec in [script(""), root_script("")] {
        let done = run(&python(spec, &format!("{limits}{text}")));
        assert_eq!(done.stdout, "32\n", "{done:?}");
    }
}
