//! The policy by examples; that lists and answers agree with it is tested in `store` and `web`.

use super::*;
use crate::audit::By;
use crate::authz::{LASTING, Permit, READ_ONLY, System, Via, authorize, may_last};
use crate::id::{TaskId, TokenId, WorkspaceId};
use crate::password::Sent;
use crate::time::Timestamp;
use crate::user::{Password, Status, UserPatch};

fn actor(id: i64, admin: bool) -> Actor {
    Actor {
        user: UserId(id),
        username: format!("u{id}"),
        admin,
        via: Via::DefaultUser,
        address: None,
        as_of: 0,
    }
}

fn user(id: i64) -> User {
    User {
        id: UserId(id),
        username: format!("u{id}"),
        display_name: String::new(),
        admin: false,
        status: Status::Active,
        remote: false,
        password: Password::Blank,
        identity: None,
        email: None,
        service: false,
        modified_at: Timestamp(0),
        last_login_at: None,
        deleted_at: None,
    }
}

fn named(name: &str) -> Option<String> {
    Some(name.to_owned())
}

/// Owned by 1.
fn place(private: bool, role: Option<Role>) -> Place {
    Place { workspace: WorkspaceId(7), owner: UserId(1), private, role, guest: false }
}

#[test]
fn x10_private_places_do_not_exist_for_strangers() {
    let stranger = actor(2, false);
    assert_eq!(authorize::<ReadWorkspace>(&stranger, place(true, None)).err(), Some(Refusal::Hidden));
    assert_eq!(authorize::<ChangeWorkspace>(&stranger, place(true, None)).err(), Some(Refusal::Hidden));
    assert_eq!(authorize::<StartTask>(&stranger, place(true, None)).err(), Some(Refusal::Hidden));
    assert!(authorize::<ReadWorkspace>(&stranger, place(false, None)).is_ok());
    assert!(matches!(authorize::<StartTask>(&stranger, place(false, None)), Err(Refusal::Forbidden(_))));
}

#[test]
fn x04_roles_give_what_they_say_and_administrators_all() {
    for (role, add, change) in
        [(Role::Viewer, false, false), (Role::Editor, true, false), (Role::Administrator, true, true)]
    {
        let place = || place(true, Some(role));
        assert!(authorize::<ReadWorkspace>(&actor(2, false), place()).is_ok());
        assert_eq!(authorize::<AddToWorkspace>(&actor(2, false), place()).is_ok(), add, "{role:?}");
        assert_eq!(authorize::<ChangeWorkspace>(&actor(2, false), place()).is_ok(), change, "{role:?}");
    }
    for above in [actor(1, false), actor(9, true)] {
        assert!(authorize::<ChangeWorkspace>(&above, place(true, None)).is_ok());
    }
    let identity =
        || WorkspaceChange { identity: Some(IdentityParts::default()), ..WorkspaceChange::default() };
    assert!(authorize::<EditWorkspace>(&actor(1, false), (place(true, None), identity())).is_err());
    assert!(authorize::<EditWorkspace>(&actor(9, true), (place(true, None), identity())).is_ok());
}

#[test]
fn a_token_for_reading_changes_nothing() {
    let reader = Actor { via: Via::ReadOnlyToken(TokenId(1)), ..actor(9, true) };
    assert!(authorize::<ReadWorkspace>(&reader, place(true, None)).is_ok());
    let refused = authorize::<ChangeWorkspace>(&reader, place(true, None)).err();
    assert_eq!(refused, Some(Refusal::Forbidden(READ_ONLY)));
}

#[test]
fn a14_a_token_gives_nothing_that_outlives_it() {
    let nothing = UserPatch::default;
    let lasting = [
        UserPatch::password(Sent::default()),
        UserPatch { admin: Some(true), ..nothing() },
        UserPatch { identity: Some(IdentityParts::default()), ..nothing() },
        UserPatch { unlinks: true, ..nothing() },
        UserPatch { remote: Some(true), ..nothing() },
        UserPatch { username: named("x"), ..nothing() },
        UserPatch { email: named("x@y"), ..nothing() },
    ];
    for admin in [false, true] {
        let holder = Actor { via: Via::Token(TokenId(1)), ..actor(1, admin) };
        assert!(authorize::<CreateToken>(&actor(1, admin), user(1)).is_ok());
        for whose in [1, 2] {
            assert!(authorize::<CreateToken>(&holder, user(whose)).is_err(), "{whose}");
            for change in &lasting {
                let target = (user(whose), change.clone());
                assert!(authorize::<ChangeUser>(&holder, target).is_err(), "{change:?}");
            }
        }
        let shown = UserPatch { display_name: named("x"), ..nothing() };
        assert!(authorize::<ChangeUser>(&holder, (user(1), shown)).is_ok());
        assert!(authorize::<CreateUser>(&holder, NewUser::default()).is_err());
        assert_eq!(authorize::<CreateUser>(&holder, NewUser::without_a_way_in()).is_ok(), admin);
        assert_eq!(authorize::<ManageAgents>(&holder, ()).is_ok(), admin);
        let deletion = |heir: bool| Deletion { user: user(2), heir: heir.then_some(UserId(3)) };
        assert_eq!(authorize::<DeleteUser>(&holder, deletion(false)).is_ok(), admin);
        assert!(authorize::<DeleteUser>(&holder, deletion(true)).is_err());
        assert!(may_last(&By::from(&holder)).is_err());
        assert!(may_last(&By::from(&actor(1, admin))).is_ok());
        assert!(authorize::<InviteUser>(&holder, ()).is_err());
        assert!(authorize::<InviteAgent>(&holder, ()).is_err());
        assert!(authorize::<DecideRegistrations>(&holder, ()).is_err());
        let with_identity =
            NewWorkspace { identity: Some(IdentityParts::default()), ..NewWorkspace::default() };
        assert!(authorize::<CreateWorkspace>(&holder, with_identity).is_err());
    }
}

#[test]
fn a14_a_token_takes_rights_away_and_gives_none_back() {
    let holder = Actor { via: Via::Token(TokenId(1)), ..actor(9, true) };
    let active = UserPatch { active: Some(true), ..UserPatch::default() };
    let admin = UserPatch { admin: Some(true), ..UserPatch::default() };
    let away = User { status: crate::user::Status::Deactivated, ..user(2) };
    assert!(authorize::<ChangeUser>(&holder, (user(2), active.clone())).is_ok(), "deactivating");
    assert_eq!(authorize::<ChangeUser>(&holder, (away, active)).err(), Some(Refusal::Forbidden(LASTING)));
    assert!(authorize::<ChangeUser>(&holder, (User { admin: true, ..user(2) }, admin)).is_ok(), "demoting");
}

#[test]
fn r31_nobody_grants_what_they_lack() {
    let change = UserPatch { admin: Some(true), ..UserPatch::default() };
    assert!(authorize::<ChangeUser>(&actor(1, false), (user(1), change.clone())).is_err());
    assert!(authorize::<ChangeUser>(&actor(9, true), (user(1), change)).is_ok());
}

#[test]
fn r33_every_part_of_a_change_is_asked_for_itself() {
    let (username, display_name) = (named("x"), named("y"));
    let own = UserPatch { username, display_name, ..UserPatch::password(Sent::default()) };
    assert!(authorize::<ChangeUser>(&actor(1, false), (user(1), own.clone())).is_ok());
    assert!(authorize::<ChangeUser>(&actor(2, false), (user(1), own.clone())).is_err());
    let smuggled = UserPatch { active: Some(true), ..own };
    assert!(authorize::<ChangeUser>(&actor(1, false), (user(1), smuggled)).is_err());
    assert!(authorize::<ChangeUser>(&actor(1, false), (user(1), UserPatch::default())).is_ok());
}

fn task_of(owner: i64, id: u128) -> Task {
    let id = TaskId(uuid::Uuid::from_u128(id));
    Task { id, owner: UserId(owner), ..crate::authz::table::a_task() }
}

#[test]
fn a_running_task_reads_itself_and_does_nothing_else() {
    let id = |id| TaskId(uuid::Uuid::from_u128(id));
    let runs = TaskActor { task: id(1), owner: UserId(1), username: "u1".to_owned(), address: None };
    let own = || (task_of(1, 1), place(true, None));
    let permit = authorize::<ReadTask>(&runs, own()).expect("its own");
    assert_eq!(permit.by(), &By::from(&runs), "the audit log names the task");
    assert!(authorize::<ReadContext>(&runs, own()).is_ok());
    assert!(permit.ask_again(&own()).is_ok());
    // Another task of the same owner's isn't there for it.
    let other = || (task_of(1, 2), place(false, None));
    assert_eq!(authorize::<ReadTask>(&runs, other()).err(), Some(Refusal::Hidden));
    assert_eq!(permit.ask_again(&other()).err(), Some(Refusal::Hidden));
    assert_eq!(authorize::<ChangeTask>(&runs, own()).err(), Some(Refusal::Hidden));
    assert_eq!(authorize::<StartTask>(&runs, place(false, None)).err(), Some(Refusal::Hidden));
    assert_eq!(authorize::<SeeUser>(&runs, user(1)).err(), Some(Refusal::Hidden));
}

#[test]
fn r33_who_cannot_see_a_task_is_not_told_that_it_is_there() {
    let target = || (task_of(1, 1), place(true, None));
    assert_eq!(authorize::<ChangeTask>(&actor(2, false), target()).err(), Some(Refusal::Hidden));
    let shown = (task_of(1, 1), place(false, None));
    assert!(matches!(authorize::<ChangeTask>(&actor(2, false), shown), Err(Refusal::Forbidden(_))));
    for may in [actor(1, false), actor(9, true)] {
        assert!(authorize::<ChangeTask>(&may, target()).is_ok());
    }
}

#[test]
fn what_acts_for_muster_itself_says_so_and_is_asked_nothing() {
    let system = System::at_start();
    let permit = Permit::<ManageAgents>::system(&system, "a test", ());
    assert_eq!(permit.by(), &system.by("a test"));
    assert_eq!((permit.actor(), permit.ask_again(&())), (None, Ok(())));
}

#[test]
fn r25_asking_again_asks_all_that_was_asked_before() {
    let holder = Actor { via: Via::Token(TokenId(1)), ..actor(9, true) };
    let harmless = Deletion { user: user(2), heir: None };
    let permit = authorize::<DeleteUser>(&holder, harmless.clone()).expect("allowed");
    assert_eq!(permit.ask_again(&harmless), Ok(()));
    let lasting = Deletion { heir: Some(UserId(3)), ..harmless };
    assert_eq!(permit.ask_again(&lasting), Err(Refusal::Forbidden(LASTING)));
}

#[test]
fn a_permit_holds_the_change_that_it_allows() {
    let editor = actor(2, false);
    let project = |private| ProjectPlace {
        project: crate::id::ProjectId(7),
        owner: UserId(1),
        private,
        role: Some(Role::Editor),
        workspace: place(true, None),
    };
    let text = ProjectChange { description: named("new"), ..ProjectChange::default() };
    let permit = authorize::<ChangeProject>(&editor, (project(true), text.clone())).expect("an editor");
    assert_eq!(permit.target().1, text);
    for private in [false, true] {
        let seen = ProjectChange { private: Some(private), ..text.clone() };
        let refused = authorize::<ChangeProject>(&editor, (project(true), seen));
        assert!(matches!(refused, Err(Refusal::Forbidden(_))), "who sees it is its administrators' to say");
    }
    // What a token may change depends on what it is.
    let holder = Actor { via: Via::Token(TokenId(1)), ..actor(1, false) };
    let seen = |private| ProjectChange { private: Some(private), ..ProjectChange::default() };
    assert!(authorize::<ChangeProject>(&holder, (project(true), seen(true))).is_ok());
    assert_eq!(
        authorize::<ChangeProject>(&holder, (project(true), seen(false))).err(),
        Some(Refusal::Forbidden(LASTING))
    );
    let opened = WorkspaceChange { private: Some(false), ..WorkspaceChange::default() };
    assert!(authorize::<EditWorkspace>(&holder, (place(false, None), opened.clone())).is_ok(), "open before");
    assert!(authorize::<EditWorkspace>(&holder, (place(true, None), opened)).is_err());
}

#[test]
fn a14_a_token_takes_accounts_out_of_groups_and_puts_none_in() {
    let holder = Actor { via: Via::Token(TokenId(1)), ..actor(9, true) };
    let (group, people) = (GroupId(3), vec![UserId(2)]);
    let remove = GroupChange { remove: people.clone(), ..GroupChange::default() };
    assert!(authorize::<ChangeGroup>(&holder, (group, remove.clone())).is_ok());
    for lasting in [
        GroupChange { add: people.clone(), ..remove.clone() },
        GroupChange { name: named("x"), ..GroupChange::default() },
    ] {
        assert!(authorize::<ChangeGroup>(&holder, (group, lasting.clone())).is_err(), "{lasting:?}");
        assert!(authorize::<ChangeGroup>(&actor(9, true), (group, lasting)).is_ok());
    }
    let into = Assignment { users: people.clone(), add: vec![group], remove: Vec::new() };
    assert!(authorize::<AssignGroups>(&holder, into).is_err());
    assert!(authorize::<CreateGroup>(&holder, NewGroup { name: "x".to_owned(), add: people }).is_err());
    assert!(authorize::<DeleteGroup>(&holder, group).is_ok());
}
