//! `cargo xtask lint`: all that can be checked without running the program.
//!
//! Our own rules live in `crates` (who may depend on whom), `sources` (what a file may hold) and `ids` (what ids of
//! requirements mean); the rest is rustfmt's and clippy's. Rules come first: they take a second, and clippy a compilation.

mod crates;
mod ids;
mod sources;

use anyhow::{Result, bail};

use crate::shell::{self, Checkout};

/// C libraries that bring their own build systems, vulnerabilities and linking troubles: our TLS is rustls
/// with ring. They creep in through default features.
const BANNED: &[&str] = &["aws-lc-fips-sys", "aws-lc-rs", "aws-lc-sys", "native-tls", "openssl-sys"];

#[derive(clap::Args, Default)]
pub(crate) struct Args {
    /// Leave out clippy, which compiles
    #[arg(long)]
    quick: bool,
}

pub(crate) fn run(checkout: &Checkout, args: &Args) -> Result<()> {
    let mut problems = crates::check(&checkout.metadata);
    let sources = sources::read(&checkout.root)?;
    problems.extend(sources::check(&sources));
    problems.extend(ids::check(&sources));
    problems.extend(banned(checkout)?);
    for problem in &problems {
        eprintln!("{problem}");
    }
    if !problems.is_empty() {
        bail!("the workspace's rules are broken in {} places", problems.len());
    }
    shell::run(&mut checkout.cargo(["fmt", "--all", "--check"]))?;
    if !args.quick {
        let clippy = ["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"];
        shell::run(&mut checkout.cargo(clippy))?;
    }
    Ok(())
}

/// Banned crates in the build, each with the way by which it came in.
fn banned(checkout: &Checkout) -> Result<Vec<String>> {
    const TREE: &[&str] = &["tree", "--workspace", "--prefix=none", "--format={p}"];
    let tree = shell::output(&mut checkout.cargo(TREE))?;
    let built = |name: &str| tree.lines().any(|line| line.split(' ').next() == Some(name));
    let mut problems = Vec::new();
    for name in BANNED.iter().filter(|name| built(name)) {
        let way = shell::output(&mut checkout.cargo(["tree", "--workspace", "--invert", name]))?;
        problems.push(format!("the crate {name} is banned, and came in by:\n{way}"));
    }
    Ok(problems)
}
