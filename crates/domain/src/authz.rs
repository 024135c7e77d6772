//! The permission policy: who may do what (design section 3). This file is the whole of it.
//!
//! Every act is a type. [`authorize`] is the only maker of a [`Permit`], and services take the permit instead of the
//! id, so that a service can't be called without the question having been asked. Lists take a [`Visible`] scope.
//! Work on the system's own behalf uses [`Permit::system`], which can be searched for.

use std::marker::PhantomData;

use crate::id::{SessionId, TaskId, UserId};
use crate::session::Session;
use crate::task::Task;
use crate::user::User;

/// Somebody who has proved who they are, and whose account is active (P17).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The account.
    pub user: UserId,
    /// Its name, for logs and messages.
    pub username: String,
    /// Administrator (X1).
    pub admin: bool,
    /// The session that proved it; `None` for the default user on the machine itself (P2).
    pub session: Option<SessionId>,
}

/// Why an act was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The actor may know of the thing, but not do this. The text is the one that Determined's clients know.
    Forbidden(&'static str),
    /// For this actor the thing doesn't exist.
    Hidden,
}

/// Something that can be done, to a target of a certain kind.
pub trait Act {
    /// The facts about the target that the decision rests on.
    type Target;

    /// Whether `actor` may do it to `target`.
    ///
    /// # Errors
    /// The refusal to be told.
    fn check(actor: &Actor, target: &Self::Target) -> Result<(), Refusal>;
}

/// Proof that somebody may do `A` to the target inside.
#[derive(Debug)]
pub struct Permit<A: Act> {
    actor: Option<UserId>,
    target: A::Target,
    act: PhantomData<A>,
}

impl<A: Act> Permit<A> {
    /// For the system's own work: start-up, clean-up, the scheduler. `reason` is for the reader of the code.
    #[must_use]
    pub fn system(reason: &'static str, target: A::Target) -> Self {
        let _ = reason;
        Self { actor: None, target, act: PhantomData }
    }

    /// Who acts; `None` is the system itself.
    #[must_use]
    pub fn actor(&self) -> Option<UserId> {
        self.actor
    }

    /// What the act is done to.
    #[must_use]
    pub fn target(&self) -> &A::Target {
        &self.target
    }

    /// Gives the target away.
    #[must_use]
    pub fn into_target(self) -> A::Target {
        self.target
    }
}

/// Asks the policy. The only way to a [`Permit`] for a person.
///
/// # Errors
/// The refusal to be told.
pub fn authorize<A: Act>(actor: &Actor, target: A::Target) -> Result<Permit<A>, Refusal> {
    A::check(actor, &target)?;
    Ok(Permit { actor: Some(actor.user), target, act: PhantomData })
}

fn admin_only(actor: &Actor, text: &'static str) -> Result<(), Refusal> {
    if actor.admin { Ok(()) } else { Err(Refusal::Forbidden(text)) }
}

/// What a caller may see of a kind of thing. There is no list without one.
#[derive(Debug)]
pub struct Visible<T> {
    viewer: UserId,
    all: bool,
    of: PhantomData<T>,
}

impl<T> Visible<T> {
    /// What `actor` may see.
    #[must_use]
    pub fn to(actor: &Actor) -> Self {
        Self { viewer: actor.user, all: actor.admin, of: PhantomData }
    }

    /// The account that looks.
    #[must_use]
    pub fn viewer(&self) -> UserId {
        self.viewer
    }

    /// Whether private things of others are included.
    #[must_use]
    pub fn everything(&self) -> bool {
        self.all
    }
}

macro_rules! admin_acts {
    ($($(#[$doc:meta])* $name:ident($target:ty) => $text:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name;

        impl Act for $name {
            type Target = $target;
            fn check(actor: &Actor, _: &$target) -> Result<(), Refusal> {
                admin_only(actor, $text)
            }
        }
    )*};
}

admin_acts! {
    /// Make an account (P5, P12).
    CreateUser(()) => "only admin privileged users can create users";
    /// Invite an agent to enrol.
    InviteAgent(()) => "only admin privileged users can invite agents";
    /// Take an agent or a slot out of service, or back in (X8).
    ManageAgents(()) => "user does not have permission";
    /// Read the master's configuration, secrets masked.
    ReadMasterConfig(()) => "user does not have permission";
}

/// What is to change of an account; each part is allowed or refused on its own (R33).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UserChange {
    /// The role.
    pub admin: bool,
    /// Managed by sign-on or not.
    pub remote: bool,
    /// Active or not.
    pub active: bool,
    /// The Unix identity.
    pub identity: bool,
    /// The name.
    pub username: bool,
    /// The display name.
    pub display_name: bool,
    /// The password.
    pub password: bool,
}

/// Change an account (P5, P13, P14, D2, R31).
#[derive(Debug)]
pub struct ChangeUser;

impl Act for ChangeUser {
    type Target = (User, UserChange);

    fn check(actor: &Actor, (user, change): &Self::Target) -> Result<(), Refusal> {
        let own = actor.user == user.id;
        let rules = [
            (change.admin, false, "only admin privileged users can update users"),
            (change.remote, false, "only admin privileged users can update other users"),
            (change.active, false, "only admin privileged users can update users"),
            (change.identity, false, "only admin privileged users can update users"),
            (change.username, own, "only admin privileged users can update other users"),
            (change.display_name, own, "only admin privileged users can set another user's display name"),
            (change.password, own, "only admin privileged users can change other user's passwords"),
        ];
        match rules.into_iter().find(|(asked, allowed, _)| *asked && !allowed && !actor.admin) {
            Some((_, _, text)) => Err(Refusal::Forbidden(text)),
            None => Ok(()),
        }
    }
}

/// See an account's sessions: one's own, and administrators everybody's.
#[derive(Debug)]
pub struct SeeSessions;

impl Act for SeeSessions {
    type Target = User;
    fn check(actor: &Actor, user: &User) -> Result<(), Refusal> {
        if actor.admin || actor.user == user.id {
            Ok(())
        } else {
            Err(Refusal::Forbidden("only administrators can see other users' sessions"))
        }
    }
}

/// End a session: one's own, and administrators everybody's. For others it doesn't exist.
#[derive(Debug)]
pub struct EndSession;

impl Act for EndSession {
    type Target = Session;
    fn check(actor: &Actor, session: &Session) -> Result<(), Refusal> {
        if actor.admin || actor.user == session.user_id { Ok(()) } else { Err(Refusal::Hidden) }
    }
}

/// Start a task for oneself.
#[derive(Debug)]
pub struct StartTask;

impl Act for StartTask {
    type Target = ();
    // Every active account may, in the workspace that everybody shares.
    fn check(_: &Actor, (): &()) -> Result<(), Refusal> {
        Ok(())
    }
}

/// Read a task, its configuration and its log.
#[derive(Debug)]
pub struct ReadTask;

impl Act for ReadTask {
    type Target = Task;
    // All workspaces are public so far; private ones answer `Hidden` here.
    fn check(_: &Actor, _: &Task) -> Result<(), Refusal> {
        Ok(())
    }
}

/// Kill a task or change its priority: its owner and administrators (design section 3).
#[derive(Debug)]
pub struct ChangeTask;

impl Act for ChangeTask {
    type Target = Task;
    fn check(actor: &Actor, task: &Task) -> Result<(), Refusal> {
        if actor.admin || actor.user == task.owner {
            Ok(())
        } else {
            Err(Refusal::Forbidden("only the owner of a task and administrators can change it"))
        }
    }
}

/// A running task's own credentials: good for that task's endpoints only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskActor {
    /// The task.
    pub task: TaskId,
    /// Its owner.
    pub owner: UserId,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;
    use crate::user::{Password, Status};

    fn actor(id: i64, admin: bool) -> Actor {
        Actor { user: UserId(id), username: format!("u{id}"), admin, session: None }
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
            modified_at: Timestamp(0),
            last_login_at: None,
        }
    }

    #[test]
    fn r31_nobody_grants_what_they_lack() {
        let change = UserChange { admin: true, ..UserChange::default() };
        assert!(authorize::<ChangeUser>(&actor(1, false), (user(1), change)).is_err());
        assert!(authorize::<ChangeUser>(&actor(9, true), (user(1), change)).is_ok());
    }

    #[test]
    fn r33_every_part_of_a_change_is_asked_for_itself() {
        let own = UserChange { password: true, display_name: true, username: true, ..UserChange::default() };
        assert!(authorize::<ChangeUser>(&actor(1, false), (user(1), own)).is_ok());
        assert!(authorize::<ChangeUser>(&actor(2, false), (user(1), own)).is_err());
        let smuggled = UserChange { active: true, ..own };
        assert!(authorize::<ChangeUser>(&actor(1, false), (user(1), smuggled)).is_err());
        assert!(authorize::<ChangeUser>(&actor(1, false), (user(1), UserChange::default())).is_ok());
    }
}
