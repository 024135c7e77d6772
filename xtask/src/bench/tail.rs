//! The end of a log that is far too long to be read: the last lines of 10 GiB, beside those of a short one.

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use nix::sys::statvfs::statvfs;

use super::Bench;
use super::commands::{finish, launch};
use super::stats::{median, ms};
use super::table::{Table, Unit, Wanted};
use crate::http::Http;
use crate::server::ANYBODY;

const GIB: u64 = 1 << 30;
/// Bytes that are printed.
const LONG: u64 = 10 * GIB;
/// Of the disk: the agent's copy and the master's, both with what frames the lines.
const NEEDED: u64 = 26 * GIB;
const LINES: usize = 100;
const READINGS: usize = 50;

pub(super) fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let disk = statvfs(bench.folder.path())?;
    let free = disk.blocks_available() * disk.fragment_size();
    ensure!(free > NEEDED, "a log of 10 GiB is written twice: {} GiB are needed, set TMPDIR", NEEDED / GIB);
    let config = bench.folder.path().join("tail.yaml");
    let limits = format!("limits: {{log_bytes: {}}}\nagent: {{task_limits: {{log: none}}}}\n", 2 * LONG);
    fs::write(&config, format!("{ANYBODY}{limits}"))?;
    let server = bench.up("tail", &["--config", config.to_str().context("a folder's name is no text")?])?;
    let mut http = Http::log_in(server.address, "determined")?;
    let short = launch(&mut http, &["seq", "1000"])?;
    finish(&mut http, &short)?;
    let began = Instant::now();
    let long = launch(&mut http, &["sh", "-c", &format!("seq 1000000000 | head -c {LONG}")])?;
    // Followed lines would be as many bytes again.
    while http.get(&format!("/api/v1/commands/{long}"))?["command"]["state"] != "STATE_TERMINATED" {
        server.rest(std::time::Duration::from_secs(1))?;
    }
    let rate = LONG as f64 / f64::from(1 << 20) / began.elapsed().as_secs_f64();
    table.add("MiB that a task prints of 10 GiB, until it is over", rate, Unit::PerSecond, Wanted::Nothing);
    let mut end = |id: &str| -> Result<f64> {
        let path = format!("/api/v1/tasks/{id}/logs?limit={LINES}&orderBy=ORDER_BY_DESC&sources=task");
        let mut times = Vec::new();
        for _ in 0..READINGS {
            let began = Instant::now();
            let lines = std::io::read_to_string(http.stream(&path)?)?.lines().count();
            times.push(ms(began.elapsed()));
            ensure!(lines == LINES, "{lines} lines instead of {LINES}");
        }
        Ok(median(&mut times))
    };
    let (short, long) = (end(&short)?, end(&long)?);
    table.add(format!("the last {LINES} lines of a thousand"), short, Unit::Milliseconds, Wanted::Nothing);
    table.add(format!("the last {LINES} lines of 10 GiB"), long, Unit::Milliseconds, Wanted::AtMost(10.0));
    server.stop()
}
