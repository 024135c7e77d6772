//! What of the task's output is kept: all of it, up to the log's limit, and as long as there is a disk to keep it on
//! (A4). Writing is `log`'s.

use super::control::Control;
use super::log::{Log, Pending};
use crate::exit::Limit;
use crate::record::{MAX_PAYLOAD, Source};
use crate::spec::Limits;

/// What of the task's output is kept, and what was thrown away.
pub(super) struct Recorder {
    log: Log,
    limits: Limits,
    /// The limit was reached, and that was said.
    full: bool,
    /// Bytes thrown away for the limit.
    beyond: u64,
    /// Bytes thrown away for want of a disk.
    lost: u64,
}

impl Recorder {
    pub(super) fn new(log: Log) -> Self {
        Self { log, limits: Limits::default(), full: false, beyond: 0, lost: 0 }
    }

    /// From now on these count.
    pub(super) fn limit(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Records what the task wrote.
    pub(super) fn output(&mut self, control: &mut Control, source: Source, bytes: &[u8]) {
        if self.full {
            self.beyond += bytes.len() as u64;
            return;
        }
        let record = Pending::new(source, bytes);
        if let Some(limit) = self.limits.log_bytes
            && self.log.len() + record.len() > limit
        {
            self.full = true;
            self.beyond += bytes.len() as u64;
            return self.reached(control, limit);
        }
        self.write(control, record, bytes.len());
    }

    fn reached(&mut self, control: &mut Control, limit: u64) {
        let limit = shown(limit);
        if self.limits.log_ends_task {
            let text = "the task is ended";
            self.note(
                control,
                &format!("the log has reached its limit of {limit} (agent.task_limits.log): {text}"),
            );
            control.end_for(Limit::Log);
        } else {
            let text = "what the task writes from here on is thrown away";
            self.note(
                control,
                &format!("the log has reached its limit of {limit} (agent.task_limits.log): {text}"),
            );
        }
    }

    /// A line of Muster's own, and one only, whatever paths and names of others are in it (A14).
    pub(super) fn note(&mut self, control: &mut Control, text: &str) {
        let mut line = one_line(text);
        line.truncate(line.floor_char_boundary(MAX_PAYLOAD as usize - 1));
        line.push('\n');
        self.write(control, Pending::new(Source::Agent, line.as_bytes()), 0);
    }

    /// Writes a record; waits while the disk is full, as long as that keeps nobody from anything.
    fn write(&mut self, control: &mut Control, mut record: Pending<'_>, bytes: usize) {
        while self.log.write(&mut record).is_err() {
            if !control.wait_for_space() {
                self.log.give_up(&record);
                self.lost += bytes as u64;
                return;
            }
        }
    }

    /// The task is over: says what is missing, and waits until all is on the disk.
    pub(super) fn finish(&mut self, control: &mut Control) {
        if self.beyond > 0 {
            let bytes = shown(self.beyond);
            self.note(control, &format!("{bytes} of output beyond the log's limit were thrown away"));
        }
        if self.lost > 0 {
            let bytes = shown(self.lost);
            self.note(control, &format!("{bytes} of output are lost: the agent's disk was full"));
        }
        while self.log.finish().is_err() && control.wait_for_space() {}
    }
}

/// Characters that a terminal or a reader takes for more than text are written out.
fn one_line(text: &str) -> String {
    // Those that turn the direction of what follows are formats, not controls.
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if steers(c) { line.extend(c.escape_default()) } else { line.push(c) }
    }
    line
}

/// A size for people.
pub(super) fn shown(bytes: u64) -> String {
    const UNITS: [(u32, &str); 3] = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    match UNITS.iter().find(|(shift, _)| bytes >> shift > 0) {
        Some((shift, unit)) if bytes.trailing_zeros() >= *shift => format!("{} {unit}", bytes >> shift),
        Some((shift, unit)) => {
            let tenths = ((bytes >> (shift - 10)) * 10) >> 10;
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        }
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::{one_line, shown};

    #[test]
    fn a14_names_of_others_forge_no_line() {
        assert_eq!(one_line("a\nb\u{1b}[2J\u{202e}é\u{85}"), "a\\nb\\u{1b}[2J\\u{202e}é\\u{85}");
    }

    #[test]
    fn sizes_for_people() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (1 << 20, "1 MiB"),
            (1536, "1.5 KiB"),
            (3 << 29, "1.5 GiB"),
            (u64::MAX, "17179869183.9 GiB"),
        ] {
            assert_eq!(shown(bytes), text);
        }
    }
}
