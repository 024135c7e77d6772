//! Workspaces, and where one account stands in them.

use domain::id::{UNCATEGORIZED, UserId, WorkspaceId};
use domain::identity::IdentityParts;
use domain::place::{Place, Role, Workspace};
use domain::time::Timestamp;

use crate::db::{on, row};
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
    on!(tx, |c| {
        sqlx::query(sql).bind(project).bind(workspace).bind(owner.0).bind(now.0).execute(c).await.map(drop)
    })?;
    Ok(())
}

const SELECT: &str =
    "SELECT w.id, w.name, w.owner_id, u.username, w.private, w.archived, w.agent_user, w.agent_uid,
        w.agent_group, w.agent_gid, w.personal_of, w.created_at
    FROM workspaces w JOIN users u ON u.id = w.owner_id";

/// All of them, by id.
///
/// # Errors
/// See [`StoreError`].
pub async fn list(conn: &mut Conn) -> Result<Vec<Workspace>, StoreError> {
    let sql = format!("{SELECT} WHERE w.deleted_at IS NULL ORDER BY w.id");
    let rows: Vec<WorkspaceRow> = on!(conn, |c| sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_all(c).await)?;
    Ok(rows.into_iter().map(Workspace::from).collect())
}

/// One workspace, unless it was deleted.
///
/// # Errors
/// See [`StoreError`].
pub async fn by_id(conn: &mut Conn, id: WorkspaceId) -> Result<Option<Workspace>, StoreError> {
    let sql = format!("{SELECT} WHERE w.id = $1 AND w.deleted_at IS NULL");
    let row: Option<WorkspaceRow> =
        on!(conn, |c| sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(id.0).fetch_optional(c).await)?;
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
    let rows: Vec<(i64,)> = on!(conn, |c| sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_all(c).await)?;
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
        sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(id.0).bind(viewer.0).fetch_optional(c).await
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
