//! Projects over the API.

use ::api::project::{EditProject, MoveProject, Note, Notes, Project, ProjectQuery, ProjectResponse};
use ::api::wire::Empty;
use ::api::workspace::Deleted;
use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use domain::authz::{
    AddToWorkspace, ChangeProject, ManageProject, Permit, ReadProject, ReadWorkspace, SeeUser, Visible,
};
use domain::id::ProjectId;
use domain::place::{self, ProjectChange};
use master::Error;
use master::open::{ProjectCode, to};
use master::project::{NewProject, ProjectFilter, SortBy};
use master::session::Caller;

use crate::App;
use crate::access::Access;
use crate::api::command::owners;
use crate::extract::{User, paged};
use crate::late::{Body, Query};
use crate::open::{open, open_to_change};
use crate::query::{is_descending, page};
use crate::respond::{Answer, Failure};
use crate::table::Endpoint;
use crate::whole;

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/api/v1/workspaces/{workspace}/projects", Access::User, list)
            .says("Projects of a workspace")
            .steps()
            .asks::<ReadWorkspace>()
            .may_ask::<SeeUser>()
            .query::<ProjectQuery>()
            .answers::<::api::project::ListProjects>(),
        Endpoint::post("/api/v1/workspaces/{workspace}/projects", Access::User, create)
            .says("Make a project")
            .asks::<AddToWorkspace>()
            .takes::<EditProject>()
            .answers::<ProjectResponse>(),
        Endpoint::get("/api/v1/projects/{project}", Access::User, get)
            .says("One project")
            .grows()
            .asks::<ReadProject>()
            .answers::<ProjectResponse>(),
        Endpoint::get("/api/v1/projects/key/{key}", Access::User, get_by_key)
            .says("One project by its key")
            .grows()
            .asks::<ReadProject>()
            .answers::<ProjectResponse>(),
        Endpoint::patch("/api/v1/projects/{project}", Access::User, patch)
            .says("Change a project: what is absent stays")
            .asks::<ChangeProject>()
            .takes::<EditProject>()
            .answers::<ProjectResponse>(),
        Endpoint::delete("/api/v1/projects/{project}", Access::User, delete)
            .says("Delete a project")
            .asks::<ManageProject>()
            .answers::<Deleted>(),
        Endpoint::post("/api/v1/projects/{project}/archive", Access::User, archive)
            .says("Put a project away")
            .asks::<ManageProject>()
            .answers::<Empty>(),
        Endpoint::post("/api/v1/projects/{project}/unarchive", Access::User, unarchive)
            .says("Take a project out again")
            .asks::<ManageProject>()
            .answers::<Empty>(),
        Endpoint::post("/api/v1/projects/{project}/move", Access::User, move_to)
            .says("Move a project to another workspace")
            .asks::<ManageProject>()
            .asks::<AddToWorkspace>()
            .takes::<MoveProject>()
            .answers::<Empty>(),
        Endpoint::post("/api/v1/projects/{project}/notes", Access::User, add_note)
            .says("Add a note to a project")
            .asks::<ChangeProject>()
            .takes::<Note>()
            .answers::<Notes>(),
        Endpoint::put("/api/v1/projects/{project}/notes", Access::User, put_notes)
            .says("Replace all notes of a project")
            .asks::<ChangeProject>()
            .takes::<Notes>()
            .answers::<Notes>(),
    ]
}

/// Projects that are read at a time for a list: each has up to 76 KiB.
const STEP: usize = 4;

fn note(note: place::Note) -> Note {
    Note { name: note.name, contents: note.contents }
}

fn stored(note: Note) -> place::Note {
    place::Note { name: note.name, contents: note.contents }
}

/// A project as it goes over the wire.
fn shown(project: place::Project) -> Project {
    Project {
        id: project.id.0,
        name: project.name,
        key: project.code,
        description: project.description,
        workspace_id: project.workspace.0,
        archived: project.archived,
        immutable: project.id == ProjectId(1),
        num_experiments: 0,
        num_active_experiments: 0,
        num_runs: 0,
        notes: project.notes.into_iter().map(note).collect(),
        state: "WORKSPACE_STATE_UNSPECIFIED".to_owned(),
        error_message: String::new(),
        user_id: project.owner.0,
        username: project.owner_name,
        tags: project.tags,
        private: project.private,
    }
}

pub(crate) async fn list(
    State(app): State<App>,
    User(caller): User,
    Path(workspace): Path<String>,
    query: Query<ProjectQuery>,
) -> Result<Response, Failure> {
    let permit = open::<ReadWorkspace>(&app, &caller, &workspace).await?;
    let query = query.after(&permit).await?;
    let filter = ProjectFilter {
        name: query.name,
        archived: query.archived,
        owners: owners(&app, &caller, &query.users, &query.user_ids).await?,
        sort: match query.sort_by.as_deref() {
            Some("SORT_BY_NAME") => SortBy::Name,
            Some("SORT_BY_DESCRIPTION") => SortBy::Description,
            _ => SortBy::Id,
        },
        descending: is_descending(query.order_by.as_deref()),
        ..ProjectFilter::default()
    };
    let scope = Visible::to(&caller.actor);
    let page = paged(page(query.offset, query.limit));
    let (ids, page) = app.master.projects.ids_in(&permit, scope, filter.clone(), page).await?;
    let made_in = app.clone();
    let rows = move |some: Vec<ProjectId>| {
        let (app, filter) = (made_in.clone(), filter.clone());
        async move {
            let found = app.master.projects.those(scope, &filter, &some).await?;
            found.into_iter().map(|project| whole::row(&shown(project))).collect()
        }
    };
    let next = whole::chosen(&app, &caller, ids, STEP, rows)?;
    Ok(whole::written(&app, &caller, "projects", page, next))
}

pub(crate) async fn create(
    State(app): State<App>,
    User(caller): User,
    Path(workspace): Path<String>,
    request: Body<EditProject>,
) -> Answer<ProjectResponse> {
    let permit = open::<AddToWorkspace>(&app, &caller, &workspace).await?;
    let request = request.after(&permit).await?;
    let new = NewProject {
        name: request.name.unwrap_or_default(),
        key: request.key,
        description: request.description.unwrap_or_default(),
        tags: request.tags.unwrap_or_default().into(),
        private: request.private.unwrap_or(false),
    };
    let project = app.master.projects.create(&permit, new).await?;
    Ok(Json(ProjectResponse { project: shown(project) }))
}

pub(crate) async fn get(
    State(app): State<App>,
    User(caller): User,
    Path(project): Path<String>,
) -> Answer<ProjectResponse> {
    let permit = open::<ReadProject>(&app, &caller, &project).await?;
    let project = app.master.projects.get(&permit).await?;
    Ok(Json(ProjectResponse { project: shown(project) }))
}

pub(crate) async fn get_by_key(
    State(app): State<App>,
    User(caller): User,
    Path(key): Path<String>,
) -> Answer<ProjectResponse> {
    let permit = app.master.open::<ReadProject>(&caller, ProjectCode(key)).await?;
    let project = app.master.projects.get(&permit).await?;
    Ok(Json(ProjectResponse { project: shown(project) }))
}

pub(crate) async fn patch(
    State(app): State<App>,
    User(caller): User,
    Path(project): Path<String>,
    request: Body<EditProject>,
) -> Answer<ProjectResponse> {
    let permit = open_to_change::<ChangeProject>(&app, &caller, &project).await?;
    let request = request.after(&permit).await?;
    let change = ProjectChange {
        name: request.name,
        key: request.key,
        description: request.description,
        tags: request.tags.map(Vec::from),
        private: request.private,
        ..ProjectChange::default()
    };
    let project = app.master.projects.change(&to(&caller, permit, change)?).await?;
    Ok(Json(ProjectResponse { project: shown(project) }))
}

pub(crate) async fn delete(
    State(app): State<App>,
    User(caller): User,
    Path(project): Path<String>,
) -> Answer<Deleted> {
    let permit = open::<ManageProject>(&app, &caller, &project).await?;
    app.master.projects.delete(&permit).await?;
    Ok(Json(Deleted { completed: true }))
}

async fn set_archived(app: &App, caller: &Caller, project: &str, archived: bool) -> Answer<Empty> {
    let permit = open::<ManageProject>(app, caller, project).await?;
    app.master.projects.set_archived(&permit, archived).await?;
    Ok(Json(Empty {}))
}

pub(crate) async fn archive(
    State(app): State<App>,
    User(caller): User,
    Path(project): Path<String>,
) -> Answer<Empty> {
    set_archived(&app, &caller, &project, true).await
}

pub(crate) async fn unarchive(
    State(app): State<App>,
    User(caller): User,
    Path(project): Path<String>,
) -> Answer<Empty> {
    set_archived(&app, &caller, &project, false).await
}

/// Takes the right to manage it here, and to add to the place where it goes.
pub(crate) async fn move_to(
    State(app): State<App>,
    User(caller): User,
    Path(project): Path<String>,
    request: Body<MoveProject>,
) -> Answer<Empty> {
    let permit = open::<ManageProject>(&app, &caller, &project).await?;
    let into = request.after(&permit).await?.destination_workspace_id;
    let into = into.ok_or_else(|| Error::Invalid("destinationWorkspaceId: give a workspace".to_owned()))?;
    let into = open::<AddToWorkspace>(&app, &caller, &into.to_string()).await?;
    app.master.projects.move_to(&permit, &into).await?;
    Ok(Json(Empty {}))
}

async fn write_notes(
    app: &App,
    caller: &Caller,
    permit: Permit<ChangeProject>,
    change: ProjectChange,
) -> Answer<Notes> {
    let project = app.master.projects.change(&to(caller, permit, change)?).await?;
    Ok(Json(Notes { notes: project.notes.into_iter().map(note).collect() }))
}

pub(crate) async fn add_note(
    State(app): State<App>,
    User(caller): User,
    Path(project): Path<String>,
    new: Body<Note>,
) -> Answer<Notes> {
    let permit = open_to_change::<ChangeProject>(&app, &caller, &project).await?;
    let new = new.after(&permit).await?;
    let change = ProjectChange { new_note: Some(stored(new)), ..ProjectChange::default() };
    write_notes(&app, &caller, permit, change).await
}

pub(crate) async fn put_notes(
    State(app): State<App>,
    User(caller): User,
    Path(project): Path<String>,
    request: Body<Notes>,
) -> Answer<Notes> {
    let permit = open_to_change::<ChangeProject>(&app, &caller, &project).await?;
    let notes = request.after(&permit).await?.notes.into_iter().map(stored).collect();
    let change = ProjectChange { notes: Some(notes), ..ProjectChange::default() };
    write_notes(&app, &caller, permit, change).await
}
