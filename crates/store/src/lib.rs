//! SQL: connections, transactions, migrations, one module per noun. The only crate that names sqlx.
//!
//! One SQL text serves SQLite and PostgreSQL; [`db::on!`](db) runs the same body on either. Reading takes a [`Conn`],
//! changing takes a [`Tx`], so that no write happens outside a transaction. There is one writer at a time in a master,
//! on both databases: read-then-write needs no retries. Nothing here decides who may do what.

mod database;
mod error;
mod machines;
mod people;
mod places;
mod record;
mod workload;

pub use database::meta;
use database::{beside, db, reserve, schema};
pub use machines::agent;
pub use people::{group, invitation, login_failure, registration, session, setting, token, user};
pub use places::{belongings, membership, project, workspace};
use record::growth;
pub use record::{audit, mail};
pub use workload::{task, template};

pub use db::{Conn, Store, Tx};
pub use error::StoreError;
pub use schema::LATEST as LATEST_SCHEMA;
