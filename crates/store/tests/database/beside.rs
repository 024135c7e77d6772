//! Who looks at SQLite's database from outside while a master works on it: back-ups, above all. (L05)

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use domain::user::User;
use store::Store;
use testkit::{Database, on_sqlite};
use tokio::process::Command;

use crate::samples::{NOW, open, user};

on_sqlite!(
    l05_the_reserve_leaves_sqlite_its_locks,
    l05_looks_and_back_ups_from_outside_leave_the_master_at_work
);

/// The journal is then longer than what one page of its index tells of.
const RESERVE: u64 = 16 << 20;

/// Looks at the database, and copies it, over and over; each copy is whole.
const OUTSIDE: &str = "
import sqlite3, sys
for number in range(10):
    db = sqlite3.connect(f'file:{sys.argv[1]}?mode=ro', uri=True, timeout=60)
    db.execute('select count(*) from users').fetchone()
    db.close()
    db, copy = sqlite3.connect(sys.argv[1], timeout=60), sqlite3.connect(f'{sys.argv[1]}.{number}')
    db.backup(copy)
    for looked_at in copy, db:
        assert looked_at.execute('pragma integrity_check').fetchone() == ('ok',)
    copy.close()
    db.close()
";

/// Locks of this process on a file, as the kernel lists them.
fn locks(file: &Path) -> usize {
    use std::os::unix::fs::MetadataExt as _;
    let inode = format!(":{}", std::fs::metadata(file).expect("there").ino());
    let own = std::process::id().to_string();
    let is_ours = |line: &&str| {
        let words: Vec<_> = line.split_whitespace().collect();
        words.contains(&own.as_str()) && words.iter().any(|word| word.ends_with(&inode))
    };
    std::fs::read_to_string("/proc/locks").expect("read").lines().filter(is_ours).count()
}

async fn put(store: &Store, name: &str) {
    let large = User { display_name: "x".repeat(4000), ..user(name) };
    let mut tx = store.write().await.expect("a transaction");
    store::user::insert(&mut tx, &large, NOW).await.expect("inserted");
    tx.commit_unaudited("a test").await.expect("committed");
}

async fn l05_the_reserve_leaves_sqlite_its_locks(_: Database) {
    let (storage, store) = open(Database::Sqlite).await;
    put(&store, "first").await;
    let file = storage.sqlite_file();
    let index = Path::new(&format!("{}-shm", file.display())).to_owned();
    for round in 0..3 {
        store.keep_reserve(RESERVE).await.expect("kept");
        assert!(locks(&index) > 0, "it says that the index is in use (round {round})");
        put(&store, &format!("user{round}")).await;
    }
    store.close().await;
    assert!(!index.exists(), "the last one out takes it away");
    let store = storage.open().await;
    put(&store, "last").await;
    store.keep_reserve(RESERVE).await.expect("kept");
    assert!(locks(&index) > 0, "also of the next store");
    store.close().await;
}

async fn l05_looks_and_back_ups_from_outside_leave_the_master_at_work(_: Database) {
    let (storage, store) = open(Database::Sqlite).await;
    store.keep_reserve(RESERVE).await.expect("kept");
    let over = Arc::new(AtomicBool::new(false));
    let (writes, ends) = (store.clone(), Arc::clone(&over));
    let load = tokio::spawn(async move {
        let mut count = 0;
        while !ends.load(Ordering::SeqCst) {
            put(&writes, &format!("user{count}")).await;
            count += 1;
            if count % 16 == 0 {
                writes.keep_reserve(RESERVE).await.expect("kept");
            }
        }
        count
    });
    let mut outside = Command::new(testkit::env::python());
    let outside = outside.args(["-c", OUTSIDE]).arg(storage.sqlite_file()).stdin(Stdio::null()).output();
    let found = outside.await.expect("python");
    over.store(true, Ordering::SeqCst);
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    let count = load.await.expect("no write failed");
    let filter = store::user::Filter::default();
    let there = store::user::count(&mut store.read().await.expect("a connection"), &filter).await;
    assert_eq!(there.expect("counted"), count);
    store.close().await;
}
