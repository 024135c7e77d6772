//! What of the machine's numbers all tasks of one account take with their conversations with the world, and that others'
//! tasks and the machine itself find theirs (A5).

#![expect(clippy::unwrap_used, reason = "a test that can't be set up has failed")]

mod support;

use std::process::Command;

use launch::TaskSpec;
use launch::spec::{Owner, Together};
use support::script;
use support::world::{ASK, World};

/// Echoes what it is told over UDP.
const HEAR: &str = r#"
import socket
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
u.bind(("0.0.0.0", 7002)); print("ready", flush=True)
while True:
    data, who = u.recvfrom(100); u.sendto(data, who)
"#;

/// A task of an account that runs a program in Python.
fn of(account: &str, program: &str) -> TaskSpec {
    let key = format!("test-{}-{account}", std::process::id());
    let owner = Owner { key, account: None, limits: Together::default() };
    let argv = ["/usr/bin/python3", "-c", &format!("{ASK}{program}")].map(str::to_owned).to_vec();
    TaskSpec { argv, owner: Some(owner), ..script("") }
}

/// The numbers that tasks have printed, added up.
fn sum(tasks: &[&support::Task]) -> usize {
    let said = |task: &&support::Task| task.output(launch::record::Source::Stdout);
    tasks.iter().map(|task| said(task).split_whitespace().next().unwrap().parse::<usize>().unwrap()).sum()
}

/// KA4: tasks of one account, each of which may have 512 connections, took all ports that tasks have to
/// one address.
#[test]
fn a05_all_tasks_of_an_account_leave_others_ports_to_the_same_address() {
    let world = World::new("nameserver 10.99.0.2\n");
    // What has ended keeps no port here: this is about what hasn't.
    let range = "cd /proc/sys/net/ipv4; echo 40000 41023 > ip_local_port_range; echo 0 > tcp_max_tw_buckets";
    let way = ["netns", "exec", &world.machine(), "sh", "-c", range];
    assert!(Command::new("ip").args(way).status().unwrap().success());
    let connect = |most: u32| {
        format!(
            "many = []\ntry:\n    while len(many) < {most}: many.append(socket.create_connection(('10.99.0.2', 7000), 20))\n\
             except OSError as e: pass\nprint(len(many), 'connected', flush=True)\n"
        )
    };
    let greedy = connect(500) + "time.sleep(1000)";
    let first = world.start(&of("greedy", &greedy), 0);
    first.wait_for("connected");
    let second = world.start_beside(&first, &of("greedy", &greedy));
    second.wait_for("connected");
    // 768 of the 1024 are tasks', in pieces of 64.
    assert_eq!(sum(&[&first, &second]), 384, "half of them");
    let other = world.start_beside(&first, &of("other", &connect(128)));
    other.wait_for("connected");
    assert_eq!(sum(&[&other]), 128);
    // However a task ends, what it had is there for others.
    first.shim().unwrap().destroy().unwrap();
    first.wait();
    let third = world.start_beside(&second, &of("greedy", &greedy));
    third.wait_for("connected");
    assert!(sum(&[&second, &third]) >= 320);
}

/// KA7: a conversation over UDP keeps its place in the machine's table of connections when it is over;
/// one account filled that, and nobody on the machine talked to anybody.
#[test]
fn a05_what_all_tasks_of_an_account_begin_leaves_room_where_the_machine_tracks_connections() {
    let mut world = World::new("nameserver 10.99.0.2\n");
    // Where there is room, one account begins as much as it likes.
    if !world.table(0, 8192) {
        return;
    }
    let w = world.world();
    world.python(&w, HEAR, "");
    let talk = r#"
def talk(patience=2):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(patience); s.connect(("10.99.0.2", 7002)); s.send(b"x"); return s.recv(10) == b"x"
def talks(most):
    done = 0
    try:
        while done < most and talk(): done += 1
    except OSError as e: pass
    return done
"#;
    let first = world.start(&of("greedy", &format!("{talk}print(talks(600))")), 0);
    first.wait();
    assert_eq!(sum(&[&first]), 600);
    // An eighth is taken: an account may begin 256 in a minute.
    world.fill_table(1024);
    let greedy = format!("{talk}print(talks(400), 'begun', flush=True); time.sleep(1000)");
    let tasks = [(); 3].map(|()| world.start_beside(&first, &of("another", &greedy)));
    for task in &tasks {
        task.wait_for("begun");
    }
    let begun = sum(&tasks.each_ref());
    // A task's kernel may take a port again, which then is no other conversation.
    assert!((200..=280).contains(&begun), "{begun}");
    let ask = |program: &str| {
        let task = world.start_beside(&first, &of("honest", &format!("{talk}{program}")));
        task.wait();
        task.outcome().stdout
    };
    assert_eq!(ask("print(talks(100), echo('10.99.0.2'))"), "100 ok\n", "others have theirs");
    world.fill_table(4096);
    let few = world
        .start_beside(&first, &of("half", &format!("{talk}print(talks(3), echo('10.99.0.2'), talks(100))")));
    few.wait();
    let few = few.outcome().stdout;
    assert!(few.starts_with("3 ok 1") && few.len() == 8, "hardly anything, but something: {few}");
    world.fill_table(6144);
    let nothing = "def connects():\n    with socket.create_connection(('10.99.0.2', 7000), 2): return 'ok'\n\
                   print(talks(1), attempt(connects))";
    assert_eq!(ask(nothing), "0 TimeoutError None\n");
    // Who asks again is heard when there is room.
    let program = format!("{talk}print('asks', flush=True); print(echo('10.99.0.2'))");
    let patient = world.start_beside(&first, &of("honest", &program));
    patient.wait_for("asks");
    world.fill_table(0);
    patient.wait();
    assert_eq!(patient.outcome().stdout, "asks\nok\n");
}
