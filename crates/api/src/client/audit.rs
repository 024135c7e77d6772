//! The audit log.

use futures_util::TryStreamExt as _;

use super::{Client, ClientError, Result, query};
use crate::audit::{ListAudit, VerifiedAudit};

impl Client {
    /// Entries that match, newest first. Parameters are those of `GET audit`.
    ///
    /// # Errors
    /// 403 for everybody but administrators.
    pub async fn audit(&self, parameters: &[(&str, String)]) -> Result<ListAudit> {
        self.get(&format!("/api/v1/audit{}", query(parameters.iter().cloned()))).await
    }

    /// Checks the whole log.
    ///
    /// # Errors
    /// 403 for everybody but administrators.
    pub async fn verify_audit(&self) -> Result<VerifiedAudit> {
        self.get_slowly("/api/v1/audit/verify").await
    }

    /// Entries that match as lines of JSON, oldest first, handed to `take` as they come.
    ///
    /// # Errors
    /// What went wrong, on the way, there, or in `take`.
    pub async fn export_audit<E: From<ClientError>>(
        &self,
        parameters: &[(&str, String)],
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let path = format!("/api/v1/audit/export{}", query(parameters.iter().cloned()));
        let mut pieces = self.open_stream(&path).await?.bytes_stream();
        while let Some(piece) =
            pieces.try_next().await.map_err(|e| ClientError::unreachable(self.address(), &e))?
        {
            take(&piece)?;
        }
        Ok(())
    }
}
