//! Projects (contract "polyaxon", sections 3.4 and 3.5): `OWNER/NAME` is the project of that name in the owner's personal
//! workspace.

use axum::Json;
use axum::extract::{OriginalUri, Path, State};
use axum::http::StatusCode;
use domain::authz::{
    Act, AddToWorkspace, ChangeProject, CreateWorkspace, ManageProject, Permit, ReadProject, Visible,
    authorize,
};
use domain::id::UserId;
use domain::place::{Note, Project, ProjectPlace};
use master::Error;
use master::project::{NewProject, ProjectChange, ProjectFilter};
use master::session::Caller;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Answer, PolyaxonCaller, Refusal, list as page};
use crate::App;
use crate::extract::Params;
use crate::late::{Body, Query};

/// Rows of a page; the client counts on it.
const ROWS: i64 = 20;
/// Most rows that somebody else may ask for (R47).
const MOST: i64 = 100;
/// The note that is a project's `readme`.
const README: &str = "README";

/// What is honoured of a project that is sent; the client sends much more, as null.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Sent {
    name: Option<String>,
    description: Option<String>,
    tags: Option<Vec<String>>,
    is_public: Option<bool>,
    readme: Option<String>,
}

fn gone() -> Error {
    Error::NotFound("project not found".to_owned())
}

/// The account that a path begins with.
async fn owner(app: &App, caller: &Caller, name: &str) -> Result<UserId, Error> {
    let found = app.master.accounts.by_username(&caller.actor, name).await;
    found.map(|user| user.id).map_err(|error| if let Error::NotFound(_) = error { gone() } else { error })
}

/// Asks the policy about the project of a path.
async fn permitted<A: Act<Target = ProjectPlace>>(
    app: &App,
    caller: &Caller,
    (user, name): &(String, String),
) -> Answer<Permit<A>> {
    let owner = owner(app, caller, user).await?;
    let place = app.master.projects.place_by_owner(&caller.actor, owner, name).await?;
    Ok(again(caller, place)?)
}

/// Asks about a project that is known already; what is hidden looks like what isn't there.
fn again<A: Act<Target = ProjectPlace>>(caller: &Caller, place: ProjectPlace) -> Result<Permit<A>, Error> {
    authorize(&caller.actor, place).map_err(|refusal| Error::refused(refusal, gone().to_string()))
}

/// What a list shows of a project.
fn brief(app: &App, user: &str, project: &Project, bookmarked: bool) -> Value {
    let time = |at: domain::time::Timestamp| at.rfc3339();
    // Unlike any other installation's: the client takes it for the key of a project.
    let installation = Uuid::try_parse(app.master.cluster.id()).unwrap_or_default().as_u128();
    let uuid = Uuid::from_u128(installation.wrapping_add(u128::from(project.id.0.unsigned_abs())));
    json!({
        "id": project.id,
        "uuid": uuid.simple().to_string(),
        "name": project.name,
        "user": user,
        "owner": user,
        "unique_name": format!("{user}.{}", project.name),
        "description": project.description,
        "tags": project.tags,
        "is_public": !project.private,
        "created_at": time(project.created_at),
        "updated_at": time(project.modified_at),
        "bookmarked": bookmarked,
    })
}

/// What is shown of one project: nothing runs in projects yet.
fn detail(app: &App, user: &str, project: &Project, bookmarked: bool) -> Value {
    let mut shown = brief(app, user, project, bookmarked);
    let readme = project.notes.iter().find(|note| note.name == README);
    let more = json!({
        "readme": readme.map(|note| &note.contents),
        "has_code": false,
        "tensorboard": null,
        "notebook": null,
        "has_tensorboard": false,
        "has_notebook": false,
        "num_experiment_groups": 0,
        "num_independent_experiments": 0,
        "num_experiments": 0,
        "num_jobs": 0,
        "num_builds": 0,
    });
    if let (Value::Object(shown), Value::Object(more)) = (&mut shown, more) {
        shown.extend(more);
    }
    shown
}

pub(crate) async fn create(
    State(app): State<App>,
    PolyaxonCaller(caller): PolyaxonCaller,
    sent: Body<Sent>,
) -> Answer<(StatusCode, Json<Value>)> {
    let permit = authorize::<CreateWorkspace>(&caller.actor, ());
    let permit = permit.map_err(|refusal| Error::refused(refusal, gone().to_string()))?;
    let sent = sent.after(&permit).await?;
    let Some(name) = sent.name.filter(|name| !name.is_empty()) else {
        return Err(Refusal::Fields(json!({ "name": ["This field is required."] })));
    };
    slug(&name)?;
    let workspace = app.master.workspaces.personal(&permit, &caller.actor).await?;
    let place = app.master.workspaces.place(&caller.actor, workspace.id).await?;
    let permit = authorize::<AddToWorkspace>(&caller.actor, place);
    let permit = permit.map_err(|refusal| Error::refused(refusal, gone().to_string()))?;
    let new = NewProject {
        name,
        key: None,
        description: sent.description.unwrap_or_default(),
        tags: sent.tags.unwrap_or_default(),
        private: sent.is_public == Some(false),
    };
    let made = app.master.projects.create(&permit, new).await.map_err(|error| match error {
        Error::Conflict(text) => Refusal::Fields(json!([text])),
        other => other.into(),
    })?;
    Ok((StatusCode::CREATED, Json(detail(&app, &caller.actor.username, &made, false))))
}

/// The client breaks on names that aren't one word.
fn slug(name: &str) -> Answer<()> {
    let good = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    let text = "Enter a valid name: letters, digits, - and _ only.";
    if good { Ok(()) } else { Err(Refusal::Fields(json!({ "name": [text] }))) }
}

/// The projects of an account that the caller sees.
pub(crate) async fn list(
    State(app): State<App>,
    PolyaxonCaller(caller): PolyaxonCaller,
    Path(user): Path<String>,
    OriginalUri(uri): OriginalUri,
    params: Params,
) -> Answer<Json<Value>> {
    let owner = owner(&app, &caller, &user).await?;
    let filter =
        ProjectFilter { personal_of: Some(owner), archived: Some(false), ..ProjectFilter::default() };
    listed(&app, &caller, filter, Some(&user), uri.path(), &params).await
}

/// The projects that the caller marked; of other kinds of things there are none.
pub(crate) async fn bookmarks(
    State(app): State<App>,
    PolyaxonCaller(caller): PolyaxonCaller,
    Path((user, kind)): Path<(String, String)>,
    OriginalUri(uri): OriginalUri,
    query: Query,
) -> Answer<Json<Value>> {
    if user != caller.actor.username {
        return Err(gone().into());
    }
    let params = query.unasked("whose they are was just looked at: one's own, which needs no permit").await?;
    match kind.as_str() {
        "projects" => {}
        "groups" | "experiments" | "jobs" | "builds" => return Ok(page(0, 0, ROWS, uri.path(), Vec::new())),
        _ => return Err(gone().into()),
    }
    let filter = ProjectFilter { bookmarked_by: Some(caller.actor.user), ..ProjectFilter::default() };
    listed(&app, &caller, filter, None, uri.path(), &params).await
}

async fn listed(
    app: &App,
    caller: &Caller,
    filter: ProjectFilter,
    owner: Option<&str>,
    path: &str,
    params: &Params,
) -> Answer<Json<Value>> {
    let offset: i64 = params.parse::<i64>("offset")?.unwrap_or(0).max(0);
    let limit: i64 = params.parse("limit")?.unwrap_or(ROWS).clamp(1, MOST);
    let scope = Visible::to(&caller.actor);
    let rows = |total: i64| Ok((total, offset.min(total), limit));
    let (projects, total) = app.master.projects.list_without_notes(scope, filter, rows).await?;
    let ids = projects.iter().map(|project| project.id).collect();
    let marked = app.master.projects.marked(scope, ids).await?;
    let is_marked = |project: &Project| marked.contains(&project.id);
    let name = |project: &Project| owner.map_or_else(|| project.owner_name.clone(), str::to_owned);
    let shown = projects.iter().map(|project| {
        let shown = brief(app, &name(project), project, is_marked(project));
        // The client finds what is marked inside the mark.
        if owner.is_none() { json!({ "content_object": shown }) } else { shown }
    });
    Ok(page(total, offset, limit, path, shown.collect()))
}

pub(crate) async fn get(
    State(app): State<App>,
    PolyaxonCaller(caller): PolyaxonCaller,
    Path(path): Path<(String, String)>,
) -> Answer<Json<Value>> {
    let permit = permitted::<ReadProject>(&app, &caller, &path).await?;
    let project = app.master.projects.get(&permit).await?;
    let bookmarked = app.master.projects.is_bookmarked(&permit, &caller.actor).await?;
    Ok(Json(detail(&app, &path.0, &project, bookmarked)))
}

pub(crate) async fn update(
    State(app): State<App>,
    PolyaxonCaller(caller): PolyaxonCaller,
    Path(path): Path<(String, String)>,
    sent: Body<Sent>,
) -> Answer<Json<Value>> {
    let read = permitted::<ReadProject>(&app, &caller, &path).await?;
    let place = read.target().clone();
    let permit = again::<ChangeProject>(&caller, place.clone())?;
    let sent = sent.after(&permit).await?;
    if let Some(name) = &sent.name {
        slug(name)?;
    }
    let private = match sent.is_public {
        Some(public) => Some((again::<ManageProject>(&caller, place)?, !public)),
        None => None,
    };
    let notes = match sent.readme {
        Some(contents) => {
            let mut notes = app.master.projects.get(&read).await?.notes;
            notes.retain(|note| note.name != README);
            notes.push(Note { name: README.to_owned(), contents });
            Some(notes)
        }
        None => None,
    };
    let change = ProjectChange {
        name: sent.name,
        description: sent.description,
        tags: sent.tags,
        notes,
        private,
        ..ProjectChange::default()
    };
    let changed = app.master.projects.change(&permit, change).await?;
    let bookmarked = app.master.projects.is_bookmarked(&read, &caller.actor).await?;
    Ok(Json(detail(&app, &path.0, &changed, bookmarked)))
}

/// The client says that it is done on this very status only.
pub(crate) async fn delete(
    State(app): State<App>,
    PolyaxonCaller(caller): PolyaxonCaller,
    Path(path): Path<(String, String)>,
) -> Answer<StatusCode> {
    let permit = permitted::<ManageProject>(&app, &caller, &path).await?;
    app.master.projects.delete(&permit).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn bookmark(
    State(app): State<App>,
    PolyaxonCaller(caller): PolyaxonCaller,
    Path(path): Path<(String, String)>,
) -> Answer<StatusCode> {
    let permit = permitted::<ReadProject>(&app, &caller, &path).await?;
    app.master.projects.set_bookmark(&permit, &caller.actor, true).await?;
    Ok(StatusCode::CREATED)
}

pub(crate) async fn unbookmark(
    State(app): State<App>,
    PolyaxonCaller(caller): PolyaxonCaller,
    Path(path): Path<(String, String)>,
) -> Answer<StatusCode> {
    let permit = permitted::<ReadProject>(&app, &caller, &path).await?;
    app.master.projects.set_bookmark(&permit, &caller.actor, false).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What is in a project: nothing runs in one yet.
pub(crate) async fn content(
    State(app): State<App>,
    PolyaxonCaller(caller): PolyaxonCaller,
    Path((user, name)): Path<(String, String)>,
    OriginalUri(uri): OriginalUri,
) -> Answer<Json<Value>> {
    permitted::<ReadProject>(&app, &caller, &(user, name)).await?;
    Ok(page(0, 0, ROWS, uri.path(), Vec::new()))
}
