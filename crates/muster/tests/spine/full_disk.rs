//! A small disk that the whole installation is on: what tasks print is there for a while at the agent and then at the
//! master (A4).

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{Muster, Setup, dir_for_all, eventually};

/// An installation on a disk of its own; the disk goes last.
struct OnDisk {
    muster: Muster,
    disk: Disk,
}

struct Disk {
    place: PathBuf,
    _dir: tempfile::TempDir,
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.place).status();
    }
}

impl OnDisk {
    fn up(size: &str) -> Self {
        Self::beside(size, 0)
    }

    /// Where others had so many bytes before.
    fn beside(size: &str, others: u64) -> Self {
        Self::set_up(size, others, Setup::default())
    }

    fn set_up(size: &str, others: u64, setup: Setup) -> Self {
        let dir = dir_for_all();
        let place = dir.path().join("disk");
        std::fs::create_dir(&place).expect("a directory");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size},mode=755"), "none"]).arg(&place);
        assert!(mount.status().expect("mount").success());
        let disk = Disk { place, _dir: dir };
        if others > 0 {
            let theirs = std::fs::File::create(disk.place.join("others")).expect("a file");
            rustix::fs::fallocate(&theirs, rustix::fs::FallocateFlags::empty(), 0, others).expect("space");
        }
        let muster = setup.data_dir(disk.place.join("data")).up();
        Self { muster, disk }
    }

    fn free(&self) -> u64 {
        self.disk.free()
    }
}

impl Disk {
    fn free(&self) -> u64 {
        let disk = rustix::fs::statvfs(&self.place).expect("mounted");
        disk.f_bavail * disk.f_frsize
    }
}

#[test]
fn a04_a_log_need_not_fit_twice_on_the_disk() {
    let there = OnDisk::up("120m");
    let me = there.muster.person("me");
    let id = me.detach("", "yes | head -c 60M; echo end");
    assert_eq!(me.wait_for_state(&id, "TERMINATED")["exitCode"], 0);
    let last = me.muster(&format!("command logs --tail 2 {id}")).exits(0);
    assert_eq!(last.out(), "end\n");
    eventually("the agent's copy goes", || {
        std::fs::read_dir(there.muster.data_dir().join("agent/tasks")).ok()?.next().is_none().then_some(())
    });
}

#[test]
fn a04_a_log_that_fits_nowhere_keeps_its_task_from_nothing() {
    // Where nobody gives way.
    let there = OnDisk::set_up("120m", 0, Setup::default().config("agent: {keep_free: none}"));
    let me = there.muster.person("me");
    let id = me.detach("", "yes | head -c 200M; echo end");
    eventually("a full disk", || (there.free() < 3 << 20).then_some(()));
    // Others run, and nobody is kept from ending it.
    me.muster("command run true").exits(0);
    let begun = Instant::now();
    me.muster(&format!("command kill {id}")).exits(0);
    me.wait_for_state(&id, "TERMINATED");
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    let log = me.muster(&format!("command logs --tail 3 {id}")).exits(0);
    let (log, said) = (log.out().to_owned(), log.err().to_owned());
    assert!(said.contains("bytes of this log are lost"), "{log} {said}");
    me.muster("command run true").exits(0);
}

/// KP1: one account's tasks, none of which reaches its own limit, on a disk that others have half filled.
#[test]
fn a04_who_takes_what_is_left_of_a_disk_keeps_nobody_from_starting() {
    let there = OnDisk::beside("160m", 80 << 20);
    let [greedy, other] = ["greedy", "other"].map(|name| there.muster.person(name));
    let fill = "while :; do head -c 65536 /dev/zero >> ~/f; done 2> /dev/null";
    let ids = [0, 1].map(|_| greedy.detach("--slots 0", fill));
    for _ in 0..20 {
        let ran = other.muster("command run --slots 0 echo x").exits(0);
        assert_eq!(ran.out(), "x\n");
    }
    for id in ids {
        let over = greedy.wait_for_state(&id, "TERMINATED");
        assert!(over["exitStatus"].as_str().is_some_and(|why| why.contains("out of disk space")), "{over}");
        let log = greedy.muster(&format!("command logs {id}")).exits(0);
        assert!(log.err().contains("agent.keep_free"), "{}", log.err());
    }
}

/// V1: what an account has printed is its as much as what it has written, whether or not its tasks still run.
#[test]
fn a04_who_has_printed_most_gives_way_and_nobody_else() {
    let there = OnDisk::up("200m");
    let [printer, innocent] = ["printer", "innocent"].map(|name| there.muster.user(name));
    let kept =
        innocent.detach("--slots 0", "head -c 50M /dev/zero > /tmp/f; echo up; exec tail -f /dev/null");
    eventually("it has what it needs", || {
        innocent.muster(&format!("command logs {kept}")).out().contains("up").then_some(())
    });
    let [oldest, second] = [0, 1].map(|_| {
        let id = printer.detach("--slots 0", "yes | head -c 15M; echo end");
        printer.wait_for_state(&id, "TERMINATED");
        id
    });
    let last = printer.muster(&format!("command logs --tail 2 {oldest}")).exits(0);
    assert_eq!(last.out(), "end\n");
    let ids = [0; 4].map(|_| printer.detach("--slots 0", "yes | head -c 60M; exec tail -f /dev/null"));

    // The logs of what is over go first. Whoever reads one later is told.
    for id in [&oldest, &second] {
        // Who is reading it has what came before.
        eventually("the log goes", || {
            let log = printer.muster(&format!("command logs --tail 3 {id}")).exits(0);
            log.err().contains("this log was removed at 20").then_some(())
        });
        for line in ["command logs", "command logs -f", "command logs --tail 5"] {
            let log = printer.muster(&format!("{line} {id}"));
            let said = log.err().matches("this log was removed at 20").count();
            assert_eq!((log.out().len(), said), (0, 1), "{}", log.err());
        }
        assert_eq!(printer.wait_for_state(id, "TERMINATED")["exitCode"], 0);
    }
    // Then what runs of it, as far as it takes.
    let ended = eventually("one of them is ended", || {
        let over = |id: &&String| {
            let is = printer.json(&format!("command describe {id}"));
            is["exitStatus"].as_str().is_some_and(|why| why.contains("out of disk space"))
        };
        ids.iter().find(over)
    });
    eventually("there is room", || (there.free() >= 8 << 20).then_some(()));
    innocent.muster("command run --slots 0 echo x").exits(0);
    assert_eq!(innocent.json(&format!("command describe {kept}"))["state"], "STATE_RUNNING");
    // Who begins to read just when it is removed may get nothing.
    eventually("its log says why, or that it went", || {
        let log = printer.muster(&format!("command logs --tail 5 {ended}")).exits(0);
        (log.err().contains("agent.keep_free") || log.err().contains("removed at")).then_some(())
    });

    let audit = there.muster.person("admin").muster("-u admin audit export").exits(0);
    let noted =
        |id: &str| audit.out().lines().any(|line| line.contains("task.remove_log") && line.contains(id));
    assert!(noted(&oldest) && noted(&second));
    there.muster.person("admin").muster("-u admin audit verify").exits(0);
    for id in ids.iter().chain([&kept]) {
        there.muster.person("admin").muster(&format!("-u admin command kill {id}")).exits(0);
    }
}
