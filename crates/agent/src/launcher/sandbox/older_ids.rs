//! Which ids of the machine tasks without a link had under earlier versions or settings (F10): what they left in directories
//! of the machine's is nobody's from then on, and whoever looks after it is told so once, with the way to find it.

use std::fs;
use std::io;
use std::path::Path;

use crate::data_dir::{ENROLMENT_FILE, write_file};

/// Keeps the first id of the range.
const FILE: &str = "root-range-base";

/// Where the range began by default before this was kept. Its first id was the group of all such tasks.
const BEFORE: u32 = 1_900_000_000;

/// What is to be said at this start, and never again, with the range beginning at `base`.
///
/// # Errors
/// When it can't be noted.
pub(crate) fn told(data_dir: &Path, base: u32) -> io::Result<Option<String>> {
    let file = data_dir.join(FILE);
    let known = match fs::read_to_string(&file) {
        Ok(text) => text.trim().parse().ok(),
        // A directory that belongs to a master already is an earlier version's.
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            data_dir.join(ENROLMENT_FILE).exists().then_some(BEFORE)
        }
        Err(e) => return Err(e),
    };
    if known != Some(base) || !file.exists() {
        write_file(&file, format!("{base}\n").as_bytes())?;
    }
    Ok(known.filter(|known| *known != base).map(|known| {
        format!(
            "ids of tasks without a link begin at {base} on this machine now, and at {known} before (or at what \
             agent.root_range_base said): what such tasks left in directories of the machine is nobody's. `find DIR -gid {known}` \
             lists it; README (Upgrading) says how to give it back"
        )
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data_dir::DataDir;

    #[tokio::test]
    async fn f10_who_had_other_ids_before_is_told_once() {
        let temp = tempfile::tempdir().expect("temp dir");
        let data_dir = DataDir::open(temp.path()).await.expect("free");
        let say = |base| told(data_dir.root(), base).expect("noted");
        assert_eq!((say(7_000_000), say(7_000_000)), (None, None), "a new machine");
        assert!(say(8_000_000).is_some_and(|said| said.contains("`find DIR -gid 7000000`")));
        assert_eq!(say(8_000_000), None);
        fs::remove_file(temp.path().join(FILE)).expect("there");
        fs::write(data_dir.enrolment_file(), "{}").expect("written");
        assert!(say(8_000_000).is_some_and(|said| said.contains("`find DIR -gid 1900000000`")));
        assert_eq!(say(8_000_000), None);
    }
}
