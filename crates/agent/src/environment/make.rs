//! Making an environment, and finding out what a named one is. Each step that runs anything of Python's is a job in the
//! sandbox: nothing of it ever runs as root (D5).

use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::place::{Kept, NotRemoved, Place};
use super::python::{NAME, own_interpreter};
use super::{Choice, Python, Settings, Shown};
use crate::Options;
use crate::launcher::sandbox::RUN_DIR;
use crate::launcher::sandbox::job::{Job, JobFailed, Jobs};

const BUILD: &str = include_str!("build.py");
const PROBE: &str = include_str!("probe.py");
/// Told by the line of [`PROBE`].
const TELLS: &str = "python: ";

/// Of what is made, besides the lock file: an environment of another format is another one.
const FORMAT: &str = "1";
/// Between two looks at whether another process is done.
const TURN: Duration = Duration::from_millis(500);

/// What the lock file and pip's own configuration are called in a job, below [`RUN_DIR`].
const LOCK_FILE: &str = "requirements.txt";
const PIP_FILE: &str = "pip.conf";

/// Variables of the agent's that say where packages come from and how they are reached: the machine's pip configuration.
const WAYS: [&str; 28] = [
    "PIP_CERT",
    "PIP_CLIENT_CERT",
    "PIP_DEFAULT_TIMEOUT",
    "PIP_EXTRA_INDEX_URL",
    "PIP_FIND_LINKS",
    "PIP_INDEX_URL",
    "PIP_NO_INDEX",
    "PIP_PROXY",
    "PIP_RETRIES",
    "PIP_TIMEOUT",
    "PIP_TRUSTED_HOST",
    "UV_DEFAULT_INDEX",
    "UV_EXTRA_INDEX_URL",
    "UV_FIND_LINKS",
    "UV_INDEX",
    "UV_INDEX_URL",
    "UV_INSECURE_HOST",
    "UV_NATIVE_TLS",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

/// Runs the first interpreter of a prefix.
const OF_PREFIX: &str = r#"for name in python3 python; do
  if [ -x "$1/bin/$name" ]; then exec "$1/bin/$name" -I -c "$2"; fi
done
echo "$1 has no bin/python3 that tasks can see: what is in /tmp, /run and in homes that are closed they can't" >&2
exit 1"#;

/// Loads a module and runs its interpreter.
const OF_MODULE: &str = r#"module load "$1" && exec python3 -I -c "$2""#;

/// Variables that say where a program runs and not what it needs.
const OF_SHELL: [&str; 8] = ["HOME", "LOGNAME", "OLDPWD", "PWD", "SHELL", "SHLVL", "USER", "_"];

/// Why there is no environment.
#[derive(Debug, thiserror::Error)]
pub enum NotMade {
    /// None is wanted.
    #[error("agent.task_environment is none: tasks have the machine's own Python")]
    Off,
    /// The machine has no Python.
    #[error(
        "this machine has no Python where all tasks see it ({0}): install it (on Debian and Ubuntu: apt-get install python3 \
             python3-venv), or name another one by agent.task_environment"
    )]
    NoInterpreter(String),
    /// It can't be made.
    #[error("it can't be made: {0}")]
    Build(#[source] JobFailed),
    /// What was made doesn't work.
    #[error(transparent)]
    Unusable(NoAnswer),
    /// The named one doesn't work.
    #[error("agent.task_environment: {0}")]
    Prefix(#[source] NoAnswer),
    /// The named module doesn't work.
    #[error("agent.task_environment: module {name} can't be loaded: {why}")]
    Module {
        /// The module.
        name: String,
        /// What is wrong with it.
        why: NoAnswer,
    },
    /// The directory can't be used.
    #[error("{dir} can't be used: {why}")]
    Place {
        /// Where environments are kept.
        dir: PathBuf,
        /// What the machine says.
        why: std::io::Error,
    },
}

/// Why an interpreter doesn't say what it is.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// It couldn't be run, or failed.
    #[error(transparent)]
    Job(#[from] JobFailed),
    /// It says nothing.
    #[error("its interpreter doesn't answer")]
    Nothing,
    /// It says something else.
    #[error("its interpreter's answer isn't understood: {0}")]
    Senseless(#[from] serde_json::Error),
}

/// An environment, and whether it could be removed.
pub type Removed = (Kept, Result<(), NotRemoved>);

/// What makes environments.
#[derive(Debug, Clone)]
pub struct Maker {
    settings: Settings,
    dir: PathBuf,
    jobs: Jobs,
}

impl Maker {
    /// That of an agent with these options, which needn't run.
    #[must_use]
    pub fn new(options: &Options) -> Self {
        let settings = options.environment.clone();
        let dir = settings.dir.clone().unwrap_or_else(|| options.data_dir.join("environment"));
        let dir = std::path::absolute(&dir).unwrap_or(dir);
        Self { settings, dir, jobs: Jobs::new(options) }
    }

    /// Which Python tasks are to have.
    #[must_use]
    pub fn choice(&self) -> &Choice {
        &self.settings.choice
    }

    /// Where environments are kept.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn place(&self) -> Place {
        Place::new(&self.dir)
    }

    /// The managed environments that are kept.
    ///
    /// # Errors
    /// When the directory can't be read.
    pub fn kept(&self) -> Result<Vec<Kept>, NotMade> {
        self.place().list().map_err(|e| self.unusable(e))
    }

    /// The name of the managed environment that tasks get from now on: another lock file or interpreter makes another one.
    ///
    /// # Errors
    /// When the machine has no Python.
    pub fn key(&self) -> Result<String, NotMade> {
        let python = self.interpreter()?;
        let python = python.canonicalize().unwrap_or(python);
        let mut digest = Sha256::new();
        for part in [FORMAT, BUILD, &self.settings.requirements, &python.to_string_lossy()] {
            digest.update(part);
            digest.update([0]);
        }
        Ok(digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
    }

    fn interpreter(&self) -> Result<PathBuf, NotMade> {
        let known = &self.settings.interpreters;
        known.iter().find(|path| path.exists()).cloned().ok_or_else(|| {
            let known: Vec<_> = known.iter().map(|path| path.display().to_string()).collect();
            NotMade::NoInterpreter(known.join(", "))
        })
    }

    /// The managed environment if it is there, with a lock by which it stays, and how a task is shown it.
    pub(super) fn found(&self) -> Result<Option<(Python, std::fs::File, Shown)>, NotMade> {
        let key = self.key()?;
        let found = self.place().find(&key).map_err(|e| self.unusable(e))?;
        let (host_path, lock) = (self.place().of(&key), Some(self.place().lock_of(&key)));
        let shown = Shown { host_path, lock, name: NAME.into(), writable: false };
        Ok(found.map(|(python, held)| (python, held, shown)))
    }

    /// Makes the managed environment unless it is there, or finds out what the named one is. `say` gets what people may want
    /// to know meanwhile.
    ///
    /// # Errors
    /// Why there is none, and what to do.
    pub async fn make(&self, mut say: impl FnMut(&str)) -> Result<Python, NotMade> {
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        match &self.settings.choice {
            Choice::Off => Err(NotMade::Off),
            Choice::Managed => self.make_managed(&mut say).await,
            Choice::Prefix(prefix) => {
                let prefix = prefix.to_string_lossy();
                let argv = words(&["/bin/sh", "-c", OF_PREFIX, "sh", &prefix, PROBE]);
                let python = self.probe(argv, None).await.map_err(NotMade::Prefix)?;
                Ok(Python { variables: vec![], ..python })
            }
            Choice::Module(name) => {
                let argv = words(&["/bin/bash", "-lc", OF_MODULE, "bash", name, PROBE]);
                let no = |why| NotMade::Module { name: name.clone(), why };
                let python = self.probe(argv, None).await.map_err(no)?;
                let needed = |(name, _): &(String, String)| {
                    !OF_SHELL.contains(&name.as_str()) && !name.starts_with("BASH_FUNC")
                };
                let variables = python.variables.into_iter().filter(needed).collect();
                Ok(Python { variables, ..python })
            }
        }
    }

    async fn make_managed(&self, say: &mut impl FnMut(&str)) -> Result<Python, NotMade> {
        let (key, interpreter) = (self.key()?, self.interpreter()?);
        let place = self.place();
        let mut told = false;
        let lock = loop {
            if let Some((python, _)) = place.find(&key).map_err(|e| self.unusable(e))? {
                return Ok(python);
            }
            if let Some(lock) = place.lock().map_err(|e| self.unusable(e))? {
                break lock;
            }
            if !std::mem::replace(&mut told, true) {
                say("another process of this machine is making it");
            }
            sleep(TURN).await;
        };
        // Somebody may have made it between the two looks.
        if let Some((python, _)) = place.find(&key).map_err(|e| self.unusable(e))? {
            return Ok(python);
        }
        let made = self.make_new(&key, &interpreter, say).await;
        let (place, unfinished) = (self.place(), made.is_err());
        let tidied = spawn_blocking(move || {
            if unfinished {
                place.give_up(&key);
            } else {
                place.tidy(&key);
            }
            drop(lock);
        });
        // An error means that the runtime shuts down.
        let _ = tidied.await;
        made
    }

    async fn make_new(
        &self,
        key: &str,
        python: &Path,
        say: &mut impl FnMut(&str),
    ) -> Result<Python, NotMade> {
        let (place, name) = (self.place(), key.to_owned());
        let begun = spawn_blocking(move || place.begin(&name)).await.map_err(std::io::Error::from);
        let new = begun.flatten().map_err(|e| self.unusable(e))?;
        let shown = |writable| Shown { host_path: new.clone(), lock: None, name: NAME.into(), writable };
        let at = format!("/run/{NAME}");
        let own = own_interpreter();
        let lock = format!("{RUN_DIR}/{LOCK_FILE}");
        let words = [&python.to_string_lossy(), "-I", "-c", BUILD, &at, &lock, &own.to_string_lossy()];
        let mut files = vec![(LOCK_FILE, self.settings.requirements.clone().into_owned())];
        let mut env = ways();
        if let Some(text) = pips_own_file() {
            files.push((PIP_FILE, text));
            env.push(("PIP_CONFIG_FILE".to_owned(), format!("{RUN_DIR}/{PIP_FILE}")));
        }
        let argv = words.map(str::to_owned).to_vec();
        let build = Job { name: job_name("build"), argv, env, shown: vec![shown(true)], files };
        let mut packages = 0_u32;
        // What else pip says is of little interest, and names the place where packages come from.
        let tell = |line: &str| match line.strip_prefix("Collecting ") {
            Some(package) => {
                packages += 1;
                say(&format!("package {packages}, {}", package.split(' ').next().unwrap_or_default()));
            }
            None if line.starts_with("Installing collected") => say("installing them"),
            None if ["making", "compiling"].iter().any(|ours| line.starts_with(ours)) => say(line),
            None => {}
        };
        let built = build.run(&self.jobs, &self.place().jobs(), tell).await;
        built.map_err(NotMade::Build)?;
        let argv = [&format!("{at}/bin/python3"), "-I", "-c", PROBE].map(str::to_owned).to_vec();
        let python = self.probe(argv, Some(shown(false))).await.map_err(NotMade::Unusable)?;
        let python = Python { variables: vec![], ..python };
        let (place, key, facts) = (self.place(), key.to_owned(), python.clone());
        let finished = spawn_blocking(move || place.finish(&key, &facts)).await.map_err(std::io::Error::from);
        finished.flatten().map_err(|e| self.unusable(e))?;
        Ok(python)
    }

    /// Asks an interpreter what it is, where tasks see it.
    async fn probe(&self, argv: Vec<String>, shown: Option<Shown>) -> Result<Python, NoAnswer> {
        let name = job_name("probe");
        let job = Job { name, argv, env: vec![], shown: shown.into_iter().collect(), files: vec![] };
        let mut found = None;
        let hear = |line: &str| found = line.strip_prefix(TELLS).map(str::to_owned).or(found.take());
        job.run(&self.jobs, &self.place().jobs(), hear).await?;
        Ok(serde_json::from_str(&found.ok_or(NoAnswer::Nothing)?)?)
    }

    /// Ends and removes what an earlier process was making here. Blocks.
    pub(super) fn tidy(&self) -> Result<(), NotMade> {
        let place = self.place();
        let tidied = || match place.is_there() {
            true => place.lock()?.map_or(Ok(()), |_lock| place.clear()),
            false => Ok(()),
        };
        tidied().map_err(|e| self.unusable(e))
    }

    /// Removes the managed environments that no task has.
    ///
    /// # Errors
    /// When the directory can't be used; for each environment beside it, why that one stays.
    pub fn remove(&self) -> Result<Vec<Removed>, NotMade> {
        let place = self.place();
        let lock = place.lock().map_err(|e| self.unusable(e))?;
        let busy = lock.is_none();
        let remove = |kept: Kept| {
            let removed = if busy { Err(NotRemoved::Busy) } else { place.remove(&kept.key) };
            (kept, removed)
        };
        Ok(self.kept()?.into_iter().map(remove).collect())
    }

    fn unusable(&self, why: std::io::Error) -> NotMade {
        NotMade::Place { dir: self.dir.clone(), why }
    }
}

/// One that no other job of this machine has, whoever's: cgroups have it.
fn job_name(what: &str) -> String {
    format!("{what}-{:016x}", rand::random::<u64>())
}

/// How this process would reach an index of packages.
fn ways() -> Vec<(String, String)> {
    let set = |name: &str| std::env::var(name).ok().map(|value| (name.to_owned(), value));
    WAYS.iter().filter_map(|name| set(name)).collect()
}

/// What this process's own user has told pip, besides the file of the machine: a job can't read it.
fn pips_own_file() -> Option<String> {
    let named = std::env::var_os("PIP_CONFIG_FILE").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let homes = [".config/pip/pip.conf", ".pip/pip.conf"];
    let own = home.into_iter().flat_map(|home| homes.map(|file| home.join(file)));
    named.into_iter().chain(own).find_map(|file| std::fs::read_to_string(file).ok())
}
