//! `cargo xtask`: what a shell script would do: set-up, test suites, lints, generated files.
//!
//! This file holds the list of verbs and nothing of their work; each verb is a module.

#![expect(clippy::print_stderr, reason = "a build tool talks to its terminal")]

mod bench;
mod generate;
mod http;
mod lint;
mod lock_environment;
mod postgres;
mod server;
mod setup;
mod shell;
mod soak;
mod test;
mod tools;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::shell::Checkout;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Set-up, tests, lints and generated files of this workspace")]
struct Xtask {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Install what the tests need; does nothing when all is there
    Setup,
    /// Run the tests against a throw-away PostgreSQL cluster
    Test(test::Args),
    /// Check formatting, clippy, crate dependencies and the rules for source files
    Lint(lint::Args),
    /// Measure the figures that are promised, on a release build
    Bench(bench::Args),
    /// Kill the master again and again under load, after an upgrade under running tasks, and look for what is lost
    Soak(soak::Args),
    /// Write the files that are made from the code
    Generate(generate::Args),
    /// Look up what the Python of tasks is made of, and pin it
    LockEnvironment,
    /// All that a change must pass: lint, generated files, tests
    Ci,
}

impl Verb {
    /// The exit code matters for tests alone: theirs is handed on without a word of ours.
    fn run(self, checkout: &Checkout) -> Result<ExitCode> {
        match self {
            Self::Setup => setup::run(checkout)?,
            Self::Test(args) => return test::run(checkout, &args),
            Self::Lint(args) => lint::run(checkout, &args)?,
            Self::Bench(args) => bench::run(checkout, &args)?,
            Self::Soak(args) => soak::run(checkout, &args)?,
            Self::Generate(args) => generate::run(checkout, &args, generate::Build::Binary)?,
            Self::LockEnvironment => lock_environment::run(checkout)?,
            Self::Ci => return ci(checkout),
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Cheap checks come first, and the tests last, so that their summary closes the output.
fn ci(checkout: &Checkout) -> Result<ExitCode> {
    eprintln!("== 1/3 lint");
    lint::run(checkout, &lint::Args::default())?;
    eprintln!("== 2/3 generated files");
    generate::run(checkout, &generate::Args { check: true }, generate::Build::WithTests)?;
    eprintln!("== 3/3 tests");
    test::run(checkout, &test::Args::default())
}

fn main() -> ExitCode {
    let xtask = Xtask::parse();
    match Checkout::locate().and_then(|checkout| xtask.verb.run(&checkout)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
