//! Tasks: their life as the database keeps it, their lists.

use domain::allocation::{Allocation, Asked, Cause, Event, Held, Part, Phase, Placement};
use domain::id::{UNCATEGORIZED, WorkspaceId};
use domain::task::{Ending, Fault, Kind, Standing, State, Task};
use domain::time::Timestamp;
use store::allocation::{self, advance};
use store::task::{self, Filter};
use store::{Store, StoreError};
use testkit::{Database, on_both_databases};

use crate::samples::{NOW, add, add_task, open, owner, task as sample, user};

on_both_databases!(
    a_task_is_read_as_it_was_written,
    l01_a_life_from_queue_to_end,
    a_task_ends_once,
    a_kill_in_the_queue_leaves_it_queued,
    b04_what_was_asked_of_a_run_is_not_asked_of_the_next_one,
    a_task_that_can_go_on_has_one_run_after_another,
    an_impossible_run_is_not_read,
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

/// A task, further in its life.
fn in_phase(task: &Task, phase: Phase) -> Task {
    let standing = if phase.is_over() { Standing::Over } else { Standing::Active };
    let latest = Allocation { phase, ..task.latest.clone() };
    Task { latest, standing, ..task.clone() }
}

async fn l01_a_life_from_queue_to_end(database: Database) {
    let (_storage, store) = open(database).await;
    let alice = owner(&store, "alice").await;
    let node = Placement::on("node".parse().expect("a name"), vec![1, 0]);
    let queued = add_task(&store, sample(&alice)).await;
    let other = add_task(&store, sample(&alice)).await;
    let run = queued.latest.id;
    let started = |at| Event::Started(Timestamp(at));

    let mut tx = store.write().await.expect("a transaction");
    assert_eq!(advance(&mut tx, run, &started(4)).await.expect("asked"), None, "it isn't placed yet");
    for token in ["token", "token-2"] {
        let placed = allocation::place(&mut tx, run, node.clone(), token).await.expect("placed");
        assert_eq!(placed, Some(Phase::Assigned(node.clone())), "told again, too");
    }
    tx.commit_unaudited("a test").await.expect("committed");
    let starting = in_phase(&queued, Phase::Assigned(node.clone()));
    assert_eq!(find(&store, &starting).await, starting);
    let mut conn = store.read().await.expect("a connection");
    assert_eq!(task::by_token_hash(&mut conn, "token").await.expect("read"), None, "the newest token counts");
    let by_token = task::by_token_hash(&mut conn, "token-2").await.expect("read");
    assert_eq!(by_token.as_ref(), Some(&starting));
    drop(conn);

    let mut tx = store.write().await.expect("a transaction");
    assert!(advance(&mut tx, run, &started(5)).await.expect("noted").is_some());
    assert_eq!(advance(&mut tx, run, &started(6)).await.expect("noted"), None, "once");
    task::set_priority(&mut tx, starting.id, 7).await.expect("written");
    task::set_asked(&mut tx, starting.latest.id, Cause::Killed, None).await.expect("noted");
    let again = allocation::place(&mut tx, run, node.clone(), "x").await.expect("asked");
    assert_eq!(again, None, "it runs");
    let unknown = task::set_priority(&mut tx, sample(&alice).id, 7).await;
    assert!(matches!(unknown, Err(StoreError::RowsAffected { .. })), "{unknown:?}");
    tx.commit_unaudited("a test").await.expect("committed");
    let held = Held { on: node, since: Some(Timestamp(5)) };
    let asked = Asked::new(Cause::Killed);
    let phase = Phase::Ending { held: held.clone(), asked };
    let ending_now = Task { priority: 7, ..in_phase(&starting, phase) };
    assert_eq!(find(&store, &ending_now).await, ending_now);
    let mut conn = store.read().await.expect("a connection");
    assert_eq!(task::alive(&mut conn).await.expect("listed"), [ending_now.clone(), other.clone()]);
    drop(conn);

    let ending = Ending {
        at: Timestamp(9),
        exit_code: Some(137),
        exit_signal: Some(9),
        fault: Some(Fault::Ended),
        reason: "allocation was killed".into(),
    };
    let over =
        in_phase(&ending_now, Phase::Ended { held: Some(held), asked: Some(asked), ending: ending.clone() });
    let mut tx = store.write().await.expect("a transaction");
    let ended = allocation::end(&mut tx, run, &ending).await.expect("ended");
    assert_eq!(ended.as_ref(), Some(&over));
    tx.commit_unaudited("a test").await.expect("committed");
    let mut conn = store.read().await.expect("a connection");
    assert_eq!(task::alive(&mut conn).await.expect("listed"), [other]);
    assert_eq!(
        task::by_token_hash(&mut conn, "token-2").await.expect("read"),
        None,
        "its token died with it"
    );
    drop(conn);
    assert_eq!(find(&store, &over).await, over);
}

async fn a_task_ends_once(database: Database) {
    let (_storage, store) = open(database).await;
    let alice = owner(&store, "alice").await;
    let queued = add_task(&store, sample(&alice)).await;
    let ending = |code, reason: &str| Ending {
        at: NOW,
        exit_code: code,
        exit_signal: None,
        fault: None,
        reason: reason.into(),
    };
    let mut tx = store.write().await.expect("a transaction");
    let (run, first) = (queued.latest.id, ending(None, "first"));
    assert!(allocation::end(&mut tx, run, &first).await.expect("ended").is_some());
    assert!(allocation::end(&mut tx, run, &ending(Some(0), "second")).await.expect("no news").is_none());
    task::set_asked(&mut tx, queued.latest.id, Cause::Killed, None).await.expect("no error");
    tx.commit_unaudited("a test").await.expect("committed");
    let phase = Phase::Ended { held: None, asked: None, ending: first };
    assert_eq!(find(&store, &queued).await, in_phase(&queued, phase));
}

/// MM5: what couldn't be written down in time was taken for the next run's, and memory and database disagreed for good.
async fn b04_what_was_asked_of_a_run_is_not_asked_of_the_next_one(database: Database) {
    let (_storage, store) = open(database).await;
    let alice = owner(&store, "alice").await;
    let queued = add_task(&store, Task { kind: Kind::Trial, ..sample(&alice) }).await;
    let first = queued.latest.id;
    let mut tx = store.write().await.expect("a transaction");
    task::set_asked(&mut tx, first, Cause::Paused, None).await.expect("noted");
    let paused = Ending { at: NOW, exit_code: None, exit_signal: None, fault: None, reason: "paused".into() };
    allocation::end(&mut tx, first, &paused).await.expect("ended");
    let next = task::resume(&mut tx, queued.id, NOW).await.expect("resumed").expect("it was paused").latest;
    task::set_asked(&mut tx, first, Cause::Preempted, None).await.expect("no error");
    tx.commit_unaudited("a test").await.expect("committed");
    assert_eq!(find(&store, &queued).await.latest, next);
    let mut tx = store.write().await.expect("a transaction");
    task::set_asked(&mut tx, first, Cause::Killed, None).await.expect("no error");
    tx.commit_unaudited("a test").await.expect("committed");
    assert_eq!(
        find(&store, &queued).await.latest.phase,
        Phase::Withdrawn(Cause::Killed),
        "that is of the task"
    );
}

async fn a_kill_in_the_queue_leaves_it_queued(database: Database) {
    let (_storage, store) = open(database).await;
    let alice = owner(&store, "alice").await;
    let queued = add_task(&store, sample(&alice)).await;
    let mut tx = store.write().await.expect("a transaction");
    task::set_asked(&mut tx, queued.latest.id, Cause::Killed, None).await.expect("noted");
    let node = Placement::on("node".parse().expect("a name"), vec![0]);
    let placed = allocation::place(&mut tx, queued.latest.id, node, "token").await.expect("asked");
    assert_eq!(placed, None, "it gets no place any more");
    tx.commit_unaudited("a test").await.expect("committed");
    let withdrawn = in_phase(&queued, Phase::Withdrawn(Cause::Killed));
    assert_eq!((withdrawn.state(), find(&store, &queued).await), (State::Queued, withdrawn));
}

/// Places, starts and ends the latest run of a task that can go on later.
async fn run_once(store: &Store, task: &Task, before: &[Event], code: Option<i32>) -> Task {
    let run = task.latest.id;
    let parts = ["a", "b"].map(|agent| Part { agent: agent.parse().expect("a name"), slots: vec![0] });
    let gang = Placement::try_from(parts.to_vec()).expect("a place");
    let mut tx = store.write().await.expect("a transaction");
    let token = run.to_string();
    allocation::place(&mut tx, run, gang.clone(), &token).await.expect("placed").expect("waits");
    for event in std::iter::once(&Event::Started(NOW)).chain(before) {
        advance(&mut tx, run, event).await.expect("noted").expect("follows");
    }
    let ending = Ending { at: NOW, exit_code: code, exit_signal: None, fault: None, reason: "over".into() };
    let ended = allocation::end(&mut tx, run, &ending).await.expect("ended").expect("once");
    tx.commit_unaudited("a test").await.expect("committed");
    assert_eq!(find(store, task).await, ended);
    let mut conn = store.read().await.expect("a connection");
    let runs = allocation::of_task(&mut conn, task.id, 100).await.expect("read");
    assert_eq!(runs.len(), usize::try_from(ended.latest.id.run).expect("small"), "none is lost");
    let latest = allocation::of_task(&mut conn, task.id, 1).await.expect("read");
    assert_eq!(latest, std::slice::from_ref(&ended.latest), "the last one comes first");
    let before = runs.iter().find(|before| before.id == run).expect("there");
    assert_eq!((before.phase.placement(), before.phase.ending()), (Some(&gang), Some(&ending)));
    assert_eq!(task::by_token_hash(&mut conn, &token).await.expect("read"), None, "its token died with it");
    ended
}

async fn a_task_that_can_go_on_has_one_run_after_another(database: Database) {
    let (_storage, store) = open(database).await;
    let alice = owner(&store, "alice").await;
    let first = Task { kind: Kind::Trial, max_restarts: 1, ..sample(&alice) };
    let first = add_task(&store, first).await;

    let preempted = [Event::Asked(Cause::Preempted), Event::Heard];
    let second = run_once(&store, &first, &preempted, Some(0)).await;
    assert_eq!((second.latest.id.run, second.restarts, second.standing), (2, 0, Standing::Active));
    assert_eq!(second.latest.phase, Phase::Waiting);

    let third = run_once(&store, &second, &[], Some(1)).await;
    assert_eq!((third.latest.id.run, third.restarts), (3, 1), "a failure counts");

    let paused = run_once(&store, &third, &[Event::Asked(Cause::Paused)], Some(143)).await;
    assert_eq!((paused.latest.id.run, paused.standing), (3, Standing::Paused));
    let mut conn = store.read().await.expect("a connection");
    assert_eq!(task::count_living(&mut conn, alice.id).await.expect("counted"), 1, "it isn't over");
    drop(conn);

    let mut tx = store.write().await.expect("a transaction");
    let fourth = task::resume(&mut tx, paused.id, NOW).await.expect("resumed").expect("paused");
    assert_eq!(task::resume(&mut tx, paused.id, NOW).await.expect("asked"), None, "once");
    tx.commit_unaudited("a test").await.expect("committed");
    assert_eq!((fourth.latest.id.run, &fourth.latest.phase), (4, &Phase::Waiting));

    let over = run_once(&store, &fourth, &[], Some(1)).await;
    assert_eq!((over.latest.id.run, over.standing), (4, Standing::Over), "it failed once too often");

    let other = add_task(&store, Task { kind: Kind::Generic, ..sample(&alice) }).await;
    let other = run_once(&store, &other, &[Event::Asked(Cause::Paused)], None).await;
    assert_eq!(other.standing, Standing::Paused);
    let mut tx = store.write().await.expect("a transaction");
    task::set_asked(&mut tx, other.latest.id, Cause::Killed, None).await.expect("noted");
    tx.commit_unaudited("a test").await.expect("committed");
    assert_eq!(find(&store, &other).await.standing, Standing::Over, "who is paused can be killed");
}

async fn an_impossible_run_is_not_read(database: Database) {
    let (storage, store) = open(database).await;
    let alice = owner(&store, "alice").await;
    let queued = add_task(&store, sample(&alice)).await;
    let mut conn = store.read().await.expect("a connection");
    for change in ["phase = 'running'", "phase = 'gone'", "asked = 'killed'", "placement = '[]'"] {
        crate::schema::execute(&storage, &format!("UPDATE allocations SET {change}")).await;
        let read = task::by_id(&mut conn, queued.id).await;
        assert!(matches!(read, Err(StoreError::Corrupt(_))), "{change}: {read:?}");
        let back = "UPDATE allocations SET phase = 'waiting', asked = NULL, placement = NULL";
        crate::schema::execute(&storage, back).await;
    }
    assert_eq!(task::by_id(&mut conn, queued.id).await.expect("read"), Some(queued));
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
    let ending =
        Ending { at: NOW, exit_code: Some(0), exit_signal: None, fault: None, reason: "over".into() };
    let later = Timestamp(NOW.0 + 5);
    let ids: Vec<_> = tasks.iter().map(|task| task.id).collect();
    for (over, at) in [(1, NOW), (2, later)] {
        let mut tx = store.write().await.expect("a transaction");
        allocation::end(&mut tx, tasks[over].latest.id, &ending).await.expect("ended");
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
            [task::Logged { seq: task.seq, allocation: task.latest.id, owner: task.owner, over }]
        );
        last = task.seq;
    }
    assert_eq!(task::logged(&mut conn, last, 1).await.expect("read"), []);
}
