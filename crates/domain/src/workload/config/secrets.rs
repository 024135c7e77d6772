//! What of a configuration is its owner's alone (A10), and the only form in which one is shown: [`Shown`]. Whose eyes
//! may see secrets is said in the policy (`authz::SeeSecrets`).
//!
//! Variables are masked all, whatever their names: `FOO=hunter2` is a secret too. Of the rest, what is named like a
//! credential is left out, so that a client finds nothing there and falls back to the master. Of command lines and other
//! free texts only that is shown which can't be a secret (`words`). Credentials of an image registry are shown to nobody.

mod words;

use serde::Serialize;
use serde_json::Value;
use words::{Eyes, Words};

use crate::authz::{Act as _, Actor, SeeSecrets};
use crate::config::TaskConfig;
use crate::id::UserId;

/// Stands for what isn't shown.
pub const MASK: &str = "********";

/// A configuration as somebody may see it. Nothing else of one can be serialised towards a client.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Shown(Value);

impl Shown {
    /// A task's configuration for `actor`'s eyes.
    #[must_use]
    pub fn task(actor: &Actor, owner: UserId, config: &TaskConfig) -> Self {
        let value = serde_json::to_value(config).unwrap_or_default();
        Self::of(value, eyes(actor, owner))
    }

    /// The configuration of a task that was just made, for the one who made it.
    #[must_use]
    pub fn own(config: &TaskConfig) -> Self {
        Self::of(serde_json::to_value(config).unwrap_or_default(), None)
    }

    /// A part of a configuration that is nobody's own: the installation's defaults.
    #[must_use]
    pub fn to_everybody(layer: &Value) -> Self {
        Self::of(layer.clone(), Some(Eyes::Others))
    }

    /// `None` are its owner's eyes.
    fn of(mut value: Value, eyes: Option<Eyes>) -> Self {
        if let Some(environment) = value.get_mut("environment").and_then(Value::as_object_mut) {
            environment.remove("registry_auth");
        }
        if let Some(eyes) = eyes {
            mask(&mut value, eyes);
        }
        Self(value)
    }

    /// The command line in it.
    #[must_use]
    pub fn entrypoint(&self) -> Vec<String> {
        let words = self.0.get("entrypoint").and_then(Value::as_array);
        words.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// As JSON.
    #[must_use]
    pub fn into_value(self) -> Value {
        self.0
    }
}

/// A configuration that lies under others: a template's, or a workspace's checkpoint storage. It isn't shown as it is: see
/// [`Layer::shown`].
#[derive(Clone, PartialEq, Eq)]
pub struct Layer(Value);

impl std::fmt::Debug for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Layer")
    }
}

impl Layer {
    /// Takes a checked configuration.
    #[must_use]
    pub fn new(config: Value) -> Self {
        Self(config)
    }

    /// All of it, to be stored and laid under a task's: not to be shown.
    #[must_use]
    pub fn unmasked(&self) -> &Value {
        &self.0
    }

    /// For `actor`'s eyes.
    #[must_use]
    pub fn shown(&self, actor: &Actor, owner: UserId) -> Shown {
        Shown::of(self.0.clone(), eyes(actor, owner))
    }

    /// Whether there is anything in it that looks like a secret. Of what others don't see some needn't be one: who may
    /// use a template would lose more by that than its owner gains.
    #[must_use]
    pub fn has_secrets(&self) -> bool {
        Shown::of(self.0.clone(), Some(Eyes::Suspicion)).0 != self.0
    }
}

impl Layer {
    /// Where checkpoints go, for `actor`'s eyes.
    #[must_use]
    pub fn shown_as_storage(&self, actor: &Actor, owner: UserId) -> Shown {
        match eyes(actor, owner) {
            None => Shown(self.0.clone()),
            Some(_) => self.storage_for_others(),
        }
    }

    /// The same for everybody else's: they see that there are keys, and of the rest what is named so that it is to be read.
    #[must_use]
    pub fn storage_for_others(&self) -> Shown {
        let mut value = self.0.clone();
        let settings = value.as_object_mut().into_iter().flatten();
        for (key, inside) in settings.filter(|(_, inside)| !inside.is_null()) {
            match names_secret(key) {
                true => *inside = Value::String(MASK.to_owned()),
                false => strip(inside, Eyes::Readers),
            }
        }
        Shown(value)
    }
}

/// The words of a command line, for everybody's eyes.
#[must_use]
pub fn masked_words(words: &[String]) -> Vec<String> {
    let mut state = Words::new(Eyes::Others);
    words.iter().map(|word| state.mask(word)).collect()
}

/// Whose eyes these are, for what belongs to `owner`.
fn eyes(actor: &Actor, owner: UserId) -> Option<Eyes> {
    SeeSecrets::check(actor, &owner).is_err().then_some(Eyes::Others)
}

/// What is there to be read, or has a form of its own: names of things, paths of mounts, sizes, images.
const PUBLIC: [&str; 9] = [
    "name",
    "description",
    "labels",
    "workspace",
    "project",
    "bind_mounts",
    "resources",
    "work_dir",
    "network",
];
const PUBLIC_OF_ENVIRONMENT: [&str; 5] =
    ["image", "ports", "proxy_ports", "add_capabilities", "drop_capabilities"];

/// Masks and leaves out what others don't see.
fn mask(value: &mut Value, eyes: Eyes) {
    let Value::Object(map) = value else { return strip(value, eyes) };
    map.retain(|key, _| !names_secret(key));
    for (key, inside) in map.iter_mut() {
        match (key.as_str(), inside) {
            ("environment", Value::Object(environment)) => mask_environment(environment, eyes),
            // Of keys that there are, numbers say how much of something is wanted.
            (_, Value::Number(_)) => {}
            (key, inside) if PUBLIC.contains(&key) => strip(inside, Eyes::Readers),
            (_, inside) => strip(inside, eyes),
        }
    }
}

fn mask_environment(environment: &mut serde_json::Map<String, Value>, eyes: Eyes) {
    environment.retain(|key, _| !names_secret(key));
    for (key, inside) in environment.iter_mut() {
        match key.as_str() {
            "environment_variables" => mask_variables(inside),
            key if PUBLIC_OF_ENVIRONMENT.contains(&key) => strip(inside, Eyes::Readers),
            _ => strip(inside, eyes),
        }
    }
}

/// A list of `NAME=value`, or such lists by kind of device, or a map of names.
fn mask_variables(variables: &mut Value) {
    let masked = |line: &mut String| {
        if let Some((name, _)) = line.split_once('=') {
            *line = format!("{name}={MASK}");
        }
    };
    match variables {
        Value::String(line) => masked(line),
        Value::Array(lines) => lines.iter_mut().for_each(mask_variables),
        Value::Object(map) => {
            for (_, inside) in map.iter_mut() {
                match inside {
                    // A map of names, which is no right form, is masked too.
                    Value::String(value) => MASK.clone_into(value),
                    inside => mask_variables(inside),
                }
            }
        }
        _ => {}
    }
}

/// Leaves out everything that is named like a credential, and masks what looks like one by itself. The texts of a list
/// are the words of one line. Keys of maps are anybody's own words too, and a number can be a secret as well.
fn strip(value: &mut Value, eyes: Eyes) {
    match value {
        Value::Object(map) => {
            for (key, mut inside) in std::mem::take(map) {
                if !names_secret(&key) {
                    strip(&mut inside, eyes);
                    map.insert(eyes.of_keys(&key), inside);
                }
            }
        }
        Value::Number(_) if eyes == Eyes::Others => *value = Value::String(MASK.to_owned()),
        Value::Array(list) => {
            let mut line = Words::new(eyes);
            for inside in list {
                match inside {
                    Value::String(text) => *text = line.mask(text),
                    inside => strip(inside, eyes),
                }
            }
        }
        Value::String(text) => *text = Words::new(eyes).mask(text),
        _ => {}
    }
}

/// Parts of names of what opens something.
const NAMES: [&str; 17] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "credential",
    "apikey",
    "api_key",
    "accesskey",
    "access_key",
    "account_key",
    "private_key",
    "privatekey",
    "storage_key",
    "ssh_key",
    "connection_string",
    "authorization",
];

/// Whether a key, an option or a variable is named like a credential.
#[must_use]
pub fn names_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    // What language models count and cut text into.
    let name = name.replace("tokeniz", "").replace("tokens", "");
    NAMES.iter().any(|part| name.contains(part))
        || name == "auth"
        || name.ends_with("_auth")
        || name == "pwd"
        || name.split('_').any(|part| ["pw", "pass", "otp", "dsn", "cookie"].contains(&part))
}

/// Beginnings of tokens that say what they are: our own and those of well-known services.
const TOKENS: [&str; 15] = [
    "mst_",
    "mtt_",
    "mat_",
    "mai_",
    "mui_",
    "ghp_",
    "gho_",
    "github_pat_",
    "glpat-",
    "hf_",
    "sk-",
    "xoxb-",
    "xoxp-",
    "AKIA",
    "eyJ",
];

/// Whether a text is a token by its form.
fn looks_secret(text: &str) -> bool {
    let token = |prefix: &str| {
        let rest = text.strip_prefix(prefix)?;
        let body =
            rest.chars().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')).count();
        (body >= 16).then_some(())
    };
    TOKENS.iter().any(|prefix| token(prefix).is_some())
}

/// Where a value stands that was masked, if there is one.
pub(super) fn masked_key(value: &Value) -> Option<String> {
    let below = |key: &str, inside: &Value| {
        masked_key(inside).map(|rest| match (key, rest.as_str()) {
            (key, "") => key.to_owned(),
            (key, rest) if rest.starts_with(':') => format!("{key}{rest}"),
            (key, rest) => format!("{key}.{rest}"),
        })
    };
    match value {
        Value::Object(map) => {
            map.iter().find_map(
                |(key, inside)| {
                    if key.contains(MASK) { Some(String::new()) } else { below(key, inside) }
                },
            )
        }
        Value::Array(list) => list.iter().find_map(masked_key),
        Value::String(text) if text == MASK => Some(String::new()),
        Value::String(text) => text.split_whitespace().find(|word| word.contains(MASK)).map(|word| {
            let name = word.split(['=', ':']).next().unwrap_or(word);
            if name.contains(MASK) { String::new() } else { format!(": {name}") }
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
