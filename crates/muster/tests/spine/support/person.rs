//! Somebody at a terminal: a home of their own, and the two command lines.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use super::process::{Output, Process, run};
use super::wait::eventually;

/// A person, who is whom they log in as.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) home: PathBuf,
    pub(crate) exe: PathBuf,
    pub(crate) url: String,
    /// The user of the machine; root without.
    pub(crate) uid: Option<u32>,
}

impl Person {
    /// The command line of Muster, with nothing of this process's environment.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = self.program(&self.exe);
        command.env("MUSTER_CONFIG_DIR", self.config_dir()).env("MUSTER_MASTER", &self.url).args(args);
        command
    }

    fn program(&self, exe: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(exe);
        command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("HOME", &self.home);
        command.env("LANG", "C.UTF-8").current_dir(&self.home);
        if let Some(uid) = self.uid {
            command.uid(uid).gid(uid);
        }
        command
    }

    /// Where Muster keeps this person's tokens.
    pub(crate) fn config_dir(&self) -> PathBuf {
        self.home.join("muster")
    }

    /// Runs `muster LINE`, the line split at blanks.
    #[track_caller]
    pub(crate) fn muster(&self, line: &str) -> Output {
        self.muster_with(line, "")
    }

    /// The same with something on standard input.
    #[track_caller]
    pub(crate) fn muster_with(&self, line: &str, input: &str) -> Output {
        run(&mut self.command(line.split_whitespace()), input)
    }

    /// Starts `muster LINE` and doesn't wait.
    #[track_caller]
    pub(crate) fn start(&self, line: &str) -> Process {
        Process::start(&mut self.command(line.split_whitespace()), "")
    }

    /// Starts `muster command run OPTIONS -- sh -c SCRIPT`.
    #[track_caller]
    pub(crate) fn start_script(&self, options: &str, script: &str) -> Process {
        Process::start(&mut self.script_command(options, script), "")
    }

    /// Runs `muster command run OPTIONS -- sh -c SCRIPT`.
    #[track_caller]
    pub(crate) fn script(&self, options: &str, script: &str) -> Output {
        run(&mut self.script_command(options, script), "")
    }

    /// Starts a command and leaves it alone; gives its id.
    #[track_caller]
    pub(crate) fn detach(&self, options: &str, script: &str) -> String {
        self.script(&format!("-d {options}"), script).ok()
    }

    fn script_command(&self, options: &str, script: &str) -> Command {
        let words = options.split_whitespace();
        let mut command = self.command(["command", "run"].into_iter().chain(words));
        command.args(["--", "sh", "-c", script]);
        command
    }

    /// What `muster LINE --json` prints.
    #[track_caller]
    pub(crate) fn json(&self, line: &str) -> Value {
        let text = self.muster(&format!("{line} --json")).ok();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Waits until a command has this state, and gives the command.
    #[track_caller]
    pub(crate) fn wait_for_state(&self, id: &str, state: &str) -> Value {
        eventually(&format!("{id} is {state}"), || {
            let command = self.json(&format!("command describe {id}"));
            (command["state"] == format!("STATE_{state}")).then_some(command)
        })
    }

    /// The one command that this person has started, once it has an id.
    #[track_caller]
    pub(crate) fn only_command(&self) -> String {
        let ids = self.muster("command list -q").ok();
        assert_eq!(ids.lines().count(), 1, "{ids}");
        ids
    }

    /// Runs `det LINE`, the line split at blanks.
    #[track_caller]
    pub(crate) fn det(&self, line: &str) -> Output {
        self.det_with(line, "")
    }

    /// The same with something on standard input, where `det` reads passwords if there is no terminal.
    #[track_caller]
    pub(crate) fn det_with(&self, line: &str, input: &str) -> Output {
        self.det_args(line.split_whitespace(), input)
    }

    /// Runs `det` with these very arguments.
    #[track_caller]
    pub(crate) fn det_args<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>, input: &str) -> Output {
        run(self.det_command().args(args), input)
    }

    /// Runs a script of the Python SDK of Determined.
    #[track_caller]
    pub(crate) fn sdk(&self, script: &str) -> Output {
        let mut command = self.program(testkit::env::python());
        command.env("DET_DEBUG_CONFIG_PATH", self.home.join("det")).env("DET_MASTER", &self.url);
        run(command.args(["-c", script]), "")
    }

    /// Runs `polyaxon LINE`.
    #[track_caller]
    pub(crate) fn polyaxon(&self, line: &str) -> Output {
        self.polyaxon_args(line.split_whitespace(), "")
    }

    /// Logs `polyaxon` in.
    #[track_caller]
    pub(crate) fn polyaxon_login(&self, name: &str, password: &str) -> Output {
        self.polyaxon_args(["login", "-u", name, "-p", password], "")
    }

    /// Runs `polyaxon` with these very arguments, and the answers that it asks for on standard input.
    #[track_caller]
    pub(crate) fn polyaxon_args<'a>(&self, args: impl IntoIterator<Item = &'a str>, input: &str) -> Output {
        let mut command = self.program(testkit::env::polyaxon());
        // It also reads settings of a temporary directory that all share, unless told where its own are.
        command.env("LC_ALL", "C.UTF-8").env("TMPDIR", &self.home).args(args);
        run(&mut command, input)
    }

    /// Points `polyaxon` at this master.
    #[track_caller]
    pub(crate) fn polyaxon_here(&self) {
        let (_, address) = self.url.split_once("://").expect("a URL");
        let (host, port) = address.rsplit_once(':').expect("a port");
        self.polyaxon(&format!("config set --host={host} --port={port}")).exits(0);
    }

    /// The same at a terminal, which it reads passwords and answers from.
    pub(crate) fn det_at_terminal(&self) -> Command {
        let mut command = self.program(testkit::env::det());
        command.env("DET_DEBUG_CONFIG_PATH", self.home.join("det")).env("DET_MASTER", &self.url);
        command
    }

    /// The command line of Determined, pointed at this master.
    pub(crate) fn det_command(&self) -> Command {
        // Without a terminal that it could ask for passwords past our standard input.
        let mut command = self.program("setsid");
        command.arg("--wait").arg(testkit::env::det());
        command.env("DET_DEBUG_CONFIG_PATH", self.home.join("det")).env("DET_MASTER", &self.url);
        command
    }
}
