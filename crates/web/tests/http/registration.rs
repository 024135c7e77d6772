//! People who ask to be let in: who may, how many, and who decides (X5, X11, R16, R36).

use std::time::Duration;

use domain::id::UserId;
use domain::registration::{OVERALL, PER_ADDRESS, Registration, State, WAITING_MAX, WINDOW};
use domain::time::Timestamp;
use master::config::Registration as Mode;
use master::system::Clock as _;
use serde_json::{Value, json};
use testkit::{Anon, Database, Requests as _, Response, TestMaster, User, on_both_databases, on_sqlite};

on_both_databases!(
    x05_x11_a_registered_account_waits_until_it_is_accepted,
    x05_rejecting_frees_the_name,
    x11_deciding_again_changes_nothing,
    x11_what_is_registered_has_rules,
    x11_an_invitation_is_good_once,
    r16_registrations_are_capped_in_rate,
    a14_registration_tells_no_addresses_and_few_names,
    r16_registrations_are_capped_in_number,
    r16_a_pending_account_logs_in_as_a_wrong_password_does,
    r35_a_name_that_was_deleted_is_not_registered_again,
    r36_registration_is_closed_or_by_invitation,
);
on_sqlite!(x11_the_page_registers_and_says_what_comes_next);

async fn ask(anon: &Anon, wish: Value) -> Response {
    anon.post("/api/v1/users/register").json(wish).await
}

fn wish(name: &str) -> Value {
    json!({"username": name, "email": format!("{name}@lab.example"), "password": "a quiet lake"})
}

fn with(name: &str, key: &str, value: &str) -> Value {
    let mut wish = wish(name);
    wish[key] = json!(value);
    wish
}

async fn waiting(admin: &User) -> Vec<String> {
    let list = admin.get("/api/v1/registrations?state=pending").await.ok();
    let name = |row: &Value| row["username"].as_str().expect("a name").to_owned();
    list["registrations"].as_array().expect("a list").iter().map(name).collect()
}

async fn entries(admin: &User, action: &str) -> usize {
    let list = admin.get(&format!("/api/v1/audit?action={action}&result=done")).await.ok();
    list["entries"].as_array().expect("a list").len()
}

async fn decide(admin: &User, name: &str, what: &str) -> Response {
    admin.post(&format!("/api/v1/registrations/{name}/{what}")).await
}

async fn x05_x11_a_registered_account_waits_until_it_is_accepted(database: Database) {
    let master = TestMaster::start(database).await;
    let admin = master.admin().await;
    let made = master.register("alice").await.ok();
    assert_eq!((&made["user"]["active"], &made["user"]["admin"]), (&json!(false), &json!(false)));
    assert_eq!(waiting(&admin).await, ["alice"]);
    assert_eq!(master.anon().log_in("alice", "a quiet lake").await.status, 401);
    let path = format!("/api/v1/users/{}", made["user"]["id"]);
    // As `user deactivate` does; who was never let in goes on waiting.
    let told = admin.patch(&path).json(json!({"active": false})).await.refused(400);
    assert!(told.contains("`muster user reject alice`"), "{told}");
    assert_eq!(waiting(&admin).await, ["alice"]);
    admin.patch(&path).json(json!({"active": true})).await.ok();
    let alice = master.log_in_with("alice", "a quiet lake").await;
    assert_eq!(alice.get("/api/v1/me").await.ok()["user"]["email"], "alice@lab.example");
    assert!(waiting(&admin).await.is_empty());
    let all = admin.get("/api/v1/registrations").await.ok();
    let row = &all["registrations"][0];
    assert_eq!(
        (&row["state"], &row["decidedBy"], &row["address"]),
        (&json!("accepted"), &json!(1), &json!("127.0.0.1"))
    );

    master.register("bob").await.ok();
    decide(&admin, "bob", "accept").await.ok();
    master.log_in_with("bob", "a quiet lake").await;
    for path in ["/api/v1/registrations", "/api/v1/invitations"] {
        alice.get(path).await.refused(403);
    }
    decide(&alice, "bob", "reject").await.refused(403);
    admin.get("/api/v1/registrations?state=maybe").await.refused(400);
}

async fn x05_rejecting_frees_the_name(database: Database) {
    let master = TestMaster::start(database).await;
    let admin = master.admin().await;
    let made = master.register("alice").await.ok();
    decide(&admin, "alice", "reject").await.ok();
    admin.get(&format!("/api/v1/users/{}", made["user"]["id"])).await.refused(404);
    assert_eq!(master.anon().log_in("alice", "a quiet lake").await.status, 401);
    let again = master.register("alice").await.ok();
    assert_ne!(again["user"]["id"], made["user"]["id"]);
    decide(&admin, "alice", "accept").await.ok();
    master.log_in_with("alice", "a quiet lake").await;
    let all = admin.get("/api/v1/registrations").await.ok();
    let states: Vec<_> =
        all["registrations"].as_array().expect("a list").iter().map(|r| &r["state"]).collect();
    assert_eq!(states, ["accepted", "rejected"]);
    for missing in ["nobody", "%00", "a%2Fb"] {
        for what in ["accept", "reject"] {
            assert_eq!(decide(&admin, missing, what).await.refused(404), "registration not found");
        }
    }
}

async fn x11_deciding_again_changes_nothing(database: Database) {
    let master = TestMaster::start(database).await;
    let admin = master.admin().await;
    for name in ["alice", "bob"] {
        master.register(name).await.ok();
    }
    for _ in 0..2 {
        decide(&admin, "alice", "accept").await.ok();
        decide(&admin, "bob", "reject").await.ok();
    }
    assert_eq!(entries(&admin, "registration.accept").await, 1);
    assert_eq!(entries(&admin, "registration.reject").await, 1);
    assert!(decide(&admin, "alice", "reject").await.refused(400).contains("deactivate or delete"));
    assert!(decide(&admin, "bob", "accept").await.refused(400).contains("register again"));
    assert_eq!(entries(&admin, "user.register").await, 2);
}

async fn x11_what_is_registered_has_rules(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("Alice").await;
    alice.patch(&alice.path()).json(json!({"displayName": "The-Boss", "email": "al@lab.example"})).await.ok();
    let anon = master.anon();
    let hashed = |password: &str| {
        let mut wish = wish("bob");
        wish["password"] = json!(password);
        wish["isHashed"] = json!(true);
        wish
    };
    for (wish, status) in [
        (json!({}), 400),
        (wish("a"), 400),
        (wish("a b"), 400),
        (with("bob", "username", "zoë"), 400),
        (with("bob", "username", "b\0b"), 400),
        (wish("Users"), 400),
        (wish("log_handler"), 400),
        (with("bob", "email", ""), 400),
        (with("bob", "email", "bob"), 400),
        (with("bob", "email", "b\r\nBcc: c@lab.example"), 400),
        (with("bob", "email", "b\0b@lab.example"), 400),
        (with("bob", "password", ""), 400),
        (with("bob", "password", "short"), 400),
        (with("bob", "password", "password123"), 400),
        (with("bob", "password", &"x".repeat(1025)), 400),
        (hashed("a"), 400),
        (hashed(""), 400),
        (hashed(&"g".repeat(128)), 400),
        (with("bob", "displayName", "b\nb"), 400),
        (wish("alice"), 409),
        (wish("DETERMINED1"), 200),
        (wish("the-boss"), 409),
        (with("bob", "displayName", "alice"), 409),
        (hashed(&"a1".repeat(64)), 200),
    ] {
        let answer = ask(&anon, wish.clone()).await;
        assert_eq!(answer.status, status, "{wish}: {}", answer.text());
    }
    let huge = with("carol", "displayName", &"x".repeat(20_000));
    ask(&anon, huge).await.refused(400);
}

async fn x11_an_invitation_is_good_once(database: Database) {
    let master = TestMaster::configured(database, |config| config.registration = Mode::Invite).await;
    let (admin, anon) = (master.admin().await, master.anon());
    let code = master.code().await;
    let made = ask(&anon, with("alice", "invitation", &code)).await.ok();
    assert_eq!(made["user"]["active"], true);
    master.log_in_with("alice", "a quiet lake").await;
    let refused = ask(&anon, with("bob", "invitation", &code)).await.refused(403);
    assert!(refused.contains("the invitation is not valid"), "{refused}");

    let invite = json!({"email": "Bob@lab.example", "days": "2"});
    let invited = admin.post("/api/v1/invitations").json(invite).await.ok();
    let code = invited["code"].as_str().expect("a code");
    ask(&anon, with("carol", "invitation", code)).await.refused(403);
    ask(&anon, with("bob", "invitation", code)).await.ok();
    let late = master.code().await;
    master.clock.advance(Duration::from_secs(7 * 86_400));
    ask(&anon, with("carol", "invitation", &late)).await.refused(403);
    for days in [0, -1, 91] {
        admin.post("/api/v1/invitations").json(json!({ "days": days })).await.refused(400);
    }
    let list = admin.get("/api/v1/invitations").await.expect(200);
    assert!(!list.text().contains("mui_"), "{}", list.text());
    let used: Vec<_> =
        list.json()["invitations"].as_array().expect("a list").iter().map(|i| i["usedBy"].clone()).collect();
    assert_eq!(used, [json!(null), json!(4), json!(3)]);

    // Where administrators decide, an invitation is their decision.
    let master = TestMaster::start(database).await;
    let code = master.code().await;
    let made = ask(&master.anon(), with("alice", "invitation", &code)).await.ok();
    assert_eq!(made["user"]["active"], true);
    ask(&master.anon(), with("bob", "invitation", "mui_guess")).await.refused(403);
}

/// Registrations of others that the database holds.
async fn stored(master: &TestMaster, count: i64, state: State, at: Timestamp) {
    let mut tx = master.store().write().await.expect("a transaction");
    for number in 0..count {
        let registration = Registration {
            id: 0,
            username: format!("stored{number}"),
            email: format!("stored{number}@lab.example"),
            user: UserId(1_000_000 + number),
            state,
            address: format!("192.0.2.{number}"),
            created_at: at,
            decided_at: None,
            decided_by: None,
        };
        store::registration::insert(&mut tx, &registration).await.expect("inserted");
    }
    tx.commit_unaudited("a test").await.expect("committed");
}

async fn r16_registrations_are_capped_in_rate(database: Database) {
    let mut master = TestMaster::start(database).await;
    for number in 0..PER_ADDRESS {
        master.register(&format!("user{number}")).await.ok();
        master.clock.advance(Duration::from_secs(60));
    }
    master.restart().await;
    let refused = master.register("alice").await;
    let seconds = (3600 - PER_ADDRESS * 60 + 1).to_string();
    assert_eq!((refused.status, refused.header("retry-after")), (429, seconds.as_str()));
    assert!(refused.refused(429).contains("too many registrations"));
    // Who is invited is no flood.
    let code = master.code().await;
    ask(&master.anon(), with("invited", "invitation", &code)).await.ok();
    master.clock.advance(WINDOW);
    master.register("alice").await.ok();

    let master = TestMaster::start(database).await;
    stored(&master, OVERALL, State::Rejected, master.clock.now()).await;
    assert_eq!(master.register("alice").await.header("retry-after"), "3601");
    master.clock.advance(WINDOW);
    master.register("alice").await.ok();
}

async fn r16_registrations_are_capped_in_number(database: Database) {
    let master = TestMaster::start(database).await;
    stored(&master, WAITING_MAX - 1, State::Pending, Timestamp(0)).await;
    master.register("alice").await.ok();
    let refused = master.register("bob").await;
    assert_eq!(refused.header("retry-after"), "3600");
    assert!(refused.refused(429).contains("already wait"));
    decide(&master.admin().await, "alice", "reject").await.ok();
    master.register("bob").await.ok();
}

async fn a14_registration_tells_no_addresses_and_few_names(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, alice) = (master.admin().await, master.user("alice").await);
    admin.patch(&alice.path()).json(json!({"email": "al@lab.example"})).await.ok();
    let anon = master.anon();
    let fresh = ask(&anon, wish("bob")).await.ok();
    let known = ask(&anon, with("eve", "email", "AL@lab.example")).await.ok();
    let shape = |answer: &Value| {
        let user = answer["user"].as_object().expect("an account");
        user.iter().map(|(key, value)| (key.clone(), value.is_null())).collect::<Vec<_>>()
    };
    assert_eq!(shape(&fresh), shape(&known), "nothing tells them apart");
    // An administrator is told when it matters.
    decide(&admin, "eve", "accept").await.refused(409);
    assert_eq!(waiting(&admin).await.len(), 2);
    decide(&admin, "eve", "reject").await.ok();
    // An invitation is from somebody who may know.
    let invited = json!({"username": "eve", "email": "al@lab.example", "password": "a quiet lake",
        "invitation": master.code().await});
    ask(&anon, invited).await.refused(409);
    // Names can't be tried out for long.
    for number in 0..9 {
        assert_eq!(ask(&anon, wish("alice")).await.status, 409, "{number}");
    }
    let refused = ask(&anon, wish("alice")).await;
    assert_eq!(refused.header("retry-after"), "2");
    assert!(refused.refused(429).contains("too many registrations"));
    assert_eq!(ask(&anon, wish("zoe")).await.status, 429, "whether or not it is taken");
}

async fn r16_a_pending_account_logs_in_as_a_wrong_password_does(database: Database) {
    let master = TestMaster::start(database).await;
    master.user("known").await;
    master.register("alice").await.ok();
    let seen = async |name: &str, password: &str| {
        let mut answer = master.anon().log_in(name, password).await;
        answer.headers.remove("date");
        (answer.status, answer.text(), format!("{:?}", answer.headers))
    };
    let wrong = seen("known", "wrong lake").await;
    assert_eq!(wrong.0, 401);
    for (name, password) in [("alice", "a quiet lake"), ("alice", "wrong lake"), ("nobody", "wrong lake")] {
        assert_eq!(seen(name, password).await, wrong, "{name} {password}");
    }
    let form = "username=alice&password=a+quiet+lake&redirect=/";
    let page = master.anon().post("/login").header("content-type", "application/x-www-form-urlencoded");
    let page = page.header("sec-fetch-site", "same-origin").body(form).await.expect(401);
    assert!(page.text().contains("Wrong user name or password"));
}

async fn r35_a_name_that_was_deleted_is_not_registered_again(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, alice) = (master.admin().await, master.user("alice").await);
    admin.delete(&alice.path()).await.ok();
    for name in ["alice", "ALICE"] {
        assert_eq!(master.register(name).await.refused(409), "this name is taken: choose another");
    }
    let made = admin.post("/api/v1/users").json(json!({"user": {"username": "alice"}})).await;
    assert!(made.refused(409).contains("already exists"));
    let bob = master.user("bob").await;
    let renamed = admin.patch(&bob.path()).json(json!({"username": "alice"})).await;
    assert!(renamed.refused(409).contains("already exists"));
}

async fn r36_registration_is_closed_or_by_invitation(database: Database) {
    for (mode, said) in [(Mode::Closed, "registration is closed"), (Mode::Invite, "one has to be invited")] {
        let master = TestMaster::configured(database, |config| config.registration = mode).await;
        let refused = master.register("alice").await.refused(403);
        assert!(refused.contains(said), "{refused}");
        assert!(waiting(&master.admin().await).await.is_empty());
        let login = master.anon().get("/login").await.expect(200).text();
        assert_eq!(login.contains("/users/register"), mode != Mode::Closed);
        let page = master.anon().get("/users/register").await.expect(200).text();
        assert_eq!(page.contains("<form"), mode != Mode::Closed);
    }
    let master = TestMaster::configured(database, |config| config.registration = Mode::Closed).await;
    let code = master.code().await;
    ask(&master.anon(), with("alice", "invitation", &code)).await.refused(403);
}

async fn x11_the_page_registers_and_says_what_comes_next(database: Database) {
    let master = TestMaster::start(database).await;
    let anon = master.anon();
    let send = |path: &'static str, form: &str| {
        let request = anon.post(path).header("content-type", "application/x-www-form-urlencoded");
        request.header("sec-fetch-site", "same-origin").body(form)
    };
    let form = |name: &str, again: &str| {
        format!("username={name}&email={name}@lab.example&password=a+quiet+lake&again={again}&invitation=")
    };
    let differ = send("/users/register", &form("alice", "another")).await.expect(400).text();
    assert!(differ.contains("The two passwords differ.") && differ.contains("value=\"alice\""));
    assert!(
        send("/users/register", &form("users", "a+quiet+lake")).await.expect(400).text().contains("reserved")
    );
    for (path, name) in [("/users/register", "alice"), ("/users/register/", "bob")] {
        let done = send(path, &form(name, "a+quiet+lake")).await.expect(303);
        assert_eq!(done.header("location"), "/users/register/complete");
    }
    for path in ["/users/register/complete", "/users/register/complete/"] {
        let said = anon.get(path).await.expect(200).text();
        assert!(said.contains("An administrator has to accept it"), "{said}");
    }
    let foreign =
        send("/users/register", &form("eve", "a+quiet+lake")).header("sec-fetch-site", "cross-site").await;
    foreign.expect(403);
    let code = master.code().await;
    let invited = form("carol", "a+quiet+lake") + &code;
    let done = send("/users/register", &invited).await.expect(303);
    assert_eq!(done.header("location"), "/users/register/complete?active=1");
    for number in 0..3 {
        send("/users/register", &form(&format!("u{number}"), "a+quiet+lake")).await;
    }
    let many = send("/users/register", &form("dave", "a+quiet+lake")).await.expect(429);
    assert!(!many.header("retry-after").is_empty());
    let mut names = waiting(&master.admin().await).await;
    names.sort();
    assert_eq!(names.get(..2), Some(&["alice".to_owned(), "bob".to_owned()][..]));

    let browser = master.log_in_with("carol", "a quiet lake").await.in_browser();
    for path in ["/users/register", "/users/register/"] {
        assert_eq!(browser.get(path).await.expect(303).header("location"), "/");
    }
}
