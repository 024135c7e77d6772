//! The way to a master: its own Unix socket when it is on this machine, else its address. A token is given to nobody but
//! the master (A2): who took its port while it was down, a task or another user's program, gets nothing.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::Result;
use api::client::{Address, Client};
use neighbour::{Doubt, Listener, Neighbours};
use rustix::fs::{FileType, Mode, Stat, stat};
use rustix::process::geteuid;

use crate::target::process_environment;

/// Where root's masters have their sockets.
const ROOTS: &str = "/run/muster";

/// Names a user whose program may hold a master's port.
const TRUSTED: &str = "MUSTER_TRUST_UID";

/// A client of a master that is named by `http`, without a token. Over `https` its certificate says who it is
/// (`auth::trust`).
pub(crate) fn client(address: &Address) -> Result<Client> {
    if let Some(socket) = socket(address) {
        return Ok(Client::at_socket(address.clone(), &socket, None)?);
    }
    Ok(Client::guarded(address.clone(), check_connection)?)
}

/// The directory for the sockets of this user's masters.
pub(crate) fn folder() -> Option<PathBuf> {
    if geteuid().is_root() {
        return Some(PathBuf::from(ROOTS));
    }
    let below = |name: &str, rest: &str| process_environment(name).map(|dir| PathBuf::from(dir).join(rest));
    below("XDG_RUNTIME_DIR", "muster")
        .or_else(|| below("XDG_DATA_HOME", "muster-sockets"))
        .or_else(|| below("HOME", ".local/share/muster-sockets"))
}

/// The socket, below a directory of [`folder`], of a master that listens on `address`: it goes by the port where this machine's
/// loopback leads there, else by the one address, for another master may have the same port of another one.
pub(crate) fn name(address: SocketAddr) -> String {
    let ip = address.ip().to_canonical();
    if ip.is_loopback() || ip.is_unspecified() {
        format!("{}.sock", address.port())
    } else {
        format!("{}.sock", SocketAddr::new(ip, address.port()))
    }
}

/// The socket of the master at an address of this machine: root's, or one's own. One that a dead master left is none. Nobody
/// but root and oneself puts one there, so a name that is none of this machine's finds none.
pub(crate) fn socket(address: &Address) -> Option<PathBuf> {
    let listens = match address.ip() {
        Some(ip) => ip,
        None if address.is_loopback() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        None => return None,
    };
    let name = name(SocketAddr::new(listens, address.port()));
    let own = folder().filter(|folder| folder != Path::new(ROOTS));
    let folders = [Some((PathBuf::from(ROOTS), 0)), own.map(|own| (own, geteuid().as_raw()))];
    let sockets =
        folders.into_iter().flatten().filter(|(folder, uid)| is_theirs(folder, *uid, FileType::Directory));
    let mut sockets = sockets.map(|(folder, uid)| (folder.join(&name), uid));
    let lives =
        |socket: &Path, uid| is_theirs(socket, uid, FileType::Socket) && UnixStream::connect(socket).is_ok();
    sockets.find(|(socket, uid)| lives(socket, *uid)).map(|(socket, _)| socket)
}

/// Whether something is that user's; of a directory, that nobody else can put anything there.
fn is_theirs(path: &Path, uid: u32, kind: FileType) -> bool {
    let closed = |stat: &Stat| !Mode::from_raw_mode(stat.st_mode).intersects(Mode::WGRP | Mode::WOTH);
    let fits = |stat: &Stat| {
        FileType::from_raw_mode(stat.st_mode) == kind && (kind != FileType::Directory || closed(stat))
    };
    stat(path).is_ok_and(|stat| stat.st_uid == uid && fits(&stat))
}

/// Judges a connection before anything is said over it, whatever the name was that led to it (W9). Where it ends on this
/// machine, what is there must be root's, our own, or that of the user whom the environment names.
fn check_connection(local: SocketAddr, remote: SocketAddr) -> Result<(), String> {
    let cannot = |doubt: Doubt| format!("who is at {remote} on this machine can't be told: {doubt}");
    for listener in Neighbours::behind(local, remote).map_err(cannot)?.unwrap_or_default() {
        check_listener(remote, &listener)?;
    }
    Ok(())
}

fn check_listener(at: SocketAddr, listener: &Listener) -> Result<(), String> {
    let uid = listener.uid;
    let inside = !is_first_user_namespace();
    // What listens in a task for its agent belongs to somebody outside of the task's user namespace.
    if inside && Some(uid) == unknown_uid() {
        return Ok(());
    }
    let own = geteuid().as_raw();
    let trusted = process_environment(TRUSTED).and_then(|uid| uid.parse().ok());
    if uid != 0 && uid != own && Some(uid) != trusted {
        return Err(format!(
            "what listens at {at} belongs to uid {uid}, neither root nor you, and would be given your token: set {TRUSTED}={uid} if that is a master which you trust"
        ));
    }
    if !inside && let Err(doubt) = Neighbours::new(0..0).is_at_home(listener) {
        return Err(format!("what listens at {at} is no master on this machine: {doubt}"));
    }
    Ok(())
}

/// What users are called that have no name in this user namespace.
fn unknown_uid() -> Option<u32> {
    std::fs::read_to_string("/proc/sys/kernel/overflowuid").ok()?.trim().parse().ok()
}

/// Whether this process lives in the namespace in which all users are what they are called.
fn is_first_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::net::UnixListener;

    use super::*;

    /// KC5: a master at one address of the machine has a socket, too, which is no other master's on the same port.
    #[test]
    fn a02_a_socket_is_named_by_where_its_master_listens() {
        let name = |text: &str| name(text.parse().expect("an address"));
        for near in ["127.0.0.1:80", "[::1]:80", "0.0.0.0:80", "[::]:80", "[::ffff:127.0.0.1]:80"] {
            assert_eq!(name(near), "80.sock", "{near}");
        }
        assert_eq!(name("10.77.6.1:80"), "10.77.6.1:80.sock");
        assert_eq!(name("[::ffff:10.77.6.1]:80"), "10.77.6.1:80.sock");
        assert_eq!(name("[fd00::1]:80"), "[fd00::1]:80.sock");
    }

    #[test]
    fn a02_a_socket_that_others_could_have_made_is_none() {
        let dir = tempfile::tempdir().expect("a directory");
        let own = geteuid().as_raw();
        let path = dir.path().join(name(SocketAddr::from(([0, 0, 0, 0], 8080))));
        let _listener = UnixListener::bind(&path).expect("bound");
        assert!(is_theirs(&path, own, FileType::Socket) && is_theirs(dir.path(), own, FileType::Directory));
        assert!(!is_theirs(&path, own + 1, FileType::Socket));
        assert!(!is_theirs(&path, own, FileType::Directory));
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).expect("our own");
        assert!(!is_theirs(dir.path(), own, FileType::Directory), "anybody could put a socket there");
    }
}
