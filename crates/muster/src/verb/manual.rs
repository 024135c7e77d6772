//! What is made from the tree of commands: completions, manual pages, the reference in Markdown.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::cli::{Cli, ENVIRONMENT, EXIT_STATUS};
use crate::output;

/// Prints a script that completes commands.
pub(crate) fn completions(shell: Shell) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "muster", &mut script);
    output::bytes(&script)
}

/// Prints the manual page, or writes one per command into `dir`.
pub(crate) fn man(dir: Option<&Path>) -> Result<()> {
    let Some(dir) = dir else {
        let mut page = Vec::new();
        Man::new(Cli::command()).render(&mut page)?;
        return output::bytes(&page);
    };
    let problem = || format!("can't write manual pages into {}", dir.display());
    fs::create_dir_all(dir).with_context(problem)?;
    clap_mangen::generate_to(Cli::command(), dir).with_context(problem)
}

/// Prints the reference of the command line.
pub(crate) fn reference() -> Result<()> {
    output::text_block(&markdown())
}

fn markdown() -> String {
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    let mut out = format!(
        "# The command line\n\nMade by `muster generate cli`; change the tree in `crates/muster`, not this file.\n\n\
         {EXIT_STATUS}\n\n{ENVIRONMENT}\n"
    );
    section(&mut out, &root);
    out
}

/// Writing to a String can't fail, so results of `write!` are dropped here and below.
fn section(out: &mut String, command: &Command) {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
    let _ = write!(out, "\n## `{name}`\n\n");
    if let Some(about) = command.get_about() {
        let _ = writeln!(out, "{about}.");
    }
    let usage = command.clone().render_usage().to_string();
    let usage: Vec<_> = usage.trim_start_matches("Usage:").lines().map(str::trim).collect();
    let _ = write!(out, "\n```\n{}\n```\n", usage.join("\n"));
    let aliases: Vec<_> = command.get_visible_aliases().map(|alias| format!("`{alias}`")).collect();
    if !aliases.is_empty() {
        let _ = writeln!(out, "\nShort: {}", aliases.join(", "));
    }
    let is_root = name == "muster";
    let arguments: Vec<_> = command
        .get_arguments()
        // The global options are told once, at the top.
        .filter(|arg| !arg.is_hide_set() && (is_root || !arg.is_global_set()))
        .filter(|arg| !matches!(arg.get_id().as_str(), "help" | "version"))
        .collect();
    if !arguments.is_empty() {
        out.push('\n');
    }
    for arg in arguments {
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let _ = writeln!(out, "- `{}`: {help}", arg.to_string().trim());
    }
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        section(out, verb);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_holds_every_visible_command_once() {
        let text = markdown();
        for name in ["muster user login", "muster command run", "muster agent invite", "muster up"] {
            let heading = format!("## `{name}`\n");
            assert_eq!(text.matches(&heading).count(), 1, "{name}\n{text}");
        }
        assert!(!text.contains("shim"), "{text}");
        assert_eq!(text.matches("--master <URL>").count(), 1, "{text}");
    }
}
