//! Agents against a master that does only what the protocol says, with the real launcher; and what every launcher holds to, also
//! one without a sandbox.

mod support;

#[path = "agents/contract.rs"]
mod contract;
#[path = "agents/enrolment.rs"]
mod enrolment;
#[path = "agents/environment.rs"]
mod environment;
#[path = "agents/flow.rs"]
mod flow;
#[path = "agents/full_disk.rs"]
mod full_disk;
#[path = "agents/outlived.rs"]
mod outlived;
#[path = "agents/plain.rs"]
mod plain;
#[path = "agents/restart.rs"]
mod restart;
#[path = "agents/stranger.rs"]
mod stranger;
#[path = "agents/task.rs"]
mod task;
