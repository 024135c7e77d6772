//! `cargo xtask generate`: the files that are made from the code and committed.
//!
//! A reader finds them without building anything, and a reviewer sees in them what a change does to the
//! outside. `--check` fails when one of them is not what the code makes today.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::shell::{self, Checkout};

/// Every generated file, and what `muster` is asked to write it.
const FILES: &[(&str, &[&str])] =
    &[("docs/cli.md", &["generate", "cli"]), ("docs/openapi.json", &["generate", "openapi"])];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write nothing; fail if a file isn't what the code makes, and show how
    #[arg(long)]
    pub(crate) check: bool,
}

/// How much to compile for the binary.
#[derive(Clone, Copy)]
pub(crate) enum Build {
    /// No more than the binary.
    Binary,
    /// The tests with it. They switch on features in crates that the binary uses too, so that each would be
    /// compiled twice if the tests came after.
    WithTests,
}

pub(crate) fn run(checkout: &Checkout, args: &Args, build: Build) -> Result<()> {
    shell::run(&mut match build {
        Build::Binary => checkout.cargo(["build", "--package", "muster"]),
        Build::WithTests => checkout.cargo(["build", "--workspace", "--bins", "--tests"]),
    })?;
    let muster = checkout.target.join("debug/muster");

    let mut stale = Vec::new();
    for (name, words) in FILES {
        let file = checkout.root.join(name);
        let made = shell::output(Command::new(&muster).args(*words))?;
        if fs::read_to_string(&file).is_ok_and(|found| found == made) {
            continue;
        }
        if args.check {
            show_difference(&file, name, &made)?;
            stale.push(*name);
        } else {
            write(&file, &made)?;
            eprintln!("{name} written");
        }
    }
    if !stale.is_empty() {
        bail!("run `cargo xtask generate` and commit: {}", stale.join(", "));
    }
    Ok(())
}

fn write(file: &Path, content: &str) -> Result<()> {
    let folder = file.parent().context("a generated file has no folder")?;
    fs::create_dir_all(folder)?;
    fs::write(file, content).with_context(|| format!("can't write {}", file.display()))
}

/// A unified difference on the terminal; a missing file counts as empty.
fn show_difference(file: &Path, name: &str, made: &str) -> Result<()> {
    let mut diff = Command::new("diff")
        .args(["--new-file", "--unified", "--label", name, "--label", "made from the code"])
        .arg(file)
        .arg("-")
        .stdin(Stdio::piped())
        .spawn()
        .context("can't start diff")?;
    let mut stdin = diff.stdin.take().context("diff has no standard input")?;
    stdin.write_all(made.as_bytes())?;
    drop(stdin);
    diff.wait()?;
    Ok(())
}
