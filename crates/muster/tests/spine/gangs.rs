//! A run on several agents, real ones: it ends as one, for what failed first, and its log says which part wrote what.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Muster, Process, Setup, eventually, sql};

/// What the part on agent `node` becomes; no other process sleeps so long.
const MARKED: &str = "314159265";

fn enrolled(muster: &Muster) -> Process {
    let invitation = muster.dir.path().join("invitation");
    fs::write(&invitation, muster.admin().muster("agent invite --name node").ok()).expect("written");
    let file = invitation.to_str().expect("text");
    let agent = muster.agent("node", &["--slots", "1", "--invitation-file", file]);
    agent.stdout.wait_for("Agent node is connected to ");
    agent
}

fn marked_process() -> Option<Pid> {
    let is_it = |entry: &fs::DirEntry| {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        line == format!("sleep\0{MARKED}\0").into_bytes()
    };
    let found = fs::read_dir("/proc").expect("proc is mounted").flatten().find(is_it)?;
    found.file_name().to_str()?.parse().ok().map(Pid::from_raw)
}

#[test]
fn a_run_on_two_agents_ends_for_what_failed_first_and_its_log_tells_its_parts() {
    let mut muster = Setup::default().slots(1).keeps_port().up();
    let me = muster.person("me");
    let holder = me.detach("", "while :; do sleep 1000; done");
    me.wait_for_state(&holder, "RUNNING");
    let script = format!(
        "echo I am on $DET_AGENT_ID; [ $DET_AGENT_ID = node ] && exec sleep {MARKED}; \
         trap 'echo told to end; exit 0' TERM; while :; do sleep 1000 & wait; done"
    );
    let gang = me.detach("", &script);
    // Nothing that people can start yet takes several agents: it becomes what does.
    muster.kill();
    let becomes = format!("UPDATE tasks SET kind = 'generic', slots = 2 WHERE id = '{gang}'");
    sql(&muster.data_dir().join("muster.db"), &becomes);
    muster.begin();
    let agent = enrolled(&muster);
    me.muster(&format!("command kill {holder}")).exits(0);
    let logs = |options: &str| me.det(&format!("task logs {options} {gang}")).exits(0).out().to_owned();
    eventually("both parts run", || (logs("").matches("I am on").count() == 2).then_some(()));

    // An agent that is started anew goes on with its part.
    agent.kill();
    let agent = muster.agent("node", &["--slots", "1"]);
    agent.stdout.wait_for("Agent node is connected to ");
    let pid = eventually("the part on node", marked_process);
    kill(pid, Signal::SIGKILL).expect("killed");

    let all = logs("--follow");
    let why = "process was ended by SIGKILL (9) (exit code 137) on agent node";
    assert!(all.contains(&format!("crashed: resources failed with non-zero exit code: {why}")), "{all}");
    let of_task = |options: &str| {
        let lines = logs(&format!("--source task {options}"));
        let texts = lines.lines().filter_map(|line| Some(line.split_once(" || INFO: ")?.1.to_owned()));
        texts.collect::<Vec<_>>()
    };
    let on_node = of_task("--agent-id node");
    assert_eq!(on_node, ["I am on node"]);
    let ranks = [of_task("--rank-id 0"), of_task("--rank-id 1")];
    let (node, other) = if ranks[0] == on_node { (0, 1) } else { (1, 0) };
    assert_eq!(ranks[node], on_node);
    assert!(ranks[other][0].starts_with("I am on ") && ranks[other][1] == "told to end", "{ranks:?}");
    assert_eq!(ranks[other].len(), 2);
    assert_eq!(of_task("--rank-id 0 --rank-id 1").len(), 3);
    // `det` has --allocation-id, too, and sends nothing of it; a container's id is its run's.
    assert_eq!(of_task(&format!("--container-id {gang}.1")).len(), 3);
    assert!(of_task(&format!("--container-id {gang}.2")).is_empty());
    assert!(logs("--rank-id -1").contains("the part on agent node is over"), "the master's own have none");
    assert!(all.lines().any(|line| line.contains(&format!("[rank={node}] || INFO: I am on node"))), "{all}");
}

/// What a command can't is said in words.
#[test]
fn a_command_cannot_be_paused() {
    let muster = Muster::up();
    let me = muster.person("me");
    let id = me.detach("", "while :; do sleep 1000; done");
    me.wait_for_state(&id, "RUNNING");
    for verb in ["pause", "unpause"] {
        let refused = me.det(&format!("task {verb} {id}"));
        assert_ne!(refused.code(), 0);
        refused.says("a command can't go on later from where it was");
    }
    assert_eq!(me.json(&format!("command describe {id}"))["state"], "STATE_RUNNING");
}
