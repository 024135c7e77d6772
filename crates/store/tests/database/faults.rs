//! The disk that holds the database is full. (L03)

use std::fs;
use std::path::Path;

use domain::user::User;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use sqlx::{Connection as _, SqliteConnection};
use store::user::Filter;
use store::{Store, StoreError};
use testkit::{Database, on_sqlite};

use crate::samples::{NOW, add, user};

on_sqlite!(l03_a_full_disk_is_told_and_survived);

/// A file system of two MiB; gone with this value.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let options = Some("size=2M,mode=0700");
        mount(Some("tmpfs"), folder.path(), Some("tmpfs"), MsFlags::empty(), options)
            .expect("this test mounts a file system: run it as root");
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = umount2(self.0.path(), MntFlags::MNT_DETACH);
    }
}

/// Puts an account in that takes some room.
async fn put(store: &Store, n: usize) -> Result<(), StoreError> {
    let large = User { display_name: "x".repeat(4000), ..user(&format!("user{n}")) };
    let mut tx = store.write().await?;
    store::user::insert(&mut tx, &large, NOW).await?;
    tx.commit_unaudited("a test").await
}

async fn count(store: &Store) -> usize {
    let mut conn = store.read().await.expect("a connection");
    let count = store::user::count(&mut conn, &Filter::default()).await;
    count.expect("counted").try_into().expect("small")
}

async fn l03_a_full_disk_is_told_and_survived(_: Database) {
    let disk = SmallDisk::mount();
    let file = disk.path().join("muster.db");
    let store = Store::open_sqlite(&file).await.expect("the database opens");
    let ballast = disk.path().join("ballast");
    fs::write(&ballast, vec![0; 300 << 10]).expect("written");

    let mut acknowledged = 0;
    let refused = loop {
        match put(&store, acknowledged).await {
            Ok(()) => acknowledged += 1,
            Err(error) => break error,
        }
        assert!(acknowledged < 1000, "the disk never filled");
    };
    assert!(matches!(refused, StoreError::DiskFull), "{refused:?}");
    assert!(acknowledged > 0);
    for _ in 0..3 {
        let again = put(&store, acknowledged).await.expect_err("still full");
        assert!(matches!(again, StoreError::DiskFull), "{again:?}");
    }
    assert_eq!(count(&store).await, acknowledged, "reading goes on, and nothing is half there");

    fs::remove_file(&ballast).expect("removed");
    put(&store, acknowledged).await.expect("there is space again");
    add(&store, &user("bob")).await;
    assert_eq!(count(&store).await, acknowledged + 2);
    store.close().await;

    let url = format!("sqlite://{}", file.display());
    let mut raw = SqliteConnection::connect(&url).await.expect("connected");
    let check: String =
        sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut raw).await.expect("checked");
    assert_eq!(check, "ok");
}
