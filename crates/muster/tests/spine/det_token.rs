//! The unmodified `det`: access tokens.

use serde_json::{Value, json};

use crate::support::det::{BLANK, administrator, created, det, refused};
use crate::support::{Muster, Person};

/// The id and the secret that `det token create` printed.
#[track_caller]
fn create(person: &Person, arguments: &str) -> (String, String) {
    let said = det(person, &format!("token create {arguments}"));
    let (id, secret) = said.split_once('\n').expect("two lines");
    let id = id.strip_prefix("TokenID: ").expect("an id");
    let secret = secret.strip_prefix("Access-Token: ").expect("a secret");
    (id.to_owned(), secret.to_owned())
}

/// Ids, users, descriptions, revoked or not.
#[track_caller]
fn tokens(person: &Person, line: &str) -> Value {
    let said = det(person, &format!("{line} --json"));
    let all: Value = serde_json::from_str(&said).expect("JSON");
    let row = |row: &Value| json!([row["id"], row["userId"], row["description"], row["revoked"]]);
    all.as_array().expect("a list").iter().map(row).collect()
}

#[test]
fn a_token_is_made_and_used() {
    let muster = Muster::up();
    let alice = created(&muster, &administrator(&muster), "alice");
    let (id, secret) = create(&alice, "-e 2 -d nightly");
    assert_eq!(id, "1");
    let listed: Value = serde_json::from_str(&det(&alice, "token list --json")).expect("JSON");
    let days = |key: &str| listed[0][key].as_str().expect("a time")[8..10].parse::<u32>().expect("a day");
    assert_ne!(days("createdAt"), days("expiry"));
    assert_eq!(listed[0]["tokenType"], "TOKEN_TYPE_ACCESS_TOKEN");

    let robot = muster.person("robot");
    let said = robot.det_args(["token", "login", &secret], "").ok();
    assert_eq!(said, "Authenticated as alice.");
    assert_eq!(robot.det("user whoami").ok(), "You are logged in as user 'alice'");
    robot.det("cmd run -d true").exits(0);
    assert!(alice.det("cmd list").ok().contains("| alice "));
    robot.det("user logout").exits(0);
    robot.det_args(["token", "login", &secret], "").exits(0);

    let said = det(&alice, "token revoke 1");
    assert!(said.ends_with("Successfully revoked token 1."), "{said}");
    robot.det_with("user whoami", BLANK).exits(1).says("Unauthenticated");
    robot.det_args(["token", "login", &secret], "").exits(1).says("Caught UnauthenticatedException");
}

#[test]
fn tokens_are_listed_described_and_edited() {
    let muster = Muster::up();
    let admin = administrator(&muster);
    let alice = created(&muster, &admin, "alice");
    create(&alice, "-d first");
    create(&alice, "-e -1");
    let made: Value = serde_json::from_str(&det(&admin, "-u admin token create alice --json")).expect("JSON");
    assert_eq!(made["tokenId"], 3);
    assert!(det(&admin, "-u admin token create -d hers --yaml").contains("tokenId: 4"));
    let edited = det(&alice, "token edit 2 -d second");
    assert!(edited.ends_with("Successfully updated token with ID: 2."), "{edited}");
    det(&alice, "token edit 2");
    det(&admin, "-u admin token revoke 3");

    let own = json!([[1, 3, "first", false], [2, 3, "second", false]]);
    assert_eq!(tokens(&alice, "token list"), own);
    assert_eq!(tokens(&admin, "-u admin token list alice"), own);
    let rows = json!([[1, 3, "first", false], [2, 3, "second", false], [4, 1, "hers", false]]);
    assert_eq!(tokens(&admin, "-u admin token list"), rows);
    let revoked = json!([[1, 3, "first", false], [2, 3, "second", false], [3, 3, "", true]]);
    assert_eq!(tokens(&alice, "token list --show-inactive"), revoked);
    assert_eq!(tokens(&alice, "token describe 1 3 4"), json!([[1, 3, "first", false]]));
    let table = det(&alice, "token list");
    let head: Vec<_> = table.lines().next().expect("a head").split('|').map(str::trim).collect();
    assert_eq!(head.join("|"), "ID|User ID|Description|Created At|Expires At|Revoked|Token Type");
}

#[test]
fn what_is_refused_is_said_in_determineds_words() {
    let muster = Muster::up();
    let admin = administrator(&muster);
    let alice = created(&muster, &admin, "alice");
    det(&admin, "-u admin token create -d admins");
    let contact = "Please contact your administrator in order to access this resource.";
    let forbidden = |text: &str| format!("Forbidden({text}): {contact}");
    let others = forbidden("only admin privileged users can create token for other users");
    refused(&alice, "token create admin", &others);
    refused(&alice, "token list determined", &forbidden("only admin privileged users can view other users"));
    refused(&alice, "token revoke 1", "Token not found");
    refused(&alice, "token edit 1 -d x", "Token with id: {1} not found");
    refused(&alice, "token revoke 9", "Token not found");
    refused(&alice, "token create nobody", "Caught APIException: user not found");
    refused(&alice, "token create -e 366", "token Lifespan must be less than max token lifespan");
    refused(&alice, "token create -e 0", "lifespan must be a Go-formatted duration string");
    create(&alice, "");
    det(&alice, "token revoke 2");
    refused(&alice, "token revoke 2", "unable to update inactive token with ID 2");
}
