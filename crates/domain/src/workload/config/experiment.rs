//! What of an experiment's configuration a template may have (contract "runtime", section 2.3): any piece of it, each of
//! the right form. What must be there in the end, and what fits together, is asked when an experiment is made.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

/// What an experiment's `resources` have, and a command's haven't.
pub(super) const RESOURCES: [&str; 3] = ["slots_per_trial", "native_parallel", "agent_label"];

/// Keys that experiments alone have at the top, as far as a piece of a configuration has them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read for its form alone")]
pub(super) struct Piece {
    name: Option<String>,
    searcher: Option<Searcher>,
    hyperparameters: Option<Map<String, Value>>,
    checkpoint_storage: Option<CheckpointStorage>,
    reproducibility: Option<Reproducibility>,
    labels: Option<Labels>,
    workspace: Option<String>,
    project: Option<String>,
    data: Option<Map<String, Value>>,
    max_restarts: Option<u32>,
    min_validation_period: Option<Length>,
    min_checkpoint_period: Option<Length>,
    perform_initial_validation: Option<bool>,
    checkpoint_policy: Option<CheckpointPolicy>,
    scheduling_unit: Option<u64>,
    records_per_epoch: Option<u64>,
    optimizations: Option<Optimizations>,
    profiling: Option<Profiling>,
    retention_policy: Option<RetentionPolicy>,
    log_policies: Option<Vec<LogPolicy>>,
    preemption_timeout: Option<u64>,
    integrations: Option<Map<String, Value>>,
    security: Option<Map<String, Value>>,
    /// Of old, and not used by anybody.
    tensorboard_storage: Option<Map<String, Value>>,
    data_layer: Option<Map<String, Value>>,
    version: Option<u32>,
}

/// The keys of [`Piece`].
pub(super) const KEYS: [&str; 26] = [
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

/// What experiments add to `resources`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read for its form alone")]
pub(super) struct Resources {
    slots_per_trial: Option<u32>,
    native_parallel: Option<bool>,
    agent_label: Option<String>,
}

/// A list, or a map whose keys count, as of old.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "give a list of names")]
#[expect(dead_code, reason = "read for its form alone")]
enum Labels {
    List(Vec<String>),
    Names(BTreeMap<String, Value>),
}

/// Which of these a searcher takes depends on its name, which another layer may say.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read for its form alone")]
struct Searcher {
    name: Option<String>,
    metric: Option<String>,
    smaller_is_better: Option<bool>,
    source_trial_id: Option<u64>,
    source_checkpoint_uuid: Option<String>,
    max_length: Option<Length>,
    max_trials: Option<u64>,
    max_concurrent_trials: Option<u64>,
    max_time: Option<u64>,
    time_metric: Option<String>,
    mode: Option<String>,
    divisor: Option<f64>,
    max_rungs: Option<u64>,
    num_rungs: Option<u64>,
    bracket_rungs: Option<Vec<u64>>,
    stop_once: Option<bool>,
    unit: Option<String>,
    budget: Option<Length>,
    train_stragglers: Option<bool>,
}

/// A length of training: `{batches: 100}`, or a bare number of whatever the unit is.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "give a number, or one of batches, records and epochs, as in {batches: 100}")]
#[expect(dead_code, reason = "read for its form alone")]
enum Length {
    Bare(u64),
    Of(Unit),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "read for its form alone")]
enum Unit {
    Batches(u64),
    Records(u64),
    Epochs(u64),
}

/// The keys of every kind of storage: which kind it is another layer may say. Keys of accounts are secrets by their
/// names (`secrets::names_secret`).
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read for its form alone")]
pub(super) struct CheckpointStorage {
    #[serde(rename = "type")]
    kind: Option<StorageKind>,
    save_experiment_best: Option<u32>,
    save_trial_best: Option<u32>,
    save_trial_latest: Option<u32>,
    host_path: Option<String>,
    storage_path: Option<String>,
    container_path: Option<String>,
    checkpoint_path: Option<String>,
    tensorboard_path: Option<String>,
    propagation: Option<String>,
    bucket: Option<String>,
    prefix: Option<String>,
    access_key: Option<String>,
    secret_key: Option<String>,
    endpoint_url: Option<String>,
    container: Option<String>,
    connection_string: Option<String>,
    account_url: Option<String>,
    credential: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StorageKind {
    SharedFs,
    Directory,
    S3,
    Gcs,
    Azure,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read for its form alone")]
struct Reproducibility {
    experiment_seed: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum CheckpointPolicy {
    Best,
    All,
    None,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read for its form alone")]
struct Optimizations {
    aggregation_frequency: Option<u64>,
    average_aggregated_gradients: Option<bool>,
    average_training_metrics: Option<bool>,
    gradient_compression: Option<bool>,
    grad_updates_size_file: Option<String>,
    mixed_precision: Option<String>,
    tensor_fusion_threshold: Option<u64>,
    tensor_fusion_cycle_time: Option<f64>,
    auto_tune_tensor_fusion: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read for its form alone")]
struct Profiling {
    enabled: Option<bool>,
    begin_on_batch: Option<u64>,
    end_after_batch: Option<u64>,
    sync_timings: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read for its form alone")]
struct RetentionPolicy {
    /// -1 keeps them for good.
    log_retention_days: Option<i32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read for its form alone")]
struct LogPolicy {
    name: Option<String>,
    pattern: Option<String>,
    /// A name, or a map of older versions.
    action: Option<Value>,
    actions: Option<Vec<Value>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_keys_are_those_of_a_piece() {
        for key in KEYS {
            let piece = serde_json::from_value::<Piece>(json!({ key: null }));
            assert!(piece.is_ok(), "{key}: {piece:?}");
        }
        assert!(
            serde_json::from_value::<Piece>(json!({"entrypoint": null})).is_err(),
            "it is a command's, too"
        );
    }
}
