//! `muster down`: through the running `up` when there is one, else by the tasks' own shims; so, too, where an agent runs alone,
//! once that has ended.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
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

/// How long an agent's master may take to hear how its tasks ended.
const TELLING: Duration = Duration::from_secs(10);

pub(super) async fn run(dir: &DataDir) -> Result<()> {
    if let Some(pid) = dir.owner()? {
        let living = shims(dir)?.len();
        // SIGUSR1 is "end the tasks, then yourself".
        kill(Pid::from_raw(pid), Signal::SIGUSR1).with_context(|| format!("telling process {pid} to end"))?;
        let free = tokio::time::timeout(PATIENCE, dir.wait_until_free()).await;
        free.with_context(|| format!("process {pid} did not end in {} s", PATIENCE.as_secs()))??;
        if !dir.is_agents() {
            return output::line("Muster is down");
        }
        // One of before leaves its tasks to the next one (ME22).
        let ended = end_orphans(dir).await?.max(living);
        let ended = match ended {
            0 => "The agent is down".to_owned(),
            1 => "The agent is down; 1 task was ended".to_owned(),
            n => format!("The agent is down; {n} tasks were ended"),
        };
        let untold = if untold(dir) == 0 {
            ""
        } else {
            ". The master wasn't told of all ends: it hears of them when this agent is started again, or gives the tasks up \
             once it has been away for long (`agent_lost_after`), or is revoked"
        };
        return output::line(&format!("{ended}{untold}"));
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

/// Ends what an agent runs while that is there to tell its master, and waits a moment until the master knows.
pub(super) async fn end_with_agent(dir: &DataDir) -> Result<()> {
    let mut patience = tokio::time::interval(Duration::from_millis(50));
    end_orphans(dir).await?;
    let told = async {
        while untold(dir) > 0 {
            patience.tick().await;
        }
    };
    // A master that can't be reached hears of it from the next agent.
    let _ = tokio::time::timeout(TELLING, told).await;
    Ok(())
}

/// What runs or has ended here, and the master doesn't know how it ended: an agent keeps each run until it does.
fn untold(dir: &DataDir) -> usize {
    std::fs::read_dir(tasks(dir)).into_iter().flatten().count()
}

fn tasks(dir: &DataDir) -> PathBuf {
    dir.agent().join("tasks")
}

/// The shims of what runs, of tasks without a record, too (KP2).
fn shims(dir: &DataDir) -> Result<Vec<Shim>> {
    let mut shims: Vec<Shim> =
        agent::strays(&dir.agent()).into_iter().map(|stray| stray.into_shim()).collect();
    for entry in std::fs::read_dir(tasks(dir)).into_iter().flatten() {
        let path = entry.with_context(|| format!("{}", tasks(dir).display()))?.path();
        shims.extend(Shim::open(&path).with_context(|| format!("{}", path.display()))?);
    }
    Ok(shims)
}

/// Ends tasks that go on without `up`. The next `up` records how they ended.
pub(super) async fn end_orphans(dir: &DataDir) -> Result<usize> {
    let shims = shims(dir)?;
    let ended = shims.len();
    // All of them first: their times to clean up don't add up.
    for shim in &shims {
        shim.kill().context("ending a task")?;
    }
    for shim in shims {
        let exit = shim.into_pidfd();
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
