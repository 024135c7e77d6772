//! What a client sees of a master over HTTP: a real one in this process, on both databases. The permission of every
//! route for every kind of caller is in `permissions.rs`; the web pages are driven by a browser elsewhere.

#[path = "http/account_page.rs"]
mod account_page;
#[path = "http/accounts.rs"]
mod accounts;
#[path = "http/agents.rs"]
mod agents;
#[path = "http/audit.rs"]
mod audit;
#[path = "http/bootstrap.rs"]
mod bootstrap;
#[path = "http/browser.rs"]
mod browser;
#[path = "http/cluster_message.rs"]
mod cluster_message;
#[path = "http/commands.rs"]
mod commands;
#[path = "http/config_policies.rs"]
mod config_policies;
#[path = "http/configurations.rs"]
mod configurations;
#[path = "http/connections.rs"]
mod connections;
#[path = "http/contexts.rs"]
mod contexts;
#[path = "http/crowds.rs"]
mod crowds;
#[path = "http/deactivation.rs"]
mod deactivation;
#[path = "http/deletion.rs"]
mod deletion;
#[path = "http/encryption.rs"]
mod encryption;
#[path = "http/enrolment.rs"]
mod enrolment;
#[path = "http/full_disk.rs"]
mod full_disk;
#[path = "http/gangs.rs"]
mod gangs;
#[path = "http/greed.rs"]
mod greed;
#[path = "http/groups.rs"]
mod groups;
#[path = "http/growth.rs"]
mod growth;
#[path = "http/held_back.rs"]
mod held_back;
#[path = "http/jobs.rs"]
mod jobs;
#[path = "http/lists.rs"]
mod lists;
#[path = "http/login.rs"]
mod login;
#[path = "http/logs.rs"]
mod logs;
#[path = "http/losing.rs"]
mod losing;
#[path = "http/mail.rs"]
mod mail;
#[path = "http/managers.rs"]
mod managers;
#[path = "http/master_log.rs"]
mod master_log;
#[path = "http/meanwhile.rs"]
mod meanwhile;
#[path = "http/memory.rs"]
mod memory;
#[path = "http/names.rs"]
mod names;
#[path = "http/numbers.rs"]
mod numbers;
#[path = "http/origins.rs"]
mod origins;
#[path = "http/pausing.rs"]
mod pausing;
#[path = "http/places.rs"]
mod places;
#[path = "http/places_changes.rs"]
mod places_changes;
#[path = "http/policy.rs"]
mod policy;
#[path = "http/pools.rs"]
mod pools;
#[path = "http/proxies.rs"]
mod proxies;
#[path = "http/recovery.rs"]
mod recovery;
#[path = "http/registration.rs"]
mod registration;
#[path = "http/retention.rs"]
mod retention;
#[path = "http/rights.rs"]
mod rights;
#[path = "http/roles.rs"]
mod roles;
#[path = "http/secrets.rs"]
mod secrets;
#[path = "http/services.rs"]
mod services;
#[path = "http/sessions.rs"]
mod sessions;
#[path = "http/settings.rs"]
mod settings;
#[path = "http/storage.rs"]
mod storage;
#[path = "http/templates.rs"]
mod templates;
#[path = "http/throttle.rs"]
mod throttle;
#[path = "http/timing.rs"]
mod timing;
#[path = "http/tokens.rs"]
mod tokens;
#[path = "http/turned.rs"]
mod turned;
#[path = "http/unread.rs"]
mod unread;
#[path = "http/versions.rs"]
mod versions;
#[path = "http/whole.rs"]
mod whole;
#[path = "http/wire.rs"]
mod wire;
