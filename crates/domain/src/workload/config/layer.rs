//! Configurations that others are laid over: the master's `task_container_defaults` and templates.
//!
//! A template serves every kind of task, so it may hold what only some kinds have (B21): that is kept for them, and
//! left out where a task of another kind is laid over it.

use std::collections::HashSet;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::refusal::in_words;

use super::{InvalidConfig, PerDevice, TaskConfig, experiment};

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

/// Defaults in our own form, which is that of the configurations that they lie under. Determined's `task_container_defaults`
/// have some settings at the top that configurations have further down; what stands in both places stays, to be refused.
#[must_use]
pub fn with_places(mut defaults: Value) -> Value {
    const PLACES: [(&str, &str, &str); 8] = [
        ("image", "environment", "image"),
        ("environment_variables", "environment", "environment_variables"),
        ("force_pull_image", "environment", "force_pull_image"),
        ("registry_auth", "environment", "registry_auth"),
        ("add_capabilities", "environment", "add_capabilities"),
        ("drop_capabilities", "environment", "drop_capabilities"),
        ("shm_size_bytes", "resources", "shm_size"),
        ("devices", "resources", "devices"),
    ];
    let Some(map) = defaults.as_object_mut() else { return defaults };
    for (key, parent, name) in PLACES {
        let Some(value) = map.remove(key) else { continue };
        let parent = map.entry(parent).or_insert(Value::Null);
        if parent.is_null() {
            *parent = Value::Object(Map::new());
        }
        match parent.as_object_mut().filter(|inside| !inside.contains_key(name)) {
            Some(inside) => drop(inside.insert(name.to_owned(), value)),
            None => drop(map.insert(key.to_owned(), value)),
        }
    }
    defaults
}

/// Checks what a template may say: any part of any kind's configuration, each of the right form, but nothing that no kind
/// knows.
///
/// # Errors
/// The first thing wrong, by its place in the configuration.
pub fn check_template(template: &Value) -> Result<(), InvalidConfig> {
    check_defaults(&for_command(template.clone()))?;
    let template = normalised(template.clone());
    let piece = only(&template, &experiment::KEYS);
    refuse_lists_in_place_of_maps(&piece)?;
    read::<experiment::Piece>(piece)?;
    let resources = only(template.get("resources").unwrap_or(&Value::Null), &experiment::RESOURCES);
    read::<experiment::Resources>(resources).map_err(|e| InvalidConfig(format!("resources.{}", e.0)))?;
    Ok(())
}

/// These keys of a map.
fn only(map: &Value, keys: &[&str]) -> Value {
    let map = map.as_object().into_iter().flatten().filter(|(key, _)| keys.contains(&key.as_str()));
    Value::Object(map.map(|(key, value)| (key.clone(), value.clone())).collect())
}

/// Reads a form; what is wrong is named by its place.
pub(super) fn read<T: DeserializeOwned>(value: Value) -> Result<T, InvalidConfig> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let (place, why) = (error.path().to_string(), in_words(&error.into_inner().to_string()));
        // At the top there is nothing to name, nor where the sentence begins with it.
        let named = place == "." || why.starts_with(&format!("unknown field `{place}`"));
        InvalidConfig(if named { why } else { format!("{place}: {why}") })
    })
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

/// The same for what experiments have: none of their maps may be a list, and of their lists only that of log policies has
/// maps in it.
fn refuse_lists_in_place_of_maps(piece: &Value) -> Result<(), InvalidConfig> {
    const LISTS: [&str; 2] = ["labels", "log_policies"];
    let of_policies = piece.get("log_policies").and_then(Value::as_array);
    if of_policies.is_some_and(|policies| policies.iter().any(Value::is_array)) {
        return Err(InvalidConfig("log_policies must be a list of maps".to_owned()));
    }
    let mut keys = piece.as_object().into_iter().flatten();
    match keys.find(|(key, value)| value.is_array() && !LISTS.contains(&key.as_str())) {
        Some((key, _)) => Err(InvalidConfig(format!("{key}: a list is not what belongs there"))),
        None => Ok(()),
    }
}

/// What of a template a command, notebook, TensorBoard or shell takes: all but what experiments alone have.
#[must_use]
pub fn for_command(mut template: Value) -> Value {
    let Some(map) = template.as_object_mut() else { return template };
    map.retain(|key, _| !experiment::KEYS.contains(&key.as_str()));
    if let Some(resources) = map.get_mut("resources").and_then(Value::as_object_mut) {
        resources.retain(|key, _| !experiment::RESOURCES.contains(&key.as_str()));
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
            fn target(mount: &Value) -> Option<&Value> {
                mount.get("container_path")
            }
            let new: HashSet<_> = over.iter().map(target).collect();
            under.retain(|old| !new.contains(&target(old)));
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
        for piece in [
            json!({"description": "x"}),
            json!({"environment": {"image": "a"}}),
            json!({}),
            json!(null),
            json!({"searcher": null, "labels": ["a"], "resources": null}),
            json!({"labels": {"a": true}, "version": 0, "max_restarts": 0}),
            json!({"searcher": {"max_length": {"batches": 100}, "bracket_rungs": [1]}}),
            json!({"searcher": {"max_length": 100, "divisor": 4, "mode": "aggressive"}}),
            json!({"checkpoint_storage": {"save_trial_best": 3}}),
            json!({"checkpoint_storage": {"type": "s3", "bucket": "b", "access_key": "a", "secret_key": "s"}}),
            json!({"checkpoint_storage": {"type": "shared_fs", "host_path": "/data", "storage_path": null}}),
            json!({"min_checkpoint_period": {"epochs": 1}, "checkpoint_policy": "none", "data": {"url": "x"}}),
            json!({"profiling": {"enabled": true}, "reproducibility": {"experiment_seed": 7}}),
            json!({"log_policies": [{"pattern": "CUDA.*", "action": {"type": "exclude_node"}}]}),
            json!({"retention_policy": {"log_retention_days": -1}, "preemption_timeout": 60}),
            json!({"hyperparameters": {"lr": {"type": "log", "minval": -4, "maxval": -1, "base": 10}}}),
            json!({"resources": {"slots_per_trial": 4, "native_parallel": false}, "integrations": {"pachyderm": {}}}),
            json!({"startup_hook": "module load cuda"}),
        ] {
            check_template(&piece).unwrap_or_else(|e| panic!("{piece}: {e}"));
        }
        let wrong = |template: Value| check_template(&template).expect_err("refused").to_string();
        assert!(wrong(json!({"hyperparametres": {}})).contains("hyperparametres"));
        assert!(wrong(json!({"name": "x", "resources": {"slot": 1}})).contains("slot"));
        assert!(wrong(json!(["x"])).contains("map of settings"));
        for (piece, told) in [
            (json!({"searcher": {"max_trials": "many"}}), "searcher.max_trials: "),
            (json!({"searcher": {"max_trial": 4}}), "searcher.max_trial"),
            (json!({"searcher": ["single"]}), "searcher: a list"),
            (json!({"hyperparameters": [0.1]}), "hyperparameters: a list"),
            (json!({"checkpoint_storage": {"type": "floppy"}}), "checkpoint_storage.type: "),
            (json!({"checkpoint_storage": ["s3", "hunter2"]}), "checkpoint_storage: a list"),
            (json!({"max_restarts": -1}), "max_restarts: "),
            (
                json!({"min_validation_period": {"weeks": 1}}),
                "min_validation_period: give a number, or one of",
            ),
            (json!({"labels": 5}), "labels: give a list"),
            (json!({"log_policies": [["x"]]}), "log_policies must be a list of maps"),
            (json!({"checkpoint_policy": "some"}), "checkpoint_policy: "),
            (json!({"resources": {"slots_per_trial": "two"}}), "resources.slots_per_trial: "),
        ] {
            let said = wrong(piece);
            assert!(said.contains(told), "{told}: {said}");
        }

        let command = for_command(experiment);
        let kept = json!({"entrypoint": ["python3 train.py"], "resources": {"shm_size": "1.5g"}});
        assert_eq!(command, kept);
    }
}
