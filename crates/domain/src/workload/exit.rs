//! How a run's process ended, as its agent says, whose doing that was, and the sentence about it that people read.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::text::Plain;

/// Longest [`Exit::failure`], in characters. Ours have 1 500 at most; an agent's word has a bound of the master's own (A5).
pub const WHY: usize = 1800;

/// Beginning of the reason of what a person ended.
pub(crate) const KILLED: &str = "allocation was killed";

/// Whose doing the end of a run was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The task's: what its command did, what it had too much of, or asked for and can't have.
    Task,
    /// Its end was asked for; the reason says by whom, or what for.
    Ended,
    /// The machine's, which had no memory left for all of its tasks.
    Memory,
    /// The machine's, whose disk had no room left for what its tasks have.
    Disk,
    /// The machine's, which couldn't begin it.
    Launch,
    /// The machine's: its agent, or who saw it through there, lost it.
    Lost,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Task, Self::Ended, Self::Memory, Self::Disk, Self::Launch, Self::Lost];

    /// Its name on the wire and in the database, for good.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Task => "task",
            Self::Ended => "ended",
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Launch => "launch",
            Self::Lost => "lost",
        }
    }

    /// Reads the name of [`Self::as_str`].
    #[must_use]
    pub fn from_stored(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fault| fault.as_str() == text)
    }

    /// What a reason begins with, where the machine is to blame.
    const fn words(self) -> Option<&'static str> {
        match self {
            Self::Task | Self::Ended => None,
            Self::Memory => Some("out of memory of all tasks on its machine"),
            Self::Disk => Some("out of disk space of all tasks on its machine"),
            Self::Launch => Some("its machine couldn't begin it"),
            Self::Lost => Some("its machine lost it"),
        }
    }
}

impl Serialize for Fault {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

/// One that only a newer agent knows is none.
pub(crate) fn known_fault<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Fault>, D::Error> {
    let name = Option::<Plain<32>>::deserialize(from)?;
    Ok(name.and_then(|name| Fault::from_stored(name.as_str())))
}

/// What happened to a task's process, as its agent reports it. Whether a signal ended it is said by `signal` alone: 137
/// may be the process's own status (B14).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit status as in [`Ending::exit_code`](crate::task::Ending::exit_code).
    pub code: i32,
    /// The signal that ended the process.
    #[serde(default)]
    pub signal: Option<i32>,
    /// A person ended it.
    pub killed: bool,
    /// Why the launcher refused to run it, with the remedy.
    pub failure: Option<Plain<WHY>>,
    /// What it had too much of, when that ended it.
    #[serde(default)]
    pub limit: Option<Limit>,
    /// Whose doing it was; agents of before don't say it.
    #[serde(default, deserialize_with = "known_fault", skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
}

/// What a task can have too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// Memory.
    Memory,
    /// Space in its own directories.
    Scratch,
    /// Output.
    Log,
    /// Time.
    Time,
}

impl Limit {
    fn reason(self) -> &'static str {
        match self {
            Self::Memory => "out of memory",
            Self::Scratch => "out of disk space",
            Self::Log => "log limit",
            Self::Time => "time limit",
        }
    }
}

impl Exit {
    /// Whose doing it was, as far as that is said, or can be nothing else.
    #[must_use]
    pub fn whose(&self) -> Option<Fault> {
        match self.fault {
            None if self.killed => Some(Fault::Ended),
            None if self.failure.is_none() && self.limit.is_none() => Some(Fault::Task),
            said => said,
        }
    }

    /// The sentence kept with the task; its beginnings are fixed (contract "runtime", section 4.5). `killer` is who
    /// asked for the end.
    #[must_use]
    pub fn reason(&self, killer: Option<&str>) -> String {
        if self.killed {
            return match (killer, &self.failure) {
                (Some(name), _) => format!("{KILLED} by {name}"),
                (None, Some(why)) => format!("{KILLED}: {why}"),
                (None, None) => KILLED.to_owned(),
            };
        }
        if (self.code, self.signal, &self.failure) == (0, None, &None) {
            return "allocation exited successfully".to_owned();
        }
        let (code, of_machine) = (self.code, self.fault.and_then(Fault::words));
        let (of_what, how) = match &self.failure {
            Some(failure) => (of_machine, failure.to_string()),
            None => (of_machine.or(self.limit.map(Limit::reason)), self.how()),
        };
        let what = of_what.map_or_else(|| how.clone(), |what| format!("{what}: {how}"));
        format!("resources failed with non-zero exit code: {what} (exit code {code})")
    }

    fn how(&self) -> String {
        match (self.signal, self.code) {
            (Some(signal), _) => format!("process was ended by {}", signal_name(signal)),
            (None, 126) => "command is not executable".to_owned(),
            (None, 127) => "command not found".to_owned(),
            // Clients look for these words (contract "rest", section 0).
            (None, code) => format!("container failed with non-zero exit code: {code}"),
        }
    }
}

/// A signal for people, such as `SIGKILL (9)`; numbers as Linux has them on the machines that Muster runs on.
#[must_use]
pub fn signal_name(signal: i32) -> String {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
        "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
        "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    let name = usize::try_from(signal).ok().and_then(|n| NAMES.get(n.wrapping_sub(1)));
    name.map_or_else(|| format!("signal {signal}"), |name| format!("SIG{name} ({signal})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_says_whose_doing_it_was_and_so_does_its_reason() {
        let exit = |code, fault| Exit { code, fault, ..Exit::default() };
        for fault in Fault::ALL {
            assert_eq!(Fault::from_stored(fault.as_str()), Some(fault));
            let text = serde_json::to_string(&exit(1, Some(fault))).expect("JSON");
            assert_eq!(serde_json::from_str::<Exit>(&text).expect("read").fault, Some(fault));
        }
        // An agent of before says nothing, and a newer one what isn't known here.
        for told in ["", r#","fault":"cosmic_ray""#, r#","fault":null"#] {
            let text = format!(r#"{{"code":125,"killed":false,"failure":"no space"{told}}}"#);
            let read: Exit = serde_json::from_str(&text).expect("read");
            assert_eq!((read.fault, read.whose()), (None, None), "{told}");
        }
        assert_eq!(exit(3, None).whose(), Some(Fault::Task), "its own status");
        assert_eq!(Exit { killed: true, ..exit(137, None) }.whose(), Some(Fault::Ended));
        let memory = |fault| Exit { signal: Some(9), limit: Some(Limit::Memory), ..exit(137, fault) };
        assert_eq!(memory(None).whose(), None, "it may have been all tasks' together");
        let reason = |exit: Exit| exit.reason(None);
        let begins = |text: String, what: &str| {
            let begin = format!("resources failed with non-zero exit code: {what}");
            assert!(text.starts_with(&begin), "{text}");
        };
        begins(reason(memory(Some(Fault::Task))), "out of memory: process was ended by SIGKILL (9)");
        begins(
            reason(memory(Some(Fault::Memory))),
            "out of memory of all tasks on its machine: process was ended by SIGKILL (9) (exit code 137)",
        );
        let failed = |fault| Exit { failure: Some("no space".into()), ..exit(125, fault) };
        begins(
            reason(failed(Some(Fault::Launch))),
            "its machine couldn't begin it: no space (exit code 125)",
        );
        begins(reason(failed(Some(Fault::Task))), "no space (exit code 125)");
        begins(reason(failed(None)), "no space (exit code 125)");
    }

    #[test]
    fn reasons_carry_the_words_that_clients_match() {
        let exit = |code, killed| Exit { code, killed, ..Exit::default() };
        assert_eq!(exit(0, false).reason(None), "allocation exited successfully");
        assert!(
            exit(3, false)
                .reason(None)
                .ends_with("container failed with non-zero exit code: 3 (exit code 3)")
        );
        assert!(exit(127, false).reason(None).contains("not found (exit code 127)"));
        assert_eq!(exit(137, true).reason(None), "allocation was killed");
        assert_eq!(exit(0, true).reason(Some("alice")), "allocation was killed by alice");
        let refused = Exit { failure: Some("no such user".into()), ..exit(125, false) };
        assert!(refused.reason(None).ends_with("code: no such user (exit code 125)"));
    }

    #[test]
    fn b14_a_status_is_no_signal_and_a_signal_has_a_name() {
        let reason = |code, signal, limit| Exit { code, signal, limit, ..Exit::default() }.reason(None);
        for code in [129, 137, 139, 255] {
            let container = format!("container failed with non-zero exit code: {code}");
            let ended = format!("resources failed with non-zero exit code: {container} (exit code {code})");
            assert_eq!(reason(code, None, None), ended);
        }
        assert!(reason(139, Some(11), None).ends_with("process was ended by SIGSEGV (11) (exit code 139)"));
        let memory = reason(137, Some(9), Some(Limit::Memory));
        assert!(memory.contains("out of memory: process was ended by SIGKILL (9)"), "{memory}");
        assert!(
            reason(1, None, Some(Limit::Memory))
                .contains("out of memory: container failed with non-zero exit code: 1")
        );
        assert!(reason(137, Some(9), Some(Limit::Time)).contains("time limit"));
        assert_eq!((signal_name(15), signal_name(31)), ("SIGTERM (15)".to_owned(), "SIGSYS (31)".to_owned()));
        assert_eq!((signal_name(34), signal_name(0)), ("signal 34".to_owned(), "signal 0".to_owned()));
        // An agent of before says nothing of signals.
        let old: Exit = serde_json::from_str(r#"{"code":137,"killed":false,"failure":null}"#).expect("read");
        assert_eq!((old.signal, old.limit), (None, None));
    }
}
