//! Groups, roles, access tokens.

use super::{ROLE_OF_MEMBER, Sample};

pub(super) const SAMPLES: &[Sample] = &[
    Sample::new("PATCH", "/api/v1/users/assignments", "the owner into a group")
        .body(r#"{"userIds": [{owner}], "addGroups": [{group}]}"#)
        .asks(&[("AssignGroups", "into groups")]),
    Sample::new("GET", "/api/v1/tokens", "own, administrators everybody's")
        .asks(&[("SeeTokens", "one's own")]),
    Sample::new("GET", "/api/v1/tokens", "the owner's")
        .at("/api/v1/tokens?username={ownername}")
        .asks(&[("SeeTokens", "the owner's")]),
    Sample::new("POST", "/api/v1/tokens", "for oneself").body("{}").asks(&[("CreateToken", "for oneself")]),
    Sample::new("POST", "/api/v1/tokens", "for the owner")
        .body(r#"{"userId": {owner}}"#)
        .asks(&[("CreateToken", "for the owner")]),
    Sample::new("PATCH", "/api/v1/tokens/{token}", "describing the owner's")
        .body(r#"{"description": "{fresh}"}"#)
        .asks(&[("ChangeToken", "the owner's")]),
    Sample::new("PATCH", "/api/v1/tokens/{token}", "revoking the owner's")
        .body(r#"{"setRevoked": true}"#)
        .asks(&[("ChangeToken", "the owner's")]),
    Sample::new("POST", "/api/v1/groups", "a new group")
        .body(r#"{"name": "{fresh}"}"#)
        .asks(&[("CreateGroup", "")]),
    Sample::new("POST", "/api/v1/groups", "with the owner in it")
        .body(r#"{"name": "{fresh}", "addUsers": [{owner}]}"#)
        .asks(&[("CreateGroup", "with somebody in it")]),
    Sample::new("POST", "/api/v1/groups/search", "all").body(r#"{"limit": 500}"#),
    Sample::new("GET", "/api/v1/groups/{group}", "any"),
    Sample::new("PUT", "/api/v1/groups/{group}", "the owner into it")
        .body(r#"{"addUsers": [{owner}]}"#)
        .asks(&[("ChangeGroup", "somebody into it")]),
    Sample::new("PUT", "/api/v1/groups/{group}", "name")
        .body(r#"{"name": "{fresh}"}"#)
        .asks(&[("ChangeGroup", "its name")]),
    Sample::new("DELETE", "/api/v1/groups/{group}", "any").asks(&[("DeleteGroup", "")]),
    Sample::new("GET", "/api/v1/permissions/summary", ""),
    Sample::new("POST", "/api/v1/roles/search", "all").body(r#"{"limit": 500}"#),
    Sample::new("POST", "/api/v1/roles/search/by-assignability", "all").body(r#"{"limit": 500}"#),
    Sample::new("POST", "/api/v1/roles/search/by-ids", "any").body(r#"{"roleIds": [1]}"#),
    Sample::new("GET", "/api/v1/roles/search/by-user/{user}", "the owner's")
        .at("/api/v1/roles/search/by-user/{owner}"),
    Sample::new("GET", "/api/v1/roles/search/by-group/{group}", "any"),
    Sample::new("POST", "/api/v1/roles/add-assignments", "everywhere")
        .body("{}")
        .asks(&[("AssignRoles", "everywhere")])
        .then(400),
    Sample::new("POST", "/api/v1/roles/add-assignments", "in a private workspace")
        .body(ROLE_OF_MEMBER)
        .asks(&[("ChangeWorkspace", "private")]),
    Sample::new("POST", "/api/v1/roles/remove-assignments", "everywhere")
        .body("{}")
        .asks(&[("AssignRoles", "everywhere")])
        .then(400),
    Sample::new("POST", "/api/v1/roles/remove-assignments", "in a private workspace")
        .body(ROLE_OF_MEMBER)
        .asks(&[("ChangeWorkspace", "private")]),
];
