//! What it costs to know who asks: the same load on a route with a session and on one without.
//!
//! Neither handler touches the database itself; what the first one does is the authentication's.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::Bench;
use super::lists::{Database, with_database};
use super::stats::median;
use super::table::{Table, Unit, Wanted};
use crate::http::Http;
use crate::server::Server;

const WITH: &str = "/api/v1/me";
const WITHOUT: &str = "/api/v1/master/telemetry";

/// Short ones in turns, so that whatever else the machine does hits both alike.
const ROUNDS: usize = 15;

pub(super) fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    for database in Database::ALL {
        let name = format!("requests-{}", database.short());
        let server = with_database(bench, *database, &name, |options| bench.up(&name, options))?;
        let token = Http::log_in(server.address, "determined")?.token().to_owned();
        load(&server, WITHOUT, None, 1)?;
        let (mut with, mut without, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let open = load(&server, WITHOUT, None, 1)?;
            let known = load(&server, WITH, Some(&token), 1)?;
            ratios.push(known / open);
            without.push(open);
            with.push(known);
        }
        let row = |what: &str| format!("{what}, {}", database.name());
        table.add(row("requests without a session"), median(&mut without), Unit::PerSecond, Wanted::Nothing);
        table.add(row("GET /api/v1/me with a session"), median(&mut with), Unit::PerSecond, Wanted::Nothing);
        let what = row("the latter by the former");
        table.add(what, median(&mut ratios), Unit::Ratio, Wanted::AtLeast(0.8));
        server.stop()?;
    }
    Ok(())
}

/// Requests a second over so many seconds.
pub(super) fn load(server: &Server, path: &str, token: Option<&str>, seconds: u32) -> Result<f64> {
    let mut wrk = Command::new("wrk");
    wrk.args(["--threads=1", "--connections=16", "--timeout=5s"]).arg(format!("--duration={seconds}s"));
    if let Some(token) = token {
        wrk.arg(format!("--header=Authorization: Bearer {token}"));
    }
    let output = wrk.arg(format!("{}{path}", server.url())).stderr(Stdio::inherit()).output();
    let output = output.context("can't start wrk: run without --no-setup")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let trouble = ["Non-2xx", "Socket errors"].iter().any(|trouble| said.contains(trouble));
    ensure!(output.status.success() && !trouble, "wrk: {said}");
    let rate = said.lines().find_map(|line| line.strip_prefix("Requests/sec:"));
    Ok(rate.with_context(|| format!("wrk: {said}"))?.trim().parse()?)
}
