//! Nothing in the database opens a door (R23). Here and not beside the other HTTP tests, because only this crate may
//! read tables as they are.

use std::collections::BTreeSet;

use sqlx::sqlite::SqliteRow;
use sqlx::{Column as _, Connection as _, Row as _, SqliteConnection, TypeInfo as _, ValueRef as _};
use testkit::{Database, Requests as _, TestMaster, on_sqlite};

on_sqlite!(r23_no_column_of_the_database_lets_anybody_in);

/// Every value of every table, as text.
async fn values(file: &std::path::Path) -> BTreeSet<String> {
    let url = format!("sqlite://{}", file.display());
    let mut raw = SqliteConnection::connect(&url).await.expect("connected");
    let tables = "SELECT name FROM sqlite_master WHERE type = 'table'";
    let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(&mut raw).await.expect("read");
    assert!(tables.iter().any(|name| name == "sessions"), "{tables:?}");
    let mut values = BTreeSet::new();
    for table in tables {
        let sql = sqlx::AssertSqlSafe(format!("SELECT * FROM {table}"));
        let rows = sqlx::query(sql).fetch_all(&mut raw).await.expect("read");
        values.extend(rows.iter().flat_map(texts));
    }
    values
}

fn texts(row: &SqliteRow) -> Vec<String> {
    let text = |at: usize| {
        let raw = row.try_get_raw(at).expect("a value");
        match raw.type_info().name() {
            "NULL" => None,
            "TEXT" => Some(row.get::<String, _>(at)),
            _ => Some(row.get_unchecked::<i64, _>(at).to_string()),
        }
    };
    row.columns().iter().filter_map(|column| text(column.ordinal())).collect()
}

async fn r23_no_column_of_the_database_lets_anybody_in(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let password = serde_json::json!({"password": "a quiet lake"});
    alice.patch(&alice.path()).json(password).await.ok();
    let alice = master.log_in_with("alice", "a quiet lake").await;
    let mut agent = master.agent("node").await;
    let task = master.task(&alice, &mut agent).await;
    master.invitation(None).await;
    let made = alice.post("/api/v1/tokens").json(serde_json::json!({"description": "ci"})).await.ok();
    let access = made["token"].as_str().expect("a token").to_owned();

    let anon = master.anon();
    let values = values(&master.storage().sqlite_file()).await;
    let secrets = [&alice.token, &task.start.token, &access];
    assert!(values.iter().all(|value| !secrets.iter().any(|secret| value.contains(secret.as_str()))));
    let mut tried = 0;
    // A header can't hold more than visible ASCII.
    for value in values
        .iter()
        .filter(|value| !value.is_empty() && value.bytes().all(|b| b.is_ascii_graphic() || b == b' '))
    {
        let bearer = format!("Bearer {value}");
        let as_session = anon.get("/api/v1/me").header("authorization", &bearer).await;
        assert_eq!(as_session.status, 401, "{value} as a session's token");
        let as_task = anon.get("/api/v1/me").header("grpc-metadata-x-allocation-token", &bearer).await;
        assert_eq!(as_task.status, 401, "{value} as a task's token");
        let as_cookie =
            anon.get("/api/v1/me").header("cookie", &format!("auth={}", value.replace(';', ""))).await;
        assert_eq!(as_cookie.status, 401, "{value} as a cookie");
        tried += 1;
    }
    assert!(tried > 20, "{tried} values tried: the tables can't be that empty");
    for name in ["admin", "alice"] {
        // A blank password is admin's own; nothing of it is kept.
        for value in values.iter().filter(|value| !value.is_empty()) {
            let answer = anon.log_in(name, value).await;
            assert_ne!(answer.status, 200, "{value} as {name}'s password");
        }
    }
    alice.get("/api/v1/me").await.ok();
    anon.get("/api/v1/me").header("authorization", &format!("Bearer {access}")).await.ok();
}
