//! `lost/`: directories of runs that the master has no record of (KP2), for people to look at. What such a task printed is in
//! `output.txt`, why it is there in `why.txt`; its own disk was emptied. The newest ones stay. Runs that can't be removed stay
//! where they are until they can.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use domain::log::Records;

use crate::launcher::{LOG_FILE, Launcher};
use crate::run::{Piece, piece};

/// How many are kept.
const MOST: usize = 100;
/// How much they may have of the disk together, in bytes; the newest one may have more.
const SPACE: u64 = 1 << 30;
/// So much of a log is read at once, in bytes.
const PIECE: usize = 1 << 20;
/// What a directory is called that is only waiting to be removed: earlier agents moved those here.
const REST: &str = "rest-";

/// Keeps the directory of a run, which has ended. Returns where it is now.
///
/// # Errors
/// What the file system says; then it is where it was.
pub(crate) fn keep(launcher: &dyn Launcher, lost: &Path, dir: &Path, why: &str) -> io::Result<PathBuf> {
    let kept = move_to(launcher, lost, dir)?;
    // Those are for people's convenience.
    let _ = fs::write(kept.join("why.txt"), format!("{why}\n"));
    if let Err(e) = plain_output(&kept) {
        tracing::debug!("{} keeps its log as it is: {e}", kept.display());
    }
    tidy(launcher, lost);
    Ok(kept)
}

/// In the directory of a run that couldn't be removed, and is none any more.
const LEFT_FILE: &str = "left";

/// Leaves the directory of a run that can't be removed where it is, for it to be tried again now and then. It isn't moved: that
/// would wait for whoever holds the disk's one lock of renames, in each of the threads that all of the process shares (ML5).
///
/// # Errors
/// What the file system says; then the next agent takes it for a run.
pub(crate) fn leave(dir: &Path) -> io::Result<()> {
    File::create(dir.join(LEFT_FILE)).map(drop)
}

/// Whether that is so of one.
pub(crate) fn is_left(dir: &Path) -> bool {
    dir.join(LEFT_FILE).exists()
}

fn move_to(launcher: &dyn Launcher, lost: &Path, dir: &Path) -> io::Result<PathBuf> {
    DirBuilder::new().recursive(true).mode(0o700).create(lost)?;
    let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    // An earlier one of that name may be there: back-ups can be restored twice.
    let mut to = lost.join(&name);
    for number in 2.. {
        if !to.exists() {
            break;
        }
        to = lost.join(format!("{name}-{number}"));
    }
    launcher.put_away(dir, &to)?;
    Ok(to)
}

/// Tries again to remove what couldn't be among the directories of runs, `tasks`.
pub(crate) fn remove_left(launcher: &dyn Launcher, tasks: &Path) {
    let entries = fs::read_dir(tasks).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|dir| is_left(dir)).for_each(|dir| remove(launcher, &dir));
}

/// Removes the oldest of what is more than is kept.
pub(crate) fn tidy(launcher: &dyn Launcher, lost: &Path) {
    let mut kept = vec![];
    for entry in fs::read_dir(lost).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_rest = entry.file_name().to_string_lossy().starts_with(REST);
        if is_rest {
            remove(launcher, &path);
        } else if let Ok(since) = entry.metadata().and_then(|meta| meta.modified()) {
            kept.push((since, path));
        }
    }
    kept.sort_by_key(|(since, _): &(SystemTime, PathBuf)| std::cmp::Reverse(*since));
    let mut taken = 0_u64;
    for (number, (_, path)) in kept.iter().enumerate() {
        taken = taken.saturating_add(size(path));
        if number >= MOST || (number > 0 && taken > SPACE) {
            remove(launcher, path);
        }
    }
}

fn remove(launcher: &dyn Launcher, path: &Path) {
    if let Err(e) = launcher.forget(path) {
        tracing::warn!("{} couldn't be removed: {e}", path.display());
    }
}

/// What its files have of the disk.
fn size(dir: &Path) -> u64 {
    let files = fs::read_dir(dir).into_iter().flatten().flatten();
    files.filter_map(|file| file.metadata().ok()).map(|meta| meta.blocks().saturating_mul(512)).sum()
}

/// Puts what the task printed in place of its log, which has a form of its own.
fn plain_output(dir: &Path) -> io::Result<()> {
    let (log, output) = (dir.join(LOG_FILE), dir.join("output.txt"));
    let from = File::open(&log)?;
    let to = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&output)?;
    let written = copy(&from, &mut BufWriter::new(to));
    match written {
        Ok(()) => fs::remove_file(&log),
        Err(e) => fs::remove_file(&output).and(Err(e)),
    }
}

fn copy(from: &File, to: &mut impl Write) -> io::Result<()> {
    let mut offset = 0;
    loop {
        match piece(from, offset, PIECE)? {
            Piece::Records(bytes) if bytes.is_empty() => return to.flush(),
            Piece::Records(bytes) => {
                for record in Records::new(&bytes) {
                    to.write_all(record.payload)?;
                }
                offset += bytes.len() as u64;
            }
            Piece::Gone(end) => {
                writeln!(to, "[{} bytes were with a master, and are here no more]", end - offset)?;
                offset = end;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::log::{HEADER_BYTES, Record, Source};
    use domain::time::Timestamp;

    fn run(tasks: &Path, name: &str) -> PathBuf {
        let dir = tasks.join(name);
        fs::create_dir_all(dir.join("scratch/tmp")).expect("made");
        let mut log = vec![0; 4 * HEADER_BYTES + 5];
        for text in ["one\n", "two\n"] {
            let at = Timestamp(1_790_000_000_000_000);
            Record { at, source: Source::Stdout, rank: None, payload: text.as_bytes() }.encode(&mut log);
        }
        fs::write(dir.join(LOG_FILE), log).expect("written");
        fs::write(dir.join("scratch/tmp/big"), vec![1; 1 << 20]).expect("written");
        dir
    }

    /// ML5: nothing is moved, and no agent takes it for a run again.
    #[tokio::test]
    async fn a04_ml5_what_is_left_stays_where_it_is_and_is_no_run() {
        let temp = tempfile::tempdir().expect("temp dir");
        let data_dir = crate::data_dir::DataDir::open(temp.path()).await.expect("free");
        let [left, other] =
            [1, 2].map(|n| run(&data_dir.tasks(), &format!("6f1c7f3e-5b0f-4a4c-9d8e-2b1a00000000.{n}")));
        leave(&left).expect("left");
        let runs = crate::run::tidy(&data_dir).expect("looked");
        assert_eq!(runs.iter().map(|id| id.run).collect::<Vec<_>>(), [2]);
        assert!(left.exists());
        let launcher = crate::launcher::sandbox::tests::sandbox(domain::agent::Power::Root);
        remove_left(&launcher, &data_dir.tasks());
        assert!(!left.exists() && other.exists());
    }

    /// KP2: what a master has forgotten isn't thrown away, nor kept without end.
    #[test]
    fn r45_what_a_master_forgot_is_kept_and_the_oldest_goes() {
        let temp = tempfile::tempdir().expect("temp dir");
        let (tasks, lost) = (temp.path().join("tasks"), temp.path().join("lost"));
        let launcher = crate::launcher::sandbox::tests::sandbox(domain::agent::Power::Root);
        let kept = keep(&launcher, &lost, &run(&tasks, "a.1"), "because").expect("kept");
        assert_eq!(
            fs::read_to_string(kept.join("output.txt")).expect("there"),
            "[69 bytes were with a master, and are here no more]\none\ntwo\n"
        );
        assert_eq!(fs::read_to_string(kept.join("why.txt")).expect("there"), "because\n");
        assert!(
            !kept.join("scratch").exists() && !kept.join(LOG_FILE).exists() && !tasks.join("a.1").exists()
        );
        let again = keep(&launcher, &lost, &run(&tasks, "a.1"), "because").expect("kept");
        assert!(again != kept && kept.exists());
        fs::create_dir(lost.join("rest-x")).expect("made");
        for i in 0..MOST {
            fs::create_dir_all(lost.join(format!("old.{i}"))).expect("made");
            let old = SystemTime::now() - std::time::Duration::from_secs(100 + i as u64);
            File::open(lost.join(format!("old.{i}"))).and_then(|dir| dir.set_modified(old)).expect("set");
        }
        tidy(&launcher, &lost);
        let left = fs::read_dir(&lost).expect("there").count();
        assert!(left == MOST && kept.exists() && again.exists(), "{left}");
    }
}
