//! Accounts.

use ::api::user::{CreateUser, ListUsers, PatchUser, UserResponse};

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
}
