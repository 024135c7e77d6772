//! The agent that runs beside a master on the same machine, and what agents on other machines share with it.

use std::path::PathBuf;

use agent::environment::{Choice, Settings};
use agent::{AccountLimits, Bound, Options, TaskLimits};
use anyhow::{Context as _, Result};
use domain::id::AgentId;
use master::config::{self, OnFullLog, Seccomp, TaskEnvironment, UNLIMITED};

use super::serve::Served;

/// Options of the agent of `muster up`.
pub(super) async fn options(served: &Served, slots: Option<u32>) -> Result<Options> {
    let dir = served.dir.agent();
    // A machine may get another name; its agent keeps its own.
    let name = agent::enrolled_as(&dir).unwrap_or_else(machine_name);
    // Also after an upgrade from a version in which agents didn't know the master's key.
    let belongs = agent::enrolled_with(&dir) == Some(served.key());
    let invitation = if belongs { None } else { Some(served.invite_local_agent(&name).await?) };
    let options = from_config(&served.config.agent, dir)?;
    // A task that was given the machine's /run must not find the masters' sockets there.
    let sockets = crate::way::folder().filter(|folder| folder.is_dir());
    let masked = std::iter::once(served.dir.path().to_owned()).chain(sockets).collect();
    Ok(Options { master: served.url(), name, slots, invitation, masked, ..options })
}

/// What stands in a configuration file; the rest is the usual.
pub(super) fn from_config(config: &master::config::Agent, data_dir: PathBuf) -> Result<Options> {
    let limits = &config.task_limits;
    warn_of(config);
    Ok(Options {
        master: String::new(),
        data_dir,
        name: machine_name(),
        slots: None,
        devices: config.devices.as_ref().map(|names| names.iter().map(ToString::to_string).collect()),
        invitation: None,
        // Also works when the file was replaced by a newer one in the meantime.
        shim_exe: std::env::current_exe().context("finding this program's own file")?,
        shared: config.shared,
        root_range_base: config.root_range_base,
        bind_prefixes: config.bind_prefixes.clone(),
        late_mounts: config.late_mounts.clone(),
        allowed_ids: config.allowed_ids.clone(),
        machine_groups: config.groups == master::config::Groups::OfMachine,
        network: config.network,
        reach: config.reach.clone(),
        guarded: Vec::new(),
        limits: TaskLimits {
            memory: size(limits.memory.as_deref()),
            pids: number(limits.pids),
            cpus: number(limits.cpus),
            scratch: size(limits.scratch.as_deref()),
            scratch_files: number(limits.scratch_files),
            log: size(limits.log.as_deref()),
            log_ends_task: limits.on_full_log == OnFullLog::End,
        },
        account_limits: AccountLimits {
            memory: size(config.account_limits.memory.as_deref()),
            pids: number(config.account_limits.pids),
        },
        keep_free: keep_free(config),
        beside: Vec::new(),
        run_bytes: config.run_size.as_deref().and_then(domain::config::parse_size),
        shm_bytes: config.shm_size.as_deref().and_then(domain::config::parse_size),
        kill_grace: std::time::Duration::from_secs(config.kill_grace),
        seccomp: match config.seccomp {
            Seccomp::Default => launch::spec::Seccomp::Default,
            Seccomp::Filters => launch::spec::Seccomp::Filters,
            Seccomp::Namespaces => launch::spec::Seccomp::Namespaces,
            Seccomp::Off => launch::spec::Seccomp::Off,
        },
        environment: Settings {
            choice: match &config.task_environment {
                TaskEnvironment::Managed => Choice::Managed,
                TaskEnvironment::Prefix(prefix) => Choice::Prefix(prefix.clone()),
                TaskEnvironment::Module(name) => Choice::Module(name.clone()),
                TaskEnvironment::Off => Choice::Off,
            },
            dir: config.environment_dir.clone(),
            ..Settings::default()
        },
        masked: Vec::new(),
        launcher: None,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

/// What gives tasks more than the usual is said at each start: who set it may be somebody else, long ago.
fn warn_of(config: &master::config::Agent) {
    if config.seccomp == Seccomp::Off {
        tracing::warn!("agent.seccomp is off: tasks may ask anything of this machine's kernel");
    }
    if config.network == master::config::Network::Host {
        tracing::warn!(
            "agent.network is host: tasks may use this machine's network, its loopback and its cloud's identity"
        );
    }
    if let TaskEnvironment::Prefix(prefix) = &config.task_environment
        && !prefix.is_dir()
    {
        tracing::warn!(
            "agent.task_environment: {} isn't there: tasks that need Python fail until it is",
            prefix.display()
        );
    }
    // Root makes itself the device where there is none.
    if config.network != master::config::Network::None
        && !rustix::process::geteuid().is_root()
        && let Err(error) = std::fs::OpenOptions::new().read(true).write(true).open("/dev/net/tun")
    {
        tracing::warn!("/dev/net/tun can't be opened ({error}): tasks reach the master and nothing else");
    }
    for missing in config.late_mounts.iter().filter(|directory| !directory.is_dir()) {
        tracing::warn!("agent.late_mounts: {} isn't there", missing.display());
    }
}

/// How much of a disk is to be free, an agent's and a master's.
pub(super) fn keep_free(config: &config::Agent) -> Bound<u64> {
    size(config.keep_free.as_deref())
}

/// A size that was checked when the file was read.
fn size(set: Option<&str>) -> Bound<u64> {
    match set {
        None => Bound::Usual,
        Some(UNLIMITED) => Bound::Unlimited,
        Some(size) => domain::config::parse_size(size).map_or(Bound::Usual, Bound::At),
    }
}

fn number<T>(set: Option<config::Bound<T>>) -> Bound<T> {
    match set {
        None => Bound::Usual,
        Some(config::Bound::Unlimited(_)) => Bound::Unlimited,
        Some(config::Bound::At(value)) => Bound::At(value),
    }
}

/// The machine's name as an agent's name.
pub(super) fn machine_name() -> AgentId {
    let name = nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned();
    let allowed = |c: char| {
        if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' }
    };
    let name: String = name.chars().map(allowed).take(64).collect();
    let fallback = || "local".parse();
    name.parse().or_else(|_| fallback()).unwrap_or_else(|_| unreachable!("'local' is a valid name"))
}
