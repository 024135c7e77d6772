//! The two databases, empty, one for each test.

use std::path::PathBuf;

use store::{Store, StoreError};
use tempfile::TempDir;

use crate::postgres::TestDatabase;

/// Which database a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Database {
    /// A file in the test's own directory.
    Sqlite,
    /// A database on the cluster of this run.
    Postgres,
}

/// A database and a data directory, gone with this value.
#[derive(Debug)]
pub struct Storage {
    /// First: it can be removed only when nothing is mounted there.
    _disk: Option<SmallDisk>,
    folder: TempDir,
    postgres: Option<TestDatabase>,
}

impl Storage {
    /// Makes an empty one.
    pub async fn create(database: Database) -> Self {
        let postgres = match database {
            Database::Sqlite => None,
            Database::Postgres => Some(TestDatabase::create().await),
        };
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self { _disk: None, folder, postgres }
    }

    /// A back-up of all of it: nobody may have it open.
    pub async fn copy(&self) -> Self {
        let postgres = match &self.postgres {
            None => None,
            Some(database) => Some(database.copy().await),
        };
        let folder = tempfile::tempdir().expect("a temporary folder");
        let from = self.folder.path().join(".");
        let copied = std::process::Command::new("cp").arg("-a").arg(from).arg(folder.path()).status();
        assert!(copied.expect("cp starts").success());
        Self { _disk: None, folder, postgres }
    }

    /// Makes an empty one for SQLite on a disk of its own, of a size as `mount` takes it. Needs root.
    pub fn on_small_disk(size: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let options = format!("size={size},mode=0700");
        let mut mount = std::process::Command::new("mount");
        let status = mount.args(["-t", "tmpfs", "-o", &options, "none"]).arg(folder.path()).status();
        assert!(status.expect("mount starts").success(), "this test mounts a file system: run it as root");
        Self { _disk: Some(SmallDisk(folder.path().to_owned())), folder, postgres: None }
    }

    /// Opens the database as a master does.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn try_open(&self) -> Result<Store, StoreError> {
        match &self.postgres {
            None => Store::open_sqlite(&self.sqlite_file()).await,
            Some(database) => Store::open_postgres(&database.url()).await,
        }
    }

    /// Opens the database.
    pub async fn open(&self) -> Store {
        self.try_open().await.expect("the database opens")
    }

    /// The data directory.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// SQLite's file.
    #[must_use]
    pub fn sqlite_file(&self) -> PathBuf {
        self.folder.path().join("muster.db")
    }

    /// PostgreSQL's address; none on SQLite.
    #[must_use]
    pub fn postgres_url(&self) -> Option<String> {
        self.postgres.as_ref().map(TestDatabase::url)
    }
}

/// A mounted disk.
#[derive(Debug)]
struct SmallDisk(PathBuf);

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}
