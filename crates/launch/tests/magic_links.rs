//! No path of a configuration leads out of the task's root (A1): not through what `/proc` shows of the launcher's own
//! processes.

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::process::Command;

use launch::TaskSpec;
use support::{Task, TestDir, bind, own_script, root_script, run, script};

/// Links of `/proc` that lead to what a process of the launcher's has.
fn magic() -> Vec<String> {
    let mut links: Vec<String> = ["root", "cwd", "exe", "task/2/root", "task/2/cwd"]
        .iter()
        .flat_map(|name| ["self", "1", "2"].map(|process| format!("/proc/{process}/{name}")))
        .chain(["/proc/thread-self/root", "/proc/thread-self/cwd", "/dev/stdin"].map(str::to_owned))
        .collect();
    links.extend((0..24).map(|fd| format!("/proc/self/fd/{fd}")));
    let few = [0, 3, 5, 7, 8, 9, 11, 12, 13];
    let others = ["/dev/fd", "/proc/1/fd", "/proc/thread-self/fd"];
    links.extend(others.iter().flat_map(|dir| few.map(|fd| format!("{dir}/{fd}"))));
    links
}

/// Nothing of it runs, and it says why.
fn refused(spec: &TaskSpec, uid: u32, codes: &[i32]) {
    let done = Task::create_for(spec, uid).run();
    assert_eq!(done.stdout, "", "{:?} in {:?}: {done:?}", spec.argv, spec.work_dir);
    assert!(codes.contains(&done.exit.code), "{:?} in {:?}: {done:?}", spec.argv, spec.work_dir);
}

#[test]
fn a01_no_work_dir_leads_to_the_machine() {
    for link in magic() {
        // Root in the task is the one whom files of the machine's would hold back least.
        refused(&TaskSpec { work_dir: Some(link), ..root_script("pwd; ls -a") }, 0, &[125]);
    }
    let done = run(&TaskSpec { work_dir: Some("/proc/self/root/tmp".into()), ..script("pwd") });
    assert!(done.exit.failure.as_ref().is_some_and(|f| f.contains("link of /proc")), "{done:?}");
    for link in ["/proc/self/fd/7", "/proc/self/cwd", "/dev/fd/9"] {
        refused(&TaskSpec { work_dir: Some(link.into()), ..own_script("pwd; ls -a") }, 5001, &[125]);
    }
}

#[test]
fn a01_no_command_leads_to_the_machine() {
    for link in magic() {
        for command in [link.clone(), format!("{link}/../../bin/echo")] {
            refused(&TaskSpec { argv: vec![command, "ran".into()], ..root_script("") }, 0, &[126, 127]);
        }
    }
    let path = |path: &str| vec![("PATH".to_owned(), path.to_owned())];
    let spec = TaskSpec { argv: vec!["echo".into(), "ran".into()], ..root_script("") };
    for dir in ["/proc/self/root/bin", "/proc/self/fd/12/../../../../bin", "/proc/1/root/bin"] {
        refused(&TaskSpec { env: path(dir), ..spec.clone() }, 0, &[126, 127]);
    }
    assert_eq!(run(&TaskSpec { env: path("/none::/bin"), ..spec }).stdout, "ran\n");
}

#[test]
fn a01_no_link_of_the_users_own_leads_to_the_machine() {
    let dir = TestDir::new();
    let mine = dir.dir("mine", 0o777, 5001);
    symlink("inside", mine.join("plain")).unwrap();
    fs::create_dir(mine.join("inside")).unwrap();
    symlink("/bin/echo", mine.join("echo")).unwrap();
    let with = |spec: TaskSpec| TaskSpec { bind_mounts: vec![bind(&mine, "/mnt")], ..spec };
    for (i, to) in ["/proc/self/fd/12", "/proc/self/root", "/proc/self/exe", "/dev/fd/8", "/proc/1/cwd"]
        .iter()
        .enumerate()
    {
        let link = format!("l{i}");
        symlink(to, mine.join(&link)).unwrap();
        for work_dir in [format!("/mnt/{link}"), format!("/mnt/{link}/.."), format!("/mnt/{link}/../..")] {
            refused(&with(TaskSpec { work_dir: Some(work_dir), ..script("pwd") }), 0, &[125]);
        }
        for command in [format!("./{link}"), format!("./{link}/bin/echo")] {
            let spec =
                TaskSpec { argv: vec![command, "ran".into()], work_dir: Some("/mnt".into()), ..script("") };
            refused(&with(spec), 0, &[126, 127]);
        }
    }
    // Links are no harm.
    let spec = TaskSpec { argv: vec!["../echo".into(), "ran".into()], ..script("") };
    let done = run(&with(TaskSpec { work_dir: Some("/mnt/plain".into()), ..spec }));
    assert_eq!(done.stdout, "ran\n", "{done:?}");
}

#[test]
fn a01_no_bind_mount_comes_from_or_goes_to_the_machine() {
    let dir = TestDir::new();
    let mine = dir.dir("mine", 0o777, 5001);
    let mut sources: Vec<_> = magic().into_iter().filter(|link| !link.starts_with("/dev")).collect();
    symlink("/proc/self/fd/12", mine.join("l")).unwrap();
    symlink("/proc/self/root", mine.join("r")).unwrap();
    sources.extend(["l", "r", "r/tmp", "l/.."].map(|name| mine.join(name).display().to_string()));
    for source in sources {
        let binds = vec![bind(source.as_ref(), "/mnt/x")];
        refused(&TaskSpec { bind_mounts: binds, ..script("ls -a /mnt/x") }, 0, &[125]);
    }
    for target in ["/proc/self/fd/12/x", "/dev/fd/12", "/mnt/l/x", "/mnt/r/x", "/mnt/r"] {
        let binds = vec![bind(&mine, "/mnt"), bind(&mine, target)];
        refused(&TaskSpec { bind_mounts: binds, ..script("ls -a /") }, 0, &[125]);
    }
}

#[test]
fn a01_nothing_of_the_launcher_is_open_when_the_interpreter_is_looked_up() {
    let dir = TestDir::new();
    let mine = dir.dir("mine", 0o777, 5001);
    for fd in 3..32 {
        fs::write(mine.join(format!("s{fd}")), format!("#!/proc/self/fd/{fd}/../../../../bin/echo\n"))
            .unwrap();
        fs::set_permissions(mine.join(format!("s{fd}")), fs::Permissions::from_mode(0o755)).unwrap();
        let argv = vec![format!("/mnt/s{fd}")];
        let spec = TaskSpec { argv, bind_mounts: vec![bind(&mine, "/mnt")], ..root_script("") };
        refused(&spec, 0, &[126, 127]);
    }
}

/// Whoever comes by the launcher's own program all the same, such as by `#!/proc/self/exe`, can't change it.
#[test]
fn a01_the_launchers_program_is_read_only_in_its_processes() {
    for (spec, uid) in [(script as fn(&str) -> TaskSpec, 0), (own_script, 5001)] {
        let task = Task::create_for(&spec("echo ready; exec sleep 1000"), uid);
        // As a user builds it for himself.
        let program = task.dir.0.join("launch-test");
        fs::copy(env!("CARGO_BIN_EXE_launch-test-shim"), &program).unwrap();
        chown(&program, Some(5001), Some(5001)).unwrap();
        let started = Command::new(&program).uid(uid).gid(uid).arg(&task.task_dir).status().unwrap();
        assert!(started.success());
        task.wait_for("ready");
        let pid = fs::read_to_string(task.task_dir.join("shim.pid")).unwrap();
        let pid = pid.split_ascii_whitespace().next().unwrap().to_owned();
        let exe = format!("/proc/{pid}/exe");
        let mode = fs::metadata(&exe).unwrap().permissions();
        let error = fs::set_permissions(&exe, mode).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem, "{uid}: {error}");
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
        assert_eq!(name.trim(), "launch-test");
    }
}
