//! A throw-away PostgreSQL cluster: made, started on a free loopback port, and gone when dropped.
//!
//! The server is a child of ours and no daemon: it is stopped by its pid, and the kernel stops it should
//! we be killed before we can. What tests do with the cluster is `testkit::postgres`'s business.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, geteuid};
use tempfile::TempDir;

/// The user that Debian's package makes; the server refuses to run as root.
const SYSTEM_USER: &str = "postgres";

/// Durability is worth nothing here, and each test opens a pool of its own.
const SETTINGS: &[&str] = &[
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "max_connections=300",
    "fsync=off",
    "full_page_writes=off",
    "synchronous_commit=off",
];

/// Somebody else may take a port between our finding it and the server's binding it.
const ATTEMPTS: u32 = 5;

const START: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(10);

/// A running cluster.
pub(crate) struct Cluster {
    bin: PathBuf,
    port: u16,
    server: Server,
    /// After the server: fields are dropped in order.
    _folder: TempDir,
}

impl Cluster {
    /// Makes and starts a cluster. The server's messages go to `log`.
    pub(crate) fn start(log: &Path) -> Result<Self> {
        let bin = bin_folder()?;
        let folder = tempfile::Builder::new().prefix("muster-test-postgres-").tempdir()?;
        if geteuid().is_root() {
            let user = User::from_name(SYSTEM_USER)?.context("no user `postgres` on this machine")?;
            chown(folder.path(), Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
        }
        let data = folder.path().join("data");
        initialise(&bin, &data)?;

        for attempt in 1.. {
            let port = free_port()?;
            match Server::start(&bin, &data, port, log) {
                Ok(server) => {
                    return Ok(Self { bin, port, server, _folder: folder });
                }
                Err(error) if attempt == ATTEMPTS => return Err(error),
                Err(_) => {}
            }
        }
        unreachable!("the last attempt returns")
    }

    /// What tests find in their environment.
    pub(crate) fn variables(&self) -> [(&'static str, PathBuf); 2] {
        [("MUSTER_TEST_POSTGRES", self.url().into()), ("MUSTER_TEST_PG_BIN", self.bin.clone())]
    }

    /// Where it listens; a database's name is put behind it.
    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}", self.port)
    }

    /// Its client on a database; what it is to do is to be added.
    pub(crate) fn psql(&self, database: &str) -> Command {
        let mut command = Command::new(self.bin.join("psql"));
        command.arg(format!("{}/{database}", self.url())).args([
            "--no-psqlrc",
            "--quiet",
            "--set=ON_ERROR_STOP=1",
        ]);
        command
    }

    /// Stops the server; dropping does the same, unheard.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.server.stop()
    }
}

/// The newest of Debian's versions, which lie outside PATH; elsewhere the one on PATH.
fn bin_folder() -> Result<PathBuf> {
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<(u32, PathBuf)> = debian
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort_unstable();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let newest_first = versions.into_iter().rev().map(|(_, folder)| folder);
    newest_first
        .chain(std::env::split_paths(&path))
        .find(|folder| folder.join("initdb").is_file() && folder.join("postgres").is_file())
        .context("no PostgreSQL server here: run `cargo xtask setup`")
}

fn initialise(bin: &Path, data: &Path) -> Result<()> {
    let output = unprivileged(&bin.join("initdb"), data)
        .args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"])
        .output()
        .context("can't start initdb")?;
    if !output.status.success() {
        bail!("initdb failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// A program of PostgreSQL's on the data directory, as its own user when we are root. `setpriv` execs, so
/// that the child's pid is the program's; the kernel interrupts the program if we die first.
fn unprivileged(program: &Path, data: &Path) -> Command {
    let mut command = Command::new("setpriv");
    if geteuid().is_root() {
        let user = format!("--reuid={SYSTEM_USER}");
        let group = format!("--regid={SYSTEM_USER}");
        command.args([user.as_str(), group.as_str(), "--init-groups"]);
    }
    command.args(["--pdeathsig", "INT", "--"]).arg(program).arg("-D").arg(data);
    // Our own working directory may be closed to that user; and we read the messages.
    command.current_dir(data.parent().unwrap_or(data)).env("LC_ALL", "C").stdin(Stdio::null());
    command
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on loopback")?;
    Ok(listener.local_addr()?.port())
}

/// The server's process, and the thread that reads its messages.
struct Server {
    child: Child,
    /// Hears when the server takes connections, and is cut off when its last process is gone.
    messages: Receiver<()>,
}

impl Server {
    fn start(bin: &Path, data: &Path, port: u16, log: &Path) -> Result<Self> {
        let mut command = unprivileged(&bin.join("postgres"), data);
        command.arg("-p").arg(port.to_string());
        for setting in SETTINGS {
            command.arg("-c").arg(setting);
        }
        let mut child =
            command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().context("can't start postgres")?;
        let stderr = child.stderr.take().context("postgres has no standard error")?;
        let log_file = File::create(log).with_context(|| format!("can't write {}", log.display()))?;
        let (sender, messages) = channel();
        thread::spawn(move || follow(stderr, log_file, &sender));

        let server = Self { child, messages };
        match server.messages.recv_timeout(START) {
            Ok(()) => Ok(server),
            Err(_) => bail!("postgres didn't start; see {}", log.display()),
        }
    }

    fn stop(&mut self) -> Result<()> {
        // Already reaped: the pid may be another's by now.
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        let pid = Pid::from_raw(i32::try_from(self.child.id())?);
        kill(pid, Signal::SIGINT)?;
        if self.messages.recv_timeout(STOP) == Err(RecvTimeoutError::Timeout) {
            kill(pid, Signal::SIGQUIT)?;
        }
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Best effort: we are already on our way out, and the kernel has the last word.
        let _ = self.stop();
    }
}

fn follow(stderr: ChildStderr, mut log: File, ready: &Sender<()>) {
    for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
        // A full disk must not block the server: go on reading.
        let _ = log.write_all(&line).and_then(|()| log.write_all(b"\n"));
        if String::from_utf8_lossy(&line).contains("ready to accept connections") {
            let _ = ready.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_takes_connections_and_leaves_nothing() {
        let log = tempfile::NamedTempFile::new().unwrap();
        let cluster = Cluster::start(log.path()).unwrap();
        let folder = cluster._folder.path().to_owned();
        let [(_, url), _] = cluster.variables();
        let answer =
            Command::new(cluster.bin.join("psql")).arg("-Atc").arg("SHOW fsync").arg(&url).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&answer.stdout), "off\n");

        cluster.stop().unwrap();
        assert!(!folder.exists());
        let answer = Command::new(bin_folder().unwrap().join("psql")).arg(url).output().unwrap();
        assert!(!answer.status.success());
    }
}
