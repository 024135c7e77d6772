//! Keeps the database's reserve for a full disk filled (A4).

use std::time::Duration;

use store::Store;
use tokio_util::sync::CancellationToken;

/// How often it is looked at.
const EVERY: Duration = Duration::from_secs(2);

/// Until the master stops.
pub(crate) async fn keep(store: Store, bytes: u64, stop: CancellationToken) {
    if bytes == 0 {
        return;
    }
    loop {
        if let Err(error) = store.keep_reserve(bytes).await {
            tracing::warn!(%error, "the database's reserve for a full disk could not be looked at");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}
