//! The OpenAPI description of the API: served at `/api/v1/openapi.json`, committed as `docs/openapi.json`.
//!
//! Every row of the route table whose path begins with `/api/` has its operation in one of the modules below this one; a
//! test holds that. Schemas come from the wire's types, so that they can't say something else.

mod access;
mod cluster;
mod place;
mod polyaxon;
mod registration;
mod task;
mod user;

use ::api::error::ErrorBody;
use axum::extract::State;
use axum::http::{Method, header};
use axum::response::IntoResponse;
use bytes::Bytes;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::App;
use crate::access::Access;
use crate::table::Row;

/// The whole description, made from the route table.
#[must_use]
pub fn document(rows: &[Row]) -> Value {
    let mut docs = Docs::of_everything();
    let failure = docs.schema::<ErrorBody>();
    let mut paths = Map::new();
    for row in rows {
        let Some(operation) = docs.operations.iter().find(|operation| operation.is_of(row)) else { continue };
        let path = paths.entry(row.path).or_insert_with(|| json!({}));
        path[row.method.as_str().to_ascii_lowercase()] = operation.value(row);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Muster",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The Determined v1 API and what Muster adds to it. Bodies are read as JSON whatever their content type says; unknown members are ignored, null is unset. Paths that end in / are for Polyaxon's client.",
            "license": { "name": "Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": docs.generator.take_definitions(true),
            "responses": {
                "Refusal": {
                    "description": "Not done, and why.",
                    "content": { "application/json": { "schema": failure } },
                },
                "PolyaxonRefusal": {
                    "description": "Not done, and why, as Polyaxon's client shows it.",
                    "content": { "application/json": { "schema": { "type": "object" } } },
                },
            },
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The token of a login session, or an access token.",
                },
                "task": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Grpc-Metadata-x-allocation-token",
                    "description": "`Bearer` and a running task's own token.",
                },
                "polyaxon": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "`Token` and the token of a login session, or an access token.",
                },
            },
        },
    })
}

/// Rows of the API that nobody described, and descriptions of what is no row.
#[must_use]
pub fn undescribed(rows: &[Row]) -> Vec<String> {
    let docs = Docs::of_everything();
    let mut problems = Vec::new();
    for row in rows.iter().filter(|row| row.path.starts_with("/api/") && row.access != Access::Agent) {
        if !docs.operations.iter().any(|operation| operation.is_of(row)) {
            problems.push(format!("{} {} has no description", row.method, row.path));
        }
    }
    for operation in &docs.operations {
        if !rows.iter().any(|row| operation.is_of(row)) {
            problems.push(format!("{} {} is described, but no route", operation.method, operation.path));
        }
    }
    problems
}

pub(crate) async fn show(State(app): State<App>) -> impl IntoResponse {
    let made = || Bytes::from(document(&crate::routes::rows(app.clone())).to_string());
    let description = app.description.get_or_init(made).clone();
    ([(header::CONTENT_TYPE, "application/json")], description)
}

/// Collects operations.
pub(crate) struct Docs {
    generator: SchemaGenerator,
    operations: Vec<Operation>,
}

impl Default for Docs {
    fn default() -> Self {
        // The schemas describe what is answered; requests are more lenient than these.
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        });
        Self { generator: settings.into_generator(), operations: Vec::new() }
    }
}

/// One method of one path.
struct Operation {
    method: Method,
    path: &'static str,
    summary: &'static str,
    parameters: Vec<Value>,
    body: Option<(&'static str, Value)>,
    answer: (u16, &'static str, Option<Value>),
}

/// What a parameter in the query is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// Any text.
    Text,
    /// Any of several texts; the key is repeated.
    Texts,
    /// A whole number.
    Number,
    /// `true` or `false`.
    Flag,
}

impl Kind {
    fn schema(self) -> Value {
        match self {
            Self::Text => json!({ "type": "string" }),
            Self::Texts => json!({ "type": "array", "items": { "type": "string" } }),
            Self::Number => json!({ "type": "integer" }),
            Self::Flag => json!({ "type": "boolean" }),
        }
    }
}

/// `offset` and `limit`, which all paged lists take.
pub(crate) const PAGE: &[(&str, Kind)] = &[("offset", Kind::Number), ("limit", Kind::Number)];
/// How a list is ordered.
pub(crate) const ORDER: &[(&str, Kind)] = &[("orderBy", Kind::Text), ("sortBy", Kind::Text)];

impl Docs {
    fn of_everything() -> Self {
        let mut docs = Self::default();
        access::describe(&mut docs);
        user::describe(&mut docs);
        registration::describe(&mut docs);
        cluster::describe(&mut docs);
        task::describe(&mut docs);
        place::describe(&mut docs);
        polyaxon::describe(&mut docs);
        docs
    }

    fn schema<T: JsonSchema>(&mut self) -> Value {
        self.generator.subschema_for::<T>().to_value()
    }

    /// Begins an operation; it answers an object of no particular kind until told otherwise.
    pub(crate) fn add(&mut self, method: Method, path: &'static str, summary: &'static str) -> Draft<'_> {
        let parameters = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        let in_path =
            |name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } });
        self.operations.push(Operation {
            method,
            path,
            summary,
            parameters: parameters.map(in_path).collect(),
            body: None,
            answer: (200, "application/json", Some(json!({ "type": "object" }))),
        });
        Draft { docs: self }
    }

    pub(crate) fn get(&mut self, path: &'static str, summary: &'static str) -> Draft<'_> {
        self.add(Method::GET, path, summary)
    }

    pub(crate) fn post(&mut self, path: &'static str, summary: &'static str) -> Draft<'_> {
        self.add(Method::POST, path, summary)
    }

    pub(crate) fn put(&mut self, path: &'static str, summary: &'static str) -> Draft<'_> {
        self.add(Method::PUT, path, summary)
    }

    pub(crate) fn patch(&mut self, path: &'static str, summary: &'static str) -> Draft<'_> {
        self.add(Method::PATCH, path, summary)
    }

    pub(crate) fn delete(&mut self, path: &'static str, summary: &'static str) -> Draft<'_> {
        self.add(Method::DELETE, path, summary)
    }
}

/// The operation that was added last.
pub(crate) struct Draft<'d> {
    docs: &'d mut Docs,
}

impl Draft<'_> {
    fn with(self, change: impl FnOnce(&mut Operation)) -> Self {
        if let Some(operation) = self.docs.operations.last_mut() {
            change(operation);
        }
        self
    }

    /// Takes these in the query.
    pub(crate) fn query(self, parameters: &[(&str, Kind)]) -> Self {
        self.with(|operation| {
            let value =
                |(name, kind): &(&str, Kind)| json!({ "name": name, "in": "query", "schema": kind.schema() });
            operation.parameters.extend(parameters.iter().map(value));
        })
    }

    /// Takes this as JSON.
    pub(crate) fn takes<T: JsonSchema>(self) -> Self {
        let schema = self.docs.schema::<T>();
        self.with(|operation| operation.body = Some(("application/json", schema)))
    }

    /// Takes a form with these fields.
    pub(crate) fn takes_form(self, fields: &[&str]) -> Self {
        let properties: Map<_, _> =
            fields.iter().map(|field| ((*field).to_owned(), json!({ "type": "string" }))).collect();
        let schema = json!({ "type": "object", "properties": properties });
        self.with(|operation| operation.body = Some(("application/x-www-form-urlencoded", schema)))
    }

    /// Answers this as JSON.
    pub(crate) fn answers<T: JsonSchema>(self) -> Self {
        let schema = self.docs.schema::<T>();
        self.with(|operation| operation.answer = (200, "application/json", Some(schema)))
    }

    /// Answers with another status, without a body when there is no type.
    pub(crate) fn answers_with(self, status: u16, kind: Option<&'static str>) -> Self {
        self.with(|operation| {
            let schema = kind.map(|kind| match kind {
                "application/json" => json!({ "type": "object" }),
                _ => json!({ "type": "string" }),
            });
            operation.answer = (status, kind.unwrap_or(""), schema);
        })
    }

    /// Answers with lines of JSON, or other text.
    pub(crate) fn streams(self, kind: &'static str) -> Self {
        self.answers_with(200, Some(kind))
    }
}

impl Operation {
    fn is_of(&self, row: &Row) -> bool {
        self.method == row.method && self.path == row.path
    }

    fn value(&self, row: &Row) -> Value {
        let (status, kind, schema) = &self.answer;
        let mut done = json!({ "description": "Done." });
        if let Some(schema) = schema {
            done["content"] = json!({ *kind: { "schema": schema } });
        }
        let refusal = match row.access {
            Access::Polyaxon => "PolyaxonRefusal",
            Access::Public if row.path.ends_with('/') => "PolyaxonRefusal",
            _ => "Refusal",
        };
        let refusal = json!({ "$ref": format!("#/components/responses/{refusal}") });
        let mut value = json!({
            "summary": self.summary,
            "operationId": self.id(),
            "responses": { status.to_string(): done, "default": refusal },
            "security": match row.access {
                Access::User => json!([{ "token": [] }]),
                Access::UserOrTask => json!([{ "token": [] }, { "task": [] }]),
                Access::Polyaxon => json!([{ "polyaxon": [] }]),
                Access::Public | Access::Agent | Access::Page => json!([]),
            },
        });
        if !self.parameters.is_empty() {
            value["parameters"] = json!(self.parameters);
        }
        if let Some((kind, schema)) = &self.body {
            value["requestBody"] = json!({ "content": { *kind: { "schema": schema } } });
        }
        value
    }

    /// `get_users_user_sessions`.
    fn id(&self) -> String {
        let path = self.path.trim_start_matches("/api/v1");
        let words = path.split(['/', '{', '}', '-', '.']).filter(|word| !word.is_empty());
        let door = if self.path.ends_with('/') { "polyaxon_" } else { "" };
        let words: Vec<&str> = words.collect();
        format!("{door}{}_{}", self.method.as_str().to_ascii_lowercase(), words.join("_"))
    }
}
