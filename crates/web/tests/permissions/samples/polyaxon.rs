//! What Polyaxon's client asks.

use super::Sample;

pub(super) const SAMPLES: &[Sample] = &[
    Sample::new("POST", "/api/v1/users/token/", "the owner's name").form("username={ownername}&password="),
    Sample::new("GET", "/api/v1/versions/cli/", ""),
    Sample::new("GET", "/api/v1/versions/lib/", ""),
    Sample::new("GET", "/api/v1/versions/platform/", ""),
    Sample::new("GET", "/api/v1/versions/chart/", ""),
    Sample::new("GET", "/api/v1/log_handler/", ""),
    Sample::new("GET", "/api/v1/users/", ""),
    Sample::new("POST", "/api/v1/users/activate/{name}/", "the owner")
        .at("/api/v1/users/activate/{ownername}/")
        .asks(&[("ChangeUser", "put out")]),
    Sample::new("DELETE", "/api/v1/users/delete/{name}/", "one that is new")
        .at("/api/v1/users/delete/{sparename}/")
        .asks(&[("DeleteUser", "")]),
    Sample::new("POST", "/api/v1/projects/", "for oneself")
        .body(r#"{"name": "{fresh}"}"#)
        .asks(&[("CreateWorkspace", ""), ("AddToWorkspace", "one's own")]),
    Sample::new("GET", "/api/v1/bookmarks/{user}/{kind}/", "the administrator's")
        .at("/api/v1/bookmarks/boss/projects/")
        .administrators_own(),
    Sample::new("GET", "/api/v1/{owner}/", "the owner's").at("/api/v1/{ownername}/"),
    Sample::new("GET", "/api/v1/{owner}/{project}/", "private")
        .at("/api/v1/{ownername}/{slug}/")
        .asks(&[("ReadProject", "private, in another private workspace")]),
    Sample::new("PATCH", "/api/v1/{owner}/{project}/", "texts")
        .at("/api/v1/{ownername}/{slug}/")
        .body(r#"{"description": "x"}"#)
        .asks(&[("ChangeProject", "private, in another private workspace")]),
    Sample::new("PATCH", "/api/v1/{owner}/{project}/", "visibility")
        .at("/api/v1/{ownername}/{slug}/")
        .body(r#"{"is_public": true}"#)
        .asks(&[("ChangeProject", "private, in another private workspace: opened")]),
    Sample::new("DELETE", "/api/v1/{owner}/{project}/", "private")
        .at("/api/v1/{ownername}/{slug}/")
        .asks(&[("ManageProject", "private, in another private workspace")]),
    Sample::new("POST", "/api/v1/{owner}/{project}/bookmark/", "private")
        .at("/api/v1/{ownername}/{slug}/bookmark/")
        .asks(&[("ReadProject", "private, in another private workspace")]),
    Sample::new("DELETE", "/api/v1/{owner}/{project}/unbookmark/", "private")
        .at("/api/v1/{ownername}/{slug}/unbookmark/")
        .asks(&[("ReadProject", "private, in another private workspace")]),
    Sample::new("GET", "/api/v1/{owner}/{project}/experiments/", "private")
        .at("/api/v1/{ownername}/{slug}/experiments/")
        .asks(&[("ReadProject", "private, in another private workspace")]),
    Sample::new("GET", "/api/v1/{owner}/{project}/groups/", "private")
        .at("/api/v1/{ownername}/{slug}/groups/")
        .asks(&[("ReadProject", "private, in another private workspace")]),
    Sample::new("GET", "/api/v1/{owner}/{project}/jobs/", "private")
        .at("/api/v1/{ownername}/{slug}/jobs/")
        .asks(&[("ReadProject", "private, in another private workspace")]),
    Sample::new("GET", "/api/v1/{owner}/{project}/builds/", "private")
        .at("/api/v1/{ownername}/{slug}/builds/")
        .asks(&[("ReadProject", "private, in another private workspace")]),
    Sample::new("GET", "/api/v1/{owner}/{project}/tensorboards/", "private")
        .at("/api/v1/{ownername}/{slug}/tensorboards/")
        .asks(&[("ReadProject", "private, in another private workspace")]),
    Sample::new("POST", "/api/v1/superusers/grant/{name}/", "the owner")
        .at("/api/v1/superusers/grant/{ownername}/")
        .asks(&[("ChangeUser", "role: given")])
        .spoils(),
    Sample::new("POST", "/api/v1/superusers/revoke/{name}/", "the owner")
        .at("/api/v1/superusers/revoke/{ownername}/")
        .asks(&[("ChangeUser", "role: given")])
        .spoils(),
];
