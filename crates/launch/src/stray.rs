//! Shims of which their task's directory knows nothing (KP2): an older copy of it was put in its place, or it was taken away,
//! as when a back-up is restored, or it was copied elsewhere while they ran, as to a bigger disk. They are found by what they
//! were started with, so no cgroups are needed, and told from all else by what only they can be: processes of this one's own
//! user, among the same processes and below the same root, that have open what was the lock of their task's directory and
//! isn't the one that lies there now. One that has no lock yet is just being started. Whose they are is for the agent to say,
//! for the path that they were started with is only where the directory was then.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::exit::{Exit, NEW_FILE, unfinished};
use crate::handle::{Shim, stat_field};
use crate::spec::is_task_id;
use crate::task_dir::{LOCK_FILE, LOG_FILE};

/// What the kernel puts behind the name of a file that has none any more.
const DELETED: &[u8] = b" (deleted)";

/// A shim, and with it a task, that its directory knows nothing of. What it writes to is held open.
#[derive(Debug)]
pub struct Stray {
    /// The name of the task's directory.
    pub task_id: String,
    /// The directory that it was started for, by the path that led there then.
    pub started_for: PathBuf,
    /// Where the directory is now that it does write to, if that still has a name.
    pub moved_to: Option<PathBuf>,
    shim: Shim,
    log: Option<File>,
    exit: Option<File>,
}

/// All shims that aren't at work in `tasks`, an absolute path without links: those of which a directory there knows nothing,
/// and other agents'.
///
/// # Errors
/// When `/proc` can't be read.
pub fn strays(tasks: &Path) -> io::Result<Vec<Stray>> {
    let here = Here::look()?;
    let entries = fs::read_dir("/proc")?.flatten();
    let processes = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    Ok(processes.filter_map(|pid| here.stray(pid, tasks)).collect())
}

impl Stray {
    /// Its shim, and nothing else of it.
    #[must_use]
    pub fn into_shim(self) -> Shim {
        self.shim
    }

    /// To ask it to end, and to wait for that.
    #[must_use]
    pub fn shim(&self) -> &Shim {
        &self.shim
    }

    /// How the task ended, once its shim has; `None` when that got no further.
    #[must_use]
    pub fn exit(&self) -> Option<Exit> {
        let mut bytes = Vec::new();
        let mut file = self.exit.as_ref()?;
        file.seek(SeekFrom::Start(0)).and_then(|_| io::copy(&mut file, &mut bytes)).ok()?;
        unfinished(&bytes)
    }

    /// Puts what the task printed in place of the log in `task_dir`, with its holes.
    ///
    /// # Errors
    /// What the file systems say.
    pub fn save_log(&self, task_dir: &Path) -> io::Result<()> {
        let Some(mut from) = self.log.as_ref() else { return Err(io::ErrorKind::NotFound.into()) };
        let temporary = task_dir.join("log.new");
        let mut to = File::create(&temporary)?;
        to.set_len(from.metadata()?.len())?;
        match rustix::fs::seek(from, rustix::fs::SeekFrom::Data(0)) {
            Ok(data) => {
                to.seek(SeekFrom::Start(data))?;
                io::copy(&mut from, &mut to)?;
            }
            // There is nothing but a hole.
            Err(Errno::NXIO) => {}
            Err(e) => return Err(e.into()),
        }
        fs::rename(temporary, task_dir.join(LOG_FILE))
    }
}

/// What a shim of this machine's and this user's shares with this process.
struct Here {
    uid: u32,
    processes: PathBuf,
    root: (u64, u64),
}

impl Here {
    fn look() -> io::Result<Self> {
        let uid = rustix::process::geteuid().as_raw();
        Ok(Self { uid, processes: fs::read_link("/proc/self/ns/pid")?, root: id(Path::new("/"))? })
    }

    fn stray(&self, pid: i32, tasks: &Path) -> Option<Stray> {
        let process = PathBuf::from(format!("/proc/{pid}"));
        let (started_for, task_id) = started_for(&process)?;
        // The descriptor first, the questions second: then they are about the process that it names.
        let shim = Shim::of(pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?);
        if !self.has(&process) || stat_field(pid.unsigned_abs(), 3).ok()? != u64::from(pid.unsigned_abs()) {
            return None;
        }
        let open = open_files(&process);
        let (lock, descriptor) =
            open.iter().find(|(name, _)| name.file_name() == Some(LOCK_FILE.as_ref()))?;
        let task_dir = tasks.join(&task_id);
        let known = id(&task_dir.join(LOCK_FILE)).ok();
        // A file system that gives one file several numbers doesn't make every task a stray.
        if known == Some(id(descriptor).ok()?) || !matches!(Shim::open(&task_dir), Ok(None)) {
            return None;
        }
        let dir = lock.parent()?;
        let file = |name: &str| {
            let found = open.iter().find(|(path, _)| *path == dir.join(name))?;
            File::open(&found.1).ok()
        };
        let (log, exit) = (file(LOG_FILE), file(NEW_FILE));
        let is_there = id(lock).ok() == id(descriptor).ok();
        let moved_to = is_there.then(|| dir.to_owned());
        let lives = !shim.has_exited().ok()?;
        lives.then_some(Stray { task_id, started_for, moved_to, shim, log, exit })
    }

    fn has(&self, process: &Path) -> bool {
        let status = fs::read_to_string(process.join("status")).unwrap_or_default();
        let uids = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
        let mut uids = uids.split_ascii_whitespace().map(|uid| uid.parse() == Ok(self.uid));
        uids.next() == Some(true)
            && uids.all(|same| same)
            && fs::read_link(process.join("ns/pid")).is_ok_and(|processes| processes == self.processes)
            && id(&process.join("root")).is_ok_and(|root| root == self.root)
    }
}

/// The directory that a process was started for as a shim, and its name.
fn started_for(process: &Path) -> Option<(PathBuf, String)> {
    let line = fs::read(process.join("cmdline")).ok()?;
    let mut words = line.split(|byte| *byte == 0).skip(1);
    if words.next() != Some(b"shim") {
        return None;
    }
    let dir = Path::new(std::ffi::OsStr::from_bytes(words.next()?));
    let name = dir.file_name()?.to_str()?;
    (dir.is_absolute() && is_task_id(name)).then(|| (dir.to_owned(), name.to_owned()))
}

/// What a process has open, by the names that it has or had, and the ways to it.
fn open_files(process: &Path) -> Vec<(PathBuf, PathBuf)> {
    let entries = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    let named = entries.filter_map(|entry| {
        let name = fs::read_link(entry.path()).ok()?;
        let bytes = name.as_os_str().as_bytes();
        let bytes = bytes.strip_suffix(DELETED).unwrap_or(bytes);
        Some((PathBuf::from(std::ffi::OsStr::from_bytes(bytes)), entry.path()))
    });
    named.collect()
}

fn id(path: &Path) -> io::Result<(u64, u64)> {
    let meta = fs::metadata(path)?;
    Ok((meta.dev(), meta.ino()))
}
