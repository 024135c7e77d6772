//! That a PostgreSQL database has one master. A connection of its own holds an advisory lock; when it breaks, as with every
//! restart of the server, it is made again soon. Every master that opens the database takes a turn, and each change is made for
//! the turn of its master, or not at all: so one that was overtaken meanwhile changes nothing any more, and ends.

use std::str::FromStr as _;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, PgPool, Postgres, Transaction};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use crate::StoreError;

/// Key of the advisory lock.
const LOCK: i64 = 0x004d_5553_5445_5201;

/// A master that was killed leaves its lock only when the server notes that the connection is gone.
const PATIENCE: Duration = Duration::from_secs(3);

/// The server notes that a connection is gone, whose other end says nothing any more, after half a minute.
const KEEPALIVE: [(&str, &str); 3] =
    [("tcp_keepalives_idle", "15"), ("tcp_keepalives_interval", "5"), ("tcp_keepalives_count", "3")];

/// Most connections for changes. One transaction is open at a time; the other may still be ending.
const CONNECTIONS: u32 = 2;

/// The counter of turns.
pub(crate) const TURNS: &str = "masters";

/// The lock, and the connections for changes.
#[derive(Debug)]
pub(super) struct Mastery {
    options: PgConnectOptions,
    lock: Mutex<Option<PgConnection>>,
    writer: PgPool,
    /// This master's turn; 0 until it has one.
    turn: AtomicI64,
}

impl Mastery {
    /// Connects, and takes the lock.
    pub(super) async fn take(url: &str) -> Result<(Self, PgConnectOptions), StoreError> {
        let options = PgConnectOptions::from_str(url).map_err(|e| StoreError::BadUrl(e.to_string()))?;
        let for_lock = options.clone().options(KEEPALIVE);
        let mut lock = for_lock.connect().await?;
        let begun = Instant::now();
        while !hold(&mut lock).await? {
            if begun.elapsed() > PATIENCE {
                return Err(StoreError::InUse);
            }
            sleep(Duration::from_millis(50)).await;
        }
        let writer = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(Duration::from_secs(5))
            // Asking whose turn it is tells as much.
            .test_before_acquire(false)
            .connect_with(options.clone())
            .await?;
        let (lock, turn) = (Mutex::new(Some(lock)), AtomicI64::new(0));
        Ok((Self { options: for_lock, lock, writer, turn }, options))
    }

    /// Whose turn it is from now on: this master's, which was noted.
    pub(super) fn has_turn(&self, turn: i64) {
        self.turn.store(turn, Ordering::SeqCst);
    }

    /// A transaction of the master's, in whose turn nobody else begins one before it is over.
    pub(super) async fn begin(&self) -> Result<Transaction<'static, Postgres>, StoreError> {
        // All that waited may have broken, as when the server was restarted: they are found here.
        for _ in 0..CONNECTIONS {
            match self.try_begin().await {
                Err(error) if is_broken(&error) => {}
                begun => return begun?.ok_or(StoreError::Overtaken),
            }
        }
        self.try_begin().await?.ok_or(StoreError::Overtaken)
    }

    /// Nothing when it is another master's turn.
    async fn try_begin(&self) -> Result<Option<Transaction<'static, Postgres>>, sqlx::Error> {
        let mut tx = self.writer.begin().await?;
        let turn = self.turn.load(Ordering::SeqCst);
        if turn == 0 {
            return Ok(Some(tx));
        }
        // Whoever takes the next turn waits for this.
        let sql = "SELECT value FROM counters WHERE name = $1 FOR SHARE";
        let latest: i64 = sqlx::query_scalar(sql).bind(TURNS).fetch_one(&mut *tx).await?;
        Ok((latest == turn).then_some(tx))
    }

    /// Takes the lock again, should its connection have broken.
    ///
    /// # Errors
    /// [`StoreError::Overtaken`] when it was another master's meanwhile.
    pub(super) async fn keep(&self) -> Result<(), StoreError> {
        self.begin().await?;
        let mut lock = self.lock.lock().await;
        if let Some(conn) = lock.as_mut()
            && hold(conn).await.is_ok_and(|held| held)
        {
            return Ok(());
        }
        *lock = None;
        let mut conn = self.options.connect().await?;
        // Else it is another master's, that takes its turn, or still the connection's that broke.
        if hold(&mut conn).await? {
            *lock = Some(conn);
        }
        Ok(())
    }

    pub(super) async fn close(&self) {
        self.writer.close().await;
        if let Some(mut lock) = self.lock.lock().await.take() {
            // Unlocked now, not when the server finds the connection gone: the next master may be waiting.
            let _ = sqlx::query("SELECT pg_advisory_unlock_all()").execute(&mut lock).await;
            let _ = lock.close().await;
        }
    }
}

/// Whether a connection was none any more; 57P is the class of a server that ends.
fn is_broken(error: &sqlx::Error) -> bool {
    let ended = |code: &str| code.starts_with("57P");
    match error {
        sqlx::Error::Io(_) => true,
        sqlx::Error::Database(error) => error.code().as_deref().is_some_and(ended),
        _ => false,
    }
}

/// Tries to take the lock; who has it has it once more.
async fn hold(conn: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(LOCK).fetch_one(conn).await
}
