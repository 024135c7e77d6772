//! The Python of tasks: made once, by nobody, however many want it; the task's own on top. With a lock file of one small
//! package, which comes from the index that this machine's pip knows.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::LazyLock;

use agent::environment::{Choice, Settings};
use api::agent::{Start, ToAgent};
use domain::log::Source;

use crate::support::{FakeMaster, TestAgent, output, shell};

/// What the agent's own lock file says of the package, which has a program of its name.
static REQUIREMENTS: LazyLock<String> = LazyLock::new(|| {
    let lock = include_str!("../../src/environment/requirements.lock");
    // A machine that has uv makes environments without pip of its own.
    ["tabulate==", "pip=="]
        .map(|name| {
            let from = lock.find(&format!("\n{name}")).expect("in the lock file") + 1;
            let lines: Vec<&str> = lock[from..].lines().collect();
            let last = lines.iter().position(|line| !line.ends_with('\\')).expect("an end");
            lines[..=last].join("\n") + "\n"
        })
        .concat()
});

/// A place that tasks can see: a build below somebody's closed home is none.
fn place() -> &'static Path {
    let built = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let is_open = |dir: &Path| fs::metadata(dir).is_ok_and(|dir| dir.permissions().mode() & 0o001 != 0);
    if built.ancestors().all(is_open) { built } else { Path::new("/var/lib") }
}

/// A directory that every task can see, with an agent that makes its environment there.
struct World {
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        let temp = tempfile::Builder::new().prefix("environment-").permissions(open).tempdir_in(place());
        Self { dir: temp.expect("temp dir") }
    }

    fn settings(&self) -> Settings {
        Settings {
            choice: Choice::Managed,
            dir: Some(self.dir.path().join("environments")),
            requirements: REQUIREMENTS.clone().into(),
            ..Settings::default()
        }
    }

    async fn agent(&self, master: &FakeMaster, settings: Settings) -> TestAgent {
        let mut agent = TestAgent::new(&master.url(), Some(master.invitation()));
        agent.options.environment = settings;
        agent.start();
        agent.wait_registered().await;
        agent
    }
}

fn said(master: &FakeMaster, start: &Start, source: Source) -> String {
    master.look(|seen| output(seen.log_of(start.allocation), source))
}

async fn done(master: &FakeMaster, start: &Start) -> String {
    let exit = master.exit(start.allocation).await;
    let of = |source| said(master, start, source);
    assert_eq!(
        (exit.code, &exit.failure),
        (0, &None),
        "{}{}{}",
        of(Source::Agent),
        of(Source::Stderr),
        of(Source::Stdout)
    );
    of(Source::Stdout)
}

/// A task with what it prints.
async fn run(master: &FakeMaster, line: &str) -> String {
    let start = shell(line);
    master.send_start(&start);
    done(master, &start).await
}

/// One build serves all that follows: it is what takes long.
#[tokio::test]
async fn b21_a_tasks_python_is_made_when_it_is_needed_and_what_is_installed_is_its_own() {
    let (world, master) = (World::new(), FakeMaster::start().await);
    let mut agent = world.agent(&master, world.settings()).await;
    let environments = world.dir.path().join("environments");
    let made = |entry: &std::fs::DirEntry| entry.file_name() != "lock";
    let names = || std::fs::read_dir(&environments).into_iter().flatten().flatten().filter(made).count();

    // Who needs none doesn't wait, and has none made.
    assert_eq!(run(&master, "echo \"${VIRTUAL_ENV-none}\"").await, "none\n");
    assert_eq!(names(), 0);

    let text = "python -c 'import tabulate, sys; print(tabulate.__version__, sys.executable)'; which python pip tabulate";
    let (one, other) = (shell(text), shell("python3 -m pip --version; tabulate --help | head -n 1"));
    for start in [&one, &other] {
        master.send_start(start);
    }
    assert_eq!(run(&master, "echo at once").await, "at once\n");
    let own = "/run/determined/pythonuserbase/bin";
    let version =
        REQUIREMENTS.trim_start_matches("tabulate==").split_whitespace().next().expect("pinned").to_owned();
    assert_eq!(
        done(&master, &one).await,
        format!("{version} {own}/python\n{own}/python\n{own}/pip\n/run/python/bin/tabulate\n")
    );
    assert!(done(&master, &other).await.lines().count() == 2);
    for start in [&one, &other] {
        let told = said(&master, start, Source::Agent);
        assert!(told.starts_with("this task needs Python"), "{told}");
        assert!(
            told.contains("the Python of tasks: making it with") && told.contains(" there after "),
            "{told}"
        );
    }
    master.look(|seen| assert!(seen.started.contains(&one.allocation)));

    // Another version than the one that all have, with its program, and as the user's own besides.
    let install = "pip install -q tabulate==0.9.0 && python -c 'import tabulate; print(tabulate.__version__)'
        command -v tabulate; tabulate --help >/dev/null && echo works
        pip install -q --user termcolor && python3 -c 'import termcolor; print(termcolor.__file__)'
        pip3 uninstall -q -y tabulate && python -c 'import tabulate; print(tabulate.__version__)'";
    let user = "/run/determined/pythonuserbase/lib/python";
    let got = run(&master, install).await;
    let lines: Vec<&str> = got.lines().collect();
    assert_eq!(lines[..3], ["0.9.0", &format!("{own}/tabulate"), "works"], "{got}");
    assert!(lines[3].starts_with(user) && lines[4] == version, "{got}");

    // Nobody else has it, and what all have nobody changes, whoever they are in their task.
    let changes = "python -c 'import tabulate; print(tabulate.__version__)'; python -c 'import termcolor' 2>/dev/null || echo none
        site=$(python -c 'import tabulate; print(tabulate.__path__[0] if hasattr(tabulate, \"__path__\") else tabulate.__file__)')
        for path in /run/python /run/python/bin /run/python/bin/tabulate /run/python/pyvenv.cfg \"$site\"; do
            (touch \"$path\" || touch \"$path/x\" || echo >> \"$path\" || chmod 777 \"$path\") 2>/dev/null && echo \"$path changed\"
        done; true";
    let root = domain::identity::UnixIdentity { user: "root".into(), uid: 0, group: "root".into(), gid: 0 };
    for start in [shell(changes), Start { identity: root, ..shell(changes) }] {
        master.send_start(&start);
        assert_eq!(done(&master, &start).await, format!("{version}\nnone\n"));
    }
    check_owner(&environments);

    // Now that it is there everybody has it, but who says otherwise, and nobody waits.
    let has = "command -v tabulate || echo none";
    assert_eq!(run(&master, has).await, "/run/python/bin/tabulate\n");
    let none = Start { env: vec![("MUSTER_PYTHON".into(), "none".into())], ..shell(has) };
    master.send_start(&none);
    assert_eq!(done(&master, &none).await, "none\n");
    // The configuration's own PATH stays behind it.
    let path = Start { env: vec![("PATH".into(), "/opt/x:/usr/bin:/bin".into())], ..shell("echo $PATH") };
    master.send_start(&path);
    assert_eq!(done(&master, &path).await, format!("{own}:/run/python/bin:/opt/x:/usr/bin:/bin\n"));

    // It isn't made again, and stays while a task has it.
    let long = shell("python -c 'import time; print(1, flush=True); time.sleep(1000)'");
    master.send_start(&long);
    master
        .until("output", |seen| {
            (!output(seen.log_of(long.allocation), Source::Stdout).is_empty()).then_some(())
        })
        .await;
    let maker = agent::environment::Maker::new(&agent.options);
    agent.shut_down().await.expect("a good end");
    let removed = maker.remove().expect("usable");
    assert!(matches!(&removed[..], [(_, Err(agent::environment::NotRemoved::InUse))]), "{removed:?}");
    agent.start();
    agent.wait_registered().await;
    master.send(ToAgent::Kill { allocation: long.allocation, now: true });
    master.exit(long.allocation).await;
    let kept = maker.kept().expect("readable");
    assert_eq!((kept.len(), &kept[0].key), (1, &maker.key().expect("known")));
    let removed = maker.remove().expect("usable");
    assert!(matches!(&removed[..], [(_, Ok(()))]), "{removed:?}");
    assert!(maker.kept().expect("readable").is_empty());
}

/// Not even root of the machine made it, and nobody but the agent's own user could write to it.
fn check_owner(path: &Path) {
    use std::os::unix::fs::MetadataExt;
    let meta = std::fs::symlink_metadata(path).expect("there");
    assert_eq!(meta.uid(), rustix::process::geteuid().as_raw(), "{}", path.display());
    assert!(meta.is_symlink() || meta.mode() & 0o7022 == 0, "{}: {:o}", path.display(), meta.mode());
    if meta.is_dir() {
        std::fs::read_dir(path).expect("ours").flatten().for_each(|entry| check_owner(&entry.path()));
    }
}

/// Two agents of one machine share a directory; one of them dies while it makes the environment.
#[tokio::test]
async fn b21_agents_make_one_environment_and_a_crash_in_the_middle_leaves_none() {
    let world = World::new();
    let (first, second) = (FakeMaster::start().await, FakeMaster::start().await);
    let mut dies = world.agent(&first, world.settings()).await;
    let lives = world.agent(&second, world.settings()).await;
    let program = "python -c 'import tabulate; print(\"ran\")'";
    let one = shell(program);
    first.send_start(&one);
    let begun = |seen: &crate::support::Seen| {
        output(seen.log_of(one.allocation), Source::Agent).contains("making it with").then_some(())
    };
    first.until("the beginning", begun).await;
    let other = shell(program);
    second.send_start(&other);
    let waits = |seen: &crate::support::Seen| {
        output(seen.log_of(other.allocation), Source::Agent).contains("another process").then_some(())
    };
    second.until("its turn", waits).await;
    dies.crash().await;
    assert_eq!(done(&second, &other).await, "ran\n");
    // The first one's task is taken up where it was, and has what the other agent has made.
    dies.start();
    dies.wait_registered().await;
    assert_eq!(done(&first, &one).await, "ran\n");
    first.look(|seen| assert_eq!(seen.exits_of(one.allocation), 1));
    let maker = agent::environment::Maker::new(&lives.options);
    assert_eq!(maker.kept().expect("readable").len(), 1);
    let left: Vec<_> = std::fs::read_dir(maker.dir())
        .expect("there")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with(".new-"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn b21_who_waits_can_be_killed_and_what_fails_says_what_to_do() {
    let (world, master) = (World::new(), FakeMaster::start().await);
    let program = |name: &str, text: &str| {
        let path = world.dir.path().join(name);
        std::fs::write(&path, text).expect("written");
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("ours");
        path
    };
    // Debian's without its package for virtual environments.
    let bare = program(
        "bare-python3",
        "#!/bin/sh\nexec /usr/bin/python3 -I -c 'import sys; sys.modules[\"ensurepip\"] = None; exec(sys.argv.pop(1))' \"$3\" \"$4\" \"$5\" \"$6\"\n",
    );
    let _agent = world.agent(&master, Settings { interpreters: vec![bare], ..world.settings() }).await;
    let start = shell("python -V");
    master.send_start(&start);
    let why = master.exit(start.allocation).await.failure.expect("no Python");
    assert!(why.contains("python3-venv"), "{why}");

    let master = FakeMaster::start().await;
    let slow = program("slow-python3", "#!/bin/sh\nexec tail -f /dev/null\n");
    let mut agent = world.agent(&master, Settings { interpreters: vec![slow], ..world.settings() }).await;
    let start = shell("python -V");
    master.send_start(&start);
    let waits = |seen: &crate::support::Seen| (!seen.log_of(start.allocation).is_empty()).then_some(());
    master.until("its log", waits).await;
    master.send(ToAgent::Kill { allocation: start.allocation, now: false });
    let exit = master.exit(start.allocation).await;
    assert!(exit.killed, "{exit:?}");
    assert_eq!(run(&master, "echo others go on").await, "others go on\n");
    agent.shut_down().await.expect("a good end");

    // Another lock file than what the index has.
    let master = FakeMaster::start().await;
    let forged = |line: &str| match line.split_once("sha256:") {
        Some((before, rest)) => format!("{before}sha256:{}{}", "0".repeat(64), &rest[64..]),
        None => line.to_owned(),
    };
    let requirements = REQUIREMENTS.lines().map(forged).collect::<Vec<_>>().join("\n").into();
    let _agent = world.agent(&master, Settings { requirements, ..world.settings() }).await;
    let start = shell("python -V");
    master.send_start(&start);
    let why = master.exit(start.allocation).await.failure.expect("no Python");
    assert!(why.contains("it can't be made"), "{why}");
}

#[tokio::test]
async fn b21_a_named_prefix_takes_its_place() {
    let (world, master) = (World::new(), FakeMaster::start().await);
    let prefix = world.dir.path().join("prefix");
    let made = std::process::Command::new("/usr/bin/python3").args(["-m", "venv"]).arg(&prefix).status();
    assert!(made.expect("Python").success());
    let sites = std::fs::read_dir(prefix.join("lib")).expect("there").flatten().next().expect("one").path();
    std::fs::write(sites.join("site-packages/ours.py"), "print('of the prefix')\n").expect("written");
    let named = Settings { choice: Choice::Prefix(prefix.clone()), ..world.settings() };
    let _agent = world.agent(&master, named).await;
    let text = "python -c 'import ours'; which python pip; pip install -q termcolor && python3 -c 'import termcolor'; echo $PATH";
    let got = run(&master, text).await;
    let own = "/run/determined/pythonuserbase/bin";
    let path = format!("{own}:{}:", prefix.join("bin").display());
    let lines: Vec<&str> = got.lines().collect();
    assert_eq!(lines[..3], ["of the prefix", &format!("{own}/python"), &format!("{own}/pip")], "{got}");
    assert!(lines[3].starts_with(&path), "{got}");

    let master = FakeMaster::start().await;
    let missing = Settings { choice: Choice::Prefix("/nowhere".into()), ..world.settings() };
    let _agent = world.agent(&master, missing).await;
    let start = shell("python -V");
    master.send_start(&start);
    let why = master.exit(start.allocation).await.failure.expect("no Python");
    assert!(why.contains("agent.task_environment: /nowhere has no bin/python3"), "{why}");
}
