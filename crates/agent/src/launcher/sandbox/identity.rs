//! As whom a task may run on this machine: ids of the system are refused (A11), and which groups the machine gives its
//! user (B8). Both are asked at each start, for accounts come and go while an agent runs. What becomes the user is
//! `launch`'s.

use std::ffi::CString;
use std::time::Duration;

use domain::agent::{CannotGive, Power};
use domain::identity::{IdentityParts, UnixIdentity};
use domain::system_ids::{AllowedIds, SystemIds};
use launch::spec;
use nix::unistd::{Group, User, getgrouplist};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::Sandbox;
use crate::launcher::Refusal;

/// Longest wait for the machine's directory of accounts, which may be on another machine.
const PATIENCE: Duration = Duration::from_secs(5);

/// The identity of a task, exact or refused (R37).
///
/// # Errors
/// When this machine can't or won't give it.
pub(super) fn checked(sandbox: &Sandbox, identity: &UnixIdentity) -> Result<spec::Identity, Refusal> {
    let parts = IdentityParts {
        user: Some(identity.user.clone()),
        uid: Some(identity.uid.into()),
        group: Some(identity.group.clone()),
        gid: Some(identity.gid.into()),
    };
    let UnixIdentity { user, uid, group, gid } = parts.complete()?;
    match sandbox.power {
        Power::Unprivileged { uid: own, .. } if uid != own && uid != 0 => {
            let identity = identity.clone();
            return Err(CannotGive::Identity { agent: sandbox.agent.clone(), own, identity }.into());
        }
        // It only ever gives its own.
        Power::Unprivileged { .. } => {}
        Power::Root => {
            let checked = files().check(Some(uid), Some(gid), &sandbox.allowed_ids);
            checked.map_err(|why| Refusal::System { agent: sandbox.agent.clone(), why })?;
        }
    }
    Ok(spec::Identity { user, uid, group, gid })
}

/// The groups that a task is in besides its own: those of the machine's user of its name, if that has its uid. None of
/// the system's.
pub(super) async fn groups(sandbox: &Sandbox, identity: &UnixIdentity) -> Vec<u32> {
    // Root in a task is nobody on the machine, and an agent without root can give no group.
    if !sandbox.machine_groups || sandbox.power != Power::Root || identity.uid == 0 {
        return Vec::new();
    }
    let (of, allowed) = (identity.clone(), sandbox.allowed_ids.clone());
    let found = timeout(PATIENCE, spawn_blocking(move || of_machine(&of, &allowed))).await;
    let why = match found {
        Ok(Ok(Ok(groups))) => return groups,
        Ok(Ok(Err(e))) => e.to_string(),
        Ok(Err(e)) => e.to_string(),
        Err(_) => format!("no answer within {PATIENCE:?}"),
    };
    tracing::warn!("{} starts without the groups that this machine gives it: {why}", identity.user);
    Vec::new()
}

fn of_machine(identity: &UnixIdentity, allowed: &AllowedIds) -> nix::Result<Vec<u32>> {
    let user = User::from_name(&identity.user)?;
    let Some(user) = user.filter(|user| user.uid.as_raw() == identity.uid) else {
        return Ok(Vec::new());
    };
    let name = CString::new(user.name).map_err(|_| nix::Error::EINVAL)?;
    let files = files();
    let mut groups = Vec::new();
    for gid in getgrouplist(&name, user.gid)? {
        let called = Group::from_gid(gid)?.map(|group| group.name);
        let gid = gid.as_raw();
        let fine = gid != 0 && files.check_group(gid, called.as_deref(), allowed).is_ok();
        if fine && gid != identity.gid && !groups.contains(&gid) {
            groups.push(gid);
        }
    }
    Ok(groups)
}

/// What the machine's own files say. One that isn't there names nobody.
fn files() -> SystemIds {
    // Names need not be UTF-8, numbers are.
    let text = |path| String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
    SystemIds::parse(&text("/etc/passwd"), &text("/etc/group"), &text("/etc/login.defs"))
}
