//! What lists show is what the policy allows, in worlds made at random: `store`'s `visible.rs` against `domain::authz`. What
//! the policy is told comes from the world that was made, not from the database, so that the look-ups of single places are
//! held against it, too.

use std::collections::{BTreeMap, BTreeSet};

use domain::authz::{Act, Actor, ReadProject, ReadTask, ReadTemplate, ReadWorkspace, SeeMembers, Via};
use domain::config::secrets::Layer;
use domain::id::{GroupId, ProjectId, UserId, WorkspaceId};
use domain::identity::IdentityParts;
use domain::place::{MemberId, Place, Project, ProjectPlace, Role, Scope, Template, Workspace};
use domain::task::{Kind, Task};
use domain::user::User;
use serde_json::json;
use store::{Begin, Conn, Store, Tx, group, membership, project, template, workspace};
use testkit::{Database, on_both_databases};

use crate::samples::{NOW, add, config, open, owner, task, user};

on_both_databases!(x04_x10_in_any_world_lists_show_what_the_policy_allows);

/// Worlds, and how often each is changed.
const SEEDS: [u64; 3] = [1, 2, 3];
const ROUNDS: usize = 4;

/// Numbers at random, the same for a seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % sides as u64).expect("small")
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.roll(of.len())]
    }

    fn half(&mut self) -> bool {
        self.roll(2) == 0
    }

    fn role(&mut self) -> Role {
        *self.one(&[Role::Viewer, Role::Editor, Role::Administrator])
    }
}

/// Who has which role where. `Scope` and `MemberId` have no order: their numbers have.
type Roles = BTreeMap<(bool, i64, bool, i64), Role>;

fn key(scope: Scope, member: MemberId) -> (bool, i64, bool, i64) {
    let (in_project, place) = match scope {
        Scope::Workspace(id) => (false, id.0),
        Scope::Project(id) => (true, id.0),
    };
    let (is_group, id) = match member {
        MemberId::User(id) => (false, id.0),
        MemberId::Group(id) => (true, id.0),
    };
    (in_project, place, is_group, id)
}

/// What the database is told, in Rust.
#[derive(Default)]
struct World {
    people: Vec<User>,
    groups: BTreeMap<GroupId, BTreeSet<UserId>>,
    workspaces: Vec<Workspace>,
    deleted: BTreeSet<WorkspaceId>,
    projects: Vec<Project>,
    templates: Vec<Template>,
    tasks: Vec<Task>,
    roles: Roles,
}

impl World {
    async fn made(store: &Store, dice: &mut Dice) -> Self {
        let mut world = Self::default();
        world.people.push(owner(store, "owner").await);
        world.people.push(add(store, &User { admin: true, ..user("admin") }).await);
        for at in 0..6 {
            world.people.push(add(store, &user(&format!("person{at}"))).await);
        }
        let mut tx = store.write().await.expect("a transaction");
        for at in 0..4 {
            let made = group::insert(&mut tx, &format!("group{at}"), NOW).await.expect("made");
            world.groups.insert(made.id, BTreeSet::new());
        }
        for at in 0..14 {
            world.add_workspace(&mut tx, dice, at).await;
        }
        for at in 0..24 {
            world.add_things(&mut tx, dice, at).await;
        }
        tx.commit_unaudited("a test").await.expect("committed");
        world
    }

    async fn add_workspace(&mut self, tx: &mut Tx, dice: &mut Dice, at: usize) {
        let owner = dice.one(&self.people).clone();
        let new = Workspace {
            id: WorkspaceId(0),
            name: format!("w{at}"),
            owner: owner.id,
            owner_name: owner.username,
            private: dice.half(),
            archived: dice.half(),
            identity: IdentityParts::default(),
            checkpoint_storage: None,
            personal_of: None,
            created_at: NOW,
        };
        self.workspaces.push(workspace::insert(tx, &new).await.expect("made"));
    }

    /// A project, a template and a task, each somewhere.
    async fn add_things(&mut self, tx: &mut Tx, dice: &mut Dice, at: usize) {
        let (place, owner) = (dice.one(&self.workspaces).id, dice.one(&self.people).clone());
        let id = project::next_id(tx).await.expect("a number");
        let new = Project {
            id,
            workspace: place,
            name: format!("p{at}"),
            code: format!("P{id}"),
            description: String::new(),
            notes: Vec::new(),
            tags: Vec::new(),
            private: dice.half(),
            archived: dice.half(),
            owner: owner.id,
            owner_name: owner.username,
            created_at: NOW,
            modified_at: NOW,
        };
        project::insert(tx, &new).await.expect("made");
        self.projects.push(new);

        let (place, owner) = (dice.one(&self.workspaces).id, dice.one(&self.people).clone());
        let new = Template {
            name: format!("t{at:02}"),
            config: Layer::new(json!({})),
            workspace: place,
            owner: owner.id,
            owner_name: owner.username,
            created_at: NOW,
            modified_at: NOW,
        };
        template::insert(tx, &new).await.expect("made");
        self.templates.push(new);

        let (place, owner) = (dice.one(&self.workspaces).id, dice.one(&self.people).clone());
        let new = Task { workspace: place, ..task(&owner) };
        self.tasks.push(store::task::insert(tx, new, &config()).await.expect("made"));
    }

    /// Roles and members come and go; now and then a workspace goes for good.
    async fn changed(&mut self, store: &Store, dice: &mut Dice) {
        let mut tx = store.write().await.expect("a transaction");
        for _ in 0..20 {
            self.change_role(&mut tx, dice).await;
        }
        for _ in 0..6 {
            let groups: Vec<_> = self.groups.keys().copied().collect();
            let (id, person) = (*dice.one(&groups), dice.one(&self.people).id);
            let members = self.groups.get_mut(&id).expect("there");
            if dice.half() {
                group::add(&mut tx, id, person).await.expect("added");
                members.insert(person);
            } else {
                group::remove(&mut tx, id, person).await.expect("removed");
                members.remove(&person);
            }
        }
        let gone = dice.one(&self.workspaces).id;
        if self.deleted.insert(gone) {
            workspace::delete(&mut tx, gone, NOW).await.expect("deleted");
            self.projects.retain(|project| project.workspace != gone);
            self.templates.retain(|template| template.workspace != gone);
        }
        tx.commit_unaudited("a test").await.expect("committed");
    }

    async fn change_role(&mut self, tx: &mut Tx, dice: &mut Dice) {
        let scope = match dice.half() {
            true => Scope::Workspace(dice.one(&self.workspaces).id),
            false => Scope::Project(dice.one(&self.projects).id),
        };
        if matches!(scope, Scope::Workspace(id) if self.deleted.contains(&id)) {
            return;
        }
        let groups: Vec<_> = self.groups.keys().copied().collect();
        let member = match dice.half() {
            true => MemberId::User(dice.one(&self.people).id),
            false => MemberId::Group(*dice.one(&groups)),
        };
        if dice.roll(4) == 0 {
            membership::remove(tx, scope, member).await.expect("removed");
            self.roles.remove(&key(scope, member));
        } else {
            let role = dice.role();
            membership::set(tx, scope, member, role).await.expect("set");
            self.roles.insert(key(scope, member), role);
        }
    }

    /// The highest of an account's roles in a place, its own and its groups'.
    fn role(&self, scope: Scope, viewer: UserId) -> Option<Role> {
        let groups = self.groups.iter().filter(|(_, members)| members.contains(&viewer));
        let members = groups.map(|(id, _)| MemberId::Group(*id)).chain([MemberId::User(viewer)]);
        members.filter_map(|member| self.roles.get(&key(scope, member)).copied()).max()
    }

    fn place(&self, id: WorkspaceId, viewer: UserId) -> Place {
        let of = self.workspaces.iter().find(|each| each.id == id).expect("there");
        let gone = self.deleted.contains(&id);
        let mut inside = self.projects.iter().filter(|project| project.workspace == id);
        Place {
            workspace: id,
            owner: of.owner,
            private: of.private || gone,
            role: self.role(Scope::Workspace(id), viewer).filter(|_| !gone),
            guest: inside.any(|project| {
                project.owner == viewer || self.role(Scope::Project(project.id), viewer).is_some()
            }),
        }
    }

    fn project_place(&self, project: &Project, viewer: UserId) -> ProjectPlace {
        ProjectPlace {
            project: project.id,
            owner: project.owner,
            private: project.private,
            role: self.role(Scope::Project(project.id), viewer),
            workspace: self.place(project.workspace, viewer),
        }
    }
}

fn actor(user: &User) -> Actor {
    let via = Via::DefaultUser;
    Actor { user: user.id, username: user.username.clone(), admin: user.admin, via, address: None, as_of: 0 }
}

/// Of `things` those that the policy allows.
fn allowed<A: Act, T, I>(
    actor: &Actor,
    things: impl IntoIterator<Item = T>,
    target: impl Fn(&T) -> A::Target,
    id: impl Fn(T) -> I,
) -> Vec<I> {
    let may = |thing: &T| A::check(actor, &target(thing)).is_ok();
    things.into_iter().filter(may).map(id).collect()
}

async fn compare(world: &World, conn: &mut Conn, viewer: &User, why: &str) {
    let (who, me) = (actor(viewer), viewer.id);
    let seen_by = (!viewer.admin).then_some(me);
    let why = format!("{why}, {}", viewer.username);

    for each in &world.workspaces {
        let place = workspace::place(conn, each.id, me).await.expect("read");
        assert_eq!(place, Some(world.place(each.id, me)), "{why}");
    }
    for each in &world.projects {
        let place = project::place(conn, each.id, me).await.expect("read");
        assert_eq!(place, Some(world.project_place(each, me)), "{why}");
    }

    let there = || world.workspaces.iter().filter(|each| !world.deleted.contains(&each.id));
    let expected = allowed::<ReadWorkspace, _, _>(&who, there(), |w| world.place(w.id, me), |w| w.id);
    let filter = workspace::Filter { seen_by, ..Default::default() };
    let listed = workspace::list(conn, &filter, 0, 1000).await.expect("listed");
    let listed: Vec<_> = listed.iter().map(|each| each.id).filter(|id| id.0 != 1).collect();
    assert_eq!(listed, expected, "workspaces: {why}");

    let target = |p: &&Project| world.project_place(p, me);
    let expected = allowed::<ReadProject, _, _>(&who, &world.projects, target, |p| p.id);
    let filter = project::Filter { seen_by, ..Default::default() };
    let listed = project::ids(conn, &filter, Begin::At(0), 1000).await.expect("listed");
    let listed: Vec<_> = listed.into_iter().filter(|id| *id != ProjectId(1)).collect();
    assert_eq!(listed, expected, "projects: {why}");

    let target = |t: &&Template| ((*t).clone(), world.place(t.workspace, me));
    let expected = allowed::<ReadTemplate, _, _>(&who, &world.templates, target, |t| t.name.clone());
    let filter = template::Filter { seen_by, ..Default::default() };
    let listed = template::list(conn, &filter, None, 0, 1000).await.expect("listed");
    let listed: Vec<_> = listed.iter().map(|each| each.name().to_owned()).collect();
    assert_eq!(listed, expected, "templates: {why}");
    let count = template::count(conn, &filter).await.expect("counted");
    assert_eq!(usize::try_from(count), Ok(listed.len()), "templates: {why}");

    tasks(world, conn, (viewer, &who), &why).await;
    members(world, conn, (viewer, &who), &why).await;
}

async fn tasks(world: &World, conn: &mut Conn, (viewer, who): (&User, &Actor), why: &str) {
    let seen_by = (!viewer.admin).then_some(viewer.id);
    let target = |t: &&Task| ((*t).clone(), world.place(t.workspace, viewer.id));
    let expected = allowed::<ReadTask, _, _>(who, &world.tasks, target, |t| t.seq);
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
    let listed = store::task::list(conn, &filter, 0, 1000).await.expect("listed");
    let listed: Vec<_> = listed.iter().map(|each| each.seq).collect();
    assert_eq!(listed, expected, "tasks: {why}");
    let count = store::task::count(conn, &filter).await.expect("counted");
    assert_eq!(usize::try_from(count), Ok(listed.len()), "tasks: {why}");
}

/// Whose memberships are shown: by workspace, with who has which role.
async fn members(world: &World, conn: &mut Conn, (viewer, who): (&User, &Actor), why: &str) {
    let may =
        allowed::<SeeMembers, _, _>(who, &world.workspaces, |w| world.place(w.id, viewer.id), |w| w.id.0);
    let in_workspaces = world.roles.iter().filter(|((in_project, ..), _)| !in_project);
    let expected: BTreeSet<_> = in_workspaces
        .filter(|((_, place, ..), _)| may.contains(place) && !world.deleted.contains(&WorkspaceId(*place)))
        .map(|(key, role)| (*key, *role))
        .collect();
    let seen_by = (!viewer.admin).then_some(viewer.id);
    let listed = membership::in_workspaces(conn, seen_by, None, None).await.expect("listed");
    let listed: BTreeSet<_> =
        listed.into_iter().map(|(id, member)| (key(Scope::Workspace(id), member.id), member.role)).collect();
    assert_eq!(listed, expected, "members: {why}");
}

async fn x04_x10_in_any_world_lists_show_what_the_policy_allows(database: Database) {
    for seed in SEEDS {
        let (_storage, store) = open(database).await;
        let mut dice = Dice(seed);
        let mut world = World::made(&store, &mut dice).await;
        for round in 0..ROUNDS {
            world.changed(&store, &mut dice).await;
            let mut conn = store.read().await.expect("a connection");
            for viewer in &world.people {
                compare(&world, &mut conn, viewer, &format!("seed {seed}, round {round}")).await;
            }
        }
    }
}
