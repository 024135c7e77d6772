//! Gathers what the web pages load besides HTML in `OUT_DIR/assets`, which `ui::asset` embeds: our own files from
//! `assets/`, and the packages of `package-lock.json`, fetched by npm. Nothing is written in the source tree.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

/// What is taken from the packages, and under which name it is served.
const FROM_PACKAGES: [(&str, &str); 2] =
    [("htmx.org/dist/htmx.min.js", "htmx.js"), ("htmx-ext-sse/dist/sse.min.js", "htmx-sse.js")];

/// What npm goes by.
const MANIFEST: [&str; 3] = ["package.json", "package-lock.json", ".npmrc"];

fn main() {
    for input in MANIFEST.iter().chain(&["assets", "build.rs"]) {
        println!("cargo::rerun-if-changed={input}");
    }
    if let Err(problem) = gather() {
        println!("cargo::error={problem}");
    }
}

fn gather() -> Result<(), String> {
    let out: PathBuf = env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?.into();
    let packages = install(&out)?;
    let assets = out.join("assets");
    if assets.exists() {
        fs::remove_dir_all(&assets).map_err(|e| format!("can't empty {}: {e}", assets.display()))?;
    }
    fs::create_dir_all(&assets).map_err(|e| format!("can't make {}: {e}", assets.display()))?;
    for (from, name) in FROM_PACKAGES {
        copy(&packages.join(from), &assets.join(name))?;
    }
    let own = fs::read_dir("assets").map_err(|e| format!("can't read assets: {e}"))?;
    for file in own {
        let file = file.map_err(|e| format!("can't read assets: {e}"))?;
        copy(&file.path(), &assets.join(file.file_name()))?;
    }
    Ok(())
}

/// Has npm install the locked packages, and answers where they are.
fn install(out: &Path) -> Result<PathBuf, String> {
    let folder = out.join("npm");
    fs::create_dir_all(&folder).map_err(|e| format!("can't make {}: {e}", folder.display()))?;
    for file in MANIFEST {
        copy(Path::new(file), &folder.join(file))?;
    }
    let npm = Command::new("npm")
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--prefix"])
        .arg(&folder)
        .current_dir(&folder)
        .stdin(Stdio::null())
        .output()
        .map_err(|e| {
            format!("npm can't be started ({e}): install Node.js, the web pages need two of its packages")
        })?;
    if !npm.status.success() {
        let said = String::from_utf8_lossy(&npm.stderr);
        let said: Vec<_> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        return Err(format!("npm could not fetch the scripts of the web pages: {}", said.join("; ")));
    }
    Ok(folder.join("node_modules"))
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    let copied = fs::copy(from, to);
    copied.map(drop).map_err(|e| format!("can't copy {} to {}: {e}", from.display(), to.display()))
}
