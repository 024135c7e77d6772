//! What a task gets of a Python: its variables, and the virtual environment of its own.

use std::path::Path;

use launch::TaskSpec;
use launch::spec::{Content, DEFAULT_PATH, OwnFile, RUN_DIR};

use crate::environment::{OWN, Prepared, Python};

/// Runs pip with the interpreter beside it, whatever pip's own program names.
const PIP: &str = "#!/bin/sh\nexec \"${0%/*}/python\" -m pip \"$@\"\n";

/// Gives a task this Python, first in its `PATH`.
pub(super) fn equip(spec: &mut TaskSpec, prepared: &Prepared) {
    let Prepared { python, shown, .. } = prepared;
    let own = Path::new(RUN_DIR).join(OWN);
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let path = spec.env.iter().rev().find(|(name, _)| name == "PATH").map(|(_, value)| value.clone());
    let of_module = python.variables.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.clone());
    let path = path.or(of_module).unwrap_or_else(|| DEFAULT_PATH.to_owned());
    spec.env.retain(|(name, _)| name != "PATH");
    spec.env.push(("PATH".into(), format!("{}:{}:{path}", text(&own.join("bin")), text(&python.bin))));
    let jupyter = python.prefix.join("share/jupyter");
    let usual = [
        ("VIRTUAL_ENV", text(&own)),
        ("PYTHONUSERBASE", text(&own)),
        // JupyterLab looks for its parts beside its interpreter, which is the task's own.
        ("JUPYTER_PATH", text(&jupyter)),
        ("JUPYTER_CONFIG_PATH", text(&python.prefix.join("etc/jupyter"))),
        ("JUPYTERLAB_DIR", text(&jupyter.join("lab"))),
    ];
    let usual = usual.map(|(name, value)| (name.to_owned(), value));
    for (name, value) in usual.into_iter().chain(python.variables.iter().cloned()) {
        if !spec.env.iter().any(|(known, _)| *known == name) {
            spec.env.push((name, value));
        }
    }
    spec.own_files.extend(own_files(python));
    spec.shown.extend(shown.as_ref().map(super::job::shown));
}

/// A virtual environment, as the `venv` of Python's library makes it, with the packages of `python` behind its own.
fn own_files(python: &Python) -> Vec<OwnFile> {
    let home = python.base.parent().unwrap_or(Path::new("/usr/bin"));
    // With those of the system in sight, `pip install --user` means this place, too.
    let config = format!(
        "home = {}\ninclude-system-site-packages = true\nversion = {}\nexecutable = {}\n",
        home.display(),
        python.release,
        python.base.display()
    );
    let behind: String = python.sites.iter().fold(String::new(), |lines, site| {
        // The text of a path is nearly Python's text of it.
        lines + &format!("import site; site.addsitedir({})\n", serde_json::json!(site))
    });
    let link = |to: &str| Content::Link(to.into());
    let named = format!("bin/python{}", python.version);
    let packages = format!("lib/python{}/site-packages/_task_environment.pth", python.version);
    let files = [
        ("pyvenv.cfg", Content::Text(config)),
        ("bin/python", Content::Link(python.base.clone())),
        ("bin/python3", link("python")),
        (named.as_str(), link("python")),
        ("bin/pip", Content::Program(PIP.into())),
        ("bin/pip3", link("pip")),
        ("lib64", link("lib")),
        (packages.as_str(), Content::Text(behind)),
    ];
    files.into_iter().map(|(path, content)| OwnFile { path: Path::new(OWN).join(path), content }).collect()
}
