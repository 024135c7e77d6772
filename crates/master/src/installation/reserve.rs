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
    let mut told = None;
    loop {
        // Once for each state: the log is on that disk, too.
        let trouble = store.keep_reserve(bytes).await.err().map(|error| error.to_string());
        if let Some(error) = trouble.as_ref().filter(|_| trouble != told) {
            tracing::warn!(
                %error, bytes,
                "the database's reserve for a full disk could not be looked at (disk_reserve_bytes); it is tried again"
            );
        }
        told = trouble;
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}
