//! Projects, where one account stands in them, and who bookmarked them.

use domain::id::{ProjectId, UserId, WorkspaceId};
use domain::place::{Project, ProjectPlace, Scope};

use crate::cells::Json;
use crate::membership::role;
use crate::order::Order;
use crate::sql::{Sql, sql};
use crate::table::{Table as _, table};
use crate::value::{Stored as _, Value};
use crate::{Begin, Conn, StoreError, Tx, membership, meta, visible, workspace};

table! {
    projects p => Project {
        id, workspace: [workspace_id], name, code, description, notes as Json, tags as Json,
        private, archived, owner: [owner_id], created_at, modified_at,
    }
    reads "JOIN users u ON u.id = p.owner_id" { owner_name: "u.username" }
}

/// The number that the next project gets: its key is made with it.
///
/// # Errors
/// See [`StoreError`].
pub async fn next_id(tx: &mut Tx) -> Result<ProjectId, StoreError> {
    meta::next(tx, "project").await.map(ProjectId)
}

/// Makes a project, with an id from [`next_id`].
///
/// # Errors
/// [`StoreError::Duplicate`] when its name is taken in the workspace, or its key anywhere.
pub async fn insert(tx: &mut Tx, project: &Project) -> Result<(), StoreError> {
    project.insert(tx, &[]).await
}

/// Writes all of a project's fields.
///
/// # Errors
/// [`StoreError::Duplicate`] when its name is taken in the workspace, or its key anywhere.
pub async fn update(tx: &mut Tx, project: &Project) -> Result<(), StoreError> {
    tx.replaces(project.values()?.iter().map(Value::text_bytes).sum());
    project.update(tx, "a project", &[]).await
}

/// Takes a project away, with its members and bookmarks.
///
/// # Errors
/// See [`StoreError`].
pub async fn delete(tx: &mut Tx, id: ProjectId) -> Result<(), StoreError> {
    membership::clear(tx, Scope::Project(id)).await?;
    sql!("DELETE FROM bookmarks WHERE project_id = ?", id).run(tx).await?;
    sql!("DELETE FROM projects WHERE id = ?", id).run_once(tx, "a project").await
}

/// One project.
///
/// # Errors
/// See [`StoreError`].
pub async fn by_id(conn: &mut Conn, id: ProjectId) -> Result<Option<Project>, StoreError> {
    Project::select(sql!("p.id = ?", id)).first(conn).await
}

/// The project with a certain key.
///
/// # Errors
/// See [`StoreError`].
pub async fn by_key(conn: &mut Conn, key: &str) -> Result<Option<ProjectId>, StoreError> {
    sql!("SELECT id FROM projects WHERE code = ?", key).first(conn).await
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
    sql!("SELECT id FROM projects WHERE workspace_id = ? AND name = ?", workspace, name).first(conn).await
}

/// How `actor` stands to a project.
///
/// # Errors
/// See [`StoreError`].
pub async fn place(
    conn: &mut Conn,
    id: ProjectId,
    actor: UserId,
) -> Result<Option<ProjectPlace>, StoreError> {
    let sql = Sql::from("SELECT p.workspace_id, p.owner_id, p.private, (SELECT ")
        .with(visible::HIGHEST_ROLE)
        .with(visible::own_in_project(actor))
        .with(sql!(") FROM projects p WHERE p.id = ?", id));
    let row: Option<(WorkspaceId, UserId, bool, Option<i64>)> = sql.first(conn).await?;
    let Some((workspace, owner, private, number)) = row else { return Ok(None) };
    let workspace = workspace::place(conn, workspace, actor).await?;
    let role = role(number);
    Ok(workspace.map(|workspace| ProjectPlace { project: id, owner, private, role, workspace }))
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
    /// What they are sorted by.
    pub sort: SortBy,
    /// Last ones first.
    pub descending: bool,
}

impl Filter {
    fn order(&self) -> Order<Project> {
        let order = match self.sort {
            SortBy::Id => return Order::by("p.id", self.descending, |project| project.id.value()),
            SortBy::Name => Order::by("p.name", self.descending, |project: &Project| project.name.value()),
            SortBy::Description => {
                Order::by("p.description", self.descending, |project: &Project| project.description.value())
            }
        };
        order.then("p.id", false, |project| project.id.value())
    }

    fn conditions(&self) -> Sql {
        let mut all = Sql::default();
        all.and_named("p.name = ?", self.name.as_ref());
        all.and_if("p.workspace_id = ?", self.workspace);
        let personal = "p.workspace_id IN (SELECT w.id FROM workspaces w WHERE w.personal_of = ?)";
        all.and_if(personal, self.personal_of);
        let bookmarked = "p.id IN (SELECT b.project_id FROM bookmarks b WHERE b.user_id = ?)";
        all.and_if(bookmarked, self.bookmarked_by);
        all.and_either(self.archived, "p.archived", "NOT p.archived");
        self.owners.iter().for_each(|owners| all.and(Sql::one_of("p.owner_id", owners)));
        self.ids.iter().for_each(|ids| all.and(Sql::one_of("p.id", ids)));
        self.seen_by.iter().for_each(|actor| all.and(visible::projects(*actor)));
        all
    }

    fn part(&self, begin: Begin<'_, Project>, limit: i64) -> Sql {
        self.order().part(self.conditions(), begin, limit)
    }
}

/// How many projects match.
///
/// # Errors
/// See [`StoreError`].
pub async fn count(conn: &mut Conn, filter: &Filter) -> Result<i64, StoreError> {
    Project::count(conn, filter.conditions()).await
}

/// How many projects that `actor` may see are in each workspace that has some; `None` sees all.
///
/// # Errors
/// See [`StoreError`].
pub async fn counts(conn: &mut Conn, actor: Option<UserId>) -> Result<Vec<(WorkspaceId, i64)>, StoreError> {
    let seen = actor.map_or_else(Sql::default, visible::projects);
    Sql::from("SELECT p.workspace_id, COUNT(*) FROM projects p")
        .filtered(seen)
        .with(" GROUP BY p.workspace_id ORDER BY p.workspace_id")
        .all(conn)
        .await
}

/// Which projects match: part of them, or of all, for these are small.
///
/// # Errors
/// See [`StoreError`].
pub async fn ids(
    conn: &mut Conn,
    filter: &Filter,
    begin: Begin<'_, Project>,
    limit: i64,
) -> Result<Vec<ProjectId>, StoreError> {
    Sql::from("SELECT p.id FROM projects p").with(filter.part(begin, limit)).all(conn).await
}

/// Part of the projects that match, without their notes, which may be long.
///
/// # Errors
/// See [`StoreError`].
pub async fn list_without_notes(
    conn: &mut Conn,
    filter: &Filter,
    begin: Begin<'_, Project>,
    limit: i64,
) -> Result<Vec<Project>, StoreError> {
    Project::listed(filter.part(begin, limit)).replaced("p.notes", "'[]'").all(conn).await
}

/// Part of the projects that match.
///
/// # Errors
/// See [`StoreError`].
pub async fn list(
    conn: &mut Conn,
    filter: &Filter,
    begin: Begin<'_, Project>,
    limit: i64,
) -> Result<Vec<Project>, StoreError> {
    Project::listed(filter.part(begin, limit)).all(conn).await
}

/// Notes that an account wants to find a project again; tells whether that was news.
///
/// # Errors
/// See [`StoreError`].
pub async fn bookmark(tx: &mut Tx, user: UserId, project: ProjectId) -> Result<bool, StoreError> {
    let sql = "INSERT INTO bookmarks (user_id, project_id) VALUES (?, ?) ON CONFLICT (user_id, project_id) DO NOTHING";
    tx.adds(0);
    Ok(sql!(sql, user, project).run(tx).await? == 1)
}

/// Takes that back; tells whether there was one.
///
/// # Errors
/// See [`StoreError`].
pub async fn unbookmark(tx: &mut Tx, user: UserId, project: ProjectId) -> Result<bool, StoreError> {
    let sql = "DELETE FROM bookmarks WHERE user_id = ? AND project_id = ?";
    Ok(sql!(sql, user, project).run(tx).await? == 1)
}

/// Whether an account bookmarked a project.
///
/// # Errors
/// See [`StoreError`].
pub async fn is_bookmarked(conn: &mut Conn, user: UserId, project: ProjectId) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM bookmarks WHERE user_id = ? AND project_id = ?";
    sql!(sql, user, project).exists(conn).await
}
