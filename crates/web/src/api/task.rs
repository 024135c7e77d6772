//! Tasks of any kind over the API, and what a running task fetches for itself.

use std::collections::BTreeMap;

use ::api::command::{
    Allocation, AllocationSummary, ContextDirectory, GetTask, ListTasks, ResourcesSummary, Task as Shown,
};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::authz::{Permit, ReadTask, Visible};
use domain::id::TaskId;
use domain::place::Place;
use domain::task::Task;
use master::Error;
use master::task::Tasks;
use serde_json::json;

use crate::App;
use crate::access::Asker;
use crate::api::command::{readable, state_name};
use crate::extract::{User, id};
use crate::respond::{Answer, Failure};

/// A person reads what the policy allows; a task only itself.
async fn readable_by(app: &App, asker: &Asker, task: &str) -> Result<Permit<ReadTask>, Failure> {
    match asker {
        Asker::User(caller) => readable(app, caller, task).await,
        Asker::Task(own) => {
            let id: TaskId = id(task, || format!("task '{}' not found", task.escape_debug()))?;
            if own.actor.task != id {
                return Err(Failure(Error::NotFound(Tasks::hidden(id))));
            }
            let task = app.master.tasks.find(id).await?;
            let place = Place {
                workspace: task.workspace,
                owner: task.owner,
                private: true,
                role: None,
                guest: false,
            };
            Ok(Permit::system("a running task reads itself", (task, place)))
        }
    }
}

pub(crate) async fn list(State(app): State<App>, User(caller): User) -> Answer<ListTasks> {
    let living = app.master.tasks.living(Visible::to(&caller.actor)).await?;
    let summaries = living.iter().map(|task| (task.allocation.to_string(), summary(task))).collect();
    Ok(Json(ListTasks { allocation_id_to_summary: summaries }))
}

fn summary(task: &Task) -> AllocationSummary {
    let allocation = task.allocation.to_string();
    let resources = task.agent.iter().map(|agent| ResourcesSummary {
        resources_id: allocation.clone(),
        resources_type: "docker-container".to_owned(),
        container_id: allocation.clone(),
        agent_devices: BTreeMap::from([(agent.to_string(), json!({ "devices": [] }))]),
        started: None,
        exited: None,
    });
    AllocationSummary {
        task_id: task.id.to_string(),
        allocation_id: allocation.clone(),
        name: task.description.clone(),
        registered_time: task.created_at.rfc3339(),
        resource_pool: "default".to_owned(),
        slots_needed: i64::from(task.slots),
        resources: resources.collect(),
        scheduler_type: "priority".to_owned(),
        priority: task.priority,
        proxy_ports: Vec::new(),
    }
}

pub(crate) async fn get(State(app): State<App>, asker: Asker, Path(task): Path<String>) -> Answer<GetTask> {
    let permit = readable_by(&app, &asker, &task).await?;
    let (task, _) = permit.target();
    let ending = task.ending.as_ref();
    let allocation = Allocation {
        allocation_id: task.allocation.to_string(),
        task_id: task.id.to_string(),
        state: state_name(task.state).to_owned(),
        is_ready: false,
        start_time: task.started_at.map(domain::time::Timestamp::rfc3339),
        end_time: ending.map(|ending| ending.at.rfc3339()),
        slots: i64::from(task.slots),
        exit_reason: ending.map(|ending| ending.reason.clone()),
        status_code: ending.and_then(|ending| ending.exit_code),
    };
    let task = Shown {
        task_id: task.id.to_string(),
        task_type: "TASK_TYPE_COMMAND".to_owned(),
        allocations: vec![allocation],
        start_time: task.created_at.rfc3339(),
        end_time: ending.map(|ending| ending.at.rfc3339()),
    };
    Ok(Json(GetTask { task }))
}

/// The packed context directory: as base64 in JSON, or as it is for `Accept: application/gzip`.
pub(crate) async fn context(
    State(app): State<App>,
    asker: Asker,
    Path(task): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let permit = readable_by(&app, &asker, &task).await?;
    let archive = app.master.tasks.context(&permit).await?.unwrap_or_default();
    if headers.get(header::ACCEPT).is_some_and(|accept| accept == "application/gzip") {
        return Ok(([(header::CONTENT_TYPE, "application/gzip")], archive).into_response());
    }
    Ok(Json(ContextDirectory { b64_tgz: STANDARD.encode(archive) }).into_response())
}
