//! `cargo xtask bench`: the figures that this project promises, measured on a release build in one run and printed
//! as one table at the end.
//!
//! Each module below measures one group of figures and stops what it started. A figure that isn't reached is a
//! finding and no failure: the exit code says only whether all could be measured. All loads are bounded, and
//! everything talks over the loopback.

mod accounts;
mod client;
mod commands;
mod crowd;
mod greed;
mod lists;
mod logins;
mod logs;
mod network;
mod queue;
mod requests;
mod start;
mod stats;
mod table;
mod tail;

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::postgres::Cluster;
use crate::server::Server;
use crate::setup;
use crate::shell::{self, Checkout};
use crate::tools::Tools;

use table::Table;

/// What no test needs.
const SYSTEM_PACKAGES: &[&str] = &["wrk"];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Measure this group alone; may be given several times
    #[arg(long, value_enum, value_name = "NAME")]
    only: Vec<Group>,
    /// Measure this program instead of building one, to compare two states of the code
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Trust that what the measurements need is installed
    #[arg(long)]
    no_setup: bool,
}

/// The figures that are measured together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Group {
    /// `muster up`: time until it is ready, memory at rest
    Start,
    /// What authentication costs a request, on either database
    Requests,
    /// `muster` and `det` side by side
    Client,
    /// A short command's way through, alone and by thousands
    Commands,
    /// A long queue before many agents
    Queue,
    /// A task's network beside the machine's own
    Network,
    /// A task that prints much, and one that is followed
    Logs,
    /// The end of a log of 10 GiB
    Tail,
    /// One's own page among few and many commands, on either database
    Lists,
    /// Many accounts and many sessions, on either database
    Accounts,
    /// A flood of logins, and who reads meanwhile
    Logins,
    /// Requests that want more than they should get
    Greed,
}

impl Group {
    const ALL: &[Self] = &[
        Self::Start,
        Self::Requests,
        Self::Client,
        Self::Commands,
        Self::Queue,
        Self::Network,
        Self::Logs,
        Self::Tail,
        Self::Lists,
        Self::Accounts,
        Self::Logins,
        Self::Greed,
    ];

    fn measure(self, bench: &Bench, table: &mut Table) -> Result<()> {
        match self {
            Self::Start => start::measure(bench, table),
            Self::Requests => requests::measure(bench, table),
            Self::Client => client::measure(bench, table),
            Self::Commands => commands::measure(bench, table),
            Self::Queue => queue::measure(bench, table),
            Self::Network => network::measure(bench, table),
            Self::Logs => logs::measure(bench, table),
            Self::Tail => tail::measure(bench, table),
            Self::Lists => lists::measure(bench, table),
            Self::Accounts => accounts::measure(bench, table),
            Self::Logins => logins::measure(bench, table),
            Self::Greed => {
                greed::measure(bench, table)?;
                crowd::measure(bench, table)
            }
        }
    }
}

impl Args {
    fn asks_for(&self, group: Group) -> bool {
        self.only.is_empty() || self.only.contains(&group)
    }
}

/// What all measurements share.
struct Bench {
    muster: PathBuf,
    tools: Tools,
    /// Agents without processes.
    fleet: PathBuf,
    /// Started when it is first asked for.
    cluster: OnceCell<Cluster>,
    folder: TempDir,
}

pub(crate) fn run(checkout: &Checkout, args: &Args) -> Result<()> {
    if !args.no_setup {
        setup::run(checkout)?;
        setup::system_packages(SYSTEM_PACKAGES)?;
    }
    let muster = match &args.binary {
        Some(binary) => binary.clone(),
        None => {
            shell::run(&mut checkout.cargo(["build", "--release", "--package", "muster"]))?;
            checkout.target.join("release/muster")
        }
    };
    // It does next to nothing, and what of that costs anything is optimised in tests, too.
    let fleet = checkout.target.join("debug/examples/fleet");
    if args.asks_for(Group::Queue) {
        let build = ["build", "--package", "testkit", "--example", "fleet"];
        shell::run(&mut checkout.cargo(build))?;
    }
    let bench = Bench {
        muster,
        fleet,
        tools: Tools::locate(checkout)?,
        cluster: OnceCell::new(),
        folder: tempfile::Builder::new().prefix("muster-bench-").tempdir()?,
    };
    let mut table = Table::default();
    for group in Group::ALL.iter().filter(|group| args.asks_for(**group)) {
        eprintln!("measuring: {group:?}");
        group.measure(&bench, &mut table).with_context(|| format!("measuring {group:?}"))?;
    }
    if let Some(cluster) = bench.cluster.into_inner() {
        cluster.stop()?;
    }
    eprint!("\n{table}");
    Ok(())
}

impl Bench {
    /// The program, which finds nothing of the user's own settings.
    fn muster(&self) -> Command {
        self.client(&self.muster)
    }

    /// A server on the data in a directory of the bench's.
    fn up(&self, name: &str, options: &[&str]) -> Result<Server> {
        self.up_saying(name, options, "info")
    }

    /// The same, and its log (`NAME.log` in the bench's directory) says so much.
    fn up_saying(&self, name: &str, options: &[&str], says: &str) -> Result<Server> {
        Server::start(&self.muster, &self.folder.path().join(name), options, says)
    }

    /// Determined's client, likewise.
    fn det(&self) -> Command {
        self.client(&self.tools.venv.join("bin/det"))
    }

    fn client(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("HOME", self.folder.path()).env("PATH", "/usr/bin:/bin");
        command
    }

    fn cluster(&self) -> Result<&Cluster> {
        if let Some(cluster) = self.cluster.get() {
            return Ok(cluster);
        }
        let cluster = Cluster::start(&self.tools.folder.join("postgres.log"))?;
        Ok(self.cluster.get_or_init(|| cluster))
    }
}
