//! Workspaces, projects, templates, and who is in them.

use ::api::project::{EditProject, ListProjects, MoveProject, Note, Notes, ProjectResponse};
use ::api::template::{ListTemplates, NewTemplate, RenameTemplate, TemplateResponse};
use ::api::workspace::{
    AvailablePools, Deleted, EditWorkspace, ListMembers, ListWorkspaces, SetMember, WorkspaceChanged,
    WorkspaceResponse,
};

use super::Kind::{Flag, Number, Text, Texts};
use super::{Docs, ORDER, PAGE};

/// Whom a removal names: one of them.
const WHO: &[(&str, super::Kind)] = &[("userId", Number), ("groupId", Number)];

pub(super) fn describe(docs: &mut Docs) {
    workspaces(docs);
    projects(docs);
    templates(docs);
}

fn workspaces(docs: &mut Docs) {
    docs.get("/api/v1/workspaces", "Workspaces")
        .query(PAGE)
        .query(ORDER)
        .query(&[("name", Text), ("nameCaseSensitive", Text), ("archived", Flag), ("pinned", Flag)])
        .query(&[("users", Texts), ("userIds", Texts)])
        .answers::<ListWorkspaces>();
    docs.post("/api/v1/workspaces", "Make a workspace; a Unix identity is for administrators to set")
        .takes::<EditWorkspace>()
        .answers::<WorkspaceChanged>();
    docs.get("/api/v1/workspaces/{workspace}", "One workspace").answers::<WorkspaceResponse>();
    docs.patch("/api/v1/workspaces/{workspace}", "Change a workspace: what is absent stays")
        .takes::<EditWorkspace>()
        .answers::<WorkspaceChanged>();
    docs.delete("/api/v1/workspaces/{workspace}", "Delete a workspace with its projects and templates")
        .answers::<Deleted>();
    docs.post("/api/v1/workspaces/{workspace}/archive", "Put a workspace away");
    docs.post("/api/v1/workspaces/{workspace}/unarchive", "Take a workspace out again");
    docs.get("/api/v1/workspaces/{workspace}/available-resource-pools", "Pools that its tasks may use")
        .query(PAGE)
        .answers::<AvailablePools>();
    docs.get("/api/v1/workspaces/{workspace}/list-namespace-bindings", "Nothing: for Kubernetes");
    docs.get("/api/v1/workspaces/{workspace}/members", "Who is in a workspace").answers::<ListMembers>();
    docs.put("/api/v1/workspaces/{workspace}/members", "Give somebody a role in a workspace")
        .takes::<SetMember>()
        .answers::<ListMembers>();
    docs.delete("/api/v1/workspaces/{workspace}/members", "Take somebody's role in a workspace away")
        .query(WHO)
        .answers::<ListMembers>();
    docs.get("/api/v1/roles/workspace/{workspace}", "Who is in a workspace, by role")
        .query(&[("name", Text)]);
}

fn projects(docs: &mut Docs) {
    docs.get("/api/v1/workspaces/{workspace}/projects", "Projects of a workspace")
        .query(PAGE)
        .query(ORDER)
        .query(&[("name", Text), ("archived", Flag), ("users", Texts), ("userIds", Texts)])
        .answers::<ListProjects>();
    docs.post("/api/v1/workspaces/{workspace}/projects", "Make a project")
        .takes::<EditProject>()
        .answers::<ProjectResponse>();
    docs.get("/api/v1/projects/{project}", "One project").answers::<ProjectResponse>();
    docs.get("/api/v1/projects/key/{key}", "One project by its key").answers::<ProjectResponse>();
    docs.patch("/api/v1/projects/{project}", "Change a project: what is absent stays")
        .takes::<EditProject>()
        .answers::<ProjectResponse>();
    docs.delete("/api/v1/projects/{project}", "Delete a project").answers::<Deleted>();
    docs.post("/api/v1/projects/{project}/archive", "Put a project away");
    docs.post("/api/v1/projects/{project}/unarchive", "Take a project out again");
    docs.post("/api/v1/projects/{project}/move", "Move a project to another workspace")
        .takes::<MoveProject>();
    docs.post("/api/v1/projects/{project}/notes", "Add a note to a project")
        .takes::<Note>()
        .answers::<Notes>();
    docs.put("/api/v1/projects/{project}/notes", "Replace all notes of a project")
        .takes::<Notes>()
        .answers::<Notes>();
    docs.get("/api/v1/projects/{project}/members", "Who is in a project").answers::<ListMembers>();
    docs.put("/api/v1/projects/{project}/members", "Give somebody a role in a project")
        .takes::<SetMember>()
        .answers::<ListMembers>();
    docs.delete("/api/v1/projects/{project}/members", "Take somebody's role in a project away")
        .query(WHO)
        .answers::<ListMembers>();
}

fn templates(docs: &mut Docs) {
    docs.get("/api/v1/templates", "Templates, by name")
        .query(PAGE)
        .query(ORDER)
        .query(&[("name", Text), ("workspaceIds", Texts)])
        .answers::<ListTemplates>();
    docs.get("/api/v1/templates/{template}", "One template").answers::<TemplateResponse>();
    docs.post("/api/v1/templates/{template}", "Make a template")
        .takes::<NewTemplate>()
        .answers::<TemplateResponse>();
    docs.put("/api/v1/templates/{template}", "Make a template, or give it another configuration")
        .takes::<NewTemplate>()
        .answers::<TemplateResponse>();
    docs.patch("/api/v1/templates/{template}", "Give a template the configuration that the body is")
        .takes::<serde_json::Map<String, serde_json::Value>>()
        .answers::<TemplateResponse>();
    docs.delete("/api/v1/templates/{template}", "Delete a template");
    docs.patch("/api/v1/template/rename", "Give a template another name")
        .takes::<RenameTemplate>()
        .answers::<TemplateResponse>();
}
