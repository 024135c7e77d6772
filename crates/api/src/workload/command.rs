//! Commands and tasks (contract "runtime", sections 1.1 and 2.1).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use crate::cluster::Container;
use crate::page::Pagination;
use crate::wire::flexible_i64;

/// A file of the context directory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ContextFile {
    /// Relative path with `/`.
    pub path: String,
    /// tar type flag as a number: 48 regular file, 53 directory.
    #[serde(rename = "type", deserialize_with = "flexible_i64")]
    pub kind: Option<i64>,
    /// Base64 of the bytes.
    pub content: String,
    /// Seconds since 1970.
    #[serde(deserialize_with = "flexible_i64")]
    pub mtime: Option<i64>,
    /// Permission bits, maybe with type bits.
    #[serde(deserialize_with = "flexible_i64")]
    pub mode: Option<i64>,
    /// Always 0; not used.
    #[serde(deserialize_with = "flexible_i64")]
    pub uid: Option<i64>,
    /// Always 0; not used.
    #[serde(deserialize_with = "flexible_i64")]
    pub gid: Option<i64>,
}

/// tar type flag of a regular file.
pub const FILE_TYPE: i64 = 48;
/// tar type flag of a directory.
pub const DIRECTORY_TYPE: i64 = 53;
/// Deepest nesting of what is sent along, in names of a path.
pub const MAX_CONTEXT_DEPTH: usize = 128;

/// Most files in one context directory (R45).
pub const MAX_FILES: usize = 100_000;

/// The files of a context directory as they were sent: text, of which one file at a time is read. Whatever their number, they
/// cost no more than their size (A6, MB2).
#[derive(Debug, Clone)]
pub struct ContextFiles {
    text: Box<RawValue>,
    count: usize,
    encoded: u64,
}

impl ContextFiles {
    /// The same of files that are there.
    ///
    /// # Errors
    /// When there are more than [`MAX_FILES`].
    pub fn new(files: &[ContextFile]) -> serde_json::Result<Self> {
        Self::counted(to_raw_value(files)?)
    }

    fn counted(text: Box<RawValue>) -> serde_json::Result<Self> {
        let (mut count, mut encoded) = (0, 0_u64);
        let all = each(&text, |file: ContextFile| {
            if count == MAX_FILES {
                let text = format!("the context directory has too many files: send at most {MAX_FILES}");
                return Err(serde_json::Error::custom(text));
            }
            count += 1;
            encoded = encoded.saturating_add(file.content.len() as u64);
            Ok(())
        });
        all??;
        Ok(Self { text, count, encoded })
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// What is in them, in bytes, about.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.encoded / 4 * 3
    }

    /// Takes one after the other, until one is refused.
    ///
    /// # Errors
    /// Why the first one was that can't be taken.
    pub fn each<E>(&self, take: impl FnMut(ContextFile) -> Result<(), E>) -> Result<(), E> {
        // They were read before.
        each(&self.text, take).unwrap_or(Ok(()))
    }
}

/// Reads files one by one: the outer error is the text's, the inner one of who takes them.
fn each<E>(
    text: &RawValue,
    mut take: impl FnMut(ContextFile) -> Result<(), E>,
) -> serde_json::Result<Result<(), E>> {
    let mut refused = None;
    let take = |file| take(file).map_err(|error| refused = Some(error)).is_ok();
    let read = serde_json::Deserializer::from_str(text.get()).deserialize_seq(OneByOne(take));
    refused.map_or_else(|| read.map(Ok), |error| Ok(Err(error)))
}

struct OneByOne<F>(F);

impl<'de, F: FnMut(ContextFile) -> bool> Visitor<'de> for OneByOne<F> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of files")
    }
    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        while let Some(file) = list.next_element()? {
            if !(self.0)(file) {
                return Err(A::Error::custom("it was refused"));
            }
        }
        Ok(())
    }
}

impl Serialize for ContextFiles {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.text.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ContextFiles {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::counted(Box::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl JsonSchema for ContextFiles {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "ContextFiles".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let items = generator.subschema_for::<ContextFile>();
        json_schema!({ "type": "array", "items": items, "maxItems": MAX_FILES })
    }
}

/// Body of `POST commands`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LaunchCommand {
    /// The configuration, free-form here: its size is looked at before anything is made of it.
    #[schemars(with = "Option<Value>")]
    pub config: Option<Box<RawValue>>,
    /// Template to lay it over.
    #[serde(alias = "template_name", skip_serializing_if = "Option::is_none")]
    pub template_name: Option<String>,
    /// The context directory.
    pub files: Option<ContextFiles>,
    /// Where it belongs.
    #[serde(
        alias = "workspace_id",
        deserialize_with = "flexible_i64",
        skip_serializing_if = "Option::is_none"
    )]
    pub workspace_id: Option<i64>,
}

/// Answer of `POST commands`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct LaunchCommandResponse {
    /// The command.
    pub command: Command,
    /// Its configuration, fully merged.
    pub config: Value,
    /// `LAUNCH_WARNING_…`: Determined's clients know `…CURRENT_SLOTS_EXCEEDED` and fail at any other text.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// What of the configuration has no effect. Muster's own.
    #[serde(default, rename = "configWarnings")]
    pub config_warnings: Vec<ConfigWarning>,
}

/// A setting that was taken and has no effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigWarning {
    /// Where it stands, such as `environment.image`.
    pub key: String,
    /// A sentence for people.
    pub message: String,
}

/// A command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Command {
    /// Its id.
    pub id: String,
    /// Name for people.
    pub description: String,
    /// `STATE_QUEUED`, `…STARTING`, `…RUNNING`, `…TERMINATING`, `…TERMINATED`.
    pub state: String,
    /// RFC 3339: when it was made.
    pub start_time: String,
    /// Its process.
    pub container: Option<Container>,
    /// Owner's display name.
    pub display_name: String,
    /// Owner.
    pub user_id: i64,
    /// Owner's name.
    pub username: String,
    /// Its pool.
    pub resource_pool: String,
    /// How it ended, in words; empty while alive.
    pub exit_status: String,
    /// Its job: the same id.
    pub job_id: String,
    /// Where it belongs.
    pub workspace_id: i64,
    /// Exit status of the process, when it ran to an end. Muster's own.
    #[serde(default)]
    pub exit_code: Option<i32>,
    /// The signal that ended the process, if one did. Muster's own.
    #[serde(default)]
    pub exit_signal: Option<i32>,
    /// Why it waits, while queued. Muster's own.
    #[serde(default)]
    pub waiting_for: Option<String>,
    /// How many wait before it in its pool's queue, while queued. Muster's own.
    #[serde(default)]
    pub jobs_ahead: Option<usize>,
    /// Where it runs. Muster's own.
    #[serde(default)]
    pub agent_id: Option<String>,
    /// `user:uid:group:gid` that it runs as. Muster's own.
    #[serde(default)]
    pub runs_as: String,
    /// RFC 3339: when it ended. Muster's own.
    #[serde(default)]
    pub end_time: Option<String>,
    /// Lower first. Muster's own.
    #[serde(default)]
    pub priority: i64,
    /// Slots asked. Muster's own.
    #[serde(default)]
    pub slots: u32,
}

/// Answer of `GET commands/{id}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GetCommand {
    /// The command.
    pub command: Command,
    /// Its configuration.
    pub config: Value,
}

/// `{"command": …}`: answer of kill and of `set_priority`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CommandResponse {
    /// The command.
    pub command: Command,
}

/// Answer of `GET commands`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ListCommands {
    /// A page of them.
    pub commands: Vec<Command>,
    /// Where it lies.
    pub pagination: Pagination,
}

/// Body of `POST commands/{id}/set_priority`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SetPriority {
    /// 1 to 99.
    #[serde(deserialize_with = "flexible_i64")]
    pub priority: Option<i64>,
}

/// Answer of `GET tasks/{id}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GetTask {
    /// The task.
    pub task: Task,
}

/// A task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    /// Its id.
    pub task_id: String,
    /// `TASK_TYPE_COMMAND` …
    pub task_type: String,
    /// Its runs.
    pub allocations: Vec<Allocation>,
    /// RFC 3339.
    pub start_time: String,
    /// RFC 3339; absent while alive.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub end_time: Option<String>,
}

/// How a part of a run on several agents ended. Muster's own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PartExit {
    /// Where it was.
    pub agent_id: String,
    /// Exit status; absent when its agent lost it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status_code: Option<i32>,
    /// The signal that ended it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub exit_signal: Option<i32>,
    /// As [`Allocation::exit_fault`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub exit_fault: Option<String>,
    /// How it ended.
    pub exit_reason: String,
}

/// A run of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Allocation {
    /// Its id.
    pub allocation_id: String,
    /// Its task.
    pub task_id: String,
    /// As [`Command::state`].
    pub state: String,
    /// A service answers.
    pub is_ready: bool,
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub start_time: Option<String>,
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub end_time: Option<String>,
    /// How many slots.
    pub slots: i64,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub exit_reason: Option<String>,
    /// Exit status.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status_code: Option<i32>,
    /// Whose doing its end was, where that is known: `task`, `ended` (it was asked for), or the machine's: `memory`, `disk`,
    /// `launch`, `lost`. Muster's own.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub exit_fault: Option<String>,
    /// Of a run on several agents: how those of its parts ended that are over, the first one first. Muster's own.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub exits: Vec<PartExit>,
}

/// Answer of `GET tasks`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListTasks {
    /// Running tasks by allocation.
    pub allocation_id_to_summary: BTreeMap<String, AllocationSummary>,
}

/// A running task in [`ListTasks`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AllocationSummary {
    /// Its task.
    pub task_id: String,
    /// Its id.
    pub allocation_id: String,
    /// Name for people.
    pub name: String,
    /// RFC 3339.
    pub registered_time: String,
    /// Its pool.
    pub resource_pool: String,
    /// How many.
    pub slots_needed: i64,
    /// The agents that it has slots of.
    pub resources: Vec<ResourcesSummary>,
    /// `priority`.
    pub scheduler_type: String,
    /// Lower first.
    pub priority: i64,
    /// Always empty.
    pub proxy_ports: Vec<Value>,
}

/// What a run holds on an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourcesSummary {
    /// Its id.
    pub resources_id: String,
    /// `docker-container`.
    pub resources_type: String,
    /// The allocation's id.
    pub container_id: String,
    /// Devices by agent.
    pub agent_devices: BTreeMap<String, Value>,
    /// Null.
    pub started: Option<Value>,
    /// Null.
    pub exited: Option<Value>,
}

/// Answer of `GET tasks/{id}/context_directory`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContextDirectory {
    /// Base64 of the packed archive; empty without one.
    #[serde(rename = "b64Tgz")]
    pub b64_tgz: String,
}

/// Which commands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CommandQuery {
    /// Rows to skip; negative counts from the end.
    pub offset: Option<i64>,
    /// Most rows; all without it.
    pub limit: Option<i64>,
    /// `ORDER_BY_ASC` or `ORDER_BY_DESC`.
    pub order_by: Option<String>,
    /// Of any of these accounts, by name, …
    pub users: Vec<String>,
    /// … or number.
    pub user_ids: Vec<String>,
    /// In this workspace; 0 is all.
    pub workspace_id: Option<i64>,
    /// Whose id begins so.
    pub id_prefix: Option<String>,
}
