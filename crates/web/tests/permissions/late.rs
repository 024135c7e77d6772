//! Who may not do a thing is told just that, whatever they sent: not what is wrong with it (W5). The table of permissions
//! says who may not; what they are told is the same for a body that is right, broken, or of other types.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use testkit::{Database, Method, on_sqlite};
use web::Row;

use super::{CALLERS, SAMPLES, Sample, World, golden, request_to};

on_sqlite!(w05_who_may_not_is_told_just_that_whatever_they_sent);

/// Where the answer follows from what was sent, and why it does.
struct Exception {
    method: &'static str,
    route: &'static str,
    /// What is tried, as in the table.
    whats: &'static [&'static str],
    callers: &'static [&'static str],
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
    callers: &'static [&'static str],
    why: &'static str,
) -> Exception {
    Exception { method, route, whats, callers, told: Told::TheForm, why }
}

const BY_TOKEN: &[&str] = &["administrator's access token"];
const OUTSIDE: &[&str] = &["stranger", "project member", "default user"];
const OTHERS: &[&str] = &["stranger", "project member", "workspace member", "default user"];
const ORDINARY: &[&str] = &["stranger", "project member", "workspace member", "owner", "default user"];

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
    form(USER, &["Unix identity", "role", "sign-on only", "active or not"], &["owner"], PART),
    Exception {
        method: "PATCH",
        route: USER.1,
        whats: &["Unix identity", "role", "active or not", "display name", "password"],
        callers: OTHERS,
        told: Told::AnotherRefusal,
        why: "Determined's texts name what they wanted to change",
    },
    form(NEW_WORKSPACE, &["with a Unix identity"], ORDINARY, "everybody may make one without"),
    form(WORKSPACE, &["Unix identity"], &["owner"], PART),
    form(PROJECT, &["visibility"], &["project member", "workspace member"], PART),
    form(SLUG, &["visibility"], &["project member"], PART),
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
    form(WORKSPACE, &["Unix identity", "visibility"], BY_TOKEN, LASTS),
    form(PROJECT, &["visibility"], BY_TOKEN, LASTS),
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

/// The table's word for each caller.
fn verdicts(table: &str, row: &Row, sample: &Sample) -> Vec<String> {
    let begin = format!("| {} | `{}` | {} | ", row.method, row.path, sample.what);
    let line = table.lines().find_map(|line| line.strip_prefix(&begin));
    let line = line.unwrap_or_else(|| panic!("docs/permissions.md has no line {begin}: run the test r30"));
    line.trim_end_matches(" |").split(" | ").skip(1).map(str::to_owned).collect()
}

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

async fn w05_who_may_not_is_told_just_that_whatever_they_sent(_: Database) {
    let table = std::fs::read_to_string(golden()).expect("the table");
    let mut world = World::make().await;
    let (mut found, mut tried) = (BTreeMap::<_, BTreeSet<_>>::new(), 0);
    for row in world.master.rows() {
        for sample in SAMPLES.iter().filter(|sample| sample.is_for(&row)) {
            let verdicts = verdicts(&table, &row, sample);
            let refused = |(caller, _): &(usize, &&str)| {
                matches!(verdicts[*caller].as_str(), "log in" | "no" | "not there")
            };
            let refused = CALLERS.iter().enumerate().filter(refused);
            if refused.clone().next().is_none() {
                continue;
            }
            let anon = world.master.anon();
            // Nobody of these changes anything, so that all can try it on the same things.
            let (path, body) = (world.fill(sample.path).await, world.fill(sample.body).await);
            let broken = ["{".to_owned(), ill_typed(&body)].map(|body| (path.clone(), body));
            let broken = broken.into_iter().filter(|_| row.method != Method::GET);
            let others: Vec<_> = broken.chain([(too_many(&path), body.clone())]).collect();
            for (caller, name) in refused {
                let request = request_to(&anon, &row, sample, &path, &body);
                let right = world.shown(caller, &row, request).await;
                let place = format!("{} {}, {}, as {name}", row.method, row.path, sample.what);
                if right.status == 200 && row.path == "/api/v1/users" {
                    // Several at once: it is said of each.
                    continue;
                }
                assert!(matches!(right.status, 303 | 401 | 403 | 404), "{place}: {}", right.status);
                for (path, body) in &others {
                    let request = request_to(&anon, &row, sample, path, body);
                    let answer = world.shown(caller, &row, request).await;
                    tried += 1;
                    let told = if answer.status != right.status {
                        assert_eq!(answer.status, 400, "{place}, {body}: {}", answer.text());
                        Told::TheForm
                    } else if answer.text() != right.text() {
                        Told::AnotherRefusal
                    } else {
                        continue;
                    };
                    let key = (row.method.to_string(), row.path, sample.what, told);
                    found.entry(key).or_default().insert(*name);
                }
            }
        }
    }
    world.agent.disconnect();
    assert!(tried > 2000, "{tried} tried");
    let mut listed = BTreeMap::<_, BTreeSet<_>>::new();
    for e in EXCEPTIONS {
        for what in e.whats {
            let key = (e.method.to_owned(), e.route, *what, e.told);
            listed.entry(key).or_default().extend(e.callers.iter().copied());
        }
    }
    let (new, gone) = (beyond(&found, &listed), beyond(&listed, &found));
    assert!(new.is_empty(), "who may not is told more than that: {new:#?}");
    assert!(gone.is_empty(), "these are no exceptions any more: {gone:#?}");
}

type Found<'a> = BTreeMap<(String, &'a str, &'a str, Told), BTreeSet<&'a str>>;

/// What is in one and not in the other.
fn beyond(some: &Found<'_>, others: &Found<'_>) -> Vec<String> {
    let none = BTreeSet::new();
    let more = some.iter().map(|(key, callers)| (key, callers - others.get(key).unwrap_or(&none)));
    more.filter(|(_, callers)| !callers.is_empty()).map(|found| format!("{found:?}")).collect()
}
