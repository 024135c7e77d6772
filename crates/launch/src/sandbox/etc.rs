//! Who the task is, by name: `/etc/passwd` and `/etc/group` merged from the machine's and the task's identity
//! (contract "runtime", section 6). And `/etc/resolv.conf`: what it names must be reachable in the task's network, and the machine
//! may keep it in `/run`, which a task has afresh.

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use super::Root;
use super::target::Kind;
use crate::failure::{Explain, Failure};
use crate::network::resolver;
use crate::spec::{Identity, Network, WORK_DIR};
use crate::sys::mount::attach;

/// The machine's resolver configuration: where it lies and what it says.
pub(super) fn gather_resolv_conf() -> Option<(PathBuf, Vec<u8>)> {
    let path = fs::canonicalize("/etc/resolv.conf").ok()?;
    let text = fs::read(&path).ok()?;
    Some((path, text))
}

/// Puts the files in place.
pub(super) fn build(root: &mut Root<'_>, resolv_conf: Option<(PathBuf, Vec<u8>)>) -> Result<(), Failure> {
    let identity = &root.context.spec.identity;
    let passwd = passwd(&read("/etc/passwd"), identity);
    let group = group(&read("/etc/group"), identity);
    for (path, text) in [("/etc/passwd", passwd), ("/etc/group", group)] {
        let file = root.text_file(&path.replace('/', "-"), &text)?;
        let target = root.make_target(Path::new(path), Kind::File)?;
        attach(file.as_fd(), target.as_fd()).explain(|| format!("can't make {path} of the task"))?;
    }
    if let Some((path, file)) = resolv_conf {
        let file = match root.context.spec.network {
            Network::Private => {
                let text = resolver::file_for_task(&String::from_utf8_lossy(&file));
                root.text_file("resolv.conf", text.as_bytes())?
            }
            Network::Host | Network::None => root.text_file("resolv.conf", &file)?,
        };
        let target = root.make_target(&path, Kind::File)?;
        attach(file.as_fd(), target.as_fd())
            .explain(|| format!("can't show {} to the task", path.display()))?;
    }
    Ok(())
}

fn read(path: &str) -> Vec<u8> {
    fs::read(path).unwrap_or_default()
}

/// The machine's accounts except those with our name or number, ours first.
fn passwd(machine: &[u8], identity: &Identity) -> Vec<u8> {
    let Identity { user, uid, gid, .. } = identity;
    let ours = format!("{user}:x:{uid}:{gid}::{WORK_DIR}:/bin/bash\n");
    merged(ours, machine, user, *uid)
}

/// The same for groups.
fn group(machine: &[u8], identity: &Identity) -> Vec<u8> {
    let Identity { group, gid, .. } = identity;
    merged(format!("{group}:x:{gid}:\n"), machine, group, *gid)
}

fn merged(ours: String, machine: &[u8], name: &str, id: u32) -> Vec<u8> {
    let mut text = ours.into_bytes();
    for line in machine.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        let mut fields = line.split(|b| *b == b':');
        let same_name = fields.next() == Some(name.as_bytes());
        let same_id = fields
            .nth(1)
            .and_then(|field| std::str::from_utf8(field).ok())
            .is_some_and(|field| field.parse() == Ok(id));
        if !same_name && !same_id {
            text.extend_from_slice(line);
            text.push(b'\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d03_our_line_comes_first_and_alone() {
        let machine = b"root:x:0:0:root:/root:/bin/bash\nalice:x:1000:1000::/home/alice:/bin/sh\n\
                        bob:x:5001:5001::/home/bob:/bin/sh\n+nis\n";
        let identity = Identity { user: "alice".into(), uid: 5001, group: "lab".into(), gid: 5001 };
        let text = String::from_utf8(passwd(machine, &identity)).unwrap();
        assert_eq!(
            text,
            "alice:x:5001:5001::/run/determined/workdir:/bin/bash\nroot:x:0:0:root:/root:/bin/bash\n+nis\n"
        );
        let text = String::from_utf8(group(b"lab:x:7:bob\nx:x:5001:\ny:x:8:alice", &identity)).unwrap();
        assert_eq!(text, "lab:x:5001:\ny:x:8:alice\n");
    }
}
