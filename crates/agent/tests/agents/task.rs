//! A task from start to end: output, exit status, identity, context directory, kill.

use std::io::Write;

use api::agent::{Start, ToAgent};
use axum::http::StatusCode;
use domain::log::Source;
use domain::task::Fault;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::support::{FakeMaster, TestAgent, emptied, identity, new_run, output, shell};

#[tokio::test]
async fn a_commands_output_and_exit_status_arrive() {
    let master = FakeMaster::start().await;
    let agent = TestAgent::registered(&master).await;
    let id = master.send_start(&shell("id -u; id -un; pwd; echo oops >&2; exit 3"));
    let exit = master.exit(id).await;
    assert_eq!((exit.code, exit.killed, exit.failure), (3, false, None));
    let identity = identity();
    master.look(|seen| {
        let log = seen.log_of(id);
        let expected = format!("{}\n{}\n/run/determined/workdir\n", identity.uid, identity.user);
        assert_eq!(output(log, Source::Stdout), expected);
        assert_eq!(output(log, Source::Stderr), "oops\n");
        assert_eq!(seen.started, [id]);
    });
    emptied(&agent.options.data_dir.join("tasks")).await;
}

/// What a machine has is shared out among accounts, though these are one Unix user.
#[tokio::test]
async fn a12_tasks_lie_with_those_of_their_account() {
    if !launch::probe().cgroup.pids {
        return;
    }
    let master = FakeMaster::start().await;
    let _agent = TestAgent::registered(&master).await;
    for owner in [7, 8] {
        let start = Start { owner: Some(owner), ..shell("cat /proc/self/cgroup") };
        let id = master.send_start(&start);
        assert_eq!(master.exit(id).await.code, 0);
        let account = format!("/muster/owner-{owner}-");
        master.look(|seen| {
            let said = output(seen.log_of(id), Source::Stdout);
            let own: Vec<_> = said.lines().filter(|line| line.contains("/muster/")).collect();
            assert!(!own.is_empty() && own.iter().all(|line| line.contains(&account)), "{said}");
        });
    }
}

#[tokio::test]
async fn words_are_not_a_shell_line_and_what_is_missing_is_127() {
    let master = FakeMaster::start().await;
    let _agent = TestAgent::registered(&master).await;
    let words = |words: &[&str]| Start {
        entrypoint: words.iter().map(|&word| word.to_owned()).collect(),
        ..shell("")
    };
    let echo = master.send_start(&words(&["echo", "$HOME;", "two words"]));
    let missing = master.send_start(&words(&["no-such-command", "x"]));
    assert_eq!(master.exit(echo).await.code, 0);
    assert_eq!(master.exit(missing).await.code, 127);
    master.look(|seen| assert_eq!(output(seen.log_of(echo), Source::Stdout), "$HOME; two words\n"));
}

#[tokio::test]
async fn a_kill_ends_a_run_and_a_late_or_unknown_one_nothing() {
    let master = FakeMaster::start().await;
    master.change(|seen| seen.keep = true);
    let _agent = TestAgent::registered(&master).await;
    master.send(ToAgent::Kill { allocation: new_run(), now: false });
    let bystander = master.send_start(&shell("echo up; exec tail -f /dev/null"));
    let id = master.send_start(&shell("trap '' TERM; echo up; tail -f /dev/null & wait; wait"));
    for run in [id, bystander] {
        master.until("output", |seen| (!seen.log_of(run).is_empty()).then_some(())).await;
    }
    master.send(ToAgent::Kill { allocation: id, now: false });
    let exit = master.exit(id).await;
    assert_eq!((exit.code, exit.killed), (137, true));
    master.send(ToAgent::Kill { allocation: id, now: false });
    let other = master.send_start(&shell("true"));
    assert_eq!(master.exit(other).await.code, 0);
    master.look(|seen| assert_eq!((seen.exits_of(id), seen.exits_of(bystander)), (1, 0)));
}

#[tokio::test]
async fn a_kill_right_after_the_start_is_obeyed() {
    let master = FakeMaster::start().await;
    let _agent = TestAgent::registered(&master).await;
    for _ in 0..10 {
        let id = master.send_start(&shell("exec tail -f /dev/null"));
        master.send(ToAgent::Kill { allocation: id, now: false });
        assert!(master.exit(id).await.killed);
        let id = master.send_start(&shell("exec tail -f /dev/null"));
        master.until("the start", |seen| seen.started.contains(&id).then_some(())).await;
        master.send(ToAgent::Kill { allocation: id, now: false });
        assert!(master.exit(id).await.killed);
    }
}

fn context(files: &[(&str, &str, u32)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, text, mode) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len().try_into().expect("small"));
        header.set_mode(*mode);
        tar.append_data(&mut header, name, text.as_bytes()).expect("in memory");
    }
    let mut gzip = tar.into_inner().expect("in memory");
    gzip.flush().expect("in memory");
    gzip.finish().expect("in memory")
}

fn with_context(line: &str) -> Start {
    Start { has_context: true, ..shell(line) }
}

#[tokio::test]
async fn r45_the_context_directory_is_the_users() {
    let master = FakeMaster::start().await;
    master.change(|seen| {
        seen.context_refusals.push_back(StatusCode::SERVICE_UNAVAILABLE);
        seen.context = context(&[
            ("startup-hook.sh", "export HOOKED=yes\n", 0o644),
            ("code/run.sh", "#!/bin/sh\necho \"ran $HOOKED $1\"\nexit 4\n", 0o4755),
        ]);
    });
    let _agent = TestAgent::registered(&master).await;
    let start =
        Start { entrypoint: ["./code/run.sh", "with args"].map(str::to_owned).to_vec(), ..with_context("") };
    let ran = master.send_start(&start);
    let owned = master.send_start(&with_context("stat -c '%u %g %a' code/run.sh; echo $HOOKED"));
    assert_eq!(master.exit(ran).await.code, 4);
    assert_eq!(master.exit(owned).await.code, 0);
    let identity = identity();
    master.look(|seen| {
        assert_eq!(output(seen.log_of(ran), Source::Stdout), "ran yes with args\n");
        let expected = format!("{} {} 755\nyes\n", identity.uid, identity.gid);
        assert_eq!(output(seen.log_of(owned), Source::Stdout), expected);
        assert_eq!(seen.context_asked, 3);
    });
}

/// First the configuration's, then the work directory's, in the shell that becomes the command.
#[tokio::test]
async fn startup_hooks_run_before_the_command() {
    let master = FakeMaster::start().await;
    master.change(|seen| {
        seen.context = context(&[("startup-hook.sh", "export ORDER=\"$ORDER two\"\n", 0o644)]);
    });
    let _agent = TestAgent::registered(&master).await;
    let line = "echo \"$ORDER\"; stat -c %u /run/determined/dynamic-tcd-startup-hook.sh";
    let with = |start: Start, hook: &str| Start { startup_hook: Some(hook.to_owned()), ..start };
    let both = master.send_start(&with(with_context(line), "export ORDER=one\n"));
    let bash = master.send_start(&with(shell("echo $WORDS"), "words=(a b)\nexport WORDS=${words[1]}"));
    let ended = master.send_start(&with(shell("echo on"), "echo off\nexit 7"));
    assert_eq!(master.exit(both).await.code, 0);
    assert_eq!(master.exit(bash).await.code, 0);
    assert_eq!(master.exit(ended).await.code, 7);
    master.look(|seen| {
        let out = |id| output(seen.log_of(id), Source::Stdout);
        assert_eq!(out(both), format!("one two\n{}\n", identity().uid));
        assert_eq!((out(bash).as_str(), out(ended).as_str()), ("b\n", "off\n"));
    });
}

#[tokio::test]
async fn a_context_directory_that_is_no_archive_fails_the_run() {
    let master = FakeMaster::start().await;
    master.change(|seen| seen.context = b"not gzip".to_vec());
    let _agent = TestAgent::registered(&master).await;
    let exit = master.exit(master.send_start(&with_context("true"))).await;
    assert_eq!((exit.code, exit.fault), (125, Some(Fault::Task)));
    assert!(exit.failure.expect("a reason").contains("context directory"));
}

#[tokio::test]
async fn a_start_that_fails_is_an_end_and_stays_one() {
    let master = FakeMaster::start().await;
    master.change(|seen| {
        seen.keep = true;
        seen.context_refusals.push_back(StatusCode::NOT_FOUND);
    });
    let mut agent = TestAgent::registered(&master).await;
    let no_context = with_context("true");
    let mut no_identity = shell("true");
    no_identity.identity.uid = u32::MAX;
    for start in [&no_context, &no_identity] {
        let id = master.send_start(start);
        let exit = master.exit(id).await;
        let fault = if start.has_context { Fault::Launch } else { Fault::Task };
        assert_eq!((exit.code, exit.fault), (125, Some(fault)));
    }
    let failure = |start: &Start| master.look(|seen| seen.exit_of(start.allocation)?.failure.clone());
    assert!(failure(&no_context).expect("a reason").contains("404"));
    assert!(failure(&no_identity).expect("a reason").contains("4294967295"));

    agent.crash().await;
    agent.start();
    for start in [&no_context, &no_identity] {
        let twice = |seen: &crate::support::Seen| (seen.exits_of(start.allocation) == 2).then_some(());
        master.until("the end, again", twice).await;
        assert_eq!(master.look(|seen| seen.exit_of(start.allocation).map(|exit| exit.code)), Some(125));
        // The master may ask again before it knows; the answer is the same.
        master.send_start(start);
    }
    master.look(|seen| {
        assert_eq!(seen.registrations[1].held.len(), 2);
        assert!(seen.started.is_empty());
    });
}

#[tokio::test]
async fn a_kill_cancels_the_fetching_of_the_context() {
    let master = FakeMaster::start().await;
    master.change(|seen| {
        seen.context_hangs = true;
        seen.keep = true;
    });
    let mut agent = TestAgent::registered(&master).await;
    let start = with_context("true");
    let id = master.send_start(&start);
    master.until("the request", |seen| (seen.context_asked > 0).then_some(())).await;
    master.send(ToAgent::Kill { allocation: id, now: false });
    let exit = master.exit(id).await;
    assert_eq!((exit.code, exit.killed), (137, true));
    agent.crash().await;
    agent.start();
    agent.wait_registered().await;
    master.until("the end, again", |seen| (seen.exits_of(id) == 2).then_some(())).await;
    master.look(|seen| assert!(seen.started.is_empty()));
}
