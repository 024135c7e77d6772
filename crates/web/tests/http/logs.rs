//! Logs and output: lines as the clients print them, bytes as the task wrote them (L02).

use domain::authz::System;
use domain::log::{Records, Source};
use domain::time::Timestamp;
use master::log::{Of, Removal};
use serde_json::{Value, json};
use testkit::{Database, Requests as _, TestMaster, on_sqlite};

on_sqlite!(
    lines_have_the_form_that_the_clients_print,
    head_tail_and_filters,
    output_is_byte_for_byte_and_goes_on_where_it_was_left,
    followers_see_lines_as_they_come,
    r34_odd_parameters_are_refused_or_harmless,
    a05_a_log_of_empty_lines_costs_the_master_little,
    b13_unfinished_lines_are_seen_soon_and_in_order,
    b13_a_progress_bar_goes_on_in_the_page,
    a04_a_removed_log_says_so_to_whoever_reads_it,
);

/// 2026-01-01T00:00:01.5Z.
const AT: Timestamp = Timestamp(1_767_225_601_500_000);

async fn lines_have_the_form_that_the_clients_print(database: Database) {
    let master = TestMaster::start(database).await;
    let (alice, bob) = (master.user("alice").await, master.user("bob").await);
    let mut agent = master.agent("node").await;
    let task = master.task(&alice, &mut agent).await;
    let run = task.start.allocation;
    agent.send_log(run, Source::Stdout, AT, b"hel").await;
    agent.send_log(run, Source::Stderr, AT, b"ERROR: bad\n").await;
    agent.send_log(run, Source::Stdout, AT, b"lo <b>\r\n\xff\n").await;
    agent.send_log(run, Source::Agent, AT, b"from the agent\n").await;
    agent.send_log(run, Source::Stdout, AT, b"no end").await;
    agent.exit(run, 0).await;
    let mut stream = bob.get(&format!("/api/v1/tasks/{}/logs", task.id())).stream().await;
    let mut lines = Vec::new();
    while let Some(line) = stream.next().await {
        lines.push(line);
    }
    let numbers: Vec<String> =
        lines.iter().map(|line| line["id"].as_str().expect("text").to_owned()).collect();
    assert_eq!(numbers, (1..=lines.len()).map(|n| n.to_string()).collect::<Vec<_>>());
    let of =
        |text: &str| lines.iter().find(|line| line["log"] == text).unwrap_or_else(|| panic!("no {text}"));
    let hello = of("hello <b>");
    let short = &task.id()[..8];
    assert_eq!(hello["message"], format!("[2026-01-01T00:00:01.500000Z] {short} || INFO: hello <b>\n"));
    assert_eq!((&hello["level"], &hello["stdtype"]), (&json!("LOG_LEVEL_INFO"), &json!("stdout")));
    assert_eq!((&hello["taskId"], &hello["allocationId"]), (&json!(task.id()), &json!(run.to_string())));
    assert_eq!(
        (&hello["timestamp"], &hello["agentId"]),
        (&json!("2026-01-01T00:00:01.500000Z"), &json!("node"))
    );
    let bad = of("ERROR: bad");
    assert_eq!((&bad["level"], &bad["stdtype"]), (&json!("LOG_LEVEL_ERROR"), &json!("stderr")));
    assert_eq!(of("from the agent")["source"], "agent");
    assert_eq!(of("\u{fffd}")["source"], "task");
    assert_eq!(of("no end")["source"], "task");
    assert_eq!(lines[0]["source"], "master");
}

async fn head_tail_and_filters(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let mut agent = master.agent("node").await;
    let task = master.task(&alice, &mut agent).await;
    let run = task.start.allocation;
    for n in 1..=5_i64 {
        let source = if n == 3 { Source::Stderr } else { Source::Stdout };
        agent.send_log(run, source, Timestamp(AT.0 + n * 1_000_000), format!("line {n}\n").as_bytes()).await;
    }
    let texts = async |query: &str| {
        let path = format!("/api/v1/tasks/{}/logs?{query}", task.id());
        alice.get(&path).stream().await.rest().await
    };
    let own = "sources=task&";
    for (query, expected) in [
        ("limit=2", vec![1, 2]),
        ("limit=2&orderBy=ORDER_BY_DESC", vec![5, 4]),
        ("orderBy=ORDER_BY_DESC", vec![5, 4, 3, 2, 1]),
        ("stdtypes=stderr", vec![3]),
        ("stdtypes=stderr&stdtypes=stdout", vec![1, 2, 3, 4, 5]),
        ("searchText=ne+4", vec![4]),
        ("levels=LOG_LEVEL_ERROR", vec![]),
        ("timestampAfter=2026-01-01T00:00:04.5Z", vec![4, 5]),
        ("timestampBefore=2026-01-01T00:00:02.5Z", vec![1]),
    ] {
        let expected: Vec<String> = expected.into_iter().map(|n| format!("line {n}")).collect();
        assert_eq!(texts(&format!("{own}{query}")).await, expected, "{query}");
    }
    assert!(texts("limit=1").await[0].starts_with("Scheduling"));
    let refused = async |query: &str| {
        alice.get(&format!("/api/v1/tasks/{}/logs?{query}", task.id())).await.refused(400)
    };
    assert_eq!(refused("limit=1&follow=true").await, "limit and follow can't be used together");
    refused("timestampAfter=yesterday").await;
    refused("enableRegex=true").await;
    refused("orderBy=ORDER_BY_DESC&follow=true").await;
}

async fn output_is_byte_for_byte_and_goes_on_where_it_was_left(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let mut agent = master.agent("node").await;
    let task = master.task(&alice, &mut agent).await;
    let run = task.start.allocation;
    let written: Vec<u8> = (0..=255).cycle().take(200_000).collect();
    for piece in written.chunks(70_000) {
        agent.send_log(run, Source::Stdout, AT, piece).await;
    }
    let output = async |query: &str| {
        let path = format!("/api/v1/tasks/{}/output{query}", task.id());
        let answer = alice.get(&path).await.expect(200);
        assert_eq!(answer.header("content-type"), "application/octet-stream");
        answer.body
    };
    let stdout = |bytes: &[u8]| {
        let own = Records::new(bytes).filter(|record| record.source == Source::Stdout);
        own.flat_map(|record| record.payload.to_vec()).collect::<Vec<u8>>()
    };
    let whole = output("").await;
    assert!(stdout(&whole) == written, "the output differs");
    let mut records = Records::new(&whole);
    records.by_ref().take(3).for_each(drop);
    let left = records.consumed();
    assert!(output(&format!("?offset={left}")).await == whole[left..], "the rest differs");
    assert!(output(&format!("?offset={}", whole.len())).await.is_empty());
    let path = format!("/api/v1/tasks/{}/output?follow=true&offset={left}", task.id());
    let follower = alice.get(&path).stream().await;
    agent.send_log(run, Source::Stderr, AT, b"late").await;
    agent.exit(run, 0).await;
    let followed = follower.bytes().await;
    assert!(followed.starts_with(&whole[left..]));
    assert!(output("").await.ends_with(&followed));
}

async fn followers_see_lines_as_they_come(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let mut agent = master.agent("node").await;
    let task = master.task(&alice, &mut agent).await;
    let run = task.start.allocation;
    let mut followers = vec![alice.follow(&task.id()).await, master.admin().await.follow(&task.id()).await];
    for n in 0..5 {
        agent.send_log(run, Source::Stdout, AT, format!("tick {n}\n").as_bytes()).await;
        for follower in &mut followers {
            follower.until(&format!("tick {n}")).await;
        }
    }
    agent.exit(run, 0).await;
    for mut follower in followers {
        assert_eq!(follower.rest().await, ["resources exited successfully with a zero exit code"]);
    }
    // Whoever follows what is over gets all of it and the end.
    let late = alice.follow(&task.id()).await.rest().await;
    assert_eq!(late, alice.log(&task.id()).await);
}

async fn r34_odd_parameters_are_refused_or_harmless(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let mut agent = master.agent("node").await;
    let task = master.task(&alice, &mut agent).await;
    agent.send_log(task.start.allocation, Source::Stdout, AT, b"text\n").await;
    agent.exit(task.start.allocation, 0).await;
    let path = |query: &str| format!("/api/v1/tasks/{}/output?{query}", task.id());
    for query in ["offset=-1", "offset=x", "follow=perhaps", "offset=18446744073709551616"] {
        alice.get(&path(query)).await.refused(400);
    }
    for query in [
        "offset=1",
        "offset=999999",
        "offset=9223372036854775807",
        "offset=9223372036854775808",
        "offset=18446744073709551614",
        "offset=18446744073709551615",
    ] {
        for follow in ["", "&follow=true"] {
            let answer: Value =
                json!(alice.get(&path(&format!("{query}{follow}"))).await.expect(200).body.len());
            assert_eq!(answer, 0, "{query}: no record begins there");
        }
    }
}

/// Bytes of this process's memory, now and at its peak since the last call.
pub(crate) fn memory() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").expect("readable");
    let kib = |key: &str| {
        let line = status.lines().find(|line| line.starts_with(key)).expect("there");
        line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()).expect("a number")
    };
    let both = (kib("VmRSS:") << 10, kib("VmHWM:") << 10);
    std::fs::write("/proc/self/clear_refs", "5").expect("the peak begins anew");
    both
}

async fn a05_a_log_of_empty_lines_costs_the_master_little(database: Database) {
    const LINES: usize = 4 << 20;
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let mut agent = master.agent("node").await;
    let task = master.task(&alice, &mut agent).await;
    for _ in 0..LINES >> 16 {
        agent.send_log(task.start.allocation, Source::Stdout, AT, &b"\n".repeat(1 << 16)).await;
    }
    agent.exit(task.start.allocation, 0).await;
    for (path, lines) in [
        (format!("/api/v1/tasks/{}/logs?orderBy=ORDER_BY_DESC", task.id()), true),
        (format!("/api/v1/tasks/{}/logs?orderBy=ORDER_BY_DESC&searchText=nowhere", task.id()), true),
        (format!("/api/v1/tasks/{}/logs", task.id()), true),
        (format!("/commands/{}/log", task.id()), false),
        (format!("/commands/{}/log.txt", task.id()), false),
    ] {
        let (before, _) = memory();
        let mut stream = alice.in_browser().get(&path).stream().await;
        let mut last = None;
        if lines {
            for _ in 0..20_000 {
                let Some(line) = stream.next().await else { break };
                last = Some(line["id"].as_str().expect("text").to_owned());
            }
        } else {
            let bytes = stream.bytes().await;
            assert!(bytes.len() > 10_000, "{path}");
        }
        let (_, peak) = memory();
        assert!(peak.saturating_sub(before) < 32 << 20, "{path}: {} MiB", (peak - before) >> 20);
        if path.ends_with("DESC") {
            // Two of the master's own begin it, one ends it.
            assert!(last.is_some_and(|last| last > (LINES - 20_000).to_string()), "the newest come first");
        }
    }
}

async fn b13_unfinished_lines_are_seen_soon_and_in_order(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let mut agent = master.agent("node").await;
    let task = master.task(&alice, &mut agent).await;
    let run = task.start.allocation;
    let mut follower = alice.follow(&task.id()).await;
    follower.until("have started").await;
    // Nothing more comes until it is seen, so seeing it is the test.
    for (printed, seen) in
        [("Loading... ", "Loading... "), ("\r 10%\r 20%", " 20%"), ("\r 30%", " 30%"), ("\ndone\nno", "done")]
    {
        agent.send_log(run, Source::Stdout, AT, printed.as_bytes()).await;
        assert_eq!(follower.next().await.expect("a line")["log"], seen);
    }
    agent.exit(run, 0).await;
    let end = "resources exited successfully with a zero exit code";
    assert_eq!(follower.rest().await, ["no", end]);
    let all = alice.log(&task.id()).await;
    assert_eq!(all[all.len() - 4..], [" 30%ing... ", "done", "no", end], "as a terminal leaves it");
}

async fn b13_a_progress_bar_goes_on_in_the_page(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let mut agent = master.agent("node").await;
    let task = master.task(&alice, &mut agent).await;
    let run = task.start.allocation;
    let mut page = alice.in_browser().get(&format!("/commands/{}/log", task.id())).stream().await;
    page.read_until("event: start").await;
    for (printed, seen) in [("10%", "10%"), ("\r20%", "20%"), ("\rover\n", "event: lines")] {
        agent.send_log(run, Source::Stdout, AT, printed.as_bytes()).await;
        let event = page.read_until(seen).await;
        assert!(printed.ends_with('\n') || event.contains("event: open"), "{event}");
    }
    // What was unfinished is taken away again.
    let event = page.read_until("event: open").await;
    assert!(!event.contains("20%"), "{event}");
    // Without data a browser wouldn't pass it on (KC6).
    assert!(
        event.contains("data: <!-- -->") || page.read_until("data: <!-- -->").await.contains("<!--"),
        "{event}"
    );
    agent.exit(run, 0).await;
    page.read_until("event: end").await;
}

async fn a04_a_removed_log_says_so_to_whoever_reads_it(database: Database) {
    let mut master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    let mut agent = master.agent("node").await;
    let task = master.task(&alice, &mut agent).await;
    let run = task.start.allocation;
    // More than a reader is given ahead.
    for n in 0..40 {
        agent.send_log(run, Source::Stdout, AT, format!("{n:07}\n").repeat(32_768).as_bytes()).await;
    }
    agent.exit(run, 0).await;
    let id = run.task;
    let kept = master.services().kept_logs.clone();
    let all = kept.all().await.expect("counted");
    let log = all.iter().find(|log| log.allocation == run).expect("there");
    assert!((log.of, log.bytes > 10 << 20) == (Of::Over, true), "{log:?}");

    let path = format!("/api/v1/tasks/{id}/logs");
    let mut reader = alice.get(&path).stream().await;
    reader.until("0000000").await;
    kept.remove(&System::at_start(), &[id], log.bytes, Removal::NoRoom).await.expect("removed");
    // Who was reading it gets what is on its way, is told, and keeps none of its space.
    let rest = reader.rest().await;
    assert!(rest.len() < 40 * 32_768, "{}", rest.len());
    let is_told = |line: &String| {
        line.starts_with("this log was removed at 20") && line.contains("disk was nearly full")
    };
    assert!(rest.last().is_some_and(is_told), "{:?}", rest.last());
    let all = kept.all().await.expect("counted");
    assert!(all.iter().all(|log| log.allocation != run), "{all:?}");

    for _ in 0..2 {
        let mut told = None;
        for query in
            ["", "?follow=true", "?limit=2", "?orderBy=ORDER_BY_DESC", "?orderBy=ORDER_BY_DESC&limit=1"]
        {
            let lines = alice.get(&format!("{path}{query}")).stream().await.rest().await;
            assert!(lines.len() == 1 && lines.iter().all(is_told), "{query}: {lines:?}");
            told = lines.into_iter().next();
        }
        let told = told.expect("said");
        let whole = alice.get(&format!("/api/v1/tasks/{id}/output")).await.expect(200).body;
        let record = Records::new(&whole).next().expect("one");
        assert_eq!((record.source, record.payload), (Source::Master, format!("{told}\n").as_bytes()));
        for (offset, there) in [(1, false), (whole.len(), false), (5 << 20, true)] {
            let rest = alice.get(&format!("/api/v1/tasks/{id}/output?follow=true&offset={offset}")).await;
            assert_eq!(!rest.expect(200).body.is_empty(), there, "{offset}");
        }
        let browser = alice.in_browser();
        let text = browser.get(&format!("/commands/{id}/log.txt")).await.expect(200);
        assert!(text.text().contains(&told), "{}", text.text());
        let mut page = browser.get(&format!("/commands/{id}/log")).stream().await;
        assert!(page.read_until("event: end").await.contains("this log was removed"));
        // The same after a restart, and an agent that comes with it doesn't send it again.
        master.restart().await;
        let _ = agent.try_reconnect().await;
    }
    let entries = master.admin().await.get("/api/v1/audit?action=task.remove_log").await.expect(200).json();
    let entries = entries["entries"].as_array().expect("a list").clone();
    assert_eq!(entries.len(), 1, "{entries:?}");
    assert_eq!(entries[0]["record"]["before"]["tasks"], json!([id.to_string()]));
}
