//! A program at a terminal of its own, with somebody who types.

use std::fs::File;
use std::io::Write as _;
use std::process::{Child, Command};
use std::time::Duration;

use nix::pty::openpty;

use super::process::Stream;
use super::wait::{DEADLINE, ends_within};

/// A running program; killed with this value if it still runs.
#[derive(Debug)]
pub(crate) struct Terminal {
    child: Child,
    keyboard: File,
    /// What stands on the screen, the typed text among it.
    pub(crate) screen: Stream,
}

impl Terminal {
    /// Starts it, with the terminal as its controlling one.
    #[track_caller]
    pub(crate) fn start(command: &Command) -> Self {
        let pair = openpty(None, None).expect("a terminal");
        let other = || pair.slave.try_clone().expect("a descriptor");
        let mut leader = Command::new("setsid");
        leader.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args()).env_clear();
        leader.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        if let Some(dir) = command.get_current_dir() {
            leader.current_dir(dir);
        }
        leader.stdin(other()).stdout(other()).stderr(other());
        let child = leader.spawn().unwrap_or_else(|error| panic!("{leader:?}: {error}"));
        let keyboard = File::from(pair.master);
        let screen = Stream::read(keyboard.try_clone().expect("a descriptor"));
        Self { child, keyboard, screen }
    }

    /// Types.
    pub(crate) fn types(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).expect("somebody reads");
    }

    fn pid(&self) -> nix::unistd::Pid {
        nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).expect("a pid"))
    }

    /// Waits for its end; gives the exit status and the screen.
    #[track_caller]
    pub(crate) fn finish(&mut self) -> (i32, String) {
        assert!(ends_within(self.pid(), DEADLINE), "still runs; it wrote:\n{}", self.screen.text());
        let status = self.child.wait().expect("our own child");
        // What was written last may still be on its way.
        self.screen.closes_within(Duration::from_millis(200));
        (status.code().unwrap_or(-1), self.screen.text())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
