//! What greedy requests cost the master (A5, A6): its memory at the peak, and a list of tasks with large configurations.

use std::fs;
use std::io;
use std::thread;
use std::time::Instant;

use anyhow::{Result, anyhow, ensure};
use serde_json::json;

use super::Bench;
use super::commands::{finish, launch};
use super::lists::{Database, fill};
use super::stats::{median, ms};
use super::table::{Table, Unit, Wanted};
use crate::http::Http;

/// As much as the attack that was found used.
const EMPTY_LINES: &str = "head -c 4194304 /dev/zero | tr '\\0' '\\n'";

/// Greedy clients at the same time.
const CLIENTS: usize = 4;

const TASKS: usize = 10_000;
const CONFIG_BYTES: usize = 60_000;
const READINGS: usize = 50;

pub(super) fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let server = bench.up("greed", &[])?;
    let mut http = Http::log_in(server.address, "determined")?;
    let id = launch(&mut http, &["sh", "-c", EMPTY_LINES])?;
    finish(&mut http, &id)?;
    thread::scope(|scope| {
        let attacks: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(|| attack(&http, &id))).collect();
        let broken = |_| anyhow!("a greedy client broke down");
        attacks.into_iter().try_for_each(|attack| attack.join().map_err(broken)?)
    })?;
    let what = "memory at the peak, master and agent, under greedy requests";
    table.add(what, server.peak()?, Unit::Mebibytes, Wanted::AtMost(128.0));
    server.stop()?;
    lists(bench, table)
}

/// Everything that once took hundreds of MiB.
fn attack(http: &Http, task: &str) -> Result<()> {
    let logs = format!("/api/v1/tasks/{task}/logs");
    for path in [&format!("{logs}?orderBy=ORDER_BY_DESC"), &logs, &format!("/api/v1/tasks/{task}/output")] {
        io::copy(&mut http.again()?.stream(path)?, &mut io::sink())?;
    }
    let zeros = vec![0; 1 << 20];
    for config in [json!({"entrypoint": ["true"], "pbs": {"a": zeros}}), json!(zeros)] {
        let refused = http.again()?.post("/api/v1/commands", &json!({ "config": config }));
        ensure!(refused.is_err(), "a configuration of {} zeros was taken", zeros.len());
    }
    let files = json!({ "files": vec![json!({}); 1 << 18] });
    ensure!(http.again()?.post("/api/v1/commands", &files).is_err(), "too many files were taken");
    Ok(())
}

/// A page of tasks whose configurations are large.
fn lists(bench: &Bench, table: &mut Table) -> Result<()> {
    let server = bench.up("greed", &[])?;
    let mut http = Http::log_in(server.address, "determined")?;
    let id = launch(&mut http, &["true"])?;
    finish(&mut http, &id)?;
    server.stop()?;
    let file = bench.folder.path().join("greed.sql");
    fs::write(&file, filling())?;
    fill(bench, Database::Sqlite, "greed", &file)?;
    let server = bench.up("greed", &[])?;
    let mut http = Http::log_in(server.address, "determined")?;
    let mut times = Vec::with_capacity(READINGS);
    for _ in 0..READINGS {
        let began = Instant::now();
        let page = http.get("/api/v1/commands?limit=50")?;
        times.push(ms(began.elapsed()));
        ensure!(page["commands"].as_array().is_some_and(|commands| commands.len() == 50), "{page}");
    }
    let what = format!("a page of 50 of {TASKS} commands, each with a configuration of {CONFIG_BYTES} bytes");
    table.add(what, median(&mut times), Unit::Milliseconds, Wanted::AtMost(20.0));
    server.stop()
}

/// Copies of the commands that are there, with something large in their configurations.
fn filling() -> String {
    format!(
        "BEGIN;
        CREATE TEMPORARY TABLE n AS WITH RECURSIVE n (i) AS
            (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {TASKS}) SELECT i FROM n;
        CREATE TEMPORARY TABLE one AS SELECT * FROM tasks WHERE standing = 'over' ORDER BY seq DESC LIMIT 1;
        INSERT INTO tasks (id, seq, kind, owner_id, workspace_id, description, pool, slots, weight, max_slots, priority,
            run_as, has_context, created_at, standing, run, restarts, max_restarts)
        SELECT '00000000-0000-4000-8000-' || SUBSTR(CAST(1000000000000 + i AS TEXT), 2), seq + i, kind, owner_id,
            workspace_id, description, pool, slots, weight, max_slots, priority, run_as, has_context, created_at,
            standing, run, restarts, max_restarts
        FROM one, n;
        INSERT INTO allocations (task_id, run, created_at, phase, placement, started_at, ready, asked, heard, ended_at,
            exit_code, exit_signal, exit_reason)
        SELECT t.id, a.run, a.created_at, a.phase, a.placement, a.started_at, a.ready, a.asked, a.heard, a.ended_at,
            a.exit_code, a.exit_signal, a.exit_reason
        FROM tasks t, one, allocations a WHERE t.id LIKE '00000000-%' AND a.task_id = one.id;
        INSERT INTO task_configs (task_id, config)
        SELECT t.id, REPLACE(c.config, '\"pbs\":{{}}', '\"pbs\":{{\"a\":\"' || HEX(ZEROBLOB({})) || '\"}}')
        FROM tasks t, one, task_configs c WHERE t.id LIKE '00000000-%' AND c.task_id = one.id;
        UPDATE counters SET value = value + {TASKS} WHERE name = 'task';
        COMMIT;
        ",
        CONFIG_BYTES / 2,
    )
}
