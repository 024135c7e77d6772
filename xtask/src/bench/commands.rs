//! Commands that do nothing: what it costs to run one, alone and by thousands.

use std::io;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::json;

use super::Bench;
use super::stats::{median, ms, quantile};
use super::table::{Table, Unit, Wanted};
use crate::http::Http;
use crate::shell;

const RUNS: usize = 50;
const MANY: usize = 2000;
const SLOTS: &str = "8";

/// Connections that submit and then wait for what they submitted.
const CLIENTS: usize = 4;

pub(super) fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let server = bench.up("commands", &["--slots", SLOTS])?;
    let mut http = Http::log_in(server.address, "determined")?;
    through(&mut http)?;
    let mut times = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        times.push(ms(through(&mut http)?));
    }
    let what = format!("command run true, from the request to its exit status (median of {RUNS})");
    table.add(what, median(&mut times), Unit::Milliseconds, Wanted::AtMost(50.0));
    table.add("the same, 90 %", quantile(&mut times, 0.9), Unit::Milliseconds, Wanted::Nothing);

    let what = format!("{MANY} of them queued at once, through {SLOTS} slots");
    let rate = rate(&http)?;
    table.add(what, rate, Unit::PerSecond, Wanted::AtLeast(50.0));
    // Machines differ, and one from hour to hour.
    let bare = unshared()?;
    let what = format!("`unshare` with new mounts, processes, IPC and network, {SLOTS} at once");
    table.add(what, bare, Unit::PerSecond, Wanted::Nothing);
    table.add("the former by the latter", rate / bare, Unit::Ratio, Wanted::Nothing);
    server.rest(Duration::from_secs(10))?;
    table.add("memory at rest after them", server.resident()?, Unit::Mebibytes, Wanted::Nothing);
    server.stop()
}

/// Starts a command; answers its id.
pub(super) fn launch(http: &mut Http, entrypoint: &[&str]) -> Result<String> {
    let answer = http.post("/api/v1/commands", &json!({"config": {"entrypoint": entrypoint}}))?;
    Ok(answer["command"]["id"].as_str().context("no id in the answer")?.to_owned())
}

/// Waits for a command's end by following its output, and looks whether it went well.
pub(super) fn finish(http: &mut Http, id: &str) -> Result<()> {
    io::copy(&mut http.stream(&format!("/api/v1/tasks/{id}/output?follow=true"))?, &mut io::sink())?;
    let command = http.get(&format!("/api/v1/commands/{id}"))?;
    let command = &command["command"];
    ensure!(command["state"] == "STATE_TERMINATED" && command["exitCode"] == 0, "{command}");
    Ok(())
}

fn through(http: &mut Http) -> Result<Duration> {
    let began = Instant::now();
    let id = launch(http, &["true"])?;
    finish(http, &id)?;
    Ok(began.elapsed())
}

/// Commands a second, from the first request to the last exit status.
fn rate(http: &Http) -> Result<f64> {
    let began = Instant::now();
    let client = || -> Result<()> {
        let mut http = http.again()?;
        let ids: Result<Vec<String>> = (0..MANY / CLIENTS).map(|_| launch(&mut http, &["true"])).collect();
        ids?.iter().try_for_each(|id| finish(&mut http, id))
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        clients
            .into_iter()
            .try_for_each(|client| client.join().map_err(|_| anyhow!("a client broke down"))?)
    })?;
    Ok(MANY as f64 / began.elapsed().as_secs_f64())
}

/// Namespaces alone, as many at once as the server has slots: what this machine can do of what a start needs.
fn unshared() -> Result<f64> {
    const EACH: usize = 50;
    let slots: usize = SLOTS.parse()?;
    let began = Instant::now();
    let some = || -> Result<()> {
        for _ in 0..EACH {
            let mut command = Command::new("unshare");
            shell::output(command.args(["--mount", "--pid", "--ipc", "--net", "--fork", "true"]))?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let all: Vec<_> = (0..slots).map(|_| scope.spawn(some)).collect();
        all.into_iter().try_for_each(|one| one.join().map_err(|_| anyhow!("a start broke down"))?)
    })?;
    Ok((slots * EACH) as f64 / began.elapsed().as_secs_f64())
}
