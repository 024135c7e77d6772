//! Commands over the API.

use ::api::cluster::Container;
use ::api::command::{
    Command, CommandQuery, CommandResponse, ConfigWarning, GetCommand, LaunchCommand, LaunchCommandResponse,
    ListCommands, SetPriority,
};
use ::api::page::PageQuery;
use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use domain::authz::{ChangeTask, ReadTask, SeeUser, StartTask, UseTemplate, Visible};
use domain::config::Unhonoured;
use domain::id::{UNCATEGORIZED, UserId, WorkspaceId};
use domain::kind::Kind;
use domain::task::{State as TaskState, Task};
use master::open::{OwnerName, may};
use master::session::Caller;
use master::task::TaskFilter;
use master::{Error, Master};
use serde_json::value::RawValue;

use crate::App;
use crate::access::Access;
use crate::extract::{User, check_count, paged, parsed};
use crate::late::Body;
use crate::open::open;
use crate::query::{Asked, is_descending, page};
use crate::respond::{self, Answer, Failure};
use crate::table::Endpoint;
use crate::whole::{self, Step};

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/api/v1/commands", Access::User, list)
            .says("Commands, the newest first")
            .pages()
            .query::<CommandQuery>()
            .may_ask::<SeeUser>()
            .answers::<ListCommands>(),
        Endpoint::post("/api/v1/commands", Access::User, launch)
            .says("Start a command")
            .takes_a_context()
            .asks::<StartTask>()
            .may_ask::<UseTemplate>()
            .takes::<LaunchCommand>()
            .answers::<LaunchCommandResponse>(),
        Endpoint::get("/api/v1/commands/{task}", Access::User, get)
            .says("One command and its configuration")
            .grows()
            .asks::<ReadTask>()
            .answers::<GetCommand>(),
        Endpoint::post("/api/v1/commands/{task}/kill", Access::User, kill)
            .says("End a command")
            .ends()
            .asks::<ChangeTask>()
            .answers::<CommandResponse>(),
        Endpoint::post("/api/v1/commands/{task}/set_priority", Access::User, set_priority)
            .says("Give a command another priority")
            .asks::<ChangeTask>()
            .takes::<SetPriority>()
            .answers::<CommandResponse>(),
    ]
}

/// `STATE_…` as Determined's clients read it.
pub(crate) fn state_name(state: TaskState) -> &'static str {
    match state {
        TaskState::Queued => "STATE_QUEUED",
        TaskState::Starting => "STATE_STARTING",
        TaskState::Running => "STATE_RUNNING",
        TaskState::Terminating => "STATE_TERMINATING",
        TaskState::Terminated => "STATE_TERMINATED",
    }
}

/// A task's process, while it has one.
pub(crate) fn container(task: &Task) -> Option<Container> {
    let state = match task.state() {
        TaskState::Queued | TaskState::Terminated => return None,
        TaskState::Starting => "STATE_STARTING",
        // A container has no state between these, and clients fail at one that they don't know.
        TaskState::Running | TaskState::Terminating => "STATE_RUNNING",
    };
    Some(Container {
        id: task.latest.id.to_string(),
        state: state.to_owned(),
        devices: Vec::new(),
        permission_denied: false,
        parent: String::new(),
    })
}

pub(crate) fn shown(master: &Master, task: &Task) -> Command {
    let ending = task.ending();
    let wait = master.tasks.waits_for(task);
    Command {
        id: task.id.to_string(),
        description: task.description.to_string(),
        state: state_name(task.state()).to_owned(),
        start_time: task.created_at.rfc3339(),
        container: container(task),
        display_name: task.owner_display_name.clone(),
        user_id: task.owner.0,
        username: task.owner_name.clone(),
        resource_pool: task.pool.to_string(),
        exit_status: ending.map(|ending| ending.reason.to_string()).unwrap_or_default(),
        job_id: task.id.to_string(),
        workspace_id: task.workspace.0,
        exit_code: ending.and_then(|ending| ending.exit_code),
        exit_signal: ending.and_then(|ending| ending.exit_signal),
        jobs_ahead: wait.as_ref().map(|wait| wait.ahead),
        waiting_for: wait.map(|wait| wait.why.to_string()),
        agent_id: task.latest.phase.placement().map(|on| on.first().agent.to_string()),
        runs_as: task.identity.to_string(),
        end_time: ending.map(|ending| ending.at.rfc3339()),
        priority: task.priority,
        slots: task.slots,
    }
}

pub(crate) async fn launch(
    State(app): State<App>,
    User(caller): User,
    request: Body<LaunchCommand>,
) -> Answer<LaunchCommandResponse> {
    let request = request.unasked("where it is to run, and after which template, is in it").await?;
    let template = match request.template_name.filter(|name| !name.is_empty()) {
        Some(name) => Some(open::<UseTemplate>(&app, &caller, &name).await?),
        None => None,
    };
    let workspace = request.workspace_id.filter(|id| *id != 0).map_or(UNCATEGORIZED, WorkspaceId);
    let permit = app.master.open::<StartTask>(&caller, workspace).await?;
    let config = request.config.as_deref().map(RawValue::get);
    let started = app.master.tasks.start_command(permit, template, config, request.files);
    let started = started.await?;
    Ok(Json(LaunchCommandResponse {
        command: shown(&app.master, &started.task),
        config: started.config.into_value(),
        // Determined's clients know one word for each, and fail at others.
        warnings: Vec::new(),
        config_warnings: started.unhonoured.iter().map(config_warning).collect(),
    }))
}

pub(crate) async fn list(
    State(app): State<App>,
    User(caller): User,
    Asked(query): Asked<CommandQuery>,
) -> Result<Response, Failure> {
    let order = query.order_by.as_deref();
    let id_prefix =
        query.id_prefix.map(|text| parsed("idPrefix", &text)).transpose().map_err(Error::Invalid)?;
    let filter = TaskFilter {
        kind: Kind::Command,
        owners: owners(&app, &caller, &query.users, &query.user_ids).await?,
        workspace: query.workspace_id.filter(|id| *id != 0).map(WorkspaceId),
        seen_by: None,
        text: None,
        id_prefix,
        ascending: order.is_some() && !is_descending(order),
        after: None,
    };
    let (scope, page) = (Visible::to(&caller.actor), page(query.offset, query.limit));
    if page.limit == 0 {
        return all(app, caller, filter, page).await;
    }
    let (tasks, pagination) = app.master.tasks.list(scope, filter, paged(page)).await?;
    respond::list("commands", tasks.iter().map(|task| shown(&app.master, task)), &pagination)
}

fn config_warning(setting: &Unhonoured) -> ConfigWarning {
    ConfigWarning { key: setting.key.to_owned(), message: setting.to_string() }
}

/// Rows that are read at a time for a list without a limit.
const STEP: i64 = 250;

/// The whole list.
async fn all(app: App, caller: Caller, filter: TaskFilter, page: PageQuery) -> Result<Response, Failure> {
    let (master, actor) = (app.master.clone(), caller.actor.clone());
    let count = |total| paged(page)(total).map(|(page, start, _)| (page, start, 0));
    let (_, page) = master.tasks.list(Visible::to(&actor), filter.clone(), count).await?;
    let next = move |last: Option<i64>, _| {
        let (master, actor, filter) = (master.clone(), actor.clone(), filter.clone());
        async move {
            let skip = if last.is_none() { page.start_index } else { 0 };
            let tasks = master.tasks.after(Visible::to(&actor), &filter, last, skip, STEP).await?;
            let rows =
                tasks.iter().map(|task| whole::row(&shown(&master, task))).collect::<Result<_, _>>()?;
            Ok(Step { rows, last: tasks.last().map(|task| task.seq) })
        }
    };
    Ok(whole::written(&app, &caller, "commands", page, next))
}

/// `users` and `userIds` together; none of either is everybody.
pub(crate) async fn owners(
    app: &App,
    caller: &Caller,
    names: &[String],
    ids: &[String],
) -> Result<Option<Vec<UserId>>, Failure> {
    if names.is_empty() && ids.is_empty() {
        return Ok(None);
    }
    check_count(names.len() + ids.len())?;
    let mut owners = Vec::with_capacity(names.len() + ids.len());
    for name in names {
        owners.extend(owner_named(app, caller, name.clone()).await?);
    }
    for text in ids {
        let bad = |_| Failure(Error::Invalid(format!("userIds: '{}' is no user id", text.escape_debug())));
        owners.push(text.parse::<UserId>().map_err(bad)?);
    }
    Ok(Some(owners))
}

/// The account that things are made by under this name; `None` is nobody.
pub(crate) async fn owner_named(app: &App, caller: &Caller, name: String) -> Result<Option<UserId>, Error> {
    // Most ask for what is their own, and who asks is known.
    if name == caller.user.username {
        let permit = may::<SeeUser>(caller, (*caller.user).clone())?;
        return Ok(Some(permit.target().id));
    }
    match app.master.open::<SeeUser>(caller, OwnerName(name)).await {
        Ok(permit) => Ok(Some(permit.target().id)),
        Err(Error::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

pub(crate) async fn get(
    State(app): State<App>,
    User(caller): User,
    Path(task): Path<String>,
) -> Answer<GetCommand> {
    let permit = open::<ReadTask>(&app, &caller, &task).await?;
    let config = app.master.tasks.config(&permit).await?.into_value();
    Ok(Json(GetCommand { command: shown(&app.master, &permit.target().0), config }))
}

pub(crate) async fn kill(
    State(app): State<App>,
    User(caller): User,
    Path(task): Path<String>,
) -> Answer<CommandResponse> {
    let permit = open::<ChangeTask>(&app, &caller, &task).await?;
    let task = app.master.tasks.kill(permit).await?;
    Ok(Json(CommandResponse { command: shown(&app.master, &task) }))
}

pub(crate) async fn set_priority(
    State(app): State<App>,
    User(caller): User,
    Path(task): Path<String>,
    request: Body<SetPriority>,
) -> Answer<CommandResponse> {
    let permit = open::<ChangeTask>(&app, &caller, &task).await?;
    let request = request.after(&permit).await?;
    let priority = request.priority.ok_or_else(|| Error::Invalid("priority: give a number".to_owned()))?;
    let task = app.master.tasks.set_priority(permit, priority).await?;
    Ok(Json(CommandResponse { command: shown(&app.master, &task) }))
}
