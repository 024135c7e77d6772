//! `muster master info`, `config`, `logs`, `certificate` and `forget`, and `muster version`.

use anyhow::{Context, Result, bail};
use api::client::{Address, Client, ClientError, Shown, Trust};
use api::master_log::{LogChange, level};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{ArgGroup, Subcommand, ValueEnum};

use super::cluster_message;
use crate::auth::known::KnownMasters;
use crate::auth::session::Session;
use crate::auth::trust;
use crate::failure::Failure;
use crate::output;
use crate::target::Target;
use crate::way;

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
    #[command(args_conflicts_with_subcommands = true)]
    Config {
        /// Print JSON, not YAML
        #[arg(long)]
        json: bool,
        #[command(subcommand)]
        change: Option<ConfigVerb>,
    },
    /// Print what the master says in its log, as far as it is kept; for administrators
    Logs {
        /// Go on with what it says from now on
        #[arg(short, long)]
        follow: bool,
        /// Only the last so many lines
        #[arg(long, value_name = "N")]
        tail: Option<u32>,
    },
    /// Tell everybody something, for a time
    #[command(subcommand)]
    ClusterMessage(cluster_message::Verb),
    /// Print the certificate of the authority behind the master's own, for browsers and other programs
    Certificate,
    /// Drop what is remembered here of the master's certificate: the next command asks again
    Forget,
}

/// What of the configuration can be changed while the master runs.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigVerb {
    /// Have the master say more or less in its log, until it starts anew; for administrators
    #[command(group(ArgGroup::new("changes").required(true).multiple(true)))]
    Set {
        /// How much it says
        #[arg(long = "log.level", value_name = "LEVEL", group = "changes")]
        level: Option<LogLevel>,
        /// With colours, where it is a terminal, or without
        #[arg(long = "log.color", value_name = "BOOL", group = "changes")]
        color: Option<bool>,
    },
}

/// How much the master says.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum LogLevel {
    /// Everything
    Trace,
    /// What helps to look for a fault
    Debug,
    /// What happens
    Info,
    /// What somebody should look at
    Warning,
    /// What failed
    Error,
}

impl LogLevel {
    fn name(self) -> &'static str {
        match self {
            Self::Trace => level::TRACE,
            Self::Debug => level::DEBUG,
            Self::Info => level::INFO,
            Self::Warning => level::WARNING,
            Self::Error => level::ERROR,
        }
    }
}

/// Carries out the verb that was given.
pub(crate) async fn run(verb: Verb, target: &Target) -> Result<()> {
    match verb {
        Verb::Info { json } => {
            let info = trust::client(target).await?.info().await?;
            if json { output::json(&info) } else { output::yaml(&info) }
        }
        Verb::Config { change: Some(ConfigVerb::Set { level, color }), .. } => {
            let change = LogChange { level: level.map(|level| level.name().to_owned()), color };
            let session = &mut Session::open(target).await?;
            let done = session.call(async |client| client.change_master_log(&change).await).await;
            done.context("can't change the master's log")?;
            output::note("The master's log was changed, until the master starts anew.");
            Ok(())
        }
        Verb::Logs { follow, tail } => logs(&mut Session::open(target).await?, follow, tail).await,
        Verb::Config { json, change: None } => {
            let session = &mut Session::open(target).await?;
            let config = session.call(async |client| client.master_config().await).await;
            let config = config.context("can't read the master's configuration")?;
            if json { output::json(&config) } else { output::yaml(&config) }
        }
        Verb::ClusterMessage(verb) => cluster_message::run(verb, target).await,
        Verb::Certificate => certificate(target).await,
        Verb::Forget => forget(target),
    }
}

async fn logs(session: &mut Session, follow: bool, tail: Option<u32>) -> Result<()> {
    // A kept session may have ended: that is found by a request that can be made twice.
    session.call(async |client| client.me().await).await?;
    let told = session.client().master_log(follow, tail, |entry| {
        let level = entry.level.trim_start_matches("LOG_LEVEL_");
        output::line(&format!("{} [{level}]: {}", entry.timestamp, entry.message))
    });
    told.await.context("can't read the master's log")
}

/// What is trusted on the way to this master. The fingerprint goes beside it, so that the output is a file for
/// `DET_MASTER_CERT_FILE`.
async fn certificate(target: &Target) -> Result<()> {
    let shown = match on_this_machine(&target.address).await? {
        Some(shown) => Some(shown),
        None => {
            let client = trust::client(target).await?;
            client.info().await?;
            client.shown()
        }
    };
    let Some(shown) = shown else {
        bail!(Failure::NotFound(format!(
            "the way to {} is not encrypted: there is no certificate",
            target.address
        )));
    };
    output::note(&format!("Its fingerprint is {}", shown.fingerprint()));
    let pem = shown.chain.last().map(|der| pem(der)).unwrap_or_default();
    output::text_block(&pem)
}

/// What a master of this machine shows on its port, whichever scheme was named. Nobody has to be asked: its socket is
/// root's or our own, so the port is that master's.
async fn on_this_machine(address: &Address) -> Result<Option<Shown>> {
    if way::socket(address).is_none() {
        return Ok(None);
    }
    let encrypted = address.to_string().replacen("http://", "https://", 1).parse()?;
    let client = Client::trusting(encrypted, None, Trust::default())?;
    match client.info().await {
        Err(ClientError::Untrusted { shown, .. }) => Ok(Some(*shown)),
        // A plain listener shows none.
        _ => Ok(client.shown()),
    }
}

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

fn forget(target: &Target) -> Result<()> {
    let before = KnownMasters::new(target.config_dir.clone()).set(&target.address, None)?;
    output::note(&match before {
        Some(_) => format!("The certificate of the master at {} is forgotten.", target.address),
        None => format!("Nothing was remembered of a master at {}.", target.address),
    });
    Ok(())
}

/// Prints both versions; that there is no master is worth a remark only.
pub(crate) async fn version(target: &Target) -> Result<()> {
    output::line(&format!("muster {}", env!("CARGO_PKG_VERSION")))?;
    let asked = async { anyhow::Ok(trust::client(target).await?.info().await?) };
    match asked.await {
        Ok(info) => output::line(&format!(
            "master {} at {} (speaks Determined {})",
            info.muster_version, target.address, info.version
        )),
        Err(error) if matches!(error.downcast_ref(), Some(ClientError::Unreachable { .. })) => {
            output::note(&error.to_string());
            Ok(())
        }
        Err(error) => Err(error),
    }
}
