//! Files that are sent along with a command: which ones, how large, and their form on the wire
//! (contract "runtime", section 2.1).

mod rules;
mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use api::command::{ContextFile, ContextFiles, DIRECTORY_TYPE, FILE_TYPE};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::failure::Failure;

/// What is taken when the master doesn't say, in bytes.
const USUAL_LIMIT: u64 = 95 << 20;
/// Files and directories that are named when there is too much.
const NAMED: usize = 5;

/// Files found, but not read yet.
#[derive(Debug, Default)]
pub(crate) struct SentAlong {
    entries: Vec<Entry>,
}

/// One file or directory.
#[derive(Debug)]
struct Entry {
    /// Where it is here.
    path: PathBuf,
    /// Where it goes, relative, with `/`.
    name: String,
    meta: Metadata,
}

/// Looks at what `--context` and `--include` name.
pub(crate) fn find(context: Option<&Path>, includes: &[PathBuf]) -> Result<SentAlong> {
    let mut entries = Vec::new();
    if let Some(root) = context {
        let meta = fs::metadata(root).with_context(|| format!("can't read {}", root.display()))?;
        if !meta.is_dir() {
            bail!(Failure::Usage(format!("--context takes a directory, and {} is none", root.display())));
        }
        walk::tree(root, "", &mut entries)?;
    }
    for path in includes {
        let meta = fs::metadata(path).with_context(|| format!("can't read {}", path.display()))?;
        let name = include_name(path)?;
        let is_dir = meta.is_dir();
        entries.push(Entry { path: path.clone(), name: name.clone(), meta });
        if is_dir {
            walk::tree(path, &format!("{name}/"), &mut entries)?;
        }
    }
    let mut names = BTreeSet::new();
    if let Some(twice) = entries.iter().find(|entry| !names.insert(entry.name.as_str())) {
        bail!(Failure::Usage(format!("{} is sent along twice, by --context or --include", twice.name)));
    }
    Ok(SentAlong { entries })
}

/// The name that an included path has in the task: its last part, `.` and links resolved.
fn include_name(path: &Path) -> Result<String> {
    let name = match path.file_name() {
        Some(name) => name.to_owned(),
        None => {
            let real = fs::canonicalize(path).with_context(|| format!("can't read {}", path.display()))?;
            real.file_name()
                .ok_or_else(|| {
                    Failure::Usage(format!("--include {} has no name of its own", path.display()))
                })?
                .to_owned()
        }
    };
    name.into_string().map_err(|name| not_text(Path::new(&name)).into())
}

fn not_text(path: &Path) -> Failure {
    Failure::Usage(format!("the name of {} is not UTF-8 text and can't be sent along", path.display()))
}

impl SentAlong {
    /// Whether there is nothing to send.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Refuses what the master wouldn't take, before anything is read or sent (R45). A `limit` of 0 is unknown.
    pub(crate) fn check_size(&self, limit: u64) -> Result<()> {
        let limit = if limit == 0 { USUAL_LIMIT } else { limit };
        let total: u64 = self.files().map(|entry| entry.meta.len()).sum();
        if total <= limit {
            return Ok(());
        }
        bail!(
            "the files to send along come to {}, and the maximum allowed size is {}. Leave some out with a \
             .detignore file, or put data where the agent can read it and use --volume. The largest: {}",
            size_u64(total),
            size_u64(limit),
            self.largest().join(", ")
        )
    }

    fn files(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.meta.is_file())
    }

    /// What takes most of the room: files, and directories by what is in all of them (B17).
    fn largest(&self) -> Vec<String> {
        // Of each directory: its bytes and its number of files.
        let mut sizes: BTreeMap<&str, (u64, usize)> = BTreeMap::new();
        for file in self.files() {
            let folders = file.name.match_indices('/').filter_map(|(at, _)| file.name.get(..=at));
            for name in folders.chain([file.name.as_str()]) {
                let (bytes, count) = sizes.entry(name).or_default();
                *bytes += file.meta.len();
                *count += 1;
            }
        }
        // A directory says nothing when nearly all of it is in one thing below, which says more.
        let tells = |(name, (bytes, _)): &(&&str, &(u64, usize))| {
            let below = sizes.range(**name..).skip(1).take_while(|(below, _)| below.starts_with(**name));
            !name.ends_with('/')
                || below.map(|(_, (part, _))| part).max().is_none_or(|part| *part < bytes - bytes / 8)
        };
        let mut telling: Vec<_> = sizes.iter().filter(tells).collect();
        telling.sort_by_key(|(_, (bytes, _))| std::cmp::Reverse(*bytes));
        // What lies in a directory that is named already isn't named again.
        let mut named: Vec<String> = Vec::new();
        let mut folders: Vec<&str> = Vec::new();
        for (name, (bytes, count)) in telling {
            if named.len() == NAMED {
                break;
            }
            if folders.iter().any(|folder| name.starts_with(folder)) {
                continue;
            }
            if name.ends_with('/') {
                folders.push(name);
                named.push(format!("{name} ({} in {count} files)", size_u64(*bytes)));
            } else {
                named.push(format!("{name} ({})", size_u64(*bytes)));
            }
        }
        named
    }

    /// Reads everything.
    pub(crate) fn read(&self) -> Result<ContextFiles> {
        let files: Vec<_> = self.entries.iter().map(Entry::read).collect::<Result<_>>()?;
        Ok(ContextFiles::new(&files)?)
    }
}

impl Entry {
    fn read(&self) -> Result<ContextFile> {
        let is_dir = self.meta.is_dir();
        let content = if is_dir {
            String::new()
        } else {
            let bytes =
                fs::read(&self.path).with_context(|| format!("can't read {}", self.path.display()))?;
            STANDARD.encode(bytes)
        };
        Ok(ContextFile {
            path: self.name.clone(),
            kind: Some(if is_dir { DIRECTORY_TYPE } else { FILE_TYPE }),
            content,
            mtime: Some(self.meta.mtime()),
            mode: Some(self.meta.mode().into()),
            uid: Some(0),
            gid: Some(0),
        })
    }
}

/// Bytes as people read them.
pub(crate) fn size(bytes: usize) -> String {
    size_u64(bytes as u64)
}

fn size_u64(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    // One decimal, in whole numbers; the last unit takes whatever is left.
    let mut tenths = u128::from(bytes) * 10 / 1024;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < units.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, units.get(unit).unwrap_or(&"TiB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, usize)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("made");
        for (name, size) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().expect("has one")).expect("made");
            fs::write(path, vec![b'x'; *size]).expect("written");
        }
        dir
    }

    fn names(sent: &SentAlong) -> Vec<&str> {
        sent.entries.iter().map(|entry| entry.name.as_str()).collect()
    }

    #[test]
    fn context_at_the_root_and_includes_by_name() {
        let dir = tree(&[("train/a.py", 1), ("train/lib/b.py", 1), ("extra/c.txt", 1), ("one.txt", 1)]);
        let at = |name: &str| dir.path().join(name);
        let sent = find(Some(&at("train")), &[at("extra"), at("one.txt")]).expect("found");
        assert_eq!(names(&sent), ["lib", "a.py", "lib/b.py", "extra", "extra/c.txt", "one.txt"]);
        let mut files = Vec::new();
        let each = |file| {
            files.push(file);
            Ok::<_, std::convert::Infallible>(())
        };
        sent.read().expect("read").each(each).expect("all of them");
        assert_eq!((files[0].kind, files[0].content.as_str()), (Some(DIRECTORY_TYPE), ""));
        assert_eq!((files[1].kind, files[1].content.as_str()), (Some(FILE_TYPE), "eA=="));
        assert!(find(Some(&at("train")), &[at("train/a.py")]).is_err());
        assert!(find(Some(&at("one.txt")), &[]).is_err());
        assert!(find(None, &[at("missing")]).is_err());
    }

    #[test]
    fn too_much_is_told_with_what_is_large() {
        let dir = tree(&[("small", 10), ("data/huge.bin", 3000)]);
        let sent = find(Some(dir.path()), &[]).expect("found");
        assert!(sent.check_size(3010).is_ok());
        let told = sent.check_size(3009).expect_err("too much").to_string();
        assert!(told.contains("data/huge.bin (2.9 KiB), small (10 bytes)"), "{told}");
        assert!(sent.check_size(0).is_ok());
    }

    #[test]
    fn b17_the_folder_that_is_large_is_named_and_not_its_small_files() {
        let many: Vec<_> = (0..100).map(|n| (format!("code/data/part/{n:03}.bin"), 100)).collect();
        let mut files: Vec<_> = many.iter().map(|(name, size)| (name.as_str(), *size)).collect();
        files.extend([("big.bin", 3000), ("code/a.py", 10)]);
        let dir = tree(&files);
        let sent = find(Some(dir.path()), &[]).expect("found");
        let told = sent.check_size(100).expect_err("too much").to_string();
        assert!(
            told.ends_with(
                "The largest: code/data/part/ (9.7 KiB in 100 files), big.bin (2.9 KiB), code/a.py (10 bytes)"
            ),
            "{told}"
        );
    }

    #[test]
    fn sizes() {
        assert_eq!(size(1023), "1023 bytes");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(95 << 20), "95.0 MiB");
        assert_eq!(size_u64(u64::MAX), "16777215.9 TiB");
    }
}
