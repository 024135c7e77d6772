//! Lists that are never in memory as a whole: they are written to the answer as they are read, in steps of a bounded
//! number of bytes, each from where the last one ended, so that what comes and goes meanwhile moves nothing (A5, B10).

use std::io;

use ::api::page::Pagination;
use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, TryStreamExt as _, stream};
use master::Error;
use master::session::Caller;
use serde::Serialize;
use serde_json::json;

use crate::App;
use crate::answers::piece_by_piece;
use crate::kept::Kept;
use crate::live::while_allowed;

/// Bytes that are read for one step, where its rows can be long.
const STEP_BYTES: usize = 64 << 10;

/// Some rows of a list, as JSON.
pub(crate) struct Step<M> {
    pub(crate) rows: Vec<Vec<u8>>,
    /// What the next ones come after; `None` when that was all.
    pub(crate) last: Option<M>,
}

/// A step that is under way.
pub(crate) type Next<M> = BoxFuture<'static, Result<Step<M>, Error>>;

/// A row as JSON.
pub(crate) fn row(shown: &impl Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(shown).map_err(|error| lost(io::Error::other(error)))
}

/// What went wrong with a list.
pub(crate) fn lost(error: io::Error) -> Error {
    Error::io("a list")(error)
}

/// The steps of a list whose rows are chosen at once, so that they keep their order, and read some at a time, as they are
/// then. What was chosen is kept for its reader, who pays for it (MC5, MK1): `rows` holds none of it. It makes those of some.
///
/// # Errors
/// When there is no room, to be tried again.
pub(crate) fn chosen<T, N, F>(
    app: &App,
    caller: &Caller,
    chosen: Vec<T>,
    at_a_time: usize,
    rows: N,
) -> Result<impl Fn(Option<usize>, i64) -> Next<usize> + Clone + Send + use<T, N, F>, Error>
where
    T: Clone + Send + Sync + 'static,
    N: Fn(Vec<T>) -> F + Clone + Send + 'static,
    F: Future<Output = Result<Vec<Vec<u8>>, Error>> + Send + 'static,
{
    let kept = Kept::new(app, caller, chosen)?;
    Ok(move |at: Option<usize>, _| {
        let (kept, rows) = (kept.clone(), rows.clone());
        async move {
            let at = at.unwrap_or(0);
            let (some, more) = kept.some(at, at_a_time)?;
            Ok(Step { rows: rows(some).await?, last: more.then_some(at + at_a_time) })
        }
        .boxed()
    })
}

/// How many things of these sizes are one step: one at least.
pub(crate) fn fitting(sizes: impl Iterator<Item = usize>) -> usize {
    let mut all = 0;
    let within = sizes.take_while(|size| {
        all += size;
        all <= STEP_BYTES
    });
    within.count().max(1)
}

/// The answer `{"NAME": [rows], "pagination": …}`. `next` gives the rows after a place of the list, and is told how many
/// there were; each step is made in a turn.
pub(crate) fn written<M, N, F>(
    app: &App,
    caller: &Caller,
    name: &'static str,
    page: Pagination,
    next: N,
) -> Response
where
    M: Send + 'static,
    N: Fn(Option<M>, i64) -> F + Clone + Send + 'static,
    F: Future<Output = Result<Step<M>, Error>> + Send + 'static,
{
    let end = move |given| {
        let end = page.start_index + given;
        let total = if page.limit == 0 { end } else { page.total };
        format!("],\"pagination\":{}}}", json!(Pagination { end_index: end, total, ..page }))
    };
    in_steps(app, caller, format!("{{\"{name}\":["), end, next)
}

/// The answer `{"NAME": {rows}}`, each of which is `"KEY": VALUE`.
pub(crate) fn keyed<M, N, F>(app: &App, caller: &Caller, name: &'static str, next: N) -> Response
where
    M: Send + 'static,
    N: Fn(Option<M>, i64) -> F + Clone + Send + 'static,
    F: Future<Output = Result<Step<M>, Error>> + Send + 'static,
{
    in_steps(app, caller, format!("{{\"{name}\":{{"), |_| "}}".to_owned(), next)
}

fn in_steps<M, N, F>(
    app: &App,
    caller: &Caller,
    begin: String,
    end: impl Fn(i64) -> String + Clone + Send + 'static,
    next: N,
) -> Response
where
    M: Send + 'static,
    N: Fn(Option<M>, i64) -> F + Clone + Send + 'static,
    F: Future<Output = Result<Step<M>, Error>> + Send + 'static,
{
    let (turns, user) = (app.searches.clone(), caller.actor.user);
    let steps = stream::try_unfold(Some((begin, None, 0_i64)), move |state| {
        let (next, end, turns) = (next.clone(), end.clone(), turns.clone());
        async move {
            let Some((text, last, given)) = state else { return Ok(None) };
            let (mut text, mut first) = (text.into_bytes(), given == 0);
            let Step { rows, last } = turns.make(user, next(last, given)).await.map_err(lost)??;
            let given = given + i64::try_from(rows.len()).unwrap_or(0);
            for row in rows {
                if !std::mem::take(&mut first) {
                    text.push(b',');
                }
                text.extend(row);
            }
            if last.is_some() {
                return Ok(Some((Bytes::from(text), Some((String::new(), last, given)))));
            }
            text.extend(end(given).into_bytes());
            Ok::<_, Error>(Some((Bytes::from(text), None)))
        }
    });
    // What is in it follows from what its reader was at the beginning.
    let admin = caller.actor.admin;
    let changed = || Error::Forbidden("the reader's role has changed".to_owned());
    // Each step is there until its reader has taken it.
    let steps = piece_by_piece(app, caller, steps.map_err(io::Error::other));
    let still = move |caller: Caller| {
        let same = caller.actor.admin == admin;
        async move { if same { Ok(()) } else { Err(changed()) } }
    };
    let steps = while_allowed(app, caller, still, Some(Err(io::Error::other(changed()))), steps);
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (kind, Body::from_stream(steps)).into_response()
}
