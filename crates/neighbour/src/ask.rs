//! All that is asked about what another process chose: its files, its memory, its program. Each of these questions may have
//! to wait for somebody (see [`held`](crate::held)), and there are no others in this crate. Only `/proc/PID` itself,
//! `status`, `uid_map` and `cgroup` are answered by the kernel whatever the process does.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use rustix::fs::{AtFlags, CWD, FileType, StatxFlags, makedev, statx};

use crate::doubt::Doubt;
use crate::held::{self, What, ask, ask_what};

/// What a file is, by what the kernel has in memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct File {
    pub(crate) kind: FileType,
    /// How many names it has.
    pub(crate) names: u32,
    pub(crate) owner: u32,
    pub(crate) device: u64,
    pub(crate) inode: u64,
    /// Where it is mounted, by number; older kernels don't say.
    mount: Option<u64>,
}

/// What a link of `/proc` leads to. Who serves that file (FUSE, NFS) isn't asked.
fn file(link: &str) -> io::Result<File> {
    let flags = AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT;
    let mask = StatxFlags::TYPE | StatxFlags::NLINK | StatxFlags::INO | StatxFlags::UID;
    let mask = mask | StatxFlags::MNT_ID;
    let said = statx(CWD, link, flags, mask)?;
    Ok(File {
        kind: FileType::from_raw_mode(said.stx_mode.into()),
        names: said.stx_nlink,
        owner: said.stx_uid,
        device: makedev(said.stx_dev_major, said.stx_dev_minor),
        inode: said.stx_ino,
        mount: StatxFlags::from_bits_retain(said.stx_mask)
            .contains(StatxFlags::MNT_ID)
            .then_some(said.stx_mnt_id),
    })
}

/// What some descriptors of a process are; those that are closed by now are left out.
pub(crate) fn files(process: u32, numbers: impl Iterator<Item = u32>) -> Vec<(u32, File)> {
    let one = |number| Some((number, file(&format!("/proc/{process}/fd/{number}")).ok()?));
    ask(process, || numbers.take_while(|_| held::moves()).filter_map(one).collect()).unwrap_or_default()
}

/// The file that a process runs, unless a user may serve it, who says of it what he likes: whose it is, too.
pub(crate) fn program(process: u32) -> Option<File> {
    let found = ask(process, || file(&format!("/proc/{process}/exe")).ok()).ok().flatten()?;
    let Some(mount) = found.mount else { return Some(found) };
    // Its own mounts, or ours if it doesn't see that one any more.
    let mut tables =
        [process, std::process::id()].into_iter().map(|of| text(of, "mountinfo").unwrap_or_default());
    let kept_by_kernel = tables.find_map(|table| is_kernels(&String::from_utf8_lossy(&table), mount));
    Some(found).filter(|_| kept_by_kernel == Some(true))
}

/// Whether a mount of that number isn't FUSE, by a table of mounts: `ID … - TYPE …`. `None` if it isn't there.
fn is_kernels(table: &str, mount: u64) -> Option<bool> {
    let mut lines = table.lines().filter_map(|line| line.split_once(' '));
    let (_, line) = lines.find(|(id, _)| id.parse() == Ok(mount))?;
    let (_, kind) = line.split_once(" - ")?;
    Some(!kind.starts_with("fuse"))
}

/// Where a link below `/proc/PID` leads to; `None` when it is over, or is nothing that we may know.
///
/// # Errors
/// When the process makes whoever asks wait.
pub(crate) fn link(process: u32, name: &str) -> Result<Option<PathBuf>, Doubt> {
    ask(process, || fs::read_link(format!("/proc/{process}/{name}")).ok())
}

/// How a descriptor was opened: the mode of the link itself, for which no kernel waits.
pub(crate) fn mode(process: u32, number: u32) -> u32 {
    let link = || fs::symlink_metadata(format!("/proc/{process}/fd/{number}"));
    ask_what(process, What::Numbers, link).ok().and_then(Result::ok).map_or(0, |link| link.mode())
}

/// What there is below `/proc/PID` under a name such as `maps`; nothing when it is over.
///
/// # Errors
/// As [`link`].
pub(crate) fn text(process: u32, name: &str) -> Result<Vec<u8>, Doubt> {
    ask(process, || fs::read(format!("/proc/{process}/{name}")).unwrap_or_default())
}

/// The same, but no more of it than that, and whether that is all.
///
/// # Errors
/// As [`link`].
pub(crate) fn text_until(process: u32, name: &str, most: u64) -> Result<(Vec<u8>, bool), Doubt> {
    ask(process, || {
        let (mut text, mut is_all) = (Vec::new(), true);
        if let Ok(file) = fs::File::open(format!("/proc/{process}/{name}")) {
            let _ = file.take(most).read_to_end(&mut text);
            is_all = u64::try_from(text.len()).is_ok_and(|length| length < most);
        }
        (text, is_all)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a03_what_a_user_serves_is_known_by_its_mount() {
        let table = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
                     41 22 0:40 / /home/a/x rw,nosuid,nodev - fuse.sshfs h: rw,user_id=5001\n";
        assert_eq!([22, 41, 4].map(|mount| is_kernels(table, mount)), [Some(true), Some(false), None]);
    }

    #[test]
    fn a03_the_own_program_is_found() {
        let found = program(std::process::id()).expect("it runs");
        assert_eq!(found.kind, FileType::RegularFile);
    }
}
