//! Output: how fast much of it can be read, and how soon a follower sees a line.

use std::io::{self, BufRead, BufReader};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

use super::Bench;
use super::commands::{finish, launch};
use super::stats::{median, quantile};
use super::table::{Table, Unit, Wanted};
use crate::http::Http;

const LINES: usize = 1_000_000;
const READINGS: usize = 3;

/// Bytes of a stored record before its payload; the last four are the payload's length.
const RECORD_HEADER: usize = 16;

/// Prints its own time, over and over, and flushes.
const CLOCK: &str = "
import time
for _ in range(500):
    print(time.time(), flush=True)
    time.sleep(0.01)
";

pub(super) fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let server = bench.up("logs", &[])?;
    let mut http = Http::log_in(server.address, "determined")?;
    volume(&mut http, table)?;
    latency(&mut http, table)?;
    server.stop()
}

fn volume(http: &mut Http, table: &mut Table) -> Result<()> {
    let fast = Wanted::AtLeast(200_000.0);
    let began = Instant::now();
    let id = launch(http, &["seq", &LINES.to_string()])?;
    let output = format!("/api/v1/tasks/{id}/output");
    let printed = printed_lines(http, &format!("{output}?follow=true"))?;
    let all = LINES as f64 / began.elapsed().as_secs_f64();
    ensure!(printed == LINES, "{printed} lines instead of {LINES}");
    finish(http, &id)?;

    let lines = format!("/api/v1/tasks/{id}/logs?sources=task");
    let (mut as_lines, mut as_stored) = (Vec::new(), Vec::new());
    for _ in 0..READINGS {
        as_lines.push(rate(|| answer_lines(http, &lines))?);
        as_stored.push(rate(|| printed_lines(http, &output))?);
    }
    let what = |how: &str| format!("one task's {LINES} lines, {how}");
    table.add(what("read from /logs"), median(&mut as_lines), Unit::PerSecond, fast);
    table.add(what("read from /output"), median(&mut as_stored), Unit::PerSecond, fast);
    table.add(what("from its launch until all are read"), all, Unit::PerSecond, fast);
    Ok(())
}

/// Lines a second of a reading that must give all of them.
fn rate(read: impl FnOnce() -> Result<usize>) -> Result<f64> {
    let began = Instant::now();
    let lines = read()?;
    ensure!(lines == LINES, "{lines} lines instead of {LINES}");
    Ok(LINES as f64 / began.elapsed().as_secs_f64())
}

fn answer_lines(http: &mut Http, path: &str) -> Result<usize> {
    let mut body = BufReader::with_capacity(256 << 10, http.stream(path)?);
    let mut lines = 0;
    while body.skip_until(b'\n')? > 0 {
        lines += 1;
    }
    Ok(lines)
}

/// Lines on the task's standard output, of the records in an answer.
fn printed_lines(http: &mut Http, path: &str) -> Result<usize> {
    let mut body = BufReader::with_capacity(256 << 10, http.stream(path)?);
    let mut lines = 0;
    let mut payload = Vec::new();
    while let Some(stdout) = read_record(&mut body, &mut payload)? {
        if stdout {
            let mut rest = payload.as_slice();
            while rest.skip_until(b'\n')? > 0 {
                lines += 1;
            }
            // A record may end within a line, whose rest is in the next.
            if payload.last() != Some(&b'\n') {
                lines -= 1;
            }
        }
    }
    Ok(lines)
}

/// Reads a record's payload, and tells whether it is of the task's standard output; `None` at the end.
fn read_record(body: &mut impl BufRead, payload: &mut Vec<u8>) -> Result<Option<bool>> {
    if body.fill_buf()?.is_empty() {
        return Ok(None);
    }
    let mut header = [0; RECORD_HEADER];
    body.read_exact(&mut header)?;
    let [.., a, b, c, d] = header;
    payload.resize(usize::try_from(u32::from_le_bytes([a, b, c, d]))?, 0);
    body.read_exact(payload)?;
    Ok(Some(header[8] == 0))
}

/// Two followers of one task: one as `det` and the web page do it, one as our own client does.
fn latency(http: &mut Http, table: &mut Table) -> Result<()> {
    let id = launch(http, &["/usr/bin/python3", "-c", CLOCK])?;
    let (mut lines, mut output) = (http.again()?, http.again()?);
    let id = id.as_str();
    let (by_line, by_record) = thread::scope(|scope| {
        let by_line = scope.spawn(move || follow_lines(&mut lines, id));
        let by_record = scope.spawn(move || follow_output(&mut output, id));
        (by_line.join(), by_record.join())
    });
    let broken = |_| anyhow!("a follower broke down");
    for (how, delays) in [("/logs", by_line), ("/output", by_record)] {
        let mut delays = delays.map_err(broken)??;
        ensure!(delays.len() == 500, "{} lines instead of 500 from {how}", delays.len());
        let what = |part: &str| format!("from a line's printing to its follower, {how}, {part}");
        let part = quantile(&mut delays, 0.99);
        table.add(what("median"), median(&mut delays), Unit::Milliseconds, Wanted::Nothing);
        table.add(what("99 %"), part, Unit::Milliseconds, Wanted::AtMost(100.0));
    }
    finish(http, id)
}

fn follow_lines(http: &mut Http, id: &str) -> Result<Vec<f64>> {
    let body = http.stream(&format!("/api/v1/tasks/{id}/logs?sources=task&follow=true"))?;
    let mut delays = Vec::new();
    for line in BufReader::new(body).lines() {
        let line = line?;
        let now = since_1970()?;
        let line: Value = serde_json::from_str(&line)?;
        delays.push(delay(now, line["result"]["log"].as_str().context("a line without text")?)?);
    }
    Ok(delays)
}

fn follow_output(http: &mut Http, id: &str) -> Result<Vec<f64>> {
    let body = http.stream(&format!("/api/v1/tasks/{id}/output?follow=true"))?;
    let mut body = BufReader::new(body);
    let (mut delays, mut payload) = (Vec::new(), Vec::new());
    while let Some(stdout) = read_record(&mut body, &mut payload)? {
        let now = since_1970()?;
        if stdout {
            for line in std::str::from_utf8(&payload)?.lines() {
                delays.push(delay(now, line)?);
            }
        }
    }
    Ok(delays)
}

fn since_1970() -> Result<Duration> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?)
}

/// Milliseconds between the time in a line and its arrival.
fn delay(now: Duration, line: &str) -> Result<f64> {
    let printed: f64 = line.parse().map_err(io::Error::other).with_context(|| format!("line '{line}'"))?;
    Ok((now.as_secs_f64() - printed) * 1e3)
}
