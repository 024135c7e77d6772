//! The audit log: what an entry says, and how each is chained to all before it.
//!
//! An entry holds what people may read later: never a password, a token or their digests.

mod chain;
mod facts;
mod growth;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::authz::{Actor, Reason, Via};
use crate::id::{AgentId, TaskId, UserId};
use crate::throttle::address_key;

pub use chain::{BEGINNING, Broken, Chain, Cut, Record, digest};
pub use facts::{FACTS_MAX, TEXT_MAX};
pub use growth::{Allowance, Spender};

/// In place of a generation of rights ([`Actor::as_of`]): what comes of them later is nothing to what was done.
pub const AS_IT_WAS: u64 = u64::MAX;

/// Who really acted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// An account.
    Account {
        /// The account.
        user: UserId,
        /// Its name at that time.
        username: String,
        /// What it was proved with.
        via: Via,
        /// Whether it was an administrator's.
        admin: bool,
        /// From where.
        address: Option<IpAddr>,
        /// See [`Actor::as_of`].
        as_of: u64,
    },
    /// A running task, for its owner.
    Task {
        /// The task.
        task: TaskId,
        /// For whom.
        owner: UserId,
        /// That account's name at that time.
        username: String,
        /// From where.
        address: Option<IpAddr>,
    },
    /// An agent.
    Agent {
        /// The agent.
        agent: AgentId,
        /// From where.
        address: Option<IpAddr>,
    },
    /// Nobody that is known.
    Anonymous {
        /// From where.
        address: Option<IpAddr>,
    },
    /// Muster itself.
    System {
        /// What made Muster act; said by [`crate::authz::System::by`] alone.
        reason: Reason,
    },
}

impl By {
    /// Whose allowance pays for what they change; administrators have no bound.
    #[must_use]
    pub fn spender(&self) -> Option<Spender> {
        match self {
            Self::Account { admin: false, user, .. } | Self::Task { owner: user, .. } => {
                Some(Spender::Change(*user))
            }
            Self::Account { .. } | Self::Agent { .. } | Self::Anonymous { .. } | Self::System { .. } => None,
        }
    }

    /// The account as the policy knows it, when it was one.
    #[must_use]
    pub fn as_actor(&self) -> Option<Actor> {
        let Self::Account { user, username, via, admin, address, as_of } = self else { return None };
        let (username, via) = (username.clone(), *via);
        Some(Actor { user: *user, username, admin: *admin, via, address: *address, as_of: *as_of })
    }

    /// The account, when it was one.
    #[must_use]
    pub fn user(&self) -> Option<UserId> {
        match self {
            Self::Account { user, .. } => Some(*user),
            _ => None,
        }
    }

    fn actor(&self) -> Who {
        match self {
            Self::Account { user, username, .. } => Who::named("user", user, username),
            Self::Task { task, .. } => Who::named("task", task, ""),
            Self::Agent { agent, .. } => Who::named("agent", agent, agent.as_str()),
            Self::Anonymous { .. } => Who::named("anonymous", &"", ""),
            Self::System { .. } => Who::named("system", &"", ""),
        }
    }

    /// As whom: differs from the actor for tasks only.
    fn acts_as(&self) -> Option<Who> {
        match self {
            Self::Account { user, username, .. } => Some(Who::named("user", user, username)),
            Self::Task { owner, username, .. } => Some(Who::named("user", owner, username)),
            _ => None,
        }
    }

    fn via(&self) -> String {
        match self {
            Self::Account { via: Via::Session(id), .. } => format!("session {id}"),
            Self::Account { via: Via::Token(id) | Via::ReadOnlyToken(id), .. } => format!("token {id}"),
            Self::Account { via: Via::DefaultUser, .. } => "default user".to_owned(),
            Self::Task { .. } => "task token".to_owned(),
            Self::Agent { .. } => "agent key".to_owned(),
            Self::Anonymous { .. } => String::new(),
            Self::System { reason } => reason.to_string(),
        }
    }

    fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Account { address, .. }
            | Self::Task { address, .. }
            | Self::Agent { address, .. }
            | Self::Anonymous { address } => *address,
            Self::System { .. } => None,
        }
    }
}

impl From<&Actor> for By {
    fn from(actor: &Actor) -> Self {
        Self::Account {
            user: actor.user,
            username: actor.username.clone(),
            via: actor.via,
            admin: actor.admin,
            address: actor.address,
            as_of: actor.as_of,
        }
    }
}

/// Somebody or something, as it was called at that time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    /// `user`, `group`, `workspace`, `task` …
    pub kind: String,
    /// Its id; empty where there is none.
    pub id: String,
    /// Its name; empty where it has none.
    pub name: String,
}

impl Who {
    /// Makes one.
    #[must_use]
    pub fn named(kind: &str, id: &impl std::fmt::Display, name: &str) -> Self {
        Self { kind: kind.to_owned(), id: id.to_string(), name: name.to_owned() }
    }

    /// `kind id`, by which entries are found.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{} {}", self.kind, self.id).trim_end().to_owned()
    }
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was done.
    Done,
    /// It was not allowed.
    Refused,
}

impl Outcome {
    /// The text in the database and on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
        }
    }
}

/// What happened, before it has its place in the log. It is small, whoever makes it of what: see [`FACTS_MAX`].
#[derive(Debug, Clone)]
pub struct Entry {
    by: By,
    action: &'static str,
    target: Who,
    before: Value,
    after: Value,
    result: Outcome,
    reason: String,
    /// See [`Entry::protects`].
    protects: bool,
    /// See [`Entry::after_the_fact`].
    happened: bool,
    /// What follows it in the log, of the same change.
    more: Vec<Entry>,
}

impl Entry {
    /// Something that was done. `action` is `noun.verb`.
    #[must_use]
    pub fn done(by: &By, action: &'static str, target: Who) -> Self {
        let (before, after) = (Value::Null, Value::Null);
        let target = Who { id: facts::short(&target.id), name: facts::short(&target.name), ..target };
        let (by, result, reason) = (by.clone(), Outcome::Done, String::new());
        let (protects, happened, more) = (false, false, Vec::new());
        Self { by, action, target, before, after, result, reason, protects, happened, more }
    }

    /// Of what shuts out whoever has come into an account, and does nothing else: it has an allowance of its own.
    #[must_use]
    pub fn protects(self) -> Self {
        Self { protects: true, ..self }
    }

    /// Another one of the same change.
    #[must_use]
    pub fn and(mut self, mut further: Self) -> Self {
        let more = std::mem::take(&mut further.more);
        self.more.push(further);
        self.more.extend(more);
        self
    }

    /// This one, and those that follow it.
    pub fn all(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(&self.more)
    }

    /// Of what has happened, whatever becomes of who did it: it is written down. Neither are they asked again, nor does what they
    /// may still write count: they pay for it afterwards (MM2).
    #[must_use]
    pub fn after_the_fact(self) -> Self {
        Self { happened: true, ..self }
    }

    /// Whether it has happened already, so that nothing may refuse it any more.
    #[must_use]
    pub fn has_happened(&self) -> bool {
        self.happened
    }

    /// Something that was not allowed, and what was said.
    #[must_use]
    pub fn refused(by: &By, action: &'static str, target: Who, reason: String) -> Self {
        Self { result: Outcome::Refused, reason: facts::short(&reason), ..Self::done(by, action, target) }
    }

    /// Whose refusals are counted together: an account's, else those of an address or network; this machine has many
    /// addresses.
    #[must_use]
    pub fn whose(&self) -> String {
        match &self.by {
            By::Anonymous { address: Some(address) } if address.to_canonical().is_loopback() => {
                "this machine".to_owned()
            }
            By::Anonymous { address } => address_key(*address),
            by => by.actor().key(),
        }
    }

    /// Whether nobody knows who it was: there may be any number of those.
    #[must_use]
    pub fn is_strangers(&self) -> bool {
        matches!(self.by, By::Anonymous { .. })
    }

    /// What was tried.
    #[must_use]
    pub fn action(&self) -> &str {
        self.action
    }

    /// What it was done to.
    #[must_use]
    pub fn target(&self) -> &Who {
        &self.target
    }

    /// Who acted.
    #[must_use]
    pub fn by(&self) -> &By {
        &self.by
    }

    /// Whether this may have changed who may see or do what. Tasks and agents come and go without that, logins and
    /// templates too; whatever else there will be counts.
    #[must_use]
    pub fn may_change_rights(&self) -> bool {
        let harmless =
            ["task.", "agent.", "template.", "cluster_message.", "master.", "audit.", "session.open"];
        self.result == Outcome::Done && !harmless.iter().any(|start| self.action.starts_with(start))
    }

    /// Whose allowance it and what it tells of are written from (KX4): none has what Muster, agents, strangers and administrators do, nor what ends
    /// or takes away what cost something when it was made.
    #[must_use]
    pub fn spender(&self) -> Option<Spender> {
        let ends = ["task.kill", "session.close", "session.revoke", "token.revoke"];
        match &self.by {
            _ if self.result == Outcome::Refused || ends.contains(&self.action) => None,
            By::Account { admin: true, .. } => None,
            // Who has used up the one still logs in.
            By::Account { user, .. } if self.action == "session.open" => Some(Spender::LogIn(*user)),
            By::Account { user, .. } if self.protects => Some(Spender::Safety(*user)),
            by => by.spender(),
        }
    }

    /// The name of the account that acted, or that a task acted for.
    #[must_use]
    pub fn account(&self) -> Option<&str> {
        match &self.by {
            By::Account { username, .. } | By::Task { username, .. } => Some(username),
            _ => None,
        }
    }

    /// What it made.
    #[must_use]
    pub fn made(self, after: Value) -> Self {
        Self { after: facts::bounded(after), ..self }
    }

    /// What it took away.
    #[must_use]
    pub fn removed(self, before: Value) -> Self {
        Self { before: facts::bounded(before), ..self }
    }

    /// What it changed: only members that differ are kept, and told apart by their digests where they are long. Of lists
    /// that have no room it has what came and what went.
    #[must_use]
    pub fn changed(self, before: Value, after: Value) -> Self {
        let (before, after) = facts::changed(before, after);
        Self { before, after, ..self }
    }

    /// Who left it and who entered it, besides what else changed: all of them by name, in as many entries as that takes.
    /// For whatever gives a right: who has got it must be there to be read (KX4).
    #[must_use]
    pub fn members(mut self, left: &[String], entered: &[String]) -> Self {
        let parts = facts::members(left, entered);
        let base = Self { before: Value::Null, after: Value::Null, more: Vec::new(), ..self.clone() };
        for (number, (left, entered)) in parts.into_iter().enumerate() {
            if number == 0 {
                facts::add(&mut self.before, left);
                facts::add(&mut self.after, entered);
            } else {
                let mut part = base.clone();
                facts::add(&mut part.before, left);
                facts::add(&mut part.after, entered);
                self.more.push(part);
            }
        }
        self
    }
}
