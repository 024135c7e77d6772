//! Which devices a task may use, in the words of the cgroup's device controller, where the machine has one. It is the
//! second fence: a task's `/dev` has no node of a device that it wasn't given, and it can make none (B6).

use std::fmt;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{major, minor};

use crate::failure::{Explain, Failure};

/// A device that is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) block: bool,
    pub(crate) major: u32,
    /// All of them when absent.
    pub(crate) minor: Option<u32>,
}

const fn char(major: u32, minor: Option<u32>) -> Rule {
    Rule { block: false, major, minor }
}

/// `null`, `zero`, `full`, `random` and `urandom`; terminals; and what makes the network of a task whose network stack
/// runs in the task's cgroup (`/dev/net/tun`), of which the task itself has no node.
const HARMLESS: [Rule; 9] = [
    char(1, Some(3)),
    char(1, Some(5)),
    char(1, Some(7)),
    char(1, Some(8)),
    char(1, Some(9)),
    char(5, Some(0)),
    char(5, Some(2)),
    char(136, None),
    char(10, Some(200)),
];

/// The rules for a task with these device nodes.
///
/// # Errors
/// A path that is no device.
pub(crate) fn allowed(devices: &[PathBuf]) -> Result<Vec<Rule>, Failure> {
    HARMLESS.into_iter().map(Ok).chain(devices.iter().map(|path| rule(path))).collect()
}

fn rule(path: &Path) -> Result<Rule, Failure> {
    let shown = path.display();
    let found = fs::symlink_metadata(path).explain(|| format!("device {shown}"))?;
    let kind = found.file_type();
    if !kind.is_char_device() && !kind.is_block_device() {
        return Err(Failure::machine(format!("{shown} is not a device")));
    }
    Ok(Rule { block: kind.is_block_device(), major: major(found.rdev()), minor: Some(minor(found.rdev())) })
}

/// A line of version 1's `devices.allow`.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}:", if self.block { 'b' } else { 'c' }, self.major)?;
        match self.minor {
            Some(minor) => write!(f, "{minor} rw"),
            None => f.write_str("* rw"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b06_devices_are_allowed_by_their_numbers() {
        let rules = allowed(&["/dev/null".into(), "/dev/tty".into()]).unwrap();
        let lines: Vec<String> = rules[HARMLESS.len() - 2..].iter().map(ToString::to_string).collect();
        assert_eq!(lines, ["c 136:* rw", "c 10:200 rw", "c 1:3 rw", "c 5:0 rw"]);
        assert!(allowed(&["/etc/passwd".into()]).is_err());
        assert!(allowed(&["/dev/none".into()]).is_err());
    }
}
