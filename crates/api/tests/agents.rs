//! Agents and masters of this version and of the one before, which had one number that had to be the same and no names for what
//! each can do: what either said is understood by the other. What the one before said is in `agents/before`, a file for each
//! message, byte for byte; what it understood is in `agents/before.rs`.

#[path = "agents/before.rs"]
mod before;

use std::fmt::Debug;
use std::fs;

use api::agent::{Control, OLDEST_PROTOCOL, Opening, PROTOCOL, Register, Start, ToAgent, ToMaster, Welcome};
use domain::capability::{Capabilities, Capability};
use domain::task::{Exit, Fault};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// All files of a folder, and what is in them.
fn said(by: &str) -> Vec<(String, Vec<u8>)> {
    let folder = format!("{}/tests/agents/before/{by}", env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("there")
        .map(|file| {
            let path = file.expect("readable").path();
            let name = path.file_stem().expect("named").to_string_lossy().into_owned();
            (name, fs::read(path).expect("readable").trim_ascii_end().to_vec())
        })
        .collect();
    files.sort();
    files
}

fn one<T: DeserializeOwned>(by: &str, name: &str) -> T {
    let file = said(by).into_iter().find(|(file, _)| file == name).expect("there");
    serde_json::from_slice(&file.1).expect(name)
}

/// What one type says of a text, and the other understands.
fn same<Old, New>(name: &str, text: &[u8])
where
    Old: DeserializeOwned + Serialize + Debug,
    New: DeserializeOwned + Serialize + Debug,
{
    let old: Old = serde_json::from_slice(text).expect(name);
    let again = serde_json::to_vec(&old).expect("JSON");
    assert_eq!(String::from_utf8_lossy(&again), String::from_utf8_lossy(text), "{name} is what it said");
    let new: New = serde_json::from_slice(text).unwrap_or_else(|e| panic!("{name} isn't understood: {e}"));
    let (new, old) = (serde_json::to_value(&new).expect("JSON"), serde_json::to_value(&old).expect("JSON"));
    contains(&new, &old, name);
    // The other way: what this version makes of it is the same to the one before.
    let back: Old =
        serde_json::from_value(new).unwrap_or_else(|e| panic!("{name} isn't understood there: {e}"));
    assert_eq!(serde_json::to_value(&back).expect("JSON"), old, "{name}");
}

/// All of `old` is in `new` unchanged; there may be more.
fn contains(new: &Value, old: &Value, name: &str) {
    match (new, old) {
        (Value::Object(new), Value::Object(old)) => {
            for (key, value) in old {
                contains(new.get(key).unwrap_or(&Value::Null), value, &format!("{name}.{key}"));
            }
        }
        (new, old) => assert_eq!(new, old, "{name}"),
    }
}

#[test]
fn agents_of_the_version_before_are_understood() {
    let all = said("of_agents");
    assert_eq!(all.len(), 10);
    for (name, text) in all {
        if name.starts_with("opening") {
            same::<before::Opening, Opening>(&name, &text);
        } else {
            same::<before::ToMaster, ToMaster>(&name, &text);
        }
    }
    let ToMaster::Register(register) = one("of_agents", "register") else { panic!("not what it is") };
    assert_eq!(register.can, Capabilities::UNNAMED, "what it doesn't say it had");
    assert!(
        Capabilities::UNNAMED.beyond(Capabilities::of(&[Capability::StartupHook])) == Capabilities::UNNAMED
    );
    // It doesn't say whose doing an end was, of which some can be nobody else's.
    for (name, whose) in [("exited", Some(Fault::Ended)), ("exited_failed", None)] {
        let ToMaster::Exited { exit, .. } = one("of_agents", name) else { panic!("not what it is") };
        assert_eq!((exit.fault, exit.whose()), (None, whose), "{name}");
    }
    let Opening::Control(Control { protocol, .. }) = one("of_agents", "opening_control") else {
        panic!("not what it is")
    };
    assert!(protocol >= OLDEST_PROTOCOL);
}

#[test]
fn masters_of_the_version_before_are_understood() {
    let all = said("of_masters");
    assert_eq!(all.len(), 9);
    for (name, text) in all {
        same::<before::ToAgent, ToAgent>(&name, &text);
    }
    let ToAgent::Welcome(Welcome { can, version }) = one("of_masters", "welcome") else {
        panic!("no welcome")
    };
    assert!(can.is_none() && version.as_str().is_empty(), "it doesn't say what it can");
}

#[test]
fn what_is_new_is_passed_over_by_the_version_before() {
    // It refuses every other number.
    assert_eq!(PROTOCOL, before::PROTOCOL);
    let ToMaster::Register(register) = one("of_agents", "register") else { panic!("not what it is") };
    let register = ToMaster::Register(Box::new(Register { can: Capabilities::ALL, ..*register }));
    let heard = serde_json::from_slice(&serde_json::to_vec(&register).expect("JSON"));
    assert!(matches!(heard, Ok(before::ToMaster::Register(about)) if about.devices.len() == 2));
    let ToMaster::Exited { allocation, exit, log_bytes } = one("of_agents", "exited_failed") else {
        panic!("not what it is")
    };
    let exit = Exit { fault: Some(Fault::Launch), ..exit };
    let exited = ToMaster::Exited { allocation, exit, log_bytes };
    let heard = serde_json::from_slice(&serde_json::to_vec(&exited).expect("JSON"));
    assert!(matches!(heard, Ok(before::ToMaster::Exited { exit, .. }) if exit.code == 125));
    let welcome = ToAgent::Welcome(Welcome { version: "9.0.0".into(), can: Some(Capabilities::ALL) });
    let heard = serde_json::from_slice(&serde_json::to_vec(&welcome).expect("JSON"));
    assert!(matches!(heard, Ok(before::ToAgent::Welcome {})));
    let ToAgent::Start(start) = one("of_masters", "start") else { panic!("not what it is") };
    let heard = serde_json::from_slice(&serde_json::to_vec(&ToAgent::Start(start.clone())).expect("JSON"));
    let Ok(before::ToAgent::Start(heard)) = heard else { panic!("a start isn't understood") };
    let Start { allocation, entrypoint, token, slots, .. } = *start;
    assert_eq!(
        (heard.allocation, heard.entrypoint, heard.token, heard.slots),
        (allocation, entrypoint, token, slots)
    );
}

/// A message with something new in it.
fn more(by: &str, name: &str) -> Value {
    let mut message: Value = one(by, name);
    message.as_object_mut().expect("an object").insert("new".to_owned(), json!({"deep": [1]}));
    message
}

/// What the next version may say.
#[test]
fn what_the_next_version_adds_is_passed_over() {
    for (name, _) in said("of_agents") {
        let message = more("of_agents", &name);
        if name.starts_with("opening") {
            serde_json::from_value::<Opening>(message).expect(&name);
        } else {
            serde_json::from_value::<ToMaster>(message).expect(&name);
        }
    }
    for (name, _) in said("of_masters") {
        serde_json::from_value::<ToAgent>(more("of_masters", &name)).expect(&name);
    }
    let mut exited = more("of_agents", "exited");
    exited["exit"]["fault"] = json!("cosmic_ray");
    let Ok(ToMaster::Exited { exit, .. }) = serde_json::from_value(exited) else {
        panic!("it isn't understood")
    };
    assert_eq!((exit.code, exit.fault), (137, None));
    let heard = serde_json::from_value(json!({"type": "teleport", "to": "elsewhere"}));
    assert!(matches!(heard, Ok(ToMaster::Unknown)));
    let heard = serde_json::from_value(json!({"type": "teleport", "to": "elsewhere"}));
    assert!(matches!(heard, Ok(ToAgent::Unknown)));
    let mut register = more("of_agents", "register");
    register["can"] = json!(["startup_hook", "teleport"]);
    register["devices"][0]["kind"] = json!("quantum");
    let heard = serde_json::from_value(register);
    let Ok(ToMaster::Register(about)) = heard else { panic!("it isn't understood: {heard:?}") };
    assert_eq!(about.can, Capabilities::of(&[Capability::StartupHook]));
    assert_eq!(about.devices.iter().map(|device| device.id).collect::<Vec<_>>(), [1], "that it understands");
    // What isn't a message is none.
    assert!(serde_json::from_value::<ToMaster>(json!({"type": "started"})).is_err());
}
