//! Finding what a task's configuration names, in the task's own root and as its user: the work directory and the
//! command.
//!
//! No path of a configuration leads through a magic link of `/proc`: `/proc/self/fd/N` and its like don't name a file of
//! the task's root but whatever this process holds, wherever that lies. The other lock is that this process holds nothing
//! any more (`task`), and that its own program is on a read-only mount (`image`).

use std::ffi::CString;
use std::path::Path;

use nix::errno::Errno;
use rustix::fs::OFlags;

use super::report::Report;
use crate::exit::{NOT_EXECUTABLE, NOT_FOUND};
use crate::failure::{Failure, Fault};
use crate::seccomp::Pass;
use crate::spec::TaskSpec;
use crate::sys::{mount, process};

/// Why a path isn't taken.
const MAGIC: &str = "it leads through a link of /proc such as /proc/self/fd/3 (or round in a circle), which no path of a \
                     task's configuration may; name the file itself";

/// Makes a path of the task's the current directory.
///
/// # Errors
/// One sentence with the remedy.
pub(super) fn enter(work_dir: &str, pass: Pass) -> Result<(), Failure> {
    let found = mount::find(Path::new(work_dir), OFlags::DIRECTORY, pass.arguments());
    let entered = found.and_then(rustix::process::fchdir);
    entered.map_err(|e| match e {
        rustix::io::Errno::LOOP => Failure::refused(format!("work_dir {work_dir}: {MAGIC}")),
        e => Failure::refused(format!(
            "work_dir {work_dir} can't be entered by the task; create it on the machine or bind it, or leave work_dir \
             out: {}",
            std::io::Error::from(e)
        )),
    })
}

/// A command with all that executing it needs.
pub(super) struct Command {
    name: String,
    /// The value of the task's `PATH`.
    path: String,
    candidates: Vec<CString>,
    argv: Vec<CString>,
    env: Vec<CString>,
    /// One that can't be read or entered.
    refused: Option<Errno>,
}

impl Command {
    /// Looks the command up in the task's `PATH`.
    ///
    /// # Errors
    /// What to tell the owner.
    pub(super) fn find(spec: &TaskSpec, relay_port: u16, pass: Pass) -> Result<Self, Report> {
        let env = spec.full_env(relay_port);
        let name = spec.argv.first().map_or("", String::as_str);
        let c = |text: String| CString::new(text).ok();
        let argv: Option<Vec<CString>> = spec.argv.iter().cloned().map(c).collect();
        let vars: Option<Vec<CString>> = env.iter().map(|(k, v)| c(format!("{k}={v}"))).collect();
        let (Some(argv), Some(vars)) = (argv, vars) else {
            return Err(Report::Failed(Fault::Task, "the command holds a NUL byte".into()));
        };
        let path = env.iter().rev().find(|(k, _)| k == "PATH").map_or("", |(_, v)| v.as_str());
        let mut this = Self {
            name: name.to_owned(),
            path: path.to_owned(),
            candidates: vec![],
            argv,
            env: vars,
            refused: None,
        };
        for candidate in candidates(name, path) {
            this.consider(&candidate, pass)?;
        }
        Ok(this)
    }

    fn consider(&mut self, candidate: &str, pass: Pass) -> Result<(), Report> {
        match mount::find(Path::new(candidate), OFlags::empty(), pass.arguments()) {
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(()),
            // Execvp goes on looking after this one, too.
            Err(rustix::io::Errno::ACCESS) => self.refused = self.refused.or(Some(Errno::EACCES)),
            Err(rustix::io::Errno::LOOP) => {
                return Err(Report::NotExecuted(NOT_EXECUTABLE, format!("{candidate}: {MAGIC}")));
            }
            // What else is wrong is said by executing it.
            Ok(_) | Err(_) => self.candidates.extend(CString::new(candidate)),
        }
        Ok(())
    }

    /// Executes it; returns why that failed.
    pub(super) fn execute(self) -> Report {
        let mut refused = self.refused;
        for candidate in &self.candidates {
            match process::exec(candidate, &self.argv, &self.env) {
                Errno::ENOENT | Errno::ENOTDIR => {}
                Errno::EACCES => refused = refused.or(Some(Errno::EACCES)),
                e => {
                    refused = Some(e);
                    break;
                }
            }
        }
        let Self { name, path, .. } = &self;
        match refused {
            Some(Errno::ENOEXEC) => Report::NotExecuted(
                NOT_EXECUTABLE,
                format!("{name}: not an executable; a script needs a first line such as #!/bin/sh"),
            ),
            Some(e) => {
                Report::NotExecuted(NOT_EXECUTABLE, format!("{name}: can't be executed: {}", e.desc()))
            }
            None if name.contains('/') => {
                Report::NotExecuted(NOT_FOUND, format!("{name}: no such file, or its interpreter is missing"))
            }
            None => Report::NotExecuted(NOT_FOUND, format!("{name}: command not found (PATH is {path})")),
        }
    }
}

fn candidates(name: &str, path: &str) -> Vec<String> {
    if name.contains('/') {
        return vec![name.to_owned()];
    }
    // An empty entry of PATH is the current directory.
    path.split(':')
        .map(|dir| if dir.is_empty() { format!("./{name}") } else { format!("{dir}/{name}") })
        .collect()
}
