//! What the client asks before anything else. Credentials aren't looked at, so that a stale token is told by the request
//! that needs it (contract "polyaxon", section 3.2).

use axum::Json;
use serde_json::{Value, json};

/// The client that this front door was made for. Only the same version keeps it silent.
const CLIENT: &str = "0.6.1";
/// The oldest that gets along.
const OLDEST: &str = "0.5.0";

pub(crate) async fn client() -> Json<Value> {
    Json(json!({ "latest_version": CLIENT, "min_version": OLDEST }))
}

pub(crate) async fn chart() -> Json<Value> {
    Json(json!({ "version": CLIENT }))
}

/// Without an address nothing is reported to anybody.
pub(crate) async fn log_handler() -> Json<Value> {
    Json(json!({ "dsn": null, "environment": "production", "tags": {} }))
}
