//! Lists and look-ups: pages, filters, orders, ids (R34, R47, R48).

use domain::allocation::{Allocation, Phase};
use domain::id::AllocationId;
use domain::task::{Ending, Standing, Task};
use serde_json::{Value, json};
use store::user::Filter;
use testkit::{Database, Requests as _, TestMaster, on_both_databases};

on_both_databases!(
    pages_follow_the_clients_rules,
    r47_no_answer_has_more_than_250_rows,
    b10_a_list_without_a_limit_is_whole,
    pages_of_commands_join_whatever_comes_meanwhile,
    b10_the_queue_is_whole_and_in_order_whatever_its_length,
    r48_filters_take_text_as_text,
    lists_of_accounts_are_filtered_and_sorted,
    names_in_paths_are_decoded_once,
    r34_what_is_no_id_is_not_found,
    hidden_and_missing_things_look_alike,
    p15_lists_of_commands_go_by_owner,
    a_page_that_was_just_read_shows_every_change_at_once,
    the_installation_describes_itself,
);

fn names(list: &Value) -> Vec<&str> {
    let users = list["users"].as_array().expect("a list");
    users.iter().map(|user| user["username"].as_str().expect("a name")).collect()
}

async fn pages_follow_the_clients_rules(database: Database) {
    let master = TestMaster::start(database).await;
    for name in ["a1", "a2", "a3"] {
        master.user(name).await;
    }
    let admin = master.admin().await;
    for (query, rows, start, end) in [
        ("", 5, 0, 5),
        ("limit=2", 2, 0, 2),
        ("limit=2&offset=4", 1, 4, 5),
        ("offset=5", 0, 5, 5),
        ("offset=-2", 2, 3, 5),
        ("offset=-5&limit=1", 1, 0, 1),
        ("limit=0", 5, 0, 5),
        ("limit=&offset=", 5, 0, 5),
    ] {
        let list = admin.get(&format!("/api/v1/users?{query}")).await.ok();
        assert_eq!(names(&list).len(), rows, "{query}");
        let page = &list["pagination"];
        assert_eq!((&page["startIndex"], &page["endIndex"]), (&json!(start), &json!(end)), "{query}");
        assert_eq!(page["total"], 5, "{query}");
    }
    for list in ["users", "commands", "agents", "workspaces"] {
        for query in ["offset=6", "offset=-6", "limit=-1", "offset=-9223372036854775808"] {
            let answer = admin.get(&format!("/api/v1/{list}?{query}")).await;
            assert_eq!(answer.refused(400), "offset out of bounds", "{list}?{query}");
        }
        for query in ["offset=x", "limit=1.5", "offset=9223372036854775808"] {
            let text = admin.get(&format!("/api/v1/{list}?{query}")).await.refused(400);
            assert!(text.contains("can't be understood"), "{text}");
        }
        let page = admin.get(&format!("/api/v1/{list}")).await.ok();
        assert!(page["pagination"]["endIndex"].is_i64() && page["pagination"]["total"].is_i64(), "{page}");
    }
}

async fn r47_no_answer_has_more_than_250_rows(database: Database) {
    let master = TestMaster::start(database).await;
    let admin = master.admin().await;
    let mut tx = master.store().write().await.expect("a transaction");
    let mut user = store::user::list(&mut tx, &Filter::default(), store::Begin::At(0), 1)
        .await
        .expect("listed")
        .remove(0);
    for n in 0..251 {
        user.username = format!("user{n}");
        store::user::insert(&mut tx, &user, user.modified_at).await.expect("inserted");
    }
    tx.commit_unaudited("a test").await.expect("committed");
    for query in ["?offset=0", "?limit=0", "?limit=5000", "?limit=9223372036854775807"] {
        let list = admin.get(&format!("/api/v1/users{query}")).await.ok();
        assert_eq!(names(&list).len(), 250, "{query}");
        assert_eq!(list["pagination"]["endIndex"], 250, "{query}");
        assert_eq!(list["pagination"]["total"], 253, "{query}");
    }
    // As Determined's client looks names up.
    assert_eq!(names(&admin.get("/api/v1/users").await.ok()).len(), 253);
    let rest = admin.get("/api/v1/users?offset=250").await.ok();
    assert_eq!(names(&rest).len(), 3);
}

async fn r48_filters_take_text_as_text(database: Database) {
    let master = TestMaster::start(database).await;
    for name in ["100%", "a_b", "o'hara"] {
        master.user(name).await;
    }
    let admin = master.admin().await;
    for (text, found) in [
        ("%25", vec!["100%"]),
        ("_", vec!["a_b"]),
        ("%27", vec!["o'hara"]),
        ("%27%20OR%201=1%20--", vec![]),
        ("O%27HARA", vec!["o'hara"]),
        ("%5C", vec![]),
    ] {
        let list = admin.get(&format!("/api/v1/users?name={text}")).await.ok();
        assert_eq!(names(&list), found, "{text}");
    }
    for query in ["userIds=1%20OR%201=1", "userIds=1;", "workspaceId=1%20OR%201", "users=%27%20OR%201=1%20--"]
    {
        let answer = admin.get(&format!("/api/v1/commands?{query}")).await;
        assert!(answer.status == 400 || answer.ok()["pagination"]["total"] == 0, "{query}");
    }
}

async fn lists_of_accounts_are_filtered_and_sorted(database: Database) {
    let master = TestMaster::start(database).await;
    let (alice, _) = (master.user("alice").await, master.user("Bob").await);
    let admin = master.admin().await;
    admin.patch(&alice.path()).json(json!({"active": false})).await.ok();
    for (query, expected) in [
        ("active=true", vec!["admin", "determined", "Bob"]),
        ("active=false", vec!["alice"]),
        ("admin=true", vec!["admin"]),
        ("name=B", vec!["Bob"]),
        ("sortBy=SORT_BY_USER_NAME", vec!["Bob", "admin", "alice", "determined"]),
        ("sortBy=SORT_BY_UNSPECIFIED&orderBy=ORDER_BY_DESC", vec!["Bob", "alice", "determined", "admin"]),
        ("orderBy=ORDER_BY_UNSPECIFIED&limit=1", vec!["admin"]),
    ] {
        let list = admin.get(&format!("/api/v1/users?{query}")).await.ok();
        assert_eq!(names(&list), expected, "{query}");
    }
    admin.get("/api/v1/users?active=perhaps").await.refused(400);
    let roles = admin.get("/api/v1/users?roleIdAssignedDirectlyToUser=1").await;
    assert_eq!(roles.refused(400), "cannot filter by role id. RBAC must be enabled.");
}

async fn names_in_paths_are_decoded_once(database: Database) {
    let master = TestMaster::start(database).await;
    for name in ["a$b c@d", "50%25", "q?x=1", "x#y", "a+b", "a\\b", "...", "x;y", "'x'"] {
        let user = master.user(name).await;
        let encoded: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let found = user.get(&format!("/api/v1/users/{encoded}/by-username")).await.ok();
        assert_eq!(found["user"]["username"], name);
    }
    let admin = master.admin().await;
    // Determined's clients leave some characters as they are.
    admin.get("/api/v1/users/a%24b%20c@d/by-username").await.ok();
    for missing in ["nobody", "%FF", "%00", "ADMIN", "50%25"] {
        let answer = admin.get(&format!("/api/v1/users/{missing}/by-username")).await;
        assert!(matches!(answer.status, 400 | 404), "{missing}: {}", answer.status);
    }
}

async fn r34_what_is_no_id_is_not_found(database: Database) {
    let master = TestMaster::start(database).await;
    let admin = master.admin().await;
    for id in [
        "0",
        "-1",
        "01x",
        "1%20",
        "%201",
        "1;",
        "0x1",
        "99999999999999999999",
        "%D9%A1",
        "1%00",
        "1.0",
        "1e0",
    ] {
        assert_eq!(admin.get(&format!("/api/v1/users/{id}")).await.refused(404), "user not found", "{id}");
        admin.get(&format!("/api/v1/workspaces/{id}")).await.refused(404);
    }
    let id = admin.run_true().await;
    for id in [
        id.replace('-', ""),
        format!("{{{id}}}"),
        format!("{id}.1"),
        format!("urn:uuid:{id}"),
        format!("{id}%00"),
        format!("{id}%20"),
        id[..8].to_owned(),
        "..%2f..%2fetc%2fpasswd".to_owned(),
    ] {
        for path in
            ["commands/{}", "tasks/{}", "tasks/{}/logs", "tasks/{}/output", "tasks/{}/context_directory"]
        {
            let answer = admin.get(&format!("/api/v1/{}", path.replace("{}", &id))).await;
            assert_eq!(answer.status, 404, "{path} {id}: {}", answer.text());
        }
        admin.post(&format!("/api/v1/commands/{id}/kill")).await.refused(404);
    }
    for agent in ["nobody", "..%2f", "a%20b", "%00", &"x".repeat(65)] {
        admin.get(&format!("/api/v1/agents/{agent}")).await.refused(404);
        admin.post(&format!("/api/v1/agents/{agent}/enable")).await.refused(404);
    }
}

async fn hidden_and_missing_things_look_alike(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, alice) = (master.admin().await, master.user("alice").await);
    let made_up = "6f1c7f3e-5b0f-4a4c-9d8e-2b1a00000000";
    for (path, text) in [
        (format!("/api/v1/commands/{made_up}"), format!("command '{made_up}' not found")),
        ("/api/v1/commands/x".to_owned(), "command 'x' not found".to_owned()),
        ("/api/v1/users/999".to_owned(), "user not found".to_owned()),
        ("/api/v1/users/x".to_owned(), "user not found".to_owned()),
        ("/api/v1/users/nobody/by-username".to_owned(), "user not found".to_owned()),
        ("/api/v1/workspaces/9".to_owned(), "workspace '9' not found".to_owned()),
        ("/api/v1/agents/x".to_owned(), "agent 'x' not found".to_owned()),
    ] {
        let (by_user, by_admin) = (alice.get(&path).await, admin.get(&path).await);
        assert_eq!(by_user.body, by_admin.body, "{path}");
        assert_eq!(by_user.refused(404), text);
    }
    // A change to what isn't there is told no otherwise than a look at it.
    for verb in ["kill", "set_priority"] {
        let path = format!("/api/v1/commands/{made_up}/{verb}");
        let body = json!({"priority": 1});
        let (by_user, by_admin) =
            (alice.post(&path).json(body.clone()).await, admin.post(&path).json(body).await);
        assert_eq!(by_user.body, by_admin.body, "{path}");
        assert_eq!(by_user.refused(404), format!("command '{made_up}' not found"));
    }
    let mut agent = master.agent("node").await;
    let task = master.task(&alice, &mut agent).await;
    let real = admin.run_true().await;
    let foreign = async |id: &str| {
        let answer = task.get(&format!("/api/v1/tasks/{id}")).await;
        answer.text().replace(id, "ID")
    };
    assert_eq!(foreign(&real).await, foreign(made_up).await, "a task sees itself only");
}

async fn p15_lists_of_commands_go_by_owner(database: Database) {
    let master = TestMaster::start(database).await;
    let (alice, bob) = (master.user("alice").await, master.user("bob").await);
    let (first, second, third) = (alice.run_true().await, bob.run_true().await, alice.run_true().await);
    for (query, expected) in [
        ("", vec![&third, &second, &first]),
        ("?orderBy=ORDER_BY_ASC", vec![&first, &second, &third]),
        ("?users=alice", vec![&third, &first]),
        ("?users=alice&users=bob&limit=2", vec![&third, &second]),
        ("?userIds=4", vec![&second]),
        ("?userIds=4&users=alice", vec![&third, &second, &first]),
        ("?users=nobody", vec![]),
        ("?users=Alice", vec![]),
        ("?workspaceId=1&users=bob", vec![&second]),
        ("?workspaceId=0&users=bob", vec![&second]),
        ("?workspaceId=7", vec![]),
    ] {
        let list = bob.get(&format!("/api/v1/commands{query}")).await.ok();
        let commands = list["commands"].as_array().expect("a list");
        let ids: Vec<_> = commands.iter().map(|command| command["id"].as_str().expect("an id")).collect();
        assert_eq!(ids, expected, "{query}");
    }
    bob.get("/api/v1/commands?userIds=x").await.refused(400);
    // D1: the author is everywhere.
    let list = bob.get("/api/v1/commands?users=alice").await.ok();
    assert_eq!(
        (&list["commands"][0]["username"], &list["commands"][0]["userId"]),
        (&json!("alice"), &json!(3))
    );
}

async fn a_page_that_was_just_read_shows_every_change_at_once(database: Database) {
    let master = TestMaster::start(database).await;
    let (alice, bob, admin) = (master.user("alice").await, master.user("bob").await, master.admin().await);
    let page = "/api/v1/commands?users=alice&limit=10";
    for count in 1..4 {
        alice.run_true().await;
        for reader in [&alice, &bob, &admin, &alice] {
            let list = reader.get(page).await.ok();
            assert_eq!(list["commands"].as_array().map(Vec::len), Some(count), "{list}");
            assert_eq!(list["pagination"]["total"], count);
        }
    }
    // One after the other, and back.
    for (query, first) in [("limit=1", 0), ("limit=1&offset=1", 1), ("limit=1", 0), ("limit=2", 0)] {
        let list = alice.get(&format!("/api/v1/commands?users=alice&{query}")).await.ok();
        assert_eq!(list["commands"][0]["id"], alice.get(page).await.ok()["commands"][first]["id"], "{query}");
        assert_eq!(list["pagination"]["total"], 3);
    }
    // What is joined to a task counts, too.
    let user = json!({"displayName": "Alice"});
    admin.patch(&format!("/api/v1/users/{}", alice.id)).json(user).await.ok();
    assert_eq!(bob.get(page).await.ok()["commands"][2]["displayName"], "Alice");
}

async fn the_installation_describes_itself(database: Database) {
    let master = TestMaster::start(database).await;
    let (anon, admin) = (master.anon(), master.admin().await);
    let info = anon.get("/info").await.ok();
    assert_eq!((&info["version"], &info["sso_providers"]), (&json!("0.38.1"), &json!(null)));
    let told = anon.get("/api/v1/master").await.ok();
    assert_eq!((&told["clusterId"], &told["rbacEnabled"]), (&info["cluster_id"], &json!(false)));
    assert_eq!(anon.get("/api/v1/master/telemetry").await.ok(), json!({"enabled": false, "segmentKey": ""}));
    assert_eq!(anon.get("/health").await.ok(), json!({"status": "up"}));
    let config = admin.get("/api/v1/master/config").await.ok();
    assert_eq!(config["config"]["resource_manager"]["type"], "agent");
    for key in [
        "feature_switches",
        "checkpoint_storage",
        "task_container_defaults",
        "resource_pools",
        "launch_error",
    ] {
        assert!(config["config"].get(key).is_some(), "{key} (contract \"rest\", section 0)");
    }
    let workspaces = admin.get("/api/v1/workspaces?nameCaseSensitive=Uncategorized").await.ok();
    assert_eq!(workspaces["workspaces"][0]["username"], "admin");
    assert_eq!(admin.get("/api/v1/workspaces?nameCaseSensitive=x").await.ok()["pagination"]["total"], 0);
    assert_eq!(admin.get("/api/v1/workspaces/1").await.ok()["workspace"]["name"], "Uncategorized");
}

/// So many more like this task, which are over.
async fn add_ended(master: &TestMaster, like: &str, many: u128) {
    let mut tx = master.store().write().await.expect("a transaction");
    let like = store::task::by_id(&mut tx, like.parse().expect("an id")).await.expect("read").expect("there");
    let config = domain::config::TaskConfig::resolve(&json!({}), json!({"entrypoint": ["true"]}));
    let config = config.expect("a configuration");
    for number in 0..many {
        let id = domain::id::TaskId(uuid::Uuid::from_u128(number));
        let ending = Ending {
            at: like.created_at,
            exit_code: Some(0),
            exit_signal: None,
            fault: None,
            reason: "over".into(),
        };
        let phase = Phase::Ended { held: None, asked: None, ending };
        let latest = Allocation { id: AllocationId::first(id), phase, ..like.latest.clone() };
        let copy = Task { id, standing: Standing::Over, latest, ..like.clone() };
        store::task::insert(&mut tx, copy, &config).await.expect("inserted");
    }
    tx.commit_unaudited("a test").await.expect("committed");
}

/// The commands of a page, and where it leads.
fn page_of(html: &str) -> (Vec<String>, Option<String>, Option<String>) {
    let ids = html.split("id=\"c-").skip(1).map(|rest| rest.split('"').next().unwrap_or_default().to_owned());
    let link = |id: &str| {
        let (_, rest) = html.split_once(&format!("id=\"{id}\" href=\""))?;
        Some(rest.split('"').next()?.replace("&#38;", "&"))
    };
    (ids.collect(), link("newer"), link("older"))
}

async fn pages_of_commands_join_whatever_comes_meanwhile(database: Database) {
    let master = TestMaster::start(database).await;
    let admin = master.admin().await;
    let first = admin.run_true().await;
    let browser = admin.in_browser();
    let shown = async |url: &str| page_of(&browser.get(url).await.expect(200).text());
    assert_eq!(shown("/commands").await, (vec![first.clone()], None, None));
    add_ended(&master, &first, 119).await;
    let (newest, newer, older) = shown("/commands").await;
    assert_eq!((newest.len(), newer), (50, None));
    // What comes now moves nothing.
    let late = admin.run_true().await;
    let (middle, newer, oldest) = shown(&older.expect("more")).await;
    let (last, _, older) = shown(&oldest.expect("more")).await;
    assert_eq!((middle.len(), last.len(), older), (50, 20, None));
    let all: std::collections::BTreeSet<_> = [&newest, &middle, &last].into_iter().flatten().collect();
    assert_eq!((all.len(), last.last()), (120, Some(&first)));
    // Back: the same fifty, and what came before them is the beginning of the list.
    let (back, newer, older) = shown(&newer.expect("more")).await;
    assert_eq!((&back, older.is_some()), (&newest, true));
    let (beginning, newer, _) = shown(&newer.expect("one more")).await;
    assert_eq!((beginning.len(), beginning[0] == late, newer), (50, true, None));
    assert_eq!(shown("/commands?before=1").await.0[0], late, "nothing is there: the beginning");
    assert_eq!(shown("/commands?after=999").await.0[0], late);
    browser.get("/commands?before=x").await.expect(400);
}

async fn b10_a_list_without_a_limit_is_whole(database: Database) {
    let master = TestMaster::start(database).await;
    let admin = master.admin().await;
    add_ended(&master, &admin.run_true().await, 770).await;
    for n in 0..255 {
        admin.post(&format!("/api/v1/templates/t{n}")).json(json!({"config": {}})).await.ok();
        admin.post("/api/v1/workspaces").json(json!({"name": format!("w{n}")})).await.ok();
    }
    let ids = |list: &Value| -> Vec<String> {
        let rows = list["commands"].as_array().expect("commands");
        rows.iter().map(|row| row["id"].as_str().expect("an id").to_owned()).collect()
    };
    let newest_first = ids(&admin.get("/api/v1/commands").await.ok());
    let mut oldest_first = ids(&admin.get("/api/v1/commands?orderBy=ORDER_BY_ASC&limit=0").await.ok());
    let different: std::collections::BTreeSet<_> = newest_first.iter().collect();
    assert_eq!((newest_first.len(), different.len()), (771, 771));
    oldest_first.reverse();
    assert_eq!(newest_first, oldest_first);
    let rest = admin.get("/api/v1/commands?offset=270").await.ok();
    assert_eq!(ids(&rest), newest_first[270..]);
    let page = &rest["pagination"];
    assert_eq!(
        (&page["startIndex"], &page["endIndex"], &page["total"]),
        (&json!(270), &json!(771), &json!(771))
    );
    let asked = admin.get("/api/v1/commands?limit=700").await.ok();
    assert_eq!(ids(&asked), newest_first[..250], "R47");
    assert_eq!(
        ids(&admin.get("/api/v1/commands?idPrefix=ffff&users=nobody").await.ok()),
        Vec::<String>::new()
    );
    admin.get("/api/v1/commands?offset=772").await.refused(400);
    let of = |list: &Value, name: &str| list[name].as_array().map(Vec::len);
    assert_eq!(of(&admin.get("/api/v1/templates").await.ok(), "templates"), Some(255));
    assert_eq!(of(&admin.get("/api/v1/workspaces").await.ok(), "workspaces"), Some(256));
    assert_eq!(of(&admin.get("/api/v1/workspaces?limit=255").await.ok(), "workspaces"), Some(250));
}

async fn b10_the_queue_is_whole_and_in_order_whatever_its_length(database: Database) {
    const MANY: usize = 260;
    let master = TestMaster::start(database).await;
    let (alice, bob) = (master.user("alice").await, master.user("bob").await);
    let mut made = Vec::new();
    for _ in 0..MANY {
        made.push(alice.run_true().await);
    }
    // The last one is the most urgent.
    let first = made.pop().expect("the last one");
    master
        .admin()
        .await
        .post(&format!("/api/v1/commands/{first}/set_priority"))
        .json(json!({"priority": 1}))
        .await
        .ok();
    made.insert(0, first);
    let jobs = async |query: &str| {
        let list = bob.get(&format!("/api/v1/job-queues-v2{query}")).await.ok();
        let jobs = list["jobs"].as_array().expect("a list").iter().map(|job| &job["full"]);
        let jobs = jobs.map(|job| {
            (job["jobId"].as_str().expect("an id").to_owned(), job["summary"]["jobsAhead"].clone())
        });
        (jobs.collect::<Vec<_>>(), list["pagination"].clone())
    };
    let expected: Vec<_> = made.iter().enumerate().map(|(n, id)| (id.clone(), json!(n))).collect();
    let (all, page) = jobs("").await;
    assert_eq!(all, expected);
    assert_eq!((&page["endIndex"], &page["total"]), (&json!(MANY), &json!(MANY)));
    let (some, page) = jobs("?limit=3&offset=255").await;
    assert_eq!(some, expected[255..258]);
    assert_eq!(
        (&page["startIndex"], &page["endIndex"], &page["total"]),
        (&json!(255), &json!(258), &json!(MANY))
    );
    let tasks = bob.get("/api/v1/tasks").await.ok();
    let tasks = tasks["allocationIdToSummary"].as_object().expect("by allocation").clone();
    assert!(tasks.iter().all(|(allocation, task)| task["allocationId"] == json!(allocation)));
    let mut ids: Vec<_> = tasks.values().map(|task| task["taskId"].as_str().expect("an id")).collect();
    ids.sort_unstable();
    made.sort_unstable();
    assert_eq!(ids, made);
}
