//! The audit log over the API: for administrators.

use ::api::audit::{AuditEntry, AuditExportQuery, AuditQuery, ListAudit, VerifiedAudit};
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use domain::authz::{Permit, ReadAudit, SeeUser};
use domain::time::Timestamp;
use futures_util::stream;
use master::audit::{AuditFilter, Line};
use master::open::{OwnerName, may};
use master::session::Caller;
use master::{Error, Master};
use serde_json::value::RawValue;

use crate::App;
use crate::access::Access;
use crate::extract::{PAGE_CAP, User};
use crate::late::Query;
use crate::live::while_allowed;
use crate::respond::{Answer, Failure};
use crate::table::Endpoint;

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/api/v1/audit", Access::User, list)
            .says("What happened, the newest first; for administrators")
            .grows()
            .asks::<ReadAudit>()
            .may_ask::<SeeUser>()
            .query::<AuditQuery>()
            .answers::<ListAudit>(),
        Endpoint::get("/api/v1/audit/export", Access::User, export)
            .says("What happened, as lines of JSON, the oldest first; for administrators")
            .pieces()
            .asks::<ReadAudit>()
            .may_ask::<SeeUser>()
            .query::<AuditExportQuery>()
            .streams("application/x-ndjson"),
        Endpoint::get("/api/v1/audit/verify", Access::User, verify)
            .says("Check that the audit log is as it was written; for administrators")
            .pieces()
            .asks::<ReadAudit>()
            .answers::<VerifiedAudit>(),
    ]
}

fn permit(caller: &Caller) -> Result<Permit<ReadAudit>, Failure> {
    Ok(may(caller, ())?)
}

async fn filter(app: &App, caller: &Caller, query: AuditExportQuery) -> Result<AuditFilter, Failure> {
    let AuditExportQuery { user, actor, action, target, result, since, until } = query;
    let time = |key: &str, text: Option<String>| {
        let bad = |text: &str| {
            let text = text.escape_debug();
            Failure(Error::Invalid(format!("{key}: '{text}' is not a time such as 2026-11-22T10:00:00Z")))
        };
        text.map(|text| Timestamp::parse_rfc3339(&text).ok_or_else(|| bad(&text))).transpose()
    };
    let actor = match user {
        // Also who is deleted by now: what they did is still there.
        Some(name) => {
            let whose = app.master.open::<SeeUser>(caller, OwnerName(name)).await?;
            Some(format!("user {}", whose.target().id))
        }
        None => actor,
    };
    let (since, until) = (time("since", since)?, time("until", until)?);
    Ok(AuditFilter { actor, action, target, result, since, until })
}

fn shown(line: Line) -> Result<AuditEntry, Error> {
    let record = RawValue::from_string(line.body);
    // A text that isn't JSON was put there by somebody else: `verify` says so, and lists show it as text.
    let record = record.or_else(|_| RawValue::from_string("null".to_owned()));
    let record = record.map_err(|e| Error::io("an audit entry")(std::io::Error::other(e)))?;
    Ok(AuditEntry { hash: line.hash, record })
}

pub(crate) async fn list(
    State(app): State<App>,
    User(caller): User,
    query: Query<AuditQuery>,
) -> Answer<ListAudit> {
    let permit = permit(&caller)?;
    let AuditQuery { user, actor, action, target, result, since, until, before, limit } =
        query.after(&permit).await?;
    let which = AuditExportQuery { user, actor, action, target, result, since, until };
    let filter = filter(&app, &caller, which).await?;
    let limit = limit.unwrap_or(100).clamp(1, PAGE_CAP);
    let before = before.unwrap_or(i64::MAX);
    let lines = app.master.audit.list(&permit, &filter, before, true, limit).await?;
    let full = i64::try_from(lines.len()).is_ok_and(|count| count == limit);
    let next = lines.last().map(|line| line.seq).filter(|_| full);
    let entries = lines.into_iter().map(shown).collect::<Result<_, _>>()?;
    Ok(Json(ListAudit { entries, next }))
}

pub(crate) async fn verify(State(app): State<App>, User(caller): User) -> Answer<VerifiedAudit> {
    let verified = app.master.audit.verify(&permit(&caller)?).await?;
    let broken = verified.broken.map(|broken| broken.to_string());
    let removed = verified.chain.removed();
    Ok(Json(VerifiedAudit { count: verified.chain.count, head: verified.chain.head, removed, broken }))
}

/// Lines of JSON, oldest first.
pub(crate) async fn export(
    State(app): State<App>,
    User(caller): User,
    query: Query<AuditExportQuery>,
) -> Result<Response, Failure> {
    let permit = permit(&caller)?;
    let filter = filter(&app, &caller, query.after(&permit).await?).await?;
    let start = Export { master: app.master.clone(), permit, filter, after: 0 };
    let pieces = stream::try_unfold(start, Export::piece);
    // Broken off, so that nobody takes it for all of it.
    let broken = Some(Err(Error::Forbidden("no administrator any more".to_owned())));
    let still = async |caller: Caller| self::permit(&caller).map(drop).map_err(|failure| failure.0);
    let pieces = while_allowed(&app, &caller, still, broken, pieces);
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((kind, Body::from_stream(pieces)).into_response())
}

struct Export {
    master: Master,
    permit: Permit<ReadAudit>,
    filter: AuditFilter,
    after: i64,
}

impl Export {
    async fn piece(mut self) -> Result<Option<(Bytes, Self)>, Error> {
        let lines = self.master.audit.list(&self.permit, &self.filter, self.after, false, PAGE_CAP).await?;
        if self.master.audit.is_cut(&self.permit, self.after).await? {
            let text = "the oldest entries were removed meanwhile (retention.audit_days): export it again";
            return Err(Error::Precondition(text.to_owned()));
        }
        let Some(last) = lines.last() else { return Ok(None) };
        self.after = last.seq;
        let mut piece = Vec::new();
        for line in lines {
            let text = serde_json::to_writer(&mut piece, &shown(line)?);
            text.map_err(|e| Error::io("an audit entry")(std::io::Error::other(e)))?;
            piece.push(b'\n');
        }
        Ok(Some((piece.into(), self)))
    }
}
