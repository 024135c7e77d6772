//! Enrolled agents and invitations.

use domain::id::AgentId;
use domain::time::Timestamp;
use store::agent::{self, Agent, Invitation};
use store::{Store, StoreError};
use testkit::{Database, on_both_databases};

use crate::samples::{NOW, add, open, user};

on_both_databases!(
    an_agent_is_read_as_it_was_written,
    r29_a_name_and_a_key_enrol_once,
    r28_an_invitation_is_used_once,
);

fn id(name: &str) -> AgentId {
    name.parse().expect("a name")
}

async fn enrol(store: &Store, name: &str, key: &str) -> Result<(), StoreError> {
    let mut tx = store.write().await.expect("a transaction");
    agent::insert(&mut tx, &id(name), key, NOW).await?;
    tx.commit_unaudited("a test").await
}

async fn an_agent_is_read_as_it_was_written(database: Database) {
    let (_storage, store) = open(database).await;
    enrol(&store, "node-b", "key-b").await.expect("enrolled");
    enrol(&store, "node-a", "key-a").await.expect("enrolled");
    let fresh = |name, key: &str| Agent {
        id: id(name),
        public_key: key.to_owned(),
        enabled: true,
        draining: false,
        disabled_slots: Vec::new(),
    };
    let mut conn = store.read().await.expect("a connection");
    let all = agent::list(&mut conn).await.expect("listed");
    assert_eq!(all, [fresh("node-a", "key-a"), fresh("node-b", "key-b")]);
    drop(conn);

    let changed =
        Agent { enabled: false, draining: true, disabled_slots: vec![0, 7], ..fresh("node-a", "key-a") };
    let mut tx = store.write().await.expect("a transaction");
    agent::set_service(&mut tx, &changed).await.expect("changed");
    let unknown = agent::set_service(&mut tx, &fresh("node-c", "")).await;
    assert!(matches!(unknown, Err(StoreError::RowsAffected { .. })), "{unknown:?}");
    tx.commit_unaudited("a test").await.expect("committed");
    let mut conn = store.read().await.expect("a connection");
    assert_eq!(agent::by_id(&mut conn, &id("node-a")).await.expect("read"), Some(changed));
    assert_eq!(agent::by_id(&mut conn, &id("node-c")).await.expect("read"), None);
}

async fn r29_a_name_and_a_key_enrol_once(database: Database) {
    let (_storage, store) = open(database).await;
    enrol(&store, "node", "key").await.expect("enrolled");
    for (name, key) in [("node", "other"), ("other", "key")] {
        let again = enrol(&store, name, key).await;
        assert!(matches!(again, Err(StoreError::Duplicate)), "{name} {key}: {again:?}");
    }
    enrol(&store, "other", "other").await.expect("a refusal leaves nothing behind");
}

async fn r28_an_invitation_is_used_once(database: Database) {
    let (_storage, store) = open(database).await;
    let admin = add(&store, &user("admin")).await;
    let mut tx = store.write().await.expect("a transaction");
    let node = id("node");
    let (by, end) = (Some(admin.id), Timestamp(5));
    agent::insert_invitation(&mut tx, "named", Some(&node), by, NOW, end).await.expect("kept");
    agent::insert_invitation(&mut tx, "open", None, None, NOW, Timestamp(6)).await.expect("kept");
    let again = agent::insert_invitation(&mut tx, "open", None, None, NOW, NOW).await;
    assert!(matches!(again, Err(StoreError::Duplicate)), "{again:?}");
    drop(tx);
    let mut tx = store.write().await.expect("a transaction");
    agent::insert_invitation(&mut tx, "named", Some(&node), by, NOW, end).await.expect("kept");
    agent::insert_invitation(&mut tx, "open", None, None, NOW, Timestamp(6)).await.expect("kept");
    agent::use_invitation(&mut tx, "named", "key").await.expect("used");
    let twice = agent::use_invitation(&mut tx, "named", "other").await;
    assert!(matches!(twice, Err(StoreError::RowsAffected { .. })), "{twice:?}");
    tx.commit_unaudited("a test").await.expect("committed");

    let used = Invitation { agent: Some(node), used_by_key: Some("key".to_owned()), expires_at: end };
    let fresh = Invitation { agent: None, used_by_key: None, expires_at: Timestamp(6) };
    let mut conn = store.read().await.expect("a connection");
    for (hash, expected) in [("named", Some(used)), ("open", Some(fresh)), ("unknown", None)] {
        let found = agent::invitation(&mut conn, hash).await.expect("read");
        assert_eq!(found, expected, "{hash}");
    }
}
