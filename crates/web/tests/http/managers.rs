//! The contract of those who give places (`master::manager`): whatever stands behind a pool, tasks, logs, kills and the queue
//! are the same. Our agents, and a batch system that decides by itself, answers late, says things twice, can be away and
//! outlives masters (`testkit::batch`), pass the same tests.

#[path = "managers/world.rs"]
mod world;

use std::collections::HashSet;

use domain::log::Source;
use domain::task::Exit;
use domain::time::Timestamp;
use master::config::Pool;
use serde_json::{Value, json};
use testkit::{Database, Requests as _, TestMaster, User};

use world::{Kind, Place, World, run_of};

/// Makes two tests of each function that takes a [`Kind`].
macro_rules! contract {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            #[test]
            fn agents() {
                testkit::run(super::$name(super::Kind::Agents));
            }
            #[test]
            fn batch() {
                testkit::run(super::$name(super::Kind::Batch));
            }
        }
    )+};
}

contract!(
    a_run_starts_writes_and_ends,
    why_it_waits_is_said_and_its_place_in_the_queue,
    what_is_killed_in_the_queue_never_begins,
    what_is_killed_while_it_runs_is_told_and_ends,
    a_kill_that_crosses_with_an_end_changes_nothing_of_it,
    a_master_that_dies_while_a_run_is_asked_for_has_it_run_once,
    a_master_takes_up_what_has_its_place,
    a_master_takes_up_what_runs_and_what_ended_meanwhile,
    who_is_away_for_a_while_loses_nothing,
    what_is_lost_there_is_over,
    what_can_never_run_is_over_with_its_reason,
    priority_ends_nothing_that_cannot_go_on,
);

testkit::on_sqlite!(a_pool_names_a_manager_that_there_is);

fn exit(code: i32) -> Exit {
    Exit { code, ..Exit::default() }
}

fn killed() -> Exit {
    Exit { code: 137, signal: Some(9), killed: true, ..Exit::default() }
}

/// How many lines of the log say that.
async fn lines(user: &User, task: &str, text: &str) -> usize {
    user.log(task).await.iter().filter(|line| line.contains(text)).count()
}

async fn a_run_starts_writes_and_ends(kind: Kind) {
    let mut world = World::new(kind).await;
    let task = world.submit(1).await;
    let start = world.begins().await;
    let run = start.allocation;
    assert_eq!((run, start.slots.len()), (run_of(&task), 1));
    let runs = world.until_it_is(&task, "STATE_RUNNING").await;
    assert_eq!((&runs["agentId"], &runs["resourcePool"]), (&json!("node-1"), &json!(world.pool)));
    let inside = world.master.task_of(start);
    assert_eq!(inside.env("DET_AGENT_ID"), Some("node-1"));
    assert_eq!(inside.get("/api/v1/me").await.ok()["user"]["username"], "alice");
    let jobs = world.alice.get("/api/v1/job-queues-v2").await.ok();
    let job = &jobs["jobs"][0]["full"];
    assert_eq!((&job["resourcePool"], &job["allocatedSlots"]), (&json!(world.pool), &json!(1)));
    world.prints(run, "one\n").await;
    world.alice.follow(&task).await.until("one").await;
    world.prints(run, "two\n").await;
    world.alice.follow(&task).await.until("two").await;
    world.ends(run, exit(3)).await;
    let over = world.is_over(&task).await;
    assert_eq!(over["exitCode"], 3);
    let reason =
        "resources failed with non-zero exit code: container failed with non-zero exit code: 3 (exit code 3)";
    assert_eq!(over["exitStatus"], reason);
    for once in ["one", "two", "was assigned to an agent", "have started", "crashed:"] {
        assert_eq!(lines(&world.alice, &task, once).await, 1, "{once}");
    }
    inside.get("/api/v1/me").await.refused(401);
    world.is_begun_once(run);
    world.is_empty().await;
}

async fn why_it_waits_is_said_and_its_place_in_the_queue(kind: Kind) {
    let mut world = World::new(kind).await;
    let first = world.submit(2).await;
    let run = world.begins().await.allocation;
    let (second, third) = (world.submit(2).await, world.submit(2).await);
    world.arrives(&second).await;
    let why = match kind {
        Kind::Agents => "it waits for 2 slots on one agent: 2 of 2 are in use",
        Kind::Batch => "it waits in the batch system's own queue for: Resources",
    };
    for (task, ahead) in [(&second, 0), (&third, 1)] {
        let is_so = |command: &Value| command["waitingFor"] == why && command["jobsAhead"] == ahead;
        let waits = world.until(task, why, is_so).await;
        assert_eq!((&waits["state"], &waits["resourcePool"]), (&json!("STATE_QUEUED"), &json!(world.pool)));
        let told = why.split(':').next().expect("words");
        assert_eq!(lines(&world.alice, task, &format!("queued: {told}")).await, 1);
    }
    let jobs = world.alice.get("/api/v1/job-queues-v2").await.ok();
    let ids: Vec<&str> = jobs["jobs"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|job| job["full"]["jobId"].as_str())
        .collect();
    assert_eq!(ids, [&first, &second, &third]);
    world.ends(run, exit(0)).await;
    for task in [second, third] {
        let run = world.begins().await.allocation;
        assert_eq!(run, run_of(&task));
        world.ends(run, exit(0)).await;
        world.is_over(&task).await;
    }
    world.is_empty().await;
}

async fn what_is_killed_in_the_queue_never_begins(kind: Kind) {
    let mut world = World::new(kind).await;
    let _first = world.submit(2).await;
    let run = world.begins().await.allocation;
    let (second, third) = (world.submit(2).await, world.submit(2).await);
    world.arrives(&second).await;
    world.alice.post(&format!("/api/v1/commands/{second}/kill")).await.ok();
    let over = world.is_over(&second).await;
    assert_eq!(over["exitStatus"], "allocation was killed before it started");
    world.ends(run, exit(0)).await;
    let next = world.begins().await.allocation;
    assert_eq!(next, run_of(&third));
    if let Place::Batch(batch, _) = &world.place {
        assert_eq!(batch.begun(run_of(&second)), 0);
    }
    world.ends(next, exit(0)).await;
    world.is_over(&third).await;
    world.is_empty().await;
}

async fn what_is_killed_while_it_runs_is_told_and_ends(kind: Kind) {
    let mut world = World::new(kind).await;
    let task = world.submit(1).await;
    let run = world.begins().await.allocation;
    world.until_it_is(&task, "STATE_RUNNING").await;
    world.alice.post(&format!("/api/v1/commands/{task}/kill")).await.ok();
    world.until_it_is(&task, "STATE_TERMINATING").await;
    world.is_told_to_end(run).await;
    world.prints(run, "good bye\n").await;
    world.ends(run, killed()).await;
    assert_eq!(world.is_over(&task).await["exitStatus"], "allocation was killed by alice");
    assert_eq!(lines(&world.alice, &task, "good bye").await, 1);
    world.is_empty().await;
}

async fn a_kill_that_crosses_with_an_end_changes_nothing_of_it(kind: Kind) {
    let mut world = World::new(kind).await;
    let task = world.submit(1).await;
    let run = world.begins().await.allocation;
    world.until_it_is(&task, "STATE_RUNNING").await;
    if let Place::Batch(batch, _) = &world.place {
        // It has ended there, and nobody here can know.
        batch.set_away(true);
        batch.end(run, exit(0));
    }
    world.alice.post(&format!("/api/v1/commands/{task}/kill")).await.ok();
    world.until_it_is(&task, "STATE_TERMINATING").await;
    match &mut world.place {
        Place::Agents(agent) => agent.exit(run, 0).await,
        Place::Batch(batch, _) => batch.set_away(false),
    }
    let over = world.is_over(&task).await;
    assert_eq!(
        (&over["exitCode"], &over["exitStatus"]),
        (&json!(0), &json!("allocation exited successfully"))
    );
    world.is_empty().await;
}

async fn a_master_that_dies_while_a_run_is_asked_for_has_it_run_once(kind: Kind) {
    let mut world = World::new(kind).await;
    if let Place::Batch(batch, _) = &world.place {
        // What it does it doesn't say.
        batch.lose_answers(true);
    }
    let task = world.submit(2).await;
    match &mut world.place {
        // It is told, and hears nothing of it.
        Place::Agents(_) => drop(world.until_it_is(&task, "STATE_STARTING").await),
        Place::Batch(batch, _) => batch.has_jobs(1).await,
    }
    world
        .restart(async |place| {
            if let Place::Batch(batch, _) = place {
                batch.lose_answers(false);
            }
        })
        .await;
    let run = world.begins().await.allocation;
    world.ends(run, exit(0)).await;
    assert_eq!(world.is_over(&task).await["exitCode"], 0);
    world.is_begun_once(run);
    if let Place::Batch(batch, _) = &world.place {
        assert_eq!(batch.submitted(), 1);
    }
    world.is_empty().await;
}

async fn a_master_takes_up_what_has_its_place(kind: Kind) {
    let mut world = World::new(kind).await;
    let first = world.submit(2).await;
    let run = world.begins().await.allocation;
    let second = world.submit(2).await;
    world.arrives(&second).await;
    world.restart(async |_| ()).await;
    world.ends(run, exit(0)).await;
    world.is_over(&first).await;
    // It has its place, and its process doesn't run yet.
    world.until_it_is(&second, "STATE_STARTING").await;
    world.restart(async |_| ()).await;
    let start = world.begins().await;
    world.until_it_is(&second, "STATE_RUNNING").await;
    // By the token that it was started with.
    let inside = world.master.task_of(start.clone());
    inside.get("/api/v1/me").await.ok();
    world.ends(start.allocation, exit(0)).await;
    assert_eq!(world.is_over(&second).await["exitCode"], 0);
    world.is_begun_once(start.allocation);
    world.is_empty().await;
}

async fn a_master_takes_up_what_runs_and_what_ended_meanwhile(kind: Kind) {
    let mut world = World::new(kind).await;
    let (first, second) = (world.submit(1).await, world.submit(1).await);
    let begun = HashSet::from([world.begins().await.allocation, world.begins().await.allocation]);
    let runs = [run_of(&first), run_of(&second)];
    assert_eq!(begun, HashSet::from(runs));
    for (task, run) in [&first, &second].into_iter().zip(runs) {
        world.prints(run, "before\n").await;
        world.alice.follow(task).await.until("before").await;
    }
    world
        .restart(async |place| match place {
            Place::Agents(agent) => agent.write_unsent(runs[1], Source::Stdout, Timestamp(1), b"meanwhile\n"),
            Place::Batch(batch, _) => {
                batch.print(runs[1], b"meanwhile\n");
                batch.end(runs[1], exit(4));
            }
        })
        .await;
    if let Place::Agents(agent) = &mut world.place {
        agent.resend_log(runs[1], 0).await;
        agent.exit(runs[1], 4).await;
    }
    assert_eq!(world.is_over(&second).await["exitCode"], 4);
    world.prints(runs[0], "after\n").await;
    world.ends(runs[0], exit(0)).await;
    assert_eq!(world.is_over(&first).await["exitCode"], 0);
    for (task, text) in [(&first, "before"), (&first, "after"), (&second, "before"), (&second, "meanwhile")] {
        assert_eq!(lines(&world.alice, task, text).await, 1, "{text}");
    }
    runs.iter().for_each(|run| world.is_begun_once(*run));
    world.is_empty().await;
}

async fn who_is_away_for_a_while_loses_nothing(kind: Kind) {
    let mut world = World::new(kind).await;
    let first = world.submit(1).await;
    let run = world.begins().await.allocation;
    world.prints(run, "before\n").await;
    world.alice.follow(&first).await.until("before").await;
    let why = match &mut world.place {
        Place::Agents(agent) => {
            agent.disconnect();
            agent.write_unsent(run, Source::Stdout, Timestamp(1), b"alone\n");
            "no agent is connected"
        }
        Place::Batch(batch, _) => {
            batch.set_away(true);
            batch.print(run, b"alone\n");
            "the batch system doesn't answer"
        }
    };
    let second = world.submit(1).await;
    world.until(&second, why, |command| command["waitingFor"] == why).await;
    assert_eq!(world.alice.command(&first).await["state"], "STATE_RUNNING");
    match &mut world.place {
        Place::Agents(agent) => {
            agent.reconnect().await;
            agent.resend_log(run, 0).await;
        }
        Place::Batch(batch, _) => batch.set_away(false),
    }
    let next = world.begins().await.allocation;
    for (task, run) in [(&first, run), (&second, next)] {
        world.ends(run, exit(0)).await;
        assert_eq!(world.is_over(task).await["exitCode"], 0);
    }
    for text in ["before", "alone"] {
        assert_eq!(lines(&world.alice, &first, text).await, 1, "{text}");
    }
    world.is_empty().await;
}

async fn what_is_lost_there_is_over(kind: Kind) {
    let mut world = World::new(kind).await;
    let task = world.submit(1).await;
    let run = world.begins().await.allocation;
    world.until_it_is(&task, "STATE_RUNNING").await;
    let why = match &mut world.place {
        Place::Agents(agent) => {
            agent.disconnect();
            agent.lose_everything();
            agent.reconnect().await;
            "resources failed with non-zero exit code: agent node-1 lost the task"
        }
        Place::Batch(batch, _) => {
            batch.lose(run);
            "resources failed with non-zero exit code: the batch system has no such job any more"
        }
    };
    let over = world.is_over(&task).await;
    assert_eq!((&over["exitCode"], &over["exitStatus"]), (&Value::Null, &json!(why)));
    // And its room is free.
    let next = world.submit(2).await;
    let run = world.begins().await.allocation;
    assert_eq!(run, run_of(&next));
    world.ends(run, exit(0)).await;
    world.is_over(&next).await;
    world.is_empty().await;
}

async fn what_can_never_run_is_over_with_its_reason(kind: Kind) {
    let mut world = World::new(kind).await;
    let (slots, why) = match &mut world.place {
        Place::Agents(agent) => {
            agent.about.power = domain::agent::Power::Unprivileged { uid: 1000, gid: 1000, shared: false };
            agent.reconnect().await;
            (1, "without root")
        }
        Place::Batch(..) => (3, "the batch system refuses it: Requested node configuration is not available"),
    };
    let task = world.submit(slots).await;
    let over = world.is_over(&task).await;
    let reason = over["exitStatus"].as_str().expect("a reason");
    assert!(
        reason.starts_with("resources failed with non-zero exit code: ") && reason.contains(why),
        "{reason}"
    );
    assert_eq!(over["exitCode"], Value::Null);
    world.is_empty().await;
}

async fn priority_ends_nothing_that_cannot_go_on(kind: Kind) {
    let mut world = World::new(kind).await;
    let humble = world.submit_at(2, 90).await;
    let run = world.begins().await.allocation;
    world.until_it_is(&humble, "STATE_RUNNING").await;
    let (usual, urgent) = (world.submit_at(2, 42).await, world.submit_at(2, 1).await);
    let is_first = |command: &Value| command["jobsAhead"] == 0;
    world.until(&urgent, "the first place", is_first).await;
    world.arrives(&usual).await;
    world.arrives(&urgent).await;
    assert_eq!(world.alice.command(&humble).await["state"], "STATE_RUNNING");
    world.ends(run, exit(0)).await;
    assert_eq!(world.is_over(&humble).await["exitStatus"], "allocation exited successfully");
    for task in [urgent, usual] {
        let run = world.begins().await.allocation;
        assert_eq!(run, run_of(&task));
        world.ends(run, exit(0)).await;
        world.is_over(&task).await;
    }
    world.is_empty().await;
}

async fn a_pool_names_a_manager_that_there_is(database: Database) {
    let mut master = TestMaster::start(database).await;
    let pool = Pool { pool_name: "cluster".to_owned(), manager: "batch".to_owned(), ..Pool::default() };
    master.stop().await;
    master.reconfigure(|config| config.resource_pools = vec![pool]);
    let refused = master.try_boot().await.expect_err("no such manager").to_string();
    assert!(
        refused.contains("'cluster': there is no manager 'batch': leave it out, or use agents"),
        "{refused}"
    );
    master.reconfigure(|config| config.resource_pools.clear());
    master.boot().await;
}
