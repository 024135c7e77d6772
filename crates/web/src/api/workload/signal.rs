//! What a running task hears of its end, and answers: by allocation, with the task's own token alone.

use std::time::Duration;

use ::api::signal::{PreemptionSignal, SignalQuery};
use ::api::wire::Empty;
use axum::Json;
use axum::extract::{Path, State};
use domain::authz::{AnswerSignals, HearSignals};

use crate::App;
use crate::access::{Access, AnyCaller};
use crate::late::Query;
use crate::open::open;
use crate::respond::Answer;
use crate::table::Endpoint;

/// Longest wait for a signal, in seconds; who wants to know more asks again.
const LONGEST: u64 = 60;

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/api/v1/allocations/{allocation}/signals/preemption", Access::UserOrTask, preemption)
            .says("Whether a run is to save what it has and end, as soon as it is; for the task itself")
            .asks::<HearSignals>()
            .query::<SignalQuery>()
            .answers::<PreemptionSignal>(),
        Endpoint::post("/api/v1/allocations/{allocation}/signals/ack_preemption", Access::UserOrTask, heard)
            .says("The run heard that, and goes on later; for the task itself")
            .asks::<AnswerSignals>()
            .answers::<Empty>(),
        Endpoint::post(
            "/api/v1/allocations/{allocation}/signals/pending_preemption",
            Access::UserOrTask,
            pending,
        )
        .says("The run's batch system will end it; for the task itself")
        .asks::<AnswerSignals>()
        .answers::<Empty>(),
    ]
}

/// The task that an allocation's id names, and which of its runs; 0 is none.
fn task_and_run(allocation: &str) -> (&str, u32) {
    let (task, run) = allocation.rsplit_once('.').unwrap_or((allocation, "0"));
    (task, run.parse().unwrap_or(0))
}

/// A run that there is not is not preempted (contract "runtime", section 4.1).
async fn preemption(
    State(app): State<App>,
    caller: AnyCaller,
    Path(allocation): Path<String>,
    query: Query<SignalQuery>,
) -> Answer<PreemptionSignal> {
    let (task, run) = task_and_run(&allocation);
    let permit = open::<HearSignals>(&app, &caller, task).await?;
    let SignalQuery { timeout_seconds } = query.after(&permit).await?;
    let patience = Duration::from_secs(timeout_seconds.unwrap_or(0).min(LONGEST));
    let preempt = app.master.tasks.is_signalled(&permit, run, patience).await;
    Ok(Json(PreemptionSignal { preempt }))
}

async fn heard(State(app): State<App>, caller: AnyCaller, Path(allocation): Path<String>) -> Answer<Empty> {
    let (task, run) = task_and_run(&allocation);
    let permit = open::<AnswerSignals>(&app, &caller, task).await?;
    app.master.tasks.signal_heard(&permit, run).await?;
    Ok(Json(Empty {}))
}

async fn pending(State(app): State<App>, caller: AnyCaller, Path(allocation): Path<String>) -> Answer<Empty> {
    let (task, run) = task_and_run(&allocation);
    let permit = open::<AnswerSignals>(&app, &caller, task).await?;
    app.master.tasks.signal_pending(&permit, run).await?;
    Ok(Json(Empty {}))
}
