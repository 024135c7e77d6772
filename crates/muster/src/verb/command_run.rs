//! `muster command run`: send a command with its files, show its output, end with its exit status.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use api::command::{Command, LaunchCommand};
use clap::Args;
use rustix::fs::FileType;
use serde_json::value::to_raw_value;

use super::{cluster_message, workspace};
use crate::auth::session::Session;
use crate::context;
use crate::follow::{self, Sink};
use crate::interrupt::Interrupt;
use crate::launch_config::{Options, Setting, Volume};
use crate::output;
use crate::target::Target;

/// Uploads from this size on show how far they are, in bytes.
const SLOW_UPLOAD: usize = 4 << 20;

/// Arguments of `command run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Print the command's id and don't wait for it
    #[arg(short, long)]
    detach: bool,
    /// Configuration file, YAML
    #[arg(long, value_name = "FILE")]
    config_file: Option<PathBuf>,
    /// One setting, such as resources.slots=2, over the file's
    #[arg(long, value_name = "KEY=VALUE")]
    config: Vec<Setting>,
    /// A directory of the agent's machine in the task
    #[arg(long, value_name = "SRC:DST[:ro]")]
    volume: Vec<Volume>,
    /// Send what this directory holds, as the task's working directory
    #[arg(short, long, value_name = "DIR")]
    context: Option<PathBuf>,
    /// Send this file or directory along
    #[arg(short, long, value_name = "PATH")]
    include: Vec<PathBuf>,
    /// Slots to run on; 0 runs beside them
    #[arg(long, value_name = "N")]
    slots: Option<u32>,
    /// Where it belongs [default: the workspace that everybody shares]
    #[arg(short, long, visible_alias = "workspace-name", value_name = "NAME")]
    workspace: Option<String>,
    /// Lay the configuration over this template's
    #[arg(long, value_name = "NAME")]
    template: Option<String>,
    /// The command and its arguments
    #[arg(
        value_name = "CMD",
        trailing_var_arg = true,
        allow_hyphen_values = true,
        required_unless_present = "config_file"
    )]
    command: Vec<String>,
}

/// Runs a command.
pub(crate) async fn run(args: RunArgs, target: &Target, interrupt: &Interrupt) -> Result<ExitCode> {
    let options = Options {
        file: args.config_file,
        settings: args.config,
        volumes: args.volume,
        slots: args.slots,
        entrypoint: args.command,
    };
    // All that can be wrong on this side is found before anybody is asked for a password.
    let config = options.resolve()?;
    let sent_along = context::find(args.context.as_deref(), &args.include)?;
    let session = &mut Session::open(target).await?;
    let info = session.call(async |client| client.info().await).await?;
    cluster_message::tell(info.cluster_message.as_deref());
    let files = if sent_along.is_empty() {
        None
    } else {
        sent_along.check_size(info.max_context_bytes)?;
        Some(sent_along.read()?)
    };
    let workspace_id = match args.workspace {
        Some(name) => {
            let found = workspace::find(session, &name).await;
            Some(found.context("can't run the command")?.id)
        }
        None => None,
    };
    let launch = LaunchCommand {
        config: Some(to_raw_value(&config)?),
        files,
        template_name: args.template,
        workspace_id,
    };
    let launched = session.call(async |client| client.launch_command(&launch, show_progress).await).await;
    let launched = launched.context("can't run the command")?;
    for warning in &launched.warnings {
        output::note(&format!("muster: {warning}"));
    }
    // Who follows the log reads them there.
    for warning in launched.config_warnings.iter().filter(|_| args.detach) {
        output::note(&format!("muster: warning: {}", warning.message));
    }
    if input_is_left_unread() {
        output::note(
            "muster: Standard input isn't sent to the command: send files with --context or --include.",
        );
    }
    let Command { id, description, .. } = launched.command;
    if args.detach {
        output::line(&id)?;
        return Ok(ExitCode::SUCCESS);
    }
    interrupt.leaves_behind(&id);
    output::note(&format!("muster: Launched command (id: {id}, name: {description})."));
    let ended = follow::follow(session, &id, &mut Sink::default()).await?;
    Ok(status(&ended))
}

/// Whether somebody has put something into our standard input, which the command won't get (B20).
fn input_is_left_unread() -> bool {
    let input = std::io::stdin();
    let kind = rustix::fs::fstat(&input).map(|stat| (FileType::from_raw_mode(stat.st_mode), stat.st_size));
    match kind {
        Ok((FileType::RegularFile, size)) => size > 0,
        Ok((FileType::Fifo | FileType::Socket, _)) => rustix::io::ioctl_fionread(&input).is_ok_and(|n| n > 0),
        _ => false,
    }
}

/// Of a command that ended well although it was killed: what the next command of a script waits for wasn't done.
const KILLED: u8 = 143;

/// The command's own exit status. Why one has none, the master has said at the end of its output.
fn status(command: &Command) -> ExitCode {
    let code = command.exit_code.and_then(|code| u8::try_from(code & 0xff).ok());
    if code == Some(0) && command.exit_status.starts_with("allocation was killed") {
        return ExitCode::from(KILLED);
    }
    ExitCode::from(code.unwrap_or(1))
}

fn show_progress(sent: usize, total: usize) {
    if total < SLOW_UPLOAD {
        return;
    }
    if sent < total {
        output::progress(&format!("sending files: {} of {}", context::size(sent), context::size(total)));
    } else {
        output::progress("");
    }
}
