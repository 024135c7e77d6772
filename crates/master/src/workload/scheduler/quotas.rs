//! What users and workspaces may have, by the names in the configuration.

use domain::scheduler::{Quotas, Snapshot};
use store::Conn;

use crate::{Error, config};

/// Those of everybody who has or wants something. Names that nobody has say nothing.
pub(super) async fn of(conn: &mut Conn, set: &config::Quotas, snapshot: &Snapshot) -> Result<Quotas, Error> {
    let mut quotas = Quotas::default();
    if set.is_empty() {
        return Ok(quotas);
    }
    let both = || {
        let waiting = snapshot.waiting.iter().map(|run| (run.owner, run.workspace));
        waiting.chain(snapshot.running.iter().map(|run| (run.owner, run.workspace)))
    };
    if let Some(slots) = set.slots_per_user {
        quotas.users.extend(both().map(|(owner, _)| (owner, slots)));
    }
    if let Some(slots) = set.slots_per_workspace {
        quotas.workspaces.extend(both().map(|(_, workspace)| (workspace, slots)));
    }
    for (name, quota) in &set.users {
        let Some(user) = store::user::by_username(conn, name).await? else { continue };
        quotas.users.extend(quota.slots.map(|slots| (user.id, slots)));
        quotas.weights.extend(quota.share().map(|weight| (user.id, weight)));
    }
    for (name, slots) in &set.workspaces {
        if let Some(workspace) = store::workspace::by_name(conn, name).await? {
            quotas.workspaces.insert(workspace.id, *slots);
        }
    }
    Ok(quotas)
}
