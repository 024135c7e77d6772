//! What agent and master say to each other, inside the channel of crate `link`, on a WebSocket that the agent opens.
//!
//! Frames of kind `Message` are the JSON of [`Opening`] (the first one), [`ToAgent`] and [`ToMaster`]; frames of kind
//! `Data` are [`LogChunk`]s, or a stream's bytes. Each text of an agent's is a [`Plain`] one, short and without what steers a
//! terminal (A6, A14). Delivery is at least once: either side repeats what the other hasn't
//! confirmed, and repeating is harmless. An agent that comes again and again waits: its registrations are served one at a time,
//! in a tenth of the time, and one that names other runs that nobody knows each time is refused for a while.
//!
//! ```text
//! agent                                   master
//! Opening::Control             ->
//! Register (what it holds)     ->
//!                              <-   Welcome
//!                              <-   LogsReceived (one for each run held: where to go on)
//!                              <-   Start | Kill | Forget | Ping
//! Started, LogChunk…, Exited   ->
//! LogMissing (in a log)        ->
//!                              <-   LogsReceived, Forget
//!
//! Opening::Enrol               ->
//!                              <-   Enrolled
//!
//! Opening::Http                ->
//!                              <-   Welcome
//! a byte stream: HTTP          <->
//! ```

use std::collections::BTreeMap;

use domain::agent::{Device, DeviceKind, Power};
use domain::capability::Capabilities;
use domain::config::{BindMount, Network};
use domain::id::{AgentId, AllocationId};
use domain::identity::UnixIdentity;
use domain::task::Exit;
use domain::text::Plain;
use domain::time::Timestamp;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::few::Few;

/// The messages' foundation: the channel and the order of what is said in it. Both sides say this number as long as that
/// stays. What comes to it is told by names ([`Register::can`], [`Welcome::can`]), and is additive: new fields have a
/// default, new messages are passed over by who doesn't know them ([`ToAgent::Unknown`], [`ToMaster::Unknown`]), and a new
/// value of an old field is said only to who named the [`domain::capability::Capability`] for it. Versions before those
/// names refuse every other number.
pub const PROTOCOL: u32 = 2;

/// The oldest foundation that is still understood.
pub const OLDEST_PROTOCOL: u32 = 2;

/// The path that an agent opens its WebSocket at.
pub const CONNECT_PATH: &str = "/api/v1/agents/connect";

/// Unconfirmed log bytes of one run that an agent may have on the way.
pub const LOG_WINDOW: u64 = 4 << 20;

/// Longest piece of a log, in bytes.
pub const MAX_CHUNK: usize = 512 << 10;

/// Most runs that an agent may name when it registers; with more it is refused. A machine has fewer: a hundred without slots, one
/// for each slot, and those whose end the master hasn't recorded yet.
pub const MAX_HELD: usize = 4096;

/// Most slots that an agent may name; with more it is refused.
pub const MAX_DEVICES: usize = 1024;

/// Longest [`Start::given`], in characters.
pub const GIVEN: usize = 64;

/// Longest message that an agent takes, in bytes: a start with all its variables.
pub const MAX_ORDER: usize = 64 << 20;

/// What the agent wants of a connection: the first frame inside the channel.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "purpose")]
pub enum Opening {
    /// To belong to this master, by an invitation. The only purpose for a key that the master doesn't know.
    Enrol {
        /// [`PROTOCOL`].
        protocol: u32,
        /// The secret of the invitation.
        invitation: String,
        /// The name that it wants.
        name: String,
    },
    /// To work: messages, from [`ToMaster::Register`] on.
    Control(Control),
    /// A byte stream on which the master serves HTTP, for a run that the agent holds. Nobody is logged in by it.
    Http {
        /// The agent.
        agent: AgentId,
        /// For which run.
        allocation: AllocationId,
    },
}

impl std::fmt::Debug for Opening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            // The invitation is a secret.
            Self::Enrol { name, .. } => f.debug_struct("Enrol").field("name", name).finish_non_exhaustive(),
            Self::Control(control) => f.debug_tuple("Control").field(control).finish(),
            Self::Http { agent, allocation } => {
                f.debug_struct("Http").field("agent", agent).field("allocation", allocation).finish()
            }
        }
    }
}

/// Inside [`Opening::Control`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Control {
    /// Its name.
    pub agent: AgentId,
    /// Of this process of the agent's, made up at its start: tells an agent that is back from a second one with a
    /// copy of its data directory (B5).
    pub instance: Plain<64>,
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// Its version.
    pub version: Plain<256>,
    /// Its clock, for the master to compare (B20).
    pub now: Timestamp,
}

/// What a refused agent can do about it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Remedy {
    /// What the reason says.
    #[default]
    Read,
    /// Come again: it passes.
    Wait,
    /// Enrol: the key isn't one that belongs here.
    Enrol,
    /// Nothing: another process is this agent (B5).
    Leave,
}

/// From the master.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum ToAgent {
    /// The connection is refused; the reason says what to do.
    Refused {
        /// One sentence for people.
        reason: String,
        /// The same for the agent.
        #[serde(default)]
        remedy: Remedy,
    },
    /// The key is enrolled now.
    Enrolled {
        /// The master's id.
        master_id: String,
    },
    /// Registered: work may come. On a stream: its bytes may come.
    Welcome(Welcome),
    /// Answer this at once: is anybody there?
    Ping {
        /// To be said again.
        number: u64,
    },
    /// Start this run; already known ones are ignored.
    Start(Box<Start>),
    /// End this run: SIGTERM, and SIGKILL after the agent's `kill_grace` (B15). Repeating it changes nothing.
    Kill {
        /// The run.
        allocation: AllocationId,
        /// Without any grace.
        #[serde(default)]
        now: bool,
    },
    /// The master has no record of the run, as after its back-up was restored: it is to be ended, and what there is of it
    /// kept for people, whatever is said of it later (KP2).
    Disown {
        /// The run.
        allocation: AllocationId,
    },
    /// The master has the run's log up to here; send from here on.
    LogsReceived {
        /// The run.
        allocation: AllocationId,
        /// Bytes of the run's log file.
        offset: u64,
        /// Up to where it would have it after a loss of power, too: the agent's copy of that can go.
        #[serde(default)]
        kept: u64,
        /// It has no space for more: send again in a while, and if the run is over say so before its log (A4).
        #[serde(default)]
        full: bool,
    },
    /// The run's end is recorded: remove all of it.
    Forget {
        /// The run.
        allocation: AllocationId,
    },
    /// What only a newer master says.
    #[serde(other)]
    Unknown,
}

/// Inside [`ToAgent::Welcome`].
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Welcome {
    /// The master's version; earlier ones say none.
    pub version: Plain<256>,
    /// What it may ask for. Earlier masters name nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can: Option<Capabilities>,
}

/// From the agent.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum ToMaster {
    /// What it is and what it holds.
    Register(Box<Register>),
    /// The answer to [`ToAgent::Ping`].
    Pong {
        /// What it said.
        number: u64,
    },
    /// The run's process is being started, and its shim will see it through.
    Started {
        /// The run.
        allocation: AllocationId,
    },
    /// The agent doesn't have this part of the run's log any more: a master had it for certain, and this one doesn't, for a
    /// back-up of before was restored (KP2). What comes behind it follows when the master says that it goes on there.
    LogMissing {
        /// The run.
        allocation: AllocationId,
        /// Where the part begins, in bytes of the run's log file.
        from: u64,
        /// Where it ends.
        to: u64,
    },
    /// The run is over and its whole log was sent. Repeated until `Forget` comes.
    Exited {
        /// The run.
        allocation: AllocationId,
        /// How it ended.
        exit: Exit,
        /// Length of its log file in bytes.
        log_bytes: u64,
    },
    /// What only a newer agent says.
    Unknown,
}

/// Longest of an agent's messages but the first one, which says what it is and holds, in bytes.
pub const MAX_SAID: usize = 64 << 10;

impl<'de> Deserialize<'de> for ToMaster {
    /// The text is gone through once for its type and once for what that has. An enum with a tag would first keep all of it
    /// as values, of which a text of 2 MiB can have some hundred MiB (MC6).
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(from)?;
        Self::read(text.get()).map_err(D::Error::custom)
    }
}

impl ToMaster {
    fn read(text: &str) -> serde_json::Result<Self> {
        #[derive(Deserialize)]
        struct Head {
            #[serde(rename = "type")]
            kind: Type,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "snake_case")]
        enum Type {
            Register,
            Pong,
            Started,
            LogMissing,
            Exited,
            #[serde(other)]
            Unknown,
        }
        #[derive(Deserialize)]
        struct Pong {
            number: u64,
        }
        #[derive(Deserialize)]
        struct Started {
            allocation: AllocationId,
        }
        #[derive(Deserialize)]
        struct LogMissing {
            allocation: AllocationId,
            from: u64,
            to: u64,
        }
        #[derive(Deserialize)]
        struct Exited {
            allocation: AllocationId,
            exit: Exit,
            log_bytes: u64,
        }
        let Head { kind } = serde_json::from_str(text)?;
        Ok(match kind {
            Type::Register => Self::Register(serde_json::from_str(text)?),
            Type::Pong => {
                let Pong { number } = serde_json::from_str(text)?;
                Self::Pong { number }
            }
            Type::Started => {
                let Started { allocation } = serde_json::from_str(text)?;
                Self::Started { allocation }
            }
            Type::LogMissing => {
                let LogMissing { allocation, from, to } = serde_json::from_str(text)?;
                Self::LogMissing { allocation, from, to }
            }
            Type::Exited => {
                let Exited { allocation, exit, log_bytes } = serde_json::from_str(text)?;
                Self::Exited { allocation, exit, log_bytes }
            }
            Type::Unknown => Self::Unknown,
        })
    }
}

/// Inside [`ToMaster::Register`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Register {
    /// Its slots, [`MAX_DEVICES`] at most. Those of a kind that isn't known are none.
    #[serde(deserialize_with = "known_devices")]
    pub devices: Vec<Device>,
    /// What is wrong with its machine's devices, for people (B9).
    #[serde(default)]
    pub trouble: Option<Plain<2000>>,
    /// Which identities it can give.
    pub power: Power,
    /// What it can carry out. Earlier agents name nothing.
    #[serde(default = "unnamed")]
    pub can: Capabilities,
    /// The machine's name.
    pub hostname: Plain<256>,
    /// Where it reaches the master; its tasks are told the same (`DET_MASTER`).
    #[serde(default)]
    pub master_url: Plain<2048>,
    /// Runs on its disk that weren't forgotten yet, [`MAX_HELD`] at most.
    #[serde(deserialize_with = "few_runs")]
    pub held: Vec<AllocationId>,
    /// [`Start::given`] of those among them that it has it of.
    #[serde(default)]
    pub given: BTreeMap<AllocationId, Plain<GIVEN>>,
}

fn unnamed() -> Capabilities {
    Capabilities::UNNAMED
}

/// Those of kinds that are known, and no more of them than a machine has, counted while they are read (MC6).
fn known_devices<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Device>, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Known {
        Cpu,
        Cuda,
        #[serde(other)]
        Unknown,
    }
    #[derive(Deserialize)]
    struct Told {
        kind: Known,
        #[serde(default)]
        id: u32,
        #[serde(default)]
        brand: Plain<256>,
        #[serde(default)]
        uuid: Plain<256>,
    }
    let told = Few::<Told, MAX_DEVICES>::deserialize(from)?;
    let known = |Told { kind, id, brand, uuid }| {
        let kind = match kind {
            Known::Cpu => DeviceKind::Cpu,
            Known::Cuda => DeviceKind::Cuda,
            Known::Unknown => return None,
        };
        Some(Device { id, kind, brand, uuid })
    };
    Ok(told.into_iter().filter_map(known).collect())
}

fn few_runs<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<AllocationId>, D::Error> {
    Few::<AllocationId, MAX_HELD>::deserialize(from).map(Vec::from)
}

/// Inside [`ToAgent::Start`].
#[derive(Clone, Serialize, Deserialize)]
pub struct Start {
    /// The run.
    pub allocation: AllocationId,
    /// Whose it is, by the account's `domain::identity::MachineNumber` (earlier masters say its id): what an agent's machine
    /// has is shared out among accounts, not among Unix users (I5), and all ids of the task are by it (T6).
    #[serde(default)]
    pub owner: Option<u32>,
    /// Command line; one element is run by `/bin/sh -c`.
    pub entrypoint: Vec<String>,
    /// Environment, complete but for `PATH`, `HOME` and the like.
    pub env: Vec<(String, String)>,
    /// As whom.
    pub identity: UnixIdentity,
    /// Working directory; none is the private one.
    pub work_dir: Option<String>,
    /// A script that is sourced before the command, ahead of the context directory's own.
    #[serde(default)]
    pub startup_hook: Option<String>,
    /// Directories of the machine.
    pub bind_mounts: Vec<BindMount>,
    /// Size of `/dev/shm` in bytes.
    pub shm_bytes: Option<u64>,
    /// What the task wants to reach; what the agent gives when absent.
    #[serde(default)]
    pub network: Option<Network>,
    /// Slots, by device number.
    pub slots: Vec<u32>,
    /// Whether to fetch the context directory, with the run's own token, at `/api/v1/tasks/{task}/context_directory`
    /// with `Accept: application/gzip`.
    pub has_context: bool,
    /// The run's own token.
    pub token: String,
    /// By what the agent shows, when it registers, that this master gave the run to it, also to one that has forgotten that (KP2).
    /// It proves nothing to anybody else, and is nobody else's; earlier masters say none.
    #[serde(default)]
    pub given: String,
}

impl std::fmt::Debug for Start {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Variables and token are nobody's business in a log.
        f.debug_struct("Start").field("allocation", &self.allocation).finish_non_exhaustive()
    }
}

/// A piece of a run's log file: whole records, beginning at `offset`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogChunk {
    /// The run.
    pub allocation: AllocationId,
    /// Where in the log file `records` begins, in bytes.
    pub offset: u64,
    /// The bytes.
    pub records: Vec<u8>,
}

impl LogChunk {
    /// The frame: length of the id (u8), id, offset (u64 LE), records.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let id = self.allocation.to_string();
        let mut out = Vec::with_capacity(1 + id.len() + 8 + self.records.len());
        out.push(u8::try_from(id.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(id.as_bytes());
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&self.records);
        out
    }

    /// Reads [`Self::encode`]'s form; `None` when it is something else.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (len, rest) = bytes.split_first()?;
        let (id, rest) = rest.split_at_checked(usize::from(*len))?;
        let (offset, records) = rest.split_at_checked(8)?;
        Some(Self {
            allocation: std::str::from_utf8(id).ok()?.parse().ok()?,
            offset: u64::from_le_bytes(offset.try_into().ok()?),
            records: records.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests;
