//! A master that serves: configuration, data directory, database, listener, HTTP.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Error, Result, anyhow};
use domain::authz::{InviteAgent, Permit, System};
use domain::id::AgentId;
use link::{Invitation, Public};
use master::log::Kept;
use master::own_log::OwnLog;
use master::system::{SystemClock, SystemEntropy};
use master::{Config, Master, Parts};
use store::Store;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use web::{Door, Tls};

use super::data_dir::{DataDir, Lock};
use super::encryption;
use super::own_socket::{self, OwnSocket};
use super::process::Ending;
use crate::cli::MasterArgs;
use crate::output;

/// How long `muster down` waits for tasks that have no time left to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// A master that serves.
pub(super) struct Served {
    pub(super) config: Config,
    pub(super) dir: DataDir,
    address: SocketAddr,
    tls: Option<Tls>,
    master: Master,
    system: System,
    http: Mutex<JoinHandle<()>>,
    _own_socket: Option<OwnSocket>,
    _lock: Lock,
}

impl Served {
    pub(super) async fn start(args: &MasterArgs, own_log: OwnLog) -> Result<Self> {
        let mut config = match &args.config {
            Some(file) => Config::read(file)?,
            None => Config::default(),
        };
        config.listen = args.listen.unwrap_or(config.listen);
        // Nobody else can make this name lead here, so it is no way round the check of names (R08).
        config.security.hosts.push(super::local_agent::machine_name().to_string());
        let dir = DataDir::at(args.data_dir.clone().or_else(|| config.data_dir.clone()))?;
        dir.create()?;
        let lock = dir.lock().await?;
        let listen = config.listen;
        let listener = TcpListener::bind(listen).await.with_context(|| {
            format!("can't listen on {listen}: stop what uses it, or choose another address with --listen")
        })?;
        let address = listener.local_addr()?;
        let tls = encryption::open(&config, dir.path(), address)?;
        let store = match &config.db.url {
            Some(url) => Store::open_postgres(url).await.context("opening the PostgreSQL database")?,
            None => {
                let file = dir.path().join("muster.db");
                Store::open_sqlite(&file).await.with_context(|| format!("opening {}", file.display()))?
            }
        };
        let system = System::at_start();
        let parts = Parts {
            store,
            data_dir: dir.path().to_owned(),
            config: config.clone(),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            own_log,
            managers: BTreeMap::default(),
            system: system.clone(),
        };
        let master = Master::start(parts).await.context("starting the master")?;
        let app = web::App::new(master.clone(), address).encrypted(tls.clone());
        let (own_socket, near) = own_socket::bind(address).unzip();
        let mut doors = vec![app.door(listener)];
        doors.extend(near.map(Door::Unix));
        let http = Mutex::new(tokio::spawn(web::serve(doors, app)));
        let _own_socket = own_socket;
        let served = Self { config, dir, address, tls, master, system, http, _own_socket, _lock: lock };
        served.warn_of_strangers().await;
        Ok(served)
    }

    /// A listener that others can reach is told of while the first administrator has no password (R15).
    async fn warn_of_strangers(&self) {
        let open = !self.address.ip().is_loopback();
        if open && let Ok(Some(admin)) = self.master.cluster.unprotected_admin().await {
            tracing::warn!(
                "others can reach {} and the password of {admin} is blank: set one with `muster{} -u {admin} user change-password`",
                self.address,
                self.by_socket()
            );
        }
    }

    /// The option that names this master's own socket, where that isn't the one without an option.
    fn by_socket(&self) -> String {
        let ip = self.address.ip().to_canonical();
        let near = ip.is_loopback() || ip.is_unspecified();
        match (near, self.address.port()) {
            (true, 8080) => String::new(),
            (true, port) => format!(" -m http://127.0.0.1:{port}"),
            (false, port) => format!(" -m http://{}", SocketAddr::new(ip, port)),
        }
    }

    /// The address for this machine's own clients.
    pub(super) fn url(&self) -> String {
        let ip = match self.address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", SocketAddr::new(ip, self.address.port()))
    }

    pub(super) fn say_ready(&self) -> Result<()> {
        if let Some(file) = self.master.cluster.initial_password().file() {
            let file = file.display();
            output::note(&format!("The administrator's first password is in {file}, until it is used."));
        }
        match &self.tls {
            Some(tls) => encryption::tell(tls),
            None => encryption::warn_of_plain(self.address),
        }
        output::line(&format!("Muster is ready at {}", self.url()))
    }

    /// An invitation for the agent of `muster up`. It may replace the key of that name: whoever has this directory has
    /// the agent's as well, and a version before enrolled it with a key of another kind.
    pub(super) async fn invite_local_agent(&self, name: &AgentId) -> Result<Invitation> {
        let permit = Permit::<InviteAgent>::system(&self.system, "the agent of `muster up`", ());
        let (invitation, _) = self.master.agents.invite(permit, Some(name.clone()), true).await?;
        Ok(invitation)
    }

    /// Its tasks' logs, and the right to make room among them.
    pub(super) fn kept_logs(&self) -> (&Kept, &System) {
        (&self.master.kept_logs, &self.system)
    }

    /// What agents know this master by.
    pub(super) fn key(&self) -> Public {
        self.master.agents.key().public()
    }

    /// Resolves when HTTP breaks down, or the database isn't this master's any more.
    pub(super) async fn failed(&self) -> Error {
        let mut http = self.http.lock().await;
        tokio::select! {
            ended = &mut *http => match ended {
                Ok(()) => anyhow!("the server ended"),
                Err(error) => Error::new(error).context("serving HTTP"),
            },
            overtaken = self.master.overtaken() => overtaken.into(),
        }
    }

    /// Ends all tasks, and waits for their ends, but for what runs on agents that are away.
    pub(super) async fn end_tasks(&self) -> Result<()> {
        let count = self.master.tasks.end_all(&self.system).await?;
        if count == 0 {
            return Ok(());
        }
        tracing::info!(tasks = count, "ending tasks");
        let grace = Duration::from_secs(self.config.agent.kill_grace);
        for patience in [grace + PATIENCE, PATIENCE] {
            if tokio::time::timeout(patience, self.master.tasks.all_ended()).await.is_ok() {
                return Ok(());
            }
            tracing::warn!("some tasks did not end in {} s", patience.as_secs());
            // The second time without any grace.
            self.master.tasks.end_all(&self.system).await?;
        }
        Ok(())
    }

    /// Says which tasks go on without us.
    pub(super) fn tell_what_stays(&self, ending: Ending) {
        let count = self.master.tasks.count_living();
        if count == 0 {
            return;
        }
        let tasks = if count == 1 { "1 task goes".to_owned() } else { format!("{count} tasks go") };
        match ending {
            Ending::LeaveTasks => {
                tracing::info!("{tasks} on: the next `muster up` takes over, `muster down` ends them");
            }
            Ending::EndTasks => tracing::warn!(
                "{tasks} on where no agent is connected, or didn't end: they are ended once master and agent are back; `muster \
                 down --data-dir DIR` on a machine ends what its agent runs"
            ),
        }
    }

    /// Answers what is under way, then closes the database.
    pub(super) async fn stop(&self) {
        self.master.begin_stop();
        if let Ok(mut http) = self.http.try_lock() {
            let _ = tokio::time::timeout(Duration::from_secs(2), &mut *http).await;
        }
        self.master.stop().await;
    }
}
