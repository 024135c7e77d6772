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
    a14_a_key_is_replaced_and_refused,
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
        enrolled_at: NOW,
        revoked_at: None,
        last_seen_at: None,
        last_address: None,
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
    agent::insert_invitation(&mut tx, "named", (Some(&node), false), by, NOW, end).await.expect("kept");
    agent::insert_invitation(&mut tx, "open", (None, false), None, NOW, Timestamp(6)).await.expect("kept");
    let again = agent::insert_invitation(&mut tx, "open", (None, false), None, NOW, NOW).await;
    assert!(matches!(again, Err(StoreError::Duplicate)), "{again:?}");
    drop(tx);
    let mut tx = store.write().await.expect("a transaction");
    agent::insert_invitation(&mut tx, "named", (Some(&node), false), by, NOW, end).await.expect("kept");
    agent::insert_invitation(&mut tx, "open", (None, false), None, NOW, Timestamp(6)).await.expect("kept");
    agent::use_invitation(&mut tx, "named", "key").await.expect("used");
    let twice = agent::use_invitation(&mut tx, "named", "other").await;
    assert!(matches!(twice, Err(StoreError::RowsAffected { .. })), "{twice:?}");
    tx.commit_unaudited("a test").await.expect("committed");

    let used = Invitation {
        agent: Some(node),
        replaces: false,
        used_by_key: Some("key".to_owned()),
        by,
        expires_at: end,
    };
    let fresh =
        Invitation { agent: None, replaces: false, used_by_key: None, by: None, expires_at: Timestamp(6) };
    let mut conn = store.read().await.expect("a connection");
    for (hash, expected) in [("named", Some(used)), ("open", Some(fresh)), ("unknown", None)] {
        let found = agent::invitation(&mut conn, hash).await.expect("read");
        assert_eq!(found, expected, "{hash}");
    }
}

async fn a14_a_key_is_replaced_and_refused(database: Database) {
    let (_storage, store) = open(database).await;
    enrol(&store, "node", "key").await.expect("enrolled");
    enrol(&store, "other", "taken").await.expect("enrolled");
    let (node, later) = (id("node"), Timestamp(NOW.0 + 5));
    let mut tx = store.write().await.expect("a transaction");
    assert!(!agent::is_refused(&mut tx, "key").await.expect("read"));
    for _ in 0..2 {
        agent::refuse_key(&mut tx, "key", &node, NOW).await.expect("refused");
    }
    agent::revoke(&mut tx, &node, NOW).await.expect("revoked");
    agent::set_seen(&mut tx, &node, Some("10.0.0.7"), NOW).await.expect("seen");
    agent::set_seen(&mut tx, &node, None, later).await.expect("seen");
    let known = agent::by_id(&mut tx, &node).await.expect("read").expect("there");
    assert_eq!((known.revoked_at, known.last_seen_at), (Some(NOW), Some(later)));
    assert_eq!(known.last_address.as_deref(), Some("10.0.0.7"));
    agent::set_key(&mut tx, &node, "new", later).await.expect("replaced");
    let known = agent::by_id(&mut tx, &node).await.expect("read").expect("there");
    assert_eq!((known.public_key.as_str(), known.enrolled_at, known.revoked_at), ("new", later, None));
    assert!(agent::is_refused(&mut tx, "key").await.expect("read"));
    tx.commit_unaudited("a test").await.expect("committed");
    let mut tx = store.write().await.expect("a transaction");
    let taken = agent::set_key(&mut tx, &node, "taken", later).await;
    assert!(matches!(taken, Err(StoreError::Duplicate)), "{taken:?}");
}
