//! The route table: no route without a row, no row without its access.

use axum::Router;
use axum::handler::Handler;
use axum::http::Method;
use axum::middleware;
use axum::routing::{MethodFilter, on};

use crate::App;
use crate::access::{Access, Guard, guard};
use crate::lists::{Cost, in_turn};

/// Longest request body in bytes, unless a row says otherwise. What JSON becomes in memory may be fifty times as much.
const BODY_LIMIT: usize = 256 << 10;

/// Changes that end something or take it away, and those that may be a new password of one's own: who has changed too much gets
/// through all the same, and `Tx::commit` asks about the rest.
const ENDS: &[&str] = &[
    "/logout",
    "/api/v1/sessions/{session}",
    "/account/sessions/{session}/end",
    "/account/password",
    "/api/v1/users/{user}/password",
    "/api/v1/users/{user}",
    "/api/v1/tokens/{token}",
    "/api/v1/commands/{task}/kill",
    "/commands/{task}/kill",
];

/// One route.
#[derive(Debug, Clone)]
pub struct Row {
    /// Method.
    pub method: Method,
    /// Path with `{parameters}`.
    pub path: &'static str,
    /// Who gets through to the handler.
    pub access: Access,
    /// Longest body, in bytes.
    pub limit: usize,
    /// Changes nothing for who comes with an access token, so that one for reading is enough.
    pub reads: bool,
    /// What its answer costs.
    pub cost: Cost,
}

impl Row {
    /// A row whose answer is bounded.
    pub(crate) fn new(method: Method, path: &'static str, access: Access, limit: usize) -> Self {
        let reads = method == Method::GET;
        Self { method, path, access, limit, reads, cost: Cost::Bounded }
    }
}

/// Collects rows and makes a router of them.
pub(crate) struct Table {
    app: App,
    router: Router<App>,
    rows: Vec<Row>,
}

impl Table {
    pub(crate) fn new(app: App) -> Self {
        Self { app, router: Router::new(), rows: Vec::new() }
    }

    pub(crate) fn get<H: Handler<T, App>, T: 'static>(
        self,
        path: &'static str,
        access: Access,
        handler: H,
    ) -> Self {
        self.row(Row::new(Method::GET, path, access, 0), handler)
    }

    /// A GET row whose answer, or the work for it, grows with the number of things.
    pub(crate) fn list<H: Handler<T, App>, T: 'static>(
        self,
        path: &'static str,
        access: Access,
        handler: H,
    ) -> Self {
        self.row(Row { cost: Cost::Grows, ..Row::new(Method::GET, path, access, 0) }, handler)
    }

    /// A GET row whose answer grows and is written in steps.
    pub(crate) fn steps<H: Handler<T, App>, T: 'static>(
        self,
        path: &'static str,
        access: Access,
        handler: H,
    ) -> Self {
        self.row(Row { cost: Cost::Steps, ..Row::new(Method::GET, path, access, 0) }, handler)
    }

    /// A GET row that gives a log or a file.
    pub(crate) fn pieces<H: Handler<T, App>, T: 'static>(
        self,
        path: &'static str,
        access: Access,
        handler: H,
    ) -> Self {
        self.row(Row { cost: Cost::Pieces, ..Row::new(Method::GET, path, access, 0) }, handler)
    }

    pub(crate) fn post<H: Handler<T, App>, T: 'static>(
        self,
        path: &'static str,
        access: Access,
        handler: H,
    ) -> Self {
        self.row(Row::new(Method::POST, path, access, BODY_LIMIT), handler)
    }

    /// A POST row that changes nothing: what is asked for is in the body.
    pub(crate) fn search<H: Handler<T, App>, T: 'static>(
        self,
        path: &'static str,
        access: Access,
        handler: H,
    ) -> Self {
        self.row(Row { reads: true, ..Row::new(Method::POST, path, access, BODY_LIMIT) }, handler)
    }

    /// The same where what is found grows with the number of things.
    pub(crate) fn search_many<H: Handler<T, App>, T: 'static>(
        self,
        path: &'static str,
        access: Access,
        handler: H,
    ) -> Self {
        let row = Row::new(Method::POST, path, access, BODY_LIMIT);
        self.row(Row { reads: true, cost: Cost::Grows, ..row }, handler)
    }

    pub(crate) fn put<H: Handler<T, App>, T: 'static>(
        self,
        path: &'static str,
        access: Access,
        handler: H,
    ) -> Self {
        self.row(Row::new(Method::PUT, path, access, BODY_LIMIT), handler)
    }

    pub(crate) fn delete<H: Handler<T, App>, T: 'static>(
        self,
        path: &'static str,
        access: Access,
        handler: H,
    ) -> Self {
        self.row(Row::new(Method::DELETE, path, access, BODY_LIMIT), handler)
    }

    pub(crate) fn patch<H: Handler<T, App>, T: 'static>(
        self,
        path: &'static str,
        access: Access,
        handler: H,
    ) -> Self {
        self.row(Row::new(Method::PATCH, path, access, BODY_LIMIT), handler)
    }

    /// Adds any row.
    pub(crate) fn row<H: Handler<T, App>, T: 'static>(mut self, row: Row, handler: H) -> Self {
        let Ok(filter) = MethodFilter::try_from(row.method.clone()) else {
            return self;
        };
        let (access, limit, reads) = (row.access, row.limit, row.reads);
        let ends = ENDS.contains(&row.path);
        let guarded = Guard { app: self.app.clone(), access, limit, reads, ends };
        let mut method = on(filter, handler);
        if matches!(row.cost, Cost::Grows | Cost::Steps) {
            let state = (self.app.clone(), row.path, row.access);
            method = method.route_layer(middleware::from_fn_with_state(state, in_turn));
        }
        // Outside of all else.
        let method = method.route_layer(middleware::from_fn_with_state(guarded, guard));
        self.router = self.router.route(row.path, method);
        self.rows.push(row);
        self
    }

    pub(crate) fn into_parts(self) -> (Router<App>, Vec<Row>) {
        (self.router, self.rows)
    }
}
