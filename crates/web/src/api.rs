//! JSON endpoints, one module per noun. Shapes are in the crate `api`.

pub(crate) mod agent;
pub(crate) mod audit;
pub(crate) mod auth;
pub(crate) mod cluster;
pub(crate) mod command;
pub(crate) mod empty;
pub(crate) mod group;
pub(crate) mod job;
pub(crate) mod link;
pub(crate) mod log;
pub(crate) mod member;
pub(crate) mod permission;
pub(crate) mod project;
pub(crate) mod registration;
pub(crate) mod role;
pub(crate) mod session;
pub(crate) mod setting;
pub(crate) mod task;
pub(crate) mod template;
pub(crate) mod token;
pub(crate) mod user;
pub(crate) mod workspace;
