//! Many bytes and many runs: the window holds, nobody is starved, lines don't wait.

use std::io::Write;
use std::time::{Duration, Instant};

use api::agent::{LOG_WINDOW, Start, ToAgent};
use domain::id::AllocationId;
use domain::log::Source;

use crate::support::{FakeMaster, Gate, Seen, TestAgent, output, shell};

fn bytes_of(seen: &Seen, id: AllocationId) -> u64 {
    seen.log_of(id).len() as u64
}

#[tokio::test]
async fn unconfirmed_bytes_stay_within_the_window() {
    let master = FakeMaster::start().await;
    master.change(|seen| (seen.mute, seen.keep) = (true, true));
    let _agent = TestAgent::registered(&master).await;
    let id = master.send_start(&shell("head -c 20000000 /dev/zero"));
    // Full but for less than one piece.
    master.until("a full window", |seen| (bytes_of(seen, id) > LOG_WINDOW - (1 << 20)).then_some(())).await;
    let other = master.send_start(&shell("true"));
    assert_eq!(master.exit(other).await.code, 0);
    let offset = master.change(|seen| {
        assert!(bytes_of(seen, id) <= LOG_WINDOW);
        assert_eq!(seen.exits_of(id), 0);
        seen.mute = false;
        bytes_of(seen, id)
    });
    master.send(ToAgent::LogsReceived { allocation: id, offset, kept: 0, full: false });
    assert_eq!(master.exit(id).await.code, 0);
    master.look(|seen| {
        assert!(bytes_of(seen, id) > 20_000_000);
        let sent: usize = seen.pieces.iter().filter(|(of, _, _)| *of == id).map(|(_, _, len)| len).sum();
        assert_eq!(sent as u64, bytes_of(seen, id), "nothing was sent twice");
    });
}

#[tokio::test]
async fn a_run_that_prints_without_end_delays_nobody() {
    let master = FakeMaster::start().await;
    let _agent = TestAgent::registered(&master).await;
    let loud = master.send_start(&shell("yes"));
    master.until("noise", |seen| (bytes_of(seen, loud) > 10_000_000).then_some(())).await;
    for _ in 0..5 {
        let before = master.look(|seen| bytes_of(seen, loud));
        let id = master.send_start(&shell("echo hi"));
        assert_eq!(master.exit(id).await.code, 0);
        let noise = master.look(|seen| bytes_of(seen, loud)) - before;
        eprintln!("{} MB of noise during a short run", noise >> 20);
    }
    master.send(ToAgent::Kill { allocation: loud, now: false });
    assert!(master.exit(loud).await.killed);
}

#[tokio::test]
async fn a_line_does_not_wait() {
    let master = FakeMaster::start().await;
    let agent = TestAgent::registered(&master).await;
    let gate = Gate::new(&agent);
    let start =
        Start { bind_mounts: vec![gate.mount()], ..shell("while read x; do echo $x; done < /shared/gate") };
    let id = master.send_start(&start);
    let mut writer = gate.writer().await;
    let mut took = Vec::new();
    for round in 0..21 {
        let line = format!("line {round}\n");
        let begun = Instant::now();
        writer.write_all(line.as_bytes()).expect("read");
        let came = |seen: &Seen| output(seen.log_of(id), Source::Stdout).ends_with(&line).then_some(());
        master.until("the line", came).await;
        took.push(begun.elapsed());
    }
    took.sort_unstable();
    eprintln!("a line takes {:?}, at most {:?}", took[10], took[20]);
    // A few ms; the rest is for machines that have other things to do.
    assert!(took[10] < Duration::from_millis(200), "{took:?}");
    drop(writer);
    assert_eq!(master.exit(id).await.code, 0);
}

#[tokio::test]
async fn logs_are_fast_and_complete() {
    let master = FakeMaster::start().await;
    let _agent = TestAgent::registered(&master).await;
    let id = master.send_start(&shell("yes 0123456789abcdef | head -c 100000000"));
    master.until("output", |seen| (bytes_of(seen, id) > 0).then_some(())).await;
    let begun = Instant::now();
    assert_eq!(master.exit(id).await.code, 0);
    let took = begun.elapsed().as_secs_f64();
    eprintln!("{:.0} MB/s", 100.0 / took);
    let text = master.look(|seen| output(seen.log_of(id), Source::Stdout));
    assert_eq!(text.len(), 100_000_000);
    let mut lines = text.lines();
    assert!(lines.by_ref().take(1_000_000).all(|line| line == "0123456789abcdef"));
}
