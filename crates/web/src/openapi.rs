//! The OpenAPI description of the API: served at `/api/v1/openapi.json`, committed as `docs/openapi.json`.
//!
//! It is made from the rows of the API, which say what they take and answer beside their handlers; here is how. Schemas come from
//! the wire's types, so that they can't say something else.

use ::api::error::ErrorBody;
use axum::extract::State;
use axum::http::{Method, header};
use axum::response::IntoResponse;
use bytes::Bytes;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::App;
use crate::access::Access;
use crate::polyaxon::wire::Refused;
use crate::table::{Endpoint, Row};

pub(crate) fn endpoints() -> Vec<Endpoint> {
    let path = "/api/v1/openapi.json";
    vec![Endpoint::get(path, Access::Public, show).says("This description").answers::<Map<String, Value>>()]
}

/// What the description says of a row.
#[derive(Debug, Clone)]
pub(crate) struct About {
    pub(crate) summary: &'static str,
    pub(crate) query: Vec<(&'static str, Kind)>,
    pub(crate) body: Option<Content>,
    /// The status of an answer that isn't a refusal.
    pub(crate) status: u16,
    pub(crate) answer: Option<Content>,
}

impl Default for About {
    fn default() -> Self {
        Self { summary: "", query: Vec::new(), body: None, status: 200, answer: None }
    }
}

/// What is in a body.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Content {
    /// JSON of a type.
    Json(fn(&mut SchemaGenerator) -> Schema),
    /// A form with these fields.
    Form(&'static [&'static str]),
    /// Text of a certain kind, as long as it likes.
    Stream(&'static str),
    /// Nothing.
    None,
}

impl Content {
    pub(crate) fn json<T: JsonSchema>() -> Self {
        Self::Json(SchemaGenerator::subschema_for::<T>)
    }

    fn value(self, schemas: &mut SchemaGenerator) -> Option<Value> {
        let (kind, schema) = match self {
            Self::Json(schema) => ("application/json", schema(schemas).to_value()),
            Self::Form(fields) => {
                let field = |field: &&str| ((*field).to_owned(), json!({ "type": "string" }));
                let properties: Map<_, _> = fields.iter().map(field).collect();
                let schema = json!({ "type": "object", "properties": properties });
                ("application/x-www-form-urlencoded", schema)
            }
            Self::Stream(kind) => (kind, json!({ "type": "string" })),
            Self::None => return None,
        };
        Some(json!({ kind: { "schema": schema } }))
    }
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

/// Whether a row is of the API that is described.
fn is_described(row: &Row) -> bool {
    row.path.starts_with("/api/") && row.access != Access::Agent
}

/// The whole description; no master is needed.
#[must_use]
pub fn document() -> Value {
    // The schemas describe what is answered; requests are more lenient than these.
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut schemas = settings.into_generator();
    let refusal = |schema: Value| {
        json!({
            "description": "Not done, and why.",
            "content": { "application/json": { "schema": schema } },
        })
    };
    let responses = json!({
        "Refusal": refusal(schemas.subschema_for::<ErrorBody>().to_value()),
        "PolyaxonRefusal": refusal(schemas.subschema_for::<Refused>().to_value()),
    });
    let mut paths = Map::new();
    for row in crate::routes::rows().iter().filter(|row| is_described(row)) {
        let path = paths.entry(row.path).or_insert_with(|| json!({}));
        path[row.method.as_str().to_ascii_lowercase()] = operation(row, &mut schemas);
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
            "schemas": schemas.take_definitions(true),
            "responses": responses,
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

/// Rows of the API that don't say what they are for or what they answer.
#[must_use]
pub fn undescribed() -> Vec<String> {
    let rows = crate::routes::rows();
    let lacking =
        |row: &&Row| is_described(row) && (row.about.summary.is_empty() || row.about.answer.is_none());
    rows.iter().filter(lacking).map(|row| format!("{} {}", row.method, row.path)).collect()
}

async fn show(State(app): State<App>) -> impl IntoResponse {
    let made = || Bytes::from(document().to_string());
    let description = app.description.get_or_init(made).clone();
    ([(header::CONTENT_TYPE, "application/json")], description)
}

fn operation(row: &Row, schemas: &mut SchemaGenerator) -> Value {
    let About { summary, query, body, status, answer } = &row.about;
    let mut done = json!({ "description": "Done." });
    if let Some(content) = answer.and_then(|answer| answer.value(schemas)) {
        done["content"] = content;
    }
    let mut responses = Map::new();
    responses.insert(status.to_string(), done);
    for status in refusals(row) {
        let dialect = if speaks_polyaxon(row) { "PolyaxonRefusal" } else { "Refusal" };
        let refusal = json!({ "$ref": format!("#/components/responses/{dialect}") });
        responses.insert(status.to_string(), refusal);
    }
    let in_path = row.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let in_path = in_path
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
    let in_query =
        query.iter().map(|(name, kind)| json!({ "name": name, "in": "query", "schema": kind.schema() }));
    let parameters: Vec<_> = in_path.chain(in_query).collect();
    let mut value = json!({
        "summary": summary,
        "operationId": id(row),
        "responses": responses,
        "security": match row.access {
            Access::User => json!([{ "token": [] }]),
            Access::UserOrTask => json!([{ "token": [] }, { "task": [] }]),
            Access::Polyaxon => json!([{ "polyaxon": [] }]),
            Access::Public | Access::Agent | Access::Page => json!([]),
        },
    });
    if !parameters.is_empty() {
        value["parameters"] = json!(parameters);
    }
    if let Some(content) = body.and_then(|body| body.value(schemas)) {
        value["requestBody"] = json!({ "content": content });
    }
    value
}

fn speaks_polyaxon(row: &Row) -> bool {
    row.access == Access::Polyaxon || row.path.ends_with('/')
}

/// Statuses of refusals. None of a fault of the server's own: no request should meet one.
fn refusals(row: &Row) -> impl Iterator<Item = u16> {
    let (known, changes) = (row.access != Access::Public, row.method != Method::GET);
    let statuses = [
        (400, true),
        (401, known || changes),
        (403, known || changes),
        (404, known || changes),
        (409, changes),
        // By a client that expected to be somebody else.
        (412, known),
        // By another name than the master answers to.
        (421, true),
        (429, true),
        (503, true),
    ];
    statuses.into_iter().filter_map(|(status, may)| may.then_some(status))
}

/// `get_users_user_sessions`.
fn id(row: &Row) -> String {
    let path = row.path.trim_start_matches("/api/v1");
    let words = path.split(['/', '{', '}', '-', '.']).filter(|word| !word.is_empty());
    let door = if row.path.ends_with('/') { "polyaxon_" } else { "" };
    let words: Vec<&str> = words.collect();
    format!("{door}{}_{}", row.method.as_str().to_ascii_lowercase(), words.join("_"))
}
