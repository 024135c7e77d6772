//! How protobuf-JSON clients write values: null for unset, numbers as text (contract "identity", section 1.1).

use serde::{Deserialize, Deserializer};

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a whole number, as a number or as text")]
enum Flexible {
    Number(i64),
    Text(String),
}

impl Flexible {
    fn number<E: serde::de::Error>(self) -> Result<i64, E> {
        match self {
            Self::Number(number) => Ok(number),
            Self::Text(text) => text.parse().map_err(E::custom),
        }
    }
}

/// A whole number, written as a number or as text.
///
/// # Errors
/// When it is neither.
pub fn flexible_i64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    Option::<Flexible>::deserialize(deserializer)?.map(Flexible::number).transpose()
}

/// Whole numbers, each written as a number or as text; null is none.
///
/// # Errors
/// When one of them is neither.
pub fn flexible_ids<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<i64>, D::Error> {
    let all = Option::<Vec<Flexible>>::deserialize(deserializer)?.unwrap_or_default();
    all.into_iter().map(Flexible::number).collect()
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
