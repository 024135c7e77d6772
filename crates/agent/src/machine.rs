//! What every part of the agent shares and nothing changes after the start: places, devices, the rights it has.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use domain::agent::Power;
use domain::config::Network;
use domain::id::AgentId;
use domain::system_ids::AllowedIds;
use launch::spec::{Limits, Mode, Together};

use crate::data_dir::{DataDir, make_private};
use crate::enrolment::Enrolment;
use crate::environment::{Environment, Maker};
use crate::reserve::Reserve;
use crate::watch::Watch;
use crate::{AgentError, Options, device, limits, older_ids};

/// The agent and its machine.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) name: AgentId,
    /// Of this process, made up at its start (B5).
    pub(crate) instance: String,
    pub(crate) version: String,
    /// `http://host:port`, or with https, without a slash at the end.
    pub(crate) master: String,
    pub(crate) data_dir: DataDir,
    pub(crate) found: device::Found,
    pub(crate) power: Power,
    pub(crate) hostname: String,
    pub(crate) shim_exe: PathBuf,
    pub(crate) mode: Mode,
    pub(crate) allowed_ids: AllowedIds,
    pub(crate) machine_groups: bool,
    pub(crate) limits: Limits,
    /// Those of all tasks of an account together.
    pub(crate) account_limits: Together,
    pub(crate) run_bytes: Option<u64>,
    pub(crate) shm_bytes: Option<u64>,
    pub(crate) kill_grace: Duration,
    pub(crate) seccomp: launch::spec::Seccomp,
    pub(crate) reserve: Reserve,
    pub(crate) masked: Vec<PathBuf>,
    pub(crate) bind_prefixes: Option<Vec<PathBuf>>,
    pub(crate) late_mounts: Vec<PathBuf>,
    /// The most that a task's network may be, and what it is unless the task asks for less.
    pub(crate) network: Network,
    pub(crate) reach: Vec<IpAddr>,
    /// What tasks of this process's own user may not write to; nothing where they are others.
    pub(crate) guarded: Vec<PathBuf>,
    pub(crate) watch: Watch,
    /// The Python that tasks have.
    pub(crate) environment: Arc<Environment>,
    /// Whose agent it is by now.
    pub(crate) enrolment: RwLock<Option<Enrolment>>,
}

impl Machine {
    /// Takes the data directory and looks at the machine.
    pub(crate) async fn open(options: &Options) -> Result<Self, AgentError> {
        let master = master_url(&options.master)?;
        let data_dir = DataDir::open(&options.data_dir).await?;
        let power = power(options.shared);
        let mode = match power {
            Power::Root => Mode::Root { root_range_base: options.root_range_base },
            Power::Unprivileged { .. } => Mode::Unprivileged,
        };
        let variable = std::env::var("CUDA_VISIBLE_DEVICES").ok();
        let choice = device::Choice::new(options.devices.as_deref(), variable.as_deref());
        let mut masked = vec![data_dir.root().to_owned()];
        // One that several agents share is made here: what isn't there can't be hidden.
        let shared = options.environment.dir.clone();
        if let Some(dir) = &shared {
            make_private(dir).map_err(AgentError::io(format!("cannot use {}", dir.display())))?;
        }
        masked.extend(options.masked.iter().cloned().chain(shared));
        let hostname =
            nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let account_limits = limits::of_account(&options.account_limits);
        Ok(Self {
            name: options.name.clone(),
            instance: format!("{:032x}", rand::random::<u128>()),
            version: options.version.clone(),
            master,
            found: device::discover(options.slots, &choice, device::Places::default()).await,
            power,
            hostname,
            shim_exe: options.shim_exe.clone(),
            mode,
            allowed_ids: options.allowed_ids.clone(),
            machine_groups: options.machine_groups,
            run_bytes: options.run_bytes,
            shm_bytes: options.shm_bytes,
            limits: limits::resolved(&options.limits, account_limits, data_dir.root()),
            account_limits,
            kill_grace: options.kill_grace,
            seccomp: options.seccomp,
            reserve: Reserve::open(&data_dir.root().join("reserve"))
                .map_err(AgentError::io("cannot keep a reserve in the data directory"))?,
            masked,
            bind_prefixes: options.bind_prefixes.clone(),
            late_mounts: options.late_mounts.clone(),
            network: options.network,
            reach: options.reach.clone(),
            guarded: guarded(options, power),
            watch: Watch::new().map_err(AgentError::io("cannot watch log files"))?,
            environment: Environment::new(Maker::new(options)),
            enrolment: RwLock::default(),
            data_dir,
        })
    }

    /// Whose agent it is, and by which key.
    pub(crate) fn enrolment(&self) -> Option<Enrolment> {
        self.enrolment.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_enrolment(&self, enrolment: Option<Enrolment>) {
        *self.enrolment.write().unwrap_or_else(PoisonError::into_inner) = enrolment;
    }

    /// What tasks left under other ids has nobody, and its owners can't see why (F10).
    fn tell_of_older_ids(&self) {
        let Mode::Root { root_range_base } = self.mode else { return };
        match older_ids::told(&self.data_dir, root_range_base) {
            Ok(Some(told)) => tracing::warn!("{told}"),
            Ok(None) => {}
            Err(e) => tracing::warn!("which ids tasks had before can't be noted: {e}"),
        }
    }

    /// One task's open files must not be all that the machine has (A7).
    fn raise_open_files(&self) {
        if self.limits.memory_bytes.is_none() {
            return;
        }
        match launch::descriptors::raise_machines() {
            Ok(Some(before)) => tracing::info!(
                "fs.file-max was {before}, and as many open files as one task may have: raised, as service managers do; what \
                 tasks open counts as their memory"
            ),
            Ok(None) => {}
            Err(e) => tracing::info!("fs.file-max can't be raised, so one task may have all open files: {e}"),
        }
    }

    /// Nor are other numbers of the machine's one account's (KA8, A12).
    fn raise_shared_numbers() {
        for number in launch::shared_numbers::NUMBERS {
            let (name, what) = (number.name, number.what);
            match number.raise() {
                Ok(Some(before)) => tracing::info!(
                    "{name} was {before}: raised to {}, so that one account's tasks can't have all {what}",
                    number.least
                ),
                Ok(None) => {}
                Err(e) => tracing::info!("{name} can't be raised, so one account may have all {what}: {e}"),
            }
        }
    }

    /// Logs what this agent can and cannot do.
    pub(crate) async fn describe(&self) {
        match self.power {
            Power::Root => {
                tracing::info!("tasks run as the Unix users that accounts are linked to");
                self.tell_of_older_ids();
                self.raise_open_files();
                Self::raise_shared_numbers();
            }
            Power::Unprivileged { uid, shared, .. } => tracing::warn!(
                "the agent isn't root: every task runs as uid {uid}; it takes tasks of {}",
                if shared {
                    "every account (agent.shared is on)"
                } else {
                    "the default user and of accounts linked to that uid"
                }
            ),
        }
        if let Some(warning) = launch::core_files::warning() {
            tracing::warn!("{warning}");
        }
        let devices = &self.found.devices;
        let brand = devices.first().map_or("no device", |device| device.brand.as_str());
        tracing::info!("{} slots ({brand})", devices.len());
        if let Some(trouble) = &self.found.trouble {
            tracing::warn!("{trouble}");
        }
        if let Ok(found) = tokio::task::spawn_blocking(launch::probe).await {
            for reason in found.reasons {
                tracing::warn!("{reason}");
            }
        }
    }
}

fn power(shared: bool) -> Power {
    let uid = rustix::process::geteuid();
    if uid.is_root() {
        return Power::Root;
    }
    Power::Unprivileged { uid: uid.as_raw(), gid: rustix::process::getegid().as_raw(), shared }
}

/// What this process lives by, where tasks run as its own user: the directory of its program above all, from which the next
/// start of anybody's task runs outside of every sandbox (F12).
fn guarded(options: &Options, power: Power) -> Vec<PathBuf> {
    if power == Power::Root {
        return Vec::new();
    }
    let program = options.shim_exe.parent().map(Path::to_owned);
    let own = program.into_iter().chain([options.data_dir.clone()]);
    own.chain(options.masked.iter().cloned()).chain(options.guarded.iter().cloned()).collect()
}

/// Checks the address and brings it into one form.
fn master_url(text: &str) -> Result<String, AgentError> {
    let bad = || AgentError::BadAddress(text.to_owned());
    let url = url::Url::parse(text).map_err(|_| bad())?;
    let plain =
        matches!(url.scheme(), "http" | "https") && url.host_str().is_some_and(|host| !host.is_empty());
    let extra = !url.username().is_empty() || url.password().is_some() || url.query().is_some();
    if !plain || extra {
        return Err(bad());
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        assert_eq!(master_url("http://h:8080/").expect("valid"), "http://h:8080");
        assert_eq!(master_url("http://[::1]:80").expect("valid"), "http://[::1]");
        assert_eq!(master_url("https://h/").expect("valid"), "https://h");
        for bad in ["", "h:8080", "ftp://h", "http://u:p@h", "http://h/?x=1"] {
            assert!(master_url(bad).is_err(), "{bad}");
        }
    }
}
