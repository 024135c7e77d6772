//! A `muster up` of one's own: started on a free port, and stopped by its pid.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const START: Duration = Duration::from_secs(30);
const STOP: Duration = Duration::from_secs(40);

/// A running server. Dropping it ends it and its tasks.
pub(crate) struct Server {
    child: Child,
    /// What it prints; cut off at its end.
    lines: Receiver<String>,
    pub(crate) address: SocketAddr,
    /// From before its process was made until it said that it is ready.
    pub(crate) ready_after: Duration,
}

/// The measuring program is connected to much else, and so no person to the master.
pub(crate) const ANYBODY: &str = "security: {blank_passwords: allow}\n";

impl Server {
    /// A program's, on the data in a directory, beside which its log is written (`DATA.log`) as far as `says` has it, a
    /// `MUSTER_LOG`. Without a configuration among the options, everybody may log in as with [`ANYBODY`].
    pub(crate) fn start(muster: &Path, data: &Path, options: &[&str], says: &str) -> Result<Self> {
        let log = data.with_extension("log");
        let config = data.with_extension("usual.yaml");
        fs::write(&config, ANYBODY)?;
        let config = config.to_str().context("a folder's name is no text")?;
        let given = if options.contains(&"--config") { &[][..] } else { &["--config", config] };
        let began = Instant::now();
        // The kernel ends it should we be killed before we can.
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "--"])
            .arg(muster)
            .args(["up", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(data)
            .args(given)
            .args(options)
            .env("MUSTER_LOG", says)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::options().create(true).append(true).open(&log)?)
            .spawn()
            .context("can't start muster")?;
        let stdout = child.stdout.take().context("muster has no standard output")?;
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = Self { child, lines, address: unknown, ready_after: Duration::ZERO };
        let line = server.lines.recv_timeout(START).unwrap_or_default();
        server.ready_after = began.elapsed();
        let Some(address) = line.strip_prefix("Muster is ready at http://") else {
            bail!("muster didn't get ready:\n{}", last_lines(&log));
        };
        server.address = address.parse()?;
        Ok(server)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Leaves it alone for a while.
    pub(crate) fn rest(&self, time: Duration) -> Result<()> {
        match self.lines.recv_timeout(time) {
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => Ok(()),
            _ => bail!("muster ended too early"),
        }
    }

    /// Its resident memory, in MiB. Master and agent are one process.
    pub(crate) fn resident(&self) -> Result<f64> {
        self.memory("VmRSS:")
    }

    /// The most that it had, in MiB.
    pub(crate) fn peak(&self) -> Result<f64> {
        self.memory("VmHWM:")
    }

    fn memory(&self, key: &str) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let kib: f64 = line.with_context(|| format!("no {key}"))?.trim().trim_end_matches(" kB").parse()?;
        Ok(kib / 1024.0)
    }

    /// Its process dies at once, as in a power failure; its tasks go on.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Ends it and its tasks.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        // What `muster down` sends.
        kill(Pid::from_raw(i32::try_from(self.child.id())?), Signal::SIGUSR1)?;
        let began = Instant::now();
        while self.lines.recv_timeout(STOP.saturating_sub(began.elapsed())).is_ok() {}
        if began.elapsed() >= STOP {
            self.child.kill()?;
        }
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Best effort: we are already on our way out.
        let _ = self.end();
    }
}

fn last_lines(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(10)..).unwrap_or_default().join("\n")
}
