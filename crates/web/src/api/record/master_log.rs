//! The master's own log over the API.

use std::io::{self, Write as _};

use ::api::error::Code;
use ::api::master_log::{MasterLogQuery, PatchMasterConfig, level};
use ::api::wire::Empty;
use axum::Json;
use axum::body::{Body as Content, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use domain::authz::{ChangeMasterLog, ReadMasterLog};
use futures_util::stream;
use master::Error;
use master::open::may;
use master::own_log::{Level, OwnLine, Reading, Wanted};
use serde_json::{Value, json};

use crate::App;
use crate::access::Access;
use crate::extract::User;
use crate::late::{Body, Query};
use crate::live::while_allowed;
use crate::respond::{Answer, Failure};
use crate::table::Endpoint;

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::patch("/api/v1/master/config", Access::User, change)
            .says("Have the master say more or less in its log; for administrators")
            .asks::<ChangeMasterLog>()
            .takes::<PatchMasterConfig>()
            .answers::<Empty>(),
        Endpoint::get("/api/v1/master/logs", Access::User, lines)
            .says("What the master says in its log, as lines of JSON; for administrators")
            .pieces()
            .asks::<ReadMasterLog>()
            .query::<MasterLogQuery>()
            .streams("application/json"),
    ]
}

/// Lines that are sent at once.
const BATCH: usize = 100;

fn line(line: &OwnLine) -> Value {
    json!({ "result": { "logEntry": {
        "id": line.number,
        "level": name(line.level),
        "message": line.text,
        "timestamp": line.at.rfc3339(),
    }}})
}

fn name(level: Level) -> &'static str {
    match level {
        Level::Trace => level::TRACE,
        Level::Debug => level::DEBUG,
        Level::Info => level::INFO,
        Level::Warning => level::WARNING,
        Level::Error => level::ERROR,
    }
}

async fn piece(mut reading: Reading) -> Option<(io::Result<Bytes>, Reading)> {
    let lines = reading.next(BATCH).await?;
    let mut out = Vec::new();
    for one in &lines {
        // Writing to memory can't fail.
        let _ = writeln!(out, "{}", line(one));
    }
    Some((Ok(Bytes::from(out)), reading))
}

pub(crate) async fn lines(
    State(app): State<App>,
    User(caller): User,
    query: Query<MasterLogQuery>,
) -> Result<Response, Failure> {
    let permit = may::<ReadMasterLog>(&caller, ())?;
    let MasterLogQuery { offset, limit, follow } = query.after(&permit).await?;
    let wanted =
        Wanted { offset: offset.unwrap_or(0), limit: limit.unwrap_or(0), follow: follow.unwrap_or(false) };
    let reading = app.master.log.read(&permit, wanted)?;
    let code = Code::PermissionDenied;
    let message = "you may not read this log any more";
    let error = json!({"grpcCode": code.grpc(), "httpCode": code.http(), "message": message});
    let farewell = Bytes::from(format!("{}\n", json!({ "error": error })));
    let still = async |caller: master::session::Caller| may::<ReadMasterLog>(&caller, ()).map(drop);
    let pieces = while_allowed(&app, &caller, still, Some(Ok(farewell)), stream::unfold(reading, piece));
    Ok(([(header::CONTENT_TYPE, "application/json")], Content::from_stream(pieces)).into_response())
}

/// What of the configuration can be changed while the master runs: how much it says.
pub(crate) async fn change(
    State(app): State<App>,
    User(caller): User,
    request: Body<PatchMasterConfig>,
) -> Answer<Empty> {
    let permit = may::<ChangeMasterLog>(&caller, ())?;
    let request = request.after(&permit).await?;
    let paths = request.field_mask.unwrap_or_default().paths;
    let invalid = |text: String| Failure(Error::Invalid(text));
    let log = request.config.unwrap_or_default().log.unwrap_or_default();
    let (mut level, mut color) = (None, None);
    for path in paths.iter() {
        match path.as_str() {
            "log.level" => {
                let text = log.level.as_deref().unwrap_or_default();
                let bad = || invalid(format!("log.level: '{}' is no level", text.escape_debug()));
                level = Some(parsed(text).ok_or_else(bad)?);
            }
            "log.color" => color = Some(log.color.unwrap_or(false)),
            other => {
                let text = format!("'{}' can't be changed while the master runs", other.escape_debug());
                return Err(invalid(format!("{text}: only log.level and log.color can")));
            }
        }
    }
    if paths.is_empty() {
        return Err(invalid("fieldMask.paths: name what to change: log.level, log.color".to_owned()));
    }
    app.master.log.change(&permit, level, color).await?;
    Ok(Json(Empty {}))
}

fn parsed(text: &str) -> Option<Level> {
    if text == level::CRITICAL {
        return Some(Level::Error);
    }
    let all = [Level::Trace, Level::Debug, Level::Info, Level::Warning, Level::Error];
    all.into_iter().find(|level| name(*level) == text)
}
