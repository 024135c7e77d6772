//! The Python that tasks have: one environment that is made on first need and shown to all of them read-only, or a prefix
//! that an administrator names; and on top of it, in each task, a virtual environment of the task's own.
//!
//! ```text
//! machine                              task
//! DIR/KEY/  made once, nobody's    →   /run/python                        read-only, the same for all
//!                                      /run/determined/pythonuserbase     the task's own: `pip install` goes here
//! ```
//! Both are first in the task's `PATH`, its own one before the other. The own one is a virtual environment that is so small
//! that it is written down at the start (`python`); by a `.pth` file it has the other's packages behind its own, so a task can
//! also have another version of what is there. The name is that of Determined's contract, so `pip install --user` and
//! `PYTHONUSERBASE` mean the same place.
//!
//! Which task waits for an environment that isn't there yet is decided in `need`; `shared` is the one of a running agent,
//! `make` makes it by jobs in the sandbox of tasks (`launcher::sandbox::job`), and `place` knows the directory.

mod make;
mod need;
mod place;
mod python;
mod shared;

use std::borrow::Cow;
use std::path::PathBuf;

pub use crate::launcher::sandbox::job::JobFailed;
pub use make::{Maker, NoAnswer, NotMade, Removed};
pub(crate) use need::{Archive, Wish};
pub use place::{Kept, NotRemoved};
pub(crate) use python::OWN;
pub use python::Python;
pub use shared::Prepared;
pub(crate) use shared::{Environment, News, Waiting};

/// What the managed environment has, each version with the digests of its files. Made of `requirements.in` by `cargo xtask
/// lock-environment`, for every Python from 3.10 on.
const REQUIREMENTS: &str = include_str!("requirements.lock");

/// Where Python is looked for: what every task can see. One that is somebody's own (pyenv, conda) may lie where others
/// can't go.
const INTERPRETERS: [&str; 2] = ["/usr/bin/python3", "/usr/local/bin/python3"];

/// The Python of tasks, as it was set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Choice {
    /// An environment of Muster's making.
    #[default]
    Managed,
    /// This one: a virtual environment, a conda environment, or anything else that has `bin/python3`.
    Prefix(PathBuf),
    /// That of an environment module (`module load NAME`).
    Module(String),
    /// The machine's own, as it is.
    Off,
}

/// A directory of the agent's own that a task sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Where it is on the machine.
    pub host_path: PathBuf,
    /// A file that is locked (flock(2), shared) as long as a task has it, so that nobody removes it meanwhile.
    pub lock: Option<PathBuf>,
    /// What it is called in the task's `/run`.
    pub name: String,
    /// The task can write to it.
    pub writable: bool,
}

/// What an agent is told of the Python of its tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Whether there is one, and whether Muster makes it.
    pub choice: Choice,
    /// Where managed ones are kept; several agents of one machine may share it. In the data directory when absent.
    pub dir: Option<PathBuf>,
    /// Lock file of the managed one, as pip reads it.
    pub requirements: Cow<'static, str>,
    /// The machine's interpreter; the first that is there is taken.
    pub interpreters: Vec<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            choice: Choice::default(),
            dir: None,
            requirements: Cow::Borrowed(REQUIREMENTS),
            interpreters: INTERPRETERS.map(PathBuf::from).to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b21_the_lock_file_has_what_is_wanted_by_digest_and_names_no_place() {
        let wanted = include_str!("requirements.in");
        for line in wanted.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split(['=', '<', '>']).next().unwrap_or_default().to_lowercase();
            assert!(REQUIREMENTS.contains(&format!("\n{name}==")), "{name}");
        }
        for line in REQUIREMENTS.lines().filter(|line| !line.starts_with('#')) {
            let digest = line.trim_start().starts_with("--hash=sha256:");
            assert!(digest || (line.contains("==") && line.ends_with('\\')), "{line}");
        }
        assert!(!REQUIREMENTS.contains("://"), "where packages come from is this machine's business");
    }
}
