//! Files that are sent along (R44, R45): what is taken, what is given back, and to whom.

use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use testkit::{Database, Requests as _, TestMaster, User, on_both_databases};

on_both_databases!(
    a_context_comes_back_in_both_forms,
    r44_paths_stay_inside,
    r45_what_is_too_much_or_no_file_is_refused,
    a_context_and_a_work_dir_exclude_each_other,
    b12_no_file_stays_that_no_living_task_needs,
);

fn file(path: &str, content: &[u8], mode: u32) -> Value {
    json!({"path": path, "type": 48, "content": STANDARD.encode(content), "mtime": 7, "mode": mode, "uid": 0, "gid": 0})
}

async fn launch(by: &User, files: &[Value]) -> testkit::Response {
    let body = json!({"config": {"entrypoint": ["true"]}, "files": files});
    by.post("/api/v1/commands").json(body).await
}

/// What an archive holds: path, mode, content.
fn unpacked(archive: &[u8]) -> Vec<(String, u32, String)> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(archive));
    let entries = archive.entries().expect("an archive");
    let entry = |entry: Result<tar::Entry<'_, _>, _>| {
        let mut entry: tar::Entry<'_, flate2::read::GzDecoder<&[u8]>> = entry.expect("an entry");
        let mut text = String::new();
        entry.read_to_string(&mut text).expect("text");
        let path = entry.path().expect("a path").display().to_string();
        (path, entry.header().mode().expect("a mode"), text)
    };
    entries.map(entry).collect()
}

async fn a_context_comes_back_in_both_forms(database: Database) {
    let master = TestMaster::start(database).await;
    let (alice, bob) = (master.user("alice").await, master.user("bob").await);
    let mut agent = master.agent("node").await;
    let files = [
        json!({"path": "train", "type": 53, "content": "", "mtime": "7", "mode": 0o755, "uid": 0, "gid": 0}),
        file("train/run.py", b"print(1)\n", 0o100_755),
        file("./setuid", b"", 0o104_644),
    ];
    launch(&alice, &files).await.ok();
    let with = agent.accept_start().await;
    assert!(with.has_context);
    let path = format!("/api/v1/tasks/{}/context_directory", with.allocation.task);
    let packed = alice.get(&path).header("accept", "application/gzip").await.expect(200);
    assert_eq!(packed.header("content-type"), "application/gzip");
    assert_eq!(packed.header("content-length"), packed.body.len().to_string());
    assert!(bob.get(&path).await.refused(403).contains("only the owner of a task and editors"));
    master.admin().await.get(&path).await.ok();
    let expected = [("train", 0o755, ""), ("train/run.py", 0o755, "print(1)\n"), ("setuid", 0o644, "")];
    let told: Vec<_> = unpacked(&packed.body);
    let told: Vec<_> =
        told.iter().map(|(path, mode, text)| (path.trim_end_matches('/'), *mode, text.as_str())).collect();
    assert_eq!(told, expected);
    let encoded = alice.get(&path).await.ok();
    let decoded = STANDARD.decode(encoded["b64Tgz"].as_str().expect("text")).expect("base64");
    assert_eq!(decoded, packed.body);

    // The task itself fetches it with its own token, and no other task's.
    let bearer = format!("Bearer {}", with.token);
    let own = master.anon().get(&path).header("grpc-metadata-x-allocation-token", &bearer).await.ok();
    assert_eq!(own, encoded);
    let other = master.task(&bob, &mut agent).await;
    assert!(!other.start.has_context);
    other.get(&path).await.refused(404);
    let none = other.get(&format!("/api/v1/tasks/{}/context_directory", other.id())).await.ok();
    assert_eq!(none, json!({"b64Tgz": ""}));
    master.anon().get(&path).await.refused(401);
}

async fn r44_paths_stay_inside(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    for path in ["../x", "/etc/passwd", "a/../../x", "a/..", "..", ".", "", "a\u{0}b", "./../x"] {
        let refused =
            launch(&alice, &[file("good", b"x", 0o644), file(path, b"x", 0o644)]).await.refused(400);
        assert!(refused.contains("must be relative without .."), "{path:?}: {refused}");
    }
    assert_eq!(alice.get("/api/v1/commands").await.ok()["pagination"]["total"], 0, "nothing half done");
    assert!(!master.storage().data_dir().join("contexts").exists(), "nothing is kept either");
}

async fn r45_what_is_too_much_or_no_file_is_refused(database: Database) {
    let master = TestMaster::configured(database, |config| config.max_context_bytes = 1 << 20).await;
    let alice = master.user("alice").await;
    let half = vec![b'x'; 600 << 10];
    let refused = launch(&alice, &[file("a", &half, 0o644), file("b", &half, 0o644)]).await.refused(400);
    assert!(refused.contains("larger than the maximum allowed size of 1 MiB"), "{refused}");
    let link = json!({"path": "link", "type": 50, "content": "", "mode": 0o777});
    assert!(launch(&alice, &[link]).await.refused(400).contains("neither file nor directory"));
    let broken = json!({"path": "a", "type": 48, "content": "no base64!"});
    assert!(launch(&alice, &[broken]).await.refused(400).contains("not base64"));
    launch(&alice, &[file("a", &half, 0o644)]).await.ok();
    assert_eq!(alice.get("/info").await.ok()["max_context_bytes"], 1 << 20, "told before the upload");
    assert_eq!(alice.get("/api/v1/commands").await.ok()["pagination"]["total"], 1);
}

async fn a_context_and_a_work_dir_exclude_each_other(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let body =
        json!({"config": {"entrypoint": ["true"], "work_dir": "/tmp"}, "files": [file("a", b"", 0o644)]});
    let refused = alice.post("/api/v1/commands").json(body).await.refused(400);
    assert_eq!(refused, "cannot set work_dir and context directory at the same time");
}

async fn b12_no_file_stays_that_no_living_task_needs(database: Database) {
    let mut master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let mut agent = master.agent("node").await;
    let folder = master.storage().data_dir().join("contexts");
    let kept = || -> usize {
        let Ok(folders) = std::fs::read_dir(&folder) else { return 0 };
        folders.map(|folder| std::fs::read_dir(folder.expect("read").path()).expect("read").count()).sum()
    };
    // The client is killed in the middle of its upload, or when all of it is there.
    let files = [file("a", &vec![b'x'; 600 << 10], 0o644)];
    let body = json!({"config": {"entrypoint": ["true"]}, "files": files}).to_string();
    for part in [1, 1000, body.len() / 2, body.len() - 1] {
        let length = body.len().to_string();
        let half = alice.post("/api/v1/commands").body(&body.as_bytes()[..part]);
        half.header("content-length", &length).cut_after(std::time::Duration::from_millis(20)).await;
    }
    // Whoever may not run it, writes nothing.
    let place = alice.post("/api/v1/workspaces").json(json!({"name": "old"})).await.ok();
    let place = place["workspace"]["id"].clone();
    alice.post(&format!("/api/v1/workspaces/{place}/archive")).await.ok();
    let closed = json!({"config": {"entrypoint": ["true"]}, "workspaceId": place, "files": files});
    alice.post("/api/v1/commands").json(closed).await.refused(400);
    assert_eq!(alice.get("/api/v1/commands").await.ok()["pagination"]["total"], 0);
    assert_eq!(kept(), 0);

    launch(&alice, &files).await.ok();
    let start = agent.accept_start().await;
    let waits = launch(&alice, &[file("b", b"b", 0o644)]).await.ok();
    agent.accept_start().await;
    launch(&alice, &[file("c", b"c", 0o644)]).await.ok();
    assert_eq!(kept(), 3);
    agent.exit(start.allocation, 0).await;
    let gone = format!("/api/v1/tasks/{}/context_directory", start.allocation.task);
    assert_eq!(alice.get(&gone).await.ok(), json!({"b64Tgz": ""}));
    assert_eq!(kept(), 2, "over is over");
    // What a master that was killed left behind.
    let stray = folder.join("ff");
    std::fs::create_dir_all(&stray).expect("made");
    std::fs::write(stray.join("torn.part"), "x").expect("written");
    master.restart().await;
    assert_eq!(kept(), 2, "what lives stays");
    let id = waits["command"]["id"].as_str().expect("an id").to_owned();
    assert_ne!(alice.get(&format!("/api/v1/tasks/{id}/context_directory")).await.ok(), json!({"b64Tgz": ""}));
}
