//! Many accounts and many sessions: pages of the list of accounts, searches in it, and knowing who asks.
//!
//! Tables are filled while the server is stopped; the SQL is one text for both databases.

use std::fs;
use std::io;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::Bench;
use super::lists::{Database, fill, with_database};
use super::stats::{median, ms};
use super::table::{Table, Unit, Wanted};
use crate::http::Http;
use crate::server::Server;

const USERS: usize = 10_000;
const FEW: usize = 100;
const MANY: usize = 100_000;
/// Times that each page is asked for.
const READINGS: usize = 20;
/// Sessions that are tried, and times that each is.
const TRIED: usize = 100;

pub(super) fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    for database in Database::ALL {
        users(bench, *database, table)?;
        sessions(bench, *database, table)?;
    }
    Ok(())
}

fn users(bench: &Bench, database: Database, table: &mut Table) -> Result<()> {
    let name = format!("users-{}", database.short());
    let server = filled(bench, database, &name, &accounts(USERS))?;
    let mut http = Http::log_in(server.address, "admin")?;
    // As `det user list -a` goes through them: as many at once as the server gives.
    let mut pages = Vec::new();
    for _ in 0..READINGS {
        let mut offset = 0;
        loop {
            let (took, answer) = timed(&mut http, &format!("/api/v1/users?offset={offset}"))?;
            pages.push(took);
            offset = answer["pagination"]["endIndex"].as_u64().context("no endIndex")?;
            if offset >= answer["pagination"]["total"].as_u64().context("no total")? {
                break;
            }
        }
        ensure!(offset > USERS as u64, "{offset} accounts in the list");
    }
    let mut searches = Vec::new();
    for round in 0..READINGS * 10 {
        let (took, answer) = timed(&mut http, &format!("/api/v1/users?name=BENCH{}7", round % 90 + 10))?;
        ensure!(answer["users"].as_array().is_some_and(|users| !users.is_empty()), "nobody was found");
        searches.push(took);
    }
    let row = |what: &str| format!("{what} among {USERS} accounts, {}", database.name());
    table.add(row("a page"), median(&mut pages), Unit::Milliseconds, Wanted::AtMost(5.0));
    table.add(row("a search by name"), median(&mut searches), Unit::Milliseconds, Wanted::AtMost(5.0));
    server.stop()
}

fn timed(http: &mut Http, path: &str) -> Result<(f64, Value)> {
    let began = Instant::now();
    let text = io::read_to_string(http.stream(path)?)?;
    Ok((ms(began.elapsed()), serde_json::from_str(&text)?))
}

fn sessions(bench: &Bench, database: Database, table: &mut Table) -> Result<()> {
    let start = |count: usize| {
        let name = format!("sessions-{}-{count}", database.short());
        filled(bench, database, &name, &(accounts(FEW) + &logins(count)))
    };
    let (few, many) = (start(FEW)?, start(MANY)?);
    let (mut first, mut again) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for round in 0..10 {
        for n in 0..TRIED {
            // Spread over all of them; in turns, so that whatever else the machine does hits both alike.
            for (side, (server, count)) in [(&few, FEW), (&many, MANY)].into_iter().enumerate() {
                let mut http = Http::with_token(server.address, &token(n * count / TRIED))?;
                let (took, _) = timed(&mut http, "/api/v1/me")?;
                if round == 0 { first[side].push(took) } else { again[side].push(took) }
            }
        }
    }
    let mut ratio = |what: &str, [few, many]: [Vec<f64>; 2]| {
        let (few, many) = (median(&mut few.clone()), median(&mut many.clone()));
        let row = |what: String| format!("{what}, {}", database.name());
        table.add(row(format!("{what} with {FEW} sessions")), few, Unit::Milliseconds, Wanted::Nothing);
        table.add(row(format!("{what} with {MANY} sessions")), many, Unit::Milliseconds, Wanted::Nothing);
        table.add(row("the latter by the former".to_owned()), many / few, Unit::Ratio, Wanted::AtMost(1.1));
    };
    ratio("a session's first request", first);
    ratio("a session's next request", again);
    few.stop()?;
    many.stop()
}

/// A server whose tables were filled.
fn filled(bench: &Bench, database: Database, name: &str, sql: &str) -> Result<Server> {
    let up = || with_database(bench, database, name, |options| bench.up(name, options));
    up()?.stop()?;
    let file = bench.folder.path().join(format!("{name}.sql"));
    fs::write(&file, format!("BEGIN; {sql} COMMIT;"))?;
    fill(bench, database, name, &file)?;
    up()
}

/// Copies of the default user.
fn accounts(count: usize) -> String {
    format!(
        "INSERT INTO users (id, username, display_name, admin, status, remote, password_kind, password_hash,
            agent_user, agent_uid, agent_group, agent_gid, created_at, modified_at, last_login_at, search)
        WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
        SELECT 1000000 + i, 'bench' || CAST(i AS TEXT), '', admin, status, remote, password_kind,
            password_hash, agent_user, agent_uid, agent_group, agent_gid, created_at, modified_at, last_login_at,
            'bench' || CAST(i AS TEXT)
        FROM users, n WHERE username = 'determined';"
    )
}

fn token(n: usize) -> String {
    format!("mst_bench{n}")
}

/// Sessions that last, in turns of the first accounts.
fn logins(count: usize) -> String {
    let end = i64::MAX / 2;
    let rows: Vec<String> = (0..count)
        .map(|n| {
            let hash: String = Sha256::digest(token(n)).iter().map(|byte| format!("{byte:02x}")).collect();
            format!("({}, {}, '{hash}', 0, {end})", 1_000_000 + n, 1_000_001 + n % FEW)
        })
        .collect();
    let insert = |rows: &[String]| {
        format!(
            "INSERT INTO sessions (id, user_id, token_hash, created_at, expires_at) VALUES {};",
            rows.join(",")
        )
    };
    rows.chunks(1000).map(insert).collect()
}
