//! `muster config-policies …`: what is laid down for the configurations of everybody's work.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Subcommand, ValueEnum};

use super::workspace;
use crate::auth::session::Session;
use crate::output;
use crate::target::Target;

/// What can be done with policies.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Print the policies, YAML that `set` takes again
    Describe {
        #[command(flatten)]
        of: Of,
        /// Print JSON, not YAML
        #[arg(long)]
        json: bool,
    },
    /// Set policies, in place of those that there are
    Set {
        #[command(flatten)]
        of: Of,
        /// The policies, YAML or JSON: constraints, and for experiments an `invariant_config`
        file: PathBuf,
    },
    /// Take policies away
    Delete {
        #[command(flatten)]
        of: Of,
    },
}

/// Which policies.
#[derive(Debug, Args)]
pub(crate) struct Of {
    /// The work that they are about
    workload: Workload,
    /// The workspace [default: they hold everywhere]
    #[arg(short, long, visible_alias = "workspace-name", value_name = "NAME")]
    workspace: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Workload {
    /// Experiments
    Experiment,
    /// Commands, notebooks, shells and TensorBoards
    Tasks,
}

impl Of {
    fn workload(&self) -> &'static str {
        match self.workload {
            Workload::Experiment => "EXPERIMENT",
            Workload::Tasks => "NTSC",
        }
    }

    async fn workspace(&self, session: &mut Session) -> Result<Option<i64>> {
        match &self.workspace {
            Some(name) => Ok(Some(workspace::find(session, name).await?.id)),
            None => Ok(None),
        }
    }
}

/// Does it.
pub(crate) async fn run(verb: Verb, target: &Target) -> Result<()> {
    match verb {
        Verb::Describe { of, json } => {
            let session = &mut Session::open(target).await?;
            let (place, workload) = (of.workspace(session).await?, of.workload());
            let found = session.call(async |client| client.config_policies(place, workload).await).await;
            let policies = found.context("can't read the configuration policies")?.config_policies;
            if json { output::json(&policies) } else { output::yaml(&policies) }
        }
        Verb::Set { of, file } => {
            let text = fs::read_to_string(&file).with_context(|| format!("can't read {}", file.display()))?;
            let session = &mut Session::open(target).await?;
            let (place, workload) = (of.workspace(session).await?, of.workload());
            let set =
                async |client: &api::client::Client| client.set_config_policies(place, workload, &text).await;
            session.call(set).await.context("can't set the configuration policies")?;
            output::note("The configuration policies were set.");
            Ok(())
        }
        Verb::Delete { of } => {
            let session = &mut Session::open(target).await?;
            let (place, workload) = (of.workspace(session).await?, of.workload());
            let gone =
                session.call(async |client| client.delete_config_policies(place, workload).await).await;
            gone.context("can't delete the configuration policies")?;
            output::note("There are no such configuration policies any more.");
            Ok(())
        }
    }
}
