//! An agent's own words, as they are taken: people see them on terminals and pages, and other programs print them as they are, so
//! they are plain and short from the beginning (A14).

use api::agent::Register;
use domain::text::plain;

/// Longest name, number or version, in characters.
const WORD: usize = 256;

/// Longest trouble, in characters.
const TROUBLE: usize = 2000;

/// An agent's version.
pub(super) fn version(text: &str) -> String {
    plain(text, WORD)
}

/// All texts of a registration. A new one of these is named here, or it doesn't compile.
pub(super) fn register(about: Register) -> Register {
    let Register { mut devices, trouble, power, hostname, master_url, held } = about;
    for device in &mut devices {
        (device.brand, device.uuid) = (plain(&device.brand, WORD), plain(&device.uuid, WORD));
    }
    let (trouble, hostname) = (trouble.map(|text| plain(&text, TROUBLE)), plain(&hostname, WORD));
    Register { devices, trouble, power, hostname, master_url: plain(&master_url, 8 * WORD), held }
}

#[cfg(test)]
mod tests {
    use domain::agent::{Device, DeviceKind, Power};

    use super::*;

    #[test]
    fn a14_what_an_agent_calls_things_reaches_terminals_plain_and_short() {
        let bad =
            || format!("h\u{1b}[2J\u{1b}]0;pwned\u{7}\u{9b}\u{202e}\u{2066}\r\n{}", "x".repeat(1 << 20));
        let device = Device { id: 0, kind: DeviceKind::Cuda, brand: bad(), uuid: bad() };
        let (trouble, hostname, master_url) = (Some(bad()), bad(), bad());
        let about = Register {
            devices: vec![device],
            trouble,
            power: Power::Root,
            hostname,
            master_url,
            held: Vec::new(),
        };
        let Register { devices, trouble, hostname, master_url, .. } = register(about);
        let texts = devices.into_iter().flat_map(|device| [device.brand, device.uuid]);
        for text in texts.chain(trouble).chain([hostname, master_url, version(&bad())]) {
            assert!(
                text.starts_with("h[2J]0;pwnedxx") && text.chars().count() <= TROUBLE.max(8 * WORD),
                "{text:?}"
            );
            assert!(!text.contains(domain::text::steers), "{text:?}");
        }
    }
}
