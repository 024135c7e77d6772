//! A file system of a user's that doesn't answer any more holds up neither other people's logins nor the end of the
//! master (S5, R15, A3). How looks are held up, and what then, is tested in `neighbour`.

use std::process::Command;
use std::time::Duration;

use crate::support::{Muster, Process, dir_for_all, run};

/// Asks as a person's program does who has memory that others may share, so that all are looked at.
const ASK: &str = "
import os, sys, urllib.request
os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[2]))
kept = os.memfd_create('x')
print(urllib.request.urlopen(sys.argv[1] + '/info', timeout=20).read().decode())
";

/// Its input is its own: who can speak to what has such a device open would be a doubt for all that he starts.
const START: &str = r#"mkfifo "$2/in" && exec /usr/bin/python3 "$0" "$1" 5001 <>"$2/in" "#;

#[test]
fn a03_r15_who_makes_looks_wait_keeps_nobody_from_logging_in() {
    for how in ["stat", "exec", "memory"] {
        let mut muster = Muster::up();
        let dir = dir_for_all();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../neighbour/tests/hanging.py");
        let mut shell = Command::new("sh");
        shell.args(["-c", START, script, how]).arg(dir.path()).env("TMPDIR", dir.path());
        let hanging = Process::start(&mut shell, "");
        hanging.stdout.wait_for("ready");
        for uid in ["0", "6002"] {
            let mut ask = Command::new("/usr/bin/python3");
            let info = run(ask.args(["-c", ASK, &muster.url, uid]), "").ok();
            assert!(info.contains(r#""default_user":""#), "{how} {uid}: {info}");
        }
        let (said, took) = muster.stop();
        said.exits(0);
        assert!(took < Duration::from_secs(10), "{how}: {took:?}");
        hanging.kill();
    }
}
