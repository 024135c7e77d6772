//! A long queue before many agents: what a round of the scheduler takes, and what submitting, listing and killing take
//! then. The agents have no processes (`crates/testkit/examples/fleet.rs`): what is measured is the master.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::json;

use super::Bench;
use super::stats::{median, ms};
use super::table::{Table, Unit, Wanted};
use crate::http::Http;
use crate::server::{ANYBODY, Server};

const AGENTS: usize = 100;
const SLOTS: usize = 8;
const QUEUED: usize = 10_000;
/// Accounts that they are from.
const USERS: usize = 20;
/// Times that each thing is done, in either state.
const READINGS: usize = 50;
/// Longest until all that was submitted is seen in the queue.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let config = bench.folder.path().join("queue.yaml");
    let limits = format!("limits: {{living_tasks: {}}}\n", QUEUED + AGENTS * SLOTS);
    fs::write(&config, format!("{ANYBODY}{limits}"))?;
    let config = config.to_str().context("a folder's name is no text")?;
    let server = bench.up_saying("queue", &["--config", config], "info,master::workload::scheduler=debug")?;
    let mut admin = Http::log_in(server.address, "admin")?;
    // The machine's own agent has real processes.
    let own = admin.get("/api/v1/agents")?["agents"][0]["id"].as_str().context("no agent")?.to_owned();
    admin.post(&format!("/api/v1/agents/{own}/disable"), &json!({}))?;
    let agents = Fleet::start(bench, &server, &mut admin)?;
    for n in 0..USERS {
        admin.post("/api/v1/users", &json!({"user": {"username": user(n), "active": true}}))?;
    }

    let mut somebody = Http::log_in(server.address, &user(0))?;
    let quiet = Times::of(&mut somebody)?;
    fill(&server)?;
    let log = bench.folder.path().join("queue.log");
    let before = rounds(&log)?.len();
    let loaded = Times::of(&mut somebody)?;
    let mut rounds = rounds(&log)?.split_off(before);
    ensure!(rounds.len() >= READINGS / 2, "{} rounds in the log", rounds.len());
    let what = format!("a round of the scheduler: {QUEUED} queued, {AGENTS} agents");
    table.add(what, median(&mut rounds), Unit::Milliseconds, Wanted::AtMost(5.0));
    for ((what, mut quiet), (_, mut loaded)) in quiet.named().into_iter().zip(loaded.named()) {
        let (quiet, loaded) = (median(&mut quiet), median(&mut loaded));
        table.add(format!("{what}, when nothing waits"), quiet, Unit::Milliseconds, Wanted::Nothing);
        table.add(format!("{what} then"), loaded, Unit::Milliseconds, Wanted::Nothing);
        table.add("the latter by the former", loaded / quiet, Unit::Ratio, Wanted::AtMost(2.0));
    }
    table.add("memory of master and agent then", server.resident()?, Unit::Mebibytes, Wanted::Nothing);
    drop(agents);
    server.stop()
}

fn user(n: usize) -> String {
    format!("queuer{n}")
}

/// Agents, until this is dropped.
struct Fleet(Child);

impl Fleet {
    fn start(bench: &Bench, server: &Server, admin: &mut Http) -> Result<Self> {
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(&bench.fleet)
            .args([server.address.to_string(), SLOTS.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut fleet = Self(child.context("can't start the agents")?);
        let mut invitations = fleet.0.stdin.take().context("no standard input")?;
        for _ in 0..AGENTS {
            let invitation = admin.post("/api/v1/agents/invitations", &json!({}))?;
            let token = invitation["token"].as_str().context("no invitation")?;
            writeln!(invitations, "{token}")?;
        }
        drop(invitations);
        let mut said = String::new();
        BufReader::new(fleet.0.stdout.take().context("no standard output")?).read_line(&mut said)?;
        ensure!(said.trim() == "ready", "the agents didn't get ready");
        Ok(fleet)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // Best effort: we are already on our way out.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn submit(http: &mut Http) -> Result<String> {
    let config = json!({"config": {"entrypoint": ["true"], "resources": {"slots": 1}}});
    let answer = http.post("/api/v1/commands", &config)?;
    Ok(answer["command"]["id"].as_str().context("no id in the answer")?.to_owned())
}

/// So many tasks that all slots are taken and the rest waits.
fn fill(server: &Server) -> Result<()> {
    let each = (QUEUED + AGENTS * SLOTS) / USERS;
    let (address, users) = (server.address, (0..USERS).collect::<Vec<_>>());
    thread::scope(|scope| {
        let submits = move |n: usize| -> Result<()> {
            let mut http = Http::log_in(address, &user(n))?;
            (0..each).try_for_each(|_| submit(&mut http).map(drop))
        };
        // As many at once as a few people.
        for some in users.chunks(4) {
            let all: Vec<_> = some
                .iter()
                .map(|n| {
                    let n = *n;
                    scope.spawn(move || submits(n))
                })
                .collect();
            all.into_iter().try_for_each(|one| one.join().map_err(|_| anyhow!("a client broke down"))?)?;
        }
        anyhow::Ok(())
    })?;
    // The last one is told its place when all of them have been decided on.
    let mut http = Http::log_in(server.address, "admin")?;
    let last = format!("/api/v1/job-queues-v2?limit=1&offset={}", AGENTS * SLOTS + QUEUED - 1);
    let began = Instant::now();
    while http.get(&last)?["jobs"][0]["full"]["summary"]["jobsAhead"].as_u64() < Some(QUEUED as u64 - 1) {
        ensure!(began.elapsed() < PATIENCE, "the queue isn't there: {}", http.get(&last)?);
        server.rest(Duration::from_millis(100))?;
    }
    Ok(())
}

/// What people do, and how long each took.
struct Times {
    submit: Vec<f64>,
    list: Vec<f64>,
    kill: Vec<f64>,
}

impl Times {
    fn of(http: &mut Http) -> Result<Self> {
        let mut times = Self { submit: Vec::new(), list: Vec::new(), kill: Vec::new() };
        for _ in 0..READINGS {
            let (took, id) = timed(|| submit(http))?;
            times.submit.push(took);
            let page = format!("/api/v1/commands?users={}&limit=10", user(0));
            times.list.push(timed(|| http.get(&page))?.0);
            let kill = format!("/api/v1/commands/{id}/kill");
            times.kill.push(timed(|| http.post(&kill, &json!({})))?.0);
        }
        Ok(times)
    }

    fn named(self) -> [(&'static str, Vec<f64>); 3] {
        [
            ("submitting a command", self.submit),
            ("a page of one's commands", self.list),
            ("killing a command", self.kill),
        ]
    }
}

fn timed<T>(what: impl FnOnce() -> Result<T>) -> Result<(f64, T)> {
    let began = Instant::now();
    let done = what()?;
    Ok((ms(began.elapsed()), done))
}

/// What the rounds took that the log tells of, in milliseconds.
fn rounds(log: &Path) -> Result<Vec<f64>> {
    let text = fs::read_to_string(log)?;
    let micros = |line: &str| line.split("took_us=").nth(1)?.split_whitespace().next()?.parse::<f64>().ok();
    Ok(text.lines().filter_map(micros).map(|us| us / 1000.0).collect())
}
