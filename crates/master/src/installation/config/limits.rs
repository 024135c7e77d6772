//! `limits:` in `master.yaml` (A6): what no account and no request exceeds. The defaults are far above what people need,
//! and below what hurts others.

use serde::{Deserialize, Serialize};

/// How much one account may have, how much may be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Longest configuration of a task or a template as it is sent, in bytes of JSON.
    pub config_bytes: usize,
    /// Longest configuration laid over template and defaults, in bytes of JSON.
    pub merged_config_bytes: usize,
    /// Most tasks of an account that aren't over.
    pub living_tasks: u32,
    /// Most tasks of an account, those included that are over.
    pub tasks: u32,
    /// Most templates of an account.
    pub templates: u32,
    /// Most workspaces of an account.
    pub workspaces: u32,
    /// Most projects of an account.
    pub projects: u32,
    /// Most projects that an account has bookmarked.
    pub bookmarks: u32,
    /// Most login sessions of an account; one more ends the oldest.
    pub sessions: u32,
    /// Most access tokens of an account that can still be used.
    pub tokens: u32,
    /// Bytes of all requests' bodies that are in memory at once. A quarter, but 64 MiB at most, is for those up to 1 MiB.
    /// Of either part, an eighth is kept for administrators, and one account has an eighth, or one body as long as others
    /// don't need that room; who sends next to nothing makes room for who waits.
    pub bodies_bytes: u64,
    /// Bytes that the context directories of an account's tasks that aren't over may have on the master's disk; the last one
    /// may be beyond it (A4).
    pub contexts_bytes: u64,
    /// Most that is kept of one task's log, in bytes, whatever its agent sends (A4). What `agent.task_limits.log` says here counts
    /// as well, if that is more; where other agents have more, this is to be raised.
    pub log_bytes: u64,
    /// Bytes by which one account, administrators' excepted, can make the database grow in a day: the audit log, its tasks with
    /// their configurations, its templates and all else. By its logins as much again, and by new passwords; a quarter of it at
    /// once. What ends something always gets through. 0 is no bound (KX4, A4).
    pub stored_bytes_per_day: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            config_bytes: 64 << 10,
            merged_config_bytes: 128 << 10,
            living_tasks: 10_000,
            tasks: 1_000_000,
            templates: 1_000,
            workspaces: 1_000,
            projects: 1_000,
            bookmarks: 1_000,
            sessions: 1_000,
            tokens: 1_000,
            bodies_bytes: 512 << 20,
            contexts_bytes: 4 << 30,
            log_bytes: 256 << 20,
            stored_bytes_per_day: 256 << 20,
        }
    }
}

impl Limits {
    pub(super) fn check(&self) -> Result<(), String> {
        let numbers = [
            ("living_tasks", self.living_tasks),
            ("tasks", self.tasks),
            ("templates", self.templates),
            ("workspaces", self.workspaces),
            ("projects", self.projects),
            ("bookmarks", self.bookmarks),
            ("sessions", self.sessions),
            ("tokens", self.tokens),
        ];
        if let Some((name, _)) = numbers.into_iter().find(|(_, number)| *number == 0) {
            return Err(format!("{name}: give at least 1"));
        }
        if self.bodies_bytes < 16 << 20 {
            return Err("bodies_bytes: give 16777216 or more".to_owned());
        }
        if (1..1 << 20).contains(&self.stored_bytes_per_day) {
            return Err("stored_bytes_per_day: give 1048576 or more, or 0 for no bound".to_owned());
        }
        if self.log_bytes < 1 << 20 {
            return Err("log_bytes: give 1048576 or more".to_owned());
        }
        let sizes = [("config_bytes", self.config_bytes), ("merged_config_bytes", self.merged_config_bytes)];
        match sizes.into_iter().find(|(_, size)| !(1024..=16 << 20).contains(size)) {
            Some((name, _)) => Err(format!("{name}: give 1024 to 16777216 bytes")),
            None => Ok(()),
        }
    }

    /// For configurations.
    #[must_use]
    pub fn of_configs(&self) -> domain::config::Limits {
        domain::config::Limits { submitted: self.config_bytes, merged: self.merged_config_bytes }
    }
}
