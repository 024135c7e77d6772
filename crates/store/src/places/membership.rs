//! Who is a member of what, and as what.

use domain::id::{GroupId, UserId, WorkspaceId};
use domain::place::{Member, MemberId, Role, Scope};

use crate::sql::{Sql, sql};
use crate::{Conn, StoreError, Tx, visible};

/// What a membership `m` is read from: whom, and as what.
const SHOWN: &str = "m.member_kind, m.member_id, m.role, CASE m.member_kind
    WHEN 'user' THEN (SELECT u.username FROM users u WHERE u.id = m.member_id AND u.deleted_at IS NULL)
    ELSE (SELECT g.name FROM user_groups g WHERE g.id = m.member_id) END AS name";

/// One as it lies in the database; of an account or a group that is gone there is no name.
type Row = (String, i64, String, Option<String>);

/// The two columns of a scope.
fn scope_columns(scope: Scope) -> (&'static str, i64) {
    match scope {
        Scope::Workspace(id) => ("workspace", id.0),
        Scope::Project(id) => ("project", id.0),
    }
}

/// The two columns of a member.
fn member_columns(member: MemberId) -> (&'static str, i64) {
    match member {
        MemberId::User(id) => ("user", id.0),
        MemberId::Group(id) => ("group", id.0),
    }
}

fn from_row((kind, id, role, name): Row) -> Option<Member> {
    let id = match kind.as_str() {
        "user" => MemberId::User(UserId(id)),
        "group" => MemberId::Group(GroupId(id)),
        _ => return None,
    };
    // Whoever is gone, and whatever is no role, is no member (R27).
    Some(Member { id, name: name?, role: Role::parse(&role)? })
}

/// Reads a role from the number that [`visible::HIGHEST_ROLE`] is.
pub(crate) fn role(number: Option<i64>) -> Option<Role> {
    match number {
        Some(1) => Some(Role::Viewer),
        Some(2) => Some(Role::Editor),
        Some(3) => Some(Role::Administrator),
        _ => None,
    }
}

/// All members of a place, users first, by name.
///
/// # Errors
/// See [`StoreError`].
pub async fn list(conn: &mut Conn, scope: Scope) -> Result<Vec<Member>, StoreError> {
    let (kind, id) = scope_columns(scope);
    let sql = Sql::from("SELECT ").with(SHOWN).with(" FROM memberships m");
    let sql = sql.filtered(sql!("m.scope = ? AND m.scope_id = ?", kind, id));
    let rows: Vec<Row> = sql.with(" ORDER BY m.member_kind DESC, name, m.member_id").all(conn).await?;
    Ok(rows.into_iter().filter_map(from_row).collect())
}

/// Everybody's roles in workspaces, or some members', or one role alone, by workspace: of all, or of those whose content
/// `seen_by` may see.
///
/// # Errors
/// See [`StoreError`].
pub async fn in_workspaces(
    conn: &mut Conn,
    seen_by: Option<UserId>,
    of: Option<&[MemberId]>,
    role: Option<Role>,
) -> Result<Vec<(WorkspaceId, Member)>, StoreError> {
    let mut conditions = Sql::from("m.scope = 'workspace'");
    seen_by.iter().for_each(|actor| conditions.and(visible::members(*actor)));
    of.iter().for_each(|of| conditions.and(one_of(of)));
    conditions.and_if("m.role = ?", role);
    let sql = Sql::from("SELECT m.scope_id, ").with(SHOWN).with(" FROM memberships m").filtered(conditions);
    let order = " ORDER BY m.scope_id, m.member_kind DESC, m.member_id";
    let rows: Vec<(WorkspaceId, Row)> = sql.with(order).all(conn).await?;
    Ok(rows.into_iter().filter_map(|(id, row)| Some((id, from_row(row)?))).collect())
}

/// A membership `m` is one of these members'.
fn one_of(members: &[MemberId]) -> Sql {
    let (mut users, mut groups) = (Vec::new(), Vec::new());
    for member in members {
        match member {
            MemberId::User(id) => users.push(*id),
            MemberId::Group(id) => groups.push(*id),
        }
    }
    Sql::from("((m.member_kind = 'user' AND ")
        .with(Sql::one_of("m.member_id", &users))
        .with(") OR (m.member_kind = 'group' AND ")
        .with(Sql::one_of("m.member_id", &groups))
        .with("))")
}

/// The name of a group, when there is one.
///
/// # Errors
/// See [`StoreError`].
pub async fn group_name(conn: &mut Conn, id: GroupId) -> Result<Option<String>, StoreError> {
    sql!("SELECT name FROM user_groups WHERE id = ?", id).first(conn).await
}

/// Makes somebody a member, or changes their role.
///
/// # Errors
/// See [`StoreError`].
pub async fn set(tx: &mut Tx, scope: Scope, member: MemberId, role: Role) -> Result<(), StoreError> {
    let ((kind, id), (member_kind, member)) = (scope_columns(scope), member_columns(member));
    let sql = "INSERT INTO memberships (scope, scope_id, member_kind, member_id, role) VALUES (?, ?, ?, ?, ?)
               ON CONFLICT (scope, scope_id, member_kind, member_id) DO UPDATE SET role = excluded.role";
    tx.adds(0);
    sql!(sql, kind, id, member_kind, member, role).run(tx).await.map(drop)
}

/// Makes somebody a member no more; who was none stays none.
///
/// # Errors
/// See [`StoreError`].
pub async fn remove(tx: &mut Tx, scope: Scope, member: MemberId) -> Result<(), StoreError> {
    let ((kind, id), (member_kind, member)) = (scope_columns(scope), member_columns(member));
    let sql = "DELETE FROM memberships
               WHERE scope = ? AND scope_id = ? AND member_kind = ? AND member_id = ?";
    sql!(sql, kind, id, member_kind, member).run(tx).await.map(drop)
}

/// Leaves a place without members.
///
/// # Errors
/// See [`StoreError`].
pub async fn clear(tx: &mut Tx, scope: Scope) -> Result<(), StoreError> {
    let (kind, id) = scope_columns(scope);
    sql!("DELETE FROM memberships WHERE scope = ? AND scope_id = ?", kind, id).run(tx).await.map(drop)
}
