//! What ends the task before its time: the agent's request (B15), and limits that nobody else enforces. Also what its
//! processes tell. The task's own end is settled in `supervise`.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal as NixSignal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};

use super::held::{self, Held};
use super::recorder::shown;
use super::report::{Report, Reports};
use super::too_much::TooMuch;
use super::watch::Watch;
use crate::cgroup::Cgroup;
use crate::exit::Limit;
use crate::network::helper::Helper;
use crate::sys::process;
use crate::task_dir::{LOG_FILE, empty_scratch};

/// Pause before a full disk is tried again.
const DISK_PAUSE: Duration = Duration::from_millis(250);
/// How long a task that is ending may take to be gone, before its dead are looked at.
const DYING: Duration = Duration::from_secs(5);
/// How long the last output of a task that has ended may wait for a full disk.
const LAST_PATIENCE: Duration = Duration::from_secs(10);

/// What the log of a task says that is ended for others' sake. It names the log, which counts as well: it may be all that the
/// task has, and where it is the master's disk too, as long as it is.
fn no_room(task_dir: &Path) -> String {
    let log = shown(std::fs::metadata(task_dir.join(LOG_FILE)).map_or(0, |log| log.len()));
    format!(
        "the disk of this agent is nearly full, and of the accounts whose tasks have something on it this task's has most, and of \
         those this task (/tmp, /var/tmp, /run/determined, the work directory, and what it has printed, {log} in its log): it \
         is ended, to make room for others (agent.keep_free)"
    )
}

/// Ignores what would end the shim before its task, and turns the requests to end it into a descriptor.
pub(super) fn hold_signals() -> nix::Result<SignalFd> {
    process::ignore_signals(&[NixSignal::SIGHUP, NixSignal::SIGINT, NixSignal::SIGPIPE, NixSignal::SIGXFSZ]);
    let mut set = SigSet::empty();
    set.add(NixSignal::SIGTERM);
    set.add(NixSignal::SIGQUIT);
    set.add(NixSignal::SIGUSR1);
    set.thread_block()?;
    SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
}

/// The task as the shim holds it.
pub(super) struct Running {
    pub(super) init: Pid,
    pub(super) pidfd: OwnedFd,
    pub(super) cgroup: Cgroup,
    pub(super) network: Option<Helper>,
    /// What the task's processes tell.
    pub(super) told: OwnedFd,
    /// Nothing is written here; that it ends tells the init that the shim has gone.
    pub(super) _lives: Option<OwnedFd>,
    /// `None` where there is nothing to watch.
    pub(super) watch: Option<Watch>,
}

/// What ends the task, and what is known of its end.
pub(super) struct Control {
    pub(super) signals: SignalFd,
    pub(super) task: Option<Running>,
    task_dir: PathBuf,
    /// Between SIGTERM and SIGKILL.
    grace: Duration,
    /// The agent asked for the end before the task ended by itself.
    killed: bool,
    /// The limit that the task is ended for, and whether it is one that all tasks share.
    limit: Option<(Limit, bool)>,
    /// When what is left of the task is killed.
    deadline: Option<Instant>,
    /// When its dead are looked at next; set when nothing of it can live on for long.
    look: Option<Instant>,
    /// Nothing of it lives, but somebody outside keeps its init from ending.
    held: Option<Held>,
    /// Whether it is known that something waits in the kernel although it is killed.
    stuck_known: bool,
    /// What hasn't been said yet.
    words: Vec<String>,
    /// Its directories are empty again.
    emptied: bool,
    /// Until when the last output may wait for the disk.
    patience: Option<Instant>,
    reports: Reports,
    /// The first that was told about the end.
    ended: Option<Report>,
    /// Its init tells no more: it ends.
    heard_all: bool,
}

impl Control {
    pub(super) fn new(signals: SignalFd, task_dir: PathBuf) -> Self {
        Self {
            signals,
            task: None,
            task_dir,
            grace: Duration::ZERO,
            killed: false,
            limit: None,
            deadline: None,
            look: None,
            held: None,
            stuck_known: false,
            words: Vec::new(),
            emptied: false,
            patience: None,
            reports: Reports::default(),
            ended: None,
            heard_all: false,
        }
    }

    /// The task is there; what was asked for before counts now.
    pub(super) fn begin(&mut self, task: Running, grace: Duration) {
        self.task = Some(task);
        self.grace = grace;
        if self.limit.is_some() {
            self.kill();
        } else if self.killed {
            self.end_softly();
        }
    }

    /// Whether the agent asked for the end before the task ended by itself.
    pub(super) fn killed(&self) -> bool {
        self.killed
    }

    /// The limit that the task was ended for, and whether it is one that all tasks share.
    pub(super) fn limit(&self) -> Option<(Limit, bool)> {
        self.limit
    }

    /// The first word about the end.
    pub(super) fn take_report(&mut self) -> Option<Report> {
        self.listen();
        self.ended.take()
    }

    /// How long may be waited until there is something to do here.
    pub(super) fn timeout(&self) -> Option<Duration> {
        let next = [self.deadline, self.look].into_iter().flatten().min();
        next.map(|next| next.saturating_duration_since(Instant::now()))
    }

    /// Whether the task is over although its init can't end, and why.
    pub(super) fn held(&self) -> Option<&Held> {
        self.held.as_ref()
    }

    /// What the task's log is to say: why it is ended, or what keeps it from ending.
    pub(super) fn take_words(&mut self) -> Vec<String> {
        std::mem::take(&mut self.words)
    }

    /// What the task's processes tell, to be waited for; `None` when they tell no more.
    pub(super) fn told(&self) -> Option<&OwnedFd> {
        self.task.as_ref().filter(|_| !self.heard_all).map(|task| &task.told)
    }

    /// Does what the agent has asked for, and what time has brought.
    pub(super) fn obey(&mut self) {
        while let Ok(Some(info)) = self.signals.read_signal() {
            let signal = i32::try_from(info.ssi_signo);
            if signal == Ok(NixSignal::SIGUSR1 as i32) {
                self.make_room();
                continue;
            }
            self.listen();
            // A command that has ended keeps its own status.
            self.killed |= self.ended.is_none();
            if signal == Ok(NixSignal::SIGQUIT as i32) {
                self.kill();
            } else if self.deadline.is_none() {
                self.end_softly();
            }
        }
        if self.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            self.kill();
        }
        if self.look.is_some_and(|look| look <= Instant::now()) {
            self.look = Some(Instant::now() + DYING);
            self.held = self
                .task
                .as_ref()
                .and_then(|task| held::by_tracer(task.init).or_else(|| held::at_the_start(task.init)));
            if self.held.is_none() && !self.stuck_known {
                let stuck = self.task.as_ref().and_then(|task| held::in_kernel(task.init));
                self.stuck_known = stuck.is_some();
                self.words.extend(stuck);
                if self.stuck_known {
                    // It will write no more, and others may need the room (MJ3). It is done once more at the end.
                    let _ = empty_scratch(&self.task_dir);
                }
            }
        }
    }

    /// Others need what the task has of the disk.
    fn make_room(&mut self) {
        self.listen();
        if self.ended.is_none() && self.limit.is_none() && !self.killed {
            self.words.push(no_room(&self.task_dir));
        }
        self.end_for_limit(Limit::Scratch, true);
    }

    /// Ends the task for a limit of its own or its account's, now.
    pub(super) fn end_for(&mut self, limit: Limit) {
        self.end_for_limit(limit, false);
    }

    fn end_for_limit(&mut self, limit: Limit, is_shared: bool) {
        self.listen();
        if self.ended.is_none() {
            self.limit.get_or_insert((limit, is_shared));
        }
        self.kill();
    }

    /// SIGTERM to all of the task; its init passes it on.
    fn end_softly(&mut self) {
        if self.grace.is_zero() {
            return self.kill();
        }
        if let Some(task) = &self.task {
            self.deadline = Some(Instant::now() + self.grace);
            let _ = pidfd_send_signal(&task.pidfd, Signal::TERM);
        }
    }

    /// Kills all of the task: the kernel ends a pid namespace with its init.
    fn kill(&mut self) {
        if let Some(task) = &self.task {
            let _ = pidfd_send_signal(&task.pidfd, Signal::KILL);
            task.cgroup.kill();
            // Once is enough.
            self.deadline = Some(Instant::now() + Duration::from_secs(3600));
            self.look.get_or_insert_with(|| Instant::now() + DYING);
        }
    }

    /// Reads what the task's processes have told; the first word about the end counts.
    pub(super) fn listen(&mut self) {
        let Some(task) = &self.task else { return };
        let mut buffer = [0; 4096];
        loop {
            match rustix::io::read(&task.told, &mut buffer) {
                Ok(n) if n > 0 => {
                    for report in self.reports.push(&buffer[..n]) {
                        self.ended.get_or_insert(report);
                    }
                }
                Err(Errno::INTR) => {}
                Ok(_) => {
                    self.heard_all = true;
                    self.look.get_or_insert_with(|| Instant::now() + DYING);
                    return;
                }
                Err(_) => return,
            }
        }
    }

    /// Looks whether the task has used more than it may.
    pub(super) fn too_much(&self) -> Option<TooMuch> {
        self.task.as_ref()?.watch.as_ref()?.too_much()
    }

    /// Empties the task's directories; it is over. Done before anything else that needs the disk.
    ///
    /// # Errors
    /// What the file system says.
    pub(super) fn empty_scratch(&mut self) -> std::io::Result<()> {
        if std::mem::replace(&mut self.emptied, true) {
            return Ok(());
        }
        empty_scratch(&self.task_dir)
    }

    /// The disk is full: waits a moment for what frees it, and does meanwhile what is asked for. Tells whether to try
    /// again: what a task wrote isn't lost because a disk is full, and the task blocks on its pipe meanwhile; but nothing
    /// of it keeps a kill from being obeyed, or an end from being told (A4).
    pub(super) fn wait_for_space(&mut self) -> bool {
        self.obey();
        if self.has_ended() {
            if !self.emptied {
                let _ = self.empty_scratch();
                return true;
            }
            let until = *self.patience.get_or_insert_with(|| Instant::now() + LAST_PATIENCE);
            if self.killed || self.limit.is_some() || until <= Instant::now() {
                return false;
            }
        } else if self.killed || self.limit.is_some() {
            return false;
        }
        if let Some(too_much) = self.too_much() {
            // Said when there is space to say it.
            self.end_for(too_much.limit());
        }
        self.wait_for_disk();
        true
    }

    /// Waits a moment for a disk, and does meanwhile what is asked for.
    pub(super) fn wait_for_disk(&mut self) {
        let pause = self.timeout().unwrap_or(DISK_PAUSE).min(DISK_PAUSE);
        let mut fds = vec![PollFd::new(&self.signals, PollFlags::IN)];
        // The end is worth waking up for, once.
        if let Some(task) = self.task.as_ref().filter(|_| self.patience.is_none()) {
            fds.push(PollFd::new(&task.pidfd, PollFlags::IN));
        }
        let _ = poll(&mut fds, timespec(Some(pause)).as_ref());
        self.obey();
    }

    /// Whether every process of the task has ended.
    fn has_ended(&self) -> bool {
        let Some(task) = self.task.as_ref().filter(|_| self.held.is_none()) else { return true };
        let mut fds = [PollFd::new(&task.pidfd, PollFlags::IN)];
        !matches!(poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(0))
    }
}

/// For the kernel.
pub(super) fn timespec(timeout: Option<Duration>) -> Option<Timespec> {
    // A millisecond more, so that what was waited for has come.
    timeout.and_then(|t| Timespec::try_from(t + Duration::from_millis(1)).ok())
}
