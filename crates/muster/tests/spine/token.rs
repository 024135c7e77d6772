//! Access tokens and service accounts at Muster's own command line.

use serde_json::{Value, json};

use crate::support::{Muster, Output, Person, run};

/// Runs `muster LINE` with a token in the environment.
#[track_caller]
fn with_token(person: &Person, token: &str, line: &str) -> Output {
    run(person.command(line.split_whitespace()).env("MUSTER_TOKEN", token), "")
}

#[test]
fn a_secret_is_printed_alone_and_once() {
    let muster = Muster::up();
    let (alice, robot) = (muster.user("alice"), muster.person("robot"));
    let made = alice.muster("token create --description nightly --expires 2").exits(0);
    let secret = made.out().trim_end().to_owned();
    assert!(secret.starts_with("mat_") && !secret.contains(char::is_whitespace), "{secret}");
    made.says("Token 1 acts as alice until ").says("is shown this once");
    assert_eq!(with_token(&robot, &secret, "user whoami").ok(), "alice");

    robot
        .muster_with("token login --token-stdin", &format!("{secret}\n"))
        .exits(0)
        .says("You act as alice now");
    assert_eq!(robot.muster("user whoami").ok(), "alice");
    let listed = alice.json("token list");
    assert_eq!((&listed[0]["description"], &listed[0]["scope"]), (&json!("nightly"), &json!("full")));
    assert!(listed[0]["lastUsedAt"].is_string() && !listed.to_string().contains(&secret));
    alice.muster("token edit 1 --description weekly").exits(0);
    assert_eq!(alice.json("token describe 1")[0]["description"], "weekly");
    let csv = alice.muster("token describe 1 --csv").ok();
    assert!(csv.contains(",weekly,") && csv.contains(",ACCESS_TOKEN,alice,full,"), "{csv}");

    alice.muster("token revoke 1").exits(0).says("Token 1 is worthless now.");
    with_token(&robot, &secret, "user whoami").exits(4).says("the token in MUSTER_TOKEN is not accepted");
    robot.muster_with("token login --token-stdin", &format!("{secret}\n")).exits(4);
    assert_eq!(alice.json("token list"), json!([]));
    assert_eq!(alice.json("token list --show-inactive")[0]["revoked"], true);
    alice.muster("token revoke 1").exits(1).says("unable to update inactive token");
}

#[test]
fn a_token_for_reading_reads() {
    let muster = Muster::up();
    let alice = muster.user("alice");
    let secret = alice.muster("token create --scope read").ok();
    for line in ["user list", "command list", "task list", "agent list", "token list", "group list"] {
        with_token(&alice, &secret, line).exits(0);
    }
    for line in ["command run true", "user edit alice --display-name A", "token create", "token revoke 1"] {
        with_token(&alice, &secret, line).exits(5).says("this access token is for reading only");
    }
}

#[test]
fn everybody_sees_to_their_own_tokens() {
    let muster = Muster::up();
    let (admin, alice, bob) = (muster.admin(), muster.user("alice"), muster.user("bob"));
    alice.muster("token create").exits(0);
    bob.muster("token create").exits(0);
    let owners = |person: &Person, line: &str| -> Value {
        person.json(line).as_array().expect("a list").iter().map(|token| token["username"].clone()).collect()
    };
    assert_eq!(owners(&admin, "token list"), json!([]));
    assert_eq!(owners(&admin, "token list --all"), json!(["alice", "bob"]));
    assert_eq!(owners(&admin, "token list bob"), json!(["bob"]));
    assert_eq!(owners(&alice, "token list -a"), json!(["alice"]));
    alice.muster("token list bob").exits(5);
    alice.muster("token create bob").exits(5);
    for line in ["token revoke 2", "token edit 2 --description x", "token describe 2"] {
        alice.muster(line).exits(6);
    }
    alice.muster("token list nobody").exits(6);
    alice.muster("token create --expires 366").exits(1).says("token Lifespan must be less than max");
    for line in [
        "token create --expires 0",
        "token create --expires soon",
        "token create --scope all",
        "token revoke",
    ] {
        alice.muster(line).exits(2);
    }
    for input in ["", "\n", "a b\n", "\u{1b}[2J\n"] {
        alice.muster_with("token login --token-stdin", input).exits(2);
    }
    alice.muster("token create --expires max").exits(0);
}

#[test]
fn a_service_account_acts_by_tokens_alone() {
    let muster = Muster::up();
    let (admin, alice) = (muster.admin(), muster.user("alice"));
    admin.muster("user create bot --service --display-name Builds").exits(0).says("muster token create bot");
    admin.muster_with("user create b2 --service --password-stdin", "correct horse\n").exits(2);
    alice.muster("user create b3 --service").exits(5);
    alice.muster("user login bot").exits(4).says("bot is not logged in");
    alice.muster_with("user login bot --password-stdin", "correct horse\n").exits(4);
    let changed = admin.muster_with("user change-password bot --password-stdin", "correct horse\n");
    changed.exits(1).says("a service account has no password");
    let users = alice.json("user list");
    let bot = users.as_array().expect("a list").iter().find(|user| user["username"] == "bot");
    let bot = bot.expect("listed");
    assert_eq!((&bot["service"], &bot["displayName"]), (&json!(true), &json!("Builds")));

    let secret = admin.muster("token create bot").ok();
    assert_eq!(with_token(&alice, &secret, "command run -- echo built").ok(), "built");
    assert!(alice.muster("command list -a").ok().contains(" bot "));
    admin.muster("user deactivate bot").exits(0);
    with_token(&alice, &secret, "user whoami").exits(4);
    admin.muster("user activate bot").exits(0);
    with_token(&alice, &secret, "user whoami").exits(4);
}
