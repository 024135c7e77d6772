//! The long-running roles: `up`, `master`, `agent`, and the ways they start and end.

mod data_dir;
mod down;
mod encryption;
mod environment;
mod local_agent;
mod own_log;
mod own_socket;
mod process;
mod room;
mod serve;

use std::path::Path;
use std::process::ExitCode;

use agent::AgentError;
use anyhow::{Context as _, Result};
use domain::id::AgentId;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::cli::{AgentArgs, DownArgs, MasterArgs, UpArgs};
use crate::output;

use data_dir::DataDir;
pub(crate) use environment::{Place, environment};
use process::Ending;
use serve::Served;

/// Connections and tasks' logs are open files (A7). Where it can't be done, the server keeps within what there is.
fn raise_descriptors() {
    let _ = launch::descriptors::raise();
}

/// `muster up`: a master, and an agent that speaks to it as any other would.
pub(crate) fn up(args: UpArgs) -> Result<ExitCode> {
    raise_descriptors();
    process::block_on_with_log(async move |own_log| {
        let mut endings = process::endings()?;
        let served = Served::start(&args.master, own_log).await?;
        let stop = CancellationToken::new();
        let mut options = local_agent::options(&served, args.slots).await?;
        options.guarded.extend(args.master.config.clone());
        let keep_free = options.keep_free;
        let _room = room::beside(served.kept_logs(), &mut options);
        let (registered, ready) = watch::channel(false);
        let mut agent = tokio::spawn(agent::run(options, registered, stop.clone()));
        let mut told = false;
        let ended = tokio::select! {
            ended = until_ended(ready, &served, &mut endings, &mut told) => ended,
            gone = &mut agent => match gone.context("the agent broke down")? {
                Err(error @ AgentError::Stranger { .. }) => {
                    let _room = room::alone(served.kept_logs(), keep_free);
                    without_agent(error, &served, &mut endings, told).await
                }
                gone => {
                    served.stop().await;
                    return gone.context("the local agent").map(|()| ExitCode::SUCCESS);
                }
            }
        };
        let ending = ended?;
        if ending == Ending::EndTasks {
            served.end_tasks().await?;
        }
        served.tell_what_stays(ending);
        stop.cancel();
        if !agent.is_finished() {
            let _ = agent.await;
        }
        if ending == Ending::EndTasks {
            // Those that the master has no record of, too.
            if let Err(error) = down::end_orphans(&served.dir).await {
                tracing::error!("not all tasks were ended: {error:#}");
            }
        }
        served.stop().await;
        Ok(ExitCode::SUCCESS)
    })
}

/// An administrator revoked the agent: that is one machine less, and no end of the master. It says ready all the same.
async fn without_agent(
    error: AgentError,
    served: &Served,
    endings: &mut process::Endings,
    mut told: bool,
) -> Result<Ending> {
    let AgentError::Stranger { agent, reason } = error else { return Err(error.into()) };
    tracing::error!(
        %agent, reason,
        "this machine's own agent may not work any more; the master goes on without it. To take it in again, stop \
         Muster, remove agent.json and link.key in {}, and start it",
        served.dir.agent().display()
    );
    let (_registered, ready) = watch::channel(true);
    until_ended(ready, served, endings, &mut told).await
}

async fn until_ended(
    mut ready: watch::Receiver<bool>,
    served: &Served,
    endings: &mut process::Endings,
    told: &mut bool,
) -> Result<Ending> {
    loop {
        tokio::select! {
            Ok(_) = ready.wait_for(|ready| *ready), if !*told => {
                *told = true;
                served.say_ready()?;
            }
            ending = endings.next() => return Ok(ending),
            failed = served.failed() => return Err(failed),
        }
    }
}

/// `muster master`: a master alone.
pub(crate) fn master(args: MasterArgs) -> Result<ExitCode> {
    raise_descriptors();
    process::block_on_with_log(async move |own_log| {
        let mut endings = process::endings()?;
        let served = Served::start(&args, own_log).await?;
        let _room = room::alone(served.kept_logs(), local_agent::keep_free(&served.config.agent));
        served.say_ready()?;
        let ending = tokio::select! {
            ending = endings.next() => ending,
            failed = served.failed() => {
                served.stop().await;
                return Err(failed);
            }
        };
        if ending == Ending::EndTasks {
            served.end_tasks().await?;
        }
        served.tell_what_stays(ending);
        served.stop().await;
        Ok(ExitCode::SUCCESS)
    })
}

/// Prints the description of the API.
pub(crate) fn openapi() -> Result<()> {
    output::json(&web::document())
}

/// `muster agent`: an agent alone.
pub(crate) fn agent(args: AgentArgs) -> Result<ExitCode> {
    raise_descriptors();
    process::block_on(async move {
        let mut endings = process::endings()?;
        let config = match &args.config {
            Some(file) => master::config::Agent::read(file)?,
            None => master::config::Agent::default(),
        };
        let data_dir = match args.data_dir {
            Some(dir) => dir,
            None => data_dir::usual_place("muster-agent")?,
        };
        let name: AgentId = match &args.name {
            Some(name) => name.parse()?,
            // A machine may get another name; its agent keeps its own.
            None => agent::enrolled_as(&data_dir).unwrap_or_else(local_agent::machine_name),
        };
        let invitation = match &args.invitation_file {
            Some(file) => {
                let text = std::fs::read_to_string(file).with_context(|| format!("{}", file.display()))?;
                Some(text.parse().with_context(|| format!("the invitation in {}", file.display()))?)
            }
            None => None,
        };
        let master = args.master.unwrap_or_else(|| "http://127.0.0.1:8080".to_owned());
        let master = if master.contains("://") { master } else { format!("http://{master}") };
        let options = agent::Options {
            slots: args.slots,
            invitation,
            name: name.clone(),
            master: master.clone(),
            guarded: args.config.into_iter().collect(),
            ..local_agent::from_config(&config, data_dir.clone())?
        };
        let dir = DataDir::at(Some(data_dir))?;
        let stop = CancellationToken::new();
        let (registered, mut ready) = watch::channel(false);
        let mut running = tokio::spawn(agent::run(options, registered, stop.clone()));
        let mut said = false;
        loop {
            tokio::select! {
                ended = &mut running => {
                    ended.context("the agent broke down")??;
                    return Ok(ExitCode::SUCCESS);
                }
                ending = endings.next() => {
                    if ending == Ending::EndTasks
                        && let Err(error) = down::end_with_agent(&dir).await
                    {
                        tracing::error!("not all tasks were ended: {error:#}");
                    }
                    stop.cancel();
                }
                changed = ready.wait_for(|ready| *ready), if !said => {
                    said = true;
                    if changed.is_ok() {
                        output::line(&format!("Agent {name} is connected to {master}"))?;
                    }
                }
            }
        }
    })
}

/// `muster down`: ends `up` and its tasks.
pub(crate) fn down(args: DownArgs) -> Result<ExitCode> {
    let dir = DataDir::at(args.data_dir)?;
    process::block_on(async move { down::run(&dir).await.map(|()| ExitCode::SUCCESS) })
}

/// `muster shim`: watches over one task, outside any runtime.
pub(crate) fn shim(task_dir: &Path) -> ExitCode {
    let status = launch::shim::main(task_dir, agent::launcher::sandbox::unpack);
    ExitCode::from(u8::try_from(status).unwrap_or(1))
}
