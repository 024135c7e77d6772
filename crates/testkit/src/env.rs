//! Where the things are that end-to-end tests use beside Muster: `cargo xtask test` installs and starts
//! them, and says so in the environment.
//!
//! A test that needs one of them and doesn't find it panics: a skipped test would pass for a good one.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

/// The PostgreSQL cluster of this run, without a database: see [`crate::postgres::TestDatabase`].
#[must_use]
pub fn postgres_url() -> String {
    variable("MUSTER_TEST_POSTGRES").into_string().expect("MUSTER_TEST_POSTGRES isn't UTF-8")
}

/// The directory of PostgreSQL's own programs, of the version of the cluster.
#[must_use]
pub fn postgres_bin() -> PathBuf {
    variable("MUSTER_TEST_PG_BIN").into()
}

/// The unmodified `det` command.
#[must_use]
pub fn det() -> PathBuf {
    variable("MUSTER_TEST_DET").into()
}

/// The unmodified `polyaxon` command.
#[must_use]
pub fn polyaxon() -> PathBuf {
    variable("MUSTER_TEST_POLYAXON").into()
}

/// What tries an API against its description.
#[must_use]
pub fn schemathesis() -> PathBuf {
    variable("MUSTER_TEST_SCHEMATHESIS").into()
}

/// A Python that every user of the machine can run, with `determined` and scikit-learn.
#[must_use]
pub fn python() -> PathBuf {
    variable("MUSTER_TEST_PYTHON").into()
}

/// The browser.
#[must_use]
pub fn chromium() -> PathBuf {
    variable("MUSTER_TEST_CHROMIUM").into()
}

/// The directory of the browser scripts, with their Node packages.
#[must_use]
pub fn e2e_dir() -> PathBuf {
    variable("MUSTER_TEST_E2E").into()
}

/// Where the Python of tasks is kept over all tests: making it takes minutes.
#[must_use]
pub fn environments() -> PathBuf {
    variable("MUSTER_TEST_ENVIRONMENTS").into()
}

#[track_caller]
fn variable(name: &str) -> OsString {
    match env::var_os(name) {
        Some(value) if !value.is_empty() => value,
        _ => panic!("{name} is not set: run the tests with `cargo xtask test`, which sets it up"),
    }
}
