//! What of a configuration is its owner's alone (A10), and the only form in which one is shown: [`Shown`]. Whose eyes
//! may see secrets is said in the policy (`authz::SeeSecrets`).
//!
//! Variables are masked all, whatever their names: `FOO=hunter2` is a secret too. Of the rest, what is named like a
//! credential is left out, so that a client finds nothing there and falls back to the master. In command lines the values
//! of options and variables that are named like one are masked. Credentials of an image registry are shown to nobody.

use serde::Serialize;
use serde_json::Value;

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
        Self::of(value, SeeSecrets::check(actor, &owner).is_ok())
    }

    /// The configuration of a task that was just made, for the one who made it.
    #[must_use]
    pub fn own(config: &TaskConfig) -> Self {
        Self::of(serde_json::to_value(config).unwrap_or_default(), true)
    }

    /// A part of a configuration that is nobody's own: the installation's defaults.
    #[must_use]
    pub fn to_everybody(layer: &Value) -> Self {
        Self::of(layer.clone(), false)
    }

    fn of(mut value: Value, own: bool) -> Self {
        if let Some(environment) = value.get_mut("environment").and_then(Value::as_object_mut) {
            environment.remove("registry_auth");
        }
        if !own {
            mask(&mut value);
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

/// A template's configuration. It isn't shown as it is: see [`Layer::shown`].
#[derive(Clone, PartialEq)]
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
        Shown::of(self.0.clone(), SeeSecrets::check(actor, &owner).is_ok())
    }

    /// Whether there is anything in it that others don't see.
    #[must_use]
    pub fn has_secrets(&self) -> bool {
        Shown::of(self.0.clone(), false).0 != self.0
    }
}

/// The words of a command line, for everybody's eyes.
#[must_use]
pub fn masked_words(words: &[String]) -> Vec<String> {
    let mut state = Words::default();
    words.iter().map(|word| state.mask(word)).collect()
}

/// Masks and leaves out what others don't see.
fn mask(value: &mut Value) {
    for key in ["entrypoint", "tensorboard_args"] {
        match value.get_mut(key) {
            Some(Value::String(line)) => *line = Words::default().mask(line),
            Some(Value::Array(words)) => {
                let mut state = Words::default();
                for word in words {
                    if let Value::String(text) = word {
                        *text = state.mask(text);
                    }
                }
            }
            _ => {}
        }
    }
    if let Some(variables) = value.pointer_mut("/environment/environment_variables") {
        mask_variables(variables);
    }
    strip(value);
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

/// Leaves out everything that is named like a credential, and masks what looks like one by itself.
fn strip(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|key, _| !names_secret(key));
            map.iter_mut().for_each(|(_, inside)| strip(inside));
        }
        Value::Array(list) => list.iter_mut().for_each(strip),
        Value::String(text) if looks_secret(text) || text.contains("://") => {
            *text = Words::default().mask(text);
        }
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
    NAMES.iter().any(|part| name.contains(part)) || name == "auth" || name.ends_with("_auth") || name == "pwd"
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

/// Goes through the words of a command line; options reach into the next word, quotes over several.
#[derive(Default)]
struct Words {
    /// The next word is a secret.
    next: bool,
    /// Inside a secret that ends with this quote.
    quote: Option<char>,
}

impl Words {
    /// One argument, or a whole line for a shell.
    fn mask(&mut self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        for part in text.split_inclusive(char::is_whitespace) {
            let word = part.trim_end_matches(char::is_whitespace);
            let space = part.get(word.len()..).unwrap_or_default();
            if !word.is_empty() {
                out.push_str(&self.word(word));
            }
            out.push_str(space);
        }
        // An argument ends what a quote in it began.
        self.quote = None;
        out
    }

    fn word(&mut self, word: &str) -> String {
        if let Some(quote) = self.quote {
            if word.ends_with(quote) {
                self.quote = None;
            }
            return String::new();
        }
        let bare = word.trim_start_matches(['"', '\'']);
        if std::mem::take(&mut self.next) && !bare.starts_with('-') {
            // `Authorization: Bearer …`
            self.next = bare.eq_ignore_ascii_case("bearer") || bare.eq_ignore_ascii_case("basic");
            return if self.next { word.to_owned() } else { self.hide(word) };
        }
        if let Some((name, value)) = word.split_once(['=', ':'])
            && names_secret(name)
            && !value.is_empty()
        {
            let head = word.get(..=name.len()).unwrap_or_default();
            return format!("{head}{}", self.hide(value));
        }
        let name = bare.trim_end_matches(':');
        let option = bare.starts_with('-') || bare.ends_with(':');
        self.next = (option && names_secret(name)) || bare.eq_ignore_ascii_case("bearer");
        if looks_secret(bare.trim_start_matches(|c: char| !c.is_ascii_alphanumeric())) {
            return MASK.to_owned();
        }
        match word.split_once('=') {
            Some((name, value)) if looks_secret(value.trim_start_matches(['"', '\''])) => {
                format!("{name}={MASK}")
            }
            _ => without_userinfo(word),
        }
    }

    fn hide(&mut self, value: &str) -> String {
        let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
        self.quote = quote.filter(|quote| value.len() == 1 || !value.ends_with(*quote));
        MASK.to_owned()
    }
}

/// `https://name:password@host` without the password.
fn without_userinfo(word: &str) -> String {
    let Some((scheme, rest)) = word.split_once("://") else { return word.to_owned() };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    match authority.rsplit_once('@') {
        Some((user, _)) => {
            let name = user.split_once(':').map_or("", |(name, _)| name);
            let behind = rest.get(user.len()..).unwrap_or_default();
            let name = if name.is_empty() { String::new() } else { format!("{name}:") };
            format!("{scheme}://{name}{MASK}{behind}")
        }
        None => word.to_owned(),
    }
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
        Value::Object(map) => map.iter().find_map(|(key, inside)| below(key, inside)),
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
mod tests {
    use serde_json::json;

    use super::*;

    fn others(value: Value) -> Value {
        Shown::of(value, false).into_value()
    }

    #[test]
    fn a10_variables_are_masked_and_storage_keys_left_out() {
        let config = json!({
            "environment": {
                "environment_variables": {"cpu": ["FOO=hunter2", "BARE"], "cuda": ["A=b=c"]},
                "registry_auth": {"username": "u", "password": "p"},
                "pod_spec": {"spec": {"imagePullSecrets": [1], "x": "mst_0123456789abcdefghij"}},
            },
            "pbs": {"access_key": "a", "nested": [{"secret_key": "b", "bucket": "c"}], "url": "s3://u:p@h/x"},
        });
        let expected = json!({
            "environment": {
                "environment_variables": {"cpu": ["FOO=********", "BARE"], "cuda": ["A=********"]},
                "pod_spec": {"spec": {"x": "********"}},
            },
            "pbs": {"nested": [{"bucket": "c"}], "url": "s3://u:********@h/x"},
        });
        assert_eq!(others(config.clone()), expected);
        let own = Shown::of(config, true).into_value();
        assert_eq!(own["pbs"]["access_key"], "a");
        assert_eq!(own["environment"]["registry_auth"], Value::Null, "sent back to nobody");
        assert_eq!(
            others(json!({"environment": {"environment_variables": ["A=1"]}}))["environment"]["environment_variables"]
                [0],
            "A=********"
        );
    }

    #[test]
    fn a10_command_lines_lose_what_is_named_like_a_credential() {
        for (words, shown) in [
            (vec!["train", "--token", "abc", "--lr", "1"], "train --token ******** --lr 1"),
            (vec!["train", "--api-key=abc"], "train --api-key=********"),
            (
                vec!["HF_TOKEN=abc python x.py --max-tokens 5 --tokenizer t"],
                "HF_TOKEN=******** python x.py --max-tokens 5 --tokenizer t",
            ),
            (vec!["PASSWORD='a b c' run"], "PASSWORD=********   run"),
            (vec!["curl -H 'Authorization: Bearer abc' u"], "curl -H 'Authorization: Bearer ******** u"),
            (vec!["git clone https://me:pw@h/r.git"], "git clone https://me:********@h/r.git"),
            (vec!["echo", "ghp_0123456789abcdefghij"], "echo ********"),
            (vec!["echo", "author", "sk-learn"], "echo author sk-learn"),
        ] {
            let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
            assert_eq!(masked_words(&words).join(" "), shown);
        }
    }

    #[test]
    fn a10_what_is_masked_is_found_when_it_comes_back() {
        for (value, key) in [
            (json!({"a": {"b": ["x", "********"]}}), Some("a.b")),
            (json!({"v": ["N=1", "KEY=********"]}), Some("v: KEY")),
            (json!({"entrypoint": ["run --token=********"]}), Some("entrypoint: --token")),
            (json!({"a": "stars: *****", "n": 1}), None),
        ] {
            assert_eq!(masked_key(&value).as_deref(), key);
        }
    }
}
