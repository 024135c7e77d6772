//! What administrators tell everybody: one message at a time, the one that was set last. What there was before is in the
//! audit log.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::audit::{Entry, Who};
use domain::authz::{Permit, ReadClusterMessage, SetClusterMessage};
use domain::cluster_message::{ClusterMessage, Draft};
use domain::time::Timestamp;
use serde_json::{Value, json};
use store::{Conn, Store, StoreError, Tx, meta};

use crate::Error;
use crate::system::Clock;

/// The name of the fact.
const NAME: &str = "cluster_message";

/// Messages to everybody.
#[derive(Clone)]
pub struct ClusterMessages {
    store: Store,
    clock: Arc<dyn Clock>,
    known: Arc<Mutex<Known>>,
}

/// The message as it is in the database: strangers are told it with every page, and take no connection from people for that
/// (MC9).
#[derive(Default)]
struct Known {
    /// Grows with each change, so that nobody notes what was read before one.
    changes: u64,
    message: Option<Option<ClusterMessage>>,
}

impl std::fmt::Debug for ClusterMessages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClusterMessages")
    }
}

fn target() -> Who {
    Who::named("cluster message", &"", "")
}

fn facts(message: &ClusterMessage) -> Value {
    json!({
        "message": message.text,
        "startTime": message.starts_at.rfc3339(),
        "endTime": message.ends_at.map(Timestamp::rfc3339),
    })
}

impl ClusterMessages {
    pub(crate) fn new(store: Store, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock, known: Arc::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn current(&self, conn: &mut Conn) -> Result<Option<ClusterMessage>, Error> {
        let Some(text) = meta::get(conn, NAME).await? else { return Ok(None) };
        let corrupt = |e| StoreError::Corrupt(format!("meta: {NAME}: {e}"));
        let message: ClusterMessage = serde_json::from_str(&text).map_err(corrupt)?;
        Ok((!message.is_over(self.clock.now())).then_some(message))
    }

    /// What everybody is to be told now.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn shown(&self) -> Result<Option<ClusterMessage>, Error> {
        let (changes, known) = {
            let known = self.known();
            (known.changes, known.message.clone())
        };
        let message = match known {
            Some(message) => message,
            None => {
                let message = self.current(&mut self.store.read().await?).await?;
                let mut known = self.known();
                if known.changes == changes {
                    known.message = Some(message.clone());
                }
                message
            }
        };
        let now = self.clock.now();
        Ok(message.filter(|message| message.is_shown(now)))
    }

    /// The message that isn't over, also when it is for later.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn get(&self, _permit: &Permit<ReadClusterMessage>) -> Result<Option<ClusterMessage>, Error> {
        let mut conn = self.store.read().await?;
        self.current(&mut conn).await
    }

    /// Sets the message; the one before it is over.
    ///
    /// # Errors
    /// When it isn't acceptable.
    pub async fn set(&self, permit: &Permit<SetClusterMessage>, draft: Draft<'_>) -> Result<(), Error> {
        let now = self.clock.now();
        let message = ClusterMessage::written(draft, now).map_err(|e| Error::Invalid(e.to_string()))?;
        let mut tx = self.store.write().await?;
        let before = self.current(&mut tx).await?;
        meta::set(&mut tx, NAME, &json!(message).to_string()).await?;
        let entry = Entry::done(permit.by(), "cluster_message.set", target());
        let entry = match before {
            Some(before) => entry.changed(facts(&before), facts(&message)),
            None => entry.made(facts(&message)),
        };
        self.commit(tx, &entry).await
    }

    /// Clears the message, if there is one.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn clear(&self, permit: &Permit<SetClusterMessage>) -> Result<(), Error> {
        let mut tx = self.store.write().await?;
        let Some(before) = self.current(&mut tx).await? else { return Ok(()) };
        meta::remove(&mut tx, NAME).await?;
        let entry = Entry::done(permit.by(), "cluster_message.clear", target()).removed(facts(&before));
        self.commit(tx, &entry).await
    }

    async fn commit(&self, tx: Tx, entry: &Entry) -> Result<(), Error> {
        let committed = tx.commit(entry, self.clock.now()).await;
        // Also after an error: it may be in the database all the same.
        let mut known = self.known();
        known.changes += 1;
        known.message = None;
        Ok(committed?)
    }
}
