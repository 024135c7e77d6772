//! What a request says, unread until it is settled that its caller may do what it is about: who may not is told just that,
//! whatever they sent (W5).
//!
//! The order is in the types: a [`Late`] gives what is in it away for a [`Permit`]. Where the permission follows from what
//! was sent (whose token, in which workspace), it is read without one, and the reason stands there.

use std::convert::Infallible;
use std::future::Future;
use std::marker::PhantomData;

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::Uri;
use axum::http::request::Parts;
use domain::authz::{Act, Permit};
use domain::refusal::in_words;
use master::Error;
use serde::de::DeserializeOwned;

use crate::App;
use crate::body::{collected, whole};
use crate::query::{self, Declared};
use crate::respond::Failure;

/// A part of a request that wasn't read yet.
#[derive(Debug)]
pub(crate) struct Late<S>(S);

/// How a part of a request is read.
pub(crate) trait Unread {
    /// What is in it.
    type Content;

    /// Reads it to its end.
    fn read(self) -> impl Future<Output = Result<Self::Content, Failure>> + Send;
}

impl<S: Unread> Late<S> {
    /// What was sent by somebody who may do what it is about. A permit for less will do: for some change, where which one
    /// it is decides about the rest.
    pub(crate) async fn after<A: Act>(self, _may: &Permit<A>) -> Result<S::Content, Failure> {
        self.0.read().await
    }

    /// What was sent, before anything was asked: `why` tells the reader of the code what there is to ask only then, or
    /// that there is nothing to ask. To be searched for, as [`Permit::system`] is.
    pub(crate) async fn unasked(self, _why: &'static str) -> Result<S::Content, Failure> {
        self.0.read().await
    }
}

/// A JSON body, whatever its content type says; an empty one is `{}` (contract "runtime", section 0).
pub(crate) type Body<T> = Late<Json<T>>;

/// A form of a page; its content type must say so.
pub(crate) type Form<T> = Late<Fields<T>>;

/// The query of a request that needs a permission. Lists, which only have a scope, take [`crate::query::Asked`].
pub(crate) type Query<T> = Late<Parameters<T>>;

/// A body that is JSON.
#[derive(Debug)]
pub(crate) struct Json<T>(Request, PhantomData<fn() -> T>);

/// A body that is a form.
#[derive(Debug)]
pub(crate) struct Fields<T>(Request, PhantomData<fn() -> T>);

/// A query.
#[derive(Debug)]
pub(crate) struct Parameters<T>(Uri, Option<Declared>, PhantomData<fn() -> T>);

impl<T> Body<T> {
    /// The body of a request.
    pub(crate) fn of(request: Request) -> Self {
        Self(Json(request, PhantomData))
    }
}

impl<T> Form<T> {
    /// The form in the body of a request.
    pub(crate) fn of(request: Request) -> Self {
        Self(Fields(request, PhantomData))
    }
}

impl<T> FromRequest<App> for Body<T> {
    type Rejection = Infallible;
    async fn from_request(request: Request, _: &App) -> Result<Self, Infallible> {
        Ok(Self::of(request))
    }
}

impl<T> FromRequest<App> for Form<T> {
    type Rejection = Infallible;
    async fn from_request(request: Request, _: &App) -> Result<Self, Infallible> {
        Ok(Self::of(request))
    }
}

impl<T> FromRequestParts<App> for Query<T> {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Infallible> {
        Ok(Self(Parameters(parts.uri.clone(), parts.extensions.get().copied(), PhantomData)))
    }
}

impl<T: DeserializeOwned + Send + 'static> Unread for Json<T> {
    type Content = T;
    async fn read(self) -> Result<T, Failure> {
        let bytes = collected(self.0).await?;
        if bytes.len() <= AT_ONCE {
            return parsed(&bytes);
        }
        let elsewhere = tokio::task::spawn_blocking(move || parsed(&bytes)).await;
        elsewhere.map_err(|e| Error::io("reading a request")(std::io::Error::other(e)))?
    }
}

/// Longest JSON that is parsed on the threads that answer everybody, in bytes.
const AT_ONCE: usize = 256 << 10;

fn parsed<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    let unexpected = |why: &str| Failure(Error::Invalid(format!("the body is not the expected JSON: {why}")));
    let bytes = if bytes.is_empty() { b"{}" } else { bytes };
    if bytes.trim_ascii_start().starts_with(b"[") {
        // A list would be taken for the fields of what is meant, in their order.
        return Err(unexpected("a list, where an object is expected"));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let read = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let (place, why) = (error.path().to_string(), error.into_inner());
        // At the top, and where it is no JSON at all, there is nothing to name.
        let why = in_words(&why.to_string());
        unexpected(&if place == "." { why } else { format!("{place}: {why}") })
    })?;
    json.end().map_err(|error| unexpected(&error.to_string()))?;
    Ok(read)
}

impl<T: DeserializeOwned> Unread for Fields<T> {
    type Content = T;
    async fn read(self) -> Result<T, Failure> {
        let form = axum::Form::<T>::from_request(whole(self.0).await?, &()).await;
        form.map(|form| form.0).map_err(|e| Failure(Error::Invalid(e.body_text())))
    }
}

impl<T: DeserializeOwned> Unread for Parameters<T> {
    type Content = T;
    async fn read(self) -> Result<T, Failure> {
        query::read(&self.0, self.1)
    }
}
