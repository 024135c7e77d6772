//! The main job from the first command to the last, in the order in which a new team would do it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::{Database, Muster, Person, Setup, mode, run};

#[test]
fn a_team_begins_on_sqlite() {
    a_team_begins(Database::Sqlite);
}

#[test]
fn a_team_begins_on_postgres() {
    a_team_begins(Database::Postgres);
}

fn a_team_begins(database: Database) {
    let muster = Setup::default().on(database).up();
    let me = muster.person("me");
    assert_eq!(me.muster("user whoami").ok(), "determined");

    me.muster("-u admin user create alice").exits(0);
    let link = "user link-with-agent-user alice --agent-uid 5001 --agent-user alice --agent-gid 5001 --agent-group lab";
    me.muster(&format!("-u admin {link}")).exits(0);
    me.muster("user login alice").exits(0);
    assert_eq!(me.muster("user whoami").ok(), "alice");
    assert_eq!(me.muster("command run id").ok(), "uid=5001(alice) gid=5001(lab) groups=5001(lab)");

    trains_on_data_of_the_machine(&muster, &me);

    let counting = "echo started; while :; do sleep 1000; done";
    let id = me.detach("", counting);
    let own = me.muster("command list").ok();
    assert_eq!(own.lines().skip(2).filter(|row| row.contains("| alice ")).count(), 3, "{own}");
    assert_eq!(muster.person("other").muster("command list -q").ok(), "", "the default user has none");
    assert_eq!(muster.person("other").muster("command list -a -q").ok().lines().count(), 3);
    me.start(&format!("command logs -f {id}")).stdout.wait_for("started");
    me.muster(&format!("command kill {id}")).exits(0);
    let described = me.wait_for_state(&id, "TERMINATED");
    assert_eq!(described["runsAs"], "alice:5001:lab:5001");
    let config = me.muster(&format!("command config {id}")).ok();
    assert!(config.contains("entrypoint:") && config.contains(counting), "{config}");

    let id = me.detach("", counting);
    let following = me.start(&format!("command logs -f {id}"));
    following.stdout.wait_for("started");
    me.muster("-u admin user deactivate alice").exits(0);
    assert!(following.ends_within(Duration::from_secs(5)), "the stream of a deactivated user stays open");
    following.finish().says("your session has ended");
    me.muster("command list").exits(5).says("user is not active");
    let all = me.muster("-u admin command list -a").ok();
    assert_eq!(all.lines().skip(2).filter(|row| row.contains("| alice ")).count(), 4, "{all}");

    let other = muster.person("other");
    let whoami = other.det_args(["-m", &muster.url, "user", "whoami"], "").ok();
    assert_eq!(whoami, "You are logged in as user 'determined'");
    let ran = other.det_args(["-m", &muster.url, "cmd", "run", "id"], "").ok();
    assert!(ran.contains("uid=0(root) gid=0(root) groups=0(root)"), "{ran}");
}

/// Real work: code that is sent along, data of the machine, a model beside it that belongs to the Unix user (D3).
fn trains_on_data_of_the_machine(muster: &Muster, alice: &Person) {
    let train = alice.home.join("train");
    fs::create_dir(&train).expect("a directory");
    fs::write(train.join("train.py"), TRAIN).expect("written");
    fs::write(train.join("notes.txt"), "not for the machine").expect("written");
    fs::write(train.join(".detignore"), "notes.txt\n").expect("written");
    let data = muster.dir.path().join("machine-data");
    fs::create_dir(&data).expect("a directory");
    fs::write(data.join("digits.csv"), digits()).expect("written");
    mode(&data.join("digits.csv"), 0o600, 5001);
    mode(&data, 0o700, 5001);

    let python = testkit::env::python();
    let path = format!("PATH={}:/usr/bin:/bin", python.parent().expect("a folder").display());
    let run = format!(
        "command run --context train/ --volume {}:/data:rw --config environment.environment_variables=[{path}] \
         python3 train.py /data/digits.csv",
        data.display()
    );
    let said = alice.muster(&run).ok();
    let accuracy = said.lines().last().and_then(|line| line.strip_prefix("accuracy ")).expect("a result");
    assert!(accuracy.parse::<f64>().expect("a number") > 0.85, "{said}");
    assert_eq!(said.lines().filter(|line| line.starts_with("epoch ")).count(), 5, "{said}");
    assert!(said.contains("beside me: train.py\n"), "the context holds what it should: {said}");
    assert_owned(&data.join("model.json"), 5001);
}

#[track_caller]
fn assert_owned(file: &Path, id: u32) {
    let meta = fs::metadata(file).expect("written by the task");
    assert_eq!((meta.uid(), meta.gid()), (id, id));
}

/// scikit-learn's own data set, as a file.
fn digits() -> Vec<u8> {
    let script = "import sys, numpy\nfrom sklearn.datasets import load_digits\nd = load_digits()\n\
                  numpy.savetxt(sys.stdout, numpy.c_[d.data, d.target], '%d', ',')";
    let output = run(Command::new(testkit::env::python()).args(["-c", script]), "").exits(0);
    assert_eq!(output.stdout.iter().filter(|&&byte| byte == b'\n').count(), 1797);
    output.stdout
}

const TRAIN: &str = r#"
import json, os, sys
import numpy
from sklearn.linear_model import SGDClassifier

print("beside me:", *sorted(name for name in os.listdir(".") if not name.startswith(".")))
rows = numpy.loadtxt(sys.argv[1], delimiter=",")
x, y = rows[:, :-1] / 16, rows[:, -1]
model = SGDClassifier(random_state=0)
for epoch in range(5):
    model.partial_fit(x[:1400], y[:1400], classes=numpy.unique(y))
    print(f"epoch {epoch}: {model.score(x[:1400], y[:1400]):.3f}", flush=True)
with open("/data/model.json", "w") as file:
    json.dump(model.coef_.tolist(), file)
print(f"accuracy {model.score(x[1400:], y[1400:]):.3f}")
"#;
