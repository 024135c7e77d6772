//! Who may not do a thing is told just that, whatever they sent: not what is wrong with it (W5). The table of permissions
//! says who may not; what they are told is the same for a body that is right, broken, or of other types.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use serde_json::{Value, json};
use testkit::{Database, Method, on_sqlite};
use web::Row;

use super::samples::NOUNS;
use super::{Answered, Caller, Sample, World, expected, request_to, with_rows};

on_sqlite!(w05_who_may_not_is_told_just_that_whatever_they_sent);

/// Where the answer follows from what was sent, and why it does.
struct Exception {
    method: &'static str,
    route: &'static str,
    /// What is tried, as in the table.
    whats: &'static [&'static str],
    callers: &'static [Caller],
    told: Told,
    #[expect(dead_code, reason = "for who reads it")]
    why: &'static str,
}

/// What a caller is told who sends something that can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    /// That it can't be read.
    TheForm,
    /// That they may not, in other words.
    AnotherRefusal,
}

const fn form(
    (method, route): (&'static str, &'static str),
    whats: &'static [&'static str],
    callers: &'static [Caller],
    why: &'static str,
) -> Exception {
    Exception { method, route, whats, callers, told: Told::TheForm, why }
}

const BY_TOKEN: &[Caller] = &[Caller::ByToken];
const OWNER: &[Caller] = &[Caller::Owner];
const OUTSIDE: &[Caller] = &[Caller::Stranger, Caller::ProjectMember];
const MEMBERS: &[Caller] = &[Caller::ProjectMember, Caller::WorkspaceMember];
const OTHERS: &[Caller] = &[Caller::Stranger, Caller::ProjectMember, Caller::WorkspaceMember];
const ORDINARY: &[Caller] =
    &[Caller::Stranger, Caller::ProjectMember, Caller::WorkspaceMember, Caller::Owner];

const USER: (&str, &str) = ("PATCH", "/api/v1/users/{user}");
const WORKSPACE: (&str, &str) = ("PATCH", "/api/v1/workspaces/{workspace}");
const NEW_WORKSPACE: (&str, &str) = ("POST", "/api/v1/workspaces");
const PROJECT: (&str, &str) = ("PATCH", "/api/v1/projects/{project}");
const SLUG: (&str, &str) = ("PATCH", "/api/v1/{owner}/{project}/");
const ADD_ROLES: (&str, &str) = ("POST", "/api/v1/roles/add-assignments");
const REMOVE_ROLES: (&str, &str) = ("POST", "/api/v1/roles/remove-assignments");
const ROLES: &str = "the workspace is in it, and its administrators may do this there";
const ELSEWHERE: &str = "the workspace is in it, and they may do it in others";
const LASTS: &str = "what of it would outlive the token is in it; the rest of this they may do";
const PART: &str = "they may change other parts of it";

const EXCEPTIONS: &[Exception] = &[
    form(USER, &["Unix identity", "role", "sign-on only", "active or not"], OWNER, PART),
    Exception {
        method: "PATCH",
        route: USER.1,
        whats: &["Unix identity", "role", "active or not", "display name", "password"],
        callers: OTHERS,
        told: Told::AnotherRefusal,
        why: "Determined's texts name what they wanted to change",
    },
    form(NEW_WORKSPACE, &["with a Unix identity"], ORDINARY, "everybody may make one without"),
    form(WORKSPACE, &["Unix identity"], OWNER, PART),
    form(PROJECT, &["visibility"], MEMBERS, PART),
    form(SLUG, &["visibility"], &[Caller::ProjectMember], PART),
    form(("POST", "/api/v1/tokens"), &["for the owner"], OTHERS, "whose is in it; they may make their own"),
    form(("GET", "/api/v1/tokens"), &["the owner's"], OTHERS, "whose is in it; they may see their own"),
    form(
        ("POST", "/api/v1/commands"),
        &["in a private workspace", "with a template of a private workspace"],
        OUTSIDE,
        ELSEWHERE,
    ),
    form(("POST", "/api/v1/templates/{template}"), &["into a private one"], OUTSIDE, ELSEWHERE),
    form(("PUT", "/api/v1/templates/{template}"), &["into a private one"], OUTSIDE, ELSEWHERE),
    form(
        ("PATCH", "/api/v1/template/rename"),
        &["in a private workspace"],
        OTHERS,
        "which template it is about is in it",
    ),
    form(
        ("POST", "/api/v1/job-queues"),
        &["the owner's priority"],
        OTHERS,
        "which jobs they are is in it; they may change their own",
    ),
    form(ADD_ROLES, &["everywhere"], ORDINARY, ROLES),
    form(ADD_ROLES, &["everywhere"], BY_TOKEN, ROLES),
    form(ADD_ROLES, &["in a private workspace"], OTHERS, ROLES),
    form(REMOVE_ROLES, &["everywhere"], ORDINARY, ROLES),
    form(REMOVE_ROLES, &["everywhere"], BY_TOKEN, ROLES),
    form(REMOVE_ROLES, &["in a private workspace"], OTHERS, ROLES),
    form(("POST", "/api/v1/users"), &["a new account"], BY_TOKEN, LASTS),
    form(
        USER,
        &["Unix identity", "e-mail address", "name", "password", "role", "sign-on only"],
        BY_TOKEN,
        LASTS,
    ),
    form(("DELETE", "/api/v1/users/{user}"), &["what it owns to the owner"], BY_TOKEN, LASTS),
    form(("POST", "/api/v1/groups"), &["with the owner in it"], BY_TOKEN, LASTS),
    form(("PUT", "/api/v1/groups/{group}"), &["name", "the owner into it"], BY_TOKEN, LASTS),
    form(("PATCH", "/api/v1/users/assignments"), &["the owner into a group"], BY_TOKEN, LASTS),
    form(NEW_WORKSPACE, &["with a Unix identity"], BY_TOKEN, LASTS),
    form(WORKSPACE, &["Unix identity", "visibility", "where checkpoints go"], BY_TOKEN, LASTS),
    form(PROJECT, &["visibility"], BY_TOKEN, LASTS),
    form(
        ("POST", "/api/v1/templates/{template}"),
        &["into a private one", "into the shared one"],
        BY_TOKEN,
        LASTS,
    ),
    form(("PUT", "/api/v1/templates/{template}"), &["into a private one"], BY_TOKEN, LASTS),
    form(("PATCH", "/api/v1/template/rename"), &["in a private workspace"], BY_TOKEN, LASTS),
    form(SLUG, &["visibility"], BY_TOKEN, LASTS),
    form(
        ("POST", "/api/v1/projects/{project}/move"),
        &["into another private one of the owner's"],
        BY_TOKEN,
        LASTS,
    ),
    form(("PUT", "/api/v1/projects/{project}/members"), &["private"], BY_TOKEN, LASTS),
    form(("PUT", "/api/v1/workspaces/{workspace}/members"), &["private"], BY_TOKEN, LASTS),
];

/// The same fields, none of which is what it should be.
fn ill_typed(body: &str) -> String {
    let odd = |value: Value| if value.is_object() { json!(5) } else { json!({"x": 5}) };
    match serde_json::from_str(body) {
        Ok(Value::Object(fields)) if !fields.is_empty() => {
            fields.into_iter().map(|(key, value)| (key, odd(value))).collect::<Value>().to_string()
        }
        _ => "5".to_owned(),
    }
}

/// More parameters than there may be in a query.
fn too_many(path: &str) -> String {
    format!("{path}{}{}", if path.contains('?') { '&' } else { '?' }, "a&".repeat(1001))
}

/// Tries a sample as those who may not, and notes what each is told that isn't what they are told of a right one.
async fn try_sample(world: &mut World, row: &Row, sample: &Sample, found: &mut Found) -> usize {
    let refused = Caller::ALL.into_iter().filter(|caller| expected(row, sample, *caller).refuses());
    let refused: Vec<_> = refused.collect();
    if refused.is_empty() {
        return 0;
    }
    let (anon, mut tried) = (world.master.anon(), 0);
    // Nobody of these changes anything, so that all can try it on the same things.
    let (path, body) = world.filled(sample).await;
    let broken = ["{".to_owned(), ill_typed(&body)].map(|body| (path.clone(), body));
    let broken = broken.into_iter().filter(|_| row.method != Method::GET);
    let others: Vec<_> = broken.chain([(too_many(&path), body.clone())]).collect();
    for caller in refused {
        let right = world.shown(caller, row, request_to(&anon, row, sample, &path, &body)).await;
        let place = format!("{} {}, {}, as {caller:?}", row.method, row.path, sample.what);
        if right.status == 200 && row.path == "/api/v1/users" {
            // Several at once: it is said of each.
            continue;
        }
        assert!(Answered::of(row, &right).refuses(), "{place}: {}", right.status);
        for (path, body) in &others {
            let request = request_to(&anon, row, sample, path, body);
            let answer = world.shown(caller, row, request).await;
            tried += 1;
            let told = if answer.status != right.status {
                assert_eq!(answer.status, 400, "{place}, {body}: {}", answer.text());
                Told::TheForm
            } else if answer.text() != right.text() {
                Told::AnotherRefusal
            } else {
                continue;
            };
            let key = (sample.method, sample.route, sample.what, told);
            found.entry(key).or_default().insert(caller);
        }
    }
    tried
}

async fn w05_who_may_not_is_told_just_that_whatever_they_sent(_: Database) {
    let worlds = NOUNS.iter().map(|noun| async move {
        let mut world = World::make().await;
        let (rows, mut found, mut tried) = (web::rows(), Found::new(), 0);
        for (row, sample) in with_rows(&rows, *noun) {
            tried += try_sample(&mut world, row, sample, &mut found).await;
        }
        world.agent.disconnect();
        (found, tried)
    });
    let (mut found, mut tried) = (Found::new(), 0);
    for (some, count) in join_all(worlds).await {
        found.extend(some);
        tried += count;
    }
    assert!(tried > 2000, "{tried} tried");
    let mut listed = Found::new();
    for e in EXCEPTIONS {
        for what in e.whats {
            let key = (e.method, e.route, *what, e.told);
            listed.entry(key).or_default().extend(e.callers.iter().copied());
        }
    }
    let (new, gone) = (beyond(&found, &listed), beyond(&listed, &found));
    assert!(new.is_empty(), "who may not is told more than that: {new:#?}");
    assert!(gone.is_empty(), "these are no exceptions any more: {gone:#?}");
}

type Found = BTreeMap<(&'static str, &'static str, &'static str, Told), BTreeSet<Caller>>;

/// What is in one and not in the other.
fn beyond(some: &Found, others: &Found) -> Vec<String> {
    let none = BTreeSet::new();
    let more = some.iter().map(|(key, callers)| (key, callers - others.get(key).unwrap_or(&none)));
    more.filter(|(_, callers)| !callers.is_empty()).map(|found| format!("{found:?}")).collect()
}
