//! Who may be an agent, and whose agent it is (R28, R29).

use std::fs;

use agent::AgentError;
use link::Invitation;

use crate::support::{FakeMaster, TestAgent, soon};

#[tokio::test]
async fn an_agent_enrols_once_and_tells_what_it_is() {
    let master = FakeMaster::start().await;
    let mut agent = TestAgent::registered(&master).await;
    agent.shut_down().await.expect("a clean end");
    agent.options.invitation = None;
    agent.start();
    agent.wait_registered().await;
    master.look(|seen| {
        assert_eq!(seen.keys.len(), 1);
        let register = &seen.registrations[1];
        assert_eq!(register.devices.len(), 2);
        assert!(!register.devices[0].brand.is_empty());
        assert_eq!(register.master_url, agent.options.master.as_str());
        assert!(register.held.is_empty());
    });
}

#[tokio::test]
async fn r28_without_an_invitation_nobody_becomes_an_agent() {
    let master = FakeMaster::start().await;
    let mut agent = TestAgent::new(&master.url(), None);
    agent.start();
    let error = agent.end().await.expect_err("not enrolled");
    assert!(matches!(error, AgentError::NotEnrolled), "{error}");
    assert!(error.to_string().contains("muster agent invite"));

    let made_up = Invitation { secret: "made up".to_owned(), ..master.invitation() };
    agent.options.invitation = Some(made_up);
    agent.start();
    let error = agent.end().await.expect_err("refused").to_string();
    assert!(error.contains("used or has expired"), "{error}");
    master.look(|seen| assert!(seen.keys.is_empty() && seen.registrations.is_empty()));
}

#[tokio::test]
async fn r29_the_name_alone_is_worth_nothing() {
    let master = FakeMaster::start().await;
    let mut agent = TestAgent::registered(&master).await;
    // Everything of the agent but its key.
    let mut thief = TestAgent::new(&master.url(), None);
    fs::create_dir(&thief.options.data_dir).expect("made");
    let enrolment = "agent.json";
    fs::copy(agent.options.data_dir.join(enrolment), thief.options.data_dir.join(enrolment)).expect("copied");
    thief.start();
    let error = thief.end().await.expect_err("another key").to_string();
    assert!(error.contains("agent a1 has another key"), "{error}");
    master.look(|seen| assert_eq!(seen.registrations.len(), 1));
    agent.shut_down().await.expect("untouched");
}

#[tokio::test]
async fn a_directory_is_one_agents() {
    let master = FakeMaster::start().await;
    let mut agent = TestAgent::registered(&master).await;
    agent.crash().await;
    agent.options.name = "a2".parse().expect("valid");
    agent.start();
    let error = agent.end().await.expect_err("the name is a1");
    assert!(matches!(error, AgentError::OtherName { .. }), "{error}");
}

#[tokio::test]
async fn a_master_that_is_away_is_waited_for() {
    let mut master = FakeMaster::start().await;
    master.go_away().await;
    let mut agent = TestAgent::new(&master.url(), Some(master.invitation()));
    agent.start();
    // It has met nobody when the master comes.
    master.come_back().await;
    agent.wait_registered().await;
    for n in 2..4 {
        master.go_away().await;
        master.come_back().await;
        let again = master.until("registration", |seen| (seen.registrations.len() >= n).then_some(()));
        again.await;
    }
    soon("the end", agent.shut_down()).await.expect("a clean end");
}

#[tokio::test]
async fn r28_an_enrolment_of_the_version_before_is_made_anew() {
    let master = FakeMaster::start().await;
    let mut agent = TestAgent::new(&master.url(), None);
    fs::create_dir(&agent.options.data_dir).expect("made");
    let file = |name: &str| agent.options.data_dir.join(name);
    fs::write(file("agent.json"), r#"{"name": "a1", "master_id": "master-1"}"#).expect("written");
    fs::write(file("agent.key"), "AAAA").expect("written");
    let (known, old_key) = (file("agent.json"), file("agent.key"));
    agent.start();
    let error = agent.end().await.expect_err("it knows no master's key").to_string();
    assert!(error.contains("muster agent invite --name a1 --replace"), "{error}");
    agent.options.invitation = Some(master.invitation());
    agent.start();
    agent.wait_registered().await;
    assert!(!old_key.exists());
    assert_eq!(agent::enrolled_with(&agent.options.data_dir), Some(master.invitation().master));
    assert!(fs::read_to_string(known).expect("there").contains("master_key"));
    agent.shut_down().await.expect("a clean end");
}

#[tokio::test]
async fn a14_an_agent_that_is_not_known_any_more_says_so_or_enrols_again() {
    let master = FakeMaster::start().await;
    let mut agent = TestAgent::registered(&master).await;
    agent.shut_down().await.expect("a clean end");
    let old = master.change(|seen| seen.keys.remove("a1")).expect("its key");
    agent.options.invitation = None;
    agent.start();
    let error = agent.end().await.expect_err("shut out").to_string();
    assert!(error.contains("refused this agent") && error.contains("--invitation-file"), "{error}");
    agent.options.invitation = Some(master.invitation());
    agent.start();
    agent.wait_registered().await;
    master.look(|seen| assert_ne!(seen.keys.get("a1"), Some(&old), "a key that was refused stays so"));
    agent.shut_down().await.expect("a clean end");
}
