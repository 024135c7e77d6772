//! Failed logins in a row.

use domain::throttle::{Failures, Scope};
use domain::time::Timestamp;
use store::{Store, login_failure};
use testkit::{Database, on_both_databases};

use crate::samples::open;

on_both_databases!(r18_failures_are_counted_and_forgotten, a08_an_account_has_so_many_devices,);

async fn known(store: &Store, scope: Scope, subject: &str) -> Option<(i64, i64)> {
    let mut conn = store.read().await.expect("a connection");
    let found = login_failure::get(&mut conn, scope, subject).await.expect("read");
    found.map(|Failures { count, last_at }| (count, last_at.0))
}

async fn r18_failures_are_counted_and_forgotten(database: Database) {
    let (_storage, store) = open(database).await;
    let mut tx = store.write().await.expect("a transaction");
    for at in [1, 2, 3] {
        login_failure::add(&mut tx, Scope::Account, "a", Timestamp(at)).await.expect("added");
    }
    login_failure::add(&mut tx, Scope::Address, "a", Timestamp(9)).await.expect("added");
    tx.commit_unaudited("a test").await.expect("committed");
    assert_eq!(known(&store, Scope::Account, "a").await, Some((3, 3)));
    assert_eq!(known(&store, Scope::Address, "a").await, Some((1, 9)), "each scope for itself");

    let mut tx = store.write().await.expect("a transaction");
    login_failure::delete_old(&mut tx, Timestamp(4)).await.expect("deleted");
    tx.commit_unaudited("a test").await.expect("committed");
    assert_eq!(known(&store, Scope::Account, "a").await, None);
    assert_eq!(known(&store, Scope::Address, "a").await, Some((1, 9)));

    let mut tx = store.write().await.expect("a transaction");
    login_failure::clear(&mut tx, Scope::Address, "a").await.expect("cleared");
    tx.commit_unaudited("a test").await.expect("committed");
    assert_eq!(known(&store, Scope::Address, "a").await, None);
}

async fn a08_an_account_has_so_many_devices(database: Database) {
    let (_storage, store) = open(database).await;
    let mut tx = store.write().await.expect("a transaction");
    for (account, place, at) in [
        ("a", "device 1", 3),
        ("a", "device 2", 1),
        ("a", "device 3", 2),
        ("a", "192.0.2.1", 1),
        ("b", "device 2", 1),
    ] {
        login_failure::add_place(&mut tx, account, place, Timestamp(at)).await.expect("added");
    }
    login_failure::delete_oldest_places(&mut tx, "a", "device ", 2).await.expect("deleted");
    tx.commit_unaudited("a test").await.expect("committed");
    let mut conn = store.read().await.expect("a connection");
    for (account, place, stays) in [
        ("a", "device 1", true),
        ("a", "device 2", false),
        ("a", "device 3", true),
        ("a", "192.0.2.1", true),
        ("b", "device 2", true),
    ] {
        let known = login_failure::is_known_place(&mut conn, account, place).await.expect("read");
        assert_eq!(known, stays, "{account} {place}");
    }
}
