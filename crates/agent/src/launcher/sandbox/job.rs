//! A job: a program that runs in the sandbox of tasks, as nobody, and belongs to no account. It makes or looks at an
//! environment. What it says is passed on line by line.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use domain::log::{Records, Source};
use launch::spec::{self, Content, Identity, Limits, Mode, Network, OwnFile};
use launch::{Shim, TaskSpec};
use tokio::task::spawn_blocking;
use tokio::time::interval;

use super::shim::start_process;
use crate::Options;
use crate::descriptor::readable;
use crate::environment::Shown;
use crate::launcher::{LOG_FILE, LaunchError};
use crate::run::{Piece, piece};

/// How often its output is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// Between SIGTERM and SIGKILL, in milliseconds: there is nothing to save.
const KILL_GRACE: u64 = 100;
/// So much of its output is read at once, in bytes.
const PIECE: usize = 1 << 20;

/// Why a job didn't do what it was for.
#[derive(Debug, thiserror::Error)]
pub enum JobFailed {
    /// Its directory can't be made.
    #[error("{dir} can't be made: {source}")]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// What the machine says.
        source: io::Error,
    },
    /// It can't be started.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// Its end can't be seen.
    #[error("a job can't be watched: {0}")]
    Unwatched(#[source] io::Error),
    /// How it ended can't be read.
    #[error(transparent)]
    Unread(io::Error),
    /// Nobody says how it ended.
    #[error("its supervisor was ended")]
    Lost,
    /// It couldn't be run: the shim's words.
    #[error("{0}")]
    NotRun(String),
    /// It failed: the last of what it said.
    #[error("{0}")]
    Failed(String),
}

/// What runs jobs.
#[derive(Debug, Clone)]
pub(crate) struct Jobs {
    shim_exe: PathBuf,
    mode: Mode,
    masked: Vec<PathBuf>,
}

impl Jobs {
    pub(crate) fn new(options: &Options) -> Self {
        let masked = options.masked.iter().chain([&options.data_dir]);
        let masked = masked.filter(|path| path.exists()).cloned().collect();
        Self { shim_exe: options.shim_exe.clone(), mode: super::mode(options), masked }
    }
}

/// What runs.
pub(crate) struct Job {
    /// Names its directory.
    pub(crate) name: String,
    pub(crate) argv: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) shown: Vec<Shown>,
    pub(crate) files: Vec<(&'static str, String)>,
}

/// A job's shim, which goes with whoever waits for it.
struct Running(Shim);

impl Drop for Running {
    fn drop(&mut self) {
        // It has usually ended.
        let _ = self.0.kill_now();
    }
}

impl Job {
    fn spec(self, jobs: &Jobs) -> TaskSpec {
        let file = |(path, text): (&str, String)| OwnFile { path: path.into(), content: Content::Text(text) };
        TaskSpec {
            task_id: self.name,
            argv: self.argv,
            env: self.env,
            // To the machine it is nobody, as every task's root (D5).
            identity: Identity { user: "root".into(), uid: 0, group: "root".into(), gid: 0 },
            groups: vec![],
            work_dir: None,
            bind_mounts: vec![],
            limits: Limits::default(),
            owner: None,
            kill_grace_ms: KILL_GRACE,
            seccomp: spec::Seccomp::Default,
            shm_bytes: None,
            run_bytes: None,
            mode: jobs.mode,
            masked: jobs.masked.clone(),
            bind_prefixes: None,
            late_mounts: vec![],
            guarded: vec![],
            devices: vec![],
            fence_devices: false,
            // What the machine's pip reaches, such as an index or a proxy on the machine itself. No account's words run here.
            network: Network::Host,
            reach: vec![],
            relay_env: vec![],
            shown: self.shown.iter().map(shown).collect(),
            own_files: self.files.into_iter().map(file).collect(),
            unfinished: false,
        }
    }

    /// Runs it to its end, in a directory below `place`. `say` gets each line that it prints.
    ///
    /// # Errors
    /// The last line that it printed on its standard error, or why it couldn't be run.
    pub(crate) async fn run(
        self,
        jobs: &Jobs,
        place: &Path,
        mut say: impl FnMut(&str),
    ) -> Result<(), JobFailed> {
        let (place, name) = (place.to_owned(), self.name.clone());
        let dir = place.join(&name);
        let spec = self.spec(jobs);
        let made = spawn_blocking(move || {
            std::fs::create_dir_all(&place)?;
            launch::create_task_dir(&place, &name, &spec)
        });
        made.await
            .map_err(io::Error::from)
            .flatten()
            .map_err(|source| JobFailed::Directory { dir: dir.clone(), source })?;
        let ended = run_in(jobs, &dir, &mut say).await;
        // What can't be removed now is removed before the next job.
        let _ = spawn_blocking(move || launch::remove_task_dir(&dir)).await;
        ended
    }
}

async fn run_in(jobs: &Jobs, dir: &Path, say: &mut impl FnMut(&str)) -> Result<(), JobFailed> {
    start_process(&jobs.shim_exe, dir).await?;
    let mut output = Output { dir: dir.to_owned(), offset: 0, rest: String::new(), last: String::new() };
    if let Ok(Some(shim)) = Shim::open(dir) {
        let exited = shim.pidfd().try_clone_to_owned().and_then(readable);
        let exited = exited.map_err(JobFailed::Unwatched)?;
        let _running = Running(shim);
        let mut looks = interval(LOOK);
        loop {
            tokio::select! {
                _ = exited.readable() => break,
                _ = looks.tick() => output.look(say),
            }
        }
    }
    output.look(say);
    match launch::read_exit(dir) {
        Ok(Some(exit)) if exit.code == 0 => Ok(()),
        Ok(Some(exit)) => {
            Err(exit.failure.map_or_else(|| JobFailed::Failed(output.reason(exit.code)), JobFailed::NotRun))
        }
        Ok(None) => Err(JobFailed::Lost),
        Err(e) => Err(JobFailed::Unread(e)),
    }
}

/// What a job printed.
struct Output {
    dir: PathBuf,
    offset: u64,
    /// The beginning of a line.
    rest: String,
    /// The last line of its errors that says so, or the last of all.
    last: String,
}

impl Output {
    fn look(&mut self, say: &mut impl FnMut(&str)) {
        let Ok(file) = std::fs::File::open(self.dir.join(LOG_FILE)) else { return };
        while let Ok(Piece::Records(bytes)) = piece(&file, self.offset, PIECE) {
            if bytes.is_empty() {
                return;
            }
            for record in Records::new(&bytes) {
                let text = String::from_utf8_lossy(record.payload);
                match record.source {
                    Source::Stdout => self.lines(&text, say),
                    Source::Stderr => self.errors(&text),
                    _ => {}
                }
            }
            self.offset += bytes.len() as u64;
        }
    }

    fn lines(&mut self, text: &str, say: &mut impl FnMut(&str)) {
        self.rest.push_str(text);
        while let Some((line, rest)) = self.rest.split_once('\n') {
            say(line);
            self.rest = rest.to_owned();
        }
    }

    fn errors(&mut self, text: &str) {
        // What follows an error explains it at length.
        let is_error = |line: &str| line.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("error"));
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.contains("[notice]"))
        {
            if is_error(line) || !is_error(&self.last) {
                self.last = line.chars().take(1000).collect();
            }
        }
    }

    fn reason(&self, code: i32) -> String {
        if self.last.is_empty() { format!("it ended with status {code}") } else { self.last.clone() }
    }
}

/// How a task is shown a directory.
pub(super) fn shown(shown: &Shown) -> spec::Shown {
    let Shown { host_path, lock, name, writable } = shown.clone();
    spec::Shown { host_path, lock, name, writable }
}

/// Ends the jobs that an earlier process has left, and removes what there is of them. Blocks.
pub(crate) fn end_all(jobs: &Path) -> io::Result<()> {
    let entries = match std::fs::read_dir(jobs) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for dir in entries.flatten().map(|entry| entry.path()) {
        if let Ok(Some(shim)) = Shim::open(&dir) {
            shim.kill_now()?;
            let mut fds =
                [rustix::event::PollFd::from_borrowed_fd(shim.pidfd(), rustix::event::PollFlags::IN)];
            let patience = rustix::event::Timespec { tv_sec: 10, tv_nsec: 0 };
            rustix::event::poll(&mut fds, Some(&patience))?;
        }
        launch::remove_task_dir(&dir)?;
    }
    Ok(())
}
