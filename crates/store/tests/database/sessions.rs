//! Login sessions, facts about the installation, workspaces.

use domain::id::{SessionId, UNCATEGORIZED, UserId};
use domain::time::Timestamp;
use store::{Store, StoreError, meta, session, workspace};
use testkit::{Database, on_both_databases};

use crate::samples::{NOW, add, open, owner, user};

on_both_databases!(
    a_session_is_found_by_its_hash,
    p6_all_sessions_of_an_account_end_and_no_others,
    r24_sessions_that_are_over_are_removed,
    facts_are_kept_and_replaced,
    the_shared_workspace_names_its_owner_as_he_is_called_now,
);

async fn open_session(store: &Store, user: UserId, hash: &str, end: i64) -> SessionId {
    let mut tx = store.write().await.expect("a transaction");
    let session = session::insert(&mut tx, user, hash, NOW, Timestamp(end)).await.expect("inserted");
    tx.commit_unaudited("a test").await.expect("committed");
    session.id
}

async fn is_there(store: &Store, hash: &str) -> bool {
    let mut conn = store.read().await.expect("a connection");
    session::by_token_hash(&mut conn, hash).await.expect("read").is_some()
}

async fn a_session_is_found_by_its_hash(database: Database) {
    let (_storage, store) = open(database).await;
    let alice = add(&store, &user("alice")).await;
    let bob = add(&store, &user("bob")).await;
    let first = open_session(&store, alice.id, "hash-a", 10).await;
    open_session(&store, bob.id, "hash-b", 20).await;

    let mut conn = store.read().await.expect("a connection");
    let found = session::by_token_hash(&mut conn, "hash-a").await.expect("read");
    let (session, user) = found.expect("there");
    assert_eq!((session.id, session.user_id), (first, alice.id));
    assert_eq!((session.created_at, session.expires_at), (NOW, Timestamp(10)));
    assert_eq!(user, alice, "the account's columns aren't mixed up with the session's");
    assert!(session::exists(&mut conn, first).await.expect("read"));
    drop(conn);

    let mut tx = store.write().await.expect("a transaction");
    let again = session::insert(&mut tx, bob.id, "hash-a", NOW, NOW).await;
    assert!(matches!(again, Err(StoreError::Duplicate)), "{again:?}");
    drop(tx);

    let mut tx = store.write().await.expect("a transaction");
    session::delete(&mut tx, first).await.expect("ended");
    session::delete(&mut tx, first).await.expect("ended twice");
    tx.commit_unaudited("a test").await.expect("committed");
    assert!(!is_there(&store, "hash-a").await && is_there(&store, "hash-b").await);
    let mut conn = store.read().await.expect("a connection");
    assert!(!session::exists(&mut conn, first).await.expect("read"));
}

async fn p6_all_sessions_of_an_account_end_and_no_others(database: Database) {
    let (_storage, store) = open(database).await;
    let alice = add(&store, &user("alice")).await;
    let bob = add(&store, &user("bob")).await;
    for (user, hash) in [(alice.id, "a1"), (alice.id, "a2"), (bob.id, "b1")] {
        open_session(&store, user, hash, 10).await;
    }
    let mut tx = store.write().await.expect("a transaction");
    session::delete_of_user(&mut tx, alice.id).await.expect("ended");
    tx.commit_unaudited("a test").await.expect("committed");
    assert!(!is_there(&store, "a1").await && !is_there(&store, "a2").await);
    assert!(is_there(&store, "b1").await);
}

async fn r24_sessions_that_are_over_are_removed(database: Database) {
    let (_storage, store) = open(database).await;
    let alice = add(&store, &user("alice")).await;
    for end in [99, 100, 101] {
        open_session(&store, alice.id, &end.to_string(), end).await;
    }
    let mut tx = store.write().await.expect("a transaction");
    session::delete_expired(&mut tx, Timestamp(100)).await.expect("removed");
    tx.commit_unaudited("a test").await.expect("committed");
    assert!(!is_there(&store, "99").await && !is_there(&store, "100").await);
    assert!(is_there(&store, "101").await);
}

async fn facts_are_kept_and_replaced(database: Database) {
    let (storage, store) = open(database).await;
    let read = async |store: &Store| {
        let mut conn = store.read().await.expect("a connection");
        meta::get(&mut conn, "colour").await.expect("read")
    };
    assert_eq!(read(&store).await, None);
    for value in ["red", "green"] {
        let mut tx = store.write().await.expect("a transaction");
        meta::set(&mut tx, "colour", value).await.expect("written");
        tx.commit_unaudited("a test").await.expect("committed");
        assert_eq!(read(&store).await.as_deref(), Some(value));
    }
    store.close().await;
    let store = storage.open().await;
    assert_eq!(read(&store).await.as_deref(), Some("green"), "after a restart");
}

async fn the_shared_workspace_names_its_owner_as_he_is_called_now(database: Database) {
    let (_storage, store) = open(database).await;
    let admin = owner(&store, "admin").await;
    let renamed = domain::user::User { username: "root".to_owned(), ..admin.clone() };
    let mut tx = store.write().await.expect("a transaction");
    store::user::update(&mut tx, &renamed).await.expect("renamed");
    let twice = workspace::insert_uncategorized(&mut tx, admin.id, NOW).await;
    assert!(matches!(twice, Err(StoreError::Corrupt(_))), "{twice:?}");
    drop(tx);

    let mut tx = store.write().await.expect("a transaction");
    store::user::update(&mut tx, &renamed).await.expect("renamed");
    tx.commit_unaudited("a test").await.expect("committed");
    let mut conn = store.read().await.expect("a connection");
    let all = workspace::list(&mut conn, &workspace::Filter::default(), 0, 10).await.expect("listed");
    let [only] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!((only.id, only.name.as_str()), (UNCATEGORIZED, "Uncategorized"));
    assert_eq!((only.owner, only.owner_name.as_str()), (admin.id, "root"));
}
