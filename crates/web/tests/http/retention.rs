//! What is over goes when the administrator says so.

use std::time::Duration;

use domain::authz::{Permit, ReadTask, System};
use domain::id::TaskId;
use domain::log::{Records, Source};
use master::config::Retention;
use master::system::Clock as _;
use serde_json::Value;
use testkit::{Database, FakeAgent, Requests as _, TestMaster, User, on_both_databases};

on_both_databases!(
    what_is_over_goes_after_the_days_that_are_set,
    the_oldest_of_the_audit_log_goes_and_the_rest_is_proved,
    a_log_that_goes_when_somebody_begins_to_read_it_is_not_empty,
);

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A task that printed something and is over; its id.
async fn over(master: &TestMaster, owner: &User, agent: &mut FakeAgent) -> String {
    let task = master.task(owner, agent).await;
    let run = task.start.allocation;
    agent.send_log(run, Source::Stdout, master.clock.now(), b"printed\n").await;
    agent.exit(run, 0).await;
    run.task.to_string()
}

async fn log(owner: &User, task: &str) -> Vec<String> {
    owner.get(&format!("/api/v1/tasks/{task}/logs")).stream().await.rest().await
}

async fn ids(owner: &User) -> Vec<Value> {
    let list = owner.get("/api/v1/commands").await.ok();
    list["commands"].as_array().expect("a list").iter().map(|task| task["id"].clone()).collect()
}

async fn what_is_over_goes_after_the_days_that_are_set(database: Database) {
    let rules = Retention { log_days: Some(2), task_days: Some(10), audit_days: None };
    let master = TestMaster::configured(database, |config| config.retention = rules).await;
    let (admin, alice) = (master.admin().await, master.user("alice").await);
    let mut agent = master.agent("node").await;
    let first = over(&master, &alice, &mut agent).await;
    let lives = master.task(&alice, &mut agent).await;
    master.clock.advance(DAY);
    let second = over(&master, &alice, &mut agent).await;
    let has_log = async |task: &str| log(&alice, task).await.iter().any(|line| line == "printed");

    master.clock.advance(DAY + Duration::from_secs(1));
    master.services().tidy(&System::at_start()).await.expect("tidied");
    assert!(!has_log(&first).await && has_log(&second).await);
    let told = log(&alice, &first).await;
    assert!(told.iter().any(|line| line.contains("this log was removed at")), "{told:?}");
    assert_eq!(ids(&alice).await.len(), 3, "the task stays");

    master.clock.advance(8 * DAY);
    master.services().tidy(&System::at_start()).await.expect("tidied");
    let left = ids(&alice).await;
    let lives = lives.start.allocation.task.to_string();
    assert_eq!(left, [Value::from(second.clone()), Value::from(lives.clone())], "what lives is as old");
    assert!(!has_log(&second).await);
    alice.get(&format!("/api/v1/commands/{first}")).await.refused(404);
    // Who looks for it finds in the audit log what became of it.
    let entries = admin.get("/api/v1/audit?limit=50").await.ok()["entries"].to_string();
    for (action, reason) in
        [("task.forget", "retention.task_days"), ("task.remove_log", "retention.log_days")]
    {
        assert!(entries.contains(action) && entries.contains(reason), "{action}");
    }
    assert!(entries.contains(&first));
    // Of the second one, whose days were over for the log and the task at once, too.
    assert!(entries.contains(&second));
    // And once is enough.
    let before = admin.get("/api/v1/audit?limit=50").await.ok()["entries"].clone();
    master.services().tidy(&System::at_start()).await.expect("tidied");
    assert_eq!(admin.get("/api/v1/audit?limit=50").await.ok()["entries"], before);
}

/// What somebody may read who has found the task and begins only then.
async fn readable(master: &TestMaster, reader: &User, task: &str) -> Permit<ReadTask> {
    let services = master.services();
    let caller = services.sessions.authenticate(&reader.token).await.expect("good");
    let id: TaskId = task.parse().expect("an id");
    services.open::<ReadTask>(&caller, id).await.expect("its owner")
}

async fn a_log_that_goes_when_somebody_begins_to_read_it_is_not_empty(database: Database) {
    let rules = Retention { log_days: Some(2), task_days: Some(10), ..Retention::default() };
    let master = TestMaster::configured(database, |config| config.retention = rules).await;
    let alice = master.user("alice").await;
    let mut agent = master.agent("node").await;
    let tasks = &master.services().tasks;
    let id = over(&master, &alice, &mut agent).await;
    let permit = readable(&master, &alice, &id).await;
    let removed = "this log was removed at";
    let said = |bytes: &[u8]| {
        let record = Records::new(bytes).next().expect("a record");
        String::from_utf8_lossy(record.payload).into_owned()
    };

    // Its file goes between the look at the task and the look at the file.
    master.clock.advance(3 * DAY);
    master.services().tidy(&System::at_start()).await.expect("tidied");
    let mut forwards = tasks.log(&permit, 0, false).await.expect("a log");
    assert!(said(&forwards.next().await.expect("read").expect("something")).starts_with(removed));
    let backwards = tasks.log_back(&permit).await.expect("a log");
    let (_, lines) = backwards.next(|_| true).await.expect("read");
    assert!(lines.expect("something")[0].text.starts_with(removed));
    let (mut last, _) = tasks.log_last(&permit, 10, true).await.expect("a log");
    assert!(said(&last.next().await.expect("read").expect("something")).starts_with(removed));

    // The task goes as well.
    master.clock.advance(10 * DAY);
    master.services().tidy(&System::at_start()).await.expect("tidied");
    let told = [
        tasks.log(&permit, 0, false).await.map(drop),
        tasks.log_back(&permit).await.map(drop),
        tasks.log_last(&permit, 10, true).await.map(drop),
    ];
    for told in told {
        assert_eq!(
            told.expect_err("gone").to_string(),
            format!("the log of task {id} was removed just now, and the task with it")
        );
    }

    // One that goes while it is read backwards is told of, too.
    let id = over(&master, &alice, &mut agent).await;
    let permit = readable(&master, &alice, &id).await;
    let begun = tasks.log_back(&permit).await.expect("a log");
    master.clock.advance(3 * DAY);
    master.services().tidy(&System::at_start()).await.expect("tidied");
    let (_, lines) = begun.next(|_| true).await.expect("read");
    assert!(lines.expect("something")[0].text.starts_with(removed));
}

async fn the_oldest_of_the_audit_log_goes_and_the_rest_is_proved(database: Database) {
    let rules = Retention { audit_days: Some(2), ..Retention::default() };
    let master = TestMaster::configured(database, |config| config.retention = rules).await;
    let admin = master.admin().await;
    for name in ["ann", "cy"] {
        master.user(name).await;
    }
    let verified = async || admin.get("/api/v1/audit/verify").await.ok();
    let old = verified().await;
    master.clock.advance(2 * DAY + Duration::from_secs(1));
    master.user("ben").await;
    let all = verified().await;
    master.services().tidy(&System::at_start()).await.expect("tidied");
    assert_eq!(verified().await, all, "once a day is enough");

    master.clock.advance(DAY);
    master.services().tidy(&System::at_start()).await.expect("tidied");
    let left = verified().await;
    assert_eq!(left["removed"], old["count"], "{left}");
    assert_eq!(
        (left["count"].as_i64(), &left["broken"]),
        (all["count"].as_i64().map(|all| all + 1), &Value::Null)
    );
    let entries = admin.get("/api/v1/audit?action=audit.cut").await.ok()["entries"].clone();
    let cut = &entries[0]["record"];
    assert_eq!((&cut["before"]["upto"], &cut["before"]["digest"]), (&old["count"], &old["head"]));
    assert_eq!((&cut["actor"]["kind"], &cut["via"]), (&"system".into(), &"retention.audit_days".into()));
    let made = admin.get("/api/v1/audit?action=user.create").await.ok()["entries"].clone();
    assert_eq!(made.as_array().map(Vec::len), Some(1), "{made}");
    assert_eq!(made[0]["record"]["target"]["name"], "ben");

    // Elsewhere, too.
    let export = admin.get("/api/v1/audit/export").await.expect(200).text();
    let mut chain = domain::audit::Chain::default();
    for line in export.lines() {
        let entry: api::audit::AuditEntry = serde_json::from_str(line).expect("an entry");
        chain.follow(entry.record.get(), &entry.hash).expect("it follows");
    }
    assert_eq!((chain.whole(), Some(chain.removed())), (Ok(()), old["count"].as_i64()));

    // It grows on, and goes on going.
    master.user("dee").await;
    master.clock.advance(4 * DAY);
    master.services().tidy(&System::at_start()).await.expect("tidied");
    let last = verified().await;
    assert_eq!(last["broken"], Value::Null);
    assert!(last["removed"].as_i64() >= left["count"].as_i64(), "{last}");
    master.user("eve").await;
    assert_eq!(verified().await["broken"], Value::Null);
}
