//! Tasks: their life as the database keeps it, their lists.

use domain::id::{AgentId, UNCATEGORIZED, WorkspaceId};
use domain::task::{Ending, Kind, State, Task};
use domain::time::Timestamp;
use store::task::{self, Filter};
use store::{Store, StoreError};
use testkit::{Database, on_both_databases};

use crate::samples::{NOW, add, add_task, open, owner, task as sample, user};

on_both_databases!(
    a_task_is_read_as_it_was_written,
    l01_a_life_from_queue_to_end,
    a_task_ends_once,
    a_kill_in_the_queue_leaves_it_queued,
    d01_the_author_is_shown_as_he_is_called_now,
    p15_lists_go_by_owner_workspace_and_order,
    r48_tasks_are_searched_for_literally,
    a06_lists_read_no_configurations,
    a04_whose_logs_there_are_and_which_were_removed,
);

async fn find(store: &Store, wanted: &Task) -> Task {
    let mut conn = store.read().await.expect("a connection");
    task::by_id(&mut conn, wanted.id).await.expect("read").expect("there")
}

async fn enrol(store: &Store, name: &str) -> AgentId {
    let id: AgentId = name.parse().expect("a name");
    let mut tx = store.write().await.expect("a transaction");
    store::agent::insert(&mut tx, &id, name, NOW).await.expect("enrolled");
    tx.commit_unaudited("a test").await.expect("committed");
    id
}

async fn a_task_is_read_as_it_was_written(database: Database) {
    let (_storage, store) = open(database).await;
    let alice = owner(&store, "alice").await;
    let first = add_task(&store, sample(&alice)).await;
    let second = add_task(&store, sample(&alice)).await;
    assert_eq!(find(&store, &first).await, first);
    assert_eq!(second.seq, first.seq + 1);
    let mut conn = store.read().await.expect("a connection");
    assert_eq!(task::by_id(&mut conn, sample(&alice).id).await.expect("read"), None);
}

async fn l01_a_life_from_queue_to_end(database: Database) {
    let (_storage, store) = open(database).await;
    let alice = owner(&store, "alice").await;
    let node = enrol(&store, "node").await;
    let queued = add_task(&store, sample(&alice)).await;
    let other = add_task(&store, sample(&alice)).await;

    let mut tx = store.write().await.expect("a transaction");
    assert!(!task::set_running(&mut tx, queued.id, NOW).await.expect("noted"), "it isn't placed yet");
    assert!(task::set_placed(&mut tx, queued.id, &node, &[1, 0], "token").await.expect("placed"));
    assert!(task::set_placed(&mut tx, queued.id, &node, &[1, 0], "token-2").await.expect("told again"));
    tx.commit_unaudited("a test").await.expect("committed");
    let starting = Task { state: State::Starting, agent: Some(node.clone()), slot_ids: vec![1, 0], ..queued };
    assert_eq!(find(&store, &starting).await, starting);
    let mut conn = store.read().await.expect("a connection");
    assert_eq!(task::by_token_hash(&mut conn, "token").await.expect("read"), None, "the newest token counts");
    let by_token = task::by_token_hash(&mut conn, "token-2").await.expect("read");
    assert_eq!(by_token.as_ref(), Some(&starting));
    drop(conn);

    let mut tx = store.write().await.expect("a transaction");
    assert!(task::set_running(&mut tx, starting.id, Timestamp(5)).await.expect("noted"));
    assert!(!task::set_running(&mut tx, starting.id, Timestamp(6)).await.expect("noted"), "once");
    task::set_priority(&mut tx, starting.id, 7).await.expect("written");
    task::set_kill_requested(&mut tx, starting.id).await.expect("noted");
    assert!(!task::set_placed(&mut tx, starting.id, &node, &[], "x").await.expect("asked"), "it runs");
    let unknown = task::set_priority(&mut tx, sample(&alice).id, 7).await;
    assert!(matches!(unknown, Err(StoreError::RowsAffected { .. })), "{unknown:?}");
    tx.commit_unaudited("a test").await.expect("committed");
    let running = Task {
        state: State::Terminating,
        started_at: Some(Timestamp(5)),
        priority: 7,
        kill_requested: true,
        ..starting
    };
    assert_eq!(find(&store, &running).await, running);
    let mut conn = store.read().await.expect("a connection");
    assert_eq!(task::alive(&mut conn).await.expect("listed"), [running.clone(), other.clone()]);
    drop(conn);

    let ending = Ending {
        at: Timestamp(9),
        exit_code: Some(137),
        exit_signal: Some(9),
        reason: "allocation was killed".into(),
    };
    let mut tx = store.write().await.expect("a transaction");
    assert!(task::set_ended(&mut tx, running.id, &ending).await.expect("ended"));
    tx.commit_unaudited("a test").await.expect("committed");
    let mut conn = store.read().await.expect("a connection");
    assert_eq!(task::alive(&mut conn).await.expect("listed"), [other]);
    assert_eq!(
        task::by_token_hash(&mut conn, "token-2").await.expect("read"),
        None,
        "its token died with it"
    );
    drop(conn);
    let over = Task { state: State::Terminated, ending: Some(ending), ..running };
    assert_eq!(find(&store, &over).await, over);
}

async fn a_task_ends_once(database: Database) {
    let (_storage, store) = open(database).await;
    let alice = owner(&store, "alice").await;
    let queued = add_task(&store, sample(&alice)).await;
    let ending =
        |code, reason: &str| Ending { at: NOW, exit_code: code, exit_signal: None, reason: reason.into() };
    let mut tx = store.write().await.expect("a transaction");
    assert!(task::set_ended(&mut tx, queued.id, &ending(None, "first")).await.expect("ended"));
    assert!(!task::set_ended(&mut tx, queued.id, &ending(Some(0), "second")).await.expect("no news"));
    task::set_kill_requested(&mut tx, queued.id).await.expect("no error");
    tx.commit_unaudited("a test").await.expect("committed");
    let over = find(&store, &queued).await;
    assert_eq!((over.state, over.kill_requested), (State::Terminated, false));
    assert_eq!(over.ending, Some(ending(None, "first")));
}

async fn a_kill_in_the_queue_leaves_it_queued(database: Database) {
    let (_storage, store) = open(database).await;
    let alice = owner(&store, "alice").await;
    let queued = add_task(&store, sample(&alice)).await;
    let mut tx = store.write().await.expect("a transaction");
    task::set_kill_requested(&mut tx, queued.id).await.expect("noted");
    tx.commit_unaudited("a test").await.expect("committed");
    assert_eq!(find(&store, &queued).await, Task { kill_requested: true, ..queued });
}

async fn d01_the_author_is_shown_as_he_is_called_now(database: Database) {
    let (_storage, store) = open(database).await;
    let alice = owner(&store, "alice").await;
    let queued = add_task(&store, sample(&alice)).await;
    let renamed =
        domain::user::User { username: "alicia".to_owned(), display_name: "Al".to_owned(), ..alice };
    let mut tx = store.write().await.expect("a transaction");
    store::user::update(&mut tx, &renamed).await.expect("renamed");
    tx.commit_unaudited("a test").await.expect("committed");
    let found = find(&store, &queued).await;
    assert_eq!((found.owner_name.as_str(), found.owner_display_name.as_str()), ("alicia", "Al"));
}

async fn p15_lists_go_by_owner_workspace_and_order(database: Database) {
    let (_storage, store) = open(database).await;
    let alice = owner(&store, "alice").await;
    let bob = add(&store, &user("bob")).await;
    let carl = add(&store, &user("carl")).await;
    let mut made = Vec::new();
    for owner in [&alice, &bob, &alice, &bob, &alice] {
        made.push(add_task(&store, sample(owner)).await.seq);
    }
    let filter = |owners: Option<&[&domain::user::User]>, workspace| Filter {
        kind: Kind::Command,
        owners: owners.map(|owners| owners.iter().map(|user| user.id).collect()),
        workspace,
        seen_by: None,
        text: None,
        id_prefix: None,
        ascending: true,
        after: None,
    };
    let mut conn = store.read().await.expect("a connection");
    for (filter, expected) in [
        (filter(None, None), vec![0, 1, 2, 3, 4]),
        (filter(Some(&[&alice]), None), vec![0, 2, 4]),
        (filter(Some(&[&alice, &bob]), Some(UNCATEGORIZED)), vec![0, 1, 2, 3, 4]),
        (filter(Some(&[&carl]), None), vec![]),
        (filter(Some(&[]), None), vec![]),
        (filter(None, Some(WorkspaceId(9))), vec![]),
    ] {
        let expected: Vec<i64> = expected.into_iter().map(|at: usize| made[at]).collect();
        let seqs = |tasks: Vec<Task>| tasks.into_iter().map(|task| task.seq).collect::<Vec<_>>();
        let all = task::list(&mut conn, &filter, 0, 100).await.expect("listed");
        assert_eq!(seqs(all), expected, "{filter:?}");
        let count = task::count(&mut conn, &filter).await.expect("counted");
        assert_eq!(usize::try_from(count).expect("small"), expected.len(), "{filter:?}");
        let newest_first = Filter { ascending: false, ..filter };
        let page = task::list(&mut conn, &newest_first, 1, 2).await.expect("listed");
        let reversed: Vec<i64> = expected.into_iter().rev().skip(1).take(2).collect();
        assert_eq!(seqs(page), reversed, "{newest_first:?}");
    }
}

async fn r48_tasks_are_searched_for_literally(database: Database) {
    let (_storage, store) = open(database).await;
    let alice = owner(&store, "alice").await;
    for description in ["100% Train", "100 trains", "a_b", "axb", "it's"] {
        add_task(&store, Task { description: description.into(), ..sample(&alice) }).await;
    }
    let by_id = add_task(&store, Task { description: "by id".into(), ..sample(&alice) }).await.id.to_string();
    let mut conn = store.read().await.expect("a connection");
    for (text, expected) in [
        ("TRAIN", vec!["100% Train", "100 trains"]),
        ("0%", vec!["100% Train"]),
        ("_", vec!["a_b"]),
        ("'", vec!["it's"]),
        ("\\", vec![]),
        ("\0", vec![]),
        (by_id.as_str(), vec!["by id"]),
        (&by_id[..8], vec!["by id"]),
        (&by_id[1..], vec![]),
    ] {
        let (kind, text) = (Kind::Command, Some(text.to_owned()));
        let filter = Filter {
            kind,
            owners: None,
            workspace: None,
            seen_by: None,
            text,
            id_prefix: None,
            ascending: true,
            after: None,
        };
        let found = task::list(&mut conn, &filter, 0, 10).await.expect("listed");
        let found: Vec<_> = found.iter().map(|task| task.description.as_str()).collect();
        assert_eq!(found, expected, "{filter:?}");
        let count = task::count(&mut conn, &filter).await.expect("counted");
        assert_eq!(usize::try_from(count).expect("small"), expected.len(), "{filter:?}");
    }
    for (prefix, expected) in [(&by_id[..5], 1), (by_id.as_str(), 1), (&by_id[..1], 1)] {
        let id_prefix = Some(prefix.parse().expect("the beginning of an id"));
        let filter = Filter {
            kind: Kind::Command,
            owners: None,
            workspace: None,
            seen_by: None,
            text: Some("by id".to_owned()),
            id_prefix,
            ascending: true,
            after: None,
        };
        let found = task::list(&mut conn, &filter, 0, 10).await.expect("listed");
        assert_eq!(found.len(), expected, "{prefix}");
    }
}

async fn a06_lists_read_no_configurations(database: Database) {
    let (storage, store) = open(database).await;
    let alice = owner(&store, "alice").await;
    let first = add_task(&store, sample(&alice)).await;
    let mut conn = store.read().await.expect("a connection");
    assert_eq!(task::config(&mut conn, first.id).await.expect("read"), crate::samples::config());
    crate::schema::execute(&storage, "UPDATE task_configs SET config = 'no JSON'").await;
    let filter = Filter {
        kind: Kind::Command,
        owners: None,
        workspace: None,
        seen_by: None,
        text: None,
        id_prefix: None,
        ascending: true,
        after: None,
    };
    assert_eq!(task::list(&mut conn, &filter, 0, 10).await.expect("listed"), std::slice::from_ref(&first));
    assert_eq!(task::alive(&mut conn).await.expect("listed"), std::slice::from_ref(&first));
    let config = task::config(&mut conn, first.id).await;
    assert!(matches!(config, Err(StoreError::Corrupt(_))), "{config:?}");
    assert_eq!(task::count_living(&mut conn, alice.id).await.expect("counted"), 1);
    assert!(task::has_made(&mut conn, alice.id, 1).await.expect("counted"));
    assert!(!task::has_made(&mut conn, alice.id, 2).await.expect("counted"));
}

async fn a04_whose_logs_there_are_and_which_were_removed(database: Database) {
    let (_storage, store) = open(database).await;
    let (alice, bob) = (owner(&store, "alice").await, add(&store, &user("bob")).await);
    let mut tasks = Vec::new();
    for by in [&alice, &bob, &alice] {
        tasks.push(add_task(&store, sample(by)).await);
    }
    let ending = Ending { at: NOW, exit_code: Some(0), exit_signal: None, reason: "over".into() };
    let later = Timestamp(NOW.0 + 5);
    let ids: Vec<_> = tasks.iter().map(|task| task.id).collect();
    for (over, at) in [(1, NOW), (2, later)] {
        let mut tx = store.write().await.expect("a transaction");
        task::set_ended(&mut tx, ids[over], &ending).await.expect("ended");
        // What isn't over keeps its log, and what was removed was removed then.
        task::set_log_removed(&mut tx, &ids[..=over], at).await.expect("noted");
        tx.commit_unaudited("a test").await.expect("committed");
    }
    let mut removed = Vec::new();
    for task in &tasks {
        removed.push(find(&store, task).await.log_removed_at);
    }
    assert_eq!(removed, [None, Some(NOW), Some(later)]);
    let mut conn = store.read().await.expect("a connection");
    let mut last = 0;
    for (task, over) in tasks.iter().zip([false, true, true]) {
        let found = task::logged(&mut conn, last, 1).await.expect("read");
        assert_eq!(
            found,
            [task::Logged { seq: task.seq, allocation: task.allocation, owner: task.owner, over }]
        );
        last = task.seq;
    }
    assert_eq!(task::logged(&mut conn, last, 1).await.expect("read"), []);
}
