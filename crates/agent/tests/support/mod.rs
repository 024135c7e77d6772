//! What the tests stand on: a master that does only what the protocol says, and agents in directories of their own.

mod agent;
mod gate;
mod master;
mod plain;

pub(crate) use agent::{TestAgent, identity};
pub(crate) use gate::Gate;
pub(crate) use master::{FakeMaster, Seen};
pub(crate) use plain::Plain;

use std::mem::MaybeUninit;
use std::path::Path;
use std::time::Duration;

use api::agent::Start;
use domain::id::{AllocationId, TaskId};
use domain::log::{Records, Source};
use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};

/// How long anything may take before a test fails. Machines that run many tests at once are slow.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Waits for something that must happen.
pub(crate) async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, work).await {
        Ok(done) => done,
        Err(_) => panic!("{what}: not within {DEADLINE:?}"),
    }
}

/// Waits until a directory is empty.
pub(crate) async fn emptied(dir: &Path) {
    let dir = dir.to_owned();
    let wait = tokio::task::spawn_blocking(move || {
        let inotify = inotify::init(CreateFlags::CLOEXEC).expect("inotify");
        inotify::add_watch(&inotify, &dir, WatchFlags::DELETE).expect("watched");
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = Reader::new(inotify, &mut buffer);
        while std::fs::read_dir(&dir).expect("there").next().is_some() {
            events.next().expect("an event");
        }
    });
    soon("an empty directory", wait).await.expect("no panic");
}

/// A run that no other test has.
pub(crate) fn new_run() -> AllocationId {
    let bytes: u128 = rand::random();
    let hex = format!("{bytes:032x}");
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    AllocationId::first(parts.join("-").parse::<TaskId>().expect("a UUID"))
}

/// A run of a shell command line.
pub(crate) fn shell(line: &str) -> Start {
    Start {
        allocation: new_run(),
        owner: Some(7),
        entrypoint: vec![line.to_owned()],
        env: vec![("DET_USER".to_owned(), "ann".to_owned())],
        identity: identity(),
        work_dir: None,
        bind_mounts: vec![],
        shm_bytes: None,
        network: None,
        slots: vec![],
        has_context: false,
        startup_hook: None,
        token: "token-of-the-run".to_owned(),
        given: String::new(),
    }
}

/// What a run wrote to one of its outputs.
pub(crate) fn output(log: &[u8], source: Source) -> String {
    let mut records = Records::new(log);
    let of_source = records.by_ref().filter(|record| record.source == source);
    let bytes: Vec<u8> = of_source.flat_map(|record| record.payload.to_vec()).collect();
    assert_eq!(records.consumed(), log.len(), "only whole records are kept");
    String::from_utf8(bytes).expect("text")
}
