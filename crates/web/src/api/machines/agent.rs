//! Agents over the API: lists, invitations, service. What agents themselves come by is in `link`.

use std::collections::{BTreeMap, HashSet};

use ::api::cluster::{
    Agent, AgentResponse, Container, Device, Enrolled, Invitation, InviteAgent, ListAgents, ListSlots, Slot,
    SlotResponse, SlotStats,
};
use ::api::page::PageQuery;
use axum::Json;
use axum::extract::{Path, State};
use domain::agent::DeviceKind;
use domain::authz::{self, ManageAgents, Visible};
use domain::capability::Capabilities;
use domain::id::{AgentId, ResourcePool, TaskId};
use domain::task::Task;
use master::Error;
use master::agent::{AgentRecord, AgentView, fingerprint};
use master::open::may;
use master::session::Caller;
use serde::Deserialize;

use crate::App;
use crate::access::Access;
use crate::api::command::container;
use crate::extract::{User, id, paged};
use crate::late::Body;
use crate::query::Asked;
use crate::respond::{Answer, Failure};
use crate::table::Endpoint;

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/api/v1/agents", Access::User, list)
            .says("Agents and their slots")
            .grows()
            .query::<PageQuery>()
            .answers::<ListAgents>(),
        Endpoint::post("/api/v1/agents/invitations", Access::User, invite)
            .says("Let one agent enrol; for administrators")
            .asks::<domain::authz::InviteAgent>()
            .takes::<InviteAgent>()
            .answers::<Invitation>(),
        Endpoint::get("/api/v1/agents/{agent}", Access::User, get)
            .says("One agent")
            .grows()
            .answers::<AgentResponse>(),
        Endpoint::post("/api/v1/agents/{agent}/revoke", Access::User, revoke)
            .says("Shut an agent out for ever, and end its tasks; for administrators")
            .asks::<ManageAgents>()
            .answers::<AgentResponse>(),
        Endpoint::post("/api/v1/agents/{agent}/enable", Access::User, enable)
            .says("Take an agent into service; for administrators")
            .asks::<ManageAgents>()
            .answers::<AgentResponse>(),
        Endpoint::post("/api/v1/agents/{agent}/disable", Access::User, disable)
            .says("Take an agent out of service; for administrators")
            .asks::<ManageAgents>()
            .answers::<AgentResponse>(),
        Endpoint::get("/api/v1/agents/{agent}/slots", Access::User, slots)
            .says("The slots of an agent that is connected")
            .grows()
            .answers::<ListSlots>(),
        Endpoint::get("/api/v1/agents/{agent}/slots/{slot}", Access::User, slot)
            .says("One slot")
            .grows()
            .answers::<SlotResponse>(),
        Endpoint::post("/api/v1/agents/{agent}/slots/{slot}/enable", Access::User, enable_slot)
            .says("Take a slot into service; for administrators")
            .asks::<ManageAgents>()
            .answers::<SlotResponse>(),
        Endpoint::post("/api/v1/agents/{agent}/slots/{slot}/disable", Access::User, disable_slot)
            .says("Take a slot out of service; for administrators")
            .asks::<ManageAgents>()
            .answers::<SlotResponse>(),
    ]
}

/// Of the tasks on these agents, those that the caller sees.
async fn seen_by(app: &App, caller: &Caller, on: &[AgentView]) -> Result<HashSet<TaskId>, Failure> {
    let running = on.iter().flat_map(|view| &view.running).map(|(task, _)| task.as_ref());
    Ok(app.master.tasks.seen(Visible::to(&caller.actor), running).await?)
}

/// What occupies an agent. Of a task that isn't for the caller's eyes only that there is one (X10).
fn held(number: usize, task: &Task, seen: &HashSet<TaskId>) -> Option<Container> {
    let held = container(task)?;
    if seen.contains(&task.id) {
        return Some(held);
    }
    Some(Container { id: format!("private-{number}"), permission_denied: true, ..held })
}

fn shown(view: &AgentView, pool: &ResourcePool, seen: &HashSet<TaskId>, caller: &Caller) -> Agent {
    let present = view.connected.as_ref();
    let slot = |device: &domain::agent::Device| {
        let on_it = view.running.iter().enumerate().find(|(_, (_, slots))| slots.contains(&device.id));
        let kind = match device.kind {
            DeviceKind::Cpu => "TYPE_CPU",
            DeviceKind::Cuda => "TYPE_CUDA",
        };
        let slot = Slot {
            id: device.id.to_string(),
            enabled: view.agent.enabled && !view.agent.disabled_slots.contains(&device.id),
            draining: view.agent.draining,
            device: Device {
                id: device.id,
                brand: device.brand.to_string(),
                uuid: device.uuid.to_string(),
                kind: kind.to_owned(),
            },
            container: on_it.and_then(|(number, (task, _))| held(number, task, seen)),
        };
        (device.id.to_string(), slot)
    };
    let containers = view.running.iter().enumerate();
    let containers = containers.filter_map(|(number, (task, _))| held(number, task, seen));
    Agent {
        id: view.agent.id.to_string(),
        registered_time: present.map(|present| present.since.rfc3339()),
        slots: present.iter().flat_map(|present| &present.devices).map(slot).collect(),
        containers: containers.map(|container| (container.id.clone(), container)).collect(),
        resource_pools: vec![pool.to_string()],
        addresses: present.iter().map(|present| present.hostname.clone()).collect(),
        enabled: view.agent.enabled,
        draining: view.agent.draining,
        version: ::api::DETERMINED_VERSION.to_owned(),
        muster_version: present.map(|present| present.version.clone()),
        missing_capabilities: present
            .map(|present| Capabilities::ALL.beyond(present.can).names())
            .unwrap_or_default(),
        slot_stats: SlotStats { type_stats: BTreeMap::new(), brand_stats: BTreeMap::new() },
        connected: present.is_some(),
        trouble: present.and_then(|present| present.trouble.clone()),
        clock_skew_ms: present.map(|present| present.skew / 1000),
        revoked: view.agent.revoked_at.is_some(),
        enrolled: caller.actor.admin.then(|| enrolled(&view.agent)),
    }
}

/// What administrators see of an agent's enrolment.
fn enrolled(agent: &AgentRecord) -> Enrolled {
    Enrolled {
        key_fingerprint: fingerprint(agent),
        time: agent.enrolled_at.rfc3339(),
        revoked_time: agent.revoked_at.map(|at| at.rfc3339()),
        last_seen_time: agent.last_seen_at.map(|at| at.rfc3339()),
        last_address: agent.last_address.clone(),
    }
}

pub(crate) async fn list(
    State(app): State<App>,
    User(caller): User,
    Asked(query): Asked<PageQuery>,
) -> Answer<ListAgents> {
    let all = app.master.agents.list();
    let seen = seen_by(&app, &caller, &all).await?;
    let total = i64::try_from(all.len()).unwrap_or(i64::MAX);
    let (pagination, start, count) = paged(query)(total)?;
    let (start, count) = (usize::try_from(start).unwrap_or(0), usize::try_from(count).unwrap_or(0));
    let agents = all
        .iter()
        .skip(start)
        .take(count)
        .map(|view| shown(view, &app.master.config.pool_of(&view.agent.id), &seen, &caller))
        .collect();
    Ok(Json(ListAgents { agents, pagination }))
}

fn missing(agent: &str) -> String {
    format!("agent '{}' not found", agent.escape_debug())
}

fn missing_slot(slot: &str) -> String {
    format!("slot '{}' not found", slot.escape_debug())
}

async fn one(app: &App, caller: &Caller, agent: &AgentId) -> Result<Agent, Failure> {
    let all = app.master.agents.list();
    let seen = seen_by(app, caller, &all).await?;
    let found = all.iter().find(|view| view.agent.id == *agent);
    found
        .map(|view| shown(view, &app.master.config.pool_of(&view.agent.id), &seen, caller))
        .ok_or_else(|| Failure(Error::NotFound(missing(agent.as_str()))))
}

pub(crate) async fn get(
    State(app): State<App>,
    User(caller): User,
    Path(agent): Path<String>,
) -> Answer<AgentResponse> {
    let agent: AgentId = id(&agent, || missing(&agent))?;
    Ok(Json(AgentResponse { agent: one(&app, &caller, &agent).await? }))
}

pub(crate) async fn slots(
    State(app): State<App>,
    User(caller): User,
    Path(agent): Path<String>,
) -> Answer<ListSlots> {
    let agent: AgentId = id(&agent, || missing(&agent))?;
    let slots = one(&app, &caller, &agent).await?.slots;
    Ok(Json(ListSlots { slots: slots.into_values().collect() }))
}

pub(crate) async fn slot(
    State(app): State<App>,
    User(caller): User,
    Path((agent, slot)): Path<(String, String)>,
) -> Answer<SlotResponse> {
    let agent: AgentId = id(&agent, || missing(&agent))?;
    let number: u32 = id(&slot, || missing_slot(&slot))?;
    let slots = one(&app, &caller, &agent).await?.slots;
    let found = slots.get(&number.to_string()).ok_or_else(|| Error::NotFound(missing_slot(&slot)))?;
    Ok(Json(SlotResponse { slot: Some(found.clone()) }))
}

pub(crate) async fn invite(
    State(app): State<App>,
    User(caller): User,
    request: Body<InviteAgent>,
) -> Answer<Invitation> {
    let permit = may::<authz::InviteAgent>(&caller, ())?;
    let request = request.after(&permit).await?;
    let name = request.name.map(|name| agent_name(&name)).transpose()?;
    let (invitation, expires_at) = app.master.agents.invite(permit, name, request.replace).await?;
    Ok(Json(Invitation {
        token: invitation.to_string(),
        fingerprint: invitation.master.fingerprint(),
        expires_at: expires_at.rfc3339(),
    }))
}

pub(crate) fn agent_name(text: &str) -> Result<AgentId, Error> {
    let rule = "use 1 to 64 letters, digits and . _ -, beginning with a letter or digit";
    text.parse().map_err(|e| Error::Invalid(format!("{e}: {rule}")))
}

pub(crate) async fn revoke(
    State(app): State<App>,
    User(caller): User,
    Path(agent): Path<String>,
) -> Answer<AgentResponse> {
    let permit = may::<ManageAgents>(&caller, ())?;
    let agent: AgentId = id(&agent, || missing(&agent))?;
    app.master.agents.revoke(permit, &agent).await?;
    Ok(Json(AgentResponse { agent: one(&app, &caller, &agent).await? }))
}

/// Inside the body of enable and disable.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Service {
    drain: Option<bool>,
}

/// Out of service, in the way that was sent, or with nothing back in.
async fn set_service(
    app: &App,
    User(caller): User,
    agent: &str,
    slot: Option<&str>,
    out: Option<Body<Service>>,
) -> Result<Agent, Failure> {
    let permit = may::<ManageAgents>(&caller, ())?;
    let agent: AgentId = id(agent, || missing(agent))?;
    let slot: Option<u32> = match slot {
        Some(slot) => Some(id(slot, || missing_slot(slot))?),
        None => None,
    };
    let (enabled, drain) = match out {
        None => (true, false),
        Some(body) => (false, body.after(&permit).await?.drain.unwrap_or(false)),
    };
    app.master.agents.set_service(permit, &agent, slot, enabled, drain).await?;
    one(app, &caller, &agent).await
}

/// A slot of an agent as it is now.
fn slot_of(agent: &Agent, slot: &str) -> Json<SlotResponse> {
    let number = slot.parse::<u32>().map(|number| number.to_string());
    Json(SlotResponse { slot: number.ok().and_then(|number| agent.slots.get(&number).cloned()) })
}

pub(crate) async fn enable(
    State(app): State<App>,
    user: User,
    Path(agent): Path<String>,
) -> Answer<AgentResponse> {
    Ok(Json(AgentResponse { agent: set_service(&app, user, &agent, None, None).await? }))
}

pub(crate) async fn disable(
    State(app): State<App>,
    user: User,
    Path(agent): Path<String>,
    service: Body<Service>,
) -> Answer<AgentResponse> {
    Ok(Json(AgentResponse { agent: set_service(&app, user, &agent, None, Some(service)).await? }))
}

pub(crate) async fn enable_slot(
    State(app): State<App>,
    user: User,
    Path((agent, slot)): Path<(String, String)>,
) -> Answer<SlotResponse> {
    let agent = set_service(&app, user, &agent, Some(&slot), None).await?;
    Ok(slot_of(&agent, &slot))
}

pub(crate) async fn disable_slot(
    State(app): State<App>,
    user: User,
    Path((agent, slot)): Path<(String, String)>,
    service: Body<Service>,
) -> Answer<SlotResponse> {
    let agent = set_service(&app, user, &agent, Some(&slot), Some(service)).await?;
    Ok(slot_of(&agent, &slot))
}
