//! What a run's files say about it, and the ends that the agent writes itself. The files' contents and the making of
//! the directory are `launch`'s.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use domain::id::AllocationId;
use launch::{Exit, Shim};

use crate::data_dir::{DataDir, sync_dir, write_file};

/// The run's log in its directory.
pub(crate) const LOG_FILE: &str = "log";
const EXIT_FILE: &str = "exit.json";
const UNFINISHED_EXIT: &str = "exit.json.new";
const PID_FILE: &str = "shim.pid";
const CONTEXT_FILE: &str = "context.tar.gz";
const GIVEN_FILE: &str = "given";

/// What became of a run.
#[derive(Debug)]
pub(crate) enum Found {
    /// It is over.
    Ended(Exit),
    /// Its shim sees it through.
    Live(Shim),
    /// Its shim was there and is gone without a word.
    Gone,
    /// No shim was ever there.
    Unstarted,
}

/// Looks at a run's directory.
pub(crate) fn inspect(dir: &Path) -> io::Result<Found> {
    if let Some(exit) = launch::read_exit(dir)? {
        return Ok(Found::Ended(exit));
    }
    if let Some(shim) = Shim::open(dir)? {
        return Ok(Found::Live(shim));
    }
    // It may have ended between the two looks.
    if let Some(exit) = launch::read_exit(dir)? {
        return Ok(Found::Ended(exit));
    }
    if let Some(exit) = launch::read_unfinished_exit(dir)? {
        return Ok(Found::Ended(exit));
    }
    Ok(if ever_started(dir) { Found::Gone } else { Found::Unstarted })
}

/// Whether a shim ever took the run on. It says so before it starts anything; a log alone may be this agent's, of a run
/// that waits.
pub(crate) fn ever_started(dir: &Path) -> bool {
    dir.join(PID_FILE).exists()
}

/// The end of a run whose shim is gone without a word.
pub(crate) fn supervisor_ended() -> Exit {
    let failure = Some("the task's supervisor was ended".to_owned());
    Exit { code: 137, signal: Some(9), failure, ..Exit::default() }
}

/// The end of a run that was killed before a shim could see to it.
pub(crate) fn killed_early() -> Exit {
    Exit { code: 137, signal: Some(9), killed: true, ..Exit::default() }
}

/// The end of a run that the agent couldn't begin.
pub(crate) fn never_began(why: String) -> Exit {
    Exit { code: launch::exit::LAUNCH_FAILED, failure: Some(why), ..Exit::default() }
}

/// Writes the end of a run that no shim will write, so that it is known after a restart and the run never begins
/// again. Makes the run's directory if there is none.
pub(crate) fn record_end(data_dir: &DataDir, id: AllocationId, exit: &Exit) -> io::Result<()> {
    let bytes = serde_json::to_vec(exit)?;
    let tasks = data_dir.tasks();
    let dir = tasks.join(id.to_string());
    if dir.exists() {
        return write_file(&dir.join(EXIT_FILE), &bytes);
    }
    let temporary = tasks.join(format!(".end-{id}"));
    remove_if_there(&temporary)?;
    fs::create_dir(&temporary)?;
    write_file(&temporary.join(EXIT_FILE), &bytes)?;
    fs::rename(&temporary, &dir)?;
    sync_dir(&tasks)
}

/// Notes that a run is over whose shim goes on in a directory that isn't this one: it writes its end by names that lead here.
pub(crate) fn is_over(data_dir: &DataDir, id: AllocationId, exit: &Exit) -> io::Result<()> {
    let unfinished = data_dir.tasks().join(id.to_string()).join(UNFINISHED_EXIT);
    match fs::remove_file(unfinished) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    record_end(data_dir, id, exit)
}

/// By what the master knows that it gave the run to this agent; empty when that isn't there.
pub(crate) fn given(data_dir: &DataDir, id: AllocationId) -> String {
    fs::read_to_string(data_dir.tasks().join(id.to_string()).join(GIVEN_FILE)).unwrap_or_default()
}

/// Keeps that for later. It is for a master whose back-up was restored alone, so nothing waits until the disk has it.
pub(crate) fn keep_given(dir: &Path, given: &str) -> io::Result<()> {
    if given.is_empty() { Ok(()) } else { fs::write(dir.join(GIVEN_FILE), given) }
}

/// Where the context directory of a run waits until the run has a directory. It comes here whole before that
/// directory is made: a directory without shim then either has its context or finds it here.
pub(crate) fn incoming_context(data_dir: &DataDir, id: AllocationId) -> PathBuf {
    data_dir.incoming().join(format!("{id}.tar.gz"))
}

/// Moves a waiting context directory to its run. Nothing waits: nothing is done.
pub(crate) fn place_context(data_dir: &DataDir, id: AllocationId) -> io::Result<()> {
    let dir = data_dir.tasks().join(id.to_string());
    match fs::rename(incoming_context(data_dir, id), dir.join(CONTEXT_FILE)) {
        Ok(()) => sync_dir(&dir),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

/// Drops a context directory that no run will need.
pub(crate) fn drop_context(data_dir: &DataDir, id: AllocationId) {
    let file = incoming_context(data_dir, id);
    // What can't be removed now is removed at the next start.
    let _ = fs::remove_file(file.with_extension("part"));
    let _ = fs::remove_file(file);
}

/// Finds the runs of an earlier agent and clears away what a crash left half made.
pub(crate) fn tidy(data_dir: &DataDir) -> io::Result<Vec<AllocationId>> {
    let mut held = Vec::new();
    for entry in fs::read_dir(data_dir.tasks())? {
        let name = entry?.file_name();
        match name.to_str().and_then(|name| name.parse().ok()) {
            Some(id) => held.push(id),
            None => remove_if_there(&data_dir.tasks().join(name))?,
        }
    }
    held.sort_unstable();
    for entry in fs::read_dir(data_dir.incoming())? {
        let path = entry?.path();
        let wanted = held.iter().any(|id| incoming_context(data_dir, *id) == path);
        if !wanted {
            fs::remove_file(path)?;
        }
    }
    Ok(held)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(run: u32) -> AllocationId {
        format!("6f1c7f3e-5b0f-4a4c-9d8e-2b1a00000000.{run}").parse().expect("valid")
    }

    #[tokio::test]
    async fn files_tell_what_became_of_a_run() {
        let temp = tempfile::tempdir().expect("temp dir");
        let data_dir = DataDir::open(temp.path()).await.expect("free");
        let dir = data_dir.tasks().join(id(1).to_string());
        fs::create_dir(&dir).expect("made");
        assert!(matches!(inspect(&dir), Ok(Found::Unstarted)));
        fs::write(dir.join(LOG_FILE), "").expect("written");
        assert!(matches!(inspect(&dir), Ok(Found::Unstarted)));
        fs::write(dir.join(PID_FILE), "").expect("written");
        assert!(matches!(inspect(&dir), Ok(Found::Gone)));
        for (run, exit) in [(1, supervisor_ended()), (2, never_began("no space".into())), (3, killed_early())]
        {
            record_end(&data_dir, id(run), &exit).expect("recorded");
            let found = inspect(&data_dir.tasks().join(id(run).to_string())).expect("readable");
            assert!(matches!(found, Found::Ended(found) if found == exit), "{run}");
        }
    }

    #[tokio::test]
    async fn what_a_crash_left_is_cleared_and_what_is_needed_stays() {
        let temp = tempfile::tempdir().expect("temp dir");
        let data_dir = DataDir::open(temp.path()).await.expect("free");
        let dir = data_dir.tasks().join(id(1).to_string());
        for dir in [dir.clone(), data_dir.tasks().join(format!(".new-{}", id(2)))] {
            fs::create_dir(dir).expect("made");
        }
        for name in [format!("{}.tar.gz", id(1)), format!("{}.tar.gz", id(2)), format!("{}.tar.part", id(1))]
        {
            fs::write(data_dir.incoming().join(name), "x").expect("written");
        }
        assert_eq!(tidy(&data_dir).expect("tidied"), [id(1)]);
        assert_eq!(fs::read_dir(data_dir.tasks()).expect("there").count(), 1);
        assert_eq!(fs::read_dir(data_dir.incoming()).expect("there").count(), 1);
        place_context(&data_dir, id(1)).expect("moved");
        place_context(&data_dir, id(1)).expect("again");
        assert!(dir.join(CONTEXT_FILE).exists());
    }
}
