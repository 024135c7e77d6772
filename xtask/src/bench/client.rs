//! Our client and Determined's, with the same question to the same server.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::Bench;
use super::stats::{median, ms};
use super::table::{Table, Unit, Wanted};

const RUNS: usize = 10;

pub(super) fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let server = bench.up("client", &[])?;
    let whoami = |mut command: Command| {
        command.args(["-m", &server.url(), "user", "whoami"]);
        run(&mut command)
    };
    // The first time each logs in.
    whoami(bench.muster())?;
    whoami(bench.det())?;
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let (our, their) = (ms(whoami(bench.muster())?), ms(whoami(bench.det())?));
        ratios.push(our / their);
        ours.push(our);
        theirs.push(their);
    }
    table.add("muster user whoami", median(&mut ours), Unit::Milliseconds, Wanted::Nothing);
    table.add("det user whoami", median(&mut theirs), Unit::Milliseconds, Wanted::Nothing);
    let what = format!("the former by the latter (median of {RUNS})");
    table.add(what, median(&mut ratios), Unit::Ratio, Wanted::AtMost(1.0 / 20.0));
    server.stop()
}

fn run(command: &mut Command) -> Result<Duration> {
    command.stdin(Stdio::null());
    let began = Instant::now();
    let output = command.output().with_context(|| format!("can't start {command:?}"))?;
    let took = began.elapsed();
    let said = String::from_utf8_lossy(&output.stdout);
    let good = output.status.success() && said.contains("determined");
    ensure!(good, "{command:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    Ok(took)
}
