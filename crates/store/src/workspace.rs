//! Workspaces. So far the one that everybody shares.

use domain::id::{UNCATEGORIZED, UserId, WorkspaceId};
use domain::time::Timestamp;

use crate::db::{on, row};
use crate::{Conn, StoreError, Tx};

/// A workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workspace {
    /// Its id.
    pub id: WorkspaceId,
    /// Its name.
    pub name: String,
    /// Who made it.
    pub owner: UserId,
    /// That account's name.
    pub owner_name: String,
}

row!(WorkspaceRow { id: i64, name: String, owner_id: i64, username: String });

/// Makes the shared workspace of a new installation.
///
/// # Errors
/// See [`StoreError`].
pub async fn insert_uncategorized(tx: &mut Tx, owner: UserId, now: Timestamp) -> Result<(), StoreError> {
    let sql = "INSERT INTO workspaces (id, name, owner_id, created_at) VALUES ($1, 'Uncategorized', $2, $3)";
    on!(tx, |c| {
        sqlx::query(sql).bind(UNCATEGORIZED.0).bind(owner.0).bind(now.0).execute(c).await.map(drop)
    })?;
    Ok(())
}

/// All of them, by id.
///
/// # Errors
/// See [`StoreError`].
pub async fn list(conn: &mut Conn) -> Result<Vec<Workspace>, StoreError> {
    let sql = "SELECT w.id, w.name, w.owner_id, u.username FROM workspaces w JOIN users u ON u.id = w.owner_id ORDER BY w.id";
    let rows: Vec<WorkspaceRow> = on!(conn, |c| sqlx::query_as(sql).fetch_all(c).await)?;
    let made = |r: WorkspaceRow| Workspace {
        id: WorkspaceId(r.id),
        name: r.name,
        owner: UserId(r.owner_id),
        owner_name: r.username,
    };
    Ok(rows.into_iter().map(made).collect())
}
