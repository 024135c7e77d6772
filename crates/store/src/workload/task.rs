//! Tasks with their latest run.

use std::collections::BTreeSet;

use domain::config::TaskConfig;
use domain::id::{AgentId, AllocationId, TaskId, TaskIdPrefix, UserId, WorkspaceId};
use domain::identity::UnixIdentity;
use domain::task::{Ending, Kind, State, Task};
use domain::time::Timestamp;
use sqlx::AssertSqlSafe;

use crate::db::{on, row};
use crate::error::one_row;
use crate::{Conn, StoreError, Tx, meta, workspace};

row!(TaskRow {
    id: String,
    seq: i64,
    kind: String,
    owner_id: i64,
    username: String,
    display_name: String,
    workspace_id: i64,
    description: String,
    slots: i64,
    run_as: String,
    has_context: bool,
    priority: i64,
    state: String,
    run: i64,
    agent_id: Option<String>,
    slot_ids: String,
    kill_requested: bool,
    created_at: i64,
    started_at: Option<i64>,
    ended_at: Option<i64>,
    exit_code: Option<i64>,
    exit_signal: Option<i64>,
    exit_reason: Option<String>,
    log_removed_at: Option<i64>,
});

const SELECT: &str = "SELECT t.id, t.seq, t.kind, t.owner_id, u.username, u.display_name, t.workspace_id, t.description,
        t.slots, t.run_as, t.has_context, t.priority, t.state, t.run, t.agent_id, t.slot_ids, t.kill_requested,
        t.created_at, t.started_at, t.ended_at, t.exit_code, t.exit_signal, t.exit_reason,
        t.log_removed_at
    FROM tasks t JOIN users u ON u.id = t.owner_id";

fn from_row(row: TaskRow) -> Result<Task, StoreError> {
    let corrupt = |what: &str| StoreError::Corrupt(format!("tasks, id {}: {what}", row.id));
    let id: TaskId = row.id.parse().map_err(|_| corrupt("id"))?;
    let run = u32::try_from(row.run).map_err(|_| corrupt("run"))?;
    let exit_code = row.exit_code.map(i32::try_from).transpose().map_err(|_| corrupt("exit_code"))?;
    let exit_signal = row.exit_signal.map(i32::try_from).transpose().map_err(|_| corrupt("exit_signal"))?;
    let agent: Option<AgentId> =
        row.agent_id.as_deref().map(str::parse).transpose().map_err(|_| corrupt("agent_id"))?;
    let slots = u32::try_from(row.slots).map_err(|_| corrupt("slots"))?;
    let identity: UnixIdentity = serde_json::from_str(&row.run_as).map_err(|_| corrupt("run_as"))?;
    let slot_ids: Vec<u32> = serde_json::from_str(&row.slot_ids).map_err(|_| corrupt("slot_ids"))?;
    let state = State::from_stored(&row.state).ok_or_else(|| corrupt("state"))?;
    if row.kind != Kind::Command.as_str() {
        return Err(corrupt("kind"));
    }
    Ok(Task {
        id,
        kind: Kind::Command,
        seq: row.seq,
        owner: UserId(row.owner_id),
        owner_name: row.username,
        owner_display_name: row.display_name,
        workspace: WorkspaceId(row.workspace_id),
        description: row.description,
        slots,
        identity,
        has_context: row.has_context,
        allocation: AllocationId { task: id, run },
        state,
        priority: row.priority,
        created_at: Timestamp(row.created_at),
        started_at: row.started_at.map(Timestamp),
        agent,
        slot_ids,
        ending: row.ended_at.map(|at| Ending {
            at: Timestamp(at),
            exit_code,
            exit_signal,
            reason: row.exit_reason.unwrap_or_default(),
        }),
        kill_requested: row.kill_requested,
        log_removed_at: row.log_removed_at.map(Timestamp),
    })
}

fn json(value: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|e| StoreError::Corrupt(e.to_string()))
}

/// Makes a task; `task.seq` is ignored and a fresh one given out.
///
/// # Errors
/// See [`StoreError`].
pub async fn insert(tx: &mut Tx, task: Task, config: &TaskConfig) -> Result<Task, StoreError> {
    let seq = meta::next(tx, "task").await?;
    let sql =
        "INSERT INTO tasks (id, seq, kind, owner_id, workspace_id, description, slots, run_as, has_context,
                   priority, state, run, slot_ids, kill_requested, created_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, '[]', $13, $14)";
    let (config, identity) = (json(config)?, json(&task.identity)?);
    tx.adds(task.description.len() + identity.len());
    on!(tx, |c| {
        sqlx::query(sql)
            .bind(task.id.to_string())
            .bind(seq)
            .bind(task.kind.as_str())
            .bind(task.owner.0)
            .bind(task.workspace.0)
            .bind(&task.description)
            .bind(i64::from(task.slots))
            .bind(&identity)
            .bind(task.has_context)
            .bind(task.priority)
            .bind(task.state.as_str())
            .bind(i64::from(task.allocation.run))
            .bind(false)
            .bind(task.created_at.0)
            .execute(c)
            .await
            .map(drop)
    })?;
    let sql = "INSERT INTO task_configs (task_id, config) VALUES ($1, $2)";
    tx.replaces(config.len());
    on!(tx, |c| sqlx::query(sql).bind(task.id.to_string()).bind(&config).execute(c).await.map(drop))?;
    Ok(Task { seq, ..task })
}

/// What a task runs, fully merged.
///
/// # Errors
/// See [`StoreError`].
pub async fn config(conn: &mut Conn, id: TaskId) -> Result<TaskConfig, StoreError> {
    let sql = "SELECT config FROM task_configs WHERE task_id = $1";
    let (config,): (String,) = on!(conn, |c| sqlx::query_as(sql).bind(id.to_string()).fetch_one(c).await)?;
    serde_json::from_str(&config)
        .map_err(|_| StoreError::Corrupt(format!("task_configs, task_id {id}: config")))
}

/// Tasks of before there were slots among the columns get theirs, out of their configurations.
pub(crate) async fn note_slots(tx: &mut Tx) -> Result<(), StoreError> {
    let sql = "SELECT t.id, c.config FROM tasks t JOIN task_configs c ON c.task_id = t.id
               WHERE t.slots IS NULL LIMIT 100";
    loop {
        let rows: Vec<(String, String)> = on!(tx, |c| sqlx::query_as(sql).fetch_all(c).await)?;
        if rows.is_empty() {
            return Ok(());
        }
        for (id, config) in rows {
            let corrupt = |_| StoreError::Corrupt(format!("task_configs, task_id {id}: config"));
            let config: TaskConfig = serde_json::from_str(&config).map_err(corrupt)?;
            let sql = "UPDATE tasks SET slots = $2 WHERE id = $1";
            let slots = i64::from(config.resources.slots);
            on!(tx, |c| sqlx::query(sql).bind(&id).bind(slots).execute(c).await.map(drop))?;
        }
    }
}

/// How many of an account's tasks aren't over.
///
/// # Errors
/// See [`StoreError`].
pub async fn count_living(conn: &mut Conn, owner: UserId) -> Result<i64, StoreError> {
    let sql = "SELECT COUNT(*) FROM tasks WHERE owner_id = $1 AND state <> 'terminated'";
    Ok(on!(conn, |c| sqlx::query_scalar(sql).bind(owner.0).fetch_one(c).await)?)
}

/// Whether an account has so many tasks, those included that are over.
///
/// They are counted only once there are so many of everybody's: it is asked at each start.
///
/// # Errors
/// See [`StoreError`].
pub async fn has_made(conn: &mut Conn, owner: UserId, many: i64) -> Result<bool, StoreError> {
    let sql = "SELECT CASE WHEN COALESCE((SELECT MAX(seq) FROM tasks), 0) < $2 THEN 0
                      ELSE (SELECT COUNT(*) FROM tasks WHERE owner_id = $1) END";
    let made: i64 = on!(conn, |c| sqlx::query_scalar(sql).bind(owner.0).bind(many).fetch_one(c).await)?;
    Ok(made >= many)
}

/// Places a task on an agent: it is starting, and its run's token is good from now on. Tells whether it was: not when its
/// end was asked for, or it is over.
///
/// # Errors
/// See [`StoreError`].
pub async fn set_placed(
    tx: &mut Tx,
    id: TaskId,
    agent: &AgentId,
    slots: &[u32],
    token_hash: &str,
) -> Result<bool, StoreError> {
    let sql = "UPDATE tasks SET state = 'starting', agent_id = $2, slot_ids = $3, token_hash = $4
               WHERE id = $1 AND state IN ('queued', 'starting') AND kill_requested = $5";
    let slots = json(&slots)?;
    let affected = on!(tx, |c| {
        sqlx::query(sql)
            .bind(id.to_string())
            .bind(agent.as_str())
            .bind(&slots)
            .bind(token_hash)
            .bind(false)
            .execute(c)
            .await
            .map(|done| done.rows_affected())
    })?;
    Ok(affected == 1)
}

/// Notes that the process runs; tells whether that was news.
///
/// # Errors
/// See [`StoreError`].
pub async fn set_running(tx: &mut Tx, id: TaskId, now: Timestamp) -> Result<bool, StoreError> {
    let sql = "UPDATE tasks SET state = 'running', started_at = $2 WHERE id = $1 AND state = 'starting'";
    let affected = on!(tx, |c| {
        sqlx::query(sql).bind(id.to_string()).bind(now.0).execute(c).await.map(|done| done.rows_affected())
    })?;
    Ok(affected == 1)
}

/// Notes that somebody asked for the end; a task that is over stays as it is.
///
/// # Errors
/// See [`StoreError`].
pub async fn set_kill_requested(tx: &mut Tx, id: TaskId) -> Result<(), StoreError> {
    let sql = "UPDATE tasks SET kill_requested = $2,
                   state = CASE WHEN state = 'queued' THEN state ELSE 'terminating' END
               WHERE id = $1 AND state <> 'terminated'";
    on!(tx, |c| sqlx::query(sql).bind(id.to_string()).bind(true).execute(c).await.map(drop))?;
    Ok(())
}

/// Ends a task, once: its run's token dies with it. Tells whether that was news.
///
/// # Errors
/// See [`StoreError`].
pub async fn set_ended(tx: &mut Tx, id: TaskId, ending: &Ending) -> Result<bool, StoreError> {
    let sql = "UPDATE tasks SET state = 'terminated', token_hash = NULL, ended_at = $2, exit_code = $3, exit_reason = $4,
                   exit_signal = $5
               WHERE id = $1 AND state <> 'terminated'";
    let affected = on!(tx, |c| {
        sqlx::query(sql)
            .bind(id.to_string())
            .bind(ending.at.0)
            .bind(ending.exit_code.map(i64::from))
            .bind(&ending.reason)
            .bind(ending.exit_signal.map(i64::from))
            .execute(c)
            .await
            .map(|done| done.rows_affected())
    })?;
    Ok(affected == 1)
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

/// The tasks that were made after number `last`, oldest first: those too whose logs were removed, for a crash may have come
/// between.
///
/// # Errors
/// See [`StoreError`].
pub async fn logged(conn: &mut Conn, last: i64, limit: i64) -> Result<Vec<Logged>, StoreError> {
    let sql = "SELECT seq, id, run, owner_id, state FROM tasks WHERE seq > $1 ORDER BY seq LIMIT $2";
    let rows: Vec<(i64, String, i64, i64, String)> =
        on!(conn, |c| sqlx::query_as(sql).bind(last).bind(limit).fetch_all(c).await)?;
    let read = |(seq, id, run, owner, state): (i64, String, i64, i64, String)| {
        let corrupt = |what: &str| StoreError::Corrupt(format!("tasks, id {id}: {what}"));
        let task: TaskId = id.parse().map_err(|_| corrupt("id"))?;
        let run = u32::try_from(run).map_err(|_| corrupt("run"))?;
        let allocation = AllocationId { task, run };
        Ok(Logged { seq, allocation, owner: UserId(owner), over: state == State::Terminated.as_str() })
    };
    rows.into_iter().map(read).collect()
}

/// Notes that the logs of these tasks, which are over, aren't there any more.
///
/// # Errors
/// See [`StoreError`].
pub async fn set_log_removed(tx: &mut Tx, tasks: &[TaskId], now: Timestamp) -> Result<(), StoreError> {
    for some in tasks.chunks(200) {
        let ids: Vec<String> = some.iter().map(|id| format!("'{id}'")).collect();
        let sql = format!(
            "UPDATE tasks SET log_removed_at = $1
             WHERE state = 'terminated' AND log_removed_at IS NULL AND id IN ({})",
            ids.join(", ")
        );
        on!(tx, |c| sqlx::query(AssertSqlSafe(sql.clone())).bind(now.0).execute(c).await.map(drop))?;
    }
    Ok(())
}

/// Writes a task's priority.
///
/// # Errors
/// See [`StoreError`].
pub async fn set_priority(tx: &mut Tx, id: TaskId, priority: i64) -> Result<(), StoreError> {
    let sql = "UPDATE tasks SET priority = $2 WHERE id = $1";
    let affected = on!(tx, |c| {
        sqlx::query(sql).bind(id.to_string()).bind(priority).execute(c).await.map(|d| d.rows_affected())
    })?;
    one_row("a task", affected)
}

/// One task.
///
/// # Errors
/// See [`StoreError`].
pub async fn by_id(conn: &mut Conn, id: TaskId) -> Result<Option<Task>, StoreError> {
    let sql = format!("{SELECT} WHERE t.id = $1");
    let row: Option<TaskRow> =
        on!(conn, |c| sqlx::query_as(AssertSqlSafe(sql)).bind(id.to_string()).fetch_optional(c).await)?;
    row.map(from_row).transpose()
}

/// Those of these tasks that there are.
///
/// # Errors
/// See [`StoreError`].
pub async fn known(conn: &mut Conn, ids: &BTreeSet<TaskId>) -> Result<Vec<TaskId>, StoreError> {
    let ids: Vec<String> = ids.iter().map(|id| format!("'{id}'")).collect();
    let mut known = Vec::new();
    for some in ids.chunks(1000) {
        let sql = format!("SELECT id FROM tasks WHERE id IN ({})", some.join(", "));
        let found: Vec<(String,)> = on!(conn, |c| sqlx::query_as(AssertSqlSafe(sql)).fetch_all(c).await)?;
        known.extend(found.into_iter().filter_map(|(id,)| id.parse::<TaskId>().ok()));
    }
    Ok(known)
}

/// The living task whose run has this token.
///
/// # Errors
/// See [`StoreError`].
pub async fn by_token_hash(conn: &mut Conn, token_hash: &str) -> Result<Option<Task>, StoreError> {
    let sql = format!("{SELECT} WHERE t.token_hash = $1 AND t.state <> 'terminated'");
    let row: Option<TaskRow> =
        on!(conn, |c| sqlx::query_as(AssertSqlSafe(sql)).bind(token_hash).fetch_optional(c).await)?;
    row.map(from_row).transpose()
}

/// All tasks that aren't over, oldest first.
///
/// # Errors
/// See [`StoreError`].
pub async fn alive(conn: &mut Conn) -> Result<Vec<Task>, StoreError> {
    let sql = format!("{SELECT} WHERE t.state <> 'terminated' ORDER BY t.seq");
    let rows: Vec<TaskRow> = on!(conn, |c| sqlx::query_as(AssertSqlSafe(sql)).fetch_all(c).await)?;
    rows.into_iter().map(from_row).collect()
}

/// Which tasks.
#[derive(Debug, Clone)]
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
    /// Numbers and hexadecimal digits may stand in the text; there are never many. `patterns` is the number of the first
    /// of the two parameters that are [`Self::patterns`].
    fn conditions(&self, patterns: u8) -> String {
        let mut sql = "t.kind = $1".to_owned();
        if let Some(owners) = &self.owners {
            let list: Vec<String> = owners.iter().map(|id| id.0.to_string()).collect();
            match list.as_slice() {
                [] => sql.push_str(" AND 1 = 0"),
                [one] => sql.push_str(&format!(" AND t.owner_id = {one}")),
                many => sql.push_str(&format!(" AND t.owner_id IN ({})", many.join(", "))),
            }
        }
        if let Some(workspace) = self.workspace {
            sql.push_str(&format!(" AND t.workspace_id = {}", workspace.0));
        }
        // One's own are all seen; without the question an index alone can count them.
        if let Some(viewer) = self.seen_by.filter(|viewer| self.owners.as_deref() != Some(&[*viewer])) {
            let hidden = workspace::hidden_from(viewer);
            sql.push_str(&format!(" AND (t.owner_id = {viewer} OR t.workspace_id NOT IN ({hidden}))"));
        }
        if let Some(prefix) = &self.id_prefix {
            sql.push_str(&format!(" AND t.id LIKE '{}%'", prefix.as_str()));
        }
        if let Some(last) = self.after {
            sql.push_str(&format!(" AND t.seq {} {last}", if self.ascending { '>' } else { '<' }));
        }
        if self.text.is_some() {
            let (description, id) = (patterns, patterns + 1);
            sql.push_str(&format!(
                " AND (LOWER(t.description) LIKE ${description} ESCAPE '\\' OR t.id LIKE ${id} ESCAPE '\\')"
            ));
        }
        sql
    }

    /// For description and id, with nothing in them but what was asked for.
    fn patterns(&self) -> Option<[String; 2]> {
        let text = self.text.as_ref()?.to_lowercase();
        // NUL would end the pattern on SQLite, and is an error on PostgreSQL; no description has it.
        let text = text.replace('\0', "\u{fffd}");
        let text = text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
        Some([format!("%{text}%"), format!("{text}%")])
    }
}

/// How many tasks match.
///
/// # Errors
/// See [`StoreError`].
pub async fn count(conn: &mut Conn, filter: &Filter) -> Result<i64, StoreError> {
    let sql = format!("SELECT COUNT(*) FROM tasks t WHERE {}", filter.conditions(2));
    let (count,): (i64,) = on!(conn, |c| {
        let query = sqlx::query_as(AssertSqlSafe(sql)).bind(filter.kind.as_str());
        let query = match filter.patterns() {
            Some([description, id]) => query.bind(description).bind(id),
            None => query,
        };
        query.fetch_one(c).await
    })?;
    Ok(count)
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
    let direction = if filter.ascending { "ASC" } else { "DESC" };
    let conditions = filter.conditions(4);
    let sql = format!("{SELECT} WHERE {conditions} ORDER BY t.seq {direction} LIMIT $2 OFFSET $3");
    let rows: Vec<TaskRow> = on!(conn, |c| {
        let query = sqlx::query_as(AssertSqlSafe(sql)).bind(filter.kind.as_str()).bind(limit).bind(offset);
        let query = match filter.patterns() {
            Some([description, id]) => query.bind(description).bind(id),
            None => query,
        };
        query.fetch_all(c).await
    })?;
    rows.into_iter().map(from_row).collect()
}
