//! `agent-test-shim plain RUNDIR`: sees a process through that is in no sandbox, for tests of what every launcher has to do.
//! It outlives who starts it, writes the output as records, and says how the process ended.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use domain::log::{Record, Source};
use domain::task::{Exit, Fault, Limit};
use domain::time::Timestamp;
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::unistd::Pid;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

/// What is run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// The command line.
    pub(crate) argv: Vec<String>,
    /// Variables.
    pub(crate) env: Vec<(String, String)>,
    /// Milliseconds between SIGTERM and SIGKILL.
    pub(crate) grace: u64,
    /// Something is still to be added.
    pub(crate) incomplete: bool,
}

pub(crate) const PLAN: &str = "plan.json";
pub(crate) const LOCK: &str = "plain.lock";
pub(crate) const PID: &str = "plain.pid";
pub(crate) const EXIT: &str = "exit.json";
pub(crate) const WORK: &str = "work";

/// Returns when the process is over, or at once when somebody sees it through or it is over already. Says `up` when it runs.
pub(crate) fn main(dir: &Path) -> io::Result<()> {
    rustix::process::setsid()?;
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(dir.join(LOCK))?;
    let says_up = || io::stdout().write_all(b"up\n").and_then(|()| io::stdout().flush());
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() || dir.join(EXIT).exists() {
        return says_up();
    }
    let plan: Plan = serde_json::from_slice(&fs::read(dir.join(PLAN))?)?;
    let log = OpenOptions::new().create(true).append(true).open(dir.join(agent::launcher::LOG_FILE))?;
    let log = Arc::new(Mutex::new(log));
    fs::create_dir_all(dir.join(WORK))?;
    if let Ok(archive) = File::open(dir.join(agent::launcher::CONTEXT_FILE)) {
        std::env::set_current_dir(dir.join(WORK))?;
        agent::context::unpack(archive).map_err(|e| io::Error::other(e.to_string()))?;
    }
    let Some((program, args)) = plan.argv.split_first() else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let mut child = Command::new(program)
        .args(args)
        .env_clear()
        .envs(plan.env.iter().map(|(name, value)| (name, value)))
        .current_dir(dir.join(WORK))
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let signals: SigSet = [Signal::SIGTERM, Signal::SIGQUIT, Signal::SIGUSR1].into_iter().collect();
    signals.thread_block()?;
    fs::write(dir.join(PID), std::process::id().to_string())?;
    says_up()?;
    let (killed, for_room) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let group = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
    {
        let (killed, for_room) = (Arc::clone(&killed), Arc::clone(&for_room));
        std::thread::spawn(move || obey(&signals, group, plan.grace, &killed, &for_room));
    }
    let copies = copies(&mut child, &log);
    let status = child.wait()?;
    let _ = killpg(group, Signal::SIGKILL);
    for copy in copies {
        let _ = copy.join();
    }
    let exit = Exit {
        code: status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default()),
        signal: status.signal(),
        killed: killed.load(Ordering::SeqCst),
        failure: None,
        limit: for_room.load(Ordering::SeqCst).then_some(Limit::Scratch),
        fault: Some(match (killed.load(Ordering::SeqCst), for_room.load(Ordering::SeqCst)) {
            (true, _) => Fault::Ended,
            (false, true) => Fault::Disk,
            (false, false) => Fault::Task,
        }),
    };
    write_exit(dir, &exit)
}

fn obey(signals: &SigSet, group: Pid, grace: u64, killed: &AtomicBool, for_room: &AtomicBool) {
    while let Ok(signal) = signals.wait() {
        let first = !killed.swap(signal != Signal::SIGUSR1, Ordering::SeqCst);
        match signal {
            Signal::SIGTERM if first => {
                let _ = killpg(group, Signal::SIGTERM);
                std::thread::spawn(move || {
                    std::thread::park_timeout(Duration::from_millis(grace));
                    let _ = killpg(group, Signal::SIGKILL);
                });
            }
            Signal::SIGTERM => {}
            other => {
                for_room.store(other == Signal::SIGUSR1, Ordering::SeqCst);
                let _ = killpg(group, Signal::SIGKILL);
            }
        }
    }
}

type Copy = std::thread::JoinHandle<()>;

fn copies(child: &mut Child, log: &Arc<Mutex<File>>) -> Vec<Copy> {
    let out = child.stdout.take().map(|pipe| copy(pipe, Source::Stdout, log));
    let err = child.stderr.take().map(|pipe| copy(pipe, Source::Stderr, log));
    out.into_iter().chain(err).collect()
}

fn copy(mut from: impl Read + Send + 'static, source: Source, log: &Arc<Mutex<File>>) -> Copy {
    let log = Arc::clone(log);
    std::thread::spawn(move || {
        let mut buffer = [0; 16 << 10];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            let mut record = Vec::new();
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
            let at = Timestamp(i64::try_from(now).unwrap_or_default());
            Record { at, source, rank: None, payload: &buffer[..count] }.encode(&mut record);
            let _ = log.lock().expect("no panic").write_all(&record);
        }
    })
}

/// There completely or not at all.
pub(crate) fn write_exit(dir: &Path, exit: &Exit) -> io::Result<()> {
    let new: PathBuf = dir.join("exit.json.new");
    fs::write(&new, serde_json::to_vec(exit)?)?;
    fs::rename(new, dir.join(EXIT))
}
