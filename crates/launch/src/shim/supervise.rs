//! The shim at work: it starts the task's init, records the output, kills on request, and settles the end. It stays
//! in the machine's namespaces and never reads anything of the task but two pipes.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::sys::signal::{SigSet, Signal as NixSignal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::Unpack;
use super::init::{self, Launch};
use super::log::{Log, Pending};
use super::output::{Output, set_nonblocking};
use super::report::{Report, Reporter, Reports};
use crate::cgroup::{Cgroup, Door};
use crate::exit::{Exit, write_exit};
use crate::identity::{self, Credentials};
use crate::network;
use crate::network::doorbell::Doorbell;
use crate::network::helper::{Helper, Service};
use crate::record::{MAX_PAYLOAD, Source};
use crate::sandbox::{self, Prepared};
use crate::spec::TaskSpec;
use crate::sys::{Explain, process};
use crate::task_dir::{CONTEXT_FILE, read_spec};

/// Pause before a full disk is tried again, in nanoseconds.
const DISK_PAUSE: i64 = 250_000_000;

/// Ignores what would end the shim before its task, and turns SIGTERM, the request to kill, into a descriptor.
pub(super) fn hold_signals() -> nix::Result<SignalFd> {
    process::ignore_signals(&[NixSignal::SIGHUP, NixSignal::SIGINT, NixSignal::SIGPIPE, NixSignal::SIGXFSZ]);
    let mut set = SigSet::empty();
    set.add(NixSignal::SIGTERM);
    set.thread_block()?;
    SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
}

/// Runs the task of a directory to its end and writes the exit status.
pub(super) fn run(task_dir: &Path, unpack: Unpack, log: Log, signals: SignalFd, doorbell: Doorbell) {
    let mut shim =
        Shim { log, signals, doorbell, task: None, killed: false, reports: Reports::default(), ended: None };
    let exit = match shim.launch(task_dir, unpack) {
        Ok(exit) => exit,
        Err(_) if shim.killed => Exit::killed(),
        Err(reason) => Exit::failed(reason),
    };
    shim.settle(|shim| shim.log.sync());
    shim.settle(|_| write_exit(task_dir, &exit));
}

struct Shim {
    log: Log,
    signals: SignalFd,
    doorbell: Doorbell,
    task: Option<Running>,
    /// Whether the task was killed before it ended by itself.
    killed: bool,
    reports: Reports,
    /// The first that was told about the end.
    ended: Option<Report>,
}

/// The task as the shim holds it.
struct Running {
    init: Pid,
    pidfd: OwnedFd,
    cgroup: Cgroup,
    network: Option<Helper>,
    told: OwnedFd,
    /// Nothing is written here; that it ends tells the init that the shim has gone.
    _lives: Option<OwnedFd>,
}

impl Shim {
    fn launch(&mut self, task_dir: &Path, unpack: Unpack) -> Result<Exit, String> {
        let spec = read_spec(task_dir).explain(|| "can't read the task's description".into())?;
        spec.check()?;
        let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let credentials = identity::resolve(&spec, own.0, own.1)?;
        if sandbox::prepare_scratch(task_dir, credentials)? == Prepared::Found {
            return Err(
                "the shim of this task was killed, and with it the task; it is not started a second time"
                    .into(),
            );
        }
        let (mut cgroup, mut notes) = Cgroup::create(&spec.task_id, &spec.limits);
        if spec.fence_devices
            && let Err(reason) = cgroup.fence(&spec.devices)
        {
            notes.push(format!("devices of others are hidden, but not denied: {reason}"));
        }
        for note in notes.into_iter().chain(sandbox::notes(&spec)) {
            self.note(&note);
        }
        let output = self.start(&spec, credentials, task_dir, unpack, cgroup)?;
        if self.killed {
            // Asked while there was nothing to kill yet.
            self.kill();
        }
        self.follow(output);
        self.finish(&spec)
    }

    /// Makes the pipes and starts the init.
    fn start(
        &mut self,
        spec: &TaskSpec,
        credentials: Credentials,
        task_dir: &Path,
        unpack: Unpack,
        cgroup: Cgroup,
    ) -> Result<Output, String> {
        let what = || "can't make the task's pipes".to_owned();
        let (output, stdout, stderr) = Output::new(credentials).explain(what)?;
        let (told, tells) = pipe_with(PipeFlags::CLOEXEC).explain(what)?;
        set_nonblocking(&told).explain(what)?;
        let (shim, shim_lives) = pipe_with(PipeFlags::CLOEXEC).explain(what)?;
        let (network, to_shim) = network::descriptors::channel().explain(what)?;
        let context = match File::open(task_dir.join(CONTEXT_FILE)) {
            Ok(file) => Some(file),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(format!("can't open the context archive: {e}")),
        };
        let mut launch = Launch {
            spec,
            credentials,
            task_dir,
            context,
            unpack,
            reporter: Reporter::new(tells),
            stdout,
            stderr,
            shim,
            network: Some(to_shim),
            relay_port: 0,
            doors: cgroup.doors(),
            born_inside: false,
        };
        let mut lives = Some(shim_lives);
        let child = process::spawn_in(init::namespaces(credentials, spec.network), || {
            // The init's copy would keep the pipe from ending with the shim.
            drop(lives.take());
            init::run(&mut launch)
        });
        let init = child.map_err(|e| {
            format!("this machine refuses the task's namespaces: {e}; allow user namespaces, or start the agent as root")
        })?;
        let raw = rustix::process::Pid::from_raw(init.as_raw());
        let pidfd = raw.ok_or(Errno::SRCH).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()));
        let pidfd = pidfd.explain(|| "can't hold the task's init".into())?;
        drop(launch.network.take());
        let network = self.serve_network(spec, &network, cgroup.doors());
        self.task = Some(Running { init, pidfd, cgroup, network, told, _lives: lives });
        Ok(output)
    }

    /// Starts the helper of the task's network with what the init has made; an init that makes nothing says why itself.
    fn serve_network(&mut self, spec: &TaskSpec, init: &OwnedFd, doors: &[Door]) -> Option<Helper> {
        if let Some(text) = network::note(spec.network) {
            self.note(text);
        }
        let relay = network::descriptors::receive_descriptors(init.as_fd()).ok()?.into_iter().next()?;
        let service = Service { doorbell: &self.doorbell, relay, mode: spec.mode, doors };
        match Helper::start(&service) {
            Ok(helper) => Some(helper),
            Err(why) => {
                self.note(&format!("{why}; the task can't reach the master"));
                None
            }
        }
    }

    /// Records output until the init, and so every process of the task, has ended.
    fn follow(&mut self, mut output: Output) {
        let mut buffer = vec![0; MAX_PAYLOAD as usize];
        while let Some(task) = &self.task {
            let Ok(ready) = output.wait(self.signals.as_fd(), task.pidfd.as_fd()) else {
                return;
            };
            if ready.signal {
                self.obey();
            }
            output.read(ready, &mut buffer, |source, bytes| self.record(source, bytes));
            if ready.ended {
                return;
            }
        }
    }

    /// Reaps the init and decides how the task ended.
    fn finish(&mut self, spec: &TaskSpec) -> Result<Exit, String> {
        self.listen();
        let Some(task) = self.task.take() else {
            return Err("the task was never started".into());
        };
        let _ = waitpid(task.init, None);
        if let Some(helper) = task.network {
            helper.end();
        }
        if task.cgroup.ran_out_of_memory() {
            let limit =
                spec.limits.memory_bytes.map_or(String::new(), |n| format!(" (limit {} MiB)", n >> 20));
            self.note(&format!("the task ran out of memory{limit}"));
        }
        task.cgroup.remove();
        if self.killed {
            return Ok(Exit::killed());
        }
        Ok(match self.ended.take() {
            Some(Report::Failed(reason)) => Exit::failed(reason),
            Some(Report::NotExecuted(code, message)) => {
                self.note(&message);
                Exit::exited(code)
            }
            Some(Report::Exited(code)) => Exit::exited(code),
            Some(Report::Signalled(signal)) => Exit::signalled(signal),
            // Nothing in a task can do that to its init; somebody on the machine did.
            None => Exit::signalled(9),
        })
    }

    /// Reads what the task's processes have told; the first word about the end counts.
    fn listen(&mut self) {
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
                _ => return,
            }
        }
    }

    /// Kills the task if the agent has asked for it. All of it: the kernel ends a pid namespace with its init.
    fn obey(&mut self) {
        while let Ok(Some(_)) = self.signals.read_signal() {
            self.listen();
            // A command that has ended keeps its own status.
            self.killed |= self.ended.is_none();
            self.kill();
        }
    }

    fn kill(&self) {
        if let Some(task) = &self.task {
            let _ = pidfd_send_signal(&task.pidfd, Signal::KILL);
            task.cgroup.kill();
        }
    }

    /// A line of Muster's own in the task's log.
    fn note(&mut self, text: &str) {
        self.record(Source::Agent, format!("{text}\n").as_bytes());
    }

    /// Writes a record; waits while the disk is full.
    fn record(&mut self, source: Source, payload: &[u8]) {
        let mut pending = Pending::new(source, payload);
        self.settle(|shim| shim.log.write(&mut pending));
    }

    /// Repeats `body` until it succeeds: what a task wrote and how it ended isn't lost because a disk is full. The
    /// task meanwhile blocks on its pipe, and can be killed. Gives up when the directory has gone.
    fn settle(&mut self, mut body: impl FnMut(&mut Self) -> io::Result<()>) {
        loop {
            match body(self) {
                Ok(()) => return,
                Err(e) if e.kind() == io::ErrorKind::NotFound => return,
                Err(_) => {
                    let mut fds = [PollFd::new(&self.signals, PollFlags::IN)];
                    let _ = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: DISK_PAUSE }));
                    self.obey();
                }
            }
        }
    }
}
