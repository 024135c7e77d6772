//! SQL: connections, transactions, migrations, one module per noun. The only crate that names sqlx.
//!
//! One SQL text serves SQLite and PostgreSQL: `database/sql.rs` carries it out on either. A table's columns are said once, in
//! its module's `table!`. Reading takes a [`Conn`], changing takes a [`Tx`], so that no write happens outside a transaction.
//! There is one writer at a time in a master, on both databases: read-then-write needs no retries. Nothing here decides who
//! may do what; what the policy lets somebody see is said in SQL in `visible.rs`, for lists.

mod database;
mod error;
mod machines;
mod people;
mod places;
mod record;
mod visible;
mod workload;

pub use database::meta;
use database::{beside, cells, db, order, reserve, schema, sql, statements, table, value};
pub use machines::agent;
pub use people::{group, invitation, login_failure, registration, session, setting, token, user};
pub use places::{belongings, membership, project, workspace};
use record::growth;
pub use record::{audit, mail};
pub use workload::{allocation, config_policy, task, template};

pub use db::{Conn, Store, Tx, Waits};
pub use error::StoreError;
pub use order::Begin;
pub use schema::LATEST as LATEST_SCHEMA;
