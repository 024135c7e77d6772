//! The contract in `agent::launcher`, line by line, for each launcher.

use std::fs;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use agent::environment::{Prepared, Python as Interpreter};
use agent::launcher::sandbox::Sandbox;
use agent::launcher::{
    CONTEXT_FILE, Fault, Found, Kill, LOG_FILE, LaunchError, Launcher, NEVER_BEGAN, Order, Process, Python,
    Run,
};
use api::agent::Start;
use domain::config::BindMount;
use domain::log::Source;
use domain::task::{self, Exit, Limit};
use tokio_util::sync::CancellationToken;

use crate::support::{Plain, TestAgent, output, shell, soon};

/// Which launcher.
#[derive(Clone, Copy, Debug)]
enum Which {
    Sandbox,
    Plain,
}

/// A place for runs, and its launchers, one after the other as agents come and go.
struct World {
    which: Which,
    agent: TestAgent,
    launcher: Arc<dyn Launcher>,
}

impl World {
    async fn new(which: Which) -> Self {
        let mut agent = TestAgent::new("http://127.0.0.1:1", None);
        agent.options.kill_grace = Duration::from_secs(20);
        let launcher = Self::launcher(which, &agent).await;
        Self { which, agent, launcher }
    }

    async fn launcher(which: Which, agent: &TestAgent) -> Arc<dyn Launcher> {
        // The directory is the agent's, whatever starts its tasks.
        let sandbox = Sandbox::of(&agent.options).await.expect("a directory");
        match which {
            Which::Sandbox => Arc::new(sandbox),
            Which::Plain => Arc::new(Plain { grace: agent.options.kill_grace }),
        }
    }

    /// Another process takes over, with nothing but what is on the disk.
    async fn take_over(&mut self) {
        self.launcher = Self::launcher(self.which, &self.agent).await;
    }

    fn run(&self, start: &Start) -> Run {
        Run::new(&self.agent.options.data_dir.join("tasks"), start.allocation)
    }

    async fn prepare(&self, run: &Run, start: &Start, python: Python<'_>) -> Result<(), LaunchError> {
        self.launcher.check(start)?;
        let order = Order { start, master: "m", python };
        soon("the preparation", self.launcher.prepare(run, order, &CancellationToken::new())).await
    }

    /// Prepared and started.
    async fn begun(&self, line: &str) -> Run {
        let start = shell(line);
        let run = self.run(&start);
        self.prepare(&run, &start, Python::None).await.expect("prepared");
        soon("the start", self.launcher.start(&run)).await.expect("started");
        run
    }

    async fn found(&self, run: &Run) -> Found {
        soon("what became of it", self.launcher.adopt(run)).await.expect("readable")
    }

    async fn live(&self, run: &Run) -> Box<dyn Process> {
        match self.found(run).await {
            Found::Live(process) => process,
            other => panic!("{other:?}"),
        }
    }

    /// Waits for its end.
    async fn exit(&self, run: &Run) -> Exit {
        if let Found::Live(process) = self.found(run).await {
            soon("the end", process.ended()).await;
        }
        match self.found(run).await {
            Found::Ended { exit, began: true } => exit,
            other => panic!("{other:?}"),
        }
    }

    fn printed(&self, run: &Run, source: Source) -> String {
        output(&fs::read(run.dir.join(LOG_FILE)).unwrap_or_default(), source)
    }

    /// Waits until it printed a text.
    async fn says(&self, run: &Run, text: &str) {
        let wait = async {
            while !self.printed(run, Source::Stdout).contains(text) {
                tokio::task::yield_now().await;
            }
        };
        soon(text, wait).await;
    }
}

macro_rules! contract {
    ($($name:ident)*) => {
        mod sandbox {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::World::new(super::Which::Sandbox).await).await;
            })*
        }
        mod plain {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::World::new(super::Which::Plain).await).await;
            })*
        }
    };
}

contract! {
    a_run_is_prepared_started_and_ends
    repeating_changes_nothing
    a_run_outlives_who_started_it
    who_is_asked_to_end_has_time_for_it
    who_is_ended_now_has_none
    what_others_need_room_for_says_so
    whose_supervisor_is_gone_is_gone
    what_is_concluded_never_begins
    what_waits_is_completed
    a_context_directory_is_there_first
    what_is_held_is_counted
    what_is_forgotten_is_gone
    whose_fault_it_is_is_told_by_the_type
}

async fn a_run_is_prepared_started_and_ends(world: World) {
    let start = shell("echo out; echo err >&2; exit 3");
    let run = world.run(&start);
    world.prepare(&run, &start, Python::None).await.expect("prepared");
    assert!(matches!(world.found(&run).await, Found::Unstarted { incomplete: false }));
    world.launcher.start(&run).await.expect("started");
    let exit = world.exit(&run).await;
    assert_eq!((exit.code, exit.signal, exit.killed, exit.failure), (3, None, false, None));
    assert_eq!(world.printed(&run, Source::Stdout), "out\n");
    assert_eq!(world.printed(&run, Source::Stderr), "err\n");
}

async fn repeating_changes_nothing(world: World) {
    let start = shell("echo once; sleep 1000");
    let run = world.run(&start);
    for _ in 0..2 {
        world.prepare(&run, &start, Python::None).await.expect("prepared");
    }
    for _ in 0..2 {
        world.launcher.start(&run).await.expect("started");
    }
    world.says(&run, "once\n").await;
    for _ in 0..2 {
        world.launcher.kill(&run, Kill::Now).await.expect("asked");
    }
    assert!(world.exit(&run).await.killed);
    world.launcher.start(&run).await.expect("nothing to do");
    world.launcher.kill(&run, Kill::Now).await.expect("nothing to do");
    assert!(world.exit(&run).await.killed);
    assert_eq!(world.printed(&run, Source::Stdout), "once\n");
}

async fn a_run_outlives_who_started_it(mut world: World) {
    let run = world.begun("echo first; while [ ! -e go ]; do sleep 0.05; done; echo second").await;
    world.says(&run, "first\n").await;
    world.take_over().await;
    let process = world.live(&run).await;
    world.launcher.start(&run).await.expect("it runs");
    process.kill(Kill::WithGrace).expect("asked");
    let exit = world.exit(&run).await;
    assert_eq!((exit.signal, exit.killed), (Some(15), true));
    world.take_over().await;
    assert_eq!(world.exit(&run).await, exit, "the same to everybody");
    assert_eq!(world.printed(&run, Source::Stdout), "first\n");
}

async fn who_is_asked_to_end_has_time_for_it(world: World) {
    let run = world.begun("trap 'echo saved; exit 4' TERM; echo up; while :; do sleep 0.05; done").await;
    world.says(&run, "up\n").await;
    assert!(world.launcher.grace() == Duration::from_secs(20));
    world.live(&run).await.kill(Kill::WithGrace).expect("asked");
    let exit = world.exit(&run).await;
    assert_eq!((exit.code, exit.killed), (4, true));
    assert_eq!(world.printed(&run, Source::Stdout), "up\nsaved\n");
}

async fn who_is_ended_now_has_none(world: World) {
    let run = world.begun("trap '' TERM; echo up; while :; do sleep 0.05; done").await;
    world.says(&run, "up\n").await;
    let process = world.live(&run).await;
    process.kill(Kill::WithGrace).expect("asked");
    process.kill(Kill::Now).expect("asked");
    let exit = world.exit(&run).await;
    assert_eq!((exit.code, exit.signal, exit.killed), (137, Some(9), true));
}

async fn what_others_need_room_for_says_so(world: World) {
    let run = world.begun("echo up; sleep 1000").await;
    world.says(&run, "up\n").await;
    world.launcher.kill(&run, Kill::ForRoom).await.expect("asked");
    let exit = world.exit(&run).await;
    assert_eq!((exit.limit, exit.fault), (Some(Limit::Scratch), Some(task::Fault::Disk)));
}

async fn whose_supervisor_is_gone_is_gone(mut world: World) {
    let run = world.begun("echo up; sleep 1").await;
    world.says(&run, "up\n").await;
    let process = world.live(&run).await;
    process.kill(Kill::Destroy).expect("asked");
    soon("the end", process.ended()).await;
    // The task's own processes may hold what tells of it for a moment.
    let gone = async {
        while !matches!(world.found(&run).await, Found::Gone) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon("nobody", gone).await;
    let exit = Exit { code: 137, signal: Some(9), fault: Some(task::Fault::Lost), ..Exit::default() };
    world.launcher.conclude(&run, &exit).expect("noted");
    world.take_over().await;
    assert_eq!(world.exit(&run).await, exit);
}

async fn what_is_concluded_never_begins(mut world: World) {
    let start = shell("echo ran");
    let (run, other) = (world.run(&start), world.run(&shell("true")));
    world.prepare(&run, &start, Python::None).await.expect("prepared");
    let exit = Exit {
        code: NEVER_BEGAN,
        failure: Some("no space".into()),
        fault: Some(task::Fault::Launch),
        ..Exit::default()
    };
    // The other one has no directory.
    for run in [&run, &other] {
        world.launcher.conclude(run, &exit).expect("noted");
        world.launcher.empty(run).expect("nothing is there");
        world.take_over().await;
        world.launcher.start(run).await.expect("nothing to do");
        match world.found(run).await {
            Found::Ended { exit: found, began } => assert_eq!((found, began), (exit.clone(), false)),
            found => panic!("{found:?}"),
        }
        assert_eq!(world.printed(run, Source::Stdout), "");
    }
}

async fn what_waits_is_completed(mut world: World) {
    let start = shell("echo it is ${VIRTUAL_ENV+there}");
    let run = world.run(&start);
    world.prepare(&run, &start, Python::Later).await.expect("prepared");
    world.take_over().await;
    assert!(matches!(world.found(&run).await, Found::Unstarted { incomplete: true }));
    let python =
        Interpreter { base: "/usr/bin/python3".into(), version: "3.11".into(), ..Interpreter::default() };
    world.launcher.complete(&run, &Prepared::named(python)).await.expect("completed");
    assert!(matches!(world.found(&run).await, Found::Unstarted { incomplete: false }));
    world.launcher.start(&run).await.expect("started");
    let exit = world.exit(&run).await;
    assert_eq!(exit.code, 0, "{exit:?}");
    assert_eq!(world.printed(&run, Source::Stdout), "it is there\n");
}

async fn a_context_directory_is_there_first(world: World) {
    let start = Start { has_context: true, ..shell("cat data.txt") };
    let run = world.run(&start);
    world.prepare(&run, &start, Python::None).await.expect("prepared");
    let mut archive =
        tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    let mut header = tar::Header::new_gnu();
    header.set_size(6);
    header.set_mode(0o644);
    archive.append_data(&mut header, "data.txt", b"packed".as_slice()).expect("packed");
    let packed = archive.into_inner().and_then(flate2::write::GzEncoder::finish).expect("packed");
    fs::File::create(run.dir.join(CONTEXT_FILE))
        .and_then(|mut file| file.write_all(&packed))
        .expect("written");
    world.launcher.start(&run).await.expect("started");
    assert_eq!(world.exit(&run).await.code, 0);
    assert_eq!(world.printed(&run, Source::Stdout), "packed");
}

async fn what_is_held_is_counted(world: World) {
    let run = world.begun("head -c 3000000 /dev/zero > big; echo written; sleep 1000").await;
    world.says(&run, "written\n").await;
    let holding = world.launcher.holding(&run).expect("counted");
    assert!(!holding.over && holding.bytes >= 3_000_000 && holding.files >= 1, "{holding:?}");
    world.launcher.kill(&run, Kill::Now).await.expect("asked");
    assert!(world.exit(&run).await.killed);
    assert!(world.launcher.holding(&run).expect("counted").over);
    world.launcher.empty(&run).expect("emptied");
    assert!(world.launcher.holding(&run).expect("counted").bytes < 3_000_000);
    let nobody = world.run(&shell("true"));
    assert!(world.launcher.holding(&nobody).is_err());
}

async fn what_is_forgotten_is_gone(world: World) {
    let (one, two) = (world.begun("echo one").await, world.begun("echo two").await);
    for run in [&one, &two] {
        assert_eq!(world.exit(run).await.code, 0);
    }
    let to = world.agent.scratch().join("kept");
    world.launcher.put_away(&two.dir, &to).expect("moved");
    assert!(!two.dir.exists());
    assert_eq!(output(&fs::read(to.join(LOG_FILE)).expect("kept"), Source::Stdout), "two\n");
    for dir in [&one.dir, &one.dir, &to] {
        world.launcher.forget(dir).expect("removed, or not there");
        assert!(!dir.exists());
    }
}

async fn whose_fault_it_is_is_told_by_the_type(world: World) {
    let mount = BindMount {
        host_path: "/tmp".into(),
        container_path: "/x".into(),
        read_only: true,
        propagation: "sideways".into(),
    };
    let start = Start { bind_mounts: vec![mount], ..shell("true") };
    let refused = world.launcher.check(&start).expect_err("nobody can");
    assert_eq!(refused.fault(), Fault::Task, "{refused}");
    let refused = world.prepare(&world.run(&start), &start, Python::None).await.expect_err("nobody can");
    assert_eq!(refused.fault(), Fault::Task, "{refused}");
    let start = shell("true");
    let nowhere = Run::new(&world.agent.scratch().join("nowhere"), start.allocation);
    let refused = world.prepare(&nowhere, &start, Python::None).await.expect_err("no directory");
    assert_eq!(refused.fault(), Fault::Machine, "{refused}");
}
