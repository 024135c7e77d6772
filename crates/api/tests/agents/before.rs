//! The messages as the last version before capabilities had them, as it was written there: it says and understands no others.

use std::collections::BTreeMap;

use domain::agent::{Device, Power};
use domain::config::{BindMount, Network};
use domain::id::{AgentId, AllocationId};
use domain::identity::UnixIdentity;
use domain::task::{Limit, WHY};
use domain::text::Plain;
use domain::time::Timestamp;
use serde::{Deserialize, Serialize};

/// The one that it takes.
pub(crate) const PROTOCOL: u32 = 2;

const GIVEN: usize = 64;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "purpose")]
pub(crate) enum Opening {
    Enrol { protocol: u32, invitation: String, name: String },
    Control(Control),
    Http { agent: AgentId, allocation: AllocationId },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Control {
    pub(crate) agent: AgentId,
    pub(crate) instance: Plain<64>,
    pub(crate) protocol: u32,
    pub(crate) version: Plain<256>,
    pub(crate) now: Timestamp,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Remedy {
    #[default]
    Read,
    Wait,
    Enrol,
    Leave,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub(crate) enum ToAgent {
    Refused {
        reason: String,
        #[serde(default)]
        remedy: Remedy,
    },
    Enrolled {
        master_id: String,
    },
    Welcome {},
    Ping {
        number: u64,
    },
    Start(Box<Start>),
    Kill {
        allocation: AllocationId,
        #[serde(default)]
        now: bool,
    },
    Disown {
        allocation: AllocationId,
    },
    LogsReceived {
        allocation: AllocationId,
        offset: u64,
        #[serde(default)]
        kept: u64,
        #[serde(default)]
        full: bool,
    },
    Forget {
        allocation: AllocationId,
    },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub(crate) enum ToMaster {
    Register(Box<Register>),
    Pong { number: u64 },
    Started { allocation: AllocationId },
    LogMissing { allocation: AllocationId, from: u64, to: u64 },
    Exited { allocation: AllocationId, exit: Exit, log_bytes: u64 },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Exit {
    pub(crate) code: i32,
    #[serde(default)]
    pub(crate) signal: Option<i32>,
    pub(crate) killed: bool,
    pub(crate) failure: Option<Plain<WHY>>,
    #[serde(default)]
    pub(crate) limit: Option<Limit>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Register {
    pub(crate) devices: Vec<Device>,
    #[serde(default)]
    pub(crate) trouble: Option<Plain<2000>>,
    pub(crate) power: Power,
    pub(crate) hostname: Plain<256>,
    #[serde(default)]
    pub(crate) master_url: Plain<2048>,
    pub(crate) held: Vec<AllocationId>,
    #[serde(default)]
    pub(crate) given: BTreeMap<AllocationId, Plain<GIVEN>>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Start {
    pub(crate) allocation: AllocationId,
    #[serde(default)]
    pub(crate) owner: Option<u32>,
    pub(crate) entrypoint: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) identity: UnixIdentity,
    pub(crate) work_dir: Option<String>,
    #[serde(default)]
    pub(crate) startup_hook: Option<String>,
    pub(crate) bind_mounts: Vec<BindMount>,
    pub(crate) shm_bytes: Option<u64>,
    #[serde(default)]
    pub(crate) network: Option<Network>,
    pub(crate) slots: Vec<u32>,
    pub(crate) has_context: bool,
    pub(crate) token: String,
    #[serde(default)]
    pub(crate) given: String,
}
