//! Settings that are taken for Determined's sake and that nothing carries out yet. Whoever sets one is told, in the answer
//! and in the task's log; nothing is refused for it.
//!
//! Who makes Muster honour a setting removes its line from [`NOT_YET`], and adds it to what is honoured in the test below,
//! which knows every setting that there is.

use serde_json::Value;

use super::TaskConfig;

/// A setting that has no effect, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unhonoured {
    /// Where it stands, as in `environment.image`.
    pub key: &'static str,
    /// What is so instead.
    pub why: &'static str,
}

impl std::fmt::Display for Unhonoured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} has no effect: {}", self.key, self.why)
    }
}

/// A job's share among its owner's; it counts in pools that are shared so.
pub const WEIGHT: &str = "resources.weight";

/// What no task gets, whatever it says.
const NOT_YET: [Unhonoured; 17] = [
    not("environment.image", "tasks run with the programs of their agent's machine, not in a container"),
    not("environment.environment_variables.rocm", "no agent has slots on AMD GPUs"),
    not("environment.force_pull_image", "there are no containers, so that no image is pulled"),
    not("environment.registry_auth", "there are no containers, so that no image is pulled"),
    not("environment.add_capabilities", "a task has no capabilities on its machine"),
    not(
        "environment.drop_capabilities",
        "a task has none on its machine, and keeps those of its own sandbox",
    ),
    not("environment.ports", "nothing outside of a task reaches its ports"),
    not("environment.proxy_ports", "nothing outside of a task reaches its ports"),
    not("environment.pod_spec", "tasks don't run on Kubernetes"),
    not(WEIGHT, "its resource pool isn't shared out by weight"),
    not("resources.devices", "a task has the devices of its slots and no others"),
    not("tensorboard_args", "it is for TensorBoards"),
    not("idle_timeout", "a task goes on until it ends or is killed"),
    not("notebook_idle_type", "it is for notebooks"),
    not("debug", "there are no more detailed logs"),
    not("pbs", "tasks don't run on PBS"),
    not("slurm", "tasks don't run on Slurm"),
];

const fn not(key: &'static str, why: &'static str) -> Unhonoured {
    Unhonoured { key, why }
}

/// The settings in `set` that have no effect: those that say something other than what is so without them. `set` is a
/// checked configuration or a piece of one, as a person gave it, not what the installation's defaults add.
#[must_use]
pub fn unhonoured(set: &Value) -> Vec<Unhonoured> {
    let usual = serde_json::to_value(TaskConfig::default()).unwrap_or_default();
    let differs = |setting: &&Unhonoured| {
        let value = at(set, setting.key);
        // A plain list of variables is for all kinds of devices, and so stands with each of them.
        let of_all =
            setting.key.ends_with(".rocm") && value == at(set, "environment.environment_variables.cpu");
        !says_nothing(value) && !same(value, at(&usual, setting.key)) && !of_all
    };
    NOT_YET.iter().filter(differs).copied().collect()
}

fn at<'a>(config: &'a Value, key: &str) -> &'a Value {
    key.split('.').try_fold(config, |place, part| place.get(part)).unwrap_or(&Value::Null)
}

fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.values().all(says_nothing),
        _ => false,
    }
}

/// 1 and 1.0 are one weight.
fn same(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => one.to_bits() == other.to_bits(),
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::super::layered;
    use super::*;

    /// What is carried out.
    const HONOURED: [&str; 15] = [
        "description",
        "bind_mounts",
        "environment.environment_variables.cpu",
        "environment.environment_variables.cuda",
        "resources.slots",
        "resources.resource_pool",
        "resources.priority",
        "resources.max_slots",
        "resources.shm_size",
        // All slots of a task are on one machine.
        "resources.is_single_node",
        "entrypoint",
        "work_dir",
        "network",
        "startup_hook",
        "environment.environment_variables",
    ];

    /// A configuration that sets everything.
    fn everything() -> Value {
        json!({
            "description": "x",
            "bind_mounts": [{"host_path": "/a", "container_path": "/b"}],
            "environment": {
                "image": {"cpu": "a", "cuda": "b"},
                "environment_variables": {"cpu": ["A=1"], "cuda": ["A=2"], "rocm": ["A=3"]},
                "proxy_ports": [{"proxy_port": 8000}],
                "ports": {"http": 80},
                "force_pull_image": true,
                "registry_auth": {"username": "u"},
                "add_capabilities": ["NET_ADMIN"],
                "drop_capabilities": ["MKNOD"],
                "pod_spec": {"spec": {"x": 1}},
            },
            "resources": {
                "slots": 2,
                "resource_pool": "default",
                "priority": 3,
                "weight": 2,
                "max_slots": 4,
                "shm_size": "1.5g",
                "devices": [{"host_path": "/dev/x"}],
                "is_single_node": true,
            },
            "entrypoint": ["true"],
            "tensorboard_args": ["--x"],
            "idle_timeout": "30m",
            "notebook_idle_type": "activity",
            "work_dir": "/srv",
            "network": "none",
            "startup_hook": "true",
            "debug": true,
            "pbs": {"pbsbatch_args": ["-l x"]},
            "slurm": {"gpu_type": "x"},
        })
    }

    #[test]
    fn every_setting_is_honoured_or_said_to_be_not() {
        let config = TaskConfig::resolve(&json!({}), everything()).expect("valid");
        let config = serde_json::to_value(config).expect("JSON");
        let mut keys = BTreeSet::new();
        for (key, value) in config.as_object().expect("a map") {
            match value.as_object().filter(|_| matches!(key.as_str(), "environment" | "resources")) {
                Some(inside) => keys.extend(inside.keys().map(|inner| format!("{key}.{inner}"))),
                None => drop(keys.insert(key.clone())),
            }
        }
        let kinds = config["environment"]["environment_variables"].as_object().expect("a map").keys();
        keys.extend(kinds.map(|kind| format!("environment.environment_variables.{kind}")));
        let known: BTreeSet<String> =
            HONOURED.into_iter().chain(NOT_YET.map(|setting| setting.key)).map(str::to_owned).collect();
        assert_eq!(keys, known, "a new setting is honoured, or has a line in NOT_YET");
        assert_eq!(unhonoured(&everything()), NOT_YET, "each one is seen");
    }

    #[test]
    fn what_is_as_usual_is_not_worth_a_word() {
        for set in [
            json!({}),
            json!(null),
            json!({"resources": {"weight": 1, "devices": [], "max_slots": null}, "debug": false}),
            json!({"environment": {"image": null, "force_pull_image": false, "ports": {}, "add_capabilities": []}}),
            json!({"idle_timeout": "", "notebook_idle_type": "kernels_or_terminals", "slurm": {"sbatch_args": []}}),
            layered(&json!({}), json!({"environment": {"environment_variables": ["A=1"]}})),
            // What only experiments have is for them.
            json!({"searcher": {"name": "single"}, "resources": {"slots_per_trial": 2}}),
        ] {
            assert_eq!(unhonoured(&set), [], "{set}");
        }
    }

    #[test]
    fn what_is_said_names_the_key_and_what_is_so() {
        let over = layered(&json!({"debug": true, "resources": {"weight": 2}}), json!({"debug": false}));
        let said: Vec<String> = unhonoured(&over).iter().map(ToString::to_string).collect();
        assert_eq!(said, ["resources.weight has no effect: its resource pool isn't shared out by weight"]);
        let rocm = json!({"environment": {"environment_variables": {"rocm": ["A=1"]}}});
        assert_eq!(unhonoured(&layered(&json!({}), rocm))[0].key, "environment.environment_variables.rocm");
    }
}
