//! The command's own process between fork and exec: it becomes the user, for good (R39), and executes.

use std::ffi::CString;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set, set_capabilities, set_no_new_privs,
};

use super::init::Launch;
use super::report::Report;
use crate::cgroup::Door;
use crate::exit::{LAUNCH_FAILED, NOT_EXECUTABLE, NOT_FOUND};
use crate::identity::How;
use crate::seccomp::Filters;
use crate::spec::TaskSpec;
use crate::sys::{Explain, process};

/// How much sooner than others a task is killed when the machine is out of memory; 1000 is first of all.
const OOM_SCORE: &str = "500";

/// Becomes the command; returns only when that fails, which has then been told.
pub(super) fn run(launch: &mut Launch<'_>, says_unshared: &OwnedFd, mapped: &OwnedFd) -> i32 {
    let report = match prepare(launch, says_unshared, mapped) {
        Ok(()) => execute(launch.spec, launch.relay_port),
        Err(reason) => Report::Failed(reason),
    };
    let code = if let Report::NotExecuted(code, _) = report { code } else { LAUNCH_FAILED };
    launch.reporter.tell(report);
    code
}

fn prepare(launch: &mut Launch<'_>, says_unshared: &OwnedFd, mapped: &OwnedFd) -> Result<(), String> {
    rustix::process::setsid().explain(|| "can't make a session".into())?;
    let inside = |door: &Door| launch.born_inside && door.birthplace.is_some();
    for door in launch.doors.iter().filter(|door| !inside(door)) {
        // The doors were opened by the launcher, and that is whose right to move a process counts.
        rustix::io::write(&door.procs, b"0").explain(|| "can't enter the task's cgroup".into())?;
    }
    // When the whole machine is out of memory, tasks go before what looks after them. Best effort.
    let _ = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    become_user(launch, says_unshared, mapped)?;
    process::new_session_keyring();
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));

    let null = std::fs::File::open("/dev/null").explain(|| "can't open /dev/null of the task".into())?;
    let stdio = || "can't connect the task's output".to_owned();
    rustix::stdio::dup2_stdin(&null).explain(stdio)?;
    rustix::stdio::dup2_stdout(&launch.stdout).explain(stdio)?;
    rustix::stdio::dup2_stderr(&launch.stderr).explain(stdio)?;
    process::close_all_on_exec();
    process::reset_signals();

    let work_dir = launch.spec.work_dir();
    rustix::process::chdir(work_dir).explain(|| {
        format!("work_dir {work_dir} can't be entered by the task; create it on the machine or bind it, or leave work_dir out")
    })?;
    if let Some(context) = launch.context.take() {
        (launch.unpack)(context).map_err(|e| format!("can't unpack the context directory: {e}"))?;
    }
    // Last: what the launcher itself needs is over.
    launch.filters.as_ref().map_or(Ok(()), Filters::apply)
}

/// Takes on the identity and gives up every way back.
fn become_user(launch: &Launch<'_>, says_unshared: &OwnedFd, mapped: &OwnedFd) -> Result<(), String> {
    let user = &launch.spec.identity.user;
    let what = || format!("can't become {user}");
    match launch.credentials.how {
        How::Real => {
            process::drop_bounding_set().explain(what)?;
            set_ids(launch).explain(what)?;
            drop_capabilities().explain(what)?;
        }
        How::Mapped { .. } => {
            // Root in here has every capability over this namespace, which owns nothing: not the mounts, not the
            // network, not one file of the machine (D5).
            unshare(CloneFlags::CLONE_NEWUSER)
                .explain(|| "this machine refuses the user namespace that root in a task needs (sysctl user.max_user_namespaces); link a user other than root".into())?;
            rustix::io::write(says_unshared, b"u").explain(what)?;
            if rustix::io::read(mapped, &mut [0_u8; 1]) != Ok(1) {
                return Err("the ids of root in the task could not be mapped".into());
            }
            set_ids(launch).explain(what)?;
        }
        How::Own => {
            // The ids are right since the namespace was made. Without capabilities the masks can't be undone.
            process::drop_bounding_set().explain(what)?;
            drop_capabilities().explain(what)?;
        }
    }
    set_no_new_privs(true).explain(what)
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

/// Looks the command up in the task's `PATH` and executes it; returns why that failed.
fn execute(spec: &TaskSpec, relay_port: u16) -> Report {
    let env = spec.full_env(relay_port);
    let name = spec.argv.first().map_or("", String::as_str);
    let c = |text: String| CString::new(text).ok();
    let argv: Option<Vec<CString>> = spec.argv.iter().cloned().map(c).collect();
    let vars: Option<Vec<CString>> = env.iter().map(|(k, v)| c(format!("{k}={v}"))).collect();
    let (Some(argv), Some(vars)) = (argv, vars) else {
        return Report::Failed("the command holds a NUL byte".into());
    };
    let path = env.iter().rev().find(|(k, _)| k == "PATH").map_or("", |(_, v)| v.as_str());
    let candidates: Vec<String> = if name.contains('/') {
        vec![name.to_owned()]
    } else {
        // An empty entry of PATH is the current directory.
        path.split(':')
            .map(|dir| if dir.is_empty() { format!("./{name}") } else { format!("{dir}/{name}") })
            .collect()
    };
    let mut refused = None;
    for candidate in candidates {
        let Some(candidate) = c(candidate) else { continue };
        match process::exec(&candidate, &argv, &vars) {
            Errno::ENOENT | Errno::ENOTDIR => {}
            // Execvp goes on looking after this one, too.
            Errno::EACCES => refused = refused.or(Some(Errno::EACCES)),
            e => {
                refused = Some(e);
                break;
            }
        }
    }
    match refused {
        Some(Errno::ENOEXEC) => Report::NotExecuted(
            NOT_EXECUTABLE,
            format!("{name}: not an executable; a script needs a first line such as #!/bin/sh"),
        ),
        Some(e) => Report::NotExecuted(NOT_EXECUTABLE, format!("{name}: can't be executed: {}", e.desc())),
        None if name.contains('/') => {
            Report::NotExecuted(NOT_FOUND, format!("{name}: no such file, or its interpreter is missing"))
        }
        None => Report::NotExecuted(NOT_FOUND, format!("{name}: command not found (PATH is {path})")),
    }
}
