//! The unmodified `det`, and the same verbs of `muster`: what administrators say to and of the whole installation.

use crate::support::det::{PASSWORD, administrator, created, det, refused};
use crate::support::{Muster, Output, Person, Setup, eventually, sql};

/// Splits like a shell would the one text with blanks.
fn det_saying<'a>(line: &'a str, text: &'a str) -> impl Iterator<Item = &'a str> {
    line.split_whitespace().chain(["-m", text])
}

/// Logs in to our own command line, too.
#[track_caller]
fn login(person: &Person, name: &str) -> Output {
    let line = format!("user login {name} --password-stdin");
    person.muster_with(&line, PASSWORD).exits(0)
}

/// An account that both command lines know.
#[track_caller]
fn known(muster: &Muster, admin: &Person, name: &str) -> Person {
    let person = created(muster, admin, name);
    login(&person, name);
    person
}

#[test]
fn the_cluster_message_is_set_shown_and_cleared() {
    let muster = Muster::up();
    let admin = administrator(&muster);
    let alice = known(&muster, &admin, "alice");
    let set = det_saying("-u admin master cluster-message set --duration 1h", "Down at noon");
    admin.det_args(set, "").exits(0);
    let told = det(&admin, "-u admin master cluster-message get --json");
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!(told["clusterMessage"]["message"], "Down at noon", "{told}");
    assert!(det(&alice, "master info").contains("message: Down at noon"));
    for line in ["set -m x", "get", "clear"] {
        refused(
            &alice,
            &format!("master cluster-message {line}"),
            "Forbidden(user does not have permission)",
        );
    }
    let both = "-u admin master cluster-message set -m x -e 2100-01-01T00:00:00Z -d soon";
    admin.det(both).exits(2);
    refused(&admin, "-u admin master cluster-message set -m x -d soon", "Go-formatted duration");

    // Ours say it to people, beside what they print.
    let said = "Message of the administrators: Down at noon";
    login(&alice, "alice").says(said);
    assert_eq!(alice.script("", "echo done").says(said).ok(), "done");
    alice.muster("master cluster-message get").exits(5);
    admin.muster("-u admin master cluster-message set --message now --end 2001-01-01T00:00:00Z").exits(1);
    admin.muster("-u admin master cluster-message set --message now").exits(0);
    let told = admin.json("-u admin master cluster-message get");
    assert_eq!(told["clusterMessage"]["message"], "now");
    det(&admin, "-u admin master cluster-message clear");
    assert_eq!(det(&admin, "-u admin master cluster-message get"), "clusterMessage: null");
    admin.muster("-u admin master cluster-message clear").exits(0);
}

#[test]
fn configuration_policies_are_set_described_kept_to_and_deleted() {
    let muster = Setup::default().slots(2).up();
    let admin = administrator(&muster);
    let alice = known(&muster, &admin, "alice");
    let (file, wrong) = (admin.home.join("tasks.yaml"), admin.home.join("wrong.yaml"));
    std::fs::write(&file, "constraints:\n  priority_limit: 50\n  resources:\n    max_slots: 1\n")
        .expect("written");
    std::fs::write(&wrong, "constraints: {slots: 1}\n").expect("written");
    let (file, wrong) = (file.display(), wrong.display());
    let said = det(&admin, &format!("-u admin config-policies set tasks {file}"));
    assert!(said.contains("Set global tasks config policies:") && said.contains("max_slots: 1"), "{said}");
    assert!(det(&alice, "config-policies describe tasks").contains("priority_limit: 50"));
    refused(
        &alice,
        &format!("config-policies set tasks {file}"),
        "only admins may set global config policies",
    );
    let line = format!("-u admin config-policies set tasks {wrong}");
    refused(&admin, &line, "invalid ntsc config policy: constraints.slots: unknown field");
    refused(&alice, "cmd run --config resources.slots=2 true", "exceeds limit set by admin [1]");
    refused(&alice, "cmd run --config resources.priority=1 true", "failed priority constraint");

    det(&alice, "workspace create lab");
    assert!(
        det(&alice, &format!("config-policies set experiment -w lab {file}")).contains("for workspace lab")
    );
    assert!(det(&admin, "-u admin config-policies describe experiment -w lab").contains("max_slots: 1"));
    refused(&alice, "config-policies describe experiment -w attic", "attic");
    det(&alice, "config-policies delete experiment -w lab");
    assert_eq!(det(&alice, "config-policies describe experiment -w lab"), "{}");

    // Ours.
    let told = alice.json("config-policies describe tasks");
    assert_eq!(told["constraints"]["priority_limit"], 50);
    alice.muster(&format!("config-policies set tasks {file}")).exits(5);
    alice.muster(&format!("config-policies set experiment -w lab {file}")).exits(0);
    alice.muster("config-policies delete experiment -w lab").exits(0);
    alice.muster("command run --slots 2 true").exits(1).says("exceeds limit set by admin [1]");
    admin.muster("-u admin config-policies delete tasks").exits(0);
    assert_eq!(alice.muster("command run --slots 2 -- echo done").ok(), "done");
}

#[test]
fn a_workspace_keeps_where_its_checkpoints_go() {
    let muster = Muster::up();
    let admin = administrator(&muster);
    let alice = known(&muster, &admin, "alice");
    let file = alice.home.join("storage.yaml");
    std::fs::write(&file, "type: s3\nbucket: lab\naccess_key: a\nsecret_key: hunter2\n").expect("written");
    let file = file.display();
    det(&alice, &format!("workspace create lab --checkpoint-storage-config-file {file}"));
    let shown = |who: &Person, line: &str| -> serde_json::Value {
        serde_json::from_str(&det(who, line)).expect("JSON")
    };
    let mine = shown(&alice, "workspace describe lab --json");
    assert_eq!(mine["checkpointStorageConfig"]["secret_key"], "hunter2", "{mine}");
    let theirs = shown(&admin, "-u admin workspace describe lab --json");
    assert_eq!(theirs["checkpointStorageConfig"]["secret_key"], "********", "{theirs}");
    assert_eq!(theirs["checkpointStorageConfig"]["bucket"], "lab", "{theirs}");
    let wrong = r#"{"type":"gcs"}"#;
    let line = format!("workspace edit lab --checkpoint-storage-config {wrong}");
    refused(&alice, &line, "bucket is a required property of gcs");
    det(&alice, "workspace edit lab --checkpoint-storage-config {}");
    assert_eq!(
        shown(&alice, "workspace describe lab --json")["checkpointStorageConfig"],
        serde_json::Value::Null
    );
    refused(&alice, "workspace edit lab --default-compute-pool gpu", "unable to bind a resource pool");

    alice.muster(&format!("workspace edit lab --checkpoint-storage {file}")).exits(0);
    assert_eq!(alice.json("workspace describe lab")["checkpointStorageConfig"]["bucket"], "lab");
    let said = alice.muster(&format!("workspace create den --checkpoint-storage {file}")).ok();
    assert!(said.contains("den"), "{said}");
}

#[test]
fn jobs_are_updated_one_by_one_and_in_batches() {
    let muster = Setup::default().slots(1).up();
    let admin = administrator(&muster);
    let alice = known(&muster, &admin, "alice");
    let runs = alice.detach("", "while :; do sleep 1000; done");
    alice.wait_for_state(&runs, "RUNNING");
    let [first, second] = [(); 2].map(|()| alice.detach("", "true"));
    let priorities = |id: &str| -> Vec<String> {
        let said = det(&alice, "job list");
        let rows = said.lines().map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
        rows.filter(|row| row.get(1) == Some(&id)).map(|row| row[4].to_owned()).collect()
    };
    det(&alice, &format!("job update {second} --priority 7"));
    assert_eq!((priorities(&second), priorities(&first)), (vec!["7".to_owned()], vec!["42".to_owned()]));
    det(&alice, &format!("job update-batch {first}.priority=3 {second}.priority=4"));
    assert_eq!((priorities(&second), priorities(&first)), (vec!["4".to_owned()], vec!["3".to_owned()]));
    refused(&alice, &format!("job update {first} --priority 100"), "priority 100 is not between 1 and 99");
    refused(&alice, &format!("job update {first} --weight 2"), "setting a weight is not supported");
    refused(&alice, &format!("job update {first} --resource-pool gpu"), "invalid resource pool name gpu");
    refused(&alice, "job update nobody --priority 3", "job nobody not found");
    let me = muster.person("me");
    refused(&me, &format!("job update {first} --priority 9"), "Forbidden(only the owner of a task");

    me.muster(&format!("job update {first} -p 9")).exits(5).says("can't change job");
    // ME5, ME7
    me.muster("job update nobody -p 9").exits(2).says("'nobody' is neither the id of a command");
    alice.muster(&format!("job update {} -p 5", &first[..20])).exits(0);
    let listed = alice.muster("job list").ok();
    let waits = listed.lines().find(|row| row.contains(&first)).expect("it is listed");
    assert!(
        waits.contains("| default ") && waits.contains("it waits for 1 slot: 1 of 1 are in use"),
        "{listed}"
    );
    alice.muster("job update-batch nonsense").exits(2).says("ID.priority=N");
    alice.muster(&format!("job update-batch {first}.priority=9 {second}.priority=8")).exits(0);
    let expected = [(runs, 42), (second, 8), (first, 9)];
    // Places are told as of the scheduler's last round, which comes a moment after the change.
    eventually("the new order", || {
        let jobs = alice.json("job list");
        let seen = jobs.as_array().expect("a list").iter().map(|job| {
            (job["jobId"].as_str().expect("an id").to_owned(), job["priority"].as_i64().expect("a number"))
        });
        seen.eq(expected.iter().cloned()).then_some(())
    });
}

#[test]
fn the_masters_log_is_read_and_says_more_or_less() {
    let muster = Muster::up();
    let admin = administrator(&muster);
    let alice = known(&muster, &admin, "alice");
    let log = det(&admin, "-u admin master logs");
    assert!(log.contains("[INFO]: ") && log.contains("agent connected"), "{log}");
    assert_eq!(det(&admin, "-u admin master logs --tail 1").lines().count(), 1);
    refused(&alice, "master logs", "Forbidden(user does not have permission)");
    refused(&alice, "master config set --log.level DEBUG", "Forbidden(user does not have permission)");
    let said = det(&admin, "-u admin master config set --log.level DEBUG --log.color off");
    assert!(said.contains("Successfully made changes to the master config."), "{said}");

    let log = admin.muster("-u admin master logs").ok();
    assert!(log.contains("[INFO]: ") && log.contains("agent connected"), "{log}");
    assert_eq!(admin.muster("-u admin master logs --tail 1").ok().lines().count(), 1);
    alice.muster("master logs").exits(5);
    admin.muster("-u admin master config set").exits(2);
    admin.muster("-u admin master config set --log.level error").exits(0);
    let follows = admin.start("-u admin master logs --follow --tail 1");
    follows.stdout.wait_for(": ");
    drop(follows);
}

#[test]
fn logs_that_are_old_enough_are_cleaned_up() {
    let muster = Setup::default().config("retention: {log_days: 2}").up();
    let admin = administrator(&muster);
    let alice = known(&muster, &admin, "alice");
    let over = |word: &str| {
        let id = alice.detach("", &format!("echo printed {word}"));
        alice.wait_for_state(&id, "TERMINATED");
        assert!(det(&alice, &format!("task logs {id}")).contains(&format!("printed {word}")));
        id
    };
    let (first, second, young) = (over("first"), over("second"), over("late"));
    let three_days_older = |id: &str| {
        let days = 3_i64 * 24 * 60 * 60 * 1_000_000;
        let aged = format!("UPDATE allocations SET ended_at = ended_at - {days} WHERE task_id = '{id}'");
        sql(&muster.data_dir().join("muster.db"), &aged);
    };
    assert_eq!(det(&admin, "-u admin task cleanup-logs"), "Deleted 0 rows of log entries.");
    three_days_older(&first);
    refused(&alice, "task cleanup-logs", "Forbidden(user does not have permission)");
    assert_eq!(det(&admin, "-u admin task cleanup-logs"), "Deleted 1 rows of log entries.");
    let told = det(&alice, &format!("task logs {first}"));
    assert!(told.contains("this log was removed at") && !told.contains("printed"), "{told}");

    // Ours.
    three_days_older(&second);
    alice.muster("task cleanup-logs").exits(5);
    let said = admin.muster("-u admin task cleanup-logs").ok();
    assert!(said.starts_with("Logs removed: 1, ") && said.ends_with("Tasks removed: 0."), "{said}");
    assert_eq!(admin.json("-u admin task cleanup-logs")["removedCount"], "0");
    assert!(det(&alice, &format!("task logs {young}")).contains("printed late"));
    // It is known who had it done, how often, and what went.
    let log = admin.json("-u admin audit list --action task.clean_up_logs");
    assert_eq!(log.as_array().map(Vec::len), Some(4), "{log}");
    let latest = &log[0]["record"];
    assert!(latest["actor"]["name"] == "admin" && latest["after"]["log_days"] == 2, "{log}");
    let log = admin.json("-u admin audit list --action task.remove_log").to_string();
    assert!(log.contains(&first) && log.contains(&second) && !log.contains(&young), "{log}");
}

#[test]
fn agents_and_slots_are_all_taken_out_of_service_and_back() {
    let muster = Setup::default().slots(2).up();
    let admin = administrator(&muster);
    let alice = known(&muster, &admin, "alice");
    let agent = admin.json("agent list")[0]["id"].as_str().expect("a name").to_owned();
    let enabled = || {
        let slots = admin.json("slot list");
        let slots = slots.as_array().expect("a list").iter();
        slots.map(|slot| slot["enabled"].as_bool().expect("a truth value")).collect::<Vec<_>>()
    };
    refused(&alice, "agent disable --all", "Forbidden");
    det(&admin, "-u admin agent disable --all --drain");
    assert_eq!(enabled(), [false, false]);
    det(&admin, "-u admin agent enable --all");
    det(&admin, &format!("-u admin slot disable {agent} 1"));
    assert_eq!(enabled(), [true, false]);
    admin.muster(&format!("-u admin slot enable {agent} 1")).exits(0);
    admin.muster(&format!("-u admin slot disable {agent} 0")).exits(0);
    assert_eq!(enabled(), [false, true]);
    alice.muster(&format!("slot enable {agent} 0")).exits(5);
    admin.muster(&format!("-u admin slot disable {agent} 7")).exits(6);
    admin.muster("-u admin agent disable --all").exits(0);
    admin.muster("-u admin agent disable").exits(2);
    admin.muster("-u admin agent enable --all").exits(0);
    admin.muster(&format!("-u admin slot enable {agent} 0")).exits(0);
    assert_eq!(enabled(), [true, true]);
}
