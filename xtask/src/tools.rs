//! Where the things lie that tests use beside Muster itself, and how tests are told.
//!
//! `setup` fills these places; `testkit::env` reads the variables.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use nix::unistd::geteuid;

use crate::shell::Checkout;

/// The pinned Python packages, `det` among them.
pub(crate) const REQUIREMENTS: &str = include_str!("../requirements.txt");

/// Those of `schemathesis`.
pub(crate) const SCHEMATHESIS: &str = include_str!("../python/schemathesis.txt");

/// Those of `polyaxon`, and what lets them run on a Python of today.
pub(crate) const POLYAXON: &str = include_str!("../python/polyaxon.txt");
pub(crate) const POLYAXON_SHIM: (&str, &str) =
    ("polyaxon_on_new_python", include_str!("../python/polyaxon_on_new_python.py"));

/// Debian's Chromium; a test may look for no other browser.
const CHROMIUM: &str = "/usr/bin/chromium";

/// The paths of what `setup` installs.
pub(crate) struct Tools {
    /// Holds the virtual environment, the set-up's lock and the logs of servers.
    pub(crate) folder: PathBuf,
    pub(crate) venv: PathBuf,
    pub(crate) polyaxon: PathBuf,
    pub(crate) schemathesis: PathBuf,
    pub(crate) e2e: PathBuf,
}

impl Tools {
    pub(crate) fn locate(checkout: &Checkout) -> Result<Self> {
        let folder = shared_folder(&checkout.target)?;
        let version = REQUIREMENTS.lines().find_map(|line| line.strip_prefix("determined=="));
        let version = version.context("xtask/requirements.txt doesn't pin determined")?;
        Ok(Self {
            venv: folder.join(format!("det-{version}")),
            polyaxon: folder.join("polyaxon"),
            schemathesis: folder.join("schemathesis"),
            e2e: checkout.root.join("e2e"),
            folder,
        })
    }

    /// What tests find in their environment.
    pub(crate) fn variables(&self) -> [(&'static str, PathBuf); 7] {
        [
            ("MUSTER_TEST_PYTHON", self.venv.join("bin/python")),
            ("MUSTER_TEST_DET", self.venv.join("bin/det")),
            ("MUSTER_TEST_POLYAXON", self.polyaxon.join("bin/polyaxon")),
            ("MUSTER_TEST_SCHEMATHESIS", self.schemathesis.join("bin/schemathesis")),
            ("MUSTER_TEST_CHROMIUM", CHROMIUM.into()),
            ("MUSTER_TEST_E2E", self.e2e.clone()),
            ("MUSTER_TEST_ENVIRONMENTS", self.folder.join("environments")),
        ]
    }
}

/// A directory that every user of the machine can read, and every task: tests of root's start tasks as other users,
/// and these run the Python that lies here. Below the target directory if that can be entered and isn't where tasks have
/// directories of their own (B22).
fn shared_folder(target: &Path) -> Result<PathBuf> {
    fs::create_dir_all(target).with_context(|| format!("can't make {}", target.display()))?;
    let target = target.canonicalize()?;
    let seen = !["/tmp", "/var/tmp", "/run", "/dev"].iter().any(|own| target.starts_with(own));
    let folder = match geteuid().is_root() {
        true if seen && entered_by_all(&target)? => target.join("test-env"),
        true => PathBuf::from("/var/cache/muster-test-env"),
        false if seen => target.join("test-env"),
        false => {
            let home = std::env::var_os("HOME").context("HOME isn't set")?;
            Path::new(&home).join(".cache/muster-test-env")
        }
    };
    fs::create_dir_all(&folder).with_context(|| format!("can't make {}", folder.display()))?;
    // Whoever made it before us could have put programs of theirs there.
    let metadata = fs::symlink_metadata(&folder)?;
    ensure!(
        metadata.is_dir() && metadata.uid() == geteuid().as_raw(),
        "{} isn't a folder of ours",
        folder.display()
    );
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
    Ok(folder)
}

fn entered_by_all(path: &Path) -> Result<bool> {
    for folder in path.ancestors() {
        let mode = fs::metadata(folder).with_context(|| format!("can't read {}", folder.display()))?.mode();
        if mode & 0o001 == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_folder_closes_all_below_it() {
        let outer = tempfile::tempdir().unwrap();
        let inner = outer.path().join("inner");
        fs::create_dir(&inner).unwrap();
        fs::set_permissions(&inner, fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(outer.path(), fs::Permissions::from_mode(0o700)).unwrap();
        assert!(!entered_by_all(&inner).unwrap());
        fs::set_permissions(outer.path(), fs::Permissions::from_mode(0o711)).unwrap();
        assert_eq!(entered_by_all(&inner).unwrap(), entered_by_all(outer.path().parent().unwrap()).unwrap());
    }
}
