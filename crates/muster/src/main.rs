//! The binary: reads the command line, does what it says, ends with the exit status that this means.

mod auth;
mod cli;
mod context;
mod failure;
mod follow;
mod interrupt;
mod launch_config;
mod output;
mod role;
mod table;
mod target;
mod terminal;
mod verb;
mod way;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use tokio::runtime::Runtime;

use crate::cli::{AgentArgs, Cli, Generated, Noun};
use crate::failure::ReaderGone;
use crate::interrupt::Interrupt;
use crate::target::Target;

fn main() -> ExitCode {
    // A shim starts with each task: it doesn't wait until the whole command line is there to be parsed.
    if let Some(task_dir) = cli::shim(std::env::args_os()) {
        return role::shim(&task_dir);
    }
    let cli = Cli::parse();
    match run(cli) {
        Ok(status) => status,
        Err(error) => failure::report(&error),
    }
}

fn run(Cli { global, noun }: Cli) -> Result<ExitCode> {
    let target = || Target::new(&global);
    match noun {
        Noun::Up(args) => return role::up(args),
        Noun::Down(args) => return role::down(args),
        Noun::Shim(args) => return Ok(role::shim(&args.dir)),
        Noun::Master(cli::Master { verb: None, role }) => return role::master(role),
        Noun::Agent(cli::Agent { verb: None, role }) => {
            let master = target::master(&global, target::process_environment);
            return role::agent(AgentArgs { master, ..role });
        }
        Noun::Generate { what: Generated::Cli } => verb::manual::reference(),
        Noun::Generate { what: Generated::Openapi } => role::openapi(),
        Noun::Completions { shell } => verb::manual::completions(shell),
        Noun::Man { dir } => verb::manual::man(dir.as_deref()),
        Noun::Master(cli::Master { verb: Some(verb), .. }) => block_on(verb::master::run(verb, &target()?)),
        Noun::Agent(cli::Agent { verb: Some(verb), .. }) => block_on(verb::agent::run(verb, &target()?)),
        Noun::User(verb) => block_on(verb::user::run(verb, &target()?)),
        Noun::Token(verb) => block_on(verb::token::run(verb, &target()?)),
        Noun::Group(verb) => block_on(verb::group::run(verb, &target()?)),
        Noun::Superuser(verb) => block_on(verb::superuser::run(verb, &target()?)),
        Noun::Audit(verb) => block_on(verb::audit::run(verb, &target()?)),
        Noun::Command(verb::command::Verb::Run(args)) => {
            let target = target()?;
            let interrupt = Interrupt::watch()?;
            let ended = runtime()?.block_on(verb::command_run::run(args, &target, &interrupt));
            if ended.as_ref().is_err_and(|error| error.is::<ReaderGone>()) {
                interrupt.reader_gone();
            }
            return ended;
        }
        Noun::Command(verb) => block_on(verb::command::run(verb, &target()?)),
        Noun::Workspace(verb) => block_on(verb::workspace::run(verb, &target()?)),
        Noun::Project(verb) => block_on(verb::project::run(verb, &target()?)),
        Noun::Template(verb) => block_on(verb::template::run(verb, &target()?)),
        Noun::Job(verb) => block_on(verb::job::run(verb, &target()?)),
        Noun::ConfigPolicies(verb) => block_on(verb::config_policies::run(verb, &target()?)),
        Noun::Task(verb) => block_on(verb::task::run(verb, &target()?)),
        Noun::Environment(verb) => block_on(verb::environment::run(verb)),
        Noun::Slot(verb) => block_on(verb::slot::run(verb, &target()?)),
        Noun::Version => block_on(verb::master::version(&target()?)),
    }?;
    Ok(ExitCode::SUCCESS)
}

fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    Interrupt::watch()?;
    runtime()?.block_on(work)
}

/// One thread is enough for a client, and starts in no time.
fn runtime() -> Result<Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}
