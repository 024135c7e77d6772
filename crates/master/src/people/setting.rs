//! What clients keep for their user. No change of the installation, so the audit log says nothing of it.

use std::sync::Arc;

use domain::authz::{ChangeSettings, Permit, SeeSettings};
use domain::setting::{Changes, Refused, Setting};
use store::Store;

use crate::Error;
use crate::system::Clock;

/// Settings.
#[derive(Clone)]
pub struct Settings {
    store: Store,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").finish_non_exhaustive()
    }
}

impl Settings {
    pub(crate) fn new(store: Store, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }

    /// All settings of the account, by path and key.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn list(&self, permit: Permit<SeeSettings>) -> Result<Vec<Setting>, Error> {
        let mut conn = self.store.read().await?;
        Ok(store::setting::of_user(&mut conn, *permit.target()).await?)
    }

    /// Sets some; an empty value deletes.
    ///
    /// # Errors
    /// When one can't be kept, or the account has too much.
    pub async fn set(
        &self,
        permit: Permit<ChangeSettings>,
        changes: impl IntoIterator<Item = Setting>,
    ) -> Result<(), Error> {
        let invalid = |refused: Refused| Error::Invalid(refused.to_string());
        // Looked at before others wait for it.
        let changes = Changes::new(changes).map_err(invalid)?;
        self.put(permit, |there| changes.over(there).map_err(invalid)).await
    }

    /// Deletes all of them.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn reset(&self, permit: Permit<ChangeSettings>) -> Result<(), Error> {
        self.put(permit, |_| Ok(Vec::new())).await
    }

    async fn put(
        &self,
        permit: Permit<ChangeSettings>,
        wanted: impl FnOnce(Vec<Setting>) -> Result<Vec<Setting>, Error>,
    ) -> Result<(), Error> {
        let user = *permit.target();
        let mut tx = self.store.write().await?;
        let there = store::setting::of_user(&mut tx, user).await?;
        let wanted = wanted(there.clone())?;
        store::setting::replace(&mut tx, user, &there, &wanted).await?;
        let now = self.clock.now();
        Ok(tx.commit_unaudited_by(permit.by(), "what a client keeps for its user", now).await?)
    }
}
