//! `cargo xtask setup`: installs what the tests need, each by its ordinary client.
//!
//! Every step first asks whether its work is done already, so that a second run costs a second.
//! What is pinned where: Python packages in `requirements.txt`, Node packages in `e2e/package-lock.json`;
//! the system's own packages are those of the distribution.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use nix::unistd::geteuid;

use crate::shell::{self, Checkout};
use crate::tools::{POLYAXON, POLYAXON_SHIM, REQUIREMENTS, SCHEMATHESIS, Tools};

/// Of nginx, socat and OpenSSH only the programs are wanted: a test starts them on ports of its own.
const SYSTEM_PACKAGES: &[&str] = &[
    "btrfs-progs",
    "chromium",
    "curl",
    "iproute2",
    "nginx-light",
    "openssh-client",
    "openssh-server",
    "postgresql",
    "procps",
    "python3-venv",
    "socat",
    "util-linux",
];

/// The lowest major version of Node that playwright-core runs on.
const NODE: u32 = 20;

pub(crate) fn run(checkout: &Checkout) -> Result<()> {
    let tools = Tools::locate(checkout)?;
    // Two set-ups at once (an editor's and a terminal's) would install into the same directories.
    let lock = File::create(tools.folder.join("setup.lock"))?;
    lock.lock().context("can't lock the test environment")?;

    system_packages(SYSTEM_PACKAGES)?;
    python(&tools.folder, &tools.venv, REQUIREMENTS)?;
    python(&tools.folder, &tools.polyaxon, POLYAXON)?;
    shim(&tools.polyaxon)?;
    python(&tools.folder, &tools.schemathesis, SCHEMATHESIS)?;
    node(&tools)?;
    nextest(checkout)
}

/// Packages of the distribution.
pub(crate) fn system_packages(wanted: &[&'static str]) -> Result<()> {
    let missing = missing_packages(wanted)?;
    if missing.is_empty() {
        return Ok(());
    }
    if missing.contains(&"postgresql") {
        no_default_cluster()?;
    }
    shell::run(apt_get().arg("update").arg("--quiet=2"))?;
    shell::run(apt_get().args(["install", "--quiet=2", "--yes", "--no-install-recommends"]).args(missing))
}

fn missing_packages(wanted: &[&'static str]) -> Result<Vec<&'static str>> {
    // It fails when one is unknown, and lists the others all the same.
    let output = Command::new("dpkg-query")
        .args(["--show", "--showformat=${Package} ${db:Status-Status}\n"])
        .args(wanted)
        .stderr(Stdio::null())
        .output()
        .with_context(|| format!("no dpkg here: install {wanted:?} by hand and use --no-setup"))?;
    let listed = String::from_utf8_lossy(&output.stdout);
    let installed = |name: &str| listed.lines().any(|line| line == format!("{name} installed"));
    Ok(wanted.iter().copied().filter(|name| !installed(name)).collect())
}

/// `apt-get`, by way of sudo for those who aren't root. It waits for another apt, and asks nothing.
fn apt_get() -> Command {
    const QUIET: &[&str] = &["DEBIAN_FRONTEND=noninteractive", "UCF_FORCE_CONFFOLD=1"];
    let mut command = Command::new(if geteuid().is_root() { "env" } else { "sudo" });
    command.args(QUIET).args(["apt-get", "-o", "DPkg::Lock::Timeout=300"]).stdin(Stdio::null());
    command
}

/// Debian's PostgreSQL would make a cluster and start it on the well-known port. Tests bring their own.
/// A file that is there already is an administrator's choice.
fn no_default_cluster() -> Result<()> {
    const FOLDER: &str = "/etc/postgresql-common";
    if !geteuid().is_root() {
        return Ok(());
    }
    fs::create_dir_all(FOLDER)?;
    let file = Path::new(FOLDER).join("createcluster.conf");
    match File::create_new(&file) {
        Ok(_) => Ok(fs::write(file, "create_main_cluster = false\n")?),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error).context("can't write createcluster.conf"),
    }
}

/// A virtual environment, made with the system's own Python: one of a user's (pyenv, conda) may lie
/// where other users can't go.
pub(crate) fn python(folder: &Path, venv: &Path, content: &str) -> Result<()> {
    let stamp = Stamp { file: venv.join("installed-requirements.txt"), content };
    if stamp.is_current() {
        return Ok(());
    }
    shell::run(Command::new("/usr/bin/python3").args(["-m", "venv", "--clear"]).arg(venv))?;
    let requirements = folder.join("requirements.txt");
    fs::write(&requirements, content)?;
    shell::run(
        Command::new(venv.join("bin/python"))
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"])
            .arg(requirements),
    )?;
    // Whatever our umask is.
    shell::run(Command::new("chmod").args(["-R", "go+rX"]).arg(venv))?;
    stamp.write()
}

/// A module that an environment's Python loads when it starts.
fn shim(venv: &Path) -> Result<()> {
    let (name, code) = POLYAXON_SHIM;
    const ASK: &str = "import sysconfig; print(sysconfig.get_path('purelib'))";
    let packages = shell::output(Command::new(venv.join("bin/python")).args(["-c", ASK]))?;
    let packages = Path::new(packages.trim());
    fs::write(packages.join(format!("{name}.py")), code)?;
    fs::write(packages.join(format!("{name}.pth")), format!("import {name}\n"))?;
    Ok(())
}

fn node(tools: &Tools) -> Result<()> {
    let lock = tools.e2e.join("package-lock.json");
    let lock = fs::read_to_string(&lock).with_context(|| format!("can't read {}", lock.display()))?;
    let stamp = Stamp { file: tools.e2e.join("node_modules/.installed-lock.json"), content: &lock };
    if stamp.is_current() {
        return Ok(());
    }
    let version =
        shell::output(Command::new("node").arg("--version")).context("the browser tests need Node")?;
    let major = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
    ensure!(
        major.is_some_and(|major| major >= NODE),
        "the browser tests need Node {NODE} or newer, not {}",
        version.trim()
    );
    shell::run(Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(&tools.e2e))?;
    stamp.write()
}

fn nextest(checkout: &Checkout) -> Result<()> {
    if shell::succeeds(&mut checkout.cargo(["nextest", "--version"])) {
        return Ok(());
    }
    shell::run(&mut checkout.cargo(["install", "cargo-nextest", "--locked"]))
}

/// A file inside an installed directory that says what was installed; written last, so that a directory
/// left half done has none.
struct Stamp<'a> {
    file: PathBuf,
    content: &'a str,
}

impl Stamp<'_> {
    fn is_current(&self) -> bool {
        fs::read_to_string(&self.file).is_ok_and(|found| found == self.content)
    }

    fn write(&self) -> Result<()> {
        fs::write(&self.file, self.content).with_context(|| format!("can't write {}", self.file.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_current_only_for_the_same_content() {
        let folder = tempfile::tempdir().unwrap();
        let stamp = |content| Stamp { file: folder.path().join("stamp"), content };
        assert!(!stamp("a").is_current());
        stamp("a").write().unwrap();
        assert!(stamp("a").is_current());
        assert!(!stamp("b").is_current());
    }
}
