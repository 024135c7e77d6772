//! What requests are tried on: a master with somebody of each kind of caller, and things of the owner's.

use master::config::BlankPasswords;
use serde_json::json;
use testkit::agent::Key;
use testkit::http::Request;
use testkit::{Anon, Database, FakeAgent, Requests as _, Response, Task, TestMaster, User};
use web::{Access, Row};

use super::callers::Caller;
use super::samples::Sample;

/// Accounts, and how they stand to the owner's things.
pub(crate) struct Cast {
    pub(crate) owner: User,
    stranger: User,
    /// Editor of `{project}` alone, and of all of `{workspace}`.
    members: [User; 2],
    pub(crate) admin: User,
    /// The administrator again, by a full access token.
    by_token: User,
}

impl Cast {
    async fn make(master: &TestMaster, suffix: &str) -> Self {
        let user = async |name: &str| master.user(&format!("{name}{suffix}")).await;
        let admin = user("boss").await;
        master.admin().await.patch(&admin.path()).json(json!({"admin": true})).await.ok();
        let (by_token, _) = admin.by_token(json!({})).await;
        let (owner, stranger) = (user("owner").await, user("stranger").await);
        let members = [user("guest").await, user("member").await];
        Self { owner, stranger, members, admin, by_token }
    }
}

/// One of each, and things of the owner's to try them on.
pub(crate) struct World {
    pub(crate) master: TestMaster,
    pub(crate) agent: FakeAgent,
    pub(crate) cast: Cast,
    nobodies: [User; 4],
    own_task: Task,
    other_task: Task,
    fresh: u32,
}

impl World {
    pub(crate) async fn make() -> Self {
        // Everybody logs in from here: whether that is so needn't be asked of the kernel each time.
        let allow = |config: &mut master::Config| config.security.blank_passwords = BlankPasswords::Allow;
        let master = TestMaster::configured(Database::Sqlite, allow).await;
        // Else anonymous would be let in to the pages as the default user.
        let default_user = master.default_user().await;
        let password = json!({"password": "a quiet lake"});
        default_user.patch(&default_user.path()).json(password).await.ok();
        let cast = Cast::make(&master, "").await;
        let (ended, gone) = (master.log_in("stranger").await, master.user("gone").await);
        ended.post("/api/v1/auth/logout").await.ok();
        cast.admin.patch(&gone.path()).json(json!({"active": false})).await.ok();
        let expired = master.expired(&cast.stranger).await;
        let nobodies = [expired, ended, gone, master.pending("newcomer").await];
        let mut agent = master.agent("node").await;
        let own_task = master.task(&cast.owner, &mut agent).await;
        let other_task = master.task(&cast.stranger, &mut agent).await;
        Self { master, agent, cast, nobodies, own_task, other_task, fresh: 0 }
    }

    /// A name that nothing has here.
    pub(crate) fn a_new_name(&mut self) -> String {
        self.fresh += 1;
        format!("new{}", self.fresh)
    }

    /// Other accounts in place of those that there are, which go on afterwards as if nothing had happened to them.
    pub(crate) async fn other_cast(&mut self) -> Cast {
        self.fresh += 1;
        let other = Cast::make(&self.master, &self.fresh.to_string()).await;
        std::mem::replace(&mut self.cast, other)
    }

    /// A sample's text with the world's own names and numbers.
    pub(crate) async fn fill(&mut self, text: &str) -> String {
        self.fresh += 1;
        let mut text = text
            .replace("{ownername}", &self.cast.owner.name)
            .replace("{owner}", &self.cast.owner.id.to_string())
            .replace("{member}", &self.cast.members[1].id.to_string())
            .replace("{task}", &self.own_task.id())
            .replace("{fresh}", &format!("fresh{}", self.fresh));
        text = self.fill_places(text, &format!("place{}", self.fresh)).await;
        if text.contains("{slug}") {
            let name = format!("slug{}", self.fresh);
            let new = json!({"name": name, "is_public": false});
            let made = self.cast.owner.post("/api/v1/projects/").json(new).await.expect(201).json();
            let editor = json!({"userId": self.cast.members[0].id, "role": "editor"});
            let members = format!("/api/v1/projects/{}/members", made["id"]);
            self.cast.owner.put(&members).json(editor).await.ok();
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
        if text.contains("{asset}") {
            let page = self.master.anon().get("/login").await.expect(200).text();
            let (_, after) = page.split_once("/assets/").expect("a page loads its style sheet");
            let name = after.split('"').next().unwrap_or_default();
            text = text.replace("{asset}", &format!("/assets/{name}"));
        }
        self.fill_people(text).await
    }

    /// What is about accounts and what belongs to them.
    async fn fill_people(&self, mut text: String) -> String {
        if text.contains("{code}") {
            text = text.replace("{code}", &self.master.code().await);
        }
        if text.contains("{newcomer}") {
            let name = format!("newcomer{}", self.fresh);
            self.master.pending(&name).await;
            text = text.replace("{newcomer}", &name);
        }
        if text.contains("{spare}") || text.contains("{sparename}") {
            let spare = self.master.user(&format!("spare{}", self.fresh)).await;
            text = text.replace("{spare}", &spare.id.to_string()).replace("{sparename}", &spare.name);
        }
        let owner = &self.cast.owner;
        if text.contains("{session}") {
            self.master.log_in(&owner.name).await;
            let list = owner.get(&format!("{}/sessions", owner.path())).await.ok();
            text = text.replace("{session}", &list["sessions"][0]["id"].to_string());
        }
        if text.contains("{token}") {
            let new = json!({"userId": owner.id});
            let made = self.cast.admin.post("/api/v1/tokens").json(new).await.ok();
            text = text.replace("{token}", &made["tokenId"].to_string());
        }
        if text.contains("{group}") {
            let name = json!({"name": format!("group{}", self.fresh)});
            let made = self.cast.admin.post("/api/v1/groups").json(name).await.ok();
            text = text.replace("{group}", &made["group"]["groupId"].to_string());
        }
        text
    }

    /// A private workspace of the owner's with a private project in it, each with its member.
    async fn place(&self, name: &str) -> (i64, i64) {
        let Cast { owner, members: [guest, member], .. } = &self.cast;
        let editor = |user: &User| json!({"userId": user.id, "role": "editor"});
        let private = json!({"name": name, "private": true});
        let workspace = owner.post("/api/v1/workspaces").json(private.clone()).await.ok();
        let workspace = workspace["workspace"]["id"].as_i64().expect("an id");
        let path = format!("/api/v1/workspaces/{workspace}");
        let project = owner.post(&format!("{path}/projects")).json(private).await.ok();
        let project = project["project"]["id"].as_i64().expect("an id");
        owner.put(&format!("{path}/members")).json(editor(member)).await.ok();
        let members = format!("/api/v1/projects/{project}/members");
        owner.put(&members).json(editor(guest)).await.ok();
        (workspace, project)
    }

    /// What is about a private place: all of it fresh, so that no caller's deed spoils another's.
    async fn fill_places(&self, text: String, name: &str) -> String {
        if !["{workspace}", "{project}", "{template}", "{hidden}"].iter().any(|part| text.contains(part)) {
            return text;
        }
        let owner = &self.cast.owner;
        let (workspace, project) = self.place(name).await;
        let mut text = text.replace("{workspace}", &workspace.to_string());
        text = text.replace("{project}", &project.to_string());
        if text.contains("{template}") {
            let template = json!({"config": {}, "workspaceId": workspace});
            owner.post(&format!("/api/v1/templates/{name}")).json(template).await.ok();
            text = text.replace("{template}", name);
        }
        if text.contains("{hidden}") {
            let body = json!({"config": {"entrypoint": ["true"]}, "workspaceId": workspace});
            let task = owner.post("/api/v1/commands").json(body).await.ok();
            text = text.replace("{hidden}", task["command"]["id"].as_str().expect("an id"));
        }
        text
    }

    /// A sample's path and body.
    pub(crate) async fn filled(&mut self, sample: &Sample) -> (String, String) {
        (self.fill(sample.path).await, self.fill(sample.body).await)
    }

    /// A sample's request, from nobody yet; on pages from one of our own.
    pub(crate) async fn request(&mut self, row: &Row, sample: &Sample) -> Request {
        let (path, body) = self.filled(sample).await;
        request_to(&self.master.anon(), row, sample, &path, &body)
    }

    /// What a caller is answered to a request.
    pub(crate) async fn ask(
        &self,
        caller: Caller,
        row: &Row,
        sample: &Sample,
        (path, body): &(String, String),
    ) -> Response {
        let request = request_to(&self.master.anon(), row, sample, path, body);
        self.shown(caller, row, request).await
    }

    /// A request with the credential of a caller.
    pub(crate) fn shown(&self, caller: Caller, row: &Row, request: Request) -> Request {
        let [expired, ended, deactivated, pending] = &self.nobodies;
        let task = |task: &Task| format!("Bearer {}", task.start.token);
        let user = match caller {
            Caller::Anonymous => return request,
            Caller::AnotherTask => {
                return request.header("grpc-metadata-x-allocation-token", &task(&self.other_task));
            }
            Caller::TheTask => {
                return request.header("grpc-metadata-x-allocation-token", &task(&self.own_task));
            }
            Caller::Expired => expired,
            Caller::Ended => ended,
            Caller::Deactivated => deactivated,
            Caller::Pending => pending,
            Caller::Stranger => &self.cast.stranger,
            Caller::ProjectMember => &self.cast.members[0],
            Caller::WorkspaceMember => &self.cast.members[1],
            Caller::Owner => &self.cast.owner,
            Caller::ByToken => &self.cast.by_token,
            Caller::Administrator => &self.cast.admin,
        };
        shown_by(request, row, &user.token)
    }
}

/// The request of a sample with path and body as they are.
pub(crate) fn request_to(anon: &Anon, row: &Row, sample: &Sample, path: &str, body: &str) -> Request {
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
pub(crate) fn shown_by(request: Request, row: &Row, token: &str) -> Request {
    match row.access {
        Access::Page => request.header("cookie", &format!("auth={token}")),
        Access::Polyaxon => request.header("authorization", &format!("Token {token}")),
        _ => request.header("authorization", &format!("Bearer {token}")),
    }
}
