//! `connections:` how many connections there may be, and how long each may take over what it does (A7).

use serde::{Deserialize, Serialize};

/// Limits of connections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Connections {
    /// Most at once; also no more than two thirds of the descriptors that this process may have. A quarter is kept for
    /// people who are logged in.
    pub max: u32,
    /// Most from one address (IPv6: one /64 network), of those that showed no credentials.
    pub max_per_address: u32,
    /// Most of one account that is logged in, those of its tasks included, and never more than a quarter of all. One
    /// more ends the one that does least. A task may have half as many.
    pub max_per_account: u32,
    /// Seconds for a TLS handshake and the head of a request.
    pub head_timeout: u64,
    /// Seconds for each kilobyte of a body, once it is waited for. After so long it also has to come at 1 KiB/s on the
    /// whole, and what is longer than 256 KiB at 64 KiB/s.
    pub body_timeout: u64,
    /// Seconds between two requests.
    pub idle_timeout: u64,
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            max: 8192,
            max_per_address: 256,
            max_per_account: 256,
            head_timeout: 10,
            body_timeout: 30,
            idle_timeout: 75,
        }
    }
}

impl Connections {
    pub(super) fn check(&self) -> Result<(), String> {
        let Self { max, max_per_address, max_per_account, head_timeout, body_timeout, idle_timeout } = *self;
        if max < 16 {
            return Err("max: give 16 or more".to_owned());
        }
        if max_per_address < 8 {
            return Err("max_per_address: give 8 or more".to_owned());
        }
        if max_per_account < 8 {
            return Err("max_per_account: give 8 or more".to_owned());
        }
        let seconds =
            [("head_timeout", head_timeout), ("body_timeout", body_timeout), ("idle_timeout", idle_timeout)];
        match seconds.iter().find(|(_, seconds)| !(1..=86_400).contains(seconds)) {
            Some((name, _)) => Err(format!("{name}: give 1 to 86400 seconds")),
            None => Ok(()),
        }
    }
}
