//! What Polyaxon's client asks.

use serde_json::Value;

use super::Docs;

pub(super) fn describe(docs: &mut Docs) {
    docs.post("/api/v1/users/token/", "Log in, for thirty days").takes_form(&["username", "password"]);
    docs.get("/api/v1/versions/cli/", "The client that gets along");
    docs.get("/api/v1/versions/lib/", "The client library that gets along");
    docs.get("/api/v1/versions/platform/", "The platform that this stands in for");
    docs.get("/api/v1/versions/chart/", "The chart that this stands in for");
    docs.get("/api/v1/log_handler/", "Nothing is reported to anybody");
    docs.get("/api/v1/users/", "Who the caller is");
    docs.post("/api/v1/users/activate/{name}/", "Let an account in; for administrators")
        .answers_with(200, None);
    docs.delete("/api/v1/users/delete/{name}/", "Take an account away for good; for administrators")
        .answers_with(204, None);
    docs.post("/api/v1/superusers/grant/{name}/", "Make an administrator; for administrators")
        .answers_with(200, None);
    docs.post("/api/v1/superusers/revoke/{name}/", "Take the role away; for administrators")
        .answers_with(200, None);
    let json = Some("application/json");
    docs.post("/api/v1/projects/", "Make a project of one's own").takes::<Value>().answers_with(201, json);
    docs.get("/api/v1/bookmarks/{user}/{kind}/", "What the caller marked");
    docs.get("/api/v1/{owner}/", "The projects of an account that the caller sees");
    docs.get("/api/v1/{owner}/{project}/", "One project");
    docs.patch("/api/v1/{owner}/{project}/", "Change a project: what is absent stays").takes::<Value>();
    docs.delete("/api/v1/{owner}/{project}/", "Delete a project").answers_with(204, None);
    docs.post("/api/v1/{owner}/{project}/bookmark/", "Mark a project").answers_with(201, None);
    docs.delete("/api/v1/{owner}/{project}/unbookmark/", "Mark it no more").answers_with(204, None);
    for (path, what) in [
        ("/api/v1/{owner}/{project}/experiments/", "A project's experiments: none yet"),
        ("/api/v1/{owner}/{project}/groups/", "A project's groups: none yet"),
        ("/api/v1/{owner}/{project}/jobs/", "A project's jobs: none yet"),
        ("/api/v1/{owner}/{project}/builds/", "A project's builds: none yet"),
        ("/api/v1/{owner}/{project}/tensorboards/", "A project's TensorBoards: none yet"),
    ] {
        docs.get(path, what);
    }
}
