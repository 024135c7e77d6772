//! Why a task couldn't be run, in one sentence for its owner. Whose business that is is told by the type.

use std::io;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::spec::InvalidSpec;

/// Whose business it is that something failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The task asks for what it can't have here: it would fail again.
    Task,
    /// The machine or its set-up: an administrator's.
    Machine,
    /// Nobody's: it passes, and can be tried again.
    Passing,
    /// The machine's, too: who saw the task through is gone without a word.
    Lost,
}

/// Why a task couldn't be run.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Its description makes no sense.
    #[error(transparent)]
    Senseless(#[from] InvalidSpec),
    /// It asks for what it can't have here.
    #[error("{0}")]
    Refused(String),
    /// This machine, as it is or as it was set up, can't run it.
    #[error("{0}")]
    Machine(String),
    /// The kernel or a file system says no.
    #[error("{what}: {source}")]
    System {
        /// What was being done.
        what: String,
        /// What it says.
        source: io::Error,
    },
    /// Another one, which happened to this of the task's.
    #[error("{at}: {why}")]
    At {
        /// What it is.
        at: String,
        /// What happened to it.
        why: Box<Failure>,
    },
}

impl Failure {
    pub(crate) fn refused(why: impl Into<String>) -> Self {
        Self::Refused(why.into())
    }

    pub(crate) fn machine(why: impl Into<String>) -> Self {
        Self::Machine(why.into())
    }

    pub(crate) fn at(self, at: String) -> Self {
        Self::At { at, why: Box::new(self) }
    }

    /// Whose business it is.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Senseless(_) | Self::Refused(_) => Fault::Task,
            Self::Machine(_) => Fault::Machine,
            Self::System { source, .. } if passes(source) => Fault::Passing,
            Self::System { .. } => Fault::Machine,
            Self::At { why, .. } => why.fault(),
        }
    }
}

/// Whether something failed for want of what others may have now and not in a moment: space, open files, processes, memory.
#[must_use]
pub fn passes(error: &io::Error) -> bool {
    const SCARCE: [Errno; 6] =
        [Errno::NOSPC, Errno::DQUOT, Errno::NFILE, Errno::MFILE, Errno::AGAIN, Errno::NOMEM];
    error.kind() == io::ErrorKind::StorageFull
        || Errno::from_io_error(error).is_some_and(|errno| SCARCE.contains(&errno))
}

/// Adds what was being done to an error, making the one sentence that an owner of a task reads.
pub(crate) trait Explain<T> {
    /// Turns an error into `what: error`.
    fn explain(self, what: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> Explain<T> for Result<T, E> {
    fn explain(self, what: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|e| Failure::System { what: what(), source: e.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_business_it_is_is_in_the_type_and_the_words_are_for_people() {
        let of = |errno: Errno| Err::<(), _>(errno).explain(|| "can't make /x".into()).unwrap_err();
        let full = of(Errno::NOSPC);
        assert_eq!(full.to_string(), format!("can't make /x: {}", io::Error::from(Errno::NOSPC)));
        assert_eq!(full.at("bind mount /y".into()).fault(), Fault::Passing);
        assert_eq!(of(Errno::PERM).fault(), Fault::Machine);
        assert_eq!(Failure::machine("no").fault(), Fault::Machine);
        let refused = Failure::refused("no such file").at("bind mount /y".into());
        assert_eq!(
            (refused.to_string(), refused.fault()),
            ("bind mount /y: no such file".into(), Fault::Task)
        );
        assert_eq!(Failure::from(InvalidSpec::NoCommand).fault(), Fault::Task);
    }
}
