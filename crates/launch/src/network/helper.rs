//! The process beside a task that serves its network, in the machine's network namespace and without any right: it
//! hands the relay's listener to the agent, and carries what the task says to the world outside ([`stack`]). It is the shim's child, counts as the task's (its cgroup), and ends with
//! the shim.

use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal as NixSignal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{Gid, Pid, Uid, getppid, setgroups, setresgid, setresuid};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{DumpableBehavior, Signal, set_dumpable_behavior, set_parent_process_death_signal};
use rustix::thread::set_no_new_privs;

use super::doorbell::Doorbell;
use super::stack::{self, Account, Place};
use crate::cgroup::Door;
use crate::failure::{Explain, Failure};
use crate::identity;
use crate::spec::Mode;
use crate::sys::process;

/// Its name in lists of processes.
const NAME: &std::ffi::CStr = c"muster-network";

/// A running helper. It must be ended before the task's cgroup can be removed.
#[derive(Debug)]
pub(crate) struct Helper(Pid);

/// What a helper serves.
pub(crate) struct Service<'a> {
    pub(crate) doorbell: &'a Doorbell,
    pub(crate) relay: OwnedFd,
    /// The task's interface to the world outside, if it has one.
    pub(crate) interface: Option<OwnedFd>,
    pub(crate) mode: Mode,
    pub(crate) doors: &'a [Door],
    /// Addresses that say who the machine is, and that the task reaches all the same.
    pub(crate) reach: &'a [IpAddr],
    /// Where the helpers of its account's tasks count what they have together.
    pub(crate) account: Option<Place>,
}

impl Helper {
    /// Starts it. In it everything of the shim's is closed but what it serves.
    pub(crate) fn start(service: Service<'_>) -> Result<Self, Failure> {
        let shim = nix::unistd::getpid();
        let birthplace = service.doors.iter().find_map(|door| door.birthplace.as_ref());
        let forked = match birthplace.map(|place| process::fork_into(place.as_fd())) {
            Some(Ok(forked)) => Ok((forked, true)),
            _ => process::fork().map(|forked| (forked, false)),
        };
        match forked.explain(|| "can't start the helper of the task's network".into())? {
            (Some(pid), _) => Ok(Self(pid)),
            // Nobody is there to read why; that the relay is silent is noticed.
            (None, inside) => process::exit_now(i32::from(serve(service, shim, inside).is_err())),
        }
    }

    /// Ends it.
    pub(crate) fn end(self) {
        let _ = kill(self.0, NixSignal::SIGKILL);
        let _ = waitpid(self.0, None);
    }
}

/// The helper's whole life; returns only when it can't go on.
fn serve(service: Service<'_>, shim: Pid, born_inside: bool) -> std::io::Result<()> {
    for door in service.doors.iter().filter(|door| !(born_inside && door.birthplace.is_some())) {
        rustix::io::write(&door.entry, b"0")?;
    }
    let interface = service.interface.as_ref().map(AsFd::as_fd);
    let kept = [Some(service.doorbell.as_fd()), Some(service.relay.as_fd()), interface];
    process::close_all_except(&kept.into_iter().flatten().collect::<Vec<_>>());
    process::reset_signals();
    // Who asks the task to end may ask all of its cgroup; the network goes last, with the shim.
    process::ignore_signals(&[NixSignal::SIGHUP, NixSignal::SIGINT, NixSignal::SIGTERM, NixSignal::SIGPIPE]);
    // Without it the task is counted alone.
    let account = service.account.and_then(|place| Account::open(&place).ok());
    give_up_rights(service.mode)?;
    let _ = rustix::thread::set_name(NAME);
    // After the change of user, which clears it; the shim may have died before.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if getppid() != shim {
        return Ok(());
    }
    if let Some(interface) = service.interface {
        // Each of the task's conversations with the world takes one.
        if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
            let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
        }
        return stack::run(interface, service.doorbell, &service.relay, service.reach, account);
    }
    loop {
        let mut fds = [PollFd::new(&service.doorbell, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) => service.doorbell.answer(&service.relay),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Becomes a user that owns nothing, where the shim may; nobody of the same user may look into it.
fn give_up_rights(mode: Mode) -> std::io::Result<()> {
    if let Mode::Root { root_range_base } = mode {
        let id = identity::helper(root_range_base);
        let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
        setgroups(&[])?;
        setresgid(gid, gid, gid)?;
        setresuid(uid, uid, uid)?;
    }
    set_no_new_privs(true)?;
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}
