//! The web pages in a real browser, against the real binary. What is looked at stands in `e2e/*.mjs`; what is asked over
//! HTTP without a browser is tested in `web`.

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use testkit::env;

/// `muster up` on a port of its own and with data of its own; ended with all its tasks when it is dropped.
struct Up {
    process: Child,
    url: String,
    dir: TempDir,
}

fn muster() -> Command {
    Command::new(env!("CARGO_BIN_EXE_muster"))
}

impl Up {
    fn start(config: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        // Tasks run as other users, and pass through it.
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("our own directory");
        let file = dir.path().join("master.yaml");
        fs::write(&file, config).expect("written");
        let log = fs::File::create(dir.path().join("log")).expect("a log");
        let mut process = muster()
            .args(["up", "--listen", "127.0.0.1:0", "--slots", "4", "--data-dir"])
            .arg(dir.path().join("data"))
            .arg("--config")
            .arg(file)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("muster starts");
        let mut said = BufReader::new(process.stdout.take().expect("piped")).lines();
        let url = said.find_map(|line| line.ok()?.strip_prefix("Muster is ready at ").map(str::to_owned));
        let up = Self { process, url: url.clone().unwrap_or_default(), dir };
        assert!(url.is_some(), "muster up ended: {}", up.log());
        up
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let down = muster().args(["down", "--data-dir"]).arg(self.dir.path().join("data")).output();
        if !down.is_ok_and(|down| down.status.success())
            && let Ok(pid) = i32::try_from(self.process.id())
        {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let _ = self.process.wait();
    }
}

fn passes_in_a_browser(script: &str, config: &str) {
    let up = Up::start(config);
    let ended = Command::new("node")
        .arg(env::e2e_dir().join(script))
        .arg(&up.url)
        .arg(env!("CARGO_BIN_EXE_muster"))
        .env("MUSTER_TEST_CHROMIUM", env::chromium())
        .output()
        .expect("node starts");
    let (out, err) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success(), "{script}: {}\n{out}{err}\n{}", ended.status, up.log());
}

#[test]
fn x05_x11_r26_the_front_door_in_a_browser() {
    passes_in_a_browser("door.mjs", "");
}

#[test]
fn p02_p09_p10_p16_p18_commands_in_a_browser() {
    passes_in_a_browser("commands.mjs", "");
}

#[test]
fn d09_a09_sessions_over_https_in_a_browser() {
    let admin = "bootstrap: {admin: {username: admin, password: a quiet lake}}";
    passes_in_a_browser("encryption.mjs", &format!("tls: self\nsecurity: {{hosts: [lab.test]}}\n{admin}\n"));
}
