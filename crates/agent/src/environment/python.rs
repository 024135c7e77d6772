//! What an interpreter is. What a task in the sandbox gets of it is in `launcher::sandbox::python`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::launcher::sandbox::RUN_DIR;

/// The task's own environment below [`RUN_DIR`], by the name that Determined's contract has.
pub(crate) const OWN: &str = "pythonuserbase";
/// The managed environment's name in a task's `/run`.
pub(super) const NAME: &str = "python";

/// An interpreter with its packages, as it is seen in a task.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Python {
    /// Such as `3.11`.
    pub version: String,
    /// Such as `3.11.2`.
    pub release: String,
    /// The interpreter that no virtual environment made.
    pub base: PathBuf,
    /// Where its packages are.
    pub sites: Vec<PathBuf>,
    /// Where it is.
    pub prefix: PathBuf,
    /// Where its programs are.
    pub bin: PathBuf,
    /// What else belongs to it.
    #[serde(default)]
    pub variables: Vec<(String, String)>,
}

/// The interpreter of a task's own environment.
pub(super) fn own_interpreter() -> PathBuf {
    Path::new(RUN_DIR).join(OWN).join("bin/python")
}
