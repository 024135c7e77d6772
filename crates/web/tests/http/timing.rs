//! How long a refusal takes says nothing (R17). In the process itself, so that no network stands between.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use master::password::Presented;
use master::session::{Device, Origin, Visitor};
use serde_json::json;
use testkit::{Database, Requests as _, TestMaster, on_sqlite};

on_sqlite!(r17_unknown_wrong_pending_and_sign_on_only_take_the_same_time);

/// Logins of each kind, in turns: 1 000 in all.
const ROUNDS: u32 = 250;
/// How far apart the kinds may be.
const TOLERANCE: f64 = 0.05;
/// Another load on the machine may spoil a measurement; a leak shows in all of them.
const MEASUREMENTS: u32 = 3;

async fn r17_unknown_wrong_pending_and_sign_on_only_take_the_same_time(database: Database) {
    let mut spreads = Vec::new();
    for _ in 0..MEASUREMENTS {
        // A master of its own: what an account has failed in all has a bound, too (R18).
        let spread = spread(&prepared(database).await).await;
        spreads.push(spread);
        if spread <= TOLERANCE {
            return;
        }
    }
    panic!("the kinds are apart by {spreads:?}");
}

async fn prepared(database: Database) -> TestMaster {
    let master = TestMaster::start(database).await;
    let known = json!({"user": {"username": "known", "active": true}, "password": "a quiet lake"});
    let remote = json!({"user": {"username": "remote", "active": true, "remote": true}});
    for user in [known, remote] {
        master.admin().await.post("/api/v1/users").json(user).await.ok();
    }
    master.register("pending").await.ok();
    master
}

/// How far the four kinds are apart.
async fn spread(master: &TestMaster) -> f64 {
    let kinds = [("nobody", "x"), ("known", "wrong lake"), ("pending", "a quiet lake"), ("remote", "x")];
    let mut times = [const { Vec::new() }; 4];
    for round in 0..ROUNDS {
        for turn in 0..kinds.len() {
            // Each comes first as often as the others.
            let kind = (turn + round as usize) % kinds.len();
            let number = round * 4 + u32::try_from(kind).expect("small");
            // From everywhere, and seldom enough for the account, so that nobody has to wait (R18).
            master.clock.advance(domain::throttle::LONGEST);
            let address = IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + number));
            times[kind].push(refusal(master, kinds[kind], address).await);
        }
    }
    for times in &mut times {
        times.sort();
    }
    // Where much else runs, half of the trials wait for a processor; the quickest tenth of them doesn't.
    apart(&times, 2).min(apart(&times, 10))
}

/// How far the `part`-th parts of sorted times are apart.
fn apart(times: &[Vec<Duration>; 4], part: usize) -> f64 {
    let mut at = times.each_ref().map(|times| times[times.len() / part].as_secs_f64());
    at.sort_by(f64::total_cmp);
    at[3] / at[0] - 1.0
}

async fn refusal(master: &TestMaster, (name, password): (&str, &str), address: IpAddr) -> Duration {
    let visitor = Visitor { origin: Origin::Remote, address: Some(address), uid: None, device: Device::None };
    let presented = Presented::new(Some(password.to_owned()), false);
    let begun = Instant::now();
    let refused = master.services().sessions.log_in(name, presented, visitor).await;
    let took = begun.elapsed();
    let said = refused.expect_err("refused").to_string();
    assert_eq!(said, "invalid credentials", "{name}");
    took
}
