//! What clients keep for their user. No change of the installation, so the audit log says nothing of it.

use domain::authz::{ChangeSettings, Permit, SeeSettings};
use domain::setting::{Setting, merge};
use store::Store;

use crate::Error;

/// Settings.
#[derive(Debug, Clone)]
pub struct Settings {
    store: Store,
}

impl Settings {
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
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
    pub async fn set(&self, permit: Permit<ChangeSettings>, changes: Vec<Setting>) -> Result<(), Error> {
        let user = permit.into_target();
        let mut tx = self.store.write().await?;
        let there = store::setting::of_user(&mut tx, user).await?;
        let merged = merge(there, changes).map_err(|e| Error::Invalid(e.to_string()))?;
        store::setting::replace(&mut tx, user, &merged).await?;
        Ok(tx.commit_unaudited("what a client keeps for its user").await?)
    }

    /// Deletes all of them.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn reset(&self, permit: Permit<ChangeSettings>) -> Result<(), Error> {
        let mut tx = self.store.write().await?;
        store::setting::replace(&mut tx, permit.into_target(), &[]).await?;
        Ok(tx.commit_unaudited("what a client keeps for its user").await?)
    }
}
