//! Agents, masters and shims that end at the wrong moment (L02): nothing is lost, nothing runs or arrives twice.

use std::fs;

use api::agent::{Start, ToAgent};
use domain::log::{Records, Source};
use domain::task::Fault;
use launch::spec::{Identity, Mode};
use rustix::process::{Pid, Signal};

use crate::support::{FakeMaster, Gate, Seen, TestAgent, emptied, identity, new_run, output, shell, soon};

/// Cuts a log where a piece that came earlier ended: a master that lost what it had confirmed.
fn forget_half(seen: &mut Seen, id: domain::id::AllocationId) {
    let log = seen.logs.get_mut(&id).expect("some came");
    let mut records = Records::new(log);
    let half = log.len() / 2;
    while records.consumed() < half && records.next().is_some() {}
    let cut = records.consumed();
    log.truncate(cut);
}

#[tokio::test]
async fn l02_a_run_outlives_agent_and_master_and_loses_nothing() {
    let mut master = FakeMaster::start().await;
    master.change(|seen| seen.keep = true);
    let mut agent = TestAgent::registered(&master).await;
    let gate = Gate::new(&agent);
    // The end that opened the gate last may still be open: reading it finds nothing, and that is no go.
    let part = |n: u32| {
        format!(
            "i=0; while [ $i -lt 3000 ]; do echo part {n} line $i; i=$((i+1)); done; \
             until read x < /shared/gate; do :; done"
        )
    };
    let start = Start {
        bind_mounts: vec![gate.mount()],
        ..shell(&format!("{}; {}; {}; exit 7", part(1), part(2), part(3)))
    };
    let id = master.send_start(&start);
    let lines = |seen: &Seen, n: usize| {
        let log = seen.logs.get(&id)?;
        (output(log, Source::Stdout).lines().count() >= n).then_some(())
    };
    master.until("the first part", |seen| lines(seen, 3000)).await;

    // The agent crashes while the task prints.
    gate.open().await;
    agent.crash().await;
    master.change(|seen| forget_half(seen, id));
    agent.start();
    master.until("the second part", |seen| lines(seen, 6000)).await;

    // The master goes while the task prints, the agent crashes meanwhile, and the master has lost some.
    gate.open().await;
    master.go_away().await;
    agent.crash().await;
    agent.start();
    master.change(|seen| forget_half(seen, id));
    master.come_back().await;
    master.until("the third part", |seen| lines(seen, 9000)).await;

    // The task ends while there is no agent.
    agent.crash().await;
    let shim = launch::Shim::open(&agent.task_dir(id)).expect("readable").expect("lives");
    gate.open().await;
    let ended = tokio::task::spawn_blocking(move || {
        let mut fds = [rustix::event::PollFd::from_borrowed_fd(shim.pidfd(), rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut fds, None).expect("waited");
    });
    soon("the task's end", ended).await.expect("no panic");
    agent.start();
    let exit = master.exit(id).await;
    assert_eq!((exit.code, exit.failure), (7, None));

    let expected: String =
        (1..=3).flat_map(|part| (0..3000).map(move |line| format!("part {part} line {line}\n"))).collect();
    master.look(|seen| {
        assert_eq!(output(seen.log_of(id), Source::Stdout), expected);
        assert_eq!(seen.log_of(id), agent.log_on_disk(id));
        assert!(seen.registrations[1..].iter().all(|register| register.held == [id]));
        assert_eq!(seen.exits.last().map(|(_, _, bytes)| *bytes), Some(seen.log_of(id).len() as u64));
    });
    master.send(ToAgent::Forget { allocation: id });
    emptied(&agent.options.data_dir.join("tasks")).await;
}

#[tokio::test]
async fn a_master_that_lost_confirmed_bytes_gets_them_and_the_end_again() {
    let master = FakeMaster::start().await;
    master.change(|seen| seen.keep = true);
    let agent = TestAgent::registered(&master).await;
    let id = master.send_start(&shell("echo one; echo two"));
    assert_eq!(master.exit(id).await.code, 0);
    for (n, offset) in [(2, 0), (3, 0)] {
        master.change(|seen| seen.logs.remove(&id));
        master.send(ToAgent::LogsReceived { allocation: id, offset, kept: 0, full: false });
        master.until("the end, again", |seen| (seen.exits_of(id) >= n).then_some(())).await;
        assert_eq!(master.look(|seen| seen.log_of(id).to_vec()), agent.log_on_disk(id));
    }
}

#[tokio::test]
async fn l02_a_run_never_begins_twice() {
    let master = FakeMaster::start().await;
    master.change(|seen| seen.keep = true);
    let mut agent = TestAgent::registered(&master).await;
    let gate = Gate::new(&agent);
    let start = Start {
        bind_mounts: vec![gate.mount()],
        ..shell("echo ran >> /shared/runs; echo up; read x < /shared/gate")
    };
    for _ in 0..3 {
        master.send_start(&start);
    }
    let id = start.allocation;
    master.until("output", |seen| (!seen.log_of(id).is_empty()).then_some(())).await;
    agent.crash().await;
    agent.start();
    agent.wait_registered().await;
    master.until("registration", |seen| (seen.registrations.len() == 2).then_some(())).await;
    master.send_start(&start);
    gate.open().await;
    assert_eq!(master.exit(id).await.code, 0);
    master.send_start(&start);
    agent.crash().await;
    agent.start();
    master.until("the end, again", |seen| (seen.exits_of(id) == 2).then_some(())).await;
    master.send_start(&start);
    master.exit(master.send_start(&shell("true"))).await;
    assert_eq!(fs::read_to_string(gate.dir.join("runs")).expect("it ran"), "ran\n");
}

#[tokio::test]
async fn l02_an_agent_that_crashes_at_once_leaves_nothing_undone() {
    let master = FakeMaster::start().await;
    let mut agent = TestAgent::registered(&master).await;
    for round in 0..16 {
        let start = shell("echo once");
        let id = master.send_start(&start);
        // A little further each time: whichever step it is at.
        for _ in 0..round * round * 8 {
            tokio::task::yield_now().await;
        }
        agent.crash().await;
        let before = master.look(|seen| seen.registrations.len());
        agent.start();
        let held = master.until("registration", |seen| {
            seen.registrations.get(before).map(|register| register.held.contains(&id))
        });
        if !held.await {
            // What it doesn't hold it never began: the master asks again.
            master.send_start(&start);
        }
        assert_eq!(master.exit(id).await.code, 0);
        master.look(|seen| assert_eq!(output(seen.log_of(id), Source::Stdout), "once\n"));
    }
}

/// The shim's process, as it wrote it down.
fn shim_pid(dir: &std::path::Path) -> Pid {
    let text = fs::read_to_string(dir.join("shim.pid")).expect("written");
    let pid = text.split_ascii_whitespace().next().expect("a number");
    Pid::from_raw(pid.parse().expect("a number")).expect("a process")
}

#[tokio::test]
async fn l02_a_shim_that_dies_is_reported_with_and_without_an_agent() {
    let master = FakeMaster::start().await;
    master.change(|seen| seen.keep = true);
    let mut agent = TestAgent::registered(&master).await;
    let runs = [(); 2].map(|()| master.send_start(&shell("echo up; exec tail -f /dev/null")));
    for id in runs {
        master.until("output", |seen| (!seen.log_of(id).is_empty()).then_some(())).await;
    }
    let die = |agent: &TestAgent, id| {
        rustix::process::kill_process(shim_pid(&agent.task_dir(id)), Signal::KILL).expect("killed");
    };
    die(&agent, runs[0]);
    master.exit(runs[0]).await;
    agent.crash().await;
    die(&agent, runs[1]);
    agent.start();
    for id in runs {
        let exit = master.exit(id).await;
        assert_eq!((exit.code, exit.killed, exit.fault), (137, false, Some(Fault::Lost)));
        assert_eq!(exit.failure.as_deref(), Some("the task's supervisor was ended"));
        master.look(|seen| assert_eq!(output(seen.log_of(id), Source::Stdout), "up\n"));
    }
}

#[tokio::test]
async fn l02_a_run_without_a_shim_is_begun_after_a_crash() {
    let master = FakeMaster::start().await;
    let mut agent = TestAgent::registered(&master).await;
    agent.crash().await;
    // As a crash between making the directory and starting the shim leaves it.
    let id = new_run();
    let user = identity();
    let root = rustix::process::geteuid().is_root();
    let spec = launch::TaskSpec {
        task_id: id.to_string(),
        argv: vec!["echo".into(), "late".into()],
        env: vec![],
        identity: Identity { user: user.user, uid: user.uid, group: user.group, gid: user.gid },
        groups: vec![],
        work_dir: None,
        bind_mounts: vec![],
        limits: launch::spec::Limits::default(),
        owner: None,
        kill_grace_ms: 0,
        seccomp: launch::spec::Seccomp::Off,
        shm_bytes: None,
        run_bytes: None,
        fence_devices: false,
        mode: if root {
            Mode::Root { root_range_base: agent.options.root_range_base }
        } else {
            Mode::Unprivileged
        },
        masked: vec![],
        bind_prefixes: None,
        late_mounts: vec![],
        devices: vec![],
        network: launch::spec::Network::Private,
        relay_env: vec![],
        reach: vec![],
        guarded: vec![],
        shown: vec![],
        own_files: vec![],
        unfinished: false,
    };
    launch::create_task_dir(&agent.options.data_dir.join("tasks"), &id.to_string(), &spec).expect("made");
    agent.start();
    assert_eq!(master.exit(id).await.code, 0);
    master.look(|seen| {
        assert_eq!(output(seen.log_of(id), Source::Stdout), "late\n");
        assert_eq!(seen.started, [id]);
    });
}

#[tokio::test]
async fn a_clean_end_leaves_tasks_running() {
    let master = FakeMaster::start().await;
    let mut agent = TestAgent::registered(&master).await;
    let gate = Gate::new(&agent);
    let start = Start {
        bind_mounts: vec![gate.mount()],
        given: "a proof".to_owned(),
        ..shell("echo up; read x < /shared/gate; echo down")
    };
    let id = master.send_start(&start);
    master.until("output", |seen| (!seen.log_of(id).is_empty()).then_some(())).await;
    agent.shut_down().await.expect("a clean end");
    gate.open().await;
    agent.start();
    let register = master.until("to come again", |seen| seen.registrations.get(1).cloned()).await;
    assert_eq!(register.held, [id]);
    assert_eq!(register.given[&id], "a proof", "the master knows by it what it gave to whom");
    assert_eq!(master.exit(id).await.code, 0);
    master.look(|seen| assert_eq!(output(seen.log_of(id), Source::Stdout), "up\ndown\n"));
}

/// KP2: the master's back-up was restored, and it has no record of what began afterwards.
#[tokio::test]
async fn r45_a_run_that_the_master_has_no_record_of_is_ended_softly_and_kept() {
    let master = FakeMaster::start().await;
    let agent = TestAgent::registered(&master).await;
    let id = master
        .send_start(&shell("trap 'echo saved; exit 3' TERM; echo epoch 1; while :; do sleep 0.05; done"));
    let printed = |seen: &Seen| output(seen.log_of(id), Source::Stdout).contains("epoch 1").then_some(());
    master.until("the first line", printed).await;
    master.send(ToAgent::Disown { allocation: id });
    assert_eq!(master.exit(id).await.code, 3);
    let kept = agent.options.data_dir.join("lost").join(id.to_string());
    soon("the directory", async {
        while !kept.join("output.txt").exists() || kept.join("log").exists() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let text = fs::read_to_string(kept.join("output.txt")).expect("kept");
    assert!(text.contains("epoch 1\n") && text.contains("saved\n"), "{text}");
    let why = fs::read_to_string(kept.join("why.txt")).expect("kept");
    assert!(why.contains("no record of this task") && why.contains(&master.url()), "{why}");
    assert!(!kept.join("scratch").exists());
}
