//! Workspaces, and where one account stands in them.

use domain::id::{UNCATEGORIZED, UserId, WorkspaceId};
use domain::identity::IdentityParts;
use domain::place::{Place, Workspace};
use domain::time::Timestamp;

use crate::cells::{Cells, Read};
use crate::membership::role;
use crate::sql::{Sql, sql};
use crate::table::{Table as _, Write, table};
use crate::value::{Stored as _, Value};
use crate::{Conn, StoreError, Tx, meta, visible};

table! {
    workspaces w => Workspace {
        id, name, owner: [owner_id], private, archived,
        identity: [agent_user, agent_uid, agent_group, agent_gid],
        checkpoint_storage, personal_of, created_at,
    }
    reads "JOIN users u ON u.id = w.owner_id" { owner_name: "u.username" }
}

impl Read for IdentityParts {
    fn read(cells: &mut Cells<'_>) -> Result<Self, StoreError> {
        Ok(Self { user: cells.next()?, uid: cells.next()?, group: cells.next()?, gid: cells.next()? })
    }
}

impl Write for IdentityParts {
    fn write(&self, values: &mut Vec<Value>) -> Result<(), StoreError> {
        let Self { user, uid, group, gid } = self;
        values.extend([user.value(), uid.value(), group.value(), gid.value()]);
        Ok(())
    }
}

/// Makes the shared workspace of a new installation, with its project.
///
/// # Errors
/// See [`StoreError`].
pub async fn insert_uncategorized(tx: &mut Tx, owner: UserId, now: Timestamp) -> Result<(), StoreError> {
    let workspace = meta::next(tx, "workspace").await?;
    let project = meta::next(tx, "project").await?;
    if (workspace, project) != (UNCATEGORIZED.0, 1) {
        return Err(StoreError::Corrupt("counters: the shared workspace is not the first".to_owned()));
    }
    let sql = "INSERT INTO workspaces (id, name, owner_id, created_at) VALUES (?, 'Uncategorized', ?, ?)";
    sql!(sql, workspace, owner, now).run(tx).await?;
    let sql =
        "INSERT INTO projects (id, workspace_id, name, code, description, notes, tags, private, archived,
                   owner_id, created_at, modified_at)
               VALUES (?, ?, 'Uncategorized', 'UNCAT', '', '[]', '[]', FALSE, FALSE, ?, ?, ?)";
    tx.adds(0);
    sql!(sql, project, workspace, owner, now, now).run(tx).await.map(drop)
}

/// What a list of workspaces goes by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SortBy {
    /// Id.
    #[default]
    Id,
    /// Name.
    Name,
}

/// Which workspaces, in which order.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Exactly this name.
    pub name: Option<String>,
    /// This name, whatever the case.
    pub name_in_any_case: Option<String>,
    /// Archived ones, or the others.
    pub archived: Option<bool>,
    /// Only those of these accounts; `None` is everybody's.
    pub owners: Option<Vec<UserId>>,
    /// Without those that this account may not see.
    pub seen_by: Option<UserId>,
    /// What they are sorted by.
    pub sort: SortBy,
    /// Last ones first.
    pub descending: bool,
}

impl Filter {
    fn conditions(&self) -> Sql {
        let mut all = Sql::from("w.deleted_at IS NULL");
        all.and_named("w.name = ?", self.name.as_ref());
        all.and_named("LOWER(w.name) = LOWER(?)", self.name_in_any_case.as_ref());
        all.and_either(self.archived, "w.archived", "NOT w.archived");
        self.owners.iter().for_each(|owners| all.and(Sql::one_of("w.owner_id", owners)));
        self.seen_by.iter().for_each(|actor| all.and(visible::workspaces(*actor)));
        all
    }
}

/// How many workspaces match.
///
/// # Errors
/// See [`StoreError`].
pub async fn count(conn: &mut Conn, filter: &Filter) -> Result<i64, StoreError> {
    Workspace::count(conn, filter.conditions()).await
}

/// A page of the workspaces that match.
///
/// # Errors
/// See [`StoreError`].
pub async fn list(
    conn: &mut Conn,
    filter: &Filter,
    offset: i64,
    limit: i64,
) -> Result<Vec<Workspace>, StoreError> {
    let order = match (filter.sort, filter.descending) {
        (SortBy::Id, false) => " ORDER BY w.id",
        (SortBy::Id, true) => " ORDER BY w.id DESC",
        (SortBy::Name, false) => " ORDER BY w.name, w.id",
        (SortBy::Name, true) => " ORDER BY w.name DESC, w.id",
    };
    let page = Sql::from(order).with(sql!(" LIMIT ? OFFSET ?", limit, offset));
    Workspace::select(filter.conditions()).with(page).all(conn).await
}

/// Makes a workspace; `workspace.id` is ignored and a fresh one given out.
///
/// # Errors
/// [`StoreError::Duplicate`] when the name is taken.
pub async fn insert(tx: &mut Tx, workspace: &Workspace) -> Result<Workspace, StoreError> {
    let workspace = Workspace { id: WorkspaceId(meta::next(tx, "workspace").await?), ..workspace.clone() };
    workspace.insert(tx, &[]).await?;
    Ok(workspace)
}

/// Writes what can change of a workspace.
///
/// # Errors
/// [`StoreError::Duplicate`] when the name is taken.
pub async fn update(tx: &mut Tx, workspace: &Workspace) -> Result<(), StoreError> {
    let Workspace { id, name, private, archived, identity, checkpoint_storage: storage, .. } = workspace;
    let IdentityParts { user, uid, group, gid } = identity;
    tx.replaces(storage.value().text_bytes());
    let sql = "UPDATE workspaces SET name = ?, private = ?, archived = ?, agent_user = ?, agent_uid = ?,
                   agent_group = ?, agent_gid = ?, checkpoint_storage = ? WHERE id = ? AND deleted_at IS NULL";
    let sql = sql!(sql, name, private, archived, user, uid, group, gid, storage, id);
    sql.run_once(tx, "a workspace").await
}

/// Takes a workspace away: its name is free again, its projects and templates are gone, its tasks stay.
///
/// # Errors
/// See [`StoreError`].
pub async fn delete(tx: &mut Tx, id: WorkspaceId, now: Timestamp) -> Result<(), StoreError> {
    for sql in [
        "DELETE FROM bookmarks WHERE project_id IN (SELECT p.id FROM projects p WHERE p.workspace_id = ?)",
        "DELETE FROM memberships WHERE scope = 'project'
            AND scope_id IN (SELECT p.id FROM projects p WHERE p.workspace_id = ?)",
        "DELETE FROM projects WHERE workspace_id = ?",
        "DELETE FROM memberships WHERE scope = 'workspace' AND scope_id = ?",
        "DELETE FROM templates WHERE workspace_id = ?",
        "DELETE FROM config_policies WHERE workspace_id = ?",
    ] {
        sql!(sql, id).run(tx).await?;
    }
    // No name has a control character: nobody can have this one, or ask for it.
    let sql = "UPDATE workspaces SET deleted_at = ?, personal_of = NULL, name = name || ? WHERE id = ?";
    sql!(sql, now, format!("\u{1f}{id}"), id).run_once(tx, "a workspace").await
}

/// How many tasks in a workspace aren't over.
///
/// # Errors
/// See [`StoreError`].
pub async fn living_tasks(conn: &mut Conn, id: WorkspaceId) -> Result<i64, StoreError> {
    sql!("SELECT COUNT(*) FROM tasks WHERE workspace_id = ? AND standing <> 'over'", id).one(conn).await
}

/// The workspace where an account's Polyaxon projects are.
///
/// # Errors
/// See [`StoreError`].
pub async fn personal_of(conn: &mut Conn, user: UserId) -> Result<Option<Workspace>, StoreError> {
    let its = sql!("w.personal_of = ? AND w.deleted_at IS NULL", user);
    Workspace::select(its).with(" ORDER BY w.id LIMIT 1").first(conn).await
}

/// One workspace, unless it was deleted.
///
/// # Errors
/// See [`StoreError`].
pub async fn by_id(conn: &mut Conn, id: WorkspaceId) -> Result<Option<Workspace>, StoreError> {
    Workspace::select(sql!("w.id = ? AND w.deleted_at IS NULL", id)).first(conn).await
}

/// The workspace of that name, unless it was deleted.
///
/// # Errors
/// See [`StoreError`].
pub async fn by_name(conn: &mut Conn, name: &str) -> Result<Option<Workspace>, StoreError> {
    Workspace::select(sql!("w.name = ? AND w.deleted_at IS NULL", name)).first(conn).await
}

/// The workspaces whose content `actor` may not see.
///
/// # Errors
/// See [`StoreError`].
pub async fn hidden(conn: &mut Conn, actor: UserId) -> Result<Vec<WorkspaceId>, StoreError> {
    visible::hidden_workspaces(actor).all(conn).await
}

/// How `actor` stands to a workspace. One that was deleted is private and has no members.
///
/// # Errors
/// See [`StoreError`].
pub async fn place(conn: &mut Conn, id: WorkspaceId, actor: UserId) -> Result<Option<Place>, StoreError> {
    let sql = Sql::from("SELECT w.owner_id, w.private, w.deleted_at IS NOT NULL, (SELECT ")
        .with(visible::HIGHEST_ROLE)
        .with(visible::own_in_workspace(actor))
        .with("), EXISTS (SELECT 1 FROM projects p WHERE p.workspace_id = w.id AND ")
        .with(visible::guest_by_project(actor))
        .with(sql!(") FROM workspaces w WHERE w.id = ?", id));
    let row: Option<(UserId, bool, bool, Option<i64>, bool)> = sql.first(conn).await?;
    Ok(row.map(|(owner, private, gone, number, guest)| Place {
        workspace: id,
        owner,
        private: private || gone,
        role: role(number).filter(|_| !gone),
        guest: guest && !gone,
    }))
}
