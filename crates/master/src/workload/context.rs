//! Context directories: checked, packed once, kept as a blob until the task is over (B12). A blob whose task isn't made
//! after all is removed at once; what a master left behind that was killed in between goes at the next start.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api::command::{ContextFiles, DIRECTORY_TYPE, FILE_TYPE, MAX_CONTEXT_DEPTH};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::id::{TaskId, UserId};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::Error;

/// Where packed context directories are kept.
#[derive(Debug, Clone)]
pub struct Contexts {
    root: PathBuf,
    coming: Arc<Mutex<Coming>>,
}

/// What is sent and not yet a living task's, in bytes, by account and in the order in which it came.
#[derive(Debug, Default)]
struct Coming {
    bytes: BTreeMap<(UserId, u64), u64>,
    number: u64,
}

/// The place of one that is coming: dropped, it isn't any more.
#[derive(Debug)]
pub(crate) struct Place {
    coming: Arc<Mutex<Coming>>,
    key: (UserId, u64),
}

impl Place {
    /// What the account had sent before, in bytes, that is still coming.
    pub(crate) fn earlier(&self) -> u64 {
        let (owner, number) = self.key;
        let coming = lock(&self.coming);
        coming.bytes.range((owner, 0)..(owner, number)).fold(0, |sum, (_, bytes)| sum.saturating_add(*bytes))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.coming).bytes.remove(&self.key);
    }
}

fn lock(coming: &Mutex<Coming>) -> MutexGuard<'_, Coming> {
    coming.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Contexts {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root, coming: Arc::default() }
    }

    /// Counts so many bytes that an account has sent, from now on until its task lives or isn't made: launches at once don't each find the
    /// room that only one of them can have.
    pub(crate) fn comes(&self, owner: UserId, bytes: u64) -> Place {
        let mut coming = lock(&self.coming);
        coming.number += 1;
        let key = (owner, coming.number);
        coming.bytes.insert(key, bytes);
        Place { coming: Arc::clone(&self.coming), key }
    }

    fn path(&self, task: TaskId) -> PathBuf {
        let id = task.to_string();
        self.root.join(id.get(..2).unwrap_or("00")).join(format!("{id}.tar.gz"))
    }

    /// Packs files and keeps them, as long as what is answered isn't dropped before [`Kept::stays`]; all or nothing.
    ///
    /// # Errors
    /// When a path or type isn't allowed, when it is too large, or when the disk refuses.
    pub(crate) async fn put(&self, task: TaskId, files: ContextFiles, limit: u64) -> Result<Kept, Error> {
        let kept = Kept(Some(self.path(task)));
        let path = self.path(task);
        let packed = tokio::task::spawn_blocking(move || -> Result<Kept, Error> {
            let archive = pack(&files, limit)?;
            drop(files);
            write_durably(&path, &archive).map_err(Error::io("keeping the context directory"))?;
            Ok(kept)
        });
        packed.await.map_err(|e| Error::io("packing the context directory")(std::io::Error::other(e)))?
    }

    /// Whether these tasks of an account have less than `most` bytes here, together with what is `earlier` and still coming.
    ///
    /// # Errors
    /// When they have as many, or more.
    pub(crate) async fn check_sum(&self, earlier: u64, tasks: Vec<TaskId>, most: u64) -> Result<(), Error> {
        let paths: Vec<PathBuf> = tasks.into_iter().map(|task| self.path(task)).collect();
        let sizes = move || paths.iter().filter_map(|path| Some(std::fs::metadata(path).ok()?.len())).sum();
        let sum: u64 = tokio::task::spawn_blocking(sizes)
            .await
            .map_err(|e| Error::io("looking at context directories")(std::io::Error::other(e)))?;
        let sum = sum.saturating_add(earlier);
        if sum < most {
            return Ok(());
        }
        let (has, most) = (sum >> 20, most >> 20);
        Err(Error::Precondition(format!(
            "your tasks that aren't over have {has} MiB of context directories, and {most} MiB is the limit: wait until some end, \
             or kill some; an administrator can raise it (limits.contexts_bytes)"
        )))
    }

    /// Removes that of a task that is over.
    pub(crate) fn remove(&self, task: TaskId) {
        drop(Kept(Some(self.path(task))));
    }

    /// Removes all but those of these tasks, and what was being written when a master was killed.
    pub(crate) async fn keep_only(&self, tasks: BTreeSet<TaskId>) {
        let root = self.root.clone();
        let keep: BTreeSet<PathBuf> = tasks.into_iter().map(|task| self.path(task)).collect();
        let swept = tokio::task::spawn_blocking(move || sweep(&root, &keep)).await;
        match swept.map_err(std::io::Error::other).flatten() {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "context directories of tasks that are over removed"),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(%error, "old context directories could not be removed"),
        }
    }

    /// The packed directory, to be read piece by piece (A5); `None` when the task has none.
    ///
    /// # Errors
    /// When it can't be read.
    pub async fn open(&self, task: TaskId) -> Result<Option<Packed>, Error> {
        let opened = async {
            let file = tokio::fs::File::open(self.path(task)).await?;
            let len = file.metadata().await?.len();
            Ok::<_, std::io::Error>(Packed { file, len })
        };
        match opened.await {
            Ok(packed) => Ok(Some(packed)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io("reading the context directory")(e)),
        }
    }
}

/// A packed directory that is open.
#[derive(Debug)]
pub struct Packed {
    /// Where it is read from.
    pub file: tokio::fs::File,
    /// Its length in bytes; it doesn't change.
    pub len: u64,
}

/// A packed directory whose task isn't stored yet; dropped, it is removed.
#[derive(Debug)]
pub(crate) struct Kept(Option<PathBuf>);

impl Kept {
    /// The task is stored.
    pub(crate) fn stays(mut self) {
        self.0 = None;
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        for path in self.0.iter().flat_map(|path| [path.clone(), part(path)]) {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    tracing::warn!(%error, file = %path.display(), "a context directory could not be removed");
                }
                _ => {}
            }
        }
    }
}

/// Removes the files below `root` that aren't in `keep`; answers how many.
fn sweep(root: &Path, keep: &BTreeSet<PathBuf>) -> std::io::Result<u64> {
    let mut removed = 0;
    for folder in std::fs::read_dir(root)? {
        for file in std::fs::read_dir(folder?.path())? {
            let file = file?.path();
            if !keep.contains(&file) {
                std::fs::remove_file(file)?;
                removed += 1;
            }
        }
    }
    Ok(removed)
}

/// Where it is while it is being written.
fn part(path: &Path) -> PathBuf {
    path.with_extension("part")
}

fn write_durably(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(path);
    std::fs::create_dir_all(folder)?;
    let temporary = part(path);
    let mut file = std::fs::File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    std::fs::File::open(folder)?.sync_all()
}

/// Makes a `tar.gz` of the files; owners are dropped, modes lose setuid and the like (R44, R45).
fn pack(files: &ContextFiles, limit: u64) -> Result<Vec<u8>, Error> {
    let io = |e| Error::io("packing the context directory")(e);
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    let mut total: u64 = 0;
    files.each(|mut file| {
        let path = safe_path(&file.path)?;
        let content = std::mem::take(&mut file.content);
        let content = STANDARD
            .decode(content)
            .map_err(|_| Error::Invalid(format!("context file '{}': content is not base64", file.path)))?;
        total = total.saturating_add(content.len() as u64);
        if total > limit {
            let mib = limit >> 20;
            return Err(Error::TooLarge(format!(
                "the context directory is larger than the maximum allowed size of {mib} MiB: leave files out with .detignore"
            )));
        }
        let mut header = tar::Header::new_gnu();
        let mode = u32::try_from(file.mode.unwrap_or(0o644) & 0o777).unwrap_or(0o644);
        header.set_mtime(u64::try_from(file.mtime.unwrap_or(0)).unwrap_or(0));
        match file.kind {
            Some(FILE_TYPE) | None => {
                header.set_entry_type(tar::EntryType::Regular);
                header.set_mode(mode);
                header.set_size(content.len() as u64);
                archive.append_data(&mut header, path, content.as_slice()).map_err(io)?;
            }
            Some(DIRECTORY_TYPE) => {
                header.set_entry_type(tar::EntryType::Directory);
                // The owner must get into it, whatever was sent.
                header.set_mode(mode | 0o700);
                header.set_size(0);
                archive.append_data(&mut header, path, std::io::empty()).map_err(io)?;
            }
            Some(other) => {
                let text =
                    format!("context file '{}': type {other} is neither file nor directory", file.path);
                return Err(Error::Invalid(text));
            }
        }
        Ok(())
    })?;
    let encoder = archive.into_inner().map_err(io)?;
    encoder.finish().map_err(io)
}

/// Relative, without `..`, and something at all.
fn safe_path(text: &str) -> Result<PathBuf, Error> {
    let bad = || {
        Error::Invalid(format!(
            "context file '{}': the path must be relative without ..",
            text.escape_debug()
        ))
    };
    if text.contains('\0') {
        return Err(bad());
    }
    let mut path = PathBuf::new();
    for part in Path::new(text).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::CurDir => {}
            _ => return Err(bad()),
        }
    }
    if path.as_os_str().is_empty() {
        return Err(bad());
    }
    if path.components().count() > MAX_CONTEXT_DEPTH {
        let beginning: String = text.chars().take(100).collect();
        return Err(Error::Invalid(format!(
            "context file '{}…': nested more than {MAX_CONTEXT_DEPTH} directories deep",
            beginning.escape_debug()
        )));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use api::command::ContextFile;

    use super::*;

    fn all(files: impl IntoIterator<Item = ContextFile>) -> ContextFiles {
        ContextFiles::new(&files.into_iter().collect::<Vec<_>>()).expect("few")
    }

    fn file(path: &str, kind: i64, mode: i64) -> ContextFile {
        ContextFile { path: path.into(), kind: Some(kind), mode: Some(mode), ..ContextFile::default() }
    }

    #[test]
    fn r44_paths_stay_inside() {
        for path in ["../x", "/etc/passwd", "a/../../x", "", ".", "a\0b"] {
            assert!(pack(&all([file(path, FILE_TYPE, 0o644)]), 1 << 20).is_err(), "{path:?}");
        }
        assert!(pack(&all([file("./a/b", FILE_TYPE, 0o644)]), 1 << 20).is_ok());
        let deep = |depth: usize| all([file(&vec!["d"; depth].join("/"), FILE_TYPE, 0o644)]);
        assert!(pack(&deep(MAX_CONTEXT_DEPTH), 1 << 20).is_ok());
        let told = pack(&deep(300), 1 << 20).expect_err("too deep").to_string();
        assert!(told.contains("nested more than 128") && told.len() < 400, "{told}");
    }

    #[tokio::test]
    async fn b12_what_no_task_needs_is_removed() {
        let folder = tempfile::tempdir().expect("folder");
        let contexts = Contexts::new(folder.path().join("contexts"));
        let [stays, fails, ends, old] = [1, 2, 3, 4].map(|n| TaskId(uuid::Uuid::from_u128(n)));
        let files = || all([file("x", FILE_TYPE, 0o644)]);
        contexts.put(stays, files(), 1 << 20).await.expect("packed").stays();
        drop(contexts.put(fails, files(), 1 << 20).await.expect("packed"));
        assert!(contexts.put(fails, all([file("../x", FILE_TYPE, 0o644)]), 1 << 20).await.is_err());
        contexts.put(ends, files(), 1 << 20).await.expect("packed").stays();
        // KP1: who has many tasks that wait doesn't get the disk.
        contexts.check_sum(0, vec![stays, ends], 1 << 20).await.expect("there is room");
        let many = contexts.check_sum(0, vec![stays, ends], 50).await.expect_err("more than fifty bytes");
        assert!(many.to_string().contains("limits.contexts_bytes"), "{many}");
        contexts.remove(ends);
        contexts.put(old, files(), 1 << 20).await.expect("packed").stays();
        std::fs::write(part(&contexts.path(old)), "torn").expect("written");
        for gone in [fails, ends] {
            assert!(contexts.open(gone).await.expect("read").is_none());
        }
        contexts.keep_only([stays].into()).await;
        let names = std::fs::read_dir(contexts.path(stays).parent().expect("a folder")).expect("read");
        assert_eq!(names.count(), 1, "only what lives is there");
        assert!(contexts.open(stays).await.expect("read").is_some());
    }

    #[tokio::test]
    async fn a04_launches_at_once_do_not_each_find_the_same_room() {
        let folder = tempfile::tempdir().expect("folder");
        let contexts = Contexts::new(folder.path().join("contexts"));
        let files = all([ContextFile { content: STANDARD.encode([0; 3000]), ..file("x", FILE_TYPE, 0o644) }]);
        let places: Vec<_> = (0..30).map(|_| contexts.comes(UserId(7), files.bytes())).collect();
        let mut room = 0;
        for place in &places {
            room += usize::from(contexts.check_sum(place.earlier(), Vec::new(), 1000).await.is_ok());
        }
        assert_eq!(room, 1, "the last one may be beyond the limit, and only one");
        assert_eq!(
            contexts.comes(UserId(8), files.bytes()).earlier(),
            0,
            "others' have nothing to do with it"
        );
        drop(places);
        assert_eq!(contexts.comes(UserId(7), files.bytes()).earlier(), 0, "all are done");
    }

    #[test]
    fn r45_no_links_no_setuid_no_excess() {
        assert!(pack(&all([file("link", 50, 0o777)]), 1 << 20).is_err());
        let packed = pack(&all([file("x", FILE_TYPE, 0o104_755)]), 1 << 20).expect("packed");
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(packed.as_slice()));
        let entry = archive.entries().expect("archive").next().expect("one").expect("entry");
        assert_eq!(entry.header().mode().expect("mode"), 0o755);
        let big = ContextFile { content: STANDARD.encode([0; 100]), ..file("x", FILE_TYPE, 0o644) };
        assert!(matches!(pack(&all([big]), 99), Err(Error::TooLarge(_))));
    }
}
