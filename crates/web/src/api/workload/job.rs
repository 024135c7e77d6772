//! The queue and the pool of resources over the API, as `det job list` and `det resource-pool list` show them.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use domain::agent::DeviceKind;
use domain::authz::Visible;
use domain::id::TaskId;
use domain::scheduler::AUX_PER_AGENT;
use domain::task::Task;
use master::Error;
use serde_json::{Value, json};

use crate::App;
use crate::extract::{Params, User, paged};
use crate::respond::{Answer, Failure};
use crate::whole::{self, Step};

/// Tasks that are shown in one step.
pub(crate) const STEP: usize = 250;

/// Living tasks, those that run first. There may be very many: their order is taken at once, they themselves step by step,
/// as they are then (A5).
pub(crate) async fn list(
    State(app): State<App>,
    User(caller): User,
    params: Params,
) -> Result<Response, Failure> {
    let queue = app.master.tasks.queue(Visible::to(&caller.actor)).await?;
    let (page, start, count) = paged(params.page()?)(i64::try_from(queue.len()).unwrap_or(i64::MAX))?;
    let (start, count) = (usize::try_from(start).unwrap_or(0), usize::try_from(count).unwrap_or(0));
    let placed = queue.iter().filter(|task| task.placed).count();
    let wanted: Arc<[TaskId]> = queue.iter().skip(start).take(count).map(|task| task.id).collect();
    let (made_in, actor) = (app.clone(), caller.actor.clone());
    let next = move |at: Option<usize>, _| {
        let (app, actor, wanted) = (made_in.clone(), actor.clone(), Arc::clone(&wanted));
        async move {
            let at = at.unwrap_or(0);
            let some = wanted.get(at..wanted.len().min(at + STEP)).unwrap_or_default();
            let found = app.master.tasks.still_living(Visible::to(&actor), some).await?;
            // In the same order; some may be over by now.
            let mut places = (start + at..).zip(some);
            let mut place =
                |task: &Task| places.find(|(_, id)| **id == task.id).map_or(0, |(place, _)| place);
            let rows = found.iter().map(|task| whole::row(&job(task, place(task).saturating_sub(placed))));
            let last = Some(at + STEP).filter(|next| *next < wanted.len());
            Ok(Step { rows: rows.collect::<Result<_, _>>()?, last })
        }
    };
    Ok(whole::written(&app, &caller, "jobs", page, next))
}

fn job(task: &Task, ahead: usize) -> Value {
    let slots = task.slots;
    let (state, allocated) = match task.latest.phase.placement() {
        Some(_) => ("STATE_SCHEDULED", slots),
        None => ("STATE_QUEUED", 0),
    };
    json!({ "full": {
        "jobId": task.id,
        "entityId": task.id,
        "type": task.kind.about().job_type,
        "name": task.description,
        "username": task.owner_name,
        "userId": task.owner,
        "workspaceId": task.workspace,
        "resourcePool": task.pool,
        "submissionTime": task.created_at.rfc3339(),
        "requestedSlots": slots,
        "allocatedSlots": allocated,
        "isPreemptible": task.kind.resumes(),
        "priority": task.priority,
        "weight": f64::from(task.weight.thousandths()) / 1000.0,
        "progress": 0.0,
        "summary": { "jobsAhead": ahead, "state": state },
    }})
}

/// The workspaces that a pool is kept for: the one that there is, is for all of them.
pub(crate) async fn bindings(User(_): User, Path(pool): Path<String>, params: Params) -> Answer<Value> {
    if pool != "default" {
        let text = format!("resource pool '{}' not found", pool.escape_debug());
        return Err(Failure(Error::NotFound(text)));
    }
    let (pagination, _, _) = paged(params.page()?)(0).map_err(Failure)?;
    Ok(Json(json!({ "workspaceIds": [], "pagination": pagination })))
}

/// The one pool that all agents are in.
pub(crate) async fn pools(State(app): State<App>, User(_): User, params: Params) -> Answer<Value> {
    let agents = app.master.agents.list().await;
    let present: Vec<_> = agents.iter().filter_map(|view| view.connected.as_ref()).collect();
    let devices = || present.iter().flat_map(|present| &present.devices);
    let gpu = devices().any(|device| device.kind == DeviceKind::Cuda);
    let running = || agents.iter().flat_map(|view| &view.running);
    let used: usize = running().map(|(_, slots)| slots.len()).sum();
    let pool = json!({
        "name": "default",
        "description": "all agents",
        "type": "RESOURCE_POOL_TYPE_STATIC",
        "numAgents": present.len(),
        "slotsAvailable": devices().count(),
        "slotsUsed": used,
        "slotType": if gpu { "TYPE_CUDA" } else { "TYPE_CPU" },
        "auxContainerCapacity": AUX_PER_AGENT * present.len(),
        "auxContainerCapacityPerAgent": AUX_PER_AGENT,
        "auxContainersRunning": running().filter(|(_, slots)| slots.is_empty()).count(),
        "defaultComputePool": true,
        "defaultAuxPool": true,
        "preemptible": false,
        "minAgents": 0,
        "maxAgents": 0,
        "slotsPerAgent": 0,
        "schedulerType": "SCHEDULER_TYPE_PRIORITY",
        "schedulerFittingPolicy": "FITTING_POLICY_BEST",
        "location": "on-prem",
        "imageId": "",
        "instanceType": "",
        "details": {},
        "clusterName": app.master.cluster.name(),
        "resourceManagerMetadata": {},
        "masterUrl": "",
        "masterCertName": "",
        "startupScript": "",
        "containerStartupScript": "",
        "agentDockerNetwork": "",
        "agentDockerRuntime": "",
        "agentDockerImage": "",
        "agentFluentImage": "",
        "maxIdleAgentPeriod": 0.0,
        "maxAgentStartingPeriod": 0.0,
    });
    let (pagination, _, count) = paged(params.page()?)(1).map_err(Failure)?;
    let pools: Vec<Value> = std::iter::once(pool).take(usize::try_from(count).unwrap_or(0)).collect();
    Ok(Json(json!({ "resourcePools": pools, "pagination": pagination })))
}
