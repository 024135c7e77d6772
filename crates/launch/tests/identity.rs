//! Who a task is: D3, D5, D7, R37, R39.

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;

use launch::TaskSpec;
use launch::spec::Seccomp;
use support::{RANGE, ROOT, Task, TestDir, bind, identity, root_script, run, script};

#[test]
fn d03_id_says_the_linked_identity() {
    let done = run(&script("id; id -un; id -gn; echo $HOME $USER $LOGNAME $SHELL; pwd; umask"));
    assert_eq!(done.exit.code, 0, "{done:?}");
    assert_eq!(
        done.stdout,
        "uid=5001(alice) gid=5001(lab) groups=5001(lab)\nalice\nlab\n\
         /run/determined/workdir alice alice /bin/bash\n/run/determined/workdir\n0022\n"
    );
    assert_eq!(done.stderr, "");
}

#[test]
fn d03_root_sees_itself_as_root() {
    let done = run(&root_script("id; touch f; stat -c %u:%g f; touch /run/x && echo run"));
    assert_eq!(done.stdout, "uid=0(root) gid=0(root) groups=0(root)\n0:0\nrun\n", "{done:?}");
}

#[test]
fn d05_root_in_the_task_is_nobody_on_the_machine() {
    let dir = TestDir::new();
    let shared = dir.dir("shared", 0o1777, 0);
    fs::write(shared.join("secret"), "s").unwrap();
    support::mode(&shared.join("secret"), 0o600);
    let mut spec = root_script(
        "echo hi > /mnt/x/file
         cat /mnt/x/secret && echo READ
         chown 0:0 /mnt/x/secret && echo CHOWNED
         mount -t tmpfs none /mnt/x && echo MOUNTED
         umount /tmp && echo UMOUNTED
         umount /proc && echo UMOUNTED
         mount -o remount,rw /usr && echo REMOUNTED
         mknod /tmp/sda b 8 0 && echo MKNOD
         echo x > /proc/sys/kernel/core_pattern && echo SYSCTL
         echo x > /proc/sysrq-trigger && echo SYSRQ
         hostname evil && echo HOSTNAME
         cat /etc/shadow && echo SHADOW
         touch /usr/x && echo USR
         cat /proc/1/environ && echo INIT
         ls /proc/1/root/ && echo INITROOT
         nsenter -t 1 -m true && echo NSENTER
         cp /bin/sh /mnt/x/sh && chmod 4755 /mnt/x/sh
         true",
    );
    spec.bind_mounts = vec![bind(&shared, "/mnt/x")];
    let done = run(&spec);
    assert_eq!(done.exit.code, 0, "{done:?}");
    assert_eq!(done.stdout, "");
    let file = fs::metadata(shared.join("file")).unwrap();
    assert_eq!((file.uid(), file.gid()), (ROOT, RANGE));
    // A setuid file of root in the task belongs to nobody here.
    assert_eq!(fs::metadata(shared.join("sh")).unwrap().uid(), ROOT);
}

#[test]
fn d07_det_nobody_has_a_home_to_write_in() {
    let mut spec = script("id; cd && touch f && stat -c %u f");
    spec.identity = identity("det-nobody", 65_533, "det-nobody", 65_533);
    let done = run(&spec);
    assert_eq!(
        done.stdout, "uid=65533(det-nobody) gid=65533(det-nobody) groups=65533(det-nobody)\n65533\n",
        "{done:?}"
    );
}

#[test]
fn r37_ids_are_exact_or_refused() {
    let dir = TestDir::new();
    let shared = dir.dir("shared", 0o1777, 0);
    for id in [1, RANGE - 1, RANGE + launch::TASK_IDS, u32::MAX - 1] {
        let mut spec = script("id -u; id -g; touch /mnt/$(id -u)");
        spec.identity = identity("edge", id, "edge", id);
        spec.bind_mounts = vec![bind(&shared, "/mnt")];
        let done = run(&spec);
        assert_eq!(done.stdout, format!("{id}\n{id}\n"), "{done:?}");
        let file = fs::metadata(shared.join(id.to_string())).unwrap();
        assert_eq!((file.uid(), file.gid()), (id, id));
    }
    for (uid, gid) in [(u32::MAX, 1), (1, u32::MAX), (5001, 0), (RANGE, 5001), (0, u32::MAX), (1 << 31, 5001)]
    {
        let mut spec = script("echo ran");
        spec.identity = identity("edge", uid, "edge", gid);
        let done = run(&spec);
        assert_eq!((done.exit.code, done.stdout.as_str()), (125, ""), "{uid}:{gid}");
        assert!(done.exit.failure.is_some_and(|f| f.contains("link")), "{uid}:{gid}");
    }
}

#[test]
fn r37_names_cannot_write_lines_of_passwd() {
    for name in ["a:b", "a\nroot2", ""] {
        let mut spec = script("echo ran");
        spec.identity.user = name.into();
        assert_eq!(run(&spec).exit.code, 125, "{name:?}");
    }
}

#[test]
fn r39_the_status_file_shows_a_plain_user() {
    let done = run(&script(
        "grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|SigBlk|SigIgn)' /proc/self/status | tr -s '\\t ' ' '",
    ));
    let none = "0000000000000000";
    assert_eq!(
        done.stdout,
        format!(
            "Uid: 5001 5001 5001 5001\nGid: 5001 5001 5001 5001\nGroups: \nNoNewPrivs: 1\n\
             SigBlk: {none}\nSigIgn: {none}\nCapInh: {none}\nCapPrm: {none}\nCapEff: {none}\nCapBnd: {none}\nCapAmb: {none}\n"
        )
        .lines()
        .filter(|l| !l.starts_with("NoNewPrivs"))
        .chain(["NoNewPrivs: 1"])
        .map(|l| format!("{l}\n"))
        .collect::<String>(),
        "{done:?}"
    );
}

#[test]
fn r39_root_in_the_task_has_no_new_privileges_either() {
    let done = run(&root_script(
        "grep -E '^(Uid|NoNewPrivs)' /proc/self/status | tr -s '\\t ' ' '; cat /proc/self/uid_map | tr -s ' '",
    ));
    let map = format!(" 0 {ROOT} 4095\n 65534 {} 1\n", ROOT + 4095);
    assert_eq!(done.stdout, format!("Uid: 0 0 0 0\nNoNewPrivs: 1\n{map}"));
}

#[test]
fn r39_setuid_programs_do_not_give_root_back() {
    let dir = TestDir::new();
    let shared = dir.dir("shared", 0o755, 0);
    fs::copy("/usr/bin/id", shared.join("suid-id")).unwrap();
    support::mode(&shared.join("suid-id"), 0o4755);
    let mut spec = script(
        "su -c true < /dev/null && echo SU; /mnt/suid-id -u; passwd -d root && echo PASSWD
         unshare -Ur sh -c 'umount /proc; umount /tmp; mount -o remount,rw /usr' && echo UNDONE; true",
    );
    spec.bind_mounts = vec![bind(&shared, "/mnt")];
    for seccomp in [Seccomp::Default, Seccomp::Namespaces] {
        let done = run(&TaskSpec { seccomp, ..spec.clone() });
        assert_eq!((done.exit.code, done.stdout.as_str()), (0, "5001\n"), "{done:?}");
    }
}

#[test]
fn r39_nothing_of_the_launcher_is_inherited() {
    let spec = script(
        "ls /proc/self/fd | sort -n | head -4 | tr '\\n' ' '; env | sort; ulimit -c; cat /proc/self/oom_score_adj; ps -e | wc -l",
    );
    let task = Task::create(&spec);
    let done = task.run();
    let mut lines = done.stdout.lines();
    // 3 is the directory that `ls` reads.
    assert_eq!(lines.next(), Some("0 1 2 3 HOME=/run/determined/workdir"), "{done:?}");
    assert!(!done.stdout.contains("CARGO"), "{done:?}");
}
