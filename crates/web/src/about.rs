//! What a row says for the description of the API: what it is for, what it takes and answers.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

/// What the description says of a row.
#[derive(Debug, Clone)]
pub(crate) struct About {
    pub(crate) summary: &'static str,
    pub(crate) query: Option<Query>,
    pub(crate) body: Option<Content>,
    /// The status of an answer that isn't a refusal.
    pub(crate) status: u16,
    pub(crate) answer: Option<Content>,
}

impl Default for About {
    fn default() -> Self {
        Self { summary: "", query: None, body: None, status: 200, answer: None }
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

/// The type of a query.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Query {
    /// As the compiler calls it.
    pub(crate) name: &'static str,
    schema: fn(&mut SchemaGenerator) -> Schema,
}

impl Query {
    pub(crate) fn of<T: JsonSchema>() -> Self {
        Self { name: std::any::type_name::<T>(), schema: T::json_schema }
    }

    /// Its members as they stand in the description.
    pub(crate) fn parameters(self, schemas: &mut SchemaGenerator) -> Vec<Value> {
        let mut schema = (self.schema)(schemas).to_value();
        let Some(members) = schema.get_mut("properties").and_then(Value::as_object_mut) else {
            return Vec::new();
        };
        std::mem::take(members).into_iter().map(|(name, schema)| parameter(&name, schema)).collect()
    }
}

/// A parameter that may be left out: in a query that is said by not saying it, never by null.
fn parameter(name: &str, mut schema: Value) -> Value {
    let mut description = Value::Null;
    if let Some(schema) = schema.as_object_mut() {
        description = schema.remove("description").unwrap_or_default();
        schema.remove("default");
        let one = schema.get("type").and_then(Value::as_array).and_then(|kinds| kinds.first()).cloned();
        schema.extend(one.map(|kind| ("type".to_owned(), kind)));
    }
    json!({ "name": name, "in": "query", "description": description, "schema": schema })
}
