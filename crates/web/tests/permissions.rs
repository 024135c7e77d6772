//! The permission matrix (R30): every route, tried by every kind of caller, and what the server really answered, in
//! `docs/permissions.md`. A new route fails here until it has a sample below and its line in the table was reviewed:
//! `UPDATE_GOLDEN=1 cargo xtask test -- -p web -E 'test(r30)'` writes the table anew.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use futures_util::{StreamExt as _, stream};
use master::config::BlankPasswords;
use serde_json::json;
use testkit::agent::Key;
use testkit::http::Request;
use testkit::{Anon, Database, FakeAgent, Requests as _, Response, Task, TestMaster, User, on_sqlite};
use web::{Access, Row};

#[path = "permissions/costs.rs"]
mod costs;
#[path = "permissions/cut.rs"]
mod cut;
#[path = "permissions/late.rs"]
mod late;
#[path = "permissions/samples.rs"]
mod samples;

use samples::{SAMPLES, Sample};

on_sqlite!(
    r30_the_table_of_permissions_is_what_the_server_does,
    r30_every_route_has_a_sample_and_every_sample_a_route,
    a_token_for_reading_reads_and_changes_nothing_on_any_route,
);

/// Kinds of callers, from the weakest on: what an earlier one may not do can't spoil what a later one may.
const CALLERS: [&str; 14] = [
    "anonymous",
    "expired session",
    "ended session",
    "deactivated account",
    "pending account",
    "another task",
    "the task itself",
    "stranger",
    "project member",
    "workspace member",
    "owner",
    "administrator's access token",
    "administrator",
    "default user",
];

/// Callers that may do no more than anonymous (R16, P17).
const NOBODIES: usize = 5;

/// Lines that are tried at the same time.
const LINES: usize = 4;

/// One of each, and things of the owner's to try them on.
struct World {
    master: TestMaster,
    agent: FakeAgent,
    owner: User,
    stranger: User,
    /// Editor of `{project}` alone, and of all of `{workspace}`.
    members: [User; 2],
    admin: User,
    /// The administrator again, by a full access token.
    by_token: User,
    default_user: User,
    nobodies: [User; 4],
    own_task: Task,
    other_task: Task,
    fresh: u32,
}

impl World {
    async fn make() -> Self {
        // Everybody logs in from here: whether that is so needn't be asked of the kernel each time.
        let allow = |config: &mut master::Config| config.security.blank_passwords = BlankPasswords::Allow;
        let master = TestMaster::configured(Database::Sqlite, allow).await;
        // Else anonymous would be let in to the pages as the default user.
        let default_user = master.default_user().await;
        let password = json!({"password": "a quiet lake"});
        default_user.patch(&default_user.path()).json(password).await.ok();
        let default_user = master.log_in_with("determined", "a quiet lake").await;
        let admin = master.user("boss").await;
        master.admin().await.patch(&admin.path()).json(json!({"admin": true})).await.ok();
        let (by_token, _) = admin.by_token(json!({})).await;
        let (owner, stranger) = (master.user("owner").await, master.user("stranger").await);
        let members = [master.user("guest").await, master.user("member").await];
        let (ended, gone) = (master.log_in("stranger").await, master.user("gone").await);
        ended.post("/api/v1/auth/logout").await.ok();
        admin.patch(&gone.path()).json(json!({"active": false})).await.ok();
        let nobodies = [master.expired(&stranger).await, ended, gone, master.pending("newcomer").await];
        let mut agent = master.agent("node").await;
        let own_task = master.task(&owner, &mut agent).await;
        let other_task = master.task(&stranger, &mut agent).await;
        let fresh = 0;
        Self {
            master,
            agent,
            owner,
            stranger,
            members,
            admin,
            by_token,
            default_user,
            nobodies,
            own_task,
            other_task,
            fresh,
        }
    }

    /// A sample's text with the world's own names and numbers.
    async fn fill(&mut self, text: &str) -> String {
        self.fresh += 1;
        let mut text = text
            .replace("{owner}", &self.owner.id.to_string())
            .replace("{member}", &self.members[1].id.to_string())
            .replace("{task}", &self.own_task.id())
            .replace("{fresh}", &format!("fresh{}", self.fresh));
        text = self.fill_places(text, &format!("place{}", self.fresh)).await;
        if text.contains("{slug}") {
            let name = format!("slug{}", self.fresh);
            let new = json!({"name": name, "is_public": false});
            let made = self.owner.post("/api/v1/projects/").json(new).await.expect(201).json();
            let editor = json!({"userId": self.members[0].id, "role": "editor"});
            let members = format!("/api/v1/projects/{}/members", made["id"]);
            self.owner.put(&members).json(editor).await.ok();
            text = text.replace("{slug}", &name);
        }
        if text.contains("{machine}") {
            let name = format!("machine{}", self.fresh);
            let invitation = self.master.invitation(Some(&name)).await;
            // Enrolled, but never connected: it must get no tasks.
            let enrolled = Key::generate().enrol(self.master.address(), &invitation, &name).await;
            enrolled.expect("enrolled");
            text = text.replace("{machine}", &name);
        }
        if text.contains("{code}") {
            text = text.replace("{code}", &self.master.code().await);
        }
        if text.contains("{newcomer}") {
            let name = format!("newcomer{}", self.fresh);
            self.master.pending(&name).await;
            text = text.replace("{newcomer}", &name);
        }
        if text.contains("{spare}") {
            let spare = self.master.user(&format!("spare{}", self.fresh)).await;
            text = text.replace("{spare}", &spare.id.to_string());
        }
        if text.contains("{sparename}") {
            let spare = self.master.user(&format!("spare{}", self.fresh)).await;
            text = text.replace("{sparename}", &spare.name);
        }
        if text.contains("{session}") {
            self.master.log_in("owner").await;
            let list = self.owner.get(&format!("{}/sessions", self.owner.path())).await.ok();
            text = text.replace("{session}", &list["sessions"][0]["id"].to_string());
        }
        if text.contains("{token}") {
            let new = json!({"userId": self.owner.id});
            let made = self.admin.post("/api/v1/tokens").json(new).await.ok();
            text = text.replace("{token}", &made["tokenId"].to_string());
        }
        if text.contains("{group}") {
            let name = json!({"name": format!("group{}", self.fresh)});
            let made = self.admin.post("/api/v1/groups").json(name).await.ok();
            text = text.replace("{group}", &made["group"]["groupId"].to_string());
        }
        if text.contains("{asset}") {
            let page = self.master.anon().get("/login").await.expect(200).text();
            let (_, after) = page.split_once("/assets/").expect("a page loads its style sheet");
            let name = after.split('"').next().unwrap_or_default();
            text = text.replace("{asset}", &format!("/assets/{name}"));
        }
        text
    }

    /// A private workspace of the owner's with a private project in it, each with its member.
    async fn place(&self, name: &str) -> (i64, i64) {
        let editor = |user: &User| json!({"userId": user.id, "role": "editor"});
        let private = json!({"name": name, "private": true});
        let workspace = self.owner.post("/api/v1/workspaces").json(private.clone()).await.ok();
        let workspace = workspace["workspace"]["id"].as_i64().expect("an id");
        let path = format!("/api/v1/workspaces/{workspace}");
        let project = self.owner.post(&format!("{path}/projects")).json(private).await.ok();
        let project = project["project"]["id"].as_i64().expect("an id");
        self.owner.put(&format!("{path}/members")).json(editor(&self.members[1])).await.ok();
        let members = format!("/api/v1/projects/{project}/members");
        self.owner.put(&members).json(editor(&self.members[0])).await.ok();
        (workspace, project)
    }

    /// What is about a private place: all of it fresh, so that no caller's deed spoils another's.
    async fn fill_places(&self, text: String, name: &str) -> String {
        if !["{workspace}", "{project}", "{template}", "{hidden}"].iter().any(|part| text.contains(part)) {
            return text;
        }
        let (workspace, project) = self.place(name).await;
        let text = text.replace("{workspace}", &workspace.to_string());
        let mut text = text.replace("{project}", &project.to_string()).replace("{template}", name);
        let template = json!({"config": {}, "workspaceId": workspace});
        self.owner.post(&format!("/api/v1/templates/{name}")).json(template).await.ok();
        if text.contains("{hidden}") {
            let body = json!({"config": {"entrypoint": ["true"]}, "workspaceId": workspace});
            let task = self.owner.post("/api/v1/commands").json(body).await.ok();
            text = text.replace("{hidden}", task["command"]["id"].as_str().expect("an id"));
        }
        text
    }

    /// A sample's request, from nobody yet; on pages from one of our own.
    async fn request(&mut self, row: &Row, sample: &Sample) -> Request {
        let (path, body) = (self.fill(sample.path).await, self.fill(sample.body).await);
        request_to(&self.master.anon(), row, sample, &path, &body)
    }

    /// The request of a caller.
    async fn ask(&mut self, caller: usize, row: &Row, sample: &Sample) -> Response {
        let request = self.request(row, sample).await;
        self.shown(caller, row, request).await
    }

    /// A request with the credential of a caller.
    fn shown(&self, caller: usize, row: &Row, request: Request) -> Request {
        let user = match caller {
            0 => return request,
            1..=4 => &self.nobodies[caller - 1],
            5 | 6 => {
                let task = if caller == 5 { &self.other_task } else { &self.own_task };
                let bearer = format!("Bearer {}", task.start.token);
                return request.header("grpc-metadata-x-allocation-token", &bearer);
            }
            7 => &self.stranger,
            8 | 9 => &self.members[caller - 8],
            10 => &self.owner,
            11 => &self.by_token,
            12 => &self.admin,
            _ => &self.default_user,
        };
        shown_by(request, row, &user.token)
    }
}

/// The request of a sample with path and body as they are.
fn request_to(anon: &Anon, row: &Row, sample: &Sample, path: &str, body: &str) -> Request {
    let mut request = anon.request(row.method.clone(), path).body(body);
    for (name, value) in sample.headers {
        request = request.header(name, value);
    }
    if row.access == Access::Page {
        request = request.header("sec-fetch-site", "same-origin");
    }
    request
}

/// Adds a credential, as the clients of that route do.
fn shown_by(request: Request, row: &Row, token: &str) -> Request {
    match row.access {
        Access::Page => request.header("cookie", &format!("auth={token}")),
        Access::Polyaxon => request.header("authorization", &format!("Token {token}")),
        _ => request.header("authorization", &format!("Bearer {token}")),
    }
}

/// What an answer means, in words.
fn verdict(row: &Row, answer: &Response) -> String {
    // Who signs out lands on the login page too, but not without an order to the browser.
    let to_login = answer.header("location").starts_with("/login") && answer.header("set-cookie").is_empty();
    let to_login = to_login && row.access == Access::Page;
    match answer.status {
        // Several things at once: what was refused is said of each.
        200 if answer.body.starts_with(b"{\"results\":") => {
            let done = answer.json()["results"][0]["error"] == "";
            if done { "yes" } else { "no" }.to_owned()
        }
        101 | 200 | 201 | 204 => "yes".to_owned(),
        303 if to_login => "log in".to_owned(),
        303 => "yes".to_owned(),
        401 => "log in".to_owned(),
        403 => "no".to_owned(),
        404 => "not there".to_owned(),
        other => format!("{other}"),
    }
}

fn access(row: &Row) -> &'static str {
    match row.access {
        Access::Public => "anybody",
        Access::User => "users",
        Access::UserOrTask => "users, tasks",
        Access::Agent => "agents",
        Access::Page => "web page",
        Access::Polyaxon => "users, by Polyaxon's client",
    }
}

/// The reviewed table.
fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/permissions.md")
}

async fn line(row: &Row, sample: &Sample) -> String {
    let mut world = World::make().await;
    let mut verdicts = Vec::new();
    for (caller, name) in CALLERS.iter().enumerate() {
        let answer = world.ask(caller, row, sample).await;
        assert!(answer.status < 500, "{} {} as {name}: {}", row.method, row.path, answer.text());
        verdicts.push(verdict(row, &answer));
    }
    world.agent.disconnect();
    let place = format!("{} {}, {}", row.method, row.path, sample.what);
    for (caller, verdict) in CALLERS.iter().zip(&verdicts).skip(1).take(NOBODIES - 1) {
        assert!(verdict != "yes" || verdicts[0] == "yes", "{place}: {caller} may do more than anonymous");
    }
    let open = matches!(row.access, Access::Public | Access::Agent);
    assert_eq!(verdicts[0] == "yes", open, "{place}: anonymous");
    for stronger in [10, 12] {
        assert!(verdicts[7] != "yes" || verdicts[stronger] == "yes", "{place}: a stranger may do more");
    }
    let by_token = &verdicts[11];
    assert!(
        by_token == "no" || *by_token == verdicts[12],
        "{place}: an access token may do more or is told more"
    );
    format!(
        "| {} | `{}` | {} | {} | {} |\n",
        row.method,
        row.path,
        sample.what,
        access(row),
        verdicts.join(" | ")
    )
}

const HEAD: &str = "# Who may do what

Made by `crates/web/tests/permissions.rs` from what a real master answers; each line is one request, tried by each kind of caller.
*Owner* is the account, or the owner of the task, workspace or project, that the request is about; *stranger* is any other user.
*Project member* is an editor of the private project alone that the request is about, *workspace member* one of the private workspace
that it is in.
*Administrator's access token* is one for everything (one for reading alone changes nothing): where it says **no** and *administrator*
says **yes**, what is done would outlive the token, and no access token does that.
**yes**: it is done. **log in**: the caller isn't known. **no**: known, and refused. **not there**: for this caller it doesn't exist.
Agents show no credential in a request; they prove their key on the connection itself.

";

async fn r30_the_table_of_permissions_is_what_the_server_does(_: Database) {
    let rows = TestMaster::start(Database::Sqlite).await.rows();
    let mut table = HEAD.to_owned();
    let columns = CALLERS.join(" | ");
    let _ = writeln!(table, "| method | path | tried with | for | {columns} |");
    let _ = writeln!(table, "|{}", "---|".repeat(4 + CALLERS.len()));
    let tried = rows.iter().flat_map(|row| {
        let samples = SAMPLES.iter().filter(|sample| sample.is_for(row));
        samples.map(move |sample| (row, sample))
    });
    // Each line has a master of its own; while one waits, another works.
    let lines = stream::iter(tried).map(|(row, sample)| line(row, sample)).buffered(LINES);
    table.push_str(&lines.collect::<String>().await);
    let file = golden();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("made");
        std::fs::write(&file, &table).expect("written");
    }
    let golden = std::fs::read_to_string(&file).unwrap_or_default();
    let (was, is): (BTreeSet<_>, BTreeSet<_>) = (golden.lines().collect(), table.lines().collect());
    let (gone, new): (Vec<_>, Vec<_>) = (was.difference(&is).collect(), is.difference(&was).collect());
    assert!(
        golden == table,
        "permissions changed: review, then UPDATE_GOLDEN=1\nwas: {gone:#?}\nis: {new:#?}"
    );
}

async fn r30_every_route_has_a_sample_and_every_sample_a_route(database: Database) {
    let rows = TestMaster::start(database).await.rows();
    for row in &rows {
        let sampled = SAMPLES.iter().any(|sample| sample.is_for(row));
        assert!(sampled, "{} {} needs a sample in tests/permissions/samples.rs", row.method, row.path);
    }
    for sample in SAMPLES {
        let routed = rows.iter().any(|row| sample.is_for(row));
        assert!(routed, "{} {} is no route any more", sample.method, sample.route);
    }
}

/// An administrator's: it would be allowed everything else.
async fn a_token_for_reading_reads_and_changes_nothing_on_any_route(_: Database) {
    let mut world = World::make().await;
    let (reader, _) = world.admin.by_token(json!({"scope": "read"})).await;
    let (mut read, mut refused) = (0, 0);
    for row in world.master.rows() {
        if matches!(row.access, Access::Public | Access::Agent) {
            continue;
        }
        for sample in SAMPLES.iter().filter(|sample| sample.is_for(&row)) {
            let request = shown_by(world.request(&row, sample).await, &row, &reader.token);
            let answer = request.await;
            let place = format!("{} {}, {}: {}", row.method, row.path, sample.what, answer.status);
            if row.reads {
                assert!(matches!(answer.status, 200 | 303), "{place}");
                read += 1;
            } else {
                assert_eq!(answer.status, 403, "{place}");
                assert!(
                    answer.text().to_lowercase().contains("this access token is for reading only"),
                    "{place}"
                );
                refused += 1;
            }
        }
    }
    assert!(read > 30 && refused > 30, "{read} read, {refused} refused");
}
