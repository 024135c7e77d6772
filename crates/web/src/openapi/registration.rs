//! Asking to be let in, deciding, inviting.

use ::api::registration::{Invite, Invited, ListInvitations, ListRegistrations, Register, Registered};

use super::Kind::Text;
use super::{Docs, PAGE};

pub(super) fn describe(docs: &mut Docs) {
    docs.post("/api/v1/users/register", "Ask for an account").takes::<Register>().answers::<Registered>();
    docs.get("/api/v1/registrations", "Who asked to be let in, the newest first; for administrators")
        .query(PAGE)
        .query(&[("state", Text)])
        .answers::<ListRegistrations>();
    docs.post("/api/v1/registrations/{username}/accept", "Let somebody in; for administrators");
    docs.post("/api/v1/registrations/{username}/reject", "Turn somebody away; for administrators");
    docs.get("/api/v1/invitations", "Invitations to register, the newest first; for administrators")
        .query(PAGE)
        .answers::<ListInvitations>();
    docs.post("/api/v1/invitations", "Invite somebody to register; for administrators")
        .takes::<Invite>()
        .answers::<Invited>();
}
