//! The configuration of a task as the options make it: file, then `--config`, then the options with names of their own.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use crate::failure::Failure;

/// A volume of `--volume SRC:DST[:ro]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Volume {
    source: String,
    target: String,
    read_only: bool,
}

impl std::str::FromStr for Volume {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<_> = text.split(':').collect();
        let (source, target, read_only) = match *parts.as_slice() {
            [source, target] | [source, target, "rw"] => (source, target, false),
            [source, target, "ro"] => (source, target, true),
            _ => return Err("write it as SRC:DST or SRC:DST:ro".to_owned()),
        };
        if !source.starts_with('/') {
            return Err(format!("'{source}' must be an absolute path of the agent's machine"));
        }
        if target.is_empty() {
            return Err("the path in the task is missing".to_owned());
        }
        Ok(Self { source: source.to_owned(), target: target.to_owned(), read_only })
    }
}

/// One `--config KEY=VALUE`: a dotted path, and a value read as YAML.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Setting {
    path: Vec<String>,
    value: Value,
}

impl std::str::FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (path, value) = text.split_once('=').ok_or("write it as KEY=VALUE, such as resources.slots=2")?;
        let path: Vec<_> = path.split('.').map(|part| part.trim().to_owned()).collect();
        if path.iter().any(String::is_empty) {
            return Err("the key is incomplete; write it like resources.slots".to_owned());
        }
        let value = yaml(value).map_err(|error| format!("the value is not YAML: {}", error.reason))?;
        Ok(Self { path, value })
    }
}

/// What the options say.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    /// Lowest layer.
    pub(crate) file: Option<std::path::PathBuf>,
    /// Over the file, in their order.
    pub(crate) settings: Vec<Setting>,
    /// Added to the bind mounts.
    pub(crate) volumes: Vec<Volume>,
    /// `resources.slots`.
    pub(crate) slots: Option<u32>,
    /// The command line; empty leaves that of the file.
    pub(crate) entrypoint: Vec<String>,
}

impl Options {
    /// Lays them over each other. The master checks what comes out.
    pub(crate) fn resolve(&self) -> Result<Value> {
        let mut config = match &self.file {
            Some(path) => from_file(path)?,
            None => Value::Object(Map::new()),
        };
        for setting in &self.settings {
            set(&mut config, &setting.path, setting.value.clone())?;
        }
        for volume in &self.volumes {
            let mount = json!({
                "host_path": volume.source,
                "container_path": volume.target,
                "read_only": volume.read_only,
            });
            add(&mut config, "bind_mounts", mount)?;
        }
        if let Some(slots) = self.slots {
            set(&mut config, &["resources".to_owned(), "slots".to_owned()], slots.into())?;
        }
        if !self.entrypoint.is_empty() {
            set(&mut config, &["entrypoint".to_owned()], json!(self.entrypoint))?;
        }
        if config.get("entrypoint").is_none_or(Value::is_null) {
            bail!(Failure::Usage(
                "give the command to run, or an entrypoint in the configuration".to_owned()
            ));
        }
        Ok(config)
    }
}

/// A configuration file, YAML.
pub(crate) fn from_file(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))?;
    match yaml(&text) {
        Ok(Value::Null) => Ok(Value::Object(Map::new())),
        Ok(config @ Value::Object(_)) => Ok(config),
        Ok(_) => bail!("{}: the configuration must be a mapping of keys to values", path.display()),
        Err(error) => bail!("{}:{}: {}", path.display(), error.line, error.reason),
    }
}

struct BadYaml {
    line: u64,
    reason: String,
}

#[expect(clippy::disallowed_methods, reason = "it is one's own")]
fn yaml(text: &str) -> Result<Value, BadYaml> {
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    serde_saphyr::from_str(text).map_err(|error| BadYaml {
        line: error.location().map_or(1, |location| location.line()),
        // The rendering adds the place in its own words, and the text around it.
        reason: first_line(&error.without_snippet().to_string()),
    })
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

fn set(config: &mut Value, path: &[String], value: Value) -> Result<()> {
    let mut place = config;
    for (depth, key) in path.iter().enumerate() {
        if place.is_null() {
            *place = Value::Object(Map::new());
        }
        let Value::Object(map) = place else {
            let parent = path.get(..depth).unwrap_or_default().join(".");
            bail!(Failure::Usage(format!("{} can't be set: {parent} is no mapping", path.join("."))));
        };
        place = map.entry(key.clone()).or_insert(Value::Null);
    }
    *place = value;
    Ok(())
}

fn add(config: &mut Value, key: &str, item: Value) -> Result<()> {
    let list = config.as_object_mut().map(|map| map.entry(key).or_insert_with(|| json!([])));
    match list {
        Some(Value::Array(list)) => list.push(item),
        Some(empty @ Value::Null) => *empty = json!([item]),
        _ => bail!(Failure::Usage(format!("{key} in the configuration is no list"))),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_lie_over_each_other() {
        let dir = tempfile::tempdir().expect("made");
        let file = dir.path().join("c.yaml");
        fs::write(
            &file,
            "resources: {slots: 1, priority: 50}\nbind_mounts: [{host_path: /a, container_path: /x}]\nentrypoint: [no]\n",
        )
        .expect("written");
        let options = Options {
            file: Some(file),
            settings: vec![
                "resources.slots=2".parse().expect("valid"),
                "environment.environment_variables=[A=1, B=2]".parse().expect("valid"),
                "description='quoted: text'".parse().expect("valid"),
            ],
            volumes: vec!["/data:/data:ro".parse().expect("valid")],
            slots: Some(3),
            entrypoint: vec!["id".into(), "-u".into()],
        };
        assert_eq!(
            options.resolve().expect("valid"),
            json!({
                "resources": {"slots": 3, "priority": 50},
                "environment": {"environment_variables": ["A=1", "B=2"]},
                "description": "quoted: text",
                "bind_mounts": [
                    {"host_path": "/a", "container_path": "/x"},
                    {"host_path": "/data", "container_path": "/data", "read_only": true},
                ],
                "entrypoint": ["id", "-u"],
            })
        );
    }

    #[test]
    fn a_bad_file_is_named_with_its_line() {
        let dir = tempfile::tempdir().expect("made");
        let file = dir.path().join("c.yaml");
        let problem = |text: &str| {
            fs::write(&file, text).expect("written");
            from_file(&file).expect_err("must be refused").to_string()
        };
        assert!(problem("a: 1\nb: [1\nc: 2\n").contains("c.yaml:"), "{}", problem("a: 1\nb: [1\nc: 2\n"));
        assert!(problem("a: 1\na: 2\n").contains("c.yaml:2:"), "{}", problem("a: 1\na: 2\n"));
        assert!(problem("- a\n").contains("must be a mapping"));
        assert!(
            from_file(Path::new("/nowhere/c.yaml")).expect_err("is missing").to_string().contains("/nowhere")
        );
    }

    #[test]
    fn settings_and_volumes_are_checked() {
        for text in ["slots", "=1", "a..b=1", "a=[1"] {
            assert!(text.parse::<Setting>().is_err(), "{text}");
        }
        let over = |text: &str| {
            let mut config = json!({"resources": 1});
            let setting: Setting = text.parse().expect("valid");
            set(&mut config, &setting.path, setting.value)
        };
        assert!(over("resources.slots=1").is_err());
        assert!(over("resources={slots: 1}").is_ok());
        for text in ["data:/data", "/data", "/a:/b:rx", "/a:"] {
            assert!(text.parse::<Volume>().is_err(), "{text}");
        }
        assert!(Options::default().resolve().is_err());
    }
}
