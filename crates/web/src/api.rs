//! JSON endpoints, one module per noun. Shapes are in the crate `api`.

pub(crate) mod empty;
mod machines;
mod people;
mod places;
mod record;
mod workload;

pub(crate) use machines::{agent, cluster, link};
pub(crate) use people::{auth, group, permission, registration, role, session, setting, token, user};
pub(crate) use places::{member, project, workspace};
pub(crate) use record::{audit, log};
pub(crate) use workload::{command, job, task, template};
