//! Templates over the API.

use std::io;

use ::api::error::Code;
use ::api::template::{NewTemplate, RenameTemplate, Template, TemplateQuery, TemplateResponse};
use ::api::wire::Empty;
use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use domain::authz::{Actor, AddTemplate, ChangeTemplate, Permit, ReadTemplate, Visible};
use domain::id::{UNCATEGORIZED, WorkspaceId};
use domain::place;
use master::Error;
use master::session::Caller;
use master::template::{TemplateFilter, Unread};
use serde_json::value::RawValue;

use crate::App;
use crate::access::Access;
use crate::extract::{User, paged};
use crate::late::Body;
use crate::open::open;
use crate::query::{Asked, is_descending, page};
use crate::respond::{Answer, Failure};
use crate::table::Endpoint;
use crate::whole::{self, Step};

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/api/v1/templates", Access::User, list)
            .says("Templates, by name")
            .steps()
            .query::<TemplateQuery>()
            .answers::<::api::template::ListTemplates>(),
        Endpoint::get("/api/v1/templates/{template}", Access::User, get)
            .says("One template")
            .grows()
            .asks::<ReadTemplate>()
            .answers::<TemplateResponse>(),
        Endpoint::post("/api/v1/templates/{template}", Access::User, create)
            .says("Make a template")
            .asks::<AddTemplate>()
            .takes::<NewTemplate>()
            .answers::<TemplateResponse>(),
        Endpoint::put("/api/v1/templates/{template}", Access::User, put)
            .says("Make a template, or give it another configuration")
            .may_ask::<ReadTemplate>()
            .may_ask::<ChangeTemplate>()
            .may_ask::<AddTemplate>()
            .takes::<NewTemplate>()
            .answers::<TemplateResponse>(),
        Endpoint::patch("/api/v1/templates/{template}", Access::User, patch)
            .says("Give a template the configuration that the body is")
            .asks::<ChangeTemplate>()
            .takes::<serde_json::Map<String, serde_json::Value>>()
            .answers::<TemplateResponse>(),
        Endpoint::delete("/api/v1/templates/{template}", Access::User, delete)
            .says("Delete a template")
            .asks::<ChangeTemplate>()
            .answers::<Empty>(),
        Endpoint::patch("/api/v1/template/rename", Access::User, rename)
            .says("Give a template another name")
            .asks::<ChangeTemplate>()
            .takes::<RenameTemplate>()
            .answers::<TemplateResponse>(),
    ]
}

/// Templates that are looked at for one step of the list.
const STEP: i64 = 16;

fn shown(actor: &Actor, template: place::Template) -> Template {
    Template {
        config: template.config.shown(actor, template.owner).into_value(),
        name: template.name,
        workspace_id: template.workspace.0,
        user_id: template.owner.0,
        username: template.owner_name,
    }
}

fn answered(caller: &Caller, template: place::Template) -> Json<TemplateResponse> {
    Json(TemplateResponse { template: shown(&caller.actor, template) })
}

/// The configuration as it was sent; `null` is none.
fn text(config: Option<&RawValue>) -> Option<&str> {
    config.map(RawValue::get)
}

pub(crate) async fn list(
    State(app): State<App>,
    User(caller): User,
    Asked(query): Asked<TemplateQuery>,
) -> Result<Response, Failure> {
    let bad = |text: &str| Error::Invalid(format!("workspaceIds: '{}' is no id", text.escape_debug()));
    let ids = query.workspace_ids.iter().map(|text| text.parse().map(WorkspaceId).map_err(|_| bad(text)));
    let ids = ids.collect::<Result<Vec<_>, _>>()?;
    let filter = TemplateFilter {
        name: query.name,
        workspaces: Some(ids).filter(|ids| !ids.is_empty()),
        seen_by: None,
        descending: is_descending(query.order_by.as_deref()),
    };
    let total = app.master.templates.count(Visible::to(&caller.actor), &filter).await?;
    let (page, start, wanted) = paged(page(query.offset, query.limit))(total)?;
    // Without a limit it goes on to the end, wherever that is by then.
    let wanted = if page.limit == 0 { i64::MAX } else { wanted };
    let (made_in, actor) = (app.clone(), caller.actor.clone());
    let next = move |last: Option<String>, given| {
        let (app, actor, filter) = (made_in.clone(), actor.clone(), filter.clone());
        let skip = if last.is_none() { start } else { 0 };
        async move { step(&app, &actor, &filter, last, skip, wanted - given).await }
    };
    Ok(whole::written(&app, &caller, "templates", page, next))
}

/// Some of the list, at most `most`.
async fn step(
    app: &App,
    actor: &Actor,
    filter: &TemplateFilter,
    last: Option<String>,
    skip: i64,
    most: i64,
) -> Result<Step<String>, Error> {
    let (scope, last) = (Visible::to(actor), last.as_deref());
    let mut found = app.master.templates.after(scope, filter, last, skip, most.min(STEP)).await?;
    found.truncate(whole::fitting(found.iter().map(Unread::size)));
    let last = found.last().map(|template| template.name().to_owned());
    let actor = actor.clone();
    let made = tokio::task::spawn_blocking(move || {
        found.into_iter().map(|unread| whole::row(&shown(&actor, unread.read()?))).collect()
    });
    let rows: Result<Vec<_>, Error> = made.await.map_err(|error| whole::lost(io::Error::other(error)))?;
    Ok(Step { rows: rows?, last })
}

pub(crate) async fn get(
    State(app): State<App>,
    User(caller): User,
    Path(name): Path<String>,
) -> Answer<TemplateResponse> {
    let permit = open::<ReadTemplate>(&app, &caller, &name).await?;
    Ok(answered(&caller, permit.into_target().0))
}

pub(crate) async fn create(
    State(app): State<App>,
    User(caller): User,
    Path(name): Path<String>,
    request: Body<NewTemplate>,
) -> Answer<TemplateResponse> {
    let request = request.unasked("the workspace that it is to be in is in it").await?;
    let into = request.workspace_id.filter(|id| *id != 0).unwrap_or(UNCATEGORIZED.0);
    let permit = open::<AddTemplate>(&app, &caller, &into.to_string()).await?;
    Ok(answered(&caller, app.master.templates.create(&permit, &name, text(request.config.as_deref())).await?))
}

/// Makes a template, or gives one another configuration.
pub(crate) async fn put(
    state: State<App>,
    user: User,
    Path(name): Path<String>,
    request: Body<NewTemplate>,
) -> Answer<TemplateResponse> {
    match open::<ReadTemplate>(&state.0, &user.0, &name).await {
        Ok(_) => {
            let permit = open::<ChangeTemplate>(&state.0, &user.0, &name).await?;
            let config = request.after(&permit).await?.config.unwrap_or_default();
            change(&state.0, &user.0, &permit, &config).await
        }
        Err(error) if error.code() != Code::NotFound => Err(Failure(error)),
        Err(_) => create(state, user, Path(name), request).await,
    }
}

async fn change(
    app: &App,
    caller: &Caller,
    permit: &Permit<ChangeTemplate>,
    config: &RawValue,
) -> Answer<TemplateResponse> {
    Ok(answered(caller, app.master.templates.change(permit, None, Some(config.get())).await?))
}

/// The body is the bare configuration.
pub(crate) async fn patch(
    State(app): State<App>,
    User(caller): User,
    Path(name): Path<String>,
    config: Body<Box<RawValue>>,
) -> Answer<TemplateResponse> {
    let permit = open::<ChangeTemplate>(&app, &caller, &name).await?;
    let config = config.after(&permit).await?;
    change(&app, &caller, &permit, &config).await
}

pub(crate) async fn rename(
    State(app): State<App>,
    User(caller): User,
    request: Body<RenameTemplate>,
) -> Answer<TemplateResponse> {
    let request = request.unasked("which template it is about is in it").await?;
    let permit = open::<ChangeTemplate>(&app, &caller, &request.old_name).await?;
    Ok(answered(&caller, app.master.templates.change(&permit, Some(&request.new_name), None).await?))
}

pub(crate) async fn delete(
    State(app): State<App>,
    User(caller): User,
    Path(name): Path<String>,
) -> Answer<Empty> {
    let permit = open::<ChangeTemplate>(&app, &caller, &name).await?;
    app.master.templates.delete(&permit).await?;
    Ok(Json(Empty {}))
}
