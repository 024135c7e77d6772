//! Whatever is done to the audit log behind the master's back shows. Here, because only this crate may write tables as
//! they are.

use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};
use testkit::{Database, Requests as _, TestMaster, on_both_databases};

on_both_databases!(a_log_that_was_tampered_with_is_found_out);

async fn execute(master: &TestMaster, sql: &str) {
    let sql = AssertSqlSafe(sql.to_owned());
    match master.storage().postgres_url() {
        Some(url) => {
            let mut raw = PgConnection::connect(&url).await.expect("connected");
            sqlx::query(sql).execute(&mut raw).await.map(drop).expect("executed");
        }
        None => {
            let url = format!("sqlite://{}", master.storage().sqlite_file().display());
            let mut raw = SqliteConnection::connect(&url).await.expect("connected");
            sqlx::query(sql).execute(&mut raw).await.map(drop).expect("executed");
        }
    }
}

async fn a_log_that_was_tampered_with_is_found_out(database: Database) {
    let master = TestMaster::start(database).await;
    let admin = master.admin().await;
    for name in ["ann", "ben", "cy"] {
        master.user(name).await;
    }
    let broken = async || {
        let verified = admin.get("/api/v1/audit/verify").await.ok();
        verified["broken"].as_str().map(str::to_owned)
    };
    assert_eq!(broken().await, None);
    for (harm, undo, said) in [
        (
            "UPDATE audit SET body = replace(body, 'admin', 'eve') WHERE seq = 3",
            "UPDATE audit SET body = replace(body, 'eve', 'admin') WHERE seq = 3",
            "entry 3 was changed",
        ),
        (
            "UPDATE audit SET actor = 'system' WHERE seq = 4",
            "UPDATE audit SET actor = 'user 1' WHERE seq = 4",
            "entry 4 was changed",
        ),
        (
            "UPDATE audit SET seq = 1000 WHERE seq = 2",
            "UPDATE audit SET seq = 2 WHERE seq = 1000",
            "is missing",
        ),
        (
            // Another digit, whatever the digest begins with (B22).
            "UPDATE audit SET hash = CASE substr(hash, 1, 1) WHEN '0' THEN '1' ELSE '0' END || substr(hash, 2)
             WHERE seq = 1",
            "SELECT 1",
            "entry 1 was changed",
        ),
    ] {
        execute(&master, harm).await;
        let found = broken().await.unwrap_or_default();
        assert!(found.contains(said), "{harm}: {found:?}");
        execute(&master, undo).await;
    }
    // Who takes away the oldest has no entry that says so.
    let master = TestMaster::start(database).await;
    let admin = master.admin().await;
    master.user("ann").await;
    execute(&master, "DELETE FROM audit WHERE seq <= 2").await;
    let verified = admin.get("/api/v1/audit/verify").await.ok();
    let said = "entries 1 to 2 are missing, and no entry says that they were removed";
    assert_eq!(verified["broken"], said, "{verified}");
}
