//! Workspaces, projects, their members.

use serde_json::Value;

use super::{Client, ClientError, Result, query};
use crate::page::Pagination;
use crate::project::{EditProject, ListProjects, MoveProject, Project, ProjectResponse};
use crate::workspace::{
    Deleted, EditWorkspace, ListMembers, ListWorkspaces, Member, SetMember, Workspace, WorkspaceChanged,
    WorkspaceResponse,
};

/// Rows asked for at once.
const PAGE: i64 = 1000;

/// What has members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A workspace.
    Workspace(i64),
    /// A project.
    Project(i64),
}

impl Place {
    fn path(self) -> String {
        match self {
            Self::Workspace(id) => format!("/api/v1/workspaces/{id}"),
            Self::Project(id) => format!("/api/v1/projects/{id}"),
        }
    }
}

impl Client {
    /// All workspaces that the caller sees, or those with one name, or those that are archived or not.
    ///
    /// # Errors
    /// What went wrong, on the way or there.
    pub async fn workspaces(&self, name: Option<&str>, archived: Option<bool>) -> Result<Vec<Workspace>> {
        let mut workspaces = Vec::new();
        loop {
            let mut parameters = page_from(workspaces.len());
            parameters.extend(name.map(|name| ("nameCaseSensitive", name.to_owned())));
            parameters.extend(archived.map(|archived| ("archived", archived.to_string())));
            let page: ListWorkspaces = self.get(&format!("/api/v1/workspaces{}", query(parameters))).await?;
            let last = page.workspaces.is_empty() || is_last(page.pagination);
            workspaces.extend(page.workspaces);
            if last {
                return Ok(workspaces);
            }
        }
    }

    /// The workspace of that name.
    ///
    /// # Errors
    /// 404 when there is none for the caller.
    pub async fn workspace_by_name(&self, name: &str) -> Result<Workspace> {
        let found = if name.is_empty() { None } else { self.workspaces(Some(name), None).await?.pop() };
        found.ok_or_else(|| ClientError::not_found(format!("workspace '{name}' not found")))
    }

    /// One workspace.
    ///
    /// # Errors
    /// 404 when there is none for the caller.
    pub async fn workspace(&self, id: i64) -> Result<Workspace> {
        let path = format!("/api/v1/workspaces/{id}");
        self.get::<WorkspaceResponse>(&path).await.map(|answer| answer.workspace)
    }

    /// Makes a workspace.
    ///
    /// # Errors
    /// What went wrong, on the way or there.
    pub async fn create_workspace(&self, new: &EditWorkspace) -> Result<Workspace> {
        self.post::<_, WorkspaceChanged>("/api/v1/workspaces", new).await.map(|answer| answer.workspace)
    }

    /// Changes a workspace: what is absent stays.
    ///
    /// # Errors
    /// What went wrong, on the way or there.
    pub async fn patch_workspace(&self, id: i64, change: &EditWorkspace) -> Result<Workspace> {
        let path = format!("/api/v1/workspaces/{id}");
        self.patch::<_, WorkspaceChanged>(&path, change).await.map(|answer| answer.workspace)
    }

    /// Puts a workspace or project away, or takes it out again.
    ///
    /// # Errors
    /// What went wrong, on the way or there.
    pub async fn set_archived(&self, place: Place, archived: bool) -> Result<()> {
        let verb = if archived { "archive" } else { "unarchive" };
        self.post::<_, Value>(&format!("{}/{verb}", place.path()), &()).await.map(drop)
    }

    /// Deletes a workspace or project.
    ///
    /// # Errors
    /// What went wrong, on the way or there.
    pub async fn delete_place(&self, place: Place) -> Result<()> {
        self.delete::<Deleted>(&place.path()).await.map(drop)
    }

    /// Who is in a workspace or project.
    ///
    /// # Errors
    /// What went wrong, on the way or there.
    pub async fn members(&self, place: Place) -> Result<Vec<Member>> {
        self.get::<ListMembers>(&format!("{}/members", place.path())).await.map(|answer| answer.members)
    }

    /// Gives somebody a role; gives all members.
    ///
    /// # Errors
    /// What went wrong, on the way or there.
    pub async fn set_member(&self, place: Place, member: &SetMember) -> Result<Vec<Member>> {
        let path = format!("{}/members", place.path());
        self.put::<_, ListMembers>(&path, member).await.map(|answer| answer.members)
    }

    /// Takes somebody's role away; gives the other members.
    ///
    /// # Errors
    /// What went wrong, on the way or there.
    pub async fn remove_member(&self, place: Place, member: &SetMember) -> Result<Vec<Member>> {
        let ids = [("userId", member.user_id), ("groupId", member.group_id)];
        let ids = ids.into_iter().filter_map(|(key, id)| Some((key, id?.to_string())));
        let path = format!("{}/members{}", place.path(), query(ids));
        self.delete::<ListMembers>(&path).await.map(|answer| answer.members)
    }

    /// The projects of a workspace that the caller sees, or the one with a name.
    ///
    /// # Errors
    /// What went wrong, on the way or there.
    pub async fn projects(&self, workspace: i64, name: Option<&str>) -> Result<Vec<Project>> {
        let mut projects = Vec::new();
        loop {
            let mut parameters = page_from(projects.len());
            parameters.extend(name.map(|name| ("name", name.to_owned())));
            let path = format!("/api/v1/workspaces/{workspace}/projects{}", query(parameters));
            let page: ListProjects = self.get(&path).await?;
            let last = page.projects.is_empty() || is_last(page.pagination);
            projects.extend(page.projects);
            if last {
                return Ok(projects);
            }
        }
    }

    /// The project of that name in a workspace.
    ///
    /// # Errors
    /// 404 when there is none for the caller.
    pub async fn project_by_name(&self, workspace: i64, name: &str) -> Result<Project> {
        let found = if name.is_empty() { None } else { self.projects(workspace, Some(name)).await?.pop() };
        found.ok_or_else(|| ClientError::not_found(format!("project '{name}' not found")))
    }

    /// Makes a project.
    ///
    /// # Errors
    /// What went wrong, on the way or there.
    pub async fn create_project(&self, workspace: i64, new: &EditProject) -> Result<Project> {
        let path = format!("/api/v1/workspaces/{workspace}/projects");
        self.post::<_, ProjectResponse>(&path, new).await.map(|answer| answer.project)
    }

    /// Changes a project: what is absent stays.
    ///
    /// # Errors
    /// What went wrong, on the way or there.
    pub async fn patch_project(&self, id: i64, change: &EditProject) -> Result<Project> {
        let path = format!("/api/v1/projects/{id}");
        self.patch::<_, ProjectResponse>(&path, change).await.map(|answer| answer.project)
    }

    /// Moves a project to another workspace.
    ///
    /// # Errors
    /// What went wrong, on the way or there.
    pub async fn move_project(&self, id: i64, workspace: i64) -> Result<()> {
        let body = MoveProject { destination_workspace_id: Some(workspace) };
        self.post::<_, Value>(&format!("/api/v1/projects/{id}/move"), &body).await.map(drop)
    }
}

fn page_from(offset: usize) -> Vec<(&'static str, String)> {
    vec![("offset", offset.to_string()), ("limit", PAGE.to_string())]
}

fn is_last(page: Pagination) -> bool {
    page.end_index >= page.total
}
