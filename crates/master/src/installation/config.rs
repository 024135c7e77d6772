//! `master.yaml` (D10): what can be set, the defaults, and what is said when it is wrong.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};

use domain::config::secrets::Shown;
use domain::identity::{IdentityParts, UnixIdentity};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

mod agent;
mod bootstrap;
mod connections;
mod encryption;
mod limits;
mod pools;
mod quotas;
#[cfg(test)]
mod readme;
mod renamed;
mod retention;
mod smtp;
mod subnet;

pub use agent::{
    AccountLimits, Agent, Bound, DeviceName, Groups, MAX_KILL_GRACE, Network, OnFullLog, Seccomp,
    TaskEnvironment, TaskLimits, UNLIMITED, Unlimited,
};
pub use bootstrap::{Bootstrap, FirstAdmin, FirstPassword};
pub use connections::Connections;
pub use encryption::{CertificateFiles, Encryption};
pub use limits::Limits;
pub(crate) use pools::DEFAULT_POOL;
pub use pools::{Pool, Scheduler, SchedulerKind};
pub use quotas::{Quotas, UserQuota};
pub use retention::Retention;
pub use smtp::{Smtp, Tls};
pub use subnet::{InvalidSubnet, Subnet, any_contains};

/// The file was refused; the text names file, line and reason.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {reason}")]
pub struct BadConfig {
    file: String,
    reason: String,
}

/// The configuration of a master, and of the agent that `muster up` starts beside it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address to listen on; a name such as `localhost` is looked up.
    #[serde(deserialize_with = "address")]
    pub listen: SocketAddr,
    /// How the listener is encrypted; none is plain HTTP (D9).
    pub tls: Option<Encryption>,
    /// Where everything is kept; none is the usual place.
    pub data_dir: Option<PathBuf>,
    /// Shown by clients.
    pub cluster_name: String,
    /// The first accounts; used when the installation is made, and never again.
    pub bootstrap: Bootstrap,
    /// Who may register (X11).
    pub registration: Registration,
    /// Who takes our mail; none is sent without.
    pub smtp: Option<Smtp>,
    /// The database.
    pub db: Db,
    /// Who may come in, as whom tasks run.
    pub security: Security,
    /// How many connections there may be, and how long they may take.
    pub connections: Connections,
    /// Under every command's own configuration.
    pub task_container_defaults: Value,
    /// Resource pools of which there is something to say.
    pub resource_pools: Vec<Pool>,
    /// How many slots users and workspaces may have at a time.
    pub quotas: Quotas,
    /// Longest packed context directory, in bytes.
    pub max_context_bytes: u64,
    /// Bytes that an SQLite database keeps for itself in either of its files, so that logging in and what ends go on when
    /// the disk is full (A4); at most a sixteenth of the disk. 0 keeps nothing.
    pub disk_reserve_bytes: u64,
    /// How much one account may have, how much may be sent.
    pub limits: Limits,
    /// How long what is over leaves something behind.
    pub retention: Retention,
    /// Seconds after which the tasks of an agent that stays away are given up.
    pub agent_lost_after: u64,
    /// The agent that `muster up` starts.
    pub agent: Agent,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            tls: None,
            data_dir: None,
            cluster_name: String::new(),
            bootstrap: Bootstrap::default(),
            registration: Registration::default(),
            smtp: None,
            db: Db::default(),
            security: Security::default(),
            connections: Connections::default(),
            task_container_defaults: json!({}),
            resource_pools: Vec::new(),
            quotas: Quotas::default(),
            max_context_bytes: 96 << 20,
            disk_reserve_bytes: 16 << 20,
            limits: Limits::default(),
            retention: Retention::default(),
            agent_lost_after: 3600,
            agent: Agent::default(),
        }
    }
}

fn address<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    let found = text.to_socket_addrs().ok().and_then(|mut found| found.next());
    found.ok_or_else(|| {
        serde::de::Error::custom(format!("listen: '{text}' is no address: write it like 127.0.0.1:8080"))
    })
}

/// The database.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Db {
    /// `postgres://…`; none is SQLite in the data directory.
    pub url: Option<String>,
}

/// Who may register (X11).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Registration {
    /// Nobody.
    Closed,
    /// Everybody; the account waits for an administrator, unless its person was invited.
    #[default]
    Approval,
    /// Who was invited.
    Invite,
}

/// Where blank passwords are good (R15).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlankPasswords {
    /// On the master's own machine.
    #[default]
    Loopback,
    /// From everywhere.
    Allow,
    /// Nowhere.
    Deny,
}

/// Who may come in, as whom tasks run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Security {
    /// Where blank passwords are good.
    pub blank_passwords: BlankPasswords,
    /// The identity of tasks of accounts without a link (D4).
    pub default_task: DefaultTask,
    /// Further `Host` names that the master is reached under (R08); loopback names, addresses and the machine's own name
    /// are always good.
    pub hosts: Vec<String>,
    /// Proxies whose word counts for where a request comes from and whether it came encrypted, by address or network.
    pub trusted_proxies: Vec<Subnet>,
    /// Unix users whose programs on this machine may be such proxies, besides root and the master's own: every program
    /// here can connect from an address of this machine (A8).
    pub proxy_uids: Vec<u32>,
    /// How long access tokens live.
    pub token: TokenLifespans,
    /// Roles and groups, as far as Determined's clients ask for them.
    pub authz: Authz,
}

/// How long access tokens live, in days.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenLifespans {
    /// When nothing else is asked for.
    pub default_lifespan_days: u32,
    /// The longest that can be asked for.
    pub max_lifespan_days: u32,
}

impl Default for TokenLifespans {
    fn default() -> Self {
        Self { default_lifespan_days: 30, max_lifespan_days: 365 }
    }
}

impl TokenLifespans {
    fn check(&self) -> Result<(), String> {
        let Self { default_lifespan_days: default, max_lifespan_days: max } = *self;
        if !(1..=36_500).contains(&max) {
            return Err("max_lifespan_days: give 1 to 36500 days".to_owned());
        }
        if !(1..=max).contains(&default) {
            return Err(format!("default_lifespan_days: give 1 to {max} days (max_lifespan_days)"));
        }
        Ok(())
    }
}

/// Roles and groups, as far as Determined's clients ask for them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Authz {
    /// Has the clients offer groups and roles: `det user-group` works then. What anybody may do stays the same.
    pub rbac_ui_enabled: bool,
}

/// The identity of tasks of accounts without a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DefaultTask {
    /// User name.
    pub user: String,
    /// uid.
    pub uid: i64,
    /// Group name.
    pub group: String,
    /// gid.
    pub gid: i64,
}

impl Default for DefaultTask {
    fn default() -> Self {
        Self { user: "root".to_owned(), uid: 0, group: "root".to_owned(), gid: 0 }
    }
}

/// Most of a database's reserve, in bytes: SQLite takes no row that is larger than some 900 MiB.
const MOST_RESERVE: u64 = 512 << 20;

/// Nothing but comments, which YAML reads as null.
fn is_blank(text: &str) -> bool {
    text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
}

/// An empty file was somebody's redirection more often than their wish.
fn tell_if_empty(text: &str, file: &str) {
    if text.trim().is_empty() {
        tracing::warn!("{file} is empty: everything is as it is without a configuration");
    }
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// The file, the line and the reason.
    pub fn read(file: &Path) -> Result<Self, BadConfig> {
        let text = std::fs::read_to_string(file).map_err(|e| BadConfig {
            file: file.display().to_string(),
            reason: format!("can't be read: {e}"),
        })?;
        let config = Self::parse(&text, &file.display().to_string())?;
        tell_if_empty(&text, &file.display().to_string());
        for setting in config.unhonoured() {
            tracing::warn!("{}: {setting}", file.display());
        }
        let password = config.smtp.as_ref().and_then(|smtp| smtp.password_file.as_deref());
        if let Some(missing) = password.filter(|password| !password.exists()) {
            // It is read for each mail, so it may still come.
            tracing::warn!("smtp.password_file: {} isn't there: no mail goes until it is", missing.display());
        }
        Ok(config)
    }

    /// Reads text; `file` is for the message.
    ///
    /// # Errors
    /// The file, the line and the reason.
    #[expect(clippy::disallowed_methods, reason = "it is an administrator's own")]
    pub fn parse(text: &str, file: &str) -> Result<Self, BadConfig> {
        let bad = |reason: String| BadConfig { file: file.to_owned(), reason };
        let mut config: Self = if is_blank(text) {
            Self::default()
        } else {
            serde_saphyr::from_str(text).map_err(|e| bad(renamed::told(&e)))?
        };
        config.agent.check().map_err(|reason| bad(format!("agent.{reason}")))?;
        config.default_task().map_err(|e| bad(format!("security.default_task: {e}")))?;
        config.security.token.check().map_err(|reason| bad(format!("security.token.{reason}")))?;
        config.connections.check().map_err(|reason| bad(format!("connections.{reason}")))?;
        config.limits.check().map_err(|reason| bad(format!("limits.{reason}")))?;
        config.retention.check().map_err(|reason| bad(format!("retention.{reason}")))?;
        if let Some(host) = config.security.hosts.iter().find(|host| host.contains(['/', ':', '*', ' '])) {
            return Err(bad(format!(
                "security.hosts: '{host}' is not a plain name such as muster.lab.example"
            )));
        }
        if config.security.trusted_proxies.iter().any(Subnet::is_everything) {
            return Err(bad("security.trusted_proxies: that is every address, so anybody could say where a request comes from: \
                            name the proxy's own, such as 10.0.0.7"
                .to_owned()));
        }
        if config.agent_lost_after == 0 {
            return Err(bad("agent_lost_after: 0 would give up all tasks of an agent at once when a connection breaks: give \
                            seconds, such as 3600"
                .to_owned()));
        }
        if config.disk_reserve_bytes > MOST_RESERVE {
            return Err(bad(format!("disk_reserve_bytes: give at most {MOST_RESERVE} bytes, or 0 for none")));
        }
        if config.max_context_bytes == 0 {
            return Err(bad("max_context_bytes: give a number of bytes that isn't 0".to_owned()));
        }
        config.quotas.check().map_err(|reason| bad(format!("quotas.{reason}")))?;
        config.bootstrap.check().map_err(|reason| bad(format!("bootstrap.{reason}")))?;
        if let Some(smtp) = &config.smtp {
            smtp.check().map_err(|reason| bad(format!("smtp.{reason}")))?;
        }
        if config.db.url.as_ref().is_some_and(|url| !url.starts_with("postgres")) {
            return Err(bad("db.url: give a postgres://… address, or leave it out for SQLite".to_owned()));
        }
        config.read_defaults();
        config.check_defaults().map_err(bad)?;
        Ok(config)
    }

    /// The identity of tasks of accounts without a link.
    ///
    /// # Errors
    /// When it is none.
    pub fn default_task(&self) -> Result<UnixIdentity, domain::identity::InvalidIdentity> {
        let DefaultTask { user, uid, group, gid } = self.security.default_task.clone();
        IdentityParts { user: Some(user), uid: Some(uid), group: Some(group), gid: Some(gid) }.complete()
    }

    /// Most that the master keeps of one task's log, in bytes: what its own agent keeps to, at least (A4).
    #[must_use]
    pub fn log_bytes(&self) -> u64 {
        let agents = match self.agent.task_limits.log.as_deref() {
            None => 0,
            Some(UNLIMITED) => u64::MAX,
            Some(size) => domain::config::parse_size(size).unwrap_or(0),
        };
        self.limits.log_bytes.max(agents)
    }

    /// What an administrator may read through the API: all but secrets, with the keys that Determined's clients look
    /// for.
    #[must_use]
    pub fn for_display(&self) -> Value {
        let mut config = json!(self);
        if let Some(url) = config.pointer_mut("/db/url").filter(|url| !url.is_null()) {
            *url = json!("********");
        }
        let defaults = Shown::to_everybody(&self.task_container_defaults).into_value();
        config["task_container_defaults"] = defaults;
        if let Value::Object(map) = &mut config {
            map.insert("resource_manager".to_owned(), json!({"type": "agent"}));
            map.insert("feature_switches".to_owned(), json!([]));
            // None for all: workspaces have their own. What asks for more slots than there are is refused.
            map.insert("checkpoint_storage".to_owned(), Value::Null);
            map.insert("launch_error".to_owned(), json!(true));
            map.insert("resource_pools".to_owned(), self.pools_for_display());
        }
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d10_a_bad_file_is_refused_with_line_and_reason() {
        let refused =
            |text: &str| Config::parse(text, "master.yaml").expect_err("must be refused").to_string();
        let unknown = refused("cluster_name: lab\nsecurity:\n  blank_pasword: deny\n");
        assert!(unknown.starts_with("master.yaml: ") && unknown.contains("blank_pasword"), "{unknown}");
        assert!(unknown.contains('3'), "names the line: {unknown}");
        assert!(
            refused("listen: nowhere\n").contains("listen") || refused("listen: nowhere\n").contains('1')
        );
        // ME8: the file's name once, and words for people.
        for (text, told) in [
            ("listen: nowhere\n", "'nowhere' is no address: write it like 127.0.0.1:8080"),
            ("limits: {living_tasks: many}\n", "a whole number"),
        ] {
            let said = refused(text);
            assert!(said.contains(told) && said.contains("line 1"), "{said}");
            assert!(
                !said.contains("<input>") && !said.contains("error:") && said.lines().count() == 1,
                "{said}"
            );
        }
        assert_eq!(
            Config::parse("listen: localhost:8081\n", "master.yaml").expect("looked up").listen.port(),
            8081
        );
        assert!(refused("security: {default_task: {uid: -1}}\n").contains("-1"));
        assert!(refused("db: {url: mysql://x}\n").contains("db.url"));
        // What can't be meant says what to write.
        for (text, told) in [
            ("agent_lost_after: 0\n", "such as 3600"),
            ("security: {trusted_proxies: [0.0.0.0/0]}\n", "such as 10.0.0.7"),
            ("security: {trusted_proxies: [10.0.0.7, \"::/0\"]}\n", "such as 10.0.0.7"),
            ("disk_reserve_bytes: 999999999999999\n", "at most 536870912"),
        ] {
            assert!(refused(text).contains(told), "{text}");
        }
        let lifespans = |text: &str| refused(&format!("security: {{token: {{{text}}}}}\n"));
        assert!(
            lifespans("default_lifespan_days: 366").contains("default_lifespan_days: give 1 to 365 days")
        );
        assert!(lifespans("default_lifespan_days: 0").contains("security.token.default_lifespan_days"));
        assert!(lifespans("max_lifespan_days: 0").contains("security.token.max_lifespan_days"));
    }

    #[test]
    fn d10_what_could_not_work_is_refused_at_the_start() {
        for (wrong, told) in [
            (
                "agent: {root_range_base: 5}",
                "agent.root_range_base: give the first of 2134179840 free ids, 1000000 to 2160787454",
            ),
            ("agent: {root_range_base: 2160787455}", "agent.root_range_base: give the first"),
            ("agent: {root_range_base: 4294967295}", "agent.root_range_base: give the first"),
            ("agent: {run_size: 0}", "agent.run_size: '0' is not a size such as 8G, of 64K at least"),
            ("agent: {task_limits: {memory: 1K}}", "agent.task_limits.memory: '1K' is too little"),
            ("agent: {account_limits: {memory: 1K}}", "agent.account_limits.memory: '1K' is too little"),
            ("agent: {account_limits: {memory: much}}", "agent.account_limits.memory: 'much' is not a size"),
            ("agent: {bind_prefixes: [tmp]}", "agent.bind_prefixes: 'tmp' is not an absolute path"),
            ("agent: {late_mounts: [net]}", "agent.late_mounts: 'net' is not an absolute path"),
            ("agent: {environment_dir: e}", "agent.environment_dir: 'e' is not an absolute path"),
            (
                "agent: {task_environment: conda}",
                "task_environment: 'conda' is neither managed, none, module:NAME",
            ),
            ("agent: {task_environment: 'module:x;y'}", "task_environment: 'module:x;y' is neither"),
            ("limits: {audit_bytes_per_day: 1}", "audit_bytes_per_day is limits.stored_bytes_per_day now"),
            ("agent: {late_mounts: [/]}", "agent.late_mounts: '/' would give tasks the machine"),
            ("agent: {late_mounts: [/proc]}", "agent.late_mounts: '/proc'"),
            ("agent: {late_mounts: [/home/../proc]}", "agent.late_mounts: '/home/../proc'"),
            ("agent: {task_limits: {pids: 1}}", "agent.task_limits.pids: 1 is too little"),
            ("security: {hosts: [\"https://x.y\"]}", "security.hosts: 'https://x.y' is not a plain name"),
            ("security: {hosts: [\"*.lab\"]}", "security.hosts: '*.lab'"),
            ("max_context_bytes: 0", "max_context_bytes"),
        ] {
            let refused = Config::parse(wrong, "master.yaml").expect_err(wrong).to_string();
            assert!(refused.contains(told), "{wrong}: {refused}");
        }
    }

    #[test]
    fn d04_the_default_identity_is_root_unless_set() {
        let config = Config::parse("# nothing\n", "master.yaml").expect("valid");
        assert_eq!(config.default_task().expect("valid"), UnixIdentity::root());
        let text =
            "security:\n  default_task: {user: det-nobody, uid: 65533, group: det-nobody, gid: 65533}\n";
        let config = Config::parse(text, "master.yaml").expect("valid");
        assert_eq!(config.default_task().expect("valid").uid, 65533);
    }

    #[test]
    fn a12_limits_are_values_or_none() {
        let text = "agent: {task_limits: {memory: none, pids: none, cpus: 1.5, log: 1G, on_full_log: end}, kill_grace: 0}";
        let agent = Config::parse(text, "master.yaml").expect("valid").agent;
        assert_eq!(agent.task_limits.pids, Some(Bound::Unlimited(Unlimited::None)));
        assert_eq!(agent.task_limits.cpus, Some(Bound::At(1.5)));
        assert_eq!((agent.kill_grace, agent.task_limits.on_full_log), (0, OnFullLog::End));
        for bad in [
            "task_limits: {log: much}",
            "task_limits: {cpus: 0}",
            "task_limits: {pids: some}",
            "kill_grace: 601",
        ] {
            let key = bad
                .split([':', '{', ' '])
                .find(|word| *word != "task_limits" && !word.is_empty())
                .expect("a key");
            let refused =
                Config::parse(&format!("agent: {{{bad}}}"), "master.yaml").expect_err(bad).to_string();
            assert!(refused.contains(key) || key == "pids", "{refused}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let text = "db: {url: 'postgres://u@h/d'}\nbootstrap: {admin: {password: a quiet lake}}\n\
            task_container_defaults: {environment: {environment_variables: [PROXY=a pond]}}\n";
        let config = Config::parse(text, "master.yaml").expect("valid");
        let shown = config.for_display().to_string();
        assert!(!shown.contains("u@h") && !shown.contains("quiet") && !shown.contains("pond"), "{shown}");
        assert!(!format!("{config:?}").contains("quiet"));
    }
}
