//! Workspaces, projects, templates, and who is in them.

use super::Sample;

pub(super) const SAMPLES: &[Sample] = &[
    Sample::new("GET", "/api/v1/workspaces", ""),
    Sample::new("POST", "/api/v1/workspaces", "a new one")
        .body(r#"{"name": "{fresh}"}"#)
        .asks(&[("CreateWorkspace", "")]),
    Sample::new("POST", "/api/v1/workspaces", "with a Unix identity")
        .body(r#"{"name": "{fresh}", "agentUserGroup": {"agentGid": 205}}"#)
        .asks(&[("CreateWorkspace", "with a Unix identity")]),
    Sample::new("GET", "/api/v1/workspaces/{workspace}", "the shared one")
        .at("/api/v1/workspaces/1")
        .asks(&[("ReadWorkspace", "the shared one")]),
    Sample::new("GET", "/api/v1/workspaces/{workspace}", "private").asks(&[("ReadWorkspace", "private")]),
    Sample::new("PATCH", "/api/v1/workspaces/{workspace}", "the shared one")
        .at("/api/v1/workspaces/1")
        .body(r#"{"name": "{fresh}"}"#)
        .asks(&[("EditWorkspace", "the shared one")])
        .then(400),
    Sample::new("PATCH", "/api/v1/workspaces/{workspace}", "name")
        .body(r#"{"name": "{fresh}"}"#)
        .asks(&[("EditWorkspace", "private")]),
    Sample::new("PATCH", "/api/v1/workspaces/{workspace}", "visibility")
        .body(r#"{"private": false}"#)
        .asks(&[("EditWorkspace", "private: opened")]),
    Sample::new("PATCH", "/api/v1/workspaces/{workspace}", "where checkpoints go")
        .body(r#"{"checkpointStorageConfig": {"type": "gcs", "bucket": "b"}}"#)
        .asks(&[("EditWorkspace", "private: where checkpoints go")]),
    Sample::new("PATCH", "/api/v1/workspaces/{workspace}", "Unix identity")
        .body(r#"{"agentUserGroup": {"agentGid": 205}}"#)
        .asks(&[("EditWorkspace", "private: Unix identity")]),
    Sample::new("DELETE", "/api/v1/workspaces/{workspace}", "the shared one")
        .at("/api/v1/workspaces/1")
        .asks(&[("ChangeWorkspace", "the shared one")])
        .then(400),
    Sample::new("DELETE", "/api/v1/workspaces/{workspace}", "private")
        .asks(&[("ChangeWorkspace", "private")]),
    Sample::new("POST", "/api/v1/workspaces/{workspace}/archive", "private")
        .asks(&[("ChangeWorkspace", "private")]),
    Sample::new("POST", "/api/v1/workspaces/{workspace}/unarchive", "private")
        .asks(&[("ChangeWorkspace", "private")]),
    Sample::new("GET", "/api/v1/workspaces/{workspace}/available-resource-pools", "private")
        .asks(&[("ReadWorkspace", "private")]),
    Sample::new("GET", "/api/v1/workspaces/{workspace}/list-namespace-bindings", "private")
        .asks(&[("ReadWorkspace", "private")]),
    Sample::new("GET", "/api/v1/workspaces/{workspace}/members", "private")
        .asks(&[("SeeMembers", "private")]),
    Sample::new("PUT", "/api/v1/workspaces/{workspace}/members", "private")
        .body(r#"{"userId": 1, "role": "editor"}"#)
        .asks(&[("ChangeWorkspace", "private: a role given")]),
    Sample::new("DELETE", "/api/v1/workspaces/{workspace}/members", "private")
        .at("/api/v1/workspaces/{workspace}/members?userId=1")
        .asks(&[("ChangeWorkspace", "private")]),
    Sample::new("GET", "/api/v1/roles/workspace/{workspace}", "private").asks(&[("SeeMembers", "private")]),
    Sample::new("GET", "/api/v1/workspaces/{workspace}/projects", "private")
        .asks(&[("ReadWorkspace", "private")]),
    Sample::new("POST", "/api/v1/workspaces/{workspace}/projects", "into the shared one")
        .at("/api/v1/workspaces/1/projects")
        .body(r#"{"name": "{fresh}"}"#)
        .asks(&[("AddToWorkspace", "the shared one")])
        .then(400),
    Sample::new("POST", "/api/v1/workspaces/{workspace}/projects", "into a private one")
        .body(r#"{"name": "{fresh}"}"#)
        .asks(&[("AddToWorkspace", "private")]),
    Sample::new("GET", "/api/v1/projects/{project}", "private")
        .asks(&[("ReadProject", "private, in a private workspace")]),
    Sample::new("GET", "/api/v1/projects/key/{key}", "the shared workspace's")
        .at("/api/v1/projects/key/UNCAT")
        .asks(&[("ReadProject", "the shared one")]),
    Sample::new("PATCH", "/api/v1/projects/{project}", "texts")
        .body(r#"{"description": "{fresh}"}"#)
        .asks(&[("ChangeProject", "private, in a private workspace")]),
    Sample::new("PATCH", "/api/v1/projects/{project}", "visibility")
        .body(r#"{"private": false}"#)
        .asks(&[("ChangeProject", "private, in a private workspace: opened")]),
    Sample::new("DELETE", "/api/v1/projects/{project}", "private")
        .asks(&[("ManageProject", "private, in a private workspace")]),
    Sample::new("POST", "/api/v1/projects/{project}/archive", "private")
        .asks(&[("ManageProject", "private, in a private workspace")]),
    Sample::new("POST", "/api/v1/projects/{project}/unarchive", "private")
        .asks(&[("ManageProject", "private, in a private workspace")]),
    Sample::new("POST", "/api/v1/projects/{project}/move", "into another private one of the owner's")
        .body(r#"{"destinationWorkspaceId": {workspace}}"#)
        .asks(&[
            ("ManageProject", "private, in a private workspace: moved, or a role given"),
            ("AddToWorkspace", "private"),
        ]),
    Sample::new("POST", "/api/v1/projects/{project}/notes", "private")
        .body(r#"{"name": "x"}"#)
        .asks(&[("ChangeProject", "private, in a private workspace")]),
    Sample::new("PUT", "/api/v1/projects/{project}/notes", "private")
        .asks(&[("ChangeProject", "private, in a private workspace")]),
    Sample::new("GET", "/api/v1/projects/{project}/members", "private")
        .asks(&[("ReadProject", "private, in a private workspace")]),
    Sample::new("PUT", "/api/v1/projects/{project}/members", "private")
        .body(r#"{"userId": 1, "role": "editor"}"#)
        .asks(&[("ManageProject", "private, in a private workspace: moved, or a role given")]),
    Sample::new("DELETE", "/api/v1/projects/{project}/members", "private")
        .at("/api/v1/projects/{project}/members?userId=1")
        .asks(&[("ManageProject", "private, in a private workspace")]),
    Sample::new("GET", "/api/v1/templates", ""),
    Sample::new("GET", "/api/v1/templates/{template}", "in a private workspace")
        .asks(&[("ReadTemplate", "in a private workspace")]),
    Sample::new("POST", "/api/v1/templates/{template}", "into the shared one")
        .at("/api/v1/templates/{fresh}")
        .asks(&[("AddTemplate", "in the shared workspace")]),
    Sample::new("POST", "/api/v1/templates/{template}", "into a private one")
        .at("/api/v1/templates/{fresh}")
        .body(r#"{"workspaceId": {workspace}}"#)
        .asks(&[("AddTemplate", "in a private workspace")]),
    Sample::new("PUT", "/api/v1/templates/{template}", "into a private one")
        .at("/api/v1/templates/{fresh}")
        .body(r#"{"workspaceId": {workspace}}"#)
        .asks(&[("AddTemplate", "in a private workspace")]),
    Sample::new("PATCH", "/api/v1/templates/{template}", "in a private workspace")
        .body("{}")
        .asks(&[("ChangeTemplate", "in a private workspace")]),
    Sample::new("DELETE", "/api/v1/templates/{template}", "in a private workspace")
        .asks(&[("ChangeTemplate", "in a private workspace")]),
    Sample::new("PATCH", "/api/v1/template/rename", "in a private workspace")
        .body(r#"{"oldName": "{template}", "newName": "{fresh}"}"#)
        .asks(&[("ChangeTemplate", "in a private workspace")]),
];
