//! No task puts programs of its own into the kernel (A14): the memory for those is one number for the machine (T1). And no
//! start of an agent with root's rights needs what others can use up of it (F10).

mod support;

use std::fs;
use std::process::Command;

use launch::TaskSpec;
use launch::spec::Seccomp;
use support::{Task, TestDir, bind, own_script, root_script, run, script};

fn python(spec: TaskSpec, text: &str) -> TaskSpec {
    TaskSpec { argv: vec!["/usr/bin/python3".into(), "-c".into(), text.into()], ..spec }
}

/// Every way that there is without rights, and what lies beside it.
const WAYS: &str = "import ctypes, errno, platform, socket, struct
libc = ctypes.CDLL(None, use_errno=True)
SECCOMP, PRCTL, SETSOCKOPT = {'x86_64': (317, 157, 54), 'aarch64': (277, 167, 208)}[platform.machine()]
allow = ctypes.create_string_buffer(struct.pack('HBBI', 6, 0, 0, 0x7fff0000))
program = struct.pack('HxxxxxxQ', 1, ctypes.addressof(allow))
def call(*args):
    ctypes.set_errno(0)
    libc.syscall(*(ctypes.c_ulong(a) if isinstance(a, int) else a for a in args))
    return errno.errorcode.get(ctypes.get_errno(), 'fine')
high = 1 << 32
print('calls', {call(SECCOMP, 1, flags, program) for flags in (0, 1, 2, 4)}, call(SECCOMP, high | 1, 0, program),
      call(PRCTL, 22, 2, program, 0, 0), call(PRCTL, high | 22, 2, program, 0, 0))
attach = set()
for family, kind in (socket.AF_UNIX, socket.SOCK_DGRAM), (socket.AF_INET, socket.SOCK_DGRAM), (socket.AF_INET, socket.SOCK_STREAM), \\
                    (socket.AF_INET6, socket.SOCK_DGRAM), (socket.AF_NETLINK, socket.SOCK_RAW):
    s = socket.socket(family, kind)
    for option in 50, 51, 52: attach.add(call(SETSOCKOPT, s.fileno(), 1, option, program, len(program)))
    attach.add(call(SETSOCKOPT, s.fileno(), high | 1, high | 50, program, len(program)))
    s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
print('sockets', *sorted(attach))
nothing = ctypes.create_string_buffer(struct.pack('HBBI', 6, 0, 0, 0))
program = struct.pack('HxxxxxxQ', 1, ctypes.addressof(nothing))
for level in 1, high | 1:
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    done = call(SETSOCKOPT, b.fileno(), level, 26, program, len(program))
    try: a.send(b'x'), print('reader', done, b.recv(1, socket.MSG_DONTWAIT))
    except OSError: print('reader', done, 'filtered')
print('asks', call(SECCOMP, 2, 0, struct.pack('I', 0x7fff0000)), call(PRCTL, 21, 0, 0, 0, 0), call(PRCTL, 15, b'name'))
";

#[test]
fn a14_a_task_puts_no_programs_into_the_kernel() {
    if !cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
        return;
    }
    for (spec, uid) in [(script(""), 0), (root_script(""), 0), (own_script(""), 5001)] {
        let done = Task::create_for(&python(spec.clone(), WAYS), uid).run();
        let refused = "calls {'EINVAL'} EINVAL EINVAL EINVAL\nsockets ENOPROTOOPT\nreader fine b'x'\nreader fine b'x'\n\
                       asks fine fine fine\n";
        assert_eq!(done.stdout, refused, "{uid} {done:?}");
        // Where the administrator says so, it does; what still fails the kernel has looked at.
        for seccomp in [Seccomp::Filters, Seccomp::Namespaces, Seccomp::Off] {
            let task = Task::create_for(&python(TaskSpec { seccomp, ..spec.clone() }, WAYS), uid);
            let done = task.run();
            assert!(done.stdout.contains("'fine'"), "{seccomp:?} {uid} {done:?}");
            assert!(done.stdout.contains("} fine fine fine\n"), "{seccomp:?} {uid} {done:?}");
            assert!(
                done.stdout.contains("reader fine filtered\nreader fine filtered\n"),
                "{seccomp:?} {uid} {done:?}"
            );
            assert!(!done.stdout.contains("ENOPROTOOPT"), "{seccomp:?} {uid} {done:?}");
        }
    }
}

/// The same calls have other numbers for 32-bit programs, and for those with short pointers.
#[test]
fn a14_a_task_puts_no_programs_into_the_kernel_by_other_calls() {
    let dir = TestDir::new();
    let source = "#include <errno.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <unistd.h>\n#include <sys/syscall.h>\n
        int main(int n, char **v) {
            long number = strtol(v[1], 0, 0);
            if (number & 0x40000000) return syscall(number, 1, 26, 0, 0, 0) == -1 && errno == ENOSYS ? 3 : 0;
            int r; __asm__ volatile(\"int $0x80\" : \"=a\"(r) : \"a\"((int)number), \"b\"(1), \"c\"(0), \"d\"(0) : \"memory\");
            return 0; }";
    let file = dir.file("p.c", source, 0o644);
    let built = Command::new("cc").args(["-static", "-o"]).arg(dir.0.join("p")).arg(&file).status();
    if !cfg!(target_arch = "x86_64") || !built.is_ok_and(|status| status.success()) {
        return;
    }
    // seccomp, prctl, setsockopt and socketcall; then those with short pointers.
    let text =
        "for n in 354 172 366 102 0x4000013d 0x4000009d 0x4000021d; do /mnt/p $n; echo -n \"$? \"; done";
    for mut spec in [script(text), root_script(text)] {
        spec.bind_mounts = vec![bind(&dir.0, "/mnt")];
        let done = run(&spec);
        assert_eq!(done.stdout, "159 159 159 159 3 3 3 ", "{done:?}");
    }
}

/// T1: who gives up root's rights first may get none of the kernel's memory for programs. One that has them isn't asked. So
/// the filter is there before anything of the task's is looked at, and what is still to be done goes on.
#[test]
fn f10_the_filter_of_a_task_comes_before_its_launcher_gives_up_rights() {
    let state = "grep -E '^(Seccomp|CapEff|CapPrm|CapBnd|NoNewPrivs)' launched | tr -s '\\t ' ' '";
    for spec in [script(state), root_script(state)] {
        for seccomp in [Seccomp::Default, Seccomp::Filters, Seccomp::Namespaces] {
            let task = Task::create(&TaskSpec { seccomp, ..spec.clone() });
            fs::write(task.task_dir.join("context.tar.gz"), "launched").unwrap();
            let done = task.run();
            assert!(done.stdout.contains("NoNewPrivs: 1\nSeccomp: 2\nSeccomp_filters: 1\n"), "{done:?}");
            // And what looks at the task's things has no rights besides.
            if spec.identity.uid != 0 {
                let none = "0".repeat(16);
                let none = format!("CapPrm: {none}\nCapEff: {none}\nCapBnd: {none}\n");
                assert!(done.stdout.contains(&none), "{done:?}");
            }
        }
    }
}

/// The same, seen call by call, where there is a program to see it.
#[test]
fn f10_the_first_that_the_process_of_a_command_gives_up_is_not_its_rights() {
    let calls = "trace=seccomp,capset,setresuid,setuid,unshare,execve";
    for spec in [script("true"), root_script("true")] {
        let task = Task::create(&spec);
        let trace = task.dir.0.join("trace");
        let strace = ["strace", "-f", "-qq", "-e", calls, "-o"];
        if Command::new("strace").arg("-V").output().is_err() {
            return;
        }
        let way: Vec<&str> = strace.into_iter().chain(trace.to_str()).collect();
        assert!(task.start_by(&way));
        task.wait();
        assert_eq!(task.exit().expect("exit.json").code, 0, "{:?}", task.outcome());
        let trace = fs::read_to_string(trace).unwrap();
        let filters = trace.lines().filter(|line| line.contains(" seccomp("));
        let [filter] = filters.collect::<Vec<_>>()[..] else { panic!("one filter, not: {trace}") };
        let pid = filter.split(' ').next().unwrap();
        let of_command = trace.lines().filter(|line| line.split(' ').next() == Some(pid));
        assert_eq!(of_command.clone().next(), Some(filter), "{trace}");
        assert!(of_command.clone().any(|line| line.contains(" setresuid(")), "{trace}");
        assert!(of_command.clone().any(|line| line.contains(" execve(")), "{trace}");
    }
}
