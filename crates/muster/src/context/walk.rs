//! Walking a directory that is sent along: directories before files, links followed. Links that lead nowhere or back
//! into a directory that they are in stay behind, with a word (B17).

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use api::command::MAX_CONTEXT_DEPTH;

use super::rules::{self, Rules};
use super::{Entry, not_text};
use crate::failure::Failure;
use crate::output;

/// Appends everything below `root`, its names after `prefix`.
pub(super) fn tree(root: &Path, prefix: &str, entries: &mut Vec<Entry>) -> Result<()> {
    let rules = Rules::of(root)?;
    let meta = fs::metadata(root).with_context(|| format!("can't read {}", root.display()))?;
    let mut walk = Walk { rules, prefix, above: vec![identity(&meta)], entries };
    walk.directory(root, "")
}

struct Walk<'a> {
    rules: Rules,
    prefix: &'a str,
    /// Device and inode of the directories that one is in, to see when a link leads back into one.
    above: Vec<(u64, u64)>,
    entries: &'a mut Vec<Entry>,
}

impl Walk<'_> {
    /// `below` is the directory's name relative to the root, with a `/` at its end unless it is the root.
    fn directory(&mut self, dir: &Path, below: &str) -> Result<()> {
        let (mut dirs, mut files) = (Vec::new(), Vec::new());
        let listing = fs::read_dir(dir).with_context(|| format!("can't read {}", dir.display()))?;
        for item in listing {
            let item = item.with_context(|| format!("can't read {}", dir.display()))?;
            let path = item.path();
            let mut name = OsString::from(below);
            name.push(item.file_name());
            // A link that leads nowhere, and a name that is no text, may still be one that stays behind.
            let meta = fs::metadata(&path);
            if self.rules.leaves_behind(Path::new(&name), meta.as_ref().is_ok_and(Metadata::is_dir)) {
                continue;
            }
            let meta = match meta {
                Ok(meta) => meta,
                Err(error) if path.is_symlink() => {
                    stays_behind(&path, &format!("is a link that leads nowhere ({error})"));
                    continue;
                }
                Err(error) => return Err(error).with_context(|| format!("can't read {}", path.display())),
            };
            // The agent refuses it, too, but only when all was sent.
            if self.prefix.matches('/').count() + self.above.len() > MAX_CONTEXT_DEPTH {
                bail!(Failure::Usage(format!(
                    "{} is nested more than {MAX_CONTEXT_DEPTH} directories deep and can't be sent along: \
                     name it in {}",
                    shortened(&path),
                    rules::FILE,
                )));
            }
            let name = name.into_string().map_err(|_| not_text(&path))?;
            if meta.is_dir() && self.above.contains(&identity(&meta)) {
                stays_behind(&path, "leads back to a directory that it is in");
            } else if meta.is_dir() {
                dirs.push((path, name, meta));
            } else if meta.is_file() {
                files.push((path, name, meta));
            } else {
                stays_behind(&path, "is neither file nor directory");
            }
        }
        dirs.sort_by(|a, b| a.1.cmp(&b.1));
        files.sort_by(|a, b| a.1.cmp(&b.1));
        for (path, name, meta) in dirs.iter().chain(&files) {
            let name = format!("{}{name}", self.prefix);
            self.entries.push(Entry { path: path.clone(), name, meta: meta.clone() });
        }
        for (path, name, meta) in dirs {
            self.above.push(identity(&meta));
            self.directory(&path, &format!("{name}/"))?;
            self.above.pop();
        }
        Ok(())
    }
}

fn stays_behind(path: &Path, why: &str) {
    output::note(&format!("{} {why} and stays behind", path.display()));
}

/// The beginning of a path that may be very long.
fn shortened(path: &Path) -> String {
    let text = path.display().to_string();
    match text.char_indices().nth(100) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text,
    }
}

fn identity(meta: &Metadata) -> (u64, u64) {
    (meta.dev(), meta.ino())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn walk(root: &Path) -> Result<Vec<String>> {
        let mut entries = Vec::new();
        tree(root, "p/", &mut entries)?;
        Ok(entries.into_iter().map(|entry| entry.name).collect())
    }

    #[test]
    fn b17_links_are_followed_and_those_that_lead_nowhere_stay_behind() {
        let dir = tempfile::tempdir().expect("made");
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("root/__pycache__")).expect("made");
        fs::create_dir(at("other")).expect("made");
        fs::write(at("other/f"), "content").expect("written");
        symlink(at("other"), at("root/linked")).expect("made");
        symlink(at("nowhere"), at("root/__pycache__/ignored")).expect("made");
        symlink(at("root"), at("other/back")).expect("made");
        symlink(at("nowhere"), at("root/broken")).expect("made");
        symlink("self", at("root/self")).expect("made");
        assert_eq!(walk(&at("root")).expect("walked"), ["p/linked", "p/linked/f"]);
    }

    #[test]
    fn b17_a_name_that_is_no_text_may_stay_behind() {
        use std::os::unix::ffi::OsStrExt as _;
        let dir = tempfile::tempdir().expect("made");
        let odd = dir.path().join(std::ffi::OsStr::from_bytes(b"odd\xff.log"));
        fs::write(odd, "x").expect("written");
        let told = walk(dir.path()).expect_err("can't be sent").to_string();
        assert!(told.contains("is not UTF-8"), "{told}");
        fs::write(dir.path().join(".detignore"), "*.log\n").expect("written");
        assert_eq!(walk(dir.path()).expect("ignored"), [""; 0]);
    }

    #[test]
    fn b17_what_is_nested_too_deeply_is_refused_before_it_is_sent() {
        let dir = tempfile::tempdir().expect("made");
        let deep = |levels: usize| dir.path().join(vec!["d"; levels].join("/"));
        // `p/` is one level, too.
        fs::create_dir_all(deep(MAX_CONTEXT_DEPTH - 1)).expect("made");
        assert_eq!(walk(dir.path()).expect("just so").len(), MAX_CONTEXT_DEPTH - 1);
        fs::create_dir_all(deep(300)).expect("made");
        let told = walk(dir.path()).expect_err("too deep").to_string();
        assert!(told.contains("nested more than 128") && told.contains(".detignore"), "{told}");
        assert!(told.len() < 400, "{told}");
    }
}
