//! A flood of logins: as many as the hash of passwords allows, while everybody else goes on reading.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use argon2::{Algorithm, Argon2, Params, Version};
use serde_json::json;

use super::Bench;
use super::stats::{ms, quantile};
use super::table::{Table, Unit, Wanted};
use crate::http::Http;
use crate::server::Server;

/// People who log in at once.
const VISITORS: usize = 16;
const LOAD: Duration = Duration::from_secs(8);
/// Between two reads: far below what the server can do, so that their times are its alone.
const PAUSE: Duration = Duration::from_millis(5);
const PASSWORD: &str = "a quiet lake";

pub(super) fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let allowed = hashes_a_second()?;
    let server = bench.up("logins", &[])?;
    let mut admin = Http::log_in(server.address, "admin")?;
    // Each with an account of their own: many logins of one at once look like guessing.
    for n in 0..VISITORS {
        let new = json!({"user": {"username": visitor(n), "active": true}, "password": PASSWORD});
        admin.post("/api/v1/users", &new)?;
    }
    let token = admin.token().to_owned();

    let quiet = reads(&server, &token, &AtomicBool::new(false))?;
    let (done, logged_in) = (AtomicBool::new(false), AtomicU64::new(0));
    let began = Instant::now();
    let flooded = thread::scope(|scope| -> Result<_> {
        let (address, done, logged_in) = (server.address, &done, &logged_in);
        let visit = move |n: usize| -> Result<()> {
            let login = json!({"username": visitor(n), "password": PASSWORD});
            let mut http = Http::connect(address)?;
            while !done.load(Ordering::Relaxed) {
                http.post("/api/v1/auth/login", &login)?;
                logged_in.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        };
        let visitors: Vec<_> = (0..VISITORS).map(|n| scope.spawn(move || visit(n))).collect();
        let reads = reads(&server, &token, done);
        done.store(true, Ordering::Relaxed);
        for visitor in visitors {
            visitor.join().map_err(|_| anyhow!("a visitor broke down"))??;
        }
        reads
    })?;
    let rate = f64::from(u32::try_from(logged_in.into_inner())?) / began.elapsed().as_secs_f64();
    table.add("argon2id by itself on all cores", allowed, Unit::PerSecond, Wanted::Nothing);
    table.add("logins", rate, Unit::PerSecond, Wanted::Nothing);
    table.add("the latter by the former", rate / allowed, Unit::Ratio, Wanted::AtLeast(0.9));
    let (mut quiet, mut flooded) = (quiet, flooded);
    let (quiet, flooded) = (quantile(&mut quiet, 0.99), quantile(&mut flooded, 0.99));
    table.add("99 % of reads take, when it is quiet", quiet, Unit::Milliseconds, Wanted::Nothing);
    table.add("99 % of reads take, under these logins", flooded, Unit::Milliseconds, Wanted::Nothing);
    table.add("the latter by the former", flooded / quiet, Unit::Ratio, Wanted::AtMost(2.0));
    server.stop()
}

fn visitor(n: usize) -> String {
    format!("visitor{n}")
}

/// Times of reads with a session, one after the other.
pub(super) fn reads(server: &Server, token: &str, done: &AtomicBool) -> Result<Vec<f64>> {
    let mut http = Http::with_token(server.address, token)?;
    let (began, mut times) = (Instant::now(), Vec::new());
    while began.elapsed() < LOAD && !done.load(Ordering::Relaxed) {
        let one = Instant::now();
        http.get("/api/v1/me")?;
        times.push(ms(one.elapsed()));
        server.rest(PAUSE)?;
    }
    Ok(times)
}

/// What the machine can do if it does nothing else.
fn hashes_a_second() -> Result<f64> {
    let params = Params::new(19_456, 2, 1, None).map_err(|e| anyhow!("{e}"))?;
    let cores = thread::available_parallelism()?.get();
    let count = AtomicU64::new(0);
    let began = Instant::now();
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
                let mut out = [0; 32];
                while began.elapsed() < LOAD {
                    if hasher.hash_password_into(&[7; 128], &[9; 16], &mut out).is_ok() {
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    Ok(f64::from(u32::try_from(count.into_inner())?) / began.elapsed().as_secs_f64())
}
