//! What a task's crashes have the machine's root do (KA6).

mod support;

use launch::TaskSpec;
use support::machine::{Machine, Root};
use support::{Task, root_script, script};

/// Tells its limit, before and after it asked for other ones, and whether a crash leaves anything.
const CRASH: &str = "import os, resource, tempfile
CORE = resource.RLIMIT_CORE
print(*resource.getrlimit(CORE))
for limit in (0, 1), (0, 0):
    resource.setrlimit(CORE, limit)
print(*resource.getrlimit(CORE))
try: print(*resource.prlimit(0, CORE, (0, 0)))
except PermissionError: print('not permitted')
files = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (99, files[1]))
print(resource.prlimit(0, resource.RLIMIT_NOFILE, (98, files[1]))[0], resource.getrlimit(resource.RLIMIT_NOFILE)[0])
os.chdir(tempfile.mkdtemp())
child = os.fork()
if child == 0: os.abort()
status = os.waitpid(child, 0)[1]
print(os.WTERMSIG(status), os.WCOREDUMP(status), *os.listdir())
";

/// A machine with this `core_pattern`, in a mount namespace alone.
fn machine(pattern: &str) -> Machine {
    let setup =
        format!("f=$(mktemp); printf '{pattern}' > $f; mount --bind $f /proc/sys/kernel/core_pattern; rm $f");
    Machine::new(Root::Shared, &setup)
}

fn crash(spec: &TaskSpec) -> TaskSpec {
    TaskSpec { argv: vec!["/usr/bin/python3".into(), "-c".into(), CRASH.into()], ..spec.clone() }
}

#[test]
fn ka06_no_task_has_root_start_programs_by_crashing() {
    let machine = machine("|/bin/false %%P");
    for spec in [script(""), root_script("")] {
        let done = Task::create(&crash(&spec)).run_on(&machine);
        assert_eq!(done.stdout, "1 1\n1 1\nnot permitted\n99 98\n6 False\n", "{done:?}");
    }
}

/// What a task writes itself where it is remains its own affair.
#[test]
fn ka06_a_core_file_of_a_tasks_own_stays_possible() {
    let machine = machine("core");
    let done = Task::create(&crash(&script(""))).run_on(&machine);
    assert!(done.stdout.ends_with("\n0 0\n0 0\n99 98\n6 False\n"), "{done:?}");
    let asks = "ulimit -Hc; ulimit -Sc $(ulimit -Hc); ulimit -Sc";
    let done = Task::create(&script(asks)).run_on(&machine);
    let lines: Vec<&str> = done.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{done:?}");
    assert_eq!(lines[0], lines[1], "{done:?}");
}
