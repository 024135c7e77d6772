//! `muster up` on a data directory that is there already.

use std::time::Duration;

use anyhow::Result;

use super::Bench;
use super::stats::{median, ms};
use super::table::{Table, Unit, Wanted};

const RUNS: usize = 10;

/// After so long nothing of the start is left.
const REST: Duration = Duration::from_secs(10);

pub(super) fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    bench.up("start", &[])?.stop()?;
    let mut times = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        let server = bench.up("start", &[])?;
        times.push(ms(server.ready_after));
        server.stop()?;
    }
    let what = format!("up on an existing data folder, until it is ready (median of {RUNS})");
    table.add(what, median(&mut times), Unit::Milliseconds, Wanted::AtMost(300.0));

    let server = bench.up("start", &[])?;
    server.rest(REST)?;
    let what = "memory at rest, master and agent";
    table.add(what, server.resident()?, Unit::Mebibytes, Wanted::AtMost(40.0));
    server.stop()
}
