//! Connections and transactions on either database.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use domain::audit::{AS_IT_WAS, By, Entry};
use domain::time::Timestamp;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection as _, PgConnection, Postgres, Sqlite, SqliteConnection, SqlitePool, Transaction};
use tokio::sync::{Mutex, OwnedMutexGuard, watch};

use crate::beside::Beside;
use crate::database::mastery::{Mastery, TURNS};
use crate::database::readers::{Reader, Readers};
use crate::growth::Growth;
use crate::{StoreError, audit, meta, reserve, schema, session};

/// A database, open and migrated.
#[derive(Debug, Clone)]
pub struct Store {
    pools: Pools,
    /// Taken by every transaction: one writer at a time.
    writer: Arc<Mutex<()>>,
    /// Bytes of the reserve that are for what is urgent, while the disk is as good as full; else 0.
    pub(crate) spare: Arc<AtomicU64>,
    /// What is opened of SQLite's files beside SQLite.
    pub(crate) beside: Arc<Beside>,
    /// How much accounts have added to all of it.
    pub(crate) growth: Arc<Growth>,
    /// The generation of rights.
    rights: watch::Sender<u64>,
    /// Counts the commits.
    revision: Arc<Revision>,
}

/// Which state of the database others see: an odd number while that isn't known.
#[derive(Debug, Default)]
struct Revision(AtomicU64);

impl Revision {
    fn known(&self) -> Option<u64> {
        Some(self.0.load(Ordering::SeqCst)).filter(|revision| revision & 1 == 0)
    }

    /// A commit begins. Should it be left in the middle or fail, it may have happened or be about to: nothing is known until
    /// the next one is through.
    fn unsettle(&self) {
        let before = self.0.load(Ordering::SeqCst);
        self.0.store(before + 1 + (before & 1), Ordering::SeqCst);
    }

    /// It is through. There is one at a time.
    fn settle(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[derive(Debug, Clone)]
enum Pools {
    Sqlite { readers: Readers<SqliteConnection>, writer: SqlitePool, file: Arc<PathBuf> },
    Postgres { readers: Readers<PgConnection>, writer: Arc<Mastery> },
}

/// What goes to a database and back, of either kind: in a box, because the body of an `async fn` is compiled again in every
/// crate that awaits it, and in many parts of it, with all that the driver consists of.
pub type Waits<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// A connection for reading.
#[derive(Debug)]
pub struct Conn(Inner);

#[derive(Debug)]
enum Inner {
    Sqlite(Reader<SqliteConnection>),
    SqliteTx(Transaction<'static, Sqlite>),
    Postgres(Reader<PgConnection>),
    PostgresTx(Transaction<'static, Postgres>),
}

impl Pools {
    fn sqlite(file: &Path) -> Waits<'_, Self> {
        Box::pin(async move {
            let options = SqliteConnectOptions::new()
                .filename(file)
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Full)
                .foreign_keys(true)
                // What is sorted needs no disk that may be full.
                .pragma("temp_store", "MEMORY")
                .busy_timeout(Duration::from_secs(10));
            // The writer comes first: it makes the file and sets its journal mode.
            let writer = SqlitePoolOptions::new()
                .max_connections(1)
                // As long as it is there, SQLite doesn't take its journal away, nor the room that is reserved in it.
                .idle_timeout(None)
                .max_lifetime(None)
                // SQLite itself rolls back when the disk is full, and the driver's own rollback then fails: it would
                // believe for ever that a transaction is open, and begin no other one (L03).
                .after_release(|connection, _| {
                    Box::pin(async move {
                        connection.ping().await?;
                        Ok(!connection.is_in_transaction())
                    })
                })
                .connect_with(options.clone())
                .await?;
            let readers = Readers::new(options.read_only(true), READERS);
            Ok(Self::Sqlite { readers, writer, file: Arc::new(file.to_owned()) })
        })
    }

    fn postgres(url: &str) -> Waits<'_, Self> {
        Box::pin(async move {
            let (mastery, options) = Mastery::take(url).await?;
            let (readers, writer) = (Readers::new(options, READERS), Arc::new(mastery));
            Ok(Self::Postgres { readers, writer })
        })
    }

    fn read(&self) -> Waits<'_, Conn> {
        Box::pin(async move {
            Ok(Conn(match self {
                Self::Sqlite { readers, .. } => Inner::Sqlite(readers.take().await?),
                Self::Postgres { readers, .. } => Inner::Postgres(readers.take().await?),
            }))
        })
    }

    fn begin(&self) -> Waits<'_, Conn> {
        Box::pin(async move {
            Ok(Conn(match self {
                Self::Sqlite { writer, .. } => Inner::SqliteTx(writer.begin_with("BEGIN IMMEDIATE").await?),
                Self::Postgres { writer, .. } => Inner::PostgresTx(writer.begin().await?),
            }))
        })
    }

    /// SQLite's journal is folded into the file.
    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            match self {
                Self::Sqlite { readers, writer, .. } => {
                    readers.close().await;
                    writer.close().await;
                }
                Self::Postgres { readers, writer } => {
                    readers.close().await;
                    writer.close().await;
                }
            }
        })
    }
}

/// A transaction, the only one of its master. Dropped without a commit, it leaves no trace.
#[derive(Debug)]
pub struct Tx {
    conn: Conn,
    store: Store,
    /// Bytes that it adds for good, in all tables but the audit log.
    pub(crate) added: usize,
    _writer: OwnedMutexGuard<()>,
}

/// The connection behind a [`Conn`].
pub(crate) enum Raw<'c> {
    Sqlite(&'c mut SqliteConnection),
    Postgres(&'c mut PgConnection),
}

impl Conn {
    /// For a statement; [`Self::answered`] says when all of its answer was read.
    pub(crate) fn raw(&mut self) -> Raw<'_> {
        match &mut self.0 {
            Inner::Sqlite(c) => Raw::Sqlite(c.ask()),
            Inner::SqliteTx(c) => Raw::Sqlite(c),
            Inner::Postgres(c) => Raw::Postgres(c.ask()),
            Inner::PostgresTx(c) => Raw::Postgres(c),
        }
    }

    /// The last statement was carried out.
    pub(crate) fn answered(&mut self) {
        match &mut self.0 {
            Inner::Sqlite(c) => c.answered(),
            Inner::Postgres(c) => c.answered(),
            Inner::SqliteTx(_) | Inner::PostgresTx(_) => {}
        }
    }
}

impl std::ops::Deref for Tx {
    type Target = Conn;
    fn deref(&self) -> &Conn {
        &self.conn
    }
}

impl std::ops::DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut Conn {
        &mut self.conn
    }
}

impl Tx {
    /// Makes the changes durable, together with what the audit log says of them. There is no other way but
    /// [`Tx::commit_unaudited`], which says why.
    ///
    /// # Errors
    /// When they are not; then none of them happened, or — when the database went away in the middle — all or none.
    pub fn commit<'a>(mut self, entry: &'a Entry, now: Timestamp) -> Waits<'a, ()> {
        Box::pin(async move {
            let spender = entry.spender();
            if !entry.has_happened() {
                spender.map_or(Ok(()), |spender| self.store.growth.ask(spender, now))?;
                self.ask_again(entry.by()).await?;
            }
            let bytes = audit::append(&mut self, entry, now).await?;
            if let Some(spender) = spender {
                self.store.growth.spend(spender, bytes.saturating_add(self.added), now);
            }
            let Self { conn, store, added: _, _writer } = self;
            let ended = end(conn, &store.revision).await;
            // Also when that failed: it may have happened all the same. The next change waits until it is known.
            if entry.all().any(Entry::may_change_rights) {
                store.raise_rights();
            }
            ended
        })
    }

    /// Whoever acts was looked up before this transaction began: what was committed since counts (R25). Nobody else
    /// commits now, so another connection sees the state that this transaction began with, and not what it changes of the
    /// actor's own account.
    async fn ask_again(&self, by: &By) -> Result<(), StoreError> {
        let Some(actor) = by.as_actor() else { return Ok(()) };
        if actor.as_of == AS_IT_WAS || actor.as_of == *self.store.rights.borrow() {
            return Ok(());
        }
        let mut conn = self.store.read().await?;
        if session::still_holds(&mut conn, &actor).await? { Ok(()) } else { Err(StoreError::Outdated) }
    }

    /// Makes changes durable of which the audit log says nothing, and has whoever makes them pay for what they add. `why` is
    /// for the reader of the code.
    ///
    /// # Errors
    /// As [`Tx::commit`].
    pub async fn commit_unaudited_by(
        self,
        by: &By,
        why: &'static str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if let Some(spender) = by.spender() {
            self.store.growth.ask(spender, now)?;
            self.store.growth.spend(spender, self.added, now);
        }
        self.commit_unaudited(why).await
    }

    /// Makes changes durable of which the audit log says nothing, or has been told already. `why` is for the reader of
    /// the code.
    ///
    /// # Errors
    /// As [`Tx::commit`].
    pub async fn commit_unaudited(self, why: &'static str) -> Result<(), StoreError> {
        let _ = why;
        end(self.conn, &self.store.revision).await
    }
}

fn end(conn: Conn, revision: &Revision) -> Waits<'_, ()> {
    Box::pin(async move {
        revision.unsettle();
        match conn.0 {
            Inner::SqliteTx(tx) => tx.commit().await?,
            Inner::PostgresTx(tx) => tx.commit().await?,
            Inner::Sqlite(_) | Inner::Postgres(_) => {}
        }
        revision.settle();
        Ok(())
    })
}

fn raise(rights: &watch::Sender<u64>) {
    rights.send_modify(|generation| *generation += 1);
}

/// How often it is looked whether a PostgreSQL database is still this master's.
const LOOK: Duration = Duration::from_secs(1);

/// Most connections that read at the same time.
const READERS: u32 = 8;

impl Store {
    /// Opens the SQLite database in `file`, making it when it isn't there, and brings it to the latest schema.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn open_sqlite(file: &Path) -> Result<Self, StoreError> {
        Self::migrated(Pools::sqlite(file).await?).await
    }

    /// Opens a PostgreSQL database (15 or newer) by its URL and brings it to the latest schema.
    ///
    /// # Errors
    /// See [`StoreError`]; [`StoreError::InUse`] when another master has it open.
    pub async fn open_postgres(url: &str) -> Result<Self, StoreError> {
        Self::migrated(Pools::postgres(url).await?).await
    }

    async fn migrated(pools: Pools) -> Result<Self, StoreError> {
        let writer = Arc::new(Mutex::new(()));
        let store = Self {
            pools,
            writer,
            spare: Arc::default(),
            beside: Arc::default(),
            growth: Arc::default(),
            rights: watch::Sender::new(0),
            revision: Arc::default(),
        };
        schema::migrate(&store).await?;
        store.take_turn().await?;
        Ok(store)
    }

    /// From now on it is this master's turn.
    async fn take_turn(&self) -> Result<(), StoreError> {
        let Pools::Postgres { writer, .. } = &self.pools else { return Ok(()) };
        let mut tx = self.write_urgent().await?;
        let turn = meta::next(&mut tx, TURNS).await?;
        tx.commit_unaudited("before anybody is there").await?;
        writer.has_turn(turn);
        Ok(())
    }

    /// Resolves when another master has this database: then nothing is so any more that this one knows. Has the lock taken again
    /// soon after its connection broke. Never on SQLite, whose master holds its data directory.
    pub async fn until_overtaken(&self) {
        loop {
            tokio::time::sleep(LOOK).await;
            if let Pools::Postgres { writer, .. } = &self.pools
                && matches!(writer.keep().await, Err(StoreError::Overtaken))
            {
                return;
            }
        }
    }

    /// The generation of rights: raised after every commit that may change who may see or do what, so that what was
    /// allowed before is asked again (R22, R25).
    #[must_use]
    pub fn rights(&self) -> watch::Receiver<u64> {
        self.rights.subscribe()
    }

    /// The number of the state that whoever reads now sees, as far as this master changes it: what was read after it was asked
    /// for is good for as long as it is the same. `None` while a commit is under way.
    #[must_use]
    pub fn revision(&self) -> Option<u64> {
        self.revision.known()
    }

    /// Raises the generation of rights: something was forgotten that was remembered beside the database.
    pub fn raise_rights(&self) {
        raise(&self.rights);
    }

    /// A connection for reading; sees what was committed before.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub fn read(&self) -> Waits<'_, Conn> {
        self.pools.read()
    }

    /// A transaction for changing; waits for the one before it.
    ///
    /// # Errors
    /// When the database can't be reached; [`StoreError::DiskFull`] when only the second half of the reserve is left, which
    /// is for [`Self::write_urgent`].
    pub fn write(&self) -> Waits<'_, Tx> {
        Box::pin(async move {
            let mut tx = self.write_urgent().await?;
            let spare = self.spare.load(Ordering::SeqCst);
            if spare > 0 && reserve::free_bytes(&mut tx).await? < spare {
                return Err(StoreError::DiskFull);
            }
            Ok(tx)
        })
    }

    /// The same for what must go on while the disk is full: logins, what ends, what is taken away from somebody (A4).
    ///
    /// # Errors
    /// When the database can't be reached.
    pub fn write_urgent(&self) -> Waits<'_, Tx> {
        Box::pin(async move {
            let guard = Arc::clone(&self.writer).lock_owned().await;
            Ok(Tx { conn: self.pools.begin().await?, store: self.clone(), added: 0, _writer: guard })
        })
    }

    /// The file of an SQLite database.
    pub(crate) fn sqlite_file(&self) -> Option<&Path> {
        match &self.pools {
            Pools::Sqlite { file, .. } => Some(file),
            Pools::Postgres { .. } => None,
        }
    }

    /// Closes all connections; SQLite's journal is folded into the file.
    pub async fn close(&self) {
        self.pools.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_not_known_again_before_a_commit_is_through() {
        let revision = Revision::default();
        let before = revision.known();
        revision.unsettle();
        assert_eq!(revision.known(), None);
        // That one was left in the middle: the next one begins.
        revision.unsettle();
        assert_eq!(revision.known(), None);
        revision.settle();
        assert!(revision.known() > before);
    }
}
