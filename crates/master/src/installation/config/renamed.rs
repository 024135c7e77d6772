//! Keys that earlier versions had: whoever upgrades is told what they are called now.

use domain::refusal::in_words;

/// Names that are none any more, and what to do about each.
const RENAMED: &[(&str, &str)] = &[
    ("audit_bytes_per_day", "is limits.stored_bytes_per_day now, and counts all that an account has stored"),
    ("retention_policy", "is retention here, such as retention: {log_days: 90}"),
];

/// A parser's refusal, with the new name of what it doesn't know.
pub(super) fn told(error: &serde_saphyr::Error) -> String {
    // The rendering adds the text around the place, under another name than the file's.
    let plain = error.without_snippet().to_string();
    let refusal = in_words(plain.lines().next().unwrap_or_default().trim_start_matches("error: "));
    let unknown = |key: &str| refusal.contains(&format!("unknown field `{key}`"));
    match RENAMED.iter().find(|(key, _)| unknown(key)) {
        Some((key, now)) => format!("{key} {now} ({refusal})"),
        None => refusal,
    }
}
