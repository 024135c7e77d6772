//! The OpenAPI description of the API: served at `/api/v1/openapi.json`, committed as `docs/openapi.json`.
//!
//! It is made from the rows of the API, which say what they take and answer beside their handlers; here is how. Schemas come from
//! the wire's types, so that they can't say something else.

use ::api::error::ErrorBody;
use axum::extract::State;
use axum::http::{Method, header};
use axum::response::IntoResponse;
use bytes::Bytes;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::App;
use crate::about::About;
use crate::access::Access;
use crate::polyaxon::wire::Refused;
use crate::table::{Endpoint, Row};

pub(crate) fn endpoints() -> Vec<Endpoint> {
    let path = "/api/v1/openapi.json";
    vec![Endpoint::get(path, Access::Public, show).says("This description").answers::<Map<String, Value>>()]
}

/// Whether a row is of the API that is described.
fn is_described(row: &Row) -> bool {
    row.path.starts_with("/api/") && row.access != Access::Agent
}

/// The whole description, made from the table.
pub(crate) fn document(rows: &[Row]) -> Value {
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
    for row in rows.iter().filter(|row| is_described(row)) {
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
pub(crate) fn undescribed(rows: &[Row]) -> Vec<String> {
    let lacking =
        |row: &&Row| is_described(row) && (row.about.summary.is_empty() || row.about.answer.is_none());
    rows.iter().filter(lacking).map(|row| format!("{} {}", row.method, row.path)).collect()
}

async fn show(State(app): State<App>) -> impl IntoResponse {
    let made = || Bytes::from(document(app.rows.get().map_or(&[], |rows| rows)).to_string());
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
    let in_query = query.map(|query| query.parameters(schemas)).unwrap_or_default();
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
