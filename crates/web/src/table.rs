//! What a route is: no route without its access, said once beside its handler (`endpoints()` of each noun). The router, the guard,
//! the description of the API and the list of what tests must try are made from it.

use axum::Router;
use axum::handler::Handler;
use axum::http::Method;
use axum::middleware;
use axum::routing::{MethodFilter, MethodRouter, on};
use domain::authz::{self, Act};
use schemars::JsonSchema;

use crate::App;
use crate::about::{About, Content, Query};
use crate::access::{Access, Guard, guard};
use crate::asked::{self, Said};
use crate::lists::{Cost, Listing, in_turn};
use crate::query::Declared;

/// Longest request body in bytes, unless a row says otherwise. What JSON becomes in memory may be fifty times as much.
const BODY_LIMIT: usize = 256 << 10;

/// Longest body of who isn't known yet, in bytes (R19).
pub(crate) const LOGIN_LIMIT: usize = 16 << 10;

/// Longest body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    /// In bytes.
    Bytes(usize),
    /// What a context directory may be by the configuration, and what comes on top.
    Context,
}

impl Limit {
    fn bytes(self, app: &App) -> usize {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Context => {
                // Base64 makes four bytes of three; names and numbers come on top.
                let context = usize::try_from(app.master.config.max_context_bytes).unwrap_or(usize::MAX);
                context.saturating_mul(4) / 3 + (16 << 20)
            }
        }
    }
}

/// One route.
#[derive(Debug, Clone)]
pub struct Row {
    /// Method.
    pub method: Method,
    /// Path with `{parameters}`.
    pub path: &'static str,
    /// Who gets through to the handler.
    pub access: Access,
    /// The acts that the policy is asked for whenever it is done. Without any, it shows what its caller may see, or is about what is
    /// the caller's own.
    pub asks: Vec<&'static str>,
    /// Those that it depends on what was sent for.
    pub may_ask: Vec<&'static str>,
    /// Changes nothing for who comes with an access token, so that one for reading is enough.
    pub reads: bool,
    /// What its answer costs.
    pub cost: Cost,
    /// Ends something or takes it away, or may be a new password of one's own: who has changed too much gets through all the same,
    /// and `Tx::commit` asks about the rest.
    pub(crate) ends: bool,
    pub(crate) limit: Limit,
    /// For the description of the API.
    pub(crate) about: About,
}

impl Row {
    fn said(&self) -> Said {
        let query = || Declared(self.about.query.map(|query| query.name));
        Said {
            route: format!("{} {}", self.method, self.path),
            asks: self.asks.clone(),
            may_ask: self.may_ask.clone(),
            query: self.path.starts_with("/api/").then(query),
        }
    }
}

/// A row with its handler.
#[derive(Debug)]
pub(crate) struct Endpoint {
    row: Row,
    handler: MethodRouter<App>,
}

impl Endpoint {
    /// A GET row whose answer is bounded. There is a maker for each method that there is: another one can't be written.
    pub(crate) fn get<H: Handler<T, App>, T: 'static>(
        path: &'static str,
        access: Access,
        handler: H,
    ) -> Self {
        let this = Self::new(Method::GET, path, access, on(MethodFilter::GET, handler));
        this.reads().limited(0)
    }

    pub(crate) fn post<H: Handler<T, App>, T: 'static>(
        path: &'static str,
        access: Access,
        handler: H,
    ) -> Self {
        Self::new(Method::POST, path, access, on(MethodFilter::POST, handler))
    }

    pub(crate) fn put<H: Handler<T, App>, T: 'static>(
        path: &'static str,
        access: Access,
        handler: H,
    ) -> Self {
        Self::new(Method::PUT, path, access, on(MethodFilter::PUT, handler))
    }

    pub(crate) fn patch<H: Handler<T, App>, T: 'static>(
        path: &'static str,
        access: Access,
        handler: H,
    ) -> Self {
        Self::new(Method::PATCH, path, access, on(MethodFilter::PATCH, handler))
    }

    pub(crate) fn delete<H: Handler<T, App>, T: 'static>(
        path: &'static str,
        access: Access,
        handler: H,
    ) -> Self {
        Self::new(Method::DELETE, path, access, on(MethodFilter::DELETE, handler))
    }

    fn new(method: Method, path: &'static str, access: Access, handler: MethodRouter<App>) -> Self {
        let row = Row {
            method,
            path,
            access,
            asks: Vec::new(),
            may_ask: Vec::new(),
            reads: false,
            cost: Cost::Bounded,
            ends: false,
            limit: Limit::Bytes(BODY_LIMIT),
            about: About::default(),
        };
        Self { row, handler }
    }

    fn with(mut self, change: impl FnOnce(&mut Row)) -> Self {
        change(&mut self.row);
        self
    }

    /// The policy is asked for this act, whenever it is done.
    pub(crate) fn asks<A: Act>(self) -> Self {
        self.with(|row| row.asks.push(authz::name::<A>()))
    }

    /// It depends on what was sent whether the policy is asked for this act.
    pub(crate) fn may_ask<A: Act>(self) -> Self {
        self.with(|row| row.may_ask.push(authz::name::<A>()))
    }

    /// Changes nothing, though its method could: what is asked for is in the body.
    pub(crate) fn reads(self) -> Self {
        self.with(|row| row.reads = true)
    }

    /// Ends something.
    pub(crate) fn ends(self) -> Self {
        self.with(|row| row.ends = true)
    }

    /// Its answer, or the work for it, grows with the number of things.
    pub(crate) fn grows(self) -> Self {
        self.with(|row| row.cost = Cost::Grows)
    }

    /// Its answer grows and is written in steps.
    pub(crate) fn steps(self) -> Self {
        self.with(|row| row.cost = Cost::Steps)
    }

    /// The same without a limit; a page of few rows is made at once.
    pub(crate) fn pages(self) -> Self {
        self.with(|row| row.cost = Cost::Pages)
    }

    /// It gives a log or a file.
    pub(crate) fn pieces(self) -> Self {
        self.with(|row| row.cost = Cost::Pieces)
    }

    /// Longest body, in bytes.
    pub(crate) fn limited(self, bytes: usize) -> Self {
        self.with(|row| row.limit = Limit::Bytes(bytes))
    }

    /// Takes a context directory.
    pub(crate) fn takes_a_context(self) -> Self {
        self.with(|row| row.limit = Limit::Context)
    }

    /// What it is for, in a few words.
    pub(crate) fn says(self, summary: &'static str) -> Self {
        self.with(|row| row.about.summary = summary)
    }

    /// Takes this in the query: what its handler reads, as [`crate::query::Asked`] or [`crate::late::Query`].
    pub(crate) fn query<T: JsonSchema>(self) -> Self {
        self.with(|row| row.about.query = Some(Query::of::<T>()))
    }

    /// Takes this as JSON.
    pub(crate) fn takes<T: JsonSchema>(self) -> Self {
        self.with(|row| row.about.body = Some(Content::json::<T>()))
    }

    /// Takes a form with these fields.
    pub(crate) fn takes_form(self, fields: &'static [&'static str]) -> Self {
        self.with(|row| row.about.body = Some(Content::Form(fields)))
    }

    /// Answers this as JSON.
    pub(crate) fn answers<T: JsonSchema>(self) -> Self {
        self.with(|row| row.about.answer = Some(Content::json::<T>()))
    }

    /// Answers this as JSON, with 201.
    pub(crate) fn makes<T: JsonSchema>(self) -> Self {
        self.answers::<T>().with(|row| row.about.status = 201)
    }

    /// Answers with a status alone.
    pub(crate) fn answers_nothing(self, status: u16) -> Self {
        self.with(|row| (row.about.status, row.about.answer) = (status, Some(Content::None)))
    }

    /// Answers with lines of JSON, or other text.
    pub(crate) fn streams(self, kind: &'static str) -> Self {
        self.with(|row| row.about.answer = Some(Content::Stream(kind)))
    }

    /// What is known of it without an application.
    pub(crate) fn into_row(self) -> Row {
        self.row
    }

    /// Puts it behind the guard, into a router.
    pub(crate) fn mount(self, router: Router<App>, app: &App) -> Router<App> {
        let Self { row, handler: mut method } = self;
        if cfg!(debug_assertions) {
            method = method.route_layer(middleware::from_fn_with_state(row.said(), asked::check));
        }
        if matches!(row.cost, Cost::Grows | Cost::Steps | Cost::Pages) {
            let state = Listing { app: app.clone(), path: row.path, access: row.access, cost: row.cost };
            method = method.route_layer(middleware::from_fn_with_state(state, in_turn));
        }
        let Row { access, reads, ends, .. } = row;
        let guarded = Guard { app: app.clone(), access, limit: row.limit.bytes(app), reads, ends };
        // Outside of all else.
        router.route(row.path, method.route_layer(middleware::from_fn_with_state(guarded, guard)))
    }
}
