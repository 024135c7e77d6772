//! No task makes namespaces of its own (A14): what is in them the kernel counts for the whole machine, or for nobody. All
//! that starts threads and processes works as before.

mod support;

use std::process::Command;

use launch::TaskSpec;
use launch::spec::Seccomp;
use support::{Task, TestDir, bind, own_script, root_script, run, script};

fn python(spec: TaskSpec, text: &str) -> TaskSpec {
    TaskSpec { argv: vec!["/usr/bin/python3".into(), "-c".into(), text.into()], ..spec }
}

/// Asks for each kind in every way there is.
const ASKS: &str = "import ctypes, errno, os, platform, struct
libc = ctypes.CDLL(None, use_errno=True)
CLONE, CLONE3, UNSHARE, SETNS = {'x86_64': (56, 435, 272, 308), 'aarch64': (220, 435, 97, 268)}[platform.machine()]
def ask(*args):
    ctypes.set_errno(0)
    pid = libc.syscall(*(ctypes.c_ulong(a) if isinstance(a, int) else a for a in args))
    if pid == 0 and args[0] in (CLONE, CLONE3): os._exit(0)
    if pid > 0: os.waitpid(pid, 0)
    return errno.errorcode.get(ctypes.get_errno(), 'fine')
kinds = [0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000]
print('clone', {ask(CLONE, kind | 17, 0, 0, 0, 0) for kind in kinds}, {ask(CLONE, 0x50000000 | 17, 0, 0, 0, 0)})
print('clone3', {ask(CLONE3, struct.pack('11Q', kind, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0), 88) for kind in kinds + [0]})
print('setns', {ask(SETNS, os.open('/proc/self/ns/' + kind, os.O_RDONLY), 0) for kind in ('net', 'mnt', 'user')},
      {ask(SETNS, os.pidfd_open(os.getpid()), 0x40000000)})
print('unshare', {ask(UNSHARE, kind) for kind in kinds + [0x80, 0x50000000]})
print('fine', ask(CLONE, 17, 0, 0, 0, 0), ask(UNSHARE, 0x400), ask(UNSHARE, 0x200))
";

#[test]
fn a14_a_task_makes_no_namespaces_of_its_own() {
    if !cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
        return;
    }
    for (spec, uid) in [(script(""), 0), (root_script(""), 0), (own_script(""), 5001)] {
        let done = Task::create_for(&python(spec.clone(), ASKS), uid).run();
        let refused =
            "clone {'EPERM'} {'EPERM'}\nclone3 {'ENOSYS'}\nsetns {'EPERM'} {'EPERM'}\nunshare {'EPERM'}\n";
        assert_eq!(done.stdout, format!("{refused}fine fine fine fine\n"), "{uid} {done:?}");
        // Where the administrator says so, it does.
        let text = "unshare -Un true && unshare -Um true && echo made";
        let argv = vec!["/bin/sh".into(), "-c".into(), text.into()];
        for (seccomp, says) in
            [(Seccomp::Default, ""), (Seccomp::Namespaces, "made\n"), (Seccomp::Off, "made\n")]
        {
            let done = Task::create_for(&TaskSpec { argv: argv.clone(), seccomp, ..spec.clone() }, uid).run();
            assert_eq!(done.stdout, says, "{seccomp:?} {uid} {done:?}");
        }
    }
}

/// G3: `max=` of a task's own terminals is that mount's alone.
#[test]
fn a07_a_task_mounts_no_pseudo_terminals_besides_its_own() {
    let text = "import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
os.mkdir('/tmp/p')
print(libc.unshare(0x20000), libc.mount(b'devpts', b'/tmp/p', b'devpts', 0, b'ptmxmode=0666'))
try: os.open('/tmp/p/ptmx', os.O_RDWR)
except FileNotFoundError: print('none')
";
    for spec in [script(""), root_script("")] {
        let done = run(&python(spec, text));
        assert_eq!(done.stdout, "-1 -1\nnone\n", "{done:?}");
    }
    // Nor where it may make namespaces, but in one: its own mounts are not its user's.
    let text = text.replace("libc.unshare(0x20000)", "-1");
    for seccomp in [Seccomp::Namespaces, Seccomp::Off] {
        let done = run(&python(TaskSpec { seccomp, ..root_script("") }, &text));
        assert_eq!(done.stdout, "-1 -1\nnone\n", "{done:?}");
    }
}

/// Threads and processes in all the ways of Python.
const STARTS: &str = "import concurrent.futures, multiprocessing, os, subprocess, threading
def work(n): return n * n
if __name__ == '__main__':
    for method in 'fork', 'spawn', 'forkserver':
        with multiprocessing.get_context(method).Pool(2) as pool: print(method, pool.map(work, range(3)))
    with concurrent.futures.ThreadPoolExecutor(8) as pool: print(sum(pool.map(work, range(100))))
    print(subprocess.run(['echo', 'ran'], capture_output=True, text=True, close_fds=False).stdout.strip(),
          subprocess.run('echo shell | cat', shell=True, capture_output=True, text=True, start_new_session=True).stdout.strip())
    os.waitpid(os.posix_spawn('/bin/echo', ['echo', 'spawned'], os.environ), 0)
    print(os.popen('echo popen').read().strip(), os.system('true'), flush=True)
";

#[test]
fn a14_python_and_bash_start_threads_and_processes() {
    let dir = TestDir::new();
    dir.file("starts.py", STARTS, 0o644);
    let text = "python3 -W ignore /mnt/starts.py && bash -c 'echo $(echo sub) | cat <(echo process) -; (sleep 0.01 & wait); \
                coproc cat; echo done >&${COPROC[1]}; read x <&${COPROC[0]}; echo $x'";
    for (mut spec, uid) in [(script(text), 0), (root_script(text), 0), (own_script(text), 5001)] {
        spec.bind_mounts = vec![bind(&dir.0, "/mnt")];
        let done = Task::create_for(&spec, uid).run();
        let said = "fork [0, 1, 4]\nspawn [0, 1, 4]\nforkserver [0, 1, 4]\n328350\nran shell\nspawned\npopen 0\n\
                    process\nsub\ndone\n";
        let sorted = |text: &str| {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(sorted(&done.stdout), sorted(said), "{uid} {done:?}");
    }
}

#[test]
fn a14_node_starts_threads_and_processes() {
    if !Command::new("node").arg("--version").output().is_ok_and(|version| version.status.success()) {
        return;
    }
    let text = "const { Worker } = require('worker_threads'), child = require('child_process');
console.log(child.execSync('echo child').toString().trim());
child.spawn(process.execPath, ['-e', 'console.log(1)'], { stdio: 'inherit' }).on('exit', () =>
  new Worker('console.log(2)', { eval: true }).on('exit', code => console.log(code)));";
    let done = run(&TaskSpec { argv: vec!["node".into(), "-e".into(), text.into()], ..script("") });
    assert_eq!(done.stdout, "child\n1\n2\n0\n", "{done:?}");
}

#[test]
fn a14_a_static_program_starts_threads_and_processes() {
    let dir = TestDir::new();
    let source = r#"#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
extern char **environ;
static void *run(void *at) { *(int *)at = 7; return 0; }
int main(void) {
    pthread_t thread; int n = 0; pid_t pid; char *argv[] = {"true", 0};
    if (pthread_create(&thread, 0, run, &n) || pthread_join(thread, 0)) return 1;
    if (posix_spawn(&pid, "/bin/true", 0, 0, argv, environ) || waitpid(pid, 0, 0) != pid) return 2;
    printf("%d %d\n", n, system("true"));
    return 0;
}
"#;
    let file = dir.file("f.c", source, 0o644);
    let program = dir.0.join("program");
    let built = Command::new("cc").args(["-static", "-pthread", "-o"]).arg(&program).arg(&file).status();
    if !built.is_ok_and(|status| status.success()) {
        return;
    }
    let mut spec = script("/mnt/program");
    spec.bind_mounts = vec![bind(&dir.0, "/mnt")];
    let done = run(&spec);
    assert_eq!(done.stdout, "7 0\n", "{done:?}");
}
