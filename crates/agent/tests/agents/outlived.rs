//! What runs on while its directory is taken away, or gets an older one's place, as when a back-up is restored (KP2).

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use api::agent::{Start, ToAgent};
use domain::id::AllocationId;
use domain::log::{Records, Source};

use crate::support::{FakeMaster, Gate, Seen, TestAgent, output, shell, soon};

/// Saves its work when it is asked to end.
const TRAINING: &str = "trap 'echo saved; exit 3' TERM; echo epoch 1; while :; do sleep 0.05; done";

fn printed(seen: &Seen, id: AllocationId, text: &str) -> Option<()> {
    output(seen.log_of(id), Source::Stdout).contains(text).then_some(())
}

/// A task that has begun.
async fn training(master: &FakeMaster) -> AllocationId {
    let id = master.send_start(&shell(TRAINING));
    master.until("the first line", |seen| printed(seen, id, "epoch 1\n")).await;
    id
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp").success());
}

/// The task is ended as every task is, its log is whole, and the end says why.
async fn is_ended_and_told(master: &FakeMaster, agent: &mut TestAgent, id: AllocationId) {
    let tasks = agent.options.data_dir.join("tasks");
    agent.start();
    let exit = master.exit(id).await;
    assert_eq!((exit.code, exit.killed), (3, true), "the task's own end");
    assert!(exit.reason(None).contains("allocation was killed: its agent's record"), "{}", exit.reason(None));
    master.look(|seen| {
        assert!(
            seen.registrations.last().is_some_and(|register| register.held == [id]),
            "told from the first"
        );
        assert_eq!(output(seen.log_of(id), Source::Stdout), "epoch 1\nsaved\n");
        assert!(output(seen.log_of(id), Source::Agent).contains("the task was ended: its agent's record"));
    });
    assert!(agent::strays(&agent.options.data_dir).is_empty() && tasks.join(id.to_string()).exists());
}

#[tokio::test]
async fn r45_a_task_whose_directory_was_lost_is_ended_and_told() {
    let master = FakeMaster::start().await;
    master.change(|seen| seen.keep = true);
    let mut agent = TestAgent::registered(&master).await;
    let id = training(&master).await;
    agent.crash().await;
    fs::remove_dir_all(agent.task_dir(id)).expect("removed");
    is_ended_and_told(&master, &mut agent, id).await;
}

#[tokio::test]
async fn r45_a_task_whose_directory_is_an_older_one_is_ended_and_told() {
    let master = FakeMaster::start().await;
    master.change(|seen| seen.keep = true);
    let mut agent = TestAgent::registered(&master).await;
    let id = training(&master).await;
    agent.crash().await;
    let (dir, back_up) = (agent.task_dir(id), agent.scratch().join("back-up"));
    copy(&dir, &back_up);
    // What the task printed since is in no file that has a name.
    fs::remove_dir_all(&dir).expect("removed");
    copy(&back_up, &dir);
    fs::write(dir.join("log"), "").expect("older still");
    is_ended_and_told(&master, &mut agent, id).await;
}

#[tokio::test]
async fn r45_a_task_that_an_older_directory_never_began_does_not_begin_twice() {
    let master = FakeMaster::start().await;
    master.change(|seen| seen.keep = true);
    let mut agent = TestAgent::registered(&master).await;
    let id = training(&master).await;
    agent.crash().await;
    let dir = agent.task_dir(id);
    let spec = fs::read(dir.join("spec.json")).expect("there");
    fs::remove_dir_all(&dir).expect("removed");
    fs::create_dir(&dir).expect("made");
    fs::write(dir.join("spec.json"), spec).expect("written");
    is_ended_and_told(&master, &mut agent, id).await;
}

/// V4: the master had the log for certain, the agent gave its space back, and now the master is one of before.
#[tokio::test]
async fn r45_a_log_that_a_master_had_goes_on_behind_what_is_gone() {
    let mut master = FakeMaster::start().await;
    let agent = TestAgent::registered(&master).await;
    let gate = Gate::new(&agent);
    let line =
        "head -c 3000000 /dev/zero | tr '\\0' x | fold -w 999; echo half; read x < /shared/gate; echo end";
    let id = master.send_start(&Start { bind_mounts: vec![gate.mount()], ..shell(line) });
    let had = master.until("the first half", |seen| {
        let log = seen.log_of(id);
        log.ends_with(b"half\n").then(|| u64::try_from(log.len()).expect("small"))
    });
    let had = had.await;
    master.send(ToAgent::LogsReceived { allocation: id, offset: had, kept: had, full: false });
    let given_back = async {
        let log = agent.task_dir(id).join("log");
        while fs::metadata(&log).expect("there").blocks() * 512 > 1 << 20 {
            tokio::task::yield_now().await;
        }
    };
    soon("the log's space", given_back).await;
    master.go_away().await;
    master.change(|seen| {
        let log = seen.logs.get_mut(&id).expect("some came");
        let mut records = Records::new(log);
        assert!(records.next().is_some());
        let first = records.consumed();
        log.truncate(first);
    });
    master.come_back().await;
    gate.open().await;
    assert_eq!(master.exit(id).await.code, 0);
    master.look(|seen| {
        let (_, from, to) = seen.missing[0];
        assert!(from > 0 && to == had && seen.missing.len() == 1, "{:?}", seen.missing);
        let rest = &seen.log_of(id)[usize::try_from(to).expect("small")..];
        assert_eq!(output(rest, Source::Stdout), "end\n");
    });
}

/// KC2: copied to a bigger disk while tasks run, under a new path, or with a link at the old one.
#[tokio::test]
async fn r45_a_task_whose_data_directory_was_copied_elsewhere_is_ended_and_told() {
    for link in [false, true] {
        let master = FakeMaster::start().await;
        master.change(|seen| seen.keep = true);
        let mut agent = TestAgent::registered(&master).await;
        let id = training(&master).await;
        agent.crash().await;
        let (old, new) = (agent.options.data_dir.clone(), agent.scratch().join("bigger"));
        copy(&old, &new);
        if link {
            fs::rename(&old, agent.scratch().join("old")).expect("moved");
            std::os::unix::fs::symlink(&new, &old).expect("linked");
        } else {
            agent.options.data_dir = new;
        }
        is_ended_and_told(&master, &mut agent, id).await;
    }
}

/// What began after the copy was made has no record in it, and still is this agent's: its directory has the agent's key.
#[tokio::test]
async fn r45_a_task_that_a_copied_data_directory_has_no_record_of_is_ended_and_told() {
    let master = FakeMaster::start().await;
    master.change(|seen| seen.keep = true);
    let mut agent = TestAgent::registered(&master).await;
    let id = training(&master).await;
    agent.crash().await;
    let new = agent.scratch().join("bigger");
    copy(&agent.options.data_dir, &new);
    fs::remove_dir_all(new.join("tasks").join(id.to_string())).expect("removed");
    agent.options.data_dir = new;
    is_ended_and_told(&master, &mut agent, id).await;
}

#[tokio::test]
async fn r45_what_another_agent_of_this_machine_runs_is_left_alone() {
    let master = FakeMaster::start().await;
    let mut agent = TestAgent::registered(&master).await;
    let id = training(&master).await;
    let old = agent.options.data_dir.clone();
    assert!(agent::strays(&old).is_empty(), "it has a record");
    let other = FakeMaster::start().await;
    let neighbour = TestAgent::registered(&other).await;
    assert!(agent::strays(&neighbour.options.data_dir).is_empty(), "another directory's");
    agent.crash().await;
    agent.options.data_dir = agent.scratch().join("elsewhere");
    fs::rename(&old, &agent.options.data_dir).expect("moved");
    fs::create_dir_all(old.join("tasks")).expect("made");
    assert_eq!(
        agent::strays(&old).iter().map(|stray| stray.task_id.clone()).collect::<Vec<_>>(),
        [id.to_string()]
    );
    agent.start();
    agent.wait_registered().await;
    assert!(agent::strays(&old).is_empty(), "it went elsewhere with its directory");
    assert!(launch::Shim::open(&agent.task_dir(id)).expect("readable").is_some());
}
