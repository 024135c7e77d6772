//! The API against its own description: schemathesis makes requests up, and no answer may be an error of the server's or
//! something else than described.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::{Muster, Person, Process};

/// What would end the run's own session, never ends or needs more than a request; all of it has tests of its own.
const LEFT_OUT: &str = "/auth/logout|/sessions/|/password|/revoke|/tokens/|/output|/master/logs";

/// Who may do all is answered in every way that there is, who may little is refused in every way.
#[test]
fn the_api_is_what_its_description_says() {
    let muster = Muster::up();
    let admin = muster.admin();
    let alice = muster.user("alice");
    admin.script("", "echo something to read").exits(0);
    tried(&muster, &admin, "admin", "coverage,fuzzing");
    tried(&muster, &alice, "alice", "coverage");
}

fn tried(muster: &Muster, person: &Person, name: &str, phases: &str) {
    let description = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    let kept = std::fs::read_to_string(person.config_dir().join("auth.json")).expect("logged in");
    let kept: serde_json::Value = serde_json::from_str(&kept).expect("JSON");
    let token = kept["masters"][&muster.url]["tokens"][name].as_str().expect("a token");
    let mut command = Command::new(testkit::env::schemathesis());
    command.current_dir(muster.dir.path()).env("HOME", muster.dir.path());
    command.arg("run").arg(&description).args(["--url", &muster.url]);
    command.args(["--header", &format!("Authorization: Bearer {token}")]);
    command.args([
        "--checks",
        "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
    ]);
    // No status but those described will do, so that a few of each kind say what many did.
    command.args(["--phases", phases, "--max-examples", "5", "--seed", "1"]);
    command.args([
        "--exclude-path-regex",
        LEFT_OUT,
        "--continue-on-failure",
        "--warnings",
        "off",
        "--no-color",
    ]);
    // Some thousand requests.
    let output = Process::start(&mut command, "").finish_within(Duration::from_secs(240));
    assert_eq!(output.code(), 0, "as {name}: {}", output.out());
    assert!(output.out().contains("Tested: "), "{}", output.out());
}
