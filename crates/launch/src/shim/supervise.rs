//! The shim at work: it starts the task's init, records the output, and settles the end. It stays in the machine's
//! namespaces and never reads anything of the task but two pipes. What ends the task early is in `control`, what of the
//! output is kept in `recorder`.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signalfd::SignalFd;
use nix::sys::wait::waitpid;
use rustix::io::Errno;
use rustix::net::AddressFamily;
use rustix::net::sockopt::socket_domain;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{PidfdFlags, pidfd_open};

use super::Unpack;
use super::control::{Control, Running};
use super::descriptor_watch;
use super::init::{self, Launch};
use super::ledger::Ledger;
use super::log::Log;
use super::output::{Output, set_nonblocking};
use super::queue_watch::Watched;
use super::recorder::{Recorder, shown};
use super::report::{Report, Reporter};
use super::scratch_watch;
use super::task;
use super::usage::processes;
use super::watch::{Budget, Watch};
use crate::cgroup::{Cgroup, Door, Want, freezer};
use crate::exit::{Exit, ExitFile, Limit};
use crate::failure::{Explain, Failure};
use crate::identity::{self, Credentials, How};
use crate::network;
use crate::network::diag::Diag;
use crate::network::doorbell::Doorbell;
use crate::network::helper::{Helper, Service};
use crate::network::stack::Place;
use crate::sandbox::{self, Prepared};
use crate::seccomp::{Filter, Pass};
use crate::shown;
use crate::sockets::Names;
use crate::spec::{Limits, Network, TaskSpec};
use crate::sys::process;
use crate::task_dir::{CONTEXT_FILE, read_spec};

/// How long the end of a task may wait for a disk that can't even keep its exit status.
const LAST_TRIES: Duration = Duration::from_secs(60);

/// Runs the task of a directory to its end and writes the exit status.
pub(super) fn run(task_dir: &Path, unpack: Unpack, log: Log, signals: SignalFd, doorbell: Doorbell) {
    let mut exit_file = ExitFile::reserve(task_dir);
    let control = Control::new(signals, task_dir.to_owned());
    let mut shim = Shim { recorder: Recorder::new(log), control, doorbell, shown: vec![] };
    let exit = match shim.launch(task_dir, unpack) {
        Ok(exit) => exit,
        Err(_) if shim.control.killed() => Exit::killed(),
        Err(why) => Exit::failed(why.fault(), why.to_string()),
    };
    if let Err(e) = shim.control.empty_scratch() {
        // It is tried again when the task is forgotten.
        shim.note(&format!("the task's directories can't be emptied: {e}"));
    }
    shim.recorder.finish(&mut shim.control);
    let until = Instant::now() + LAST_TRIES;
    while let Err(e) = exit_file.write(&exit) {
        // The directory has gone, and with it whoever wanted to know. Or nothing of the disk can be changed: the agent takes
        // what was written so far, and the end is told.
        if e.kind() == io::ErrorKind::NotFound || Instant::now() >= until {
            return;
        }
        shim.control.wait_for_disk();
    }
}

struct Shim {
    recorder: Recorder,
    control: Control,
    doorbell: Doorbell,
    /// Locks of what the task is shown.
    shown: Vec<File>,
}

impl Shim {
    fn launch(&mut self, task_dir: &Path, unpack: Unpack) -> Result<Exit, Failure> {
        let spec = read_spec(task_dir).explain(|| "can't read the task's description".into())?;
        spec.check()?;
        self.recorder.limit(spec.limits);
        let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let credentials = identity::resolve(&spec, own)?;
        if sandbox::prepare_scratch(task_dir, credentials)? == Prepared::Found {
            return Err(Failure::machine(
                "the shim of this task was killed, and with it the task; it is not started a second time",
            ));
        }
        self.shown = shown::take(&spec.shown, credentials)?;
        let (mut cgroup, mut notes) = Cgroup::create(&spec);
        if spec.fence_devices
            && let Err(reason) = cgroup.fence(&spec.devices)
        {
            notes.push(format!("devices of others are hidden, but not denied: {reason}"));
        }
        for note in notes.into_iter().chain(sandbox::notes(&spec)) {
            self.note(&note);
        }
        let Started { output, ends, mut task, network } =
            start(&spec, credentials, task_dir, unpack, cgroup)?;
        let (helper, diag) = self.serve_network(&spec, task_dir, &network, task.cgroup.doors());
        task.network = helper;
        output.begin(ends).explain(|| "can't start to read the task's output".into())?;
        match watch(&spec, &task, task_dir, (diag, network)) {
            Ok(watch) => task.watch = Some(watch),
            Err(e) => self.note(&format!(
                "the limits of the task's disk space and of its netlink sockets are not enforced: {e}"
            )),
        }
        self.control.begin(task, Duration::from_millis(spec.kill_grace_ms));
        self.follow(output, spec.limits);
        self.finish(&spec)
    }

    /// Starts the helper of the task's network with what the init has made; an init that makes nothing says why itself. The
    /// second value tells of the network's sockets.
    fn serve_network(
        &mut self,
        spec: &TaskSpec,
        task_dir: &Path,
        init: &OwnedFd,
        doors: &[Door],
    ) -> (Option<Helper>, Option<Diag>) {
        if let Some(text) = network::note(spec.network) {
            self.note(text);
        }
        let Ok((made, words)) = network::descriptors::receive_descriptors(init.as_fd()) else {
            return (None, None);
        };
        if !words.is_empty() {
            self.note(&words);
        }
        let of_netlink = |made: &OwnedFd| socket_domain(made) == Ok(AddressFamily::NETLINK);
        let (mut diag, made): (Vec<_>, Vec<_>) = made.into_iter().partition(of_netlink);
        let diag = diag.pop().map(Diag::new);
        let mut made = made.into_iter();
        let (Some(relay), interface) = (made.next(), made.next()) else { return (None, diag) };
        let (doorbell, mode, reach) = (&self.doorbell, spec.mode, spec.reach.as_slice());
        let account = Place::new(task_dir, spec.owner.as_ref());
        let service = Service { doorbell, relay, interface, mode, doors, reach, account };
        match Helper::start(service) {
            Ok(helper) => (Some(helper), diag),
            Err(why) => {
                self.note(&format!("{why}; the task can't reach the master"));
                (None, diag)
            }
        }
    }

    /// Records output until the init, and so every process of the task, has ended.
    fn follow(&mut self, mut output: Output, limits: Limits) {
        loop {
            let Ok(mut ready) = output.wait(&self.control) else { return };
            if ready.told {
                self.control.listen();
            }
            self.control.obey();
            self.say();
            ready.ended |= self.control.held().is_some();
            if ready.too_much {
                self.too_much(limits);
            }
            let Self { recorder, control, .. } = self;
            let all = output.read(ready.ended, |source, bytes| recorder.output(control, source, bytes));
            if ready.ended {
                if !all {
                    self.note("the end of the task's output can't be read: somebody else holds its pipe");
                }
                return;
            }
        }
    }

    fn too_much(&mut self, limits: Limits) {
        let Some(too_much) = self.control.too_much() else { return };
        // First, for the line may have to wait for a disk that the task has filled.
        self.control.end_for(too_much.limit());
        self.note(&too_much.told(&limits));
    }

    /// Reaps the init and decides how the task ended.
    fn finish(&mut self, spec: &TaskSpec) -> Result<Exit, Failure> {
        let report = self.control.take_report();
        let held = self.control.held().map(ToString::to_string);
        let Some(task) = self.control.task.take() else {
            return Err(Failure::machine("the task was never started"));
        };
        self.say();
        match held {
            Some(held) => self.note(&format!("the task is over, but {held}")),
            None => drop(waitpid(task.init, None)),
        }
        if let Some(helper) = task.network {
            helper.end();
        }
        let no_memory = task.cgroup.ran_out_of_memory();
        if let Some(want) = no_memory {
            self.note(&no_memory_left(want, spec));
        }
        // Which is no reason to end, but mostly why a program did (ME26).
        let no_process = task.cgroup.ran_out_of_processes();
        task.cgroup.remove();
        let exit = match report {
            Some(Report::Failed(..)) if self.control.killed() => Exit::killed(),
            Some(Report::Failed(fault, reason)) => Exit::failed(fault, reason),
            Some(Report::NotExecuted(code, message)) => {
                self.note(&message);
                Exit::exited(code)
            }
            Some(Report::Exited(code)) => Exit::exited(code),
            Some(Report::Signalled(signal)) => Exit::signalled(signal),
            // The shim did that, or the kernel for want of memory, or somebody on the machine.
            None => Exit::signalled(9),
        };
        if no_process && exit.code != 0 {
            let may = |limit: Option<u64>| limit.map_or("any number".to_owned(), |n| n.to_string());
            let account = spec.owner.as_ref().and_then(|owner| owner.limits.pids);
            self.note(&format!(
                "the task couldn't start more processes and threads: it may have {} (agent.task_limits.pids), all tasks of its \
                 account together {} (agent.account_limits.pids)",
                may(spec.limits.pids),
                may(account)
            ));
        }
        let memory = no_memory.filter(|_| exit.code != 0).map(|want| (Limit::Memory, want.is_shared()));
        let (limit, limit_is_shared) = self.control.limit().or(memory).unzip();
        Ok(Exit { killed: self.control.killed(), limit, limit_is_shared, ..exit })
    }

    /// Says what there is to say of the task's end.
    fn say(&mut self) {
        for text in self.control.take_words() {
            self.note(&text);
        }
    }

    /// A line of Muster's own in the task's log.
    fn note(&mut self, text: &str) {
        self.recorder.note(&mut self.control, text);
    }
}

/// What a task is told that was killed for want of memory.
fn no_memory_left(want: Want, spec: &TaskSpec) -> String {
    let limit = |bytes: Option<u64>| bytes.map_or(String::new(), |n| format!(" (limit {})", shown(n)));
    let account = limit(spec.owner.as_ref().and_then(|owner| owner.limits.memory_bytes));
    let account =
        format!("the tasks of its account{account} ran out of it together (agent.account_limits.memory)");
    let all = "all tasks of this machine ran out of it together";
    let who = match want {
        Want::Own => return format!("the task ran out of memory{}", limit(spec.limits.memory_bytes)),
        Want::Account => account,
        Want::AllTasks => all.to_owned(),
        Want::AccountOrAllTasks => format!("{account}, and {all}"),
        Want::Machine => "the machine ran out of it".to_owned(),
    };
    format!(
        "a process of the task was killed for want of memory, though it hadn't reached its own limit: {who}"
    )
}

/// Watches what of the task no limit of the kernel's is about, and answers what it asks. The first of the last two tells of
/// the sockets of its network, by the second one the command's process hands over what to answer by.
fn watch(
    spec: &TaskSpec,
    task: &Running,
    task_dir: &Path,
    (diag, command): (Option<Diag>, OwnedFd),
) -> io::Result<Watch> {
    let (watch, limits, init) = (Watch::new()?, spec.limits, task.init.as_raw());
    let budget = Budget::new(task.cgroup.account());
    let list = task.cgroup.processes();
    let in_task = move || processes(list.as_deref(), init);
    // Every process of this one's has been started. Without it the task is counted alone.
    let ledger = Ledger::open(task_dir, spec.owner.as_ref()).unwrap_or_else(|_| Ledger::alone());
    let ledger = Arc::new(ledger);
    let part = budget.clone();
    watch.begin(move |ends| {
        network::interfaces::serve(&command, ends, || part.part());
        None
    })?;
    for counted in [descriptor_watch::DESCRIPTORS, descriptor_watch::LOCKS] {
        let (in_task, ledger, budget) = (in_task.clone(), Arc::clone(&ledger), budget.clone());
        watch.begin(move |ends| descriptor_watch::watch(&counted, &ledger, &budget, ends, in_task))?;
    }
    if limits.scratch_bytes.is_some() || limits.scratch_files.is_some() {
        let (in_task, budget) = (in_task.clone(), budget.clone());
        let (task_dir, spec) = (task_dir.to_owned(), spec.clone());
        watch.begin(move |ends| scratch_watch::watch(&task_dir, &spec, &budget, ends, in_task))?;
    }
    {
        let (task_dir, spec) = (task_dir.to_owned(), spec.clone());
        watch.begin(move |ends| {
            freezer::watch(&task_dir, &spec, ends);
            None
        })?;
    }
    // What is in the machine's own network isn't the task's alone.
    if spec.network != Network::Host {
        let (memory, paid, processes) = (limits.memory_bytes, task.cgroup.sockets(), Box::new(in_task));
        let watched = Watched { init, memory, diag, paid, processes, budget, ledger };
        watch.begin(move |ends| watched.watch(ends))?;
    }
    Ok(watch)
}

/// A task whose init has been started.
struct Started {
    output: Output,
    /// For the thread that reads that.
    ends: OwnedFd,
    task: Running,
    /// Where the init sends what it has made of the task's network.
    network: OwnedFd,
}

/// Makes the pipes and starts the init.
fn start(
    spec: &TaskSpec,
    credentials: Credentials,
    task_dir: &Path,
    unpack: Unpack,
    cgroup: Cgroup,
) -> Result<Started, Failure> {
    let what = || "can't make the task's pipes".to_owned();
    let (output, stdout, stderr, ends) = Output::new(credentials).explain(what)?;
    let (told, tells) = pipe_with(PipeFlags::CLOEXEC).explain(what)?;
    set_nonblocking(&told).explain(what)?;
    let (shim, shim_lives) = pipe_with(PipeFlags::CLOEXEC).explain(what)?;
    let (network, to_shim) = network::descriptors::channel().explain(what)?;
    let context = match File::open(task_dir.join(CONTEXT_FILE)) {
        Ok(file) => Some(file),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(e).explain(|| "can't open the context archive".into()),
    };
    let pass = Pass::new().explain(|| "can't make what the task's launcher needs of chance".into())?;
    let before = task::filters_first(credentials).then_some(pass);
    let mut launch = Launch {
        spec,
        credentials,
        task_dir,
        context,
        unpack,
        filter: Filter::new(spec.seccomp, credentials.how != How::Real, before)?,
        pass,
        reporter: Reporter::new(tells),
        stdout,
        stderr,
        shim,
        network: Some(to_shim),
        rules: None,
        sockets: Names::read(sandbox::names_elsewhere(credentials))
            .explain(|| "can't read which sockets the machine has".into())?,
        ipv6: network::has_ipv6(),
        relay_port: 0,
        doors: cgroup.doors(),
        born_inside: false,
    };
    let mut lives: Option<OwnedFd> = Some(shim_lives);
    let child = process::spawn_in(init::namespaces(credentials, spec.network), || {
        // The init's copy would keep the pipe from ending with the shim.
        drop(lives.take());
        init::run(&mut launch)
    });
    let init = child.map_err(|e| {
        Failure::machine(format!(
            "this machine refuses the task's namespaces: {e}; allow user namespaces, or start the agent as root"
        ))
    })?;
    let raw = rustix::process::Pid::from_raw(init.as_raw());
    let pidfd = raw.ok_or(Errno::SRCH).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()));
    let pidfd = pidfd.explain(|| "can't hold the task's init".into())?;
    drop(launch.network.take());
    let running = Running { init, pidfd, cgroup, network: None, told, _lives: lives, watch: None };
    Ok(Started { output, ends, task: running, network })
}
