//! The queue and the pool of resources over the API, as `det job list` and `det resource-pool list` show them.

use ::api::job::{FullJob, Job, JobSummary, JobUpdate, ListJobs, ListPools, Pool, PoolBindings, UpdateJobs};
use ::api::page::PageQuery;
use ::api::wire::Empty;
use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use domain::agent::DeviceKind;
use domain::authz::{ChangeTask, Visible};
use domain::id::{ResourcePool, TaskId};
use domain::scheduler::AUX_PER_AGENT;
use domain::task::Task;
use master::Error;
use master::agent::AgentView;
use master::config::{Pool as Settings, SchedulerKind};
use master::manager::AGENTS;
use master::session::Caller;
use master::task::Queued;

use crate::App;
use crate::access::Access;
use crate::extract::{User, check_count, paged};
use crate::late::Body;
use crate::open::open;
use crate::query::Asked;
use crate::respond::{Answer, Failure};
use crate::table::Endpoint;
use crate::whole;

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::post("/api/v1/job-queues", Access::User, update)
            .says("Change jobs: the priority of each")
            // Nothing is asked where nothing is to be changed.
            .may_ask::<ChangeTask>()
            .takes::<UpdateJobs>()
            .answers::<Empty>(),
        Endpoint::get("/api/v1/job-queues-v2", Access::User, list)
            .says("Living tasks, those that run first")
            .steps()
            .query::<PageQuery>()
            .answers::<ListJobs>(),
        Endpoint::get("/api/v1/resource-pools", Access::User, pools)
            .says("Resource pools")
            .grows()
            .query::<PageQuery>()
            .answers::<ListPools>(),
        Endpoint::get("/api/v1/resource-pools/{pool}/workspace-bindings", Access::User, bindings)
            .says("Workspaces that a pool is kept for: none")
            .query::<PageQuery>()
            .answers::<PoolBindings>(),
    ]
}

/// Tasks that are shown in one step.
pub(crate) const STEP: usize = 250;

/// Living tasks, those that run first. There may be very many: their order is taken at once, they themselves step by step,
/// as they are then (A5).
pub(crate) async fn list(
    State(app): State<App>,
    User(caller): User,
    Asked(query): Asked<PageQuery>,
) -> Result<Response, Failure> {
    let queue = app.master.tasks.queue(Visible::to(&caller.actor)).await?;
    let (page, start, count) = paged(query)(i64::try_from(queue.len()).unwrap_or(i64::MAX))?;
    let (start, count) = (usize::try_from(start).unwrap_or(0), usize::try_from(count).unwrap_or(0));
    let place = |queued: Queued| (queued.id, queued.ahead.and_then(|ahead| u32::try_from(ahead).ok()));
    let wanted: Vec<(TaskId, Option<u32>)> = queue.into_iter().skip(start).take(count).map(place).collect();
    let (made_in, actor) = (app.clone(), caller.actor.clone());
    let rows = move |some: Vec<(TaskId, Option<u32>)>| {
        let (app, actor) = (made_in.clone(), actor.clone());
        async move {
            let ids: Vec<TaskId> = some.iter().map(|(id, _)| *id).collect();
            let found = app.master.tasks.still_living(Visible::to(&actor), &ids).await?;
            // In the same order; some may be over by now.
            let mut places = some.iter();
            let mut ahead = |task: &Task| places.find(|(id, _)| *id == task.id).and_then(|(_, ahead)| *ahead);
            let rows = found.iter().map(|task| {
                let ahead = ahead(task).and_then(|ahead| usize::try_from(ahead).ok());
                whole::row(&job(&app, task, ahead.unwrap_or(0)))
            });
            rows.collect()
        }
    };
    let next = whole::chosen(&app, &caller, wanted, STEP, rows)?;
    Ok(whole::written(&app, &caller, "jobs", page, next))
}

fn job(app: &App, task: &Task, ahead: usize) -> Job {
    let slots = task.slots;
    let (state, allocated) = match task.latest.phase.placement() {
        Some(_) => ("STATE_SCHEDULED", slots),
        None => ("STATE_QUEUED", 0),
    };
    let full = FullJob {
        job_id: task.id.to_string(),
        entity_id: task.id.to_string(),
        kind: task.kind.about().job_type.to_string(),
        name: task.description.to_string(),
        username: task.owner_name.clone(),
        user_id: task.owner.0,
        workspace_id: task.workspace.0,
        resource_pool: task.pool.to_string(),
        submission_time: task.created_at.rfc3339(),
        requested_slots: slots,
        allocated_slots: allocated,
        is_preemptible: task.kind.resumes(),
        priority: task.priority,
        weight: f64::from(task.weight.thousandths()) / 1000.0,
        progress: 0.0,
        summary: JobSummary { jobs_ahead: ahead, state: state.to_owned() },
        waiting_for: app.master.tasks.waits_for(task).map(|wait| wait.why.to_string()),
    };
    Job { full }
}

/// Changes jobs, each for itself: what can't be done keeps the others from nothing, unless nothing can be done for now.
pub(crate) async fn update(
    State(app): State<App>,
    User(caller): User,
    request: Body<UpdateJobs>,
) -> Answer<Empty> {
    let request = request.unasked("which jobs they are is in it, and each is asked about").await?;
    check_count(request.updates.len())?;
    let mut failures = Vec::new();
    for update in request.updates {
        let Err(failure) = change(&app, &caller, update).await else { continue };
        // Nor is any other one then.
        if failure.0.retry_after().is_some() {
            return Err(failure);
        }
        failures.push(failure);
    }
    match failures.len() {
        0 => Ok(Json(Empty {})),
        1 => Err(failures.remove(0)),
        _ => {
            let texts: Vec<String> = failures.iter().map(|failure| failure.0.to_string()).collect();
            let text = format!("encountered the following errors: {}", texts.join("; "));
            Err(Failure(Error::Invalid(text)))
        }
    }
}

async fn change(app: &App, caller: &Caller, update: JobUpdate) -> Result<(), Failure> {
    let missing = || Error::NotFound(format!("job {} not found", update.job_id.escape_debug()));
    let permit = open::<ChangeTask>(app, caller, &update.job_id).await.map_err(|error| match error {
        Error::NotFound(_) | Error::Hidden(_) => missing(),
        other => other,
    })?;
    let refused = |text: String| Err(Failure(Error::Invalid(text)));
    if update.ahead_of.is_some() || update.behind_of.is_some() {
        return refused(
            "unexpected action: a place in the queue follows from priority and submission".to_owned(),
        );
    }
    match (update.priority, update.weight, update.resource_pool) {
        (Some(priority), None, None) => {
            app.master.tasks.set_priority(permit, priority).await?;
            Ok(())
        }
        (None, Some(_), None) => {
            refused("setting a weight is not supported: a task has the one that it was made with".to_owned())
        }
        (None, None, Some(pool)) => refused(no_move(app, &permit.target().0, &pool)),
        _ => refused("unexpected action: give one of priority, weight and resourcePool".to_owned()),
    }
}

/// Why a task stays in its pool.
fn no_move(app: &App, task: &Task, pool: &str) -> String {
    let own = task.pool.to_string();
    if !app.master.config.has_pool(pool) {
        return format!("invalid resource pool name {}", pool.escape_debug());
    }
    if own == pool {
        return format!("resource pool is unchanged ({own} == {pool})");
    }
    format!("setting resource pool for job type {} is not supported", task.kind.about().job_type)
}

/// The workspaces that a pool is kept for: each is for all of them.
pub(crate) async fn bindings(
    State(app): State<App>,
    User(_): User,
    Path(pool): Path<String>,
    Asked(query): Asked<PageQuery>,
) -> Answer<PoolBindings> {
    if !app.master.config.has_pool(&pool) {
        let text = format!("resource pool '{}' not found", pool.escape_debug());
        return Err(Failure(Error::NotFound(text)));
    }
    let (pagination, _, _) = paged(query)(0).map_err(Failure)?;
    Ok(Json(PoolBindings { workspace_ids: Vec::new(), pagination }))
}

/// All pools.
pub(crate) async fn pools(
    State(app): State<App>,
    User(_): User,
    Asked(query): Asked<PageQuery>,
) -> Answer<ListPools> {
    let all = app.master.config.pools();
    let count = i64::try_from(all.len()).unwrap_or(i64::MAX);
    let (pagination, start, count) = paged(query)(count).map_err(Failure)?;
    let (start, count) = (usize::try_from(start).unwrap_or(0), usize::try_from(count).unwrap_or(0));
    let agents = app.master.agents.list();
    let shown = all.iter().skip(start).take(count).map(|pool| {
        let name = pool.name();
        let own = agents.iter().filter(|view| app.master.config.pool_of(&view.agent.id) == name);
        let own = own.filter(|_| pool.manager == AGENTS).collect();
        shown(pool, own, app.master.cluster.name())
    });
    Ok(Json(ListPools { resource_pools: shown.collect(), pagination }))
}

fn shown(pool: &Settings, agents: Vec<&AgentView>, cluster: &str) -> Pool {
    let present: Vec<_> = agents.iter().filter_map(|view| view.connected.as_ref()).collect();
    let devices = || present.iter().flat_map(|present| &present.devices);
    let gpu = devices().any(|device| device.kind == DeviceKind::Cuda);
    let running = || agents.iter().flat_map(|view| &view.running);
    let used: usize = running().map(|(_, slots)| slots.len()).sum();
    let is_default = pool.name() == ResourcePool::default();
    let description = match pool.description.as_str() {
        "" if is_default => "all agents that are in no other pool",
        said => said,
    };
    let scheduler = match pool.scheduler.kind {
        SchedulerKind::Priority => "SCHEDULER_TYPE_PRIORITY",
        SchedulerKind::FairShare => "SCHEDULER_TYPE_FAIR_SHARE",
    };
    Pool {
        name: pool.pool_name.clone(),
        description: description.to_owned(),
        kind: "RESOURCE_POOL_TYPE_STATIC".to_owned(),
        num_agents: present.len(),
        slots_available: devices().count(),
        slots_used: used,
        slot_type: if gpu { "TYPE_CUDA" } else { "TYPE_CPU" }.to_owned(),
        aux_container_capacity: AUX_PER_AGENT * present.len(),
        aux_container_capacity_per_agent: AUX_PER_AGENT,
        aux_containers_running: running().filter(|(_, slots)| slots.is_empty()).count(),
        default_compute_pool: is_default,
        default_aux_pool: is_default,
        preemptible: pool.scheduler.preemption,
        scheduler_type: scheduler.to_owned(),
        scheduler_fitting_policy: "FITTING_POLICY_BEST".to_owned(),
        location: "on-prem".to_owned(),
        cluster_name: cluster.to_owned(),
        ..Pool::default()
    }
}
