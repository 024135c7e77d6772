//! The Unix socket of a master for people of its own machine: a way to it that nobody else can take the place of (A2).
//! Being on it proves that somebody is on this machine, never which account they are.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::process::geteuid;
use tokio::net::UnixListener;

use crate::way;

/// The socket's file; taken away with this value.
#[derive(Debug)]
pub(super) struct OwnSocket {
    path: PathBuf,
    /// Device and number: another master may have put its own there meanwhile.
    file: (u64, u64),
}

impl Drop for OwnSocket {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|file| file == self.file) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Makes the socket of a master that listens on `address`. Without it the master works all the same.
pub(super) fn bind(address: SocketAddr) -> Option<(OwnSocket, UnixListener)> {
    let folder = way::folder()?;
    let path = folder.join(way::name(address));
    match listen(&folder, &path) {
        Ok(bound) => Some(bound),
        Err(error) => {
            tracing::warn!(%error, "no Unix socket at {}: muster on this machine uses the port", path.display());
            None
        }
    }
}

fn listen(folder: &Path, path: &Path) -> io::Result<(OwnSocket, UnixListener)> {
    let root = geteuid().is_root();
    DirBuilder::new().recursive(true).mode(if root { 0o755 } else { 0o700 }).create(folder)?;
    let metadata = fs::symlink_metadata(folder)?;
    if !metadata.is_dir() || metadata.uid() != geteuid().as_raw() || metadata.mode() & 0o022 != 0 {
        return Err(io::Error::other("others could change what is there"));
    }
    if path.exists() {
        if UnixStream::connect(path).is_ok() {
            return Err(io::Error::other("another master has it"));
        }
        fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    // Everybody of the machine may come to root's; who they are is for their credentials to say.
    fs::set_permissions(path, Permissions::from_mode(if root { 0o666 } else { 0o600 }))?;
    Ok((OwnSocket { path: path.to_owned(), file: identity(path)? }, listener))
}
