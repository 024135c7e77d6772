//! Workspaces, projects, templates, their members: what the database shows is what the policy allows.

use domain::authz::{Act, Actor, ReadProject, ReadTask, ReadTemplate, ReadWorkspace, Via};
use domain::config::secrets::Layer;
use domain::id::{GroupId, ProjectId, UNCATEGORIZED, UserId, WorkspaceId};
use domain::identity::IdentityParts;
use domain::place::{MemberId, Project, Role, Scope, Template, Workspace};
use domain::task::{Kind, Task};
use domain::user::User;
use serde_json::json;
use store::{Begin, Store, Tx, membership, project, template, workspace};
use testkit::{Database, on_both_databases};

use crate::samples::{NOW, add, add_task, open, owner, task, user};
use crate::schema::execute;

on_both_databases!(
    x04_x10_lists_show_what_the_policy_allows,
    members_come_and_go_and_roles_change,
    the_higher_of_two_roles_counts,
);

pub(crate) async fn write<T>(store: &Store, work: impl AsyncFnOnce(&mut Tx) -> T) -> T {
    let mut tx = store.write().await.expect("a transaction");
    let done = work(&mut tx).await;
    tx.commit_unaudited("a test").await.expect("committed");
    done
}

pub(crate) async fn add_workspace(store: &Store, owner: &User, name: &str, private: bool) -> Workspace {
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

pub(crate) async fn add_project(
    store: &Store,
    owner: &User,
    place: WorkspaceId,
    name: &str,
    private: bool,
) -> Project {
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

pub(crate) async fn add_template(store: &Store, owner: &User, place: WorkspaceId, name: &str) -> Template {
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

pub(crate) async fn set_role(store: &Store, scope: Scope, member: MemberId, role: Role) {
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

pub(crate) fn actor(user: &User) -> Actor {
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
