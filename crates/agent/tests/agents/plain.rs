//! A whole agent whose tasks are plain processes.

use std::sync::Arc;
use std::time::Duration;

use api::agent::{Start, ToAgent};
use domain::config::BindMount;
use domain::log::Source;

use crate::support::{FakeMaster, Plain, TestAgent, emptied, output, shell, soon};

async fn plain(master: &FakeMaster) -> TestAgent {
    let mut agent = TestAgent::new(&master.url(), Some(master.invitation()));
    agent.options.launcher = Some(Arc::new(Plain { grace: Duration::from_secs(20) }));
    agent.start();
    agent.wait_registered().await;
    agent
}

#[tokio::test]
async fn a_task_runs_and_is_forgotten() {
    let master = FakeMaster::start().await;
    let agent = plain(&master).await;
    master.look(|seen| assert!(seen.registrations[0].can.is_empty(), "it says what it can't do"));
    let id = master.send_start(&shell("echo out; echo err >&2; exit 7"));
    assert_eq!(master.exit(id).await.code, 7);
    master.look(|seen| {
        assert_eq!(output(seen.log_of(id), Source::Stdout), "out\n");
        assert_eq!(output(seen.log_of(id), Source::Stderr), "err\n");
        assert_eq!(seen.started, [id]);
    });
    emptied(&agent.options.data_dir.join("tasks")).await;
}

#[tokio::test]
async fn what_it_can_not_do_is_refused() {
    let master = FakeMaster::start().await;
    let _agent = plain(&master).await;
    let mount = BindMount {
        host_path: "/tmp".into(),
        container_path: "/x".into(),
        read_only: true,
        propagation: "rprivate".into(),
    };
    let id = master.send_start(&Start { bind_mounts: vec![mount], ..shell("true") });
    let exit = master.exit(id).await;
    assert_eq!(exit.code, 125);
    assert_eq!(exit.failure.expect("a reason").to_string(), "this agent can't do bind_mounts");
}

#[tokio::test]
async fn an_agent_that_comes_back_finds_its_tasks_again() {
    let master = FakeMaster::start().await;
    let mut agent = plain(&master).await;
    let id =
        master.send_start(&shell("trap 'echo saved; exit 3' TERM; echo up; while :; do sleep 0.05; done"));
    let up =
        master.until("output", |seen| output(seen.log_of(id), Source::Stdout).contains("up\n").then_some(()));
    up.await;
    agent.crash().await;
    agent.start();
    agent.wait_registered().await;
    master.look(|seen| assert!(seen.registrations.last().is_some_and(|about| about.held == [id])));
    master.send(ToAgent::Kill { allocation: id, now: false });
    let exit = master.exit(id).await;
    assert_eq!((exit.code, exit.killed), (3, true));
    master.look(|seen| assert_eq!(output(seen.log_of(id), Source::Stdout), "up\nsaved\n"));
}

/// What the master has no record of is kept for people.
#[tokio::test]
async fn what_nobody_knows_is_ended_and_kept() {
    let master = FakeMaster::start().await;
    master.change(|seen| seen.keep = true);
    let agent = plain(&master).await;
    let id = master.send_start(&shell("echo up; sleep 1000"));
    let up =
        master.until("output", |seen| output(seen.log_of(id), Source::Stdout).contains("up\n").then_some(()));
    up.await;
    master.send(ToAgent::Disown { allocation: id });
    assert!(master.exit(id).await.killed);
    master.send(ToAgent::Forget { allocation: id });
    let kept = agent.options.data_dir.join("lost").join(id.to_string()).join("output.txt");
    let wait = async {
        loop {
            match std::fs::read_to_string(&kept) {
                Ok(text) if text == "up\n" => return,
                _ => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    soon("what it printed", wait).await;
}
