//! Configuration policies: what administrators lay down for the configurations of everybody's work, in one workspace or
//! everywhere (contract "rest", section 3). Who may set them is said in `authz`.

use serde::Deserialize;
use serde_json::Value;

use super::secrets::Shown;
use super::{DEFAULT_PRIORITY, InvalidConfig, PRIORITIES, Resources, layer};

/// The work that a policy is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Workload {
    /// Experiments.
    Experiment,
    /// Commands, notebooks, shells and TensorBoards.
    Tasks,
}

impl Workload {
    /// The text in the database and on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Experiment => "EXPERIMENT",
            Self::Tasks => "NTSC",
        }
    }

    fn in_words(self) -> &'static str {
        match self {
            Self::Experiment => "experiment",
            Self::Tasks => "ntsc",
        }
    }

    /// Reads the text of [`Self::as_str`]; anything else is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Experiment, Self::Tasks].into_iter().find(|workload| workload.as_str() == text)
    }
}

/// Why there are no such policies.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPolicies {
    /// A wrong form.
    #[error("invalid {} config policy: {why}", workload.in_words())]
    Form {
        /// Of the policies for this work.
        workload: Workload,
        /// What is wrong with it.
        why: String,
    },
    /// What a task runs with is its owner's to say.
    #[error(
        "not supported: invariant config policies for tasks is not yet supported, please set `constraints` instead"
    )]
    InvariantForTasks,
    /// Both would say how much it is.
    #[error("invariant config & constraints are trying to set the {0}")]
    SetTwice(&'static str),
    /// No configuration could fulfil both.
    #[error("invariant config has {wanted} slots per trial. violates constraints max slots of {most}")]
    TooManySlots {
        /// Of the invariant configuration.
        wanted: u32,
        /// Of the constraints.
        most: u32,
    },
    /// What holds everywhere holds in a workspace.
    #[error("workspace invariant_config conflicts with global constraints: {0}")]
    Conflict(Exceeded),
}

/// What a configuration may have at most. Of each, what is set everywhere counts more than what a workspace sets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Constraints {
    /// Slots of one piece of work.
    pub max_slots: Option<u32>,
    /// The smallest number that a priority may have, for a smaller one runs first.
    pub priority_limit: Option<i64>,
}

/// A configuration asks for more than it may have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Exceeded {
    /// Of slots.
    #[error(
        "requested resources.{key} [{asked}] exceeds limit set by admin [{most}]: submitted workload failed a resource constraint"
    )]
    Slots {
        /// Where it says so.
        key: &'static str,
        /// What it says.
        asked: u32,
        /// What is allowed.
        most: u32,
    },
    /// It would run before what it may.
    #[error(
        "requested priority [{asked}] exceeds limit set by admin [{limit}]: submitted workload failed priority constraint"
    )]
    Priority {
        /// What it says.
        asked: i64,
        /// What is allowed.
        limit: i64,
    },
}

impl Constraints {
    /// These, where `own` are a workspace's and these hold everywhere.
    #[must_use]
    pub fn over(self, own: Self) -> Self {
        Self {
            max_slots: self.max_slots.or(own.max_slots),
            priority_limit: self.priority_limit.or(own.priority_limit),
        }
    }

    fn check_slots(self, key: &'static str, asked: Option<u32>) -> Result<(), Exceeded> {
        match (asked, self.max_slots) {
            (Some(asked), Some(most)) if asked > most => Err(Exceeded::Slots { key, asked, most }),
            _ => Ok(()),
        }
    }

    /// Whether work may have this priority.
    ///
    /// # Errors
    /// When it may not.
    pub fn check_priority(self, asked: i64) -> Result<(), Exceeded> {
        match self.priority_limit {
            Some(limit) if asked < limit => Err(Exceeded::Priority { asked, limit }),
            _ => Ok(()),
        }
    }

    /// Checks what a task asks for, and gives it its priority: one that it doesn't name is the usual one, or the limit.
    ///
    /// # Errors
    /// The first thing that is too much.
    pub fn check_task(self, resources: &Resources) -> Result<i64, Exceeded> {
        self.check_slots("max_slots", resources.max_slots)?;
        self.check_slots("slots", Some(resources.slots))?;
        if let Some(asked) = resources.priority {
            self.check_priority(asked)?;
            return Ok(asked);
        }
        Ok(self.priority_limit.map_or(DEFAULT_PRIORITY, |limit| limit.max(DEFAULT_PRIORITY)))
    }
}

/// The policies for one kind of work in one place.
#[derive(Debug, Clone, PartialEq)]
pub struct Policies {
    submitted: Value,
    /// What configurations may have.
    pub constraints: Constraints,
    /// What every configuration says, whatever was sent.
    invariant: Invariant,
}

/// What of an invariant configuration constraints are about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Invariant {
    slots_per_trial: Option<u32>,
    max_slots: Option<u32>,
    priority: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Form {
    invariant_config: Option<Value>,
    constraints: Option<ConstraintsForm>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ConstraintsForm {
    resources: Option<ResourcesForm>,
    priority_limit: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ResourcesForm {
    max_slots: Option<u32>,
}

impl Policies {
    /// Checks policies that were sent.
    ///
    /// # Errors
    /// The first thing wrong with them.
    pub fn checked(workload: Workload, submitted: Value) -> Result<Self, InvalidPolicies> {
        let bad = |e: InvalidConfig| InvalidPolicies::Form { workload, why: e.0 };
        for place in ["", "/constraints", "/constraints/resources", "/invariant_config"] {
            // Read by position, what is in a list would pass by what looks for keys.
            let there = submitted.pointer(place).is_some_and(|value| !value.is_object() && !value.is_null());
            if there {
                let name = if place.is_empty() { "it" } else { &place[1..] };
                return Err(bad(InvalidConfig(format!("{name} must be a map of settings"))));
            }
        }
        let submitted = if submitted.is_null() { serde_json::json!({}) } else { submitted };
        let form: Form = layer::read(submitted.clone()).map_err(bad)?;
        let limits = form.constraints.unwrap_or_default();
        let constraints = Constraints {
            max_slots: limits.resources.unwrap_or_default().max_slots,
            priority_limit: limits.priority_limit,
        };
        if let Some(limit) = constraints.priority_limit.filter(|limit| !PRIORITIES.contains(limit)) {
            let text = format!("constraints.priority_limit: {limit} is not between 1 and 99");
            return Err(bad(InvalidConfig(text)));
        }
        let invariant = match form.invariant_config {
            None => Invariant::default(),
            Some(_) if workload == Workload::Tasks => return Err(InvalidPolicies::InvariantForTasks),
            Some(config) => {
                layer::check_template(&config).map_err(bad)?;
                let resources = config.get("resources").filter(|inside| !inside.is_null());
                layer::read(resources.cloned().unwrap_or_else(|| serde_json::json!({}))).map_err(bad)?
            }
        };
        let policies = Self { submitted, constraints, invariant };
        policies.check_sense()?;
        Ok(policies)
    }

    /// One of both says how much it is, and what is said for all is allowed to all.
    fn check_sense(&self) -> Result<(), InvalidPolicies> {
        let Self { constraints, invariant, .. } = self;
        if invariant.priority.is_some() && constraints.priority_limit.is_some() {
            return Err(InvalidPolicies::SetTwice("priority limit"));
        }
        if invariant.max_slots.is_some() && constraints.max_slots.is_some() {
            return Err(InvalidPolicies::SetTwice("max slots"));
        }
        match (invariant.slots_per_trial, constraints.max_slots) {
            (Some(wanted), Some(most)) if wanted > most => {
                Err(InvalidPolicies::TooManySlots { wanted, most })
            }
            _ => Ok(()),
        }
    }

    /// Whether a workspace may have them, under what holds everywhere.
    ///
    /// # Errors
    /// When what they say for all is not allowed to all.
    pub fn check_under(&self, everywhere: Constraints) -> Result<(), InvalidPolicies> {
        let Invariant { slots_per_trial, max_slots, priority } = self.invariant;
        let slots = everywhere.check_slots("slots", slots_per_trial);
        let fits = slots.and_then(|()| everywhere.check_slots("max_slots", max_slots));
        let fits = fits.and_then(|()| priority.map_or(Ok(()), |asked| everywhere.check_priority(asked)));
        fits.map_err(InvalidPolicies::Conflict)
    }

    /// All of them, as they were sent: to be stored, not to be shown.
    #[must_use]
    pub fn unmasked(&self) -> &Value {
        &self.submitted
    }

    /// For everybody's eyes; whoever may set them (`exactly`) gets back what was set.
    #[must_use]
    pub fn shown(&self, exactly: bool) -> Value {
        let mut shown = self.submitted.clone();
        if let Some(config) = shown.get_mut("invariant_config").filter(|_| !exactly) {
            *config = Shown::to_everybody(config).into_value();
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn experiment(policies: Value) -> Result<Policies, String> {
        Policies::checked(Workload::Experiment, policies).map_err(|e| e.to_string())
    }

    fn tasks(policies: Value) -> Result<Policies, String> {
        Policies::checked(Workload::Tasks, policies).map_err(|e| e.to_string())
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (policies, why) in [
            (json!([]), "invalid experiment config policy: it must be a map of settings"),
            (json!({"constraint": {}}), "invalid experiment config policy: unknown field `constraint`"),
            (json!({"constraints": [4]}), "constraints must be a map of settings"),
            (
                json!({"constraints": {"resources": {"slots": 4}}}),
                "constraints.resources.slots: unknown field",
            ),
            (json!({"constraints": {"resources": {"max_slots": -1}}}), "constraints.resources.max_slots"),
            (json!({"constraints": {"priority_limit": 100}}), "100 is not between 1 and 99"),
            (json!({"invariant_config": {"serchar": {}}}), "serchar"),
            (json!({"invariant_config": {"resources": {"priority": "high"}}}), "resources.priority"),
            (
                json!({"invariant_config": {"resources": {"priority": 5}}, "constraints": {"priority_limit": 5}}),
                "invariant config & constraints are trying to set the priority limit",
            ),
            (
                json!({"invariant_config": {"resources": {"max_slots": 5}},
                       "constraints": {"resources": {"max_slots": 5}}}),
                "invariant config & constraints are trying to set the max slots",
            ),
            (
                json!({"invariant_config": {"resources": {"slots_per_trial": 5}},
                       "constraints": {"resources": {"max_slots": 4}}}),
                "invariant config has 5 slots per trial. violates constraints max slots of 4",
            ),
        ] {
            let said = experiment(policies.clone()).expect_err("must be refused");
            assert!(said.contains(why), "{policies}: {said}");
        }
        let said = tasks(json!({"invariant_config": {}})).expect_err("must be refused");
        assert!(said.starts_with("not supported: invariant config policies for tasks"), "{said}");
        assert!(
            tasks(json!({"x": 1})).expect_err("must be refused").starts_with("invalid ntsc config policy")
        );
        for fine in [
            json!({}),
            json!(null),
            json!({"constraints": null}),
            json!({"constraints": {"resources": null}}),
        ] {
            assert!(tasks(fine.clone()).is_ok(), "{fine}");
        }
    }

    #[test]
    fn what_holds_everywhere_counts_more() {
        let everywhere = Constraints { max_slots: Some(4), priority_limit: None };
        let own = Constraints { max_slots: Some(8), priority_limit: Some(50) };
        let both = everywhere.over(own);
        assert_eq!(both, Constraints { max_slots: Some(4), priority_limit: Some(50) });
        for (config, fits) in [
            (json!({"slots_per_trial": 4, "priority": 1}), true),
            (json!({"slots_per_trial": 5}), false),
            (json!({"max_slots": 5}), false),
        ] {
            let policies = experiment(json!({"invariant_config": {"resources": config}})).expect("valid");
            assert_eq!(policies.check_under(everywhere).is_ok(), fits, "{policies:?}");
        }
        let urgent = experiment(json!({"invariant_config": {"resources": {"priority": 49}}})).expect("valid");
        let said = urgent.check_under(both).expect_err("must be refused").to_string();
        assert!(said.starts_with("workspace invariant_config conflicts with global constraints: "), "{said}");
    }

    #[test]
    fn a_task_gets_what_it_may_have() {
        let limits = Constraints { max_slots: Some(2), priority_limit: Some(50) };
        let asks = |slots, priority| Resources { slots, priority, ..Resources::default() };
        assert_eq!(limits.check_task(&asks(2, Some(50))), Ok(50));
        assert_eq!(limits.check_task(&asks(0, None)), Ok(50), "the usual one would be too urgent");
        let lax = Constraints { priority_limit: Some(10), ..Constraints::default() };
        assert_eq!(lax.check_task(&asks(100, None)), Ok(DEFAULT_PRIORITY));
        let said = |resources: &Resources| limits.check_task(resources).expect_err("too much").to_string();
        assert_eq!(
            said(&asks(3, None)),
            "requested resources.slots [3] exceeds limit set by admin [2]: submitted workload failed a resource constraint"
        );
        assert_eq!(
            said(&Resources { max_slots: Some(3), ..asks(1, None) }),
            "requested resources.max_slots [3] exceeds limit set by admin [2]: submitted workload failed a resource constraint"
        );
        assert_eq!(
            said(&asks(1, Some(49))),
            "requested priority [49] exceeds limit set by admin [50]: submitted workload failed priority constraint"
        );
    }

    #[test]
    fn a10_secrets_are_shown_to_those_who_set_them() {
        let sent = json!({
            "invariant_config": {"environment": {"environment_variables": ["KEY=hunter2"]}},
            "constraints": {"resources": {"max_slots": 4}},
        });
        let policies = experiment(sent.clone()).expect("valid");
        assert_eq!(policies.shown(true), sent);
        let shown = policies.shown(false);
        assert!(!shown.to_string().contains("hunter2"), "{shown}");
        assert_eq!(shown["constraints"], sent["constraints"]);
    }
}
