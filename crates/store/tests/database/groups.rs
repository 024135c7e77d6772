//! Groups, who is in them, what they give; and what clients keep for their user.

use domain::id::{GroupId, UserId};
use domain::setting::Setting;
use sqlx::Connection as _;
use store::group::Filter;
use store::{Store, StoreError, group, setting};
use testkit::{Database, Storage, on_both_databases};

use crate::samples::{NOW, add, open, user};

on_both_databases!(
    members_come_and_go,
    names_are_unique,
    groups_are_found_by_name_and_member,
    a_deleted_group_leaves_nothing,
    settings_are_replaced_for_one_account,
);

async fn make(store: &Store, name: &str, members: &[UserId]) -> GroupId {
    let mut tx = store.write().await.expect("a transaction");
    let made = group::insert(&mut tx, name, NOW).await.expect("inserted");
    for member in members {
        assert!(group::add(&mut tx, made.id, *member).await.expect("added"));
    }
    tx.commit_unaudited("a test").await.expect("committed");
    made.id
}

async fn members_come_and_go(database: Database) {
    let (_storage, store) = open(database).await;
    let (alice, bob) = (add(&store, &user("alice")).await, add(&store, &user("bob")).await);
    let id = make(&store, "lab", &[bob.id, alice.id]).await;
    let mut tx = store.write().await.expect("a transaction");
    assert!(!group::add(&mut tx, id, bob.id).await.expect("asked"), "in it already");
    assert_eq!(group::members(&mut tx, id).await.expect("read"), [alice.clone(), bob.clone()]);
    assert!(group::remove(&mut tx, id, bob.id).await.expect("removed"));
    assert!(!group::remove(&mut tx, id, bob.id).await.expect("asked"));
    assert_eq!(group::members(&mut tx, id).await.expect("read"), [alice]);
}

async fn names_are_unique(database: Database) {
    let (_storage, store) = open(database).await;
    let (first, second) = (make(&store, "a", &[]).await, make(&store, "b", &[]).await);
    let mut tx = store.write().await.expect("a transaction");
    group::rename(&mut tx, first, "c").await.expect("renamed");
    assert_eq!(group::by_id(&mut tx, first).await.expect("read").expect("there").name, "c");
    let taken = group::rename(&mut tx, second, "c").await;
    assert!(matches!(taken, Err(StoreError::Duplicate)), "{taken:?}");
    drop(tx);
    let mut tx = store.write().await.expect("a transaction");
    let taken = group::insert(&mut tx, "a", NOW).await;
    assert!(matches!(taken, Err(StoreError::Duplicate)), "{taken:?}");
}

async fn groups_are_found_by_name_and_member(database: Database) {
    let (_storage, store) = open(database).await;
    let (alice, bob) = (add(&store, &user("alice")).await, add(&store, &user("bob")).await);
    make(&store, "one", &[alice.id]).await;
    make(&store, "it's", &[alice.id, bob.id]).await;
    make(&store, "three", &[]).await;
    let mut conn = store.read().await.expect("a connection");
    let mut found = async |name: Option<&str>, member: Option<UserId>| {
        let filter = Filter { name: name.map(str::to_owned), member };
        let count = group::count(&mut conn, &filter).await.expect("counted");
        let list = group::list(&mut conn, &filter, 0, 10).await.expect("listed");
        assert_eq!(count, i64::try_from(list.len()).expect("few"));
        list.into_iter().map(|(group, members)| (group.id.0, members)).collect::<Vec<_>>()
    };
    assert_eq!(found(None, None).await, [(1, 1), (2, 2), (3, 0)]);
    assert_eq!(found(None, Some(alice.id)).await, [(1, 1), (2, 2)]);
    assert_eq!(found(Some("it's"), None).await, [(2, 2)]);
    assert_eq!(found(Some("one"), Some(bob.id)).await, []);
    assert_eq!(found(Some("one\0"), None).await, []);
    let page = group::list(&mut conn, &Filter::default(), 1, 1).await.expect("listed");
    assert_eq!(page.len(), 1);
    assert_eq!(page[0].0.name, "it's");
}

/// Does something past the store.
macro_rules! raw {
    ($storage:expr, |$c:ident| $body:expr) => {
        match $storage.postgres_url() {
            None => {
                let url = format!("sqlite://{}", $storage.sqlite_file().display());
                let $c = &mut sqlx::SqliteConnection::connect(&url).await.expect("connected");
                $body
            }
            Some(url) => {
                let $c = &mut sqlx::PgConnection::connect(&url).await.expect("connected");
                $body
            }
        }
    };
}

async fn count(storage: &Storage, sql: &'static str) -> i64 {
    raw!(storage, |c| sqlx::query_scalar(sql).fetch_one(c).await).expect("counted")
}

async fn a_deleted_group_leaves_nothing(database: Database) {
    let (storage, store) = open(database).await;
    let alice = add(&store, &user("alice")).await;
    let (gone, stays) = (make(&store, "gone", &[alice.id]).await, make(&store, "stays", &[alice.id]).await);
    // What a group may do where; an account of the same number keeps what it may do.
    let sql = "INSERT INTO memberships (scope, scope_id, member_kind, member_id, role) VALUES
        ('workspace', 7, 'group', 1, 'editor'), ('project', 7, 'group', 1, 'viewer'),
        ('workspace', 7, 'group', 2, 'editor'), ('workspace', 7, 'user', 1, 'editor')";
    raw!(storage, |c| sqlx::query(sql).execute(c).await.map(drop)).expect("inserted");
    let mut tx = store.write().await.expect("a transaction");
    group::delete(&mut tx, gone).await.expect("deleted");
    tx.commit_unaudited("a test").await.expect("committed");
    let mut conn = store.read().await.expect("a connection");
    assert_eq!(group::by_id(&mut conn, gone).await.expect("read"), None);
    assert_eq!(group::members(&mut conn, stays).await.expect("read"), [alice]);
    drop(conn);
    assert_eq!(count(&storage, "SELECT COUNT(*) FROM group_members").await, 1);
    let left = "SELECT COUNT(*) FROM memberships WHERE member_kind = 'user' OR member_id = 2";
    assert_eq!(count(&storage, left).await, 2);
    assert_eq!(count(&storage, "SELECT COUNT(*) FROM memberships").await, 2);
}

async fn settings_are_replaced_for_one_account(database: Database) {
    let (_storage, store) = open(database).await;
    let (alice, bob) = (add(&store, &user("alice")).await, add(&store, &user("bob")).await);
    let setting = |path: &str, value: &str| Setting {
        path: path.to_owned(),
        key: "k".to_owned(),
        value: value.to_owned(),
    };
    for (owner, settings) in [
        (alice.id, vec![setting("b", "1"), setting("a", "it's")]),
        (bob.id, vec![setting("a", "2")]),
        (alice.id, vec![setting("c", "3"), setting("a", "4")]),
    ] {
        let mut tx = store.write().await.expect("a transaction");
        let there = setting::of_user(&mut tx, owner).await.expect("read");
        setting::replace(&mut tx, owner, &there, &settings).await.expect("replaced");
        tx.commit_unaudited("a test").await.expect("committed");
    }
    let mut conn = store.read().await.expect("a connection");
    let all = setting::of_user(&mut conn, alice.id).await.expect("read");
    assert_eq!(all, [setting("a", "4"), setting("c", "3")]);
    assert_eq!(setting::of_user(&mut conn, bob.id).await.expect("read"), [setting("a", "2")]);
}
