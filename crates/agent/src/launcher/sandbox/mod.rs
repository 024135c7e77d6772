//! The sandbox: a task is a shim of crate `launch` and what it starts, with namespaces on the machine's own root file system.
//! In this crate `launch` is named here, and nowhere else.
//!
//! `spec` says what the shim is told, `identity` as whom, `limits` within what; `shim` starts it and `found` finds it again,
//! `stray` those of which a directory has no record. `python` is what a task gets of a Python, and `job` runs what belongs to
//! no task.

mod found;
mod identity;
pub(crate) mod job;
mod limits;
mod older_ids;
mod python;
mod shim;
mod spec;
mod stray;

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use api::agent::Start;
use domain::agent::Power;
use domain::capability::Capabilities;
use domain::config::Network;
use domain::id::{AgentId, AllocationId};
use domain::system_ids::AllowedIds;
use domain::task::Exit;
use launch::TaskSpec;
use launch::spec::{Limits, Mode, Together};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::{Doing, Fault, Found, Holding, LaunchError, Launcher, Order, Outlived, Python, Run};
use crate::context;
use crate::data_dir::{DataDir, sync_dir, write_file};
use crate::device;
use crate::environment::Prepared;
use crate::reserve::Reserve;
use crate::{AgentError, Options};

pub(crate) use launch::spec::RUN_DIR;
pub use launch::spec::Seccomp;
pub(crate) use launch::{passes, share};
pub use limits::{AccountLimits, Bound, TaskLimits};
pub use stray::strays;

const EXIT_FILE: &str = "exit.json";
const UNFINISHED_EXIT: &str = "exit.json.new";
const PID_FILE: &str = "shim.pid";

/// How this machine's tasks are kept apart, and within what. See [`Options`] for what each means.
#[derive(Debug)]
pub struct Sandbox {
    agent: AgentId,
    power: Power,
    found: Arc<device::Found>,
    shim_exe: PathBuf,
    mode: Mode,
    allowed_ids: AllowedIds,
    machine_groups: bool,
    limits: Limits,
    /// Those of all tasks of an account together.
    account_limits: Together,
    run_bytes: Option<u64>,
    shm_bytes: Option<u64>,
    kill_grace: Duration,
    seccomp: Seccomp,
    reserve: Arc<Reserve>,
    masked: Vec<PathBuf>,
    bind_prefixes: Option<Vec<PathBuf>>,
    late_mounts: Vec<PathBuf>,
    /// The most that a task's network may be, and what it is unless the task asks for less.
    network: Network,
    reach: Vec<IpAddr>,
    /// What tasks of this process's own user may not write to; nothing where they are others.
    guarded: Vec<PathBuf>,
    /// The agent's.
    data_dir: PathBuf,
}

impl Sandbox {
    /// That of an agent with these options, as it has it when it runs.
    ///
    /// # Errors
    /// When its directory can't be used.
    pub async fn of(options: &Options) -> Result<Self, AgentError> {
        let data_dir = DataDir::open(&options.data_dir).await?;
        let reserve = Reserve::open(&data_dir.root().join("reserve"));
        let reserve = reserve.map_err(AgentError::io("cannot keep a reserve in the data directory"))?;
        let choice = device::Choice::new(options.devices.as_deref(), None);
        let found = device::discover(options.slots, &choice, device::Places::default()).await;
        let power = crate::machine::power(options.shared);
        Ok(Self::new(options, &data_dir, power, Arc::new(found), Arc::new(reserve)))
    }

    pub(crate) fn new(
        options: &Options,
        data_dir: &DataDir,
        power: Power,
        found: Arc<device::Found>,
        reserve: Arc<Reserve>,
    ) -> Self {
        let mode = mode(options);
        let account_limits = limits::of_account(&options.account_limits);
        let masked = [data_dir.root().to_owned()].into_iter().chain(options.masked.iter().cloned());
        Self {
            agent: options.name.clone(),
            power,
            found,
            shim_exe: options.shim_exe.clone(),
            mode,
            allowed_ids: options.allowed_ids.clone(),
            machine_groups: options.machine_groups,
            limits: limits::resolved(&options.limits, account_limits, data_dir.root()),
            account_limits,
            run_bytes: options.run_bytes,
            shm_bytes: options.shm_bytes,
            kill_grace: options.kill_grace,
            seccomp: options.seccomp,
            reserve,
            masked: masked.chain(options.environment.dir.clone()).collect(),
            bind_prefixes: options.bind_prefixes.clone(),
            late_mounts: options.late_mounts.clone(),
            network: options.network,
            reach: options.reach.clone(),
            guarded: guarded(options, power),
            data_dir: data_dir.root().to_owned(),
        }
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

    /// Whose earlier runs hold what nobody can remove begins nothing new here (ML1).
    async fn has_room_for(&self, run: &Run, spec: &TaskSpec) -> Result<(), LaunchError> {
        let Some(owner) = &spec.owner else { return Ok(()) };
        let (owner, dir) = (owner.key.clone(), run.dir.clone());
        let look = move || launch::leftovers(dir.parent().unwrap_or(Path::new("/")), &owner).len();
        match spawn_blocking(look).await {
            Ok(0) => Ok(()),
            Ok(left) => Err(LaunchError::Leftovers(left)),
            Err(e) => Err(LaunchError::Directory(e.into())),
        }
    }

    /// Writes a run's description, which makes its directory.
    async fn write(&self, run: &Run, spec: TaskSpec) -> Result<(), LaunchError> {
        let (reserve, run) = (Arc::clone(&self.reserve), run.clone());
        let made = spawn_blocking(move || {
            let tasks = run.dir.parent().unwrap_or(Path::new("/"));
            reserve.spend(|| launch::create_task_dir(tasks, &spec.task_id, &spec))
        });
        made.await.map_err(io::Error::from).flatten().map(drop).map_err(LaunchError::Directory)
    }
}

impl Launcher for Sandbox {
    fn can(&self) -> Capabilities {
        Capabilities::ALL
    }

    fn grace(&self) -> Duration {
        self.kill_grace
    }

    fn describe(&self) -> Doing<'_, ()> {
        Box::pin(async {
            match self.power {
                Power::Root => {
                    tracing::info!("tasks run as the Unix users that accounts are linked to");
                    self.tell_of_older_ids();
                    self.raise_open_files();
                    raise_shared_numbers();
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
            if let Ok(found) = spawn_blocking(launch::probe).await {
                for reason in found.reasons {
                    tracing::warn!("{reason}");
                }
            }
        })
    }

    fn check(&self, start: &Start) -> Result<(), LaunchError> {
        spec::task_spec(self, start, "", Vec::new())?;
        Ok(())
    }

    fn prepare<'a>(
        &'a self,
        run: &'a Run,
        order: Order<'a>,
        // It takes a moment.
        _stop: &'a CancellationToken,
    ) -> Doing<'a, Result<(), LaunchError>> {
        Box::pin(async move {
            let groups = identity::groups(self, &order.start.identity).await;
            let mut spec = spec::task_spec(self, order.start, order.master, groups)?;
            self.has_room_for(run, &spec).await?;
            match order.python {
                Python::None => {}
                Python::Later => spec.unfinished = true,
                Python::Now(prepared) => python::equip(&mut spec, prepared),
            }
            self.write(run, spec).await
        })
    }

    fn complete<'a>(&'a self, run: &'a Run, prepared: &'a Prepared) -> Doing<'a, Result<(), LaunchError>> {
        Box::pin(async move {
            let (reserve, dir) = (Arc::clone(&self.reserve), run.dir.clone());
            let prepared =
                Prepared { python: prepared.python.clone(), shown: prepared.shown.clone(), _held: None };
            let finished = spawn_blocking(move || {
                let mut spec = launch::read_spec(&dir)?;
                spec.unfinished = false;
                python::equip(&mut spec, &prepared);
                reserve.spend(|| launch::finish_spec(&dir, &spec))
            });
            finished.await.map_err(io::Error::from).flatten().map_err(LaunchError::Description)
        })
    }

    fn start<'a>(&'a self, run: &'a Run) -> Doing<'a, Result<(), LaunchError>> {
        Box::pin(shim::start_shim(&self.shim_exe, &run.dir, &self.reserve))
    }

    fn adopt<'a>(&'a self, run: &'a Run) -> Doing<'a, io::Result<Found>> {
        Box::pin(found::look(run))
    }

    fn empty(&self, run: &Run) -> io::Result<()> {
        launch::empty_scratch(&run.dir)
    }

    fn conclude(&self, run: &Run, exit: &Exit) -> io::Result<()> {
        remove_if_there(&run.dir.join(UNFINISHED_EXIT))?;
        let bytes = serde_json::to_vec(&found::noted(exit))?;
        if run.dir.exists() {
            return write_file(&run.dir.join(EXIT_FILE), &bytes);
        }
        let tasks = run.dir.parent().unwrap_or(Path::new("/"));
        let temporary = tasks.join(format!(".end-{}", run.id));
        remove_if_there(&temporary)?;
        fs::create_dir(&temporary)?;
        write_file(&temporary.join(EXIT_FILE), &bytes)?;
        fs::rename(&temporary, &run.dir)?;
        sync_dir(tasks)
    }

    fn holding(&self, run: &Run) -> io::Result<Holding> {
        self.holdings(std::slice::from_ref(run)).pop().unwrap_or_else(|| Err(io::ErrorKind::NotFound.into()))
    }

    fn holdings(&self, runs: &[Run]) -> Vec<io::Result<Holding>> {
        let over: Vec<_> =
            runs.iter().map(|run| launch::read_exit(&run.dir).map(|exit| exit.is_some())).collect();
        let dirs: Vec<&Path> = runs.iter().map(|run| run.dir.as_path()).collect();
        let holding = |(over, held): (io::Result<bool>, io::Result<launch::Holding>)| {
            let (over, launch::Holding { owner, bytes, files }) = (over?, held?);
            Ok(Holding { owner, bytes, files, over })
        };
        over.into_iter().zip(launch::holdings(&dirs)).map(holding).collect()
    }

    fn door(&self, run: &Run) -> io::Result<Option<OwnedFd>> {
        launch::Shim::relay_listener(&run.dir)
    }

    fn outlived(&self, data_dir: &Path) -> Vec<(AllocationId, Box<dyn Outlived>)> {
        let named = |stray: launch::Stray| Some((stray.task_id.parse().ok()?, found::outlived(stray)));
        strays(data_dir).into_iter().filter_map(named).collect()
    }

    fn forget(&self, dir: &Path) -> io::Result<()> {
        launch::remove_task_dir(dir)
    }

    fn put_away(&self, dir: &Path, to: &Path) -> io::Result<()> {
        launch::move_task_dir(dir, to)
    }
}

/// Unpacks a context directory in a sandbox: what a shim is given for that.
///
/// # Errors
/// As [`context::unpack`].
pub fn unpack(archive: fs::File) -> Result<(), launch::NotUnpacked> {
    context::unpack(archive).map_err(|e| {
        let fault = match e.fault() {
            Fault::Task => launch::Fault::Task,
            Fault::Machine => launch::Fault::Machine,
            Fault::Passing => launch::Fault::Passing,
        };
        launch::NotUnpacked { fault, why: e.to_string() }
    })
}

/// Who a sandbox's own processes are.
pub(crate) fn mode(options: &Options) -> Mode {
    if rustix::process::geteuid().is_root() {
        Mode::Root { root_range_base: options.root_range_base }
    } else {
        Mode::Unprivileged
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Nor are other numbers of the machine's one account's (KA8, MD9, A12).
fn raise_shared_numbers() {
    for number in launch::shared_numbers::numbers() {
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

#[cfg(test)]
pub(crate) mod tests {
    pub(crate) use super::spec::tests::{sandbox, start};

    #[test]
    fn what_the_agent_says_and_the_shim_says_is_the_same() {
        assert_eq!(crate::launcher::NEVER_BEGAN, launch::exit::LAUNCH_FAILED);
    }
}
