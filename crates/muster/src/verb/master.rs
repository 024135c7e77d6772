//! `muster master info` and `config`, and `muster version`.

use anyhow::{Context, Result};
use api::client::{Client, ClientError};
use clap::Subcommand;

use crate::auth::session::Session;
use crate::output;
use crate::target::Target;

/// What a master can be asked about itself.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Print what anybody may know of the master
    Info {
        /// Print JSON, not YAML
        #[arg(long)]
        json: bool,
    },
    /// Print the master's configuration, secrets masked; for administrators
    Config {
        /// Print JSON, not YAML
        #[arg(long)]
        json: bool,
    },
}

/// Does it.
pub(crate) async fn run(verb: Verb, target: &Target) -> Result<()> {
    match verb {
        Verb::Info { json } => {
            let info = Client::at(target.address.clone(), None)?.info().await?;
            if json { output::json(&info) } else { output::yaml(&info) }
        }
        Verb::Config { json } => {
            let session = &mut Session::open(target).await?;
            let config = session.call(async |client| client.master_config().await).await;
            let config = config.context("can't read the master's configuration")?;
            if json { output::json(&config) } else { output::yaml(&config) }
        }
    }
}

/// Prints both versions; that there is no master is worth a remark only.
pub(crate) async fn version(target: &Target) -> Result<()> {
    output::line(&format!("muster {}", env!("CARGO_PKG_VERSION")))?;
    match Client::at(target.address.clone(), None)?.info().await {
        Ok(info) => output::line(&format!(
            "master {} at {} (speaks Determined {})",
            info.muster_version, target.address, info.version
        )),
        Err(error @ ClientError::Unreachable { .. }) => {
            output::note(&error.to_string());
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}
