//! Configurations that people send as YAML.

use serde_json::Value;

/// Most values in one, where a configuration has 4096 keys.
const NODES: usize = 16 << 10;

/// Most places where one stands for what was said elsewhere, …
const ALIASES: usize = 64;
/// … and where that is merged into what is beside it. Each is copied before anybody counts what has become of it, so that
/// sixty of them, each of the one before, took 0.2 s of a processor for 2 KB of text (MC1).
const MERGES: usize = 8;

/// Reads a text of which no more than `limit` bytes become, whatever its aliases make of it: one value that stood in it once
/// and was named three thousand times was hundreds of MiB, before anybody counted (MC1).
///
/// # Errors
/// What is wrong with it.
pub(crate) fn read(text: &str, limit: usize) -> Result<Value, String> {
    let budget = serde_saphyr::budget! {
        max_total_scalar_bytes: limit,
        max_recorded_anchor_bytes: limit,
        max_nodes: NODES,
        max_events: 4 * NODES,
        max_aliases: ALIASES,
        max_anchors: ALIASES,
        max_merge_keys: MERGES,
    };
    let options = serde_saphyr::options! { budget: budget };
    serde_saphyr::from_str_with_options(text, options).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::read;

    const LIMIT: usize = 64 << 10;

    #[test]
    fn mc1_aliases_make_no_more_of_a_text_than_it_may_have() {
        let nothing = "\\0".repeat(10_000);
        let many = |line: &str| line.repeat(300);
        let bombs = [
            format!("a: &a \"{nothing}\"\nb:\n{}", many("- *a\n")),
            format!(
                "a: &a \"{nothing}\"\nb: &b [*a, *a, *a, *a]\nc: &c [*b, *b, *b, *b]\nd: [*c, *c, *c, *c]"
            ),
            format!("a: &a [{}]\nb:\n{}", many("1,"), many("- *a\n")),
            format!("a: &a {{k: {nothing}}}\nb:\n{}", many("- {<<: *a}\n")),
            (1..12).fold("a0: &a0 {x: 1}\n".to_owned(), |text, n| {
                format!("{text}a{n}: &a{n} {{<<: *a{}, x{n}: 1}}\n", n - 1)
            }),
            (1..8).fold("a0: &a0 {x: 1}\n".to_owned(), |text, n| {
                let before = format!("*a{}", n - 1);
                format!("{text}a{n}: &a{n} {{<<: [{}]}}\n", [before.as_str(); 16].join(","))
            }),
        ];
        for bomb in bombs {
            assert!(bomb.len() < LIMIT && read(&bomb, LIMIT).is_err(), "{} bytes", bomb.len());
        }
        let usual = read("a: &a {slots: 1}\nb: *a\nc: {<<: *a, n: .5}", LIMIT).expect("a configuration");
        assert_eq!(usual["b"]["slots"], 1);
        assert_eq!(usual["c"]["slots"], 1);
    }
}
