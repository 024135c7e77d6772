//! What clients keep for their user.

use std::collections::BTreeSet;

use domain::id::UserId;
use domain::setting::Setting;

use crate::sql::sql;
use crate::table::{Table as _, table};
use crate::{Conn, StoreError, Tx};

table! {
    user_settings s => Setting { path: [storage_path], key: [name], value }
}

/// All settings of an account, by path and key.
///
/// # Errors
/// See [`StoreError`].
pub async fn of_user(conn: &mut Conn, user: UserId) -> Result<Vec<Setting>, StoreError> {
    Setting::select(sql!("s.user_id = ?", user)).with(" ORDER BY s.storage_path, s.name").all(conn).await
}

/// Puts `settings` in place of those that are `there`: only what differs is written.
///
/// # Errors
/// [`StoreError::Duplicate`] when two have the same path and key.
pub async fn replace(
    tx: &mut Tx,
    user: UserId,
    there: &[Setting],
    settings: &[Setting],
) -> Result<(), StoreError> {
    let [before, after] = [there, settings].map(|all| all.iter().collect::<BTreeSet<_>>());
    for Setting { path, key, .. } in before.difference(&after) {
        let sql = "DELETE FROM user_settings WHERE user_id = ? AND storage_path = ? AND name = ?";
        sql!(sql, user, path, key).run(tx).await?;
    }
    let sql = "INSERT INTO user_settings (user_id, storage_path, name, value) VALUES (?, ?, ?, ?)";
    for Setting { path, key, value } in settings.iter().filter(|setting| !before.contains(setting)) {
        tx.adds(path.len() + key.len() + value.len());
        sql!(sql, user, path, key, value).run(tx).await?;
    }
    Ok(())
}
