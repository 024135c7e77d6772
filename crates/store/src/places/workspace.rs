//! Workspaces, and where one account stands in them.

use domain::id::{UNCATEGORIZED, UserId, WorkspaceId};
use domain::identity::IdentityParts;
use domain::place::{Place, Role, Workspace};
use domain::time::Timestamp;
use sqlx::AssertSqlSafe;

use crate::db::{on, row};
use crate::error::one_row;
use crate::{Conn, StoreError, Tx, meta};

row!(WorkspaceRow {
    id: i64,
    name: String,
    owner_id: i64,
    username: String,
    private: bool,
    archived: bool,
    agent_user: Option<String>,
    agent_uid: Option<i64>,
    agent_group: Option<String>,
    agent_gid: Option<i64>,
    personal_of: Option<i64>,
    created_at: i64,
});

impl From<WorkspaceRow> for Workspace {
    fn from(row: WorkspaceRow) -> Self {
        Self {
            id: WorkspaceId(row.id),
            name: row.name,
            owner: UserId(row.owner_id),
            owner_name: row.username,
            private: row.private,
            archived: row.archived,
            identity: IdentityParts {
                user: row.agent_user,
                uid: row.agent_uid,
                group: row.agent_group,
                gid: row.agent_gid,
            },
            personal_of: row.personal_of.map(UserId),
            created_at: Timestamp(row.created_at),
        }
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
    let sql = "INSERT INTO workspaces (id, name, owner_id, created_at) VALUES ($1, 'Uncategorized', $2, $3)";
    on!(tx, |c| sqlx::query(sql).bind(workspace).bind(owner.0).bind(now.0).execute(c).await.map(drop))?;
    let sql =
        "INSERT INTO projects (id, workspace_id, name, code, description, notes, tags, private, archived,
                   owner_id, created_at, modified_at)
               VALUES ($1, $2, 'Uncategorized', 'UNCAT', '', '[]', '[]', FALSE, FALSE, $3, $4, $4)";
    tx.adds(0);
    on!(tx, |c| {
        sqlx::query(sql).bind(project).bind(workspace).bind(owner.0).bind(now.0).execute(c).await.map(drop)
    })?;
    Ok(())
}

const SELECT: &str =
    "SELECT w.id, w.name, w.owner_id, u.username, w.private, w.archived, w.agent_user, w.agent_uid,
        w.agent_group, w.agent_gid, w.personal_of, w.created_at
    FROM workspaces w JOIN users u ON u.id = w.owner_id";

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
    /// Order.
    pub sort: SortBy,
    /// The other way round.
    pub descending: bool,
}

impl Filter {
    /// `$1` is the name, `$2` the name in any case.
    fn conditions(&self) -> String {
        let mut sql =
            "w.deleted_at IS NULL AND ($1 = '' OR w.name = $1) AND ($2 = '' OR LOWER(w.name) = LOWER($2))"
                .to_owned();
        if let Some(archived) = self.archived {
            sql.push_str(if archived { " AND w.archived" } else { " AND NOT w.archived" });
        }
        sql.push_str(&owned_by("w", self.owners.as_deref()));
        if let Some(viewer) = self.seen_by {
            sql.push_str(&format!(" AND {}", seen_by(viewer)));
        }
        sql
    }
}

/// A condition on the owner's column of a table, with ` AND ` before it.
pub(crate) fn owned_by(table: &str, owners: Option<&[UserId]>) -> String {
    let Some(owners) = owners else { return String::new() };
    if owners.is_empty() {
        return " AND 1 = 0".to_owned();
    }
    let list: Vec<String> = owners.iter().map(|id| id.0.to_string()).collect();
    format!(" AND {table}.owner_id IN ({})", list.join(", "))
}

/// Text for a parameter: NUL, which PostgreSQL doesn't take, is in no name.
pub(crate) fn text(value: Option<&String>) -> String {
    value.map(|text| text.replace('\0', "\u{fffd}")).unwrap_or_default()
}

/// Whether `viewer` sees that a workspace `w` is there; the same as the policy's `sees`.
fn seen_by(viewer: UserId) -> String {
    let (viewer, is_member) = (viewer.0, is_member(&viewer.0.to_string()));
    format!(
        "(NOT w.private OR w.owner_id = {viewer}
          OR EXISTS (SELECT 1 FROM memberships m WHERE m.scope = 'workspace' AND m.scope_id = w.id AND {is_member})
          OR EXISTS (SELECT 1 FROM projects p WHERE p.workspace_id = w.id AND (p.owner_id = {viewer} OR EXISTS (
              SELECT 1 FROM memberships m WHERE m.scope = 'project' AND m.scope_id = p.id AND {is_member}))))"
    )
}

/// How many workspaces match.
///
/// # Errors
/// See [`StoreError`].
pub async fn count(conn: &mut Conn, filter: &Filter) -> Result<i64, StoreError> {
    let sql = format!("SELECT COUNT(*) FROM workspaces w WHERE {}", filter.conditions());
    let (name, any_case) = (text(filter.name.as_ref()), text(filter.name_in_any_case.as_ref()));
    let (count,): (i64,) =
        on!(conn, |c| sqlx::query_as(AssertSqlSafe(sql)).bind(name).bind(any_case).fetch_one(c).await)?;
    Ok(count)
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
    let direction = if filter.descending { "DESC" } else { "ASC" };
    let column = match filter.sort {
        SortBy::Id => "w.id",
        SortBy::Name => "w.name",
    };
    let conditions = filter.conditions();
    let sql =
        format!("{SELECT} WHERE {conditions} ORDER BY {column} {direction}, w.id ASC LIMIT $3 OFFSET $4");
    let (name, any_case) = (text(filter.name.as_ref()), text(filter.name_in_any_case.as_ref()));
    let rows: Vec<WorkspaceRow> = on!(conn, |c| {
        let query = sqlx::query_as(AssertSqlSafe(sql)).bind(name).bind(any_case).bind(limit).bind(offset);
        query.fetch_all(c).await
    })?;
    Ok(rows.into_iter().map(Workspace::from).collect())
}

/// Makes a workspace; `workspace.id` is ignored and a fresh one given out.
///
/// # Errors
/// [`StoreError::Duplicate`] when the name is taken.
pub async fn insert(tx: &mut Tx, workspace: &Workspace) -> Result<Workspace, StoreError> {
    let workspace = Workspace { id: WorkspaceId(meta::next(tx, "workspace").await?), ..workspace.clone() };
    let sql =
        "INSERT INTO workspaces (id, name, owner_id, private, archived, agent_user, agent_uid, agent_group,
                   agent_gid, personal_of, created_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
    tx.adds(workspace.name.len());
    on!(tx, |c| {
        sqlx::query(sql)
            .bind(workspace.id.0)
            .bind(&workspace.name)
            .bind(workspace.owner.0)
            .bind(workspace.private)
            .bind(workspace.archived)
            .bind(&workspace.identity.user)
            .bind(workspace.identity.uid)
            .bind(&workspace.identity.group)
            .bind(workspace.identity.gid)
            .bind(workspace.personal_of.map(|id| id.0))
            .bind(workspace.created_at.0)
            .execute(c)
            .await
            .map(drop)
    })?;
    Ok(workspace)
}

/// Writes what can change of a workspace.
///
/// # Errors
/// [`StoreError::Duplicate`] when the name is taken.
pub async fn update(tx: &mut Tx, workspace: &Workspace) -> Result<(), StoreError> {
    let sql = "UPDATE workspaces SET name = $2, private = $3, archived = $4, agent_user = $5, agent_uid = $6,
                   agent_group = $7, agent_gid = $8 WHERE id = $1 AND deleted_at IS NULL";
    let affected = on!(tx, |c| {
        sqlx::query(sql)
            .bind(workspace.id.0)
            .bind(&workspace.name)
            .bind(workspace.private)
            .bind(workspace.archived)
            .bind(&workspace.identity.user)
            .bind(workspace.identity.uid)
            .bind(&workspace.identity.group)
            .bind(workspace.identity.gid)
            .execute(c)
            .await
            .map(|done| done.rows_affected())
    })?;
    one_row("a workspace", affected)
}

/// Takes a workspace away: its name is free again, its projects and templates are gone, its tasks stay.
///
/// # Errors
/// See [`StoreError`].
pub async fn delete(tx: &mut Tx, id: WorkspaceId, now: Timestamp) -> Result<(), StoreError> {
    let its_projects = format!("(SELECT p.id FROM projects p WHERE p.workspace_id = {id})");
    let rows = [
        format!("DELETE FROM bookmarks WHERE project_id IN {its_projects}"),
        format!("DELETE FROM memberships WHERE scope = 'project' AND scope_id IN {its_projects}"),
        format!("DELETE FROM projects WHERE workspace_id = {id}"),
        format!("DELETE FROM memberships WHERE scope = 'workspace' AND scope_id = {id}"),
        format!("DELETE FROM templates WHERE workspace_id = {id}"),
    ];
    for sql in rows {
        on!(tx, |c| sqlx::query(AssertSqlSafe(sql)).execute(c).await.map(drop))?;
    }
    // No name has a control character: nobody can have this one, or ask for it.
    let sql = "UPDATE workspaces SET deleted_at = $2, personal_of = NULL, name = name || $3 WHERE id = $1";
    let suffix = format!("\u{1f}{id}");
    let affected = on!(tx, |c| {
        let query = sqlx::query(sql).bind(id.0).bind(now.0).bind(suffix);
        query.execute(c).await.map(|done| done.rows_affected())
    })?;
    one_row("a workspace", affected)
}

/// How many tasks in a workspace aren't over.
///
/// # Errors
/// See [`StoreError`].
pub async fn living_tasks(conn: &mut Conn, id: WorkspaceId) -> Result<i64, StoreError> {
    let sql = "SELECT COUNT(*) FROM tasks WHERE workspace_id = $1 AND state <> 'terminated'";
    let (count,): (i64,) = on!(conn, |c| sqlx::query_as(sql).bind(id.0).fetch_one(c).await)?;
    Ok(count)
}

/// The workspace where an account's Polyaxon projects are.
///
/// # Errors
/// See [`StoreError`].
pub async fn personal_of(conn: &mut Conn, user: UserId) -> Result<Option<Workspace>, StoreError> {
    let sql = format!("{SELECT} WHERE w.personal_of = $1 AND w.deleted_at IS NULL ORDER BY w.id LIMIT 1");
    let row: Option<WorkspaceRow> =
        on!(conn, |c| sqlx::query_as(AssertSqlSafe(sql)).bind(user.0).fetch_optional(c).await)?;
    Ok(row.map(Workspace::from))
}

/// One workspace, unless it was deleted.
///
/// # Errors
/// See [`StoreError`].
pub async fn by_id(conn: &mut Conn, id: WorkspaceId) -> Result<Option<Workspace>, StoreError> {
    let sql = format!("{SELECT} WHERE w.id = $1 AND w.deleted_at IS NULL");
    let row: Option<WorkspaceRow> =
        on!(conn, |c| sqlx::query_as(AssertSqlSafe(sql)).bind(id.0).fetch_optional(c).await)?;
    Ok(row.map(Workspace::from))
}

row!(PlaceRow {
    owner_id: i64,
    private: bool,
    deleted_at: Option<i64>,
    role: Option<i64>,
    guest: i64
});

/// Reads a role from the number that [`place`] computes.
pub(crate) fn role(number: Option<i64>) -> Option<Role> {
    match number {
        Some(1) => Some(Role::Viewer),
        Some(2) => Some(Role::Editor),
        Some(3) => Some(Role::Administrator),
        _ => None,
    }
}

/// Whether a membership `m` is an account's own or one of its groups'. `viewer` is a parameter such as `$2`, or a number.
pub(crate) fn is_member(viewer: &str) -> String {
    format!(
        "((m.member_kind = 'user' AND m.member_id = {viewer}) OR (m.member_kind = 'group'
            AND m.member_id IN (SELECT g.group_id FROM group_members g WHERE g.user_id = {viewer})))"
    )
}

/// The ids of workspaces whose content `viewer` may not see.
pub(crate) fn hidden_from(viewer: UserId) -> String {
    let (viewer, is_member) = (viewer.0, is_member(&viewer.0.to_string()));
    format!(
        "SELECT w.id FROM workspaces w WHERE (w.private OR w.deleted_at IS NOT NULL) AND w.owner_id <> {viewer}
         AND (w.deleted_at IS NOT NULL OR NOT EXISTS (SELECT 1 FROM memberships m
             WHERE m.scope = 'workspace' AND m.scope_id = w.id AND {is_member}))"
    )
}

/// The workspaces whose content `viewer` may not see.
///
/// # Errors
/// See [`StoreError`].
pub async fn hidden(conn: &mut Conn, viewer: UserId) -> Result<Vec<WorkspaceId>, StoreError> {
    let sql = hidden_from(viewer);
    let rows: Vec<(i64,)> = on!(conn, |c| sqlx::query_as(AssertSqlSafe(sql)).fetch_all(c).await)?;
    Ok(rows.into_iter().map(|(id,)| WorkspaceId(id)).collect())
}

/// The highest role of a group of memberships as a number, see [`role`].
pub(crate) const HIGHEST: &str =
    "CAST(MAX(CASE m.role WHEN 'administrator' THEN 3 WHEN 'editor' THEN 2 ELSE 1 END) AS BIGINT)";

/// How `viewer` stands to a workspace. One that was deleted is private and has no members.
///
/// # Errors
/// See [`StoreError`].
pub async fn place(conn: &mut Conn, id: WorkspaceId, viewer: UserId) -> Result<Option<Place>, StoreError> {
    let is_member = is_member("$2");
    let sql = format!(
        "SELECT w.owner_id, w.private, w.deleted_at,
            (SELECT {HIGHEST} FROM memberships m
             WHERE m.scope = 'workspace' AND m.scope_id = w.id AND {is_member}) AS role,
            (SELECT COUNT(*) FROM projects p WHERE p.workspace_id = w.id AND (p.owner_id = $2 OR EXISTS (
                SELECT 1 FROM memberships m
                WHERE m.scope = 'project' AND m.scope_id = p.id AND {is_member}))) AS guest
         FROM workspaces w WHERE w.id = $1"
    );
    let row: Option<PlaceRow> = on!(conn, |c| {
        sqlx::query_as(AssertSqlSafe(sql)).bind(id.0).bind(viewer.0).fetch_optional(c).await
    })?;
    Ok(row.map(|row| {
        let gone = row.deleted_at.is_some();
        Place {
            workspace: id,
            owner: UserId(row.owner_id),
            private: row.private || gone,
            role: role(row.role).filter(|_| !gone),
            guest: row.guest > 0 && !gone,
        }
    }))
}
