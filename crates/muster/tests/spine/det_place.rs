//! The unmodified `det`: workspaces, projects, templates, and what belongs to them.

use std::fs;

use serde_json::Value;

use crate::support::{Muster, Person, Setup, table};

const WORKSPACES: &str =
    "ID|Name|# Projects|Agent Uid|Agent Gid|Agent User|Agent Group|Default Compute Pool|Default Aux Pool";
const PROJECTS: &str = "ID|Key|Name|Description|# Experiments|# Active Experiments";

/// Somebody with an account, logged in with both command lines.
#[track_caller]
fn person(muster: &Muster, name: &str) -> Person {
    let person = muster.user(name);
    person.det_with(&format!("user login {name}"), "\n").exits(0);
    person
}

#[track_caller]
fn administrator(muster: &Muster) -> Person {
    let admin = muster.admin();
    admin.det_with("user login admin", "\n").exits(0);
    admin
}

#[track_caller]
fn rows(person: &Person, line: &str) -> Vec<String> {
    table(&person.det(line).ok())
}

#[track_caller]
fn json(person: &Person, line: &str) -> Value {
    let text = person.det(&format!("{line} --json")).ok();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[track_caller]
fn says(person: &Person, line: &str, expected: &str) {
    assert_eq!(person.det(line).ok(), expected, "{line}");
}

#[track_caller]
fn refused(person: &Person, line: &str, reason: &str) {
    person.det(line).exits(1).says(reason);
}

#[test]
fn x04_x10_every_verb_of_workspace() {
    let muster = Muster::up();
    let (admin, alice, bob) = (administrator(&muster), person(&muster, "alice"), person(&muster, "bob"));
    let made = rows(&alice, "workspace create lab");
    assert_eq!(made[1], "2|lab|0|||||||");
    assert_eq!(json(&alice, "workspace create more")["username"], "alice");
    refused(&bob, "workspace create lab", "a workspace named 'lab' already exists");
    refused(
        &bob,
        "workspace create x --agent-gid 7",
        "Forbidden(only admin privileged users can set workspace agent user groups)",
    );
    refused(&alice, "workspace create x --default-compute-pool gpu", "unable to bind a resource pool");
    let shared = "1|Uncategorized|1||||||";
    assert_eq!(rows(&bob, "workspace list"), [WORKSPACES, shared, "2|lab|0||||||", "3|more|0||||||"]);
    let newest = rows(&bob, "w ls --sort-by name --order-by desc --limit 1");
    assert_eq!(newest[1..], ["3|more|0||||||", "2|lab|0||||||", shared], "all pages");
    assert_eq!(rows(&bob, "w ls --offset 1 --limit 1")[1..], ["2|lab|0||||||"]);
    assert_eq!(json(&bob, "workspace list").as_array().map(Vec::len), Some(3));
    assert_eq!(rows(&bob, "workspace describe lab")[1], "2|lab|0|||||||");
    assert_eq!(json(&bob, "workspace describe lab")["id"], 2);
    refused(&bob, "workspace describe LAB", "workspace 'LAB' not found");

    assert_eq!(
        rows(&admin, "workspace edit lab --agent-gid 7000 --agent-group team")[1],
        "2|lab|0||7000||team|||"
    );
    assert_eq!(rows(&alice, "workspace edit more --name moved")[1], "3|moved|0|||||||");
    refused(&alice, "workspace edit lab --agent-uid 0 --agent-user root", "Forbidden");
    for line in ["edit lab --name x", "archive lab", "delete lab --yes"] {
        refused(
            &bob,
            &format!("workspace {line}"),
            "Forbidden(only the owner of a workspace and its administrators",
        );
    }
    for line in ["edit Uncategorized --name x", "archive Uncategorized", "delete Uncategorized --yes"] {
        refused(&admin, &format!("workspace {line}"), "the workspace that everybody shares can't be changed");
    }
    assert_eq!(rows(&bob, "workspace list-pools lab"), ["Workspace|Available Resource Pools", "lab|default"]);
    says(&bob, "workspace bindings list lab", "No workspace-namespace bindings for workspace lab");
    refused(&alice, "workspace bindings set lab --namespace x", "is not supported by this master");
    refused(&alice, "workspace resource-quota set lab 5", "is not supported by this master");

    alice.muster("workspace edit lab --private true").exits(0);
    refused(&bob, "workspace describe lab", "workspace 'lab' not found");
    assert_eq!(rows(&bob, "workspace list")[1..], [shared, "3|moved|0||||||"]);
    alice.muster("workspace add-member lab bob --role viewer").exits(0);
    assert_eq!(rows(&bob, "workspace describe lab")[1], "2|lab|0||7000||team|||");
    let members = ["User/Group Name|User/Group|Role Name", "bob|U|Viewer"];
    assert_eq!(rows(&bob, "workspace list-members lab"), members);
    assert_eq!(json(&bob, "workspace list-members lab")["usersAssignedDirectly"][0]["username"], "bob");

    says(&alice, "workspace archive lab", "Successfully archived workspace lab.");
    alice.det("cmd run -w lab true").exits(2).says("Workspace \"lab\" is archived.");
    says(&alice, "workspace unarchive lab", "Successfully un-archived workspace lab.");
    let asked = alice.det_with("workspace delete lab", "n\n").exits(0);
    assert!(asked.out().ends_with("Aborting workspace deletion.\n"), "{}", asked.out());
    says(&alice, "workspace delete lab --yes", "Successfully deleted workspace lab.");
    refused(&alice, "workspace describe lab", "workspace 'lab' not found");
    alice.det("workspace create lab").exits(0);
}

#[test]
fn x04_x10_every_verb_of_project() {
    let muster = Muster::up();
    let (alice, bob) = (person(&muster, "alice"), person(&muster, "bob"));
    alice.det("workspace create lab").exits(0);
    assert_eq!(
        rows(&alice, "project create lab vision --description first"),
        [PROJECTS, "2|VISI2|vision|first|0|0"]
    );
    assert_eq!(json(&alice, "project create lab sound --key so")["key"], "SO");
    refused(&alice, "project create lab vision", "a project named 'vision' already exists in this workspace");
    refused(&alice, "project create lab x --key VISI2", "project key 'VISI2' is in use already");
    refused(&alice, "project create lab x --key no-key", "must be 1 to 5 letters or digits");
    refused(&alice, "project create nowhere x", "workspace 'nowhere' not found");
    refused(&bob, "project create lab x", "Forbidden(only editors of the workspace can add to it)");
    refused(&alice, "project create Uncategorized x", "Forbidden");
    let both = [PROJECTS, "2|VISI2|vision|first|0|0", "3|SO|sound||0|0"];
    assert_eq!(rows(&bob, "project list lab"), both);
    assert_eq!(rows(&bob, "workspace list-projects lab"), both);
    assert_eq!(rows(&bob, "project list lab --sort-by name --order-by asc --limit 1")[1..], both[2..]);
    assert_eq!(json(&bob, "project list lab").as_array().map(Vec::len), Some(2));
    assert_eq!(rows(&bob, "workspace list")[2], "2|lab|2||||||");
    let described = bob.det("project describe lab vision").ok();
    assert!(described.contains("VISI2") && described.contains("Associated Experiments"), "{described}");
    assert_eq!(json(&bob, "project describe lab sound")["id"], 3);
    bob.det("project list-experiments lab vision").exits(0);
    bob.det("project list-experiments lab vision --all --json").exits(0);

    assert_eq!(
        rows(&alice, "project edit lab sound --new_name noise --description loud --key no")[1],
        "3|NO|noise|loud|0|0"
    );
    refused(&alice, "project edit lab sound --key x", "project 'sound' not found");
    for line in ["edit lab noise --key x", "archive lab noise", "delete lab noise --yes"] {
        refused(&bob, &format!("project {line}"), "Forbidden(only");
    }
    says(&alice, "project archive lab noise", "Successfully archived project noise.");
    assert_eq!(json(&bob, "project describe lab noise")["archived"], true);
    says(&alice, "project unarchive lab noise", "Successfully un-archived project noise.");

    alice.muster("project edit lab noise --private true").exits(0);
    refused(&bob, "project describe lab noise", "project 'noise' not found");
    alice.muster("project add-member lab noise bob --role editor").exits(0);
    assert_eq!(rows(&bob, "project edit lab noise --description mine")[1], "3|NO|noise|mine|0|0");
    let asked = alice.det_with("project delete lab noise", "n\n").exits(0);
    assert!(asked.out().ends_with("Aborting project deletion.\n"), "{}", asked.out());
    says(&alice, "project delete lab noise --yes", "Successfully deleted project noise.");
    assert_eq!(rows(&alice, "p ls lab"), both[..2]);
}

#[test]
fn x10_every_verb_of_template() {
    let muster = Muster::up();
    let (alice, bob) = (person(&muster, "alice"), person(&muster, "bob"));
    for (name, text) in [
        ("one.yaml", "environment:\n  environment_variables: [WHO=template]\n"),
        ("two.yaml", "description: changed\n"),
        ("bad.yaml", "enviroment: {}\n"),
    ] {
        fs::write(alice.home.join(name), text).expect("written");
        fs::write(bob.home.join(name), text).expect("written");
    }
    alice.muster("workspace create lab --private").exits(0);
    says(&alice, "template create mine one.yaml -w lab", "Created template mine");
    says(&alice, "template set common one.yaml", "Set template common");
    refused(&bob, "template create mine two.yaml", "a template named 'mine' already exists");
    refused(&alice, "template create bad bad.yaml", "invalid template: unknown field `enviroment`");
    refused(&bob, "template create other one.yaml -w lab", "workspace 'lab' not found");
    assert_eq!(rows(&alice, "template list"), ["Name|Workspace", "common|Uncategorized", "mine|lab"]);
    assert_eq!(rows(&bob, "tpl ls"), ["Name|Workspace", "common|Uncategorized"]);
    // What it sets is its owner's alone to see, and so to use (A10).
    let seen = bob.det("template list -d").ok();
    assert!(seen.contains("WHO=********") && !seen.contains("WHO=template"), "{seen}");
    let config = "environment:\n  environment_variables:\n  - WHO=template";
    assert_eq!(alice.det("template describe mine").ok(), config);
    refused(&bob, "template describe mine", "template 'mine' not found");

    let run = |person: &Person, template: &str| {
        person.det_args(["cmd", "run", "--template", template, "sh", "-c", "echo it is $WHO"], "")
    };
    assert!(run(&alice, "mine").ok().contains("it is template"));
    refused(&bob, "cmd run --template common true", "only its owner can use it");
    says(&alice, "template set plain two.yaml", "Set template plain");
    assert!(run(&bob, "plain").ok().contains("it is"));
    run(&bob, "mine").exits(1).says("template 'mine' not found");

    refused(&bob, "template set-value config common two.yaml", "Forbidden(only the owner of a template");
    refused(&bob, "template remove common", "Forbidden(only the owner of a template");
    refused(&bob, "template remove mine", "template 'mine' not found");
    says(&alice, "template set-value config mine two.yaml", "Updated template mine");
    assert_eq!(alice.det("template describe mine").ok(), "description: changed");
    says(&alice, "template set mine one.yaml", "Set template mine");
    assert_eq!(alice.det("template describe mine").ok(), config);
    says(&alice, "template rm mine", "Removed template mine");
    refused(&alice, "template describe mine", "template 'mine' not found");
}

#[test]
fn x10_d02_tasks_belong_to_workspaces() {
    let muster = Muster::up();
    let (admin, alice, bob) = (administrator(&muster), person(&muster, "alice"), person(&muster, "bob"));
    admin.muster("user link-with-agent-user alice --agent-uid 5001 --agent-user alice --agent-gid 5001 --agent-group alice").exits(0);
    alice.muster("workspace create lab --private").exits(0);
    let id = |person: &Person| person.det("cmd run -w lab id").ok();
    assert!(id(&alice).contains("uid=5001(alice) gid=5001(alice) groups=5001(alice)"));
    admin.det("workspace edit lab --agent-gid 7000 --agent-group team").exits(0);
    assert!(id(&alice).contains("uid=5001(alice) gid=7000(team) groups=7000(team)"));
    admin.det("workspace edit lab --agent-uid 6000 --agent-user shared").exits(0);
    assert!(id(&alice).contains("uid=6000(shared) gid=5001(alice) groups=5001(alice)"));
    refused(&bob, "cmd run -w lab id", "workspace 'lab' not found");
    alice.muster("workspace add-member lab bob --role viewer").exits(0);
    refused(&bob, "cmd run -w lab id", "Forbidden(only editors of the workspace can start tasks in it)");
    alice.muster("workspace add-member lab bob --role editor").exits(0);
    // An account without a link is root; of that, the workspace leaves the group.
    refused(&bob, "cmd run -w lab id", "agentGid 0 needs agentUid 0");
    let all = "--agent-uid 6000 --agent-user shared --agent-gid 7000 --agent-group team";
    admin.det(&format!("workspace edit lab {all}")).exits(0);
    assert!(id(&bob).contains("uid=6000(shared) gid=7000(team) groups=7000(team)"));
    alice.muster("workspace remove-member lab bob").exits(0);

    let running =
        alice.det("cmd run -d -w lab --config description=secret --config resources.slots=4 sleep 1000").ok();
    alice.wait_for_state(&running, "RUNNING");
    let (mine, theirs) = (rows(&alice, "cmd list -w lab"), rows(&bob, "cmd list -a"));
    assert_eq!(mine.last().map(String::as_str), Some("ID|alice|secret|RUNNING||default|lab"));
    assert_eq!(mine.len(), 5, "{mine:#?}");
    assert_eq!(theirs.len(), 2, "his own alone: {theirs:#?}");
    assert!(theirs[1].ends_with("missing workspace id 2"), "{theirs:#?}");
    refused(&bob, "cmd list -w lab", "workspace 'lab' not found");
    for line in ["task list", "job list", "cmd list -a", "slot list"] {
        let said = bob.det(line).ok();
        assert!(!said.contains("secret") && !said.contains(&running), "{line}: {said}");
        assert!(alice.det(line).ok().contains(&running[..8]), "{line}");
    }
    let slots = bob.det("slot list").ok();
    assert!(slots.contains("OCCUPIED") && slots.contains("NO PERMISSIONS"), "{slots}");
    assert!(bob.muster("slot list").ok().contains("OCCUPIED"));
    for line in ["cmd logs", "task logs", "cmd describe", "cmd config", "cmd kill"] {
        refused(&bob, &format!("{line} {running}"), "not found");
    }
    // `det` counts this refusal as no failure.
    let said = bob.det(&format!("cmd set priority {running} 9")).exits(0);
    assert!(said.out().contains(&format!("Skipping: command '{running}' not found")), "{}", said.out());
    assert_eq!(alice.json(&format!("command describe {running}"))["state"], "STATE_RUNNING");
    for kind in ["notebook", "tensorboard", "shell"] {
        bob.det(&format!("{kind} list -a")).exits(0);
        alice.det(&format!("{kind} list -w lab")).exits(0);
        refused(&bob, &format!("{kind} list -w lab"), "workspace 'lab' not found");
    }
    bob.det("experiment list").exits(0);
    bob.det("experiment list -a").exits(0);
    refused(&alice, "workspace delete lab --yes", "1 tasks in workspace 'lab' aren't over");
    alice.det(&format!("cmd kill {running}")).exits(0);
    alice.wait_for_state(&running, "TERMINATED");
    alice.det("workspace delete lab --yes").exits(0);
    alice.det(&format!("cmd logs {running}")).exits(0);
    assert!(rows(&alice, "cmd list").iter().any(|row| row.ends_with("missing workspace id 2")));
}

#[test]
fn x08_agents_and_slots_are_for_administrators() {
    let muster = Setup::default().slots(2).up();
    let (admin, alice) = (administrator(&muster), person(&muster, "alice"));
    let agent = admin.json("agent list")[0]["id"].as_str().expect("a name").to_owned();
    for line in ["agent disable", "agent enable", "slot disable", "slot enable"] {
        let line =
            if line.starts_with("slot") { format!("{line} {agent} 0") } else { format!("{line} {agent}") };
        refused(&alice, &line, "Forbidden");
        admin.det(&line).exits(0);
    }
    let enabled = |person: &Person| {
        let rows = rows(person, "agent list");
        rows[1].split('|').nth(6).expect("a column").to_owned()
    };
    admin.det(&format!("agent disable {agent}")).exits(0).says(&format!("Disabled agent {agent}."));
    assert_eq!(enabled(&alice), "False");
    admin.det(&format!("agent enable {agent}")).exits(0);
    assert_eq!(enabled(&alice), "True");
    admin.det(&format!("slot disable {agent} 1")).exits(0);
    let slots = rows(&alice, "slot list");
    assert_eq!(slots.iter().filter(|row| row.split('|').nth(3) == Some("False")).count(), 1, "{slots:#?}");
    assert_eq!(json(&alice, "slot list").as_array().map(Vec::len), Some(2));
    assert_eq!(
        rows(&alice, "resource-pool bindings list-workspaces default"),
        ["resource pool|workspaces", "default|"]
    );
    refused(&alice, "resource-pool bindings list-workspaces gpu", "not found");
}
