//! Migrations: one numbered list for both databases.

use sqlx::AssertSqlSafe;

use crate::db::on;
use crate::{Store, StoreError};

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
];

/// The migration that moved tasks' configurations, which no SQL of both databases can read.
const TASK_CONFIGS: i64 = 7;

/// The schema that this program works with.
#[expect(clippy::cast_possible_wrap, reason = "there are a handful")]
pub const LATEST: i64 = MIGRATIONS.len() as i64;

/// Brings the database to [`LATEST`], each step in a transaction of its own.
pub(crate) async fn migrate(store: &Store) -> Result<(), StoreError> {
    let mut tx = store.write().await?;
    let table = "CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL PRIMARY KEY)";
    on!(tx, |c| sqlx::query(table).execute(c).await.map(drop))?;
    tx.commit_unaudited("before anybody is there").await?;

    let mut conn = store.read().await?;
    let newest = "SELECT version FROM schema_version ORDER BY version DESC LIMIT 1";
    let found: Option<(i64,)> = on!(conn, |c| sqlx::query_as(newest).fetch_optional(c).await)?;
    drop(conn);
    let found = found.map_or(0, |(version,)| version);
    if found > LATEST {
        return Err(StoreError::Newer { found, known: LATEST });
    }
    for (number, text) in (1_i64..).zip(MIGRATIONS).filter(|(number, _)| *number > found) {
        let mut tx = store.write().await?;
        for statement in statements(text) {
            on!(tx, |c| sqlx::query(AssertSqlSafe(statement.clone())).execute(c).await.map(drop))?;
        }
        if number == TASK_CONFIGS {
            crate::task::note_slots(&mut tx).await?;
        }
        let done = "INSERT INTO schema_version (version) VALUES ($1)";
        on!(tx, |c| sqlx::query(done).bind(number).execute(c).await.map(drop))?;
        tx.commit_unaudited("before anybody is there").await?;
        tracing::info!(schema = number, "database schema brought up to date");
    }
    Ok(())
}

/// The statements of a migration, without comment lines. None of ours has a semicolon inside.
fn statements(text: &str) -> Vec<String> {
    let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
    let code = code.join("\n");
    code.split(';').map(str::trim).filter(|s| !s.is_empty()).map(str::to_owned).collect()
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
