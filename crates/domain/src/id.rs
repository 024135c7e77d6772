//! Typed identifiers. Text from outside becomes one of these before any look-up (R34).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The text is not an identifier of this kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a valid {kind} id")]
pub struct InvalidId {
    kind: &'static str,
    text: String,
}

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                match text.parse::<i64>() {
                    Ok(number) if number > 0 => Ok(Self(number)),
                    _ => Err(InvalidId { kind: $kind, text: text.to_owned() }),
                }
            }
        }
    };
}

number_id!(
    /// An account. Never used again after the account is deleted.
    UserId, "user"
);
number_id!(
    /// A login session.
    SessionId, "session"
);
number_id!(
    /// An access token.
    TokenId, "token"
);
number_id!(
    /// A group of accounts.
    GroupId, "group"
);
number_id!(
    /// A project.
    ProjectId, "project"
);
number_id!(
    /// A request to be let in.
    RegistrationId, "registration"
);
number_id!(
    /// An invitation of a person.
    UserInvitationId, "invitation"
);
number_id!(
    /// A workspace.
    WorkspaceId, "workspace"
);

/// The workspace that is always there; commands land in it unless they name another.
pub const UNCATEGORIZED: WorkspaceId = WorkspaceId(1);

/// A task: command, notebook, TensorBoard or shell. A random UUID on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskId(pub Uuid);

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl FromStr for TaskId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        // Only the hyphenated form: what the clients print, and one text per id.
        if text.len() == 36
            && let Ok(id) = Uuid::try_parse(text)
        {
            return Ok(Self(id));
        }
        Err(InvalidId { kind: "task", text: text.to_owned() })
    }
}

/// The beginning of a task's id, as people type it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TaskIdPrefix(String);

impl TaskIdPrefix {
    /// Hexadecimal digits and hyphens, nothing else.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TaskIdPrefix {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let allowed = |c: char| matches!(c, '0'..='9' | 'a'..='f' | '-');
        if !text.is_empty() && text.len() <= 36 && text.chars().all(allowed) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidId { kind: "task", text: text.to_owned() })
        }
    }
}

/// One run of a task on an agent, written `<task>.<run>`; runs count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AllocationId {
    /// The task that runs.
    pub task: TaskId,
    /// Which run of it, from 1.
    pub run: u32,
}

impl AllocationId {
    /// The first run of a task.
    #[must_use]
    pub fn first(task: TaskId) -> Self {
        Self { task, run: 1 }
    }
}

impl fmt::Display for AllocationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.task, self.run)
    }
}

impl FromStr for AllocationId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = || InvalidId { kind: "allocation", text: text.to_owned() };
        let (task, run) = text.rsplit_once('.').ok_or_else(invalid)?;
        match (task.parse(), run.parse::<u32>()) {
            (Ok(task), Ok(run)) if run > 0 => Ok(Self { task, run }),
            _ => Err(invalid()),
        }
    }
}

impl Serialize for AllocationId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AllocationId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

macro_rules! name_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
                let first = text.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
                if first && text.len() <= 64 && text.chars().all(allowed) {
                    Ok(Self(text.into()))
                } else {
                    Err(InvalidId { kind: $kind, text: text.to_owned() })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.as_ref().to_owned()
            }
        }
    };
}

name_id!(
    /// An agent's name, unique in the installation: 1 to 64 of `[A-Za-z0-9._-]`, beginning with a letter or digit.
    AgentId, "agent"
);
name_id!(
    /// A resource pool's name; written as [`AgentId`].
    ResourcePool, "resource pool"
);

impl Default for ResourcePool {
    /// The pool that is always there.
    fn default() -> Self {
        Self("default".into())
    }
}

/// What runs belong to in the queue: a command or the like is one by itself, an experiment is one with all its trials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(pub Uuid);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r34_only_exact_ids_are_accepted() {
        for bad in ["", "0", "-1", "1 ", "1;", "0x1", "9223372036854775808", "١"] {
            assert!(bad.parse::<UserId>().is_err(), "{bad:?}");
        }
        for bad in
            ["", "a", "../x", "6f1c7f3e5b0f4a4c9d8e2b1a00000000", "6f1c7f3e-5b0f-4a4c-9d8e-2b1a0000000g"]
        {
            assert!(bad.parse::<TaskId>().is_err(), "{bad:?}");
        }
        for bad in ["", "%", "a_", "A", "a'", &"a".repeat(37)] {
            assert!(bad.parse::<TaskIdPrefix>().is_err(), "{bad:?}");
        }
        for bad in ["", ".a", "a/b", "a b", &"x".repeat(65)] {
            assert!(bad.parse::<AgentId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn allocation_id_round_trips() {
        let text = "6f1c7f3e-5b0f-4a4c-9d8e-2b1a00000000.3";
        assert_eq!(text.parse::<AllocationId>().expect("valid").to_string(), text);
        assert!("6f1c7f3e-5b0f-4a4c-9d8e-2b1a00000000.0".parse::<AllocationId>().is_err());
    }
}
