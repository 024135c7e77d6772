//! Masters that somebody said yes to: `known_masters`, one line each, an address and a fingerprint (D9).
//!
//! In place of a fingerprint stands `system` for a master whose certificate the system's own authorities vouched for,
//! so that this doesn't turn into a question one day.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use api::client::Address;
use api::fingerprint::Fingerprint;

const FILE: &str = "known_masters";
const SYSTEM: &str = "system";

/// What is known of a master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// The system's authorities vouched for it.
    System,
    /// Its authority, or its own certificate.
    Pinned(Fingerprint),
}

/// The file, in the directory where tokens are kept too.
#[derive(Debug, Clone)]
pub(crate) struct KnownMasters {
    dir: Option<PathBuf>,
}

impl KnownMasters {
    pub(crate) fn new(dir: Option<PathBuf>) -> Self {
        Self { dir }
    }

    /// What is known of the master at `address`.
    pub(crate) fn find(&self, address: &Address) -> Result<Option<Known>> {
        match &self.dir {
            Some(dir) => Ok(read(dir)?.remove(&address.to_string())),
            None => Ok(None),
        }
    }

    /// Remembers, or forgets with `None`; says what was known before.
    pub(crate) fn set(&self, address: &Address, known: Option<Known>) -> Result<Option<Known>> {
        let Some(dir) = &self.dir else {
            bail!("there is no place to remember masters: set HOME or MUSTER_CONFIG_DIR");
        };
        let problem = || format!("can't remember masters in {}", dir.display());
        DirBuilder::new().recursive(true).mode(0o700).create(dir).with_context(problem)?;
        let lock = private(&dir.join("known_masters.lock")).with_context(problem)?;
        lock.lock().with_context(problem)?;
        let mut all = read(dir)?;
        let before = match known {
            Some(known) => all.insert(address.to_string(), known),
            None => all.remove(&address.to_string()),
        };
        if before != known {
            replace(dir, &all).with_context(problem)?;
        }
        Ok(before)
    }
}

fn private(path: &Path) -> std::io::Result<fs::File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn read(dir: &Path) -> Result<BTreeMap<String, Known>> {
    let path = dir.join(FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => String::new(),
        Err(e) => return Err(e).with_context(|| format!("can't read {}", path.display())),
    };
    let line = |(number, line): (usize, &str)| -> Result<(String, Known)> {
        let wrong = || {
            format!(
                "{}, line {}: write an address and a fingerprint, or remove the line",
                path.display(),
                number + 1
            )
        };
        let (address, known) = line.split_once(' ').with_context(wrong)?;
        let known = match known.trim() {
            SYSTEM => Known::System,
            fingerprint => Known::Pinned(fingerprint.parse().with_context(wrong)?),
        };
        Ok((address.to_owned(), known))
    };
    text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(line).collect()
}

fn replace(dir: &Path, all: &BTreeMap<String, Known>) -> Result<()> {
    let new = dir.join("known_masters.new");
    // Left over from a run that was killed; its mode may be anything.
    let _ = fs::remove_file(&new);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    for (address, known) in all {
        match known {
            Known::System => writeln!(file, "{address} {SYSTEM}")?,
            Known::Pinned(fingerprint) => writeln!(file, "{address} {fingerprint}")?,
        }
    }
    file.sync_all()?;
    fs::rename(&new, dir.join(FILE))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn d09_masters_are_remembered_by_address_for_the_owner_alone() {
        let home = tempfile::tempdir().expect("made");
        let masters = KnownMasters::new(Some(home.path().join("muster")));
        let (here, there): (Address, Address) =
            ("https://lab:1".parse().expect("valid"), "https://lab:2".parse().expect("valid"));
        let pin = Known::Pinned(Fingerprint::of(b"one"));
        assert_eq!(masters.find(&here).expect("read"), None);
        assert_eq!(masters.set(&here, Some(pin)).expect("kept"), None);
        masters.set(&there, Some(Known::System)).expect("kept");
        assert_eq!(masters.find(&here).expect("read"), Some(pin));
        assert_eq!(masters.find(&there).expect("read"), Some(Known::System));
        let file = home.path().join("muster/known_masters");
        assert_eq!(fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(masters.set(&here, None).expect("kept"), Some(pin));
        assert_eq!(masters.find(&here).expect("read"), None);
        fs::write(&file, "https://lab:1 SHA256:zz\n").expect("written");
        let said = format!("{:#}", masters.find(&there).expect_err("must fail"));
        assert!(said.contains("line 1"), "a file that was changed by hand is not ignored: {said}");
    }
}
