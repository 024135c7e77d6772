//! Databases that the program of before made, in `committed`: with tasks that ended well and badly, one that was killed, one
//! that runs, some that wait and one that is being ended. They are brought up to date, and everything is as it was.

use domain::allocation::{Allocation, Asked, Cause, Phase, Placement};
use domain::kind::Kind;
use domain::task::{Standing, State, Task};
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{Connection as _, PgConnection, Row as _, SqliteConnection};
use store::{Store, task};
use testkit::{Database, Storage, on_both_databases};

use crate::samples::NOW;

on_both_databases!(
    tasks_of_before_have_the_runs_that_they_had,
    what_lived_goes_on_and_ends_after_the_upgrade,
);

const SQLITE: &str = include_str!("../committed/schema11.sqlite.sql");
const POSTGRES: &str = include_str!("../committed/schema11.postgres.sql");

/// Declares the columns of before, and how a row of either database is read.
macro_rules! before {
    ($($column:ident: $type:ty),* $(,)?) => {
        /// A task as it stood in the table of before.
        #[derive(Debug)]
        struct Before {
            $($column: $type,)*
        }

        impl Before {
            fn of_sqlite(row: &SqliteRow) -> Self {
                Self { $($column: row.get(stringify!($column)),)* }
            }

            fn of_postgres(row: &PgRow) -> Self {
                Self { $($column: row.get(stringify!($column)),)* }
            }
        }
    };
}

before! {
    id: String,
    seq: i64,
    owner_id: i64,
    workspace_id: i64,
    description: String,
    slots: i64,
    run_as: String,
    has_context: bool,
    priority: i64,
    state: String,
    agent_id: Option<String>,
    slot_ids: String,
    token_hash: Option<String>,
    kill_requested: bool,
    created_at: i64,
    started_at: Option<i64>,
    ended_at: Option<i64>,
    exit_code: Option<i64>,
    exit_signal: Option<i64>,
    exit_reason: Option<String>,
    log_removed_at: Option<i64>,
    config: String,
}

const TASKS: &str =
    "SELECT t.*, c.config FROM tasks t JOIN task_configs c ON c.task_id = t.id ORDER BY t.seq";
const REMOVE_A_LOG: &str = "UPDATE tasks SET log_removed_at = 77 WHERE seq = 2";

/// A database of before, and the tasks that are in it.
async fn of_before(database: Database) -> (Storage, Vec<Before>) {
    let storage = Storage::create(database).await;
    let before = match storage.postgres_url() {
        None => {
            let url = format!("sqlite://{}?mode=rwc", storage.sqlite_file().display());
            let mut made = SqliteConnection::connect(&url).await.expect("connected");
            sqlx::raw_sql(SQLITE).execute(&mut made).await.expect("made");
            sqlx::raw_sql(REMOVE_A_LOG).execute(&mut made).await.expect("written");
            let before = sqlx::query(TASKS).fetch_all(&mut made).await.expect("read");
            made.close().await.expect("closed");
            before.iter().map(Before::of_sqlite).collect()
        }
        Some(url) => {
            let mut made = PgConnection::connect(&url).await.expect("connected");
            sqlx::raw_sql(POSTGRES).execute(&mut made).await.expect("made");
            sqlx::raw_sql("SET search_path TO public").execute(&mut made).await.expect("set");
            sqlx::raw_sql(REMOVE_A_LOG).execute(&mut made).await.expect("written");
            let before = sqlx::query(TASKS).fetch_all(&mut made).await.expect("read");
            before.iter().map(Before::of_postgres).collect()
        }
    };
    (storage, before)
}

async fn all(store: &Store, before: &[Before]) -> Vec<Task> {
    let mut conn = store.read().await.expect("a connection");
    let mut all = Vec::new();
    for task in before {
        let id = task.id.parse().expect("an id");
        all.push(task::by_id(&mut conn, id).await.expect("read").expect("there"));
    }
    all
}

fn compare(before: &Before, now: &Task) {
    let Allocation { id, created_at, phase, exits } = &now.latest;
    assert!(exits.is_empty());
    assert_eq!((id.task, id.run, created_at.0), (now.id, 1, before.created_at));
    assert_eq!((now.kind, now.seq, now.owner.0), (Kind::Command, before.seq, before.owner_id));
    assert_eq!((now.workspace.0, now.description.as_str()), (before.workspace_id, &*before.description));
    assert_eq!((i64::from(now.slots), now.priority), (before.slots, before.priority));
    assert_eq!((now.has_context, now.created_at.0), (before.has_context, before.created_at));
    assert_eq!(serde_json::to_value(&now.identity).expect("JSON"), json(&before.run_as));
    assert_eq!(now.log_removed_at.map(|at| at.0), before.log_removed_at);
    assert_eq!((now.pool.as_str(), now.weight.thousandths(), now.max_slots), ("default", 1000, None));
    assert_eq!((now.restarts, now.max_restarts), (0, 0));

    assert_eq!(now.state().as_str(), before.state, "{before:?}");
    assert_eq!(now.standing == Standing::Over, before.state == "terminated");
    let on = before.agent_id.as_ref().map(|agent| {
        let slots = serde_json::from_str(&before.slot_ids).expect("slots");
        Placement::on(agent.parse().expect("a name"), slots)
    });
    assert_eq!(phase.placement(), on.as_ref(), "{before:?}");
    assert_eq!(phase.since().map(|at| at.0), before.started_at, "{before:?}");
    let killed = before.kill_requested.then_some(Asked::new(Cause::Killed));
    assert_eq!(phase.asked(), killed, "{before:?}");
    let ending = now.ending();
    assert_eq!(ending.map(|ending| ending.at.0), before.ended_at);
    assert_eq!(ending.map(|ending| ending.reason.as_str()), before.exit_reason.as_deref());
    let code = ending.and_then(|ending| ending.exit_code).map(i64::from);
    let signal = ending.and_then(|ending| ending.exit_signal).map(i64::from);
    assert_eq!((code, signal), (before.exit_code, before.exit_signal), "{before:?}");
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).expect("JSON")
}

async fn tasks_of_before_have_the_runs_that_they_had(database: Database) {
    let (storage, before) = of_before(database).await;
    for state in ["terminated", "running", "queued", "terminating"] {
        assert!(before.iter().any(|task| task.state == state), "{state}");
    }
    let store = storage.open().await;
    let now = all(&store, &before).await;
    before.iter().zip(&now).for_each(|(before, now)| compare(before, now));
    let mut conn = store.read().await.expect("a connection");
    for (before, now) in before.iter().zip(&now) {
        let config = task::config(&mut conn, now.id).await.expect("read");
        assert_eq!(serde_json::to_value(config).expect("JSON"), json(&before.config));
        let runs = store::allocation::of_task(&mut conn, now.id, 100).await.expect("read");
        assert_eq!(runs, std::slice::from_ref(&now.latest));
        if let Some(token) = &before.token_hash {
            let found = task::by_token_hash(&mut conn, token).await.expect("read");
            assert_eq!(found.as_ref(), Some(now), "its token counts as before");
        }
    }
    let living: Vec<&Task> = now.iter().filter(|task| task.state() != State::Terminated).collect();
    let alive = task::alive(&mut conn).await.expect("read");
    assert_eq!(alive.iter().collect::<Vec<_>>(), living);
    let logged = task::logged(&mut conn, 0, 100).await.expect("read");
    let over: Vec<bool> = before.iter().map(|task| task.state == "terminated").collect();
    assert_eq!(logged.iter().map(|log| log.over).collect::<Vec<_>>(), over);
    // The next one gets the next number.
    drop(conn);
    let mut tx = store.write().await.expect("a transaction");
    let like = now.last().expect("some").clone();
    let id = domain::id::TaskId(uuid::Uuid::new_v4());
    let latest = Allocation::waiting(domain::id::AllocationId::first(id), NOW);
    let next = Task { id, latest, standing: Standing::Active, ..like.clone() };
    let next = task::insert(&mut tx, next, &crate::samples::config()).await.expect("inserted");
    assert_eq!(next.seq, like.seq + 1);
}

async fn what_lived_goes_on_and_ends_after_the_upgrade(database: Database) {
    let (storage, before) = of_before(database).await;
    let store = storage.open().await;
    for task in all(&store, &before).await {
        let run = task.latest.id;
        let node = Placement::on("vm".parse().expect("a name"), vec![0]);
        let mut tx = store.write().await.expect("a transaction");
        let placed = store::allocation::place(&mut tx, run, node, "digest").await.expect("asked");
        assert_eq!(placed.is_some(), task.state() == State::Queued, "{task:?}");
        let started = domain::allocation::Event::Started(NOW);
        let started = store::allocation::advance(&mut tx, run, &started).await.expect("asked");
        assert_eq!(started.is_some(), placed.is_some());
        let ending = domain::task::Ending {
            at: NOW,
            exit_code: Some(0),
            exit_signal: None,
            fault: None,
            reason: "allocation exited successfully".into(),
        };
        let ended = store::allocation::end(&mut tx, run, &ending).await.expect("asked");
        assert_eq!(ended.is_some(), task.state() != State::Terminated);
        if let Some(ended) = ended {
            assert_eq!((ended.standing, ended.ending()), (Standing::Over, Some(&ending)));
            assert!(matches!(ended.latest.phase, Phase::Ended { held: Some(_), .. }), "{ended:?}");
        }
        tx.commit_unaudited("a test").await.expect("committed");
    }
    let mut conn = store.read().await.expect("a connection");
    assert_eq!(task::alive(&mut conn).await.expect("read"), []);
}
