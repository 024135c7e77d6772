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

enum Failure {
    /// Trying again may help.
    Passing(String),
    Final(String),
}

/// Fetches the context directory of `allocation` to `file`, which is there completely or not at all.
///
/// # Errors
/// One sentence when it couldn't be had.
pub(crate) async fn fetch(
    machine: &Machine,
    allocation: AllocationId,
    token: &str,
    file: &Path,
) -> Result<(), String> {
    let part = file.with_extension("part");
    let deadline = Instant::now() + PATIENCE;
    let mut pause = Duration::from_millis(100);
    loop {
        let failure = match download(machine, allocation, token, &part).await {
            Ok(()) => match fs::rename(&part, file).await {
                Ok(()) => return Ok(()),
                Err(e) => Failure::Final(e.to_string()),
            },
            Err(failure) => failure,
        };
        // Space is what a failed download must not keep.
        let _ = fs::remove_file(&part).await;
        match failure {
            Failure::Passing(why) if Instant::now() + pause < deadline => {
                tracing::debug!(%allocation, "the context directory couldn't be fetched yet: {why}");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(5));
            }
            Failure::Passing(why) | Failure::Final(why) => {
                return Err(format!("the context directory couldn't be fetched: {why}"));
            }
        }
    }
}

async fn download(
    machine: &Machine,
    allocation: AllocationId,
    token: &str,
    part: &Path,
) -> Result<(), Failure> {
    let request = Request::get(format!("/api/v1/tasks/{}/context_directory", allocation.task))
        .header(header::HOST, "localhost")
        .header("Grpc-Metadata-x-allocation-token", format!("Bearer {token}"))
        .header(header::ACCEPT, "application/gzip")
        .body(Empty::<Bytes>::new())
        .map_err(|e| Failure::Final(e.to_string()))?;
    let passing = |e: hyper::Error| Failure::Passing(plain(&e));
    let Channel { sender, receiver, .. } =
        dial::http(machine, allocation).await.map_err(|lost| match lost {
            Lost::Passing(why) | Lost::Unproved(why) => Failure::Passing(why),
            lost => Failure::Final(lost.why()),
        })?;
    let (near, far) = tokio::io::duplex(BUFFER);
    let (mut client, connection) = http1::handshake(TokioIo::new(near)).await.map_err(passing)?;
    // What ends them shows in the answer.
    let carrying = async { tokio::join!(link::splice(far, sender, receiver, Ends::There), connection) };
    let _carrying = AbortOnDropHandle::new(tokio::spawn(async { drop(carrying.await) }));
    let answer = match tokio::time::timeout(SILENCE, client.send_request(request)).await {
        Ok(answer) => answer.map_err(passing)?,
        Err(_) => return Err(Failure::Passing("the master doesn't answer".to_owned())),
    };
    let status = answer.status();
    if status != StatusCode::OK {
        let why = format!("the master answered {status}");
        let passes = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
        return Err(if passes { Failure::Passing(why) } else { Failure::Final(why) });
    }
    let on_disk = |e: io::Error| Failure::Final(format!("it couldn't be stored: {e}"));
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut out = options.open(part).await.map_err(on_disk)?;
    let mut body = answer.into_body();
    let mut total = 0_u64;
    loop {
        let bytes = match tokio::time::timeout(SILENCE, body.frame()).await {
            Ok(None) => break,
            Ok(Some(frame)) => frame.map_err(passing)?.into_data().unwrap_or_default(),
            Err(_) => return Err(Failure::Passing("the master fell silent".to_owned())),
        };
        total = total.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        if total > MAX_PACKED {
            return Err(Failure::Final(format!("it is larger than {} MiB", MAX_PACKED >> 20)));
        }
        out.write_all(&bytes).await.map_err(on_disk)?;
    }
    out.sync_all().await.map_err(on_disk)
}
