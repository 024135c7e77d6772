//! An agent under test. Whatever it started is ended with the test.

use std::path::{Path, PathBuf};

use agent::environment::{Choice, Settings};
use agent::{AccountLimits, AgentError, Bound, Options, TaskLimits};
use domain::config::Network;
use domain::id::AllocationId;
use domain::identity::UnixIdentity;
use link::Invitation;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{FakeMaster, soon};

/// Whom tasks run as: a user of the lab, or whoever runs the tests.
pub(crate) fn identity() -> UnixIdentity {
    let own = rustix::process::geteuid();
    let (uid, gid) =
        if own.is_root() { (5001, 5002) } else { (own.as_raw(), rustix::process::getegid().as_raw()) };
    UnixIdentity { user: "lab".to_owned(), uid, group: "labs".to_owned(), gid }
}

/// An agent with a directory of its own; it can be stopped and started again there.
pub(crate) struct TestAgent {
    pub(crate) options: Options,
    running: Option<Running>,
    temp: TempDir,
}

struct Running {
    task: JoinHandle<Result<(), AgentError>>,
    registered: watch::Receiver<bool>,
    shutdown: CancellationToken,
}

impl TestAgent {
    /// Not running yet.
    pub(crate) fn new(master: &str, invitation: Option<Invitation>) -> Self {
        let temp = tempfile::tempdir().expect("temp dir");
        let options = Options {
            master: master.to_owned(),
            data_dir: temp.path().join("agent"),
            name: "a1".parse().expect("valid"),
            slots: Some(2),
            devices: None,
            invitation,
            shim_exe: env!("CARGO_BIN_EXE_agent-test-shim").into(),
            shared: false,
            root_range_base: 1_900_000_000,
            bind_prefixes: None,
            late_mounts: vec![],
            allowed_ids: domain::system_ids::AllowedIds::default(),
            machine_groups: true,
            network: Network::Private,
            run_bytes: None,
            shm_bytes: None,
            limits: TaskLimits::default(),
            account_limits: AccountLimits::default(),
            keep_free: Bound::Usual,
            beside: Vec::new(),
            kill_grace: std::time::Duration::from_secs(10),
            seccomp: launch::spec::Seccomp::Default,
            masked: vec![],
            reach: vec![],
            guarded: vec![],
            // What needs it says so: nobody else waits for a package index.
            environment: Settings { choice: Choice::Off, ..Settings::default() },
            launcher: None,
            version: "0.0.0-test".to_owned(),
        };
        Self { options, running: None, temp }
    }

    /// Running and registered.
    pub(crate) async fn registered(master: &FakeMaster) -> Self {
        let mut agent = Self::new(&master.url(), Some(master.invitation()));
        agent.start();
        agent.wait_registered().await;
        agent
    }

    pub(crate) fn start(&mut self) {
        let (sender, registered) = watch::channel(false);
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(agent::run(self.options.clone(), sender, shutdown.clone()));
        self.running = Some(Running { task, registered, shutdown });
    }

    pub(crate) async fn wait_registered(&mut self) {
        let running = self.running.as_mut().expect("started");
        let registered = running.registered.wait_for(|registered| *registered);
        soon("registration", registered).await.expect("the agent goes on");
    }

    /// As by `kill -9`: nothing more is done.
    pub(crate) async fn crash(&mut self) {
        let running = self.running.take().expect("started");
        running.task.abort();
        let _ = running.task.await;
    }

    /// As by SIGTERM.
    pub(crate) async fn shut_down(&mut self) -> Result<(), AgentError> {
        self.running.as_ref().expect("started").shutdown.cancel();
        self.end().await
    }

    /// The end that it comes to by itself.
    pub(crate) async fn end(&mut self) -> Result<(), AgentError> {
        let running = self.running.take().expect("started");
        soon("the agent's end", running.task).await.expect("no panic")
    }

    /// Beside the agent's directory, for whatever the test shares with tasks.
    pub(crate) fn scratch(&self) -> &Path {
        self.temp.path()
    }

    pub(crate) fn task_dir(&self, id: AllocationId) -> PathBuf {
        self.options.data_dir.join("tasks").join(id.to_string())
    }

    pub(crate) fn log_on_disk(&self, id: AllocationId) -> Vec<u8> {
        std::fs::read(self.task_dir(id).join("log")).expect("the run has a log")
    }
}

impl Drop for TestAgent {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.task.abort();
        }
        let tasks = std::fs::read_dir(self.options.data_dir.join("tasks"));
        for dir in tasks.into_iter().flatten().flatten() {
            if let Ok(Some(shim)) = launch::Shim::open(&dir.path()) {
                let _ = shim.kill_now();
                let mut fds =
                    [rustix::event::PollFd::from_borrowed_fd(shim.pidfd(), rustix::event::PollFlags::IN)];
                let limit = rustix::event::Timespec { tv_sec: 10, tv_nsec: 0 };
                let _ = rustix::event::poll(&mut fds, Some(&limit));
            }
            super::plain::end(&dir.path());
            let _ = launch::remove_task_dir(&dir.path());
        }
    }
}
