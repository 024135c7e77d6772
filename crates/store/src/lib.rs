//! SQL: connections, transactions, migrations, one module per noun. The only crate that names sqlx.
//!
//! One SQL text serves SQLite and PostgreSQL; [`db::on!`](db) runs the same body on either. Reading takes a [`Conn`],
//! changing takes a [`Tx`], so that no write happens outside a transaction. There is one writer at a time in a master,
//! on both databases: read-then-write needs no retries. Nothing here decides who may do what.

pub mod agent;
pub mod audit;
pub mod belongings;
mod beside;
mod db;
mod error;
pub mod group;
mod growth;
pub mod invitation;
pub mod login_failure;
pub mod mail;
pub mod membership;
pub mod meta;
pub mod project;
pub mod registration;
mod reserve;
mod schema;
pub mod session;
pub mod setting;
pub mod task;
pub mod template;
pub mod token;
pub mod user;
pub mod workspace;

pub use db::{Conn, Store, Tx};
pub use error::StoreError;
pub use schema::LATEST as LATEST_SCHEMA;
