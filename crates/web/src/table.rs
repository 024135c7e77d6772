//! The route table: no route without a row, no row without its access (design section 3).

use axum::Router;
use axum::handler::Handler;
use axum::http::Method;
use axum::middleware;
use axum::routing::{MethodFilter, on};

use crate::App;
use crate::access::{Access, Guard, guard};

/// Longest request body in bytes, unless a row says otherwise. What JSON becomes in memory may be fifty times as much.
const BODY_LIMIT: usize = 256 << 10;

/// Changes that end something or take it away: who has changed too much gets through all the same.
const ENDS: &[&str] = &[
    "/logout",
    "/api/v1/sessions/{session}",
    "/account/sessions/{session}/end",
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
        self.row(Row { method: Method::GET, path, access, limit: 0, reads: true }, handler)
    }

    pub(crate) fn post<H: Handler<T, App>, T: 'static>(
        self,
        path: &'static str,
        access: Access,
        handler: H,
    ) -> Self {
        self.row(Row { method: Method::POST, path, access, limit: BODY_LIMIT, reads: false }, handler)
    }

    /// A POST row that changes nothing: what is asked for is in the body.
    pub(crate) fn search<H: Handler<T, App>, T: 'static>(
        self,
        path: &'static str,
        access: Access,
        handler: H,
    ) -> Self {
        self.row(Row { method: Method::POST, path, access, limit: BODY_LIMIT, reads: true }, handler)
    }

    pub(crate) fn put<H: Handler<T, App>, T: 'static>(
        self,
        path: &'static str,
        access: Access,
        handler: H,
    ) -> Self {
        self.row(Row { method: Method::PUT, path, access, limit: BODY_LIMIT, reads: false }, handler)
    }

    pub(crate) fn delete<H: Handler<T, App>, T: 'static>(
        self,
        path: &'static str,
        access: Access,
        handler: H,
    ) -> Self {
        self.row(Row { method: Method::DELETE, path, access, limit: BODY_LIMIT, reads: false }, handler)
    }

    pub(crate) fn patch<H: Handler<T, App>, T: 'static>(
        self,
        path: &'static str,
        access: Access,
        handler: H,
    ) -> Self {
        self.row(Row { method: Method::PATCH, path, access, limit: BODY_LIMIT, reads: false }, handler)
    }

    /// Adds any row.
    pub(crate) fn row<H: Handler<T, App>, T: 'static>(mut self, row: Row, handler: H) -> Self {
        let Ok(filter) = MethodFilter::try_from(row.method.clone()) else {
            return self;
        };
        let (access, limit, reads) = (row.access, row.limit, row.reads);
        let ends = ENDS.contains(&row.path);
        let guarded = Guard { app: self.app.clone(), access, limit, reads, ends };
        let method = on(filter, handler).route_layer(middleware::from_fn_with_state(guarded, guard));
        self.router = self.router.route(row.path, method);
        self.rows.push(row);
        self
    }

    pub(crate) fn into_parts(self) -> (Router<App>, Vec<Row>) {
        (self.router, self.rows)
    }
}
