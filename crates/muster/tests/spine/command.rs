//! Commands: how they end, how they are looked after, and what configures them.

use std::fs;

use serde_json::json;

use crate::support::{Muster, Person, Process};

/// A script that says `on` and then runs until it is ended.
const ENDLESS: &str = "echo on; while :; do sleep 1000; done";

#[test]
fn run_ends_with_the_commands_own_status() {
    let muster = Muster::up();
    let me = muster.person("me");
    for (script, code) in [("exit 0", 0), ("exit 3", 3), ("exit 255", 255), ("kill -TERM $$", 143)] {
        me.script("", script).exits(code);
    }
    // One word is for the shell, as with Determined; more are run as they are.
    for (program, code) in [("no-such-program", 127), ("/no/such/program", 127), ("/etc/debian_version", 126)]
    {
        me.muster(&format!("command run {program}")).exits(code).says(program);
        me.muster(&format!("command run {program} argument")).exits(code).says(program);
    }
    let states: Vec<_> = me.json("command list").as_array().expect("a list").clone();
    let codes: Vec<_> = states.iter().map(|command| command["exitCode"].as_i64().expect("ended")).collect();
    assert_eq!(codes, [0, 3, 255, 143, 127, 127, 127, 127, 126, 126]);
    assert!(states.iter().all(|command| command["state"] == "STATE_TERMINATED"));
}

#[test]
fn a_detached_command_prints_its_id_alone() {
    let muster = Muster::up();
    let me = muster.person("me");
    let run = me.script("-d", "echo done").exits(0);
    let id = run.out().strip_suffix('\n').expect("a line");
    assert!(id.len() == 36 && id.chars().all(|c| c.is_ascii_hexdigit() || c == '-'), "{id}");
    assert_eq!(run.err(), "");
    let followed = me.muster(&format!("command logs -f {id}")).exits(0);
    assert_eq!(followed.out(), "done\n");
    assert_eq!(me.muster("command list -q").ok(), id);
}

#[test]
fn a_command_is_ended_from_another_terminal() {
    let muster = Muster::up();
    let alice = muster.user("alice");
    let running = alice.start_script("", ENDLESS);
    running.stdout.wait_for("on\n");
    let id = alice.only_command();

    let stranger = muster.user("bob");
    stranger.muster(&format!("command kill {id}")).exits(5);
    stranger.muster(&format!("command set priority {id} 1")).exits(5);
    assert_eq!(alice.json(&format!("command describe {id}"))["state"], "STATE_RUNNING");
    assert_eq!(stranger.muster(&format!("command logs {id}")).ok(), "on", "reading is everybody's");

    alice.muster(&format!("command kill {}", &id[..8])).exits(0).says(&id);
    running.finish().exits(143);
    alice.muster(&format!("command kill {id}")).exits(0).says("had ended already");
    let ended = alice.wait_for_state(&id, "TERMINATED");
    assert!(ended["endTime"].is_string(), "{ended}");
}

#[test]
fn b20_what_waits_on_standard_input_is_not_lost_without_a_word() {
    let muster = Muster::up();
    let me = muster.person("me");
    let told = me.muster_with("command run wc -c", "data\n").exits(0).says("Standard input isn't sent");
    assert_eq!(told.ok(), "0");
    let quiet = me.muster("command run true").exits(0);
    assert!(!quiet.err().contains("Standard input"), "{}", quiet.err());
    assert_eq!(me.json("task list"), serde_json::json!([]), "as other lists");
}

#[test]
fn x08_an_administrator_ends_anybodys_command() {
    let muster = Muster::up();
    let alice = muster.user("alice");
    let id = alice.detach("", ENDLESS);
    muster.admin().muster(&format!("command kill {id}")).exits(0);
    alice.wait_for_state(&id, "TERMINATED");
}

#[test]
fn ctrl_c_leaves_the_command_behind() {
    let muster = Muster::up();
    let me = muster.person("me");
    let running = me.start_script("", ENDLESS);
    running.stdout.wait_for("on\n");
    let id = me.only_command();
    let (left, _) = running.end(nix::sys::signal::Signal::SIGINT);
    left.exits(130).says(&format!("muster command kill {id}"));
    assert_eq!(me.json(&format!("command describe {id}"))["state"], "STATE_RUNNING");
}

#[test]
fn p15_d01_one_lists_ones_own_and_with_a_everyones() {
    let muster = Muster::up();
    let (alice, bob) = (muster.user("alice"), muster.user("bob"));
    let of_alice = alice.detach("", "true");
    let of_bob = bob.detach("", "true");
    assert_eq!(alice.muster("command list -q").ok(), of_alice);
    assert_eq!(bob.muster("command list -q").ok(), of_bob);
    let all = alice.json("command list -a");
    let authors: Vec<_> =
        all.as_array().expect("a list").iter().map(|command| &command["username"]).collect();
    assert_eq!(authors, ["alice", "bob"]);
    let csv = bob.muster("command list -a --csv").ok();
    assert_eq!(
        csv.lines().next(),
        Some("id,username,description,state,exitStatus,resourcePool,workspaceName")
    );
    assert!(csv.contains(&format!("{of_alice},alice,Command (")), "{csv}");
}

#[test]
fn describe_and_config_tell_all() {
    let muster = Muster::up();
    let alice = muster.linked_user("alice", 5001);
    let id = alice.detach("--config description=nightly --slots 2", "exit 4");
    alice.wait_for_state(&id, "TERMINATED");
    let told = alice.json(&format!("command describe {id}"));
    for (field, value) in [
        ("id", json!(id)),
        ("username", json!("alice")),
        ("description", json!("nightly")),
        ("exitCode", json!(4)),
        ("runsAs", json!("alice:5001:lab:5001")),
        ("slots", json!(2)),
        ("priority", json!(42)),
    ] {
        assert_eq!(told[field], value, "{field}");
    }
    let table = alice.muster(&format!("command describe {id}")).ok();
    assert!(table.contains("container failed") || table.contains("(exit code 4)"), "{table}");
    let config = alice.json(&format!("command config {id}"));
    assert_eq!(config["entrypoint"], json!(["sh", "-c", "exit 4"]));
    assert_eq!(config["resources"]["slots"], 2);
    alice.muster("command describe 00000000-0000-4000-8000-000000000000").exits(6);
    alice.muster("command describe ffffffff").exits(6);
    alice.muster("command describe nonsense").exits(2);
}

#[test]
fn a_configuration_comes_from_file_options_and_names() {
    let muster = Muster::up();
    let me = muster.person("me");
    let file = me.home.join("config.yaml");
    let yaml = "description: from the file\nwork_dir: /var\nenvironment:\n  environment_variables: [A=file, B=b]\n\
                resources: {slots: 3}\nentrypoint: [sh, -c, 'echo $A $B $C; pwd; echo $DET_USER; exit 9']\n";
    fs::write(&file, yaml).expect("written");
    let line = "command run --config-file config.yaml --config description=mine --config resources.slots=1 \
                --config environment.environment_variables=[A=option,C=c]";
    let run = me.muster(line).exits(9);
    assert_eq!(run.out(), "option c\n/var\ndetermined\n", "an option replaces what the file says");
    let command = me.json(&format!("command describe {}", me.only_command()));
    assert_eq!((&command["description"], &command["slots"]), (&json!("mine"), &json!(1)));

    fs::write(&file, "description: x\nresources:\n  slots: [\n").expect("written");
    me.muster("command run --config-file config.yaml true").exits(1).says("config.yaml:");
    me.muster("command run --config no_such_key=1 true").exits(1).says("no_such_key");
    me.muster("command run --config nonsense true").exits(2).says("KEY=VALUE");
    me.muster("command run").exits(2);
}

#[test]
fn a_master_sets_defaults_for_all() {
    let yaml = "task_container_defaults: {work_dir: /opt, environment: {environment_variables: [SITE=lab]}}";
    let muster = crate::support::Setup::default().config(yaml).up();
    let me = muster.person("me");
    assert_eq!(me.script("", "echo $SITE; pwd").ok(), "lab\n/opt");
}

#[test]
fn killing_a_task_kills_all_of_it_and_nothing_else() {
    let muster = Muster::up();
    let alice = muster.linked_user("alice", 5001);
    let deep = "setsid sh -c 'trap : TERM INT HUP; echo deep; while :; do sleep 1000; done' & wait";
    let (one, other) = (running(&alice, deep, "deep"), running(&alice, ENDLESS, "on"));
    let ids = alice.muster("command list -q").ok();
    let first = ids.lines().next().expect("two of them");
    alice.muster(&format!("command kill {first}")).exits(0);
    one.finish().exits(143);
    let state = alice.json(&format!("command describe {}", ids.lines().last().expect("two")));
    assert_eq!(state["state"], "STATE_RUNNING", "R43: the other one goes on");
    drop(other);
}

/// Starts a script and waits until it has said `word`.
#[track_caller]
fn running(person: &Person, script: &str, word: &str) -> Process {
    let process = person.start_script("", script);
    process.stdout.wait_for(word);
    process
}
