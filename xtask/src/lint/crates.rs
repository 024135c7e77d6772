//! Which crate may depend on which: the table in `ARCHITECTURE.md`, as a check.
//!
//! Only a crate's own list of dependencies counts: that the WebUI reaches the database by way of a service
//! is the point of the layers.

use serde_json::Value;

/// A crate, what it must not depend on, and what for. A name stands for its family too: `sqlx` for
/// `sqlx-core`.
struct Rule {
    krate: &'static str,
    forbidden: &'static [&'static str],
    /// No crate of this workspace either.
    alone: bool,
    reason: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        krate: "domain",
        forbidden: &["tokio", "sqlx", "axum", "rand"],
        alone: true,
        reason: "its decisions are plain functions, without input, output, clock or chance",
    },
    Rule {
        krate: "api",
        forbidden: &["store", "master"],
        alone: false,
        reason: "the wire is versioned by itself",
    },
    Rule {
        krate: "link",
        forbidden: &["axum", "sqlx", "reqwest", "tokio-tungstenite"],
        alone: true,
        reason: "the channel knows neither what is said on it nor what carries it",
    },
    Rule { krate: "store", forbidden: &["axum", "api"], alone: false, reason: "rows never leak into JSON" },
    Rule {
        krate: "master",
        forbidden: &["axum", "sqlx"],
        alone: false,
        reason: "a service can neither see a request nor write SQL",
    },
    Rule {
        krate: "web",
        forbidden: &["sqlx", "store"],
        alone: false,
        reason: "a handler reaches data only through a service that demands a permit",
    },
    Rule {
        krate: "neighbour",
        forbidden: &["tokio", "axum", "sqlx"],
        alone: true,
        reason: "what the kernel says of a peer is asked without HTTP, accounts or waiting",
    },
    Rule {
        krate: "agent",
        forbidden: &["store", "master"],
        alone: false,
        reason: "no database code on a compute node",
    },
    Rule {
        krate: "launch",
        forbidden: &["tokio", "sqlx", "axum", "reqwest"],
        alone: true,
        reason: "the part that runs as root is small and read as a whole",
    },
];

/// The only crate that names sqlx, be it for its tests.
const DATABASE: &str = "store";

/// Breaches in what `cargo metadata --no-deps` says.
pub(super) fn check(metadata: &Value) -> Vec<String> {
    let packages = metadata["packages"].as_array().map_or(&[][..], Vec::as_slice);
    let names: Vec<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    let mut problems = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            if let Some(reason) = breach(name, dependency, &names) {
                let used = dependency["name"].as_str().unwrap_or_default();
                problems.push(format!("crate {name} must not depend on {used}: {reason}"));
            }
        }
    }
    let gone = RULES.iter().filter(|rule| !names.contains(&rule.krate));
    problems.extend(gone.map(|rule| format!("there is a rule for the crate {}, which is gone", rule.krate)));
    problems
}

fn breach(name: &str, dependency: &Value, workspace: &[&str]) -> Option<&'static str> {
    let used = dependency["name"].as_str()?;
    if name != DATABASE && is_of(used, "sqlx") {
        return Some("only `store` talks SQL");
    }
    // Tests may reach further than the code does.
    if dependency["kind"] == "dev" {
        return None;
    }
    let rule = RULES.iter().find(|rule| rule.krate == name)?;
    let forbidden = rule.forbidden.iter().any(|family| is_of(used, family));
    (forbidden || rule.alone && workspace.contains(&used)).then_some(rule.reason)
}

fn is_of(name: &str, family: &str) -> bool {
    name.strip_prefix(family).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The problems when `name`, in a workspace of all ruled crates, depends on `used`.
    fn problems(name: &str, used: &str, kind: Option<&str>) -> Vec<String> {
        let others = RULES.iter().map(|rule| rule.krate).filter(|other| *other != name);
        let mut packages: Vec<Value> =
            others.map(|other| json!({"name": other, "dependencies": []})).collect();
        packages.push(json!({"name": name, "dependencies": [{"name": used, "kind": kind}]}));
        check(&json!({ "packages": packages }))
    }

    #[test]
    fn layers_hold() {
        for (name, used) in [
            ("web", "store"),
            ("web", "sqlx-core"),
            ("master", "axum"),
            ("domain", "tokio-util"),
            ("domain", "api"),
            ("launch", "domain"),
            ("muster", "sqlx"),
        ] {
            assert_eq!(problems(name, used, None).len(), 1, "{name} on {used}");
        }
        for (name, used) in [("web", "master"), ("store", "sqlx"), ("launch", "rustix"), ("store", "storey")]
        {
            assert_eq!(problems(name, used, None), [""; 0], "{name} on {used}");
        }
    }

    #[test]
    fn tests_reach_further_but_not_to_the_database() {
        assert!(problems("web", "store", Some("dev")).is_empty());
        assert_eq!(problems("web", "sqlx", Some("dev")).len(), 1);
    }

    #[test]
    fn a_rule_for_no_crate_is_a_problem() {
        assert_eq!(check(&json!({ "packages": [] })).len(), RULES.len());
    }
}
