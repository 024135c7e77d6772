//! The command's own process between fork and exec: it becomes the user, for good (R39), and executes.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set, set_capabilities, set_no_new_privs,
};

use super::NotUnpacked;
use super::init::Launch;
use super::lookup::{self, Command};
use super::per_user;
use super::report::Report;
use crate::cgroup::Door;
use crate::descriptors::wait_for_room;
use crate::exit::LAUNCH_FAILED;
use crate::failure::{Explain, Failure};
use crate::identity::{Credentials, How};
use crate::network::interfaces;
use crate::seccomp::Filter;
use crate::shown;
use crate::spec::TaskSpec;
use crate::sys::{landlock, process};

/// How much sooner than others a task is killed when the machine is out of memory; 1000 is first of all.
const OOM_SCORE: &str = "500";

/// Longest wait for open files that others have.
pub(super) const PATIENCE: Duration = Duration::from_secs(300);

/// Becomes the command; returns only when that fails, which has then been told.
pub(super) fn run(launch: &mut Launch<'_>, says_unshared: &OwnedFd, mapped: &OwnedFd) -> i32 {
    let report = match prepare(launch, says_unshared, mapped) {
        Ok(command) => command.execute(),
        Err(report) => report,
    };
    let code = if let Report::NotExecuted(code, _) = report { code } else { LAUNCH_FAILED };
    launch.reporter.tell(report);
    code
}

fn prepare(launch: &mut Launch<'_>, says_unshared: &OwnedFd, mapped: &OwnedFd) -> Result<Command, Report> {
    become_the_task(launch, says_unshared, mapped).map_err(|why| Report::failed(&why))?;
    let_go(launch);
    shown::make_own_files(&launch.spec.own_files).map_err(|why| Report::failed(&why))?;
    lookup::enter(launch.spec.work_dir(), launch.pass).map_err(|why| Report::failed(&why))?;
    if let Some(context) = launch.context.take() {
        let unpacked = (launch.unpack)(context);
        unpacked.map_err(|NotUnpacked { fault, why }| {
            Report::Failed(fault, format!("can't unpack the context directory: {why}"))
        })?;
    }
    let command = Command::find(launch.spec, launch.relay_port, launch.pass)?;
    if !filters_first(launch.credentials) {
        // What the launcher itself needs is over.
        filter(launch).map_err(|why| Report::failed(&why))?;
    }
    Ok(command)
}

/// Whether the command's process puts its filter on before it gives up root's rights: without those, the kernel may have no
/// room for it (T1). It then needs a pass for what it still has to do.
pub(super) fn filters_first(credentials: Credentials) -> bool {
    match credentials.how {
        How::Real | How::Mapped { .. } => true,
        // It never had any.
        How::Own => false,
    }
}

fn filter(launch: &Launch<'_>) -> Result<(), Failure> {
    let listener = launch.filter.as_ref().map(Filter::apply).transpose()?.flatten();
    if let (Some(listener), Some(shim)) = (listener, &launch.network) {
        // What nobody can answer the kernel refuses.
        let _ = interfaces::hand_over(shim.as_fd(), &listener);
    }
    Ok(())
}

/// Closes all that isn't the task's, before anything that its configuration names is looked at: the launcher's
/// descriptors lead to the machine (`lookup`).
fn let_go(launch: &Launch<'_>) {
    let context = launch.context.as_ref().map(AsFd::as_fd);
    // Without root's rights the filter, and with it what is handed over, comes last.
    let network = launch.network.as_ref().filter(|_| !filters_first(launch.credentials)).map(AsFd::as_fd);
    let kept: Vec<_> = [Some(launch.reporter.fd()), context, network].into_iter().flatten().collect();
    // Nothing of this process is ever dropped, so nothing is closed a second time: it executes or exits.
    process::close_all_except(&kept);
    process::close_all_on_exec();
    process::reset_signals();
}

/// Enters cgroups, takes on the identity and connects the output.
fn become_the_task(launch: &Launch<'_>, says_unshared: &OwnedFd, mapped: &OwnedFd) -> Result<(), Failure> {
    rustix::process::setsid().explain(|| "can't make a session".into())?;
    let inside = |door: &Door| launch.born_inside && door.birthplace.is_some();
    for door in launch.doors.iter().filter(|door| !inside(door)) {
        // The doors were opened by the launcher, and that is whose right to move a process counts.
        rustix::io::write(&door.entry, b"0").explain(|| "can't enter the task's cgroup".into())?;
    }
    // When the whole machine is out of memory, tasks go before what looks after them. Best effort.
    let _ = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    // Else the task could name somebody else as the one who logged in, for the machine's audit log. Best effort.
    let _ = std::fs::write("/proc/self/loginuid", launch.credentials.host_uid.to_string());
    become_user(launch, says_unshared, mapped)?;
    // From here on it is a user like others, who may all have to wait for what one of them has.
    wait_for_room(PATIENCE);
    process::new_session_keyring(launch.pass.arguments());
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));

    let null = std::fs::File::open("/dev/null").explain(|| "can't open /dev/null of the task".into())?;
    let stdio = || "can't connect the task's output".to_owned();
    rustix::stdio::dup2_stdin(&null).explain(stdio)?;
    rustix::stdio::dup2_stdout(&launch.stdout).explain(stdio)?;
    rustix::stdio::dup2_stderr(&launch.stderr).explain(stdio)
}

/// Takes on the identity and gives up every way back.
fn become_user(launch: &Launch<'_>, says_unshared: &OwnedFd, mapped: &OwnedFd) -> Result<(), Failure> {
    let user = &launch.spec.identity.user;
    let what = || format!("can't become {user}");
    if filters_first(launch.credentials) {
        filter(launch)?;
    }
    match launch.credentials.how {
        How::Real => {
            process::drop_bounding_set().explain(what)?;
            set_ids(launch).explain(what)?;
            drop_capabilities().explain(what)?;
        }
        How::Mapped { owner, .. } => {
            per_user::act_as(owner).explain(what)?;
            // Root in here has every capability over this namespace, which owns nothing: not the mounts, not the
            // network, not one file of the machine (D5).
            process::unshare_user(launch.pass.arguments())
                .explain(|| "this machine refuses the user namespace that root in a task needs (sysctl user.max_user_namespaces); link a user other than root".into())?;
            rustix::io::write(says_unshared, b"u").explain(what)?;
            if rustix::io::read(mapped, &mut [0_u8; 1]) != Ok(1) {
                return Err(Failure::machine("the ids of root in the task could not be mapped"));
            }
            set_ids(launch).explain(what)?;
            per_user::limit_namespaces();
            // Else it could raise them again.
            per_user::drop_for_good(CapabilitySet::SYS_RESOURCE).explain(what)?;
        }
        How::Own => {
            per_user::limit_namespaces();
            per_user::leave_most_to_the_agent();
            // The ids are right since the namespace was made. Without capabilities the masks can't be undone.
            process::drop_bounding_set().explain(what)?;
            drop_capabilities().explain(what)?;
        }
    }
    set_no_new_privs(true).explain(what)?;
    launch.rules.as_ref().map_or(Ok(()), |rules| landlock::obey(rules.as_fd())).explain(what)
}

fn set_ids(launch: &Launch<'_>) -> nix::Result<()> {
    let (uid, gid) = (Uid::from_raw(launch.credentials.uid), Gid::from_raw(launch.credentials.gid));
    match launch.credentials.how {
        How::Real => set_groups(launch.spec)?,
        How::Mapped { .. } | How::Own => setgroups(&[])?,
    }
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)
}

/// The machine's groups of the user (B8), and no others.
pub(super) fn set_groups(spec: &TaskSpec) -> nix::Result<()> {
    let groups: Vec<Gid> = spec.groups.iter().copied().map(Gid::from_raw).collect();
    setgroups(&groups)
}

fn drop_capabilities() -> rustix::io::Result<()> {
    clear_ambient_capability_set()?;
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
}
