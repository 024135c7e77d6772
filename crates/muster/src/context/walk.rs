//! Walking a directory that is sent along: directories before files, links followed, loops refused.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::rules::Rules;
use super::{Entry, not_text};
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
            let name = item.file_name().into_string().map_err(|_| not_text(&path))?;
            let name = format!("{below}{name}");
            // A link that leads nowhere may still be one that stays behind.
            let meta = fs::metadata(&path);
            if self.rules.leaves_behind(&name, meta.as_ref().is_ok_and(Metadata::is_dir)) {
                continue;
            }
            let meta = meta.with_context(|| {
                let link = if path.is_symlink() { "the link " } else { "" };
                format!("can't read {link}{}", path.display())
            })?;
            if meta.is_dir() {
                dirs.push((path, name, meta));
            } else if meta.is_file() {
                files.push((path, name, meta));
            } else {
                output::note(&format!("{} is neither file nor directory and stays behind", path.display()));
            }
        }
        dirs.sort_by(|a, b| a.1.cmp(&b.1));
        files.sort_by(|a, b| a.1.cmp(&b.1));
        for (path, name, meta) in dirs.iter().chain(&files) {
            let name = format!("{}{name}", self.prefix);
            self.entries.push(Entry { path: path.clone(), name, meta: meta.clone() });
        }
        for (path, name, meta) in dirs {
            if self.above.contains(&identity(&meta)) {
                bail!("the link {} leads to a directory that it is in", path.display());
            }
            self.above.push(identity(&meta));
            self.directory(&path, &format!("{name}/"))?;
            self.above.pop();
        }
        Ok(())
    }
}

fn identity(meta: &Metadata) -> (u64, u64) {
    (meta.dev(), meta.ino())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_followed_and_what_they_miss_is_named() {
        let dir = tempfile::tempdir().expect("made");
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("root/__pycache__")).expect("made");
        fs::create_dir(at("other")).expect("made");
        fs::write(at("other/f"), "content").expect("written");
        symlink(at("other"), at("root/linked")).expect("made");
        symlink(at("nowhere"), at("root/__pycache__/ignored")).expect("made");
        let walk = || {
            let mut entries = Vec::new();
            tree(&at("root"), "p/", &mut entries)
                .map(|()| entries.iter().map(|e| e.name.clone()).collect::<Vec<_>>())
        };
        assert_eq!(walk().expect("walked"), ["p/linked", "p/linked/f"]);
        symlink(at("root"), at("other/back")).expect("made");
        assert!(walk().expect_err("a loop").to_string().contains("linked/back"));
        fs::remove_file(at("other/back")).expect("removed");
        symlink(at("nowhere"), at("root/broken")).expect("made");
        let told = format!("{:#}", walk().expect_err("broken"));
        assert!(told.contains("the link ") && told.contains("root/broken"), "{told}");
    }
}
