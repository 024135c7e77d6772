//! Nothing is lost when master, agent or both go away and come back: commands go on, their output is complete and
//! not doubled, their exit status is right (L02). The storm of kills is in `kill_storm`.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::support::{DEADLINE, Muster, Output, Person, Process, Setup, eventually, mode};

/// Prints 300 numbered lines on either stream in about three seconds, then ends with 7.
const COUNTING: &str = "i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo line $i; \
                        [ $((i % 3)) = 0 ] && echo error $i >&2; sleep 0.01; done; exit 7";

/// Starts the counting and waits until it is under way.
#[track_caller]
fn counting(person: &Person) -> Process {
    let process = person.start_script("", COUNTING);
    process.stdout.wait_for("line 20\n");
    process
}

/// Every line once, in order, and the right end: for who followed all the time, and for who asks later.
#[track_caller]
fn assert_counted(person: &Person, followed: Output) {
    let later = person.muster(&format!("command logs {}", person.only_command())).exits(0);
    for output in [&followed.exits(7), &later] {
        let expected: String = (1..=300).map(|i| format!("line {i}\n")).collect();
        assert_eq!(output.out(), expected);
        let errors: Vec<_> = output.err().lines().filter(|line| line.starts_with("error ")).collect();
        assert_eq!(errors, (1..=100).map(|i| format!("error {}", i * 3)).collect::<Vec<_>>());
    }
    assert_eq!(person.json("command list")[0]["exitCode"], 7);
}

/// A master and an agent of their own, the agent enrolled by invitation.
fn apart() -> (Muster, Process) {
    let muster = Setup::default().master_alone().keeps_port().up();
    let agent = enrolled(&muster);
    (muster, agent)
}

fn enrolled(muster: &Muster) -> Process {
    let invitation = muster.dir.path().join("invitation");
    fs::write(&invitation, muster.admin().muster("agent invite --name node").ok()).expect("written");
    let file = invitation.to_str().expect("text");
    let agent = muster.agent("node", &["--slots", "2", "--invitation-file", file]);
    agent.stdout.wait_for("Agent node is connected to ");
    agent
}

#[test]
fn l02_kill_9_of_master_and_agent_in_one() {
    let mut muster = Setup::default().keeps_port().up();
    let me = muster.person("me");
    let following = counting(&me);
    muster.kill();
    muster.begin();
    assert_counted(&me, following.finish());
}

#[test]
fn l02_kill_9_of_the_master() {
    let (mut muster, _agent) = apart();
    let me = muster.person("me");
    let following = counting(&me);
    muster.kill();
    muster.begin();
    assert_counted(&me, following.finish());
}

#[test]
fn me22_an_agent_alone_is_ended_with_its_tasks() {
    let (muster, agent) = apart();
    let me = muster.person("me");
    let runs = me.detach("", "while :; do sleep 1000; done");
    me.wait_for_state(&runs, "RUNNING");
    assert_eq!(muster.agent_down().ok(), "The agent is down; 1 task was ended");
    agent.finish().exits(0);
    // Nobody has to come back to tell how it ended.
    me.wait_for_state(&runs, "TERMINATED");
    assert_eq!(muster.agent_down().ok(), "Muster was not running");
}

/// What an agent runs that is away can't be ended now, and nobody waits for that.
#[test]
fn down_doesnt_wait_for_agents_that_are_away() {
    let (muster, agent) = apart();
    let me = muster.person("me");
    let runs = me.detach("", "sleep 1000");
    me.wait_for_state(&runs, "RUNNING");
    agent.kill();
    let gone = || (me.json("agent list")[0]["connected"] == false).then_some(());
    eventually("the master sees that the agent is away", gone);
    assert_eq!(muster.down().exits(0).out(), "Muster is down\n");
    assert!(muster.agent_down().ok().contains("1 task was ended"));
}

#[test]
fn l02_kill_9_of_the_agent() {
    let (muster, agent) = apart();
    let me = muster.person("me");
    let following = counting(&me);
    agent.kill();
    let gone = || (me.json("agent list")[0]["connected"] == false).then_some(());
    eventually("the master sees that the agent is away", gone);
    let agent = muster.agent("node", &["--slots", "2"]);
    agent.stdout.wait_for("Agent node is connected to ");
    assert_counted(&me, following.finish());
}

#[test]
fn l02_kill_9_of_master_and_agent_apart() {
    let (mut muster, agent) = apart();
    let me = muster.person("me");
    let following = counting(&me);
    agent.kill();
    muster.kill();
    let _agent = muster.agent("node", &["--slots", "2"]);
    muster.begin();
    assert_counted(&me, following.finish());
}

#[test]
fn l02_many_kills_during_one_command() {
    let mut muster = Setup::default().keeps_port().up();
    let me = muster.person("me");
    let following = counting(&me);
    for line in [60, 100, 140, 180, 220, 260] {
        muster.kill();
        muster.begin();
        following.stdout.wait_for(&format!("line {line}\n"));
    }
    assert_counted(&me, following.finish());
}

#[test]
fn l02_a_command_that_ends_while_nobody_watches() {
    let mut muster = Setup::default().keeps_port().up();
    let me = muster.person("me");
    let dir = muster.dir.path().join("signals");
    fs::create_dir(&dir).expect("a directory");
    mode(&dir, 0o777, 0);
    let script =
        "echo on; while [ ! -e /signals/go ]; do sleep 0.02; done; echo off; touch /signals/done; exit 5";
    let id = me.detach(&format!("--volume {}:/signals", dir.display()), script);
    me.wait_for_state(&id, "RUNNING");
    muster.kill();
    fs::write(dir.join("go"), "").expect("written");
    let exit = muster.data_dir().join(format!("agent/tasks/{id}.1/exit.json"));
    eventually("the command ends", || exit.exists().then_some(()));
    muster.begin();
    assert_eq!(me.wait_for_state(&id, "TERMINATED")["exitCode"], 5);
    assert_eq!(me.muster(&format!("command logs {id}")).ok(), "on\noff");
}

#[test]
fn sigterm_leaves_tasks_running_and_says_so() {
    let mut muster = Setup::default().keeps_port().up();
    let me = muster.person("me");
    let following = counting(&me);
    let (said, took) = muster.stop();
    let said = said.exits(0).says("1 task goes on: the next `muster up` takes over, `muster down` ends them");
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_eq!(said.out().lines().count(), 1, "standard output holds the address alone");
    muster.begin();
    assert_counted(&me, following.finish());
}

#[test]
fn down_ends_server_and_tasks() {
    let mut muster = Setup::default().keeps_port().up();
    let me = muster.person("me");
    let id = me.detach("", "echo on; while :; do sleep 1000; done");
    me.wait_for_state(&id, "RUNNING");
    let said = muster.down().exits(0);
    assert_eq!(said.out(), "Muster is down\n");
    assert!(muster.server().ends_within(DEADLINE));
    assert!(shim(&muster, &id).is_none(), "its shim still runs");
    muster.begin();
    assert_eq!(me.json(&format!("command describe {id}"))["state"], "STATE_TERMINATED");
}

#[test]
fn down_without_a_server_ends_what_went_on() {
    let mut muster = Setup::default().keeps_port().up();
    let me = muster.person("me");
    let id = me.detach("", "echo on; while :; do sleep 1000; done");
    me.wait_for_state(&id, "RUNNING");
    muster.stop();
    assert!(shim(&muster, &id).is_some(), "the task goes on");
    assert_eq!(muster.down().exits(0).out(), "Muster was not running; 1 task was ended\n");
    assert_eq!(muster.down().exits(0).out(), "Muster was not running\n");
    muster.begin();
    let ended = me.wait_for_state(&id, "TERMINATED");
    assert_eq!(ended["exitCode"], 143, "{ended}");
}

#[test]
fn r45_down_and_the_next_start_end_what_has_no_record() {
    let mut muster = Setup::default().keeps_port().up();
    let me = muster.person("me");
    for with_down in [true, false] {
        let id = me.detach("", "echo on; while :; do sleep 1000; done");
        // What is still being started ends when its directory goes.
        let has_begun = || me.muster(&format!("command logs {id}")).ok().contains("on").then_some(());
        eventually("it runs", has_begun);
        muster.stop();
        // As by a back-up of before, put in the directory's place.
        fs::remove_dir_all(muster.data_dir().join("agent/tasks")).expect("removed");
        if with_down {
            assert_eq!(muster.down().exits(0).out(), "Muster was not running; 1 task was ended\n");
        }
        muster.begin();
        let ended = me.wait_for_state(&id, "TERMINATED");
        let why = if with_down {
            "lost the task"
        } else {
            "its agent's record of it was older than what ran, or was lost"
        };
        assert!(ended["exitStatus"].as_str().is_some_and(|said| said.contains(why)), "{ended}");
        muster.stop();
        assert_eq!(muster.down().exits(0).out(), "Muster was not running\n");
        muster.begin();
    }
}

#[test]
fn l02_kill_9_of_the_shim_ends_the_task_and_is_told() {
    let muster = Muster::up();
    let me = muster.person("me");
    let running = me.start_script("", "echo on; while :; do sleep 1000; done");
    running.stdout.wait_for("on\n");
    let id = me.only_command();
    kill(shim(&muster, &id).expect("it runs"), Signal::SIGKILL).expect("ours");
    let ended = running.finish();
    assert_ne!(ended.code(), 0);
    assert_eq!(ended.out(), "on\n");
    let told = me.json(&format!("command describe {id}"));
    assert_eq!(told["state"], "STATE_TERMINATED");
    assert_ne!(told["exitStatus"], "", "{told}");
}

#[test]
fn an_agent_goes_away_and_comes_back() {
    let (muster, agent) = apart();
    let me = muster.person("me");
    let connected = |yes: bool| (me.json("agent list")[0]["connected"] == json!(yes)).then_some(());
    let (said, took) = agent.end(Signal::SIGTERM);
    said.exits(0);
    assert!(took < Duration::from_secs(3), "{took:?}");
    eventually("the master sees that the agent is away", || connected(false));
    let id = me.detach("", "echo well");
    assert_eq!(me.wait_for_state(&id, "QUEUED")["waitingFor"], "no agent is connected");
    let agent = muster.agent("node", &["--slots", "2"]);
    agent.stdout.wait_for("Agent node is connected to ");
    eventually("the master sees that the agent is back", || connected(true));
    assert_eq!(me.wait_for_state(&id, "TERMINATED")["exitCode"], 0);
}

/// What a renewal hook sends to services.
#[test]
fn a_hangup_without_a_terminal_ends_nothing() {
    let muster = Muster::up();
    muster.server().signal(Signal::SIGHUP);
    muster.server().stderr.wait_for("SIGHUP");
    assert_eq!(muster.person("me").muster("user whoami").ok(), "determined");
}

/// The process that watches over a command of the local agent, while there is one.
fn shim(muster: &Muster, id: &str) -> Option<Pid> {
    let file: PathBuf = muster.data_dir().join(format!("agent/tasks/{id}.1/shim.pid"));
    let text = fs::read_to_string(file).ok()?;
    let pid = text.split_whitespace().next()?.parse().expect("a pid");
    let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
    command.contains(id).then(|| Pid::from_raw(pid))
}

#[test]
fn r28_the_agent_of_an_older_up_enrols_again_by_itself() {
    let mut muster = Setup::default().keeps_port().up();
    let me = muster.person("me");
    me.muster("command run true").exits(0);
    let agent = muster.data_dir().join("agent");
    muster.kill();
    // As the version before left it: it knew no master's key, and its own was of another kind.
    let known = fs::read_to_string(agent.join("agent.json")).expect("there");
    let mut known: serde_json::Value = serde_json::from_str(&known).expect("JSON");
    known.as_object_mut().expect("an object").remove("master_key").expect("it knows it");
    fs::write(agent.join("agent.json"), known.to_string()).expect("written");
    fs::rename(agent.join("link.key"), agent.join("agent.key")).expect("renamed");
    muster.begin();
    me.muster("command run true").exits(0);
    assert!(!agent.join("agent.key").exists());
}

#[test]
fn b05_a_copied_data_directory_is_refused_aloud() {
    let (muster, agent) = apart();
    let me = muster.person("me");
    let (original, copy) = (muster.dir.path().join("apart/agent"), muster.dir.path().join("copy"));
    let copied = std::process::Command::new("cp").arg("-a").args([&original, &copy]).status();
    assert!(copied.expect("run").success());
    let second = || {
        let mut command = muster.role(&["agent", "--master", &muster.url, "--name", "node", "--data-dir"]);
        Process::start(command.arg(&copy), "")
    };
    let following = counting(&me);
    second().finish().exits(1).says("already connected from another process");
    muster.server().stderr.wait_for("a second process under one agent's name was refused");
    // The first one and its task go on.
    assert_counted(&me, following.finish());
    agent.kill();
    let second = second();
    second.stdout.wait_for("Agent node is connected to ");
    me.muster("command run true").exits(0);
}

#[test]
fn a02_a_master_goes_on_when_its_own_agent_is_revoked() {
    let mut muster = Setup::default().keeps_port().up();
    let (me, admin) = (muster.person("me"), muster.admin());
    let agent = admin.json("agent list")[0]["id"].as_str().expect("a name").to_owned();
    // ME23: it is for ever, so it is asked first, and can be seen afterwards.
    admin.muster(&format!("agent revoke {agent}")).exits(2).says("say that you mean it with --yes");
    admin.muster(&format!("agent revoke {agent} --yes")).exits(0).says("muster down --data-dir");
    admin.muster("agent list").exits(0).says("revoked, shut out for ever");
    admin.muster(&format!("agent enable {agent}")).exits(1).says("agent invite --name");
    let told = muster.server().stderr.wait_for(", and start it");
    assert!(told.contains("own agent may not work any more"), "{told}");
    me.muster("user whoami").exits(0);
    // Again at the next start, which is none the less one.
    muster.kill();
    muster.begin();
    muster.server().stderr.wait_for(", and start it");
    me.muster("user whoami").exits(0);
    muster.kill();
    for file in ["agent.json", "link.key"] {
        fs::remove_file(muster.data_dir().join("agent").join(file)).expect("removed as it was said");
    }
    muster.begin();
    me.muster("command run true").exits(0);
}

#[test]
fn d09_agents_stay_when_their_master_begins_or_ends_to_speak_https() {
    let (mut muster, _agent) = apart();
    let me = muster.person("me");
    let connected = || (me.json("agent list")[0]["connected"] == json!(true)).then_some(());
    let id = me.detach("", "while [ ! -e /var/tmp/go ]; do sleep 0.1; done");
    me.wait_for_state(&id, "RUNNING");
    let file = muster.dir.path().join("master.yaml");
    let plain = fs::read_to_string(&file).expect("there");
    for config in [format!("{plain}tls: self\n"), plain.clone()] {
        muster.kill();
        fs::write(&file, config).expect("written");
        muster.begin();
        eventually("the agent is back", connected);
        me.muster("command run true").exits(0);
    }
    assert_eq!(me.json(&format!("command describe {id}"))["state"], "STATE_RUNNING");
    me.muster(&format!("command kill {id}")).exits(0);
    me.wait_for_state(&id, "TERMINATED");
}

#[test]
fn kf13_a_machine_with_another_name_keeps_its_installation() {
    let mut muster = Muster::up();
    let (output, _) = muster.stop();
    output.exits(0);
    let before = muster.server_command();
    let mut command = std::process::Command::new("unshare");
    command.args(["--uts", "sh", "-c", "hostname renamed && exec \"$@\"", "sh"]);
    command.arg(before.get_program()).args(before.get_args()).env_clear();
    command.envs(before.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.current_dir(before.get_current_dir().expect("set"));
    muster.begin_with(&mut command);
    muster.person("me").muster("command run true").exits(0);
}
