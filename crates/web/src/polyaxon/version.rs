//! What the client asks before anything else. Credentials aren't looked at, so that a stale token is told by the request
//! that needs it (contract "polyaxon", section 3.2).

use std::collections::BTreeMap;

use axum::Json;

use super::wire::{LogHandler, Version, Versions};
use crate::access::Access;
use crate::table::Endpoint;

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/api/v1/versions/cli/", Access::Public, client)
            .says("The client that gets along")
            .answers::<Versions>(),
        Endpoint::get("/api/v1/versions/lib/", Access::Public, client)
            .says("The client library that gets along")
            .answers::<Versions>(),
        Endpoint::get("/api/v1/versions/platform/", Access::Public, client)
            .says("The platform that this stands in for")
            .answers::<Versions>(),
        Endpoint::get("/api/v1/versions/chart/", Access::Public, chart)
            .says("The chart that this stands in for")
            .answers::<Version>(),
        Endpoint::get("/api/v1/log_handler/", Access::Public, log_handler)
            .says("Nothing is reported to anybody")
            .answers::<LogHandler>(),
    ]
}

/// The client that this front door was made for. Only the same version keeps it silent.
const CLIENT: &str = "0.6.1";
/// The oldest that gets along.
const OLDEST: &str = "0.5.0";

pub(crate) async fn client() -> Json<Versions> {
    Json(Versions { latest_version: CLIENT, min_version: OLDEST })
}

pub(crate) async fn chart() -> Json<Version> {
    Json(Version { version: CLIENT })
}

/// Without an address nothing is reported to anybody.
pub(crate) async fn log_handler() -> Json<LogHandler> {
    Json(LogHandler { dsn: None, environment: "production", tags: BTreeMap::new() })
}
