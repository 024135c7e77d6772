//! Who is a member of what, and as what.

use domain::id::{GroupId, UserId, WorkspaceId};
use domain::place::{Member, MemberId, Role, Scope};
use sqlx::AssertSqlSafe;

use crate::db::{on, row};
use crate::workspace::hidden_from;
use crate::{Conn, StoreError, Tx};

row!(MemberRow { member_kind: String, member_id: i64, name: Option<String>, role: String });
row!(InWorkspaceRow { scope_id: i64, member_kind: String, member_id: i64, name: Option<String>, role: String });

/// The name of a membership's account or group; of one that is gone there is none.
const NAME: &str = "CASE m.member_kind
    WHEN 'user' THEN (SELECT u.username FROM users u WHERE u.id = m.member_id AND u.deleted_at IS NULL)
    ELSE (SELECT g.name FROM user_groups g WHERE g.id = m.member_id) END AS name";

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

fn from_row(row: MemberRow) -> Option<Member> {
    let id = match row.member_kind.as_str() {
        "user" => MemberId::User(UserId(row.member_id)),
        "group" => MemberId::Group(GroupId(row.member_id)),
        _ => return None,
    };
    // Whoever is gone, and whatever is no role, is no member (R27).
    Some(Member { id, name: row.name?, role: Role::parse(&row.role)? })
}

/// All members of a place, users first, by name.
///
/// # Errors
/// See [`StoreError`].
pub async fn list(conn: &mut Conn, scope: Scope) -> Result<Vec<Member>, StoreError> {
    let (kind, id) = scope_columns(scope);
    let sql = format!(
        "SELECT m.member_kind, m.member_id, m.role, {NAME} FROM memberships m
         WHERE m.scope = $1 AND m.scope_id = $2 ORDER BY m.member_kind DESC, name, m.member_id"
    );
    let rows: Vec<MemberRow> =
        on!(conn, |c| sqlx::query_as(AssertSqlSafe(sql)).bind(kind).bind(id).fetch_all(c).await)?;
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
    let hidden = seen_by.map(|viewer| format!("AND m.scope_id NOT IN ({})", hidden_from(viewer)));
    let one = |(kind, id): (&str, i64)| format!("(m.member_kind = '{kind}' AND m.member_id = {id})");
    let some = of.map(|of| of.iter().copied().map(member_columns).map(one).collect::<Vec<_>>());
    let some = some.map(|of| if of.is_empty() { "1 = 0".to_owned() } else { of.join(" OR ") });
    let role = role.map(|role| format!("AND m.role = '{}'", role.as_str()));
    let sql = format!(
        "SELECT m.scope_id, m.member_kind, m.member_id, m.role, {NAME} FROM memberships m
         WHERE m.scope = 'workspace' {} {} {} ORDER BY m.scope_id, m.member_kind DESC, m.member_id",
        hidden.unwrap_or_default(),
        some.map(|some| format!("AND ({some})")).unwrap_or_default(),
        role.unwrap_or_default()
    );
    let rows: Vec<InWorkspaceRow> = on!(conn, |c| sqlx::query_as(AssertSqlSafe(sql)).fetch_all(c).await)?;
    let member = |row: InWorkspaceRow| {
        let InWorkspaceRow { scope_id, member_kind, member_id, name, role } = row;
        Some((WorkspaceId(scope_id), from_row(MemberRow { member_kind, member_id, name, role })?))
    };
    Ok(rows.into_iter().filter_map(member).collect())
}

/// The name of a group, when there is one.
///
/// # Errors
/// See [`StoreError`].
pub async fn group_name(conn: &mut Conn, id: GroupId) -> Result<Option<String>, StoreError> {
    let sql = "SELECT name FROM user_groups WHERE id = $1";
    let row: Option<(String,)> = on!(conn, |c| sqlx::query_as(sql).bind(id.0).fetch_optional(c).await)?;
    Ok(row.map(|(name,)| name))
}

/// Makes somebody a member, or changes their role.
///
/// # Errors
/// See [`StoreError`].
pub async fn set(tx: &mut Tx, scope: Scope, member: MemberId, role: Role) -> Result<(), StoreError> {
    let (kind, id) = scope_columns(scope);
    let (member_kind, member) = member_columns(member);
    let sql =
        "INSERT INTO memberships (scope, scope_id, member_kind, member_id, role) VALUES ($1, $2, $3, $4, $5)
               ON CONFLICT (scope, scope_id, member_kind, member_id) DO UPDATE SET role = excluded.role";
    tx.adds(0);
    on!(tx, |c| {
        let query = sqlx::query(sql).bind(kind).bind(id).bind(member_kind).bind(member).bind(role.as_str());
        query.execute(c).await.map(drop)
    })?;
    Ok(())
}

/// Makes somebody a member no more; who was none stays none.
///
/// # Errors
/// See [`StoreError`].
pub async fn remove(tx: &mut Tx, scope: Scope, member: MemberId) -> Result<(), StoreError> {
    let (kind, id) = scope_columns(scope);
    let (member_kind, member) = member_columns(member);
    let sql = "DELETE FROM memberships
               WHERE scope = $1 AND scope_id = $2 AND member_kind = $3 AND member_id = $4";
    on!(tx, |c| {
        let query = sqlx::query(sql).bind(kind).bind(id).bind(member_kind).bind(member);
        query.execute(c).await.map(drop)
    })?;
    Ok(())
}

/// Leaves a place without members.
///
/// # Errors
/// See [`StoreError`].
pub async fn clear(tx: &mut Tx, scope: Scope) -> Result<(), StoreError> {
    let (kind, id) = scope_columns(scope);
    let sql = "DELETE FROM memberships WHERE scope = $1 AND scope_id = $2";
    on!(tx, |c| sqlx::query(sql).bind(kind).bind(id).execute(c).await.map(drop))?;
    Ok(())
}
