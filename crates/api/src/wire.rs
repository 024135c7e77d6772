//! How protobuf-JSON clients write values: null for unset, numbers as text (contract "identity", section 1.1).

use serde::{Deserialize, Deserializer};

/// A whole number, written as a number or as text.
///
/// # Errors
/// When it is neither.
pub fn flexible_i64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Flexible {
        Number(i64),
        Text(String),
    }
    match Option::<Flexible>::deserialize(deserializer)? {
        None => Ok(None),
        Some(Flexible::Number(number)) => Ok(Some(number)),
        Some(Flexible::Text(text)) => text.parse().map(Some).map_err(serde::de::Error::custom),
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
