//! Our agents as a manager: where a run starts is decided by `domain::scheduler`, and they are told at once. What they say
//! comes over their connections (`scheduler::agents`).

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use api::agent::{Register, Start, ToAgent};
use domain::agent::DeviceKind;
use domain::allocation::Placement;
use domain::id::{AgentId, AllocationId, ResourcePool};
use domain::scheduler::{Decision, Round};
use tokio::sync::mpsc;

use super::{Around, Reports, ResourceManager};

/// How each agent is told.
#[derive(Default)]
pub(crate) struct Agents(Mutex<BTreeMap<AgentId, Here>>);

struct Here {
    /// Weak: a connection is the scheduler's, and over when that lets go of it.
    link: mpsc::WeakUnboundedSender<ToAgent>,
    around: Around,
}

impl Agents {
    /// An agent is connected; a connection of before is none any more.
    pub(crate) fn came(&self, agent: &AgentId, link: &mpsc::UnboundedSender<ToAgent>, about: &Register) {
        let gpus = about.devices.iter().any(|device| device.kind == DeviceKind::Cuda);
        let around = Around { master_url: about.master_url.to_string(), gpus };
        self.here().insert(agent.clone(), Here { link: link.downgrade(), around });
    }

    fn here(&self) -> MutexGuard<'_, BTreeMap<AgentId, Here>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, agent: &AgentId, message: ToAgent) {
        if let Some(link) = self.here().get(agent).and_then(|here| here.link.upgrade()) {
            let _ = link.send(message);
        }
    }
}

impl ResourceManager for Agents {
    fn begin(&self, _: Reports) {}

    fn decide(&self, round: &mut Round<'_>, pools: &[ResourcePool]) -> Vec<Decision> {
        let mut decisions = Vec::new();
        pools.iter().for_each(|pool| decisions.append(&mut round.place(pool)));
        decisions
    }

    fn around(&self, _: AllocationId, agent: &AgentId) -> Option<Around> {
        let here = self.here();
        let here = here.get(agent)?;
        here.link.upgrade().map(|_| here.around.clone())
    }

    fn launch(&self, agent: &AgentId, start: Start) {
        self.tell(agent, ToAgent::Start(Box::new(start)));
    }

    /// One that is away is told when it is back.
    fn cancel(&self, allocation: AllocationId, on: &Placement, now: bool) {
        on.parts().for_each(|part| self.tell(&part.agent, ToAgent::Kill { allocation, now }));
    }
}
