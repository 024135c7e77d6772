//! Which task waits for an environment that isn't there yet. One that is there every task has.
//!
//! The rule, in words: a task waits when its command line names Python or one of the environment's programs, or a file of its
//! context directory, which may do so (a script); and when that directory has a startup hook. `MUSTER_PYTHON` in the task's
//! environment says otherwise: `wait`, or `none` for a task that brings a Python of its own.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use api::agent::Start;
use flate2::read::MultiGzDecoder;

/// By which a task says what it wants.
const VARIABLE: &str = "MUSTER_PYTHON";

/// What is sourced before a command.
const STARTUP_HOOK: &str = "startup-hook.sh";

/// Programs that are Python or belong to the environment; a number may follow, as in `python3.11`.
const PROGRAMS: [&str; 9] =
    ["python", "pip", "det", "determined", "jupyter", "jupyter-lab", "ipython", "ipython3", "tensorboard"];

/// Files for Python.
const ENDINGS: [&str; 3] = [".py", ".pyc", ".ipynb"];

/// Most entries of a context directory that are looked at.
const MOST_ENTRIES: usize = 100_000;

/// What a task wants of the environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// To wait for it.
    Wait,
    /// It, if it is there.
    AtOnce,
    /// Nothing of it.
    Nothing,
}

/// A packed context directory.
pub(crate) struct Archive(pub(crate) PathBuf);

impl Wish {
    /// What a task says itself.
    pub(crate) fn said(start: &Start) -> Option<Self> {
        let said = start.env.iter().rev().find(|(name, _)| name == VARIABLE);
        match said.map(|(_, value)| value.as_str()) {
            Some("none") => Some(Self::Nothing),
            Some("wait") => Some(Self::Wait),
            _ => None,
        }
    }

    /// That of a task. Reads its context directory, if it has one. Blocks.
    pub(crate) fn of(start: &Start, context: Option<&Archive>) -> Self {
        if let Some(said) = Self::said(start) {
            return said;
        }
        // The configuration's hook is of one shell with the command.
        let lines = start.entrypoint.iter().chain(&start.startup_hook);
        let words: Vec<&str> = lines.flat_map(|line| words(line)).collect();
        let names = |word: &&str| names_python(word);
        // One that can't be read says so when it is unpacked.
        let in_context = || context.is_some_and(|context| context.concerns(&words).unwrap_or(false));
        if words.iter().any(names) || in_context() { Self::Wait } else { Self::AtOnce }
    }
}

/// What could be a name in a command line.
fn words(line: &str) -> impl Iterator<Item = &str> {
    let part = |c: char| c.is_alphanumeric() || "._-+/@".contains(c);
    line.split(move |c| !part(c)).filter(|word| !word.is_empty())
}

fn names_python(word: &str) -> bool {
    let name = word.rsplit('/').next().unwrap_or_default();
    let program = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    // By its whole path an interpreter is that one and no other.
    let ours = !word.starts_with('/') && (PROGRAMS.contains(&name) || PROGRAMS.contains(&program));
    ours || ENDINGS.iter().any(|end| name.ends_with(end))
}

impl Archive {
    /// Whether it has a startup hook, or a file that one of these words names.
    fn concerns(&self, words: &[&str]) -> io::Result<bool> {
        let named: Vec<&Path> = words.iter().map(|word| plain(Path::new(word))).collect();
        let mut archive = tar::Archive::new(MultiGzDecoder::new(File::open(&self.0)?));
        for entry in archive.entries()?.take(MOST_ENTRIES) {
            let entry = entry?;
            let path = entry.path()?;
            let path = plain(&path);
            if entry.header().entry_type().is_file()
                && (path == Path::new(STARTUP_HOOK) || named.contains(&path))
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn plain(path: &Path) -> &Path {
    path.strip_prefix(".").unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(entrypoint: &[&str], env: &[(&str, &str)], context: Option<&Archive>) -> Wish {
        let pairs = env.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        let start = Start {
            entrypoint: entrypoint.iter().map(|&word| word.to_owned()).collect(),
            env: pairs,
            ..crate::launcher::sandbox::tests::start()
        };
        Wish::of(&start, context)
    }

    #[test]
    fn b21_a_command_that_needs_no_python_doesnt_wait() {
        for needs in [
            &["python", "train.py"][..],
            &["python3.11", "-c", "print()"],
            &["/data/train.py"],
            &["cd x && pip3 install y"],
            &["det", "e", "list"],
            &["FOO=1 nohup tensorboard --logdir /x &"],
            &["./train.py"],
            &["bash", "-c", "(jupyter lab;)"],
        ] {
            assert_eq!(wish(needs, &[], None), Wish::Wait, "{needs:?}");
        }
        for needs_none in [
            &["id"][..],
            &["nvidia-smi", "-L"],
            &["echo pythonic; sleep 5"],
            &["bash", "train.sh"],
            &["/usr/bin/python3", "-V"],
            &[],
        ] {
            assert_eq!(wish(needs_none, &[], None), Wish::AtOnce, "{needs_none:?}");
        }
        assert_eq!(wish(&["id"], &[("MUSTER_PYTHON", "wait")], None), Wish::Wait);
        let hooked = Start {
            startup_hook: Some("module load cuda\npip list".into()),
            ..crate::launcher::sandbox::tests::start()
        };
        assert_eq!(Wish::of(&hooked, None), Wish::Wait);
        assert_eq!(wish(&["python"], &[("MUSTER_PYTHON", "none")], None), Wish::Nothing);
    }

    #[test]
    fn b21_what_a_context_brings_may_need_python() {
        let temp = tempfile::tempdir().expect("temp dir");
        let pack = |names: &[&str]| {
            let path = temp.path().join("c.tar.gz");
            let file = File::create(&path).expect("made");
            let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(file, flate2::Compression::fast()));
            for name in names {
                let mut header = tar::Header::new_gnu();
                header.set_size(1);
                tar.append_data(&mut header, name, &b"x"[..]).expect("packed");
            }
            tar.into_inner().and_then(flate2::write::GzEncoder::finish).expect("written");
            Archive(path)
        };
        let archive = pack(&["data.csv", "run/train.sh"]);
        assert_eq!(wish(&["bash run/train.sh"], &[], Some(&archive)), Wish::Wait);
        assert_eq!(wish(&["./run/train.sh"], &[], Some(&archive)), Wish::Wait);
        assert_eq!(wish(&["wc", "-l", "other.csv"], &[], Some(&archive)), Wish::AtOnce);
        let archive = pack(&["startup-hook.sh"]);
        assert_eq!(wish(&["id"], &[], Some(&archive)), Wish::Wait);
        fs_damage(&archive);
        assert_eq!(wish(&["id"], &[], Some(&archive)), Wish::AtOnce);
    }

    fn fs_damage(archive: &Archive) {
        std::fs::write(&archive.0, "no archive").expect("written");
    }
}
