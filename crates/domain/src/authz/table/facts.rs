//! What the policy's decisions rest on, for each kind of caller: who they are, and how they stand to the owner's things.

use uuid::Uuid;

use super::super::{Asker, Deletion, TaskActor, Via};
use super::{Actor, Caller};
use crate::allocation::Allocation;
use crate::config::secrets::Layer;
use crate::id::{
    AllocationId, ProjectId, ResourcePool, SessionId, TaskId, TokenId, UNCATEGORIZED, UserId, WorkspaceId,
};
use crate::identity::UnixIdentity;
use crate::kind::Kind;
use crate::place::{Place, ProjectPlace, Role, Template};
use crate::scheduler::Weight;
use crate::session::Session;
use crate::task::{Standing, Task};
use crate::text::Plain;
use crate::time::Timestamp;
use crate::token::{Scope, Token};
use crate::user::{Password, Status, User};

/// Whose everything is.
const OWNER: UserId = UserId(1);
/// Who made the shared workspace.
const SOMEBODY: UserId = UserId(2);
/// The caller, when it isn't the owner.
const ANOTHER: UserId = UserId(3);
const NOW: Timestamp = Timestamp(0);

/// A caller and how they stand to things.
pub(super) struct Facts {
    caller: Caller,
    actor: Actor,
    task: TaskActor,
}

impl Facts {
    pub(super) fn of(caller: Caller) -> Self {
        let own = matches!(caller, Caller::Owner | Caller::OwnerByToken | Caller::TaskItself);
        let via = match caller {
            Caller::OwnerByToken | Caller::ByToken => Via::Token(TokenId(1)),
            Caller::Reader => Via::ReadOnlyToken(TokenId(1)),
            _ => Via::Session(SessionId(1)),
        };
        let admin = matches!(caller, Caller::Reader | Caller::ByToken | Caller::Administrator);
        let user = if own { OWNER } else { ANOTHER };
        let actor = Actor { user, username: user.to_string(), admin, via, address: None, as_of: 0 };
        let task =
            TaskActor { task: TaskId(Uuid::nil()), owner: OWNER, username: OWNER.to_string(), address: None };
        Self { caller, actor, task }
    }

    pub(super) fn actor(&self) -> &Actor {
        &self.actor
    }

    /// Who the policy is asked about.
    pub(super) fn asker(&self) -> Asker<'_> {
        if self.caller == Caller::TaskItself { Asker::Task(&self.task) } else { Asker::Account(&self.actor) }
    }

    fn role(&self) -> Option<Role> {
        match self.caller {
            Caller::Viewer => Some(Role::Viewer),
            Caller::Editor => Some(Role::Editor),
            Caller::WorkspaceAdministrator => Some(Role::Administrator),
            _ => None,
        }
    }

    fn is_guest(&self) -> bool {
        self.caller == Caller::ProjectMember
    }

    /// The workspace that everybody shares.
    pub(super) fn shared(&self) -> Place {
        Place { workspace: UNCATEGORIZED, owner: SOMEBODY, private: false, role: None, guest: false }
    }

    /// A public workspace of the owner's.
    pub(super) fn public(&self) -> Place {
        Place { private: false, ..self.private() }
    }

    /// A private one.
    pub(super) fn private(&self) -> Place {
        let (role, guest) = (self.role(), self.is_guest());
        Place { workspace: WorkspaceId(7), owner: OWNER, private: true, role, guest }
    }

    /// Another private one, in which only guests are.
    pub(super) fn elsewhere(&self) -> Place {
        Place { workspace: WorkspaceId(8), role: None, ..self.private() }
    }

    /// The caller's own.
    pub(super) fn own(&self) -> Place {
        Place { workspace: WorkspaceId(9), owner: self.actor.user, private: true, role: None, guest: false }
    }

    /// A project of the owner's; the shared workspace's is nobody's.
    pub(super) fn project(&self, private: bool, workspace: Place) -> ProjectPlace {
        let owner = if workspace.is_shared() { SOMEBODY } else { OWNER };
        let role = (self.is_guest() && !workspace.is_shared()).then_some(Role::Editor);
        ProjectPlace { project: ProjectId(7), owner, private, role, workspace }
    }

    /// The owner's account.
    pub(super) fn account(&self) -> User {
        user(OWNER)
    }

    /// The same when it is shut out.
    pub(super) fn deactivated(&self) -> User {
        User { status: Status::Deactivated, ..user(OWNER) }
    }

    /// The caller's account.
    pub(super) fn oneself(&self) -> User {
        User { admin: self.actor.admin, ..user(self.actor.user) }
    }

    /// A session of the owner's.
    pub(super) fn session(&self) -> Session {
        Session { id: SessionId(5), user_id: OWNER, created_at: NOW, expires_at: NOW }
    }

    /// An access token of the owner's.
    pub(super) fn token(&self) -> Token {
        Token {
            id: TokenId(5),
            user: OWNER,
            username: OWNER.to_string(),
            description: String::new(),
            scope: Scope::Full,
            created_at: NOW,
            expires_at: NOW,
            revoked_at: None,
            last_used_at: None,
        }
    }
}

fn user(id: UserId) -> User {
    User {
        id,
        username: id.to_string(),
        display_name: String::new(),
        admin: false,
        status: Status::Active,
        remote: false,
        password: Password::Blank,
        identity: None,
        email: None,
        service: false,
        modified_at: NOW,
        last_login_at: None,
        deleted_at: None,
    }
}

/// The end of the owner's account.
pub(super) fn deletion(facts: &Facts, has_heir: bool) -> Deletion {
    Deletion { user: facts.account(), heir: has_heir.then_some(ANOTHER) }
}

/// A template of the owner's.
pub(super) fn template() -> Template {
    Template {
        name: String::new(),
        config: Layer::new(serde_json::json!({})),
        workspace: WorkspaceId(7),
        owner: OWNER,
        owner_name: OWNER.to_string(),
        created_at: NOW,
        modified_at: NOW,
    }
}

/// One that holds a variable.
pub(super) fn with_secrets() -> Template {
    let config = serde_json::json!({ "environment": { "environment_variables": ["KEY=0123456789abcdef"] } });
    Template { config: Layer::new(config), ..template() }
}

/// A task of the owner's.
pub(in crate::authz) fn task() -> Task {
    let id = TaskId(Uuid::nil());
    Task {
        id,
        kind: Kind::Command,
        seq: 1,
        owner: OWNER,
        owner_name: OWNER.to_string(),
        owner_display_name: String::new(),
        workspace: WorkspaceId(7),
        description: Plain::default(),
        pool: ResourcePool::default(),
        slots: 0,
        weight: Weight::ONE,
        max_slots: None,
        priority: 42,
        identity: UnixIdentity::root(),
        has_context: true,
        created_at: NOW,
        standing: Standing::Active,
        restarts: 0,
        max_restarts: 0,
        log_removed_at: None,
        latest: Allocation::waiting(AllocationId::first(id), NOW),
    }
}
