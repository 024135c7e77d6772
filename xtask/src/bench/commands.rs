//! Commands that do nothing: what it costs to run one, alone and by thousands.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::json;

use super::Bench;
use super::http::Http;
use super::server::Server;
use super::stats::{median, ms, quantile};
use super::table::{Table, Unit, Wanted};

const RUNS: usize = 50;
const MANY: usize = 2000;
const SLOTS: &str = "8";

/// Connections that submit and then wait for what they submitted.
const CLIENTS: usize = 4;

pub(super) fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let server = Server::up(bench, "commands", &["--slots", SLOTS])?;
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
    table.add(what, rate(&http)?, Unit::PerSecond, Wanted::AtLeast(50.0));
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
