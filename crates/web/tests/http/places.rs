//! Workspaces and projects: who sees them, who may do what in them, and that private ones don't exist (X4, X10).
//! How they change is in `places_changes`.

use serde_json::{Value, json};
use testkit::{Database, Method, Requests as _, Response, TestMaster, User, on_both_databases};

on_both_databases!(
    x04_roles_in_a_workspace_give_what_they_say,
    x04_roles_in_a_project_give_what_they_say,
    x04_a_groups_role_is_its_members,
    x10_private_and_missing_are_the_same_on_every_route,
    x10_tasks_in_a_private_workspace_are_nowhere_for_strangers,
    x10_lists_and_counts_hold_what_is_visible,
    r25_a_role_taken_away_is_gone_at_the_next_request,
);

/// Makes a private workspace with a private project in it; gives both ids.
pub(crate) async fn private_place(owner: &User, name: &str) -> (i64, i64) {
    let new = json!({"name": name, "private": true});
    let made = owner.post("/api/v1/workspaces").json(new.clone()).await.ok();
    let workspace = made["workspace"]["id"].as_i64().expect("an id");
    let made = owner.post(&format!("/api/v1/workspaces/{workspace}/projects")).json(new).await.ok();
    (workspace, made["project"]["id"].as_i64().expect("an id"))
}

pub(crate) async fn set_role(by: &User, place: &str, member: &User, role: &str) {
    let body = json!({"userId": member.id, "role": role});
    by.put(&format!("/api/v1/{place}/members")).json(body).await.ok();
}

/// A command in a workspace; gives its id.
async fn run_in(user: &User, workspace: i64) -> Response {
    let body = json!({"config": {"entrypoint": ["true"]}, "workspaceId": workspace});
    user.post("/api/v1/commands").json(body).await
}

async fn id_of(answer: Response) -> String {
    answer.ok()["command"]["id"].as_str().expect("an id").to_owned()
}

/// Everybody who can stand to a workspace in another way.
struct People {
    stranger: User,
    viewer: User,
    editor: User,
    ruler: User,
    owner: User,
    admin: User,
}

impl People {
    async fn make(master: &TestMaster) -> Self {
        let user = async |name: &str| master.user(name).await;
        Self {
            stranger: user("stranger").await,
            viewer: user("viewer").await,
            editor: user("editor").await,
            ruler: user("ruler").await,
            owner: user("owner").await,
            admin: master.admin().await,
        }
    }

    async fn join(&self, place: &str) {
        set_role(&self.owner, place, &self.viewer, "viewer").await;
        set_role(&self.owner, place, &self.editor, "editor").await;
        set_role(&self.owner, place, &self.ruler, "administrator").await;
    }

    /// From the weakest on.
    fn all(&self) -> [&User; 6] {
        [&self.stranger, &self.viewer, &self.editor, &self.ruler, &self.owner, &self.admin]
    }
}

async fn x04_roles_in_a_workspace_give_what_they_say(database: Database) {
    let master = TestMaster::start(database).await;
    let people = People::make(&master).await;
    let (workspace, project) = private_place(&people.owner, "w").await;
    people.join(&format!("workspaces/{workspace}")).await;
    let path = format!("/api/v1/workspaces/{workspace}");
    let project = format!("/api/v1/projects/{project}");
    let mut fresh = 0;
    for (verb, path, body, expected) in [
        ("GET", path.clone(), "", [404, 200, 200, 200, 200, 200]),
        ("GET", format!("{path}/members"), "", [404, 200, 200, 200, 200, 200]),
        ("GET", project.clone(), "", [404, 200, 200, 200, 200, 200]),
        ("POST", "/api/v1/commands".to_owned(), "COMMAND", [404, 403, 200, 200, 200, 200]),
        ("POST", format!("{path}/projects"), r#"{"name": "FRESH"}"#, [404, 403, 200, 200, 200, 200]),
        ("PATCH", project.clone(), r#"{"description": "FRESH"}"#, [404, 403, 200, 200, 200, 200]),
        ("PATCH", project.clone(), r#"{"private": true}"#, [404, 403, 403, 200, 200, 200]),
        ("PATCH", path.clone(), r#"{"name": "FRESH"}"#, [404, 403, 403, 200, 200, 200]),
        (
            "PUT",
            format!("{path}/members"),
            r#"{"userId": 2, "role": "viewer"}"#,
            [404, 403, 403, 200, 200, 200],
        ),
        ("PATCH", path.clone(), r#"{"agentUserGroup": {"agentGid": 7007}}"#, [404, 403, 403, 403, 403, 200]),
        ("POST", format!("{path}/archive"), "", [404, 403, 403, 200, 200, 200]),
        ("POST", format!("{path}/unarchive"), "", [404, 403, 403, 200, 200, 200]),
    ] {
        for (person, expected) in people.all().into_iter().zip(expected) {
            fresh += 1;
            let body = body.replace("FRESH", &format!("fresh{fresh}"));
            let command = format!(r#"{{"config": {{"entrypoint": ["true"]}}, "workspaceId": {workspace}}}"#);
            let body = body.replace("COMMAND", &command);
            let method = Method::from_bytes(verb.as_bytes()).expect("a method");
            let answer = person.request(method, &path).body(body).await;
            assert_eq!(answer.status, expected, "{verb} {path} as {}: {}", person.name, answer.text());
        }
    }
}

async fn x04_roles_in_a_project_give_what_they_say(database: Database) {
    let master = TestMaster::start(database).await;
    let people = People::make(&master).await;
    let (workspace, project) = private_place(&people.owner, "w").await;
    people.join(&format!("projects/{project}")).await;
    let path = format!("/api/v1/projects/{project}");
    let around = format!("/api/v1/workspaces/{workspace}");
    for (verb, path, body, expected) in [
        ("GET", path.clone(), "", [404, 200, 200, 200, 200, 200]),
        ("GET", format!("{path}/members"), "", [404, 200, 200, 200, 200, 200]),
        ("PATCH", path.clone(), r#"{"description": "x"}"#, [404, 403, 200, 200, 200, 200]),
        ("POST", format!("{path}/notes"), r#"{"name": "x"}"#, [404, 403, 200, 200, 200, 200]),
        ("PUT", format!("{path}/notes"), r#"{"notes": []}"#, [404, 403, 200, 200, 200, 200]),
        ("PATCH", path.clone(), r#"{"private": true}"#, [404, 403, 403, 200, 200, 200]),
        (
            "PUT",
            format!("{path}/members"),
            r#"{"userId": 2, "role": "viewer"}"#,
            [404, 403, 403, 200, 200, 200],
        ),
        ("DELETE", format!("{path}/members?userId=2"), "", [404, 403, 403, 200, 200, 200]),
        ("POST", format!("{path}/archive"), "", [404, 403, 403, 200, 200, 200]),
        // Guests of a project see that its workspace is there, and nothing else in it.
        ("GET", around.clone(), "", [404, 200, 200, 200, 200, 200]),
        ("GET", format!("{around}/members"), "", [404, 403, 403, 403, 200, 200]),
        ("POST", format!("{around}/projects"), r#"{"name": "new"}"#, [404, 403, 403, 403, 200, 409]),
        ("PATCH", around.clone(), r#"{"private": true}"#, [404, 403, 403, 403, 200, 200]),
    ] {
        for (person, expected) in people.all().into_iter().zip(expected) {
            let method = Method::from_bytes(verb.as_bytes()).expect("a method");
            let answer = person.request(method, &path).body(body).await;
            assert_eq!(answer.status, expected, "{verb} {path} as {}: {}", person.name, answer.text());
        }
    }
}

async fn x04_a_groups_role_is_its_members(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, owner, bob) = (master.admin().await, master.user("owner").await, master.user("bob").await);
    let (workspace, _) = private_place(&owner, "w").await;
    let path = format!("/api/v1/workspaces/{workspace}");
    let new = json!({"name": "team", "addUsers": [bob.id]});
    let group = admin.post("/api/v1/groups").json(new).await.ok()["group"]["groupId"].clone();
    bob.get(&path).await.refused(404);
    let member = json!({"groupId": group, "role": "editor"});
    let members = owner.put(&format!("{path}/members")).json(member).await.ok();
    assert_eq!(members, json!({"members": [{"groupId": group, "name": "team", "role": "editor"}]}));
    bob.get(&path).await.ok();
    let task = id_of(run_in(&bob, workspace).await).await;
    bob.patch(&path).json(json!({"name": "x"})).await.refused(403);
    let by_role = owner.get(&format!("/api/v1/roles/workspace/{workspace}")).await.ok();
    assert_eq!(by_role["groups"][0]["name"], "team");
    assert_eq!(by_role["assignments"][1]["groupRoleAssignments"][0]["groupId"], group);
    // Who leaves the group leaves the workspace, but not their own task.
    let group = format!("/api/v1/groups/{group}");
    admin.put(&group).json(json!({"removeUsers": [bob.id]})).await.ok();
    bob.get(&path).await.refused(404);
    bob.get(&format!("/api/v1/commands/{task}")).await.ok();
    admin.put(&group).json(json!({"addUsers": [bob.id]})).await.ok();
    bob.get(&path).await.ok();
    admin.delete(&group).await.ok();
    bob.get(&path).await.refused(404);
    assert_eq!(owner.get(&format!("{path}/members")).await.ok(), json!({"members": []}));
}

/// What an answer gives away: everything but the id that was asked for.
fn given_away(answer: &Response, id: &str) -> (u16, Vec<(String, String)>, String) {
    let headers = answer.headers.iter();
    let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().expect("text").to_owned()));
    // The length of the text differs with the length of the id.
    let headers = headers.filter(|(name, _)| !matches!(name.as_str(), "date" | "content-length"));
    (answer.status, headers.collect(), answer.text().replace(id, "ID"))
}

async fn x10_private_and_missing_are_the_same_on_every_route(database: Database) {
    let master = TestMaster::start(database).await;
    let (owner, stranger) = (master.user("owner").await, master.user("stranger").await);
    let (workspace, project) = private_place(&owner, "w").await;
    let key = owner.get(&format!("/api/v1/projects/{project}")).await.ok()["project"]["key"].clone();
    let template = json!({"config": {}, "workspaceId": workspace});
    owner.post("/api/v1/templates/secret").json(template).await.ok();
    let task = id_of(run_in(&owner, workspace).await).await;
    let (workspace, project) = (workspace.to_string(), project.to_string());
    let missing = [
        ("{workspace}", workspace.as_str(), "7777"),
        ("{project}", project.as_str(), "7777"),
        ("{template}", "secret", "nothing"),
        ("{task}", task.as_str(), "6f1c7f3e-5b0f-4a4c-9d8e-2b1a00000000"),
        ("{key}", key.as_str().expect("a key"), "ZZZZZ"),
    ];
    // Names are one for all, so that making a template of a hidden one's name must be refused.
    let makes = |row: &web::Row| {
        row.path == "/api/v1/templates/{template}" && ["POST", "PUT"].contains(&row.method.as_str())
    };
    let mut tried = 0;
    for row in web::rows().iter().filter(|row| !makes(row)) {
        for (placeholder, real, made_up) in missing {
            if !row.path.contains(placeholder) {
                continue;
            }
            let ask = async |id: &str| {
                let path = row.path.replace(placeholder, id);
                let page = stranger.in_browser();
                let answer = match row.access {
                    web::Access::Page => {
                        page.request(row.method.clone(), &path).header("sec-fetch-site", "same-origin").await
                    }
                    _ => stranger.request(row.method.clone(), &path).await,
                };
                given_away(&answer, id)
            };
            let hidden = ask(real).await;
            assert_eq!(hidden, ask(made_up).await, "{} {}", row.method, row.path);
            assert_eq!(hidden.0, 404, "{} {}", row.method, row.path);
            tried += 1;
        }
    }
    assert!(tried > 30, "only {tried} routes");
    // Polyaxon's names.
    owner.post("/api/v1/projects/").json(json!({"name": "hidden", "is_public": false})).await.expect(201);
    for row in web::rows().iter().filter(|row| row.path.starts_with("/api/v1/{owner}/{project}/")) {
        let ask = async |name: &str| {
            let path = row.path.replace("{owner}", "owner").replace("{project}", name);
            let token = format!("Token {}", stranger.token);
            let request = stranger.request(row.method.clone(), &path).header("authorization", &token);
            given_away(&request.await, name)
        };
        let hidden = ask("hidden").await;
        assert_eq!(hidden, ask("nothing").await, "{} {}", row.method, row.path);
        assert_eq!(hidden.0, 404, "{} {}", row.method, row.path);
    }
    // Ids that come in bodies.
    for (path, body) in [
        ("/api/v1/commands", json!({"config": {"entrypoint": ["true"]}, "workspaceId": "ID"})),
        ("/api/v1/templates/new", json!({"workspaceId": "ID"})),
    ] {
        let ask = async |id: &str| {
            let body = body.to_string().replace("ID", id);
            given_away(&stranger.post(path).body(body).await, id)
        };
        assert_eq!(ask(&workspace).await, ask("7777").await, "{path}");
    }
    let with = async |name: &str| {
        let body = json!({"config": {"entrypoint": ["true"]}, "templateName": name});
        given_away(&stranger.post("/api/v1/commands").json(body).await, name)
    };
    assert_eq!(with("secret").await, with("nothing").await);
    let (_, own) = private_place(&stranger, "own").await;
    let move_to = async |id: &str| {
        let body = format!(r#"{{"destinationWorkspaceId": {id}}}"#);
        given_away(&stranger.post(&format!("/api/v1/projects/{own}/move")).body(body).await, id)
    };
    assert_eq!(move_to(&workspace).await, move_to("7777").await);
    for list in ["templates", "workspaces?nameCaseSensitive=w", "commands", "templates?name=secret"] {
        let text = stranger.get(&format!("/api/v1/{list}")).await.expect(200).text();
        assert!(!text.contains(r#""name":"w""#) && !text.contains("secret"), "{text}");
        assert!(!text.contains(&task), "{text}");
    }
}

async fn x10_tasks_in_a_private_workspace_are_nowhere_for_strangers(database: Database) {
    let master = TestMaster::start(database).await;
    let people = People::make(&master).await;
    let (workspace, project) = private_place(&people.owner, "w").await;
    people.join(&format!("workspaces/{workspace}")).await;
    let guest = master.user("guest").await;
    set_role(&people.owner, &format!("projects/{project}"), &guest, "administrator").await;
    let mut agent = master.agent("node").await;
    let running = id_of(run_in(&people.owner, workspace).await).await;
    agent.accept_start().await;
    let queued = {
        let config = json!({"entrypoint": ["true"], "resources": {"slots": 2}});
        let body = json!({"config": config, "workspaceId": workspace});
        id_of(people.owner.post("/api/v1/commands").json(body).await).await
    };
    for (person, sees) in
        people.all().into_iter().zip([false, true, true, true, true, true]).chain([(&guest, false)])
    {
        for list in ["commands", "commands?users=owner", "job-queues-v2", "tasks", "agents"] {
            let text = person.get(&format!("/api/v1/{list}")).await.expect(200).text();
            for id in [&running, &queued] {
                // Queued ones are in no list of what runs on agents.
                let listed = sees && (id == &running || !matches!(list, "agents"));
                assert_eq!(text.contains(id.as_str()), listed, "{list} as {}: {text}", person.name);
            }
        }
        let page = person.in_browser().get("/commands?mine=0").await.expect(200).text();
        assert_eq!(page.contains(&running), sees, "the page of {}", person.name);
        for path in
            ["commands/ID", "tasks/ID", "tasks/ID/logs", "tasks/ID/output", "tasks/ID/context_directory"]
        {
            let answer = person.get(&format!("/api/v1/{}", path.replace("ID", &running))).await;
            // Files that were sent along are for who may change what is in there.
            let looks_on = path.ends_with("context_directory") && person.id == people.viewer.id;
            let expected = if looks_on { 403 } else { 200 };
            // A log that is empty so far is read as well as one that isn't.
            assert_eq!(answer.status, if sees { expected } else { 404 }, "{path} as {}", person.name);
        }
    }
}

fn named(list: &Value, of: &str) -> Vec<String> {
    let list = list[of].as_array().expect("a list");
    list.iter().map(|each| each["name"].as_str().expect("a name").to_owned()).collect()
}

async fn x10_lists_and_counts_hold_what_is_visible(database: Database) {
    let master = TestMaster::start(database).await;
    let people = People::make(&master).await;
    let (workspace, project) = private_place(&people.owner, "secret").await;
    let open = people.owner.post("/api/v1/workspaces").json(json!({"name": "open"})).await.ok();
    let open = open["workspace"]["id"].as_i64().expect("an id");
    for (name, private) in [("seen", false), ("unseen", true)] {
        let body = json!({"name": name, "private": private});
        people.owner.post(&format!("/api/v1/workspaces/{open}/projects")).json(body).await.ok();
    }
    set_role(&people.owner, &format!("workspaces/{workspace}"), &people.viewer, "viewer").await;
    set_role(&people.owner, &format!("projects/{project}"), &people.editor, "editor").await;
    let expected: [(&User, &[&str], &[i64]); 5] = [
        (&people.stranger, &["Uncategorized", "open"], &[1, 1]),
        (&people.viewer, &["Uncategorized", "secret", "open"], &[1, 1, 1]),
        (&people.editor, &["Uncategorized", "secret", "open"], &[1, 1, 1]),
        (&people.owner, &["Uncategorized", "secret", "open"], &[1, 1, 2]),
        (&people.admin, &["Uncategorized", "secret", "open"], &[1, 1, 2]),
    ];
    for (person, names, counts) in expected {
        let list = person.get("/api/v1/workspaces").await.ok();
        assert_eq!(named(&list, "workspaces"), names, "{}", person.name);
        assert_eq!(list["pagination"]["total"], names.len());
        for (each, count) in list["workspaces"].as_array().expect("a list").iter().zip(counts) {
            assert_eq!(each["numProjects"], *count, "{} {each}", person.name);
            let path = format!("/api/v1/workspaces/{}", each["id"]);
            assert_eq!(person.get(&path).await.ok()["workspace"], *each);
            let projects = person.get(&format!("{path}/projects")).await.ok();
            assert_eq!(projects["pagination"]["total"], *count, "{} {each}", person.name);
        }
    }
}

async fn r25_a_role_taken_away_is_gone_at_the_next_request(database: Database) {
    let master = TestMaster::start(database).await;
    let (owner, bob) = (master.user("owner").await, master.user("bob").await);
    let (workspace, _) = private_place(&owner, "w").await;
    let path = format!("/api/v1/workspaces/{workspace}");
    set_role(&owner, &format!("workspaces/{workspace}"), &bob, "administrator").await;
    bob.patch(&path).json(json!({"name": "mine"})).await.ok();
    set_role(&owner, &format!("workspaces/{workspace}"), &bob, "viewer").await;
    bob.patch(&path).json(json!({"name": "mine again"})).await.refused(403);
    let task = id_of(run_in(&owner, workspace).await).await;
    bob.get(&format!("/api/v1/commands/{task}")).await.ok();
    owner.delete(&format!("{path}/members?userId={}", bob.id)).await.ok();
    bob.get(&path).await.refused(404);
    bob.get(&format!("/api/v1/commands/{task}")).await.refused(404);
    // Twice is as good as once.
    owner.delete(&format!("{path}/members?userId={}", bob.id)).await.ok();
}
