//! What administrators tell everybody.

use serde_json::Value;

use super::{Client, Result};
use crate::cluster_message::{GetClusterMessage, SetClusterMessage};

const PATH: &str = "/api/v1/master/cluster_message";

impl Client {
    /// The message that isn't over.
    ///
    /// # Errors
    /// 403 for everybody but administrators.
    pub async fn cluster_message(&self) -> Result<GetClusterMessage> {
        self.get(PATH).await
    }

    /// Sets the message.
    ///
    /// # Errors
    /// 403 for everybody but administrators.
    pub async fn set_cluster_message(&self, message: &SetClusterMessage) -> Result<()> {
        self.put::<_, Value>(PATH, message).await.map(drop)
    }

    /// Clears the message.
    ///
    /// # Errors
    /// 403 for everybody but administrators.
    pub async fn clear_cluster_message(&self) -> Result<()> {
        self.delete::<Value>(PATH).await.map(drop)
    }
}
