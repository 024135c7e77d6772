//! Which agent's Python is meant on the command line: the one of `muster up`, or one that runs alone.

use std::path::PathBuf;

use agent::environment::Maker;
use anyhow::{Context as _, Result, bail};
use clap::Args;
use master::Config;
use master::config;

use super::data_dir::{DataDir, usual_place};
use super::local_agent;

/// An agent of this machine, running or not.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// The agent runs alone (`muster agent`), not by `muster up`
    #[arg(long)]
    agent: bool,
    /// The data directory that it is started with
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The configuration file that it is started with
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// What makes the Python of its tasks.
pub(crate) fn environment(place: &Place) -> Result<Maker> {
    let file = place.config.as_deref();
    let (agent, dir, masked) = if place.agent {
        let agent = file.map(config::Agent::read).transpose()?.unwrap_or_default();
        let dir = place.data_dir.clone().map_or_else(|| usual_place("muster-agent"), Ok)?;
        (agent, dir, vec![])
    } else {
        let config = file.map(Config::read).transpose()?.unwrap_or_default();
        let dir = DataDir::at(place.data_dir.clone().or(config.data_dir))?;
        (config.agent, dir.agent(), vec![dir.path().to_owned()])
    };
    let dir = std::path::absolute(&dir).with_context(|| format!("{}", dir.display()))?;
    if !dir.is_dir() {
        bail!("there is no agent in {}: name its place with --data-dir, or start it once", dir.display());
    }
    let options = local_agent::from_config(&agent, dir)?;
    Ok(Maker::new(&agent::Options { masked, ..options }))
}
