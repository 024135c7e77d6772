//! Why an agent stops for good. What it gets over by itself (a master that is away) is no error but a log line.

use std::io;
use std::path::PathBuf;

use domain::id::AgentId;

/// Why an agent can't go on.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The first start has nothing to enrol with.
    #[error(
        "this agent isn't enrolled: make an invitation with `muster agent invite` and pass it with --invitation-file"
    )]
    NotEnrolled,
    /// The master doesn't take the invitation.
    #[error("the master refused the invitation: {0}; make a new one with `muster agent invite`")]
    InvitationRefused(String),
    /// The master doesn't take the agent.
    #[error("the master refused this agent: {0}")]
    Refused(String),
    /// Somebody else answers at the master's address (R28).
    #[error(
        "{address} is master {found}, but this agent belongs to master {enrolled}: correct the address, or move {file} away and enrol the agent again"
    )]
    ForeignMaster {
        /// The address.
        address: String,
        /// Who answered.
        found: String,
        /// Who should have.
        enrolled: String,
        /// Where that is written.
        file: PathBuf,
    },
    /// The data directory is another agent's.
    #[error("{data_dir} belongs to agent {enrolled}, not {asked}: use that name, or another data directory")]
    OtherName {
        /// The directory.
        data_dir: PathBuf,
        /// Whose it is.
        enrolled: AgentId,
        /// Who wanted it.
        asked: AgentId,
    },
    /// Two agents can't share a data directory.
    #[error("another agent is running with {0}: stop it, or use another data directory")]
    InUse(PathBuf),
    /// The key could have been copied.
    #[error("{0} can be read by others: run `chmod 600 {0}`, or remove it and enrol the agent again")]
    KeyExposed(PathBuf),
    /// A file of the agent's own is damaged.
    #[error("{file} is damaged: {why}; restore it, or move it away and enrol the agent again")]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The address can't be used.
    #[error("'{0}' is not a master's address: give it as http://host:port")]
    BadAddress(String),
    /// The machine refuses something without which there is no agent.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// What the machine says.
        source: io::Error,
    },
}

impl AgentError {
    /// For `map_err`: says what was being done.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
