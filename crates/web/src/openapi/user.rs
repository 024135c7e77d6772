//! Accounts, groups of them, and what clients keep for them.

use ::api::group::{CreateGroup, GroupResponse, ListGroups, SearchGroups, UpdateGroup};
use ::api::role::{AssignRoles, RolesById};
use ::api::user::{
    AssignGroups, CreateUser, ListUsers, PatchUser, PatchUsers, PatchUsersResponse, UserResponse,
    UserSettings,
};

use super::Kind::{Flag, Number, Text};
use super::{Docs, ORDER, PAGE};

pub(super) fn describe(docs: &mut Docs) {
    docs.get("/api/v1/users", "Accounts")
        .query(PAGE)
        .query(ORDER)
        .query(&[("name", Text), ("active", Flag), ("admin", Flag)])
        .answers::<ListUsers>();
    docs.post("/api/v1/users", "Make an account; for administrators")
        .takes::<CreateUser>()
        .answers::<UserResponse>();
    docs.get("/api/v1/users/{user}", "One account").answers::<UserResponse>();
    docs.patch("/api/v1/users/{user}", "Change an account: what is absent stays")
        .takes::<PatchUser>()
        .answers::<UserResponse>();
    docs.delete("/api/v1/users/{user}", "Take an account away for good; for administrators")
        .query(&[("assetsTo", Number)]);
    docs.get("/api/v1/users/{user}/by-username", "One account by its exact name").answers::<UserResponse>();
    docs.post("/api/v1/users/{user}/password", "Set a password: the body is a JSON string, the password")
        .takes::<String>()
        .answers::<UserResponse>();
    docs.patch("/api/v1/users", "Let several accounts in or out; what is refused is said of each")
        .takes::<PatchUsers>()
        .answers::<PatchUsersResponse>();
    docs.get("/api/v1/users/setting", "What clients keep for the caller").answers::<UserSettings>();
    docs.post("/api/v1/users/setting", "Keep something for the caller; an empty value deletes")
        .takes::<UserSettings>();
    docs.post("/api/v1/users/setting/reset", "Delete what clients keep for the caller");
    docs.post("/api/v1/users/activity", "Taken and not kept: nobody's steps are followed");
    groups(docs);
    roles(docs);
}

fn groups(docs: &mut Docs) {
    docs.post("/api/v1/groups", "Make a group; for administrators")
        .takes::<CreateGroup>()
        .answers::<GroupResponse>();
    docs.post("/api/v1/groups/search", "Groups, and how many are in each; limit is 1 to 500")
        .takes::<SearchGroups>()
        .answers::<ListGroups>();
    docs.get("/api/v1/groups/{group}", "A group and who is in it").answers::<GroupResponse>();
    docs.put("/api/v1/groups/{group}", "Change a group's name and members; for administrators")
        .takes::<UpdateGroup>()
        .answers::<GroupResponse>();
    docs.delete("/api/v1/groups/{group}", "Delete a group; for administrators");
    docs.patch(
        "/api/v1/users/assignments",
        "Put accounts into groups and take them out of others; for administrators",
    )
    .takes::<AssignGroups>();
}

fn roles(docs: &mut Docs) {
    docs.get(
        "/api/v1/permissions/summary",
        "What the caller may do, by role and workspace, in the words of Determined's permissions",
    );
    for path in ["/api/v1/roles/search", "/api/v1/roles/search/by-assignability"] {
        docs.post(path, "Roles that members of workspaces have");
    }
    docs.post(
        "/api/v1/roles/search/by-ids",
        "Roles, and who has them in workspaces that the caller sees into",
    )
    .takes::<RolesById>();
    docs.get(
        "/api/v1/roles/search/by-user/{user}",
        "An account's roles in workspaces, its own and those of its groups",
    );
    docs.get("/api/v1/roles/search/by-group/{group}", "A group's roles in workspaces");
    docs.post("/api/v1/roles/add-assignments", "Give somebody a role in a workspace, one at a time")
        .takes::<AssignRoles>();
    docs.post("/api/v1/roles/remove-assignments", "Take somebody's role in a workspace away")
        .takes::<AssignRoles>();
}
