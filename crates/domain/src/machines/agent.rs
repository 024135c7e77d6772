//! Agents: the machines that tasks run on, as the master sees them.

use serde::{Deserialize, Serialize};

use crate::id::{AgentId, UserId};
use crate::identity::UnixIdentity;
use crate::text::Plain;

/// What a slot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceKind {
    /// A processor core.
    Cpu,
    /// An NVIDIA GPU.
    Cuda,
}

/// A slot's device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its number on the agent, from 0.
    pub id: u32,
    /// What it is.
    pub kind: DeviceKind,
    /// Its model.
    pub brand: Plain<256>,
    /// Its serial number, empty for processors.
    pub uuid: Plain<256>,
}

/// Which identities an agent can give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", try_from = "PowerFields")]
pub enum Power {
    /// It runs as root and can become anybody.
    Root,
    /// It runs as a normal user and everything runs under that user's ids.
    Unprivileged {
        /// Its own uid.
        uid: u32,
        /// Its own gid.
        gid: u32,
        /// `agent.shared: true`: takes root-identity tasks of every account.
        shared: bool,
    },
}

/// What is read of one: an enum with a tag would first keep all that it is given as values (MC6).
#[derive(Deserialize)]
struct PowerFields {
    kind: PowerKind,
    uid: Option<u32>,
    gid: Option<u32>,
    shared: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum PowerKind {
    Root,
    Unprivileged,
}

impl TryFrom<PowerFields> for Power {
    type Error = &'static str;

    fn try_from(fields: PowerFields) -> Result<Self, Self::Error> {
        let PowerFields { kind, uid, gid, shared } = fields;
        match (kind, uid, gid, shared) {
            (PowerKind::Root, ..) => Ok(Self::Root),
            (PowerKind::Unprivileged, Some(uid), Some(gid), Some(shared)) => {
                Ok(Self::Unprivileged { uid, gid, shared })
            }
            (PowerKind::Unprivileged, ..) => Err("an unprivileged agent says its uid, its gid and `shared`"),
        }
    }
}

/// Why an agent can't run a task.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CannotGive {
    /// The identity is another uid than the agent's own.
    #[error(
        "agent {agent} runs as uid {own} and can't start a task as {identity}: start the agent as root, or link the account to uid {own}"
    )]
    Identity {
        /// The agent.
        agent: AgentId,
        /// Its uid.
        own: u32,
        /// What was asked.
        identity: UnixIdentity,
    },
    /// It would run somebody else's work under its own user's rights.
    #[error(
        "agent {agent} runs as uid {own} without root and takes tasks only of the default user and of accounts linked to that uid: start the agent as root, or set agent.shared: true"
    )]
    NotShared {
        /// The agent.
        agent: AgentId,
        /// Its uid.
        own: u32,
    },
}

impl Power {
    /// Whether a task of `owner` can run as `identity` here. `default_user` is the account of P1.
    ///
    /// # Errors
    /// Why not, with the remedy. No task ever runs as somebody else.
    pub fn can_give(
        self,
        agent: &AgentId,
        identity: &UnixIdentity,
        owner: UserId,
        default_user: Option<UserId>,
    ) -> Result<(), CannotGive> {
        let Self::Unprivileged { uid: own, shared, .. } = self else {
            return Ok(());
        };
        if identity.uid == own {
            return Ok(());
        }
        if identity.uid != 0 {
            return Err(CannotGive::Identity { agent: agent.clone(), own, identity: identity.clone() });
        }
        if shared || default_user == Some(owner) {
            return Ok(());
        }
        Err(CannotGive::NotShared { agent: agent.clone(), own })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mf06_a_power_is_read_as_what_it_is() {
        let unprivileged = Power::Unprivileged { uid: 1000, gid: 1001, shared: false };
        for power in [Power::Root, unprivileged] {
            let text = serde_json::to_string(&power).expect("JSON");
            assert_eq!(serde_json::from_str::<Power>(&text).expect("read"), power, "{text}");
        }
        let newer = r#"{"kind": "root", "x": [[0], [0]]}"#;
        assert_eq!(
            serde_json::from_str::<Power>(newer).expect("what is unknown is passed over"),
            Power::Root
        );
        for bad in [r#"{"kind": "unprivileged", "uid": 1}"#, r#"{"kind": "god"}"#, "{}"] {
            assert!(serde_json::from_str::<Power>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_agent_without_root_takes_only_its_own_work() {
        let agent: AgentId = "laptop".parse().expect("valid");
        let power = Power::Unprivileged { uid: 1000, gid: 1000, shared: false };
        let shared = Power::Unprivileged { uid: 1000, gid: 1000, shared: true };
        let as_uid = |uid| UnixIdentity { user: "u".into(), uid, group: "g".into(), gid: uid };
        let default = Some(UserId(2));
        let root = UnixIdentity::root();
        assert!(power.can_give(&agent, &root, UserId(2), default).is_ok());
        assert!(power.can_give(&agent, &root, UserId(3), default).is_err());
        assert!(power.can_give(&agent, &as_uid(1000), UserId(3), default).is_ok());
        assert!(power.can_give(&agent, &as_uid(5001), UserId(2), default).is_err());
        assert!(shared.can_give(&agent, &root, UserId(3), default).is_ok());
        assert!(shared.can_give(&agent, &as_uid(5001), UserId(3), default).is_err());
        assert!(Power::Root.can_give(&agent, &as_uid(5001), UserId(3), default).is_ok());
    }
}
