//! Slots and the queue: what fits runs, what doesn't waits and says why, what never can is refused.

use serde_json::json;

use crate::support::{Person, Setup};

const ENDLESS: &str = "echo on; while :; do sleep 1000; done";

/// Starts a command that holds its slots until it is killed.
#[track_caller]
fn holder(person: &Person, options: &str) -> String {
    let id = person.detach(options, ENDLESS);
    person.wait_for_state(&id, "RUNNING");
    id
}

#[test]
fn what_does_not_fit_waits_and_says_why() {
    let muster = Setup::default().slots(1).up();
    let me = muster.person("me");
    let first = holder(&me, "");
    let waiting = me.start_script("", "echo mine");
    let reason = "it waits for 1 slot: 1 of 1 are in use";
    waiting.stderr.wait_for(&format!("queued: {reason}"));
    let ids = me.muster("command list -q").ok();
    let second = ids.lines().find(|id| *id != first).expect("two of them");
    let told = me.json(&format!("command describe {second}"));
    assert_eq!((&told["state"], &told["waitingFor"]), (&json!("STATE_QUEUED"), &json!(reason)));
    let table = me.muster(&format!("command describe {second}")).ok();
    assert!(table.contains("waitingFor") && table.contains(reason), "{table}");
    assert!(me.muster("command list").ok().contains("| QUEUED "));
    let slots = me.json("slot list");
    assert_eq!(slots[0]["allocation_id"], format!("{first}.1"));

    assert_eq!(me.script("--slots 0", "echo beside").ok(), "beside");
    assert_eq!(me.script("--config resources.slots=0", "echo beside").ok(), "beside");

    me.muster(&format!("command kill {first}")).exits(0);
    assert_eq!(waiting.finish().exits(0).out(), "mine\n");
    assert_eq!(me.json("slot list")[0]["allocation_id"], "FREE");
}

#[test]
fn one_that_waits_can_be_killed_and_moved() {
    let muster = Setup::default().slots(1).up();
    let me = muster.person("me");
    let first = holder(&me, "");
    let [unwanted, second, third] = [(); 3].map(|()| me.detach("", ENDLESS));
    me.muster(&format!("command kill {unwanted}")).exits(0);
    let killed = me.wait_for_state(&unwanted, "TERMINATED");
    assert_eq!(killed["agentId"], json!(null), "it never ran: {killed}");
    me.muster(&format!("command set priority {third} 1")).exits(0);
    me.muster(&format!("command set priority {third} 100")).exits(2);
    me.muster(&format!("command kill {first}")).exits(0);
    me.wait_for_state(&third, "RUNNING");
    assert_eq!(me.json(&format!("command describe {second}"))["state"], "STATE_QUEUED");
}

#[test]
fn what_never_fits_is_refused() {
    let muster = Setup::default().slots(2).up();
    let me = muster.person("me");
    let refused = me.script("--slots 3", "true").exits(1);
    refused.says("request unfulfillable: it asks for 3 slots, and no connected agent has as many");
    me.script("--slots -1", "true").exits(2);
    me.script("--config resources.resource_pool=gpu", "true")
        .exits(1)
        .says("resource pool 'gpu' does not exist");
    assert_eq!(me.muster("command list -a -q").ok(), "", "nothing was made");
    assert_eq!(me.script("--slots 2", "echo both").ok(), "both");
}

#[test]
fn a_disabled_agent_gets_nothing_new() {
    let muster = Setup::default().slots(1).up();
    let (me, admin) = (muster.person("me"), muster.admin());
    let agent = admin.json("agent list")[0]["id"].as_str().expect("a name").to_owned();
    let running = holder(&me, "");
    me.muster(&format!("agent disable {agent}")).exits(5);
    admin.muster(&format!("agent disable --drain {agent}")).exits(0);
    assert_eq!(me.wait_for_state(&running, "RUNNING")["exitStatus"], "", "it may run out");
    admin.muster(&format!("agent disable {agent}")).exits(0);
    assert_eq!(me.wait_for_state(&running, "TERMINATED")["exitStatus"], "agent disabled", "B23");
    let id = me.detach("", "echo at last");
    let told = me.wait_for_state(&id, "QUEUED");
    assert!(told["waitingFor"].is_string(), "{told}");
    admin.muster(&format!("agent enable {agent}")).exits(0);
    assert_eq!(me.wait_for_state(&id, "TERMINATED")["exitCode"], 0);
    admin.muster("agent disable nobody").exits(6);
}
