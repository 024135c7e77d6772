//! A request for every route, about something of the owner's; what changes in several ways has several. Each says what the policy
//! is asked for it, in which situation: the answer to each caller follows from that.
//!
//! In path and body stand for themselves: `{owner}` the owner's account, `{ownername}` its name, `{member}` the account of the member, `{task}` the
//! owner's running task, `{fresh}` a new name, `{newcomer}` a new account that waits, `{spare}` a new one, `{sparename}` the name of one, `{code}` a
//! new invitation of a person, `{session}` a new session of the owner's, `{token}` a new access token of the owner's, `{group}` a new group,
//! `{machine}` a new agent, `{asset}` the address of a style sheet;
//! `{workspace}` a private workspace of the owner's, `{project}`, `{template}` and `{hidden}` a private project, a template
//! and a queued task in it, all new; `{slug}` the name of a new private project in the owner's personal workspace.

#[path = "samples/groups.rs"]
mod groups;
#[path = "samples/machines.rs"]
mod machines;
#[path = "samples/pages.rs"]
mod pages;
#[path = "samples/people.rs"]
mod people;
#[path = "samples/places.rs"]
mod places;
#[path = "samples/polyaxon.rs"]
mod polyaxon;
#[path = "samples/workload.rs"]
mod workload;

use web::Row;

/// Those of each noun's world.
pub(crate) const NOUNS: &[&[Sample]] = &[
    groups::SAMPLES,
    machines::SAMPLES,
    pages::SAMPLES,
    people::SAMPLES,
    places::SAMPLES,
    polyaxon::SAMPLES,
    workload::SAMPLES,
];

/// All of them.
pub(crate) fn all() -> impl Iterator<Item = &'static Sample> {
    NOUNS.iter().copied().flatten()
}

/// A request.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) method: &'static str,
    pub(crate) route: &'static str,
    /// What is tried, for the reader of the table.
    pub(crate) what: &'static str,
    pub(crate) path: &'static str,
    pub(crate) body: &'static str,
    pub(crate) headers: &'static [(&'static str, &'static str)],
    /// The acts that the policy is asked for, and in which situations; the first refusal counts. Without any, everybody may
    /// who gets past the guard.
    pub(crate) asks: &'static [(&'static str, &'static str)],
    /// What who may is answered, where what they may can't be done.
    pub(crate) then: Option<u16>,
    /// Changes who tries it, or the owner: others can't go on with them.
    pub(crate) spoils: bool,
    /// It is about what is the administrator's own and nobody else's.
    pub(crate) administrators: bool,
}

impl Sample {
    /// A request to the path of its route.
    const fn new(method: &'static str, route: &'static str, what: &'static str) -> Self {
        Self {
            method,
            route,
            what,
            path: route,
            body: "",
            headers: &[],
            asks: &[],
            then: None,
            spoils: false,
            administrators: false,
        }
    }

    const fn at(self, path: &'static str) -> Self {
        Self { path, ..self }
    }

    const fn body(self, body: &'static str) -> Self {
        Self { body, ..self }
    }

    const fn headers(self, headers: &'static [(&'static str, &'static str)]) -> Self {
        Self { headers, ..self }
    }

    /// A form of a page of ours, as a browser sends it.
    const fn form(self, body: &'static str) -> Self {
        self.body(body).headers(FORM)
    }

    const fn asks(self, asks: &'static [(&'static str, &'static str)]) -> Self {
        Self { asks, ..self }
    }

    const fn then(self, status: u16) -> Self {
        Self { then: Some(status), ..self }
    }

    const fn spoils(self) -> Self {
        Self { spoils: true, ..self }
    }

    const fn administrators_own(self) -> Self {
        Self { administrators: true, ..self }
    }

    /// Whether it is a request of that route.
    pub(crate) fn is_for(&self, row: &Row) -> bool {
        row.method == self.method && row.path == self.route
    }
}

/// Editor, which the member is.
const ROLE_OF_MEMBER: &str = r#"{"userRoleAssignments": [{"userId": {member},
    "roleAssignment": {"role": {"roleId": 2}, "scopeWorkspaceId": {workspace}}}]}"#;

/// What a WebSocket's first request carries.
const UPGRADE: &[(&str, &str)] = &[
    ("connection", "upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// What a browser says of our own form.
const FORM: &[(&str, &str)] =
    &[("content-type", "application/x-www-form-urlencoded"), ("sec-fetch-site", "same-origin")];

const REGISTER: &str =
    "username={fresh}&email={fresh}@lab.example&password=a+quiet+lake&again=a+quiet+lake&invitation={code}";
