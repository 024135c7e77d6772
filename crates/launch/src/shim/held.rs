//! A task that is over but whose init can't end. Either the init waits for a file system before it has started anything; or
//! somebody outside traces one of the task's processes (ptrace(2)) and doesn't wait for it. The kernel keeps a dead process
//! for its tracer, and an init for its dead; but nothing of it will ever run again, so the task is over. One that its tracer
//! stops on its way out (`PTRACE_O_TRACEEXIT`) keeps what it had until then; only its tracer can help that.

use std::fs;

use nix::sys::signal::Signal as NixSignal;
use nix::unistd::Pid;

/// What keeps the init of a task that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Held {
    /// A dead or dying process that its tracer keeps; the tracer's uid is `user`.
    Traced { pid: String, tracer: String, user: String },
    /// A file system that doesn't answer the init, before it has started anything.
    Waiting { pid: String, at: String },
}

impl std::fmt::Display for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Traced { pid, tracer, user } => write!(
                f,
                "process {tracer} of uid {user} on the machine traces process {pid} of the task and keeps it: that one has \
                 to end for it to disappear"
            ),
            Self::Waiting { pid, at } => write!(
                f,
                "process {pid} on the machine, which was to start it, waits in the kernel ({at}) for the file system of a \
                 bind mount: that has to answer or to be taken away (a FUSE mount: its server to end) for it to disappear"
            ),
        }
    }
}

/// One of the dead that keep an init from ending, when it is only those: every process below it is dead, or killed and
/// stopped by a tracer, and one of them is traced. An init that ends has become the parent of all that was left, and has
/// killed it: no other stop of a tracer's holds against that.
pub(super) fn by_tracer(init: Pid) -> Option<Held> {
    let mut held = None;
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().filter(|name| name.bytes().all(|b| b.is_ascii_digit())) else {
            continue;
        };
        let Some(status) = Status::read(pid) else { continue };
        if status.field("PPid:") != Some(init.to_string().as_str()) {
            continue;
        }
        if !matches!(status.field("State:"), Some("Z" | "X" | "t")) {
            return None;
        }
        if let Some(tracer) = status.field("TracerPid:").filter(|tracer| *tracer != "0") {
            let user = Status::read(tracer).and_then(|of| of.field("Uid:").map(str::to_owned));
            let user = user.unwrap_or_default();
            held = Some(Held::Traced { pid: pid.to_owned(), tracer: tracer.to_owned(), user });
        }
    }
    held
}

/// A killed init that has no process below it, so that nothing of the task lives, and that waits in the kernel: a user's file
/// system may let it wait for ever (A4).
pub(super) fn at_the_start(init: Pid) -> Option<Held> {
    let init = init.to_string();
    let numbers = |dir: &str| {
        let entries = fs::read_dir(dir).ok()?.flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        Some(names.filter(|name| name.bytes().all(|b| b.is_ascii_digit())).collect::<Vec<_>>())
    };
    let below = |pid: &String| Status::read(pid).is_some_and(|of| of.field("PPid:") == Some(init.as_str()));
    let mut waiting = None;
    for thread in numbers(&format!("/proc/{init}/task"))? {
        let status = Status::read(&format!("{init}/task/{thread}"))?;
        match status.field("State:") {
            Some("Z" | "X") => {}
            Some("D") if status.is_killed() => waiting = Some(thread),
            _ => return None,
        }
    }
    let thread = waiting?;
    if numbers("/proc")?.iter().any(below) {
        return None;
    }
    let at = fs::read_to_string(format!("/proc/{init}/task/{thread}/wchan")).unwrap_or_default();
    Some(Held::Waiting { pid: init, at })
}

/// A killed process of the task, or a thread of one, that still waits in the kernel, in words: nothing of it will run again, but
/// what it has, memory of a GPU among it, it has until the file system or device answers that it waits for.
pub(super) fn in_kernel(init: Pid) -> Option<String> {
    let init = init.to_string();
    let is_below =
        |pid: &String| Status::read(pid).is_some_and(|status| status.field("PPid:") == Some(&init));
    let threads = numbers("/proc").filter(is_below).flat_map(|pid| {
        let threads: Vec<_> = numbers(&format!("/proc/{pid}/task")).collect();
        threads.into_iter().map(move |thread| format!("{pid}/task/{thread}"))
    });
    let is_stuck = |thread: &String| {
        Status::read(thread).is_some_and(|status| status.field("State:") == Some("D") && status.is_killed())
    };
    let thread = threads.into_iter().find(is_stuck)?;
    let at = fs::read_to_string(format!("/proc/{thread}/wchan")).unwrap_or_default();
    let stuck = thread.split('/').next().unwrap_or_default();
    Some(format!(
        "killed, but process {stuck} on the machine waits in the kernel ({at}) for a file system or a device that doesn't \
         answer: the task is over, and its slots are free, when that answers or is taken away (a FUSE mount: when its \
         server ends)"
    ))
}

/// The entries of a directory that are numbers.
fn numbers(dir: &str) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.bytes().all(|b| b.is_ascii_digit()))
}

/// `/proc/PID/status`, or that of a thread.
struct Status(String);

impl Status {
    fn read(pid: &str) -> Option<Self> {
        fs::read_to_string(format!("/proc/{pid}/status")).ok().map(Self)
    }

    /// Whether SIGKILL is pending, for the thread or for the process.
    fn is_killed(&self) -> bool {
        let killed = |name| {
            let signals = self.field(name).and_then(|signals| u64::from_str_radix(signals, 16).ok());
            signals.is_some_and(|signals| signals & (1 << (NixSignal::SIGKILL as u32 - 1)) != 0)
        };
        killed("SigPnd:") || killed("ShdPnd:")
    }

    /// The first word of a line.
    fn field(&self, name: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()
    }
}
