//! Groups of accounts, and who is in them.

use domain::group::Group;
use domain::id::{GroupId, UserId};
use domain::time::Timestamp;
use domain::user::User;
use sqlx::AssertSqlSafe;

use crate::db::{on, row};
use crate::error::one_row;
use crate::user::{self, UserRow};
use crate::{Conn, StoreError, Tx, meta};

row!(GroupRow { id: i64, name: String });
row!(CountedRow { id: i64, name: String, members: i64 });

impl From<GroupRow> for Group {
    fn from(row: GroupRow) -> Self {
        Self { id: GroupId(row.id), name: row.name }
    }
}

/// Makes a group without members.
///
/// # Errors
/// [`StoreError::Duplicate`] when the name is taken.
pub async fn insert(tx: &mut Tx, name: &str, now: Timestamp) -> Result<Group, StoreError> {
    let id = GroupId(meta::next(tx, "group").await?);
    let sql = "INSERT INTO user_groups (id, name, created_at) VALUES ($1, $2, $3)";
    tx.adds(name.len());
    on!(tx, |c| sqlx::query(sql).bind(id.0).bind(name).bind(now.0).execute(c).await.map(drop))?;
    Ok(Group { id, name: name.to_owned() })
}

/// One group.
///
/// # Errors
/// See [`StoreError`].
pub async fn by_id(conn: &mut Conn, id: GroupId) -> Result<Option<Group>, StoreError> {
    let sql = "SELECT id, name FROM user_groups WHERE id = $1";
    let row: Option<GroupRow> = on!(conn, |c| sqlx::query_as(sql).bind(id.0).fetch_optional(c).await)?;
    Ok(row.map(Group::from))
}

/// Gives a group another name.
///
/// # Errors
/// [`StoreError::Duplicate`] when the name is taken.
pub async fn rename(tx: &mut Tx, id: GroupId, name: &str) -> Result<(), StoreError> {
    let sql = "UPDATE user_groups SET name = $2 WHERE id = $1";
    let affected = on!(tx, |c| {
        sqlx::query(sql).bind(id.0).bind(name).execute(c).await.map(|done| done.rows_affected())
    })?;
    one_row("a group", affected)
}

/// Removes a group, and what its members could do by it.
///
/// # Errors
/// See [`StoreError`].
pub async fn delete(tx: &mut Tx, id: GroupId) -> Result<(), StoreError> {
    for sql in [
        "DELETE FROM memberships WHERE member_kind = 'group' AND member_id = $1",
        "DELETE FROM group_members WHERE group_id = $1",
        "DELETE FROM user_groups WHERE id = $1",
    ] {
        on!(tx, |c| sqlx::query(sql).bind(id.0).execute(c).await.map(drop))?;
    }
    Ok(())
}

/// Who is in a group, by id.
///
/// # Errors
/// See [`StoreError`].
pub async fn members(conn: &mut Conn, id: GroupId) -> Result<Vec<User>, StoreError> {
    let sql = "SELECT u.* FROM users u JOIN group_members m ON m.user_id = u.id
               WHERE m.group_id = $1 AND u.deleted_at IS NULL ORDER BY u.id";
    let rows: Vec<UserRow> = on!(conn, |c| sqlx::query_as(sql).bind(id.0).fetch_all(c).await)?;
    rows.into_iter().map(user::from_row).collect()
}

/// Puts an account into a group; whether it wasn't in it before.
///
/// # Errors
/// See [`StoreError`].
pub async fn add(tx: &mut Tx, id: GroupId, user: UserId) -> Result<bool, StoreError> {
    let sql = "INSERT INTO group_members (group_id, user_id) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    tx.adds(0);
    change(tx, sql, id, user).await
}

/// Takes an account out of a group; whether it was in it.
///
/// # Errors
/// See [`StoreError`].
pub async fn remove(tx: &mut Tx, id: GroupId, user: UserId) -> Result<bool, StoreError> {
    change(tx, "DELETE FROM group_members WHERE group_id = $1 AND user_id = $2", id, user).await
}

async fn change(tx: &mut Tx, sql: &'static str, id: GroupId, user: UserId) -> Result<bool, StoreError> {
    let affected = on!(tx, |c| {
        sqlx::query(sql).bind(id.0).bind(user.0).execute(c).await.map(|done| done.rows_affected())
    })?;
    Ok(affected > 0)
}

/// Which groups.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// With this very name.
    pub name: Option<String>,
    /// That this account is in.
    pub member: Option<UserId>,
}

const WHERE: &str = "($1 = '' OR g.name = $1)
    AND ($2 = 0 OR EXISTS (SELECT 1 FROM group_members m WHERE m.group_id = g.id AND m.user_id = $2))";

impl Filter {
    /// NUL is in no name, and an error on PostgreSQL; nor is its stand-in.
    fn parameters(&self) -> (String, i64) {
        let name = self.name.as_deref().unwrap_or_default().replace('\0', "\n");
        (name, self.member.map_or(0, |member| member.0))
    }
}

/// How many groups match.
///
/// # Errors
/// See [`StoreError`].
pub async fn count(conn: &mut Conn, filter: &Filter) -> Result<i64, StoreError> {
    let sql = format!("SELECT COUNT(*) FROM user_groups g WHERE {WHERE}");
    let (name, member) = filter.parameters();
    let (count,): (i64,) =
        on!(conn, |c| sqlx::query_as(AssertSqlSafe(sql)).bind(name).bind(member).fetch_one(c).await)?;
    Ok(count)
}

/// A page of the groups that match, by id, each with the number of its members.
///
/// # Errors
/// See [`StoreError`].
pub async fn list(
    conn: &mut Conn,
    filter: &Filter,
    offset: i64,
    limit: i64,
) -> Result<Vec<(Group, i64)>, StoreError> {
    let sql = format!(
        "SELECT g.id, g.name, (SELECT COUNT(*) FROM group_members m JOIN users u ON u.id = m.user_id
            WHERE m.group_id = g.id AND u.deleted_at IS NULL) AS members
         FROM user_groups g WHERE {WHERE} ORDER BY g.id LIMIT $3 OFFSET $4"
    );
    let (name, member) = filter.parameters();
    let rows: Vec<CountedRow> = on!(conn, |c| {
        sqlx::query_as(AssertSqlSafe(sql)).bind(name).bind(member).bind(limit).bind(offset).fetch_all(c).await
    })?;
    let counted = |row: CountedRow| (Group { id: GroupId(row.id), name: row.name }, row.members);
    Ok(rows.into_iter().map(counted).collect())
}
