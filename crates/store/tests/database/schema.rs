//! One list of migrations ends in the same schema on both databases; a newer schema is left alone.

use std::collections::BTreeSet;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};
use store::{LATEST_SCHEMA, StoreError};
use testkit::{Database, Storage, on_both_databases, on_sqlite};

on_both_databases!(
    migrations_run_once,
    a_newer_schema_is_refused_and_left_alone,
    a_changed_migration_is_refused,
    a_database_of_before_there_were_checksums_gets_them,
);
on_sqlite!(both_databases_end_in_the_same_schema);

/// A schema in words that both databases have: one line for each column, index and constraint.
type Schema = BTreeSet<String>;

/// Tables with their columns: type and whether a value must be there.
const SQLITE_COLUMNS: &str = "
    SELECT 'column ' || t.name || '.' || c.name || ' ' || lower(c.type) || CASE c.\"notnull\" WHEN 1 THEN ' not null' ELSE '' END
    FROM sqlite_master t, pragma_table_info(t.name) c WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%'";
const POSTGRES_COLUMNS: &str = "
    SELECT 'column ' || table_name || '.' || column_name || ' ' || data_type || CASE is_nullable WHEN 'NO' THEN ' not null' ELSE '' END
    FROM information_schema.columns WHERE table_schema = 'public'";

/// Indexes that have a name of their own.
const SQLITE_INDEXES: &str = "
    SELECT 'index ' || i.name || ' on ' || i.tbl_name || ' (' || group_concat(c.name, ', ') || ')'
    FROM sqlite_master i, pragma_index_info(i.name) c WHERE i.type = 'index' AND i.sql IS NOT NULL
    GROUP BY i.name, i.tbl_name";
const POSTGRES_INDEXES: &str = "
    SELECT 'index ' || i.relname || ' on ' || t.relname || ' (' || string_agg(a.attname, ', ' ORDER BY k.n) || ')'
    FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid
    JOIN pg_namespace s ON s.oid = t.relnamespace AND s.nspname = 'public'
    CROSS JOIN LATERAL unnest(x.indkey) WITH ORDINALITY AS k(attnum, n)
    JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = k.attnum
    WHERE NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conindid = x.indexrelid)
    GROUP BY i.relname, t.relname";

/// Primary keys and unique columns. All of ours are of one column.
const SQLITE_KEYS: &str = "
    SELECT CASE l.origin WHEN 'pk' THEN 'primary key ' ELSE 'unique ' END || t.name || '.' || c.name
    FROM sqlite_master t, pragma_index_list(t.name) l, pragma_index_info(l.name) c
    WHERE t.type = 'table' AND l.origin IN ('pk', 'u')";
const POSTGRES_KEYS: &str = "
    SELECT lower(c.constraint_type) || ' ' || c.table_name || '.' || k.column_name
    FROM information_schema.table_constraints c
    JOIN information_schema.key_column_usage k USING (constraint_schema, constraint_name)
    WHERE c.table_schema = 'public' AND c.constraint_type IN ('PRIMARY KEY', 'UNIQUE')";

/// References.
const SQLITE_REFERENCES: &str = "
    SELECT 'reference ' || t.name || '.' || f.\"from\" || ' to ' || f.\"table\" || '.' || f.\"to\"
    FROM sqlite_master t, pragma_foreign_key_list(t.name) f WHERE t.type = 'table'";
const POSTGRES_REFERENCES: &str = "
    SELECT 'reference ' || k.table_name || '.' || k.column_name || ' to ' || u.table_name || '.' || u.column_name
    FROM information_schema.table_constraints c
    JOIN information_schema.key_column_usage k USING (constraint_schema, constraint_name)
    JOIN information_schema.constraint_column_usage u USING (constraint_schema, constraint_name)
    WHERE c.table_schema = 'public' AND c.constraint_type = 'FOREIGN KEY'";

/// Storage with a migrated database that nobody has open.
async fn migrated(database: Database) -> Storage {
    let storage = Storage::create(database).await;
    storage.open().await.close().await;
    storage
}

async fn sqlite(storage: &Storage) -> SqliteConnection {
    let url = format!("sqlite://{}", storage.sqlite_file().display());
    SqliteConnection::connect(&url).await.expect("connected")
}

async fn postgres(storage: &Storage) -> PgConnection {
    let url = storage.postgres_url().expect("on PostgreSQL");
    PgConnection::connect(&url).await.expect("connected")
}

async fn both_databases_end_in_the_same_schema(_: Database) {
    let (small, large) = (migrated(Database::Sqlite).await, migrated(Database::Postgres).await);
    let (mut small, mut large) = (sqlite(&small).await, postgres(&large).await);
    for (on_sqlite, on_postgres) in [
        (SQLITE_COLUMNS, POSTGRES_COLUMNS),
        (SQLITE_INDEXES, POSTGRES_INDEXES),
        (SQLITE_KEYS, POSTGRES_KEYS),
        (SQLITE_REFERENCES, POSTGRES_REFERENCES),
    ] {
        let on_sqlite = sqlx::query_scalar(on_sqlite).fetch_all(&mut small).await;
        let on_postgres = sqlx::query_scalar(on_postgres).fetch_all(&mut large).await;
        let on_sqlite: Schema = on_sqlite.expect("read").into_iter().collect();
        let on_postgres: Schema = on_postgres.expect("read").into_iter().collect();
        assert!(!on_sqlite.is_empty());
        let only: Vec<_> = on_sqlite.symmetric_difference(&on_postgres).collect();
        assert!(only.is_empty(), "on one database only: {only:#?}");
    }
}

/// Runs a statement on a connection of its own.
pub(crate) async fn execute(storage: &Storage, sql: &str) {
    let sql = AssertSqlSafe(sql.to_owned());
    match storage.postgres_url() {
        None => sqlx::query(sql).execute(&mut sqlite(storage).await).await.map(drop),
        Some(_) => sqlx::query(sql).execute(&mut postgres(storage).await).await.map(drop),
    }
    .expect("executed");
}

async fn versions(storage: &Storage) -> Vec<i64> {
    let sql = "SELECT version FROM schema_version ORDER BY version";
    match storage.postgres_url() {
        None => sqlx::query_scalar(sql).fetch_all(&mut sqlite(storage).await).await,
        Some(_) => sqlx::query_scalar(sql).fetch_all(&mut postgres(storage).await).await,
    }
    .expect("read")
}

async fn migrations_run_once(database: Database) {
    let storage = migrated(database).await;
    let all: Vec<i64> = (1..=LATEST_SCHEMA).collect();
    assert_eq!(versions(&storage).await, all);
    storage.open().await.close().await;
    assert_eq!(versions(&storage).await, all);
}

async fn a_newer_schema_is_refused_and_left_alone(database: Database) {
    let storage = migrated(database).await;
    execute(&storage, "INSERT INTO schema_version (version) VALUES (9999)").await;
    let refused = storage.try_open().await.expect_err("refused");
    let StoreError::Newer { found, known } = refused else { panic!("{refused:?}") };
    assert_eq!((found, known), (9999, LATEST_SCHEMA));
    assert!(refused.to_string().contains("newer Muster"), "{refused}");
    execute(&storage, "DELETE FROM schema_version WHERE version = 9999").await;
    assert_eq!(versions(&storage).await, (1..=LATEST_SCHEMA).collect::<Vec<_>>());
    storage.open().await.close().await;
}

async fn a_changed_migration_is_refused(database: Database) {
    let storage = migrated(database).await;
    execute(&storage, "UPDATE schema_checksums SET checksum = 'another' WHERE version = 3").await;
    for _ in 0..2 {
        let refused = storage.try_open().await.expect_err("refused");
        let StoreError::OtherSchema { version } = refused else { panic!("{refused:?}") };
        assert_eq!(version, 3);
        assert!(refused.to_string().contains("its migration 3"), "{refused}");
    }
}

async fn a_database_of_before_there_were_checksums_gets_them(database: Database) {
    let storage = migrated(database).await;
    execute(&storage, "DROP TABLE schema_checksums").await;
    storage.open().await.close().await;
    let checksums = "SELECT CAST(COUNT(*) AS BIGINT) FROM schema_checksums WHERE LENGTH(checksum) = 64";
    let noted: i64 = match storage.postgres_url() {
        None => sqlx::query_scalar(checksums).fetch_one(&mut sqlite(&storage).await).await,
        Some(_) => sqlx::query_scalar(checksums).fetch_one(&mut postgres(&storage).await).await,
    }
    .expect("read");
    assert_eq!(noted, LATEST_SCHEMA);
    storage.open().await.close().await;
}
