//! What an agent can carry out: by these names agents and masters of different versions agree, and not by one number that has
//! to be the same on both. Whoever doesn't know a name passes it over; what isn't named can't be asked for.

use std::borrow::Cow;
use std::fmt;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::config::TaskConfig;

/// Something that a task may ask for and that not every agent can give it: its version doesn't know it yet, or what it starts
/// tasks by can't do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Capability {
    /// Directories of the machine's in the task.
    BindMounts,
    /// A run may be one of several on several agents.
    Gang,
    /// The Python that Muster makes for tasks.
    ManagedEnvironment,
    /// A task's network may be less than what the agent gives.
    Network,
    /// `resources.shm_size`.
    ShmSize,
    /// A script that is sourced before the command.
    StartupHook,
}

impl Capability {
    /// All that this version knows.
    pub const ALL: [Self; 6] = [
        Self::BindMounts,
        Self::Gang,
        Self::ManagedEnvironment,
        Self::Network,
        Self::ShmSize,
        Self::StartupHook,
    ];

    /// Its name on the wire, for good.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BindMounts => "bind_mounts",
            Self::Gang => "gang",
            Self::ManagedEnvironment => "managed_environment",
            Self::Network => "network",
            Self::ShmSize => "shm_size",
            Self::StartupHook => "startup_hook",
        }
    }

    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Some of them. On the wire a list of names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Capabilities(u32);

impl Capabilities {
    /// None.
    pub const NONE: Self = Self(0);

    /// All that this version knows.
    pub const ALL: Self = Self::of(&Capability::ALL);

    /// Those of an agent that names none: agents did so before there were names, and knew these.
    pub const UNNAMED: Self = Self::of(&[Capability::BindMounts, Capability::Network, Capability::ShmSize]);

    /// These.
    #[must_use]
    pub const fn of(these: &[Capability]) -> Self {
        let mut all = Self::NONE;
        let mut rest = these;
        while let [first, others @ ..] = rest {
            all = all.with(*first);
            rest = others;
        }
        all
    }

    /// These and one more.
    #[must_use]
    pub const fn with(self, one: Capability) -> Self {
        Self(self.0 | one.bit())
    }

    /// Both.
    #[must_use]
    pub const fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// These without one.
    #[must_use]
    pub const fn without(self, one: Capability) -> Self {
        Self(self.0 & !one.bit())
    }

    /// Those of these that aren't among the others.
    #[must_use]
    pub const fn beyond(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// Whether it is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// What a task of this configuration asks of its agent.
    #[must_use]
    pub fn needed_by(config: &TaskConfig) -> Self {
        let asked = [
            (!config.bind_mounts.is_empty(), Capability::BindMounts),
            (config.network.is_some(), Capability::Network),
            (matches!(config.shm_bytes(), Ok(Some(_))), Capability::ShmSize),
            (config.startup_hook.is_some(), Capability::StartupHook),
        ];
        asked.into_iter().filter(|(asked, _)| *asked).fold(Self::NONE, |all, (_, one)| all.with(one))
    }

    /// One after the other, by name.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        Capability::ALL.into_iter().filter(move |one| self.0 & one.bit() != 0)
    }

    /// Their names.
    #[must_use]
    pub fn names(self) -> Vec<String> {
        self.iter().map(|one| one.name().to_owned()).collect()
    }
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().join(", "))
    }
}

impl Serialize for Capabilities {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.iter().map(Capability::name))
    }
}

impl<'de> Deserialize<'de> for Capabilities {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_seq(Names)
    }
}

/// Reads names one by one, so that many cost no more than a few (MC6).
struct Names;

impl<'de> Visitor<'de> for Names {
    type Value = Capabilities;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of names")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<Capabilities, A::Error> {
        let mut all = Capabilities::NONE;
        while let Some(name) = names.next_element::<Cow<'_, str>>()? {
            let known = Capability::ALL.into_iter().find(|one| one.name() == name);
            all = known.map_or(all, |one| all.with(one));
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_for_good_and_unknown_ones_are_passed_over() {
        let names = r#"["bind_mounts","gang","managed_environment","network","shm_size","startup_hook"]"#;
        assert_eq!(serde_json::to_string(&Capabilities::ALL).expect("JSON"), names);
        let some: Capabilities =
            serde_json::from_str(r#"["startup_hook","teleport","shm_size",""]"#).expect("names");
        assert_eq!(some, Capabilities::of(&[Capability::ShmSize, Capability::StartupHook]));
        assert_eq!(some.to_string(), "shm_size, startup_hook");
        assert_eq!(
            Capabilities::ALL.beyond(some).names(),
            ["bind_mounts", "gang", "managed_environment", "network"]
        );
        assert!(serde_json::from_str::<Capabilities>("7").is_err());
    }

    #[test]
    fn a_task_needs_what_its_configuration_asks_for() {
        let needed = |config: serde_json::Value| {
            Capabilities::needed_by(&serde_json::from_value(config).expect("a configuration")).to_string()
        };
        assert_eq!(needed(serde_json::json!({})), "");
        assert_eq!(needed(serde_json::json!({"resources": {"shm_size": "0"}})), "", "what the agent gives");
        let all = serde_json::json!({
            "bind_mounts": [{"host_path": "/a", "container_path": "/a"}], "network": "none",
            "resources": {"shm_size": "1.5g"}, "startup_hook": "true"
        });
        assert_eq!(needed(all), "bind_mounts, network, shm_size, startup_hook");
    }
}
