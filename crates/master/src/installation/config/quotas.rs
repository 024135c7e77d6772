//! `quotas`: how many slots users and workspaces may have at a time, and users' shares.

use std::collections::BTreeMap;

use domain::scheduler::Weight;
use serde::{Deserialize, Serialize};

/// Most slots in use at a time, of all pools together. Tasks without slots have none to count.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Quotas {
    /// Of each user of whom nothing else is said.
    pub slots_per_user: Option<u32>,
    /// Of each workspace of which nothing else is said.
    pub slots_per_workspace: Option<u32>,
    /// By their names.
    pub users: BTreeMap<String, UserQuota>,
    /// By their names: slots.
    pub workspaces: BTreeMap<String, u32>,
}

/// What one user may have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UserQuota {
    /// Most slots.
    pub slots: Option<u32>,
    /// His share in pools that are shared so; 1 is the usual one.
    pub weight: Option<f64>,
}

impl UserQuota {
    /// His share, if it isn't the usual one.
    #[must_use]
    pub fn share(&self) -> Option<Weight> {
        self.weight.map(Weight::new)
    }
}

impl Quotas {
    /// Whether nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether an account of this name has something of its own here, or would with its personal workspace, which is called
    /// as it: then the name is an administrator's to give and to take (MC4).
    #[must_use]
    pub fn names_account(&self, name: &str) -> bool {
        is_among(self.users.keys(), name) || self.names_workspace(name)
    }

    /// Whether a workspace of this name has something of its own here.
    #[must_use]
    pub fn names_workspace(&self, name: &str) -> bool {
        is_among(self.workspaces.keys(), name)
    }

    pub(super) fn check(&self) -> Result<(), String> {
        let is_good = |weight: f64| weight.is_finite() && weight > 0.0;
        match self.users.iter().find(|(_, quota)| !quota.weight.is_none_or(is_good)) {
            Some((name, _)) => Err(format!("users.{name}.weight: give a number above 0, such as 2 or 0.5")),
            None => Ok(()),
        }
    }
}

fn is_among<'a>(mut names: impl Iterator<Item = &'a String>, name: &str) -> bool {
    let name = name.to_lowercase();
    names.any(|one| one.to_lowercase() == name)
}
