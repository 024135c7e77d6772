//! A query, read as the type that its row says (`Endpoint::query`): nothing else of it reaches a handler.
//!
//! Keys come in either spelling (contract "rest", section 0), unknown ones are passed over, and an empty value is as good as
//! none. Of what there is one of the first counts.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use ::api::page::PageQuery;
use axum::extract::FromRequestParts;
use axum::http::Uri;
use axum::http::request::Parts;
use master::Error;
use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeOwned, Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use crate::App;
use crate::extract::{Params, parsed};
use crate::respond::Failure;

/// A query whose row asks for no permission before it is read; else it is a [`crate::late::Query`].
#[derive(Debug)]
pub(crate) struct Asked<T>(pub(crate) T);

/// The type that a row says its query is of; known in builds for tests, where no other may be read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Declared(pub(crate) Option<&'static str>);

impl<T: DeserializeOwned> FromRequestParts<App> for Asked<T> {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Failure> {
        read(&parts.uri, parts.extensions.get().copied()).map(Self)
    }
}

/// Reads the query of an address.
pub(crate) fn read<T: DeserializeOwned>(uri: &Uri, declared: Option<Declared>) -> Result<T, Failure> {
    let name = std::any::type_name::<T>();
    let is_said = declared.is_none_or(|declared| declared.0 == Some(name));
    debug_assert!(is_said, "its row doesn't say that its query is {name}");
    let params = Params::of(uri)?;
    let mut values: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (key, value) in params.sent() {
        values.entry(key).or_default().push(value);
    }
    let values = values.into_iter().map(|(key, all)| (key, Values { key, all }));
    T::deserialize(MapDeserializer::new(values)).map_err(|bad: Bad| Failure(Error::Invalid(bad.0)))
}

/// `offset` and `limit`, which clients of Determined send or leave out.
pub(crate) fn page(offset: Option<i64>, limit: Option<i64>) -> PageQuery {
    PageQuery { offset: offset.unwrap_or(0), limit: limit.unwrap_or(0) }
}

/// Whether what is asked for comes in falling order.
pub(crate) fn is_descending(order_by: Option<&str>) -> bool {
    order_by == Some("ORDER_BY_DESC")
}

/// What is wrong with a query.
#[derive(Debug)]
struct Bad(String);

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Bad {}

impl serde::de::Error for Bad {
    fn custom<T: fmt::Display>(why: T) -> Self {
        Self(why.to_string())
    }
}

/// All values of a key, at least one.
struct Values<'q> {
    key: &'q str,
    all: Vec<&'q str>,
}

impl Values<'_> {
    fn first<T: FromStr>(&self) -> Result<T, Bad> {
        let text = self.all.first().copied().unwrap_or_default();
        parsed(self.key, text).map_err(Bad)
    }
}

impl<'q> IntoDeserializer<'q, Bad> for Values<'q> {
    type Deserializer = Self;
    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! parsed {
    ($de:lifetime $($method:ident $visit:ident $type:ty,)*) => {$(
        fn $method<V: Visitor<$de>>(self, visitor: V) -> Result<V::Value, Bad> {
            visitor.$visit(self.first::<$type>()?)
        }
    )*};
}

impl<'de> Deserializer<'de> for Values<'de> {
    type Error = Bad;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Bad> {
        visitor.visit_str(self.all.first().copied().unwrap_or_default())
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Bad> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Bad> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Bad> {
        let Self { key, all } = self;
        visitor.visit_seq(SeqDeserializer::new(all.into_iter().map(|text| Values { key, all: vec![text] })))
    }

    parsed! {
        'de
        deserialize_bool visit_bool bool,
        deserialize_i64 visit_i64 i64,
        deserialize_u64 visit_u64 u64,
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i128 u8 u16 u32 u128 f32 f64 char str string bytes byte_buf unit unit_struct tuple tuple_struct map struct
        enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Query {
        name: Option<String>,
        is_open: Option<bool>,
        offset: Option<i64>,
        most: Option<u64>,
        user_ids: Vec<String>,
    }

    fn told(query: &str) -> Result<Query, String> {
        let uri = format!("/x?{query}").parse().expect("an address");
        read(&uri, None).map_err(|failure| failure.0.to_string())
    }

    #[test]
    fn a_query_is_read_as_clients_write_it() {
        assert_eq!(told(""), Ok(Query::default()));
        let query = "name=a%20b&isOpen=true&offset=-3&most=7&userIds=1&userIds=x&elsewhere=1";
        let all = Query {
            name: Some("a b".to_owned()),
            is_open: Some(true),
            offset: Some(-3),
            most: Some(7),
            user_ids: vec!["1".to_owned(), "x".to_owned()],
        };
        assert_eq!(told(query), Ok(all));
        // In the other spelling; the first of several; what is empty isn't there.
        let two = Query { is_open: Some(true), user_ids: vec!["1".to_owned()], ..Query::default() };
        assert_eq!(told("is_open=true&is_open=x&user_ids=&user_ids=1&name=&offset="), Ok(two));
    }

    #[test]
    fn what_can_not_be_understood_is_named() {
        for (query, said) in [
            ("offset=x%0a", r"offset: 'x\n' can't be understood"),
            ("most=-1", "most: '-1' can't be understood"),
            ("is_open=yes", "isOpen: 'yes' can't be understood"),
            ("offset=99999999999999999999", "offset: '99999999999999999999' can't be understood"),
        ] {
            assert_eq!(told(query), Err(said.to_owned()));
        }
    }

    #[test]
    #[should_panic(expected = "its row doesn't say that its query is")]
    fn r30_what_the_row_does_not_say_is_not_read() {
        let _ = read::<Query>(&"/x?name=a".parse().expect("an address"), Some(Declared(None)));
    }
}
