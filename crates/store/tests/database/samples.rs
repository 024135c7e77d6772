//! Rows that tests put in.

use domain::allocation::Allocation;
use domain::config::TaskConfig;
use domain::id::{AllocationId, ResourcePool, TaskId, UNCATEGORIZED, UserId};
use domain::identity::UnixIdentity;
use domain::kind::Kind;
use domain::scheduler::Weight;
use domain::task::{Standing, Task};
use domain::time::Timestamp;
use domain::user::{Password, Status, User};
use serde_json::json;
use store::Store;
use testkit::{Database, Storage};
use uuid::Uuid;

/// When everything happens.
pub(crate) const NOW: Timestamp = Timestamp(1_000_000);

/// An open database; the first value keeps it.
pub(crate) async fn open(database: Database) -> (Storage, Store) {
    let storage = Storage::create(database).await;
    let store = storage.open().await;
    (storage, store)
}

/// An active account that isn't stored yet.
pub(crate) fn user(name: &str) -> User {
    User {
        id: UserId(0),
        username: name.to_owned(),
        display_name: String::new(),
        admin: false,
        status: Status::Active,
        remote: false,
        password: Password::Blank,
        identity: None,
        email: None,
        service: false,
        modified_at: NOW,
        last_login_at: None,
        deleted_at: None,
    }
}

/// Stores an account.
pub(crate) async fn add(store: &Store, user: &User) -> User {
    let mut tx = store.write().await.expect("a transaction");
    let added = store::user::insert(&mut tx, user, NOW).await.expect("inserted");
    tx.commit_unaudited("a test").await.expect("committed");
    added
}

/// Stores an account and the shared workspace, which tasks need.
pub(crate) async fn owner(store: &Store, name: &str) -> User {
    let owner = add(store, &user(name)).await;
    let mut tx = store.write().await.expect("a transaction");
    store::workspace::insert_uncategorized(&mut tx, owner.id, NOW).await.expect("inserted");
    tx.commit_unaudited("a test").await.expect("committed");
    owner
}

/// A queued command of `owner`'s that isn't stored yet.
pub(crate) fn task(owner: &User) -> Task {
    let id = TaskId(Uuid::new_v4());
    Task {
        id,
        kind: Kind::Command,
        seq: 0,
        owner: owner.id,
        owner_name: owner.username.clone(),
        owner_display_name: owner.display_name.clone(),
        workspace: UNCATEGORIZED,
        description: "it's \"true\" — 真".into(),
        pool: ResourcePool::default(),
        slots: 2,
        weight: Weight::ONE,
        max_slots: None,
        priority: 42,
        identity: UnixIdentity::root(),
        has_context: true,
        created_at: NOW,
        standing: Standing::Active,
        restarts: 0,
        max_restarts: 0,
        log_removed_at: None,
        latest: Allocation::waiting(AllocationId::first(id), NOW),
    }
}

/// What it runs.
pub(crate) fn config() -> TaskConfig {
    let config = json!({"entrypoint": ["true"], "work_dir": "/tmp", "resources": {"slots": 2}});
    TaskConfig::resolve(&json!({}), config).expect("valid")
}

/// Stores a command.
pub(crate) async fn add_task(store: &Store, task: Task) -> Task {
    let mut tx = store.write().await.expect("a transaction");
    let added = store::task::insert(&mut tx, task, &config()).await.expect("inserted");
    tx.commit_unaudited("a test").await.expect("committed");
    added
}
