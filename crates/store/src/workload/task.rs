//! Tasks, each with its latest run (`allocation`).

use std::collections::BTreeSet;

use domain::allocation::{Cause, Event};
use domain::config::TaskConfig;
use domain::id::{AllocationId, TaskId, TaskIdPrefix, UserId, WorkspaceId};
use domain::kind::Kind;
use domain::task::{Standing, Task};
use domain::time::Timestamp;

use crate::cells::{Cells, Json, Read};
use crate::sql::{Sql, sql};
use crate::table::{Table as _, table};
use crate::value::Stored as _;
use crate::{Conn, StoreError, Tx, allocation, meta, visible};

table! {
    tasks t => Task {
        id, seq, kind, owner: [owner_id], workspace: [workspace_id], description, pool, slots, weight, max_slots,
        priority, identity: [run_as] as Json, has_context, created_at, standing, restarts, max_restarts,
    }
    reads "JOIN users u ON u.id = t.owner_id JOIN allocations a ON a.task_id = t.id AND a.run = t.run" {
        owner_name: "u.username", owner_display_name: "u.display_name", log_removed_at: "t.log_removed_at",
        latest: "a.task_id, a.run, a.created_at, a.phase, a.placement, a.started_at, a.ready, a.asked, a.heard, a.asked_until, a.ended_at, a.exit_code, a.exit_signal, a.exit_reason, a.exit_fault, a.exits",
    }
}

fn json(value: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|e| StoreError::Corrupt(e.to_string()))
}

/// Makes a task with its first run; `task.seq` is ignored and a fresh one given out.
///
/// # Errors
/// See [`StoreError`].
pub async fn insert(tx: &mut Tx, task: Task, config: &TaskConfig) -> Result<Task, StoreError> {
    let task = Task { seq: meta::next(tx, "task").await?, ..task };
    task.insert(tx, &[("run", task.latest.id.run.value())]).await?;
    allocation::insert(tx, &task.latest).await?;
    let config = json(config)?;
    tx.replaces(config.len());
    let sql = "INSERT INTO task_configs (task_id, config) VALUES (?, ?)";
    tx.adds(0);
    sql!(sql, task.id, config).run(tx).await?;
    Ok(task)
}

/// What a task runs, fully merged.
///
/// # Errors
/// See [`StoreError`].
pub async fn config(conn: &mut Conn, id: TaskId) -> Result<TaskConfig, StoreError> {
    let config: String = sql!("SELECT config FROM task_configs WHERE task_id = ?", id).one(conn).await?;
    serde_json::from_str(&config)
        .map_err(|_| StoreError::Corrupt(format!("task_configs, task_id {id}: config")))
}

/// Tasks of before there were slots among the columns get theirs, out of their configurations.
pub(crate) async fn note_slots(tx: &mut Tx) -> Result<(), StoreError> {
    let sql = "SELECT t.id, c.config FROM tasks t JOIN task_configs c ON c.task_id = t.id
               WHERE t.slots IS NULL LIMIT 100";
    loop {
        let rows: Vec<(String, String)> = Sql::from(sql).all(tx).await?;
        if rows.is_empty() {
            return Ok(());
        }
        for (id, config) in rows {
            let corrupt = |_| StoreError::Corrupt(format!("task_configs, task_id {id}: config"));
            let config: TaskConfig = serde_json::from_str(&config).map_err(corrupt)?;
            let slots = config.resources.slots;
            sql!("UPDATE tasks SET slots = ? WHERE id = ?", slots, id).run(tx).await?;
        }
    }
}

/// How many of an account's tasks aren't over.
///
/// # Errors
/// See [`StoreError`].
pub async fn count_living(conn: &mut Conn, owner: UserId) -> Result<i64, StoreError> {
    Task::count(conn, sql!("t.owner_id = ? AND t.standing <> 'over'", owner)).await
}

/// Whether an account has so many tasks, those included that are over.
///
/// They are counted only once there are so many of everybody's: it is asked at each start.
///
/// # Errors
/// See [`StoreError`].
pub async fn has_made(conn: &mut Conn, owner: UserId, many: i64) -> Result<bool, StoreError> {
    let sql = "SELECT CASE WHEN COALESCE((SELECT MAX(seq) FROM tasks), 0) < ? THEN 0
                      ELSE (SELECT COUNT(*) FROM tasks WHERE owner_id = ?) END";
    let made: i64 = sql!(sql, many, owner).one(conn).await?;
    Ok(made >= many)
}

/// Writes whether a task goes on, which run is its latest one, and how often it was begun again.
pub(crate) async fn set_standing(tx: &mut Tx, task: &Task) -> Result<(), StoreError> {
    let sql = "UPDATE tasks SET standing = ?, run = ?, restarts = ? WHERE id = ?";
    sql!(sql, task.standing, task.latest.id.run, task.restarts, task.id).run_once(tx, "a task").await
}

/// Notes that the end of a run was asked for, now or with time until then. A run that is over stays as it is, and its task's next
/// one wasn't meant, but by a kill: that is of the task, whether it is paused or has another run (MM5).
///
/// # Errors
/// See [`StoreError`].
pub async fn set_asked(
    tx: &mut Tx,
    run: AllocationId,
    cause: Cause,
    until: Option<Timestamp>,
) -> Result<(), StoreError> {
    let Some(mut task) = by_id(tx, run.task).await? else { return Ok(()) };
    if cause == Cause::Killed && task.standing == Standing::Paused {
        task.standing = Standing::Over;
        return set_standing(tx, &task).await;
    }
    if cause != Cause::Killed && task.latest.id != run {
        return Ok(());
    }
    let event = until.map_or(Event::Asked(cause), |until| Event::Signalled { cause, until });
    allocation::advance(tx, task.latest.id, &event).await.map(drop)
}

/// Has a paused task go on, with another run. Answers it; `None` when it isn't paused.
///
/// # Errors
/// See [`StoreError`].
pub async fn resume(tx: &mut Tx, id: TaskId, now: Timestamp) -> Result<Option<Task>, StoreError> {
    let paused = by_id(tx, id).await?.filter(|task| task.standing == Standing::Paused);
    let Some(mut task) = paused else { return Ok(None) };
    task.standing = Standing::Active;
    task.latest = allocation::next(tx, task.latest.id, now).await?;
    set_standing(tx, &task).await?;
    Ok(Some(task))
}

/// Of a task as much as is needed to say whose its log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Logged {
    /// The order of making.
    pub seq: i64,
    /// Its latest run.
    pub allocation: AllocationId,
    /// Whose it is.
    pub owner: UserId,
    /// It is over: its log grows no more.
    pub over: bool,
}

impl Read for Logged {
    fn read(cells: &mut Cells<'_>) -> Result<Self, StoreError> {
        let (seq, allocation, owner) = cells.next()?;
        let over = cells.next::<Standing>()? == Standing::Over;
        Ok(Self { seq, allocation, owner, over })
    }
}

/// The tasks that were made after number `last`, oldest first: those too whose logs were removed, for a crash may have come
/// between.
///
/// # Errors
/// See [`StoreError`].
pub async fn logged(conn: &mut Conn, last: i64, limit: i64) -> Result<Vec<Logged>, StoreError> {
    let sql = "SELECT seq, id, run, owner_id, standing FROM tasks WHERE seq > ? ORDER BY seq LIMIT ?";
    sql!(sql, last, limit).all(conn).await
}

/// Tasks that ended after `from` and before that time, the first ones, and up to when these are all; those alone whose logs weren't
/// removed, if that is asked. `None` when no run ended there.
///
/// # Errors
/// See [`StoreError`].
pub async fn ended_between(
    conn: &mut Conn,
    from: Timestamp,
    before: Timestamp,
    with_logs: bool,
    limit: i64,
) -> Result<Option<(Vec<TaskId>, Timestamp)>, StoreError> {
    // Several may have ended at one time: a page goes to the end of it.
    let sql =
        "SELECT MAX(ended_at) FROM (SELECT ended_at FROM allocations WHERE ended_at > ? AND ended_at < ?
                                          ORDER BY ended_at LIMIT ?) e";
    let upto: Option<Timestamp> = sql!(sql, from, before, limit).one(conn).await?;
    let Some(upto) = upto else { return Ok(None) };
    let sql = "SELECT t.id FROM allocations a JOIN tasks t ON t.id = a.task_id AND t.run = a.run
               WHERE a.ended_at > ? AND a.ended_at <= ? AND t.standing = 'over'";
    let mut sql = sql!(sql, from, upto);
    if with_logs {
        sql = sql.with(" AND t.log_removed_at IS NULL");
    }
    Ok(Some((sql.with(" ORDER BY a.ended_at").all(conn).await?, upto)))
}

/// Removes all that is known of these tasks, of those that are over.
///
/// # Errors
/// See [`StoreError`].
pub async fn delete_over(tx: &mut Tx, tasks: &[TaskId]) -> Result<(), StoreError> {
    for some in tasks.chunks(200) {
        for of_them in [
            "DELETE FROM task_configs WHERE task_id IN (SELECT id FROM tasks WHERE standing = 'over' AND ",
            "DELETE FROM allocations WHERE task_id IN (SELECT id FROM tasks WHERE standing = 'over' AND ",
        ] {
            Sql::from(of_them).with(Sql::one_of("id", some)).with(")").run(tx).await?;
        }
        Sql::from("DELETE FROM tasks WHERE standing = 'over' AND ")
            .with(Sql::one_of("id", some))
            .run(tx)
            .await?;
    }
    Ok(())
}

/// Notes that the logs of these tasks, which are over, aren't there any more.
///
/// # Errors
/// See [`StoreError`].
pub async fn set_log_removed(tx: &mut Tx, tasks: &[TaskId], now: Timestamp) -> Result<(), StoreError> {
    let sql = "UPDATE tasks SET log_removed_at = ? WHERE standing = 'over' AND log_removed_at IS NULL AND ";
    for some in tasks.chunks(200) {
        sql!(sql, now).with(Sql::one_of("id", some)).run(tx).await?;
    }
    Ok(())
}

/// Writes a task's priority.
///
/// # Errors
/// See [`StoreError`].
pub async fn set_priority(tx: &mut Tx, id: TaskId, priority: i64) -> Result<(), StoreError> {
    sql!("UPDATE tasks SET priority = ? WHERE id = ?", priority, id).run_once(tx, "a task").await
}

/// One task.
///
/// # Errors
/// See [`StoreError`].
pub async fn by_id(conn: &mut Conn, id: TaskId) -> Result<Option<Task>, StoreError> {
    Task::select(sql!("t.id = ?", id)).first(conn).await
}

/// Those of these tasks that there are.
///
/// # Errors
/// See [`StoreError`].
pub async fn known(conn: &mut Conn, ids: &BTreeSet<TaskId>) -> Result<Vec<TaskId>, StoreError> {
    let ids: Vec<TaskId> = ids.iter().copied().collect();
    let mut known = Vec::new();
    for some in ids.chunks(1000) {
        let sql = Sql::from("SELECT id FROM tasks WHERE ").with(Sql::one_of("id", some));
        known.append(&mut sql.all(conn).await?);
    }
    Ok(known)
}

/// The living task whose run has this token.
///
/// # Errors
/// See [`StoreError`].
pub async fn by_token_hash(conn: &mut Conn, token_hash: &str) -> Result<Option<Task>, StoreError> {
    Task::select(sql!("a.token_hash = ? AND a.phase <> 'ended'", token_hash)).first(conn).await
}

/// All tasks that aren't over, oldest first: paused ones too.
///
/// # Errors
/// See [`StoreError`].
pub async fn alive(conn: &mut Conn) -> Result<Vec<Task>, StoreError> {
    Task::select("t.standing <> 'over'").with(" ORDER BY t.seq").all(conn).await
}

/// Which tasks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Filter {
    /// What they are.
    pub kind: Kind,
    /// Only those of these accounts; `None` is everybody's.
    pub owners: Option<Vec<UserId>>,
    /// Only those in this workspace.
    pub workspace: Option<WorkspaceId>,
    /// Without those that this account may not see.
    pub seen_by: Option<UserId>,
    /// Only those whose description contains this, in any case, or whose id begins with it.
    pub text: Option<String>,
    /// Only those whose id begins so.
    pub id_prefix: Option<TaskIdPrefix>,
    /// Oldest first; else newest first.
    pub ascending: bool,
    /// Only those behind this number in that order.
    pub after: Option<i64>,
}

impl Filter {
    fn conditions(&self) -> Sql {
        let mut all = sql!("t.kind = ?", self.kind);
        self.owners.iter().for_each(|owners| all.and(Sql::one_of("t.owner_id", owners)));
        all.and_if("t.workspace_id = ?", self.workspace);
        // One's own are all seen; without the question an index alone can count them.
        let actor = self.seen_by.filter(|actor| self.owners.as_deref() != Some(&[*actor]));
        actor.iter().for_each(|actor| all.and(visible::tasks(*actor)));
        let prefix = self.id_prefix.as_ref().map(|prefix| format!("{}%", prefix.as_str()));
        all.and_if("t.id LIKE ?", prefix);
        all.and_if(if self.ascending { "t.seq > ?" } else { "t.seq < ?" }, self.after);
        if let Some(text) = self.text.as_deref().map(escaped) {
            let found = "(LOWER(t.description) LIKE ? ESCAPE '!' OR t.id LIKE ? ESCAPE '!')";
            all.and(sql!(found, format!("%{text}%"), format!("{text}%")));
        }
        all
    }
}

/// A text that stands for itself in a pattern.
fn escaped(text: &str) -> String {
    text.to_lowercase().replace('!', "!!").replace('%', "!%").replace('_', "!_")
}

/// How many tasks match.
///
/// # Errors
/// See [`StoreError`].
pub async fn count(conn: &mut Conn, filter: &Filter) -> Result<i64, StoreError> {
    Task::count(conn, filter.conditions()).await
}

/// A page of the tasks that match, in the order of their making.
///
/// # Errors
/// See [`StoreError`].
pub async fn list(
    conn: &mut Conn,
    filter: &Filter,
    offset: i64,
    limit: i64,
) -> Result<Vec<Task>, StoreError> {
    let order = if filter.ascending { " ORDER BY t.seq ASC" } else { " ORDER BY t.seq DESC" };
    let page = sql!(" LIMIT ? OFFSET ?", limit, offset);
    Task::select(filter.conditions()).with(order).with(page).all(conn).await
}
