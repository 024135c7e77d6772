//! Agents over the API: lists, invitations, enrolment, and the WebSocket that an agent works through.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use ::api::agent::{LogChunk, MAX_CHUNK, ToAgent, ToMaster};
use ::api::cluster::{
    Agent, Container, Device, EnrolAgent, Enrolled, Invitation, InviteAgent, ListAgents, Slot, SlotStats,
};
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, State};
use axum::response::Response;
use axum::{Extension, Json};
use domain::agent::DeviceKind;
use domain::authz::{self, ManageAgents, Visible, authorize};
use domain::id::{AgentId, TaskId};
use domain::task::Task;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use master::Error;
use master::agent::{AgentView, Connection};
use master::session::Caller;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::App;
use crate::api::command::container;
use crate::extract::{Body, From, Params, User, id, paged};
use crate::respond::{Answer, Failure};
use crate::server::Standing;

/// How long an agent may take to prove itself.
const PATIENCE: Duration = Duration::from_secs(10);
/// A connection without a sign of life for so long is over; agents ping every 10 s.
const SILENCE: Duration = Duration::from_secs(40);

/// Living tasks that the caller sees.
async fn seen_by(app: &App, caller: &Caller) -> Result<HashSet<TaskId>, Failure> {
    let living = app.master.tasks.living(Visible::to(&caller.actor)).await?;
    Ok(living.into_iter().map(|task| task.id).collect())
}

/// What occupies an agent. Of a task that isn't for the caller's eyes only that there is one (X10).
fn held(number: usize, task: &Task, seen: &HashSet<TaskId>) -> Option<Container> {
    let held = container(task)?;
    if seen.contains(&task.id) {
        return Some(held);
    }
    Some(Container { id: format!("private-{number}"), permission_denied: true, ..held })
}

fn shown(view: &AgentView, seen: &HashSet<TaskId>) -> Agent {
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
                brand: device.brand.clone(),
                uuid: device.uuid.clone(),
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
        resource_pools: vec!["default".to_owned()],
        addresses: present.iter().map(|present| present.hostname.clone()).collect(),
        enabled: view.agent.enabled,
        draining: view.agent.draining,
        version: present.map(|present| present.version.clone()).unwrap_or_default(),
        slot_stats: SlotStats { type_stats: BTreeMap::new(), brand_stats: BTreeMap::new() },
        connected: present.is_some(),
        trouble: present.and_then(|present| present.trouble.clone()),
    }
}

pub(crate) async fn list(State(app): State<App>, User(caller): User, params: Params) -> Answer<ListAgents> {
    let seen = seen_by(&app, &caller).await?;
    let all = app.master.agents.list().await;
    let total = i64::try_from(all.len()).unwrap_or(i64::MAX);
    let (pagination, start, count) = paged(params.page()?)(total)?;
    let (start, count) = (usize::try_from(start).unwrap_or(0), usize::try_from(count).unwrap_or(0));
    let agents = all.iter().skip(start).take(count).map(|view| shown(view, &seen)).collect();
    Ok(Json(ListAgents { agents, pagination }))
}

fn missing(agent: &str) -> String {
    format!("agent '{}' not found", agent.escape_debug())
}

async fn one(app: &App, caller: &Caller, agent: &AgentId) -> Result<Agent, Failure> {
    let seen = seen_by(app, caller).await?;
    let all = app.master.agents.list().await;
    let found = all.iter().find(|view| view.agent.id == *agent);
    found.map(|view| shown(view, &seen)).ok_or_else(|| Failure(Error::NotFound(missing(agent.as_str()))))
}

pub(crate) async fn get(
    State(app): State<App>,
    User(caller): User,
    Path(agent): Path<String>,
) -> Answer<Value> {
    let agent: AgentId = id(&agent, || missing(&agent))?;
    Ok(Json(json!({ "agent": one(&app, &caller, &agent).await? })))
}

pub(crate) async fn invite(
    State(app): State<App>,
    User(caller): User,
    Body(request): Body<InviteAgent>,
) -> Answer<Invitation> {
    let permit = authorize::<authz::InviteAgent>(&caller.actor, ());
    let permit = permit.map_err(|refusal| Error::refused(refusal, String::new()))?;
    let name = request.name.map(|name| agent_name(&name)).transpose()?;
    let (token, expires_at) = app.master.agents.invite(permit, name).await?;
    Ok(Json(Invitation { token, expires_at: expires_at.rfc3339() }))
}

fn agent_name(text: &str) -> Result<AgentId, Error> {
    let rule = "use 1 to 64 letters, digits and . _ -, beginning with a letter or digit";
    text.parse().map_err(|e| Error::Invalid(format!("{e}: {rule}")))
}

pub(crate) async fn enrol(
    State(app): State<App>,
    From(visitor): From,
    Body(request): Body<EnrolAgent>,
) -> Answer<Enrolled> {
    let agent = agent_name(&request.name)?;
    let (invitation, key) = (&request.invitation, &request.public_key);
    let master_id = app.master.agents.enrol(invitation, agent.clone(), key, visitor.address).await?;
    Ok(Json(Enrolled { agent_id: agent.to_string(), master_id }))
}

/// Inside the body of enable and disable.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Service {
    drain: Option<bool>,
}

async fn set_service(
    app: &App,
    User(caller): User,
    agent: &str,
    slot: Option<&str>,
    enabled: bool,
    drain: bool,
) -> Answer<Value> {
    let permit = authorize::<ManageAgents>(&caller.actor, ());
    let permit = permit.map_err(|refusal| Error::refused(refusal, missing(agent)))?;
    let agent: AgentId = id(agent, || missing(agent))?;
    let slot: Option<u32> = match slot {
        Some(slot) => Some(id(slot, || format!("slot '{}' not found", slot.escape_debug()))?),
        None => None,
    };
    app.master.agents.set_service(permit, &agent, slot, enabled, drain).await?;
    let agent = one(app, &caller, &agent).await?;
    Ok(Json(match slot {
        Some(slot) => json!({ "slot": agent.slots.get(&slot.to_string()) }),
        None => json!({ "agent": agent }),
    }))
}

pub(crate) async fn enable(State(app): State<App>, user: User, Path(agent): Path<String>) -> Answer<Value> {
    set_service(&app, user, &agent, None, true, false).await
}

pub(crate) async fn disable(
    State(app): State<App>,
    user: User,
    Path(agent): Path<String>,
    Body(service): Body<Service>,
) -> Answer<Value> {
    set_service(&app, user, &agent, None, false, service.drain.unwrap_or(false)).await
}

pub(crate) async fn enable_slot(
    State(app): State<App>,
    user: User,
    Path((agent, slot)): Path<(String, String)>,
) -> Answer<Value> {
    set_service(&app, user, &agent, Some(&slot), true, false).await
}

pub(crate) async fn disable_slot(
    State(app): State<App>,
    user: User,
    Path((agent, slot)): Path<(String, String)>,
) -> Answer<Value> {
    set_service(&app, user, &agent, Some(&slot), false, false).await
}

/// The agents' WebSocket. Who it is, is proved on it (R28).
pub(crate) async fn connect(
    State(app): State<App>,
    Extension(standing): Extension<Standing>,
    upgrade: WebSocketUpgrade,
) -> Response {
    upgrade.max_message_size(MAX_CHUNK + (1 << 20)).on_upgrade(move |socket| async move {
        let (mut out, mut incoming) = socket.split();
        match greet(&app, &mut out, &mut incoming).await {
            Ok(Some((connection, orders))) => {
                standing.is_known();
                work(&app, connection, orders, out, incoming).await;
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "an agent was refused");
                let refused = ToAgent::Refused { reason: error.to_string() };
                let _ = send(&mut out, &refused).await;
                let _ = out.close().await;
            }
        }
    })
}

type Out = SplitSink<WebSocket, Message>;
type In = SplitStream<WebSocket>;

async fn send(out: &mut Out, message: &ToAgent) -> Result<(), axum::Error> {
    let text = serde_json::to_string(message).map_err(axum::Error::new)?;
    out.send(Message::text(text)).await
}

/// The next message of the protocol; `None` when the connection is over or silent.
async fn hear(incoming: &mut In, patience: Duration) -> Result<Option<ToMaster>, Error> {
    loop {
        let Ok(Some(Ok(message))) = tokio::time::timeout(patience, incoming.next()).await else {
            return Ok(None);
        };
        match message {
            Message::Text(text) => {
                let bad = |e| Error::Invalid(format!("the agent's message can't be understood: {e}"));
                return serde_json::from_str(&text).map(Some).map_err(bad);
            }
            Message::Ping(_) | Message::Pong(_) => {}
            Message::Binary(_) | Message::Close(_) => return Ok(None),
        }
    }
}

type Orders = mpsc::UnboundedReceiver<ToAgent>;

async fn greet(app: &App, out: &mut Out, incoming: &mut In) -> Result<Option<(Connection, Orders)>, Error> {
    let (challenge, message) = app.master.agents.challenge();
    if send(out, &message).await.is_err() {
        return Ok(None);
    }
    let Some(answer) = hear(incoming, PATIENCE).await? else {
        return Ok(None);
    };
    let caller = app.master.agents.prove(challenge, answer).await?;
    let Some(ToMaster::Register(about)) = hear(incoming, PATIENCE).await? else {
        return Ok(None);
    };
    let (link, orders) = mpsc::unbounded_channel();
    let connection = app.master.agents.register(caller, *about, link).await?;
    Ok(Some((connection, orders)))
}

async fn work(app: &App, connection: Connection, mut orders: Orders, mut out: Out, mut incoming: In) {
    let stopping = app.master.stopping();
    let speak = async {
        while let Some(order) = orders.recv().await {
            if send(&mut out, &order).await.is_err() {
                return;
            }
        }
    };
    let listen = async {
        loop {
            let message = match tokio::time::timeout(SILENCE, incoming.next()).await {
                Ok(Some(Ok(message))) => message,
                _ => return,
            };
            if let Err(error) = take(app, &connection, message).await {
                tracing::warn!(%error, "an agent's message was not kept; it will say it again");
                return;
            }
        }
    };
    tokio::select! {
        () = speak => {}
        () = listen => {}
        () = stopping.cancelled() => {}
    }
    app.master.agents.disconnect(connection);
}

async fn take(app: &App, connection: &Connection, message: Message) -> Result<(), Error> {
    match message {
        Message::Text(text) => {
            let bad = |e| Error::Invalid(format!("the agent's message can't be understood: {e}"));
            app.master.agents.hear(connection, serde_json::from_str(&text).map_err(bad)?).await
        }
        Message::Binary(bytes) => match LogChunk::decode(&bytes) {
            Some(chunk) => app.master.agents.log(connection, chunk).await,
            None => Err(Error::Invalid("the agent sent a piece of log that can't be understood".to_owned())),
        },
        Message::Ping(_) | Message::Pong(_) | Message::Close(_) => Ok(()),
    }
}
