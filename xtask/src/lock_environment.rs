//! `cargo xtask lock-environment`: looks up what the packages of the tasks' Python are today, for every Python that is
//! supported, and pins them with the digests of their files. Where they are looked up is pip's configuration of this
//! machine; no address of it stands in what is written.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::setup;
use crate::shell::{self, Checkout};
use crate::tools::Tools;

/// It can look for several versions of Python at once, which pip can't.
const UV: &str = include_str!("../python/uv.txt");

/// Below the root.
const WANTED: &str = "crates/agent/src/environment/requirements.in";
const LOCKED: &str = "crates/agent/src/environment/requirements.lock";

/// The oldest Python that tasks may have.
const OLDEST: &str = "3.10";

const HEAD: &str =
    "# Made of requirements.in by `cargo xtask lock-environment`; change that file, not this one.\n";

pub(crate) fn run(checkout: &Checkout) -> Result<()> {
    let tools = Tools::locate(checkout)?;
    let venv = tools.folder.join("uv");
    setup::python(&tools.folder, &venv, UV)?;
    let found = tools.folder.join("requirements.lock");
    // What is there would count as wanted.
    let _ = fs::remove_file(&found);
    let mut command = Command::new(venv.join("bin/uv"));
    command
        .args([
            "pip",
            "compile",
            "--quiet",
            "--universal",
            "--generate-hashes",
            "--no-header",
            "--no-annotate",
        ])
        .args(["--python-version", OLDEST, "--python"])
        .arg(venv.join("bin/python"))
        .arg("--output-file")
        .arg(&found)
        .arg(checkout.root.join(WANTED));
    // It doesn't read pip's configuration.
    for (setting, variable) in [("index-url", "UV_DEFAULT_INDEX"), ("extra-index-url", "UV_INDEX")] {
        let told = Command::new(venv.join("bin/python"))
            .args(["-m", "pip", "config", "get", &format!("global.{setting}")])
            .stderr(Stdio::null())
            .output()?;
        let told = String::from_utf8_lossy(&told.stdout).trim().to_owned();
        if !told.is_empty() {
            command.env(variable, told);
        }
    }
    shell::run(&mut command)?;
    let text = fs::read_to_string(&found).with_context(|| format!("can't read {}", found.display()))?;
    fs::write(checkout.root.join(LOCKED), format!("{HEAD}{text}"))?;
    fs::remove_file(found)?;
    eprintln!("{LOCKED} written");
    Ok(())
}
