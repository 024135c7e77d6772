//! Who may change what of whom, part by part; the last administrator stays (P5, R31, R33).

use serde_json::{Value, json};
use testkit::{Database, Requests as _, TestMaster, User, on_both_databases};

on_both_databases!(
    p05_r33_every_part_of_an_account_is_asked_for_itself,
    r33_nothing_is_changed_when_a_part_is_refused,
    r31_nobody_grants_what_they_lack,
    r31_the_last_active_administrator_stays,
    r31_of_two_demotions_at_once_one_succeeds,
    r33_changing_a_task_is_its_owners_and_administrators,
);

/// A change of each part, and what a normal user is told who makes it to another account.
fn parts() -> [(Value, &'static str, bool); 7] {
    let identity = json!({"agentUid": 205, "agentGid": 205, "agentUser": "x", "agentGroup": "x"});
    [
        (json!({"admin": true}), "only admin privileged users can update users", false),
        (json!({"remote": true}), "only admin privileged users can update other users", false),
        (json!({"active": false}), "only admin privileged users can update users", false),
        (json!({"agentUserGroup": identity}), "only admin privileged users can update users", false),
        (json!({"username": "renamed"}), "only admin privileged users can update other users", true),
        (
            json!({"displayName": "Other"}),
            "only admin privileged users can set another user's display name",
            true,
        ),
        (json!({"password": "x"}), "only admin privileged users can change other user's passwords", true),
    ]
}

async fn p05_r33_every_part_of_an_account_is_asked_for_itself(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    for (n, (change, text, own)) in parts().into_iter().enumerate() {
        let bob = master.user(&format!("bob{n}")).await;
        let by_other = alice.patch(&bob.path()).json(change.clone()).await;
        assert_eq!(by_other.refused(403), text, "{change}");
        let by_self = bob.patch(&bob.path()).json(change.clone()).await;
        if own {
            by_self.ok();
            // Names are free again for the administrator's turn.
            let back = json!({"username": format!("bob{n}"), "displayName": ""});
            master.admin().await.patch(&bob.path()).json(back).await.ok();
        } else {
            assert_eq!(by_self.refused(403), text, "{change}");
        }
        let carl = master.user(&format!("carl{n}")).await;
        master.admin().await.patch(&carl.path()).json(change).await.ok();
    }
    let bob = master.user("bob").await;
    let by_other = alice.post(&format!("{}/password", bob.path())).body("\"x\"").await;
    assert_eq!(by_other.refused(403), "only admin privileged users can change other user's passwords");
}

async fn r33_nothing_is_changed_when_a_part_is_refused(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let before = alice.get(&alice.path()).await.ok();
    for (mut change, text, own) in parts() {
        if own {
            continue;
        }
        change["displayName"] = json!("smuggled");
        change["password"] = json!("smuggled");
        assert_eq!(alice.patch(&alice.path()).json(change).await.refused(403), text);
    }
    assert_eq!(alice.get(&alice.path()).await.ok(), before);
    master.log_in("alice").await;
}

async fn r31_nobody_grants_what_they_lack(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    for change in
        [json!({"admin": true}), json!({"admin": false}), json!({"admin": true, "username": "alice"})]
    {
        alice.patch(&alice.path()).json(change).await.refused(403);
    }
    let user = json!({"user": {"username": "mallory", "admin": true, "active": true}});
    alice.post("/api/v1/users").json(user).await.refused(403);
    alice.post("/api/v1/agents/invitations").await.refused(403);
}

async fn r31_the_last_active_administrator_stays(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, boss) = (master.admin().await, master.user("boss").await);
    // An administrator who can't come in doesn't count.
    admin.patch(&boss.path()).json(json!({"admin": true, "active": false})).await.ok();
    for change in
        [json!({"admin": false}), json!({"active": false}), json!({"admin": false, "username": "me"})]
    {
        let refused = admin.patch(&admin.path()).json(change).await.refused(400);
        assert_eq!(
            refused,
            "admin is the last active administrator: make another account administrator first"
        );
    }
    admin.get("/api/v1/master/config").await.ok();
    admin.patch(&boss.path()).json(json!({"active": true})).await.ok();
    admin.patch(&admin.path()).json(json!({"admin": false})).await.ok();
    let boss = master.log_in("boss").await;
    boss.patch(&boss.path()).json(json!({"admin": false})).await.refused(400);
}

async fn r31_of_two_demotions_at_once_one_succeeds(database: Database) {
    let master = TestMaster::start(database).await;
    let (mut first, mut second) = (master.admin().await, master.user("boss").await);
    first.patch(&second.path()).json(json!({"admin": true})).await.ok();
    let changes = [json!({"admin": false}), json!({"active": false})];
    for round in 0..24 {
        let (one, two) = (&changes[round % 2], &changes[round / 2 % 2]);
        let (on_one, on_two): (&User, &User) =
            if round % 3 == 0 { (&first, &second) } else { (&second, &first) };
        let (one, two) = tokio::join!(
            first.patch(&on_one.path()).json(one.clone()),
            second.patch(&on_two.path()).json(two.clone()),
        );
        let mut statuses = [one.status, two.status];
        statuses.sort_unstable();
        let [200, 400..=403] = statuses else {
            panic!("round {round}: {statuses:?}, {} {}", one.text(), two.text())
        };
        // The one that is left brings the other back.
        let is_admin = async |user: &User| {
            let answer = user.get("/api/v1/master/config").await;
            answer.status == 200
        };
        let (left, gone) = if is_admin(&first).await { (&first, &second) } else { (&second, &first) };
        let back = json!({"admin": true, "active": true});
        left.patch(&gone.path()).json(back).await.ok();
        (first, second) = (master.log_in(&first.name).await, master.log_in(&second.name).await);
        assert!(is_admin(&first).await && is_admin(&second).await);
    }
}

async fn r33_changing_a_task_is_its_owners_and_administrators(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, alice, bob) = (master.admin().await, master.user("alice").await, master.user("bob").await);
    let id = alice.run_true().await;
    let refusal = "only the owner of a task and administrators can change it";
    let priority = format!("/api/v1/commands/{id}/set_priority");
    for (who, status) in [(&bob, 403), (&alice, 200), (&admin, 200)] {
        let answer = who.post(&priority).json(json!({"priority": 7})).await.expect(status);
        assert!(status == 200 || answer.refused(403) == refusal);
    }
    assert_eq!(bob.post(&format!("/api/v1/commands/{id}/kill")).await.refused(403), refusal);
    let seen = bob.command(&id).await;
    assert_eq!((&seen["state"], &seen["priority"]), (&json!("STATE_QUEUED"), &json!(7)));
    admin.post(&format!("/api/v1/commands/{id}/kill")).await.ok();
}
