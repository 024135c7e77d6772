//! What belongs to an account, when the account goes: some goes with it, some stays or is handed over.

use domain::id::UserId;

use crate::sql::sql;
use crate::{StoreError, Tx};

async fn each(tx: &mut Tx, statements: &[&'static str], user: UserId) -> Result<(), StoreError> {
    for sql in statements.iter().copied() {
        sql!(sql, user).run(tx).await?;
    }
    Ok(())
}

/// Removes what has a meaning for this account only: sessions, roles, settings.
///
/// # Errors
/// See [`StoreError`].
pub async fn remove(tx: &mut Tx, user: UserId) -> Result<(), StoreError> {
    let statements = [
        "DELETE FROM sessions WHERE user_id = ?",
        "DELETE FROM group_members WHERE user_id = ?",
        "DELETE FROM memberships WHERE member_kind = 'user' AND member_id = ?",
        "DELETE FROM user_settings WHERE user_id = ?",
        "DELETE FROM bookmarks WHERE user_id = ?",
    ];
    each(tx, &statements, user).await
}

/// Removes an account that never was let in, and frees its name.
///
/// # Errors
/// See [`StoreError`].
pub async fn remove_pending(tx: &mut Tx, user: UserId) -> Result<(), StoreError> {
    remove(tx, user).await?;
    let statements =
        ["DELETE FROM tokens WHERE user_id = ?", "DELETE FROM users WHERE id = ? AND status = 'pending'"];
    each(tx, &statements, user).await
}

/// Gives all that `from` made to `to`.
///
/// # Errors
/// See [`StoreError`].
pub async fn hand_over(tx: &mut Tx, from: UserId, to: UserId) -> Result<(), StoreError> {
    for sql in [
        "UPDATE tasks SET owner_id = ? WHERE owner_id = ?",
        "UPDATE workspaces SET owner_id = ? WHERE owner_id = ?",
        "UPDATE projects SET owner_id = ? WHERE owner_id = ?",
        "UPDATE templates SET owner_id = ? WHERE owner_id = ?",
    ] {
        sql!(sql, to, from).run(tx).await?;
    }
    Ok(())
}
