//! Migrations: one numbered list for both databases, and how a database shows which of them it was made by.

use std::collections::BTreeMap;

use domain::audit::digest;

use crate::sql::{Sql, run_text, sql};
use crate::statements::statements;
use crate::{Store, StoreError, Tx};

/// All migrations in order; the first is number 1. Entries are never changed once released, only added.
const MIGRATIONS: &[&str] = &[
    include_str!("../../migrations/0001_spine.sql"),
    include_str!("../../migrations/0002_login_failures.sql"),
    include_str!("../../migrations/0003_accounts.sql"),
    include_str!("../../migrations/0004_reserve.sql"),
    include_str!("../../migrations/0005_agent_keys.sql"),
    include_str!("../../migrations/0006_exit_signal.sql"),
    include_str!("../../migrations/0007_task_configs.sql"),
    include_str!("../../migrations/0008_login_places.sql"),
    include_str!("../../migrations/0009_living_tasks.sql"),
    include_str!("../../migrations/0010_machine_numbers.sql"),
    include_str!("../../migrations/0011_removed_logs.sql"),
    include_str!("../../migrations/0012_allocations.sql"),
    include_str!("../../migrations/0013_config_policies.sql"),
    include_str!("../../migrations/0014_checkpoint_storage.sql"),
    include_str!("../../migrations/0015_ends.sql"),
    include_str!("../../migrations/0016_faults.sql"),
    include_str!("../../migrations/0017_exits.sql"),
    include_str!("../../migrations/0018_asked_until.sql"),
];

/// The migration that moved tasks' configurations, which no SQL of both databases can read.
const TASK_CONFIGS: i64 = 7;

/// The schema that this program works with.
#[expect(clippy::cast_possible_wrap, reason = "there are a handful")]
pub const LATEST: i64 = MIGRATIONS.len() as i64;

/// Brings the database to [`LATEST`], each step in a transaction of its own, once it is known that the steps before were the
/// ones that this program has.
pub(crate) async fn migrate(store: &Store) -> Result<(), StoreError> {
    let found = found(store).await?;
    if found > LATEST {
        return Err(StoreError::Newer { found, known: LATEST });
    }
    compare(store, found).await?;
    for (number, text) in (1_i64..).zip(MIGRATIONS).filter(|(number, _)| *number > found) {
        let mut tx = store.write().await?;
        for statement in statements(text) {
            run_text(&mut tx, statement).await?;
        }
        if number == TASK_CONFIGS {
            crate::task::note_slots(&mut tx).await?;
        }
        sql!("INSERT INTO schema_version (version) VALUES (?)", number).run(&mut tx).await?;
        note(&mut tx, number, &checksum(text)).await?;
        tx.commit_unaudited("before anybody is there").await?;
        tracing::info!(schema = number, "database schema brought up to date");
    }
    Ok(())
}

/// The database's schema; 0 is a new one.
async fn found(store: &Store) -> Result<i64, StoreError> {
    let mut tx = store.write().await?;
    for table in [
        "CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL PRIMARY KEY)",
        "CREATE TABLE IF NOT EXISTS schema_checksums (version BIGINT NOT NULL PRIMARY KEY, checksum TEXT NOT NULL)",
    ] {
        Sql::from(table).run(&mut tx).await?;
    }
    let newest = "SELECT version FROM schema_version ORDER BY version DESC LIMIT 1";
    let found = Sql::from(newest).first(&mut tx).await?;
    tx.commit_unaudited("before anybody is there").await?;
    Ok(found.unwrap_or(0))
}

/// Refuses a database that was made by other migrations than this program's. Of those that were carried out before there were
/// checksums, the checksum is noted now.
async fn compare(store: &Store, found: i64) -> Result<(), StoreError> {
    let mut tx = store.write().await?;
    let kept: Vec<(i64, String)> =
        Sql::from("SELECT version, checksum FROM schema_checksums").all(&mut tx).await?;
    let kept: BTreeMap<i64, String> = kept.into_iter().collect();
    for (number, text) in (1..=found).zip(MIGRATIONS) {
        let ours = checksum(text);
        match kept.get(&number) {
            Some(theirs) if *theirs == ours => {}
            Some(_) => return Err(StoreError::OtherSchema { version: number }),
            None => note(&mut tx, number, &ours).await?,
        }
    }
    tx.commit_unaudited("before anybody is there").await
}

async fn note(tx: &mut Tx, version: i64, checksum: &str) -> Result<(), StoreError> {
    let sql = "INSERT INTO schema_checksums (version, checksum) VALUES (?, ?)";
    sql!(sql, version, checksum).run(tx).await.map(drop)
}

/// SHA-256 of what a migration does: its comments and its form may change.
fn checksum(text: &str) -> String {
    digest(&statements(text).join(";\n"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// One that isn't in the list is never made.
    #[test]
    fn every_migration_is_in_the_list() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
        let mut files: Vec<_> =
            std::fs::read_dir(folder).expect("there").map(|entry| entry.expect("read").path()).collect();
        files.sort();
        let texts: Vec<_> = files.iter().map(|file| std::fs::read_to_string(file).expect("read")).collect();
        assert_eq!(texts, MIGRATIONS);
    }
}
