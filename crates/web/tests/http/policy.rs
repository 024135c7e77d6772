//! Allowed by the API is allowed by the policy, and the other way round (R32), for actors, objects and changes at
//! random.

use domain::authz::{self, Actor, ChangeTask, ChangeUser, InviteAgent, ManageAgents, authorize};
use domain::id::{TaskId, UserId};
use domain::identity::IdentityParts;
use domain::password::Sent;
use domain::user::{NewUser, UserPatch};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use testkit::{Database, Requests as _, TestMaster, User, on_sqlite};

on_sqlite!(r32_the_api_allows_what_the_policy_allows);

/// How many requests are tried.
const TRIES: usize = 400;

/// Somebody does something to something; numbers point into the cast.
#[derive(Debug, Clone)]
enum Deed {
    Change { whom: usize, parts: [bool; 8] },
    SetPriority { whose: usize },
    Create,
    Invite,
    Manage,
}

fn deeds() -> impl Strategy<Value = (usize, Deed)> {
    let deed = prop_oneof![
        6 => (0..4_usize, any::<[bool; 8]>()).prop_map(|(whom, parts)| Deed::Change { whom, parts }),
        2 => (0..4_usize).prop_map(|whose| Deed::SetPriority { whose }),
        1 => Just(Deed::Create),
        1 => Just(Deed::Invite),
        1 => Just(Deed::Manage),
    ];
    (0..4_usize, deed)
}

/// A patch of these parts that leaves roles and states as they are.
fn patch(parts: [bool; 8], whom: &domain::user::User, fresh: usize) -> (Value, UserPatch) {
    let [admin, remote, active, identity, username, display_name, password, email] = parts;
    let group = json!({"agentUid": 20_000 + fresh, "agentGid": 7005, "agentUser": "x", "agentGroup": "x"});
    let all = [
        (admin, "admin", json!(whom.admin)),
        (remote, "remote", json!(false)),
        (active, "active", json!(true)),
        (identity, "agentUserGroup", group),
        (username, "username", json!(format!("name{fresh}"))),
        (display_name, "displayName", json!(format!("shown{fresh}"))),
        (password, "password", json!("")),
        (email, "email", json!(format!("mail{fresh}@lab.example"))),
    ];
    let chosen = all.into_iter().filter(|(chosen, ..)| *chosen);
    let patch = chosen.map(|(_, key, value)| (key.to_owned(), value)).collect();
    let text = |chosen: bool, text: &str| chosen.then(|| format!("{text}{fresh}"));
    let change = UserPatch {
        admin: admin.then_some(whom.admin),
        remote: remote.then_some(false),
        active: active.then_some(true),
        identity: identity.then(IdentityParts::default),
        unlinks: false,
        username: text(username, "name"),
        display_name: text(display_name, "shown"),
        password: password.then(Sent::default),
        email: text(email, "mail"),
        kill_tasks: false,
    };
    (Value::Object(patch), change)
}

async fn account(master: &TestMaster, user: &User) -> domain::user::User {
    let mut conn = master.store().read().await.expect("a connection");
    let found = store::user::by_id(&mut conn, UserId(user.id)).await.expect("read");
    found.expect("there")
}

async fn r32_the_api_allows_what_the_policy_allows(database: Database) {
    let master = TestMaster::start(database).await;
    let _agent = master.agent("node").await;
    let admin = master.admin().await;
    let mut cast = vec![master.user("boss").await, admin.clone()];
    admin.patch(&cast[0].path()).json(json!({"admin": true})).await.ok();
    cast.extend([master.user("alice").await, master.user("bob").await]);
    let mut tasks = Vec::new();
    for user in &cast {
        tasks.push(user.run(json!({"entrypoint": ["true"], "resources": {"slots": 2}})).await);
    }
    let mut runner = TestRunner::deterministic();
    let (mut allowed, mut refused) = (0, 0);
    for fresh in 1..=TRIES {
        let (who, deed) = deeds().new_tree(&mut runner).expect("a deed").current();
        let me = account(&master, &cast[who]).await;
        // Sessions end with a change of the password.
        cast[who] = master.log_in(&me.username).await;
        let by = &cast[who];
        let actor = Actor {
            as_of: 0,
            user: me.id,
            username: me.username.clone(),
            admin: me.admin,
            via: domain::authz::Via::DefaultUser,
            address: None,
        };
        let (answer, verdict) = match deed.clone() {
            Deed::Change { whom, parts } => {
                let target = account(&master, &cast[whom]).await;
                let (patch, change) = patch(parts, &target, fresh);
                let answer = by.patch(&cast[whom].path()).json(patch).await;
                (answer, authorize::<ChangeUser>(&actor, (target, change)).is_ok())
            }
            Deed::SetPriority { whose } => {
                let id: TaskId = tasks[whose].parse().expect("an id");
                let may = master.services().open::<ChangeTask>(&actor, id).await;
                let path = format!("/api/v1/commands/{id}/set_priority");
                let answer = by.post(&path).json(json!({"priority": 50})).await;
                (answer, may.is_ok())
            }
            Deed::Create => {
                let user = json!({"user": {"username": format!("user{fresh}")}});
                let answer = by.post("/api/v1/users").json(user).await;
                (answer, authorize::<authz::CreateUser>(&actor, NewUser::default()).is_ok())
            }
            Deed::Invite => {
                let answer = by.post("/api/v1/agents/invitations").await;
                (answer, authorize::<InviteAgent>(&actor, ()).is_ok())
            }
            Deed::Manage => {
                let answer = by.post("/api/v1/agents/node/enable").await;
                (answer, authorize::<ManageAgents>(&actor, ()).is_ok())
            }
        };
        let expected = if verdict { 200 } else { 403 };
        assert_eq!(answer.status, expected, "{} tried {deed:?}: {}", me.username, answer.text());
        if verdict { allowed += 1 } else { refused += 1 }
    }
    assert!(allowed > TRIES / 5 && refused > TRIES / 5, "{allowed} allowed, {refused} refused");
}
