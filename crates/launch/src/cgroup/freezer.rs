//! Tasks stand still while what they hold of a disk is counted (MD5, MD6): a count is a walk, and who is counted sees where it
//! is (inotify) and moves what he has out of its way, or into it again. Whoever counts, the agent or a shim, has a lock meanwhile
//! that no task sees; the shim sees to it that a task goes on whose counter was killed ([`watch`]).

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::controller::write_setting;
use crate::spec::TaskSpec;
use crate::task_dir::SPEC_FILE;

/// Where version 1 has its freezer, which is used where there is no version 2.
pub(super) const FREEZER: &str = "/sys/fs/cgroup/freezer";
/// Longest that a task stands still at once.
pub(crate) const LONGEST: Duration = Duration::from_secs(10);
/// How long processes have to stand still. One that waits in the kernel does so for as long as it does nothing else.
const SETTLING: Duration = Duration::from_millis(500);
/// Between two looks whether that comes, and whether a counter is done.
const TICK: Duration = Duration::from_millis(2);
/// Between two looks whether somebody has left the task standing still, …
const LOOK: Duration = Duration::from_secs(1);
/// … and after how many it goes on, whoever is at it.
const LOOKS: u32 = 15;

/// How a task's cgroup is told.
struct Freezer {
    switch: PathBuf,
    /// Still, and not.
    words: [&'static str; 2],
    /// What tells whether all stand still.
    state: PathBuf,
    is_still: &'static str,
}

impl Freezer {
    /// The task's, if it has one.
    fn of(spec: &TaskSpec) -> Option<Self> {
        let freezer = |dir: PathBuf| {
            let (v2, v1) = (dir.join("cgroup.freeze"), dir.join("freezer.state"));
            if v2.exists() {
                let state = dir.join("cgroup.events");
                return Some(Self { switch: v2, words: ["1", "0"], state, is_still: "frozen 1" });
            }
            let state = v1.clone();
            v1.exists().then_some(Self { switch: v1, words: ["FROZEN", "THAWED"], state, is_still: "FROZEN" })
        };
        super::dirs(spec).find_map(|(_, dir)| freezer(dir))
    }

    fn freeze(&self) -> bool {
        write_setting(&self.switch, self.words[0]).is_ok()
    }

    fn thaw(&self) {
        // The task has ended, or it works.
        let _ = write_setting(&self.switch, self.words[1]);
    }

    /// Whether it was told to.
    fn is_set(&self) -> bool {
        fs::read_to_string(&self.switch).is_ok_and(|text| text.trim_end() != self.words[1])
    }

    fn is_still(&self) -> bool {
        fs::read_to_string(&self.state).is_ok_and(|text| text.lines().any(|line| line == self.is_still))
    }
}

/// Tasks that stand still until this goes.
#[derive(Default)]
pub(crate) struct Still {
    tasks: Vec<(Freezer, File)>,
    begun: Option<Instant>,
}

impl Still {
    /// Has those tasks stand still that have a freezer; `None` if somebody else is at one of them and isn't done within
    /// `patience`.
    pub(crate) fn hold<'a>(
        tasks: impl Iterator<Item = (&'a Path, &'a TaskSpec)>,
        patience: Duration,
    ) -> Option<Self> {
        let until = Instant::now() + patience;
        let mut still = Self::default();
        for (task_dir, spec) in tasks {
            let Some(freezer) = Freezer::of(spec) else { continue };
            // It has gone.
            let Some(file) = lock_file(task_dir) else { continue };
            while !locks(&file) {
                if until <= Instant::now() {
                    return None;
                }
                pause();
            }
            still.tasks.push((freezer, file));
        }
        let begun = *still.begun.insert(Instant::now());
        still.tasks.retain(|(freezer, _)| freezer.freeze());
        while begun.elapsed() < SETTLING && !still.tasks.iter().all(|(freezer, _)| freezer.is_still()) {
            pause();
        }
        Some(still)
    }

    /// When they go on, if any stands still.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.begun.filter(|_| !self.tasks.is_empty()).map(|begun| begun + LONGEST)
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        for (freezer, _) in &self.tasks {
            freezer.thaw();
        }
    }
}

/// What of a task's whoever counts has a lock of.
fn lock_file(task_dir: &Path) -> Option<File> {
    File::options().write(true).open(task_dir.join(SPEC_FILE)).ok()
}

fn locks(file: &File) -> bool {
    // Where there are no locks, nobody is kept from it.
    flock(file, FlockOperation::NonBlockingLockExclusive) != Err(Errno::WOULDBLOCK)
}

fn pause() {
    let _ = poll(&mut [], Timespec::try_from(TICK).ok().as_ref());
}

/// Has the task go on whose counter has gone without, or takes too long, until nobody wants that any more (`ends` has ended).
pub(crate) fn watch(task_dir: &Path, spec: &TaskSpec, ends: &OwnedFd) {
    let (Some(freezer), Some(file)) = (Freezer::of(spec), lock_file(task_dir)) else { return };
    let look = Timespec::try_from(LOOK).ok();
    let mut looks = 0;
    while poll(&mut [PollFd::new(ends, PollFlags::IN)], look.as_ref()) == Ok(0) {
        if !freezer.is_set() {
            looks = 0;
            continue;
        }
        looks += 1;
        let alone = locks(&file);
        if alone || looks >= LOOKS {
            freezer.thaw();
        }
        if alone {
            let _ = flock(&file, FlockOperation::Unlock);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::super::controller::v2_root;
    use super::*;

    /// MD5: in both versions, where the machine has them.
    #[test]
    fn md05_a_task_stands_still_until_it_is_counted() {
        let has_v1 = Path::new(FREEZER).join("cgroup.procs").exists();
        let roots = v2_root().into_iter().chain(has_v1.then(|| FREEZER.into()));
        for (n, root) in roots.enumerate() {
            let spec: TaskSpec = serde_json::from_value(serde_json::json!({
                "task_id": format!("still-{}-{n}", std::process::id()), "argv": ["true"], "env": [], "work_dir": null,
                "bind_mounts": [], "identity": {"user": "root", "uid": 0, "group": "root", "gid": 0},
                "limits": {"memory_bytes": null, "pids": null, "cpus": null}, "shm_bytes": null, "masked": [],
                "mode": {"kind": "unprivileged"}, "bind_prefixes": null, "devices": []
            }))
            .unwrap();
            let place = std::env::temp_dir().join(&spec.task_id);
            let dir = super::super::below(&root, None, &spec.task_id);
            // Without root there is nothing to see.
            if fs::create_dir_all(&dir).is_err() {
                continue;
            }
            fs::create_dir(&place).unwrap();
            fs::write(place.join(SPEC_FILE), "").unwrap();
            let mut inside: Child = Command::new("sleep").arg("1000").spawn().unwrap();
            write_setting(&dir.join("cgroup.procs"), &inside.id().to_string()).unwrap();
            let hold = || Still::hold(std::iter::once((&*place, &spec)), Duration::ZERO);
            let freezer = Freezer::of(&spec).unwrap();
            let still = hold().unwrap();
            let is_still = (freezer.is_set(), freezer.is_still(), still.until().is_some(), hold().is_none());
            drop(still);
            let goes_on = (!freezer.is_set(), hold().is_some());
            inside.kill().unwrap();
            inside.wait().unwrap();
            super::super::remove(&spec.task_id, None);
            fs::remove_dir_all(&place).unwrap();
            assert_eq!((is_still, goes_on), ((true, true, true, true), (true, true)), "{}", root.display());
            assert!(!dir.exists());
        }
    }
}
