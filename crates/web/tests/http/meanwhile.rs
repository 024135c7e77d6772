//! Rights that end between the question and the change (R25): a permit says what was true when it was given. The services
//! are called directly, so that what ends in between ends exactly there.

use api::user::PatchUser;
use domain::authz::{
    ChangeProject, ChangeTask, ChangeUser, ChangeWorkspace, CreateWorkspace, ManageProject, Permit,
    ReadProject, SeeUser, StartTask, authorize,
};
use domain::id::{ProjectId, UserId, WorkspaceId};
use domain::place::{MemberId, Role};
use master::Error;
use master::account::Accounts;
use master::project::ProjectChange;
use master::session::{Caller, Origin};
use master::workspace::{NewWorkspace, WorkspaceChange};
use serde_json::json;
use testkit::{Database, Requests as _, TestMaster, User, on_both_databases};

on_both_databases!(
    r25_what_an_account_may_is_asked_again_at_the_commit,
    r25_what_a_member_may_is_asked_again_in_the_change,
    r25_a_launch_and_a_projects_changes_are_asked_again,
    a04_a_kill_is_written_down_whatever_became_of_its_killer,
);

async fn caller(master: &TestMaster, user: &User) -> Caller {
    master.services().sessions.authenticate(&user.token).await.expect("good")
}

fn outdated<T: std::fmt::Debug>(result: Result<T, Error>) {
    let said = result.expect_err("refused").to_string();
    assert_eq!(said, "your rights have changed meanwhile, and nothing was done: try again");
}

/// A change that any account may make.
async fn make(master: &TestMaster, permit: &Permit<CreateWorkspace>, name: &str) -> Result<(), Error> {
    let new = NewWorkspace { name: name.to_owned(), ..NewWorkspace::default() };
    master.services().workspaces.create(permit, new).await.map(drop)
}

async fn r25_what_an_account_may_is_asked_again_at_the_commit(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, boss) = (master.admin().await, master.user("boss").await);
    let services = master.services();
    admin.patch(&boss.path()).json(json!({"admin": true})).await.ok();

    // Demoted: nobody makes themselves an administrator again.
    let as_boss = caller(&master, &boss).await;
    let patch = PatchUser { admin: Some(true), ..PatchUser::default() };
    let user = services.open::<SeeUser>(&as_boss, UserId(boss.id)).await.expect("there").into_target();
    let change = Accounts::what_changes(&user, &patch);
    let permit = authorize::<ChangeUser>(&as_boss.actor, (user, change)).expect("allowed");
    admin.patch(&boss.path()).json(json!({"admin": false})).await.ok();
    outdated(services.accounts.change(permit, patch).await);
    assert_eq!(admin.get(&boss.path()).await.ok()["user"]["admin"], false);

    let may = |caller: &Caller| authorize::<CreateWorkspace>(&caller.actor, ()).expect("allowed");
    // Others' changes are nothing to who keeps their rights.
    let permit = may(&caller(&master, &boss).await);
    admin.patch(&boss.path()).json(json!({"displayName": "Boss"})).await.ok();
    make(&master, &permit, "kept").await.expect("made");

    // A session that was ended, a token that was revoked, an account that was deactivated.
    let permit = may(&caller(&master, &boss).await);
    boss.post("/api/v1/auth/logout").await.ok();
    outdated(make(&master, &permit, "by an ended session").await);
    let boss = master.log_in("boss").await;
    let (holder, token) = boss.by_token(json!({"description": "ci", "lifespan": "48h"})).await;
    let permit = may(&caller(&master, &holder).await);
    admin.patch(&format!("/api/v1/tokens/{token}")).json(json!({"setRevoked": true})).await.ok();
    outdated(make(&master, &permit, "by a revoked token").await);
    let permit = may(&caller(&master, &boss).await);
    admin.patch(&boss.path()).json(json!({"active": false})).await.ok();
    outdated(make(&master, &permit, "by a deactivated account").await);

    // The default user, whose password was set.
    let default_user = master.default_user().await;
    let local = services.sessions.default_caller(UserId(default_user.id), Origin::Local).await;
    let permit = may(&local.expect("asked").expect("let in"));
    default_user.patch(&default_user.path()).json(json!({"password": "a quiet lake"})).await.ok();
    outdated(make(&master, &permit, "by the default user").await);

    let all = admin.get("/api/v1/workspaces").await.ok().to_string();
    assert!(all.contains("kept") && !all.contains("\"by a"), "{all}");
}

async fn a04_a_kill_is_written_down_whatever_became_of_its_killer(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, boss) = (master.admin().await, master.user("boss").await);
    admin.patch(&boss.path()).json(json!({"admin": true})).await.ok();
    let mut agent = master.agent("node").await;
    let [first, second] = [master.task(&admin, &mut agent).await, master.task(&admin, &mut agent).await];
    let as_boss = caller(&master, &boss).await;
    let tasks = &master.services().tasks;
    let first_id = first.start.allocation.task;
    let permit = master.services().open::<ChangeTask>(&as_boss, first_id).await.expect("allowed");
    admin.patch(&boss.path()).json(json!({"active": false})).await.ok();
    // It is acted on before anything is written, so it has happened; and it holds up nobody's after it.
    tasks.kill(permit).await.expect("killed");
    agent.expect_kill(first.start.allocation).await;
    admin.post(&format!("/api/v1/commands/{}/kill", second.id())).await.ok();
    agent.expect_kill(second.start.allocation).await;
    assert_eq!(master.services().disagreements().await.expect("asked"), Vec::<String>::new());
}

async fn r25_what_a_member_may_is_asked_again_in_the_change(database: Database) {
    let master = TestMaster::start(database).await;
    let (alice, bob) = (master.user("alice").await, master.user("bob").await);
    let made = alice.post("/api/v1/workspaces").json(json!({"name": "vision", "private": true})).await.ok();
    let place = WorkspaceId(made["workspace"]["id"].as_i64().expect("a number"));
    let members = format!("/api/v1/workspaces/{place}/members");
    let role = json!({"userId": bob.id, "role": "administrator"});
    alice.put(&members).json(role).await.ok();

    let workspaces = &master.services().workspaces;
    let as_bob = caller(&master, &bob).await;
    let open = master.services().open::<ChangeWorkspace>(&as_bob, place);
    let permit = open.await.expect("an administrator of it");
    alice.delete(&format!("{members}?userId={}", bob.id)).await.ok();

    let member = MemberId::User(UserId(bob.id));
    let gone = format!("workspace '{place}' not found");
    let said = workspaces.set_member(&permit, member, Some(Role::Administrator)).await;
    assert_eq!(said.expect_err("refused").to_string(), gone);
    let change = WorkspaceChange { private: Some(false), ..WorkspaceChange::default() };
    assert_eq!(workspaces.change(&permit, change).await.expect_err("refused").to_string(), gone);
    assert_eq!(workspaces.delete(&permit).await.expect_err("refused").to_string(), gone);
    bob.get(&members).await.refused(404);
}

async fn r25_a_launch_and_a_projects_changes_are_asked_again(database: Database) {
    let master = TestMaster::start(database).await;
    let (alice, bob) = (master.user("alice").await, master.user("bob").await);
    let made = alice.post("/api/v1/workspaces").json(json!({"name": "vision", "private": true})).await.ok();
    let place = WorkspaceId(made["workspace"]["id"].as_i64().expect("a number"));
    let projects = format!("/api/v1/workspaces/{place}/projects");
    let made = alice.post(&projects).json(json!({"name": "eyes"})).await.ok();
    let project = ProjectId(made["project"]["id"].as_i64().expect("a number"));
    let members = format!("/api/v1/workspaces/{place}/members");
    let role = |role: &str| json!({"userId": bob.id, "role": role});
    alice.put(&members).json(role("administrator")).await.ok();

    let services = master.services();
    let as_bob = caller(&master, &bob).await;
    let start = services.open::<StartTask>(&as_bob, place).await.expect("a member");
    let read = services.open::<ReadProject>(&as_bob, project).await.expect("a member");
    let write = services.open::<ChangeProject>(&as_bob, project).await.expect("a member");
    let manage = services.open::<ManageProject>(&as_bob, project).await.expect("an administrator of it");

    // Who may change less than before, changes nothing of that.
    alice.put(&members).json(role("editor")).await.ok();
    let change = ProjectChange { private: Some((manage, true)), ..ProjectChange::default() };
    services.projects.change(&write, change).await.expect_err("for administrators");
    let text = ProjectChange { description: Some("new".to_owned()), ..ProjectChange::default() };
    assert!(!services.projects.change(&write, text).await.expect("still theirs").private);

    alice.delete(&format!("{members}?userId={}", bob.id)).await.ok();
    let config = r#"{"entrypoint": ["true"], "resources": {"slots": 0}}"#;
    let launched = services.tasks.start_command(start, &as_bob.user, None, Some(config), None).await;
    assert_eq!(launched.expect_err("refused").to_string(), format!("workspace '{place}' not found"));
    let noted = services.projects.set_bookmark(&read, true).await;
    assert_eq!(noted.expect_err("refused").to_string(), format!("project '{project}' not found"));
}
