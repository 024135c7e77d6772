//! JSON endpoints, one module per noun. Shapes are in the crate `api`.

pub(crate) mod empty;
mod machines;
mod people;
mod places;
mod record;
mod workload;

pub(crate) use machines::{agent, cluster, cluster_message, link};
pub(crate) use people::{auth, group, permission, registration, role, session, setting, token, user};
pub(crate) use places::{member, project, workspace};
pub(crate) use record::{audit, log, master_log};
pub(crate) use workload::{command, config_policy, job, signal, task, template};
