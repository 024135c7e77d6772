//! Changes of jobs in the queue.

use serde_json::{Value, json};
use testkit::{Database, Requests as _, TestMaster, User, on_both_databases, soon};

on_both_databases!(
    a_jobs_priority_is_changed_and_with_it_its_place,
    of_several_what_can_be_done_is_done,
    what_is_no_change_is_refused,
    whose_it_is_not_changes_nothing,
);

const PATH: &str = "/api/v1/job-queues";

async fn update(who: &User, updates: Value) -> testkit::Response {
    who.post(PATH).json(json!({ "updates": updates })).await
}

/// Ids and priorities, in the order of the queue.
async fn queue(who: &User) -> Vec<(String, i64)> {
    let jobs = who.get("/api/v1/job-queues-v2").await.ok();
    let job = |job: &Value| {
        let full = &job["full"];
        (full["jobId"].as_str().expect("an id").to_owned(), full["priority"].as_i64().expect("a number"))
    };
    jobs["jobs"].as_array().expect("a list").iter().map(job).collect()
}

/// Places are told as of the scheduler's last round, which comes a moment after the change.
async fn becomes(who: &User, expected: &[(String, i64)]) {
    let looks = async {
        while queue(who).await != expected {
            tokio::task::yield_now().await;
        }
    };
    soon("the new order", looks).await;
}

async fn a_jobs_priority_is_changed_and_with_it_its_place(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, alice) = (master.admin().await, master.user("alice").await);
    let (first, second) = (alice.run_true().await, alice.run_true().await);
    assert_eq!(queue(&alice).await, [(first.clone(), 42), (second.clone(), 42)]);
    let answer = update(&alice, json!([{"jobId": second, "priority": 7}])).await.ok();
    assert_eq!(answer, json!({}));
    becomes(&alice, &[(second.clone(), 7), (first.clone(), 42)]).await;
    update(&admin, json!([{"job_id": first, "priority": 1}])).await.ok();
    becomes(&alice, &[(first, 1), (second, 7)]).await;
    assert_eq!(update(&alice, json!(null)).await.ok(), json!({}));
    let entries = admin.get("/api/v1/audit?action=task.set_priority").await.ok();
    assert_eq!(entries["entries"].as_array().map(Vec::len), Some(2));
}

async fn of_several_what_can_be_done_is_done(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let job = alice.run_true().await;
    let unknown = "00000000-0000-4000-8000-000000000000";
    let updates = json!([
        {"jobId": unknown, "priority": 7},
        {"jobId": job, "priority": 7},
        {"jobId": job, "priority": 100},
    ]);
    assert_eq!(
        update(&alice, updates).await.refused(400),
        format!(
            "encountered the following errors: job {unknown} not found; priority 100 is not between 1 and 99"
        )
    );
    assert_eq!(queue(&alice).await, [(job.clone(), 7)]);
    let many: Vec<Value> = (0..251).map(|_| json!({"jobId": job, "priority": 8})).collect();
    assert_eq!(update(&alice, json!(many)).await.refused(400), "too many at once: 250 at most");
    assert_eq!(queue(&alice).await, [(job, 7)]);
}

async fn what_is_no_change_is_refused(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let job = alice.run_true().await;
    for (change, why) in [
        (json!({"priority": 0}), "priority 0 is not between 1 and 99"),
        (
            json!({"weight": 2.5}),
            "setting a weight is not supported: a task has the one that it was made with",
        ),
        (json!({"resourcePool": "default"}), "resource pool is unchanged (default == default)"),
        (json!({"resource_pool": "gpu"}), "invalid resource pool name gpu"),
        (json!({"aheadOf": "x"}), "unexpected action: a place in the queue follows from priority"),
        (json!({"behindOf": "x"}), "unexpected action: a place in the queue follows from priority"),
        (json!({}), "unexpected action: give one of priority, weight and resourcePool"),
        (json!({"priority": 7, "weight": 2}), "unexpected action: give one of"),
    ] {
        let mut change = change;
        change["jobId"] = json!(job);
        let said = update(&alice, json!([change])).await.refused(400);
        assert!(said.contains(why), "{change}: {said}");
    }
    assert_eq!(update(&alice, json!([{"priority": 7}])).await.refused(404), "job  not found");
    assert_eq!(
        update(&alice, json!([{"jobId": "x\u{7}", "priority": 7}])).await.refused(404),
        "job x\\u{7} not found"
    );
    assert_eq!(queue(&alice).await, [(job, 42)]);
}

async fn whose_it_is_not_changes_nothing(database: Database) {
    let master = TestMaster::start(database).await;
    let (alice, bob) = (master.user("alice").await, master.user("bob").await);
    let open = alice.run_true().await;
    let private = alice.post("/api/v1/workspaces").json(json!({"name": "w", "private": true})).await.ok();
    let body = json!({"config": {"entrypoint": ["true"]}, "workspaceId": private["workspace"]["id"]});
    let hidden = alice.post("/api/v1/commands").json(body).await.ok()["command"]["id"].clone();
    let hidden = hidden.as_str().expect("an id");
    let said = update(&bob, json!([{"jobId": open, "priority": 7}])).await.refused(403);
    assert_eq!(said, "only the owner of a task and administrators can change it");
    let said = update(&bob, json!([{"jobId": hidden, "priority": 7}])).await.refused(404);
    assert_eq!(said, format!("job {hidden} not found"));
    assert!(queue(&alice).await.iter().all(|(_, priority)| *priority == 42));
}
