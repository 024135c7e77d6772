//! What can go wrong with the database, sorted by what the caller can do about it.

/// An error of the database.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A row with this key is already there.
    #[error("it already exists")]
    Duplicate,
    /// Whoever made the change has lost rights since they were looked up; nothing was changed.
    #[error("your rights have changed meanwhile, and nothing was done: try again")]
    Outdated,
    /// Whoever made the change has added too much lately; nothing was changed.
    #[error(
        "this account has made too many changes: what it adds to the database in a day is limited (limits.stored_bytes_per_day); \
         try again in {seconds} s, or have an administrator raise the limit"
    )]
    TooFast {
        /// How long to wait, in seconds.
        seconds: u64,
    },
    /// No space left on the disk that holds the database (L03).
    #[error("the disk that holds the database is full: free some space")]
    DiskFull,
    /// The database can't be reached now; trying again later may work (L06).
    #[error("the database can't be reached: {0}; what runs goes on, and later this may work")]
    Unavailable(String),
    /// A newer Muster has changed the schema.
    #[error(
        "the database was made by a newer Muster (schema {found}, this one knows {known}): start that version, or restore a back-up"
    )]
    Newer {
        /// The database's schema.
        found: i64,
        /// The latest that this program knows.
        known: i64,
    },
    /// A step that the database has taken isn't the one that this program knows by that number.
    #[error(
        "the database was made by another Muster (its migration {version} isn't this one's): start that version, or restore a back-up"
    )]
    OtherSchema {
        /// The first such migration.
        version: i64,
    },
    /// Another master works on it.
    #[error("another master is already running on this database")]
    InUse,
    /// Another master has worked on it since this one opened it.
    #[error(
        "another master has taken this database over: this one knows nothing any more of what is so, and has to start again"
    )]
    Overtaken,
    /// The address of the database can't be understood.
    #[error("db.url: {0}")]
    BadUrl(String),
    /// A stored value isn't what this program wrote.
    #[error("the database holds a value that can't be read: {0}")]
    Corrupt(String),
    /// An update met another number of rows than it must.
    #[error("a change of {what} met {actual} rows in place of {expected}")]
    RowsAffected {
        /// What was changed.
        what: &'static str,
        /// Rows that had to change.
        expected: u64,
        /// Rows that did.
        actual: u64,
    },
    /// Anything else.
    #[error("database: {0}")]
    Other(sqlx::Error),
}

impl StoreError {
    /// Whether nothing was begun to be made durable: whoever asked for that may not have it.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        matches!(self, Self::Outdated | Self::TooFast { .. })
    }
}

/// SQLite's result code for a full disk.
const SQLITE_FULL: &str = "13";
/// PostgreSQL's class for lack of resources: 53100 is a full disk.
const POSTGRES_DISK_FULL: &str = "53100";

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(db) if db.is_unique_violation() => Self::Duplicate,
            sqlx::Error::Database(db) => match db.code().as_deref() {
                Some(SQLITE_FULL | POSTGRES_DISK_FULL) => Self::DiskFull,
                // PostgreSQL: 08… connection, 57P… shutting down or starting up.
                Some(code) if code.starts_with("08") || code.starts_with("57P") => {
                    Self::Unavailable(db.message().to_owned())
                }
                // SQLite: I/O error (10 and its kinds), can't open (14).
                Some(code) if db.kind() == sqlx::error::ErrorKind::Other && is_sqlite_io(code) => {
                    Self::Unavailable(format!("{}: is the disk full, or read-only?", db.message()))
                }
                _ => Self::Other(error),
            },
            sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => {
                Self::Unavailable(error.to_string())
            }
            _ => Self::Other(error),
        }
    }
}

fn is_sqlite_io(code: &str) -> bool {
    code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 10 | 14))
}

/// A change must have met exactly one row.
pub(crate) fn one_row(what: &'static str, actual: u64) -> Result<(), StoreError> {
    if actual == 1 { Ok(()) } else { Err(StoreError::RowsAffected { what, expected: 1, actual }) }
}
