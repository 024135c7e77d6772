//! The queue.

use serde_json::Value;

use super::{Client, Result};
use crate::job::{FullJob, JobUpdate, ListJobs, UpdateJobs};

impl Client {
    /// Living tasks, those that run first.
    ///
    /// # Errors
    /// What went wrong, on the way or there.
    pub async fn jobs(&self) -> Result<Vec<FullJob>> {
        let found: ListJobs = self.get("/api/v1/job-queues-v2").await?;
        Ok(found.jobs.into_iter().map(|job| job.full).collect())
    }

    /// Changes some.
    ///
    /// # Errors
    /// What went wrong, on the way or there.
    pub async fn update_jobs(&self, updates: Vec<JobUpdate>) -> Result<()> {
        self.post::<_, Value>("/api/v1/job-queues", &UpdateJobs { updates: updates.into() }).await.map(drop)
    }
}
