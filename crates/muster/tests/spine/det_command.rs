//! The unmodified `det`: commands, and what it shows of the cluster.

use std::fs;

use crate::support::{Muster, Person, table};

/// What `det cmd logs` prints, without the times and the ids in front.
fn log(text: &str, id: &str) -> Vec<String> {
    let line = |line: &str| match line.split_once(" || INFO: ") {
        Some((_, text)) => text.replace(id, "ID"),
        None => line.replace(id, "ID"),
    };
    text.lines().map(line).collect()
}

/// The id that `det cmd run` tells, after its progress with files.
#[track_caller]
fn launched(text: &str) -> String {
    let rest = text.split_once("Launched command (id: ").and_then(|(_, rest)| rest.split_once(','));
    rest.unwrap_or_else(|| panic!("{text}")).0.to_owned()
}

#[track_caller]
fn detached(person: &Person, line: &str) -> String {
    let id = person.det(&format!("cmd run -d --config description=job {line}")).ok();
    assert_eq!(id.len(), 36, "the id alone: {id}");
    id
}

#[test]
fn run_follows_the_log_to_its_end() {
    let muster = Muster::up();
    let me = muster.person("me");
    let said = me.det("cmd run --config description=job id").ok();
    let id = launched(&said);
    let about = [
        "Scheduling job (id: ID.1)",
        "job was assigned to an agent",
        "Resources for job have started",
        "uid=0(root) gid=0(root) groups=0(root)",
        "resources exited successfully with a zero exit code",
        "Task log stream ended. To reopen log stream, run: det task logs -f ID",
    ];
    let lines = log(&said, &id);
    assert_eq!(lines[0], "Launched command (id: ID, name: job).");
    assert_eq!(lines[1..], about);
    for line in ["cmd logs", "task logs", "cmd logs -f"] {
        assert_eq!(log(&me.det(&format!("{line} {id}")).ok(), &id), about, "{line}");
    }
    let tail = log(&me.det(&format!("cmd logs --tail 2 {id}")).ok(), &id);
    assert_eq!(tail, about[3..]);
    let head = log(&me.det(&format!("cmd logs --head 1 {}", &id[..8])).ok(), &id);
    assert_eq!(head[0], about[0]);

    let failed = me.det_args(["cmd", "run", "exit 3"], "").ok();
    let reason = "crashed: resources failed with non-zero exit code: container failed with non-zero exit code: 3 (exit code 3)";
    assert!(log(&failed, &launched(&failed)).iter().any(|line| line == reason), "{failed}");
}

/// `warnings` of the answer are codes of Determined's, at whose others `det` fails: it has ours from the log.
#[test]
fn b21_what_has_no_effect_is_said_first_in_the_log() {
    let muster = Muster::up();
    let me = muster.person("me");
    let said = me.det_args(
        [
            "cmd",
            "run",
            "--config",
            "description=job",
            "--config",
            "environment.image=lab/env:1",
            "--config",
            "resources.weight=1",
            "--config",
            "slurm.gpu_type=a100",
            "--config",
            "resources.shm_size=1.5g",
            "df --output=size -k /dev/shm | tail -1",
        ],
        "",
    );
    let said = said.ok();
    let lines = log(&said, &launched(&said));
    let image = "environment.image has no effect: tasks run with the programs of their agent's machine, not in a container";
    assert_eq!(lines[1], format!("warning: {image}"));
    assert_eq!(lines[2], "warning: slurm has no effect: tasks don't run on Slurm");
    assert_eq!(lines[3], "Scheduling job (id: ID.1)", "{said}");
    assert!(lines.iter().any(|line| line.trim() == "1572864"), "1.5 GiB: {said}");
    me.det("cmd run --config environment.imgae=x true").exits(1).says("imgae");

    let run = me.muster("command run --config idle_timeout=30m true").exits(0);
    run.says("muster: warning: idle_timeout has no effect: ");
    let run = me.muster("command run --detach --config idle_timeout=30m true").exits(0);
    run.says("muster: warning: idle_timeout has no effect: ");
}

#[test]
fn b21_a_template_of_an_experiment_lies_under_a_command() {
    let muster = Muster::up();
    let me = muster.person("me");
    let template = "name: mnist\nsearcher: {name: single, metric: loss}\ncheckpoint_storage: {type: s3, bucket: b, access_key: a}\n\
                    resources: {slots_per_trial: 8, slots: 0}\nenvironment: {environment_variables: [LR=0.1]}\n";
    fs::write(me.home.join("t.yaml"), template).expect("written");
    me.det("template set mnist t.yaml").exits(0);
    let kept = me.det("template describe mnist").ok();
    for line in ["searcher:", "slots_per_trial: 8", "access_key: a"] {
        assert!(kept.contains(line), "no {line:?} in\n{kept}");
    }
    let said = me.det_args(["cmd", "run", "--template", "mnist", "echo lr $LR"], "").ok();
    assert!(log(&said, &launched(&said)).iter().any(|line| line == "lr 0.1"), "{said}");
    fs::write(me.home.join("t.yaml"), "searcher: {max_trials: many}\n").expect("written");
    me.det("template set mnist t.yaml").exits(1).says("searcher.max_trials");
}

#[test]
fn an_administrators_hook_runs_before_the_command_and_before_the_contexts() {
    let yaml = "task_container_defaults: {startup_hook: \"export SITE=general\"}\n\
                resource_pools: [{pool_name: default, task_container_defaults: {startup_hook: \"words=(a lab); export SITE=${words[1]}\"}}]\n";
    let muster = crate::support::Setup::default().config(yaml).up();
    let me = muster.person("me");
    let said = me.det_args(["cmd", "run", "echo at $SITE"], "").ok();
    assert!(log(&said, &launched(&said)).iter().any(|line| line == "at lab"), "{said}");
    fs::create_dir(me.home.join("code")).expect("a directory");
    fs::write(me.home.join("code/startup-hook.sh"), "export SITE=\"$SITE, mine\"\n").expect("written");
    let said = me.det_args(["cmd", "run", "-c", "code", "echo at $SITE"], "").ok();
    assert!(log(&said, &launched(&said)).iter().any(|line| line == "at lab, mine"), "{said}");
}

#[test]
fn p15_d01_lists_carry_their_authors() {
    let muster = Muster::up();
    let (me, alice) = (muster.person("me"), muster.person("alice"));
    me.muster("-u admin user create alice").exits(0);
    alice.det_with("user login alice", "\n").exits(0);
    let ended = detached(&me, "true");
    me.wait_for_state(&ended, "TERMINATED");
    let running = detached(&alice, "sleep 1000");
    alice.wait_for_state(&running, "RUNNING");

    let head = "id|username|description|state|exitStatus|resourcePool|workspaceName";
    let mine = "ID|determined|job|TERMINATED|allocation exited successfully|default|Uncategorized";
    let hers = "ID|alice|job|RUNNING||default|Uncategorized";
    assert_eq!(table(&me.det("cmd list").ok()), [head, mine]);
    assert_eq!(table(&alice.det("cmd list").ok()), [head, hers]);
    assert_eq!(table(&me.det("cmd list -a").ok()), [head, mine, hers]);
    assert_eq!(me.det("cmd list -q").ok(), ended);
    assert_eq!(table(&me.det(&format!("cmd describe {running}")).ok()), [head, hers]);
    let json: serde_json::Value = serde_json::from_str(&me.det("cmd list -a --json").ok()).expect("JSON");
    assert_eq!(json[1]["username"], "alice");
}

#[test]
fn kill_config_and_priority() {
    let muster = Muster::up();
    let me = muster.person("me");
    let id = detached(&me, "sleep 1000");
    me.wait_for_state(&id, "RUNNING");
    assert_eq!(
        me.det(&format!("cmd set priority {id} 7")).ok(),
        format!("Set priority of command {id} to 7")
    );
    let config = me.det(&format!("cmd config {id}")).ok();
    for line in ["description: job", "entrypoint:\n- sleep\n- '1000'", "  slots: 1"] {
        assert!(config.contains(line), "no {line:?} in\n{config}");
    }
    let stranger = muster.person("stranger");
    stranger.muster("-u admin user create bob").exits(0);
    stranger.det_with("-u bob user whoami", "\n").exits(0);
    stranger.det(&format!("-u bob cmd kill {id}")).exits(1).says("Forbidden");
    assert_eq!(me.det(&format!("cmd kill {}", &id[..8])).ok(), format!("Killed command {id}"));
    me.wait_for_state(&id, "TERMINATED");
    me.det("cmd kill 00000000").exits(1).says("partial UUID '00000000' not found");
    let unknown = "00000000-0000-4000-8000-000000000000";
    me.det(&format!("cmd logs {unknown}")).exits(1).says("not found");
}

#[test]
fn d06_files_volumes_and_configuration_go_along() {
    let muster = Muster::up();
    let alice = muster.linked_user("alice", 5001);
    alice.det_with("user login alice", "\n").exits(0);
    fs::create_dir_all(alice.home.join("code/lib")).expect("a directory");
    fs::write(alice.home.join("code/lib/part.txt"), "the part").expect("written");
    fs::write(alice.home.join("code/left.txt"), "left").expect("written");
    fs::write(alice.home.join("code/.detignore"), "left.txt\n").expect("written");
    fs::write(alice.home.join("more.txt"), "and more").expect("written");
    let data = muster.dir.path().join("data-of-alice");
    fs::create_dir(&data).expect("a directory");
    crate::support::mode(&data, 0o700, 5001);
    let yaml = "description: from a file\nenvironment: {environment_variables: [WHO=me]}\n";
    fs::write(alice.home.join("config.yaml"), yaml).expect("written");
    let volume = format!("{}:/data", data.display());
    let args = ["cmd", "run", "--context", "code", "--include", "more.txt", "--config-file", "config.yaml"];
    let script = "cat lib/part.txt; echo; cat more.txt; echo; ls left.txt; echo $WHO; id -u > /data/who";
    let script = ["--volume", &volume, "sh", "-c", script];
    let said = alice.det_args(args.iter().chain(&script), "").ok();
    let lines = log(&said, &launched(&said));
    for line in ["Launched command (id: ID, name: from a file).", "the part", "and more", "me"] {
        assert!(lines.iter().any(|found| found == line), "no {line:?} in {lines:#?}");
    }
    assert!(!lines.iter().any(|line| line == "left.txt"));
    assert_eq!(fs::read_to_string(data.join("who")).expect("written"), "5001\n");
}

#[test]
fn agents_slots_and_tasks() {
    let muster = Muster::up();
    let me = muster.person("me");
    let id = detached(&me, "sleep 1000");
    me.wait_for_state(&id, "RUNNING");
    let agent = me.json("agent list")[0]["id"].as_str().expect("a name").to_owned();
    assert_eq!(
        table(&me.det("agent list").ok()),
        [
            "Agent ID|Version|Registered Time|Slots|Containers|Resource Pool|Enabled|Draining|Addresses"
                .to_owned(),
            format!("{agent}|0.38.1|TIME|4|1|default|True|False|{agent}"),
        ]
    );
    let slots = table(&me.det("slot list").ok());
    let head = "Agent ID|Resource Pool|Slot ID|Enabled|Draining|Allocation ID|Task Name|Type|Device";
    assert_eq!(slots[0], head);
    let begins = |row: usize, text: &str| slots[row].starts_with(&format!("{agent}|default|{text}|cpu|"));
    assert!(begins(1, "0|True|False|ID.1|job") && begins(4, "3|True|False|FREE|FREE"), "{slots:#?}");
    assert_eq!(
        table(&me.det("task list").ok()),
        [
            "Task ID|Allocation ID|Name|Slots Needed|Registered Time|Agent|Priority|Resource Pool|Ports"
                .to_owned(),
            format!("ID|ID.1|job|1|TIME|{agent}|42|default|"),
        ]
    );
}

#[test]
fn d10_master_and_version() {
    let muster = Muster::up();
    let me = muster.person("me");
    let info = me.det("master info").ok();
    for line in ["branding: determined", "rbacEnabled: false", "version: 0.38.1"] {
        assert!(info.contains(line), "{info}");
    }
    me.det("master config").exits(1).says("Forbidden");
    let config = me.det_with("-u admin master config", "\n").ok();
    assert!(config.contains("default_user: determined\n"), "{config}");
    let version = me.det("version").ok();
    assert!(
        version.contains("client:\n  version: 0.38.1\n")
            && version.contains("  version: 0.38.1\nmaster_address")
    );
}

#[test]
fn lists_of_what_is_not_built_yet_are_empty() {
    let muster = Muster::up();
    let me = muster.person("me");
    let tasks = "id|username|description|state|exitStatus|resourcePool|workspaceName";
    let boards = "id|username|description|state|experimentIds|trialIds|exitStatus|resourcePool|workspaceName";
    let experiments = "ID|Owner|Name|Parent ID|State|Progress|Started|Ended|Resource Pool";
    for (line, head) in [
        ("notebook list -a", tasks),
        ("shell list", tasks),
        ("tensorboard list", boards),
        ("experiment list", experiments),
        ("template list", "Name|Workspace"),
    ] {
        assert_eq!(table(&me.det(line).ok()), [head], "{line}");
    }
}

#[test]
fn jobs_are_shown_in_the_order_of_the_queue() {
    let muster = Muster::up();
    let me = muster.person("me");
    let running = detached(&me, "--config resources.slots=4 sleep 1000");
    me.wait_for_state(&running, "RUNNING");
    let later = detached(&me, "true");
    let urgent = detached(&me, "--config resources.priority=1 true");
    let jobs = me.det("job list").ok();
    let rows: Vec<Vec<&str>> =
        jobs.lines().skip(2).map(|line| line.split('|').map(str::trim).collect()).collect();
    let seen: Vec<_> = rows.iter().map(|row| (row[1], row[6], row[7])).collect();
    let expected = [
        (running.as_str(), "4/4", "STATE_SCHEDULED"),
        (urgent.as_str(), "0/1", "STATE_QUEUED"),
        (later.as_str(), "0/1", "STATE_QUEUED"),
    ];
    assert_eq!(seen, expected, "{jobs}");
}
