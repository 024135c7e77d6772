//! Accounts: what is written is read, names are unique, lists are filtered, sorted and paged alike on both databases.

use domain::id::UserId;
use domain::identity::{MachineNumber, UnixIdentity};
use domain::time::Timestamp;
use domain::user::{Password, Status, User};
use store::user::{Filter, SortBy};
use store::{Begin, Store, StoreError};
use testkit::{Database, on_both_databases};

use crate::samples::{NOW, add, open, user};

on_both_databases!(
    an_account_is_read_as_it_was_written,
    a_name_is_unique_and_exact,
    ids_are_never_reused,
    active_administrators_are_counted,
    r48_names_are_searched_for_literally,
    lists_are_filtered,
    lists_are_sorted_with_the_id_as_last_key,
    pages_join_to_the_whole_list,
    a_name_with_nul_is_not_found,
    f10_machines_know_an_account_by_one_number_for_ever,
);

async fn find(store: &Store, name: &str) -> Option<User> {
    let mut conn = store.read().await.expect("a connection");
    store::user::by_username(&mut conn, name).await.expect("read")
}

async fn names(store: &Store, filter: &Filter) -> Vec<String> {
    let mut conn = store.read().await.expect("a connection");
    let found = store::user::list(&mut conn, filter, Begin::At(0), 1000).await.expect("listed");
    let count = store::user::count(&mut conn, filter).await.expect("counted");
    assert_eq!(usize::try_from(count).expect("small"), found.len(), "{filter:?}");
    let (mut walked, mut last) = (Vec::new(), None);
    loop {
        let step =
            store::user::list(&mut conn, filter, Begin::after(last.as_ref()), 2).await.expect("listed");
        let Some(user) = step.last() else { break };
        last = Some(user.clone());
        walked.extend(step);
    }
    assert_eq!(walked, found, "{filter:?}");
    found.into_iter().map(|user| user.username).collect()
}

async fn an_account_is_read_as_it_was_written(database: Database) {
    let (_storage, store) = open(database).await;
    let alice = User {
        display_name: "Alice 'A' \"B\" %_!".to_owned(),
        admin: true,
        status: Status::Pending,
        remote: true,
        password: Password::Hash("$argon2id$…".to_owned()),
        identity: Some(UnixIdentity {
            user: "alice".to_owned(),
            uid: u32::MAX - 1,
            group: "lab".to_owned(),
            gid: 0,
        }),
        ..user("alice")
    };
    let alice = add(&store, &alice).await;
    assert_eq!(find(&store, "alice").await.as_ref(), Some(&alice));

    for password in [Password::Impossible, Password::Blank] {
        let changed = User {
            username: "alicia".to_owned(),
            display_name: String::new(),
            admin: false,
            status: Status::Deactivated,
            remote: false,
            password,
            identity: None,
            modified_at: Timestamp(NOW.0 + 1),
            ..alice.clone()
        };
        let mut tx = store.write().await.expect("a transaction");
        store::user::update(&mut tx, &changed).await.expect("updated");
        store::user::set_last_login(&mut tx, alice.id, Timestamp(7)).await.expect("noted");
        tx.commit_unaudited("a test").await.expect("committed");
        let mut conn = store.read().await.expect("a connection");
        let read = store::user::by_id(&mut conn, alice.id).await.expect("read").expect("there");
        let last_login_at = Some(Timestamp(7));
        assert_eq!(read, User { last_login_at, ..changed });
    }
    assert_eq!(find(&store, "alice").await, None);
}

async fn a_name_is_unique_and_exact(database: Database) {
    let (_storage, store) = open(database).await;
    let alice = add(&store, &user("alice")).await;
    let bob = add(&store, &User { display_name: "Bobby".to_owned(), ..user("bob") }).await;
    let mut tx = store.write().await.expect("a transaction");
    let second = store::user::insert(&mut tx, &user("alice"), NOW).await;
    assert!(matches!(second, Err(StoreError::Duplicate)), "{second:?}");
    drop(tx);

    let mut tx = store.write().await.expect("a transaction");
    let renamed = User { username: "alice".to_owned(), ..bob.clone() };
    let update = store::user::update(&mut tx, &renamed).await;
    assert!(matches!(update, Err(StoreError::Duplicate)), "{update:?}");
    drop(tx);

    assert_eq!(find(&store, "Alice").await, None, "case counts");
    // a14: to people it is the same name.
    let mut tx = store.write().await.expect("a transaction");
    let twin = store::user::insert(&mut tx, &user("Alice"), NOW).await;
    assert!(matches!(twin, Err(StoreError::Duplicate)), "{twin:?}");
    drop(tx);
    let mut tx = store.write().await.expect("a transaction");
    let own = User { username: "ALICE".to_owned(), ..alice.clone() };
    store::user::update(&mut tx, &own).await.expect("one's own may change its case");
    drop(tx);
    let mut conn = store.read().await.expect("a connection");
    for (name, id, taken) in [
        ("BOBBY", alice.id, true),
        ("bobby", bob.id, false),
        ("ALICE", bob.id, true),
        ("nobody", bob.id, false),
    ] {
        let found = store::user::name_in_use_by_other(&mut conn, name, id).await;
        assert_eq!(found.expect("looked up"), taken, "{name}");
    }
}

async fn ids_are_never_reused(database: Database) {
    let (_storage, store) = open(database).await;
    let first = add(&store, &user("first")).await;
    let second = add(&store, &user("second")).await;
    assert!(first.id < second.id);
    let mut tx = store.write().await.expect("a transaction");
    let unknown = store::user::update(&mut tx, &user("nobody")).await;
    assert!(matches!(unknown, Err(StoreError::RowsAffected { actual: 0, .. })), "{unknown:?}");
    drop(tx);
    // SQLite's own numbering would give the number of the newest deleted session again.
    let mut given = Vec::new();
    for _ in 0..3 {
        let mut tx = store.write().await.expect("a transaction");
        let hash = format!("{}", given.len());
        let session = store::session::insert(&mut tx, first.id, &hash, NOW, NOW).await.expect("inserted");
        store::session::delete(&mut tx, session.id).await.expect("deleted");
        tx.commit_unaudited("a test").await.expect("committed");
        assert!(!given.contains(&session.id), "{:?} again", session.id);
        given.push(session.id);
    }
}

async fn active_administrators_are_counted(database: Database) {
    let (_storage, store) = open(database).await;
    let admin = |name, status| User { admin: true, status, ..user(name) };
    for user in [
        admin("one", Status::Active),
        admin("two", Status::Active),
        admin("gone", Status::Deactivated),
        admin("new", Status::Pending),
        user("normal"),
    ] {
        add(&store, &user).await;
    }
    let mut conn = store.read().await.expect("a connection");
    assert_eq!(store::user::active_admins(&mut conn).await.expect("counted"), 2);
}

async fn r48_names_are_searched_for_literally(database: Database) {
    let (_storage, store) = open(database).await;
    for name in ["100%", "1000", "a_b", "axb", "wow!", "o'hara", "back\\slash", "UPPER"] {
        add(&store, &user(name)).await;
    }
    add(&store, &User { display_name: "Great % Man".to_owned(), ..user("zed") }).await;
    for (part, expected) in [
        ("%", vec!["100%", "zed"]),
        ("_", vec!["a_b"]),
        ("!", vec!["wow!"]),
        ("!%", vec![]),
        ("o'h", vec!["o'hara"]),
        ("\\", vec!["back\\slash"]),
        ("upper", vec!["UPPER"]),
        ("GREAT", vec!["zed"]),
        ("' OR 1=1 --", vec![]),
        ("\0", vec![]),
    ] {
        let filter = Filter { name: Some(part.to_owned()), ..Filter::default() };
        assert_eq!(names(&store, &filter).await, expected, "{part:?}");
    }
    let all = Filter { name: Some(String::new()), ..Filter::default() };
    assert_eq!(names(&store, &all).await.len(), 9);
}

async fn lists_are_filtered(database: Database) {
    let (_storage, store) = open(database).await;
    for user in [
        User { admin: true, ..user("boss") },
        user("worker"),
        User { status: Status::Deactivated, ..user("gone") },
        User { status: Status::Pending, ..user("new") },
    ] {
        add(&store, &user).await;
    }
    let choose = |active, admin| Filter { active, admin, ..Filter::default() };
    for (filter, expected) in [
        (choose(None, None), vec!["boss", "worker", "gone", "new"]),
        (choose(Some(true), None), vec!["boss", "worker"]),
        (choose(Some(false), None), vec!["gone", "new"]),
        (choose(None, Some(true)), vec!["boss"]),
        (choose(Some(true), Some(false)), vec!["worker"]),
    ] {
        assert_eq!(names(&store, &filter).await, expected, "{filter:?}");
    }
}

async fn lists_are_sorted_with_the_id_as_last_key(database: Database) {
    let (_storage, store) = open(database).await;
    let bob = User { display_name: "Zoe".to_owned(), admin: true, ..user("bob") };
    let carl = User { display_name: "Anna".to_owned(), remote: true, ..user("carl") };
    let abel = User { status: Status::Deactivated, ..user("abel") };
    for user in [&bob, &carl, &abel] {
        add(&store, user).await;
    }
    let carl = find(&store, "carl").await.expect("there");
    let mut tx = store.write().await.expect("a transaction");
    store::user::set_last_login(&mut tx, carl.id, NOW).await.expect("noted");
    store::user::update(&mut tx, &User { modified_at: Timestamp(NOW.0 + 5), ..carl }).await.expect("updated");
    tx.commit_unaudited("a test").await.expect("committed");

    for (sort, ascending, descending) in [
        (SortBy::Id, ["bob", "carl", "abel"], ["abel", "carl", "bob"]),
        (SortBy::Username, ["abel", "bob", "carl"], ["carl", "bob", "abel"]),
        (SortBy::DisplayName, ["abel", "carl", "bob"], ["bob", "carl", "abel"]),
        (SortBy::Name, ["carl", "bob", "abel"], ["abel", "bob", "carl"]),
        (SortBy::Admin, ["carl", "abel", "bob"], ["bob", "carl", "abel"]),
        (SortBy::Active, ["bob", "carl", "abel"], ["abel", "bob", "carl"]),
        (SortBy::ModifiedAt, ["bob", "abel", "carl"], ["carl", "bob", "abel"]),
        (SortBy::LastLogin, ["bob", "abel", "carl"], ["carl", "bob", "abel"]),
        (SortBy::Remote, ["bob", "abel", "carl"], ["carl", "bob", "abel"]),
    ] {
        for (down, expected) in [(false, ascending), (true, descending)] {
            let filter = Filter { sort, descending: down, ..Filter::default() };
            assert_eq!(names(&store, &filter).await, expected, "{sort:?}, descending: {down}");
        }
    }
}

async fn pages_join_to_the_whole_list(database: Database) {
    let (_storage, store) = open(database).await;
    for n in 0..7 {
        // Equal keys: only the id tells them apart.
        add(&store, &User { display_name: "same".to_owned(), ..user(&format!("user{n}")) }).await;
    }
    let filter = Filter { sort: SortBy::DisplayName, descending: true, ..Filter::default() };
    let mut conn = store.read().await.expect("a connection");
    let mut joined = Vec::new();
    for offset in [0, 3, 6, 9] {
        let page = store::user::list(&mut conn, &filter, Begin::At(offset), 3).await.expect("listed");
        joined.extend(page.into_iter().map(|user| user.username));
    }
    drop(conn);
    assert_eq!(joined, names(&store, &filter).await);
}

/// PostgreSQL has no NUL in its texts and would answer with an error in place of nothing.
async fn a_name_with_nul_is_not_found(database: Database) {
    let (_storage, store) = open(database).await;
    add(&store, &user("ab")).await;
    assert_eq!(find(&store, "a\0b").await, None);
    assert_eq!(find(&store, "ab\0").await, None);
}

async fn number(store: &Store, id: UserId) -> Option<u32> {
    let mut conn = store.read().await.expect("a connection");
    store::user::machine_number(&mut conn, id).await.expect("read").map(MachineNumber::get)
}

/// Whether an account has got it.
async fn give(store: &Store, id: UserId, number: u32) -> bool {
    let number = MachineNumber::new(number).expect("there is one");
    let mut tx = store.write().await.expect("a transaction");
    let given = store::user::set_machine_number(&mut tx, id, number).await.expect("asked");
    tx.commit_unaudited("a test").await.expect("committed");
    given
}

async fn f10_machines_know_an_account_by_one_number_for_ever(database: Database) {
    let (_storage, store) = open(database).await;
    let (alice, bob) = (add(&store, &user("alice")).await, add(&store, &user("bob")).await);
    assert_eq!(number(&store, alice.id).await, None, "not before it is needed");
    assert!(give(&store, alice.id, 7).await);
    assert!(!give(&store, alice.id, 8).await, "it has one");
    assert!(!give(&store, bob.id, 7).await, "it is another's");
    let gone = User { status: Status::Deactivated, deleted_at: Some(NOW), ..alice.clone() };
    let mut tx = store.write().await.expect("a transaction");
    store::user::update(&mut tx, &gone).await.expect("updated");
    tx.commit_unaudited("a test").await.expect("committed");
    assert!(!give(&store, bob.id, 7).await, "and stays that");
    assert!(give(&store, bob.id, MachineNumber::SPACE - 1).await);
    assert_eq!(number(&store, alice.id).await, Some(7));
    assert_eq!(number(&store, bob.id).await, Some(MachineNumber::SPACE - 1));
    assert!(!give(&store, UserId(999), 9).await, "nobody");
}

/// There are as many as `domain` says, and no other gets into the table.
#[test]
fn f10_the_table_has_the_numbers_that_there_are() {
    let migration = include_str!("../../migrations/0010_machine_numbers.sql");
    let told = format!("machine_number BETWEEN 0 AND {})", MachineNumber::SPACE - 1);
    assert!(migration.contains(&told), "{told}");
}
