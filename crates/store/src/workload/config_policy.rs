//! Configuration policies, one for each kind of work in a place.

use domain::config::policy::{Constraints, Policies, Workload};
use domain::id::{UserId, WorkspaceId};
use domain::time::Timestamp;

use crate::sql::sql;
use crate::{Conn, StoreError, Tx};

/// In place of a workspace: everywhere.
const EVERYWHERE: WorkspaceId = WorkspaceId(0);

/// The policies of a workspace, or with none those that hold everywhere.
///
/// # Errors
/// See [`StoreError`].
pub async fn of(
    conn: &mut Conn,
    place: Option<WorkspaceId>,
    workload: Workload,
) -> Result<Option<Policies>, StoreError> {
    let place = place.unwrap_or(EVERYWHERE);
    let sql = "SELECT policies FROM config_policies WHERE workspace_id = ? AND workload = ?";
    let found: Option<String> = sql!(sql, place, workload.as_str()).first(conn).await?;
    let Some(text) = found else { return Ok(None) };
    let corrupt = |e: String| StoreError::Corrupt(format!("config_policies of workspace {place}: {e}"));
    let submitted = serde_json::from_str(&text).map_err(|e| corrupt(e.to_string()))?;
    Policies::checked(workload, submitted).map(Some).map_err(|e| corrupt(e.to_string()))
}

/// What work in a workspace may have at most.
///
/// # Errors
/// See [`StoreError`].
pub async fn constraints(
    conn: &mut Conn,
    place: WorkspaceId,
    workload: Workload,
) -> Result<Constraints, StoreError> {
    let everywhere = of(conn, None, workload).await?.map(|policies| policies.constraints);
    let own = of(conn, Some(place), workload).await?.map(|policies| policies.constraints);
    Ok(everywhere.unwrap_or_default().over(own.unwrap_or_default()))
}

/// Puts policies in place of those that there are.
///
/// # Errors
/// See [`StoreError`].
pub async fn set(
    tx: &mut Tx,
    place: Option<WorkspaceId>,
    workload: Workload,
    policies: &Policies,
    (by, now): (UserId, Timestamp),
) -> Result<(), StoreError> {
    let (place, text) = (place.unwrap_or(EVERYWHERE), policies.unmasked().to_string());
    tx.adds(text.len());
    let sql = "INSERT INTO config_policies (workspace_id, workload, policies, set_by, set_at) VALUES (?, ?, ?, ?, ?)
               ON CONFLICT (workspace_id, workload)
               DO UPDATE SET policies = excluded.policies, set_by = excluded.set_by, set_at = excluded.set_at";
    sql!(sql, place, workload.as_str(), text, by, now).run(tx).await.map(drop)
}

/// Takes policies away.
///
/// # Errors
/// See [`StoreError`].
pub async fn delete(tx: &mut Tx, place: Option<WorkspaceId>, workload: Workload) -> Result<(), StoreError> {
    let sql = "DELETE FROM config_policies WHERE workspace_id = ? AND workload = ?";
    sql!(sql, place.unwrap_or(EVERYWHERE), workload.as_str()).run(tx).await.map(drop)
}
