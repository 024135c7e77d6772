//! What a command writes, as its owner sees it: byte for byte, in order, once.

use std::fs;
use std::process::Command;

use crate::support::{Muster, mode, run};

#[test]
fn both_streams_come_through_byte_for_byte() {
    let muster = Muster::up();
    let me = muster.person("me");
    let script = r"printf 'a\000b\377\033[31m\r\n\n no newline'; printf '\376wrong\001' >&2";
    let ran = me.script("", script).exits(0);
    assert_eq!(ran.stdout, b"a\0b\xff\x1b[31m\r\n\n no newline");
    let has = |hay: &[u8]| hay.windows(7).any(|window| window == b"\xfewrong\x01");
    assert!(has(&ran.stderr) && !has(&ran.stdout));
    let again = me.muster(&format!("command logs {}", me.only_command())).exits(0);
    assert_eq!(again.stdout, ran.stdout);
    assert!(has(&again.stderr));
}

#[test]
fn a_megabyte_of_noise_survives_the_pipe() {
    let muster = Muster::up();
    let me = muster.person("me");
    let shared = muster.dir.path().join("shared");
    fs::create_dir(&shared).expect("a directory");
    mode(&shared, 0o777, 0);
    let volume = format!("--volume {}:/shared", shared.display());
    let ran = me.script(&volume, "head -c 1000000 /dev/urandom | tee /shared/noise").exits(0);
    assert!(ran.stdout == fs::read(shared.join("noise")).expect("written"), "other bytes came out");
    let back = me.muster(&format!("command logs {}", me.only_command())).exits(0);
    assert!(back.stdout == ran.stdout, "the log holds other bytes");
}

#[test]
fn only_the_commands_own_output_goes_to_standard_output() {
    let muster = Muster::up();
    let me = muster.person("me");
    let ran = me.script("", "echo out; echo err >&2").exits(0);
    assert_eq!(ran.out(), "out\n");
    let (about, own): (Vec<_>, Vec<_>) = ran.err().lines().partition(|line| line.starts_with("muster: "));
    assert_eq!(own, ["err"]);
    let last = "muster: resources exited successfully with a zero exit code";
    assert_eq!(about.last(), Some(&last));
}

#[test]
fn head_tail_and_follow() {
    let muster = Muster::up();
    let me = muster.person("me");
    let dir = muster.dir.path().join("signals");
    fs::create_dir(&dir).expect("a directory");
    mode(&dir, 0o777, 0);
    let script = "seq 1 5; while [ ! -e /signals/go ]; do sleep 0.02; done; seq 6 10";
    let id = me.detach(&format!("--volume {}:/signals", dir.display()), script);
    let follower = me.start(&format!("command logs -f {id}"));
    follower.stdout.wait_for("5\n");
    assert_eq!(me.muster(&format!("command logs {id}")).ok(), "1\n2\n3\n4\n5");
    fs::write(dir.join("go"), "").expect("written");
    let all = "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n";
    assert_eq!(follower.finish().exits(0).out(), all);

    assert_eq!(me.muster(&format!("task logs {id}")).exits(0).out(), all);
    let tail = me.muster(&format!("command logs --tail 3 {id}")).exits(0);
    assert_eq!(tail.out(), "9\n10\n", "the last of three lines is the master's");
    let head = me.muster(&format!("command logs --head 5 {id}")).exits(0);
    assert_eq!(head.out().lines().next(), Some("1"), "{}", head.out());
    let timed = me.muster(&format!("command logs --timestamps {id}")).ok();
    let stamps = timed.lines().map(|line| line.split_once(' ').expect("a time").0.to_owned());
    assert!(stamps.clone().is_sorted() && stamps.clone().all(|stamp| stamp.ends_with('Z')), "{timed}");
    me.muster(&format!("command logs --head 1 --tail 1 {id}")).exits(2);
}

#[test]
fn a_reader_that_goes_away_ends_the_program_quietly() {
    let muster = Muster::up();
    let me = muster.person("me");
    let mut pipe = Command::new("bash");
    let muster_run = me.command(["command", "run", "seq", "1", "200000"]);
    let program = muster_run.get_program();
    pipe.env_clear().envs(muster_run.get_envs().filter_map(|(k, v)| Some((k, v?))));
    pipe.args(["-c", r#"set -o pipefail; "$@" | head -1"#, "sh"]).arg(program).args(muster_run.get_args());
    let first = run(&mut pipe, "").exits(0);
    assert_eq!(first.out(), "1\n");
    assert!(!first.err().contains("error"), "{}", first.err());
    assert!(first.err().contains("The command goes on; see it with"), "b18: {}", first.err());
    me.wait_for_state(&me.only_command(), "TERMINATED");
}

#[test]
fn a_flood_is_followed_to_its_end() {
    let muster = Muster::up();
    let me = muster.person("me");
    let ran = me.muster("command run seq 1 300000").exits(0);
    let lines: Vec<_> = ran.out().lines().collect();
    assert_eq!(lines.len(), 300_000);
    assert!(lines.iter().zip(1..).all(|(line, number)| *line == number.to_string()));
}
