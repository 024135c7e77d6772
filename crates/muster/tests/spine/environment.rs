//! The Python that tasks have, as it really is: JupyterLab, TensorBoard, `determined`. It is made once for all tests and all
//! their runs, which takes minutes, and this is the only test that does.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::{Muster, Output, Process, Setup};

const SCRIPT: &str = "
import sys, determined, jupyterlab, tensorboard
from determined.common.api import bindings
print(sys.argv[1], determined.__version__, sys.prefix)
import helper
";

fn environment(muster: &Muster, verb: &str) -> Output {
    let config = muster.data_dir().parent().expect("a directory").join("master.yaml");
    let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
    command.env("HOME", "/root").args(["environment", verb, "--data-dir"]).arg(muster.data_dir());
    // Making it takes minutes.
    Process::start(command.arg("--config").arg(config), "").finish_within(Duration::from_secs(600))
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("below")).expect("a directory");
    fs::write(path, text).expect("written");
}

/// `det cmd run python script.py` just runs, as anybody, and so does what Determined's users start in a task.
#[test]
fn b21_the_real_python_of_tasks() {
    let kept = testkit::env::environments();
    let agent = format!("agent: {{task_environment: managed, environment_dir: '{}'}}", kept.display());
    let muster = Setup::default().config(&agent).up();
    assert!(environment(&muster, "build").ok().contains("is there"));
    let shown = environment(&muster, "show").ok();
    assert!(shown.contains("True"), "{shown}");

    let alice = muster.linked_user("alice", 5001);
    write(&alice.home.join("code/script.py"), SCRIPT);
    write(&alice.home.join("code/helper.py"), "print('helped')\n");
    let context = alice.home.join("code");
    let said = alice.det_args(
        ["cmd", "run", "--context", context.to_str().expect("text"), "python", "script.py", "one"],
        "",
    );
    let said = said.ok();
    assert!(said.contains("one 0.38.1 /run/determined/pythonuserbase") && said.contains("helped"), "{said}");

    let line = "det --version; jupyter lab --version; tensorboard --version; pip --version; id -u
        pip install -q termcolor && python -c 'import termcolor; print(\"installed\")'; det user whoami";
    let said = alice.script("", line).ok();
    for part in ["0.38.1", "\n4.", "\n2.", "\npip ", "(python 3.", "\n5001\n", "installed"] {
        assert!(said.contains(part), "{part:?} in {said}");
    }
    // JupyterLab finds its pages, though its interpreter is the task's own.
    let page = "jupyter lab --no-browser --ServerApp.ip=127.0.0.1 --ServerApp.port=8899 --IdentityProvider.token= >log 2>&1 &
        for i in $(seq 300); do
            python -c 'import urllib.request as u; print(u.urlopen(\"http://127.0.0.1:8899/lab\").status)' 2>/dev/null && break
            sleep 0.2
        done; jupyter kernelspec list | grep -c python3; kill $!";
    assert_eq!(alice.script("", page).ok(), "200\n1");
}
