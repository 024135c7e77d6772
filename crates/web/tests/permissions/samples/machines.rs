//! The installation, its agents, its audit log.

use super::{Sample, UPGRADE};

pub(super) const SAMPLES: &[Sample] = &[
    Sample::new("GET", "/info", ""),
    Sample::new("GET", "/health", ""),
    Sample::new("GET", "/api/v1/openapi.json", ""),
    Sample::new("GET", "/api/v1/master", ""),
    Sample::new("GET", "/api/v1/master/telemetry", ""),
    Sample::new("GET", "/api/v1/master/config", "").asks(&[("ReadMasterConfig", "")]),
    Sample::new("PATCH", "/api/v1/master/config", "log level")
        .body(r#"{"config": {"log": {"level": "LOG_LEVEL_INFO"}}, "fieldMask": {"paths": ["log.level"]}}"#)
        .asks(&[("ChangeMasterLog", "")])
        .then(400),
    Sample::new("POST", "/api/v1/cleanup_logs", "").asks(&[("CleanUpLogs", "")]),
    Sample::new("GET", "/api/v1/master/logs", "").asks(&[("ReadMasterLog", "")]),
    Sample::new("GET", "/api/v1/master/cluster_message", "").asks(&[("ReadClusterMessage", "")]),
    Sample::new("PUT", "/api/v1/master/cluster_message", "")
        .body(r#"{"message": "{fresh}"}"#)
        .asks(&[("SetClusterMessage", "")]),
    Sample::new("DELETE", "/api/v1/master/cluster_message", "").asks(&[("SetClusterMessage", "")]),
    Sample::new("GET", "/api/v1/audit", "").asks(&[("ReadAudit", "")]),
    Sample::new("GET", "/api/v1/audit/export", "").asks(&[("ReadAudit", "")]),
    Sample::new("GET", "/api/v1/audit/verify", "").asks(&[("ReadAudit", "")]),
    Sample::new("GET", "/api/v1/agents", ""),
    Sample::new("POST", "/api/v1/agents/invitations", "for any name").asks(&[("InviteAgent", "")]),
    Sample::new("GET", "/api/v1/agents/connect", "to prove a key").headers(UPGRADE),
    Sample::new("GET", "/api/v1/agents/{agent}", "").at("/api/v1/agents/node"),
    Sample::new("POST", "/api/v1/agents/{agent}/revoke", "one that is new")
        .at("/api/v1/agents/{machine}/revoke")
        .asks(&[("ManageAgents", "")]),
    Sample::new("POST", "/api/v1/agents/{agent}/enable", "")
        .at("/api/v1/agents/node/enable")
        .asks(&[("ManageAgents", "")]),
    Sample::new("POST", "/api/v1/agents/{agent}/disable", "")
        .at("/api/v1/agents/node/disable")
        .asks(&[("ManageAgents", "")]),
    Sample::new("GET", "/api/v1/agents/{agent}/slots", "").at("/api/v1/agents/node/slots"),
    Sample::new("GET", "/api/v1/agents/{agent}/slots/{slot}", "").at("/api/v1/agents/node/slots/0"),
    Sample::new("POST", "/api/v1/agents/{agent}/slots/{slot}/enable", "")
        .at("/api/v1/agents/node/slots/0/enable")
        .asks(&[("ManageAgents", "")]),
    Sample::new("POST", "/api/v1/agents/{agent}/slots/{slot}/disable", "")
        .at("/api/v1/agents/node/slots/0/disable")
        .asks(&[("ManageAgents", "")]),
];
