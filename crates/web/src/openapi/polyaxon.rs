//! What Polyaxon's client asks.

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
    docs.post("/api/v1/superusers/grant/{name}/", "Make an administrator; for administrators")
        .answers_with(200, None);
    docs.post("/api/v1/superusers/revoke/{name}/", "Take the role away; for administrators")
        .answers_with(200, None);
}
