//! What an agent is told to start: command line, environment, identity (contract "runtime", section 3.1).

use api::agent::Start;
use domain::allocation::Part;
use domain::config::TaskConfig;
use domain::identity::MachineNumber;
use domain::task::Task;
use serde_json::json;

use super::{Parts, strange};
use crate::manager::Around;

/// The message that starts a part of `task` where it is as `around` says.
pub(super) fn start_message(
    task: &Task,
    part: &Part,
    config: &TaskConfig,
    around: &Around,
    parts: &Parts,
    (owner, token): &(MachineNumber, String),
) -> Start {
    Start {
        allocation: task.latest.id,
        owner: Some(owner.get()),
        entrypoint: config.entrypoint.clone(),
        env: environment((task, part), config, around, parts, token),
        identity: task.identity.clone(),
        work_dir: config.work_dir.clone(),
        startup_hook: config.startup_hook.clone(),
        bind_mounts: config.bind_mounts.clone(),
        shm_bytes: config.shm_bytes().ok().flatten(),
        network: config.network,
        slots: part.slots.clone(),
        has_context: task.has_context,
        token: token.clone(),
        given: strange::given(&parts.key, &part.agent, task.latest.id),
    }
}

fn environment(
    (task, part): (&Task, &Part),
    config: &TaskConfig,
    around: &Around,
    parts: &Parts,
    token: &str,
) -> Vec<(String, String)> {
    let master = around.master_url.as_str();
    let address = master.split_once("://").map_or(master, |(_, rest)| rest).trim_end_matches('/');
    // A bare IPv6 address has colons of its own.
    let port = address.rsplit_once(':').filter(|(_, port)| !port.contains(']'));
    let (host, port) = port.unwrap_or((address, "80"));
    let allocation = task.latest.id.to_string();
    let kind = task.kind.about();
    let metadata = json!({"task_id": task.id, "allocation_id": allocation}).to_string();
    let fixed = [
        ("DET_MASTER", master),
        ("DET_MASTER_ADDR", host),
        ("DET_MASTER_HOST", host),
        ("DET_MASTER_PORT", port),
        ("DET_MASTER_ID", parts.cluster.id()),
        ("DET_CLUSTER_ID", parts.cluster.id()),
        ("DET_AGENT_ID", part.agent.as_str()),
        ("DET_SLOT_IDS", &json!(part.slots).to_string()),
        ("DET_TASK_ID", &task.id.to_string()),
        ("DET_ALLOCATION_ID", allocation.as_str()),
        ("DET_SESSION_TOKEN", token),
        // The clients in a task act as its owner with the task's own rights, not with a session's.
        ("DET_USER_TOKEN", token),
        ("DET_USER", task.owner_name.as_str()),
        ("DET_TASK_TYPE", kind.variable),
        ("DET_RESOURCES_ID", allocation.as_str()),
        ("DET_RESOURCES_TYPE", "docker-container"),
        ("DET_CONTAINER_ID", allocation.as_str()),
        ("DET_WORKDIR", "/run/determined/workdir"),
        ("DET_RUN_DIR", "/run/determined"),
        ("PYTHONUSERBASE", "/run/determined/pythonuserbase"),
        ("DET_USE_TLS", "false"),
        ("DET_SEGMENT_ENABLED", "false"),
        ("DET_TASK_LOGGING_METADATA", metadata.as_str()),
    ];
    let mut env: Vec<(String, String)> = fixed
        .iter()
        .chain(kind.variables)
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    for (name, value) in of_configuration(config, around) {
        // One value each (B7): the configuration's over the installation's defaults, which stand before it, and over
        // Muster's but for those that it speaks to its own clients by.
        match env.iter_mut().find(|(known, _)| known == name) {
            Some(_) if is_musters(name) => {}
            Some((_, known)) => value.clone_into(known),
            None => env.push((name.to_owned(), value.to_owned())),
        }
    }
    env
}

/// Variables of the configuration that Muster's own take the place of, for the task's log.
pub(super) fn overruled(config: &TaskConfig, around: &Around, start: &Start) -> Vec<String> {
    let set = |name: &str| start.env.iter().any(|(known, _)| known == name);
    let kept = |name: &str, value: &str| start.env.iter().any(|(known, own)| known == name && own == value);
    let mut names: Vec<String> = of_configuration(config, around)
        .filter(|(name, value)| is_musters(name) && set(name) && !kept(name, value))
        .map(|(name, _)| name.to_owned())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Whether a variable is Muster's to set. Others of these names that it doesn't set are the user's.
fn is_musters(name: &str) -> bool {
    name.starts_with("DET_") || name.starts_with("MUSTER_")
}

/// The variables of the configuration, for the agent's kind of slots.
fn of_configuration<'a>(config: &'a TaskConfig, around: &Around) -> impl Iterator<Item = (&'a str, &'a str)> {
    let variables = &config.environment.environment_variables;
    let lines = if around.gpus { &variables.cuda } else { &variables.cpu };
    lines.iter().map(|line| line.split_once('=').unwrap_or((line, "")))
}
