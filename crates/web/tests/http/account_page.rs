//! One's own account in the browser: another password, and where one is signed in (R26).

use testkit::{Anon, Database, Requests as _, Response, TestMaster, User, on_both_databases, on_sqlite};

on_both_databases!(
    r26_the_current_password_is_needed_and_others_can_be_signed_out,
    r26_wrong_guesses_count_as_failed_logins,
    r26_the_right_password_forgets_wrong_guesses,
    r26_the_default_user_sets_a_password_without_a_login,
);
on_sqlite!(r26_sessions_are_ended_from_the_page, r07_forms_of_others_are_refused);

const OLD: &str = "a quiet lake";
const NEW: &str = "another lake";

async fn alice(master: &TestMaster) -> User {
    let alice = master.user("alice").await;
    alice.patch(&alice.path()).json(serde_json::json!({ "password": OLD })).await.ok();
    master.log_in_with("alice", OLD).await
}

async fn change(browser: &Anon, current: &str, new: &str, again: &str, end_others: bool) -> Response {
    let box_ = if end_others { "&end_others=1" } else { "" };
    let form = format!("current={current}&new={new}&again={again}{box_}").replace(' ', "+");
    let request = browser.post("/account/password").header("sec-fetch-site", "same-origin");
    request.header("content-type", "application/x-www-form-urlencoded").body(form).await
}

/// The session that an answer sets.
fn token(answer: &Response) -> String {
    let cookies: Vec<_> =
        answer.headers.get_all("set-cookie").iter().filter_map(|c| c.to_str().ok()).collect();
    let auth = cookies.iter().find_map(|cookie| cookie.strip_prefix("auth=")).expect("a session");
    auth.split(';').next().expect("its token").to_owned()
}

async fn status(master: &TestMaster, token: &str) -> u16 {
    let bearer = format!("Bearer {token}");
    master.anon().get("/api/v1/me").header("authorization", &bearer).await.status
}

async fn r26_the_current_password_is_needed_and_others_can_be_signed_out(database: Database) {
    let master = TestMaster::start(database).await;
    let here = alice(&master).await;
    let elsewhere = master.log_in_with("alice", OLD).await;
    let browser = here.in_browser();
    for (current, new, again, said) in [
        ("wrong", NEW, NEW, "The current password is wrong."),
        ("", NEW, NEW, "The current password is wrong."),
        (OLD, NEW, "a third lake", "The two new passwords differ."),
        (OLD, "short", "short", "The password is too short"),
        (OLD, "password123", "password123", "one of the most common"),
    ] {
        let page = change(&browser, current, new, again, true).await.expect(400).text();
        assert!(page.contains(said), "{current} {new} {again}: {page}");
    }
    assert_eq!(status(&master, &elsewhere.token).await, 200, "nothing has changed");

    let done = change(&browser, OLD, NEW, NEW, false).await.expect(303);
    assert_eq!(done.header("location"), "/account?changed=1");
    let fresh = token(&done);
    assert_eq!(status(&master, &fresh).await, 200);
    assert_eq!(status(&master, &here.token).await, 401, "this browser goes on with another session");
    assert_eq!(status(&master, &elsewhere.token).await, 200, "the box was not ticked");
    assert_eq!(master.anon().log_in("alice", OLD).await.status, 401);

    let here = master.log_in_with("alice", NEW).await;
    let done = change(&here.in_browser(), NEW, OLD, OLD, true).await.expect(303);
    for ended in [&fresh, &here.token, &elsewhere.token] {
        assert_eq!(status(&master, ended).await, 401);
    }
    assert_eq!(status(&master, &token(&done)).await, 200);
}

async fn r26_the_right_password_forgets_wrong_guesses(database: Database) {
    let master = TestMaster::start(database).await;
    let (here, elsewhere) = (alice(&master).await, master.log_in_with("alice", OLD).await);
    for (session, current, new) in [(here, OLD, NEW), (elsewhere, NEW, OLD)] {
        // Ten in a row would be too many.
        for _ in 0..9 {
            change(&session.in_browser(), "wrong", new, new, false).await.expect(400);
        }
        change(&session.in_browser(), current, new, new, false).await.expect(303);
    }
}

async fn r26_wrong_guesses_count_as_failed_logins(database: Database) {
    let master = TestMaster::start(database).await;
    let browser = alice(&master).await.in_browser();
    for _ in 0..10 {
        change(&browser, "wrong", NEW, NEW, true).await.expect(400);
    }
    let page = change(&browser, OLD, NEW, NEW, true).await.expect(429);
    assert_eq!(page.header("retry-after"), "2");
    assert!(page.text().contains("Too many failed logins"));
    // Whoever holds that session may be somebody else: the person isn't kept out where they were before (A8).
    assert_eq!(master.anon().log_in("alice", OLD).await.status, 200);
    assert_eq!(change(&browser, OLD, NEW, NEW, true).await.status, 429, "the session's own failures stay");
}

async fn r26_the_default_user_sets_a_password_without_a_login(database: Database) {
    let master = TestMaster::start(database).await;
    let anon = master.anon();
    let page = anon.get("/account").await.expect(200).text();
    assert!(!page.contains("Current password") && page.contains("determined"), "{page}");
    let done = change(&anon, "", NEW, NEW, true).await.expect(303);
    assert_eq!(status(&master, &token(&done)).await, 200, "and is logged in");
    assert_eq!(anon.get("/account").await.expect(303).header("location"), "/login?redirect=/account");
    assert_eq!(master.anon().log_in("determined", NEW).await.status, 200);
}

async fn r26_sessions_are_ended_from_the_page(database: Database) {
    let master = TestMaster::start(database).await;
    let (here, bob) = (alice(&master).await, master.user("bob").await);
    let elsewhere = master.log_in_with("alice", OLD).await;
    let browser = here.in_browser();
    let page = browser.get("/account").await.expect(200).text();
    assert_eq!(page.matches("/end\"").count(), 2, "{page}");
    assert_eq!(page.matches("This browser").count(), 1);
    let list = here.get(&format!("{}/sessions", here.path())).await.ok();
    let (other, own) = (&list["sessions"][0]["id"], &list["sessions"][1]["id"]);
    let end = |browser: &Anon, id: &serde_json::Value| {
        browser.post(&format!("/account/sessions/{id}/end")).header("sec-fetch-site", "same-origin")
    };
    end(&bob.in_browser(), other).await.expect(404);
    end(&browser, other).await.expect(303);
    assert_eq!(status(&master, &elsewhere.token).await, 401);
    let done = end(&browser, own).await.expect(303);
    assert!(done.header("set-cookie").contains("Max-Age=0"));
    assert_eq!(status(&master, &here.token).await, 401);
}

async fn r07_forms_of_others_are_refused(database: Database) {
    let master = TestMaster::start(database).await;
    let browser = alice(&master).await.in_browser();
    let form = format!("current={OLD}&new={NEW}&again={NEW}").replace(' ', "+");
    for site in ["cross-site", "same-site", "none"] {
        let request = browser.post("/account/password").header("sec-fetch-site", site);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        request.body(form.clone()).await.expect(403);
    }
    // P2: nor as the default user.
    let request = master.anon().post("/account/password").header("sec-fetch-site", "cross-site");
    request.header("content-type", "application/x-www-form-urlencoded").body(form).await.expect(403);
    master.log_in_with("alice", OLD).await;
}
