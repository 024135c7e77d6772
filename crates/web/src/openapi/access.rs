//! Logging in, sessions, access tokens, the audit log.

use ::api::audit::{ListAudit, VerifiedAudit};
use ::api::auth::{ListSessions, Login, LoginResponse};
use ::api::token::{CreateToken, CreatedToken, ListTokens, PatchToken, PatchedToken};
use ::api::user::{Me, UserResponse};

use super::Kind::{Flag, Number, Text, Texts};
use super::{Docs, ORDER, PAGE};

pub(super) fn describe(docs: &mut Docs) {
    docs.get("/api/v1/openapi.json", "This description");
    docs.post("/api/v1/auth/login", "Log in, for thirty days").takes::<Login>().answers::<LoginResponse>();
    docs.post("/api/v1/auth/logout", "End the caller's session");
    docs.get("/api/v1/auth/user", "Who the caller is").answers::<UserResponse>();
    docs.get("/api/v1/me", "Who the caller is; for tasks too").answers::<Me>();
    docs.get("/api/v1/users/{user}/sessions", "Where an account is logged in").answers::<ListSessions>();
    docs.delete("/api/v1/sessions/{session}", "End a session, wherever its token is");
    docs.get("/api/v1/tokens", "Access tokens: one's own, for administrators everybody's")
        .query(PAGE)
        .query(ORDER)
        .query(&[("username", Text), ("tokenIds", Texts), ("showInactive", Flag)])
        .answers::<ListTokens>();
    docs.post("/api/v1/tokens", "Make an access token; no other answer holds its secret")
        .takes::<CreateToken>()
        .answers::<CreatedToken>();
    docs.patch("/api/v1/tokens/{token}", "Say anew what an access token is for, or revoke it")
        .takes::<PatchToken>()
        .answers::<PatchedToken>();
    let which = &[
        ("user", Text),
        ("actor", Text),
        ("action", Text),
        ("target", Text),
        ("result", Text),
        ("since", Text),
        ("until", Text),
    ];
    docs.get("/api/v1/audit", "What happened, the newest first; for administrators")
        .query(which)
        .query(&[("before", Number), ("limit", Number)])
        .answers::<ListAudit>();
    docs.get("/api/v1/audit/export", "What happened, as lines of JSON, the oldest first; for administrators")
        .query(which)
        .streams("application/x-ndjson");
    docs.get("/api/v1/audit/verify", "Check that the audit log is as it was written; for administrators")
        .answers::<VerifiedAudit>();
}
