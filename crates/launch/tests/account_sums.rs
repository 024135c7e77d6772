//! What the tasks of one account have together of what no limit of the kernel's is about (I5, A12): a bound for each task
//! is none for an account.

mod support;

use launch::spec::{Limits, Owner, Together};
use launch::{Limit, TaskSpec};
use support::{Outcome, Task, own_script, run, script, wait_until};

fn python(account: &str, text: &str) -> TaskSpec {
    let key = format!("test-{}-{account}", std::process::id());
    let owner = Owner { key, account: None, limits: Together::default() };
    let limits = Limits { memory_bytes: Some(2 << 30), pids: Some(500), ..Limits::default() };
    let argv = vec!["/usr/bin/python3".into(), "-c".into(), text.into()];
    TaskSpec { argv, owner: Some(owner), limits, ..script("") }
}

/// Starts a task of another account and three of one, each when the one before has said that it has all. Exactly one of the
/// three is ended, for what they have together, and that is said.
fn one_of_three_gives_way(text: &str, told: &str) {
    let other = Task::create(&python("other", text));
    let tasks = [(); 3].map(|()| Task::create_beside(&other, &python("one", text)));
    for task in [&other].into_iter().chain(&tasks) {
        assert!(task.start());
        if task.task_dir != tasks[2].task_dir {
            task.wait_for("held");
        }
    }
    wait_until("one of them is ended", || tasks.iter().any(|task| task.exit().is_some()));
    let ended: Vec<&Task> = tasks.iter().filter(|task| task.exit().is_some()).collect();
    assert!(ended.len() == 1 && other.exit().is_none());
    let Outcome { exit, agent, .. } = ended[0].outcome();
    assert_eq!((exit.limit, exit.signal), (Some(Limit::Memory), Some(9)), "{agent}");
    assert!(agent.contains("the tasks of its account have") && agent.contains(told), "{agent}");
}

/// Reports about what was sent, 100 MiB of them. A task alone may have 256 MiB.
const REPORTS: &str = "import resource, socket, struct, time
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
kept, held = [], 0
report = [(socket.SOL_SOCKET, 37, struct.pack('I', 2 | 256))]
server = socket.create_server(('127.0.0.1', 0))
while held < 100 << 20:
    a = socket.create_connection(server.getsockname())
    b = server.accept()[0]
    a.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    a.setsockopt(6, socket.TCP_NODELAY, 1)
    for _ in range(200):
        size, room = struct.unpack('=2I', a.getsockopt(socket.SOL_SOCKET, 55, 36)[:8])
        if size + (1 << 17) > room: break
        a.sendmsg([bytes(32000)], report)
        b.recv(1 << 20)
    held += size
    kept.append(a)
    b.close()
print('held', flush=True)
time.sleep(1000)";

#[test]
fn a12_sockets_of_many_tasks_hold_no_more_unpaid_memory_than_those_of_one() {
    one_of_three_gives_way(REPORTS, "in their sockets that is in no limit");
}

/// 400 000 events; the kernel's memory of each is in no limit.
const EVENTS: &str = "import os, resource, time
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
each = min(most - 10, 19000)
for _ in range(400000 // each):
    if os.fork() == 0:
        for _ in range(each): os.eventfd(0)
        time.sleep(1000)
        os._exit(0)
print('held', flush=True)
time.sleep(1000)";

#[test]
fn a12_descriptors_of_many_tasks_are_bounded_for_their_account() {
    one_of_three_gives_way(EVENTS, "open files, timers, events and the like");
}

/// 15 000 locks in files, and some of what the kernel tells much about in the same place.
const LOCKS: &str = "import fcntl, os, select, time
files = [open(f'/tmp/{i}', 'w') for i in range(30)]
kept = [select.epoll() for _ in range(3)]
for file in files:
    for place in range(500): fcntl.lockf(file, fcntl.LOCK_EX, 1, 2 * place)
print('held', flush=True)
";

#[test]
fn md1_locks_of_files_of_many_tasks_are_bounded_for_their_account() {
    one_of_three_gives_way(&format!("{LOCKS}time.sleep(1000)"), "locks of files");
}

/// An agent without root isn't told how many the machine has. A task with few goes on, whoever else has many.
#[test]
fn md1_an_agent_without_root_counts_locks_as_well() {
    let many = LOCKS.replace("range(30)", "range(70)");
    let task = |text: String| {
        let argv = vec!["/usr/bin/python3".into(), "-c".into(), text];
        TaskSpec { argv, ..own_script("") }
    };
    let few = Task::create_for(&task(format!("{LOCKS}time.sleep(1000)")), 5001);
    assert!(few.start());
    few.wait_for("held");
    let done = Task::create_for(&task(format!("{many}time.sleep(1000)")), 5001).run();
    assert!(few.exit().is_none());
    assert_eq!((done.exit.limit, done.exit.signal), (Some(Limit::Memory), Some(9)), "{done:?}");
    assert!(done.agent.contains("locks of files"), "{done:?}");
}

/// Connections that are closed while the other side has them in a queue.
const CLOSES: &str = "import resource, socket, struct, time
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
def ending(): return int(open('/proc/net/sockstat').read().split(' orphan ')[1].split()[0])
servers = []
def close(count, fill):
    for i in range(count):
        if i % 4000 == 0:
            server = socket.socket()
            server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            server.bind(('127.0.0.1', 0))
            server.listen(4096)
            servers.append(server)
        a = socket.socket()
        if fill: a.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        try: a.setsockopt(6, socket.TCP_LINGER2, 120)
        except OSError as e: error = e.errno
        else: error = None
        a.connect(servers[-1].getsockname())
        a.setblocking(False)
        try:
            while fill: a.send(bytes(2000))
        except BlockingIOError: pass
        a.close()
    return error
";

/// KA2: the kernel has one number for all closed connections of the machine, and resets others' when it is reached.
#[test]
fn a05_closed_connections_of_a_task_are_not_all_that_the_machine_may_have() {
    let text = format!("{CLOSES}before = ending()\nprint(close(5000, False), ending() < before + 2000)");
    let done = run(&python("closes", &text));
    assert_eq!(done.stdout, "92 True\n", "{done:?}");
    let text = format!(
        "{CLOSES}print(close(300, True))\nprint('held', flush=True)\nclose(12000, True)\ntime.sleep(1000)"
    );
    let done = run(&python("fills", &text));
    assert_eq!((done.exit.limit, done.exit.signal), (Some(Limit::Memory), Some(9)), "{done:?}");
    assert!(done.agent.contains("closed TCP connections"), "{done:?}");
}
