//! What clients keep for their user.

use domain::id::UserId;
use domain::setting::Setting;

use crate::db::{on, row};
use crate::{Conn, StoreError, Tx};

row!(SettingRow { storage_path: String, name: String, value: String });

/// All settings of an account, by path and key.
///
/// # Errors
/// See [`StoreError`].
pub async fn of_user(conn: &mut Conn, user: UserId) -> Result<Vec<Setting>, StoreError> {
    let sql =
        "SELECT storage_path, name, value FROM user_settings WHERE user_id = $1 ORDER BY storage_path, name";
    let rows: Vec<SettingRow> = on!(conn, |c| sqlx::query_as(sql).bind(user.0).fetch_all(c).await)?;
    let setting = |row: SettingRow| Setting { path: row.storage_path, key: row.name, value: row.value };
    Ok(rows.into_iter().map(setting).collect())
}

/// Puts `settings` in place of all that the account has.
///
/// # Errors
/// [`StoreError::Duplicate`] when two have the same path and key.
pub async fn replace(tx: &mut Tx, user: UserId, settings: &[Setting]) -> Result<(), StoreError> {
    let sql = "DELETE FROM user_settings WHERE user_id = $1";
    on!(tx, |c| sqlx::query(sql).bind(user.0).execute(c).await.map(drop))?;
    let sql = "INSERT INTO user_settings (user_id, storage_path, name, value) VALUES ($1, $2, $3, $4)";
    for Setting { path, key, value } in settings {
        on!(tx, |c| {
            sqlx::query(sql).bind(user.0).bind(path).bind(key).bind(value).execute(c).await.map(drop)
        })?;
    }
    Ok(())
}
