//! The installation, its agents, its queue.

use ::api::cluster::{Invitation, InviteAgent, ListAgents, Master};

use super::{Docs, ORDER, PAGE};

pub(super) fn describe(docs: &mut Docs) {
    docs.get("/api/v1/master", "What anybody may know of the installation").answers::<Master>();
    docs.get("/api/v1/master/telemetry", "Nothing is reported to anybody");
    docs.get("/api/v1/master/config", "The configuration without secrets; for administrators");
    docs.get("/api/v1/job-queues-v2", "Living tasks, those that run first").query(PAGE).query(ORDER);
    docs.get("/api/v1/resource-pools", "The one pool that all agents are in").query(PAGE);
    docs.get("/api/v1/resource-pools/{pool}/workspace-bindings", "Workspaces that a pool is kept for: none")
        .query(PAGE);
    docs.get("/api/v1/agents", "Agents and their slots").query(ORDER).answers::<ListAgents>();
    docs.get("/api/v1/agents/{agent}", "One agent");
    docs.post("/api/v1/agents/invitations", "Let one agent enrol; for administrators")
        .takes::<InviteAgent>()
        .answers::<Invitation>();
    docs.post(
        "/api/v1/agents/{agent}/revoke",
        "Shut an agent out: its connection ends, its tasks are over, its key is refused for ever; for administrators",
    );
    docs.post("/api/v1/agents/{agent}/enable", "Take an agent into service; for administrators");
    docs.post("/api/v1/agents/{agent}/disable", "Take an agent out of service; for administrators");
    docs.get("/api/v1/agents/{agent}/slots", "The slots of an agent that is connected");
    docs.get("/api/v1/agents/{agent}/slots/{slot}", "One slot");
    docs.post("/api/v1/agents/{agent}/slots/{slot}/enable", "Take a slot into service; for administrators");
    docs.post(
        "/api/v1/agents/{agent}/slots/{slot}/disable",
        "Take a slot out of service; for administrators",
    );
}
