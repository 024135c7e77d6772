//! Back-ups of a running installation's database with SQLite's own means. (L05)

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use crate::support::{Muster, eventually, run};

/// Looks at the database and copies it, over and over; each copy is whole.
const BACK_UP: &str = "
import sqlite3, sys
for number in range(5):
    db = sqlite3.connect(f'file:{sys.argv[1]}?mode=ro', uri=True, timeout=60)
    db.execute('select count(*) from audit').fetchone()
    db.close()
    db, copy = sqlite3.connect(sys.argv[1], timeout=60), sqlite3.connect(f'{sys.argv[1]}.{number}')
    db.backup(copy)
    assert copy.execute('pragma integrity_check').fetchone() == ('ok',)
    copy.close()
    db.close()
print('whole')
";

/// Whether a process has a lock on a file, as the kernel lists them.
fn has_lock(process: u32, file: &Path) -> bool {
    let inode = format!(":{}", std::fs::metadata(file).expect("there").ino());
    let process = process.to_string();
    let locks = std::fs::read_to_string("/proc/locks").expect("read");
    locks.lines().any(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        words.contains(&process.as_str()) && words.iter().any(|word| word.ends_with(&inode))
    })
}

#[test]
fn l05_a_back_up_beside_a_running_master_leaves_it_at_work() {
    let muster = Muster::up();
    let me = muster.person("me");
    me.muster("command run true").exits(0);
    let file = |ending: &str| muster.data_dir().join(format!("muster.db{ending}"));
    // Its room was set aside: by who might have closed what it opened.
    eventually("the journal's reserve", || {
        std::fs::metadata(file("-wal")).is_ok_and(|journal| journal.blocks() * 512 >= 16 << 20).then_some(())
    });
    let master = u32::try_from(muster.server().pid().as_raw()).expect("a process");
    assert!(has_lock(master, &file("-shm")), "nothing in the master takes SQLite its locks");
    let back_up = std::thread::spawn({
        let database = file("");
        move || {
            let mut python = Command::new(testkit::env::python());
            run(python.args(["-c", BACK_UP]).arg(database), "").ok()
        }
    });
    while !back_up.is_finished() {
        me.muster("command run true").exits(0);
    }
    assert_eq!(back_up.join().expect("ended"), "whole");
    me.muster("command run true").exits(0);
    assert!(has_lock(master, &file("-shm")));
}
