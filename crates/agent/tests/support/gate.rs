//! A directory that a test shares with its tasks, and a gate in it at which a task waits for the test.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use domain::config::BindMount;
use nix::sys::stat::Mode;

use super::{TestAgent, soon};

/// `/shared` in a task, with a FIFO `gate` in it.
pub(crate) struct Gate {
    pub(crate) dir: PathBuf,
}

impl Gate {
    pub(crate) fn new(agent: &TestAgent) -> Self {
        let dir = agent.scratch().join("shared");
        fs::create_dir(&dir).expect("made");
        let gate = dir.join("gate");
        nix::unistd::mkfifo(&gate, Mode::S_IRWXU).expect("made");
        // Tasks are somebody else.
        for path in [agent.scratch(), &dir, &gate] {
            fs::set_permissions(path, Permissions::from_mode(0o777)).expect("set");
        }
        Self { dir }
    }

    pub(crate) fn mount(&self) -> BindMount {
        BindMount {
            host_path: self.dir.to_str().expect("text").to_owned(),
            container_path: "/shared".to_owned(),
            read_only: false,
            propagation: "rprivate".to_owned(),
        }
    }

    /// Lets one task that reads a line from the gate go on.
    pub(crate) async fn open(&self) {
        self.writer().await.write_all(b"go\n").expect("read");
    }

    /// The gate's end of the test, once a task has its own.
    pub(crate) async fn writer(&self) -> File {
        let gate = self.dir.join("gate");
        let opened = tokio::task::spawn_blocking(|| OpenOptions::new().write(true).open(gate));
        let opened = soon("a reader at the gate", opened).await.expect("no panic");
        opened.expect("a FIFO")
    }
}
