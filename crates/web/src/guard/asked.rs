//! Whether a handler asks the policy for what its row says, and reads no parameter that the row doesn't: held against every request
//! of every test, in builds for tests alone.

use std::pin::pin;
use std::task::Poll;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use domain::authz::asked;

use crate::query::Declared;

/// What a row says of what its handler does.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    /// Method and path.
    pub(crate) route: String,
    /// Acts that are always asked for.
    pub(crate) asks: Vec<&'static str>,
    /// Acts that may be.
    pub(crate) may_ask: Vec<&'static str>,
    /// The type of its query; unknown of pages.
    pub(crate) query: Option<Declared>,
}

/// Runs around the handler of every row.
pub(crate) async fn check(State(row): State<Said>, mut request: Request, next: Next) -> Response {
    if let Some(query) = row.query {
        request.extensions_mut().insert(query);
    }
    let (mut acts, mut handled) = (Vec::new(), pin!(next.run(request)));
    // Wherever it is polled, and whatever else that thread does in between.
    let response = std::future::poll_fn(|context| match asked::during(|| handled.as_mut().poll(context)) {
        (Poll::Ready(response), some) => {
            acts.extend(some);
            Poll::Ready(response)
        }
        (Poll::Pending, some) => {
            acts.extend(some);
            Poll::Pending
        }
    })
    .await;
    let done = response.status().is_success() || response.status().is_redirection();
    let omitted: Vec<_> = row.asks.iter().filter(|act| done && !acts.contains(act)).collect();
    let unsaid: Vec<_> =
        acts.iter().filter(|act| !row.asks.contains(act) && !row.may_ask.contains(act)).collect();
    if omitted.is_empty() && unsaid.is_empty() {
        return response;
    }
    let text = format!(
        "{}: its row says that the policy is asked for {omitted:?}, and it wasn't; its row doesn't say {unsaid:?}",
        row.route
    );
    tracing::error!("{text}");
    (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;
    use domain::authz::{Act, Actor, ReadAudit, ReadMasterConfig, Via, authorize, name};
    use domain::id::UserId;
    use tower_service::Service as _;

    use super::*;

    fn ask<A: Act<Target = ()>>() {
        let username = "boss".to_owned();
        let via = Via::DefaultUser;
        let boss = Actor { user: UserId(1), username, admin: true, via, address: None, as_of: 0 };
        authorize::<A>(&boss, ()).expect("an administrator may");
    }

    async fn asks_nothing() -> &'static str {
        "done"
    }

    async fn asks_late() -> &'static str {
        tokio::task::yield_now().await;
        ask::<ReadAudit>();
        tokio::task::yield_now().await;
        "done"
    }

    async fn asks_more() -> &'static str {
        ask::<ReadMasterConfig>();
        asks_late().await
    }

    async fn status(row: Said, method: axum::routing::MethodRouter) -> u16 {
        let mut router = Router::new().route("/", method).layer(from_fn_with_state(row, check));
        let answer = router.call(Request::new(Body::empty())).await;
        answer.unwrap_or_else(|never| match never {}).status().as_u16()
    }

    #[tokio::test]
    async fn r30_a_handler_asks_what_its_row_says_and_nothing_else() {
        let says = |asks: &[&'static str], may_ask: &[&'static str]| Said {
            route: "GET /".to_owned(),
            asks: asks.to_vec(),
            may_ask: may_ask.to_vec(),
            query: None,
        };
        let read = || says(&[name::<ReadAudit>()], &[]);
        assert_eq!(status(says(&[], &[]), get(asks_nothing)).await, 200);
        assert_eq!(status(read(), get(asks_late)).await, 200);
        assert_eq!(status(read(), get(asks_nothing)).await, 500, "it has to ask");
        assert_eq!(status(read(), get(asks_more)).await, 500, "one that isn't said");
        let both = || says(&[name::<ReadAudit>()], &[name::<ReadMasterConfig>()]);
        assert_eq!(status(both(), get(asks_more)).await, 200);
        assert_eq!(status(both(), get(asks_late)).await, 200, "it needn't ask the other");
    }
}
