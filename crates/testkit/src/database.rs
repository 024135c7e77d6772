//! The two databases, empty, one for each test.

use std::path::PathBuf;

use store::{Store, StoreError};
use tempfile::TempDir;

use crate::postgres::TestDatabase;

/// Which database a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Database {
    /// A file in the test's own folder.
    Sqlite,
    /// A database on the cluster of this run.
    Postgres,
}

/// A database and a data directory, gone with this value.
#[derive(Debug)]
pub struct Storage {
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
        Self { folder, postgres }
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
