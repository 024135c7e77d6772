//! Who asked to be let in, and what became of it.

use domain::id::UserId;
use domain::registration::{Registration, State};
use domain::time::Timestamp;

use crate::order::Order;
use crate::sql::{Sql, sql};
use crate::table::{Table as _, table};
use crate::value::Stored as _;
use crate::{Begin, Conn, StoreError, Tx, meta};

table! {
    registrations r => Registration {
        id, username, email, user: [user_id], state, address, created_at, decided_at, decided_by,
    }
}

/// Keeps a registration; `registration.id` is ignored and a fresh one given out.
///
/// # Errors
/// See [`StoreError`].
pub async fn insert(tx: &mut Tx, registration: &Registration) -> Result<Registration, StoreError> {
    let registration = Registration { id: meta::next(tx, "registration").await?, ..registration.clone() };
    registration.insert(tx, &[]).await?;
    Ok(registration)
}

/// Writes what became of a registration.
///
/// # Errors
/// See [`StoreError`].
pub async fn decide(
    tx: &mut Tx,
    id: i64,
    state: State,
    by: Option<UserId>,
    now: Timestamp,
) -> Result<(), StoreError> {
    sql!(
        "UPDATE registrations SET state = ?, decided_by = ?, decided_at = ? WHERE id = ?",
        state,
        by,
        now,
        id
    )
    .run_once(tx, "a registration")
    .await
}

/// Forgets where mail reached the person of an account.
///
/// # Errors
/// See [`StoreError`].
pub async fn forget_email(tx: &mut Tx, user: UserId) -> Result<(), StoreError> {
    sql!("UPDATE registrations SET email = '' WHERE user_id = ?", user).run(tx).await.map(drop)
}

/// The latest registration under that exact name.
///
/// # Errors
/// See [`StoreError`].
pub async fn latest_of_name(conn: &mut Conn, username: &str) -> Result<Option<Registration>, StoreError> {
    latest(conn, sql!("r.username = ?", username)).await
}

/// The registration that an account came from.
///
/// # Errors
/// See [`StoreError`].
pub async fn of_user(conn: &mut Conn, user: UserId) -> Result<Option<Registration>, StoreError> {
    latest(conn, sql!("r.user_id = ?", user)).await
}

async fn latest(conn: &mut Conn, condition: Sql) -> Result<Option<Registration>, StoreError> {
    Registration::select(condition).with(" ORDER BY r.id DESC LIMIT 1").first(conn).await
}

/// How many wait for a decision.
///
/// # Errors
/// See [`StoreError`].
pub async fn waiting(conn: &mut Conn) -> Result<i64, StoreError> {
    count(conn, Some(State::Pending)).await
}

/// The `n`-th last registration after `since`, from one address or from all: when it was made. It is there when there
/// were as many.
///
/// # Errors
/// See [`StoreError`].
pub async fn nth_last(
    conn: &mut Conn,
    n: i64,
    since: Timestamp,
    address: Option<&str>,
) -> Result<Option<Timestamp>, StoreError> {
    let mut conditions = sql!("created_at > ?", since);
    conditions.and_if("address = ?", address);
    Sql::from("SELECT created_at FROM registrations")
        .filtered(conditions)
        .with(sql!(" ORDER BY created_at DESC, id DESC LIMIT 1 OFFSET ?", n - 1))
        .first(conn)
        .await
}

fn in_state(state: Option<State>) -> Sql {
    let mut all = Sql::default();
    all.and_if("r.state = ?", state);
    all
}

/// How many there are, in one state or in all.
///
/// # Errors
/// See [`StoreError`].
pub async fn count(conn: &mut Conn, state: Option<State>) -> Result<i64, StoreError> {
    Registration::count(conn, in_state(state)).await
}

/// Part of them, newest first.
///
/// # Errors
/// See [`StoreError`].
pub async fn list(
    conn: &mut Conn,
    state: Option<State>,
    begin: Begin<'_, Registration>,
    limit: i64,
) -> Result<Vec<Registration>, StoreError> {
    let newest_first = Order::by("r.id", true, |registration: &Registration| registration.id.value());
    Registration::listed(newest_first.part(in_state(state), begin, limit)).all(conn).await
}
