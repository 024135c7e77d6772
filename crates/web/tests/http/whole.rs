//! Lists of what can be long: written as they are read, and what is in them has lengths and numbers (A5, A6).

use serde_json::{Value, json};
use testkit::{Database, Requests as _, TestMaster, User, on_both_databases};

on_both_databases!(
    a05_lists_of_templates_are_written_as_they_are_read,
    a05_lists_of_projects_are_written_as_they_are_read,
    a05_texts_of_projects_have_lengths,
    a05_what_one_changes_does_not_swell_the_log,
    a05_of_members_that_is_read_which_is_asked_for,
    a06_projects_and_bookmarks_of_an_account_have_a_limit,
);

/// A workspace of somebody's.
async fn workspace(user: &User, name: &str) -> String {
    let made = user.post("/api/v1/workspaces").json(json!({"name": name})).await.ok();
    format!("/api/v1/workspaces/{}", made["workspace"]["id"])
}

/// Asks for lists by page, from the beginning and the end, and compares them with all.
async fn pages(user: &User, path: &str, kind: &str, expected: &[String]) {
    let names = |list: &Value| -> Vec<String> {
        let rows = list[kind].as_array().expect("a list").iter();
        rows.map(|row| row["name"].as_str().expect("a name").to_owned()).collect()
    };
    let count = expected.len();
    let answer = user.get(path).await;
    assert!(!answer.headers.contains_key("content-length"), "it isn't made as a whole");
    assert_eq!(answer.header("content-type"), "application/json");
    let all = answer.ok();
    assert_eq!(names(&all), expected);
    assert_eq!(
        all["pagination"],
        json!({"offset": 0, "limit": 0, "startIndex": 0, "endIndex": count, "total": count})
    );
    for (offset, limit, from, to) in [
        (0, 1, 0, 1),
        (3, 0, 3, count),
        (2, 20, 2, 22),
        (-5, 3, count - 5, count - 2),
        (i64::try_from(count).expect("few"), 9, count, count),
    ] {
        let list = user.get(&format!("{path}?offset={offset}&limit={limit}")).await.ok();
        assert_eq!(names(&list), expected[from..to], "{offset} {limit}");
        let page = &list["pagination"];
        assert_eq!(
            (&page["startIndex"], &page["endIndex"], &page["total"]),
            (&json!(from), &json!(to), &json!(count))
        );
    }
    let reversed: Vec<String> = expected.iter().rev().cloned().collect();
    let list = user.get(&format!("{path}?orderBy=ORDER_BY_DESC")).await.ok();
    assert_eq!(names(&list), reversed);
    user.get(&format!("{path}?offset={}", count + 1)).await.refused(400);
}

async fn a05_lists_of_templates_are_written_as_they_are_read(database: Database) {
    let master = TestMaster::start(database).await;
    let (alice, bob) = (master.user("alice").await, master.user("bob").await);
    assert_eq!(bob.get("/api/v1/templates").await.ok()["templates"], json!([]));
    let mut expected = Vec::new();
    for n in 0..40 {
        let name = format!("t{n:02}");
        let zeros = if n % 4 == 0 { 20_000 } else { n };
        let config = json!({"pbs": {"a": vec![0; zeros]}});
        alice.post(&format!("/api/v1/templates/{name}")).json(json!({ "config": config })).await.ok();
        expected.push(name);
    }
    pages(&bob, "/api/v1/templates", "templates", &expected).await;
    let own = alice.get("/api/v1/templates?limit=5").await.ok();
    assert_eq!(own["templates"][4]["config"]["pbs"]["a"], json!(vec![0; 20_000]));
    let others = bob.get("/api/v1/templates?limit=2").await.ok();
    assert_eq!(others["templates"][1]["config"]["pbs"]["a"], json!(["********"]));
}

async fn a05_lists_of_projects_are_written_as_they_are_read(database: Database) {
    let master = TestMaster::start(database).await;
    let (alice, bob) = (master.user("alice").await, master.user("bob").await);
    let place = workspace(&alice, "w").await;
    let path = format!("{place}/projects");
    assert_eq!(bob.get(&path).await.ok()["projects"], json!([]));
    let (mut expected, mut last) = (Vec::new(), Value::Null);
    for n in 0..25 {
        let name = format!("p{n:02}");
        last = alice.post(&path).json(json!({ "name": name })).await.ok()["project"]["id"].clone();
        expected.push(name);
    }
    let hidden = json!({"name": "hidden", "private": true});
    alice.post(&path).json(hidden).await.ok();
    let notes = json!({"notes": [{"name": "n", "contents": "x".repeat(60_000)}]});
    alice.put(&format!("/api/v1/projects/{last}/notes")).json(notes).await.ok();
    pages(&bob, &path, "projects", &expected).await;
    let list = bob.get(&format!("{path}?sortBy=SORT_BY_NAME&offset=-1")).await.ok();
    assert_eq!(list["projects"][0]["notes"][0]["contents"].as_str().map(str::len), Some(60_000));
}

async fn a05_texts_of_projects_have_lengths(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let projects = format!("{}/projects", workspace(&alice, "w").await);
    let whole = json!({
        "name": "p", "description": "d".repeat(4096), "tags": vec!["t".repeat(128); 64],
    });
    let made = alice.post(&projects).json(whole).await.ok();
    let path = format!("/api/v1/projects/{}", made["project"]["id"]);
    for (bad, part) in [
        (json!({"description": "d".repeat(4097)}), "4096 bytes"),
        (json!({"tags": vec!["t"; 65]}), "64 tags of 128 bytes"),
        (json!({"tags": ["t".repeat(129)]}), "64 tags of 128 bytes"),
        (json!({"tags": ["t\u{0}"]}), "64 tags of 128 bytes"),
    ] {
        assert!(alice.patch(&path).json(bad.clone()).await.refused(400).contains(part), "{part}");
        let new = json!({"name": "q", "description": bad["description"], "tags": bad["tags"]});
        alice.post(&projects).json(new).await.refused(400);
    }
    let notes = |sizes: &[usize]| {
        let note = |size: &usize| json!({"name": "", "contents": "n".repeat(*size)});
        json!({"notes": sizes.iter().map(note).collect::<Vec<_>>()})
    };
    let path = format!("{path}/notes");
    alice.put(&path).json(notes(&[65_000, 536])).await.ok();
    for bad in [notes(&[65_000, 537]), notes(&[0; 101])] {
        let text = alice.put(&path).json(bad).await.refused(400);
        assert!(text.contains("100 notes, of 65536 bytes in all"), "{text}");
    }
    alice.post(&path).json(json!({"name": "n", "contents": "x"})).await.refused(400);
}

async fn a05_what_one_changes_does_not_swell_the_log(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, alice) = (master.admin().await, master.user("alice").await);
    let projects = format!("{}/projects", workspace(&alice, "w").await);
    let made = alice.post(&projects).json(json!({"name": "p"})).await.ok();
    let path = format!("/api/v1/projects/{}", made["project"]["id"]);
    for letter in ["a", "b"] {
        let change = json!({"tags": vec![letter.repeat(128); 64], "description": letter.repeat(4096)});
        alice.patch(&path).json(change).await.ok();
    }
    let list = admin.get("/api/v1/audit?action=project.update").await.ok();
    let entries = list["entries"].as_array().expect("entries");
    assert_eq!(entries.len(), 2);
    for entry in entries {
        assert!(entry.to_string().len() < 6 << 10, "{} bytes", entry.to_string().len());
    }
    let text = entries[0]["record"]["after"]["description"].as_str().expect("a description");
    assert!(text.starts_with("bbbb") && text.contains("4096 bytes, SHA-256 "), "{text}");
    assert_eq!(admin.get("/api/v1/audit/verify").await.ok()["broken"], Value::Null, "the chain is right");
}

async fn a05_of_members_that_is_read_which_is_asked_for(database: Database) {
    let master = TestMaster::start(database).await;
    let (alice, bob) = (master.user("alice").await, master.user("bob").await);
    for (name, role) in [("v", "viewer"), ("e", "editor")] {
        let path = format!("{}/members", workspace(&alice, name).await);
        alice.put(&path).json(json!({"userId": bob.id, "role": role})).await.ok();
    }
    let ask = async |ids: &[i64]| {
        let answer = alice.post("/api/v1/roles/search/by-ids").json(json!({ "roleIds": ids })).await;
        assert_eq!(answer.header("content-type"), "application/json");
        answer.ok()["roles"].clone()
    };
    assert_eq!(ask(&[]).await, json!([]));
    let viewers = ask(&[1]).await;
    assert_eq!(viewers.as_array().map(Vec::len), Some(1));
    let assigned = &viewers[0]["userRoleAssignments"];
    assert_eq!((assigned.as_array().map(Vec::len), &assigned[0]["userId"]), (Some(1), &json!(bob.id)));
    let role = &assigned[0]["roleAssignment"]["role"];
    assert_eq!((&role["roleId"], &role["name"]), (&json!(1), &json!("Viewer")));
    assert_eq!(role["permissions"], Value::Null, "they are said once, of the role itself");
    assert!(viewers[0]["role"]["permissions"].as_array().is_some_and(|all| all.len() > 1));
    assert_eq!(ask(&[1, 2, 3]).await.as_array().map(Vec::len), Some(3));
    let of_bob = alice.get(&format!("/api/v1/roles/search/by-user/{}", bob.id)).await.ok();
    assert_eq!(of_bob["roles"].as_array().map(Vec::len), Some(2));
}

async fn a06_projects_and_bookmarks_of_an_account_have_a_limit(database: Database) {
    let limits = |config: &mut master::Config| (config.limits.projects, config.limits.bookmarks) = (2, 1);
    let master = TestMaster::configured(database, limits).await;
    let (alice, bob) = (master.user("alice").await, master.user("bob").await);
    let new = |name: &str| json!({ "name": name });
    alice.post("/api/v1/projects/").json(new("a")).await.expect(201);
    let projects = format!("{}/projects", workspace(&alice, "w").await);
    let second = alice.post(&projects).json(new("b")).await.ok();
    let text = alice.post(&projects).json(new("c")).await.refused(400);
    assert!(text.contains("2 projects, and 2 is the limit"), "{text}");
    assert_eq!(alice.post("/api/v1/projects/").json(new("c")).await.status, 400);
    for name in ["a", "b"] {
        bob.post("/api/v1/projects/").json(new(name)).await.expect(201);
    }
    alice.delete(&format!("/api/v1/projects/{}", second["project"]["id"])).await.ok();
    alice.post("/api/v1/projects/").json(new("c")).await.expect(201);
    alice.post("/api/v1/alice/a/bookmark/").await.expect(201);
    alice.post("/api/v1/alice/a/bookmark/").await.expect(201);
    assert_eq!(alice.post("/api/v1/alice/c/bookmark/").await.status, 400);
    let marked = alice.get("/api/v1/bookmarks/alice/projects/").await.ok();
    assert_eq!((&marked["count"], &marked["results"][0]["content_object"]["name"]), (&json!(1), &json!("a")));
    let listed = alice.get("/api/v1/alice/").await.ok();
    let mut marks: Vec<_> = listed["results"].as_array().expect("a list").iter().collect();
    marks.sort_by_key(|row| row["name"].to_string());
    assert_eq!((&marks[0]["bookmarked"], &marks[1]["bookmarked"]), (&json!(true), &json!(false)));
    alice.delete("/api/v1/alice/a/unbookmark/").await.expect(204);
    alice.post("/api/v1/alice/c/bookmark/").await.expect(201);
}
