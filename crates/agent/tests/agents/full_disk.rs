//! Tasks that fill the agent's disk (A4).

use std::path::{Path, PathBuf};
use std::process::Command;

use agent::{Bound, TaskLimits};
use api::agent::{Start, ToAgent};
use domain::task::Limit;

use crate::support::{FakeMaster, Seen, TestAgent, emptied, shell, soon};

/// A small file system that goes with the test.
struct Disk(PathBuf);

impl Disk {
    fn mount(path: &Path) -> Self {
        std::fs::create_dir(path).expect("a directory");
        let options = "size=96m,nr_inodes=1500";
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "none"]).arg(path).status();
        assert!(mounted.expect("mount").success());
        Self(path.to_owned())
    }

    /// What others than tasks have on it: so many bytes, in so many files.
    fn take(&self, bytes: u64, files: usize) {
        let others = self.0.join("others");
        std::fs::create_dir(&others).expect("a directory");
        for n in 0..files {
            std::fs::File::create(others.join(n.to_string())).expect("a file");
        }
        let first = std::fs::File::create(others.join("0")).expect("a file");
        rustix::fs::fallocate(&first, rustix::fs::FallocateFlags::empty(), 0, bytes).expect("space");
    }

    /// Bytes.
    fn free(&self) -> u64 {
        let disk = rustix::fs::statvfs(&self.0).expect("mounted");
        disk.f_bavail * disk.f_frsize
    }

    async fn full(&self) {
        let full = async {
            while rustix::fs::statvfs(&self.0).expect("mounted").f_bavail > 100 {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        soon("a full disk", full).await;
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Until it stands on the disk what others than accounts have there.
async fn noted(agent: &TestAgent) {
    let known = agent.options.data_dir.join("tasks.room");
    let noted = async {
        while !known.exists() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    soon("what others have is noted", noted).await;
}

/// An agent whose directory is on a small disk; the disk goes last.
async fn on_small_disk(master: &FakeMaster, limits: TaskLimits, keep_free: Bound<u64>) -> (TestAgent, Disk) {
    beside(master, limits, keep_free, |_| ()).await
}

/// The same, where others have something on it already.
async fn beside(
    master: &FakeMaster,
    limits: TaskLimits,
    keep_free: Bound<u64>,
    others: impl FnOnce(&Disk),
) -> (TestAgent, Disk) {
    let mut agent = TestAgent::new(&master.url(), Some(master.invitation()));
    let disk = Disk::mount(&agent.scratch().join("disk"));
    others(&disk);
    agent.options.data_dir = disk.0.join("agent");
    agent.options.limits = limits;
    agent.options.keep_free = keep_free;
    agent.start();
    agent.wait_registered().await;
    (agent, disk)
}

#[tokio::test]
async fn a04_a_full_disk_keeps_nobody_from_starting_and_ending() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let master = FakeMaster::start().await;
    let limits = TaskLimits { scratch: Bound::Unlimited, ..TaskLimits::default() };
    let (agent, disk) = on_small_disk(&master, limits, Bound::Unlimited).await;
    let other = master.send_start(&shell("echo up; exec tail -f /dev/null"));
    master.until("output", |seen| (!seen.log_of(other).is_empty()).then_some(())).await;
    let filler = master.send_start(&shell("cat /dev/zero > /tmp/f; exec tail -f /dev/null"));
    disk.full().await;
    for _ in 0..5 {
        let next = master.send_start(&shell("echo next; exit 3"));
        let exit = master.exit(next).await;
        assert_eq!((exit.code, exit.failure), (3, None));
    }
    for id in [other, filler] {
        master.send(ToAgent::Kill { allocation: id, now: false });
        let exit = master.exit(id).await;
        assert_eq!((exit.killed, exit.signal), (true, Some(15)));
    }
    // It has healed.
    emptied(&agent.options.data_dir.join("tasks")).await;
    let next = master.send_start(&shell("head -c 40000000 /dev/zero > /tmp/f"));
    assert_eq!(master.exit(next).await.code, 0);
}

#[tokio::test]
async fn a04_who_fills_the_disk_without_end_is_ended() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let master = FakeMaster::start().await;
    let (_agent, _disk) = on_small_disk(&master, TaskLimits::default(), Bound::Usual).await;
    let greedy = master.send_start(&shell("while :; do cat /dev/zero >> /var/tmp/f; done 2> /dev/null"));
    let exit = master.exit(greedy).await;
    assert_eq!((exit.limit, exit.killed), (Some(Limit::Scratch), false));
    let next = master.send_start(&shell("head -c 30000000 /dev/zero > /tmp/f"));
    assert_eq!(master.exit(next).await.code, 0);
}

/// A task of an account's.
fn of(owner: u32, script: &str) -> Start {
    Start { owner: Some(owner), ..shell(script) }
}

/// All of these of one account are ended for others' sake, and twenty starts of another account aren't kept waiting for it.
async fn others_start_all_the_same(master: &FakeMaster, greedy: &[&str]) {
    let other =
        master.send_start(&of(2, "head -c 3000000 /dev/zero > /tmp/f; echo up; exec tail -f /dev/null"));
    master.until("output", |seen| (!seen.log_of(other).is_empty()).then_some(())).await;
    let greedy: Vec<_> = greedy.iter().map(|script| master.send_start(&of(1, script))).collect();
    for _ in 0..20 {
        let next = master.send_start(&of(2, "echo next > /tmp/f && cat /tmp/f; exit 3"));
        let exit = master.exit(next).await;
        assert_eq!((exit.code, exit.failure), (3, None));
    }
    for id in greedy {
        let exit = master.exit(id).await;
        assert_eq!((exit.limit, exit.killed), (Some(Limit::Scratch), false));
        let told = |seen: &Seen| String::from_utf8_lossy(seen.log_of(id)).contains("agent.keep_free");
        master.until("the reason", |seen| told(seen).then_some(())).await;
    }
    master.look(|seen| assert!(seen.exits.iter().all(|(id, ..)| *id != other), "who holds little stays"));
    // A shim outlives its agent, and so would this one the test.
    master.send(ToAgent::Kill { allocation: other, now: true });
    assert!(master.exit(other).await.killed);
}

/// KP1: less than the limit of each of them, and all that others have left of the disk.
#[tokio::test]
async fn a04_who_takes_what_is_left_of_a_disk_is_ended_for_others() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let master = FakeMaster::start().await;
    let others = |disk: &Disk| disk.take(50 << 20, 1);
    let (_agent, _disk) = beside(&master, TaskLimits::default(), Bound::Usual, others).await;
    // What is given back to others is what it waits for.
    let writes = "while :; do head -c 65536 /dev/zero >> /tmp/g; done 2> /dev/null";
    others_start_all_the_same(&master, &[&format!("cat /dev/zero > /tmp/f; {writes}")]).await;
    // A name it need not have, and several share it.
    let nameless = "exec 3> /tmp/f; rm /tmp/f; while :; do head -c 65536 /dev/zero >&3; done 2> /dev/null";
    others_start_all_the_same(&master, &[nameless, writes, writes]).await;
}

/// T2: somebody fills a bind mount on that disk, and nobody's end makes room for long.
#[tokio::test]
async fn a04_nobody_is_ended_for_what_others_fill() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let master = FakeMaster::start().await;
    let (agent, disk) = on_small_disk(&master, TaskLimits::default(), Bound::Usual).await;
    noted(&agent).await;
    let innocent =
        master.send_start(&of(2, "head -c 20000000 /dev/zero > /tmp/f; echo up; exec tail -f /dev/null"));
    master.until("output", |seen| (!seen.log_of(innocent).is_empty()).then_some(())).await;
    disk.take(disk.free(), 1);
    // Each waits for room as long as a start does.
    for _ in 0..3 {
        let next = master.send_start(&of(2, "exit 3"));
        assert_eq!(master.exit(next).await.code, 3);
    }
    master.look(|seen| assert!(seen.exits.iter().all(|(id, ..)| *id != innocent)));
    master.send(ToAgent::Kill { allocation: innocent, now: true });
    assert!(master.exit(innocent).await.killed);
}

/// KA1: accounts hold more than half of what the disk has become fuller by, and others have filled it all the same; while the
/// agent is there, or while it is away.
#[tokio::test]
async fn ka01_nobody_is_ended_for_what_others_fill_however_much_accounts_hold() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    for away in [false, true] {
        let master = FakeMaster::start().await;
        let (mut agent, disk) = on_small_disk(&master, TaskLimits::default(), Bound::Usual).await;
        noted(&agent).await;
        let innocent =
            master.send_start(&of(2, "head -c 40000000 /dev/zero > /tmp/f; echo up; exec tail -f /dev/null"));
        master.until("output", |seen| (!seen.log_of(innocent).is_empty()).then_some(())).await;
        if away {
            agent.shut_down().await.expect("no trouble");
        }
        disk.take(disk.free(), 1);
        if away {
            agent.start();
            agent.wait_registered().await;
        }
        // Each waits for room as long as a start does.
        for _ in 0..3 {
            let next = master.send_start(&of(2, "exit 3"));
            assert_eq!(master.exit(next).await.code, 3);
        }
        master.look(|seen| assert!(seen.exits.iter().all(|(id, ..)| *id != innocent), "{away}"));
        master.send(ToAgent::Kill { allocation: innocent, now: true });
        assert!(master.exit(innocent).await.killed);
    }
}

#[tokio::test]
async fn a04_who_takes_what_is_left_of_a_disks_files_is_ended_for_others() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let master = FakeMaster::start().await;
    let limits = TaskLimits { scratch_files: Bound::At(1200), ..TaskLimits::default() };
    let (_agent, _disk) = beside(&master, limits, Bound::Usual, |disk| disk.take(1, 500)).await;
    let files = "n=0; while :; do n=$((n + 1)); true > /tmp/$n; done 2> /dev/null";
    others_start_all_the_same(&master, &[files]).await;
}

#[tokio::test]
async fn a04_an_end_is_told_before_a_log_that_the_master_has_no_space_for() {
    let master = FakeMaster::start().await;
    master.change(|seen| seen.full = true);
    let _agent = TestAgent::registered(&master).await;
    let id = master.send_start(&shell("head -c 9000000 /dev/zero; exec tail -f /dev/null"));
    master.until("a piece", |seen| (!seen.pieces.is_empty()).then_some(())).await;
    master.send(ToAgent::Kill { allocation: id, now: false });
    assert!(master.exit(id).await.killed);
    master.look(|seen| {
        assert!(seen.log_of(id).is_empty());
        assert!(seen.exits.iter().all(|(_, _, bytes)| *bytes > 0), "it says how much there is");
    });
    // There is space again: the log comes by itself, and then the end once more.
    master.change(|seen| seen.full = false);
    let whole = master.until("the log", |seen| {
        let (_, _, bytes) = seen.exits.last()?;
        (seen.log_of(id).len() as u64 == *bytes).then_some(*bytes)
    });
    assert!(whole.await > 0);
}

/// V1: what a task has printed is its own as much as what it has written, as long as it is here.
#[tokio::test]
async fn a04_who_fills_a_disk_by_printing_is_ended_for_others() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let master = FakeMaster::start().await;
    master.change(|seen| seen.full = true);
    let (_agent, _disk) = on_small_disk(&master, TaskLimits::default(), Bound::Usual).await;
    let innocent = master.send_start(&of(2, "head -c 30M /dev/zero > /tmp/f; exec tail -f /dev/null"));
    let first = master.send_start(&of(1, "yes"));
    let exit = master.exit(first).await;
    assert_eq!((exit.limit, exit.killed), (Some(Limit::Scratch), false));
    master.look(|seen| assert!(seen.exits.iter().all(|(id, ..)| *id != innocent), "who holds less stays"));
    // Others' starts are served, however many print.
    let printers = [0; 4].map(|_| master.send_start(&of(1, "yes")));
    for _ in 0..5 {
        let next = master.send_start(&of(2, "exit 3"));
        assert_eq!(master.exit(next).await.code, 3);
    }
    for id in printers.into_iter().chain([innocent]) {
        master.send(ToAgent::Kill { allocation: id, now: true });
        master.exit(id).await;
    }
}
