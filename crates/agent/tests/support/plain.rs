//! A launcher without a sandbox: a task is a process of the agent's own user. It shows that nothing of the agent needs more.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use agent::environment::Prepared;
use agent::launcher::{
    Doing, Found, Holding, Kill, LOG_FILE, LaunchError, Launcher, Order, Process, Python, Refusal, Run,
};
use api::agent::Start;
use domain::capability::Capabilities;
use domain::task::Exit;
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio_util::sync::CancellationToken;

#[path = "../bin/plain.rs"]
#[expect(dead_code, reason = "half of it is for the other program")]
mod supervisor;

use supervisor::{EXIT, LOCK, PID, PLAN, Plan, WORK};

/// See above.
#[derive(Debug)]
pub(crate) struct Plain {
    pub(crate) grace: Duration,
}

impl Plain {
    fn plan(&self, order: &Order<'_>) -> Plan {
        let start = order.start;
        let argv = match start.entrypoint.as_slice() {
            [line] => ["/bin/sh", "-c", line].map(str::to_owned).to_vec(),
            words => words.to_vec(),
        };
        let mut env = vec![("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned())];
        env.extend(start.env.iter().cloned());
        let python = match order.python {
            Python::Now(prepared) => Some(prepared),
            Python::None | Python::Later => None,
        };
        env.extend(python.into_iter().flat_map(of_python));
        let grace = u64::try_from(self.grace.as_millis()).expect("short");
        Plan { argv, env, grace, incomplete: matches!(order.python, Python::Later) }
    }
}

fn of_python(prepared: &Prepared) -> Vec<(String, String)> {
    vec![("VIRTUAL_ENV".to_owned(), prepared.python.prefix.display().to_string())]
}

/// Ends what a test has left in a run's directory.
pub(super) fn end(dir: &Path) {
    let Ok(pid) = fs::read_to_string(dir.join(PID)) else { return };
    let lives = File::open(dir.join(LOCK))
        .is_ok_and(|lock| flock(&lock, FlockOperation::NonBlockingLockShared).is_err());
    if let Some(pid) = pid.parse().ok().and_then(Pid::from_raw).filter(|_| lives)
        && let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty())
    {
        let _ = pidfd_send_signal(&pidfd, Signal::QUIT);
        let mut fds = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
        let limit = rustix::event::Timespec { tv_sec: 10, tv_nsec: 0 };
        let _ = rustix::event::poll(&mut fds, Some(&limit));
    }
}

fn read_plan(dir: &Path) -> io::Result<Plan> {
    Ok(serde_json::from_slice(&fs::read(dir.join(PLAN))?)?)
}

fn write_plan(dir: &Path, plan: &Plan) -> io::Result<()> {
    let new = dir.join("plan.json.new");
    fs::write(&new, serde_json::to_vec(plan)?)?;
    fs::rename(new, dir.join(PLAN))
}

fn make(run: &Run, plan: &Plan) -> io::Result<()> {
    if run.dir.exists() {
        return Ok(());
    }
    let new = run.dir.with_extension("new");
    fs::create_dir(&new)?;
    write_plan(&new, plan)?;
    fs::rename(new, &run.dir)
}

fn read_exit(dir: &Path) -> io::Result<Option<Exit>> {
    match fs::read(dir.join(EXIT)) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

fn look(run: &Run) -> io::Result<Found> {
    let dir = &run.dir;
    let began = || dir.join(PID).exists();
    let ended = || Ok::<_, io::Error>(read_exit(dir)?.map(|exit| Found::Ended { exit, began: began() }));
    if let Some(ended) = ended()? {
        return Ok(ended);
    }
    if let Some(process) = live(dir)? {
        return Ok(Found::Live(Box::new(process)));
    }
    if let Some(ended) = ended()? {
        return Ok(ended);
    }
    Ok(if began() {
        Found::Gone
    } else {
        Found::Unstarted { incomplete: read_plan(dir).is_ok_and(|plan| plan.incomplete) }
    })
}

fn live(dir: &Path) -> io::Result<Option<Supervised>> {
    let lock = match File::open(dir.join(LOCK)) {
        Ok(lock) => lock,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    if flock(&lock, FlockOperation::NonBlockingLockShared).is_ok() {
        return Ok(None);
    }
    let pid = fs::read_to_string(dir.join(PID))?;
    let pid = pid.parse().ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
    let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        Err(rustix::io::Errno::SRCH) => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    Ok(Some(Supervised(readable(pidfd)?)))
}

#[expect(deprecated, reason = "as in the agent")]
fn readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, Interest::READABLE)
}

#[derive(Debug)]
struct Supervised(AsyncFd<OwnedFd>);

impl Process for Supervised {
    fn ended(&self) -> Doing<'_, ()> {
        Box::pin(async { drop(self.0.readable().await) })
    }

    fn kill(&self, how: Kill) -> io::Result<()> {
        let signal = match how {
            Kill::WithGrace => Signal::TERM,
            Kill::Now => Signal::QUIT,
            Kill::ForRoom => Signal::USR1,
            Kill::Destroy => Signal::KILL,
        };
        match pidfd_send_signal(self.0.get_ref(), signal) {
            Err(rustix::io::Errno::SRCH) => Ok(()),
            other => Ok(other?),
        }
    }
}

impl Launcher for Plain {
    fn can(&self) -> Capabilities {
        Capabilities::NONE
    }

    fn grace(&self) -> Duration {
        self.grace
    }

    fn check(&self, start: &Start) -> Result<(), LaunchError> {
        let needs = [
            (!start.bind_mounts.is_empty(), domain::capability::Capability::BindMounts),
            (start.startup_hook.is_some(), domain::capability::Capability::StartupHook),
        ];
        let missing = needs.into_iter().filter(|(needed, _)| *needed);
        let missing = missing.fold(Capabilities::NONE, |all, (_, one)| all.with(one));
        if missing.is_empty() { Ok(()) } else { Err(Refusal::Unable(missing).into()) }
    }

    fn prepare<'a>(
        &'a self,
        run: &'a Run,
        order: Order<'a>,
        _stop: &'a CancellationToken,
    ) -> Doing<'a, Result<(), LaunchError>> {
        Box::pin(async move {
            self.check(order.start)?;
            make(run, &self.plan(&order)).map_err(LaunchError::Directory)
        })
    }

    fn complete<'a>(&'a self, run: &'a Run, python: &'a Prepared) -> Doing<'a, Result<(), LaunchError>> {
        let complete = || {
            let mut plan = read_plan(&run.dir)?;
            plan.incomplete = false;
            plan.env.extend(of_python(python));
            write_plan(&run.dir, &plan)
        };
        let done = complete().map_err(LaunchError::Description);
        Box::pin(std::future::ready(done))
    }

    fn start<'a>(&'a self, run: &'a Run) -> Doing<'a, Result<(), LaunchError>> {
        Box::pin(async move {
            let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_agent-test-shim"))
                .arg("plain")
                .arg(&run.dir)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .map_err(LaunchError::Supervisor)?;
            let wait = tokio::task::spawn_blocking(move || {
                let (mut up, mut words) = ([0; 3], String::new());
                let is_up = child.stdout.take().expect("piped").read_exact(&mut up).is_ok();
                if is_up {
                    // Nobody else reaps it.
                    std::thread::spawn(move || child.wait());
                    return Ok(());
                }
                let _ = child.stderr.take().expect("piped").read_to_string(&mut words);
                let status = child.wait().map_err(LaunchError::Supervisor)?;
                Err(LaunchError::SupervisorDied { status, words, passing: false })
            });
            wait.await.expect("no panic")
        })
    }

    fn adopt<'a>(&'a self, run: &'a Run) -> Doing<'a, io::Result<Found>> {
        Box::pin(async { look(run) })
    }

    fn empty(&self, run: &Run) -> io::Result<()> {
        match fs::remove_dir_all(run.dir.join(WORK)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    fn conclude(&self, run: &Run, exit: &Exit) -> io::Result<()> {
        fs::create_dir_all(&run.dir)?;
        supervisor::write_exit(&run.dir, exit)
    }

    fn holding(&self, run: &Run) -> io::Result<Holding> {
        let over = read_exit(&run.dir)?.is_some();
        read_plan(&run.dir)?;
        let (mut bytes, mut files) = (fs::metadata(run.dir.join(LOG_FILE)).map_or(0, |log| log.len()), 0);
        let mut dirs: Vec<PathBuf> = vec![run.dir.join(WORK)];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                let meta = entry.metadata()?;
                (bytes, files) = (bytes + meta.len(), files + 1);
                if meta.is_dir() {
                    dirs.push(entry.path());
                }
            }
        }
        Ok(Holding { owner: None, bytes, files, over })
    }

    fn forget(&self, dir: &Path) -> io::Result<()> {
        match fs::remove_dir_all(dir) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }
}
