//! A request whose body comes later than its head has the rights of who sends it when the body is there (W1): what was
//! taken away meanwhile is gone.

use serde_json::{Value, json};
use testkit::{Database, Requests as _, TestMaster, User, on_both_databases, on_sqlite, soon};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use web::Access;

on_both_databases!(
    r25_a_demoted_administrators_body_comes_too_late,
    r25_a_deactivated_accounts_body_comes_too_late,
    r25_an_ended_sessions_body_comes_too_late,
    r25_a_revoked_tokens_body_comes_too_late,
    p02_the_default_users_body_comes_too_late_for_a_blank_password,
    a_body_that_comes_later_is_as_good_as_any,
);
on_sqlite!(r25_no_route_takes_a_late_body_from_who_was_shut_out);

/// A request that was let in and whose body is still to come.
struct Held {
    stream: TcpStream,
    body: String,
}

/// Sends the head, and waits until the master wants the body: whoever asks was looked up then.
async fn held(master: &TestMaster, credential: &str, request: &str, body: Value) -> Held {
    let body = body.to_string();
    let mut stream = soon("a connection", TcpStream::connect(master.address())).await.expect("connected");
    let head = format!(
        "{request} HTTP/1.1\r\nHost: localhost\r\n{credential}\r\nContent-Length: {}\r\nConnection: close\r\nExpect: 100-continue\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.expect("written");
    let mut answer = [0; 25];
    soon("the master's word", stream.read_exact(&mut answer)).await.expect("it goes on");
    assert_eq!(&answer, b"HTTP/1.1 100 Continue\r\n\r\n");
    Held { stream, body }
}

impl Held {
    /// Sends the body; the answer's status.
    async fn finish(mut self) -> u16 {
        self.stream.write_all(self.body.as_bytes()).await.expect("written");
        let mut answer = Vec::new();
        soon("an answer", self.stream.read_to_end(&mut answer)).await.expect("an answer");
        let text = String::from_utf8_lossy(&answer).into_owned();
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
        status.unwrap_or_else(|| panic!("no status: {text:?}"))
    }
}

fn bearer(user: &User) -> String {
    format!("Authorization: Bearer {}", user.token)
}

async fn set(master: &TestMaster, whom: &User, change: Value) {
    master.admin().await.patch(&whom.path()).json(change).await.ok();
}

async fn r25_a_demoted_administrators_body_comes_too_late(database: Database) {
    let master = TestMaster::start(database).await;
    let boss = master.user("boss").await;
    set(&master, &boss, json!({"admin": true})).await;
    let again =
        held(&master, &bearer(&boss), &format!("PATCH {}", boss.path()), json!({"admin": true})).await;
    let new = json!({"user": {"username": "mallory", "admin": true, "active": true}});
    let other = held(&master, &bearer(&boss), "POST /api/v1/users", new).await;
    set(&master, &boss, json!({"admin": false})).await;
    assert_eq!((again.finish().await, other.finish().await), (403, 403));
    let seen = master.admin().await.get(&boss.path()).await.ok();
    assert_eq!(seen["user"]["admin"], false);
    assert_eq!(master.anon().log_in("mallory", "").await.status, 401);
}

async fn r25_a_deactivated_accounts_body_comes_too_late(database: Database) {
    let master = TestMaster::start(database).await;
    let boss = master.user("boss").await;
    set(&master, &boss, json!({"admin": true})).await;
    let change = json!({"active": true, "password": "a quiet lake at night", "isHashed": false});
    let back = held(&master, &bearer(&boss), &format!("PATCH {}", boss.path()), change).await;
    let polyaxon = format!("Authorization: Token {}", boss.token);
    let granted = held(&master, &polyaxon, "POST /api/v1/superusers/grant/boss/", json!({})).await;
    set(&master, &boss, json!({"active": false})).await;
    assert_eq!((back.finish().await, granted.finish().await), (401, 401));
    let seen = master.admin().await.get(&boss.path()).await.ok();
    assert_eq!(seen["user"]["active"], false);
}

async fn r25_an_ended_sessions_body_comes_too_late(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let id = alice.run_true().await;
    let token = held(&master, &bearer(&alice), "POST /api/v1/tokens", json!({})).await;
    let cookie = format!("Cookie: auth={}\r\nSec-Fetch-Site: same-origin", alice.token);
    let kill = held(&master, &cookie, &format!("POST /commands/{id}/kill"), json!({})).await;
    set(&master, &alice, json!({"password": "a quiet lake at night"})).await;
    assert_eq!(token.finish().await, 401);
    assert_eq!(kill.finish().await, 303, "to the login page");
    let alice = master.log_in_with("alice", "a quiet lake at night").await;
    assert_eq!(alice.get("/api/v1/tokens").await.ok()["tokenInfo"], json!([]));
    assert_eq!(alice.command(&id).await["state"], "STATE_QUEUED");
}

async fn r25_a_revoked_tokens_body_comes_too_late(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let (holder, id) = alice.by_token(json!({})).await;
    let made = held(&master, &bearer(&holder), "POST /api/v1/workspaces", json!({"name": "late"})).await;
    alice.patch(&format!("/api/v1/tokens/{id}")).json(json!({"setRevoked": true})).await.ok();
    assert_eq!(made.finish().await, 401);
    let all = alice.get("/api/v1/workspaces").await.ok();
    assert!(!all.to_string().contains("late"), "{all}");
}

async fn p02_the_default_users_body_comes_too_late_for_a_blank_password(database: Database) {
    let master = TestMaster::start(database).await;
    let id = master.default_user().await.run_true().await;
    let page = "Sec-Fetch-Site: same-origin";
    let kill = held(&master, page, &format!("POST /commands/{id}/kill"), json!({})).await;
    let default = master.default_user().await;
    set(&master, &default, json!({"password": "a quiet lake at night"})).await;
    assert_eq!(kill.finish().await, 303, "to the login page");
    assert_eq!(master.admin().await.command(&id).await["state"], "STATE_QUEUED");
}

async fn a_body_that_comes_later_is_as_good_as_any(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let made = held(&master, &bearer(&alice), "POST /api/v1/workspaces", json!({"name": "late"})).await;
    // Somebody else's rights change meanwhile.
    let bob = master.user("bob").await;
    set(&master, &bob, json!({"active": false})).await;
    assert_eq!(made.finish().await, 200);
}

async fn r25_no_route_takes_a_late_body_from_who_was_shut_out(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, boss) = (master.admin().await, master.user("boss").await);
    let set = async |change: Value| admin.patch(&boss.path()).json(change).await.ok();
    set(json!({"admin": true})).await;
    let mut tried = 0;
    for row in web::rows() {
        if row.method == "GET" || matches!(row.access, Access::Public | Access::Agent) {
            continue;
        }
        let session = master.log_in("boss").await;
        let credential = match row.access {
            Access::Page => format!("Cookie: auth={}\r\nSec-Fetch-Site: same-origin", session.token),
            Access::Polyaxon => format!("Authorization: Token {}", session.token),
            _ => bearer(&session),
        };
        // Whatever is named in the path: nobody gets as far as that.
        let parts = row.path.split('/').map(|part| if part.starts_with('{') { "1" } else { part });
        let path = parts.collect::<Vec<_>>().join("/");
        let late = held(&master, &credential, &format!("{} {path}", row.method), json!({})).await;
        set(json!({"active": false})).await;
        let status = late.finish().await;
        let expected = if row.access == Access::Page { 303 } else { 401 };
        assert_eq!(status, expected, "{} {}", row.method, row.path);
        set(json!({"active": true})).await;
        tried += 1;
    }
    assert!(tried > 50, "{tried}");
}
