//! Clients that vanish in the middle of a request: what is in the database and what the master works with stay the same
//! (B1–B4), whichever route it was and whenever it happened.

use std::time::Duration;

use domain::task::Task as Stored;
use futures_util::future::join_all;
use serde_json::json;
use testkit::http::Request;
use testkit::{
    DEADLINE, Database, FakeAgent, Method, Requests as _, TestMaster, User, on_both_databases, on_sqlite,
};
use tokio::time::Instant;
use web::Row;

use super::samples::NOUNS;
use super::{Sample, World, shown_by, with_rows};

on_sqlite!(b01_a_vanished_client_of_any_changing_route_leaves_memory_and_database_the_same);
on_both_databases!(
    b01_a_command_whose_client_vanished_is_queued_or_was_never_there,
    b02_a_credential_ends_although_who_ended_it_vanished,
    b03_a_queued_command_whose_killer_vanished_never_runs,
    b04_an_agent_is_in_service_or_not_whoever_vanished,
    b01_an_agent_that_vanishes_in_the_middle_of_its_word_is_heard_whole,
);

/// How often each sample of the table is tried.
const TRIES: u32 = 5;

/// The moments at which connections end: 0 to 8 ms after the request was sent, the same in each run.
struct Moments(u64);

impl Moments {
    fn next(&mut self) -> Duration {
        // Xorshift; what matters is that they are spread.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        Duration::from_micros(self.0 % 8000)
    }
}

/// Sends the request and goes away.
async fn cut(request: Request, moments: &mut Moments) {
    request.cut_after(moments.next()).await;
}

/// Waits until memory and database say the same.
async fn agree(master: &TestMaster, what: &str) {
    let begun = Instant::now();
    loop {
        let found = master.services().disagreements().await.expect("asked");
        if found.is_empty() {
            return;
        }
        assert!(begun.elapsed() < DEADLINE, "{what}: {found:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn living(master: &TestMaster) -> Vec<Stored> {
    let mut conn = master.store().read().await.expect("a connection");
    store::task::alive(&mut conn).await.expect("read")
}

/// Kills what lives in the database until nothing does any more.
async fn end_everything(master: &TestMaster, agent: &mut FakeAgent, what: &str) {
    let begun = Instant::now();
    let admin = master.admin().await;
    loop {
        let tasks = living(master).await;
        if tasks.is_empty() {
            break;
        }
        assert!(begun.elapsed() < DEADLINE, "{what}: can't be ended: {tasks:#?}");
        for task in tasks {
            admin.post(&format!("/api/v1/commands/{}/kill", task.id)).await.ok();
        }
        // What runs is gone when its agent is back and doesn't have it.
        agent.lose_everything();
        agent.reconnect().await;
    }
    agree(master, what).await;
    assert_eq!(master.services().tasks.count_living(), 0, "{what}");
}

async fn try_sample(world: &mut World, row: &Row, sample: &Sample, moments: &mut Moments) {
    let what = format!("{} {}, {}", row.method, row.path, sample.what);
    let usual = if sample.spoils { Some(world.other_cast().await) } else { None };
    for number in 0..TRIES {
        // One that the deed may end.
        let name = format!("{}-{number}", world.a_new_name());
        let caller = administrator(&world.master, &name).await;
        let request = world.request(row, sample).await;
        cut(shown_by(request, row, &caller.token), moments).await;
    }
    agree(&world.master, &what).await;
    if let Some(usual) = usual {
        world.cast = usual;
    }
}

async fn administrator(master: &TestMaster, name: &str) -> User {
    let body = json!({"user": {"username": name, "active": true, "admin": true}});
    master.admin().await.post("/api/v1/users").json(body).await.ok();
    master.log_in(name).await
}

async fn b01_a_vanished_client_of_any_changing_route_leaves_memory_and_database_the_same(_: Database) {
    let worlds = NOUNS.iter().enumerate().map(|(number, noun)| async move {
        let mut world = World::make().await;
        let mut moments = Moments(number as u64 * 0x9e37_79b9 + 1);
        let rows = web::rows();
        let mut tried = with_rows(&rows, *noun);
        tried.retain(|(row, _)| row.method != Method::GET);
        for (row, sample) in &tried {
            try_sample(&mut world, row, sample, &mut moments).await;
        }
        let what = format!("all of {:?}", tried.first().map(|(row, _)| row.path));
        end_everything(&world.master, &mut world.agent, &what).await;
        world.agent.disconnect();
        tried.len()
    });
    let tried: usize = join_all(worlds).await.into_iter().sum();
    assert!(tried > 60, "{tried} changes");
}

async fn b01_a_command_whose_client_vanished_is_queued_or_was_never_there(database: Database) {
    let master = TestMaster::start(database).await;
    let (user, mut moments) = (master.default_user().await, Moments(1));
    let body = json!({"config": {"entrypoint": ["true"]}});
    for _ in 0..80 {
        cut(user.post("/api/v1/commands").json(body.clone()), &mut moments).await;
    }
    agree(&master, "80 commands").await;
    let queued = living(&master).await;
    assert!(!queued.is_empty(), "none came through: nothing was tried");
    for task in queued {
        user.post(&format!("/api/v1/commands/{}/kill", task.id)).await.ok();
        let state = user.command(&task.id.to_string()).await["state"].clone();
        assert_eq!(state, "STATE_TERMINATED", "a kill acts on what the database holds");
    }
    agree(&master, "their ends").await;
}

async fn b02_a_credential_ends_although_who_ended_it_vanished(database: Database) {
    let master = TestMaster::start(database).await;
    let admin = administrator(&master, "boss").await;
    let mut moments = Moments(2);
    for number in 0..12 {
        let ends = [
            admin.post("/api/v1/auth/logout"),
            admin.patch("").json(json!({"active": false})),
            admin.patch("").json(json!({"admin": false})),
            admin.patch("").json(json!({"password": "a quiet lake"})),
            admin.delete(""),
        ];
        for (kind, end) in ends.into_iter().enumerate() {
            let victim = administrator(&master, &format!("victim{number}-{kind}")).await;
            let (by_token, token) = victim.by_token(json!({})).await;
            // Both are remembered.
            victim.get("/api/v1/auth/user").await.ok();
            by_token.get("/api/v1/auth/user").await.ok();
            let end = if kind == 0 {
                victim.post("/api/v1/auth/logout")
            } else {
                end.to(&format!("{}{}", master.url(), victim.path()))
            };
            cut(end, &mut moments).await;
            let revoke = admin.patch(&format!("/api/v1/tokens/{token}")).json(json!({"setRevoked": true}));
            cut(revoke, &mut moments).await;
        }
        let victim = master.user(&format!("victim{number}")).await;
        victim.get("/api/v1/auth/user").await.ok();
        let sessions = admin.get(&format!("{}/sessions", victim.path())).await.ok();
        let path = format!("/api/v1/sessions/{}", sessions["sessions"][0]["id"]);
        cut(admin.delete(&path), &mut moments).await;
    }
    agree(&master, "what ended").await;
}

async fn b03_a_queued_command_whose_killer_vanished_never_runs(database: Database) {
    let master = TestMaster::start(database).await;
    let (user, mut moments) = (master.default_user().await, Moments(3));
    for _ in 0..60 {
        let id = user.run_true().await;
        cut(user.post(&format!("/api/v1/commands/{id}/kill")), &mut moments).await;
    }
    agree(&master, "60 kills").await;
    // The last ones may only now be carried out: their word is in the database a moment before their end.
    let begun = Instant::now();
    while living(&master).await.iter().any(Stored::is_killed) {
        assert!(begun.elapsed() < DEADLINE, "killed, and still waiting");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn b04_an_agent_is_in_service_or_not_whoever_vanished(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, mut moments) = (master.admin().await, Moments(4));
    let _agent = master.agent("node").await;
    for number in 0..60 {
        let verb = if number % 3 == 0 { "enable" } else { "disable" };
        let place = if number % 2 == 0 { "" } else { "/slots/1" };
        cut(admin.post(&format!("/api/v1/agents/node{place}/{verb}")), &mut moments).await;
        agree(&master, "the agent").await;
    }
}

async fn b01_an_agent_that_vanishes_in_the_middle_of_its_word_is_heard_whole(database: Database) {
    let master = TestMaster::start(database).await;
    let (user, mut moments) = (master.default_user().await, Moments(5));
    let mut agent = master.agent("node").await;
    for _ in 0..12 {
        user.run_true().await;
        let start = agent.next_start().await;
        agent.started(start.allocation).await;
        let exit = domain::task::Exit::default();
        agent.say_exit(start.allocation, exit).await;
        tokio::time::sleep(moments.next() / 4).await;
        agent.disconnect();
        agent.lose_everything();
        agent.reconnect().await;
        agree(&master, "a run").await;
    }
    end_everything(&master, &mut agent, "the runs").await;
}
