//! What an agent may say, and what is kept of it.

use super::*;

/// One of each, with all that can be in it: what is new has to be named here.
fn all() -> [ToMaster; 5] {
    let allocation: AllocationId = "6f1c7f3e-5b0f-4a4c-9d8e-2b1a00000000.1".parse().expect("valid");
    let text = || "text".to_owned();
    let device =
        Device { id: 0, kind: domain::agent::DeviceKind::Cuda, brand: text().into(), uuid: text().into() };
    let register = Register {
        devices: vec![device],
        trouble: Some(text().into()),
        power: Power::Root,
        can: Capabilities::ALL,
        hostname: text().into(),
        master_url: text().into(),
        held: vec![allocation],
        given: [(allocation, text().into())].into(),
    };
    let exit = Exit {
        code: 1,
        signal: Some(1),
        killed: false,
        failure: Some(text().into()),
        limit: Some(domain::task::Limit::Log),
        fault: Some(domain::task::Fault::Disk),
    };
    [
        ToMaster::Register(Box::new(register)),
        ToMaster::Pong { number: 1 },
        ToMaster::Started { allocation },
        ToMaster::LogMissing { allocation, from: 1, to: 2 },
        ToMaster::Exited { allocation, exit, log_bytes: 1 },
    ]
}

/// All texts of a message, keys aside, replaced by what `with` makes of each.
fn texts(value: &mut serde_json::Value, with: &mut impl FnMut(&str) -> Option<String>) {
    match value {
        serde_json::Value::String(text) => {
            if let Some(other) = with(text) {
                *text = other;
            }
        }
        serde_json::Value::Array(values) => values.iter_mut().for_each(|value| texts(value, with)),
        serde_json::Value::Object(values) => values.values_mut().for_each(|value| texts(value, with)),
        _ => {}
    }
}

/// KB3: 120 ends with 1.9 MB of reason each were 265 MB of database for ever, and in everybody's list.
#[test]
fn a05_no_text_of_an_agents_is_long_or_steers_a_terminal() {
    let bad = || format!("h\u{1b}[2J\u{1b}]0;pwned\u{7}\u{9b}\u{202e}\r\n{}", "\u{1b}x".repeat(1 << 19));
    let mut replaced = 0;
    for message in all() {
        let mut said = serde_json::to_value(&message).expect("JSON");
        texts(&mut said, &mut |text| {
            replaced += usize::from(text == "text");
            (text == "text").then(bad)
        });
        let heard: ToMaster = serde_json::from_value(said).expect("the protocol");
        let mut kept = serde_json::to_value(&heard).expect("JSON");
        texts(&mut kept, &mut |text| {
            assert!(text.len() <= 2048 && !text.contains(domain::text::steers), "{text:?}");
            None
        });
    }
    assert_eq!(replaced, 7, "every text was tried");
    let said =
        serde_json::json!({"agent": "a", "instance": bad(), "protocol": 2, "version": bad(), "now": 1});
    let Control { instance, version, .. } = serde_json::from_value(said).expect("the protocol");
    assert!(instance.len() <= 64 && version.len() <= 256);
}

#[test]
fn log_chunk_round_trips() {
    let allocation = "6f1c7f3e-5b0f-4a4c-9d8e-2b1a00000000.1".parse().expect("valid");
    let chunk = LogChunk { allocation, offset: 77, records: b"abc".to_vec() };
    assert_eq!(LogChunk::decode(&chunk.encode()), Some(chunk));
    assert_eq!(LogChunk::decode(&[200, 1]), None);
}
