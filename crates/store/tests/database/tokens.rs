//! Access tokens.

use domain::id::{TokenId, UserId};
use domain::time::Timestamp;
use domain::token::{Scope, Token};
use domain::user::User;
use store::token::{Filter, SortBy};
use store::{Begin, Store, StoreError, token};
use testkit::{Database, on_both_databases};

use crate::samples::{NOW, add, open, user};

on_both_databases!(
    a_token_is_found_by_its_hash_with_its_account,
    what_is_written_is_read,
    all_tokens_of_an_account_are_revoked_and_no_others,
    lists_go_by_account_id_and_state,
);

async fn issue(store: &Store, owner: &User, hash: &str, end: i64) -> Token {
    let token = Token {
        id: TokenId(0),
        user: owner.id,
        username: owner.username.clone(),
        description: format!("it's \"{hash}\""),
        scope: Scope::Read,
        created_at: NOW,
        expires_at: Timestamp(end),
        revoked_at: None,
        last_used_at: None,
    };
    let mut tx = store.write().await.expect("a transaction");
    let issued = token::insert(&mut tx, &token, hash, Some(owner.id)).await.expect("inserted");
    tx.commit_unaudited("a test").await.expect("committed");
    issued
}

async fn a_token_is_found_by_its_hash_with_its_account(database: Database) {
    let (_storage, store) = open(database).await;
    let (alice, bob) = (add(&store, &user("alice")).await, add(&store, &user("bob")).await);
    let (first, second) = (issue(&store, &alice, "a", 10).await, issue(&store, &bob, "b", 10).await);
    let mut conn = store.read().await.expect("a connection");
    for (hash, token, owner) in [("a", first, alice), ("b", second, bob)] {
        let found = token::by_token_hash(&mut conn, hash).await.expect("read");
        assert_eq!(found, Some((token.clone(), owner)));
        assert_eq!(token::by_id(&mut conn, token.id).await.expect("read"), Some(token));
    }
    assert_eq!(token::by_token_hash(&mut conn, "c").await.expect("read"), None);
    drop(conn);
    let mut tx = store.write().await.expect("a transaction");
    let twin = token::by_id(&mut tx, TokenId(1)).await.expect("read").expect("there");
    let again = token::insert(&mut tx, &twin, "a", None).await;
    assert!(matches!(again, Err(StoreError::Duplicate)), "{again:?}");
}

async fn what_is_written_is_read(database: Database) {
    let (_storage, store) = open(database).await;
    let alice = add(&store, &user("alice")).await;
    let token = issue(&store, &alice, "a", 10).await;
    let changed =
        Token { description: "new".to_owned(), revoked_at: Some(NOW), last_used_at: Some(NOW), ..token };
    let mut tx = store.write().await.expect("a transaction");
    token::update(&mut tx, &changed).await.expect("updated");
    token::set_last_used(&mut tx, changed.id, NOW).await.expect("noted");
    tx.commit_unaudited("a test").await.expect("committed");
    let mut tx = store.write().await.expect("a transaction");
    assert_eq!(token::by_id(&mut tx, changed.id).await.expect("read"), Some(changed.clone()));
    let missing = token::update(&mut tx, &Token { id: TokenId(9), ..changed }).await;
    assert!(matches!(missing, Err(StoreError::RowsAffected { actual: 0, .. })), "{missing:?}");
}

async fn all_tokens_of_an_account_are_revoked_and_no_others(database: Database) {
    let (_storage, store) = open(database).await;
    let (alice, bob) = (add(&store, &user("alice")).await, add(&store, &user("bob")).await);
    for (owner, hash) in [(&alice, "a1"), (&alice, "a2"), (&bob, "b")] {
        issue(&store, owner, hash, 10).await;
    }
    for at in [5, 6] {
        let mut tx = store.write().await.expect("a transaction");
        token::revoke_of_user(&mut tx, alice.id, Timestamp(at)).await.expect("revoked");
        tx.commit_unaudited("a test").await.expect("committed");
    }
    let mut conn = store.read().await.expect("a connection");
    for (id, revoked) in [(1, Some(Timestamp(5))), (2, Some(Timestamp(5))), (3, None)] {
        let token = token::by_id(&mut conn, TokenId(id)).await.expect("read").expect("there");
        assert_eq!(token.revoked_at, revoked);
    }
}

async fn lists_go_by_account_id_and_state(database: Database) {
    let (_storage, store) = open(database).await;
    let (alice, bob) = (add(&store, &user("alice")).await, add(&store, &user("bob")).await);
    for (owner, hash, end) in [(&alice, "c", 30), (&bob, "a", 20), (&alice, "b", 10)] {
        issue(&store, owner, hash, end).await;
    }
    let mut conn = store.read().await.expect("a connection");
    let mut ids = async |filter: Filter| {
        let count = token::count(&mut conn, &filter).await.expect("counted");
        let list = token::list(&mut conn, &filter, Begin::At(0), 10).await.expect("listed");
        assert_eq!(count, i64::try_from(list.len()).expect("few"));
        for (at, last) in list.iter().enumerate() {
            let rest = token::list(&mut conn, &filter, Begin::Behind(last), 10).await.expect("listed");
            assert_eq!(rest, list[at + 1..], "{filter:?}");
        }
        list.iter().map(|token| token.id.0).collect::<Vec<_>>()
    };
    let all = Filter::default;
    assert_eq!(ids(all()).await, [1, 2, 3]);
    assert_eq!(ids(Filter { user: Some(alice.id), ..all() }).await, [1, 3]);
    assert_eq!(ids(Filter { user: Some(UserId(9)), ..all() }).await, [0; 0]);
    assert_eq!(ids(Filter { ids: vec![TokenId(3), TokenId(9)], ..all() }).await, [3]);
    // The end is the first moment at which it is no longer good.
    assert_eq!(ids(Filter { live_at: Some(Timestamp(20)), ..all() }).await, [1]);
    assert_eq!(ids(Filter { live_at: Some(Timestamp(19)), ..all() }).await, [1, 2]);
    for (sort, expected) in [
        (SortBy::Id, [3, 2, 1]),
        (SortBy::User, [2, 3, 1]),
        (SortBy::Expiry, [1, 2, 3]),
        (SortBy::CreatedAt, [3, 2, 1]),
        (SortBy::Revoked, [3, 2, 1]),
        (SortBy::Description, [1, 3, 2]),
    ] {
        assert_eq!(ids(Filter { sort, descending: true, ..all() }).await, expected, "{sort:?}");
    }
}
