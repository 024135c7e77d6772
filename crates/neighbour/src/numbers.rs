//! What is open in a process that is left out (`held`): by the numbers of files and mounts in `/proc/PID/fdinfo`, for which
//! no kernel waits, neither for a process that starts a program nor for who serves the files. Numbers don't tell what words
//! are carried, but who has something in common with whom: so nobody makes himself invisible by being slow. Only of an epoll
//! whose owner keeps it busy not even that can be asked (MJ4), nor can it be told beforehand what a descriptor is: then its
//! owner's processes are known to nobody, and whoever may be related to them isn't judged.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _};
use std::os::unix::net::UnixDatagram;

use rustix::fs::{MemfdFlags, fstat, makedev, memfd_create};

use crate::doubt::Doubt;
use crate::held::{What, ask_what};
use crate::scan::{End, Open};
use crate::shared::Key;

/// The terminals of a file system of theirs begin with this inode.
const FIRST_TERMINAL: u64 = 3;

/// What mounts are, by number: who serves a file system chooses the numbers of its files, but not of its mount.
#[derive(Debug)]
pub(crate) struct Mounts {
    pipes: u64,
    sockets: u64,
    /// Where memory is that has a descriptor, and the device that it is on.
    memory: (u64, u64),
    /// The others that we see, and which device is there.
    others: Vec<(u64, u64)>,
}

/// What is open.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) open: Vec<Open>,
    /// Files, pipes with a name too.
    pub(crate) files: Vec<Key>,
}

impl Mounts {
    /// Those of this process.
    ///
    /// # Errors
    /// When one of each kind can't be made, or `/proc` doesn't say where it is.
    pub(crate) fn read() -> io::Result<Self> {
        let (pipe, _other) = io::pipe()?;
        let memory = memfd_create(c"neighbour", MemfdFlags::CLOEXEC)?;
        let others = fs::read_to_string("/proc/self/mountinfo")?;
        Ok(Self {
            pipes: mount_of(&pipe)?,
            sockets: mount_of(&UnixDatagram::unbound()?)?,
            memory: (mount_of(&memory)?, fstat(&memory)?.st_dev),
            others: others.lines().filter_map(mount).collect(),
        })
    }

    fn device(&self, mount: u64) -> Option<u64> {
        let mut all = std::iter::once(&self.memory).chain(&self.others);
        all.find(|(number, _)| *number == mount).map(|(_, device)| *device)
    }

    /// What a process has open, of at most `most` descriptors, where the machine's terminals are that device's.
    ///
    /// # Errors
    /// When the process makes even that wait.
    pub(crate) fn known(&self, process: u32, most: usize, terminals: Option<u64>) -> Result<Known, Doubt> {
        let numbers = || fs::read_dir(format!("/proc/{process}/fdinfo"));
        let mut known = Known::default();
        let Ok(numbers) = ask_what(process, What::Numbers, numbers)? else { return Ok(known) };
        let numbers = numbers.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        for number in numbers.take(most) {
            let info = || File::open(format!("/proc/{process}/fdinfo/{number}")).and_then(io::read_to_string);
            // Closed by now.
            let Ok(info) = ask_what(process, What::Numbers, info)? else { continue };
            let (Some(inode), Some(mount)) = (field(&info, "ino:"), field(&info, "mnt_id:")) else {
                continue;
            };
            let end = match self.device(mount) {
                _ if field(&info, "tty-index:").is_some() => End::Maker,
                _ if mount == self.pipes => End::Pipe(inode),
                _ if mount == self.sockets => End::Socket(inode),
                Some(device) if terminals == Some(device) && inode >= FIRST_TERMINAL => {
                    End::Terminal(u32::try_from(inode - FIRST_TERMINAL).unwrap_or(u32::MAX))
                }
                Some(device) => {
                    known.files.push((device, inode));
                    continue;
                }
                None => continue,
            };
            known.open.push(Open { number, end });
        }
        Ok(known)
    }
}

fn field(info: &str, name: &str) -> Option<u64> {
    info.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

fn mount_of(file: &impl AsFd) -> io::Result<u64> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_fd().as_raw_fd()))?;
    field(&info, "mnt_id:").ok_or_else(|| io::Error::other("no mount is told"))
}

/// `ID PARENT MAJOR:MINOR …`
fn mount(line: &str) -> Option<(u64, u64)> {
    let mut fields = line.split(' ');
    let number = fields.next()?.parse().ok()?;
    let (major, minor) = fields.nth(1)?.split_once(':')?;
    Some((number, makedev(major.parse().ok()?, minor.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a03_r15_what_is_open_is_known_by_numbers_too() {
        let inode = |of: &dyn AsFd| fstat(of.as_fd()).expect("open");
        let (pipe, _other) = io::pipe().expect("a pipe");
        let socket = UnixDatagram::unbound().expect("a socket");
        let file = tempfile::tempfile().expect("a file");
        let memory = memfd_create(c"x", MemfdFlags::CLOEXEC).expect("memory");
        let mounts = Mounts::read().expect("readable");
        let known = mounts.known(std::process::id(), usize::MAX, None).expect("it doesn't wait");
        for end in [End::Pipe(inode(&pipe).st_ino), End::Socket(inode(&socket).st_ino)] {
            assert!(known.open.iter().any(|open| open.end == end), "{end:?} in {known:?}");
        }
        for file in [inode(&file), inode(&memory)] {
            assert!(known.files.contains(&(file.st_dev, file.st_ino)), "{file:?} in {known:?}");
        }
    }
}
