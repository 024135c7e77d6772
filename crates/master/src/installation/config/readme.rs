//! README's configuration can be pasted (ME39): as it stands it is what holds without a file, and its examples are good ones.

use super::Config;

fn pasted(text: &str) -> Config {
    Config::parse(text, "README.md").expect("README's configuration")
}

#[test]
fn me39_the_configuration_of_readme_can_be_pasted() {
    let readme = include_str!("../../../../../README.md");
    let (_, after) = readme.split_once("```yaml\n").expect("a configuration");
    let (yaml, _) = after.split_once("\n```").expect("its end");
    assert_eq!(pasted(yaml), Config::default());
    let examples: Vec<&str> = yaml.lines().map(|line| line.strip_prefix("# ").unwrap_or(line)).collect();
    let all = pasted(&examples.join("\n"));
    assert!(all.db.url.is_some() && all.smtp.is_some() && all.resource_pools.len() == 1, "{all:?}");
}
