//! Settings: what a client such as the web interface of Determined keeps for its user. Muster doesn't read them.

use std::collections::BTreeMap;

/// Most settings of one account.
const MAX_COUNT: usize = 500;
/// Longest path or key, in bytes.
const MAX_KEY: usize = 256;
/// Most that one account's settings may be together, in bytes.
const MAX_BYTES: usize = 1 << 20;

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Setting {
    /// Where the client keeps it.
    pub path: String,
    /// Its name there.
    pub key: String,
    /// JSON, as text.
    pub value: String,
}

/// Why settings are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No name, or one that is too long.
    #[error("a setting needs a key; key and storagePath have {MAX_KEY} bytes at most")]
    BadKey,
    /// NUL can't be kept.
    #[error("a setting cannot contain NUL characters")]
    Nul,
    /// Too many.
    #[error("a user can have {MAX_COUNT} settings at most: delete some, or reset them")]
    TooMany,
    /// Too large.
    #[error("the settings of a user can have {MAX_BYTES} bytes at most: delete some, or reset them")]
    TooLarge,
}

/// Changes of settings, of which each can be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes(BTreeMap<(String, String), Setting>);

impl Changes {
    /// Looks at each by itself; of two with one path and key the later one counts.
    ///
    /// # Errors
    /// When one can't be kept.
    pub fn new(changes: impl IntoIterator<Item = Setting>) -> Result<Self, Refused> {
        let checked = changes.into_iter().map(|change| {
            if change.key.is_empty() || change.key.len() > MAX_KEY || change.path.len() > MAX_KEY {
                return Err(Refused::BadKey);
            }
            if [&change.path, &change.key, &change.value].iter().any(|text| text.contains('\0')) {
                return Err(Refused::Nul);
            }
            Ok(keyed(change))
        });
        checked.collect::<Result<_, _>>().map(Self)
    }

    /// Lays them over what is there: an empty value takes a setting away.
    ///
    /// # Errors
    /// When all of them together can't be kept.
    pub fn over(self, settings: Vec<Setting>) -> Result<Vec<Setting>, Refused> {
        let mut merged: BTreeMap<_, _> = settings.into_iter().map(keyed).collect();
        merged.extend(self.0);
        merged.retain(|_, setting| !setting.value.is_empty());
        if merged.len() > MAX_COUNT {
            return Err(Refused::TooMany);
        }
        let size = |setting: &Setting| setting.path.len() + setting.key.len() + setting.value.len();
        if merged.values().map(size).sum::<usize>() > MAX_BYTES {
            return Err(Refused::TooLarge);
        }
        Ok(merged.into_values().collect())
    }
}

fn keyed(setting: Setting) -> ((String, String), Setting) {
    ((setting.path.clone(), setting.key.clone()), setting)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merge(there: Vec<Setting>, changes: Vec<Setting>) -> Result<Vec<Setting>, Refused> {
        Changes::new(changes)?.over(there)
    }

    fn setting(key: &str, value: &str) -> Setting {
        Setting { path: "p".to_owned(), key: key.to_owned(), value: value.to_owned() }
    }

    #[test]
    fn what_is_new_replaces_what_is_there_and_nothing_deletes() {
        let there = vec![setting("a", "1"), setting("b", "2")];
        let merged = merge(there, vec![setting("b", "3"), setting("a", ""), setting("c", "4")]);
        assert_eq!(merged, Ok(vec![setting("b", "3"), setting("c", "4")]));
    }

    #[test]
    fn there_are_limits() {
        let many = |count: usize| (0..count).map(|n| setting(&n.to_string(), "x")).collect::<Vec<_>>();
        assert!(merge(Vec::new(), many(500)).is_ok());
        assert_eq!(merge(Vec::new(), many(501)), Err(Refused::TooMany));
        let large = |bytes| vec![setting("k", &"x".repeat(bytes))];
        assert!(merge(Vec::new(), large(MAX_BYTES - 2)).is_ok());
        assert_eq!(merge(Vec::new(), large(MAX_BYTES)), Err(Refused::TooLarge));
        assert_eq!(merge(Vec::new(), vec![setting(&"k".repeat(257), "x")]), Err(Refused::BadKey));
        assert_eq!(merge(Vec::new(), vec![setting("", "x")]), Err(Refused::BadKey));
        assert_eq!(merge(Vec::new(), vec![setting("k", "\0")]), Err(Refused::Nul));
    }
}
