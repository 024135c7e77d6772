//! The body of a request, read up to its row's limit.

use axum::extract::Request;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Body as _;
use master::Error;

use crate::respond::Failure;

/// Longest body that the handler may read, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyLimit(pub(crate) usize);

/// All of a body, up to the row's limit, in one piece of memory that is as large as it says: many small ones would be
/// held twice for a moment, and leave holes.
pub(crate) async fn collected(request: Request) -> Result<Bytes, Failure> {
    let limit = request.extensions().get::<BodyLimit>().map_or(0, |limit| limit.0);
    let body = request.into_body();
    let announced = body.size_hint().exact().and_then(|size| usize::try_from(size).ok());
    let mut body = Limited::new(body, limit);
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Failure(if error.downcast_ref::<LengthLimitError>().is_some() {
                Error::TooLarge(format!("the request is larger than {limit} bytes"))
            } else {
                Error::Invalid("the request broke off".to_owned())
            })
        })?;
        let Ok(piece) = frame.into_data() else { continue };
        if all.is_empty() && body.is_end_stream() {
            return Ok(piece);
        }
        if all.is_empty() {
            all.reserve(announced.unwrap_or(0).min(limit));
        }
        all.extend_from_slice(&piece);
    }
    Ok(all.freeze())
}

/// The request with all of its body in memory, up to the row's limit: it needs its connection no more.
pub(crate) async fn whole(request: Request) -> Result<Request, Failure> {
    let (parts, body) = request.into_parts();
    let bytes = collected(Request::from_parts(parts.clone(), body)).await?;
    Ok(Request::from_parts(parts, bytes.into()))
}
