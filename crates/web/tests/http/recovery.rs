//! Nothing is lost when agent or master go away and come back; what stays away is given up (L01, L02, L04).

use std::time::Duration;

use api::agent::ToAgent;
use domain::log::Source;
use domain::task::Exit;
use domain::time::Timestamp;
use master::system::Clock as _;
use serde_json::json;
use testkit::{Database, FakeAgent, Requests as _, Task, TestMaster, User, on_both_databases};

on_both_databases!(
    l02_a_task_outlives_its_agents_connection_and_no_line_is_doubled,
    l01_a_task_outlives_the_master,
    l01_a_task_that_was_not_started_yet_is_sent_again,
    l02_an_end_waits_for_the_whole_log,
    a_task_that_its_agent_lost_is_over,
    a_task_killed_while_its_agent_is_away_is_ended_on_return,
    l04_an_agent_that_stays_away_is_given_up_after_its_time,
    r45_what_a_restored_master_has_no_record_of_is_kept_and_said,
    r45_what_waits_in_a_restored_master_and_had_begun_is_ended_with_a_reason,
    a05_an_agents_word_decides_nothing_of_what_it_was_never_given,
    r45_a_log_goes_on_behind_what_nobody_has_any_more,
);

const AT: Timestamp = Timestamp(1_767_225_601_000_000);

/// A running task that has written a line.
async fn running(master: &TestMaster) -> (User, FakeAgent, Task) {
    let alice = master.user("alice").await;
    let mut agent = master.agent("node").await;
    let task = master.task(&alice, &mut agent).await;
    agent.send_log(task.start.allocation, Source::Stdout, AT, b"one\n").await;
    (alice, agent, task)
}

/// The task's own lines.
async fn written(who: &User, task: &Task) -> Vec<String> {
    let path = format!("/api/v1/tasks/{}/logs?sources=task", task.id());
    who.get(&path).stream().await.rest().await
}

async fn l02_a_task_outlives_its_agents_connection_and_no_line_is_doubled(database: Database) {
    let master = TestMaster::start(database).await;
    let (alice, mut agent, task) = running(&master).await;
    let run = task.start.allocation;
    let mut log = alice.follow(&task.id()).await;
    for round in 0..3 {
        agent.disconnect();
        log.until("agent node went away").await;
        assert_eq!(alice.command(&task.id()).await["state"], "STATE_RUNNING");
        agent.reconnect().await;
        assert!(agent.wanted_from(run).await > 0, "the master says where to go on");
        // An agent that isn't sure sends it all again.
        agent.resend_log(run, 0).await;
        agent.send_log(run, Source::Stdout, AT, format!("round {round}\n").as_bytes()).await;
    }
    agent.exit(run, 0).await;
    assert_eq!(written(&alice, &task).await, ["one", "round 0", "round 1", "round 2"]);
    assert_eq!(alice.command(&task.id()).await["exitCode"], 0);
}

async fn l01_a_task_outlives_the_master(database: Database) {
    let mut master = TestMaster::start(database).await;
    let (alice, mut agent, task) = running(&master).await;
    let run = task.start.allocation;
    let follower = alice.follow(&task.id()).await;
    let queued = alice.run(json!({"entrypoint": ["true"], "resources": {"slots": 2}})).await;
    master.restart().await;
    assert!(follower.closes_within(Duration::from_secs(5)).await, "streams end with the master");
    assert_eq!(alice.command(&task.id()).await["state"], "STATE_RUNNING");
    task.get("/api/v1/me").await.ok();
    agent.reconnect().await;
    let sent = agent.wanted_from(run).await;
    agent.resend_log(run, 0).await;
    agent.send_log(run, Source::Stdout, AT, b"two\n").await;
    assert!(sent > 0);
    agent.exit(run, 3).await;
    assert_eq!(written(&alice, &task).await, ["one", "two"]);
    assert_eq!(alice.command(&task.id()).await["exitCode"], 3);
    // The queue was kept too, and the slots are free again.
    let next = agent.accept_start().await;
    assert_eq!(next.allocation.task.to_string(), queued);
    agent.exit(next.allocation, 0).await;
    master.restart().await;
    assert_eq!(alice.command(&task.id()).await["exitCode"], 3);
    assert_eq!(written(&alice, &task).await, ["one", "two"]);
}

async fn l01_a_task_that_was_not_started_yet_is_sent_again(database: Database) {
    let mut master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let mut agent = master.agent("node").await;
    let id = alice.run_true().await;
    let lost = agent.next_start().await;
    agent.lose_everything();
    master.restart().await;
    agent.reconnect().await;
    let again = agent.accept_start().await;
    assert_eq!(again.allocation, lost.allocation);
    assert_ne!(again.token, lost.token);
    alice.follow(&id).await.until("have started").await;
    let with = async |token: &str| {
        let bearer = format!("Bearer {token}");
        master.anon().get("/api/v1/me").header("grpc-metadata-x-allocation-token", &bearer).await.status
    };
    assert_eq!((with(&lost.token).await, with(&again.token).await), (401, 200), "the newest token counts");
}

async fn l02_an_end_waits_for_the_whole_log(database: Database) {
    let master = TestMaster::start(database).await;
    let (alice, mut agent, task) = running(&master).await;
    let run = task.start.allocation;
    agent.disconnect();
    alice.follow(&task.id()).await.until("went away").await;
    agent.write_unsent(run, Source::Stdout, AT, b"last words\n");
    agent.reconnect().await;
    let known = agent.wanted_from(run).await;
    agent.say_exit(run, Exit { code: 0, killed: false, ..Exit::default() }).await;
    assert_eq!(agent.wanted_from(run).await, known, "not before the log is whole");
    assert_eq!(alice.command(&task.id()).await["state"], "STATE_RUNNING");
    agent.resend_log(run, usize::try_from(known).expect("small")).await;
    agent.exit(run, 0).await;
    assert_eq!(written(&alice, &task).await, ["one", "last words"]);
}

async fn a_task_that_its_agent_lost_is_over(database: Database) {
    let master = TestMaster::start(database).await;
    let (alice, mut agent, task) = running(&master).await;
    agent.disconnect();
    agent.lose_everything();
    agent.reconnect().await;
    alice.follow(&task.id()).await.rest().await;
    let over = alice.command(&task.id()).await;
    let reason = "resources failed with non-zero exit code: agent node lost the task";
    assert_eq!((&over["exitStatus"], &over["exitCode"]), (&json!(reason), &json!(null)));
    task.get("/api/v1/me").await.refused(401);
}

async fn a_task_killed_while_its_agent_is_away_is_ended_on_return(database: Database) {
    let mut master = TestMaster::start(database).await;
    let (alice, mut agent, task) = running(&master).await;
    agent.disconnect();
    alice.follow(&task.id()).await.until("went away").await;
    let killed = alice.post(&format!("/api/v1/commands/{}/kill", task.id())).await.ok();
    assert_eq!(killed["command"]["state"], "STATE_TERMINATING");
    master.restart().await;
    agent.reconnect().await;
    agent.expect_kill(task.start.allocation).await;
    agent.exit_as(task.start.allocation, Exit { code: 137, killed: true, ..Exit::default() }).await;
    assert_eq!(alice.command(&task.id()).await["exitStatus"], "allocation was killed");
}

async fn l04_an_agent_that_stays_away_is_given_up_after_its_time(database: Database) {
    let master = TestMaster::configured(database, |config| config.agent_lost_after = 2).await;
    let (alice, mut agent, task) = running(&master).await;
    let mut log = alice.follow(&task.id()).await;
    agent.disconnect();
    log.until("went away").await;
    // Setting the machine's time, back or forth, ends nothing: patience is measured by a clock that only goes forward.
    let left = master.clock.now();
    for now in [Timestamp(left.0 - 86_400_000_000), left.plus(Duration::from_secs(86_400))] {
        master.clock.set(now);
        let probe = alice.run_true().await;
        alice.follow(&probe).await.until("queued").await;
        assert_eq!(alice.command(&task.id()).await["state"], "STATE_RUNNING");
    }
    log.until("has been away for more than 2 s").await;
    assert_eq!(log.next().await, None);
    assert_eq!(alice.command(&task.id()).await["state"], "STATE_TERMINATED");
    // When it is back after all, it is told to end what nobody knows any more.
    agent.reconnect().await;
    agent.expect_kill(task.start.allocation).await;
    agent.exit(task.start.allocation, 0).await;
    let over = alice.command(&task.id()).await;
    assert_eq!(over["exitCode"], json!(null), "what was recorded stays");
}

/// KP2: a master whose back-up was restored meets what began after it.
async fn r45_what_a_restored_master_has_no_record_of_is_kept_and_said(database: Database) {
    let master = TestMaster::start(database).await;
    let (alice, mut agent, task) = running(&master).await;
    let admin = master.admin().await;
    agent.disconnect();
    let unknown = "6f1c7f3e-5b0f-4a4c-9d8e-2b1a00000000.1".parse().expect("an id");
    agent.write_unsent(unknown, Source::Stdout, AT, b"epoch 1\n");
    for _ in 0..2 {
        agent.reconnect().await;
        let disowned = |m: &ToAgent| match m {
            ToAgent::Disown { allocation } => Some(*allocation),
            _ => None,
        };
        assert_eq!(agent.until("that it is to be kept", disowned).await, unknown);
        agent.expect_kill(unknown).await;
        agent.disconnect();
    }
    agent.reconnect().await;
    agent.exit(unknown, 143).await;
    let audit = admin.get("/api/v1/audit?action=agent.disown").await.ok();
    let entries = audit["entries"].as_array().expect("a list");
    assert_eq!(entries.len(), 1, "once: {audit}");
    assert_eq!(entries[0]["record"]["after"]["runs"], json!([unknown.to_string()]));
    // What the master knows goes on.
    agent.exit(task.start.allocation, 0).await;
    assert_eq!(alice.command(&task.id()).await["exitCode"], 0);
}

/// V5: the back-up is from before the task's start.
async fn r45_what_waits_in_a_restored_master_and_had_begun_is_ended_with_a_reason(database: Database) {
    let mut master = TestMaster::start(database).await;
    let (alice, admin) = (master.user("alice").await, master.admin().await);
    let mut agent = master.agent("node").await;
    let mut thief = master.agent("thief").await;
    admin.post("/api/v1/agents/thief/disable").json(json!({})).await.ok();
    let both_slots = json!({"entrypoint": ["true"], "resources": {"slots": 2}});
    alice.run(both_slots.clone()).await;
    let first = agent.accept_start().await.allocation;
    let id = alice.run(both_slots).await;
    let back_up = master.back_up().await;
    agent.reconnect().await;
    agent.exit(first, 0).await;
    let begun = agent.accept_start().await;
    let run = begun.allocation;
    assert_eq!(run.task.to_string(), id);
    agent.write_unsent(run, Source::Stdout, AT, b"epoch 1\n");
    master.restore(back_up).await;
    // Who was given it is known, not only that somebody was.
    thief.write_unsent(run, Source::Stdout, AT, b"not mine\n");
    thief.about.given.insert(run, begun.given.into());
    thief.reconnect().await;
    thief.expect_kill(run).await;
    assert_eq!(alice.command(&id).await["state"], "STATE_QUEUED");
    agent.reconnect().await;
    agent.expect_kill(run).await;
    assert_eq!(alice.command(&id).await["state"], "STATE_TERMINATING");
    agent.resend_log(run, 0).await;
    agent.exit_as(run, Exit { code: 143, killed: true, ..Exit::default() }).await;
    let over = alice.command(&id).await;
    let reason = over["exitStatus"].as_str().expect("a reason");
    assert!(reason.starts_with("allocation was killed: it had begun after the back-up"), "{reason}");
    let log = alice.follow(&id).await.rest().await.join("\n");
    assert!(log.contains("epoch 1") && log.contains("it had begun after the back-up"), "{log}");
    let audit = admin.get("/api/v1/audit?action=agent.end_begun").await.ok();
    assert_eq!(audit["entries"][0]["record"]["after"]["runs"], json!([format!("{id}.1")]), "{audit}");
    // It isn't begun again; others are.
    let next = alice.run_true().await;
    assert_eq!(agent.accept_start().await.allocation.task.to_string(), next);
}

/// KB1: an agent without slots, and out of service, ended everybody's waiting tasks by naming them, and told of one what it
/// printed and that it was a success; its owner couldn't end it.
async fn a05_an_agents_word_decides_nothing_of_what_it_was_never_given(database: Database) {
    let master = TestMaster::start(database).await;
    let (alice, admin) = (master.user("alice").await, master.admin().await);
    let (mut agent, mut liar) = (master.agent("node").await, master.agent("liar").await);
    admin.post("/api/v1/agents/liar/disable").json(json!({})).await.ok();
    let both_slots = || json!({"entrypoint": ["true"], "resources": {"slots": 2}});
    alice.run(both_slots()).await;
    let first = agent.accept_start().await;
    let (waits, unwanted) = (alice.run(both_slots()).await, alice.run(both_slots()).await);
    liar.disconnect();
    liar.about.devices.clear();
    let runs = [&waits, &unwanted].map(|id| format!("{id}.1").parse().expect("a run"));
    for (run, proof) in runs.into_iter().zip([first.given.as_str(), "made up"]) {
        liar.write_unsent(run, Source::Stdout, AT, b"accuracy 0.99\n");
        liar.about.given.insert(run, proof.into());
    }
    liar.reconnect().await;
    for run in runs {
        liar.expect_kill(run).await;
        liar.started(run).await;
        liar.resend_log(run, 0).await;
    }
    liar.exit(runs[0], 0).await;
    for id in [&waits, &unwanted] {
        assert_eq!(alice.command(id).await["state"], "STATE_QUEUED");
    }
    // While the liar holds it.
    alice.post(&format!("/api/v1/commands/{unwanted}/kill")).await.ok();
    let over = alice.command(&unwanted).await;
    assert_eq!(
        (&over["state"], &over["exitStatus"]),
        (&json!("STATE_TERMINATED"), &json!("allocation was killed before it started"))
    );
    agent.exit(first.allocation, 0).await;
    assert_eq!(agent.accept_start().await.allocation, runs[0]);
    agent.exit(runs[0], 3).await;
    assert_eq!(alice.command(&waits).await["exitCode"], 3);
    let log = alice.follow(&waits).await.rest().await.join("\n");
    assert!(!log.contains("accuracy"), "{log}");
    let audit = admin.get("/api/v1/audit?action=agent.disown").await.ok();
    assert_eq!(audit["entries"].as_array().map(Vec::len), Some(1), "administrators see it: {audit}");
}

/// V4: a master of before wants what the agent gave back to the one of then.
async fn r45_a_log_goes_on_behind_what_nobody_has_any_more(database: Database) {
    let mut master = TestMaster::start(database).await;
    let (alice, mut agent, task) = running(&master).await;
    let run = task.start.allocation;
    for (line, text) in [(b"two", b"three\n"), (b"fou", b"five.\n")] {
        let from = agent.written(run);
        agent.write_unsent(run, Source::Stdout, AT, line);
        let to = agent.written(run);
        agent.lose_log(run, from, to).await;
        // Saying it again changes nothing.
        agent.lose_log(run, from, to).await;
        agent.send_log(run, Source::Stdout, AT, text).await;
        master.restart().await;
        agent.reconnect().await;
        assert_eq!(agent.wanted_from(run).await, agent.written(run), "counted after a restart, too");
    }
    agent.exit(run, 0).await;
    assert_eq!(written(&alice, &task).await, ["one", "three", "five."]);
    let log = alice.follow(&task.id()).await.rest().await.join("\n");
    assert_eq!(log.matches("19 bytes of this log are missing here").count(), 2, "{log}");
}
