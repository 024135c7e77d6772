//! Configurations that others are laid over: the master's `task_container_defaults` and templates.
//!
//! A template serves every kind of task, so it may hold what only some kinds have (B21): that is kept for them, and
//! left out where a task of another kind is laid over it.

use serde_json::{Map, Value};

use super::{InvalidConfig, PerDevice, TaskConfig};

/// What an experiment's configuration has at its top beside what a command's has (contract "runtime", section 2.3).
const OF_EXPERIMENTS: [&str; 26] = [
    "name",
    "searcher",
    "hyperparameters",
    "checkpoint_storage",
    "reproducibility",
    "labels",
    "workspace",
    "project",
    "data",
    "max_restarts",
    "min_validation_period",
    "min_checkpoint_period",
    "perform_initial_validation",
    "checkpoint_policy",
    "scheduling_unit",
    "records_per_epoch",
    "optimizations",
    "profiling",
    "retention_policy",
    "log_policies",
    "preemption_timeout",
    "integrations",
    "security",
    "tensorboard_storage",
    "data_layer",
    "version",
];

/// What an experiment's `resources` have, and a command's haven't.
const RESOURCES_OF_EXPERIMENTS: [&str; 3] = ["slots_per_trial", "native_parallel", "agent_label"];

/// Checks what the master's defaults may say: any part of a command's configuration, but no unknown one.
///
/// # Errors
/// The first thing wrong, by its place in the configuration.
pub fn check_defaults(layer: &Value) -> Result<(), InvalidConfig> {
    if !layer.is_object() && !layer.is_null() {
        return Err(InvalidConfig("it must be a map of settings".to_owned()));
    }
    // What a layer needn't have, a task's own configuration brings.
    TaskConfig::resolve(&serde_json::json!({"entrypoint": ["true"]}), layer.clone()).map(drop)
}

/// Checks what a template may say: any part of any kind's configuration, but nothing that no kind knows.
///
/// # Errors
/// The first thing wrong, by its place in the configuration.
pub fn check_template(template: &Value) -> Result<(), InvalidConfig> {
    check_defaults(&for_command(template.clone()))
}

/// Refuses lists in place of maps, wherever a configuration has a map of known keys: read by position, what is in them
/// would pass by everything that looks for keys, the masks of secrets too (A10).
///
/// # Errors
/// The first such place.
pub fn refuse_lists(config: &Value) -> Result<(), InvalidConfig> {
    let is_list = |path: &str| config.pointer(path).is_some_and(Value::is_array);
    if let Some(path) = ["", "/environment", "/resources"].into_iter().find(|path| is_list(path)) {
        let place = if path.is_empty() { "it" } else { &path[1..] };
        return Err(InvalidConfig(format!("{place} must be a map of settings")));
    }
    let mounts = config.get("bind_mounts").and_then(Value::as_array);
    if mounts.is_some_and(|mounts| mounts.iter().any(Value::is_array)) {
        return Err(InvalidConfig("bind_mounts must be a list of maps".to_owned()));
    }
    Ok(())
}

/// What of a template a command, notebook, TensorBoard or shell takes: all but what experiments alone have.
#[must_use]
pub fn for_command(mut template: Value) -> Value {
    let Some(map) = template.as_object_mut() else { return template };
    map.retain(|key, _| !OF_EXPERIMENTS.contains(&key.as_str()));
    if let Some(resources) = map.get_mut("resources").and_then(Value::as_object_mut) {
        resources.retain(|key, _| !RESOURCES_OF_EXPERIMENTS.contains(&key.as_str()));
    }
    // An experiment's may be one line for the shell, which is a list of one for a command.
    if let Some(line @ Value::String(_)) = map.get_mut("entrypoint") {
        *line = Value::Array(vec![line.take()]);
    }
    template
}

/// Lays `over` on `under`; what comes out can be laid under another one.
#[must_use]
pub fn layered(under: &Value, over: Value) -> Value {
    let mut merged = normalised(under.clone());
    merge(&mut merged, normalised(over), "");
    merged
}

/// Null means unset, at every level; variables get their per-device shape so that layers can be appended.
fn normalised(value: Value) -> Value {
    let mut value = without_nulls(value);
    if let Some(variables) = value.pointer_mut("/environment/environment_variables")
        && let Ok(parsed) = serde_json::from_value::<PerDevice>(variables.clone())
    {
        *variables = serde_json::json!(parsed);
    }
    value
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k, without_nulls(v))).collect(),
        ),
        Value::Null => Value::Object(Map::new()),
        other => other,
    }
}

/// Lays `over` on `under`: objects key by key, variables appended, bind mounts by container path, the rest replaced.
fn merge(under: &mut Value, over: Value, path: &str) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                let place = format!("{path}/{key}");
                match under.get_mut(&key) {
                    Some(slot) => merge(slot, value, &place),
                    None => {
                        under.insert(key, value);
                    }
                }
            }
        }
        (Value::Array(under), Value::Array(over)) if path == "/bind_mounts" => {
            let target = |m: &Value| m.get("container_path").cloned();
            under.retain(|old| !over.iter().any(|new| target(new) == target(old)));
            under.extend(over);
        }
        (Value::Array(under), Value::Array(over))
            if path.starts_with("/environment/environment_variables") =>
        {
            under.extend(over);
        }
        (under, over) => *under = over,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn request_over_defaults() {
        let defaults = json!({
            "environment": {"environment_variables": ["A=1"]},
            "bind_mounts": [{"host_path": "/a", "container_path": "/x"}, {"host_path": "/b", "container_path": "/y"}],
            "work_dir": "/srv"
        });
        let request = json!({
            "entrypoint": ["id"],
            "work_dir": null,
            "environment": {"environment_variables": {"cpu": ["B=2"]}},
            "bind_mounts": [{"host_path": "/c", "container_path": "/x", "read_only": true}]
        });
        let config = TaskConfig::resolve(&defaults, request).expect("valid");
        assert_eq!(config.environment.environment_variables.cpu, ["A=1", "B=2"]);
        assert_eq!(config.environment.environment_variables.cuda, ["A=1"]);
        let mounts: Vec<_> = config.bind_mounts.iter().map(|m| m.host_path.as_str()).collect();
        assert_eq!(mounts, ["/b", "/c"]);
        assert_eq!(config.work_dir.as_deref(), Some("/srv"));
        assert_eq!(config.resources.slots, 1);
    }

    #[test]
    fn a10_a_list_is_no_map() {
        let all = [
            json!([]),
            json!({"environment": [null, ["PASSWORD=hunter2"]]}),
            json!({"resources": [0]}),
            json!({"bind_mounts": [["/a", "/b"]]}),
        ];
        for list in all {
            let said = refuse_lists(&list).expect_err("refused").to_string();
            assert!(said.contains("map"), "{said}");
            check_template(&list).expect_err("refused");
        }
        let maps = json!({"environment": {"environment_variables": ["A=1"]}, "bind_mounts": [{}], "resources": null});
        refuse_lists(&maps).expect("maps");
    }

    #[test]
    fn b21_a_template_holds_any_part_of_any_kind() {
        let experiment = json!({
            "name": "mnist",
            "entrypoint": "python3 train.py",
            "hyperparameters": {"lr": 0.1},
            "searcher": {"name": "single", "metric": "loss"},
            "resources": {"slots_per_trial": 2, "shm_size": "1.5g"},
        });
        check_template(&experiment).expect("an experiment's");
        for piece in
            [json!({"description": "x"}), json!({"environment": {"image": "a"}}), json!({}), json!(null)]
        {
            check_template(&piece).expect("a piece");
        }
        let wrong = |template: Value| check_template(&template).expect_err("refused").to_string();
        assert!(wrong(json!({"hyperparametres": {}})).contains("hyperparametres"));
        assert!(wrong(json!({"name": "x", "resources": {"slot": 1}})).contains("slot"));
        assert!(wrong(json!(["x"])).contains("map of settings"));

        let command = for_command(experiment);
        let kept = json!({"entrypoint": ["python3 train.py"], "resources": {"shm_size": "1.5g"}});
        assert_eq!(command, kept);
    }
}
