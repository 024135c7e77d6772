//! Accounts.

use domain::id::UserId;
use domain::identity::{MachineNumber, UnixIdentity};
use domain::text::Looks;
use domain::time::Timestamp;
use domain::user::{Password, Status, User};
use sqlx::AssertSqlSafe;

use crate::db::{on, row};
use crate::error::one_row;
use crate::{Conn, StoreError, Tx, meta};

row!(UserRow {
    id: i64,
    username: String,
    display_name: String,
    admin: bool,
    status: String,
    remote: bool,
    password_kind: String,
    password_hash: Option<String>,
    agent_user: Option<String>,
    agent_uid: Option<i64>,
    agent_group: Option<String>,
    agent_gid: Option<i64>,
    email: Option<String>,
    service: bool,
    modified_at: i64,
    last_login_at: Option<i64>,
    deleted_at: Option<i64>,
});

pub(crate) fn from_row(row: UserRow) -> Result<User, StoreError> {
    let corrupt = |what: &str| StoreError::Corrupt(format!("users, id {}: {what}", row.id));
    let password = match (row.password_kind.as_str(), row.password_hash) {
        ("blank", _) => Password::Blank,
        ("hash", Some(hash)) => Password::Hash(hash),
        // Anything unknown is a refusal (R27).
        _ => Password::Impossible,
    };
    let identity = match (row.agent_user, row.agent_uid, row.agent_group, row.agent_gid) {
        (Some(user), Some(uid), Some(group), Some(gid)) => Some(UnixIdentity {
            user,
            uid: u32::try_from(uid).map_err(|_| corrupt("agent_uid"))?,
            group,
            gid: u32::try_from(gid).map_err(|_| corrupt("agent_gid"))?,
        }),
        (None, None, None, None) => None,
        _ => return Err(corrupt("half of a Unix identity")),
    };
    Ok(User {
        id: UserId(row.id),
        username: row.username,
        display_name: row.display_name,
        admin: row.admin,
        status: Status::from_stored(&row.status),
        remote: row.remote,
        password,
        identity,
        email: row.email,
        service: row.service,
        modified_at: Timestamp(row.modified_at),
        last_login_at: row.last_login_at.map(Timestamp),
        deleted_at: row.deleted_at.map(Timestamp),
    })
}

fn password_columns(password: &Password) -> (&'static str, Option<String>) {
    match password {
        Password::Blank => ("blank", None),
        Password::Hash(hash) => ("hash", Some(hash.clone())),
        Password::Impossible => ("impossible", None),
    }
}

/// Refuses a name that another account has or had, whatever the case of its letters: people tell accounts apart by them
/// (A14). Accounts that had theirs before stay as they are.
async fn is_free(tx: &mut Tx, user: &User) -> Result<(), StoreError> {
    let sql = "SELECT o.id FROM users o WHERE o.id <> $1 AND lower(o.username) = lower($2)
                   AND NOT EXISTS (SELECT 1 FROM users m WHERE m.id = $1 AND m.username = $2) LIMIT 1";
    let (id, name) = (user.id.0, &user.username);
    let row: Option<(i64,)> = on!(tx, |c| sqlx::query_as(sql).bind(id).bind(name).fetch_optional(c).await)?;
    if row.is_some() { Err(StoreError::Duplicate) } else { Ok(()) }
}

/// Runs a statement whose parameters are all of an account's columns, `$1` its id, `$13` when it was changed.
async fn write(tx: &mut Tx, sql: &'static str, user: &User) -> Result<u64, StoreError> {
    is_free(tx, user).await?;
    let (kind, hash) = password_columns(&user.password);
    let search = format!("{}\n{}", user.username.to_lowercase(), user.display_name.to_lowercase());
    let identity = user.identity.as_ref();
    let affected = on!(tx, |c| {
        sqlx::query(sql)
            .bind(user.id.0)
            .bind(&user.username)
            .bind(&user.display_name)
            .bind(user.admin)
            .bind(user.status.as_str())
            .bind(user.remote)
            .bind(kind)
            .bind(&hash)
            .bind(identity.map(|i| i.user.clone()))
            .bind(identity.map(|i| i64::from(i.uid)))
            .bind(identity.map(|i| i.group.clone()))
            .bind(identity.map(|i| i64::from(i.gid)))
            .bind(user.modified_at.0)
            .bind(&user.email)
            .bind(user.service)
            .bind(user.deleted_at.map(|at| at.0))
            .bind(&search)
            .execute(c)
            .await
            .map(|done| done.rows_affected())
    })?;
    Ok(affected)
}

/// Makes an account; `user.id` is ignored and a fresh one given out.
///
/// # Errors
/// [`StoreError::Duplicate`] when the name is taken, in any case.
pub async fn insert(tx: &mut Tx, user: &User, now: Timestamp) -> Result<User, StoreError> {
    let id = UserId(meta::next(tx, "user").await?);
    let user = User { id, modified_at: now, ..user.clone() };
    let sql =
        "INSERT INTO users (id, username, display_name, admin, status, remote, password_kind, password_hash,
                   agent_user, agent_uid, agent_group, agent_gid, created_at, modified_at, email, service, deleted_at,
                   search)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $13, $14, $15, $16, $17)";
    tx.adds(0);
    write(tx, sql, &user).await?;
    Ok(user)
}

/// By which number machines know an account; `None` before its first task.
///
/// # Errors
/// See [`StoreError`].
pub async fn machine_number(conn: &mut Conn, id: UserId) -> Result<Option<MachineNumber>, StoreError> {
    let sql = "SELECT machine_number FROM users WHERE id = $1";
    let row: Option<(Option<i64>,)> = on!(conn, |c| sqlx::query_as(sql).bind(id.0).fetch_optional(c).await)?;
    let Some(number) = row.and_then(|(number,)| number) else { return Ok(None) };
    let known = u32::try_from(number).ok().and_then(MachineNumber::new);
    let corrupt = || StoreError::Corrupt(format!("users, id {id}: machine_number"));
    known.map(Some).ok_or_else(corrupt)
}

/// Has machines know an account by a number, for ever; `false` when it is, or was, another's, or the account has one.
///
/// # Errors
/// See [`StoreError`].
pub async fn set_machine_number(tx: &mut Tx, id: UserId, number: MachineNumber) -> Result<bool, StoreError> {
    let sql = "UPDATE users SET machine_number = $2 WHERE id = $1 AND machine_number IS NULL
                   AND NOT EXISTS (SELECT 1 FROM users o WHERE o.machine_number = $2)";
    let number = i64::from(number.get());
    let affected = on!(tx, |c| {
        sqlx::query(sql).bind(id.0).bind(number).execute(c).await.map(|done| done.rows_affected())
    })?;
    Ok(affected == 1)
}

/// Writes all of an account's fields.
///
/// # Errors
/// [`StoreError::Duplicate`] when it is a new name that is taken, in any case.
pub async fn update(tx: &mut Tx, user: &User) -> Result<(), StoreError> {
    let sql = "UPDATE users SET username = $2, display_name = $3, admin = $4, status = $5, remote = $6,
                   password_kind = $7, password_hash = $8, agent_user = $9, agent_uid = $10, agent_group = $11,
                   agent_gid = $12, modified_at = $13, email = $14, service = $15, deleted_at = $16, search = $17 WHERE id = $1";
    one_row("an account", write(tx, sql, user).await?)
}

/// Notes a login.
///
/// # Errors
/// See [`StoreError`].
pub async fn set_last_login(tx: &mut Tx, id: UserId, now: Timestamp) -> Result<(), StoreError> {
    let sql = "UPDATE users SET last_login_at = $2 WHERE id = $1";
    let affected = on!(tx, |c| {
        sqlx::query(sql).bind(id.0).bind(now.0).execute(c).await.map(|done| done.rows_affected())
    })?;
    one_row("an account", affected)
}

/// Notes that something of an account has changed that isn't in its own row.
///
/// # Errors
/// See [`StoreError`].
pub async fn set_modified(tx: &mut Tx, id: UserId, now: Timestamp) -> Result<(), StoreError> {
    let sql = "UPDATE users SET modified_at = $2 WHERE id = $1";
    let affected = on!(tx, |c| {
        sqlx::query(sql).bind(id.0).bind(now.0).execute(c).await.map(|done| done.rows_affected())
    })?;
    one_row("an account", affected)
}

/// One account by id.
///
/// # Errors
/// See [`StoreError`].
pub async fn by_id(conn: &mut Conn, id: UserId) -> Result<Option<User>, StoreError> {
    let sql = "SELECT * FROM users WHERE id = $1";
    let row: Option<UserRow> = on!(conn, |c| sqlx::query_as(sql).bind(id.0).fetch_optional(c).await)?;
    row.map(from_row).transpose()
}

/// One account by its exact name; one that was deleted isn't there.
///
/// # Errors
/// See [`StoreError`].
pub async fn by_username(conn: &mut Conn, username: &str) -> Result<Option<User>, StoreError> {
    Ok(by_username_even_deleted(conn, username).await?.filter(|user| user.deleted_at.is_none()))
}

/// One account by its exact name, also when it was deleted: what it made still goes by that name.
///
/// # Errors
/// See [`StoreError`].
pub async fn by_username_even_deleted(conn: &mut Conn, username: &str) -> Result<Option<User>, StoreError> {
    if username.contains('\0') {
        // PostgreSQL has no such text and would answer with an error.
        return Ok(None);
    }
    let sql = "SELECT * FROM users WHERE username = $1";
    let row: Option<UserRow> = on!(conn, |c| sqlx::query_as(sql).bind(username).fetch_optional(c).await)?;
    row.map(from_row).transpose()
}

/// Whether another account than `id` has this name or display name, or one that looks like it; also one that was deleted
/// (R35).
///
/// # Errors
/// See [`StoreError`].
pub async fn name_in_use_by_other(conn: &mut Conn, name: &str, id: UserId) -> Result<bool, StoreError> {
    let sql = "SELECT username, display_name, admin FROM users WHERE id <> $1";
    let rows: Vec<(String, String, bool)> = on!(conn, |c| sqlx::query_as(sql).bind(id.0).fetch_all(c).await)?;
    let wanted = Looks::of(name);
    let mut names = rows.iter().flat_map(|(name, shown, admin)| [(name, *admin), (shown, *admin)]);
    Ok(names.any(|(other, admin)| is_taken_for(&wanted, other, admin)))
}

/// Whether another account than `id` has a user name that looks like this one, whatever letters it is written with.
///
/// # Errors
/// See [`StoreError`].
pub async fn looks_like_another(conn: &mut Conn, name: &str, id: UserId) -> Result<bool, StoreError> {
    let sql = "SELECT username, admin FROM users WHERE id <> $1 AND deleted_at IS NULL";
    let rows: Vec<(String, bool)> = on!(conn, |c| sqlx::query_as(sql).bind(id.0).fetch_all(c).await)?;
    let wanted = Looks::of(name);
    Ok(rows.iter().any(|(other, admin)| is_taken_for(&wanted, other, *admin)))
}

/// For an administrator, nobody passes at a glance (A14).
fn is_taken_for(wanted: &Looks, other: &str, admin: bool) -> bool {
    let other = Looks::of(other);
    if admin { wanted.passes_for(&other) } else { wanted.alike(&other) }
}

/// Whether another account than `id` has this e-mail address, whatever the case of its letters.
///
/// # Errors
/// See [`StoreError`].
pub async fn email_in_use_by_other(conn: &mut Conn, email: &str, id: UserId) -> Result<bool, StoreError> {
    let sql = "SELECT id FROM users WHERE id <> $1 AND lower(email) = lower($2) LIMIT 1";
    let row: Option<(i64,)> =
        on!(conn, |c| sqlx::query_as(sql).bind(id.0).bind(email).fetch_optional(c).await)?;
    Ok(row.is_some())
}

/// The active administrators, by id.
///
/// # Errors
/// See [`StoreError`].
pub async fn admins(conn: &mut Conn) -> Result<Vec<User>, StoreError> {
    let sql = "SELECT * FROM users WHERE admin AND status = 'active' ORDER BY id";
    let rows: Vec<UserRow> = on!(conn, |c| sqlx::query_as(sql).fetch_all(c).await)?;
    rows.into_iter().map(from_row).collect()
}

/// How many active administrators there are.
///
/// # Errors
/// See [`StoreError`].
pub async fn active_admins(conn: &mut Conn) -> Result<i64, StoreError> {
    let sql = "SELECT COUNT(*) FROM users WHERE admin AND status = 'active'";
    let (count,): (i64,) = on!(conn, |c| sqlx::query_as(sql).fetch_one(c).await)?;
    Ok(count)
}

/// What a list of accounts goes by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SortBy {
    /// Id.
    #[default]
    Id,
    /// Display name.
    DisplayName,
    /// User name.
    Username,
    /// Role.
    Admin,
    /// State.
    Active,
    /// Last change.
    ModifiedAt,
    /// Display name, else user name.
    Name,
    /// Last login.
    LastLogin,
    /// Managed by sign-on.
    Remote,
}

impl SortBy {
    fn column(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::DisplayName => "display_name",
            Self::Username => "username",
            Self::Admin => "admin",
            Self::Active => "status",
            Self::ModifiedAt => "modified_at",
            Self::Name => "CASE WHEN display_name = '' THEN username ELSE display_name END",
            Self::LastLogin => "COALESCE(last_login_at, 0)",
            Self::Remote => "remote",
        }
    }
}

/// Which accounts, in which order.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Part of the user or display name, whatever the case.
    pub name: Option<String>,
    /// Active ones, or the others.
    pub active: Option<bool>,
    /// Administrators, or the others.
    pub admin: Option<bool>,
    /// Order.
    pub sort: SortBy,
    /// The other way round.
    pub descending: bool,
}

impl Filter {
    /// `$1` is the pattern.
    fn conditions(&self) -> String {
        let name = if self.pattern().is_empty() { "$1 = ''" } else { "search LIKE $1 ESCAPE '!'" };
        let status = match self.active {
            None => "",
            Some(true) => " AND status = 'active'",
            Some(false) => " AND status <> 'active'",
        };
        let admin = match self.admin {
            None => "",
            Some(true) => " AND admin",
            Some(false) => " AND NOT admin",
        };
        format!("deleted_at IS NULL AND {name}{status}{admin}")
    }

    fn pattern(&self) -> String {
        let Some(part) = self.name.as_deref().filter(|n| !n.is_empty()) else {
            return String::new();
        };
        // NUL would end the pattern on SQLite, and is an error on PostgreSQL; a line end stands between the two names. No
        // name has either, nor their stand-in.
        let part = part.replace(['\0', '\n'], "\u{fffd}");
        let escaped = part.to_lowercase().replace('!', "!!").replace('%', "!%").replace('_', "!_");
        format!("%{escaped}%")
    }
}

/// How many accounts match.
///
/// # Errors
/// See [`StoreError`].
pub async fn count(conn: &mut Conn, filter: &Filter) -> Result<i64, StoreError> {
    let sql = format!("SELECT COUNT(*) FROM users WHERE {}", filter.conditions());
    let (count,): (i64,) =
        on!(conn, |c| sqlx::query_as(AssertSqlSafe(sql)).bind(filter.pattern()).fetch_one(c).await)?;
    Ok(count)
}

/// A page of the accounts that match.
///
/// # Errors
/// See [`StoreError`].
pub async fn list(
    conn: &mut Conn,
    filter: &Filter,
    offset: i64,
    limit: i64,
) -> Result<Vec<User>, StoreError> {
    let direction = if filter.descending { "DESC" } else { "ASC" };
    let (conditions, column) = (filter.conditions(), filter.sort.column());
    // By id alone the index has the order; SQLite would sort once more for the same column twice.
    let then = if filter.sort == SortBy::Id { "" } else { ", id ASC" };
    let order = format!("ORDER BY {column} {direction}{then}");
    // What lies before the page is skipped in an index, where there is one.
    let page = format!("SELECT id FROM users WHERE {conditions} {order} LIMIT $2 OFFSET $3");
    let sql = format!("SELECT * FROM users WHERE id IN ({page}) {order}");
    let rows: Vec<UserRow> = on!(conn, |c| {
        sqlx::query_as(AssertSqlSafe(sql)).bind(filter.pattern()).bind(limit).bind(offset).fetch_all(c).await
    })?;
    rows.into_iter().map(from_row).collect()
}
