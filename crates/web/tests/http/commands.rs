//! The life of a command, from the queue to its exit status, and as whom it runs (D2–D4, P3, P17).

use api::agent::ToAgent;
use domain::task::{Exit, Fault, Limit};
use serde_json::{Value, json};
use testkit::{Database, Requests as _, TestMaster, on_both_databases, soon};

on_both_databases!(
    p03_a_command_lives_from_queue_to_exit_status,
    exit_statuses_and_their_sentences,
    a_command_that_waits_is_killed_at_once,
    a_running_command_is_killed_by_its_agent,
    b14_b15_who_ends_well_when_killed_was_killed_and_asking_twice_is_at_once,
    b07_a_variable_has_one_value_and_musters_own_stay,
    priority_decides_who_is_next,
    d04_who_has_no_link_runs_as_the_default_identity,
    d03_who_has_a_link_runs_as_that,
    the_task_is_told_who_and_where_it_is,
    bad_configurations_are_refused,
    an_identity_that_no_agent_can_give_is_refused_with_the_remedy,
    task_tokens_speak_for_their_task_only,
);

async fn p03_a_command_lives_from_queue_to_exit_status(database: Database) {
    let master = TestMaster::start(database).await;
    let user = master.default_user().await;
    let id = user.run(json!({"entrypoint": ["echo", "a b"], "description": "first"})).await;
    let mut log = user.follow(&id).await;
    log.until("Scheduling first").await;
    log.until("queued: no agent is connected").await;
    let queued = user.command(&id).await;
    assert_eq!((&queued["state"], &queued["username"]), (&json!("STATE_QUEUED"), &json!("determined")));
    assert_eq!(queued["waitingFor"], "no agent is connected");
    assert_eq!((&queued["exitStatus"], &queued["container"]), (&json!(""), &json!(null)));

    let mut agent = master.agent("node").await;
    let start = agent.next_start().await;
    assert_eq!((start.entrypoint.clone(), start.slots.len()), (vec!["echo".to_owned(), "a b".to_owned()], 1));
    let starting = user.command(&id).await;
    assert_eq!((&starting["state"], &starting["agentId"]), (&json!("STATE_STARTING"), &json!("node")));
    assert_eq!(starting["waitingFor"], json!(null));
    let living = user.get("/api/v1/tasks").await.ok();
    assert_eq!(living["allocationIdToSummary"][format!("{id}.1")]["name"], "first");

    agent.started(start.allocation).await;
    log.until("Resources for first have started").await;
    assert_eq!(user.command(&id).await["state"], "STATE_RUNNING");
    agent.exit(start.allocation, 0).await;
    log.until("exited successfully").await;
    assert_eq!(log.next().await, None, "the log ends with the task");
    let over = user.command(&id).await;
    assert_eq!((&over["state"], &over["exitCode"]), (&json!("STATE_TERMINATED"), &json!(0)));
    assert_eq!(over["exitStatus"], "allocation exited successfully");
    let task = user.get(&format!("/api/v1/tasks/{id}")).await.ok();
    assert_eq!(task["task"]["allocations"][0]["statusCode"], 0);
    assert_eq!(task["task"]["allocations"][0]["state"], "STATE_TERMINATED");
    assert_eq!(user.get("/api/v1/tasks").await.ok(), json!({"allocationIdToSummary": {}}));
}

async fn exit_statuses_and_their_sentences(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let mut agent = master.agent("node").await;
    let failed = "resources failed with non-zero exit code";
    let exit = |code, killed, failure: Option<&str>| Exit {
        code,
        killed,
        failure: failure.map(Into::into),
        ..Exit::default()
    };
    for (exit, sentence) in [
        (
            exit(3, false, None),
            format!("{failed}: container failed with non-zero exit code: 3 (exit code 3)"),
        ),
        (exit(126, false, None), format!("{failed}: command is not executable (exit code 126)")),
        (exit(127, false, None), format!("{failed}: command not found (exit code 127)")),
        // B14: a status is no signal.
        (
            exit(139, false, None),
            format!("{failed}: container failed with non-zero exit code: 139 (exit code 139)"),
        ),
        (
            Exit { signal: Some(11), ..exit(139, false, None) },
            format!("{failed}: process was ended by SIGSEGV (11) (exit code 139)"),
        ),
        (
            Exit { signal: Some(9), limit: Some(Limit::Memory), ..exit(137, false, None) },
            format!("{failed}: out of memory: process was ended by SIGKILL (9) (exit code 137)"),
        ),
        (exit(125, false, Some("no such mount")), format!("{failed}: no such mount (exit code 125)")),
        (
            Exit { fault: Some(Fault::Launch), ..exit(125, false, Some("no space")) },
            format!("{failed}: its machine couldn't begin it: no space (exit code 125)"),
        ),
    ] {
        let task = master.task(&alice, &mut agent).await;
        agent.exit_as(task.start.allocation, exit.clone()).await;
        let over = alice.command(&task.id()).await;
        assert_eq!((&over["exitCode"], &over["exitStatus"]), (&json!(exit.code), &json!(sentence)));
        assert_eq!(over["exitSignal"], json!(exit.signal));
        let run =
            alice.get(&format!("/api/v1/tasks/{}", task.id())).await.ok()["task"]["allocations"][0].clone();
        assert_eq!(run.get("exitFault"), exit.whose().map(|fault| json!(fault)).as_ref());
        let log = alice.log(&task.id()).await;
        assert_eq!(log.last(), Some(&format!("crashed: {sentence}")));
    }
}

async fn a_command_that_waits_is_killed_at_once(database: Database) {
    let master = TestMaster::start(database).await;
    let (alice, bob) = (master.user("alice").await, master.user("bob").await);
    let id = alice.run_true().await;
    let kill = format!("/api/v1/commands/{id}/kill");
    bob.post(&kill).await.refused(403);
    for _ in 0..2 {
        let killed = alice.post(&kill).await.ok();
        assert_eq!(killed["command"]["state"], "STATE_TERMINATED");
        assert_eq!(killed["command"]["exitStatus"], "allocation was killed before it started");
        assert_eq!(killed["command"]["exitCode"], json!(null));
    }
    // It is started no more.
    let mut agent = master.agent("node").await;
    let next = master.task(&alice, &mut agent).await;
    assert_ne!(next.id(), id);
}

async fn a_running_command_is_killed_by_its_agent(database: Database) {
    let master = TestMaster::start(database).await;
    let (alice, bob) = (master.user("alice").await, master.user("bob").await);
    let mut agent = master.agent("node").await;
    let task = master.task(&alice, &mut agent).await;
    let kill = format!("/api/v1/commands/{}/kill", task.id());
    bob.post(&kill).await.refused(403);
    assert_eq!(alice.post(&kill).await.ok()["command"]["state"], "STATE_TERMINATING");
    agent.expect_kill(task.start.allocation).await;
    agent.exit_as(task.start.allocation, Exit { code: 137, killed: true, ..Exit::default() }).await;
    let over = alice.post(&kill).await.ok();
    assert_eq!(over["command"]["exitStatus"], "allocation was killed by alice");
    assert_eq!(
        (&over["command"]["state"], &over["command"]["exitCode"]),
        (&json!("STATE_TERMINATED"), &json!(137))
    );
}

async fn b14_b15_who_ends_well_when_killed_was_killed_and_asking_twice_is_at_once(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let mut agent = master.agent("node").await;
    let task = master.task(&alice, &mut agent).await;
    let kill = format!("/api/v1/commands/{}/kill", task.id());
    let asked = |message: &ToAgent| match message {
        ToAgent::Kill { now, .. } => Some(*now),
        _ => None,
    };
    for at_once in [false, true] {
        alice.post(&kill).await.ok();
        assert_eq!(agent.until("a kill", asked).await, at_once);
    }
    agent.exit_as(task.start.allocation, Exit { killed: true, ..Exit::default() }).await;
    let over = alice.command(&task.id()).await;
    assert_eq!(over["exitStatus"], "allocation was killed by alice");
    assert_eq!((&over["exitCode"], &over["exitSignal"]), (&json!(0), &json!(null)));
    let log = alice.log(&task.id()).await;
    assert!(
        log.last().is_some_and(|line| line.ends_with("was terminated: allocation was killed by alice")),
        "{log:?}"
    );
}

async fn b07_a_variable_has_one_value_and_musters_own_stay(database: Database) {
    let master = TestMaster::configured(database, |config| {
        config.task_container_defaults =
            json!({"environment": {"environment_variables": ["BOTH=default", "ONE=default"]}});
    })
    .await;
    let alice = master.user("alice").await;
    let mut agent = master.agent("node").await;
    let variables = ["BOTH=mine", "DET_MASTER=http://elsewhere", "DET_MINE=kept", "PYTHONUSERBASE=/mine"];
    let id =
        alice.run(json!({"entrypoint": ["true"], "environment": {"environment_variables": variables}})).await;
    let start = agent.accept_start().await;
    let values = |name: &str| -> Vec<&str> {
        start.env.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
    };
    for (name, value) in
        [("BOTH", "mine"), ("ONE", "default"), ("DET_MINE", "kept"), ("PYTHONUSERBASE", "/mine")]
    {
        assert_eq!(values(name), [value], "{name}");
    }
    assert_eq!(values("DET_MASTER").len(), 1);
    assert_ne!(values("DET_MASTER"), ["http://elsewhere"]);
    agent.exit(start.allocation, 0).await;
    let log = alice.log(&id).await;
    let warnings: Vec<_> = log.iter().filter(|line| line.contains("passed over")).collect();
    assert_eq!(
        warnings,
        ["warning: DET_MASTER of the configuration is passed over: Muster sets it"],
        "{log:?}"
    );
}

async fn priority_decides_who_is_next(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let both = json!({"entrypoint": ["true"], "resources": {"slots": 2}});
    let (first, second) = (alice.run(both.clone()).await, alice.run(both).await);
    let path = format!("/api/v1/commands/{second}/set_priority");
    for bad in [json!({"priority": 0}), json!({"priority": 100}), json!({"priority": "x"}), json!({})] {
        alice.post(&path).json(bad).await.refused(400);
    }
    alice.post(&path).json(json!({"priority": 1})).await.ok();
    let mut agent = master.agent("node").await;
    let start = agent.accept_start().await;
    assert_eq!(start.allocation.task.to_string(), second);
    assert_eq!(
        alice.command(&first).await["waitingFor"],
        "it waits for 2 slots on one agent: 2 of 2 are in use"
    );
    agent.exit(start.allocation, 0).await;
    assert_eq!(agent.accept_start().await.allocation.task.to_string(), first);
}

async fn d04_who_has_no_link_runs_as_the_default_identity(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let mut agent = master.agent("node").await;
    let task = master.task(&alice, &mut agent).await;
    assert_eq!(task.start.identity.to_string(), "root:0:root:0");
    assert_eq!(alice.command(&task.id()).await["runsAs"], "root:0:root:0");

    let nobody = TestMaster::configured(database, |config| {
        let default = &mut config.security.default_task;
        (default.user, default.uid) = ("det-nobody".to_owned(), 65533);
        (default.group, default.gid) = ("det-nobody".to_owned(), 65533);
    })
    .await;
    let mut agent = nobody.agent("node").await;
    let task = nobody.task(&nobody.default_user().await, &mut agent).await;
    assert_eq!(task.start.identity.to_string(), "det-nobody:65533:det-nobody:65533");
}

async fn d03_who_has_a_link_runs_as_that(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, alice) = (master.admin().await, master.user("alice").await);
    let mut agent = master.agent("node").await;
    let link = |uid: i64| json!({"agentUserGroup": {"agentUid": uid, "agentGid": 206, "agentUser": "alice", "agentGroup": "lab"}});
    for uid in [5001, 4_294_967_294] {
        admin.patch(&alice.path()).json(link(uid)).await.ok();
        let task = master.task(&alice, &mut agent).await;
        assert_eq!(task.start.identity.to_string(), format!("alice:{uid}:lab:206"));
        agent.exit(task.start.allocation, 0).await;
    }
    // Settled when it is made: what is queued runs with the identity that it was asked for with, or waits (A14).
    agent.disconnect();
    let id = alice.run_true().await;
    admin.patch(&alice.path()).json(link(207)).await.ok();
    agent.reconnect().await;
    let later = alice.run_true().await;
    let start = agent.accept_start().await;
    assert_eq!((start.allocation.task.to_string(), start.identity.uid), (later, 207));
    let reason = admin.command(&id).await["waitingFor"].to_string();
    assert!(reason.contains("it was made to run as alice:4294967294:lab:206"), "{reason}");
    admin.patch(&alice.path()).json(link(4_294_967_294)).await.ok();
    let start = agent.accept_start().await;
    assert_eq!((start.allocation.task.to_string(), start.identity.uid), (id, 4_294_967_294));
}

async fn the_task_is_told_who_and_where_it_is(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let mut agent = master.agent("node").await;
    let mount = json!({"host_path": "/data", "container_path": "/d", "read_only": true});
    let variables = json!({"environment_variables": ["A=1=2", "EMPTY"]});
    let config = json!({"entrypoint": ["env"], "environment": variables, "bind_mounts": [mount], "work_dir": "/srv",
        "resources": {"slots": 0, "shm_size": "1G"}});
    let id = alice.run(config).await;
    let start = agent.accept_start().await;
    let env =
        |name: &str| start.env.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    for (name, value) in [
        ("DET_MASTER", master.url()),
        ("DET_TASK_ID", id.clone()),
        ("DET_ALLOCATION_ID", format!("{id}.1")),
        ("DET_AGENT_ID", "node".to_owned()),
        ("DET_USER", "alice".to_owned()),
        ("DET_SESSION_TOKEN", start.token.clone()),
        ("DET_SLOT_IDS", "[]".to_owned()),
        ("A", "1=2".to_owned()),
        ("EMPTY", String::new()),
    ] {
        assert_eq!(env(name), Some(value), "{name}");
    }
    assert!(start.env.iter().all(|(_, value)| !value.contains(&alice.token)), "no session's token");
    assert_eq!(
        (start.work_dir.as_deref(), start.shm_bytes, start.slots.len()),
        (Some("/srv"), Some(1 << 30), 0)
    );
    let [mount] = start.bind_mounts.as_slice() else { panic!("{:?}", start.bind_mounts) };
    assert_eq!(
        (mount.host_path.as_str(), mount.read_only, mount.propagation.as_str()),
        ("/data", true, "rprivate")
    );
    let config = alice.get(&format!("/api/v1/commands/{id}")).await.ok()["config"].clone();
    assert_eq!(config["environment"]["environment_variables"]["cpu"], json!(["A=1=2", "EMPTY"]));
}

async fn bad_configurations_are_refused(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let _agent = master.agent("node").await;
    let entry = |more: Value| {
        let mut config = json!({"entrypoint": ["true"]});
        config.as_object_mut().expect("a map").extend(more.as_object().expect("a map").clone());
        config
    };
    for (config, text) in [
        (json!({}), "entrypoint"),
        (json!({"entrypoint": []}), "entrypoint"),
        (json!({"entrypoint": ["a\u{0}b"]}), "NUL"),
        (entry(json!({"unknown": 1})), "unknown"),
        (entry(json!({"resources": {"slots": 3}})), "request unfulfillable: it asks for 3 slots"),
        (entry(json!({"resources": {"slots": -1}})), "-1"),
        (entry(json!({"resources": {"priority": 0}})), "not between 1 and 99"),
        (entry(json!({"resources": {"weight": -1}})), "resources.weight: -1 is no number above 0"),
        (entry(json!({"resources": {"weight": 0}})), "resources.weight: 0 is no number above 0"),
        (entry(json!({"resources": {"resource_pool": "gpu"}})), "resource pool 'gpu' does not exist"),
        (entry(json!({"bind_mounts": [{"host_path": "x", "container_path": "/x"}]})), "must be absolute"),
        (entry(json!({"work_dir": "relative"})), "must be absolute"),
        (entry(json!({"description": "a\u{0}b"})), "description"),
        (json!([]), "invalid"),
        (json!("x"), "invalid"),
    ] {
        let refused = alice.post("/api/v1/commands").json(json!({ "config": config })).await.refused(400);
        assert!(refused.contains(text), "{config}: {refused}");
    }
    assert_eq!(alice.get("/api/v1/commands").await.ok()["pagination"]["total"], 0);
    // MM4: an agent that is away may have as many.
    let mut large = master.agent("large").await;
    large.disconnect();
    let three = json!({"config": entry(json!({"resources": {"slots": 3}}))});
    let taken = async {
        while alice.post("/api/v1/commands").json(three.clone()).await.status != 200 {
            tokio::task::yield_now().await;
        }
    };
    soon("a place in the queue", taken).await;
}

async fn an_identity_that_no_agent_can_give_is_refused_with_the_remedy(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let mut agent = master.agent("laptop").await;
    agent.about.power = domain::agent::Power::Unprivileged { uid: 1000, gid: 1000, shared: false };
    agent.disconnect();
    agent.reconnect().await;
    let id = alice.run_true().await;
    let lines = alice.follow(&id).await.rest().await;
    let over = alice.command(&id).await;
    let reason = over["exitStatus"].as_str().expect("a reason");
    assert!(
        reason.contains("laptop runs as uid 1000 without root") && reason.contains("agent.shared"),
        "{reason}"
    );
    assert!(lines.last().is_some_and(|line| line.contains("without root")), "{lines:?}");
    // The default user's own work is taken.
    let user = master.default_user().await;
    master.task(&user, &mut agent).await;
}

async fn task_tokens_speak_for_their_task_only(database: Database) {
    let master = TestMaster::start(database).await;
    let (alice, bob) = (master.user("alice").await, master.user("bob").await);
    let mut agent = master.agent("node").await;
    let (task, other) = (master.task(&alice, &mut agent).await, master.task(&bob, &mut agent).await);
    assert_eq!(task.get("/api/v1/me").await.ok()["user"]["username"], "alice");
    task.get(&format!("/api/v1/tasks/{}", task.id())).await.ok();
    task.get(&format!("/api/v1/tasks/{}", other.id())).await.refused(404);
    for path in ["/api/v1/users", "/api/v1/commands", "/api/v1/agents", "/api/v1/auth/user"] {
        assert_eq!(task.get(path).await.refused(403), "a task's token is not good for this", "{path}");
    }
    task.post("/api/v1/auth/logout").await.refused(403);
    // As a user's token, which is how the clients in a task send it.
    let bearer = format!("Bearer {}", task.start.token);
    let me = master.anon().get("/api/v1/me").header("authorization", &bearer).await.ok();
    assert_eq!(me["user"]["username"], "alice");
    assert_eq!(master.anon().get("/api/v1/users").header("authorization", &bearer).await.status, 401);
    agent.exit(task.start.allocation, 0).await;
    assert_eq!(task.get("/api/v1/me").await.refused(401), "invalid credentials", "it died with the run");
    other.get("/api/v1/me").await.ok();
}
