//! What the files of the repository may hold.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::shell;

/// The only crate that may go behind the compiler's back.
const LOW_LEVEL: &str = "crates/launch/";

// In parts, or this file would break its own rules.
const UNSAFE: &str = concat!("un", "safe");

/// Directories of the machines that somebody happens to develop on.
const MACHINE_PATHS: &[&str] =
    &[concat!("/wo", "rk/"), concat!("/root/", ".cargo"), concat!("/root/", ".pyenv")];

/// The endings of the files that SQLite has open beside its database. Whoever opens one of them, or the database, in the
/// master's process and closes it again takes SQLite its locks (L05): only `store` knows how that is done.
const OF_SQLITE: &[&str] = &[concat!("-w", "al\""), concat!("-s", "hm\""), concat!("-jour", "nal\"")];
const KNOWS_SQLITE: &str = "crates/store/";

/// Of the agent, the sandbox alone knows how tasks are started: whatever else starts them comes without it.
const OF_LAUNCH: &str = "launch::";
const AGENT: &str = "crates/agent/src/";
const SANDBOX: &str = "crates/agent/src/launcher/sandbox/";

/// The right to act for Muster itself is made by whoever starts a master, and is nothing for `web`, which speaks for others:
/// it neither makes it nor is handed it by a service.
const SYSTEM: &str = "System";
const MAKES_SYSTEM: &str = concat!("at_", "start");
const MAKERS: &[&str] =
    &["crates/domain/src/authz/system.rs", "crates/muster/src/role/serve.rs", "crates/testkit/"];
const WEB: &str = "crates/web/src/";
const MASTER: &str = "crates/master/src/";

/// What a handler keeps between two steps of an answer is kept as long as its reader likes, and is paid for (MK1).
const KEPT: &str = concat!("Arc<", "[");
const HANDLERS: &str = "crates/web/src/api/";

/// All files that git knows or would add: each one's name and what is in it.
pub(super) type Sources = [(String, String)];

pub(super) fn read(root: &Path) -> Result<Vec<(String, String)>> {
    let listed = shell::output(Command::new("git").current_dir(root).args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]))?;
    let mut sources = Vec::new();
    for name in listed.split_terminator('\0') {
        match fs::read(root.join(name)) {
            Ok(content) => sources.push((name.to_owned(), String::from_utf8_lossy(&content).into_owned())),
            // Deleted but not yet committed; or a link to a directory.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::IsADirectory) => {}
            Err(error) => return Err(error).with_context(|| format!("can't read {name}")),
        }
    }
    Ok(sources)
}

pub(super) fn check(sources: &Sources) -> Vec<String> {
    sources.iter().flat_map(|(name, content)| check_file(name, content)).collect()
}

fn check_file(name: &str, content: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if name.ends_with(".rs") && !content.starts_with("//!") {
        problems.push(format!("{name}:1: must begin with `//!`: what lives here, and what doesn't"));
    }
    let mut tests = name.contains("/tests/") || name.ends_with("/tests.rs");
    for (number, line) in (1..).zip(content.lines()) {
        if let Some(path) = MACHINE_PATHS.iter().find(|path| line.contains(**path)) {
            problems.push(format!("{name}:{number}: names a folder of somebody's machine, {path}"));
        }
        if name.ends_with(".rs") && !name.starts_with(LOW_LEVEL) && has_word(code(line), UNSAFE) {
            problems.push(format!("{name}:{number}: `{UNSAFE}` belongs in {LOW_LEVEL} alone"));
        }
        let product = name.ends_with(".rs") && name.contains("/src/") && !name.starts_with(KNOWS_SQLITE);
        let names = |ending: &&str| {
            ["\"", "db"].iter().any(|before| code(line).contains(&format!("{before}{ending}")))
        };
        if product && OF_SQLITE.iter().any(names) {
            problems.push(format!("{name}:{number}: files of SQLite's are opened in {KNOWS_SQLITE} alone"));
        }
        let elsewhere = name.starts_with(AGENT) && !name.starts_with(SANDBOX);
        if elsewhere && code(line).contains(OF_LAUNCH) {
            problems.push(format!("{name}:{number}: the agent knows `launch` in {SANDBOX} alone"));
        }
        if name.starts_with(HANDLERS) && code(line).replace("::<", "<").contains(KEPT) {
            problems.push(format!("{name}:{number}: a list is kept by `whole::chosen`, and paid for"));
        }
        tests |= line.trim() == "#[cfg(test)]";
        if !tests && let Some(problem) = acts_for_muster(name, code(line)) {
            problems.push(format!("{name}:{number}: {problem}"));
        }
        if name.ends_with("package-lock.json") && line.contains("\"resolved\": \"http") {
            problems.push(format!("{name}:{number}: names a registry's host; see e2e/.npmrc"));
        }
    }
    problems
}

/// What is wrong with code that has to do with the right to act for Muster itself.
fn acts_for_muster(name: &str, code: &str) -> Option<&'static str> {
    let makes = has_word(code, MAKES_SYSTEM) && !MAKERS.iter().any(|maker| name.starts_with(maker));
    if name.ends_with(".rs") && makes {
        return Some("the right to act for Muster itself is made where a master is started alone");
    }
    let names = has_word(code, SYSTEM);
    if name.starts_with(WEB) && names {
        return Some("`web` speaks for others, and never acts for Muster itself");
    }
    let (_, given) = code.split_once("->").unwrap_or_default();
    let shown = code.trim_start().starts_with("pub ") && !code.contains(" fn ");
    let taken = name == "crates/master/src/lib.rs" && code.trim() == "pub system: System,";
    if name.starts_with(MASTER) && names && (has_word(given, SYSTEM) || shown && !taken) {
        return Some("no service hands out the right to act for Muster itself: `web` could get it");
    }
    None
}

/// The line without its comment. A `//` inside a string hides the rest of the line: the compiler's own
/// lint is the one that can't be fooled.
fn code(line: &str) -> &str {
    line.split_once("//").map_or(line, |(code, _)| code)
}

fn has_word(text: &str, word: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|found| found == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn problems(name: &str, content: &str, count: usize) {
        let found = check_file(name, content);
        assert_eq!(found.len(), count, "{found:?}");
    }

    #[test]
    fn rust_begins_with_its_purpose() {
        problems("crates/web/src/lib.rs", "//! Here.\n", 0);
        problems("crates/web/src/lib.rs", "fn main() {}\n", 1);
        problems("README.md", "# Muster\n", 0);
    }

    #[test]
    fn low_level_code_stays_in_its_crate() {
        let block = format!("//! Here.\n{UNSAFE} {{ }}\n");
        problems("crates/web/src/lib.rs", &block, 1);
        problems("crates/launch/src/lib.rs", &block, 0);
        problems("crates/web/src/lib.rs", &format!("//! Nothing {UNSAFE}.\n#![forbid({UNSAFE}_code)]\n"), 0);
    }

    #[test]
    fn l05_files_of_sqlite_are_opened_beside_it_in_one_place() {
        let line = format!("//! Here.\nopen(beside(file, \"{}));\n", OF_SQLITE[0]);
        problems("crates/master/src/lib.rs", &line, 1);
        problems("crates/store/src/database/reserve.rs", &line, 0);
    }

    #[test]
    fn of_the_agent_the_sandbox_alone_knows_how_tasks_are_started() {
        problems("crates/agent/src/run/begin.rs", "//! Here.\nuse launch::Shim;\n", 1);
        problems("crates/agent/src/run/begin.rs", "//! `launch::Shim`.\nuse crate::launcher::Run;\n", 0);
        problems("crates/agent/src/launcher/sandbox/shim.rs", "//! Here.\nuse launch::Shim;\n", 0);
    }

    #[test]
    fn nobody_but_who_starts_a_master_can_act_for_it() {
        let makes = format!("//! Here.\nlet system = {SYSTEM}::{MAKES_SYSTEM}();\n");
        problems("crates/muster/src/role/serve.rs", &makes, 0);
        problems("crates/testkit/src/master.rs", &makes, 0);
        problems("crates/web/tests/http/logs.rs", &makes, 0);
        for maker in ["crates/muster/src/role.rs", "crates/master/src/lib.rs", "crates/web/src/lib.rs"] {
            problems(maker, &makes, 1);
        }
        let tests = makes.replace("Here.", "Here.\n#[cfg(test)]");
        problems("crates/master/src/record/audit.rs", &tests, 0);
        for named in ["use domain::authz::{Permit, System};", "let permit = f::<System>();"] {
            problems("crates/web/src/api/workload/task.rs", &format!("//! Here.\n{named}\n"), 1);
        }
        problems("crates/web/src/lib.rs", "//! Here.\nuse master::system::SystemClock;\n", 0);
    }

    #[test]
    fn no_service_hands_out_the_right_to_act_for_its_master() {
        let line = |code: &str| format!("//! Here.\n    {code}\n");
        for code in
            ["pub fn system(&self) -> &System {", "pub system: System,", "pub use domain::authz::System;"]
        {
            problems("crates/master/src/workload/task.rs", &line(code), 1);
        }
        for code in [
            "pub(crate) system: System,",
            "pub async fn end_all(&self, system: &System) -> Result<(), Error> {",
        ] {
            problems("crates/master/src/workload/task.rs", &line(code), 0);
        }
        problems("crates/master/src/lib.rs", &line("pub system: System,"), 0);
    }

    #[test]
    fn a05_mk1_lists_are_kept_where_they_are_paid_for() {
        for kept in
            [format!("let wanted: {KEPT}TaskId]> = all;"), "let ids = Arc::<[u8]>::from(ids);".to_owned()]
        {
            problems("crates/web/src/api/workload/task.rs", &format!("//! Here.\n{kept}\n"), 1);
            problems("crates/web/src/room/kept.rs", &format!("//! Here.\n{kept}\n"), 0);
        }
    }

    #[test]
    fn no_file_knows_a_machine_or_a_mirror() {
        problems("docs/a.md", &format!("see {}b", MACHINE_PATHS[0]), 1);
        problems("docs/a.md", "see /run/determined/workdir", 0);
        problems("e2e/package-lock.json", "\"resolved\": \"https://example.com/a.tgz\",", 1);
    }
}
