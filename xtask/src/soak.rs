//! `cargo xtask soak`: people start commands while the master is killed again and again, and between two kills becomes
//! another version on the same data, under running tasks (L01, L02). In the end nothing may be missing: every command that
//! was taken has run once, to its end, with every byte of its output, and the audit log verifies.
//!
//! It is no test of CI's: it takes as long as it is told to.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::{Value, json};

use crate::http::Http;
use crate::server::Server;
use crate::shell::{self, Checkout};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long people start commands, in minutes
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// Kill the master so many times
    #[arg(long, default_value_t = 10)]
    kills: u32,
    /// This program instead of building one
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// The program that begins and is replaced at the first kill; else it is built of `--from-revision`
    #[arg(long, value_name = "FILE", conflicts_with = "from_revision")]
    from: Option<PathBuf>,
    /// The version that begins; the usual one is the last before the latest change of the database's form
    #[arg(long, value_name = "REVISION")]
    from_revision: Option<String>,
}

/// Who starts commands, each one after the other.
const PEOPLE: usize = 4;
const SLOTS: &str = "8";
/// Longest that commands take that were begun, when no more come.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a command prints, and its exit code.
const LINES: usize = 2_000;
const SCRIPT: &str = "for part in 1 2 3 4; do seq 1 500; sleep 0.5; done; exit $0";

pub(crate) fn run(checkout: &Checkout, args: &Args) -> Result<()> {
    let binary = match &args.binary {
        Some(binary) => binary.clone(),
        None => {
            shell::run(&mut checkout.cargo(["build", "--release", "--package", "muster"]))?;
            checkout.target.join("release/muster")
        }
    };
    let from = match &args.from {
        Some(from) => from.clone(),
        None => built_before(checkout, args.from_revision.as_deref())?,
    };
    let folder = tempfile::Builder::new().prefix("muster-soak-").tempdir()?;
    let data = folder.path().join("data");
    let server = Server::start(&from, &data, &["--slots", SLOTS], "info")?;
    let soak = Soak { address: Mutex::new(server.address), done: AtomicBool::new(false) };
    let (server, taken) = thread::scope(|scope| -> Result<_> {
        let people: Vec<_> = (0..PEOPLE).map(|person| (person, &soak)).collect();
        let people: Vec<_> =
            people.into_iter().map(|(person, soak)| scope.spawn(move || soak.person(person))).collect();
        let killed = soak.kill_again_and_again(server, &binary, &data, args);
        soak.done.store(true, Ordering::Relaxed);
        let mut taken = Vec::new();
        for person in people {
            taken.extend(person.join().map_err(|_| anyhow!("one who starts commands broke down"))??);
        }
        Ok((killed?, taken))
    })?;
    verify(&server, &taken)?;
    let peak = server.peak()?;
    server.stop()?;
    let left = fs::read_dir(data.join("agent/tasks")).map_or(0, Iterator::count);
    ensure!(left == 0, "{left} directories of tasks are left in {}", data.display());
    eprintln!(
        "soak: {} commands, {} kills, an upgrade: all lines are there; {peak:.0} MiB at the peak",
        taken.len(),
        args.kills
    );
    Ok(())
}

/// The program of the version before, in a checkout of its own.
fn built_before(checkout: &Checkout, revision: Option<&str>) -> Result<PathBuf> {
    let git = |args: &[&str]| -> Result<String> {
        Ok(shell::output(Command::new("git").current_dir(&checkout.root).args(args))?.trim().to_owned())
    };
    let revision = match revision {
        Some(revision) => revision.to_owned(),
        None => git(&["log", "-1", "--format=%H", "--diff-filter=A", "--", "crates/store/migrations"])? + "^",
    };
    let revision = git(&["rev-parse", "--verify", &revision])?;
    let target = checkout.target.join("soak").join(&revision);
    let program = target.join("release/muster");
    if program.exists() {
        return Ok(program);
    }
    eprintln!("building {revision}, from which is upgraded");
    let tree = tempfile::Builder::new().prefix("muster-before-").tempdir()?;
    let path = tree.path().to_str().context("a folder's name is no text")?;
    git(&["worktree", "add", "--detach", "--force", path, &revision])?;
    let mut build = checkout.cargo(["build", "--release", "--package", "muster", "--target-dir"]);
    let built = shell::run(build.arg(&target).current_dir(path));
    git(&["worktree", "remove", "--force", path])?;
    built.map(|()| program)
}

/// One that was taken: its id, and the code that it is to exit with.
struct Taken {
    id: String,
    exit: u64,
}

struct Soak {
    /// Where the master is now.
    address: Mutex<SocketAddr>,
    done: AtomicBool,
}

impl Soak {
    fn address(&self) -> SocketAddr {
        *self.address.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn kill_again_and_again(
        &self,
        mut server: Server,
        binary: &Path,
        data: &Path,
        args: &Args,
    ) -> Result<Server> {
        let pause = Duration::from_secs(args.minutes * 60) / (args.kills + 1);
        for kill in 1..=args.kills {
            // Not always at the same moment of what people do.
            server.rest(pause - Duration::from_millis(u64::from(kill * 137 % 500)))?;
            server.kill()?;
            server = Server::start(binary, data, &["--slots", SLOTS], "info")?;
            *self.address.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = server.address;
            eprintln!("kill {kill} of {}: back after {} ms", args.kills, server.ready_after.as_millis());
        }
        server.rest(pause)?;
        Ok(server)
    }

    /// Starts commands one after the other, and reads what each prints as it comes, for as long as the master is there.
    #[expect(clippy::disallowed_methods, reason = "who finds nobody comes again in a while")]
    fn person(&self, person: usize) -> Result<Vec<Taken>> {
        let token = Http::log_in(self.address(), "determined")?.token().to_owned();
        let mut taken = Vec::new();
        while !self.done.load(Ordering::Relaxed) {
            let exit = (taken.len() % 3) as u64;
            let config = json!({"config": {
                "description": format!("soak {person} {}", taken.len()),
                "entrypoint": ["sh", "-c", SCRIPT, exit.to_string()],
            }});
            // Who hears nothing doesn't know whether it was taken; those are looked at, too, in the end.
            let asked = Http::with_token(self.address(), &token)
                .and_then(|mut http| Ok((http.post("/api/v1/commands", &config)?, http)));
            let Ok((answer, mut http)) = asked else {
                thread::sleep(Duration::from_millis(100));
                continue;
            };
            let id = answer["command"]["id"].as_str().context("no id in the answer")?.to_owned();
            if let Ok(mut output) = http.stream(&format!("/api/v1/tasks/{id}/output?follow=true")) {
                let _ = io::copy(&mut output, &mut io::sink());
            }
            taken.push(Taken { id, exit });
        }
        Ok(taken)
    }
}

/// Everything that was taken ran to its end once, and all that it printed is there.
fn verify(server: &Server, taken: &[Taken]) -> Result<()> {
    let mut http = Http::log_in(server.address, "admin")?;
    let began = Instant::now();
    let commands = loop {
        let all = http.get("/api/v1/commands?limit=0")?;
        let all = all["commands"].as_array().context("no list")?.clone();
        if all.iter().all(|command| command["state"] == "STATE_TERMINATED") {
            break all;
        }
        ensure!(began.elapsed() < PATIENCE, "some never end");
        server.rest(Duration::from_millis(500))?;
    };
    let by_id: BTreeMap<&str, &Value> =
        commands.iter().filter_map(|command| Some((command["id"].as_str()?, command))).collect();
    let exits: BTreeMap<&str, u64> = taken.iter().map(|taken| (taken.id.as_str(), taken.exit)).collect();
    for (id, exit) in &exits {
        let command = by_id.get(id).with_context(|| format!("{id} was taken, and isn't there"))?;
        ensure!(command["exitCode"].as_u64() == Some(*exit), "{id} exited otherwise than it did: {command}");
    }
    let printed: String = (0..4).flat_map(|_| (1..=LINES / 4).map(|line| format!("{line}\n"))).collect();
    for id in by_id.keys() {
        let mut records = Vec::new();
        http.stream(&format!("/api/v1/tasks/{id}/output"))?.read_to_end(&mut records)?;
        let output = printed_by(&records).with_context(|| format!("the log of {id}"))?;
        if output != printed.as_bytes() {
            bail!("{id} printed {} bytes, and {} of them are there", printed.len(), output.len());
        }
    }
    let audit = http.get("/api/v1/audit/verify")?;
    ensure!(audit["broken"].is_null(), "the audit log: {audit}");
    Ok(())
}

/// What stands on a task's standard output, of stored records: each has 16 bytes before its payload, of which the ninth says
/// where it comes from and the last four how long it is.
fn printed_by(mut records: &[u8]) -> Result<Vec<u8>> {
    let mut output = Vec::new();
    while let Some((header, rest)) = records.split_first_chunk::<16>() {
        let [.., a, b, c, d] = *header;
        let length = usize::try_from(u32::from_le_bytes([a, b, c, d]))?;
        let payload = rest.get(..length).context("a torn record")?;
        if header[8] == 0 {
            output.extend_from_slice(payload);
        }
        records = &rest[length..];
    }
    ensure!(records.is_empty(), "a torn record");
    Ok(output)
}
