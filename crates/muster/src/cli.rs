//! The command line's tree: the global options, the nouns, and the arguments of the roles.
//!
//! Arguments of a noun stand beside what the noun does, in `verb`.

use std::ffi::OsString;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use api::fingerprint::Fingerprint;
use clap::{Args, Parser, Subcommand};

use crate::verb;

/// What each exit status means; scripts rest on it.
pub(crate) const EXIT_STATUS: &str = "Exit status: 0 done, 1 failed, 2 wrong usage, 4 not logged in, 5 forbidden, \
6 not found, 8 no master to reach, or none that can be trusted. `muster command run` ends with the command's own, or with 130 when Ctrl-C left \
the command behind.";

/// What of the environment counts.
pub(crate) const ENVIRONMENT: &str = "Environment: MUSTER_TOKEN is an access token (`muster token create`) to act by, in place \
of a login; MUSTER_MASTER, MUSTER_USER and MUSTER_MASTER_FINGERPRINT stand for the options; MUSTER_MASTER_CERT_FILE names \
authorities besides the system's, PEM; MUSTER_CONFIG_DIR is where logins are kept, by default ~/.config/muster.";

fn after_help() -> String {
    format!("{EXIT_STATUS}\n\n{ENVIRONMENT}")
}

/// Share machines for machine learning: who runs what, each as themselves
#[derive(Debug, Parser)]
#[command(name = "muster", version, max_term_width = 100, after_help = after_help())]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) noun: Noun,
}

/// Options that every command takes.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Global {
    /// Act as this user, this once [env: MUSTER_USER, DET_USER]
    #[arg(short, long, global = true, value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// The master [env: MUSTER_MASTER, DET_MASTER] [default: http://127.0.0.1:8080]
    #[arg(short, long, global = true, value_name = "URL")]
    pub(crate) master: Option<String>,
    /// Believe only a master that shows this certificate [env: MUSTER_MASTER_FINGERPRINT]
    #[arg(long, global = true, value_name = "SHA256:…")]
    pub(crate) master_fingerprint: Option<Fingerprint>,
}

/// What there is to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Noun {
    /// Run a master and an agent on this machine
    Up(UpArgs),
    /// End what `up` or `agent` runs here, and its tasks
    Down(DownArgs),
    /// Run a master, or ask one about itself
    #[command(args_conflicts_with_subcommands = true)]
    Master(Master),
    /// Run an agent, or manage the agents of a master
    #[command(visible_alias = "a", args_conflicts_with_subcommands = true)]
    Agent(Agent),
    /// Log in and out, manage accounts
    #[command(subcommand, visible_alias = "u")]
    User(verb::user::Verb),
    /// Let programs act as somebody
    #[command(subcommand, visible_alias = "tkn")]
    Token(verb::token::Verb),
    /// Manage groups of users
    #[command(subcommand, visible_alias = "user-group")]
    Group(verb::group::Verb),
    /// Make administrators
    #[command(subcommand)]
    Superuser(verb::superuser::Verb),
    /// See what happened and who did it
    #[command(subcommand)]
    Audit(verb::audit::Verb),
    /// Keep work apart: workspaces, and who is in them
    #[command(subcommand, visible_alias = "w")]
    Workspace(verb::workspace::Verb),
    /// Keep work in a workspace together: projects, and who is in them
    #[command(subcommand, visible_alias = "p")]
    Project(verb::project::Verb),
    /// Keep configurations that tasks are laid over
    #[command(subcommand, visible_alias = "tpl")]
    Template(verb::template::Verb),
    /// Lay down what everybody's configurations may say
    #[command(subcommand, visible_alias = "cp")]
    ConfigPolicies(verb::config_policies::Verb),
    /// Run commands and look after them
    #[command(subcommand, visible_alias = "cmd")]
    Command(verb::command::Verb),
    /// See the queue, and change what runs first
    #[command(subcommand, visible_alias = "j")]
    Job(verb::job::Verb),
    /// See all running tasks
    #[command(subcommand)]
    Task(verb::task::Verb),
    /// Look after the Python that this machine's tasks have
    #[command(subcommand, visible_alias = "env")]
    Environment(verb::environment::Verb),
    /// See the slots that tasks run on
    #[command(subcommand)]
    Slot(verb::slot::Verb),
    /// Print the versions of this program and of the master
    Version,
    /// Print a script that completes commands in a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write one per command into a directory
    Man {
        /// Where to write them
        dir: Option<PathBuf>,
    },
    /// Watch over one task; started by the agent
    #[command(hide = true)]
    Shim(ShimArgs),
    /// Print a file that is made from the code
    #[command(hide = true)]
    Generate {
        /// Which one
        what: Generated,
    },
}

/// Files that are made from the code and kept beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Generated {
    /// The reference of this command line, Markdown.
    Cli,
    /// The description of the API, OpenAPI 3.1 in JSON.
    Openapi,
}

/// `muster master …`: the role without a subcommand.
#[derive(Debug, Args)]
pub(crate) struct Master {
    #[command(subcommand)]
    pub(crate) verb: Option<verb::master::Verb>,
    #[command(flatten)]
    pub(crate) role: MasterArgs,
}

/// `muster agent …`: the role without a subcommand.
#[derive(Debug, Args)]
pub(crate) struct Agent {
    #[command(subcommand)]
    pub(crate) verb: Option<verb::agent::Verb>,
    #[command(flatten)]
    pub(crate) role: AgentArgs,
}

/// Arguments of `muster up`.
#[derive(Debug, Clone, Args)]
pub(crate) struct UpArgs {
    #[command(flatten)]
    pub(crate) master: MasterArgs,
    /// Slots of the local agent [default: its GPUs, else its processor cores]
    #[arg(long, value_name = "N", value_parser = slots)]
    pub(crate) slots: Option<u32>,
}

/// Arguments of `muster master` as a role.
#[derive(Debug, Clone, Args)]
pub(crate) struct MasterArgs {
    /// Where to listen [default: 127.0.0.1:8080]
    #[arg(long, value_name = "HOST:PORT", value_parser = listen)]
    pub(crate) listen: Option<SocketAddr>,
    /// Where everything is kept [default: /var/lib/muster as root, else in $XDG_DATA_HOME]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Configuration file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// Most slots of one agent: it tells the master of each in one message.
const MOST_SLOTS: u32 = 16_384;

fn slots(text: &str) -> Result<u32, String> {
    let number = text.parse().map_err(|error| format!("{error}"))?;
    if number > MOST_SLOTS { Err(format!("give {MOST_SLOTS} at most")) } else { Ok(number) }
}

/// An address to listen on; names such as `localhost` are looked up.
fn listen(text: &str) -> Result<SocketAddr, String> {
    let mut found =
        text.to_socket_addrs().map_err(|error| format!("{error}; write it like 127.0.0.1:8080"))?;
    found.next().ok_or_else(|| format!("{text} has no address"))
}

/// Arguments of `muster agent` as a role.
#[derive(Debug, Clone, Args)]
pub(crate) struct AgentArgs {
    /// The master, from the global option or the environment.
    #[arg(skip)]
    pub(crate) master: Option<String>,
    /// Where keys and tasks are kept [default: /var/lib/muster-agent as root, else in $XDG_DATA_HOME]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Configuration file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Name of this agent [default: the machine's name]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Slots [default: its GPUs, else its processor cores]
    #[arg(long, value_name = "N", value_parser = slots)]
    pub(crate) slots: Option<u32>,
    /// File with the invitation that `muster agent invite` printed; needed the first time
    #[arg(long, value_name = "FILE")]
    pub(crate) invitation_file: Option<PathBuf>,
}

/// Arguments of `muster down`.
#[derive(Debug, Clone, Args)]
pub(crate) struct DownArgs {
    /// The data directory that `up` or `agent` was started with
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

/// Arguments of `muster shim`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ShimArgs {
    /// The task's directory
    pub(crate) dir: PathBuf,
}

/// The task's directory, where these are the arguments of `muster shim DIR` and no others.
pub(crate) fn shim(args: impl IntoIterator<Item = OsString>) -> Option<PathBuf> {
    let mut args = args.into_iter().skip(1);
    match (args.next()?, args.next()?, args.next()) {
        (verb, dir, None) if verb == "shim" && !dir.as_bytes().starts_with(b"-") => Some(dir.into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_tree_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn roles_and_nouns_share_a_word() {
        let role = parse("muster agent --master http://m:1 --slots 2").expect("valid");
        assert_eq!(role.global.master.as_deref(), Some("http://m:1"));
        assert!(matches!(
            role.noun,
            Noun::Agent(Agent { verb: None, role: AgentArgs { slots: Some(2), .. } })
        ));
        let noun = parse("muster -m http://m:1 a list --json").expect("valid");
        assert!(matches!(noun.noun, Noun::Agent(Agent { verb: Some(verb::agent::Verb::List { .. }), .. })));
        assert!(parse("muster agent --slots 2 list").is_err());
        assert!(parse("muster up --slots 100000").is_err(), "more than one message holds");
        assert!(parse("muster master --listen 127.0.0.1:0").is_ok());
        assert!(parse("muster master info").is_ok());
        assert!(parse("muster up --slots 4 --listen 127.0.0.1:0").is_ok());
    }

    #[test]
    fn a_shim_is_known_without_the_tree() {
        let known = |line: &str| shim(line.split_whitespace().map(OsString::from));
        assert_eq!(known("muster shim /data/1.1"), Some(PathBuf::from("/data/1.1")));
        for line in ["muster", "muster shim", "muster shim --help", "muster shim /a /b", "muster up"] {
            assert_eq!(known(line), None, "{line}");
        }
        assert!(matches!(parse("muster shim /data/1.1").expect("valid").noun, Noun::Shim(_)));
    }

    #[test]
    fn an_edit_says_what_to_change() {
        assert!(parse("muster user edit a").is_err());
        assert!(parse("muster user edit a --admin true --display-name A").is_ok());
    }

    #[test]
    fn what_follows_the_command_belongs_to_it() {
        let run = parse("muster cmd run -d ls -d -u x").expect("valid");
        assert_eq!(run.global.user, None);
        assert!(parse("muster -u x cmd run -- -d").is_ok());
        assert!(parse("muster cmd run").is_err());
    }

    #[test]
    fn all_four_parts_of_a_link_are_required() {
        let all =
            "muster user link-with-agent-user a --agent-uid 1 --agent-user a --agent-gid 1 --agent-group g";
        assert!(parse(all).is_ok());
        for part in ["--agent-uid 1", "--agent-user a", "--agent-gid 1", "--agent-group g"] {
            let error = parse(&all.replace(part, "")).expect_err("must be refused");
            assert_eq!(error.exit_code(), 2, "{part}");
        }
    }
}
