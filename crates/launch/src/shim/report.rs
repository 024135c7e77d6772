//! What the task's processes tell the shim before the command runs and when it has ended: lines of JSON in a pipe
//! that the command itself doesn't inherit.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Fault};

/// Bytes of a sentence that are told. A line must fit into one atomic write to a pipe (4096 bytes), escaped.
const MAX_SENTENCE: usize = 1500;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Report {
    /// The task can't be run, for this reason.
    Failed(Fault, String),
    /// The command can't be executed: exit status and what to tell the owner.
    NotExecuted(i32, String),
    /// The command exited with this status.
    Exited(i32),
    /// This signal ended the command.
    Signalled(i32),
}

impl Report {
    /// The task can't be run.
    pub(super) fn failed(why: &Failure) -> Self {
        Self::Failed(why.fault(), why.to_string())
    }
}

/// The writing end.
#[derive(Debug)]
pub(super) struct Reporter(OwnedFd);

impl Reporter {
    pub(super) fn new(pipe: OwnedFd) -> Self {
        Self(pipe)
    }

    /// The pipe.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Tells the shim. Nothing can be done if it has gone: the kernel ends this process, too.
    pub(super) fn tell(&self, report: Report) {
        let report = match report {
            Report::Failed(fault, text) => Report::Failed(fault, shortened(text)),
            Report::NotExecuted(code, text) => Report::NotExecuted(code, shortened(text)),
            other => other,
        };
        if let Ok(mut line) = serde_json::to_vec(&report) {
            line.push(b'\n');
            let _ = rustix::io::write(self.0.as_fd(), &line);
        }
    }
}

fn shortened(mut text: String) -> String {
    if text.len() > MAX_SENTENCE {
        text.truncate(text.floor_char_boundary(MAX_SENTENCE));
        text.push('…');
    }
    text
}

/// Collects bytes from the pipe into reports.
#[derive(Debug, Default)]
pub(super) struct Reports {
    pending: Vec<u8>,
}

impl Reports {
    /// Takes what was read; returns the reports that are complete.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<Report> {
        self.pending.extend_from_slice(bytes);
        let mut reports = vec![];
        while let Some(end) = self.pending.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.pending.drain(..=end).collect();
            reports.extend(serde_json::from_slice(&line).ok());
        }
        reports
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_arrive_whole_however_they_are_cut() {
        let (r, w) = rustix::pipe::pipe().unwrap();
        let reporter = Reporter::new(w);
        let long = Report::Failed(Fault::Machine, "\u{1}é".repeat(5000));
        reporter.tell(long);
        reporter.tell(Report::Exited(3));
        let mut bytes = [0; 65_536];
        let n = rustix::io::read(&r, &mut bytes).unwrap();
        let mut reports = Reports::default();
        let got: Vec<Report> = bytes[..n].chunks(7).flat_map(|chunk| reports.push(chunk)).collect();
        assert!(matches!(&got[0], Report::Failed(Fault::Machine, text) if text.ends_with('…')));
        assert_eq!(got[1..], [Report::Exited(3)]);
    }
}
