//! What a transaction promises: all or nothing, one at a time, seen by readers once it is done. One master at a time.

use domain::time::Timestamp;
use sqlx::Connection as _;
use store::{Store, StoreError, meta};
use testkit::{Database, Storage, on_both_databases, soon};

use crate::samples::{add, open, user};

on_both_databases!(
    l01_a_dropped_transaction_leaves_nothing,
    a_failed_statement_spoils_only_its_own_transaction,
    readers_see_what_is_committed,
    each_commit_makes_another_state_and_nothing_else_does,
    a_question_that_is_left_costs_nobody_a_connection,
    writers_take_turns,
    a_second_master_is_refused,
    l06_who_has_the_database_keeps_it_when_its_connection_breaks,
    l06_who_was_overtaken_changes_nothing_and_is_told,
    a_database_opens_again_at_once,
    many_readers_and_a_writer_work_at_a_time,
);

async fn colour(store: &Store) -> Option<String> {
    let mut conn = store.read().await.expect("a connection");
    meta::get(&mut conn, "colour").await.expect("read")
}

async fn l01_a_dropped_transaction_leaves_nothing(database: Database) {
    let (storage, store) = open(database).await;
    let mut tx = store.write().await.expect("a transaction");
    meta::set(&mut tx, "colour", "red").await.expect("written");
    let lost = store::user::insert(&mut tx, &user("alice"), Timestamp(1)).await.expect("inserted");
    drop(tx);
    assert_eq!(colour(&store).await, None);
    // The number was given out by the transaction that never happened.
    assert_eq!(add(&store, &user("bob")).await.id, lost.id);
    store.close().await;
    assert_eq!(colour(&storage.open().await).await, None);
}

async fn a_failed_statement_spoils_only_its_own_transaction(database: Database) {
    let (_storage, store) = open(database).await;
    add(&store, &user("alice")).await;
    let mut tx = store.write().await.expect("a transaction");
    meta::set(&mut tx, "colour", "red").await.expect("written");
    let twice = store::user::insert(&mut tx, &user("alice"), Timestamp(1)).await;
    assert!(matches!(twice, Err(StoreError::Duplicate)), "{twice:?}");
    drop(tx);
    assert_eq!(colour(&store).await, None);
    add(&store, &user("bob")).await;
}

async fn readers_see_what_is_committed(database: Database) {
    let (_storage, store) = open(database).await;
    let mut tx = store.write().await.expect("a transaction");
    meta::set(&mut tx, "colour", "red").await.expect("written");
    assert_eq!(colour(&store).await, None, "not yet");
    let own = meta::get(&mut tx, "colour").await.expect("read");
    assert_eq!(own.as_deref(), Some("red"), "the transaction sees its own change");
    tx.commit_unaudited("a test").await.expect("committed");
    assert_eq!(colour(&store).await.as_deref(), Some("red"));
}

async fn each_commit_makes_another_state_and_nothing_else_does(database: Database) {
    let (_storage, store) = open(database).await;
    let before = store.revision();
    assert!(before.is_some(), "nothing is under way");
    colour(&store).await;
    let mut tx = store.write().await.expect("a transaction");
    meta::set(&mut tx, "colour", "red").await.expect("written");
    assert_eq!(store.revision(), before, "nobody sees it yet");
    drop(tx);
    assert_eq!(store.revision(), before);
    let mut tx = store.write().await.expect("a transaction");
    meta::set(&mut tx, "colour", "red").await.expect("written");
    tx.commit_unaudited("a test").await.expect("committed");
    assert!(store.revision() > before, "{before:?}, then {:?}", store.revision());
}

async fn a_question_that_is_left_costs_nobody_a_connection(database: Database) {
    let (_storage, store) = open(database).await;
    add(&store, &user("alice")).await;
    // More often than there are connections.
    for _ in 0..50 {
        let mut conn = store.read().await.expect("a connection");
        let asked = store::user::by_username(&mut conn, "alice");
        tokio::select! {
            biased;
            _ = asked => {}
            () = std::future::ready(()) => {}
        }
    }
    for _ in 0..50 {
        let mut conn = store.read().await.expect("a connection");
        let found = store::user::by_username(&mut conn, "alice").await.expect("read");
        assert_eq!(found.expect("there").username, "alice", "nobody gets another one's answer");
        assert_eq!(colour(&store).await, None);
    }
}

async fn writers_take_turns(database: Database) {
    let (_storage, store) = open(database).await;
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let store = store.clone();
        writers.spawn(async move {
            let mut tx = store.write().await.expect("a transaction");
            let before = meta::get(&mut tx, "count").await.expect("read");
            let before: u32 = before.map_or(0, |text| text.parse().expect("a number"));
            meta::set(&mut tx, "count", &(before + 1).to_string()).await.expect("written");
            tx.commit_unaudited("a test").await.expect("committed");
        });
    }
    soon("all writers", writers.join_all()).await;
    let mut conn = store.read().await.expect("a connection");
    assert_eq!(meta::get(&mut conn, "count").await.expect("read").as_deref(), Some("20"));
}

async fn a_second_master_is_refused(database: Database) {
    let (storage, store) = open(database).await;
    if database == Database::Sqlite {
        // There the data directory is what a master holds; the file itself may be looked at.
        assert!(storage.try_open().await.is_ok());
        return;
    }
    let second = storage.try_open().await;
    assert!(matches!(second, Err(StoreError::InUse)), "{second:?}");
    add(&store, &user("alice")).await;
}

/// MN1: a connection breaks, as with every restart of the server; what it held was never taken again.
async fn l06_who_has_the_database_keeps_it_when_its_connection_breaks(database: Database) {
    let (storage, store) = open(database).await;
    if database == Database::Sqlite {
        return;
    }
    for _ in 0..3 {
        let broken = break_lock(&storage).await;
        assert!(broken > 0, "a connection holds the lock");
        // Nobody changes anything; it is taken again all the same.
        let taken = async {
            tokio::select! {
                () = store.until_overtaken() => panic!("nobody else was there"),
                () = async {
                    while [0, broken].contains(&of_locks(&storage, "max(pid)").await) {
                        tokio::task::yield_now().await;
                    }
                } => {}
            }
        };
        soon("the lock", taken).await;
        let second = storage.try_open().await;
        assert!(matches!(second, Err(StoreError::InUse)), "{second:?}");
    }
    add(&store, &user("alice")).await;
}

async fn l06_who_was_overtaken_changes_nothing_and_is_told(database: Database) {
    let (storage, store) = open(database).await;
    if database == Database::Sqlite {
        return;
    }
    break_lock(&storage).await;
    // Faster than the first one comes back.
    let second = storage.open().await;
    let failed = store.write().await.map(drop);
    assert!(matches!(failed, Err(StoreError::Unavailable(_) | StoreError::Overtaken)), "{failed:?}");
    add(&second, &user("alice")).await;
    soon("the news", store.until_overtaken()).await;
    // Also when the other one has gone.
    second.close().await;
    let failed = store.write().await.map(drop);
    assert!(matches!(failed, Err(StoreError::Overtaken)), "{failed:?}");
    storage.open().await;
}

/// What the server knows of locks of masters' on this database.
async fn of_locks(storage: &Storage, what: &str) -> i64 {
    let url = storage.postgres_url().expect("PostgreSQL");
    let mut conn = sqlx::PgConnection::connect(&url).await.expect("connected");
    let here = "database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let sql =
        format!("SELECT coalesce({what}, 0)::bigint FROM pg_locks WHERE locktype = 'advisory' AND {here}");
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&mut conn).await.expect("asked")
}

/// Ends the connection that holds one; answers its process.
async fn break_lock(storage: &Storage) -> i64 {
    of_locks(storage, "max(pid) FILTER (WHERE pg_terminate_backend(pid))").await
}

async fn a_database_opens_again_at_once(database: Database) {
    let (storage, mut store) = open(database).await;
    for n in 0..10 {
        add(&store, &user(&format!("user{n}"))).await;
        store.close().await;
        store = storage.open().await;
    }
    let mut conn = store.read().await.expect("a connection");
    let count = store::user::count(&mut conn, &store::user::Filter::default()).await;
    assert_eq!(count.expect("counted"), 10);
}

async fn many_readers_and_a_writer_work_at_a_time(database: Database) {
    let (_storage, store) = open(database).await;
    let alice = add(&store, &user("alice")).await;
    let mut tx = store.write().await.expect("a transaction");
    meta::set(&mut tx, "colour", "red").await.expect("written");
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (store, alice) = (store.clone(), alice.clone());
        readers.spawn(async move {
            let mut conn = store.read().await.expect("a connection");
            let found = store::user::by_id(&mut conn, alice.id).await.expect("read");
            assert_eq!(found, Some(alice));
        });
    }
    soon("readers beside an open transaction", readers.join_all()).await;
    tx.commit_unaudited("a test").await.expect("committed");
}
