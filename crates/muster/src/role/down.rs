//! `muster down`: through the running `up` when there is one, else by the tasks' own shims; so, too, where an agent runs alone,
//! once that has ended.

use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use launch::Shim;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::data_dir::DataDir;
use crate::output;

/// How long the whole may take: tasks have their time to clean up.
const PATIENCE: Duration = Duration::from_secs(master::config::MAX_KILL_GRACE + 90);

pub(super) async fn run(dir: &DataDir) -> Result<()> {
    if let Some(pid) = dir.owner()? {
        // SIGUSR1 is "end the tasks, then yourself".
        kill(Pid::from_raw(pid), Signal::SIGUSR1).with_context(|| format!("telling process {pid} to end"))?;
        let free = tokio::time::timeout(PATIENCE, dir.wait_until_free()).await;
        free.with_context(|| format!("process {pid} did not end in {} s", PATIENCE.as_secs()))??;
        if !dir.is_agents() {
            return output::line("Muster is down");
        }
        // An agent leaves its tasks to the next one (ME22).
        return output::line(&match end_orphans(dir).await? {
            0 => "The agent is down".to_owned(),
            1 => "The agent is down; 1 task was ended".to_owned(),
            n => format!("The agent is down; {n} tasks were ended"),
        });
    }
    if !dir.path().exists() {
        bail!("nothing is at {}: name the directory with --data-dir", dir.path().display());
    }
    let count = end_orphans(dir).await?;
    output::line(&match count {
        0 => "Muster was not running".to_owned(),
        1 => "Muster was not running; 1 task was ended".to_owned(),
        n => format!("Muster was not running; {n} tasks were ended"),
    })
}

/// Ends tasks that go on without `up`, those without a record too (KP2). The next `up` records how they ended.
pub(super) async fn end_orphans(dir: &DataDir) -> Result<usize> {
    let tasks = dir.agent().join("tasks");
    let mut shims = Vec::new();
    let strays = agent::strays(&dir.agent());
    for stray in &strays {
        stray.shim().kill().with_context(|| format!("task {}", stray.task_id))?;
        shims.push(stray.shim().pidfd().try_clone_to_owned()?);
    }
    for entry in std::fs::read_dir(&tasks).into_iter().flatten() {
        let path = entry.with_context(|| format!("{}", tasks.display()))?.path();
        let Some(shim) = Shim::open(&path).with_context(|| format!("{}", path.display()))? else {
            continue;
        };
        // All of them first: their times to clean up don't add up.
        shim.kill().with_context(|| format!("{}", path.display()))?;
        shims.push(shim.into_pidfd());
    }
    let ended = shims.len();
    for exit in shims {
        let wait = tokio::task::spawn_blocking(move || wait_readable(&exit));
        wait.await?.context("waiting for a task's end")?;
    }
    Ok(ended)
}

/// A pidfd is readable once its process has ended.
fn wait_readable(pidfd: &OwnedFd) -> Result<()> {
    let mut wanted = [PollFd::new(pidfd, PollFlags::IN)];
    let limit = Timespec::try_from(PATIENCE)?;
    if poll(&mut wanted, Some(&limit))? == 0 {
        bail!("it did not end in {} s", PATIENCE.as_secs());
    }
    Ok(())
}
