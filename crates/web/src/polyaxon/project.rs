//! Projects (contract "polyaxon", sections 3.4 and 3.5): `OWNER/NAME` is the project of that name in the owner's personal
//! workspace.

use ::api::few::Few;
use axum::Json;
use axum::extract::{OriginalUri, Path, State};
use axum::http::StatusCode;
use domain::authz::{
    Act, AddToWorkspace, ChangeProject, CreateWorkspace, ManageProject, Permit, ReadProject, SeeUser, Visible,
};
use domain::place::{NewWorkspace, Note, Project, ProjectChange, ProjectPlace};
use master::Error;
use master::open::{AccountName, ProjectOf, may, to};
use master::project::{NewProject, ProjectFilter};
use master::session::Caller;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::wire::{Brief, Content, Detail, Marked, Nothing, Paged, Rows};
use super::{Answer, PolyaxonCaller, Refusal, list as page};
use crate::App;
use crate::access::Access;
use crate::late::{Body, Query};
use crate::table::Endpoint;

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::post("/api/v1/projects/", Access::Polyaxon, create)
            .says("Make a project of one's own")
            .asks::<CreateWorkspace>()
            .asks::<AddToWorkspace>()
            .takes::<Sent>()
            .makes::<Detail>(),
        Endpoint::get("/api/v1/bookmarks/{user}/{kind}/", Access::Polyaxon, bookmarks)
            .says("What the caller marked")
            .grows()
            .query::<Rows>()
            .answers::<Paged<Marked>>(),
        Endpoint::get("/api/v1/{owner}/", Access::Polyaxon, list)
            .says("The projects of an account that the caller sees")
            .grows()
            .asks::<SeeUser>()
            .query::<Rows>()
            .answers::<Paged<Brief>>(),
        Endpoint::get("/api/v1/{owner}/{project}/", Access::Polyaxon, get)
            .says("One project")
            .grows()
            .asks::<ReadProject>()
            .answers::<Detail>(),
        Endpoint::patch("/api/v1/{owner}/{project}/", Access::Polyaxon, update)
            .says("Change a project: what is absent stays")
            .asks::<ReadProject>()
            .asks::<ChangeProject>()
            .takes::<Sent>()
            .answers::<Detail>(),
        Endpoint::delete("/api/v1/{owner}/{project}/", Access::Polyaxon, delete)
            .says("Delete a project")
            .asks::<ManageProject>()
            .answers_nothing(204),
        Endpoint::post("/api/v1/{owner}/{project}/bookmark/", Access::Polyaxon, bookmark)
            .says("Mark a project")
            .asks::<ReadProject>()
            .answers_nothing(201),
        Endpoint::delete("/api/v1/{owner}/{project}/unbookmark/", Access::Polyaxon, unbookmark)
            .says("Mark it no more")
            .asks::<ReadProject>()
            .answers_nothing(204),
        Endpoint::get("/api/v1/{owner}/{project}/experiments/", Access::Polyaxon, content)
            .says("A project's experiments: none yet")
            .asks::<ReadProject>()
            .answers::<Paged<Nothing>>(),
        Endpoint::get("/api/v1/{owner}/{project}/groups/", Access::Polyaxon, content)
            .says("A project's groups: none yet")
            .asks::<ReadProject>()
            .answers::<Paged<Nothing>>(),
        Endpoint::get("/api/v1/{owner}/{project}/jobs/", Access::Polyaxon, content)
            .says("A project's jobs: none yet")
            .asks::<ReadProject>()
            .answers::<Paged<Nothing>>(),
        Endpoint::get("/api/v1/{owner}/{project}/builds/", Access::Polyaxon, content)
            .says("A project's builds: none yet")
            .asks::<ReadProject>()
            .answers::<Paged<Nothing>>(),
        Endpoint::get("/api/v1/{owner}/{project}/tensorboards/", Access::Polyaxon, content)
            .says("A project's TensorBoards: none yet")
            .asks::<ReadProject>()
            .answers::<Paged<Nothing>>(),
    ]
}

/// Rows of a page; the client counts on it.
const ROWS: i64 = 20;
/// Most rows that somebody else may ask for (R47).
const MOST: i64 = 100;
/// The note that is a project's `readme`.
const README: &str = "README";

/// What is honoured of a project that is sent; the client sends much more, as null.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Sent {
    name: Option<String>,
    description: Option<String>,
    tags: Option<Few<String>>,
    is_public: Option<bool>,
    readme: Option<String>,
}

fn gone() -> Error {
    Error::NotFound("project not found".to_owned())
}

/// Opens the project of a path.
async fn open<A: Act<Target = ProjectPlace>>(
    app: &App,
    caller: &Caller,
    (owner, name): &(String, String),
) -> Result<Permit<A>, Error> {
    let named = ProjectOf { owner: owner.clone(), name: name.clone() };
    app.master.open(caller, named).await
}

/// What a list shows of a project.
fn brief(app: &App, user: &str, project: &Project, bookmarked: bool) -> Brief {
    let time = |at: domain::time::Timestamp| at.rfc3339();
    // Unlike any other installation's: the client takes it for the key of a project.
    let installation = Uuid::try_parse(app.master.cluster.id()).unwrap_or_default().as_u128();
    let uuid = Uuid::from_u128(installation.wrapping_add(u128::from(project.id.0.unsigned_abs())));
    Brief {
        id: project.id.0,
        uuid: uuid.simple().to_string(),
        name: project.name.clone(),
        user: user.to_owned(),
        owner: user.to_owned(),
        unique_name: format!("{user}.{}", project.name),
        description: project.description.clone(),
        tags: project.tags.clone(),
        is_public: !project.private,
        created_at: time(project.created_at),
        updated_at: time(project.modified_at),
        bookmarked,
    }
}

/// What is shown of one project: nothing runs in projects yet.
fn detail(app: &App, user: &str, project: &Project, bookmarked: bool) -> Detail {
    let readme = project.notes.iter().find(|note| note.name == README);
    Detail {
        project: brief(app, user, project, bookmarked),
        readme: readme.map(|note| note.contents.clone()),
        content: Content::default(),
    }
}

pub(crate) async fn create(
    State(app): State<App>,
    PolyaxonCaller(caller): PolyaxonCaller,
    sent: Body<Sent>,
) -> Answer<(StatusCode, Json<Detail>)> {
    let permit = may::<CreateWorkspace>(&caller, NewWorkspace::default())?;
    let sent = sent.after(&permit).await?;
    let Some(name) = sent.name.filter(|name| !name.is_empty()) else {
        return Err(Refusal::Fields(json!({ "name": ["This field is required."] })));
    };
    slug(&name)?;
    let workspace = app.master.workspaces.personal(&permit).await?;
    let permit = app.master.open::<AddToWorkspace>(&caller, workspace.id).await?;
    let new = NewProject {
        name,
        key: None,
        description: sent.description.unwrap_or_default(),
        tags: sent.tags.unwrap_or_default().into(),
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
    query: Query<Rows>,
) -> Answer<Json<Paged<Brief>>> {
    let permit = app.master.open::<SeeUser>(&caller, AccountName(user.clone())).await?;
    let (owner, rows) = (permit.target().id, query.after(&permit).await?);
    let filter =
        ProjectFilter { personal_of: Some(owner), archived: Some(false), ..ProjectFilter::default() };
    listed(&app, &caller, filter, Some(&user), uri.path(), rows, |shown| shown).await
}

/// The projects that the caller marked; of other kinds of things there are none.
pub(crate) async fn bookmarks(
    State(app): State<App>,
    PolyaxonCaller(caller): PolyaxonCaller,
    Path((user, kind)): Path<(String, String)>,
    OriginalUri(uri): OriginalUri,
    query: Query<Rows>,
) -> Answer<Json<Paged<Marked>>> {
    if user != caller.actor.username {
        return Err(gone().into());
    }
    let rows = query.unasked("whose they are was just looked at: one's own, which needs no permit").await?;
    match kind.as_str() {
        "projects" => {}
        "groups" | "experiments" | "jobs" | "builds" => return Ok(page(0, 0, ROWS, uri.path(), Vec::new())),
        _ => return Err(gone().into()),
    }
    let filter = ProjectFilter { bookmarked_by: Some(caller.actor.user), ..ProjectFilter::default() };
    // The client finds what is marked inside the mark.
    let marked = |content_object| Marked { content_object };
    listed(&app, &caller, filter, None, uri.path(), rows, marked).await
}

async fn listed<T>(
    app: &App,
    caller: &Caller,
    filter: ProjectFilter,
    owner: Option<&str>,
    path: &str,
    asked: Rows,
    row: impl Fn(Brief) -> T,
) -> Answer<Json<Paged<T>>> {
    let offset = asked.offset.unwrap_or(0).max(0);
    let limit = asked.limit.unwrap_or(ROWS).clamp(1, MOST);
    let scope = Visible::to(&caller.actor);
    let rows = |total: i64| Ok((total, offset.min(total), limit));
    let (projects, total) = app.master.projects.list_without_notes(scope, filter, rows).await?;
    let ids = projects.iter().map(|project| project.id).collect();
    let marked = app.master.projects.marked(scope, ids).await?;
    let is_marked = |project: &Project| marked.contains(&project.id);
    let name = |project: &Project| owner.map_or_else(|| project.owner_name.clone(), str::to_owned);
    let shown = projects.iter().map(|project| row(brief(app, &name(project), project, is_marked(project))));
    Ok(page(total, offset, limit, path, shown.collect()))
}

pub(crate) async fn get(
    State(app): State<App>,
    PolyaxonCaller(caller): PolyaxonCaller,
    Path(path): Path<(String, String)>,
) -> Answer<Json<Detail>> {
    let permit = open::<ReadProject>(&app, &caller, &path).await?;
    let project = app.master.projects.get(&permit).await?;
    let bookmarked = app.master.projects.is_bookmarked(&permit).await?;
    Ok(Json(detail(&app, &path.0, &project, bookmarked)))
}

pub(crate) async fn update(
    State(app): State<App>,
    PolyaxonCaller(caller): PolyaxonCaller,
    Path(path): Path<(String, String)>,
    sent: Body<Sent>,
) -> Answer<Json<Detail>> {
    let read = open::<ReadProject>(&app, &caller, &path).await?;
    // Any change at all, if not that one.
    let permit = may::<ChangeProject>(&caller, (read.target().clone(), ProjectChange::default()))?;
    let sent = sent.after(&permit).await?;
    if let Some(name) = &sent.name {
        slug(name)?;
    }
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
        tags: sent.tags.map(Vec::from),
        notes,
        private: sent.is_public.map(|public| !public),
        ..ProjectChange::default()
    };
    let changed = app.master.projects.change(&to(&caller, permit, change)?).await?;
    let bookmarked = app.master.projects.is_bookmarked(&read).await?;
    Ok(Json(detail(&app, &path.0, &changed, bookmarked)))
}

/// The client says that it is done on this very status only.
pub(crate) async fn delete(
    State(app): State<App>,
    PolyaxonCaller(caller): PolyaxonCaller,
    Path(path): Path<(String, String)>,
) -> Answer<StatusCode> {
    let permit = open::<ManageProject>(&app, &caller, &path).await?;
    app.master.projects.delete(&permit).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn bookmark(
    State(app): State<App>,
    PolyaxonCaller(caller): PolyaxonCaller,
    Path(path): Path<(String, String)>,
) -> Answer<StatusCode> {
    let permit = open::<ReadProject>(&app, &caller, &path).await?;
    app.master.projects.set_bookmark(&permit, true).await?;
    Ok(StatusCode::CREATED)
}

pub(crate) async fn unbookmark(
    State(app): State<App>,
    PolyaxonCaller(caller): PolyaxonCaller,
    Path(path): Path<(String, String)>,
) -> Answer<StatusCode> {
    let permit = open::<ReadProject>(&app, &caller, &path).await?;
    app.master.projects.set_bookmark(&permit, false).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What is in a project: nothing runs in one yet.
pub(crate) async fn content(
    State(app): State<App>,
    PolyaxonCaller(caller): PolyaxonCaller,
    Path((user, name)): Path<(String, String)>,
    OriginalUri(uri): OriginalUri,
) -> Answer<Json<Paged<Nothing>>> {
    open::<ReadProject>(&app, &caller, &(user, name)).await?;
    Ok(page(0, 0, ROWS, uri.path(), Vec::new()))
}
