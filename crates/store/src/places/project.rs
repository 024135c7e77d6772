//! Projects, where one account stands in them, and who bookmarked them.

use domain::id::{ProjectId, UserId, WorkspaceId};
use domain::place::{Note, Project, ProjectPlace, Scope};
use domain::time::Timestamp;
use sqlx::AssertSqlSafe;

use crate::db::{on, row};
use crate::error::one_row;
use crate::workspace::{HIGHEST, is_member, owned_by, role, text};
use crate::{Conn, StoreError, Tx, membership, meta, workspace};

row!(ProjectRow {
    id: i64,
    workspace_id: i64,
    name: String,
    code: String,
    description: String,
    notes: String,
    tags: String,
    private: bool,
    archived: bool,
    owner_id: i64,
    username: String,
    created_at: i64,
    modified_at: i64,
});

const SELECT: &str =
    "SELECT p.id, p.workspace_id, p.name, p.code, p.description, p.notes, p.tags, p.private, p.archived,
        p.owner_id, u.username, p.created_at, p.modified_at
    FROM projects p JOIN users u ON u.id = p.owner_id";

const SELECT_WITHOUT_NOTES: &str =
    "SELECT p.id, p.workspace_id, p.name, p.code, p.description, '[]' AS notes, p.tags, p.private, p.archived,
        p.owner_id, u.username, p.created_at, p.modified_at
    FROM projects p JOIN users u ON u.id = p.owner_id";

fn from_row(row: ProjectRow) -> Result<Project, StoreError> {
    let corrupt = |what: &str| StoreError::Corrupt(format!("projects, id {}: {what}", row.id));
    let notes: Vec<Note> = serde_json::from_str(&row.notes).map_err(|_| corrupt("notes"))?;
    let tags: Vec<String> = serde_json::from_str(&row.tags).map_err(|_| corrupt("tags"))?;
    Ok(Project {
        id: ProjectId(row.id),
        workspace: WorkspaceId(row.workspace_id),
        name: row.name,
        code: row.code,
        description: row.description,
        notes,
        tags,
        private: row.private,
        archived: row.archived,
        owner: UserId(row.owner_id),
        owner_name: row.username,
        created_at: Timestamp(row.created_at),
        modified_at: Timestamp(row.modified_at),
    })
}

fn json(value: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|e| StoreError::Corrupt(e.to_string()))
}

/// The number that the next project gets: its key is made with it.
///
/// # Errors
/// See [`StoreError`].
pub async fn next_id(tx: &mut Tx) -> Result<ProjectId, StoreError> {
    meta::next(tx, "project").await.map(ProjectId)
}

/// Runs a statement whose parameters are all of a project's columns.
async fn write(tx: &mut Tx, sql: &'static str, project: &Project) -> Result<u64, StoreError> {
    let (notes, tags) = (json(&project.notes)?, json(&project.tags)?);
    tx.replaces(project.name.len() + project.description.len() + notes.len() + tags.len());
    let affected = on!(tx, |c| {
        sqlx::query(sql)
            .bind(project.id.0)
            .bind(project.workspace.0)
            .bind(&project.name)
            .bind(&project.code)
            .bind(&project.description)
            .bind(&notes)
            .bind(&tags)
            .bind(project.private)
            .bind(project.archived)
            .bind(project.owner.0)
            .bind(project.created_at.0)
            .bind(project.modified_at.0)
            .execute(c)
            .await
            .map(|done| done.rows_affected())
    })?;
    Ok(affected)
}

/// Makes a project, with an id from [`next_id`].
///
/// # Errors
/// [`StoreError::Duplicate`] when its name is taken in the workspace, or its key anywhere.
pub async fn insert(tx: &mut Tx, project: &Project) -> Result<(), StoreError> {
    let sql =
        "INSERT INTO projects (id, workspace_id, name, code, description, notes, tags, private, archived,
                   owner_id, created_at, modified_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
    tx.adds(0);
    one_row("a project", write(tx, sql, project).await?)
}

/// Writes all of a project's fields.
///
/// # Errors
/// [`StoreError::Duplicate`] when its name is taken in the workspace, or its key anywhere.
pub async fn update(tx: &mut Tx, project: &Project) -> Result<(), StoreError> {
    let sql = "UPDATE projects SET workspace_id = $2, name = $3, code = $4, description = $5, notes = $6, tags = $7,
                   private = $8, archived = $9, owner_id = $10, created_at = $11, modified_at = $12 WHERE id = $1";
    one_row("a project", write(tx, sql, project).await?)
}

/// Takes a project away, with its members and bookmarks.
///
/// # Errors
/// See [`StoreError`].
pub async fn delete(tx: &mut Tx, id: ProjectId) -> Result<(), StoreError> {
    membership::clear(tx, Scope::Project(id)).await?;
    let sql = "DELETE FROM bookmarks WHERE project_id = $1";
    on!(tx, |c| sqlx::query(sql).bind(id.0).execute(c).await.map(drop))?;
    let sql = "DELETE FROM projects WHERE id = $1";
    let affected =
        on!(tx, |c| sqlx::query(sql).bind(id.0).execute(c).await.map(|done| done.rows_affected()))?;
    one_row("a project", affected)
}

/// One project.
///
/// # Errors
/// See [`StoreError`].
pub async fn by_id(conn: &mut Conn, id: ProjectId) -> Result<Option<Project>, StoreError> {
    let sql = format!("{SELECT} WHERE p.id = $1");
    let row: Option<ProjectRow> =
        on!(conn, |c| sqlx::query_as(AssertSqlSafe(sql)).bind(id.0).fetch_optional(c).await)?;
    row.map(from_row).transpose()
}

/// The project with a certain key.
///
/// # Errors
/// See [`StoreError`].
pub async fn by_key(conn: &mut Conn, key: &str) -> Result<Option<ProjectId>, StoreError> {
    let sql = "SELECT id FROM projects WHERE code = $1";
    let key = key.replace('\0', "\u{fffd}");
    let row: Option<(i64,)> = on!(conn, |c| sqlx::query_as(sql).bind(key).fetch_optional(c).await)?;
    Ok(row.map(|(id,)| ProjectId(id)))
}

/// The project of that name in a workspace.
///
/// # Errors
/// See [`StoreError`].
pub async fn by_name(
    conn: &mut Conn,
    workspace: WorkspaceId,
    name: &str,
) -> Result<Option<ProjectId>, StoreError> {
    let sql = "SELECT id FROM projects WHERE workspace_id = $1 AND name = $2";
    let name = name.replace('\0', "\u{fffd}");
    let row: Option<(i64,)> =
        on!(conn, |c| sqlx::query_as(sql).bind(workspace.0).bind(name).fetch_optional(c).await)?;
    Ok(row.map(|(id,)| ProjectId(id)))
}

row!(StandingRow { workspace_id: i64, owner_id: i64, private: bool, role: Option<i64> });

/// How `viewer` stands to a project.
///
/// # Errors
/// See [`StoreError`].
pub async fn place(
    conn: &mut Conn,
    id: ProjectId,
    viewer: UserId,
) -> Result<Option<ProjectPlace>, StoreError> {
    let is_member = is_member("$2");
    let sql = format!(
        "SELECT p.workspace_id, p.owner_id, p.private,
            (SELECT {HIGHEST} FROM memberships m
             WHERE m.scope = 'project' AND m.scope_id = p.id AND {is_member}) AS role
         FROM projects p WHERE p.id = $1"
    );
    let row: Option<StandingRow> =
        on!(conn, |c| sqlx::query_as(AssertSqlSafe(sql)).bind(id.0).bind(viewer.0).fetch_optional(c).await)?;
    let Some(row) = row else { return Ok(None) };
    let workspace = workspace::place(conn, WorkspaceId(row.workspace_id), viewer).await?;
    Ok(workspace.map(|workspace| ProjectPlace {
        project: id,
        owner: UserId(row.owner_id),
        private: row.private,
        role: role(row.role),
        workspace,
    }))
}

/// What a list of projects goes by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SortBy {
    /// Id, which is also the order of their making.
    #[default]
    Id,
    /// Name.
    Name,
    /// Description.
    Description,
}

/// Which projects, in which order.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only those in this workspace.
    pub workspace: Option<WorkspaceId>,
    /// Only those in the personal workspace of this account.
    pub personal_of: Option<UserId>,
    /// Only those that this account bookmarked.
    pub bookmarked_by: Option<UserId>,
    /// Exactly this name.
    pub name: Option<String>,
    /// Archived ones, or the others.
    pub archived: Option<bool>,
    /// Only those of these accounts; `None` is everybody's.
    pub owners: Option<Vec<UserId>>,
    /// Without those that this account may not see.
    pub seen_by: Option<UserId>,
    /// Only these.
    pub ids: Option<Vec<ProjectId>>,
    /// Order.
    pub sort: SortBy,
    /// The other way round.
    pub descending: bool,
}

impl Filter {
    /// The order as SQL.
    fn order(&self) -> String {
        let direction = if self.descending { "DESC" } else { "ASC" };
        let column = match self.sort {
            SortBy::Id => "p.id",
            SortBy::Name => "p.name",
            SortBy::Description => "p.description",
        };
        format!("ORDER BY {column} {direction}, p.id ASC")
    }

    /// `$1` is the name.
    fn conditions(&self) -> String {
        let mut sql = "($1 = '' OR p.name = $1)".to_owned();
        if let Some(workspace) = self.workspace {
            sql.push_str(&format!(" AND p.workspace_id = {workspace}"));
        }
        if let Some(user) = self.personal_of {
            sql.push_str(&format!(
                " AND p.workspace_id IN (SELECT w.id FROM workspaces w WHERE w.personal_of = {user})"
            ));
        }
        if let Some(user) = self.bookmarked_by {
            sql.push_str(&format!(
                " AND p.id IN (SELECT b.project_id FROM bookmarks b WHERE b.user_id = {user})"
            ));
        }
        if let Some(archived) = self.archived {
            sql.push_str(if archived { " AND p.archived" } else { " AND NOT p.archived" });
        }
        sql.push_str(&owned_by("p", self.owners.as_deref()));
        if let Some(ids) = &self.ids {
            let list: Vec<String> = ids.iter().map(ToString::to_string).collect();
            let list = if list.is_empty() { "0".to_owned() } else { list.join(", ") };
            sql.push_str(&format!(" AND p.id IN ({list})"));
        }
        if let Some(viewer) = self.seen_by {
            sql.push_str(&format!(" AND {}", seen_by(viewer)));
        }
        sql
    }
}

/// Whether `viewer` sees a project `p`; the same as the policy's `sees_project`.
fn seen_by(viewer: UserId) -> String {
    let (viewer, is_member) = (viewer.0, is_member(&viewer.0.to_string()));
    format!(
        "(p.owner_id = {viewer}
          OR EXISTS (SELECT 1 FROM memberships m WHERE m.scope = 'project' AND m.scope_id = p.id AND {is_member})
          OR EXISTS (SELECT 1 FROM memberships m
              WHERE m.scope = 'workspace' AND m.scope_id = p.workspace_id AND {is_member})
          OR EXISTS (SELECT 1 FROM workspaces w WHERE w.id = p.workspace_id
              AND (w.owner_id = {viewer} OR (NOT w.private AND NOT p.private))))"
    )
}

/// How many projects match.
///
/// # Errors
/// See [`StoreError`].
pub async fn count(conn: &mut Conn, filter: &Filter) -> Result<i64, StoreError> {
    let sql = format!("SELECT COUNT(*) FROM projects p WHERE {}", filter.conditions());
    let name = text(filter.name.as_ref());
    let (count,): (i64,) = on!(conn, |c| sqlx::query_as(AssertSqlSafe(sql)).bind(name).fetch_one(c).await)?;
    Ok(count)
}

/// How many projects that `viewer` may see are in each workspace that has some; `None` sees all.
///
/// # Errors
/// See [`StoreError`].
pub async fn counts(conn: &mut Conn, viewer: Option<UserId>) -> Result<Vec<(WorkspaceId, i64)>, StoreError> {
    let seen = viewer.map_or_else(|| "1 = 1".to_owned(), seen_by);
    let sql = format!(
        "SELECT p.workspace_id, COUNT(*) FROM projects p WHERE {seen} GROUP BY p.workspace_id ORDER BY p.workspace_id"
    );
    let rows: Vec<(i64, i64)> = on!(conn, |c| sqlx::query_as(AssertSqlSafe(sql)).fetch_all(c).await)?;
    Ok(rows.into_iter().map(|(id, count)| (WorkspaceId(id), count)).collect())
}

/// Which projects match: a page of them, or of all, for these are small.
///
/// # Errors
/// See [`StoreError`].
pub async fn ids(
    conn: &mut Conn,
    filter: &Filter,
    offset: i64,
    limit: i64,
) -> Result<Vec<ProjectId>, StoreError> {
    let (conditions, order) = (filter.conditions(), filter.order());
    let sql = format!("SELECT p.id FROM projects p WHERE {conditions} {order} LIMIT $2 OFFSET $3");
    let name = text(filter.name.as_ref());
    let rows: Vec<(i64,)> = on!(conn, |c| {
        sqlx::query_as(AssertSqlSafe(sql)).bind(name).bind(limit).bind(offset).fetch_all(c).await
    })?;
    Ok(rows.into_iter().map(|(id,)| ProjectId(id)).collect())
}

/// A page of the projects that match, without their notes, which may be long.
///
/// # Errors
/// See [`StoreError`].
pub async fn list_without_notes(
    conn: &mut Conn,
    filter: &Filter,
    offset: i64,
    limit: i64,
) -> Result<Vec<Project>, StoreError> {
    listed(conn, SELECT_WITHOUT_NOTES, filter, offset, limit).await
}

/// A page of the projects that match.
///
/// # Errors
/// See [`StoreError`].
pub async fn list(
    conn: &mut Conn,
    filter: &Filter,
    offset: i64,
    limit: i64,
) -> Result<Vec<Project>, StoreError> {
    listed(conn, SELECT, filter, offset, limit).await
}

async fn listed(
    conn: &mut Conn,
    select: &str,
    filter: &Filter,
    offset: i64,
    limit: i64,
) -> Result<Vec<Project>, StoreError> {
    let (conditions, order) = (filter.conditions(), filter.order());
    let sql = format!("{select} WHERE {conditions} {order} LIMIT $2 OFFSET $3");
    let name = text(filter.name.as_ref());
    let rows: Vec<ProjectRow> = on!(conn, |c| {
        sqlx::query_as(AssertSqlSafe(sql)).bind(name).bind(limit).bind(offset).fetch_all(c).await
    })?;
    rows.into_iter().map(from_row).collect()
}

/// Notes that an account wants to find a project again; tells whether that was news.
///
/// # Errors
/// See [`StoreError`].
pub async fn bookmark(tx: &mut Tx, user: UserId, project: ProjectId) -> Result<bool, StoreError> {
    let sql = "INSERT INTO bookmarks (user_id, project_id) VALUES ($1, $2) ON CONFLICT (user_id, project_id) DO NOTHING";
    tx.adds(0);
    let affected = on!(tx, |c| {
        sqlx::query(sql).bind(user.0).bind(project.0).execute(c).await.map(|done| done.rows_affected())
    })?;
    Ok(affected == 1)
}

/// Takes that back; tells whether there was one.
///
/// # Errors
/// See [`StoreError`].
pub async fn unbookmark(tx: &mut Tx, user: UserId, project: ProjectId) -> Result<bool, StoreError> {
    let sql = "DELETE FROM bookmarks WHERE user_id = $1 AND project_id = $2";
    let affected = on!(tx, |c| {
        sqlx::query(sql).bind(user.0).bind(project.0).execute(c).await.map(|done| done.rows_affected())
    })?;
    Ok(affected == 1)
}

/// Whether an account bookmarked a project.
///
/// # Errors
/// See [`StoreError`].
pub async fn is_bookmarked(conn: &mut Conn, user: UserId, project: ProjectId) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM bookmarks WHERE user_id = $1 AND project_id = $2";
    let row: Option<(i32,)> =
        on!(conn, |c| sqlx::query_as(sql).bind(user.0).bind(project.0).fetch_optional(c).await)?;
    Ok(row.is_some())
}
