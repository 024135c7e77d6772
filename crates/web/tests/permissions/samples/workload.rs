//! Commands, tasks, their logs, the queue.

use super::Sample;

const GLOBAL: &str = "/api/v1/config-policies/global/{workload}";
const IN_WORKSPACE: &str = "/api/v1/config-policies/workspaces/{workspace}/{workload}";
const POLICY: &str = r#"{"configPolicies": "constraints: {priority_limit: 1}"}"#;

pub(super) const SAMPLES: &[Sample] = &[
    Sample::new("GET", "/api/v1/notebooks", ""),
    Sample::new("GET", "/api/v1/tensorboards", ""),
    Sample::new("GET", "/api/v1/shells", ""),
    Sample::new("GET", "/api/v1/experiments", ""),
    Sample::new("GET", GLOBAL, "for tasks")
        .at("/api/v1/config-policies/global/NTSC")
        .asks(&[("ReadConfigPolicies", "everywhere")]),
    Sample::new("PUT", GLOBAL, "for tasks")
        .at("/api/v1/config-policies/global/NTSC")
        .body(POLICY)
        .asks(&[("ChangeConfigPolicies", "everywhere, for tasks")]),
    Sample::new("PUT", GLOBAL, "for experiments")
        .at("/api/v1/config-policies/global/EXPERIMENT")
        .body(POLICY)
        .asks(&[("ChangeConfigPolicies", "everywhere, for experiments")]),
    Sample::new("DELETE", GLOBAL, "for tasks")
        .at("/api/v1/config-policies/global/NTSC")
        .asks(&[("ChangeConfigPolicies", "everywhere, for tasks")]),
    Sample::new("GET", IN_WORKSPACE, "private, for tasks")
        .at("/api/v1/config-policies/workspaces/{workspace}/NTSC")
        .asks(&[("ReadConfigPolicies", "private")]),
    Sample::new("PUT", IN_WORKSPACE, "private, for tasks")
        .at("/api/v1/config-policies/workspaces/{workspace}/NTSC")
        .body(POLICY)
        .asks(&[("ChangeConfigPolicies", "private, for tasks")]),
    Sample::new("PUT", IN_WORKSPACE, "private, for experiments")
        .at("/api/v1/config-policies/workspaces/{workspace}/EXPERIMENT")
        .body(POLICY)
        .asks(&[("ChangeConfigPolicies", "private, for experiments")]),
    Sample::new("DELETE", IN_WORKSPACE, "private, for tasks")
        .at("/api/v1/config-policies/workspaces/{workspace}/NTSC")
        .asks(&[("ChangeConfigPolicies", "private, for tasks")]),
    Sample::new("POST", "/api/v1/job-queues", "the owner's priority")
        .body(r#"{"updates": [{"jobId": "{task}", "priority": 7}]}"#)
        .asks(&[("ChangeTask", "in the shared workspace")]),
    Sample::new("GET", "/api/v1/job-queues-v2", ""),
    Sample::new("GET", "/api/v1/resource-pools", ""),
    Sample::new("GET", "/api/v1/resource-pools/{pool}/workspace-bindings", "the one that there is")
        .at("/api/v1/resource-pools/default/workspace-bindings"),
    Sample::new("GET", "/api/v1/commands", ""),
    Sample::new("POST", "/api/v1/commands", "for oneself")
        .body(r#"{"config": {"entrypoint": ["true"]}}"#)
        .asks(&[("StartTask", "in the shared workspace")]),
    Sample::new("POST", "/api/v1/commands", "in a private workspace")
        .body(r#"{"config": {"entrypoint": ["true"]}, "workspaceId": {workspace}}"#)
        .asks(&[("StartTask", "in a private workspace")]),
    Sample::new("POST", "/api/v1/commands", "with a template of a private workspace")
        .body(r#"{"config": {"entrypoint": ["true"]}, "templateName": "{template}"}"#)
        .asks(&[("StartTask", "in the shared workspace"), ("UseTemplate", "in a private workspace")]),
    Sample::new("GET", "/api/v1/commands/{task}", "in a private workspace")
        .at("/api/v1/commands/{hidden}")
        .asks(&[("ReadTask", "in a private workspace")]),
    Sample::new("POST", "/api/v1/commands/{task}/kill", "in a private workspace")
        .at("/api/v1/commands/{hidden}/kill")
        .asks(&[("ChangeTask", "in a private workspace")]),
    Sample::new("GET", "/api/v1/tasks/{task}", "in a private workspace")
        .at("/api/v1/tasks/{hidden}")
        .asks(&[("ReadTask", "in a private workspace")]),
    Sample::new("GET", "/api/v1/tasks/{task}/logs", "in a private workspace")
        .at("/api/v1/tasks/{hidden}/logs")
        .asks(&[("ReadTask", "in a private workspace")]),
    Sample::new("GET", "/api/v1/commands/{task}", "the owner's")
        .asks(&[("ReadTask", "in the shared workspace")]),
    Sample::new("POST", "/api/v1/commands/{task}/kill", "the owner's")
        .asks(&[("ChangeTask", "in the shared workspace")]),
    Sample::new("POST", "/api/v1/commands/{task}/set_priority", "the owner's")
        .body(r#"{"priority": 50}"#)
        .asks(&[("ChangeTask", "in the shared workspace")]),
    // A command can't go on later.
    Sample::new("POST", "/api/v1/tasks/{task}/pause", "the owner's")
        .asks(&[("ChangeTask", "in the shared workspace")])
        .then(400),
    Sample::new("POST", "/api/v1/tasks/{task}/unpause", "the owner's")
        .asks(&[("ChangeTask", "in the shared workspace")])
        .then(400),
    Sample::new("GET", "/api/v1/allocations/{allocation}/signals/preemption", "the owner's")
        .at("/api/v1/allocations/{task}.1/signals/preemption")
        .asks(&[("HearSignals", "in the shared workspace")]),
    Sample::new("POST", "/api/v1/allocations/{allocation}/signals/ack_preemption", "the owner's")
        .at("/api/v1/allocations/{task}.1/signals/ack_preemption")
        .asks(&[("AnswerSignals", "in the shared workspace")]),
    Sample::new("POST", "/api/v1/allocations/{allocation}/signals/pending_preemption", "the owner's")
        .at("/api/v1/allocations/{task}.1/signals/pending_preemption")
        .asks(&[("AnswerSignals", "in the shared workspace")])
        .then(400),
    Sample::new("GET", "/api/v1/tasks", ""),
    Sample::new("GET", "/api/v1/tasks/{task}", "the owner's")
        .asks(&[("ReadTask", "in the shared workspace")]),
    Sample::new("GET", "/api/v1/tasks/{task}/logs", "the owner's")
        .asks(&[("ReadTask", "in the shared workspace")]),
    Sample::new("GET", "/api/v1/tasks/{task}/output", "the owner's")
        .asks(&[("ReadTask", "in the shared workspace")]),
    Sample::new("GET", "/api/v1/tasks/{task}/context_directory", "the owner's")
        .asks(&[("ReadContext", "in the shared workspace")]),
];
