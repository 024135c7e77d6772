//! Everything a service can answer with in place of a result: one closed list. `web` renders it, in one place.

use api::error::Code;
use domain::audit::By;
use domain::authz::{Refusal, may_last};
use store::StoreError;

/// Why a service did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request can't be accepted as it is.
    #[error("{0}")]
    Invalid(String),
    /// No credentials, or ones that aren't good.
    #[error("{0}")]
    Unauthenticated(&'static str),
    /// Known, but not allowed.
    #[error("{0}")]
    Forbidden(String),
    /// It doesn't exist, or not for this caller; the answer is the same.
    #[error("{0}")]
    NotFound(String),
    /// It is there, but not for this caller; answered like [`Error::NotFound`], and noted in the audit log.
    #[error("{0}")]
    Hidden(String),
    /// The name is taken.
    #[error("{0}")]
    Conflict(String),
    /// Not in the state that it is in.
    #[error("{0}")]
    Precondition(String),
    /// The credentials are another account's than the request says.
    #[error("these credentials are of the account '{0}'")]
    OtherAccount(String),
    /// Too much at once; later it may work.
    #[error("{0}")]
    Busy(String),
    /// Too many failed logins in a row; the right password is refused as well (R18).
    #[error("too many failed logins: try again in {seconds} s")]
    Throttled {
        /// How long to wait, in seconds.
        seconds: u64,
    },
    /// More than is allowed in a time.
    #[error("{what}: try again in {seconds} s")]
    TooMany {
        /// What there were too many of, as a sentence.
        what: &'static str,
        /// How long to wait, in seconds.
        seconds: u64,
    },
    /// Larger than what is taken.
    #[error("{0}")]
    TooLarge(String),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Files of ours.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
}

impl Error {
    /// Something to be wrapped around an I/O error.
    pub fn io(what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { what, source }
    }

    /// A refusal of the policy; `hidden` is what is said of things that aren't there.
    #[must_use]
    pub fn refused(refusal: Refusal, hidden: String) -> Self {
        match refusal {
            Refusal::Forbidden(text) => Self::Forbidden(text.to_owned()),
            Refusal::Hidden => Self::Hidden(hidden),
        }
    }

    /// Refuses an access token what would outlive it.
    pub(crate) fn unless_it_may_last(by: &By) -> Result<(), Self> {
        may_last(by).map_err(|refusal| Self::refused(refusal, String::new()))
    }

    /// Seconds after which it may work, when that is known.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Throttled { seconds }
            | Self::TooMany { seconds, .. }
            | Self::Store(StoreError::TooFast { seconds }) => Some(*seconds),
            _ => None,
        }
    }

    /// Its code on the wire.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Invalid(_) | Self::TooLarge(_) => Code::InvalidArgument,
            Self::Unauthenticated(_) => Code::Unauthenticated,
            Self::Forbidden(_) => Code::PermissionDenied,
            Self::NotFound(_) | Self::Hidden(_) => Code::NotFound,
            Self::Conflict(_) | Self::Store(StoreError::Duplicate | StoreError::Outdated) => {
                Code::AlreadyExists
            }
            Self::Precondition(_) => Code::FailedPrecondition,
            Self::OtherAccount(_) => Code::ConditionFailed,
            Self::Busy(_)
            | Self::Throttled { .. }
            | Self::TooMany { .. }
            | Self::Store(StoreError::TooFast { .. }) => Code::ResourceExhausted,
            Self::Store(StoreError::Unavailable(_) | StoreError::DiskFull | StoreError::Overtaken) => {
                Code::Unavailable
            }
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => Code::Unavailable,
            Self::Store(_) | Self::Io { .. } => Code::Internal,
        }
    }
}
