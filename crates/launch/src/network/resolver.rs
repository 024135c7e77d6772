//! The resolvers of the machine and what a task is told of them. A task can't reach a resolver on a loopback address
//! (systemd-resolved's is 127.0.0.53), so its `resolv.conf` names addresses that the stack forwards.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};

use super::FORWARDERS;

const FILE: &str = "/etc/resolv.conf";
const PORT: u16 = 53;

/// The machine's resolvers as they are now, at most as many as there are forwarders.
pub(crate) fn of_machine() -> Vec<SocketAddr> {
    resolvers(&fs::read_to_string(FILE).unwrap_or_default())
}

fn resolvers(text: &str) -> Vec<SocketAddr> {
    let mut found: Vec<SocketAddr> = text.lines().filter_map(nameserver).filter_map(address).collect();
    if found.is_empty() {
        // What resolv.conf(5) says of a file without one.
        found.push(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), PORT));
    }
    found.truncate(FORWARDERS.len());
    found
}

fn nameserver(line: &str) -> Option<&str> {
    let mut words = line.split_ascii_whitespace();
    words.next().filter(|word| *word == "nameserver")?;
    words.next()
}

/// An address, maybe with an interface: `fe80::1%eth0`.
fn address(text: &str) -> Option<SocketAddr> {
    let Some((ip, scope)) = text.split_once('%') else {
        return Some(SocketAddr::new(text.parse().ok()?, PORT));
    };
    let index = fs::read_to_string(format!("/sys/class/net/{scope}/ifindex"));
    let scope = scope.parse().ok().or_else(|| index.ok()?.trim().parse().ok())?;
    Some(SocketAddr::V6(SocketAddrV6::new(ip.parse().ok()?, PORT, 0, scope)))
}

/// The machine's file for a task: everything but the addresses stays.
pub(crate) fn file_for_task(machine: &str) -> String {
    let kept = machine.lines().filter(|line| nameserver(line).is_none());
    let mut text: String = kept.flat_map(|line| [line, "\n"]).collect();
    for (forwarder, _) in FORWARDERS.iter().zip(resolvers(machine)) {
        text.push_str(&format!("nameserver {forwarder}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_told_of_forwarders_and_keeps_the_rest() {
        let machine = "# ours\nsearch lab.example\nnameserver 127.0.0.53\nnameserver ::1\noptions edns0\n";
        let [first, second, _] = FORWARDERS;
        let expected =
            format!("# ours\nsearch lab.example\noptions edns0\nnameserver {first}\nnameserver {second}\n");
        assert_eq!(file_for_task(machine), expected);
        let behind: Vec<String> = resolvers(machine).iter().map(ToString::to_string).collect();
        assert_eq!(behind, ["127.0.0.53:53", "[::1]:53"]);
        assert_eq!(file_for_task(""), format!("nameserver {first}\n"));
        assert_eq!(resolvers("nameserver fe80::1%7\n")[0].to_string(), "[fe80::1%7]:53");
    }
}
