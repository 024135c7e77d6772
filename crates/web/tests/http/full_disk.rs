//! The disk of the master's data directory is full, and somebody takes whatever becomes free (A4).

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use domain::log::Source;
use domain::task::Exit;
use domain::time::Timestamp;
use serde_json::json;
use testkit::{Database, Requests as _, TestMaster, on_sqlite};

on_sqlite!(
    a04_logins_and_ends_go_on_while_the_disk_is_eaten,
    a04_a_log_without_space_keeps_no_task_from_ending,
);

const RESERVE: u64 = 16 << 20;

/// Logins and ends.
const ROUNDS: u64 = 1_000;

/// Eats a disk until it is dropped.
struct Eater {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    file: PathBuf,
}

impl Eater {
    #[expect(clippy::disallowed_methods, reason = "a disk tells nobody when it has room again")]
    fn on(folder: &Path) -> Self {
        let (over, file) = (Arc::new(AtomicBool::new(false)), folder.join("eaten"));
        let mut target = File::create(&file).expect("made");
        let told = Arc::clone(&over);
        let full = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut told_full = false;
            let bytes = vec![b'x'; 1 << 20];
            while !told.load(Ordering::SeqCst) {
                for piece in [&bytes[..], &bytes[..4096], &bytes[..1]] {
                    while target.write(piece).is_ok() {}
                }
                if !told_full {
                    told_full = true;
                    full.0.send(()).expect("waited for");
                }
                std::thread::sleep(std::time::Duration::from_millis(3));
            }
        });
        full.1.recv().expect("the disk gets full");
        Self { over, thread: Some(thread), file }
    }
}

impl Drop for Eater {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = std::fs::remove_file(&self.file);
    }
}

async fn a04_logins_and_ends_go_on_while_the_disk_is_eaten(_: Database) {
    let master = TestMaster::on_small_disk("256m", |config| config.disk_reserve_bytes = RESERVE).await;
    let (admin, user) = (master.admin().await, master.default_user().await);
    let mut agent = master.agent("node").await;
    let runs = master.task(&user, &mut agent).await;
    master.store().keep_reserve(RESERVE).await.expect("kept");
    let eater = Eater::on(&master.storage().data_dir());
    let no_space = std::fs::write(master.storage().data_dir().join("more"), [0; 8192]);
    assert_eq!(no_space.expect_err("full").kind(), std::io::ErrorKind::StorageFull);

    for number in 0..ROUNDS {
        let session = master.default_user().await;
        if number % 4 == 0 {
            session.post("/api/v1/auth/logout").await.ok();
        }
        let id = user.run_true().await;
        let start = agent.accept_start().await;
        assert_eq!(start.allocation.task.to_string(), id);
        agent.exit(start.allocation, 0).await;
    }
    user.post(&format!("/api/v1/commands/{}/kill", runs.id())).await.ok();
    agent.expect_kill(runs.start.allocation).await;
    agent.exit_as(runs.start.allocation, Exit { code: 137, killed: true, ..Default::default() }).await;
    assert_eq!(user.command(&runs.id()).await["state"], "STATE_TERMINATED");
    assert_eq!(master.services().disagreements().await.expect("asked"), Vec::<String>::new());

    drop(eater);
    master.store().keep_reserve(RESERVE).await.expect("kept");
    admin.post("/api/v1/users").json(json!({"user": {"username": "bob", "active": true}})).await.ok();
    let task = master.task(&user, &mut agent).await;
    agent.send_log(task.start.allocation, Source::Stdout, Timestamp(0), b"there again\n").await;
    agent.exit(task.start.allocation, 0).await;
    assert!(user.log(&task.id()).await.iter().any(|line| line.contains("there again")));
}

async fn a04_a_log_without_space_keeps_no_task_from_ending(_: Database) {
    let master = TestMaster::on_small_disk("256m", |config| config.disk_reserve_bytes = RESERVE).await;
    let user = master.default_user().await;
    let mut agent = master.agent("node").await;
    let [lost, kept] = [master.task(&user, &mut agent).await, master.task(&user, &mut agent).await];
    master.store().keep_reserve(RESERVE).await.expect("kept");
    let exit = || Exit { code: 0, ..Default::default() };
    let eater = Eater::on(&master.storage().data_dir());
    for task in [&lost, &kept] {
        let large = vec![b'x'; 20_000];
        agent.write_unsent(task.start.allocation, Source::Stdout, Timestamp(0), &large);
        agent.push_log(task.start.allocation).await;
        agent.say_exit(task.start.allocation, exit()).await;
    }
    // The connection stands, and a kill or another one's end gets through.
    let other = user.run(json!({"entrypoint": ["true"], "resources": {"slots": 0}})).await;
    let start = agent.accept_start().await;
    assert_eq!(start.allocation.task.to_string(), other);
    agent.exit(start.allocation, 0).await;
    assert_eq!(user.command(&kept.id()).await["state"], "STATE_RUNNING", "it waits for its log");
    // The agent says it again: one of the logs has no space still, the other one has.
    agent.exit(lost.start.allocation, 0).await;
    assert_eq!(user.command(&lost.id()).await["exitCode"], 0);
    let said = user.log(&lost.id()).await;
    assert!(said.iter().any(|line| line.contains("bytes of this log are lost")), "{said:?}");
    drop(eater);
    agent.push_log(kept.start.allocation).await;
    agent.exit(kept.start.allocation, 0).await;
    let log = user.log(&kept.id()).await;
    assert!(log.iter().any(|line| line.contains("xxxx")), "nothing of it is lost: {log:?}");
}
