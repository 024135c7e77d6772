//! Registrations of one agent: one at a time, and no more than a part of the time. Each of them looks through all living
//! tasks and writes to the database, so an agent that lies, on however many connections, would have others wait (A5).

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::id::AgentId;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use tokio::time::Instant;

use crate::Error;

/// So many may wait. An agent has one connection; one that comes anew may meet the one before.
const WAITING: usize = 4;

/// The next one begins after so many times what the last one took, …
const REST: u32 = 9;
/// … which is at least an agent's own shortest pause, and never a long wait.
const BOUNDS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// The turns of all agents.
#[derive(Debug, Clone, Default)]
pub(super) struct Turns(Arc<Mutex<HashMap<AgentId, Arc<Queue>>>>);

#[derive(Debug, Default)]
struct Queue {
    waiting: AtomicUsize,
    /// When the next one may begin.
    next: Arc<AsyncMutex<Option<Instant>>>,
}

/// A registration's turn: over when it is dropped.
#[derive(Debug)]
pub struct Turn {
    next: OwnedMutexGuard<Option<Instant>>,
    begun: Instant,
}

impl Turns {
    /// Waits for the turn of a registration of an agent that is enrolled.
    ///
    /// # Errors
    /// [`Error::Busy`] when enough of them wait.
    pub(super) async fn take(&self, agent: &AgentId) -> Result<Turn, Error> {
        let queue = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(all.entry(agent.clone()).or_default())
        };
        let waits = Waits::begin(&queue.waiting)?;
        let next = Arc::clone(&queue.next).lock_owned().await;
        if let Some(at) = *next {
            tokio::time::sleep_until(at).await;
        }
        drop(waits);
        Ok(Turn { next, begun: Instant::now() })
    }
}

/// One that waits, however that ends.
struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn begin(waiting: &'a AtomicUsize) -> Result<Self, Error> {
        let waits = Self(waiting);
        if waiting.fetch_add(1, Ordering::SeqCst) < WAITING {
            return Ok(waits);
        }
        Err(Error::Busy("this agent is registering on other connections".to_owned()))
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let rest = (self.begun.elapsed() * REST).clamp(BOUNDS.0, BOUNDS.1);
        *self.next = Some(Instant::now() + rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// U2: whoever registers again and again waits, and nobody else does.
    #[tokio::test(start_paused = true)]
    async fn a05_an_agent_that_registers_again_and_again_waits_for_itself() {
        let (turns, began) = (Turns::default(), Instant::now());
        let (liar, honest) = ("liar".parse().expect("a name"), "honest".parse().expect("a name"));
        let turn = turns.take(&liar).await.expect("the first");
        let others: Vec<_> = (0..20)
            .map(|_| {
                tokio::spawn({
                    let (turns, liar) = (turns.clone(), AgentId::clone(&liar));
                    async move { turns.take(&liar).await.map(drop) }
                })
            })
            .collect();
        tokio::task::yield_now().await;
        assert_eq!(began.elapsed(), Duration::ZERO);
        drop(turns.take(&honest).await.expect("at once"));
        assert_eq!(began.elapsed(), Duration::ZERO, "nobody else waits");
        tokio::time::sleep(Duration::from_millis(40)).await;
        drop(turn);
        let mut taken = 0;
        for other in others {
            taken += usize::from(other.await.expect("ended").is_ok());
        }
        assert_eq!(taken, WAITING, "the others are refused");
        assert!(began.elapsed() >= Duration::from_millis(400) + BOUNDS.0 * 3, "{:?}", began.elapsed());
    }
}
