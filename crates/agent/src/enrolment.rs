//! Belonging to a master: enrolling once with an invitation, and the file that remembers it. Proving it on each
//! connection is in `connection`.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use api::agent::ENROL_PATH;
use api::cluster::{EnrolAgent, Enrolled};
use api::error::ErrorBody;
use domain::id::AgentId;
use serde::{Deserialize, Serialize};

use crate::AgentError;
use crate::data_dir::{DataDir, write_file};
use crate::key::Key;

/// Longest wait for the master's answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whose agent this is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Enrolment {
    /// The agent's name.
    pub(crate) name: AgentId,
    /// Its master.
    pub(crate) master_id: String,
}

/// Why enrolling didn't work.
#[derive(Debug)]
pub(crate) enum EnrolError {
    /// It won't work next time either.
    Fatal(AgentError),
    /// The master is away.
    Later(String),
}

impl Enrolment {
    /// What is remembered, `None` before the first enrolment.
    pub(crate) fn load(data_dir: &DataDir, name: &AgentId) -> Result<Option<Self>, AgentError> {
        let file = data_dir.enrolment_file();
        let bytes = match fs::read(&file) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(AgentError::io(format!("cannot read {}", file.display()))(e)),
        };
        let enrolment: Self =
            serde_json::from_slice(&bytes).map_err(|e| AgentError::Damaged { file, why: e.to_string() })?;
        if enrolment.name != *name {
            return Err(AgentError::OtherName {
                data_dir: data_dir.root().to_owned(),
                enrolled: enrolment.name,
                asked: name.clone(),
            });
        }
        Ok(Some(enrolment))
    }

    /// Enrols with the master and remembers it.
    pub(crate) async fn enrol(
        http: &reqwest::Client,
        master: &str,
        data_dir: &DataDir,
        key: &Key,
        name: &AgentId,
        invitation: &str,
    ) -> Result<Self, EnrolError> {
        let body = EnrolAgent {
            invitation: invitation.to_owned(),
            name: name.to_string(),
            public_key: key.public(),
        };
        let answer = http
            .post(format!("{master}{ENROL_PATH}"))
            .json(&body)
            .timeout(PATIENCE)
            .send()
            .await
            .map_err(|e| EnrolError::Later(plain(&e)))?;
        let status = answer.status();
        if !status.is_success() {
            let text = answer.text().await.unwrap_or_default();
            let said = serde_json::from_str::<ErrorBody>(&text).map(|body| body.error.error);
            let said = said.unwrap_or_else(|_| format!("it answered {status}"));
            // Too many requests and the master's own troubles pass.
            if status.is_server_error() || status.as_u16() == 429 || status.as_u16() == 408 {
                return Err(EnrolError::Later(said));
            }
            return Err(EnrolError::Fatal(AgentError::InvitationRefused(said)));
        }
        let enrolled: Enrolled = answer.json().await.map_err(|e| EnrolError::Later(plain(&e)))?;
        let enrolment = Self { name: name.clone(), master_id: enrolled.master_id };
        if enrolled.agent_id != name.as_str() {
            let said = format!("it enrolled '{}' in place of '{name}'", enrolled.agent_id);
            return Err(EnrolError::Fatal(AgentError::Refused(said)));
        }
        enrolment.save(&data_dir.enrolment_file()).map_err(EnrolError::Fatal)?;
        Ok(enrolment)
    }

    fn save(&self, file: &Path) -> Result<(), AgentError> {
        let cannot = AgentError::io(format!("cannot write {}", file.display()));
        let bytes = serde_json::to_vec_pretty(self).map_err(io::Error::from);
        bytes.and_then(|bytes| write_file(file, &bytes)).map_err(cannot)
    }
}

/// An error with its causes: reqwest's own text leaves out the one that helps.
pub(crate) fn plain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = inner.to_string();
        cause = inner.source();
    }
    text
}
