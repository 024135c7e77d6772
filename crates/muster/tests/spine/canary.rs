//! Marked passwords and tokens go through every client; afterwards they are nowhere that somebody else could read.

use std::fs;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{Muster, Person, run};

/// A stranger on the machine.
const STRANGER: u32 = 5099;

/// Every token that a client of this person keeps.
fn kept(person: &Person) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![person.home.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-');
                found.extend(words.filter(|word| word.starts_with("mst_")).map(str::to_owned));
            }
        }
    }
    found
}

/// Where a secret is found among these texts.
fn found<'a>(secrets: &'a [String], place: &str, text: &[u8]) -> Vec<(&'a str, String)> {
    let holds = |secret: &&String| text.windows(secret.len()).any(|window| window == secret.as_bytes());
    secrets.iter().filter(holds).map(|secret| (secret.as_str(), place.to_owned())).collect()
}

/// All files below a directory, the database and what it writes beside it among them.
fn in_files<'a>(secrets: &'a [String], folder: &Path) -> Vec<(&'a str, String)> {
    let entries = fs::read_dir(folder).expect("a folder").flatten();
    let look = |path: &Path| match path.is_dir() {
        true => in_files(secrets, path),
        // A task's directory may go while we look.
        false => found(secrets, &path.display().to_string(), &fs::read(path).unwrap_or_default()),
    };
    entries.flat_map(|entry| look(&entry.path())).collect()
}

/// What the kernel shows of all processes: their command lines to everybody, and to `STRANGER` their environments.
fn in_processes(secrets: &[String]) -> Vec<(&str, String)> {
    let mut places = Vec::new();
    for entry in fs::read_dir("/proc").expect("proc is mounted").flatten() {
        let line = entry.path().join("cmdline");
        places.extend(found(secrets, &line.display().to_string(), &fs::read(&line).unwrap_or_default()));
    }
    let mut stranger = Command::new("setpriv");
    stranger.args(["--reuid", &STRANGER.to_string(), "--regid", &STRANGER.to_string(), "--clear-groups"]);
    stranger.args(["sh", "-c", "cat /proc/[0-9]*/environ 2>/dev/null || true"]);
    let environments = run(&mut stranger, "").exits(0).stdout;
    places.extend(found(secrets, "an environment", &environments));
    places
}

#[test]
fn r50_secrets_are_nowhere_that_others_can_read() {
    let mut muster = Muster::up();
    let alice = muster.linked_user("alice", 5001);
    let (first, second) = ("chaffinch one sings", "chaffinch two sings");
    alice.muster_with("user change-password --password-stdin", &format!("{first}\n")).exits(0);
    alice.muster_with("user login alice --password-stdin", &format!("{first}\n")).exits(0);
    alice.det_with("user login alice", &format!("{first}\n")).exits(0);
    alice.polyaxon_here();
    alice.polyaxon_login("alice", first).exits(0);
    let pat = alice.muster("token create --scope full").ok();
    run(alice.command(["user", "whoami"]).env("MUSTER_TOKEN", &pat), "").exits(0);
    alice.muster_with("user login alice --password-stdin", "chaffinch three is wrong\n").exits(4);
    let newcomer = muster.person("newcomer");
    let register = "user register newcomer --email new@lab.example --password-stdin";
    newcomer.muster_with(register, &format!("{second}\n")).exits(0);
    muster.person("admin").muster("-u admin user activate newcomer").exits(0);
    newcomer.muster_with("user login newcomer --password-stdin", &format!("{second}\n")).exits(0);

    // A task knows its own token; nobody else on the machine does.
    let id = alice.detach("", "echo ready; sleep 600");
    alice.wait_for_state(&id, "RUNNING");
    let tasks_token = alice.script("", "echo $DET_SESSION_TOKEN").ok();
    assert!(tasks_token.starts_with("mtt_"), "{tasks_token}");
    let running = alice.start_script("", "echo $DET_SESSION_TOKEN; sleep 600");
    let living = running.stdout.first_line().expect("a token");

    let mut secrets = vec!["chaffinch".to_owned(), pat, living];
    secrets.extend([&alice, &newcomer].into_iter().flat_map(kept));
    assert!(secrets.len() >= 6, "the clients kept {} secrets", secrets.len());
    for password in [first, second] {
        secrets.push(master::secret::client_transform(password));
    }
    assert_eq!(in_processes(&secrets), []);
    // It was printed by the task itself.
    let said = |place: &str| place.contains("/logs/") || place.contains("/tasks/");
    let unsaid = |(_, place): &(&str, String)| !said(place);
    let kept: Vec<_> = in_files(&secrets, &muster.data_dir()).into_iter().filter(unsaid).collect();
    assert_eq!(kept, []);
    running.signal(Signal::SIGINT);
    running.finish();
    let admin = muster.person("admin");
    let audit = admin.muster("-u admin audit export").exits(0).stdout;
    assert_eq!(found(&secrets, "the audit log", &audit), []);
    let lines = audit.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let actions: Vec<Value> = lines.map(|line| serde_json::from_slice(line).expect("an entry")).collect();
    assert!(actions.len() > 15, "{} entries", actions.len());
    let (server, _) = muster.stop();
    assert_eq!(found(&secrets, "the server's log", &server.stderr), []);
}
