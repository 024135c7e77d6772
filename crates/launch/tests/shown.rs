//! What a launcher of tasks gives them of its own: directories that they only see, and files that are there at the start.

mod support;

use std::fs::{self, File};

use launch::TaskSpec;
use launch::spec::{Content, OwnFile, Shown};
use rustix::fs::{FlockOperation, flock};
use support::{Task, TestDir, root_script, run, script};

fn free(path: &std::path::Path) -> bool {
    let lock = File::open(path).expect("open");
    flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok()
}

/// The directory around is hidden, and what is shown of it can't be changed, whoever asks.
#[test]
fn r40_a_directory_of_the_launchers_is_seen_and_stays_as_it_is() {
    let dir = TestDir::new();
    let hidden = dir.dir("hidden", 0o755, 0);
    let tools = hidden.join("tools");
    fs::create_dir(&tools).unwrap();
    fs::write(tools.join("tool"), "#!/bin/sh\necho works\n").unwrap();
    for path in [tools.clone(), tools.join("tool")] {
        // To whoever is let in it would be writable.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        fs::set_permissions(path, mode).unwrap();
    }
    let shown = vec![Shown { host_path: tools.clone(), name: "tools".into(), lock: None, writable: false }];
    let text = format!(
        "/run/tools/tool; (echo x > /run/tools/tool) 2>/dev/null || echo kept; (: > /run/tools/new) 2>/dev/null || echo kept
         (mount -o remount,rw,bind /run/tools; umount /run/tools; mv /run/tools /run/other) >/dev/null 2>&1 || echo stays
         ls {}",
        hidden.display()
    );
    for spec in [script(&text), root_script(&text)] {
        let done = run(&TaskSpec { shown: shown.clone(), masked: vec![hidden.clone()], ..spec });
        assert_eq!(done.stdout, "works\nkept\nkept\nstays\n", "{done:?}");
    }
    assert_eq!(fs::read_dir(&tools).unwrap().count(), 1);
}

/// Whoever wants to remove it knows that a task has it.
#[test]
fn r40_what_is_shown_is_locked_until_the_task_has_ended() {
    let dir = TestDir::new();
    let tools = dir.dir("tools", 0o755, 0);
    let lock = dir.0.join("tools.lock");
    File::create(&lock).unwrap();
    let shown = Shown { host_path: tools, name: "tools".into(), lock: Some(lock.clone()), writable: false };
    let shown = vec![shown];
    let task = Task::create(&TaskSpec { shown: shown.clone(), ..script("echo up; exec tail -f /dev/null") });
    assert!(task.start());
    task.wait_for("up");
    assert!(!free(&lock));
    task.shim().unwrap().kill_now().unwrap();
    task.wait();
    assert!(free(&lock));
    let remover = File::open(&lock).unwrap();
    flock(&remover, FlockOperation::NonBlockingLockExclusive).unwrap();
    let done = run(&TaskSpec { shown, ..script("echo ran") });
    assert!(done.exit.failure.is_some_and(|why| why.contains("/run/tools")), "{}", done.stdout);
}

/// Whoever can open a file can lock it: a task that has what all are shown keeps nobody waiting.
#[test]
fn ma6_no_task_has_the_lock_of_what_others_are_shown() {
    let dir = TestDir::new();
    let tools = dir.dir("tools", 0o755, 0);
    let lock = dir.0.join("tools.lock");
    File::create(&lock).unwrap();
    let shown = Shown { host_path: tools, name: "tools".into(), lock: Some(lock), writable: false };
    let shown = vec![shown];
    let locks = TaskSpec {
        shown: shown.clone(),
        ..script("flock -x /run/tools sh -c 'echo mine; exec tail -f /dev/null'")
    };
    let task = Task::create(&locks);
    assert!(task.start());
    task.wait_for("mine");
    let done = run(&TaskSpec { shown, ..script("echo ran") });
    assert_eq!((done.stdout.as_str(), done.exit.code), ("ran\n", 0), "{done:?}");
    task.shim().unwrap().kill_now().unwrap();
    task.wait();
}

#[test]
fn r40_what_is_given_is_the_tasks_own() {
    let dir = TestDir::new();
    let made = dir.dir("made", 0o700, 0);
    let shown = vec![Shown { host_path: made.clone(), name: "made".into(), lock: None, writable: true }];
    let done =
        run(&TaskSpec { shown, ..root_script("echo it > /run/made/file && stat -c %u /run/made/file") });
    assert_eq!(done.stdout, "0\n", "{done:?}");
    assert_eq!(fs::read_to_string(made.join("file")).unwrap(), "it\n");
    // In a task root is nobody.
    assert!(std::os::unix::fs::MetadataExt::uid(&fs::metadata(made.join("file")).unwrap()) >= 1 << 20);
}

#[test]
fn r41_a_tasks_own_files_are_there_and_are_its_own() {
    let file = |path: &str, content| OwnFile { path: path.into(), content };
    let own_files = vec![
        file("pythonuserbase/bin/hello", Content::Program("#!/bin/sh\necho hello\n".into())),
        file("pythonuserbase/bin/again", Content::Link("hello".into())),
        file("info/note", Content::Text("noted\n".into())),
    ];
    let text = "cd /run/determined; pythonuserbase/bin/again; cat info/note; stat -c '%u %a' info/note; rm info/note";
    for (spec, uid) in [(script(text), 5001), (root_script(text), 0)] {
        let done = run(&TaskSpec { own_files: own_files.clone(), ..spec });
        assert_eq!(done.stdout, format!("hello\nnoted\n{uid} 644\n"), "{done:?}");
        assert_eq!(done.exit.code, 0);
    }
}

#[test]
fn r44_what_is_given_has_plain_names_and_what_isnt_finished_doesnt_run() {
    let spec = script("echo ran");
    assert!(TaskSpec { unfinished: true, ..spec.clone() }.check().is_err());
    for bad in ["/etc/x", "../x", "a/../x", "./x"] {
        let own_files = vec![OwnFile { path: bad.into(), content: Content::Text(String::new()) }];
        assert!(TaskSpec { own_files, ..spec.clone() }.check().is_err(), "{bad}");
    }
    for bad in ["", "..", "a/b", "/x"] {
        let shown = vec![Shown { host_path: "/tmp".into(), name: bad.into(), lock: None, writable: false }];
        assert!(TaskSpec { shown, ..spec.clone() }.check().is_err(), "{bad}");
    }
    let task = Task::create(&TaskSpec { unfinished: true, ..spec.clone() });
    launch::finish_spec(&task.task_dir, &spec).unwrap();
    assert_eq!(task.run().stdout, "ran\n");
}

/// An agent without root shows what is its own, too, though only the mount keeps it from being changed.
#[test]
fn r40_an_agent_without_root_shows_what_is_its_own() {
    let dir = TestDir::new();
    let hidden = dir.dir("hidden", 0o700, 5001);
    let tools = dir.dir("hidden/tools", 0o755, 5001);
    let shown = vec![Shown { host_path: tools.clone(), name: "tools".into(), lock: None, writable: false }];
    let text = "(: > /run/tools/new) 2>/dev/null || echo kept; ls -a /run/tools | wc -l";
    let spec = TaskSpec { shown, masked: vec![hidden], ..support::own_script(text) };
    assert_eq!(Task::create_for(&spec, 5001).run().stdout, "kept\n2\n");
    let shown = vec![Shown { host_path: tools, name: "tools".into(), lock: None, writable: true }];
    let spec = TaskSpec { shown, ..support::own_script("echo it > /run/tools/new && cat /run/tools/new") };
    assert_eq!(Task::create_for(&spec, 5001).run().stdout, "it\n");
}
