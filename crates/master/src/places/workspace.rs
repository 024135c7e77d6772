//! Workspaces: making, changing, finding, deleting; who is in them; the Unix identity that they lay over their tasks
//! (X4, X10, D2). What is in them is `project`'s, `template`'s and `task`'s.

use std::collections::HashMap;
use std::sync::Arc;

use domain::audit::{By, Entry, Who};
use domain::authz::{
    Act, ChangeWorkspace, CreateWorkspace, EditWorkspace, Permit, ReadWorkspace, SeeMembers, Visible,
};
use domain::config::secrets::Layer;
use domain::config::storage;
use domain::id::{UNCATEGORIZED, UserId, WorkspaceId};
use domain::identity::IdentityParts;
use domain::place::{self, Member, MemberId, Role, Scope, Workspace};
use domain::time::Timestamp;
use domain::user::User;
use serde_json::{Value, json};
pub use store::workspace::{Filter as WorkspaceFilter, SortBy};
use store::{Conn, Store, StoreError, Tx};

use crate::open::{Again, Key as _};
use crate::system::Clock;
use crate::{Config, Error, again, member, system_ids, taken};

/// Workspaces.
#[derive(Clone)]
pub struct Workspaces {
    store: Store,
    clock: Arc<dyn Clock>,
    config: Arc<Config>,
}

impl std::fmt::Debug for Workspaces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Workspaces")
    }
}

fn not_found(id: WorkspaceId) -> Error {
    Error::NotFound(WorkspaceId::missing(&id))
}

fn duplicate(name: &str) -> impl FnOnce(StoreError) -> Error {
    move |error| match error {
        StoreError::Duplicate => Error::Conflict(conflict(name)),
        other => other.into(),
    }
}

fn conflict(name: &str) -> String {
    format!(
        "a workspace named '{name}' already exists: avoid names equal to other workspaces (case-insensitive)"
    )
}

async fn is_taken(conn: &mut Conn, name: &str) -> Result<bool, Error> {
    let filter = WorkspaceFilter { name_in_any_case: Some(name.to_owned()), ..WorkspaceFilter::default() };
    Ok(store::workspace::count(conn, &filter).await? > 0)
}

/// The shared workspace stays as it is.
fn refuse_shared(id: WorkspaceId) -> Result<(), Error> {
    let text = "the workspace that everybody shares can't be changed or deleted: make one of your own";
    if id == UNCATEGORIZED { Err(Error::Precondition(text.to_owned())) } else { Ok(()) }
}

/// A workspace as an audit entry's target.
pub(crate) fn target(workspace: &Workspace) -> Who {
    Who::named("workspace", &workspace.id, &workspace.name)
}

fn facts(workspace: &Workspace) -> Value {
    json!({
        "name": workspace.name,
        "private": workspace.private,
        "archived": workspace.archived,
        "unixIdentity": workspace.identity.shown(),
        "checkpointStorage": workspace.checkpoint_storage.as_ref().map(Layer::storage_for_others),
    })
}

/// Where checkpoints are to go, when they can go there; an empty map says nothing. It is JSON as it was sent, and small.
fn checked_storage(storage: Option<&str>) -> Result<Option<Layer>, Error> {
    let Some(text) = storage else { return Ok(None) };
    let bad = |why: &str| Error::Invalid(format!("invalid checkpoint storage: {why}"));
    let (size, limit) = (text.len(), storage::MOST_BYTES);
    if size > limit {
        return Err(bad(&format!("it has {size} bytes, and {limit} is the limit")));
    }
    let storage: Value = serde_json::from_str(text).map_err(|e| bad(&e.to_string()))?;
    if storage == json!({}) {
        return Ok(None);
    }
    storage::check(&storage).map_err(|e| bad(&e.0))?;
    Ok(Some(Layer::new(storage)))
}

/// A workspace that is there, for a change of what is in it.
pub(crate) async fn open(conn: &mut Conn, id: WorkspaceId) -> Result<Workspace, Error> {
    let workspace = store::workspace::by_id(conn, id).await?.ok_or_else(|| not_found(id))?;
    if workspace.archived {
        let name = &workspace.name;
        return Err(Error::Precondition(format!("workspace '{name}' is archived: nothing new gets into it")));
    }
    Ok(workspace)
}

/// A workspace that wasn't deleted: one that was still has a place, for the tasks in it.
pub(crate) async fn there(conn: &mut Conn, id: WorkspaceId) -> Result<Workspace, Error> {
    store::workspace::by_id(conn, id).await?.ok_or_else(|| not_found(id))
}

/// Whether whoever acts may know of a workspace.
///
/// # Errors
/// When the database can't be reached.
pub(crate) async fn seen(conn: &mut Conn, by: &By, id: WorkspaceId) -> Result<bool, Error> {
    let Some(actor) = by.as_actor() else { return Ok(true) };
    let place = store::workspace::place(conn, id, actor.user).await?;
    Ok(place.is_some_and(|place| ReadWorkspace::check(&actor, &place).is_ok()))
}

impl Workspaces {
    pub(crate) fn new(store: Store, clock: Arc<dyn Clock>, config: Arc<Config>) -> Self {
        Self { store, clock, config }
    }

    /// The Unix identity that is to be set, when it can be (R37, A11).
    fn checked(&self, identity: Option<&IdentityParts>) -> Result<Option<IdentityParts>, Error> {
        let Some(parts) = identity.cloned() else { return Ok(None) };
        let parts = parts.checked().map_err(|e| Error::Invalid(e.to_string()))?;
        system_ids::check(&self.config.agent.allowed_ids, parts.uid, parts.gid)?;
        Ok(Some(parts))
    }

    /// One workspace.
    ///
    /// # Errors
    /// When it was deleted.
    pub async fn get(&self, permit: &Permit<ReadWorkspace>) -> Result<Workspace, Error> {
        let id = permit.target().workspace;
        let mut conn = self.store.read().await?;
        store::workspace::by_id(&mut conn, id).await?.ok_or_else(|| not_found(id))
    }

    /// A page of the workspaces that match; `page` turns their number into offset and limit.
    ///
    /// # Errors
    /// What `page` answers, or the database.
    pub async fn list<P>(
        &self,
        scope: Visible<Workspace>,
        filter: WorkspaceFilter,
        page: impl FnOnce(i64) -> Result<(P, i64, i64), Error>,
    ) -> Result<(Vec<Workspace>, P), Error> {
        let filter = WorkspaceFilter { seen_by: (!scope.everything()).then(|| scope.actor()), ..filter };
        let mut conn = self.store.read().await?;
        let total = store::workspace::count(&mut conn, &filter).await?;
        let (page, offset, limit) = page(total)?;
        let workspaces = store::workspace::list(&mut conn, &filter, offset, limit).await?;
        Ok((workspaces, page))
    }

    /// How many projects the actor sees in each workspace that has some.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn project_counts(
        &self,
        scope: Visible<Workspace>,
    ) -> Result<HashMap<WorkspaceId, i64>, Error> {
        let actor = (!scope.everything()).then(|| scope.actor());
        let mut conn = self.store.read().await?;
        Ok(store::project::counts(&mut conn, actor).await?.into_iter().collect())
    }

    /// Makes a workspace; who makes it owns it.
    ///
    /// # Errors
    /// When the name isn't allowed or taken, or the Unix identity is none.
    pub async fn create(&self, permit: &Permit<CreateWorkspace>) -> Result<Workspace, Error> {
        let new = permit.target();
        let name = place::name("workspace name", &new.name).map_err(|e| Error::Invalid(e.to_string()))?;
        let identity = self.checked(new.identity.as_ref())?.unwrap_or_default();
        let checkpoint_storage = checked_storage(new.checkpoint_storage.as_deref())?;
        let owner = permit.actor().ok_or_else(nobody)?;
        self.is_no_accounts(&name, owner).await?;
        let tx = self.store.write().await?;
        self.is_free_to_give(permit.by(), &name)?;
        let workspace = Workspace { private: new.private, identity, checkpoint_storage, ..blank(name) };
        self.insert(tx, permit, workspace).await
    }

    /// A name with a quota is an administrator's to give and to take (MC4).
    fn is_free_to_give(&self, by: &By, name: &str) -> Result<(), Error> {
        if by.as_actor().is_none_or(|actor| actor.admin) || !self.config.quotas.names_workspace(name) {
            return Ok(());
        }
        Err(Error::Forbidden(format!(
            "the name '{name}' has a quota in the master's configuration: an administrator gives and takes it"
        )))
    }

    /// Clients find a workspace by its name in any case, and want one.
    async fn with_free_name(&self, mut tx: Tx, by: &By, workspace: &Workspace) -> Result<Tx, Error> {
        let (now, name) = (self.clock.now(), &workspace.name);
        taken::may_ask(&mut tx, by, now).await?;
        let filter = WorkspaceFilter { name_in_any_case: Some(name.clone()), ..WorkspaceFilter::default() };
        let twins = store::workspace::list(&mut tx, &filter, 0, 2).await?;
        if let Some(twin) = twins.iter().find(|twin| twin.id != workspace.id) {
            return Err(match seen(&mut tx, by, twin.id).await? {
                true => Error::Conflict(conflict(name)),
                false => taken::unseen(&self.store, tx, by, now, conflict(name)).await,
            });
        }
        Ok(tx)
    }

    /// What is called like an account is that one's. Asked outside of the change, which nobody is to wait for (MF12).
    async fn is_no_accounts(&self, name: &str, owner: UserId) -> Result<(), Error> {
        let mut conn = self.store.read().await?;
        if store::user::looks_like_another(&mut conn, name, owner).await? {
            return Err(Error::Conflict(format!(
                "'{name}' is the name of an account, or looks like one: its workspace may be called so"
            )));
        }
        Ok(())
    }

    async fn insert(
        &self,
        tx: Tx,
        permit: &Permit<CreateWorkspace>,
        workspace: Workspace,
    ) -> Result<Workspace, Error> {
        let owner = permit.actor().ok_or_else(nobody)?;
        let now = self.clock.now();
        let workspace = Workspace { owner, created_at: now, ..workspace };
        let mut tx = self.with_free_name(tx, permit.by(), &workspace).await?;
        let theirs = WorkspaceFilter { owners: Some(vec![owner]), ..WorkspaceFilter::default() };
        let (has, limit) = (store::workspace::count(&mut tx, &theirs).await?, self.config.limits.workspaces);
        if has >= i64::from(limit) {
            return Err(Error::Precondition(format!(
                "you have {has} workspaces, and {limit} is the limit: delete some"
            )));
        }
        let made = store::workspace::insert(&mut tx, &workspace).await.map_err(duplicate(&workspace.name))?;
        // With its owner's name.
        let made = store::workspace::by_id(&mut tx, made.id).await?.ok_or_else(|| not_found(made.id))?;
        let entry = Entry::done(permit.by(), "workspace.create", target(&made)).made(facts(&made));
        tx.commit(&entry, now).await?;
        Ok(made)
    }

    /// The workspace of the caller's Polyaxon projects: public, named after the account, made when it isn't there yet. That
    /// is less than any that the policy could be asked about, so that the permit for one will do.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn personal(&self, permit: &Permit<CreateWorkspace>) -> Result<Workspace, Error> {
        let actor = permit.by().as_actor().ok_or_else(nobody)?;
        let mut tx = self.store.write().await?;
        if let Some(found) = store::workspace::personal_of(&mut tx, actor.user).await? {
            return Ok(found);
        }
        let (mut name, now) = (actor.username.clone(), self.clock.now());
        taken::may_ask(&mut tx, permit.by(), now).await?;
        if is_taken(&mut tx, &name).await? {
            taken::told(&mut tx, permit.by(), now).await?;
            // It is found by whose it is; the name is for people.
            name = format!("{name} ({})", actor.user);
        }
        self.insert(tx, permit, Workspace { personal_of: Some(actor.user), ..blank(name) }).await
    }

    /// Changes a workspace: all parts or none. A changed Unix identity is for tasks that start afterwards.
    ///
    /// # Errors
    /// When a part isn't allowed, or it is the shared one.
    pub async fn change(&self, permit: &Permit<EditWorkspace>) -> Result<Workspace, Error> {
        let (place, change) = permit.target();
        let name = change.name.as_deref().map(|name| place::name("workspace name", name)).transpose();
        let name = name.map_err(|e| Error::Invalid(e.to_string()))?;
        let identity = self.checked(change.identity.as_ref())?;
        if let Some(name) = &name {
            let of = store::workspace::by_id(&mut self.store.read().await?, place.workspace).await?;
            if let Some(of) = of.filter(|of| of.name != *name) {
                self.is_no_accounts(name, of.owner).await?;
            }
        }
        let sets_storage = change.checkpoint_storage.is_some();
        let storage = checked_storage(change.checkpoint_storage.as_deref())?;
        self.edit(permit, place.workspace, move |workspace| {
            if sets_storage {
                workspace.checkpoint_storage = storage;
            }
            workspace.name = name.unwrap_or_else(|| workspace.name.clone());
            workspace.private = change.private.unwrap_or(workspace.private);
            workspace.identity = identity.unwrap_or_else(|| workspace.identity.clone());
        })
        .await
    }

    /// Puts a workspace away, or takes it out again.
    ///
    /// # Errors
    /// When it is the shared one.
    pub async fn set_archived(
        &self,
        permit: &Permit<ChangeWorkspace>,
        archived: bool,
    ) -> Result<Workspace, Error> {
        self.edit(permit, permit.target().workspace, |workspace| workspace.archived = archived).await
    }

    async fn edit<A: Act<Target: Again>>(
        &self,
        permit: &Permit<A>,
        id: WorkspaceId,
        edit: impl FnOnce(&mut Workspace),
    ) -> Result<Workspace, Error> {
        refuse_shared(id)?;
        let mut tx = again::begin(&self.store, permit).await?;
        let before = store::workspace::by_id(&mut tx, id).await?.ok_or_else(|| not_found(id))?;
        let mut after = before.clone();
        edit(&mut after);
        if after == before {
            return Ok(before);
        }
        if after.name != before.name {
            self.is_free_to_give(permit.by(), &before.name)?;
            self.is_free_to_give(permit.by(), &after.name)?;
            tx = self.with_free_name(tx, permit.by(), &after).await?;
        }
        store::workspace::update(&mut tx, &after).await.map_err(duplicate(&after.name))?;
        let entry = Entry::done(permit.by(), "workspace.update", target(&before));
        tx.commit(&entry.changed(facts(&before), facts(&after)), self.clock.now()).await?;
        Ok(after)
    }

    /// Deletes a workspace with its projects and templates. Its tasks stay, for their owners and administrators.
    ///
    /// # Errors
    /// While tasks in it are alive, or when it is the shared one.
    pub async fn delete(&self, permit: &Permit<ChangeWorkspace>) -> Result<(), Error> {
        let id = permit.target().workspace;
        refuse_shared(id)?;
        let mut tx = again::begin(&self.store, permit).await?;
        let workspace = store::workspace::by_id(&mut tx, id).await?.ok_or_else(|| not_found(id))?;
        let living = store::workspace::living_tasks(&mut tx, id).await?;
        if living > 0 {
            let name = &workspace.name;
            return Err(Error::Precondition(format!(
                "{living} tasks in workspace '{name}' aren't over: end them first, or archive it"
            )));
        }
        let now = self.clock.now();
        store::workspace::delete(&mut tx, id, now).await?;
        let entry = Entry::done(permit.by(), "workspace.delete", target(&workspace));
        tx.commit(&entry.removed(facts(&workspace)), now).await?;
        Ok(())
    }

    /// Who is in a workspace.
    ///
    /// # Errors
    /// When it was deleted.
    pub async fn members(&self, permit: &Permit<SeeMembers>) -> Result<Vec<Member>, Error> {
        let id = permit.target().workspace;
        let mut conn = self.store.read().await?;
        // One that was deleted still has a place, for the tasks in it.
        store::workspace::by_id(&mut conn, id).await?.ok_or_else(|| not_found(id))?;
        Ok(store::membership::list(&mut conn, Scope::Workspace(id)).await?)
    }

    /// Roles in the workspaces that the caller sees into: everybody's or some members', all or one.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn roles(
        &self,
        scope: Visible<Member>,
        of: Option<&[MemberId]>,
        role: Option<Role>,
    ) -> Result<Vec<(WorkspaceId, Member)>, Error> {
        let seen_by = (!scope.everything()).then(|| scope.actor());
        let mut conn = self.store.read().await?;
        Ok(store::membership::in_workspaces(&mut conn, seen_by, of, role).await?)
    }

    /// Gives somebody a role in a workspace, or with `None` takes it away. Gives all members.
    ///
    /// # Errors
    /// When there is no such account or group, or it is the shared one.
    pub async fn set_member(
        &self,
        permit: &Permit<ChangeWorkspace>,
        member: MemberId,
        role: Option<Role>,
    ) -> Result<Vec<Member>, Error> {
        let id = permit.target().workspace;
        refuse_shared(id)?;
        let mut tx = again::begin(&self.store, permit).await?;
        let workspace = store::workspace::by_id(&mut tx, id).await?.ok_or_else(|| not_found(id))?;
        let what = (permit.by(), "workspace.set_members", target(&workspace));
        member::set(tx, what, Scope::Workspace(id), member, role, self.clock.now()).await
    }
}

fn nobody() -> Error {
    Error::Forbidden("only accounts have workspaces".to_owned())
}

fn blank(name: String) -> Workspace {
    Workspace {
        id: WorkspaceId(0),
        name,
        owner: UserId(0),
        owner_name: String::new(),
        private: false,
        archived: false,
        identity: IdentityParts::default(),
        checkpoint_storage: None,
        personal_of: None,
        created_at: Timestamp(0),
    }
}

/// Lets a personal workspace follow its account from the name `old`, when the new one is free. Whether it is may be seen
/// by that, so it isn't told often (KX8).
///
/// # Errors
/// When `by` has to wait, or the database can't be reached.
pub(crate) async fn follow_rename(
    tx: &mut Tx,
    by: &By,
    account: &User,
    old: &str,
    now: Timestamp,
) -> Result<(), Error> {
    let (user, new) = (account.id, account.username.as_str());
    let personal = store::workspace::personal_of(tx, user).await?;
    let Some(personal) = personal.filter(|workspace| workspace.name == old) else { return Ok(()) };
    taken::may_ask(tx, by, now).await?;
    if is_taken(tx, new).await? {
        return taken::told(tx, by, now).await;
    }
    store::workspace::update(tx, &Workspace { name: new.to_owned(), ..personal }).await?;
    Ok(())
}
