//! Getting a run's shim going: directory, context, process. When to do it is `begin`'s, fetching the context
//! `context::fetch`'s.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use domain::id::AllocationId;
use launch::TaskSpec;
use launch::descriptors::are_scarce;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

use super::disk::{keep_given, place_context};
use super::follower::RETRY;
use crate::machine::Machine;
use crate::reserve::{self, Gifts};

/// Longest wait for a shim to come up; it makes a few files and forks.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two tries.
const SPACE_PAUSE: Duration = Duration::from_millis(50);

/// Most bytes of what a failing shim says.
const MAX_WORDS: u64 = 4096;

/// Makes the run's directory, with its context when one was fetched. Repeating it is fine.
///
/// # Errors
/// One sentence.
pub(crate) fn make_dir(
    machine: &Machine,
    id: AllocationId,
    spec: &TaskSpec,
    given: &str,
) -> Result<PathBuf, String> {
    let data_dir = &machine.data_dir;
    let made = machine.reserve.spend(|| {
        let dir = launch::create_task_dir(&data_dir.tasks(), &id.to_string(), spec)?;
        place_context(data_dir, id)?;
        keep_given(&dir, given)?;
        Ok(dir)
    });
    made.map_err(|e| format!("the task's directory couldn't be made on the agent: {e}"))
}

/// Starts the run's shim and waits until it is up, for a while also for space on a disk that others fill. Harmless when
/// one is there already: the shim looks.
///
/// # Errors
/// One sentence; whether a shim lives nevertheless is to be seen in the directory.
pub(crate) async fn start_shim(machine: &Machine, dir: PathBuf) -> Result<(), String> {
    let full = std::io::Error::from(rustix::io::Errno::NOSPC).to_string();
    let (begun, mut gifts) = (Instant::now(), Gifts::default());
    loop {
        match start_process(&machine.shim_exe, &dir).await {
            Err(reason) if reason.contains(&full) && begun.elapsed() < reserve::PATIENCE => {
                gifts.give(&machine.reserve);
                tokio::time::sleep(SPACE_PAUSE).await;
            }
            other => return other,
        }
    }
}

/// Starts the shim of a directory that has one's description, once, and waits until it is up.
///
/// # Errors
/// As [`start_shim`].
pub(crate) async fn start_process(shim_exe: &Path, dir: &Path) -> Result<(), String> {
    let cannot = |e: std::io::Error| format!("the task's supervisor couldn't be started: {e}");
    let mut command = Command::new(shim_exe);
    command
        .arg("shim")
        .arg(dir)
        // Nothing of the agent's environment is the task's business.
        .env_clear()
        .envs(launch::descriptors::for_shim())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        // What ends the agent's process group on a terminal must not end tasks.
        .process_group(0);
    let mut child = spawn(&mut command).await.map_err(cannot)?;
    let Ok(status) = tokio::time::timeout(PATIENCE, child.wait()).await else {
        let _ = child.kill().await;
        return Err(format!("the task's supervisor wasn't up within {PATIENCE:?}"));
    };
    let status = status.map_err(cannot)?;
    if status.success() {
        return Ok(());
    }
    let words = last_words(child).await;
    Err(format!("the task's supervisor couldn't be started: {status} {words}").trim_end().to_owned())
}

/// Waits for descriptors that others have.
async fn spawn(command: &mut Command) -> std::io::Result<Child> {
    let begun = Instant::now();
    loop {
        match command.spawn() {
            Err(e) if are_scarce(&e) && begun.elapsed() < PATIENCE => {
                tracing::warn!("the task's supervisor can't be started yet, trying again: {e}");
                tokio::time::sleep(RETRY).await;
            }
            spawned => return spawned,
        }
    }
}

async fn last_words(mut child: Child) -> String {
    let mut words = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        // A process that it left behind may keep the pipe open.
        let mut stderr = stderr.take(MAX_WORDS);
        let read = stderr.read_to_end(&mut words);
        let _ = tokio::time::timeout(Duration::from_secs(1), read).await;
    }
    String::from_utf8_lossy(&words).trim().replace('\n', "; ")
}
