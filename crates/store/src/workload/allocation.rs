//! Tasks' runs. What may become of one is asked of [`Phase::next`]; here it is written down.

use domain::allocation::{Allocation, Asked, Cause, Event, Held, PartEnding, Phase, Placement};
use domain::id::{AllocationId, TaskId};
use domain::task::{After, Ending, Fault, Standing, Task};
use domain::time::Timestamp;

use crate::cells::{Cells, Json, Read};
use crate::sql::sql;
use crate::table::{Table as _, Write, table};
use crate::value::{Stored as _, Value};
use crate::{Conn, StoreError, Tx, task};

table! {
    allocations a => Allocation {
        id: [task_id, run], created_at,
        phase: [phase, placement, started_at, ready, asked, heard, asked_until, ended_at, exit_code, exit_signal, exit_reason,
            exit_fault],
        exits as Json,
    }
}

impl Read for AllocationId {
    fn read(cells: &mut Cells<'_>) -> Result<Self, StoreError> {
        Ok(Self { task: cells.next()?, run: cells.next()? })
    }
}

impl Write for AllocationId {
    fn write(&self, values: &mut Vec<Value>) -> Result<(), StoreError> {
        values.extend([self.task.value(), self.run.value()]);
        Ok(())
    }
}

/// A phase's name in the database.
fn name(phase: &Phase) -> &'static str {
    match phase {
        Phase::Waiting => "waiting",
        Phase::Withdrawn(_) => "withdrawn",
        Phase::Assigned(_) => "assigned",
        Phase::Running { .. } => "running",
        Phase::Ending { .. } => "ending",
        Phase::Ended { .. } => "ended",
    }
}

impl Write for Phase {
    fn write(&self, values: &mut Vec<Value>) -> Result<(), StoreError> {
        let placement = self.placement().map(serde_json::to_string).transpose();
        let placement = placement.map_err(|e| StoreError::Corrupt(e.to_string()))?;
        let (asked, ending) = (self.asked(), self.ending());
        values.extend([
            name(self).value(),
            placement.value(),
            self.since().value(),
            self.is_ready().value(),
            asked.map(|asked| asked.cause.as_str()).value(),
            asked.is_some_and(|asked| asked.heard).value(),
            asked.and_then(|asked| asked.until).value(),
            ending.map(|ending| ending.at).value(),
            ending.and_then(|ending| ending.exit_code).value(),
            ending.and_then(|ending| ending.exit_signal).value(),
            ending.map(|ending| &ending.reason).value(),
            ending.and_then(|ending| ending.fault).map(Fault::as_str).value(),
        ]);
        Ok(())
    }
}

impl Read for Option<Asked> {
    fn read(cells: &mut Cells<'_>) -> Result<Self, StoreError> {
        let cause: Option<String> = cells.next()?;
        let read = |cause: String| Cause::from_stored(&cause).ok_or_else(|| cells.corrupt());
        let cause = cause.map(read).transpose()?;
        let (heard, until) = cells.next()?;
        Ok(cause.map(|cause| Asked { cause, heard, until }))
    }
}

impl Read for Option<Ending> {
    fn read(cells: &mut Cells<'_>) -> Result<Self, StoreError> {
        let at: Option<Timestamp> = cells.next()?;
        let (exit_code, exit_signal) = cells.next()?;
        let reason: Option<String> = cells.next()?;
        let reason = reason.unwrap_or_default().into();
        let fault: Option<String> = cells.next()?;
        let fault =
            fault.map(|fault| Fault::from_stored(&fault).ok_or_else(|| cells.corrupt())).transpose()?;
        Ok(at.map(|at| Ending { at, exit_code, exit_signal, fault, reason }))
    }
}

impl Read for Phase {
    fn read(cells: &mut Cells<'_>) -> Result<Self, StoreError> {
        let name: String = cells.next()?;
        let placement: Option<String> = cells.next()?;
        let on: Option<Placement> = match placement {
            Some(text) => Some(serde_json::from_str(&text).map_err(|_| cells.corrupt())?),
            None => None,
        };
        let (since, ready) = cells.next()?;
        let (asked, ending) = cells.next()?;
        let held = on.map(|on| Held { on, since });
        Ok(match (name.as_str(), held, asked, ending) {
            ("waiting", None, None, None) => Self::Waiting,
            ("withdrawn", None, Some(Asked { cause, .. }), None) => Self::Withdrawn(cause),
            ("assigned", Some(Held { on, since: None }), None, None) => Self::Assigned(on),
            ("running", Some(Held { on, since: Some(since) }), None, None) => {
                Self::Running { on, since, ready }
            }
            ("ending", Some(held), Some(asked), None) => Self::Ending { held, asked },
            ("ended", held, asked, Some(ending)) => Self::Ended { held, asked, ending },
            _ => return Err(cells.corrupt()),
        })
    }
}

/// Makes a run.
pub(crate) async fn insert(tx: &mut Tx, allocation: &Allocation) -> Result<(), StoreError> {
    allocation.insert(tx, &[]).await
}

/// One run.
///
/// # Errors
/// See [`StoreError`].
pub async fn by_id(conn: &mut Conn, id: AllocationId) -> Result<Option<Allocation>, StoreError> {
    Allocation::select(sql!("a.task_id = ? AND a.run = ?", id.task, id.run)).first(conn).await
}

/// A task's latest runs, the last one first: at most so many.
///
/// # Errors
/// See [`StoreError`].
pub async fn of_task(conn: &mut Conn, task: TaskId, most: i64) -> Result<Vec<Allocation>, StoreError> {
    let latest = sql!(" ORDER BY a.run DESC LIMIT ?", most);
    Allocation::select(sql!("a.task_id = ?", task)).with(latest).all(conn).await
}

/// Takes a run on by an event. Answers how far it is then; `None` when nothing follows on the event there, or there is no
/// such run: nothing is changed.
///
/// # Errors
/// See [`StoreError`].
pub async fn advance(tx: &mut Tx, id: AllocationId, event: &Event) -> Result<Option<Phase>, StoreError> {
    let Some(allocation) = by_id(tx, id).await? else { return Ok(None) };
    let Some(phase) = allocation.phase.next(event) else { return Ok(None) };
    let mut values = Vec::new();
    phase.write(&mut values)?;
    let [name, placement, since, ready, asked, heard, until, at, code, signal, reason, fault] =
        <[Value; 12]>::try_from(values).map_err(|_| StoreError::Corrupt("a phase".to_owned()))?;
    let sql = "UPDATE allocations SET phase = ?, placement = ?, started_at = ?, ready = ?, asked = ?, heard = ?, asked_until = ?,
                   ended_at = ?,
                   exit_code = ?, exit_signal = ?, exit_reason = ?, exit_fault = ?
               WHERE task_id = ? AND run = ?";
    let key = [id.task.value(), id.run.value()];
    let columns = [name, placement, since, ready, asked, heard, until, at, code, signal, reason, fault];
    let columns: Vec<Value> = columns.into_iter().chain(key).collect();
    crate::sql::Sql::of(sql, columns).run_once(tx, "a run").await?;
    Ok(Some(phase))
}

/// Notes how parts of a run ended, each once, in that order behind those that are noted.
///
/// # Errors
/// See [`StoreError`].
pub async fn note_exits(tx: &mut Tx, id: AllocationId, endings: &[PartEnding]) -> Result<(), StoreError> {
    let Some(mut allocation) = by_id(tx, id).await? else { return Ok(()) };
    let before = allocation.exits.len();
    for ending in endings {
        if allocation.phase.part_on(&ending.agent).is_some() && !allocation.has_exit(&ending.agent) {
            allocation.exits.push(ending.clone());
        }
    }
    if allocation.exits.len() == before {
        return Ok(());
    }
    let exits = serde_json::to_string(&allocation.exits).map_err(|e| StoreError::Corrupt(e.to_string()))?;
    sql!("UPDATE allocations SET exits = ? WHERE task_id = ? AND run = ?", exits, id.task, id.run)
        .run_once(tx, "a run")
        .await
}

/// Gives a run its place: its token is good from now on, and one of before no more. Answers as [`advance`].
///
/// # Errors
/// See [`StoreError`].
pub async fn place(
    tx: &mut Tx,
    id: AllocationId,
    on: Placement,
    token_hash: &str,
) -> Result<Option<Phase>, StoreError> {
    let placed = advance(tx, id, &Event::Placed(on)).await?;
    if placed.is_some() {
        let sql = "UPDATE allocations SET token_hash = ? WHERE task_id = ? AND run = ?";
        sql!(sql, token_hash, id.task, id.run).run_once(tx, "a run").await?;
    }
    Ok(placed)
}

/// Ends a run, once: its token dies with it. Answers its task as it is then: over, paused, or with another run that waits;
/// `None` when the run was over already.
///
/// # Errors
/// See [`StoreError`].
pub async fn end(tx: &mut Tx, id: AllocationId, ending: &Ending) -> Result<Option<Task>, StoreError> {
    let Some(phase) = advance(tx, id, &Event::Over(ending.clone())).await? else { return Ok(None) };
    let sql = "UPDATE allocations SET token_hash = NULL WHERE task_id = ? AND run = ?";
    sql!(sql, id.task, id.run).run_once(tx, "a run").await?;
    let Some(mut of) = task::by_id(tx, id.task).await? else { return Ok(None) };
    match of.after(phase.asked(), ending) {
        After::Over => of.standing = Standing::Over,
        After::Paused => of.standing = Standing::Paused,
        After::Again { restarts } => {
            of.restarts = restarts;
            of.latest = next(tx, id, ending.at).await?;
        }
    }
    task::set_standing(tx, &of).await?;
    Ok(Some(of))
}

/// The run that comes after this one.
pub(crate) async fn next(tx: &mut Tx, id: AllocationId, now: Timestamp) -> Result<Allocation, StoreError> {
    let next = Allocation::waiting(AllocationId { run: id.run + 1, ..id }, now);
    insert(tx, &next).await?;
    Ok(next)
}
