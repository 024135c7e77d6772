//! What kinds of tasks there are, and all that is so of one kind and not of others, in one place.

use serde::{Deserialize, Serialize};

/// What a task is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A command line.
    Command,
    /// JupyterLab.
    Notebook,
    /// A machine to log in to.
    Shell,
    /// A TensorBoard.
    Tensorboard,
    /// One trial of an experiment.
    Trial,
    /// Removes checkpoints that nobody keeps.
    CheckpointGc,
    /// A task that can be paused and has others below it.
    Generic,
}

/// What is so of a kind. Names on the wire are of contract "runtime", sections 1.1 and 3.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About {
    /// The text in the database.
    pub stored: &'static str,
    /// `DET_TASK_TYPE` in the task.
    pub variable: &'static str,
    /// A task's `taskType`.
    pub task_type: &'static str,
    /// The `type` of the job that it belongs to.
    pub job_type: &'static str,
    /// One of them, in a sentence.
    pub noun: &'static str,
    /// With a capital letter: begins the description of one that has no other.
    pub title: &'static str,
    /// What its configuration may say.
    pub settings: Settings,
    /// Variables that it has and others haven't, with their values.
    pub variables: &'static [(&'static str, &'static str)],
    /// It answers at a port, which it finds in this variable and whoever may gets to through the master.
    pub port: Option<&'static str>,
    /// It can go on later from where it was: so it can be preempted and paused, and begins again after a failure.
    pub resumes: bool,
    /// It can take several agents.
    pub spans: bool,
}

/// Which settings a configuration can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settings {
    /// Those of commands, notebooks, shells and TensorBoards, and of them these that not all have.
    Task(&'static [&'static str]),
    /// Those of generic tasks.
    Generic,
    /// Those of its experiment.
    Experiment,
    /// None: it is made by the master alone.
    Nothing,
}

/// Settings that only some kinds have.
pub const OF_SOME: [&str; 3] = ["tensorboard_args", "idle_timeout", "notebook_idle_type"];

/// What a generic task may be configured with (contract "rest", section 5).
pub const GENERIC: [&str; 9] = [
    "bind_mounts",
    "environment",
    "resources",
    "entrypoint",
    "work_dir",
    "debug",
    "pbs",
    "slurm",
    "preemption_timeout",
];

/// What most kinds have in common.
const USUAL: About = About {
    stored: "command",
    variable: "COMMAND",
    task_type: "TASK_TYPE_COMMAND",
    job_type: "TYPE_COMMAND",
    noun: "command",
    title: "Command",
    settings: Settings::Task(&[]),
    variables: &[],
    port: None,
    resumes: false,
    spans: false,
};

const NOTEBOOK: About = About {
    stored: "notebook",
    variable: "NOTEBOOK",
    task_type: "TASK_TYPE_NOTEBOOK",
    job_type: "TYPE_NOTEBOOK",
    noun: "notebook",
    title: "JupyterLab",
    settings: Settings::Task(&["idle_timeout", "notebook_idle_type"]),
    port: Some("NOTEBOOK_PORT"),
    ..USUAL
};

const SHELL: About = About {
    stored: "shell",
    variable: "SHELL",
    task_type: "TASK_TYPE_SHELL",
    job_type: "TYPE_SHELL",
    noun: "shell",
    title: "Shell",
    port: Some("SHELL_PORT"),
    ..USUAL
};

const TENSORBOARD: About = About {
    stored: "tensorboard",
    variable: "TENSORBOARD",
    task_type: "TASK_TYPE_TENSORBOARD",
    job_type: "TYPE_TENSORBOARD",
    noun: "tensorboard",
    title: "TensorBoard",
    settings: Settings::Task(&["tensorboard_args", "idle_timeout"]),
    variables: &[("TF_CPP_MIN_LOG_LEVEL", "3")],
    port: Some("TENSORBOARD_PORT"),
    ..USUAL
};

const TRIAL: About = About {
    stored: "trial",
    variable: "TRIAL",
    task_type: "TASK_TYPE_TRIAL",
    job_type: "TYPE_EXPERIMENT",
    noun: "trial",
    title: "Trial",
    settings: Settings::Experiment,
    resumes: true,
    spans: true,
    ..USUAL
};

const CHECKPOINT_GC: About = About {
    stored: "checkpoint_gc",
    variable: "CHECKPOINT_GC",
    task_type: "TASK_TYPE_CHECKPOINT_GC",
    job_type: "TYPE_CHECKPOINT_GC",
    noun: "checkpoint collection",
    title: "Checkpoint collection",
    settings: Settings::Nothing,
    ..USUAL
};

const GENERIC_TASK: About = About {
    stored: "generic",
    variable: "GENERIC",
    task_type: "TASK_TYPE_GENERIC",
    job_type: "TYPE_GENERIC",
    noun: "generic task",
    title: "Generic Task",
    settings: Settings::Generic,
    resumes: true,
    spans: true,
    ..USUAL
};

impl Kind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Command,
        Self::Notebook,
        Self::Shell,
        Self::Tensorboard,
        Self::Trial,
        Self::CheckpointGc,
        Self::Generic,
    ];

    /// All that is so of this one.
    #[must_use]
    pub const fn about(self) -> &'static About {
        match self {
            Self::Command => &USUAL,
            Self::Notebook => &NOTEBOOK,
            Self::Shell => &SHELL,
            Self::Tensorboard => &TENSORBOARD,
            Self::Trial => &TRIAL,
            Self::CheckpointGc => &CHECKPOINT_GC,
            Self::Generic => &GENERIC_TASK,
        }
    }

    /// The text in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.about().stored
    }

    /// Reads the text of [`Self::as_str`].
    #[must_use]
    pub fn from_stored(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// Whether it answers at a port.
    #[must_use]
    pub const fn serves(self) -> bool {
        self.about().port.is_some()
    }

    /// Whether it can go on later from where it was.
    #[must_use]
    pub const fn resumes(self) -> bool {
        self.about().resumes
    }

    /// Whether one of a configuration's settings, named at its top, is for tasks of this kind.
    #[must_use]
    pub fn has(self, setting: &str) -> bool {
        match self.about().settings {
            Settings::Task(own) => !OF_SOME.contains(&setting) || own.contains(&setting),
            Settings::Generic => GENERIC.contains(&setting),
            Settings::Experiment => !OF_SOME.contains(&setting),
            Settings::Nothing => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_kind_has_names_of_its_own_on_the_wire_and_in_the_database() {
        let names = |name: fn(&About) -> &'static str| {
            Kind::ALL.into_iter().map(|kind| name(kind.about())).collect::<BTreeSet<_>>().len()
        };
        let all = Kind::ALL.len();
        let several: [fn(&About) -> &'static str; 6] = [
            |about| about.stored,
            |about| about.variable,
            |about| about.task_type,
            |about| about.job_type,
            |about| about.noun,
            |about| about.title,
        ];
        assert!(several.into_iter().all(|name| names(name) == all));
        for kind in Kind::ALL {
            let About { variable, task_type, job_type, .. } = kind.about();
            assert_eq!(*task_type, format!("TASK_TYPE_{variable}"));
            assert!(job_type.starts_with("TYPE_"));
            assert_eq!(Kind::from_stored(kind.as_str()), Some(kind));
        }
        assert_eq!(Kind::from_stored("COMMAND"), None);
    }

    /// Contract "runtime", section 4.1: commands, notebooks, shells and TensorBoards never.
    #[test]
    fn only_what_resumes_is_preempted() {
        let resuming: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| kind.resumes()).collect();
        assert_eq!(resuming, [Kind::Trial, Kind::Generic]);
        let serving: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| kind.serves()).collect();
        assert_eq!(serving, [Kind::Notebook, Kind::Shell, Kind::Tensorboard]);
    }

    #[test]
    fn a_setting_is_for_some_kinds() {
        let of = |setting| Kind::ALL.into_iter().filter(|kind| kind.has(setting)).collect::<Vec<_>>();
        assert_eq!(of("tensorboard_args"), [Kind::Tensorboard]);
        assert_eq!(of("notebook_idle_type"), [Kind::Notebook]);
        assert_eq!(of("idle_timeout"), [Kind::Notebook, Kind::Tensorboard]);
        assert_eq!(of("preemption_timeout").last(), Some(&Kind::Generic));
        assert!(!of("entrypoint").contains(&Kind::CheckpointGc));
    }
}
