//! Workspaces, projects, templates, their members: what the database shows is what the policy allows.

use domain::authz::{Act, Actor, ReadProject, ReadTask, ReadTemplate, ReadWorkspace, Via};
use domain::config::secrets::Layer;
use domain::id::{GroupId, ProjectId, UNCATEGORIZED, UserId, WorkspaceId};
use domain::identity::IdentityParts;
use domain::place::{MemberId, Note, Project, Role, Scope, Template, Workspace};
use domain::task::{Kind, Task};
use domain::time::Timestamp;
use domain::user::User;
use serde_json::json;
use store::{Begin, Store, StoreError, Tx, membership, project, template, workspace};
use testkit::{Database, on_both_databases};

use crate::samples::{NOW, add, add_task, open, owner, task, user};
use crate::schema::execute;

on_both_databases!(
    x04_x10_lists_show_what_the_policy_allows,
    members_come_and_go_and_roles_change,
    the_higher_of_two_roles_counts,
    a_workspace_keeps_all_that_it_is_told,
    a_deleted_workspace_leaves_its_name_and_its_tasks,
    a_project_keeps_all_that_it_is_told,
    lists_are_filtered_and_ordered,
    templates_are_kept_by_name,
    bookmarks_are_everyones_own,
);

async fn write<T>(store: &Store, work: impl AsyncFnOnce(&mut Tx) -> T) -> T {
    let mut tx = store.write().await.expect("a transaction");
    let done = work(&mut tx).await;
    tx.commit_unaudited("a test").await.expect("committed");
    done
}

async fn add_workspace(store: &Store, owner: &User, name: &str, private: bool) -> Workspace {
    let new = Workspace {
        id: WorkspaceId(0),
        name: name.to_owned(),
        owner: owner.id,
        owner_name: owner.username.clone(),
        private,
        archived: false,
        identity: IdentityParts::default(),
        checkpoint_storage: None,
        personal_of: None,
        created_at: NOW,
    };
    write(store, async |tx| workspace::insert(tx, &new).await.expect("inserted")).await
}

async fn add_project(store: &Store, owner: &User, place: WorkspaceId, name: &str, private: bool) -> Project {
    write(store, async |tx| {
        let id = project::next_id(tx).await.expect("a number");
        let new = Project {
            id,
            workspace: place,
            name: name.to_owned(),
            code: format!("P{id}"),
            description: String::new(),
            notes: Vec::new(),
            tags: Vec::new(),
            private,
            archived: false,
            owner: owner.id,
            owner_name: owner.username.clone(),
            created_at: NOW,
            modified_at: NOW,
        };
        project::insert(tx, &new).await.expect("inserted");
        new
    })
    .await
}

async fn add_template(store: &Store, owner: &User, place: WorkspaceId, name: &str) -> Template {
    let new = Template {
        name: name.to_owned(),
        config: Layer::new(json!({"resources": {"slots": 0}})),
        workspace: place,
        owner: owner.id,
        owner_name: owner.username.clone(),
        created_at: NOW,
        modified_at: NOW,
    };
    write(store, async |tx| template::insert(tx, &new).await.expect("inserted")).await;
    new
}

async fn set_role(store: &Store, scope: Scope, member: MemberId, role: Role) {
    write(store, async |tx| membership::set(tx, scope, member, role).await.expect("set")).await;
}

/// A group with these members. Groups have no module of their own yet.
async fn add_group(storage: &testkit::Storage, id: i64, members: &[UserId]) -> GroupId {
    let rows = members
        .iter()
        .map(|member| format!("INSERT INTO group_members (group_id, user_id) VALUES ({id}, {member})"));
    let group = format!("INSERT INTO user_groups (id, name, created_at) VALUES ({id}, 'group{id}', 0)");
    for sql in std::iter::once(group).chain(rows) {
        execute(storage, &sql).await;
    }
    GroupId(id)
}

fn actor(user: &User) -> Actor {
    let via = Via::DefaultUser;
    Actor { user: user.id, username: user.username.clone(), admin: user.admin, via, address: None, as_of: 0 }
}

/// What the policy lets `viewer` see of `workspaces`.
async fn allowed_workspaces(store: &Store, viewer: &User, all: &[Workspace]) -> Vec<WorkspaceId> {
    let mut conn = store.read().await.expect("a connection");
    let mut allowed = Vec::new();
    for each in all {
        let place = workspace::place(&mut conn, each.id, viewer.id).await.expect("read").expect("there");
        if ReadWorkspace::check(&actor(viewer), &place).is_ok() {
            allowed.push(each.id);
        }
    }
    allowed
}

async fn allowed_projects(store: &Store, viewer: &User, all: &[Project]) -> Vec<ProjectId> {
    let mut conn = store.read().await.expect("a connection");
    let mut allowed = Vec::new();
    for each in all {
        let place = project::place(&mut conn, each.id, viewer.id).await.expect("read").expect("there");
        if ReadProject::check(&actor(viewer), &place).is_ok() {
            allowed.push(each.id);
        }
    }
    allowed
}

async fn allowed_templates(store: &Store, viewer: &User, all: &[Template]) -> Vec<String> {
    let mut conn = store.read().await.expect("a connection");
    let mut allowed = Vec::new();
    for each in all {
        let place = workspace::place(&mut conn, each.workspace, viewer.id).await.expect("read");
        if ReadTemplate::check(&actor(viewer), &(each.clone(), place.expect("there"))).is_ok() {
            allowed.push(each.name.clone());
        }
    }
    allowed
}

async fn allowed_tasks(store: &Store, viewer: &User, all: &[Task]) -> Vec<i64> {
    let mut conn = store.read().await.expect("a connection");
    let mut allowed = Vec::new();
    for each in all {
        let place = workspace::place(&mut conn, each.workspace, viewer.id).await.expect("read");
        if ReadTask::check(&actor(viewer), &(each.clone(), place.expect("there"))).is_ok() {
            allowed.push(each.seq);
        }
    }
    allowed
}

/// Everything that stands in the world of the test below.
struct World {
    workspaces: Vec<Workspace>,
    projects: Vec<Project>,
    templates: Vec<Template>,
    tasks: Vec<Task>,
}

async fn compare(store: &Store, viewer: &User, world: &World) -> (usize, usize, usize, usize) {
    let seen_by = (!viewer.admin).then_some(viewer.id);
    let allowed = (
        allowed_workspaces(store, viewer, &world.workspaces).await,
        allowed_projects(store, viewer, &world.projects).await,
        allowed_templates(store, viewer, &world.templates).await,
        allowed_tasks(store, viewer, &world.tasks).await,
    );
    let mut conn = store.read().await.expect("a connection");
    let name = &viewer.username;

    let filter = workspace::Filter { seen_by, ..Default::default() };
    let listed = workspace::list(&mut conn, &filter, 0, 100).await.expect("listed");
    let ids: Vec<_> = listed.iter().map(|each| each.id).filter(|id| *id != UNCATEGORIZED).collect();
    assert_eq!(ids, allowed.0, "workspaces of {name}");
    let count = workspace::count(&mut conn, &filter).await.expect("counted");
    assert_eq!(usize::try_from(count), Ok(listed.len()));

    let filter = project::Filter { seen_by, ..Default::default() };
    let listed = project::list(&mut conn, &filter, Begin::At(0), 100).await.expect("listed");
    let ids: Vec<_> = listed.iter().map(|each| each.id).filter(|id| *id != ProjectId(1)).collect();
    assert_eq!(ids, allowed.1, "projects of {name}");
    let counts = project::counts(&mut conn, seen_by).await.expect("counted");
    let sum: i64 = counts.iter().map(|(_, count)| count).sum();
    assert_eq!(usize::try_from(sum), Ok(listed.len()), "{counts:?}");

    let filter = template::Filter { seen_by, ..Default::default() };
    let listed = template::list(&mut conn, &filter, None, 0, 100).await.expect("listed");
    let names: Vec<_> = listed.iter().map(|each| each.name().to_owned()).collect();
    assert_eq!(names, allowed.2, "templates of {name}");

    let filter = store::task::Filter {
        kind: Kind::Command,
        owners: None,
        workspace: None,
        seen_by,
        text: None,
        id_prefix: None,
        ascending: true,
        after: None,
    };
    let listed = store::task::list(&mut conn, &filter, 0, 100).await.expect("listed");
    let seqs: Vec<_> = listed.iter().map(|each| each.seq).collect();
    assert_eq!(seqs, allowed.3, "tasks of {name}");
    (allowed.0.len(), allowed.1.len(), allowed.2.len(), allowed.3.len())
}

async fn x04_x10_lists_show_what_the_policy_allows(database: Database) {
    let (storage, store) = open(database).await;
    let admin = add(&store, &User { admin: true, ..user("admin") }).await;
    let owner = owner(&store, "owner").await;
    let mut people = Vec::new();
    for name in ["stranger", "viewer", "editor", "ruler", "grouped", "guest", "guests", "maker"] {
        people.push(add(&store, &user(name)).await);
    }
    let [stranger, viewer, editor, ruler, grouped, guest, guests, maker] = people.as_slice() else {
        panic!("eight people")
    };
    let team = add_group(&storage, 1, &[grouped.id]).await;
    let visitors = add_group(&storage, 2, &[guests.id]).await;

    let (mut workspaces, mut projects) = (Vec::new(), Vec::new());
    let (mut templates, mut tasks) = (Vec::new(), Vec::new());
    for (at, private) in [false, true].into_iter().enumerate() {
        let place = add_workspace(&store, &owner, &format!("w{at}"), private).await;
        let scope = Scope::Workspace(place.id);
        for (member, role) in [(viewer, Role::Viewer), (editor, Role::Editor), (ruler, Role::Administrator)] {
            set_role(&store, scope, MemberId::User(member.id), role).await;
        }
        set_role(&store, scope, MemberId::Group(team), Role::Editor).await;
        for secret in [false, true] {
            projects.push(add_project(&store, &owner, place.id, &format!("p{secret}"), secret).await);
        }
        // Its maker was shown out of the workspace since.
        projects.push(add_project(&store, maker, place.id, "made", true).await);
        templates.push(add_template(&store, &owner, place.id, &format!("t{at}")).await);
        for person in [&owner, maker] {
            let new = Task { workspace: place.id, ..task(person) };
            tasks.push(add_task(&store, new).await);
        }
        workspaces.push(place);
    }
    // The secret project of the private workspace has guests of its own.
    let secret = Scope::Project(projects[4].id);
    set_role(&store, secret, MemberId::User(guest.id), Role::Viewer).await;
    set_role(&store, secret, MemberId::Group(visitors), Role::Editor).await;

    let world = World { workspaces, projects, templates, tasks };
    for (person, expected) in [
        (stranger, (1, 1, 1, 2)),
        (viewer, (2, 6, 2, 4)),
        (editor, (2, 6, 2, 4)),
        (ruler, (2, 6, 2, 4)),
        (grouped, (2, 6, 2, 4)),
        (guest, (2, 2, 1, 2)),
        (guests, (2, 2, 1, 2)),
        (maker, (2, 3, 1, 3)),
        (&owner, (2, 6, 2, 4)),
        (&admin, (2, 6, 2, 4)),
    ] {
        assert_eq!(compare(&store, person, &world).await, expected, "{}", person.username);
    }
}

async fn members_come_and_go_and_roles_change(database: Database) {
    let (storage, store) = open(database).await;
    let alice = owner(&store, "alice").await;
    let bob = add(&store, &user("bob")).await;
    let team = add_group(&storage, 7, &[]).await;
    let place = add_workspace(&store, &alice, "w", true).await;
    let scope = Scope::Workspace(place.id);
    let listed = async || {
        let mut conn = store.read().await.expect("a connection");
        let members = membership::list(&mut conn, scope).await.expect("listed");
        members.into_iter().map(|member| (member.name, member.role)).collect::<Vec<_>>()
    };
    set_role(&store, scope, MemberId::Group(team), Role::Viewer).await;
    set_role(&store, scope, MemberId::User(bob.id), Role::Viewer).await;
    set_role(&store, scope, MemberId::User(bob.id), Role::Editor).await;
    let expected = [("bob".to_owned(), Role::Editor), ("group7".to_owned(), Role::Viewer)];
    assert_eq!(listed().await, expected);
    assert_eq!(
        write(&store, async |tx| membership::group_name(tx, team).await.expect("read")).await.as_deref(),
        Some("group7")
    );
    // A number is not another kind's number.
    let other = Scope::Project(ProjectId(place.id.0));
    write(&store, async |tx| {
        membership::remove(tx, other, MemberId::User(bob.id)).await.expect("removed");
        membership::remove(tx, scope, MemberId::Group(GroupId(bob.id.0))).await.expect("removed");
    })
    .await;
    assert_eq!(listed().await, expected);
    let removed = MemberId::User(bob.id);
    write(&store, async |tx| membership::remove(tx, scope, removed).await.expect("removed")).await;
    assert_eq!(listed().await, expected[1..]);
    write(&store, async |tx| membership::clear(tx, scope).await.expect("cleared")).await;
    assert!(listed().await.is_empty());
}

async fn the_higher_of_two_roles_counts(database: Database) {
    let (storage, store) = open(database).await;
    let alice = owner(&store, "alice").await;
    let bob = add(&store, &user("bob")).await;
    let team = add_group(&storage, 1, &[bob.id]).await;
    let place = add_workspace(&store, &alice, "w", true).await;
    let scope = Scope::Workspace(place.id);
    set_role(&store, scope, MemberId::User(bob.id), Role::Viewer).await;
    set_role(&store, scope, MemberId::Group(team), Role::Administrator).await;
    let mut conn = store.read().await.expect("a connection");
    let stands = workspace::place(&mut conn, place.id, bob.id).await.expect("read").expect("there");
    assert_eq!((stands.role, stands.private, stands.guest), (Some(Role::Administrator), true, false));
}

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
