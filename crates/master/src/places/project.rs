//! Projects: making, changing, finding, moving, deleting; who is in them; bookmarks (X4, X10).
//!
//! Polyaxon's `OWNER/PROJECT` is a project in its owner's personal workspace (`workspace::Workspaces::personal`).

use std::sync::Arc;

use domain::audit::{By, Entry, Who};
use domain::authz::{
    Act as _, AddToWorkspace, ChangeProject, ManageProject, Permit, ReadProject, ReadWorkspace, Visible,
};
use domain::id::{ProjectId, UNCATEGORIZED, WorkspaceId};
use domain::place::{self, Member, MemberId, Project, Role, Scope};
use domain::text::steers;
use domain::time::Timestamp;
use serde_json::{Value, json};
pub use store::project::{Filter as ProjectFilter, SortBy};
use store::{Begin, Store, StoreError, Tx};

use crate::config::Limits;
use crate::open::{Key as _, Target as _};
use crate::system::Clock;
use crate::{Error, again, member, taken, workspace};

/// Longest description of a project, in bytes.
const DESCRIPTION_MAX: usize = 4 << 10;
/// Most tags of a project.
const TAGS_MAX: usize = 64;
/// Longest tag, in bytes.
const TAG_MAX: usize = 128;
/// Most notes of a project.
const NOTES_MAX: usize = 100;
/// All notes of a project with their headings, in bytes.
const NOTES_MAX_BYTES: usize = 64 << 10;

/// Projects.
#[derive(Clone)]
pub struct Projects {
    store: Store,
    limits: Limits,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Projects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Projects")
    }
}

/// A project to be made.
#[derive(Debug, Default)]
pub struct NewProject {
    /// Its name.
    pub name: String,
    /// Its key; made from the name when absent.
    pub key: Option<String>,
    /// One sentence.
    pub description: String,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// Exists for its members, and those of its workspace, only.
    pub private: bool,
}

fn not_found(id: ProjectId) -> Error {
    Error::NotFound(ProjectId::missing(&id))
}

fn invalid(error: &place::InvalidName) -> Error {
    Error::Invalid(error.to_string())
}

/// The project of the shared workspace stays as it is.
fn refuse_shared(id: ProjectId) -> Result<(), Error> {
    let text = "the project of the workspace that everybody shares can't be changed or deleted";
    if id == ProjectId(1) { Err(Error::Precondition(text.to_owned())) } else { Ok(()) }
}

/// The texts of a project, which all who see it are sent and which are in the database with every change (A5). What stays
/// as it was before may be longer.
fn check_texts(project: &Project, before: Option<&Project>) -> Result<(), Error> {
    let Project { description, tags, notes, .. } = project;
    let has_nul = |text: &String| text.contains('\0');
    let size = notes.iter().map(|note| note.name.len() + note.contents.len()).sum::<usize>();
    let same = |part: fn(&Project, &Project) -> bool| before.is_some_and(|before| part(before, project));
    let bad = if same(|before, after| before.description == after.description) {
        None
    } else {
        // It stands in lists, on terminals too (A14); it may have lines.
        let steers = |c: char| steers(c) && !matches!(c, '\n' | '\t');
        if description.replace("\r\n", "\n").contains(steers) {
            Some("a project's description has no control characters, and none that can't be seen".to_owned())
        } else {
            (description.len() > DESCRIPTION_MAX)
                .then(|| format!("a project's description has at most {DESCRIPTION_MAX} bytes"))
        }
    };
    let bad = bad.or_else(|| {
        let long = tags.len() > TAGS_MAX || tags.iter().any(|tag| tag.len() > TAG_MAX || has_nul(tag));
        let bad = long && !same(|before, after| before.tags == after.tags);
        bad.then(|| format!("a project has at most {TAGS_MAX} tags of {TAG_MAX} bytes"))
    });
    let bad = bad.or_else(|| {
        let nul = notes.iter().any(|note| has_nul(&note.name) || has_nul(&note.contents));
        let long = notes.len() > NOTES_MAX || size > NOTES_MAX_BYTES || nul;
        let bad = long && !same(|before, after| before.notes == after.notes);
        bad.then(|| format!("a project has at most {NOTES_MAX} notes, of {NOTES_MAX_BYTES} bytes in all"))
    });
    bad.map_or(Ok(()), |text| Err(Error::Invalid(text)))
}

/// A project as an audit entry's target.
fn target(project: &Project) -> Who {
    Who::named("project", &project.id, &project.name)
}

/// Notes can be long: their headings stand for them.
fn facts(project: &Project) -> Value {
    json!({
        "name": project.name,
        "key": project.code,
        "workspace": project.workspace,
        "description": project.description,
        "notes": project.notes.iter().map(|note| &note.name).collect::<Vec<_>>(),
        "tags": project.tags,
        "private": project.private,
        "archived": project.archived,
    })
}

/// A key for a project that was given none. When the one that it should have is taken, who sees the next one knows that:
/// so that is counted (KX8).
async fn free_key(tx: &mut Tx, by: &By, name: &str, id: ProjectId, now: Timestamp) -> Result<String, Error> {
    for (tried, key) in place::keys_for(name, id).enumerate() {
        if store::project::by_key(tx, &key).await?.is_some() {
            continue;
        }
        if tried > 0 {
            taken::told(tx, by, now).await?;
        }
        return Ok(key);
    }
    Err(StoreError::Duplicate.into())
}

impl Projects {
    pub(crate) fn new(store: Store, limits: Limits, clock: Arc<dyn Clock>) -> Self {
        Self { store, limits, clock }
    }

    /// One project.
    ///
    /// # Errors
    /// When it was deleted a moment ago.
    pub async fn get(&self, permit: &Permit<ReadProject>) -> Result<Project, Error> {
        let id = permit.target().project;
        let mut conn = self.store.read().await?;
        store::project::by_id(&mut conn, id).await?.ok_or_else(|| not_found(id))
    }

    /// A page of the projects that match, without their notes; `page` turns their number into offset and limit.
    ///
    /// # Errors
    /// What `page` answers, or the database.
    pub async fn list_without_notes<P>(
        &self,
        scope: Visible<Project>,
        filter: ProjectFilter,
        page: impl FnOnce(i64) -> Result<(P, i64, i64), Error>,
    ) -> Result<(Vec<Project>, P), Error> {
        let filter = ProjectFilter { seen_by: (!scope.everything()).then(|| scope.actor()), ..filter };
        let mut conn = self.store.read().await?;
        let total = store::project::count(&mut conn, &filter).await?;
        let (page, offset, limit) = page(total)?;
        let projects =
            store::project::list_without_notes(&mut conn, &filter, Begin::At(offset), limit).await?;
        Ok((projects, page))
    }

    /// Those of `ids` that match.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn those(
        &self,
        scope: Visible<Project>,
        filter: &ProjectFilter,
        ids: &[ProjectId],
    ) -> Result<Vec<Project>, Error> {
        let seen_by = (!scope.everything()).then(|| scope.actor());
        let filter = ProjectFilter { seen_by, ids: Some(ids.to_vec()), ..filter.clone() };
        let mut conn = self.store.read().await?;
        Ok(store::project::list(&mut conn, &filter, Begin::At(0), i64::MAX).await?)
    }

    /// Which of `ids` the actor has bookmarked.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn marked(
        &self,
        scope: Visible<Project>,
        ids: Vec<ProjectId>,
    ) -> Result<Vec<ProjectId>, Error> {
        let bookmarked_by = Some(scope.actor());
        let filter = ProjectFilter { bookmarked_by, ids: Some(ids), ..ProjectFilter::default() };
        let mut conn = self.store.read().await?;
        Ok(store::project::ids(&mut conn, &filter, Begin::At(0), i64::MAX).await?)
    }

    /// A page of what matches in a workspace. What they are: [`Self::those`].
    ///
    /// # Errors
    /// When the workspace was deleted, what `page` answers, or the database.
    pub async fn ids_in<P>(
        &self,
        permit: &Permit<ReadWorkspace>,
        scope: Visible<Project>,
        filter: ProjectFilter,
        page: impl FnOnce(i64) -> Result<(P, i64, i64), Error>,
    ) -> Result<(Vec<ProjectId>, P), Error> {
        let id = permit.target().workspace;
        let mut conn = self.store.read().await?;
        let workspace = store::workspace::by_id(&mut conn, id).await?;
        workspace.ok_or_else(|| Error::NotFound(permit.target().missing()))?;
        let seen_by = (!scope.everything()).then(|| scope.actor());
        let filter = ProjectFilter { workspace: Some(id), seen_by, ..filter };
        let total = store::project::count(&mut conn, &filter).await?;
        let (page, offset, limit) = page(total)?;
        let ids = store::project::ids(&mut conn, &filter, Begin::At(offset), limit).await?;
        Ok((ids, page))
    }

    /// Makes a project; who makes it owns it.
    ///
    /// # Errors
    /// When name or key isn't allowed or taken, or the workspace is archived or the shared one.
    pub async fn create(&self, permit: &Permit<AddToWorkspace>, new: NewProject) -> Result<Project, Error> {
        let name = place::name("project name", &new.name).map_err(|e| invalid(&e))?;
        let key = new.key.as_deref().filter(|key| !key.is_empty()).map(place::project_key).transpose();
        let key = key.map_err(|e| invalid(&e))?;
        let mut tx = again::begin(&self.store, permit).await?;
        let workspace = open(&mut tx, permit.target().workspace).await?;
        let owner = permit.actor().unwrap_or(permit.target().owner);
        let theirs = ProjectFilter { owners: Some(vec![owner]), ..ProjectFilter::default() };
        let (has, limit) = (store::project::count(&mut tx, &theirs).await?, self.limits.projects);
        if has >= i64::from(limit) {
            return Err(Error::Precondition(format!(
                "you have {has} projects, and {limit} is the limit: delete some"
            )));
        }
        let (id, now) = (store::project::next_id(&mut tx).await?, self.clock.now());
        taken::may_ask(&mut tx, permit.by(), now).await?;
        let code = match key {
            Some(key) => key,
            None => free_key(&mut tx, permit.by(), &name, id, now).await?,
        };
        let project = Project {
            id,
            workspace,
            name,
            code,
            description: new.description,
            notes: Vec::new(),
            tags: new.tags,
            private: new.private,
            archived: false,
            owner,
            owner_name: String::new(),
            created_at: now,
            modified_at: now,
        };
        check_texts(&project, None)?;
        let mut tx = self.with_free_names(tx, permit.by(), &project, true).await?;
        store::project::insert(&mut tx, &project).await?;
        // With its owner's name.
        let made = store::project::by_id(&mut tx, id).await?.ok_or_else(|| not_found(id))?;
        let entry = Entry::done(permit.by(), "project.create", target(&made)).made(facts(&made));
        tx.commit(&entry, now).await?;
        Ok(made)
    }

    /// Changes a project: all parts or none.
    ///
    /// # Errors
    /// When a part isn't allowed, a name or key is taken, or it is the shared one.
    pub async fn change(&self, permit: &Permit<ChangeProject>) -> Result<Project, Error> {
        let (place, change) = permit.target();
        let (id, change) = (place.project, change.clone());
        let name = change.name.map(|name| place::name("project name", &name)).transpose();
        let name = name.map_err(|e| invalid(&e))?;
        let key = change.key.as_deref().map(place::project_key).transpose().map_err(|e| invalid(&e))?;
        refuse_shared(id)?;
        let mut tx = again::begin(&self.store, permit).await?;
        let before = store::project::by_id(&mut tx, id).await?.ok_or_else(|| not_found(id))?;
        let mut after = before.clone();
        after.name = name.unwrap_or(after.name);
        after.code = key.unwrap_or(after.code);
        after.description = change.description.unwrap_or(after.description);
        after.notes = change.notes.unwrap_or(after.notes);
        after.notes.extend(change.new_note);
        after.tags = change.tags.unwrap_or(after.tags);
        after.private = change.private.unwrap_or(after.private);
        let entry = Entry::done(permit.by(), "project.update", target(&before));
        self.write(tx, permit.by(), before, after, entry).await
    }

    /// Puts a project away, or takes it out again.
    ///
    /// # Errors
    /// When it is the shared one.
    pub async fn set_archived(
        &self,
        permit: &Permit<ManageProject>,
        archived: bool,
    ) -> Result<Project, Error> {
        let id = permit.target().project;
        refuse_shared(id)?;
        let mut tx = again::begin(&self.store, permit).await?;
        let before = store::project::by_id(&mut tx, id).await?.ok_or_else(|| not_found(id))?;
        let after = Project { archived, ..before.clone() };
        let entry = Entry::done(permit.by(), "project.update", target(&before));
        self.write(tx, permit.by(), before, after, entry).await
    }

    /// Moves a project to another workspace.
    ///
    /// # Errors
    /// When that is archived or the shared one, or has a project of that name.
    pub async fn move_to(
        &self,
        permit: &Permit<ManageProject>,
        into: &Permit<AddToWorkspace>,
    ) -> Result<Project, Error> {
        let id = permit.target().project;
        refuse_shared(id)?;
        let mut tx = again::begin(&self.store, permit).await?;
        again::ask(&mut tx, into).await?;
        let before = store::project::by_id(&mut tx, id).await?.ok_or_else(|| not_found(id))?;
        let workspace = open(&mut tx, into.target().workspace).await?;
        // Who is in the other workspace sees it from now on.
        Error::unless_it_may_last(permit.by())?;
        let after = Project { workspace, ..before.clone() };
        let entry = Entry::done(permit.by(), "project.move", target(&before));
        self.write(tx, permit.by(), before, after, entry).await
    }

    /// A name that no other project of the workspace has, and when it is new a key that none at all has.
    async fn with_free_names(
        &self,
        mut tx: Tx,
        by: &By,
        project: &Project,
        new_key: bool,
    ) -> Result<Tx, Error> {
        let name = &project.name;
        let same = store::project::by_name(&mut tx, project.workspace, name).await?;
        if same.is_some_and(|other| other != project.id) {
            let text = format!("a project named '{name}' already exists in this workspace");
            return Err(Error::Conflict(text));
        }
        if !new_key {
            return Ok(tx);
        }
        let (key, now) = (&project.code, self.clock.now());
        taken::may_ask(&mut tx, by, now).await?;
        let other = store::project::by_key(&mut tx, key).await?;
        let Some(other) = other.filter(|other| *other != project.id) else { return Ok(tx) };
        let text = format!("project key '{key}' is in use already: choose another one");
        let seen = match by.as_actor() {
            Some(actor) => {
                let place = store::project::place(&mut tx, other, actor.user).await?;
                place.is_some_and(|place| ReadProject::check(&actor, &place).is_ok())
            }
            None => true,
        };
        Err(if seen { Error::Conflict(text) } else { taken::unseen(&self.store, tx, by, now, text).await })
    }

    async fn write(
        &self,
        tx: Tx,
        by: &By,
        before: Project,
        mut after: Project,
        entry: Entry,
    ) -> Result<Project, Error> {
        if after == before {
            return Ok(before);
        }
        check_texts(&after, Some(&before))?;
        let mut tx = self.with_free_names(tx, by, &after, after.code != before.code).await?;
        let now = self.clock.now();
        after.modified_at = now;
        store::project::update(&mut tx, &after).await?;
        tx.commit(&entry.changed(facts(&before), facts(&after)), now).await?;
        Ok(after)
    }

    /// Deletes a project.
    ///
    /// # Errors
    /// When it is the shared one.
    pub async fn delete(&self, permit: &Permit<ManageProject>) -> Result<(), Error> {
        let id = permit.target().project;
        refuse_shared(id)?;
        let mut tx = again::begin(&self.store, permit).await?;
        let project = store::project::by_id(&mut tx, id).await?.ok_or_else(|| not_found(id))?;
        store::project::delete(&mut tx, id).await?;
        let entry = Entry::done(permit.by(), "project.delete", target(&project));
        tx.commit(&entry.removed(facts(&project)), self.clock.now()).await?;
        Ok(())
    }

    /// Who is in a project, besides those of its workspace.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn members(&self, permit: &Permit<ReadProject>) -> Result<Vec<Member>, Error> {
        let mut conn = self.store.read().await?;
        Ok(store::membership::list(&mut conn, Scope::Project(permit.target().project)).await?)
    }

    /// Gives somebody a role in a project, or with `None` takes it away. Gives all members.
    ///
    /// # Errors
    /// When there is no such account or group, or it is the shared one.
    pub async fn set_member(
        &self,
        permit: &Permit<ManageProject>,
        member: MemberId,
        role: Option<Role>,
    ) -> Result<Vec<Member>, Error> {
        let id = permit.target().project;
        refuse_shared(id)?;
        let mut tx = again::begin(&self.store, permit).await?;
        let project = store::project::by_id(&mut tx, id).await?.ok_or_else(|| not_found(id))?;
        let what = (permit.by(), "project.set_members", target(&project));
        member::set(tx, what, Scope::Project(id), member, role, self.clock.now()).await
    }

    /// Notes that the caller wants to find a project again, or doesn't any more. Lists of them:
    /// [`ProjectFilter::bookmarked_by`].
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn set_bookmark(&self, permit: &Permit<ReadProject>, bookmarked: bool) -> Result<(), Error> {
        let nobody = || Error::Forbidden("only accounts have bookmarks".to_owned());
        let user = permit.actor().ok_or_else(nobody)?;
        let id = permit.target().project;
        let mut tx = again::begin(&self.store, permit).await?;
        let project = store::project::by_id(&mut tx, id).await?.ok_or_else(|| not_found(id))?;
        let (news, action) = if bookmarked {
            (store::project::bookmark(&mut tx, user, id).await?, "project.bookmark")
        } else {
            (store::project::unbookmark(&mut tx, user, id).await?, "project.unbookmark")
        };
        let marked = ProjectFilter { bookmarked_by: Some(user), ..ProjectFilter::default() };
        let limit = self.limits.bookmarks;
        if news && bookmarked && store::project::count(&mut tx, &marked).await? > i64::from(limit) {
            return Err(Error::Precondition(format!(
                "you have {limit} bookmarks, and that is the limit: take some back"
            )));
        }
        if news {
            let entry = Entry::done(permit.by(), action, target(&project));
            tx.commit(&entry, self.clock.now()).await?;
        }
        Ok(())
    }

    /// Whether who may read a project bookmarked it.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn is_bookmarked(&self, permit: &Permit<ReadProject>) -> Result<bool, Error> {
        let Some(user) = permit.actor() else { return Ok(false) };
        let mut conn = self.store.read().await?;
        Ok(store::project::is_bookmarked(&mut conn, user, permit.target().project).await?)
    }
}

/// A workspace that takes projects.
async fn open(tx: &mut Tx, id: WorkspaceId) -> Result<WorkspaceId, Error> {
    if id == UNCATEGORIZED {
        let text = "no projects can be put into the workspace that everybody shares: make one of your own";
        return Err(Error::Precondition(text.to_owned()));
    }
    workspace::open(tx, id).await.map(|workspace| workspace.id)
}
