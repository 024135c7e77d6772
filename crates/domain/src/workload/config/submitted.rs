//! What of a configuration is taken at all (A6): its size is looked at before anything is made of it, its shape before
//! anything is done with it. What it may say is checked beside this.

use serde_json::Value;

use super::{InvalidConfig, secrets};

/// Levels of lists and maps inside each other.
const MAX_DEPTH: usize = 32;

/// Keys of all maps together.
const MAX_KEYS: usize = 4096;

/// How large configurations may be, in bytes of JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// As it is sent.
    pub submitted: usize,
    /// Laid over template and defaults.
    pub merged: usize,
}

impl Limits {
    /// Reads a configuration that was sent; nothing is an empty one.
    ///
    /// # Errors
    /// When it is too large, too deep, no JSON, or holds what was masked before it was shown.
    pub fn read(&self, text: Option<&str>) -> Result<Value, InvalidConfig> {
        let Some(text) = text else { return Ok(Value::Object(serde_json::Map::new())) };
        let (size, limit) = (text.len(), self.submitted);
        if size > limit {
            return Err(InvalidConfig(format!(
                "it has {size} bytes, and {limit} is the limit; put large things into files beside it"
            )));
        }
        let value: Value = serde_json::from_str(text).map_err(|e| InvalidConfig(e.to_string()))?;
        let keys = count(&value, 0)?;
        if keys > MAX_KEYS {
            return Err(InvalidConfig(format!("it has {keys} keys, and {MAX_KEYS} is the limit")));
        }
        match secrets::masked_key(&value) {
            Some(key) => Err(InvalidConfig(format!(
                "{key}: the value was masked before it was shown; give its real value, or leave it out"
            ))),
            None => Ok(value),
        }
    }

    /// Checks the size of what was laid together.
    ///
    /// # Errors
    /// When it is too large.
    pub fn check_merged(&self, stored: &str) -> Result<(), InvalidConfig> {
        let (size, limit) = (stored.len(), self.merged);
        if size > limit {
            return Err(InvalidConfig(format!(
                "with template and defaults it has {size} bytes, and {limit} is the limit"
            )));
        }
        Ok(())
    }
}

/// Keys in all.
fn count(value: &Value, depth: usize) -> Result<usize, InvalidConfig> {
    if depth > MAX_DEPTH {
        let text = format!("its lists and maps are more than {MAX_DEPTH} levels deep");
        return Err(InvalidConfig(text));
    }
    match value {
        Value::Array(list) => list.iter().map(|value| count(value, depth + 1)).sum(),
        Value::Object(map) => {
            let inside: usize = map.values().map(|value| count(value, depth + 1)).sum::<Result<_, _>>()?;
            Ok(inside + map.len())
        }
        _ => Ok(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { submitted: 65_536, merged: 131_072 };

    #[test]
    fn a06_what_is_too_large_is_refused_with_size_and_limit() {
        let refused = |text: &str| LIMITS.read(Some(text)).expect_err("must be refused").to_string();
        let large = format!(r#"{{"pbs": {{"a": [{}0]}}}}"#, "0,".repeat(40_000));
        let text = refused(&large);
        assert!(text.contains(&large.len().to_string()) && text.contains("65536"), "{text}");
        assert!(refused(&format!("{}{}", "[".repeat(34), "]".repeat(34))).contains("32 levels"));
        assert!(refused(&"[".repeat(5000)).contains("recursion limit"));
        let keys: Vec<String> = (0..5000).map(|n| format!("\"{n}\":0")).collect();
        assert!(refused(&format!("{{{}}}", keys.join(","))).contains("5000 keys, and 4096"));
        assert!(LIMITS.read(Some(r#"{"entrypoint": ["true"]}"#)).is_ok());
        assert_eq!(LIMITS.read(None), Ok(serde_json::json!({})));
        assert!(LIMITS.check_merged(&"x".repeat(131_073)).is_err());
    }

    #[test]
    fn a10_a_masked_value_that_comes_back_is_refused_by_its_key() {
        let text = r#"{"environment": {"environment_variables": {"cpu": ["A=1", "KEY=********"]}}}"#;
        let refused = LIMITS.read(Some(text)).expect_err("must be refused").to_string();
        assert!(refused.contains("environment.environment_variables.cpu: KEY"), "{refused}");
    }
}
