//! What every part of the agent shares and nothing changes after the start: places, devices, the rights it has.

use std::sync::{Arc, PoisonError, RwLock};

use domain::agent::Power;
use domain::capability::{Capabilities, Capability};
use domain::id::AgentId;

use crate::data_dir::{DataDir, make_private};
use crate::enrolment::Enrolment;
use crate::environment::{Environment, Maker};
use crate::launcher::Launcher;
use crate::launcher::sandbox::Sandbox;
use crate::reserve::Reserve;
use crate::watch::Watch;
use crate::{AgentError, Options, device};

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
    pub(crate) found: Arc<device::Found>,
    pub(crate) power: Power,
    pub(crate) hostname: String,
    /// What starts tasks.
    pub(crate) launcher: Arc<dyn Launcher>,
    pub(crate) reserve: Arc<Reserve>,
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
        let variable = std::env::var("CUDA_VISIBLE_DEVICES").ok();
        let choice = device::Choice::new(options.devices.as_deref(), variable.as_deref());
        // One that several agents share is made here: what isn't there can't be hidden.
        if let Some(dir) = &options.environment.dir {
            make_private(dir).map_err(AgentError::io(format!("cannot use {}", dir.display())))?;
        }
        let hostname =
            nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let found = Arc::new(device::discover(options.slots, &choice, device::Places::default()).await);
        let reserve = Reserve::open(&data_dir.root().join("reserve"));
        let reserve =
            Arc::new(reserve.map_err(AgentError::io("cannot keep a reserve in the data directory"))?);
        let launcher = options.launcher.clone().unwrap_or_else(|| {
            Arc::new(Sandbox::new(options, &data_dir, power, Arc::clone(&found), Arc::clone(&reserve)))
        });
        Ok(Self {
            name: options.name.clone(),
            instance: format!("{:032x}", rand::random::<u128>()),
            version: options.version.clone(),
            master,
            found,
            power,
            hostname,
            launcher,
            reserve,
            watch: Watch::new().map_err(AgentError::io("cannot watch log files"))?,
            environment: Environment::new(Maker::new(options)),
            enrolment: RwLock::default(),
            data_dir,
        })
    }

    /// What of what tasks may ask for it can carry out.
    pub(crate) fn can(&self) -> Capabilities {
        let can = self.launcher.can();
        if self.environment.is_wanted() { can } else { can.without(Capability::ManagedEnvironment) }
    }

    /// Whose agent it is, and by which key.
    pub(crate) fn enrolment(&self) -> Option<Enrolment> {
        self.enrolment.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_enrolment(&self, enrolment: Option<Enrolment>) {
        *self.enrolment.write().unwrap_or_else(PoisonError::into_inner) = enrolment;
    }

    /// Logs what this agent can and cannot do.
    pub(crate) async fn describe(&self) {
        self.launcher.describe().await;
        let devices = &self.found.devices;
        let brand = devices.first().map_or("no device", |device| device.brand.as_str());
        tracing::info!("{} slots ({brand})", devices.len());
        if let Some(trouble) = &self.found.trouble {
            tracing::warn!("{trouble}");
        }
    }
}

/// Which identities this process can give.
pub(crate) fn power(shared: bool) -> Power {
    let uid = rustix::process::geteuid();
    if uid.is_root() {
        return Power::Root;
    }
    Power::Unprivileged { uid: uid.as_raw(), gid: rustix::process::getegid().as_raw(), shared }
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
