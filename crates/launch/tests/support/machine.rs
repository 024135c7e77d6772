//! A "machine" of the test's own: a mount namespace whose root is shared, private or a slave, as machines have it, and
//! in which mounts can be made that nobody else sees. It is gone with the test.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::{env, fs, process};

/// What the machine's mounts pass on and receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Root {
    /// As systemd leaves it.
    Shared,
    Private,
    /// As in a container that gets mounts of its machine.
    Slave,
}

impl Root {
    pub(crate) const ALL: [Self; 3] = [Self::Shared, Self::Private, Self::Slave];
}

pub(crate) struct Machine {
    pub(crate) pid: String,
    holder: Child,
    stdin: Option<ChildStdin>,
}

impl Machine {
    /// Makes one, and runs `setup` in it.
    pub(crate) fn new(root: Root, setup: &str) -> Self {
        let inner = format!("set -e\n{setup}\necho ready $$\nexec cat");
        let mut command = Command::new("unshare");
        command.args(["-m", "--propagation", "private", "sh", "-c"]);
        match root {
            Root::Private => command.arg(&inner),
            Root::Shared => command.arg(format!("mount --make-rshared /\n{inner}")),
            // The outer namespace has to live as long as the inner one: a slave without a master is private.
            Root::Slave => command
                .arg("mount --make-rshared /; unshare -m --propagation slave sh -c \"$1\"; true")
                .args(["sh", &inner]),
        };
        let mut holder = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdin = holder.stdin.take();
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let pid = line.strip_prefix("ready ").expect("the machine's set-up failed").trim().to_owned();
        Self { pid, holder, stdin }
    }

    /// Its mount table, without the mounts of tests that run at the same time: those go when their mount points do.
    pub(crate) fn mounts(&self) -> String {
        let table = fs::read_to_string(format!("/proc/{}/mountinfo", self.pid)).unwrap();
        let mine = env::temp_dir().join(format!("launch-test-{}-", process::id()));
        let of_others = |line: &&str| {
            let point = line.split(' ').nth(4).unwrap();
            let passing = Path::new(point).starts_with(env::temp_dir()) || point.starts_with("/run/netns/");
            passing && !point.starts_with(mine.to_str().unwrap())
        };
        table.lines().filter(|line| !of_others(line)).fold(String::new(), |table, line| table + line + "\n")
    }

    /// What a shell command prints on it.
    pub(crate) fn sh(&self, text: &str) -> String {
        let mut command = self.enter();
        let output = command.args(["sh", "-c", text]).output().unwrap();
        assert!(output.status.success(), "{text}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The beginning of a command that runs on it.
    pub(crate) fn enter(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-m", "-t", &self.pid]);
        command
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Its shell ends with its input.
        drop(self.stdin.take());
        let _ = self.holder.wait();
    }
}
