//! Commands, tasks and their logs, and lists of what doesn't run yet.

use ::api::command::{
    CommandResponse, ContextDirectory, GetCommand, GetTask, LaunchCommand, LaunchCommandResponse,
    ListCommands, ListTasks, SetPriority,
};

use super::Kind::{Flag, Number, Text, Texts};
use super::{Docs, ORDER, PAGE};

pub(super) fn describe(docs: &mut Docs) {
    let owned = &[("users", Texts), ("userIds", Texts), ("workspaceId", Number)];
    docs.get("/api/v1/commands", "Commands, the newest first")
        .query(PAGE)
        .query(ORDER)
        .query(owned)
        .query(&[("idPrefix", Text)])
        .answers::<ListCommands>();
    docs.post("/api/v1/commands", "Start a command")
        .takes::<LaunchCommand>()
        .answers::<LaunchCommandResponse>();
    docs.get("/api/v1/commands/{task}", "One command and its configuration").answers::<GetCommand>();
    docs.post("/api/v1/commands/{task}/kill", "End a command").answers::<CommandResponse>();
    docs.post("/api/v1/commands/{task}/set_priority", "Give a command another priority")
        .takes::<SetPriority>()
        .answers::<CommandResponse>();
    for path in ["/api/v1/notebooks", "/api/v1/tensorboards", "/api/v1/shells", "/api/v1/experiments"] {
        docs.get(path, "An empty list: these don't run yet").query(PAGE).query(ORDER).query(owned);
    }
    docs.get("/api/v1/tasks", "What runs on the agents, by allocation").answers::<ListTasks>();
    docs.get("/api/v1/tasks/{task}", "One task; for the task itself too").answers::<GetTask>();
    docs.get(
        "/api/v1/tasks/{task}/context_directory",
        "The packed context directory; for the task itself too",
    )
    .answers::<ContextDirectory>();
    docs.get("/api/v1/tasks/{task}/logs", "A task's log, as lines of JSON")
        .query(&[
            ("follow", Flag),
            ("limit", Number),
            ("orderBy", Text),
            ("searchText", Text),
            ("levels", Texts),
            ("stdtypes", Texts),
            ("sources", Texts),
            ("timestampBefore", Text),
            ("timestampAfter", Text),
        ])
        .streams("application/json");
    docs.get("/api/v1/tasks/{task}/output", "A task's output, byte for byte")
        .query(&[("follow", Flag), ("offset", Number)])
        .streams("application/octet-stream");
}
