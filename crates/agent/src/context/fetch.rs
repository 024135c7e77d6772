//! Fetching a context directory from the master, through the channel, with the run's own token. Nothing in it is looked at here.

use std::io;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use domain::id::AllocationId;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use link::{Channel, Ends};
use tokio::fs::{self, File};
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::dial::{self, Lost, plain};
use crate::machine::Machine;

/// Largest packed context directory that is taken, in bytes. The master's own limit is far below.
const MAX_PACKED: u64 = 1 << 30;

/// Longest silence of the master in an answer.
const SILENCE: Duration = Duration::from_secs(30);

/// How long to go on trying: longer than a master needs to restart.
const PATIENCE: Duration = Duration::from_secs(90);

/// Bytes between HTTP and the channel.
const BUFFER: usize = 64 << 10;

/// Why a context directory couldn't be had.
#[derive(Debug, thiserror::Error)]
pub enum NotFetched {
    /// The master isn't there, or the way to it broke.
    #[error("{0}")]
    Away(String),
    /// The master doesn't take this agent any more.
    #[error("{0}")]
    ShutOut(String),
    /// It says nothing for [`SILENCE`].
    #[error("the master doesn't answer")]
    NoAnswer,
    /// It says nothing more.
    #[error("the master fell silent")]
    FellSilent,
    /// It says no.
    #[error("the master answered {0}")]
    Refused(StatusCode),
    /// It says too much.
    #[error("it is larger than {} MiB", MAX_PACKED >> 20)]
    TooLarge,
    /// It can't be asked for.
    #[error(transparent)]
    Request(hyper::http::Error),
    /// This machine doesn't take it.
    #[error("it couldn't be stored: {0}")]
    Stored(#[source] io::Error),
    /// It can't be given its name.
    #[error(transparent)]
    Named(io::Error),
}

impl NotFetched {
    /// Whether trying again may help.
    pub(crate) fn passes(&self) -> bool {
        match self {
            Self::Away(_) | Self::NoAnswer | Self::FellSilent => true,
            Self::Refused(status) => status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS,
            Self::ShutOut(_) | Self::TooLarge | Self::Request(_) | Self::Stored(_) | Self::Named(_) => false,
        }
    }
}

/// Fetches the context directory of `allocation` to `file`, which is there completely or not at all.
///
/// # Errors
/// When it couldn't be had.
pub(crate) async fn fetch(
    machine: &Machine,
    allocation: AllocationId,
    token: &str,
    file: &Path,
) -> Result<(), NotFetched> {
    let part = file.with_extension("part");
    let deadline = Instant::now() + PATIENCE;
    let mut pause = Duration::from_millis(100);
    loop {
        let failure = match download(machine, allocation, token, &part).await {
            Ok(()) => match fs::rename(&part, file).await {
                Ok(()) => return Ok(()),
                Err(e) => NotFetched::Named(e),
            },
            Err(failure) => failure,
        };
        // Space is what a failed download must not keep.
        let _ = fs::remove_file(&part).await;
        if !failure.passes() || Instant::now() + pause >= deadline {
            return Err(failure);
        }
        tracing::debug!(%allocation, "the context directory couldn't be fetched yet: {failure}");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}

async fn download(
    machine: &Machine,
    allocation: AllocationId,
    token: &str,
    part: &Path,
) -> Result<(), NotFetched> {
    let request = Request::get(format!("/api/v1/tasks/{}/context_directory", allocation.task))
        .header(header::HOST, "localhost")
        .header("Grpc-Metadata-x-allocation-token", format!("Bearer {token}"))
        .header(header::ACCEPT, "application/gzip")
        .body(Empty::<Bytes>::new())
        .map_err(NotFetched::Request)?;
    let passing = |e: hyper::Error| NotFetched::Away(plain(&e));
    let Channel { sender, receiver, .. } =
        dial::http(machine, allocation).await.map_err(|lost| match lost {
            Lost::Passing(why) | Lost::Unproved(why) => NotFetched::Away(why),
            lost => NotFetched::ShutOut(lost.why()),
        })?;
    let (near, far) = tokio::io::duplex(BUFFER);
    let (mut client, connection) = http1::handshake(TokioIo::new(near)).await.map_err(passing)?;
    // What ends them shows in the answer.
    let carrying = async { tokio::join!(link::splice(far, sender, receiver, Ends::There), connection) };
    let _carrying = AbortOnDropHandle::new(tokio::spawn(async { drop(carrying.await) }));
    let answer = match tokio::time::timeout(SILENCE, client.send_request(request)).await {
        Ok(answer) => answer.map_err(passing)?,
        Err(_) => return Err(NotFetched::NoAnswer),
    };
    if answer.status() != StatusCode::OK {
        return Err(NotFetched::Refused(answer.status()));
    }
    let on_disk = NotFetched::Stored;
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut out = options.open(part).await.map_err(on_disk)?;
    let mut body = answer.into_body();
    let mut total = 0_u64;
    loop {
        let bytes = match tokio::time::timeout(SILENCE, body.frame()).await {
            Ok(None) => break,
            Ok(Some(frame)) => frame.map_err(passing)?.into_data().unwrap_or_default(),
            Err(_) => return Err(NotFetched::FellSilent),
        };
        total = total.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        if total > MAX_PACKED {
            return Err(NotFetched::TooLarge);
        }
        out.write_all(&bytes).await.map_err(on_disk)?;
    }
    out.sync_all().await.map_err(on_disk)
}
