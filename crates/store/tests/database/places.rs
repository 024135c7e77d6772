//! Workspaces, projects, templates, bookmarks: what the database was told it tells.

use domain::authz::{Act as _, ReadTask};
use domain::config::secrets::Layer;
use domain::id::{UNCATEGORIZED, WorkspaceId};
use domain::identity::IdentityParts;
use domain::place::{MemberId, Note, Project, Role, Scope, Template, Workspace};
use domain::task::Task;
use domain::time::Timestamp;
use serde_json::json;
use store::{Begin, StoreError, membership, project, template, workspace};
use testkit::{Database, on_both_databases};

use crate::ownership::{actor, add_project, add_template, add_workspace, set_role, write};
use crate::samples::{NOW, add, add_task, open, owner, task, user};

on_both_databases!(
    a_workspace_keeps_all_that_it_is_told,
    a_deleted_workspace_leaves_its_name_and_its_tasks,
    a_project_keeps_all_that_it_is_told,
    lists_are_filtered_and_ordered,
    templates_are_kept_by_name,
    bookmarks_are_everyones_own,
);

async fn a_workspace_keeps_all_that_it_is_told(database: Database) {
    let (_storage, store) = open(database).await;
    let alice = owner(&store, "alice").await;
    let made = add_workspace(&store, &alice, "Vision — 視覚", false).await;
    add_workspace(&store, &alice, "other", false).await;
    let identity = IdentityParts { gid: Some(7000), group: Some("lab".into()), ..IdentityParts::default() };
    let checkpoint_storage = Some(Layer::new(json!({"type": "directory", "container_path": "/ü"})));
    let changed =
        Workspace { name: "x".into(), private: true, archived: true, identity, checkpoint_storage, ..made };
    write(&store, async |tx| workspace::update(tx, &changed).await.expect("changed")).await;
    let mut conn = store.read().await.expect("a connection");
    let found = workspace::by_id(&mut conn, changed.id).await.expect("read");
    assert_eq!(found.as_ref(), Some(&changed));
    assert_eq!(workspace::personal_of(&mut conn, alice.id).await.expect("read"), None);
    drop(conn);
    let mut tx = store.write().await.expect("a transaction");
    let taken = Workspace { name: "other".into(), ..changed.clone() };
    assert!(matches!(workspace::update(&mut tx, &taken).await, Err(StoreError::Duplicate)));
    drop(tx);
    let own = Workspace { name: "alice".into(), personal_of: Some(alice.id), ..changed };
    let own = write(&store, async |tx| workspace::insert(tx, &own).await.expect("inserted")).await;
    let mut conn = store.read().await.expect("a connection");
    assert_eq!(workspace::personal_of(&mut conn, alice.id).await.expect("read"), Some(own));
}

async fn a_deleted_workspace_leaves_its_name_and_its_tasks(database: Database) {
    let (_storage, store) = open(database).await;
    let alice = owner(&store, "alice").await;
    let bob = add(&store, &user("bob")).await;
    let place = add_workspace(&store, &alice, "w", false).await;
    let inside = add_project(&store, &bob, place.id, "p", false).await;
    let outside = add_project(&store, &bob, UNCATEGORIZED, "p", false).await;
    add_template(&store, &bob, place.id, "t").await;
    set_role(&store, Scope::Workspace(place.id), MemberId::User(bob.id), Role::Editor).await;
    set_role(&store, Scope::Project(inside.id), MemberId::User(bob.id), Role::Editor).await;
    let kept = add_task(&store, Task { workspace: place.id, ..task(&bob) }).await;
    write(&store, async |tx| {
        project::bookmark(tx, alice.id, inside.id).await.expect("marked");
        assert_eq!(workspace::living_tasks(tx, place.id).await.expect("counted"), 1);
        workspace::delete(tx, place.id, NOW).await.expect("deleted");
    })
    .await;

    let again = add_workspace(&store, &alice, "w", false).await;
    assert!(again.id > place.id);
    let mut conn = store.read().await.expect("a connection");
    assert_eq!(workspace::by_id(&mut conn, place.id).await.expect("read"), None);
    let all = workspace::list(&mut conn, &workspace::Filter::default(), 0, 10).await.expect("listed");
    let ids: Vec<_> = all.iter().map(|each| each.id).collect();
    assert_eq!(ids, [UNCATEGORIZED, again.id]);
    assert_eq!(project::by_id(&mut conn, inside.id).await.expect("read"), None);
    assert!(project::by_id(&mut conn, outside.id).await.expect("read").is_some());
    assert_eq!(template::by_name(&mut conn, "t").await.expect("read"), None);
    let scope = Scope::Workspace(place.id);
    assert!(membership::list(&mut conn, scope).await.expect("listed").is_empty());
    let task = store::task::by_id(&mut conn, kept.id).await.expect("read").expect("kept");
    let stands = workspace::place(&mut conn, place.id, bob.id).await.expect("read").expect("there");
    assert!(stands.private && stands.role.is_none() && !stands.guest);
    assert!(ReadTask::check(&actor(&bob), &(task, stands)).is_ok(), "its owner sees it");
}

async fn a_project_keeps_all_that_it_is_told(database: Database) {
    let (_storage, store) = open(database).await;
    let alice = owner(&store, "alice").await;
    let (one, two) =
        (add_workspace(&store, &alice, "1", false).await, add_workspace(&store, &alice, "2", false).await);
    let made = add_project(&store, &alice, one.id, "p", false).await;
    let other = add_project(&store, &alice, two.id, "p", false).await;
    let changed = Project {
        workspace: one.id,
        name: "q".into(),
        code: "QQ".into(),
        description: "d".into(),
        notes: vec![Note { name: "n".into(), contents: "c\"\n".into() }],
        tags: vec!["a".into(), "b".into()],
        private: true,
        archived: true,
        modified_at: Timestamp(2_000_000),
        ..made
    };
    write(&store, async |tx| project::update(tx, &changed).await.expect("changed")).await;
    let mut conn = store.read().await.expect("a connection");
    assert_eq!(project::by_id(&mut conn, changed.id).await.expect("read").as_ref(), Some(&changed));
    assert_eq!(project::by_key(&mut conn, "QQ").await.expect("read"), Some(changed.id));
    assert_eq!(project::by_name(&mut conn, one.id, "q").await.expect("read"), Some(changed.id));
    assert_eq!(project::by_name(&mut conn, two.id, "q").await.expect("read"), None);
    assert_eq!(project::by_name(&mut conn, one.id, "\0").await.expect("read"), None);
    drop(conn);
    for (name, code) in [("q", "ZZ"), ("z", "QQ")] {
        let mut tx = store.write().await.expect("a transaction");
        let taken = Project { workspace: one.id, name: name.into(), code: code.into(), ..other.clone() };
        let refused = project::update(&mut tx, &taken).await;
        assert!(matches!(refused, Err(StoreError::Duplicate)), "{refused:?}");
    }
    write(&store, async |tx| project::delete(tx, changed.id).await.expect("deleted")).await;
    let mut conn = store.read().await.expect("a connection");
    assert_eq!(project::by_id(&mut conn, changed.id).await.expect("read"), None);
    assert_eq!(project::place(&mut conn, changed.id, alice.id).await.expect("read"), None);
}

async fn lists_are_filtered_and_ordered(database: Database) {
    let (_storage, store) = open(database).await;
    let alice = owner(&store, "alice").await;
    let bob = add(&store, &user("bob")).await;
    let beta = add_workspace(&store, &alice, "Beta", false).await;
    let alpha = add_workspace(&store, &bob, "alpha", false).await;
    write(&store, async |tx| {
        let archived = Workspace { archived: true, ..alpha.clone() };
        workspace::update(tx, &archived).await.expect("archived");
    })
    .await;
    let listed = async |filter: workspace::Filter| {
        let mut conn = store.read().await.expect("a connection");
        let listed = workspace::list(&mut conn, &filter, 0, 10).await.expect("listed");
        let count = workspace::count(&mut conn, &filter).await.expect("counted");
        assert_eq!(usize::try_from(count), Ok(listed.len()));
        listed.into_iter().map(|each| each.name).collect::<Vec<_>>()
    };
    let all = workspace::Filter::default;
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(listed(all()).await, ["Uncategorized", "Beta", "alpha"]);
    assert_eq!(listed(workspace::Filter { descending: true, ..all() }).await[0], "alpha");
    assert_eq!(listed(workspace::Filter { name: text("beta"), ..all() }).await, [""; 0]);
    assert_eq!(listed(workspace::Filter { name_in_any_case: text("beta"), ..all() }).await, ["Beta"]);
    assert_eq!(listed(workspace::Filter { name: text("B%"), ..all() }).await, [""; 0]);
    assert_eq!(listed(workspace::Filter { name: text("\0"), ..all() }).await, [""; 0]);
    assert_eq!(listed(workspace::Filter { archived: Some(true), ..all() }).await, ["alpha"]);
    assert_eq!(listed(workspace::Filter { owners: Some(vec![bob.id]), ..all() }).await, ["alpha"]);
    assert_eq!(listed(workspace::Filter { owners: Some(vec![]), ..all() }).await, [""; 0]);

    for name in ["b", "a"] {
        add_project(&store, &bob, beta.id, name, false).await;
    }
    let mut conn = store.read().await.expect("a connection");
    let all = project::Filter { workspace: Some(beta.id), ..Default::default() };
    let by_name = project::Filter { sort: project::SortBy::Name, ..all.clone() };
    let named = project::Filter { name: text("a"), ..all.clone() };
    for (filter, expected) in [(all, vec!["b", "a"]), (by_name, vec!["a", "b"]), (named, vec!["a"])] {
        let listed = project::list(&mut conn, &filter, Begin::At(0), 10).await.expect("listed");
        assert_eq!(listed.iter().map(|each| each.name.as_str()).collect::<Vec<_>>(), expected);
        let rest = project::list(&mut conn, &filter, Begin::Behind(&listed[0]), 10).await.expect("listed");
        assert_eq!(rest, listed[1..]);
    }
}

async fn templates_are_kept_by_name(database: Database) {
    let (_storage, store) = open(database).await;
    let alice = owner(&store, "alice").await;
    let made = add_template(&store, &alice, UNCATEGORIZED, "t").await;
    add_template(&store, &alice, UNCATEGORIZED, "u").await;
    let mut tx = store.write().await.expect("a transaction");
    assert!(matches!(template::insert(&mut tx, &made).await, Err(StoreError::Duplicate)));
    drop(tx);
    let changed =
        Template { name: "v".into(), config: Layer::new(json!({})), modified_at: Timestamp(9), ..made };
    write(&store, async |tx| template::update(tx, "t", &changed).await.expect("changed")).await;
    let mut conn = store.read().await.expect("a connection");
    assert_eq!(template::by_name(&mut conn, "t").await.expect("read"), None);
    assert_eq!(template::by_name(&mut conn, "v").await.expect("read").as_ref(), Some(&changed));
    let filter = template::Filter { descending: true, ..Default::default() };
    for (descending, last, expected) in
        [(true, None, vec!["v", "u"]), (true, Some("v"), vec!["u"]), (false, Some("u"), vec!["v"])]
    {
        let filter = template::Filter { descending, ..filter.clone() };
        let listed = template::list(&mut conn, &filter, last, 0, 10).await.expect("listed");
        assert_eq!(listed.iter().map(template::Unread::name).collect::<Vec<_>>(), expected);
    }
    let elsewhere = template::Filter { workspaces: Some(vec![WorkspaceId(9)]), ..Default::default() };
    assert_eq!(template::count(&mut conn, &elsewhere).await.expect("counted"), 0);
    drop(conn);
    write(&store, async |tx| template::delete(tx, "v").await.expect("deleted")).await;
    let mut tx = store.write().await.expect("a transaction");
    assert!(template::delete(&mut tx, "v").await.is_err());
}

async fn bookmarks_are_everyones_own(database: Database) {
    let (_storage, store) = open(database).await;
    let alice = owner(&store, "alice").await;
    let bob = add(&store, &user("bob")).await;
    let place = add_workspace(&store, &alice, "w", false).await;
    let made = add_project(&store, &alice, place.id, "p", false).await;
    write(&store, async |tx| {
        assert!(project::bookmark(tx, bob.id, made.id).await.expect("marked"));
        assert!(!project::bookmark(tx, bob.id, made.id).await.expect("marked"));
    })
    .await;
    let mut conn = store.read().await.expect("a connection");
    for (person, expected) in [(&alice, 0), (&bob, 1)] {
        let filter = project::Filter { bookmarked_by: Some(person.id), ..Default::default() };
        assert_eq!(project::count(&mut conn, &filter).await.expect("counted"), expected);
        let marked = project::is_bookmarked(&mut conn, person.id, made.id).await.expect("read");
        assert_eq!(marked, expected == 1);
    }
    drop(conn);
    write(&store, async |tx| {
        assert!(project::unbookmark(tx, bob.id, made.id).await.expect("taken back"));
        assert!(!project::unbookmark(tx, bob.id, made.id).await.expect("taken back"));
    })
    .await;
}
