//! Which files stay behind: the usual clutter, and the lines of a `.detignore`.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result, bail};
use ignore::gitignore::{Gitignore, GitignoreBuilder};

/// The file with the rules. It is never sent along itself.
pub(super) const FILE: &str = ".detignore";

/// What Determined's clients leave behind unasked.
const USUAL: &[&str] = &[
    "__pycache__/",
    "*.py[co]",
    "*$py.class",
    "terraform",
    "terraform_data",
    "terraform.tfstate*",
    "terraform.tfvars*",
    ".terraform*",
    ".git/",
    ".vscode/",
    ".idea/",
    ".mypy_cache/",
    "/shared_fs",
];

/// The rules of one directory that is sent along.
#[derive(Debug)]
pub(super) struct Rules(Gitignore);

impl Rules {
    /// Reads the rules of `root`.
    pub(super) fn of(root: &Path) -> Result<Self> {
        let path = root.join(FILE);
        let own = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).with_context(|| format!("can't read {}", path.display())),
        };
        // Matched against names relative to `root`, so the builder needs no root of its own.
        let mut builder = GitignoreBuilder::new("");
        for line in USUAL {
            builder.add_line(None, line)?;
        }
        for (number, line) in (1..).zip(own.lines()) {
            if let Err(error) = builder.add_line(None, line) {
                bail!("{}:{number}: {error}", path.display());
            }
        }
        Ok(Self(builder.build()?))
    }

    /// Whether `name`, relative to the root, stays behind. What lies in a directory that stays is not asked for.
    pub(super) fn leaves_behind(&self, name: &Path, is_dir: bool) -> bool {
        name == Path::new(FILE) || self.0.matched(name, is_dir).is_ignore()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(rules: &Rules, name: &str, is_dir: bool) -> bool {
        rules.leaves_behind(Path::new(name), is_dir)
    }

    fn rules(own: &str) -> Result<Rules> {
        let dir = tempfile::tempdir().expect("made");
        fs::write(dir.path().join(FILE), own).expect("written");
        Rules::of(dir.path())
    }

    #[test]
    fn clutter_stays_behind_unasked() {
        let rules = rules("").expect("valid");
        for (name, is_dir) in [
            ("a/__pycache__", true),
            ("m.pyc", false),
            ("deep/m.pyo", false),
            (".git", true),
            ("shared_fs", true),
            ("terraform.tfstate.backup", false),
            (FILE, false),
        ] {
            assert!(leaves(&rules, name, is_dir), "{name}");
        }
        for (name, is_dir) in [("m.py", false), ("a/shared_fs", true), (".gitignore", false), (".git", false)]
        {
            assert!(!leaves(&rules, name, is_dir), "{name}");
        }
    }

    #[test]
    fn own_lines_work_as_in_git() {
        let rules = rules("# comment\n/data\n*.log\n!keep.log\nout/\n").expect("valid");
        assert!(leaves(&rules, "data", true) && leaves(&rules, "x/a.log", false));
        assert!(!leaves(&rules, "x/data", true) && !leaves(&rules, "keep.log", false));
        assert!(leaves(&rules, "x/out", true) && !leaves(&rules, "out", false));
    }

    #[test]
    fn a_bad_line_is_named() {
        let told = rules("ok\n[z-a]\n").expect_err("must be refused").to_string();
        assert!(told.contains(".detignore:2:"), "{told}");
    }
}
