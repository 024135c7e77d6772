//! Tasks of any kind over the API, and what a running task fetches for itself.

use std::collections::BTreeMap;
use std::io;

use ::api::command::{Allocation, AllocationSummary, GetTask, PartExit, ResourcesSummary, Task as Shown};
use ::api::wire::Empty;
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::allocation::{Allocation as Run, PartEnding};
use domain::authz::{ChangeTask, ReadContext, ReadTask, Visible};
use domain::id::TaskId;
use domain::task::Task;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt as _, stream};
use master::session::Caller;
use serde_json::json;
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;
use tokio_util::io::ReaderStream;

use crate::App;
use crate::access::Access;
use crate::access::AnyCaller;
use crate::api::command::state_name;
use crate::api::job::STEP;
use crate::extract::User;
use crate::live::while_allowed;
use crate::open::open;
use crate::respond::{Answer, Failure};
use crate::table::Endpoint;
use crate::whole;

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/api/v1/tasks", Access::User, list)
            .says("What runs on the agents, by allocation")
            .steps()
            .answers::<::api::command::ListTasks>(),
        Endpoint::get("/api/v1/tasks/{task}", Access::UserOrTask, get)
            .says("One task; for the task itself too")
            .asks::<ReadTask>()
            .answers::<GetTask>(),
        Endpoint::post("/api/v1/tasks/{task}/pause", Access::User, pause)
            .says("Pause a task that can go on later")
            .asks::<ChangeTask>()
            .answers::<Empty>(),
        Endpoint::post("/api/v1/tasks/{task}/unpause", Access::User, unpause)
            .says("Have a paused task go on")
            .asks::<ChangeTask>()
            .answers::<Empty>(),
        Endpoint::get("/api/v1/tasks/{task}/context_directory", Access::UserOrTask, context)
            .says("The packed context directory; for the task itself too")
            .pieces()
            .asks::<ReadContext>()
            .answers::<::api::command::ContextDirectory>(),
    ]
}

/// Living tasks: which ones is taken at once, they themselves step by step (A5).
pub(crate) async fn list(State(app): State<App>, User(caller): User) -> Result<Response, Failure> {
    let queue = app.master.tasks.queue(Visible::to(&caller.actor)).await?;
    let wanted = queue.iter().map(|task| task.id).collect();
    let (made_in, actor) = (app.clone(), caller.actor.clone());
    let rows = move |some: Vec<TaskId>| {
        let (app, actor) = (made_in.clone(), actor.clone());
        async move {
            let found = app.master.tasks.still_living(Visible::to(&actor), &some).await?;
            let rows = found.iter().map(|task| {
                let key = whole::row(&task.latest.id.to_string())?;
                Ok([key, whole::row(&summary(task))?].join(&b':'))
            });
            rows.collect()
        }
    };
    let next = whole::chosen(&app, &caller, wanted, STEP, rows)?;
    Ok(whole::keyed(&app, &caller, "allocationIdToSummary", next))
}

fn summary(task: &Task) -> AllocationSummary {
    let allocation = task.latest.id.to_string();
    let resources = task.latest.phase.parts().map(|part| ResourcesSummary {
        resources_id: allocation.clone(),
        resources_type: "docker-container".to_owned(),
        container_id: allocation.clone(),
        agent_devices: BTreeMap::from([(part.agent.to_string(), json!({ "devices": [] }))]),
        started: None,
        exited: None,
    });
    AllocationSummary {
        task_id: task.id.to_string(),
        allocation_id: allocation.clone(),
        name: task.description.to_string(),
        registered_time: task.created_at.rfc3339(),
        resource_pool: task.pool.to_string(),
        slots_needed: i64::from(task.slots),
        resources: resources.collect(),
        scheduler_type: "priority".to_owned(),
        priority: task.priority,
        proxy_ports: Vec::new(),
    }
}

pub(crate) async fn pause(
    State(app): State<App>,
    User(caller): User,
    Path(task): Path<String>,
) -> Answer<Empty> {
    app.master.tasks.pause(open::<ChangeTask>(&app, &caller, &task).await?).await?;
    Ok(Json(Empty {}))
}

pub(crate) async fn unpause(
    State(app): State<App>,
    User(caller): User,
    Path(task): Path<String>,
) -> Answer<Empty> {
    app.master.tasks.resume(open::<ChangeTask>(&app, &caller, &task).await?).await?;
    Ok(Json(Empty {}))
}

fn part_exit(ending: &PartEnding) -> PartExit {
    PartExit {
        agent_id: ending.agent.to_string(),
        status_code: ending.code,
        exit_signal: ending.signal,
        exit_fault: ending.fault.map(|fault| fault.as_str().to_owned()),
        exit_reason: ending.reason.to_string(),
    }
}

pub(crate) async fn get(
    State(app): State<App>,
    caller: AnyCaller,
    Path(task): Path<String>,
) -> Answer<GetTask> {
    let permit = open::<ReadTask>(&app, &caller, &task).await?;
    let runs = app.master.tasks.runs(&permit).await?;
    let (task, _) = permit.target();
    let shown = |run: &Run| {
        let ending = run.phase.ending();
        Allocation {
            allocation_id: run.id.to_string(),
            task_id: task.id.to_string(),
            state: state_name(run.phase.state()).to_owned(),
            is_ready: run.phase.is_ready(),
            start_time: run.phase.since().map(domain::time::Timestamp::rfc3339),
            end_time: ending.map(|ending| ending.at.rfc3339()),
            slots: i64::from(task.slots),
            exit_reason: ending.map(|ending| ending.reason.to_string()),
            status_code: ending.and_then(|ending| ending.exit_code),
            exit_fault: ending.and_then(|ending| ending.fault).map(|fault| fault.as_str().to_owned()),
            exits: run.exits.iter().map(part_exit).collect(),
        }
    };
    let task = Shown {
        task_id: task.id.to_string(),
        task_type: task.kind.about().task_type.to_owned(),
        allocations: runs.iter().map(shown).collect(),
        start_time: task.created_at.rfc3339(),
        end_time: task.ending().map(|ending| ending.at.rfc3339()),
    };
    Ok(Json(GetTask { task }))
}

/// The packed context directory: as base64 in JSON, or as it is for `Accept: application/gzip`. Either is read as it is
/// sent (A5).
pub(crate) async fn context(
    State(app): State<App>,
    caller: AnyCaller,
    Path(task): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let permit = open::<ReadContext>(&app, &caller, &task).await?;
    let packed = app.master.tasks.context(&permit).await?;
    let raw = headers.get(header::ACCEPT).is_some_and(|accept| accept == "application/gzip");
    let kind = if raw { "application/gzip" } else { "application/json" };
    let (len, pieces) = match (packed, raw) {
        (None, true) => (0, stream::empty().boxed()),
        (None, false) => {
            let none = Bytes::from_static(b"{\"b64Tgz\":\"\"}");
            (none.len() as u64, stream::iter([Ok(none)]).boxed())
        }
        (Some(packed), true) => (packed.len, ReaderStream::with_capacity(packed.file, PIECE).boxed()),
        (Some(packed), false) => {
            let encoding = Encoding { file: packed.file, begun: false, done: false };
            let len = packed.len.div_ceil(3) * 4 + (BEGIN.len() + END.len()) as u64;
            (len, stream::try_unfold(encoding, Encoding::next).boxed())
        }
    };
    let body = match caller {
        AnyCaller::User(caller) => Body::from_stream(while_its(&app, &caller, task, pieces)),
        AnyCaller::Task(_) => Body::from_stream(pieces),
    };
    Ok(([(header::CONTENT_TYPE, kind.to_owned()), (header::CONTENT_LENGTH, len.to_string())], body)
        .into_response())
}

/// The pieces, for as long as the caller may read them.
fn while_its(
    app: &App,
    caller: &Caller,
    task: String,
    pieces: BoxStream<'static, io::Result<Bytes>>,
) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
    let asked = app.clone();
    let still = move |caller: Caller| {
        let (app, task) = (asked.clone(), task.clone());
        async move { open::<ReadContext>(&app, &caller, &task).await.map(drop) }
    };
    while_allowed(app, caller, still, None, pieces)
}

/// What stands around the base64.
const BEGIN: &str = "{\"b64Tgz\":\"";
const END: &str = "\"}";

/// Bytes of an archive that are held at once: whole groups of base64.
const PIECE: usize = 48 << 10;

/// An archive that is being written as JSON.
struct Encoding {
    file: File,
    begun: bool,
    done: bool,
}

impl Encoding {
    async fn next(mut self) -> io::Result<Option<(Bytes, Self)>> {
        if self.done {
            return Ok(None);
        }
        let mut bytes = Vec::with_capacity(PIECE);
        (&mut self.file).take(PIECE as u64).read_to_end(&mut bytes).await?;
        let mut text = String::new();
        if !std::mem::replace(&mut self.begun, true) {
            text.push_str(BEGIN);
        }
        STANDARD.encode_string(&bytes, &mut text);
        self.done = bytes.len() < PIECE;
        if self.done {
            text.push_str(END);
        }
        Ok(Some((text.into(), self)))
    }
}
