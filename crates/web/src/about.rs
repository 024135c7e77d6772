//! What a row says for the description of the API: what it is for, what it takes and answers.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

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

    /// As it stands in the description.
    pub(crate) fn value(self, schemas: &mut SchemaGenerator) -> Option<Value> {
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
    /// As it stands in the description.
    pub(crate) fn schema(self) -> Value {
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
