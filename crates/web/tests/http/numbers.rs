//! By which number machines know an account: nobody else's, whatever the master has forgotten and whatever an agent says
//! (F10, KP2). Whoever is in its tasks is an id by it (`launch::identity`).

use api::agent::{Register, ToAgent};
use domain::agent::Power;
use domain::identity::MachineNumber;
use domain::task::Exit;
use master::system::Clock as _;
use serde_json::{Value, json};
use testkit::agent::{FakeAgent, Wire, control};
use testkit::{Database, Requests as _, TestMaster, User, on_both_databases};

on_both_databases!(
    f10_numbers_of_machines_are_drawn_and_stay,
    r45_a_number_that_a_back_up_has_forgotten_is_not_given_again,
    f10_an_agent_has_no_say_in_numbers,
);

/// That of somebody who has a task run.
async fn number(who: &User, agent: &mut FakeAgent) -> u32 {
    who.run_true().await;
    let start = agent.accept_start().await;
    agent.exit_as(start.allocation, Exit::default()).await;
    let number = start.owner.expect("told");
    assert!(MachineNumber::new(number).is_some(), "{number}");
    number
}

async fn f10_numbers_of_machines_are_drawn_and_stay(database: Database) {
    let mut master = TestMaster::start(database).await;
    let mut agent = master.agent("node").await;
    let (alice, bob) = (master.user("alice").await, master.user("bob").await);
    assert_eq!(alice.id + 1, bob.id);
    let (of_alice, of_bob) = (number(&alice, &mut agent).await, number(&bob, &mut agent).await);
    for (who, number) in [(&alice, of_alice), (&bob, of_bob)] {
        assert_ne!(i64::from(number), who.id, "it follows from nothing");
    }
    assert!(of_alice != of_bob && of_alice + 1 != of_bob, "nor one from another");
    // What is there of alice's on machines stays hers.
    master.restart().await;
    agent.reconnect().await;
    assert_eq!(number(&alice, &mut agent).await, of_alice);
    // … and nobody's when she is gone.
    master.admin().await.delete(&alice.path()).await.ok();
    let known = MachineNumber::new(of_alice).expect("a number");
    let mut tx = master.store().write().await.expect("a transaction");
    let kept = store::user::machine_number(&mut tx, domain::id::UserId(alice.id)).await.expect("read");
    assert_eq!(kept, Some(known));
}

/// What carol's tasks left on machines isn't dave's, who has her id (V2).
async fn r45_a_number_that_a_back_up_has_forgotten_is_not_given_again(database: Database) {
    let mut master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let mut agent = master.agent("node").await;
    let of_alice = number(&alice, &mut agent).await;
    let back_up = master.back_up().await;
    agent.reconnect().await;
    let carol = master.user("carol").await;
    let of_carol = number(&carol, &mut agent).await;
    master.restore(back_up).await;
    agent.reconnect().await;
    let dave = master.user("dave").await;
    assert_eq!(dave.id, carol.id, "an id is given again, when the master has forgotten it");
    let of_dave = number(&dave, &mut agent).await;
    assert!(of_dave != of_carol && of_dave != of_alice, "{of_alice} {of_carol} {of_dave}");
    assert_eq!(number(&alice, &mut agent).await, of_alice, "what the back-up has, counts");
}

/// An agent that is somebody else's by now raised numbers until an account had the id of another one (U1).
async fn f10_an_agent_has_no_say_in_numbers(database: Database) {
    let master = TestMaster::start(database).await;
    let mut agent = master.agent("node").await;
    let bob = master.user("bob").await;
    let of_bob = number(&bob, &mut agent).await;
    agent.disconnect();
    let public = master.services().agents.key().public();
    for ahead in [1, 99_999, i64::from(MachineNumber::SPACE) - 1, i64::MAX - bob.id] {
        let opening = control("node", "somebody's", master.clock.now());
        let opened = Wire::open(master.address(), agent.key(), public, &opening).await;
        let mut wire = opened.expect("the master");
        wire.say(&saying(bob.id + ahead)).await;
        assert!(matches!(wire.receive().await, Some(ToAgent::Welcome(_))));
    }
    agent.reconnect().await;
    let carol = master.user("carol").await;
    assert_eq!(carol.id, bob.id + 1);
    assert_ne!(number(&carol, &mut agent).await, of_bob);
}

/// An agent's first message, with what earlier ones said of accounts.
fn saying(highest: i64) -> Value {
    let register = Register {
        devices: vec![],
        trouble: None,
        can: domain::capability::Capabilities::ALL,
        power: Power::Root,
        hostname: "".into(),
        master_url: "".into(),
        held: vec![],
        given: std::collections::BTreeMap::new(),
    };
    let mut said = json!(api::agent::ToMaster::Register(Box::new(register)));
    said["highest_account"] = json!(highest);
    said
}
