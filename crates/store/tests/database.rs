//! Every function of the store on both databases, and what only a database can get wrong: schema, transactions,
//! a full disk. What services make of it is tested in `web`.

#[path = "database/agents.rs"]
mod agents;
#[path = "database/audit.rs"]
mod audit;
#[path = "database/beside.rs"]
mod beside;
#[path = "database/faults.rs"]
mod faults;
#[path = "database/groups.rs"]
mod groups;
#[path = "database/login_failures.rs"]
mod login_failures;
#[path = "database/ownership.rs"]
mod ownership;
#[path = "database/places.rs"]
mod places;
#[path = "database/samples.rs"]
mod samples;
#[path = "database/schema.rs"]
mod schema;
#[path = "database/secrets.rs"]
mod secrets;
#[path = "database/sessions.rs"]
mod sessions;
#[path = "database/tasks.rs"]
mod tasks;
#[path = "database/tokens.rs"]
mod tokens;
#[path = "database/transactions.rs"]
mod transactions;
#[path = "database/upgrade.rs"]
mod upgrade;
#[path = "database/users.rs"]
mod users;
#[path = "database/visible.rs"]
mod visible;
