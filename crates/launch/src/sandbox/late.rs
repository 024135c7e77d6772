//! What the machine mounts while a task runs, and whether a bind mount shows it (A1). Masks are made once, and what
//! arrives later is judged by nobody, with the machine's own attributes: a `/proc` in a chroot would be the whole machine.
//! So a bind mount is private, unless the administrator has said of its directory what is mounted there: homes, volumes.

use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::spec::{BindMount, Propagation, TaskSpec};
use crate::sys::mount::Propagate;

/// What a task gets of the propagation that it asked for, when its source is at `path`. `listed` are the administrator's
/// directories, and `resolved` the same without links.
///
/// A mount in a peer group of the machine's would make the task's mounts the machine's own, and so its owner root there:
/// nobody gets that. And what comes later is writable, so that read-only would not be true.
pub(super) fn given(
    bind: &BindMount,
    listed: &[PathBuf],
    resolved: &[PathBuf],
    path: &Path,
) -> Result<Propagate, Failure> {
    if !may_receive(bind, listed) {
        return Ok(Propagate::Private);
    }
    if is_below(path, resolved) {
        return Ok(Propagate::Slave);
    }
    Err(Failure::refused(format!(
        "bind mount {} (which is {}): it leads out of the directories of `agent.late_mounts`; name that path itself, or \
         leave its propagation at rprivate",
        bind.host_path.display(),
        path.display()
    )))
}

/// Whether a bind mount gets more than private, if its path leads nowhere else.
pub(super) fn may_receive(bind: &BindMount, listed: &[PathBuf]) -> bool {
    asks(bind) && !bind.read_only && is_below(&bind.host_path, listed)
}

/// What to say of a source that was unmounted before it could be judged.
pub(super) fn gone(bind: &BindMount) -> Failure {
    Failure::refused(format!(
        "bind mount {}: it was unmounted while the task started; start it again",
        bind.host_path.display()
    ))
}

/// What isn't as the configuration says.
pub(super) fn notes(spec: &TaskSpec) -> Vec<String> {
    spec.bind_mounts.iter().filter_map(|bind| note(bind, &spec.late_mounts)).collect()
}

fn note(bind: &BindMount, listed: &[PathBuf]) -> Option<String> {
    let shown = bind.host_path.display();
    if !asks(bind) {
        return None;
    }
    if bind.read_only {
        return Some(format!(
            "bind mount {shown}: what the machine mounts below it later would be writable; as it is read_only, it is mounted \
             as rprivate, and none of that appears in the task"
        ));
    }
    if !is_below(&bind.host_path, listed) {
        return Some(format!(
            "bind mount {shown}: it is mounted as rprivate, and what the machine mounts below it later doesn't appear in the \
             task: that is so unless the agent's administrator lists the directory in `agent.late_mounts`"
        ));
    }
    matches!(bind.propagation, Propagation::Rshared | Propagation::Shared).then(|| {
        format!(
            "bind mount {shown}: no mount of a task is shared with the machine; it is mounted as rslave, so that what the \
             machine mounts below it appears in the task and nothing the other way round"
        )
    })
}

/// Whether the configuration wants to see what is mounted later.
fn asks(bind: &BindMount) -> bool {
    !matches!(bind.propagation, Propagation::Rprivate | Propagation::Private)
}

fn is_below(path: &Path, listed: &[PathBuf]) -> bool {
    listed.iter().any(|directory| path.starts_with(directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a01_what_is_mounted_later_is_seen_only_below_what_is_listed() {
        let given = |asked: Propagation, host_path: &str, path: &str| {
            let bind = BindMount {
                host_path: host_path.into(),
                container_path: "/x".into(),
                read_only: false,
                propagation: asked,
            };
            // The administrator's /home is a link.
            given(&bind, &["/home".into()], &["/srv/home".into()], Path::new(path))
        };
        let home = given(Propagation::Rslave, "/home/a", "/srv/home/a");
        assert_eq!(home.unwrap(), Propagate::Slave);
        assert_eq!(given(Propagation::Rshared, "/home", "/srv/home").unwrap(), Propagate::Slave);
        assert_eq!(given(Propagation::Private, "/home/a", "/srv/home/a").unwrap(), Propagate::Private);
        assert_eq!(given(Propagation::Slave, "/homes/a", "/homes/a").unwrap(), Propagate::Private);
        // A link of the user's own, and a way back.
        for path in ["/home/a/link", "/home/../tmp/late"] {
            assert!(
                given(Propagation::Rslave, path, "/tmp/late")
                    .is_err_and(|e| e.to_string().contains("late_mounts"))
            );
        }
    }
}
