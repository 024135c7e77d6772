//! Agents that were let in: service, connections, what comes through them (X8). Who is let in is in `enrolment`.

use api::agent::{MAX_DEVICES, MAX_HELD};
use domain::agent::{Device, Power};
use serde_json::json;
use testkit::agent::{FakeAgent, Key};
use testkit::{Database, Requests as _, TestMaster, on_both_databases, soon};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

on_both_databases!(
    r09_no_page_opens_an_agents_channel,
    x08_agents_and_slots_are_taken_out_of_service,
    b23_what_runs_on_what_is_disabled_is_ended_or_runs_out,
    an_agent_that_is_back_replaces_its_old_connection,
    b09_what_is_wrong_with_a_machine_is_shown,
    b05_a_second_process_is_refused_while_the_first_lives,
    b05_what_is_dead_is_replaced,
    b20_the_skew_of_a_clock_is_shown,
    a03_http_through_an_agent_is_never_local,
    a02_http_is_served_for_runs_that_the_agent_holds,
    a02_what_is_open_for_a_run_ends_with_it_or_with_its_agent,
    a05_an_agent_that_invents_runs_costs_nobody_else,
    a05_others_go_on_while_all_that_an_agent_had_is_ended,
);

async fn r09_no_page_opens_an_agents_channel(database: Database) {
    let master = TestMaster::start(database).await;
    let ask = |origin: Option<&str>| {
        let request = master.anon().get(api::agent::CONNECT_PATH).header("connection", "upgrade");
        let request = request.header("upgrade", "websocket").header("sec-websocket-version", "13");
        let request = request.header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        match origin {
            Some(origin) => request.header("origin", origin),
            None => request,
        }
    };
    assert_eq!(ask(None).await.status, 101);
    let own = master.url();
    for origin in ["null", "http://evil.example.org", own.as_str()] {
        assert_eq!(ask(Some(origin)).await.status, 403, "{origin}");
    }
}

async fn x08_agents_and_slots_are_taken_out_of_service(database: Database) {
    let mut master = TestMaster::start(database).await;
    let admin = master.admin().await;
    let mut agent = master.agent("node").await;
    let list = admin.get("/api/v1/agents").await.ok();
    let node = &list["agents"][0];
    assert_eq!(
        (&node["id"], &node["enabled"], &node["connected"]),
        (&json!("node"), &json!(true), &json!(true))
    );
    assert_eq!(node["slots"].as_object().map(serde_json::Map::len), Some(2));
    assert_eq!(node["slots"]["1"]["device"]["type"], "TYPE_CPU");

    admin.post("/api/v1/agents/node/slots/0/disable").await.ok();
    let slot = admin.post("/api/v1/agents/node/slots/1/disable").await.ok();
    assert_eq!((&slot["slot"]["id"], &slot["slot"]["enabled"]), (&json!("1"), &json!(false)));
    let waits = admin.run_true().await;
    admin.follow(&waits).await.until("queued: it needs 1 slots on one agent").await;
    admin.post("/api/v1/agents/node/slots/1/enable").await.ok();
    let start = agent.accept_start().await;
    assert_eq!(start.slots, [1]);
    agent.exit(start.allocation, 0).await;

    let drained = admin.post("/api/v1/agents/node/disable").json(json!({"drain": true})).await.ok();
    assert_eq!((&drained["agent"]["draining"], &drained["agent"]["enabled"]), (&json!(true), &json!(false)));
    assert_eq!(drained["agent"]["slots"]["0"]["draining"], true);
    let waits = admin.run_true().await;
    let mut told = admin.follow(&waits).await;
    told.until("queued: the connected agents take no tasks until an administrator enables one").await;
    let reason = admin.command(&waits).await["waitingFor"].as_str().map(str::to_owned);
    assert!(reason.is_some_and(|reason| reason.ends_with(": 0 disabled, 1 draining")));
    admin.post("/api/v1/agents/node/disable").await.ok();
    master.restart().await;
    let after = admin.get("/api/v1/agents/node").await.ok();
    assert_eq!((&after["agent"]["enabled"], &after["agent"]["connected"]), (&json!(false), &json!(false)));
    agent.reconnect().await;
    admin.post("/api/v1/agents/node/enable").await.ok();
    agent.accept_start().await;
    for slot in ["x", "-1", "4294967296"] {
        admin.post(&format!("/api/v1/agents/node/slots/{slot}/disable")).await.refused(404);
    }
}

async fn an_agent_that_is_back_replaces_its_old_connection(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let key = Key::generate();
    let invitation = master.invitation(None).await;
    key.enrol(master.address(), &invitation, "node").await.expect("enrolled");
    let old = FakeAgent::connect(&master, "node", key.clone()).await;
    let mut new = FakeAgent::prepare(&master, "node", key);
    new.instance.clone_from(&old.instance);
    new.reconnect().await;
    new.about.power = Power::Root;
    // The end of the old connection doesn't take the new one's place away.
    drop(old);
    for _ in 0..3 {
        let task = master.task(&alice, &mut new).await;
        new.exit(task.start.allocation, 0).await;
    }
}

async fn b09_what_is_wrong_with_a_machine_is_shown(database: Database) {
    let master = TestMaster::start(database).await;
    let admin = master.admin().await;
    let mut agent = master.agent("node").await;
    assert!(admin.get("/api/v1/agents").await.ok()["agents"][0].get("trouble").is_none());
    agent.about.devices.clear();
    agent.about.trouble = Some("GPU 0 is lost\u{1b}[2J\nagent other: fine".into());
    agent.reconnect().await;
    let node = &admin.get("/api/v1/agents").await.ok()["agents"][0];
    // In one line, and nothing that a terminal obeys.
    assert_eq!(node["trouble"], "GPU 0 is lost[2Jagent other: fine");
    assert_eq!(node["slots"], json!({}));
}

async fn b05_a_second_process_is_refused_while_the_first_lives(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let mut first = master.agent("node").await;
    let task = master.task(&alice, &mut first).await;
    let mut copy = FakeAgent::prepare(&master, "node", first.key().clone());
    let (refused, ()) = tokio::join!(copy.try_reconnect(), first.answer_ping());
    let refused = refused.expect_err("the first one lives");
    assert!(refused.contains("already connected from another process, on fake.example.org"), "{refused}");
    // The first one and its task don't mind.
    first.exit(task.start.allocation, 0).await;
    assert_eq!(alice.command(&task.id()).await["state"], "STATE_TERMINATED");
    master.task(&alice, &mut first).await;
}

async fn b05_what_is_dead_is_replaced(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    // It never answers, as behind a connection that is half open.
    let silent = master.agent("node").await;
    let mut next = FakeAgent::connect(&master, "node", silent.key().clone()).await;
    master.task(&alice, &mut next).await;
}

async fn b20_the_skew_of_a_clock_is_shown(database: Database) {
    let master = TestMaster::start(database).await;
    let mut agent = master.agent("node").await;
    let list = master.admin().await.get("/api/v1/agents").await.ok();
    assert_eq!(list["agents"][0]["clockSkewMs"], 0);
    agent.ahead = -61_900_000;
    agent.reconnect().await;
    let list = master.admin().await.get("/api/v1/agents").await.ok();
    assert_eq!(list["agents"][0]["clockSkewMs"], -61_900);
}

/// A request through an agent, whole; the answer's head and body.
async fn through(agent: &FakeAgent, allocation: domain::id::AllocationId, head: &str, body: &str) -> String {
    let mut stream = agent.http(allocation).await.expect("held");
    let length = body.len();
    let request =
        format!("{head}\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    soon("an answer", stream.read_to_end(&mut answer)).await.expect("an answer");
    String::from_utf8_lossy(&answer).into_owned()
}

async fn a03_http_through_an_agent_is_never_local(database: Database) {
    let master = TestMaster::start(database).await;
    let mut agent = master.agent("node").await;
    let alice = master.user("alice").await;
    let task = master.task(&alice, &mut agent).await;
    let (allocation, token) = (task.start.allocation, &task.start.token);
    let bearer = format!("GET /api/v1/me HTTP/1.1\r\nAuthorization: Bearer {token}");
    let me = through(&agent, allocation, &bearer, "").await;
    assert!(me.starts_with("HTTP/1.1 200") && me.contains("alice"), "{me}");
    let nobody = through(&agent, allocation, "GET /api/v1/me HTTP/1.1", "").await;
    assert!(nobody.starts_with("HTTP/1.1 401"), "{nobody}");
    let page = through(&agent, allocation, "GET / HTTP/1.1", "").await;
    assert!(!page.starts_with("HTTP/1.1 200"), "nobody is the default user: {page}");
    let login = r#"{"username": "admin", "password": ""}"#;
    let blank = through(&agent, allocation, "POST /api/v1/auth/login HTTP/1.1", login).await;
    assert!(blank.starts_with("HTTP/1.1 401") || blank.starts_with("HTTP/1.1 403"), "{blank}");
}

async fn a02_http_is_served_for_runs_that_the_agent_holds(database: Database) {
    let master = TestMaster::start(database).await;
    let mut agent = master.agent("node").await;
    let other = master.agent("other").await;
    let alice = master.user("alice").await;
    let task = master.task(&alice, &mut agent).await;
    let allocation = task.start.allocation;
    let refused = other.http(allocation).await.expect_err("another's");
    assert!(refused.contains("agent other doesn't hold"), "{refused}");
    agent.http(allocation).await.expect("its own");
    agent.exit(allocation, 0).await;
    agent.http(allocation).await.expect_err("it is over");
}

async fn a02_what_is_open_for_a_run_ends_with_it_or_with_its_agent(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, alice) = (master.admin().await, master.user("alice").await);
    let mut agent = master.agent("node").await;
    let [ends, stays] = [master.task(&alice, &mut agent).await, master.task(&alice, &mut agent).await];
    let mut open = Vec::new();
    for task in [&ends, &stays] {
        let mut stream = agent.http(task.start.allocation).await.expect("held");
        // Half a request: the master waits for the rest.
        stream.write_all(b"GET /api/v1/me HTTP/1.1\r\n").await.expect("sent");
        open.push(stream);
    }
    let mut rest = Vec::new();
    agent.exit(ends.start.allocation, 0).await;
    soon("its end", open[0].read_to_end(&mut rest)).await.expect("closed");
    open[1].write_all(b"Host: 127.0.0.1\r\n").await.expect("another's end is nothing to it");
    admin.post("/api/v1/agents/node/revoke").await.ok();
    soon("its end", open[1].read_to_end(&mut rest)).await.expect("closed");
    assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
}

async fn b23_what_runs_on_what_is_disabled_is_ended_or_runs_out(database: Database) {
    let master = TestMaster::start(database).await;
    let admin = master.admin().await;
    let mut agent = master.agent("node").await;
    let [first, second] = [master.task(&admin, &mut agent).await, master.task(&admin, &mut agent).await];
    let killed = || domain::task::Exit { code: 137, killed: true, ..Default::default() };
    assert_eq!(second.start.slots, [1]);
    let slot = admin.get("/api/v1/agents/node/slots/1").await.ok();
    assert_eq!((&slot["slot"]["id"], &slot["slot"]["enabled"]), (&json!("1"), &json!(true)));
    assert_eq!(slot["slot"]["container"]["state"], "STATE_RUNNING");
    let slots = admin.get("/api/v1/agents/node/slots").await.ok();
    assert_eq!(slots["slots"].as_array().map(Vec::len), Some(2));
    for missing in ["node/slots/7", "node/slots/x", "nobody/slots/1", "nobody/slots"] {
        admin.get(&format!("/api/v1/agents/{missing}")).await.refused(404);
    }

    // A slot, with what runs on it alone.
    let drain = json!({"drain": true});
    admin.post("/api/v1/agents/node/slots/1/disable").json(drain.clone()).await.ok();
    assert_eq!(admin.command(&second.id()).await["state"], "STATE_RUNNING", "it runs out");
    admin.post("/api/v1/agents/node/slots/1/disable").await.ok();
    agent.expect_kill(second.start.allocation).await;
    agent.exit_as(second.start.allocation, killed()).await;
    let ended = admin.command(&second.id()).await;
    assert_eq!(
        (&ended["state"], &ended["exitStatus"]),
        (&json!("STATE_TERMINATED"), &json!("agent disabled"))
    );

    // All of it.
    admin.post("/api/v1/agents/node/disable").json(drain).await.ok();
    assert_eq!(admin.command(&first.id()).await["state"], "STATE_RUNNING", "it runs out");
    admin.post("/api/v1/agents/node/disable").await.ok();
    agent.expect_kill(first.start.allocation).await;
    agent.exit_as(first.start.allocation, killed()).await;
    assert_eq!(admin.command(&first.id()).await["exitStatus"], "agent disabled");
    let said = admin.log(&first.id()).await;
    assert!(said.iter().any(|line| line.contains("(reason: agent disabled)")), "{said:?}");
    let restarted = admin.run_true().await;
    admin.post("/api/v1/agents/node/enable").await.ok();
    assert_eq!(agent.accept_start().await.allocation.task.to_string(), restarted);
}

/// U2: ten connections that each name 40 000 runs kept everybody else from starting and killing.
async fn a05_an_agent_that_invents_runs_costs_nobody_else(database: Database) {
    let master = TestMaster::start(database).await;
    let (alice, admin) = (master.user("alice").await, master.admin().await);
    let mut liar = master.agent("liar").await;
    liar.invent(MAX_HELD + 1);
    let refused = liar.try_reconnect().await.expect_err("more than a machine has");
    assert!(refused.contains("too many at once: 4096 at most"), "{refused}");
    liar.lose_everything();
    liar.about.devices = vec![liar.about.devices[0].clone(); MAX_DEVICES + 1];
    let refused = liar.try_reconnect().await.expect_err("more than a machine has");
    assert!(refused.contains("too many at once: 1024 at most"), "{refused}");
    liar.about.devices.truncate(2);

    liar.invent(MAX_HELD);
    let many: Vec<_> = (0..12).map(|_| tokio::spawn(liar.register_beside())).collect();
    let waiting = alice.run(json!({"entrypoint": ["true"], "resources": {"slots": 2}})).await;
    alice.post(&format!("/api/v1/commands/{waiting}/kill")).await.ok();
    admin.get("/api/v1/agents").await.ok();
    assert!(many.iter().any(|one| !one.is_finished()), "others had to wait for all of them");
    for one in many {
        soon("its end", one).await.expect("no panic");
    }
    liar.reconnect().await;
    let told = async || {
        let audit = admin.get("/api/v1/audit?action=agent.disown").await.ok();
        audit["entries"].as_array().expect("a list").len()
    };
    assert_eq!(told().await, 1, "once for all of them");
    // Other ones each time: for a while, then it isn't heard.
    let mut refusals = 0;
    for _ in 0..12 {
        liar.lose_everything();
        liar.invent(3);
        if let Err(refused) = liar.try_reconnect().await {
            assert!(refused.contains("again and again"), "{refused}");
            refusals += 1;
        }
    }
    assert_eq!((told().await, refusals), (10, 3));
}

async fn a05_others_go_on_while_all_that_an_agent_had_is_ended(database: Database) {
    let master = TestMaster::start(database).await;
    let admin = master.admin().await;
    let mut agent = master.agent("node").await;
    let device = agent.about.devices[0].clone();
    agent.about.devices = (0..100).map(|id| Device { id, ..device.clone() }).collect();
    agent.reconnect().await;
    for name in ["alice", "bob"] {
        let user = master.user(name).await;
        for _ in 0..45 {
            master.task(&user, &mut agent).await;
        }
    }
    let tasks = master.services().tasks.clone();
    let looks = tokio::spawn(async move {
        let mut seen = Vec::new();
        while seen.last() != Some(&0) {
            seen.push(tasks.count_living());
        }
        seen
    });
    admin.post("/api/v1/agents/node/revoke").await.ok();
    let seen = looks.await.expect("over");
    assert!(seen.iter().any(|living| (1..90).contains(living)), "all were ended at one go");
}
