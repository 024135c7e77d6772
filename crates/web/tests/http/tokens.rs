//! Access tokens: made, listed, described, revoked; what ends one, and when that holds (R13, R25).

use std::time::Duration;

use domain::log::Source;
use domain::time::Timestamp;
use serde_json::{Value, json};
use testkit::{Database, Requests as _, TestMaster, User, on_both_databases};

on_both_databases!(
    a_token_acts_as_its_account_and_tells_its_secret_once,
    a_token_ends_to_the_second,
    lifespans_are_checked,
    r25_a_revoked_token_is_refused_at_its_next_request,
    r25_a_deactivated_account_loses_its_tokens_for_good,
    a_new_password_ends_no_token,
    people_see_and_change_their_own_tokens_alone,
    lists_are_filtered_and_sorted,
    when_a_token_was_last_used_is_told,
    a_token_makes_no_token_and_no_password,
    a14_an_administrators_token_leaves_nobody_a_way_in,
    a14_a_token_leaves_nobody_a_power,
    r13_a_token_in_an_address_is_no_credential,
    logging_out_leaves_a_token,
    the_audit_log_tells_of_tokens_and_holds_none,
);

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const TOKENS: &str = "/api/v1/tokens";

async fn ids(who: &User, query: &str) -> Vec<i64> {
    let list = who.get(&format!("{TOKENS}?{query}")).await.ok();
    let rows = list["tokenInfo"].as_array().expect("a list");
    assert_eq!(list["pagination"]["total"], rows.len(), "{list}");
    rows.iter().map(|row| row["id"].as_i64().expect("an id")).collect()
}

async fn patch(who: &User, id: i64, change: Value) -> testkit::Response {
    who.patch(&format!("{TOKENS}/{id}")).json(change).await
}

async fn a_token_acts_as_its_account_and_tells_its_secret_once(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    // As `det` sends it.
    let new = json!({"userId": alice.id, "lifespan": "48h", "description": " nightly build "});
    let made = alice.post(TOKENS).json(new).await.ok();
    let secret = made["token"].as_str().expect("a token");
    assert!(secret.starts_with("mat_"), "{secret}");
    let info = json!({
        "id": 1, "userId": alice.id, "username": "alice", "expiry": "2026-01-03T00:00:00.000000Z",
        "createdAt": "2026-01-01T00:00:00.000000Z", "tokenType": "TOKEN_TYPE_ACCESS_TOKEN", "revoked": false,
        "description": "nightly build", "scope": "full"
    });
    assert_eq!((&made["tokenId"], &made["tokenInfo"]), (&json!(1), &info));
    let listed = alice.get(TOKENS).await.ok();
    assert_eq!(listed["tokenInfo"], json!([info]));
    assert!(!listed.to_string().contains(secret), "told once");

    let bearer = format!("Bearer {secret}");
    let me = master.anon().get("/api/v1/me").header("authorization", &bearer).await.ok();
    assert_eq!(me["user"]["username"], "alice");
    let (holder, _) = alice.by_token(json!({})).await;
    let _agent = master.agent("node").await;
    assert_eq!(alice.command(&holder.run_true().await).await["username"], "alice");
}

async fn a_token_ends_to_the_second(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let (cached, id) = alice.by_token(json!({"lifespan": "1h"})).await;
    let (fresh, _) = alice.by_token(json!({"lifespan": "1h"})).await;
    cached.get("/api/v1/me").await.ok();
    master.clock.advance(Duration::from_secs(3600) - SECOND);
    cached.get("/api/v1/me").await.ok();
    assert_eq!(ids(&alice, "").await.len(), 2);
    master.clock.advance(SECOND);
    for token in [&cached, &fresh] {
        assert_eq!(token.get("/api/v1/me").await.refused(401), "invalid credentials");
    }
    assert!(ids(&alice, "").await.is_empty());
    assert_eq!(ids(&alice, "showInactive=true").await.len(), 2);
    let text = format!("unable to update inactive token with ID {id}");
    assert_eq!(patch(&alice, id, json!({"description": "x"})).await.refused(400), text);
}

async fn lifespans_are_checked(database: Database) {
    let configure = |config: &mut master::Config| {
        config.security.token.default_lifespan_days = 7;
        config.security.token.max_lifespan_days = 90;
    };
    let master = TestMaster::configured(database, configure).await;
    let alice = master.user("alice").await;
    for (lifespan, days) in
        [(json!(null), 7), (json!(""), 7), (json!("-1"), 90), (json!("24h"), 1), (json!("2160h"), 90)]
    {
        let made = alice.post(TOKENS).json(json!({"lifespan": lifespan})).await.ok();
        let end = master::system::Clock::now(&*master.clock).plus(DAY * days).rfc3339();
        assert_eq!(made["tokenInfo"]["expiry"], end, "{lifespan}");
    }
    for (lifespan, text) in [
        ("soon", "failed to parse lifespan soon: write it like 48h or 90m"),
        ("0s", "lifespan must be a Go-formatted duration string with a positive value"),
        ("-2h", "lifespan must be a Go-formatted duration string with a positive value"),
        ("2160h1ms", "token Lifespan must be less than max token lifespan"),
        ("999999999999999999h", "token Lifespan must be less than max token lifespan"),
    ] {
        assert_eq!(alice.post(TOKENS).json(json!({"lifespan": lifespan})).await.refused(400), text);
    }
    for (body, text) in [
        (json!({"scope": "write"}), "scope: 'write' is neither read nor full"),
        (json!({"description": "a\nb"}), "a token's description cannot contain control characters"),
        (json!({"description": "\u{0}"}), "a token's description cannot contain control characters"),
        (json!({"description": "x".repeat(257)}), "a token's description has 256 characters at most"),
    ] {
        assert_eq!(alice.post(TOKENS).json(body).await.refused(400), text);
    }
}

async fn r25_a_revoked_token_is_refused_at_its_next_request(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let mut agent = master.agent("node").await;
    let task = master.task(&alice, &mut agent).await;
    let (token, id) = alice.by_token(json!({})).await;
    let (other, _) = alice.by_token(json!({})).await;
    let mut closing = token.follow(&task.id()).await;
    closing.until("have started").await;
    let mut open = other.follow(&task.id()).await;
    open.until("have started").await;

    // As `det` sends it.
    let request = json!({"tokenId": id.to_string(), "description": null, "setRevoked": true});
    let revoked = patch(&alice, id, request.clone()).await.ok();
    assert_eq!(revoked["tokenInfo"]["revoked"], true);
    assert_eq!(token.get("/api/v1/me").await.refused(401), "user access token revoked");
    assert!(closing.closes_within(SECOND * 5).await);
    agent.send_log(task.start.allocation, Source::Stdout, Timestamp(0), b"still here\n").await;
    open.until("still here").await;
    let text = format!("unable to update inactive token with ID {id}");
    assert_eq!(patch(&alice, id, request).await.refused(400), text);
}

async fn r25_a_deactivated_account_loses_its_tokens_for_good(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, alice) = (master.admin().await, master.user("alice").await);
    let (cached, _) = alice.by_token(json!({})).await;
    let (fresh, _) = alice.by_token(json!({})).await;
    cached.get("/api/v1/me").await.ok();
    admin.patch(&alice.path()).json(json!({"active": false})).await.ok();
    let made = admin.post(TOKENS).json(json!({"userId": alice.id})).await;
    assert_eq!(made.refused(400), "user is not active", "none comes after it");
    for active in [false, true] {
        admin.patch(&alice.path()).json(json!({"active": active})).await.ok();
        for token in [&cached, &fresh] {
            assert_eq!(token.get("/api/v1/me").await.refused(401), "user access token revoked");
        }
    }
    // Several accounts at once make no difference.
    let alice = master.log_in("alice").await;
    let (token, _) = alice.by_token(json!({})).await;
    let body = json!({"userIds": [alice.id.to_string(), 999], "activate": false, "filters": null});
    let answer = admin.patch("/api/v1/users").json(body).await.ok();
    let expected = json!([{"id": alice.id, "error": ""}, {"id": 999, "error": "user not found"}]);
    assert_eq!(answer["results"], expected);
    token.get("/api/v1/me").await.refused(401);
    alice.get("/api/v1/me").await.refused(401);
}

async fn a_new_password_ends_no_token(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, alice) = (master.admin().await, master.user("alice").await);
    let mut agent = master.agent("node").await;
    let task = master.task(&alice, &mut agent).await;
    let (token, _) = alice.by_token(json!({})).await;
    let mut open = token.follow(&task.id()).await;
    open.until("have started").await;
    admin.patch(&alice.path()).json(json!({"password": "a quiet lake"})).await.ok();
    alice.get("/api/v1/me").await.refused(401);
    token.get("/api/v1/me").await.ok();
    agent.send_log(task.start.allocation, Source::Stdout, Timestamp(0), b"still here\n").await;
    open.until("still here").await;
    admin.patch(&alice.path()).json(json!({"username": "alicia", "displayName": "Al"})).await.ok();
    assert_eq!(token.get("/api/v1/me").await.ok()["user"]["username"], "alicia");
}

async fn people_see_and_change_their_own_tokens_alone(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, alice, bob) = (master.admin().await, master.user("alice").await, master.user("bob").await);
    let (_, hers) = alice.by_token(json!({})).await;
    let (_, his) = bob.by_token(json!({})).await;
    let (made, for_bob) = admin.by_token(json!({"userId": bob.id})).await;
    assert_eq!(made.get("/api/v1/me").await.ok()["user"]["username"], "bob");
    assert_eq!(ids(&alice, "").await, [hers]);
    assert_eq!(ids(&alice, "username=alice").await, [hers]);
    assert_eq!(ids(&alice, &format!("tokenIds={hers}&tokenIds={his}")).await, [hers]);
    assert_eq!(ids(&bob, "").await, [his, for_bob]);
    assert_eq!(ids(&admin, "").await, [hers, his, for_bob]);
    assert_eq!(ids(&admin, "username=bob").await, [his, for_bob]);

    let others = alice.get(&format!("{TOKENS}?username=bob")).await;
    assert_eq!(others.refused(403), "only admin privileged users can view other users");
    let for_another = alice.post(TOKENS).json(json!({"userId": bob.id})).await;
    assert_eq!(for_another.refused(403), "only admin privileged users can create token for other users");
    for who in [&alice, &admin] {
        assert_eq!(who.get(&format!("{TOKENS}?username=eve")).await.refused(404), "user not found");
        assert_eq!(who.post(TOKENS).json(json!({"userId": 999})).await.refused(404), "user not found");
        let missing = patch(who, 999, json!({"setRevoked": true})).await;
        assert_eq!(missing.refused(404), "Token with id: {999} not found");
    }
    let hidden = patch(&alice, his, json!({"setRevoked": true})).await;
    assert_eq!(hidden.refused(404), format!("Token with id: {{{his}}} not found"));
    let odd = alice.patch(&format!("{TOKENS}/x")).json(json!({})).await;
    assert_eq!(odd.refused(404), "Token with id: {x} not found");
    let described = patch(&alice, hers, json!({"description": "hers", "setRevoked": false})).await.ok();
    assert_eq!(described["tokenInfo"]["description"], "hers");
    let kept = patch(&admin, hers, json!({"description": null})).await.ok();
    assert_eq!(kept["tokenInfo"]["description"], "hers");
    patch(&admin, his, json!({"setRevoked": true})).await.ok();
    assert_eq!(ids(&bob, "").await, [for_bob]);
}

async fn lists_are_filtered_and_sorted(database: Database) {
    let master = TestMaster::start(database).await;
    let admin = master.admin().await;
    for (description, lifespan) in [("b", "3h"), ("c", "1h"), ("a", "2h")] {
        admin.by_token(json!({"description": description, "lifespan": lifespan})).await;
        master.clock.advance(SECOND);
    }
    patch(&admin, 2, json!({"setRevoked": true})).await.ok();
    assert_eq!(ids(&admin, "").await, [1, 3]);
    for (query, expected) in [
        ("sortBy=SORT_BY_DESCRIPTION", [3, 1, 2]),
        ("sortBy=SORT_BY_EXPIRY", [2, 3, 1]),
        ("sortBy=SORT_BY_CREATED_AT&orderBy=ORDER_BY_DESC", [3, 2, 1]),
        ("sortBy=SORT_BY_REVOKED", [1, 3, 2]),
        ("sortBy=SORT_BY_TOKEN_TYPE", [1, 2, 3]),
        ("sortBy=SORT_BY_USER_ID&orderBy=ORDER_BY_DESC", [3, 2, 1]),
    ] {
        assert_eq!(ids(&admin, &format!("showInactive=true&{query}")).await, expected, "{query}");
    }
    let page = admin.get(&format!("{TOKENS}?showInactive=true&limit=2&offset=1")).await.ok();
    assert_eq!(page["pagination"]["endIndex"], 3);
    assert_eq!(page["tokenInfo"].as_array().map(Vec::len), Some(2));
    admin.get(&format!("{TOKENS}?tokenIds=x")).await.refused(400);
    admin.get(&format!("{TOKENS}?offset=9")).await.refused(400);
}

async fn when_a_token_was_last_used_is_told(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let (token, _) = alice.by_token(json!({})).await;
    let last_used = async || alice.get(TOKENS).await.ok()["tokenInfo"][0]["lastUsedAt"].clone();
    assert_eq!(last_used().await, Value::Null);
    for second in 1..3 {
        master.clock.advance(SECOND);
        token.get("/api/v1/me").await.ok();
        assert_eq!(last_used().await, format!("2026-01-01T00:00:0{second}.000000Z"));
    }
}

async fn a_token_makes_no_token_and_no_password(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, alice) = (master.admin().await, master.user("alice").await);
    for who in [&admin, &alice] {
        let (token, _) = who.by_token(json!({})).await;
        let made = token.post(TOKENS).await;
        assert!(made.refused(403).contains("outlive it"));
        let changed = token.patch(&who.path()).json(json!({"password": "a quiet lake"})).await;
        assert!(changed.refused(403).contains("outlive it"));
        token.patch(&who.path()).json(json!({"displayName": ""})).await.ok();
    }
    assert_eq!(ids(&admin, "").await.len(), 2);
}

async fn a14_an_administrators_token_leaves_nobody_a_way_in(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, alice) = (master.admin().await, master.user("alice").await);
    master.register("bob").await.ok();
    let (token, id) = admin.by_token(json!({})).await;
    let new = |name: &str, more: Value| {
        let mut user = json!({"username": name, "active": true});
        user.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        json!({ "user": user })
    };
    let tries = [
        token.post("/api/v1/users").json(new("eve", json!({"admin": true}))),
        token.post("/api/v1/users").json(new("eve", json!({}))),
        token.patch(&alice.path()).json(json!({"admin": true})),
        token.patch(&alice.path()).json(json!({"password": "a quiet lake"})),
        token.patch(&alice.path()).json(json!({"agentUserGroup": {
            "agentUid": 5001, "agentGid": 5001, "agentUser": "alice", "agentGroup": "lab"}})),
        token.post(&format!("{}/password", alice.path())).json(json!("a quiet lake")),
        token.post(TOKENS).json(json!({"userId": alice.id})),
        token.post("/api/v1/invitations"),
        token.post("/api/v1/agents/invitations"),
        token.post("/api/v1/registrations/bob/accept"),
    ];
    for attempt in tries {
        let answer = attempt.await;
        assert!(answer.clone().refused(403).contains("outlive it"), "{}", answer.text());
    }
    let pending = admin.get("/api/v1/users/bob/by-username").await.ok()["user"]["id"].clone();
    token.patch(&format!("/api/v1/users/{pending}")).json(json!({"active": true})).await.refused(403);
    // What gives nobody a way in goes on: a service account, shutting somebody out.
    token.post("/api/v1/users").json(new("ci", json!({"service": true}))).await.ok();
    token.patch(&alice.path()).json(json!({"active": false})).await.ok();
    admin.patch(&format!("{TOKENS}/{id}")).json(json!({"setRevoked": true})).await.ok();
    token.get("/api/v1/me").await.refused(401);
}

/// Memberships, groups, names, addresses, what somebody owned: all that an accomplice would keep.
async fn a14_a_token_leaves_nobody_a_power(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, alice, eve) = (master.admin().await, master.user("alice").await, master.user("eve").await);
    let (token, _) = admin.by_token(json!({})).await;
    let (own, _) = alice.by_token(json!({})).await;
    let private = |name: &str| json!({"name": name, "private": true});
    let made = alice.post("/api/v1/workspaces").json(private("hers")).await.ok();
    let workspace = format!("/api/v1/workspaces/{}", made["workspace"]["id"]);
    let made = alice.post(&format!("{workspace}/projects")).json(private("hers")).await.ok();
    let project = format!("/api/v1/projects/{}", made["project"]["id"]);
    let made = eve.post("/api/v1/workspaces").json(json!({"name": "trap"})).await.ok();
    let trap = made["workspace"]["id"].clone();
    let group = admin.post("/api/v1/groups").json(json!({"name": "lab"})).await.ok();
    let group_id = group["group"]["groupId"].clone();
    let group = format!("/api/v1/groups/{group_id}");
    let role = |role: &str| json!({"userId": eve.id, "role": role});
    alice.post("/api/v1/templates/hers").json(json!({"config": {}})).await.ok();
    let hook = json!({"startup_hook": "true"});
    let opens = |token: &User| {
        vec![
            // What others run (MF11).
            token.post("/api/v1/templates/new").json(json!({ "config": hook })),
            token.patch("/api/v1/templates/hers").json(hook.clone()),
            token.put(&format!("{workspace}/members")).json(role("viewer")),
            token.put(&format!("{project}/members")).json(role("administrator")),
            token.patch(&workspace).json(json!({"private": false})),
            token.patch(&project).json(json!({"private": false})),
            token.patch(&alice.path()).json(json!({"username": "other"})),
            token.patch(&alice.path()).json(json!({"email": "eve@lab.example"})),
            token.post("/api/v1/roles/add-assignments").json(json!({"userRoleAssignments": [{
                "userId": eve.id,
                "roleAssignment": {"role": {"roleId": 3}, "scopeWorkspaceId": made_id(&workspace)}}]})),
        ]
    };
    let mut tries = opens(&own);
    tries.extend(opens(&token));
    tries.extend([
        token.post(&format!("{project}/move")).json(json!({"destinationWorkspaceId": trap})),
        token.put(&group).json(json!({"addUsers": [eve.id]})),
        token.put(&group).json(json!({"name": "other"})),
        token.post("/api/v1/groups").json(json!({"name": "new", "addUsers": [eve.id]})),
        token.patch("/api/v1/users/assignments").json(json!({"userIds": [eve.id], "addGroups": [group_id]})),
        token.delete(&format!("{}?assetsTo={}", alice.path(), eve.id)),
    ]);
    for attempt in tries {
        let answer = attempt.await;
        assert!(answer.clone().refused(403).contains("outlive it"), "{}", answer.text());
    }
    eve.get(&workspace).await.refused(404);
    // Whoever logged in gives, and a token takes away.
    alice.put(&format!("{workspace}/members")).json(role("editor")).await.ok();
    own.put(&format!("{workspace}/members")).json(role("viewer")).await.ok();
    own.delete(&format!("{workspace}/members?userId={}", eve.id)).await.ok();
    admin.put(&group).json(json!({"addUsers": [eve.id]})).await.ok();
    token.put(&group).json(json!({"removeUsers": [eve.id]})).await.ok();
    token.delete(&alice.path()).await.ok();
}

fn made_id(path: &str) -> i64 {
    path.rsplit('/').next().and_then(|id| id.parse().ok()).expect("an id")
}

async fn r13_a_token_in_an_address_is_no_credential(database: Database) {
    let master = TestMaster::start(database).await;
    let (token, _) = master.user("alice").await.by_token(json!({})).await;
    for name in ["token", "auth", "access_token", "authorization"] {
        let path = format!("/api/v1/me?{name}={}", token.token);
        assert_eq!(master.anon().get(&path).await.refused(401), "token missing");
    }
}

async fn logging_out_leaves_a_token(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    for scope in ["read", "full"] {
        let (token, _) = alice.by_token(json!({"scope": scope})).await;
        token.post("/api/v1/auth/logout").await.ok();
        token.get("/api/v1/me").await.ok();
    }
    alice.get("/api/v1/me").await.ok();
}

async fn the_audit_log_tells_of_tokens_and_holds_none(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, alice) = (master.admin().await, master.user("alice").await);
    let (token, id) = alice.by_token(json!({"description": "ci"})).await;
    token.patch(&alice.path()).json(json!({"displayName": "Al"})).await.ok();
    patch(&alice, id, json!({"setRevoked": true})).await.ok();
    let log = admin.get("/api/v1/audit?user=alice").await.ok();
    let entries = log["entries"].as_array().expect("a list");
    let records = || entries.iter().map(|entry| &entry["record"]);
    let told = |action: &str| records().find(|record| record["action"] == action).expect("told");
    assert_eq!(told("user.update")["via"], format!("token {id}"));
    assert_eq!(told("token.create")["after"]["description"], "ci");
    assert_eq!(told("token.revoke")["after"], json!({"revoked": true}));
    assert!(!log.to_string().contains("mat_"), "{log}");
}
