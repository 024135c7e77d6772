//! A request for every route, about something of the owner's; what changes in several ways has several.
//!
//! In path and body stand for themselves: `{owner}` the owner's account, `{member}` the account of the member, `{task}` the owner's running task, `{fresh}` a
//! new name, `{newcomer}` a new account that waits, `{spare}` a new one, `{sparename}` the name of one, `{code}` a new
//! invitation of a person, `{session}` a new session
//! of the owner's, `{token}` a new access token of the owner's, `{group}` a new group, `{machine}` a new agent, `{asset}` the address of a style
//! sheet;
//! `{workspace}` a private workspace of the owner's, `{project}`, `{template}` and `{hidden}` a private project, a template
//! and a queued task in it, all new; `{slug}` the name of a new private project in the owner's personal workspace.

use web::Row;

/// A request.
pub(crate) struct Sample {
    pub(crate) method: &'static str,
    pub(crate) route: &'static str,
    /// What is tried, for the reader of the table.
    pub(crate) what: &'static str,
    pub(crate) path: &'static str,
    pub(crate) body: &'static str,
    pub(crate) headers: &'static [(&'static str, &'static str)],
}

impl Sample {
    /// Whether it is a request of that route.
    pub(crate) fn is_for(&self, row: &Row) -> bool {
        row.method == self.method && row.path == self.route
    }
}

const fn plain(route: &'static str) -> Sample {
    get(route, "", route)
}

const fn get(route: &'static str, what: &'static str, path: &'static str) -> Sample {
    Sample { method: "GET", route, what, path, body: "", headers: &[] }
}

const fn post(route: &'static str, what: &'static str, path: &'static str, body: &'static str) -> Sample {
    Sample { method: "POST", route, what, path, body, headers: &[] }
}

const fn method(
    method: &'static str,
    route: &'static str,
    what: &'static str,
    path: &'static str,
    body: &'static str,
) -> Sample {
    Sample { method, route, what, path, body, headers: &[] }
}

const fn patch(what: &'static str, body: &'static str) -> Sample {
    let (route, path) = ("/api/v1/users/{user}", "/api/v1/users/{owner}");
    Sample { method: "PATCH", route, what, path, body, headers: &[] }
}

/// Editor, which the member is.
const ROLE_OF_MEMBER: &str = r#"{"userRoleAssignments": [{"userId": {member},
    "roleAssignment": {"role": {"roleId": 2}, "scopeWorkspaceId": {workspace}}}]}"#;
const WORKSPACE: &str = "/api/v1/workspaces/{workspace}";
const WORKSPACE_MEMBERS: &str = "/api/v1/workspaces/{workspace}/members";
const PROJECTS: &str = "/api/v1/workspaces/{workspace}/projects";
const PROJECT: &str = "/api/v1/projects/{project}";
const PROJECT_MEMBERS: &str = "/api/v1/projects/{project}/members";
const TEMPLATE: &str = "/api/v1/templates/{template}";
const SLUG: &str = "/api/v1/{owner}/{project}/";
const COMMAND: &str = "/api/v1/commands/{task}";
const NEW_COMMAND: &str = "/api/v1/commands";

/// What a WebSocket's first request carries.
const UPGRADE: &[(&str, &str)] = &[
    ("connection", "upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// What a browser says of our own form.
const FORM: &[(&str, &str)] =
    &[("content-type", "application/x-www-form-urlencoded"), ("sec-fetch-site", "same-origin")];

const REGISTER: &str =
    "username={fresh}&email={fresh}@lab.example&password=a+quiet+lake&again=a+quiet+lake&invitation={code}";

/// All of them.
pub(crate) const SAMPLES: &[Sample] = &[
    plain("/info"),
    plain("/health"),
    plain("/api/v1/openapi.json"),
    plain("/api/v1/master"),
    plain("/api/v1/master/telemetry"),
    plain("/api/v1/master/config"),
    plain("/api/v1/workspaces"),
    plain("/api/v1/notebooks"),
    plain("/api/v1/tensorboards"),
    plain("/api/v1/shells"),
    plain("/api/v1/experiments"),
    plain("/api/v1/templates"),
    plain("/api/v1/job-queues-v2"),
    plain("/api/v1/resource-pools"),
    get(
        "/api/v1/resource-pools/{pool}/workspace-bindings",
        "the one that there is",
        "/api/v1/resource-pools/default/workspace-bindings",
    ),
    post("/api/v1/workspaces", "a new one", "/api/v1/workspaces", r#"{"name": "{fresh}"}"#),
    post(
        "/api/v1/workspaces",
        "with a Unix identity",
        "/api/v1/workspaces",
        r#"{"name": "{fresh}", "agentUserGroup": {"agentGid": 205}}"#,
    ),
    get(WORKSPACE, "the shared one", "/api/v1/workspaces/1"),
    get(WORKSPACE, "private", WORKSPACE),
    method("PATCH", WORKSPACE, "the shared one", "/api/v1/workspaces/1", r#"{"name": "{fresh}"}"#),
    method("PATCH", WORKSPACE, "name", WORKSPACE, r#"{"name": "{fresh}"}"#),
    method("PATCH", WORKSPACE, "visibility", WORKSPACE, r#"{"private": false}"#),
    method("PATCH", WORKSPACE, "Unix identity", WORKSPACE, r#"{"agentUserGroup": {"agentGid": 205}}"#),
    method("DELETE", WORKSPACE, "the shared one", "/api/v1/workspaces/1", ""),
    method("DELETE", WORKSPACE, "private", WORKSPACE, ""),
    post("/api/v1/workspaces/{workspace}/archive", "private", "/api/v1/workspaces/{workspace}/archive", ""),
    post(
        "/api/v1/workspaces/{workspace}/unarchive",
        "private",
        "/api/v1/workspaces/{workspace}/unarchive",
        "",
    ),
    get(
        "/api/v1/workspaces/{workspace}/available-resource-pools",
        "private",
        "/api/v1/workspaces/{workspace}/available-resource-pools",
    ),
    get(
        "/api/v1/workspaces/{workspace}/list-namespace-bindings",
        "private",
        "/api/v1/workspaces/{workspace}/list-namespace-bindings",
    ),
    get(WORKSPACE_MEMBERS, "private", WORKSPACE_MEMBERS),
    method("PUT", WORKSPACE_MEMBERS, "private", WORKSPACE_MEMBERS, r#"{"userId": 1, "role": "editor"}"#),
    method("DELETE", WORKSPACE_MEMBERS, "private", "/api/v1/workspaces/{workspace}/members?userId=1", ""),
    get("/api/v1/roles/workspace/{workspace}", "private", "/api/v1/roles/workspace/{workspace}"),
    get(PROJECTS, "private", PROJECTS),
    method(
        "POST",
        PROJECTS,
        "into the shared one",
        "/api/v1/workspaces/1/projects",
        r#"{"name": "{fresh}"}"#,
    ),
    method("POST", PROJECTS, "into a private one", PROJECTS, r#"{"name": "{fresh}"}"#),
    get(PROJECT, "private", PROJECT),
    get("/api/v1/projects/key/{key}", "the shared workspace's", "/api/v1/projects/key/UNCAT"),
    method("PATCH", PROJECT, "texts", PROJECT, r#"{"description": "{fresh}"}"#),
    method("PATCH", PROJECT, "visibility", PROJECT, r#"{"private": false}"#),
    method("DELETE", PROJECT, "private", PROJECT, ""),
    post("/api/v1/projects/{project}/archive", "private", "/api/v1/projects/{project}/archive", ""),
    post("/api/v1/projects/{project}/unarchive", "private", "/api/v1/projects/{project}/unarchive", ""),
    post(
        "/api/v1/projects/{project}/move",
        "into another private one of the owner's",
        "/api/v1/projects/{project}/move",
        r#"{"destinationWorkspaceId": {workspace}}"#,
    ),
    post(
        "/api/v1/projects/{project}/notes",
        "private",
        "/api/v1/projects/{project}/notes",
        r#"{"name": "x"}"#,
    ),
    method("PUT", "/api/v1/projects/{project}/notes", "private", "/api/v1/projects/{project}/notes", ""),
    get(PROJECT_MEMBERS, "private", PROJECT_MEMBERS),
    method("PUT", PROJECT_MEMBERS, "private", PROJECT_MEMBERS, r#"{"userId": 1, "role": "editor"}"#),
    method("DELETE", PROJECT_MEMBERS, "private", "/api/v1/projects/{project}/members?userId=1", ""),
    get(TEMPLATE, "in a private workspace", TEMPLATE),
    method("POST", TEMPLATE, "into the shared one", "/api/v1/templates/{fresh}", ""),
    method(
        "POST",
        TEMPLATE,
        "into a private one",
        "/api/v1/templates/{fresh}",
        r#"{"workspaceId": {workspace}}"#,
    ),
    method(
        "PUT",
        TEMPLATE,
        "into a private one",
        "/api/v1/templates/{fresh}",
        r#"{"workspaceId": {workspace}}"#,
    ),
    method("PATCH", TEMPLATE, "in a private workspace", TEMPLATE, "{}"),
    method("DELETE", TEMPLATE, "in a private workspace", TEMPLATE, ""),
    method(
        "PATCH",
        "/api/v1/template/rename",
        "in a private workspace",
        "/api/v1/template/rename",
        r#"{"oldName": "{template}", "newName": "{fresh}"}"#,
    ),
    post(
        "/api/v1/auth/login",
        "the owner's name",
        "/api/v1/auth/login",
        r#"{"username": "owner", "password": ""}"#,
    ),
    post("/api/v1/auth/logout", "own session", "/api/v1/auth/logout", ""),
    plain("/api/v1/auth/user"),
    plain("/api/v1/me"),
    plain("/api/v1/users"),
    post("/api/v1/users", "a new account", "/api/v1/users", r#"{"user": {"username": "{fresh}"}}"#),
    get("/api/v1/users/{user}", "the owner", "/api/v1/users/{owner}"),
    get("/api/v1/users/{user}/sessions", "the owner's", "/api/v1/users/{owner}/sessions"),
    Sample {
        method: "DELETE",
        route: "/api/v1/sessions/{session}",
        what: "another one of the owner's",
        path: "/api/v1/sessions/{session}",
        body: "",
        headers: &[],
    },
    patch("display name", r#"{"displayName": "{fresh}"}"#),
    patch("name", r#"{"username": "{fresh}"}"#),
    patch("e-mail address", r#"{"email": "{fresh}@lab.example"}"#),
    patch("password", r#"{"password": "a quiet lake"}"#),
    patch("role", r#"{"admin": false}"#),
    patch("active or not", r#"{"active": true}"#),
    patch("sign-on only", r#"{"remote": false}"#),
    patch(
        "Unix identity",
        r#"{"agentUserGroup": {"agentUid": 205, "agentGid": 205, "agentUser": "x", "agentGroup": "x"}}"#,
    ),
    get("/api/v1/users/{user}/by-username", "the owner", "/api/v1/users/owner/by-username"),
    post(
        "/api/v1/users/{user}/password",
        "the owner's",
        "/api/v1/users/{owner}/password",
        r#""a quiet lake""#,
    ),
    plain("/api/v1/audit"),
    plain("/api/v1/audit/export"),
    plain("/api/v1/audit/verify"),
    method(
        "PATCH",
        "/api/v1/users",
        "letting the owner in",
        "/api/v1/users",
        r#"{"userIds": [{owner}], "activate": true}"#,
    ),
    method(
        "PATCH",
        "/api/v1/users/assignments",
        "the owner into a group",
        "/api/v1/users/assignments",
        r#"{"userIds": [{owner}], "addGroups": [{group}]}"#,
    ),
    get("/api/v1/users/setting", "own", "/api/v1/users/setting"),
    post(
        "/api/v1/users/setting",
        "own",
        "/api/v1/users/setting",
        r#"{"settings": [{"storagePath": "p", "key": "k", "value": "1"}]}"#,
    ),
    post("/api/v1/users/setting/reset", "own", "/api/v1/users/setting/reset", ""),
    post(
        "/api/v1/users/activity",
        "own",
        "/api/v1/users/activity",
        r#"{"activityType": "ACTIVITY_TYPE_GET", "entityType": "ENTITY_TYPE_PROJECT", "entityId": 1}"#,
    ),
    get("/api/v1/tokens", "own, administrators everybody's", "/api/v1/tokens"),
    get("/api/v1/tokens", "the owner's", "/api/v1/tokens?username=owner"),
    post("/api/v1/tokens", "for oneself", "/api/v1/tokens", "{}"),
    post("/api/v1/tokens", "for the owner", "/api/v1/tokens", r#"{"userId": {owner}}"#),
    method(
        "PATCH",
        "/api/v1/tokens/{token}",
        "describing the owner's",
        "/api/v1/tokens/{token}",
        r#"{"description": "{fresh}"}"#,
    ),
    method(
        "PATCH",
        "/api/v1/tokens/{token}",
        "revoking the owner's",
        "/api/v1/tokens/{token}",
        r#"{"setRevoked": true}"#,
    ),
    post("/api/v1/groups", "a new group", "/api/v1/groups", r#"{"name": "{fresh}"}"#),
    post(
        "/api/v1/groups",
        "with the owner in it",
        "/api/v1/groups",
        r#"{"name": "{fresh}", "addUsers": [{owner}]}"#,
    ),
    post("/api/v1/groups/search", "all", "/api/v1/groups/search", r#"{"limit": 500}"#),
    get("/api/v1/groups/{group}", "any", "/api/v1/groups/{group}"),
    method(
        "PUT",
        "/api/v1/groups/{group}",
        "the owner into it",
        "/api/v1/groups/{group}",
        r#"{"addUsers": [{owner}]}"#,
    ),
    method("PUT", "/api/v1/groups/{group}", "name", "/api/v1/groups/{group}", r#"{"name": "{fresh}"}"#),
    method("DELETE", "/api/v1/groups/{group}", "any", "/api/v1/groups/{group}", ""),
    plain("/api/v1/permissions/summary"),
    post("/api/v1/roles/search", "all", "/api/v1/roles/search", r#"{"limit": 500}"#),
    post(
        "/api/v1/roles/search/by-assignability",
        "all",
        "/api/v1/roles/search/by-assignability",
        r#"{"limit": 500}"#,
    ),
    post("/api/v1/roles/search/by-ids", "any", "/api/v1/roles/search/by-ids", r#"{"roleIds": [1]}"#),
    get("/api/v1/roles/search/by-user/{user}", "the owner's", "/api/v1/roles/search/by-user/{owner}"),
    get("/api/v1/roles/search/by-group/{group}", "any", "/api/v1/roles/search/by-group/{group}"),
    post("/api/v1/roles/add-assignments", "everywhere", "/api/v1/roles/add-assignments", "{}"),
    post(
        "/api/v1/roles/add-assignments",
        "in a private workspace",
        "/api/v1/roles/add-assignments",
        ROLE_OF_MEMBER,
    ),
    post("/api/v1/roles/remove-assignments", "everywhere", "/api/v1/roles/remove-assignments", "{}"),
    post(
        "/api/v1/roles/remove-assignments",
        "in a private workspace",
        "/api/v1/roles/remove-assignments",
        ROLE_OF_MEMBER,
    ),
    Sample { method: "DELETE", ..get("/api/v1/users/{user}", "one that is new", "/api/v1/users/{spare}") },
    Sample {
        method: "DELETE",
        ..get("/api/v1/users/{user}", "what it owns to the owner", "/api/v1/users/{spare}?assetsTo={owner}")
    },
    post(
        "/api/v1/users/register",
        "with an invitation",
        "/api/v1/users/register",
        r#"{"username": "{fresh}", "email": "{fresh}@lab.example", "password": "a quiet lake", "invitation": "{code}"}"#,
    ),
    plain("/api/v1/registrations"),
    post(
        "/api/v1/registrations/{username}/accept",
        "one that is new",
        "/api/v1/registrations/{newcomer}/accept",
        "",
    ),
    post(
        "/api/v1/registrations/{username}/reject",
        "one that is new",
        "/api/v1/registrations/{newcomer}/reject",
        "",
    ),
    plain("/api/v1/invitations"),
    post("/api/v1/invitations", "for anybody", "/api/v1/invitations", ""),
    plain("/api/v1/commands"),
    post("/api/v1/commands", "for oneself", "/api/v1/commands", r#"{"config": {"entrypoint": ["true"]}}"#),
    post(
        NEW_COMMAND,
        "in a private workspace",
        NEW_COMMAND,
        r#"{"config": {"entrypoint": ["true"]}, "workspaceId": {workspace}}"#,
    ),
    post(
        NEW_COMMAND,
        "with a template of a private workspace",
        NEW_COMMAND,
        r#"{"config": {"entrypoint": ["true"]}, "templateName": "{template}"}"#,
    ),
    get(COMMAND, "in a private workspace", "/api/v1/commands/{hidden}"),
    post("/api/v1/commands/{task}/kill", "in a private workspace", "/api/v1/commands/{hidden}/kill", ""),
    get("/api/v1/tasks/{task}", "in a private workspace", "/api/v1/tasks/{hidden}"),
    get("/api/v1/tasks/{task}/logs", "in a private workspace", "/api/v1/tasks/{hidden}/logs"),
    get("/commands/{task}", "in a private workspace", "/commands/{hidden}"),
    get("/api/v1/commands/{task}", "the owner's", "/api/v1/commands/{task}"),
    post("/api/v1/commands/{task}/kill", "the owner's", "/api/v1/commands/{task}/kill", ""),
    post(
        "/api/v1/commands/{task}/set_priority",
        "the owner's",
        "/api/v1/commands/{task}/set_priority",
        r#"{"priority": 50}"#,
    ),
    plain("/api/v1/tasks"),
    get("/api/v1/tasks/{task}", "the owner's", "/api/v1/tasks/{task}"),
    get("/api/v1/tasks/{task}/logs", "the owner's", "/api/v1/tasks/{task}/logs"),
    get("/api/v1/tasks/{task}/output", "the owner's", "/api/v1/tasks/{task}/output"),
    get("/api/v1/tasks/{task}/context_directory", "the owner's", "/api/v1/tasks/{task}/context_directory"),
    plain("/api/v1/agents"),
    post("/api/v1/agents/invitations", "for any name", "/api/v1/agents/invitations", ""),
    Sample { headers: UPGRADE, ..get("/api/v1/agents/connect", "to prove a key", "/api/v1/agents/connect") },
    get("/api/v1/agents/{agent}", "", "/api/v1/agents/node"),
    post("/api/v1/agents/{agent}/revoke", "one that is new", "/api/v1/agents/{machine}/revoke", ""),
    post("/api/v1/agents/{agent}/enable", "", "/api/v1/agents/node/enable", ""),
    post("/api/v1/agents/{agent}/disable", "", "/api/v1/agents/node/disable", ""),
    get("/api/v1/agents/{agent}/slots", "", "/api/v1/agents/node/slots"),
    get("/api/v1/agents/{agent}/slots/{slot}", "", "/api/v1/agents/node/slots/0"),
    post("/api/v1/agents/{agent}/slots/{slot}/enable", "", "/api/v1/agents/node/slots/0/enable", ""),
    post("/api/v1/agents/{agent}/slots/{slot}/disable", "", "/api/v1/agents/node/slots/0/disable", ""),
    Sample {
        headers: FORM,
        ..post("/api/v1/users/token/", "the owner's name", "/api/v1/users/token/", "username=owner&password=")
    },
    plain("/api/v1/versions/cli/"),
    plain("/api/v1/versions/lib/"),
    plain("/api/v1/versions/platform/"),
    plain("/api/v1/versions/chart/"),
    plain("/api/v1/log_handler/"),
    plain("/api/v1/users/"),
    post("/api/v1/users/activate/{name}/", "the owner", "/api/v1/users/activate/owner/", ""),
    Sample {
        method: "DELETE",
        ..get("/api/v1/users/delete/{name}/", "one that is new", "/api/v1/users/delete/{sparename}/")
    },
    post("/api/v1/projects/", "for oneself", "/api/v1/projects/", r#"{"name": "{fresh}"}"#),
    get("/api/v1/bookmarks/{user}/{kind}/", "the administrator's", "/api/v1/bookmarks/boss/projects/"),
    get("/api/v1/{owner}/", "the owner's", "/api/v1/owner/"),
    get(SLUG, "private", "/api/v1/owner/{slug}/"),
    method("PATCH", SLUG, "texts", "/api/v1/owner/{slug}/", r#"{"description": "x"}"#),
    method("PATCH", SLUG, "visibility", "/api/v1/owner/{slug}/", r#"{"is_public": true}"#),
    method("DELETE", SLUG, "private", "/api/v1/owner/{slug}/", ""),
    post("/api/v1/{owner}/{project}/bookmark/", "private", "/api/v1/owner/{slug}/bookmark/", ""),
    method(
        "DELETE",
        "/api/v1/{owner}/{project}/unbookmark/",
        "private",
        "/api/v1/owner/{slug}/unbookmark/",
        "",
    ),
    get("/api/v1/{owner}/{project}/experiments/", "private", "/api/v1/owner/{slug}/experiments/"),
    get("/api/v1/{owner}/{project}/groups/", "private", "/api/v1/owner/{slug}/groups/"),
    get("/api/v1/{owner}/{project}/jobs/", "private", "/api/v1/owner/{slug}/jobs/"),
    get("/api/v1/{owner}/{project}/builds/", "private", "/api/v1/owner/{slug}/builds/"),
    get("/api/v1/{owner}/{project}/tensorboards/", "private", "/api/v1/owner/{slug}/tensorboards/"),
    post("/api/v1/superusers/grant/{name}/", "the owner", "/api/v1/superusers/grant/owner/", ""),
    post("/api/v1/superusers/revoke/{name}/", "the owner", "/api/v1/superusers/revoke/owner/", ""),
    get("/assets/{name}", "the style sheet", "{asset}"),
    plain("/login"),
    Sample {
        headers: FORM,
        ..post("/login", "the owner's name", "/login", "username=owner&password=&redirect=/commands")
    },
    post("/logout", "own session", "/logout", ""),
    plain("/users/register"),
    plain("/users/register/"),
    Sample { headers: FORM, ..post("/users/register", "with an invitation", "/users/register", REGISTER) },
    Sample { headers: FORM, ..post("/users/register/", "with an invitation", "/users/register/", REGISTER) },
    plain("/users/register/complete"),
    plain("/users/register/complete/"),
    plain("/account"),
    Sample {
        headers: FORM,
        ..post(
            "/account/password",
            "own, blank before",
            "/account/password",
            "new=a+quiet+lake&again=a+quiet+lake",
        )
    },
    post("/account/sessions/{session}/end", "one of the owner's", "/account/sessions/{session}/end", ""),
    plain("/det"),
    plain("/det/"),
    plain("/det/login"),
    plain("/"),
    plain("/commands"),
    get("/commands/{task}", "the owner's", "/commands/{task}"),
    post("/commands/{task}/kill", "the owner's", "/commands/{task}/kill", ""),
    get("/commands/{task}/log", "the owner's", "/commands/{task}/log"),
    get("/commands/{task}/log.txt", "the owner's", "/commands/{task}/log.txt"),
];
