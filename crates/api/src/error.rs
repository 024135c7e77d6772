//! Error bodies and codes (contract "identity", section 1.4).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What went wrong, as a gRPC code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// The request can't be understood or accepted: 400.
    InvalidArgument,
    /// The thing doesn't exist, or not for this caller: 404.
    NotFound,
    /// The name is taken: 409.
    AlreadyExists,
    /// Known, but not allowed: 403.
    PermissionDenied,
    /// Too much, try later: 429.
    ResourceExhausted,
    /// Not in this state: 400.
    FailedPrecondition,
    /// What the request was sent under doesn't hold: 412.
    ConditionFailed,
    /// Not built: 501.
    Unimplemented,
    /// Our fault: 500.
    Internal,
    /// Not now: 503.
    Unavailable,
    /// Not logged in: 401.
    Unauthenticated,
}

impl Code {
    /// The gRPC number.
    #[must_use]
    pub fn grpc(self) -> u32 {
        match self {
            Self::InvalidArgument => 3,
            Self::NotFound => 5,
            Self::AlreadyExists => 6,
            Self::PermissionDenied => 7,
            Self::ResourceExhausted => 8,
            Self::FailedPrecondition | Self::ConditionFailed => 9,
            Self::Unimplemented => 12,
            Self::Internal => 13,
            Self::Unavailable => 14,
            Self::Unauthenticated => 16,
        }
    }

    /// The HTTP status.
    #[must_use]
    pub fn http(self) -> u16 {
        match self {
            Self::InvalidArgument | Self::FailedPrecondition => 400,
            Self::ConditionFailed => 412,
            Self::NotFound => 404,
            Self::AlreadyExists => 409,
            Self::PermissionDenied => 403,
            Self::ResourceExhausted => 429,
            Self::Unimplemented => 501,
            Self::Internal => 500,
            Self::Unavailable => 503,
            Self::Unauthenticated => 401,
        }
    }

    /// The name in the body.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::InvalidArgument => "InvalidArgument",
            Self::NotFound => "NotFound",
            Self::AlreadyExists => "AlreadyExists",
            Self::PermissionDenied => "PermissionDenied",
            Self::ResourceExhausted => "ResourceExhausted",
            Self::FailedPrecondition | Self::ConditionFailed => "FailedPrecondition",
            Self::Unimplemented => "Unimplemented",
            Self::Internal => "Internal",
            Self::Unavailable => "Unavailable",
            Self::Unauthenticated => "Unauthenticated",
        }
    }
}

/// The body of every error answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorBody {
    /// What went wrong.
    pub error: ErrorDetail,
}

/// The inside of [`ErrorBody`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorDetail {
    /// gRPC code.
    pub code: u32,
    /// Its name.
    pub reason: String,
    /// One sentence for people.
    pub error: String,
}

impl ErrorBody {
    /// Makes the body.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let error =
            ErrorDetail { code: code.grpc(), reason: code.reason().to_owned(), error: message.into() };
        Self { error }
    }
}
