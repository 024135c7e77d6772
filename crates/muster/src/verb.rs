//! What each command does, one noun to a file, its arguments beside it.

pub(crate) mod agent;
pub(crate) mod audit;
pub(crate) mod change_password;
pub(crate) mod cluster_message;
pub(crate) mod command;
pub(crate) mod command_run;
pub(crate) mod config_policies;
pub(crate) mod delete_user;
pub(crate) mod environment;
pub(crate) mod group;
pub(crate) mod job;
pub(crate) mod login;
pub(crate) mod logs;
pub(crate) mod manual;
pub(crate) mod master;
pub(crate) mod member;
pub(crate) mod project;
pub(crate) mod register;
pub(crate) mod sessions;
pub(crate) mod slot;
pub(crate) mod superuser;
pub(crate) mod task;
pub(crate) mod template;
pub(crate) mod token;
pub(crate) mod user;
pub(crate) mod workspace;
