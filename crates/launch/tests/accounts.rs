//! What the tasks of one account may use together, so that those of others have theirs (A12, I5), and whose limit it was.

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use launch::record::Source;
use launch::spec::{Limits, Owner, Together};
use launch::{Exit, Limit, TaskSpec};
use support::{RANGE, Task, TestDir, bind, root_script, run, script};

/// Accounts of this test alone.
fn owner(name: &str, memory_mib: Option<u64>, pids: Option<u64>) -> Owner {
    let key = format!("test-{}-{name}", std::process::id());
    Owner { key, account: None, limits: Together { memory_bytes: memory_mib.map(|mib| mib << 20), pids } }
}

/// A task that has the cgroups of an agent's.
fn of(owner: &Owner, text: &str) -> TaskSpec {
    let limits =
        Limits { memory_bytes: Some(4 << 30), pids: Some(2000), cpus: Some(2.0), ..Limits::default() };
    TaskSpec { limits, owner: Some(owner.clone()), ..script(text) }
}

fn python(spec: TaskSpec, text: &str) -> TaskSpec {
    TaskSpec { argv: vec!["/usr/bin/python3".into(), "-c".into(), text.into()], ..spec }
}

/// Where the machine has a cgroup of all tasks.
fn places() -> Vec<PathBuf> {
    let names = ["memory", "pids", "cpu", "unified", ""];
    let all = names.map(|name| Path::new("/sys/fs/cgroup").join(name).join("muster"));
    all.into_iter().filter(|dir| dir.is_dir()).collect()
}

fn of_account(owner: &Owner) -> Vec<PathBuf> {
    let name = format!("owner-{}", owner.key);
    places().into_iter().map(|all| all.join(&name)).filter(|dir| dir.is_dir()).collect()
}

fn started(spec: &TaskSpec, word: &str) -> Task {
    let task = Task::create(spec);
    assert!(task.start());
    task.wait_for(word);
    task
}

fn end(task: &Task) {
    task.shim().expect("alive").kill_now().expect("asked");
    task.wait();
}

#[test]
fn a12_one_accounts_tasks_leave_others_their_processes() {
    if !launch::probe().cgroup.pids {
        return;
    }
    // As much as it gets, by two tasks.
    let forks = "import os, time
n = 0
try:
    while n < 300:
        if os.fork() == 0:
            time.sleep(1000)
        n += 1
except OSError:
    pass
print('forked', n, flush=True)
time.sleep(1000)";
    let (bob, alice) = (owner("bob-p", None, Some(200)), owner("alice-p", None, Some(200)));
    let tasks = [forks, forks].map(|text| started(&python(of(&bob, ""), text), "forked"));
    let forked = |task: &Task| -> u64 {
        let said = task.output(Source::Stdout);
        said.trim().strip_prefix("forked ").expect("a number").parse().expect("a number")
    };
    let all: u64 = tasks.iter().map(forked).sum();
    assert!((100..200).contains(&all), "{all}");
    let done = run(&of(&alice, "for i in 1 2 3 4 5 6 7 8 9; do sleep 0.1 & done; wait; echo fine"));
    assert_eq!((done.stdout.as_str(), done.exit.code), ("fine\n", 0), "{done:?}");
    let shares = |owner: &Owner| {
        let files = ["cpu.shares", "cpu.weight"];
        let of = |dir: PathBuf| files.map(|file| fs::read_to_string(dir.join(file)).ok());
        of_account(owner).into_iter().flat_map(of).flatten().collect::<Vec<_>>()
    };
    // To the processor an account is as much as another, whatever it runs.
    let other = started(&of(&alice, "echo ready; exec sleep 1000"), "ready");
    assert!(!shares(&bob).is_empty());
    assert_eq!(shares(&bob), shares(&alice));
    end(&other);
    tasks.iter().for_each(end);
}

#[test]
fn a12_one_accounts_memory_is_not_anothers_end_and_who_ended_is_told_why() {
    if !launch::probe().cgroup.memory {
        return;
    }
    // Files in memory are no process's, so that the kernel ends others first: here those of the same account.
    let holds = |mib: u64| {
        format!(
            "import os, time
fd = os.memfd_create('x')
for n in range({mib}):
    os.write(fd, bytes(1 << 20))
print('ready', flush=True)
time.sleep(1000)"
        )
    };
    let (bob, alice) = (owner("bob-m", Some(192), None), owner("alice-m", Some(400), None));
    let first = started(&python(of(&bob, ""), &holds(150)), "ready");
    let others = started(
        &python(
            of(&alice, ""),
            "import time; x = b'x' * (200 << 20); print('ready', flush=True); time.sleep(1000)",
        ),
        "ready",
    );
    let done = run(&of(&bob, "exec tail /dev/zero"));
    assert_eq!((done.exit.limit, done.exit.signal), (Some(Limit::Memory), Some(9)), "{done:?}");
    assert_eq!(
        done.agent,
        "a process of the task was killed for want of memory, though it hadn't reached its own limit: the tasks of its \
         account (limit 192 MiB) ran out of it together (agent.account_limits.memory)\n"
    );
    // Its own limit is its own.
    let own = Limits { memory_bytes: Some(32 << 20), ..of(&alice, "").limits };
    let done = run(&TaskSpec { limits: own, ..of(&alice, "exec tail /dev/zero") });
    assert_eq!(done.agent, "the task ran out of memory (limit 32 MiB)\n", "{:?}", done.exit);
    for task in [first, others] {
        assert_eq!(task.exit(), None);
        end(&task);
        let exit = task.exit();
        assert_eq!(exit, Some(Exit { code: 137, signal: Some(9), killed: true, ..Exit::default() }));
    }
}

#[test]
fn a12_an_accounts_cgroup_comes_with_its_first_task_and_goes_with_its_last() {
    let found = launch::probe().cgroup;
    if !(found.memory && found.pids) {
        return;
    }
    let bob = owner("bob-l", Some(300), Some(500));
    let tasks = ["1", "2"].map(|_| started(&of(&bob, "echo ready; exec sleep 1000"), "ready"));
    let dirs = of_account(&bob);
    let read = |file: &str| dirs.iter().find_map(|dir| fs::read_to_string(dir.join(file)).ok());
    assert_eq!(read("pids.max").as_deref(), Some("500\n"), "{dirs:?}");
    let memory = read("memory.limit_in_bytes").or_else(|| read("memory.max"));
    assert_eq!(memory, Some(format!("{}\n", 300 << 20)), "{dirs:?}");
    end(&tasks[0]);
    assert_eq!(of_account(&bob), dirs);
    end(&tasks[1]);
    assert_eq!(of_account(&bob), Vec::<PathBuf>::new());
    // Many come and go at the same time, and none is without its limits.
    for _ in 0..5 {
        let tasks = [(); 4].map(|()| Task::create(&of(&bob, "cat /proc/self/cgroup | grep pids")));
        tasks.iter().for_each(|task| assert!(task.start()));
        for task in &tasks {
            task.wait();
            let done = task.outcome();
            assert_eq!((done.exit.code, done.agent.as_str()), (0, ""), "{done:?}");
            assert!(done.stdout.contains(&format!("/muster/owner-{}/muster-test-", bob.key)), "{done:?}");
        }
        assert_eq!(of_account(&bob), Vec::<PathBuf>::new());
    }
}

#[test]
fn a12_what_a_killed_shim_left_is_removed_also_where_an_earlier_version_made_it() {
    if !launch::probe().cgroup.pids {
        return;
    }
    let bob = owner("bob-r", None, None);
    for spec in [of(&bob, "true"), TaskSpec { owner: None, ..of(&bob, "true") }] {
        // The cgroup of all tasks is there from then on.
        assert_eq!(run(&spec).exit.code, 0);
        let task = Task::create(&spec);
        let name = format!("muster-{}", spec.task_id);
        let owners = spec.owner.as_ref().map(|owner| format!("owner-{}", owner.key)).unwrap_or_default();
        let left: Vec<_> = places().into_iter().map(|all| all.join(&owners).join(&name)).collect();
        for dir in &left {
            fs::create_dir_all(dir).expect("made");
        }
        launch::remove_task_dir(&task.task_dir).expect("removed");
        assert!(left.iter().all(|dir| !dir.exists()), "{left:?}");
        assert_eq!(of_account(&bob), Vec::<PathBuf>::new());
    }
}

/// One of two numbers of accounts, of this test alone; the other is the next. Their ids are above 2³¹, as most are.
fn two_numbers() -> u32 {
    launch::ACCOUNTS - 2 - std::process::id() % (launch::ACCOUNTS / 4) * 2
}

/// A task of root of the account that machines know by this number.
fn of_number(account: u32, text: &str) -> TaskSpec {
    let owner = Owner { account: Some(account), ..owner(&account.to_string(), None, None) };
    TaskSpec { owner: Some(owner), ..root_script(text) }
}

/// Root in the tasks of two accounts: what the kernel counts for each user, and files, are each one's own (F10, I11).
#[test]
fn a12_root_in_one_accounts_tasks_is_nobody_to_anothers() {
    let number = two_numbers();
    let of = of_number;
    let dir = TestDir::new();
    let shared = dir.dir("shared", 0o777, 0);
    let pipes = "import fcntl, os, sys, time
size = lambda: fcntl.fcntl(os.pipe()[0], 1032)
first = size()
for _ in range(int(sys.argv[1])):
    os.pipe()
print(first, size(), 'ready', flush=True)
if first != size():
    open('/mnt/x/mine', 'w').write('secret')
    os.chmod('/mnt/x/mine', 0o600)
    open('/mnt/x/ours', 'w').write('hello')
    time.sleep(1000)";
    let task = |account, count: &str| {
        let mut spec = of(account, "");
        spec.argv = ["/usr/bin/python3", "-c", pipes, count].map(str::to_owned).to_vec();
        spec.bind_mounts = vec![bind(&shared, "/mnt/x")];
        spec
    };
    let greedy = started(&task(number, "1100"), "ready");
    let said = greedy.output(Source::Stdout);
    assert!(
        said.starts_with("65536 ") && !said.starts_with("65536 65536"),
        "it has what a user may have: {said}"
    );
    let other = run(&task(number + 1, "0"));
    assert_eq!(other.stdout, "65536 65536 ready\n", "{other:?}");
    let mut reads = of(number + 1, "cat /mnt/x/ours; cat /mnt/x/mine");
    reads.bind_mounts = vec![bind(&shared, "/mnt/x")];
    let done = run(&reads);
    assert!(done.stdout == "hello" && done.stderr.contains("Permission denied"), "{done:?}");
    let meta = fs::metadata(shared.join("mine")).unwrap();
    assert!(meta.uid() > RANGE + 65_536 && meta.gid() == RANGE, "{meta:?}");
    end(&greedy);
}

/// README's directory for tasks without a link: what one account opens to the others is open, copied and moved with the usual
/// tools (KC3). It needs no setgid bit, which no task could pass on, for all such tasks have that group anyway.
#[test]
fn f10_a_directory_that_tasks_without_a_link_have_together_works_with_usual_tools() {
    let number = two_numbers();
    let dir = TestDir::new();
    let shared = dir.dir("shared", 0o775, 0);
    std::os::unix::fs::chown(&shared, None, Some(RANGE)).unwrap();
    let task = |account, text: &str| {
        let mut spec = of_number(account, text);
        spec.bind_mounts = vec![bind(&shared, "/mnt/s")];
        let done = run(&spec);
        assert_eq!((done.exit.code, done.stderr.as_str()), (0, ""), "{text}: {done:?}");
    };
    task(number, "set -e; cd /mnt/s; mkdir -p proj/deep; echo one >proj/deep/f; chmod -R g+rwX proj");
    let python = "import os, shutil, stat
os.chmod('/mnt/s/proj/mine', os.stat('/mnt/s/proj/mine').st_mode | stat.S_IWGRP)
shutil.copytree('/mnt/s/proj', '/tmp/p2')
shutil.move('/mnt/s/proj/mine', '/tmp/mine')";
    task(
        number + 1,
        &format!("set -e; mkdir /mnt/s/proj/mine; echo two >>/mnt/s/proj/deep/f; python3 -c \"{python}\""),
    );
    task(
        number + 1,
        "set -e; cp -a /mnt/s/proj /tmp/p3; tar -C /mnt/s -cf /tmp/p.tar proj; tar -C /tmp -xf /tmp/p.tar; umask 002; mkdir /mnt/s/open; echo x >/mnt/s/open/f",
    );
    task(number, "grep -q two /mnt/s/proj/deep/f && echo y >>/mnt/s/open/f");
    assert_eq!(fs::metadata(shared.join("open/f")).unwrap().gid(), RANGE);
}

/// A service's user in the tasks of two accounts is two users of the machine (T6), whose files are each one's own.
#[test]
fn f10_whoever_root_becomes_in_one_accounts_tasks_is_nobody_to_anothers() {
    let number = two_numbers();
    let dir = TestDir::new();
    let shared = dir.dir("shared", 0o1777, 0);
    let task = |account, text: &str| {
        let text = format!(
            "import os, socket, struct
def become(id):
    os.setgroups([]); os.setgid(id); os.setuid(id)
{text}"
        );
        let mut spec = python(of_number(account, ""), &text);
        spec.bind_mounts = vec![bind(&shared, "/mnt/x")];
        spec
    };
    let writes = "for id in (33, 1000, 4094, 65534):
    if os.fork() == 0:
        become(id)
        with open(f'/mnt/x/{id}', 'w') as file: file.write('secret')
        os.chmod(f'/mnt/x/{id}', 0o600)
        os._exit(0)
    assert os.wait()[1] == 0
print('fine')";
    let done = run(&task(number, writes));
    assert_eq!(done.stdout, "fine\n", "{done:?}");
    let first = RANGE + 65_536 + (1 << 22) + number * 4096;
    for (id, offset) in [(33, 33), (1000, 1000), (4094, 4094), (65_534, 4095)] {
        let meta = fs::metadata(shared.join(format!("{id}"))).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (first + offset, first + offset), "{id}");
    }
    let reads = "def attempt(what):
    try: return what()
    except OSError as e: return type(e).__name__
for id in (33, 1000, 4094, 65534):
    path = f'/mnt/x/{id}'
    if os.fork() == 0:
        become(id)
        got = [lambda: open(path).read(), lambda: open(path, 'a').close(), lambda: os.chmod(path, 0o777)]
        print(*[attempt(what) for what in got], flush=True)
        os._exit(0)
    os.wait()
print(attempt(lambda: open('/mnt/x/33').read()))";
    let refused = "PermissionError PermissionError PermissionError\n".repeat(4) + "PermissionError\n";
    let done = run(&task(number + 1, reads));
    assert_eq!(done.stdout, refused, "{done:?}");
    let done = run(&task(number, reads));
    assert_eq!(done.stdout, "secret None None\n".repeat(4) + "secret\n", "{done:?}");
}

/// What a Debian userland becomes and gives files to is there: apt's own user, `nobody`, system users, first people.
#[test]
fn f10_the_users_of_an_ordinary_userland_are_there_and_others_are_not() {
    let number = two_numbers();
    let text = "import os
open('f', 'w').close()
for id in (1, 42, 999, 1000, 4094, 65534):
    os.chown('f', id, id)
    if os.fork() == 0:
        os.setgroups([id]); os.setresgid(id, id, id); os.setresuid(id, id, id)
        assert (os.getuid(), os.getgid(), os.getgroups()) == (id, id, [id])
        assert os.stat(os.ttyname(os.openpty()[1])).st_uid == id
        os._exit(0)
    assert os.wait()[1] == 0, id
for id in (4095, 5000, 65533, 65535):
    for pair in ((id, -1), (-1, id)):
        try: os.chown('f', *pair)
        except OSError as e: print(e.strerror)
print(open('/proc/self/uid_map').read(), open('/proc/self/gid_map').read())";
    let done = run(&python(of_number(number, ""), text));
    let first = RANGE + 65_536 + (1 << 22) + number * 4096;
    let (users, nobody) = (format!("0 {first} 4095"), format!("65534 {} 1", first + 4095));
    let groups = format!("0 {RANGE} 1 1 {} 4094", first + 1);
    let words = format!("{}{users} {nobody} {groups} {nobody}", "Invalid argument ".repeat(8));
    assert_eq!(done.stdout.split_whitespace().collect::<Vec<_>>().join(" "), words, "{done:?}");
}
