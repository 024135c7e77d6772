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
    #[error("the master refused the invitation: {0}")]
    InvitationRefused(String),
    /// The master doesn't take the agent.
    #[error("the master refused this agent: {0}")]
    Refused(String),
    /// An invitation is followed to the wrong place, or somebody stands in the way (A2).
    #[error("{address}: {why}; correct the address, or make the invitation at this master")]
    ForeignMaster {
        /// The address.
        address: String,
        /// What happened there.
        why: String,
    },
    /// The version before knew its master by name only.
    #[error(
        "this agent was enrolled by an older version of Muster and doesn't know its master's key: make an invitation with `muster agent invite --name {0} --replace` and pass it with --invitation-file"
    )]
    OldEnrolment(AgentId),
    /// The master doesn't know the key, or doesn't want it any more.
    #[error(
        "the master refused this agent: {reason}; to enrol it again make an invitation with `muster agent invite --name {agent}` and pass it with --invitation-file"
    )]
    Stranger {
        /// The agent.
        agent: AgentId,
        /// What the master said.
        reason: String,
    },
    /// Another process has the same data, or a copy of it (B5).
    #[error("the master refused this agent: {0}")]
    Taken(String),
    /// The data directory is another agent's.
    #[error(
        "{data_dir} belongs to agent {enrolled}, not {asked}: leave --name out, or use another data directory"
    )]
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
    #[error("'{0}' is not a master's address: give it as http://host:port or https://host")]
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
