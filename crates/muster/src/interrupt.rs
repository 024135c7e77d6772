//! Ctrl-C: while a command is followed, it goes on, and the person is told how to come back to it; at a prompt, the
//! terminal shows again what is typed (B18).
//!
//! A thread of its own waits for the signal, so that it is answered even while the output is stuck in a full pipe.

use std::fs::File;
use std::io;
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
use nix::unistd::{getpgrp, tcgetpgrp};

use crate::output;

/// What ends a program from outside, and may come while it asks for a password.
const ENDINGS: [Signal; 3] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM];

/// Watches for Ctrl-C and its like.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interrupt {
    command: Arc<OnceLock<String>>,
}

impl Interrupt {
    /// Starts watching. To be called before any other thread starts: threads inherit what is blocked here.
    pub(crate) fn watch() -> Result<Self> {
        let watch = Self::default();
        let command = Arc::clone(&watch.command);
        let signals: SigSet = ENDINGS.into_iter().collect();
        signals.thread_block().context("can't watch for Ctrl-C")?;
        std::thread::Builder::new()
            .name("interrupt".to_owned())
            .spawn(move || {
                if let Ok(signal) = signals.wait() {
                    echo_again();
                    if let Some(id) = command.get() {
                        // Not through the locked stream: somebody may be stuck in it.
                        let _ = rustix::io::write(io::stderr(), farewell(id).as_bytes());
                    }
                    // As a shell reports a death by this signal.
                    std::process::exit(128 + signal as i32);
                }
            })
            .context("can't watch for Ctrl-C")?;
        Ok(watch)
    }

    /// From now on the command goes on without us.
    pub(crate) fn leaves_behind(&self, id: &str) {
        let _ = self.command.set(id.to_owned());
    }

    /// Says that the command goes on, when whoever reads our output has gone (`… | head -1`).
    pub(crate) fn reader_gone(&self) {
        if let Some(id) = self.command.get() {
            output::note(farewell(id).trim());
        }
    }
}

/// A prompt for a password has turned the terminal's echo off, and nobody else turns it on again.
fn echo_again() {
    let Ok(terminal) = File::options().read(true).write(true).open("/dev/tty") else {
        return;
    };
    // In the background it is another program's, and changing it would stop us.
    if tcgetpgrp(&terminal).is_ok_and(|foreground| foreground == getpgrp())
        && let Ok(mut settings) = tcgetattr(&terminal)
        && !settings.local_flags.contains(LocalFlags::ECHO)
    {
        settings.local_flags.insert(LocalFlags::ECHO | LocalFlags::ICANON);
        let _ = tcsetattr(&terminal, SetArg::TCSANOW, &settings);
        let _ = rustix::io::write(io::stderr(), b"\n");
    }
}

fn farewell(id: &str) -> String {
    format!(
        "\nThe command goes on; see it with `muster command logs -f {id}`, end it with `muster command kill {id}`\n"
    )
}
