//! What of a run's files is the agent's: its context on the way, by what the master knows it, and the ends that the agent says
//! itself. The rest is its launcher's.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use domain::id::AllocationId;
use domain::task::{Exit, Fault};

use crate::data_dir::{DataDir, sync_dir};
use crate::launcher::{CONTEXT_FILE, NEVER_BEGAN};
use crate::lost;

const GIVEN_FILE: &str = "given";

/// The end of a run whose shim is gone without a word.
pub(crate) fn supervisor_ended() -> Exit {
    let failure = Some("the task's supervisor was ended".into());
    Exit { code: 137, signal: Some(9), failure, fault: Some(Fault::Lost), ..Exit::default() }
}

/// The end of a run that was killed before anybody could see to it.
pub(crate) fn killed_early() -> Exit {
    Exit { code: 137, signal: Some(9), killed: true, fault: Some(Fault::Ended), ..Exit::default() }
}

/// The end of a run that the agent couldn't begin.
pub(crate) fn never_began(why: &impl ToString, fault: Fault) -> Exit {
    let failure = Some(why.to_string().into());
    Exit { code: NEVER_BEGAN, failure, fault: Some(fault), ..Exit::default() }
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
///
/// It is given a second name and loses the first one: for who moves something from one directory to another, the kernel has
/// one lock for the whole disk, which a task may hold for as long as it likes (MG5).
pub(crate) fn place_context(data_dir: &DataDir, id: AllocationId) -> io::Result<()> {
    let dir = data_dir.tasks().join(id.to_string());
    let (waiting, place) = (incoming_context(data_dir, id), dir.join(CONTEXT_FILE));
    match fs::hard_link(&waiting, &place) {
        Ok(()) => {}
        // It was there when the machine lost power.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) if has_one_name(&e) => fs::rename(&waiting, &place)?,
        Err(e) => return Err(e),
    }
    sync_dir(&dir)?;
    match fs::remove_file(&waiting) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// On some file systems a file has one name.
fn has_one_name(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported | io::ErrorKind::TooManyLinks
    )
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
            Some(_) if lost::is_left(&data_dir.tasks().join(&name)) => {}
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
