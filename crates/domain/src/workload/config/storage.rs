//! Where checkpoints go, complete: what a workspace sets for its experiments (contract "rest", section 11). A piece of such
//! a configuration, as a template may have it, is in [`experiment`](super::experiment).

use std::path::{Component, Path};

use serde_json::{Map, Value};

use super::InvalidConfig;
use super::experiment::CheckpointStorage;
use super::layer::read;
use super::secrets::masked_key;

/// Keys that every kind takes: how many checkpoints are kept.
const COMMON: [&str; 4] = ["type", "save_experiment_best", "save_trial_best", "save_trial_latest"];

/// A kind, what it needs, and what it takes besides.
type Kind = (&'static str, &'static [&'static str], &'static [&'static str]);

const KINDS: [Kind; 5] = [
    (
        "shared_fs",
        &["host_path"],
        &["storage_path", "propagation", "container_path", "checkpoint_path", "tensorboard_path"],
    ),
    ("directory", &["container_path"], &[]),
    ("s3", &["bucket"], &["access_key", "secret_key", "endpoint_url", "prefix"]),
    ("gcs", &["bucket"], &["prefix"]),
    ("azure", &["container"], &["connection_string", "account_url", "credential"]),
];

/// Longest one, in bytes of JSON: it stands in lists of workspaces.
pub const MOST_BYTES: usize = 4096;

/// Checks it.
///
/// # Errors
/// The first thing wrong with it.
pub fn check(storage: &Value) -> Result<(), InvalidConfig> {
    let refuse = |text: String| Err(InvalidConfig(text));
    // Read by position, what is in a list would pass by what looks for keys.
    let Some(map) = storage.as_object() else { return refuse("it must be a map of settings".to_owned()) };
    let size = storage.to_string().len();
    if size > MOST_BYTES {
        return refuse(format!("it has {size} bytes, and {MOST_BYTES} is the limit"));
    }
    if let Some(key) = masked_key(storage) {
        return refuse(format!("{key}: the value was masked before it was shown; give its real value"));
    }
    read::<CheckpointStorage>(storage.clone())?;
    let names = KINDS.map(|(name, ..)| name).join(", ");
    let Some(kind) = text(map, "type") else { return refuse(format!("type: give one of {names}")) };
    let Some((_, needed, more)) = KINDS.iter().find(|(name, ..)| *name == kind) else {
        return refuse(format!("type: '{kind}' is none of {names}"));
    };
    if let Some(missing) = needed.iter().find(|key| text(map, key).is_none_or(str::is_empty)) {
        return refuse(format!("{missing} is a required property of {kind}"));
    }
    let known = |key: &str| COMMON.contains(&key) || needed.contains(&key) || more.contains(&key);
    let set = map.iter().filter(|(_, value)| !value.is_null()).map(|(key, _)| key);
    if let Some(other) = set.into_iter().find(|key| !known(key)) {
        return refuse(format!("{other} is no property of {kind}"));
    }
    for key in ["host_path", "container_path"] {
        if text(map, key).is_some_and(|path| !path.starts_with('/') || path.contains('\0')) {
            return refuse(format!("{key} must be an absolute path"));
        }
    }
    if text(map, "prefix").is_some_and(|prefix| format!("/{prefix}/").contains("/../")) {
        return refuse("prefix cannot contain /../".to_owned());
    }
    if kind == "azure" {
        return check_azure(map);
    }
    let host = Path::new(text(map, "host_path").unwrap_or_default());
    if let Some(path) = text(map, "storage_path").map(Path::new)
        && (leads_up(path) || path.is_absolute() && !path.starts_with(host))
    {
        return refuse(
            "storage_path must either be a relative directory or a subdirectory of host_path".to_owned(),
        );
    }
    Ok(())
}

fn check_azure(map: &Map<String, Value>) -> Result<(), InvalidConfig> {
    let refuse = |text: &str| Err(InvalidConfig(text.to_owned()));
    match ["connection_string", "account_url", "credential"].map(|key| text(map, key)) {
        [None, None, _] | [Some(_), Some(_), _] => {
            refuse("azure needs connection_string or account_url, and takes one of them only")
        }
        [Some(_), None, Some(_)] => refuse("credential goes with account_url"),
        _ => Ok(()),
    }
}

fn text<'m>(map: &'m Map<String, Value>, key: &str) -> Option<&'m str> {
    map.get(key).and_then(Value::as_str)
}

fn leads_up(path: &Path) -> bool {
    path.components().any(|part| part == Component::ParentDir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_kind_takes_its_own() {
        for fine in [
            json!({"type": "shared_fs", "host_path": "/data", "storage_path": "a/b", "save_trial_best": 2}),
            json!({"type": "shared_fs", "host_path": "/data", "storage_path": "/data/a", "propagation": "rprivate"}),
            json!({"type": "directory", "container_path": "/ckpt", "save_experiment_best": 0}),
            json!({"type": "s3", "bucket": "b", "access_key": "a", "secret_key": "s", "prefix": "x/y", "endpoint_url": null}),
            json!({"type": "gcs", "bucket": "b"}),
            json!({"type": "azure", "container": "c", "connection_string": "s"}),
            json!({"type": "azure", "container": "c", "account_url": "https://x", "credential": "s"}),
        ] {
            assert_eq!(check(&fine), Ok(()), "{fine}");
        }
        for (wrong, why) in [
            (json!([]), "it must be a map of settings"),
            (json!({}), "type: give one of shared_fs, directory, s3, gcs, azure"),
            (json!({"type": "hdfs"}), "hdfs"),
            (
                json!({"type": "s3", "bucket": "b", "secret_key": "********"}),
                "secret_key: the value was masked",
            ),
            (json!({"type": "s3", "bucket": "b".repeat(4096)}), "4096 is the limit"),
            (json!({"type": "s3"}), "bucket is a required property of s3"),
            (json!({"type": "s3", "bucket": ""}), "bucket is a required property of s3"),
            (json!({"type": "gcs", "bucket": "b", "host_path": "/a"}), "host_path is no property of gcs"),
            (json!({"type": "gcs", "bucket": "b", "buckett": "b"}), "unknown field `buckett`"),
            (json!({"type": "gcs", "bucket": 5}), "bucket: "),
            (json!({"type": "gcs", "bucket": "b", "save_trial_best": -1}), "save_trial_best: "),
            (json!({"type": "s3", "bucket": "b", "prefix": "a/../b"}), "prefix cannot contain /../"),
            (json!({"type": "s3", "bucket": "b", "prefix": ".."}), "prefix cannot contain /../"),
            (json!({"type": "shared_fs", "host_path": "data"}), "host_path must be an absolute path"),
            (json!({"type": "directory", "container_path": "c"}), "container_path must be an absolute path"),
            (
                json!({"type": "shared_fs", "host_path": "/data", "storage_path": "/database"}),
                "storage_path must either be a relative directory or a subdirectory of host_path",
            ),
            (
                json!({"type": "shared_fs", "host_path": "/data", "storage_path": "../x"}),
                "storage_path must either be a relative directory or a subdirectory of host_path",
            ),
            (json!({"type": "azure", "container": "c"}), "azure needs connection_string or account_url"),
            (
                json!({"type": "azure", "container": "c", "connection_string": "s", "credential": "t"}),
                "credential goes with account_url",
            ),
        ] {
            let said = check(&wrong).expect_err("must be refused").0;
            assert!(said.contains(why), "{wrong}: {said}");
        }
    }
}
