//! Starting the shim that sees a run through. When to do it is the agent's.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use launch::descriptors::are_scarce;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

use crate::launcher::LaunchError;
use crate::reserve::{self, Gifts, Reserve};

/// Longest wait for a shim to come up; it makes a few files and forks.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two tries when space is missing.
const SPACE_PAUSE: Duration = Duration::from_millis(50);

/// Between two tries when descriptors are.
const PAUSE: Duration = Duration::from_secs(1);

/// Most bytes of what a failing shim says.
const MAX_WORDS: u64 = 4096;

/// Starts the shim of a run's directory and waits until it is up, for a while also for what others have all of, such as space
/// on the disk. Harmless when one is there already: the shim looks.
///
/// # Errors
/// As [`start_process`].
pub(super) async fn start_shim(shim_exe: &Path, dir: &Path, reserve: &Reserve) -> Result<(), LaunchError> {
    let (begun, mut gifts) = (Instant::now(), Gifts::default());
    loop {
        match start_process(shim_exe, dir).await {
            Err(LaunchError::SupervisorDied { passing: true, .. }) if begun.elapsed() < reserve::PATIENCE => {
                gifts.give(reserve);
                tokio::time::sleep(SPACE_PAUSE).await;
            }
            other => return other,
        }
    }
}

/// Starts the shim of a directory that has one's description, once, and waits until it is up.
///
/// # Errors
/// Why it isn't; whether one lives nevertheless is to be seen in the directory.
pub(super) async fn start_process(shim_exe: &Path, dir: &Path) -> Result<(), LaunchError> {
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
    let mut child = spawn(&mut command).await.map_err(LaunchError::Supervisor)?;
    let Ok(status) = tokio::time::timeout(PATIENCE, child.wait()).await else {
        let _ = child.kill().await;
        return Err(LaunchError::SupervisorSilent(PATIENCE));
    };
    let status = status.map_err(LaunchError::Supervisor)?;
    if status.success() {
        return Ok(());
    }
    let passing = status.code() == Some(launch::shim::TRY_AGAIN);
    Err(LaunchError::SupervisorDied { status, words: last_words(child).await, passing })
}

/// Waits for descriptors that others have.
async fn spawn(command: &mut Command) -> io::Result<Child> {
    let begun = Instant::now();
    loop {
        match command.spawn() {
            Err(e) if are_scarce(&e) && begun.elapsed() < PATIENCE => {
                tracing::warn!("the task's supervisor can't be started yet, trying again: {e}");
                tokio::time::sleep(PAUSE).await;
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
