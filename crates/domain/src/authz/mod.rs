//! How permission is asked for: actors, acts, permits, scopes. What may be done is in [`policy`].
//!
//! Every act is a type. [`authorize`] is the only maker of a [`Permit`], and services take the permit instead of the
//! id, so that a service can't be called without the question having been asked. Where the answer depends on what is to
//! change, the change is a part of the target, and the service carries out the one in the permit. Lists take a [`Visible`]
//! scope. Work on the system's own behalf uses [`Permit::system`], for which one must have been handed a [`System`].

pub mod asked;
mod policy;
mod system;
pub mod table;
mod task;

use std::marker::PhantomData;
use std::net::IpAddr;

pub use policy::*;
pub use system::{Reason, System};
pub use task::TaskActor;

use crate::audit::By;
use crate::id::{SessionId, TokenId, UserId};

/// Somebody who has proved who they are, and whose account is active (P17).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The account.
    pub user: UserId,
    /// Its name, for logs and messages.
    pub username: String,
    /// Administrator (X1).
    pub admin: bool,
    /// What proved it.
    pub via: Via,
    /// The peer that the request came from, when it is known.
    pub address: Option<IpAddr>,
    /// The generation of rights in which this was found, or an earlier one: what is committed asks again when there has
    /// been another one since.
    pub as_of: u64,
}

/// What somebody proved their account with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Via {
    /// A login.
    Session(SessionId),
    /// An access token that may do all that its account may.
    Token(TokenId),
    /// An access token for reading alone.
    ReadOnlyToken(TokenId),
    /// Nothing: the default user on the machine itself (P2).
    DefaultUser,
}

impl Actor {
    /// The login session, when it was one that proved the account.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        match self.via {
            Via::Session(id) => Some(id),
            _ => None,
        }
    }

    /// The access token, when it was one that proved the account.
    #[must_use]
    pub fn token(&self) -> Option<TokenId> {
        match self.via {
            Via::Token(id) | Via::ReadOnlyToken(id) => Some(id),
            _ => None,
        }
    }
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

    /// Whether it changes nothing, so that a token for reading is enough.
    const READS: bool = false;

    /// Whether it opens a way in, or gives a power, that would still be there when the access token that did it is
    /// revoked. No access token does that (A14): whoever finds one must not be able to stay. Where it depends on what
    /// changes, the service asks [`may_last`]. What a token may do is in the column *its access token* of
    /// `docs/permissions.md`.
    fn lasts(_target: &Self::Target) -> bool {
        false
    }

    /// Whether `actor` may do it to `target`.
    ///
    /// # Errors
    /// The refusal to be told.
    fn check(actor: &Actor, target: &Self::Target) -> Result<(), Refusal>;

    /// Whether a running task may do it to `target` with its own credentials. What isn't its own isn't there for it.
    ///
    /// # Errors
    /// The refusal to be told.
    fn check_task(_task: &TaskActor, _target: &Self::Target) -> Result<(), Refusal> {
        Err(Refusal::Hidden)
    }
}

/// Who the policy is asked about.
#[derive(Debug, Clone, Copy)]
pub enum Asker<'a> {
    /// An account.
    Account(&'a Actor),
    /// A running task.
    Task(&'a TaskActor),
}

impl Asker<'_> {
    /// The account as which it stands to places; a task stands as its owner.
    #[must_use]
    pub fn user(self) -> UserId {
        match self {
            Self::Account(actor) => actor.user,
            Self::Task(task) => task.owner,
        }
    }

    /// All that there is to ask about `A`.
    fn ask<A: Act>(self, target: &A::Target) -> Result<(), Refusal> {
        let actor = match self {
            Self::Account(actor) => actor,
            Self::Task(task) => return A::check_task(task, target),
        };
        A::check(actor, target)?;
        // Asked second: whether a thing is there must not depend on the token.
        if !A::READS && matches!(actor.via, Via::ReadOnlyToken(_)) {
            return Err(Refusal::Forbidden(READ_ONLY));
        }
        if actor.token().is_some() && A::lasts(target) {
            return Err(Refusal::Forbidden(LASTING));
        }
        Ok(())
    }
}

impl From<Asker<'_>> for By {
    fn from(asker: Asker<'_>) -> Self {
        match asker {
            Asker::Account(actor) => Self::from(actor),
            Asker::Task(task) => Self::from(task),
        }
    }
}

/// An act's name, as the table of permissions has it.
#[must_use]
pub fn name<A: Act>() -> &'static str {
    let path = std::any::type_name::<A>();
    path.rsplit("::").next().unwrap_or(path)
}

/// Proof that somebody may do `A` to the target inside.
#[derive(Debug)]
pub struct Permit<A: Act> {
    by: By,
    target: A::Target,
    act: PhantomData<A>,
}

impl<A: Act> Permit<A> {
    /// For the system's own work: start-up, clean-up, the scheduler. `reason` is for the reader of the code and of the
    /// audit log.
    #[must_use]
    pub fn system(system: &System, reason: &'static str, target: A::Target) -> Self {
        Self { by: system.by(reason), target, act: PhantomData }
    }

    /// Who acts, for the audit log.
    #[must_use]
    pub fn by(&self) -> &By {
        &self.by
    }

    /// The account that acts; `None` is the system itself.
    #[must_use]
    pub fn actor(&self) -> Option<UserId> {
        self.by.user()
    }

    /// What the act is done to.
    #[must_use]
    pub fn target(&self) -> &A::Target {
        &self.target
    }

    /// Asks the policy again, about the target as it is now: a permit that was given before the transaction began says
    /// nothing of what was committed in between (R25).
    ///
    /// # Errors
    /// The refusal to be told.
    pub fn ask_again(&self, target: &A::Target) -> Result<(), Refusal> {
        match &self.by {
            By::System { .. } => Ok(()),
            By::Task { task, owner, username, address } => {
                let (task, owner, username, address) = (*task, *owner, username.clone(), *address);
                Asker::Task(&TaskActor { task, owner, username, address }).ask::<A>(target)
            }
            by => match by.as_actor() {
                Some(actor) => Asker::Account(&actor).ask::<A>(target),
                None => Err(Refusal::Hidden),
            },
        }
    }

    /// Whether who may do this may do another act to the same thing.
    #[must_use]
    pub fn covers<B: Act<Target = A::Target>>(&self) -> bool {
        match &self.by {
            By::System { .. } => true,
            by => by.as_actor().is_some_and(|actor| B::check(&actor, &self.target).is_ok()),
        }
    }

    /// Gives the target away.
    #[must_use]
    pub fn into_target(self) -> A::Target {
        self.target
    }
}

/// What is said to a token for reading that is to change something.
pub const READ_ONLY: &str = "this access token is for reading only";

/// What is said to an access token that is to do what would outlive it.
pub const LASTING: &str = "an access token can't do what would outlive it (accounts that can log in, administrators, passwords, names, mail addresses, tokens, invitations, Unix identities, roles and groups, who sees or owns something): log in";

/// For acts of which only a part lasts: the service asks it in its transaction, where it sees what changes (a role that is
/// given and none before, a place that is opened to others, what gets another owner).
///
/// # Errors
/// When it is an access token that acts (W7: nothing that one makes outlives it).
pub fn may_last(by: &By) -> Result<(), Refusal> {
    match by {
        By::Account { via: Via::Token(_) | Via::ReadOnlyToken(_), .. } => Err(Refusal::Forbidden(LASTING)),
        _ => Ok(()),
    }
}

/// Asks the policy. The only way to a [`Permit`] for a person, or for a running task.
///
/// # Errors
/// The refusal to be told.
pub fn authorize<'a, A: Act>(asker: impl Into<Asker<'a>>, target: A::Target) -> Result<Permit<A>, Refusal> {
    asked::note::<A>();
    let asker = asker.into();
    asker.ask::<A>(&target)?;
    Ok(Permit { by: By::from(asker), target, act: PhantomData })
}

/// What a caller may see of a kind of thing. There is no list without one.
#[derive(Debug)]
pub struct Visible<T> {
    actor: UserId,
    all: bool,
    of: PhantomData<T>,
}

impl<T> Clone for Visible<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Visible<T> {}

impl<T> Visible<T> {
    /// What `actor` may see.
    #[must_use]
    pub fn to(actor: &Actor) -> Self {
        Self { actor: actor.user, all: actor.admin, of: PhantomData }
    }

    /// The account that looks.
    #[must_use]
    pub fn actor(&self) -> UserId {
        self.actor
    }

    /// Whether private things of others are included.
    #[must_use]
    pub fn everything(&self) -> bool {
        self.all
    }
}
