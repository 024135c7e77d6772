//! Belonging to a master: enrolling once with an invitation, and the file that remembers it. Proving it on each
//! connection is in `connection`.

use std::fs;
use std::io;

use api::agent::{Opening, PROTOCOL, ToAgent};
use domain::id::AgentId;
use link::{Invitation, Public, Secret};
use serde::{Deserialize, Serialize};

use crate::AgentError;
use crate::data_dir::{DataDir, write_file};
use crate::dial::{self, Lost};
use crate::key;
use crate::machine::Machine;

/// Whose agent this is, as the file has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct File {
    name: AgentId,
    master_id: String,
    /// Absent in files of protocol 1.
    #[serde(default)]
    master_key: Option<String>,
}

/// Whose agent this is, and how it proves it.
#[derive(Debug, Clone)]
pub(crate) struct Enrolment {
    /// The master: the holder of this key, and nobody else (A2).
    pub(crate) master: Public,
    /// The agent's own key.
    pub(crate) key: Secret,
}

/// What a data directory says.
#[derive(Debug)]
pub(crate) enum Found {
    /// It belongs to a master.
    Enrolled(Enrolment),
    /// It was enrolled by a version that didn't know the master's key.
    Old,
    Nothing,
}

/// Reads what is remembered.
pub(crate) fn load(data_dir: &DataDir, name: &AgentId) -> Result<Found, AgentError> {
    let file = data_dir.enrolment_file();
    let bytes = match fs::read(&file) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(e) => return Err(AgentError::io(format!("cannot read {}", file.display()))(e)),
    };
    let damaged = |why: String| AgentError::Damaged { file: file.clone(), why };
    let known: File = serde_json::from_slice(&bytes).map_err(|e| damaged(e.to_string()))?;
    if known.name != *name {
        return Err(AgentError::OtherName {
            data_dir: data_dir.root().to_owned(),
            enrolled: known.name,
            asked: name.clone(),
        });
    }
    let Some(master) = known.master_key else { return Ok(Found::Old) };
    let master = master.parse().map_err(|e: link::BadKey| damaged(e.to_string()))?;
    Ok(Found::Enrolled(Enrolment { master, key: key::load_or_create(&data_dir.key_file())? }))
}

/// The master that a data directory says it belongs to; `None` when it belongs to nobody, or to one of the version
/// that didn't know its key. Damaged files are for the agent's own start to tell.
#[must_use]
pub fn enrolled_with(data_dir: &std::path::Path) -> Option<Public> {
    let bytes = fs::read(data_dir.join("agent.json")).ok()?;
    let known: File = serde_json::from_slice(&bytes).ok()?;
    known.master_key?.parse().ok()
}

/// The name that a data directory was enrolled under; `None` when it was under none, or can't be read. The machine may
/// have another name by now.
#[must_use]
pub fn enrolled_as(data_dir: &std::path::Path) -> Option<AgentId> {
    let bytes = fs::read(data_dir.join("agent.json")).ok()?;
    serde_json::from_slice::<File>(&bytes).ok().map(|known| known.name)
}

/// Enrols with the master that the invitation names, and remembers it.
pub(crate) async fn enrol(
    machine: &Machine,
    key: Secret,
    invitation: &Invitation,
) -> Result<Enrolment, Lost> {
    let opening = Opening::Enrol {
        protocol: PROTOCOL,
        invitation: invitation.secret.clone(),
        name: machine.name.to_string(),
    };
    let mut channel = dial::open(machine, &key, invitation.master, &opening).await?;
    let master_id = match dial::answer(&mut channel.receiver).await {
        Ok(ToAgent::Enrolled { master_id }) => master_id,
        Ok(_) => return Err(dial::unexpected()),
        Err(Lost::Stranger(why) | Lost::Fatal(AgentError::Refused(why))) => {
            return Err(Lost::Fatal(AgentError::InvitationRefused(why)));
        }
        Err(lost) => return Err(lost),
    };
    let master = invitation.master;
    let file = File { name: machine.name.clone(), master_id, master_key: Some(master.to_string()) };
    save(&machine.data_dir, &file).map_err(Lost::Fatal)?;
    Ok(Enrolment { master, key })
}

fn save(data_dir: &DataDir, known: &File) -> Result<(), AgentError> {
    let file = data_dir.enrolment_file();
    let cannot = AgentError::io(format!("cannot write {}", file.display()));
    let bytes = serde_json::to_vec_pretty(known).map_err(io::Error::from);
    bytes.and_then(|bytes| write_file(&file, &bytes)).map_err(cannot)?;
    // Of protocol 1, and good for nothing any more.
    let _ = fs::remove_file(data_dir.root().join("agent.key"));
    Ok(())
}
