//! Rights that end between the question and the change (R25): a permit says what was true when it was given. The services
//! are called directly, so that what ends in between ends exactly there.

use domain::authz::{
    ChangeProject, ChangeTask, ChangeUser, ChangeWorkspace, CreateWorkspace, EditWorkspace, Permit,
    ReadProject, SeeUser, StartTask, authorize,
};
use domain::id::{ProjectId, UserId, WorkspaceId};
use domain::place::{MemberId, NewWorkspace, ProjectChange, Role, WorkspaceChange};
use domain::user::UserPatch;
use master::Error;
use master::open::to;
use master::session::{Caller, Origin};
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
async fn make(master: &TestMaster, permit: &Permit<CreateWorkspace>) -> Result<(), Error> {
    master.services().workspaces.create(permit).await.map(drop)
}

async fn r25_what_an_account_may_is_asked_again_at_the_commit(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, boss) = (master.admin().await, master.user("boss").await);
    let services = master.services();
    admin.patch(&boss.path()).json(json!({"admin": true})).await.ok();

    // Demoted: nobody makes themselves an administrator again.
    let as_boss = caller(&master, &boss).await;
    let patch = UserPatch { admin: Some(true), ..UserPatch::default() };
    let user = services.open::<SeeUser>(&as_boss, UserId(boss.id)).await.expect("there").into_target();
    let permit = authorize::<ChangeUser>(&as_boss.actor, (user, patch)).expect("allowed");
    admin.patch(&boss.path()).json(json!({"admin": false})).await.ok();
    outdated(services.accounts.change(permit).await);
    assert_eq!(admin.get(&boss.path()).await.ok()["user"]["admin"], false);

    let may = |caller: &Caller, name: &str| {
        let new = NewWorkspace { name: name.to_owned(), ..NewWorkspace::default() };
        authorize::<CreateWorkspace>(caller, new).expect("allowed")
    };
    // Others' changes are nothing to who keeps their rights.
    let permit = may(&caller(&master, &boss).await, "kept");
    admin.patch(&boss.path()).json(json!({"displayName": "Boss"})).await.ok();
    make(&master, &permit).await.expect("made");

    // A session that was ended, a token that was revoked, an account that was deactivated.
    let permit = may(&caller(&master, &boss).await, "by an ended session");
    boss.post("/api/v1/auth/logout").await.ok();
    outdated(make(&master, &permit).await);
    let boss = master.log_in("boss").await;
    let (holder, token) = boss.by_token(json!({"description": "ci", "lifespan": "48h"})).await;
    let permit = may(&caller(&master, &holder).await, "by a revoked token");
    admin.patch(&format!("/api/v1/tokens/{token}")).json(json!({"setRevoked": true})).await.ok();
    outdated(make(&master, &permit).await);
    let permit = may(&caller(&master, &boss).await, "by a deactivated account");
    admin.patch(&boss.path()).json(json!({"active": false})).await.ok();
    outdated(make(&master, &permit).await);

    // The default user, whose password was set.
    let default_user = master.default_user().await;
    let local = services.sessions.default_caller(UserId(default_user.id), Origin::Local).await;
    let permit = may(&local.expect("asked").expect("let in"), "by the default user");
    default_user.patch(&default_user.path()).json(json!({"password": "a quiet lake"})).await.ok();
    outdated(make(&master, &permit).await);

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
    let change = WorkspaceChange { private: Some(false), ..WorkspaceChange::default() };
    let open = master.services().open_to_change::<EditWorkspace>(&as_bob, place).await;
    let edit = to(&as_bob, open.expect("an administrator of it"), change).expect("an administrator of it");
    alice.delete(&format!("{members}?userId={}", bob.id)).await.ok();

    let member = MemberId::User(UserId(bob.id));
    let gone = format!("workspace '{place}' not found");
    let said = workspaces.set_member(&permit, member, Some(Role::Administrator)).await;
    assert_eq!(said.expect_err("refused").to_string(), gone);
    assert_eq!(workspaces.change(&edit).await.expect_err("refused").to_string(), gone);
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
    let write = async |change| {
        let permit = services.open_to_change::<ChangeProject>(&as_bob, project).await.expect("a member");
        to(&as_bob, permit, change).expect("an administrator of it")
    };
    let close = write(ProjectChange { private: Some(true), ..ProjectChange::default() }).await;
    let text = write(ProjectChange { description: Some("new".to_owned()), ..ProjectChange::default() }).await;

    // Who may change less than before, changes nothing of that.
    alice.put(&members).json(role("editor")).await.ok();
    services.projects.change(&close).await.expect_err("for administrators");
    assert!(!services.projects.change(&text).await.expect("still theirs").private);

    alice.delete(&format!("{members}?userId={}", bob.id)).await.ok();
    let config = r#"{"entrypoint": ["true"], "resources": {"slots": 0}}"#;
    let launched = services.tasks.start_command(start, None, Some(config), None).await;
    assert_eq!(launched.expect_err("refused").to_string(), format!("workspace '{place}' not found"));
    let noted = services.projects.set_bookmark(&read, true).await;
    assert_eq!(noted.expect_err("refused").to_string(), format!("project '{project}' not found"));
}
