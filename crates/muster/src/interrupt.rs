//! Ctrl-C while a command is followed: the command goes on, and the person is told how to come back to it.
//!
//! A thread of its own waits for the signal, so that it is answered even while the output is stuck in a full pipe.

use std::io;
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal};

/// Exit status after Ctrl-C: 128 and the signal's number.
const INTERRUPTED: i32 = 130;

/// Watches for Ctrl-C.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interrupt {
    command: Arc<OnceLock<String>>,
}

impl Interrupt {
    /// Starts watching. To be called before any other thread starts: threads inherit what is blocked here.
    pub(crate) fn watch() -> Result<Self> {
        let watch = Self::default();
        let command = Arc::clone(&watch.command);
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGINT);
        signals.thread_block().context("can't watch for Ctrl-C")?;
        std::thread::Builder::new()
            .name("interrupt".to_owned())
            .spawn(move || {
                if signals.wait().is_ok() {
                    if let Some(id) = command.get() {
                        // Not through the locked stream: somebody may be stuck in it.
                        let _ = rustix::io::write(io::stderr(), farewell(id).as_bytes());
                    }
                    std::process::exit(INTERRUPTED);
                }
            })
            .context("can't watch for Ctrl-C")?;
        Ok(watch)
    }

    /// From now on the command goes on without us.
    pub(crate) fn leaves_behind(&self, id: &str) {
        let _ = self.command.set(id.to_owned());
    }
}

fn farewell(id: &str) -> String {
    format!(
        "\nThe command goes on; see it with `muster command logs -f {id}`, end it with `muster command kill {id}`\n"
    )
}
