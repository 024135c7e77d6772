//! Room that the database keeps for itself, so that what must go on goes on when its disk is full (A4): logging in, and
//! the ends of tasks. It can't be a file that is removed when it is needed: whoever filled the disk takes that space, too.
//!
//! SQLite writes into two files. The journal gets blocks beyond its end, which `fallocate(2)` reserves and nothing takes
//! away again: SQLite never cuts a journal short, and begins at its start again after each checkpoint. The database's own
//! end is cut at each checkpoint, so its reserve is inside: pages of a table that was filled and emptied, which SQLite
//! uses before the file grows. PostgreSQL has a disk of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::fs::statvfs;

use crate::sql::{Sql, sql};
use crate::{Conn, Store, StoreError};

/// No more than this part of the disk, each.
const PART: u64 = 16;
/// Of the journal's index, which is short.
const INDEX: u64 = 64 << 10;

impl Store {
    /// Fills the reserve up, if it was used and there is space for it, to `most` bytes in either file (16 MiB are some ten
    /// thousand logins). To be called now and then.
    ///
    /// # Errors
    /// See [`StoreError`]. A disk that is full already is none: what is there of the reserve stays.
    pub async fn keep_reserve(&self, most: u64) -> Result<(), StoreError> {
        let Some(file) = self.sqlite_file().filter(|_| most > 0) else {
            return Ok(());
        };
        let Ok(disk) = statvfs(file) else {
            return Ok(());
        };
        let wanted = most.min(disk.f_blocks.saturating_mul(disk.f_frsize) / PART);
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let spare = if free < wanted { wanted / 2 } else { 0 };
        self.spare.store(spare, Ordering::SeqCst);
        let mut conn = self.read().await?;
        let inside = free_bytes(&mut conn).await?;
        drop(conn);
        if inside < wanted / 2 && free > 3 * wanted {
            match self.fill(wanted).await {
                Ok(()) | Err(StoreError::DiskFull) => {}
                Err(error) => return Err(error),
            }
        }
        // A journal appears with the first change.
        let (journal, index) = (beside(file, "-wal"), beside(file, "-shm"));
        let files = Arc::clone(&self.beside);
        let kept = tokio::task::spawn_blocking(move || {
            for (file, bytes) in [(journal, wanted), (index, INDEX)] {
                // Where that can't be done, it isn't.
                if let Err(error) = files.set_aside(&file, bytes) {
                    tracing::debug!(file = %file.display(), %error, "no room set aside");
                }
            }
        });
        let _ = kept.await;
        Ok(())
    }

    /// Two transactions: what is written and taken back in one is never written.
    async fn fill(&self, bytes: u64) -> Result<(), StoreError> {
        let emptied = "DELETE FROM reserve";
        let mut tx = self.write_urgent().await?;
        Sql::from(emptied).run(&mut tx).await?;
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        sql!("INSERT INTO reserve (filler) VALUES (zeroblob(?))", bytes).run(&mut tx).await?;
        tx.commit_unaudited("it holds nothing").await?;
        let mut tx = self.write_urgent().await?;
        Sql::from(emptied).run(&mut tx).await?;
        tx.commit_unaudited("it holds nothing").await
    }
}

/// Bytes inside the database's file that hold nothing.
pub(crate) async fn free_bytes(conn: &mut Conn) -> Result<u64, StoreError> {
    let mut product = 1;
    for pragma in ["PRAGMA freelist_count", "PRAGMA page_size"] {
        let value: i64 = Sql::from(pragma).one(conn).await?;
        product *= u64::try_from(value).unwrap_or(0);
    }
    Ok(product)
}

fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
