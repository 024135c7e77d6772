//! Accounts: making, changing, finding (P5, P12–P14, P19, D2, X7, R31).

mod delete;

use std::sync::Arc;

use domain::audit::{By, Entry};
use domain::authz::{ChangeUser, CreateUser, Permit, Visible};
use domain::id::UserId;
use domain::identity::{IdentityParts, UnixIdentity};
use domain::text::claims_an_office;
use domain::user::{
    InvalidName, NewUser, Parts, Password, Status, User, UserPatch, display_name, email, reserved, username,
};
pub use store::user::{Filter as UserFilter, SortBy};
use store::{Begin, Conn, Store, StoreError};
use tokio::sync::Semaphore;

use crate::cluster::Cluster;
use crate::mail::Mails;
use crate::password::{Hasher, Lane, Presented};
use crate::scheduler::Scheduler;
use crate::session::Sessions;
use crate::system::{Clock, SystemEntropy};
use crate::{Config, Error, audit, registration, secret, system_ids, taken, workspace};

/// What is said of accounts that aren't there.
pub const NOT_FOUND: &str = "user not found";

/// What is said to who wants to log in as a service account in another way.
const SERVICE: &str =
    "a service account has no password and no sign-on: an administrator makes access tokens for it";

/// Accounts.
#[derive(Clone)]
pub struct Accounts {
    store: Store,
    hasher: Hasher,
    clock: Arc<dyn Clock>,
    sessions: Sessions,
    mails: Mails,
    cluster: Cluster,
    config: Arc<Config>,
    scheduler: Scheduler,
    /// Names are compared with all others' one at a time.
    names: Arc<Semaphore>,
}

impl std::fmt::Debug for Accounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Accounts")
    }
}

fn invalid(error: &impl std::fmt::Display) -> Error {
    Error::Invalid(error.to_string())
}

fn identity(parts: IdentityParts) -> Result<UnixIdentity, Error> {
    parts.complete().map_err(|e| invalid(&e))
}

fn not_found() -> Error {
    Error::NotFound(NOT_FOUND.to_owned())
}

fn name_taken(error: StoreError) -> Error {
    match error {
        StoreError::Duplicate => Error::Conflict("user already exists".to_owned()),
        other => other.into(),
    }
}

impl Accounts {
    #[expect(clippy::too_many_arguments, reason = "each is a field, and no two are of one type")]
    pub(crate) fn new(
        store: Store,
        hasher: Hasher,
        clock: Arc<dyn Clock>,
        sessions: Sessions,
        mails: Mails,
        cluster: Cluster,
        config: Arc<Config>,
        scheduler: Scheduler,
    ) -> Self {
        let names = Arc::new(Semaphore::new(1));
        Self { store, hasher, clock, sessions, mails, cluster, config, scheduler, names }
    }

    /// Makes an account (P12).
    ///
    /// # Errors
    /// When a name isn't allowed or taken.
    pub async fn create(&self, permit: Permit<CreateUser>, password: Presented) -> Result<User, Error> {
        let user = self.prepare(permit.target(), &password)?;
        self.not_the_systems(user.identity.as_ref())?;
        let password = if user.remote || user.service {
            Password::Impossible
        } else {
            self.hasher.store(password, Lane::of(permit.by()), &SystemEntropy).await?
        };
        let mut tx = self.store.write().await?;
        let user = User { password, ..user };
        let now = self.clock.now();
        let user = match store::user::insert(&mut tx, &user, now).await {
            Err(StoreError::Duplicate) => {
                drop(tx);
                return Err(self.taken_by(&user.username).await?);
            }
            made => made?,
        };
        let entry = Entry::done(permit.by(), "user.create", audit::account(&user));
        tx.commit(&entry.made(audit::account_facts(&user)), now).await?;
        tracing::info!(user = user.username.escape_debug().to_string(), "account made");
        Ok(user)
    }

    /// Says of a name that can't be given why, where the list of accounts doesn't.
    async fn taken_by(&self, name: &str) -> Result<Error, Error> {
        let mut conn = self.store.read().await?;
        let other = store::user::by_username_in_any_case(&mut conn, name).await?;
        let more = match other {
            Some(other) if other.deleted_at.is_some() => {
                format!(": {} was deleted, and the name is never given out again", other.username)
            }
            Some(other) if other.username != name => {
                format!(": {}, which differs in case alone", other.username)
            }
            _ => String::new(),
        };
        Ok(Error::Conflict(format!("user already exists{more}")))
    }

    /// A11.
    fn not_the_systems(&self, identity: Option<&UnixIdentity>) -> Result<(), Error> {
        let Some(UnixIdentity { uid, gid, .. }) = identity else { return Ok(()) };
        system_ids::check(&self.config.agent.allowed_ids, Some((*uid).into()), Some((*gid).into()))
    }

    /// Checks what Determined checks before it asks whether the caller may.
    ///
    /// # Errors
    /// When a field isn't allowed.
    pub fn prepare(&self, new: &NewUser, password: &Presented) -> Result<User, Error> {
        let NewUser { admin, remote, service, .. } = *new;
        if remote && !password.is_blank() {
            return Err(Error::Invalid("cannot set password for remote user".to_owned()));
        }
        if service && (remote || !password.is_blank()) {
            return Err(Error::Invalid(SERVICE.to_owned()));
        }
        let name = username(&new.username).map_err(|e| invalid(&e))?;
        reserved(&name, None, admin).map_err(|e| invalid(&e))?;
        Ok(User {
            id: UserId(0),
            username: name,
            display_name: display_name(&new.display_name).map_err(|e| invalid(&e))?,
            admin,
            status: if new.active { Status::Active } else { Status::Deactivated },
            remote,
            password: Password::Blank,
            identity: new.identity.clone().map(identity).transpose()?,
            email: None,
            service,
            modified_at: self.clock.now(),
            last_login_at: None,
            deleted_at: None,
        })
    }

    /// Changes an account: all parts or none. A new password and deactivation end all its sessions (P6, R25);
    /// deactivation revokes its access tokens as well, for good. They have nothing to do with the password, so that a
    /// new one leaves them. What a deactivated account runs goes on and what it queued waits, unless all that is to be
    /// ended, too (A14).
    ///
    /// # Errors
    /// When a part isn't allowed, or it would take the last active administrator away (R31).
    pub async fn change(&self, permit: Permit<ChangeUser>) -> Result<User, Error> {
        let by = permit.by().clone();
        let (target, patch) = permit.target();
        let kill = patch.kill_tasks;
        if kill && patch.active != Some(false) {
            return Err(Error::Invalid("killTasks goes with active: false alone".to_owned()));
        }
        let protects = patch.parts(target) == Parts::PASSWORD && by.user() == Some(target.id);
        let entry = |of: &User| {
            let entry = Entry::done(&by, "user.update", audit::account(of));
            if protects { entry.protects() } else { entry }
        };
        // Before any work is done for it: `web`'s guard lets it through.
        if let Some(spender) = entry(target).spender() {
            self.store.may_grow(spender, self.clock.now())?;
        }
        let password = match &patch.password {
            Some(sent) => {
                Some(self.hasher.store(Presented::from(sent), Lane::of(&by), &SystemEntropy).await?)
            }
            None => None,
        };
        if let Some(name) = patch.username.as_ref().filter(|name| **name != target.username) {
            self.looks_like_nobody_elses(&by, name, target.id).await?;
        }
        if let Some(name) = &patch.display_name {
            let name = display_name(name).map_err(|e| invalid(&e))?;
            self.is_shown_for_nobody_else(&name, target).await?;
        }
        let mut tx = self.store.write_urgent().await?;
        // Decided on what is in the database now: two requests at once can't both be the last but one.
        let before = store::user::by_id(&mut tx, target.id).await?.ok_or_else(not_found)?;
        if before.deleted_at.is_some() {
            return Err(Error::Precondition(format!("the account {} was deleted", before.username)));
        }
        let now = (before.clone(), patch.clone());
        permit.ask_again(&now).map_err(|refusal| Error::refused(refusal, NOT_FOUND.to_owned()))?;
        let change = patch.parts(&before);
        let mut after = before.clone();
        apply(&mut after, patch, change, password)?;
        if after == before {
            drop(tx);
            // Deactivated earlier, and only now is its work to end.
            if kill && !before.is_active() {
                self.kill_tasks(&by, before.id).await?;
            }
            return Ok(before);
        }
        if after.identity != before.identity {
            self.not_the_systems(after.identity.as_ref())?;
        }
        let by_admin = by.as_actor().is_some_and(|by| by.admin);
        if after.username != before.username {
            // As whoever registers: else they had any name a moment later (MB6).
            if !by_admin && domain::registration::is_ours(&after.username) {
                return Err(Error::Invalid(domain::registration::InvalidName::Reserved.to_string()));
            }
            let quotas = &self.config.quotas;
            let given =
                [&before.username, &after.username].into_iter().find(|name| quotas.names_account(name));
            if let Some(name) = given.filter(|_| !by_admin) {
                return Err(Error::Forbidden(format!(
                    "the name {name} has a quota or a share in the master's configuration: an administrator gives and takes it"
                )));
            }
            for name in [&before.username, &after.username] {
                // From where somebody logged in by a name is nothing to who has it next (MB8).
                store::login_failure::delete_places(&mut tx, &secret::digest(name)).await?;
            }
        }
        if change.display_name && claims_an_office(&after.display_name) && !by_admin {
            return Err(invalid(&InvalidName::ClaimsOffice));
        }
        if let Some(email) = after.email.as_ref().filter(|_| change.email) {
            let now = self.clock.now();
            taken::may_ask(&mut tx, &by, now).await?;
            if store::user::email_in_use_by_other(&mut tx, email, after.id).await? {
                let text = "another account has this e-mail address".to_owned();
                return Err(taken::unseen(&self.store, tx, &by, now, text).await);
            }
        }
        let counts = |user: &User| user.admin && user.is_active();
        let now = self.clock.now();
        if counts(&before) && !counts(&after) {
            last_admin_stays(&mut tx, &before.username).await?;
            // Else whoever was invited before would come in later.
            store::invitation::withdraw_of(&mut tx, after.id, now).await?;
        }
        after.modified_at = now;
        store::user::update(&mut tx, &after).await.map_err(name_taken)?;
        if after.username != before.username {
            workspace::follow_rename(&mut tx, &by, &after, &before.username, now).await?;
        }
        let deactivates = before.is_active() && !after.is_active();
        if deactivates {
            store::token::revoke_of_user(&mut tx, after.id, now).await?;
        }
        if before.status == Status::Pending && after.is_active() {
            registration::accepted(&mut tx, &self.mails, &before, by.user(), now).await?;
        }
        let ends_sessions = change.password || deactivates;
        if ends_sessions {
            store::session::delete_of_user(&mut tx, after.id).await?;
        }
        let mut facts = audit::account_facts(&after);
        if change.password {
            // A password that was replaced by another one looks like no change.
            facts["passwordChanged"] = serde_json::Value::Bool(true);
        }
        let committed = tx.commit(&entry(&before).changed(audit::account_facts(&before), facts), now).await;
        if ends_sessions {
            self.sessions.user_ended(after.id);
        } else {
            self.sessions.user_changed(after.id);
        }
        committed?;
        if change.password {
            self.cluster.initial_password().over(after.id).await;
        }
        self.mails.wake();
        if before.is_active() != after.is_active() {
            self.scheduler.wake();
        }
        if kill {
            self.kill_tasks(&by, after.id).await?;
        }
        Ok(after)
    }

    /// Nobody calls themselves what looks like another's name. Administrators may name accounts so, for they see which is
    /// which (A14).
    async fn looks_like_nobody_elses(&self, by: &By, name: &str, id: UserId) -> Result<(), Error> {
        if by.as_actor().is_none_or(|actor| actor.admin) {
            return Ok(());
        }
        // Asked outside of the change, which nobody is to wait for: two at once who choose such names are rare.
        let _one = self.names.acquire().await;
        let mut conn = self.store.read().await?;
        if store::user::looks_like_another(&mut conn, name, id).await? {
            return Err(Error::Conflict("this name looks like another account's: choose another".to_owned()));
        }
        Ok(())
    }

    /// The same for what an account is shown as (MF12).
    async fn is_shown_for_nobody_else(&self, name: &str, account: &User) -> Result<(), Error> {
        if name.is_empty() || name == account.display_name {
            return Ok(());
        }
        let _one = self.names.acquire().await;
        let mut conn = self.store.read().await?;
        if store::user::name_in_use_by_other(&mut conn, name, account.id).await? {
            return Err(Error::Invalid(format!(
                "can not change display name to {name} found a similar username or display name"
            )));
        }
        Ok(())
    }

    /// Ends all that an account has running and waiting, as the database knows it.
    async fn kill_tasks(&self, by: &By, owner: UserId) -> Result<(), Error> {
        let mut conn = self.store.read().await?;
        let living = store::task::alive(&mut conn).await?;
        drop(conn);
        for task in living.iter().filter(|task| task.owner == owner) {
            let entry = Entry::done(by, "task.kill", crate::task::target(task));
            self.scheduler.kill(task.id, &entry, "owner was deactivated").await?;
        }
        Ok(())
    }

    /// A page of the accounts that match, with what the actor may see of each; `page` turns their number into offset and
    /// limit.
    ///
    /// # Errors
    /// What `page` answers, or the database.
    pub async fn list<P>(
        &self,
        scope: Visible<User>,
        filter: &UserFilter,
        page: impl FnOnce(i64) -> Result<(P, i64, i64), Error>,
    ) -> Result<(Vec<User>, P), Error> {
        let mut conn = self.store.read().await?;
        let total = store::user::count(&mut conn, filter).await?;
        let (page, offset, limit) = page(total)?;
        let users = store::user::list(&mut conn, filter, Begin::At(offset), limit).await?;
        Ok((seen(scope, users), page))
    }

    /// Some of the accounts that match, with what the actor may see of each: those behind `last`, in the order of the list.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn after(
        &self,
        scope: Visible<User>,
        filter: &UserFilter,
        last: Option<&User>,
        limit: i64,
    ) -> Result<Vec<User>, Error> {
        let mut conn = self.store.read().await?;
        Ok(seen(scope, store::user::list(&mut conn, filter, Begin::after(last), limit).await?))
    }
}

/// Where mail reaches a person is for themselves and administrators.
fn seen(scope: Visible<User>, mut users: Vec<User>) -> Vec<User> {
    for user in users.iter_mut().filter(|user| !scope.everything() && user.id != scope.actor()) {
        user.email = None;
    }
    users
}

/// R31.
async fn last_admin_stays(conn: &mut Conn, username: &str) -> Result<(), Error> {
    if store::user::active_admins(conn).await? > 1 {
        return Ok(());
    }
    Err(Error::Precondition(format!(
        "{username} is the last active administrator: make another account administrator first"
    )))
}

fn apply(user: &mut User, patch: &UserPatch, change: Parts, password: Option<Password>) -> Result<(), Error> {
    if user.service && (password.is_some() || patch.remote == Some(true)) {
        return Err(Error::Invalid(SERVICE.to_owned()));
    }
    if let Some(remote) = patch.remote
        && remote != user.remote
    {
        user.remote = remote;
        user.password = if remote { Password::Impossible } else { Password::Blank };
    }
    if let Some(name) = patch.username.as_ref().filter(|_| change.username) {
        if user.remote {
            return Err(Error::Invalid("Cannot set username for remote users".to_owned()));
        }
        let name = username(name).map_err(|e| invalid(&e))?;
        let admin = patch.admin.unwrap_or(user.admin);
        reserved(&name, Some(&user.username), admin).map_err(|e| invalid(&e))?;
        user.username = name;
    }
    if let Some(name) = &patch.display_name {
        user.display_name = display_name(name).map_err(|e| invalid(&e))?;
    }
    if let Some(password) = password {
        if user.remote {
            return Err(Error::Invalid("Cannot set password for remote users".to_owned()));
        }
        user.password = password;
    }
    if let Some(text) = patch.email.as_ref().filter(|_| change.email) {
        let text = text.trim();
        user.email = if text.is_empty() { None } else { Some(email(text).map_err(|e| invalid(&e))?) };
    }
    if patch.unlinks {
        if patch.identity.is_some() {
            return Err(Error::Invalid("give one of agentUserGroup and unlinkAgentUser".to_owned()));
        }
        user.identity = None;
    }
    if let Some(parts) = &patch.identity {
        user.identity = Some(identity(parts.clone())?);
    }
    user.admin = patch.admin.unwrap_or(user.admin);
    match patch.active {
        Some(true) => user.status = Status::Active,
        // Who was never let in goes on waiting.
        Some(false) if user.status == Status::Pending => {
            let name = &user.username;
            return Err(Error::Precondition(format!(
                "{name} waits to be let in and was never active: `muster user reject {name}` turns them away"
            )));
        }
        Some(false) => user.status = Status::Deactivated,
        None => {}
    }
    Ok(())
}
