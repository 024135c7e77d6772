//! The last word on what a task sees: in its finished root no file system of the kernel's shows, and nothing of the
//! machine's `/run` and `/dev`, but what was put there for it (A1).
//!
//! A path isn't asked: whoever owns a directory above a mount moves it between two looks. The finished root's own mounts
//! are, which nobody else changes, by the kernel's numbers. What must not show is covered, at its own root; what can't be ends
//! the start, hidden or not. Where the launcher is root there is hardly anything to cover: [`super::leave_out`] was before.

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, StatxAttributes, StatxFlags, fstat, openat2, statx,
};
use rustix::io::Errno;

use super::mask::{AFRESH, ATTRS, SYSTEM_FILE_SYSTEMS, out_of_reach};
use super::table::{Mount, Table, mount_id};
use super::{Root, clone_fd};
use crate::failure::{Explain, Failure};
use crate::sys::mount::{NODEV, NOSUID, new_fs};
use crate::sys::mounts;

/// Where the file system of the seals hangs until the root is entered.
pub(super) const SEALS: &str = ".muster-seals";
/// How often what was moved away meanwhile is looked for again.
const TRIES: usize = 20;
/// What of the new root is made for each task, with all that is mounted there.
const MADE: [&str; 3] = ["proc", "sys", "dev"];

/// What must not show, and how it is covered.
#[derive(Debug, Default)]
pub(super) struct Seals {
    /// The machine's file systems in memory at `/run` and `/dev`, with what of them is mounted there.
    afresh: Vec<(String, PathBuf)>,
    /// Regular files of those, which tell nothing: a resolver's configuration.
    harmless: HashSet<(String, PathBuf)>,
    /// Mounts with the numbers of bind mounts that the administrator allows from `/run`.
    allowed: HashSet<u64>,
    /// Numbers of mounts that the task's user can't get to, where that is the launcher's, too.
    unreachable: HashSet<u64>,
    cover: Option<Cover>,
    /// File systems of those that were made before anything was cloned.
    earlier: HashSet<String>,
}

/// A directory and a file, both empty, on a file system that has nothing else: a mount of it is a seal.
#[derive(Debug)]
struct Cover {
    device: String,
    directory: OwnedFd,
    file: OwnedFd,
}

impl Seals {
    /// Knows the machine's own system by its table.
    pub(super) fn look_for(&mut self, table: &Table) {
        let mounts = AFRESH.iter().flat_map(|path| table.in_memory(Path::new(path)));
        self.afresh = mounts.map(|mount| (mount.device.clone(), mount.root.clone())).collect();
    }

    /// A bind mount from the machine's `/run` may show that, though nothing of the kernel's.
    pub(super) fn allow(&mut self, mount: BorrowedFd<'_>) {
        self.allowed.extend(mount_id(mount));
    }

    /// A seal, attached somewhere in what is cloned later.
    pub(super) fn remember(&mut self, seal: BorrowedFd<'_>) -> rustix::io::Result<()> {
        self.earlier.insert(device_of(seal)?);
        Ok(())
    }

    /// Whether something was covered, so that there is a directory to put away.
    pub(super) fn used(&self) -> bool {
        self.cover.is_some()
    }

    /// Whether a mount is of the machine's own system, wherever it is.
    pub(super) fn concern(&self, mount: &Mount) -> bool {
        SYSTEM_FILE_SYSTEMS.contains(&mount.kind.as_str()) || self.is_afresh(mount)
    }

    fn is_afresh(&self, mount: &Mount) -> bool {
        let shows =
            |(device, root): &(String, PathBuf)| *device == mount.device && mount.root.starts_with(root);
        self.afresh.iter().any(shows) && !self.harmless.contains(&(mount.device.clone(), mount.root.clone()))
    }

    fn is_seal(&self, mount: &Mount) -> bool {
        let device = &mount.device;
        self.earlier.contains(device) || self.cover.as_ref().is_some_and(|cover| cover.device == *device)
    }
}

impl Root<'_> {
    /// Covers what must not show, until nothing is left.
    ///
    /// # Errors
    /// What can't be covered, in one sentence with the remedy.
    pub(super) fn seal(&mut self) -> Result<(), Failure> {
        let mut last = String::new();
        for _ in 0..TRIES {
            let table = Table::read().explain(|| "can't read the mount table".into())?;
            let open = self.unsealed(&table)?;
            let hidden = if open.is_empty() { self.hidden(&table)? } else { None };
            if open.is_empty() && hidden.is_none() {
                return Ok(());
            }
            if let Some(kind) = hidden {
                last = format!("one to which no path leads for now ({kind})");
            }
            for mount in open {
                if let Err(why) = self.cover(mount) {
                    last = format!("{} ({}): {why}", mount.point.display(), mount.kind);
                }
            }
        }
        Err(Failure::machine(format!(
            "can't hide a mount of the machine's own system from the task, {last}; unmount it on the machine, or bind a \
             directory that doesn't hold it"
        )))
    }

    /// The mounts of the new root that must not show and do.
    fn unsealed<'t>(&self, table: &'t Table) -> Result<Vec<&'t Mount>, Failure> {
        let what = || "can't look at the root of the task".to_owned();
        let by_id: HashMap<u64, &'t Mount> = table.mounts().iter().map(|mount| (mount.id, mount)).collect();
        let top = mount_id(self.fd()).ok_or_else(|| Failure::machine(what()))?;
        let mut made = HashSet::new();
        for name in MADE {
            let fd = match self.open(Path::new(name), OFlags::PATH | OFlags::NOFOLLOW) {
                // Not yet.
                Err(Errno::NOENT) => continue,
                other => other.explain(what)?,
            };
            // Where a task has none of its own, nothing is mounted.
            made.extend(mount_id(fd.as_fd()).filter(|id| *id != top));
        }
        let sealed: HashSet<u64> =
            table.mounts().iter().filter(|m| self.seals.is_seal(m)).map(|m| m.parent).collect();
        // A mount of the new root and all that it is mounted on; none for what isn't the task's.
        let chain = |mount: &'t Mount| {
            let mut chain: Vec<&'t Mount> = vec![mount];
            loop {
                let at = *chain.last()?;
                let above = *by_id.get(&at.parent).filter(|above| above.id != at.id)?;
                if above.id == top {
                    return Some(chain);
                }
                chain.push(above);
            }
        };
        let shows = |mount: &&'t Mount| {
            let system = SYSTEM_FILE_SYSTEMS.contains(&mount.kind.as_str());
            if !system && !self.seals.is_afresh(mount) {
                return false;
            }
            let Some(chain) = chain(mount) else { return false };
            !chain.iter().enumerate().any(|(i, at)| {
                made.contains(&at.id)
                    || sealed.contains(&at.id)
                    || self.seals.unreachable.contains(&at.id)
                    || (!system && self.seals.allowed.contains(&at.id))
                    || is_covered(table, at, i.checked_sub(1).map(|i| chain[i].id))
            })
        };
        Ok(table.mounts().iter().filter(shows).collect())
    }

    /// The kind of a mount of the new root that must not show, and that a table leaves out: its directory is outside of what
    /// is shown of its file system, until it is moved there. Kernels before 6.8 don't tell.
    fn hidden(&self, table: &Table) -> Result<Option<String>, Failure> {
        let what = || "can't look at the root of the task".to_owned();
        let Some(top) = mounts::unique_id(self.fd()) else { return Ok(None) };
        let top_in_table = mount_id(self.fd()).ok_or_else(|| Failure::machine(what()))?;
        let all = mounts::below(top).explain(what)?;
        if all.len() == table.count_below(top_in_table) {
            return Ok(None);
        }
        let all: Vec<Mount> = all.into_iter().filter_map(mounts::describe).map(Mount::from).collect();
        let sealed = |mount: &Mount| all.iter().any(|on| on.parent == mount.id && self.seals.is_seal(on));
        let mut left_out = all.iter().filter(|mount| table.mount(mount.id).is_none() && !sealed(mount));
        Ok(left_out.find(|mount| self.seals.concern(mount)).map(|mount| mount.kind.clone()))
    }

    /// Puts a seal on a mount.
    fn cover(&mut self, mount: &Mount) -> Result<(), Failure> {
        let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let target = match openat2(CWD, &mount.point, flags, Mode::empty(), resolve) {
            Err(Errno::ACCESS) => {
                let below =
                    mount.point.strip_prefix(&self.path).map_err(|e| Failure::machine(e.to_string()))?;
                if out_of_reach(self, self.fd(), below) {
                    self.seals.unreachable.insert(mount.id);
                    return Ok(());
                }
                return Err(Failure::machine("permission denied"));
            }
            other => other.map_err(says)?,
        };
        if mount_id(target.as_fd()) != Some(mount.id) {
            return Err(Failure::machine("another mount is in the way"));
        }
        let found = statx(&target, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS);
        let found = found.map_err(says)?;
        if !found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
            return Err(Failure::machine("it was moved"));
        }
        let kind = FileType::from_raw_mode(found.stx_mode.into());
        if kind == FileType::RegularFile && !SYSTEM_FILE_SYSTEMS.contains(&mount.kind.as_str()) {
            self.seals.harmless.insert((mount.device.clone(), mount.root.clone()));
            return Ok(());
        }
        let cover = self.make_cover()?;
        let seal = if kind == FileType::Directory { &cover.directory } else { &cover.file };
        let seal = clone_fd(seal.as_fd(), false, ATTRS).map_err(says)?;
        crate::sys::mount::attach(seal.as_fd(), target.as_fd()).map_err(says)
    }

    fn make_cover(&mut self) -> Result<&Cover, Failure> {
        if self.seals.cover.is_none() {
            let what = || "can't make what hides the machine's mounts".to_owned();
            self.mkdir(SEALS, 0o700)?;
            let fs = new_fs("tmpfs", &[("mode", "0755"), ("size", "16k")], NOSUID | NODEV).explain(what)?;
            self.attach_at(fs.as_fd(), SEALS)?;
            let device = device_of(fs.as_fd()).explain(what)?;
            self.mkdir(&format!("{SEALS}/d"), 0o755)?;
            let directory = self.open(Path::new(&format!("{SEALS}/d")), OFlags::PATH).explain(what)?;
            let file = self.touch(&format!("{SEALS}/f"))?.into();
            self.seals.cover = Some(Cover { device, directory, file });
        }
        self.seals.cover.as_ref().ok_or_else(|| Failure::machine(String::new()))
    }
}

/// The file system of an open file, as a table has it.
/// What the kernel says of one mount; what was being done is said by [`Root::seal`].
fn says(error: impl Into<std::io::Error>) -> Failure {
    Failure::machine(error.into().to_string())
}

fn device_of(file: BorrowedFd<'_>) -> rustix::io::Result<String> {
    let device = fstat(file)?.st_dev;
    Ok(format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device)))
}

/// Whether another mount lies on this one itself, which isn't the one that is looked at (`on`). One on a directory above
/// hides it only as long as nobody moves a directory between the two.
fn is_covered(table: &Table, mount: &Mount, on: Option<u64>) -> bool {
    table.mounts().iter().any(|other| Some(other.id) != on && other.lies_on(mount))
}
