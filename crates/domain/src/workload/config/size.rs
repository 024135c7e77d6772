//! Sizes as people write them: bytes, or a number with a unit.

use serde_json::Value;

/// Bytes from text such as `512`, `64M`, `1.5g`, `4GiB`; `None` when it is no size.
#[must_use]
pub fn parse_size(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = 1_u128
        << match lower.get(digits.len()..)?.trim_end_matches("ib").trim_end_matches('b') {
            "" => 0,
            "k" => 10,
            "m" => 20,
            "g" => 30,
            "t" => 40,
            "p" => 50,
            _ => return None,
        };
    let (whole, fraction) = digits.trim().split_once('.').unwrap_or((digits.trim(), "0"));
    let part = u128::from(fraction.parse::<u32>().ok()?) * unit
        / 10_u128.checked_pow(fraction.len().try_into().ok()?)?;
    u64::try_from(u128::from(whole.parse::<u64>().ok()?) * unit + part).ok()
}

/// The same from a value of a configuration, where bytes may be a number; YAML reads `1e9` as one that isn't whole.
pub(super) fn of_value(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => parse_size(text),
        Value::Number(number) => number.as_u64().or_else(|| parse_size(&number.as_f64()?.to_string())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sizes() {
        assert_eq!(parse_size("4G"), Some(4 << 30));
        assert_eq!(parse_size("64 MiB"), Some(64 << 20));
        assert_eq!(parse_size("12"), Some(12));
        assert_eq!(parse_size("1.5g"), Some(3 << 29), "B21");
        assert_eq!(parse_size("0.25 kb"), Some(256));
        assert_eq!(parse_size("1p"), Some(1 << 50));
        for no_size in ["", "1.", ".5g", "1.2.3", "-1", "1e3", "1.99999999999", "1.5gg", "g1"] {
            assert_eq!(parse_size(no_size), None, "{no_size}");
        }
        assert_eq!(parse_size("G"), None);
        assert_eq!(parse_size("99999999999T"), None);
    }

    #[test]
    fn b21_a_number_is_bytes() {
        for (value, bytes) in [
            (json!(1_073_741_824), Some(1 << 30)),
            (json!(1e9), Some(1_000_000_000)),
            (json!("64m"), Some(64 << 20)),
            (json!(0), Some(0)),
            (json!(-1), None),
            (json!(-1.5), None),
            (json!(true), None),
            (json!({"cpu": "1g"}), None),
        ] {
            assert_eq!(of_value(&value), bytes, "{value}");
        }
    }
}
