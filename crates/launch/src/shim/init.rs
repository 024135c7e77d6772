//! The task's init: pid 1 of its pid namespace. It composes the sandbox, starts the command's process, reaps
//! whatever the command leaves behind, and ends when the command has ended; the kernel then ends the rest (R43).
//!
//! In root mode it stays root, outside of every capability that the task has; the task can't trace it, and the
//! kernel keeps signals from inside a pid namespace away from its init.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::sched::CloneFlags;
use nix::unistd::{Pid, setgroups};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{DumpableBehavior, Signal, set_dumpable_behavior, set_parent_process_death_signal};

use super::reap::{Signals, reap};
use super::report::{Report, Reporter};
use super::{Unpack, task};
use crate::cgroup::Door;
use crate::descriptors::wait_for_room;
use crate::failure::{Explain, Failure};
use crate::identity::{Credentials, How, Ids};
use crate::seccomp::{Filter, Pass};
use crate::sockets::Names;
use crate::spec::{Network, TaskSpec};
use crate::sys::process;
use crate::{network, sandbox};

/// All that a task's processes get from the shim.
pub(super) struct Launch<'a> {
    pub(super) spec: &'a TaskSpec,
    pub(super) credentials: Credentials,
    pub(super) task_dir: &'a Path,
    pub(super) context: Option<File>,
    pub(super) unpack: Unpack,
    /// What the command may not ask of the kernel.
    pub(super) filter: Option<Filter>,
    /// By which the command's process does so all the same, until it executes.
    pub(super) pass: Pass,
    pub(super) reporter: Reporter,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
    /// Becomes readable when the shim has gone.
    pub(super) shim: OwnedFd,
    /// Takes what the shim needs of the task's network, and by what it answers the command's calls.
    pub(super) network: Option<OwnedFd>,
    /// What the machine's sockets are called.
    pub(super) sockets: Names,
    /// What the command obeys of the sandbox's own; known when that is made.
    pub(super) rules: Option<OwnedFd>,
    /// The machine reaches others over IPv6.
    pub(super) ipv6: bool,
    /// Port of the relay to the master, once there is one.
    pub(super) relay_port: u16,
    /// Where a process enters the task's cgroups.
    pub(super) doors: &'a [Door],
    /// The command's process was made in the cgroup whose door has a birthplace.
    pub(super) born_inside: bool,
}

/// The namespaces of a task's init. The user namespace of a mapped root comes later, in `task`.
pub(super) fn namespaces(credentials: Credentials, network: Network) -> CloneFlags {
    let mut flags = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWIPC;
    flags.set(CloneFlags::CLONE_NEWUSER, credentials.how == How::Own);
    flags.set(CloneFlags::CLONE_NEWNET, network != Network::Host);
    flags
}

/// Runs the task to its end; the whole life of the init.
pub(super) fn run(launch: &mut Launch<'_>) -> i32 {
    let begun = Signals::hold().and_then(|signals| Ok((start(launch)?, signals)));
    match begun {
        Ok((Some(command), signals)) => reap(command, &signals, &launch.reporter),
        // The shim has gone, so nobody is there to tell.
        Ok((None, _)) => return 1,
        Err(why) => launch.reporter.tell(Report::failed(&why)),
    }
    0
}

/// Composes the sandbox and starts the command's process.
fn start(launch: &mut Launch<'_>) -> Result<Option<Pid>, Failure> {
    die_with_the_shim()?;
    wait_for_room(task::PATIENCE);
    rustix::process::umask(rustix::fs::Mode::empty());
    match launch.credentials.how {
        How::Own => map_own(launch.credentials)?,
        How::Mapped { .. } => setgroups(&[]).explain(|| "can't leave the agent's groups".into())?,
        // Bind mounts are opened with the user's groups, too.
        How::Real => task::set_groups(launch.spec).explain(|| "can't enter the user's groups".into())?,
    }
    if let Some(shim) = &launch.network {
        launch.relay_port = network::inside::set_up(launch.spec.network, launch.ipv6, shim.as_fd())?;
    }
    launch.rules = sandbox::compose(sandbox::Context {
        spec: launch.spec,
        credentials: launch.credentials,
        task_dir: launch.task_dir,
        sockets: &launch.sockets,
    })?;
    // The command may run with this process's uid; it must not look into its memory, which is the shim's.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).explain(|| "can't protect the init".into())?;
    // Opening bind mounts as the user has cleared the signal, and the shim may have died meanwhile.
    die_with_the_shim()?;
    if shim_has_gone(launch) {
        return Ok(None);
    }
    let sync = "can't make a pipe";
    let (unshared, says_unshared) = pipe_with(PipeFlags::CLOEXEC).explain(|| sync.into())?;
    let (mapped, says_mapped) = pipe_with(PipeFlags::CLOEXEC).explain(|| sync.into())?;
    match fork_command(launch).explain(|| "can't start the command's process".into())? {
        None => {
            drop((unshared, says_mapped));
            process::exit_now(task::run(launch, &says_unshared, &mapped));
        }
        Some(command) => {
            drop((says_unshared, mapped, launch.network.take()));
            if let How::Mapped { ids, .. } = launch.credentials.how {
                // Nothing to read means that the process has failed, and said so itself.
                if rustix::io::read(&unshared, &mut [0_u8; 1]) == Ok(1) {
                    map_range(command, ids)?;
                    let _ = rustix::io::write(&says_mapped, b"m");
                }
            }
            Ok(Some(command))
        }
    }
}

/// Forks, into the task's cgroup where the kernel can; else the new process moves there itself.
fn fork_command(launch: &mut Launch<'_>) -> io::Result<Option<Pid>> {
    let birthplace = launch.doors.iter().find_map(|door| door.birthplace.as_ref());
    if let Some(birthplace) = birthplace {
        launch.born_inside = true;
        if let Ok(forked) = process::fork_into(birthplace.as_fd()) {
            return Ok(forked);
        }
        launch.born_inside = false;
    }
    process::fork()
}

/// `kill -9` of the shim ends the task: nobody would record its output or its end.
fn die_with_the_shim() -> Result<(), Failure> {
    set_parent_process_death_signal(Some(Signal::KILL)).explain(|| "can't tie the task to its shim".into())
}

fn shim_has_gone(launch: &Launch<'_>) -> bool {
    let mut fds = [PollFd::new(&launch.shim, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    // Nothing is ever written to that pipe, so any event is its end.
    !matches!(poll(&mut fds, Some(&now)), Ok(0))
}

/// Maps the identity to the launcher's own ids, the only mapping that an ordinary user may make.
fn map_own(credentials: Credentials) -> Result<(), Failure> {
    let Credentials { uid, gid, host_uid, host_gid, .. } = credentials;
    for (file, text) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("{uid} {host_uid} 1")),
        ("gid_map", format!("{gid} {host_gid} 1")),
    ] {
        fs::write(format!("/proc/self/{file}"), text).explain(|| {
            format!("can't map the task's ids (/proc/self/{file}); does this machine allow user namespaces?")
        })?;
    }
    Ok(())
}

/// Maps all of the command's user namespace to ids that own nothing but what tasks of its account made.
fn map_range(command: Pid, ids: Ids) -> Result<(), Failure> {
    for (file, text) in [("uid_map", ids.users()), ("gid_map", ids.groups())] {
        fs::write(format!("/proc/{command}/{file}"), &text).explain(|| {
            format!("can't map the task's ids ({file}: {})", text.trim_end().replace('\n', ", "))
        })?;
    }
    Ok(())
}
