//! How protobuf-JSON clients write values: null for unset, numbers as text (contract "identity", section 1.1).

use std::fmt;

use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::few::Few;

/// What is told of anything else.
const NUMBER: &str = "expected a whole number, as a number or as text";

/// A whole number, written as a number or as text. What is neither isn't kept to be looked at (MB2).
struct Flexible(i64);

struct Number;

impl<'de> Visitor<'de> for Number {
    type Value = Flexible;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number, as a number or as text")
    }
    fn visit_bool<E: Error>(self, _: bool) -> Result<Flexible, E> {
        Err(E::custom(NUMBER))
    }
    fn visit_f64<E: Error>(self, _: f64) -> Result<Flexible, E> {
        Err(E::custom(NUMBER))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Flexible, A::Error> {
        Err(A::Error::custom(NUMBER))
    }
    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<Flexible, A::Error> {
        Err(A::Error::custom(NUMBER))
    }
    fn visit_i64<E: Error>(self, number: i64) -> Result<Flexible, E> {
        Ok(Flexible(number))
    }
    fn visit_u64<E: Error>(self, number: u64) -> Result<Flexible, E> {
        i64::try_from(number).map(Flexible).map_err(E::custom)
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Flexible, E> {
        text.parse().map(Flexible).map_err(E::custom)
    }
}

impl<'de> Deserialize<'de> for Flexible {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Number)
    }
}

/// A whole number, written as a number or as text.
///
/// # Errors
/// When it is neither.
pub fn flexible_i64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    Ok(Option::<Flexible>::deserialize(deserializer)?.map(|Flexible(number)| number))
}

/// Whole numbers, each written as a number or as text; null is none.
///
/// # Errors
/// When one of them is neither.
pub fn flexible_ids<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Few<i64>, D::Error> {
    let all = Option::<Few<Flexible>>::deserialize(deserializer)?.unwrap_or_default();
    Ok(all.into_iter().map(|Flexible(number)| number).collect())
}

/// What a client says of something that isn't there: it isn't kept, only whether it is more than nothing (MB2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unkept {
    /// An empty object.
    Nothing,
    /// Anything else.
    Something,
}

struct Saying;

impl<'de> Visitor<'de> for Saying {
    type Value = Unkept;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unkept, A::Error> {
        let mut said = Unkept::Nothing;
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
            said = Unkept::Something;
        }
        Ok(said)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Unkept, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Unkept::Something)
    }
    fn visit_bool<E>(self, _: bool) -> Result<Unkept, E> {
        Ok(Unkept::Something)
    }
    fn visit_i64<E>(self, _: i64) -> Result<Unkept, E> {
        Ok(Unkept::Something)
    }
    fn visit_u64<E>(self, _: u64) -> Result<Unkept, E> {
        Ok(Unkept::Something)
    }
    fn visit_f64<E>(self, _: f64) -> Result<Unkept, E> {
        Ok(Unkept::Something)
    }
    fn visit_str<E>(self, _: &str) -> Result<Unkept, E> {
        Ok(Unkept::Something)
    }
    fn visit_unit<E>(self) -> Result<Unkept, E> {
        Ok(Unkept::Nothing)
    }
}

impl<'de> Deserialize<'de> for Unkept {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Saying)
    }
}

/// Null counts as the type's default.
///
/// # Errors
/// When the value is of another type.
pub fn null_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// The answer of what is done and has nothing to tell: `{}`.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[schemars(deny_unknown_fields)]
pub struct Empty {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_of_what_is_not_there() {
        let said = |text: &str| serde_json::from_str::<Option<Unkept>>(text).expect("JSON");
        assert_eq!((said("null"), said("{}")), (None, Some(Unkept::Nothing)));
        for text in ["[]", "0", "-1", "0.5", "true", "\"\"", "{\"a\": {}}", "[[0]]"] {
            assert_eq!(said(text), Some(Unkept::Something), "{text}");
        }
    }

    #[test]
    fn numbers_are_numbers_or_text() {
        let read = |text: &str| flexible_i64(&mut serde_json::Deserializer::from_str(text));
        assert_eq!(read("null").expect("none"), None);
        for text in ["7", "\"7\""] {
            assert_eq!(read(text).expect("a number"), Some(7));
        }
        for text in ["0.5", "\"x\"", "[7]", "{}", "true", "18446744073709551615"] {
            assert!(read(text).is_err(), "{text}");
        }
        assert!(read("[7]").expect_err("a list").to_string().contains("expected a whole number"));
    }
}
