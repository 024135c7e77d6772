//! Groups of accounts, and who is in them.

use domain::group::Group;
use domain::id::{GroupId, UserId};
use domain::time::Timestamp;
use domain::user::User;

use crate::sql::{Sql, sql};
use crate::table::{Table as _, table};
use crate::value::Stored as _;
use crate::{Conn, StoreError, Tx, meta};

table! {
    user_groups g => Group { id, name }
}

/// Makes a group without members.
///
/// # Errors
/// [`StoreError::Duplicate`] when the name is taken.
pub async fn insert(tx: &mut Tx, name: &str, now: Timestamp) -> Result<Group, StoreError> {
    let group = Group { id: GroupId(meta::next(tx, "group").await?), name: name.to_owned() };
    group.insert(tx, &[("created_at", now.value())]).await?;
    Ok(group)
}

/// One group.
///
/// # Errors
/// See [`StoreError`].
pub async fn by_id(conn: &mut Conn, id: GroupId) -> Result<Option<Group>, StoreError> {
    Group::select(sql!("g.id = ?", id)).first(conn).await
}

/// Gives a group another name.
///
/// # Errors
/// [`StoreError::Duplicate`] when the name is taken.
pub async fn rename(tx: &mut Tx, id: GroupId, name: &str) -> Result<(), StoreError> {
    sql!("UPDATE user_groups SET name = ? WHERE id = ?", name, id).run_once(tx, "a group").await
}

/// Removes a group, and what its members could do by it.
///
/// # Errors
/// See [`StoreError`].
pub async fn delete(tx: &mut Tx, id: GroupId) -> Result<(), StoreError> {
    for sql in [
        "DELETE FROM memberships WHERE member_kind = 'group' AND member_id = ?",
        "DELETE FROM group_members WHERE group_id = ?",
        "DELETE FROM user_groups WHERE id = ?",
    ] {
        sql!(sql, id).run(tx).await?;
    }
    Ok(())
}

/// Who is in a group, by id.
///
/// # Errors
/// See [`StoreError`].
pub async fn members(conn: &mut Conn, id: GroupId) -> Result<Vec<User>, StoreError> {
    User::select("u.deleted_at IS NULL")
        .with(sql!(" AND u.id IN (SELECT user_id FROM group_members WHERE group_id = ?) ORDER BY u.id", id))
        .all(conn)
        .await
}

/// Puts an account into a group; whether it wasn't in it before.
///
/// # Errors
/// See [`StoreError`].
pub async fn add(tx: &mut Tx, id: GroupId, user: UserId) -> Result<bool, StoreError> {
    let sql = "INSERT INTO group_members (group_id, user_id) VALUES (?, ?) ON CONFLICT DO NOTHING";
    tx.adds(0);
    Ok(sql!(sql, id, user).run(tx).await? > 0)
}

/// Takes an account out of a group; whether it was in it.
///
/// # Errors
/// See [`StoreError`].
pub async fn remove(tx: &mut Tx, id: GroupId, user: UserId) -> Result<bool, StoreError> {
    let sql = "DELETE FROM group_members WHERE group_id = ? AND user_id = ?";
    Ok(sql!(sql, id, user).run(tx).await? > 0)
}

/// Which groups.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// With this very name.
    pub name: Option<String>,
    /// That this account is in.
    pub member: Option<UserId>,
}

impl Filter {
    fn conditions(&self) -> Sql {
        let mut all = Sql::default();
        all.and_named("g.name = ?", self.name.as_ref());
        all.and_if("g.id IN (SELECT m.group_id FROM group_members m WHERE m.user_id = ?)", self.member);
        all
    }
}

/// How many groups match.
///
/// # Errors
/// See [`StoreError`].
pub async fn count(conn: &mut Conn, filter: &Filter) -> Result<i64, StoreError> {
    Group::count(conn, filter.conditions()).await
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
    let members = ", (SELECT COUNT(*) FROM group_members m JOIN users u ON u.id = m.user_id
        WHERE m.group_id = g.id AND u.deleted_at IS NULL)";
    let sql = Sql::from("SELECT ").with(Group::SHOWN).with(members).with(Group::FROM);
    let page = sql!(" ORDER BY g.id LIMIT ? OFFSET ?", limit, offset);
    sql.filtered(filter.conditions()).with(page).all(conn).await
}
