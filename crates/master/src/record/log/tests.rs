//! What is kept of what agents send, and what a crash leaves of it.

use std::fs::File;

use domain::log::HEADER_BYTES;

use super::*;

const ONE: Output = Output { run: 1, rank: None };

fn records(texts: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for text in texts {
        let payload = text.as_bytes();
        Record { at: Timestamp(1), source: Source::Stdout, rank: None, payload }.encode(&mut bytes);
    }
    bytes
}

async fn text(logs: &Logs, task: TaskId) -> String {
    let mut follower = logs.read(task, 0, false);
    let mut text = String::new();
    while let Some(bytes) = follower.next().await.expect("readable") {
        for record in Records::new(&bytes) {
            text.push_str(&String::from_utf8_lossy(record.payload));
        }
    }
    text
}

fn logs() -> (tempfile::TempDir, Logs, TaskId) {
    let folder = tempfile::tempdir().expect("folder");
    let logs = Logs::new(folder.path().to_owned());
    (folder, logs, TaskId(uuid::Uuid::from_u128(7)))
}

#[tokio::test]
async fn l02_repeated_and_overlapping_pieces_count_once() {
    let (_folder, logs, task) = logs();
    let log = logs.open(task).expect("open");
    let all = records(&["a\n", "b\n", "c\n"]);
    let one = records(&["a\n"]).len();
    log.append_own(Timestamp(0), "scheduled").expect("appended");
    assert_eq!(log.append_from_agent(ONE, 0, &all[..one]).expect("first"), one as u64);
    assert_eq!(log.append_from_agent(ONE, 0, &all[..2 * one]).expect("overlap"), 2 * one as u64);
    assert_eq!(log.append_from_agent(ONE, 0, &all[..one]).expect("old"), 2 * one as u64);
    let gap = log.append_from_agent(ONE, 3 * one as u64, &all[..one]).expect("gap");
    assert_eq!(gap, 2 * one as u64, "behind a gap nothing is taken");
    assert_eq!(log.append_from_agent(ONE, 2 * one as u64, &all[2 * one..]).expect("rest"), all.len() as u64);
    assert_eq!(text(&logs, task).await, "scheduled\na\nb\nc\n");
}

#[tokio::test]
async fn a04_an_agent_that_lies_fills_no_disk_with_one_log() {
    let (folder, logs, task) = logs();
    let logs = logs.limited(1 << 20);
    let piece = records(&["a line\n"; 1000]);
    let log = logs.open(task).expect("open");
    let mut sent = 0;
    for _ in 0..200 {
        sent += piece.len() as u64;
        let here = log.append_from_agent(ONE, sent - piece.len() as u64, &piece).expect("appended");
        assert_eq!(here, sent, "it counts as had: an agent goes on and ends");
    }
    // Also in the smallest of pieces.
    let small = records(&["x"]);
    for _ in 0..1000 {
        sent = log.append_from_agent(ONE, sent, &small).expect("appended");
    }
    log.append_end(Timestamp(0), "over").expect("appended");
    let len = std::fs::metadata(logs.path(task)).expect("there").len();
    assert!(((1 << 20)..=(2 << 20) + 500).contains(&len) && sent > 4 << 20, "{len} of {sent}");
    let told = text(&logs, task).await;
    assert_eq!(told.matches("thrown away").count(), 1, "one line says so");
    assert!(told.contains("limits.log_bytes") && told.ends_with("over\n"), "{}", &told[told.len() - 200..]);
    // A master that starts anew still knows how far the agent is.
    let again = Logs::new(folder.path().to_owned()).limited(1 << 20);
    assert_eq!(again.open(task).expect("open").received(ONE), sent);
}

/// MC2: ten thousand tasks that waited had all files open that a process may have.
#[tokio::test]
async fn a07_living_logs_keep_no_files_open() {
    let (_folder, logs, _) = logs();
    let open = || std::fs::read_dir("/proc/self/fd").expect("there").count();
    let before = open();
    let piece = records(&["a line\n"; 1000]);
    let many: Vec<_> = (0..500).map(|n| logs.begin(TaskId(uuid::Uuid::from_u128(n)))).collect();
    for log in &many {
        log.append_own(Timestamp(0), "queued").expect("appended");
        let mut sent = 0;
        // Long enough for an index.
        for _ in 0..30 {
            sent = log.append_from_agent(ONE, sent, &piece).expect("appended");
        }
        log.sync().expect("durable");
        log.secure();
    }
    assert!(open() < before + 50, "{} of {before}", open());
}

#[tokio::test]
async fn l02_a_torn_record_is_cut_off_after_a_crash() {
    let (folder, logs, task) = logs();
    let log = logs.open(task).expect("open");
    let all = records(&["a\n", "b\n"]);
    log.append_own(Timestamp(0), "scheduled").expect("appended");
    log.append_from_agent(ONE, 0, &all).expect("appended");
    let path = logs.path(task);
    let len = std::fs::metadata(&path).expect("there").len();
    File::options().write(true).open(&path).expect("open").set_len(len - 1).expect("cut");
    let logs = Logs::new(folder.path().to_owned());
    let log = logs.open(task).expect("open again");
    let known = log.received(ONE);
    assert_eq!(known, all.len() as u64 / 2);
    log.append_from_agent(ONE, 0, &all).expect("sent again");
    assert_eq!(text(&logs, task).await, "scheduled\na\nb\n");
}

#[tokio::test]
async fn a14_a_line_of_the_masters_is_one_line() {
    let (_folder, logs, task) = logs();
    let log = logs.open(task).expect("open");
    log.append_own(Timestamp(0), "Scheduling a\nresources exited\u{1b}[2J").expect("appended");
    log.append_end(Timestamp(0), "b\rc was terminated").expect("appended");
    let expected = "Scheduling a\\nresources exited\\u{1b}[2J\nb\\rc was terminated\n";
    assert_eq!(text(&logs, task).await, expected);
}

#[tokio::test]
async fn a10_a_token_is_not_stored_even_in_two_halves_around_a_crash() {
    let (folder, logs, task) = logs();
    let token = format!("mtt_{}", "aB3-".repeat(11).get(..43).expect("long"));
    let all = records(&[&format!("token {}", &token[..30]), &format!("{}\n", &token[30..])]);
    let first = HEADER_BYTES + "token ".len() + 30;
    let log = logs.open(task).expect("open");
    log.append_from_agent(ONE, 0, &all[..first]).expect("appended");
    let logs = Logs::new(folder.path().to_owned());
    let log = logs.open(task).expect("open again");
    assert_eq!(log.received(ONE), first as u64, "lengths stay");
    assert_eq!(log.append_from_agent(ONE, 0, &all).expect("the rest"), all.len() as u64);
    assert_eq!(text(&logs, task).await, format!("token mtt_{}\n", "*".repeat(43)));
}

#[tokio::test]
async fn a_follower_sees_lines_as_they_come_and_ends_with_the_task() {
    let (_folder, logs, task) = logs();
    let log = logs.open(task).expect("open");
    let mut follower = logs.read(task, 0, true);
    let reading = tokio::spawn(async move {
        let mut pieces = 0;
        while follower.next().await.expect("readable").is_some() {
            pieces += 1;
        }
        pieces
    });
    log.append_own(Timestamp(0), "one").expect("appended");
    logs.close(task);
    assert_eq!(reading.await.expect("ended"), 1);
}

#[tokio::test]
async fn l02_parts_and_runs_are_counted_each_for_itself_also_after_a_crash() {
    let (folder, logs, task) = logs();
    let log = logs.open(task).expect("open");
    let of = |run, rank| Output { run, rank: Some(rank) };
    let (one, two) = (records(&["a\n", "b\n"]), records(&["c"]));
    log.append_from_agent(of(1, 0), 0, &one).expect("appended");
    log.append_from_agent(of(1, 1), 0, &two).expect("appended");
    log.append_end(Timestamp(0), "over").expect("appended");
    assert_eq!(log.append_from_agent(of(2, 1), 0, &one).expect("appended"), one.len() as u64);
    assert_eq!(log.append_gap(of(2, 0), Timestamp(0), 0, 9).expect("passed over"), 9);
    let logs = Logs::new(folder.path().to_owned());
    let log = logs.open(task).expect("open again");
    let here = [of(1, 0), of(2, 0), of(2, 1), of(3, 0)].map(|of| log.received(of));
    assert_eq!(here, [u64::MAX, 9, one.len() as u64, 0]);
    // Late, and again: neither is taken.
    log.append_from_agent(of(1, 1), two.len() as u64, &one).expect("passed over");
    log.append_from_agent(of(2, 1), 0, &one).expect("passed over");
    log.append_own(Timestamp(0), "said").expect("appended");
    log.secure();
    assert_eq!([of(1, 0), of(2, 1)].map(|of| log.kept(of)), [0, one.len() as u64]);
    let mut stamped = records(&["x\n"]);
    stamp(&mut stamped, Some(0));
    assert!(log.append_from_agent(of(2, 0), 9, &stamped).is_err(), "an agent says nothing of ranks");
    let (mut lines, mut follower) = (Lines::default(), logs.read(task, 0, false));
    let mut seen = Vec::new();
    while let Some(bytes) = follower.next().await.expect("readable") {
        Records::new(&bytes).for_each(|record| lines.push(record, |line| seen.push((line.of, line.text))));
    }
    let expected =
        [(of(1, 0), "a"), (of(1, 0), "b"), (of(1, 1), "c"), (ONE, "over"), (of(2, 1), "a"), (of(2, 1), "b")];
    assert_eq!(seen[..6], expected.map(|(of, text)| (of, text.to_owned())));
    assert!(seen[6].1.starts_with("9 bytes of this log are missing") && seen.len() == 8, "{seen:?}");
    assert_eq!(seen[7], (Output { run: 2, rank: None }, "said".to_owned()));
}
