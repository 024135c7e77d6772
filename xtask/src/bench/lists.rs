//! The page with one's own commands, among few and among many of all.
//!
//! Both servers run at the same time and are asked in turns. Their tables are filled while they are stopped, with
//! copies of a command that really ran; the SQL is one text for both databases.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Bench;
use super::commands::{finish, launch};
use super::requests::load;
use super::stats::{median, ms};
use super::table::{Table, Unit, Wanted};
use crate::http::Http;
use crate::server::{ANYBODY, Server};
use crate::shell;

const USERS: usize = 1000;
const FEW: usize = 10_000;
const MANY: usize = 1_000_000;

/// Times that each page is asked for.
const READINGS: usize = 200;

/// Short loads in turns, so that whatever else the machine does hits both alike.
const ROUNDS: usize = 10;

/// Somebody in the middle.
const NAME: &str = "bench500";

/// Where a master keeps its tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Database {
    Sqlite,
    Postgres,
}

impl Database {
    pub(super) const ALL: &[Self] = &[Self::Sqlite, Self::Postgres];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        }
    }

    pub(super) fn short(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }
}

/// Hands on the options that make a server use a fresh database of this name.
pub(super) fn with_database<T>(
    bench: &Bench,
    database: Database,
    name: &str,
    start: impl FnOnce(&[&str]) -> Result<T>,
) -> Result<T> {
    match database {
        Database::Sqlite => start(&[]),
        Database::Postgres => {
            let config = bench.folder.path().join(format!("{name}.yaml"));
            let cluster = bench.cluster()?;
            if !config.exists() {
                let create = format!("CREATE DATABASE \"{name}\"");
                shell::output(cluster.psql("postgres").args(["--command", &create]))?;
                fs::write(&config, format!("db:\n  url: {}/{name}\n{ANYBODY}", cluster.url()))?;
            }
            start(&["--config", config.to_str().context("a folder's name is no text")?])
        }
    }
}

pub(super) fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    for database in Database::ALL {
        let few = filled(bench, *database, FEW)?;
        let many = filled(bench, *database, MANY)?;
        let mut few_http = Http::log_in(few.address, NAME)?;
        let mut many_http = Http::log_in(many.address, NAME)?;
        // Among few nobody has more than ten: a page of ten is the same in both, one of fifty five times as long.
        for limit in [10, 50] {
            let path = format!("/api/v1/commands?users={NAME}&limit={limit}");
            let sizes = [limit.min(FEW / USERS), limit.min(MANY / USERS)];
            let (mut of_few, mut of_many) = (Vec::new(), Vec::new());
            for _ in 0..READINGS {
                of_few.push(page(&mut few_http, &path, sizes[0])?);
                of_many.push(page(&mut many_http, &path, sizes[1])?);
            }
            let (of_few, of_many) = (median(&mut of_few), median(&mut of_many));
            let row = |what: String| format!("{what}, {}", database.name());
            let what =
                |all, size| row(format!("own page, limit {limit}, among {all} commands ({size} on it)"));
            table.add(what(FEW, sizes[0]), of_few, Unit::Milliseconds, Wanted::Nothing);
            table.add(what(MANY, sizes[1]), of_many, Unit::Milliseconds, Wanted::Nothing);
            table.add(
                row("the latter by the former".to_owned()),
                of_many / of_few,
                Unit::Ratio,
                Wanted::AtMost(2.0),
            );
        }
        rates(&few, &few_http, *database, table)?;
        few.stop()?;
        many.stop()?;
    }
    Ok(())
}

/// Pages a second, beside requests that find nothing but who asks.
fn rates(server: &Server, http: &Http, database: Database, table: &mut Table) -> Result<()> {
    let list = format!("/api/v1/commands?users={NAME}&limit=10");
    let token = Some(http.token());
    let (mut pages, mut ratios) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let me = load(server, "/api/v1/me", token, 1)?;
        let page = load(server, &list, token, 1)?;
        ratios.push(page / me);
        pages.push(page);
    }
    let name = database.name();
    table.add(format!("lists of 10 rows, {name}"), median(&mut pages), Unit::PerSecond, Wanted::Nothing);
    let what = format!("the latter by GET /api/v1/me in the same seconds, {name}");
    table.add(what, median(&mut ratios), Unit::Ratio, Wanted::AtLeast(0.5));
    Ok(())
}

fn page(http: &mut Http, path: &str, size: usize) -> Result<f64> {
    let began = Instant::now();
    let text = io::read_to_string(http.stream(path)?)?;
    let took = ms(began.elapsed());
    let answer: Value = serde_json::from_str(&text)?;
    let found = answer["commands"].as_array().map_or(0, Vec::len);
    ensure!(found == size, "{found} commands on a page instead of {size}");
    Ok(took)
}

/// A server with so many commands.
fn filled(bench: &Bench, database: Database, commands: usize) -> Result<Server> {
    let name = format!("lists-{}-{commands}", database.short());
    let up = || with_database(bench, database, &name, |options| bench.up(&name, options));
    let server = up()?;
    let mut http = Http::log_in(server.address, "determined")?;
    let id = launch(&mut http, &["true"])?;
    finish(&mut http, &id)?;
    server.stop()?;

    let file = bench.folder.path().join(format!("{name}.sql"));
    fs::write(&file, filling(commands))?;
    fill(bench, database, &name, &file)?;
    up()
}

/// Runs SQL on the database of a server that is stopped.
pub(super) fn fill(bench: &Bench, database: Database, name: &str, file: &Path) -> Result<()> {
    match database {
        Database::Sqlite => sqlite(bench, &bench.folder.path().join(name).join("muster.db"), file),
        Database::Postgres => {
            // As the server itself does in the background, within minutes of such a change.
            let mut psql = bench.cluster()?.psql(name);
            let psql = psql.arg("--quiet").arg("--file").arg(file).args(["--command", "VACUUM ANALYZE"]);
            shell::output(psql).map(drop)
        }
    }
}

fn sqlite(bench: &Bench, database: &Path, sql: &Path) -> Result<()> {
    const SCRIPT: &str = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).executescript(sys.stdin.read())";
    let mut python = Command::new(bench.tools.venv.join("bin/python"));
    python.args(["-c", SCRIPT]).arg(database).stdin(Stdio::from(File::open(sql)?));
    shell::output(&mut python).map(drop)
}

/// Copies of the one account that commands belong to, and of the one command. Owners take turns.
fn filling(commands: usize) -> String {
    let numbers = |count: usize| {
        format!("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})")
    };
    let first_user = 1_000_000;
    format!(
        "BEGIN;
        INSERT INTO users (id, username, display_name, admin, status, remote, password_kind, password_hash,
            agent_user, agent_uid, agent_group, agent_gid, created_at, modified_at, last_login_at)
        {} SELECT {first_user} + i, 'bench' || CAST(i AS TEXT), '', admin, status, remote, password_kind,
            password_hash, agent_user, agent_uid, agent_group, agent_gid, created_at, modified_at, last_login_at
        FROM users, n WHERE username = 'determined';
        INSERT INTO tasks (id, seq, kind, owner_id, workspace_id, description, pool, slots, weight, max_slots, priority,
            run_as, has_context, created_at, standing, run, restarts, max_restarts)
        {} SELECT '00000000-0000-4000-8000-' || SUBSTR(CAST(1000000000000 + i AS TEXT), 2), seq + i, kind,
            {first_user} + 1 + (i - 1) % {USERS}, workspace_id, description, pool, slots, weight, max_slots, priority,
            run_as, has_context, created_at, standing, run, restarts, max_restarts
        FROM tasks, n WHERE standing = 'over';
        INSERT INTO allocations (task_id, run, created_at, phase, placement, started_at, ready, asked, heard, ended_at,
            exit_code, exit_signal, exit_reason)
        SELECT t.id, a.run, a.created_at, a.phase, a.placement, a.started_at, a.ready, a.asked, a.heard, a.ended_at,
            a.exit_code, a.exit_signal, a.exit_reason
        FROM tasks t, allocations a WHERE t.id LIKE '00000000-%' AND a.phase = 'ended';
        UPDATE counters SET value = value + {commands} WHERE name = 'task';
        UPDATE counters SET value = value + {first_user} + {USERS} WHERE name = 'user';
        COMMIT;
        ",
        numbers(USERS),
        numbers(commands),
    )
}
