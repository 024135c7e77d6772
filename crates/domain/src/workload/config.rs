//! The configuration of a command, notebook, TensorBoard or shell (contract "runtime", section 2.2):
//! parsing and defaults. Free-form JSON comes in, a checked [`TaskConfig`] goes out. How templates and defaults are laid
//! under it is in [`layer`], what of an experiment's configuration a template may have in [`experiment`], and which
//! settings have no effect yet in [`unhonoured`].

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::task::DESCRIPTION;
use crate::text::steers;

pub mod experiment;
pub mod layer;
pub mod policy;
pub mod secrets;
mod size;
pub mod storage;
mod submitted;
mod unhonoured;

pub use layer::layered;
pub use size::parse_size;
pub use submitted::Limits;
pub use unhonoured::{Unhonoured, WEIGHT, unhonoured};

/// Lowest and highest priority; lower runs first.
pub const PRIORITIES: std::ops::RangeInclusive<i64> = 1..=99;

/// The priority of a task that doesn't name one.
pub const DEFAULT_PRIORITY: i64 = 42;

/// Longest startup hook in bytes: it is handed to the task as one variable, which the kernel takes 128 KiB of.
pub const MAX_STARTUP_HOOK: usize = 64 << 10;

/// Why a configuration was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid command configuration: {0}")]
pub struct InvalidConfig(pub String);

/// A command's configuration, complete.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TaskConfig {
    /// Name for people; made up when empty.
    pub description: String,
    /// Directories of the machine in the task (D6).
    pub bind_mounts: Vec<BindMount>,
    /// Variables, image.
    pub environment: Environment,
    /// Slots, pool, priority.
    pub resources: Resources,
    /// The command line; one element is run by `/bin/sh -c`.
    pub entrypoint: Vec<String>,
    /// Extra arguments of TensorBoard.
    pub tensorboard_args: Vec<String>,
    /// Ends an idle service; Go duration text.
    pub idle_timeout: Option<String>,
    /// What counts as idle.
    pub notebook_idle_type: String,
    /// Working directory; `None` is the task's private one.
    pub work_dir: Option<String>,
    /// What the task can reach; `None` is what its agent gives. More than that is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// A shell script that is sourced before the command, in the same shell. Determined knows it in
    /// `task_container_defaults` alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub startup_hook: Option<String>,
    /// More detailed logs.
    pub debug: bool,
    /// Options for PBS.
    pub pbs: Map<String, Value>,
    /// Options for Slurm.
    pub slurm: Map<String, Value>,
}

impl Default for TaskConfig {
    fn default() -> Self {
        Self {
            description: String::new(),
            bind_mounts: Vec::new(),
            environment: Environment::default(),
            resources: Resources::default(),
            entrypoint: Vec::new(),
            tensorboard_args: Vec::new(),
            idle_timeout: None,
            notebook_idle_type: "kernels_or_terminals".to_owned(),
            work_dir: None,
            network: None,
            startup_hook: None,
            debug: false,
            pbs: Map::new(),
            slurm: Map::new(),
        }
    }
}

/// What a task can reach (A2, A3), from least to most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// The master.
    None,
    /// The master, and the world outside as the machine reaches it; nothing of the machine itself.
    #[default]
    Private,
    /// What the machine can: its ports and loopback addresses are the task's.
    Host,
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Private => "private",
            Self::Host => "host",
        })
    }
}

/// One directory or file of the agent's machine in the task (R38).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BindMount {
    /// Absolute path on the agent.
    pub host_path: String,
    /// Path in the task; relative ones begin at the working directory.
    pub container_path: String,
    /// No writing through it.
    #[serde(default)]
    pub read_only: bool,
    /// Mount propagation; `rprivate` unless asked.
    #[serde(default = "rprivate")]
    pub propagation: String,
}

fn rprivate() -> String {
    "rprivate".to_owned()
}

/// Accepted values of [`BindMount::propagation`].
pub const PROPAGATIONS: [&str; 6] = ["rprivate", "private", "rslave", "slave", "rshared", "shared"];

/// The task's environment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Environment {
    /// Container image; without a container engine it is not used.
    pub image: Option<Value>,
    /// `NAME=value` lines, or a bare `NAME` for an empty value.
    pub environment_variables: PerDevice,
    /// Further ports to be reached through the master.
    pub proxy_ports: Vec<Value>,
    /// Named ports.
    pub ports: Map<String, Value>,
    /// Pull even when the image is there.
    pub force_pull_image: bool,
    /// Credentials of an image registry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registry_auth: Option<Value>,
    /// Linux capabilities to add; the sandbox grants none.
    pub add_capabilities: Vec<String>,
    /// Linux capabilities to drop.
    pub drop_capabilities: Vec<String>,
    /// Kubernetes only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_spec: Option<Value>,
}

/// A list for each kind of device; a plain list stands for all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PerDevice {
    /// On CPU slots.
    pub cpu: Vec<String>,
    /// On NVIDIA GPUs.
    pub cuda: Vec<String>,
    /// On AMD GPUs.
    pub rocm: Vec<String>,
}

impl<'de> Deserialize<'de> for PerDevice {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct ByDevice {
            #[serde(default)]
            cpu: Vec<String>,
            #[serde(default, alias = "gpu")]
            cuda: Vec<String>,
            #[serde(default)]
            rocm: Vec<String>,
        }
        match Value::deserialize(deserializer)? {
            Value::Null => Ok(Self::default()),
            Value::Array(list) => {
                let list: Vec<String> =
                    serde_json::from_value(Value::Array(list)).map_err(serde::de::Error::custom)?;
                Ok(Self { cpu: list.clone(), cuda: list.clone(), rocm: list })
            }
            by_device => {
                let by: ByDevice = serde_json::from_value(by_device).map_err(serde::de::Error::custom)?;
                Ok(Self { cpu: by.cpu, cuda: by.cuda, rocm: by.rocm })
            }
        }
    }
}

/// What a task takes of a machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Resources {
    /// Slots, all on one agent; 0 runs beside them.
    pub slots: u32,
    /// Resource pool; empty is the default one.
    pub resource_pool: String,
    /// 1 to 99, lower first.
    pub priority: Option<i64>,
    /// Share under fair-share scheduling.
    pub weight: f64,
    /// Upper bound on slots.
    pub max_slots: Option<u32>,
    /// Size of `/dev/shm`: bytes, or text such as `1.5g`.
    pub shm_size: Option<Value>,
    /// Devices of the machine.
    pub devices: Vec<Value>,
    /// All slots on one machine.
    pub is_single_node: Option<bool>,
}

impl Default for Resources {
    fn default() -> Self {
        Self {
            slots: 1,
            resource_pool: String::new(),
            priority: None,
            weight: 1.0,
            max_slots: None,
            shm_size: None,
            devices: Vec::new(),
            is_single_node: None,
        }
    }
}

impl TaskConfig {
    /// Lays `request` over `defaults` (the master's `task_container_defaults`) and checks the result.
    ///
    /// # Errors
    /// The first thing wrong, by its place in the configuration.
    pub fn resolve(defaults: &Value, request: Value) -> Result<Self, InvalidConfig> {
        layer::refuse_lists(&request)?;
        layer::refuse_lists(defaults)?;
        let merged = layered(defaults, request);
        let config: Self = layer::read(merged)?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), InvalidConfig> {
        let refuse = |text: String| Err(InvalidConfig(text));
        if self.entrypoint.is_empty() || self.entrypoint.iter().all(String::is_empty) {
            return refuse("entrypoint: give the command to run".to_owned());
        }
        if self.description.len() > DESCRIPTION {
            return refuse(format!("description: use at most {DESCRIPTION} bytes of text"));
        }
        // It stands in everybody's lists, on terminals too (A14).
        if self.description.contains(steers) {
            return refuse(
                "description: use one line, without control characters and others that can't be seen"
                    .to_owned(),
            );
        }
        if let Some(nul) = self.entrypoint.iter().find(|arg| arg.contains('\0')) {
            return refuse(format!("entrypoint: {nul:?} contains a NUL character"));
        }
        for mount in &self.bind_mounts {
            if !mount.host_path.starts_with('/') || mount.host_path.contains('\0') {
                return refuse(format!("bind_mounts: host_path '{}' must be absolute", mount.host_path));
            }
            if mount.container_path.is_empty() || mount.container_path.contains('\0') {
                return refuse(format!("bind_mounts: container_path of '{}' is empty", mount.host_path));
            }
            if !PROPAGATIONS.contains(&mount.propagation.as_str()) {
                let all = PROPAGATIONS.join(", ");
                return refuse(format!("bind_mounts: propagation '{}' is none of {all}", mount.propagation));
            }
        }
        let weight = self.resources.weight;
        if !(weight > 0.0 && weight.is_finite()) {
            return refuse(format!("resources.weight: {weight} is no number above 0"));
        }
        for line in &self.environment.environment_variables.cpu {
            let name = line.split_once('=').map_or(line.as_str(), |(name, _)| name);
            if name.is_empty() || line.contains('\0') {
                return refuse(format!("environment.environment_variables: '{line}' is not NAME=value"));
            }
        }
        if let Some(priority) = self.resources.priority.filter(|p| !PRIORITIES.contains(p)) {
            return refuse(format!("resources.priority: {priority} is not between 1 and 99"));
        }
        if let Some(dir) = self.work_dir.as_ref().filter(|dir| !dir.starts_with(['/', '$'])) {
            return refuse(format!("work_dir: '{dir}' must be absolute"));
        }
        if let Some(hook) = &self.startup_hook {
            if hook.contains('\0') {
                return refuse("startup_hook: it contains a NUL character".to_owned());
            }
            if hook.len() > MAX_STARTUP_HOOK {
                let size = hook.len();
                return refuse(format!(
                    "startup_hook: it has {size} bytes, and {MAX_STARTUP_HOOK} is the limit; put a long script into a \
                     file and source that"
                ));
            }
        }
        self.shm_bytes().map(drop)
    }

    /// Size of `/dev/shm` in bytes; `None` is what its agent gives.
    ///
    /// # Errors
    /// When `resources.shm_size` is no size.
    pub fn shm_bytes(&self) -> Result<Option<u64>, InvalidConfig> {
        let Some(size) = &self.resources.shm_size else { return Ok(None) };
        let bytes = size::of_value(size);
        let bad = || {
            InvalidConfig(format!("resources.shm_size: {size} is not a size such as 1.5g, 64m or 1073741824"))
        };
        // 0 is the usual size, as for Docker; to tmpfs it would be no limit.
        bytes.map(|bytes| (bytes != 0).then_some(bytes)).ok_or_else(bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_wrong_is_named() {
        let wrong = |request: Value| {
            TaskConfig::resolve(&json!({}), request).expect_err("must be refused").to_string()
        };
        assert!(wrong(json!({})).contains("entrypoint"));
        // A14, KB8: it stands in everybody's lists.
        for description in ["a\u{1b}[2Jb", "a\nb", "a\u{7}", "a\u{202e}b", "\0"] {
            let text = wrong(json!({"entrypoint": ["x"], "description": description}));
            assert!(text.contains("description: use one line"), "{text}");
        }
        let good = json!({"entrypoint": ["x"], "description": "Zoë's 視 \u{1f600}"});
        assert!(TaskConfig::resolve(&json!({}), good).is_ok());
        assert!(wrong(json!({"entrypoint": ["x"], "enviroment": {}})).contains("enviroment"));
        assert!(wrong(json!({"entrypoint": ["x"], "resources": {"slots": -1}})).contains("-1"));
        for (request, key) in [
            (json!({"resources": {"slots": "1"}}), "resources.slots: "),
            (json!({"environment": {"add_capabilities": [5]}}), "environment.add_capabilities[0]: "),
            (
                json!({"bind_mounts": [{"host_path": "/a", "container_path": 5}]}),
                "bind_mounts[0].container_path: ",
            ),
        ] {
            let text = wrong(request);
            assert!(text.contains(key), "KF12: {text}");
        }
        assert!(wrong(json!({"entrypoint": ["x"], "resources": {"shm_size": "much"}})).contains("shm_size"));
        let relative =
            json!({"entrypoint": ["x"], "bind_mounts": [{"host_path": "a", "container_path": "/b"}]});
        assert!(wrong(relative).contains("must be absolute"));
    }
}
