//! That a PostgreSQL database has one master. Its only connection for changes holds an advisory lock: so nothing is changed
//! without it, and a master whose connection broke has it again, or changes nothing. Every master that opens the database takes
//! a turn; one that finds another's turn there has been overtaken, and knows nothing any more of what is so.

use std::str::FromStr as _;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{PgConnection, PgPool, Postgres, Transaction};
use tokio::time::{Instant, sleep};

use crate::StoreError;

/// Key of the advisory lock.
const LOCK: i64 = 0x004d_5553_5445_5201;

/// However often it was taken.
const UNLOCK: &str = "SELECT pg_advisory_unlock_all()";

/// A master that was killed leaves its lock only when the server notes that the connection is gone.
const PATIENCE: Duration = Duration::from_secs(3);

/// The server notes that a connection is gone, whose other end says nothing any more, after half a minute.
const KEEPALIVE: [(&str, &str); 3] =
    [("tcp_keepalives_idle", "15"), ("tcp_keepalives_interval", "5"), ("tcp_keepalives_count", "3")];

/// The counter of turns.
pub(crate) const TURNS: &str = "masters";

/// The connection for changes.
#[derive(Debug)]
pub(super) struct Mastery {
    writer: PgPool,
    /// This master's turn; 0 until it has one.
    turn: AtomicI64,
}

impl Mastery {
    /// Connects, and takes the lock.
    pub(super) async fn take(url: &str) -> Result<(Self, PgConnectOptions), StoreError> {
        let options = PgConnectOptions::from_str(url).map_err(|e| StoreError::BadUrl(e.to_string()))?;
        let writer = PgPoolOptions::new()
            .max_connections(1)
            // The lock goes with it.
            .idle_timeout(None)
            .max_lifetime(None)
            .acquire_timeout(Duration::from_secs(5))
            .connect_with(options.clone().options(KEEPALIVE))
            .await?;
        let mastery = Self { writer, turn: AtomicI64::new(0) };
        let begun = Instant::now();
        loop {
            match mastery.begin().await {
                Ok(_) => return Ok((mastery, options)),
                Err(Refusal::Held) if begun.elapsed() > PATIENCE => return Err(StoreError::InUse),
                Err(Refusal::Held) => sleep(Duration::from_millis(50)).await,
                Err(Refusal::Other(error)) => return Err(error),
            }
        }
    }

    /// Whose turn it is from now on: this master's, which was noted.
    pub(super) fn has_turn(&self, turn: i64) {
        self.turn.store(turn, Ordering::SeqCst);
    }

    /// A transaction of the master's.
    pub(super) async fn begin(&self) -> Result<Transaction<'static, Postgres>, Refusal> {
        let mut tx = self.writer.begin().await.map_err(StoreError::from)?;
        self.hold(&mut tx).await?;
        Ok(tx)
    }

    async fn hold(&self, conn: &mut PgConnection) -> Result<(), Refusal> {
        // Who has it has it once more.
        let held: bool =
            sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(LOCK).fetch_one(&mut *conn).await?;
        let turn = self.turn.load(Ordering::SeqCst);
        if turn == 0 {
            return if held { Ok(()) } else { Err(Refusal::Held) };
        }
        let sql = "SELECT value FROM counters WHERE name = $1";
        let latest: i64 = sqlx::query_scalar(sql).bind(TURNS).fetch_one(&mut *conn).await?;
        if latest != turn {
            // It is for whoever comes next.
            sqlx::query(UNLOCK).execute(conn).await?;
            return Err(Refusal::Other(StoreError::Overtaken));
        }
        if held { Ok(()) } else { Err(Refusal::Held) }
    }

    pub(super) async fn close(&self) {
        if let Ok(mut conn) = self.writer.acquire().await {
            // Unlocked now, not when the server finds the connection gone: the next master may be waiting.
            let _ = sqlx::query(UNLOCK).execute(&mut *conn).await;
        }
        self.writer.close().await;
    }
}

/// Why there is no transaction.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The lock is another connection's: another master's, or this one's that broke and that the server hasn't noted yet.
    Held,
    Other(StoreError),
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Other(error)
    }
}

impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Self {
        Self::Other(error.into())
    }
}

impl From<Refusal> for StoreError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Held => Self::Unavailable("another connection holds the lock of its master".to_owned()),
            Refusal::Other(error) => error,
        }
    }
}
