//! Accounts.

use domain::id::UserId;
use domain::identity::{MachineNumber, UnixIdentity};
use domain::text::Looks;
use domain::time::Timestamp;
use domain::user::{Password, User};

use crate::cells::{Cells, Read};
use crate::order::Order;
use crate::sql::{Sql, sql};
use crate::table::{Table as _, Write, table};
use crate::value::{Stored as _, Value};
use crate::{Begin, Conn, StoreError, Tx, meta};

table! {
    users u => User {
        id, username, display_name, admin, status, remote,
        password: [password_kind, password_hash],
        identity: [agent_user, agent_uid, agent_group, agent_gid],
        email, service, modified_at, deleted_at,
    }
    reads { last_login_at: "u.last_login_at" }
}

impl Read for Password {
    fn read(cells: &mut Cells<'_>) -> Result<Self, StoreError> {
        let (kind, hash): (String, Option<String>) = cells.next()?;
        Ok(match (kind.as_str(), hash) {
            ("blank", _) => Self::Blank,
            ("hash", Some(hash)) => Self::Hash(hash),
            // Anything unknown is a refusal (R27).
            _ => Self::Impossible,
        })
    }
}

impl Write for Password {
    fn write(&self, values: &mut Vec<Value>) -> Result<(), StoreError> {
        let (kind, hash) = match self {
            Self::Blank => ("blank", None),
            Self::Hash(hash) => ("hash", Some(hash)),
            Self::Impossible => ("impossible", None),
        };
        values.extend([kind.value(), hash.value()]);
        Ok(())
    }
}

impl Read for Option<UnixIdentity> {
    fn read(cells: &mut Cells<'_>) -> Result<Self, StoreError> {
        let (user, uid): (Option<String>, Option<u32>) = cells.next()?;
        let (group, gid): (Option<String>, Option<u32>) = cells.next()?;
        match (user, uid, group, gid) {
            (Some(user), Some(uid), Some(group), Some(gid)) => {
                Ok(Some(UnixIdentity { user, uid, group, gid }))
            }
            (None, None, None, None) => Ok(None),
            _ => Err(cells.corrupt()),
        }
    }
}

impl Write for Option<UnixIdentity> {
    fn write(&self, values: &mut Vec<Value>) -> Result<(), StoreError> {
        let this = self.as_ref();
        values.extend([this.map(|i| &i.user).value(), this.map(|i| i.uid).value()]);
        values.extend([this.map(|i| &i.group).value(), this.map(|i| i.gid).value()]);
        Ok(())
    }
}

/// What searches look through: both names in small letters, a line each.
fn search(user: &User) -> Value {
    format!("{}\n{}", user.username.to_lowercase(), user.display_name.to_lowercase()).value()
}

/// Refuses a name that another account has or had, whatever the case of its letters: people tell accounts apart by them
/// (A14). Accounts that had theirs before stay as they are.
async fn is_free(tx: &mut Tx, user: &User) -> Result<(), StoreError> {
    let sql = "SELECT o.id FROM users o WHERE o.id <> ? AND lower(o.username) = lower(?)
                   AND NOT EXISTS (SELECT 1 FROM users m WHERE m.id = ? AND m.username = ?) LIMIT 1";
    let (id, name) = (user.id, &user.username);
    if sql!(sql, id, name, id, name).exists(tx).await? { Err(StoreError::Duplicate) } else { Ok(()) }
}

/// Makes an account; `user.id` is ignored and a fresh one given out.
///
/// # Errors
/// [`StoreError::Duplicate`] when the name is taken, in any case.
pub async fn insert(tx: &mut Tx, user: &User, now: Timestamp) -> Result<User, StoreError> {
    let user = User { id: UserId(meta::next(tx, "user").await?), modified_at: now, ..user.clone() };
    is_free(tx, &user).await?;
    user.insert(tx, &[("created_at", now.value()), ("search", search(&user))]).await?;
    Ok(user)
}

/// By which number machines know an account; `None` before its first task.
///
/// # Errors
/// See [`StoreError`].
pub async fn machine_number(conn: &mut Conn, id: UserId) -> Result<Option<MachineNumber>, StoreError> {
    let sql = sql!("SELECT machine_number FROM users WHERE id = ?", id);
    let Some(number) = sql.first::<Option<i64>>(conn).await?.flatten() else { return Ok(None) };
    let known = u32::try_from(number).ok().and_then(MachineNumber::new);
    let corrupt = || StoreError::Corrupt(format!("users, id {id}: machine_number"));
    known.map(Some).ok_or_else(corrupt)
}

/// Has machines know an account by a number, for ever; `false` when it is, or was, another's, or the account has one.
///
/// # Errors
/// See [`StoreError`].
pub async fn set_machine_number(tx: &mut Tx, id: UserId, number: MachineNumber) -> Result<bool, StoreError> {
    let sql = "UPDATE users SET machine_number = ? WHERE id = ? AND machine_number IS NULL
                   AND NOT EXISTS (SELECT 1 FROM users o WHERE o.machine_number = ?)";
    let number = number.get();
    Ok(sql!(sql, number, id, number).run(tx).await? == 1)
}

/// Writes all of an account's fields.
///
/// # Errors
/// [`StoreError::Duplicate`] when it is a new name that is taken, in any case.
pub async fn update(tx: &mut Tx, user: &User) -> Result<(), StoreError> {
    is_free(tx, user).await?;
    user.update(tx, "an account", &[("search", search(user))]).await
}

/// Notes a login.
///
/// # Errors
/// See [`StoreError`].
pub async fn set_last_login(tx: &mut Tx, id: UserId, now: Timestamp) -> Result<(), StoreError> {
    sql!("UPDATE users SET last_login_at = ? WHERE id = ?", now, id).run_once(tx, "an account").await
}

/// Notes that something of an account has changed that isn't in its own row.
///
/// # Errors
/// See [`StoreError`].
pub async fn set_modified(tx: &mut Tx, id: UserId, now: Timestamp) -> Result<(), StoreError> {
    sql!("UPDATE users SET modified_at = ? WHERE id = ?", now, id).run_once(tx, "an account").await
}

/// One account by id.
///
/// # Errors
/// See [`StoreError`].
pub async fn by_id(conn: &mut Conn, id: UserId) -> Result<Option<User>, StoreError> {
    User::select(sql!("u.id = ?", id)).first(conn).await
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
    User::select(sql!("u.username = ?", username)).first(conn).await
}

/// One account by its name in any case, also when it was deleted: the name is taken.
///
/// # Errors
/// See [`StoreError`].
pub async fn by_username_in_any_case(conn: &mut Conn, username: &str) -> Result<Option<User>, StoreError> {
    User::select(sql!("LOWER(u.username) = LOWER(?)", username)).first(conn).await
}

/// Whether another account than `id` has this name or display name, or one that looks like it; also one that was deleted
/// (R35).
///
/// # Errors
/// See [`StoreError`].
pub async fn name_in_use_by_other(conn: &mut Conn, name: &str, id: UserId) -> Result<bool, StoreError> {
    let sql = "SELECT username, display_name, admin FROM users WHERE id <> ?";
    let rows: Vec<(String, String, bool)> = sql!(sql, id).all(conn).await?;
    let names = rows.into_iter().flat_map(|(name, shown, admin)| [(name, admin), (shown, admin)]);
    any_is_taken_for(name, names.collect()).await
}

/// Comparing with very many takes long, and nobody is to wait for it.
async fn any_is_taken_for(name: &str, others: Vec<(String, bool)>) -> Result<bool, StoreError> {
    let wanted = Looks::of(name);
    let any = move || others.iter().any(|(other, admin)| is_taken_for(&wanted, other, *admin));
    tokio::task::spawn_blocking(any).await.map_err(|e| StoreError::Unavailable(e.to_string()))
}

/// Whether another account than `id` has a user name that looks like this one, whatever letters it is written with.
///
/// # Errors
/// See [`StoreError`].
pub async fn looks_like_another(conn: &mut Conn, name: &str, id: UserId) -> Result<bool, StoreError> {
    let sql = "SELECT username, admin FROM users WHERE id <> ? AND deleted_at IS NULL";
    let rows: Vec<(String, bool)> = sql!(sql, id).all(conn).await?;
    any_is_taken_for(name, rows).await
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
    let sql = "SELECT id FROM users WHERE id <> ? AND lower(email) = lower(?) LIMIT 1";
    sql!(sql, id, email).exists(conn).await
}

/// The active administrators, by id.
///
/// # Errors
/// See [`StoreError`].
pub async fn admins(conn: &mut Conn) -> Result<Vec<User>, StoreError> {
    User::select("u.admin AND u.status = 'active'").with(" ORDER BY u.id").all(conn).await
}

/// How many active administrators there are.
///
/// # Errors
/// See [`StoreError`].
pub async fn active_admins(conn: &mut Conn) -> Result<i64, StoreError> {
    User::count(conn, "u.admin AND u.status = 'active'").await
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
    /// What it is in a row.
    fn key(self) -> (&'static str, fn(&User) -> Value) {
        match self {
            Self::Id => ("u.id", |user| user.id.value()),
            Self::DisplayName => ("u.display_name", |user| user.display_name.value()),
            Self::Username => ("u.username", |user| user.username.value()),
            Self::Admin => ("u.admin", |user| user.admin.value()),
            Self::Active => ("u.status", |user| user.status.value()),
            Self::ModifiedAt => ("u.modified_at", |user| user.modified_at.value()),
            Self::Name => {
                let name = "CASE WHEN u.display_name = '' THEN u.username ELSE u.display_name END";
                (name, |user| shown_name(user).value())
            }
            Self::LastLogin => {
                let at = "COALESCE(u.last_login_at, 0)";
                (at, |user| user.last_login_at.map_or(0, |at| at.0).value())
            }
            Self::Remote => ("u.remote", |user| user.remote.value()),
        }
    }
}

fn shown_name(user: &User) -> &str {
    if user.display_name.is_empty() { &user.username } else { &user.display_name }
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
    /// What they are sorted by.
    pub sort: SortBy,
    /// Last ones first.
    pub descending: bool,
}

impl Filter {
    fn conditions(&self) -> Sql {
        let mut all = Sql::from("u.deleted_at IS NULL");
        all.and_if("u.search LIKE ? ESCAPE '!'", self.pattern());
        all.and_either(self.active, "u.status = 'active'", "u.status <> 'active'");
        all.and_either(self.admin, "u.admin", "NOT u.admin");
        all
    }

    fn order(&self) -> Order<User> {
        let (column, value) = self.sort.key();
        let order = Order::by(column, self.descending, value);
        // By id alone the index has the order; SQLite would sort once more for the same column twice.
        if self.sort == SortBy::Id { order } else { order.then("u.id", false, |user| user.id.value()) }
    }

    fn pattern(&self) -> Option<String> {
        let part = self.name.as_deref().filter(|name| !name.is_empty())?;
        // A line end stands between the two names; neither has one, or a NUL, or their stand-in.
        let part = part.replace(['\0', '\n'], "\u{fffd}");
        let escaped = part.to_lowercase().replace('!', "!!").replace('%', "!%").replace('_', "!_");
        Some(format!("%{escaped}%"))
    }
}

/// How many accounts match.
///
/// # Errors
/// See [`StoreError`].
pub async fn count(conn: &mut Conn, filter: &Filter) -> Result<i64, StoreError> {
    User::count(conn, filter.conditions()).await
}

/// Part of the accounts that match.
///
/// # Errors
/// See [`StoreError`].
pub async fn list(
    conn: &mut Conn,
    filter: &Filter,
    begin: Begin<'_, User>,
    limit: i64,
) -> Result<Vec<User>, StoreError> {
    let order = filter.order();
    // What lies before the page is skipped in an index, where there is one.
    let ids = Sql::from("SELECT u.id FROM users u").with(order.part(filter.conditions(), begin, limit));
    User::select(Sql::from("u.id IN (").with(ids).with(")")).with(order.sql()).all(conn).await
}
