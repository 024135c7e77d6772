//! A look at every connection before anything is said over it.

use std::error::Error;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::{Connection, HttpInfo};
use tower_layer::Layer;
use tower_service::Service;

/// Judges a connection by its own end and the other one; says why it must not be used.
type Judge = dyn Fn(SocketAddr, SocketAddr) -> Result<(), String> + Send + Sync;

/// A judgement over the other end of a connection.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Stranger(pub(super) String);

/// Lets no connection through that is judged to lead to a stranger; without a judge, all. What was connected is what is
/// used, so that there is no moment in which the answer could change.
#[derive(Clone)]
pub(super) struct Guard(Arc<Judge>);

impl Guard {
    pub(super) fn new(
        judge: impl Fn(SocketAddr, SocketAddr) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(judge))
    }

    fn judge(&self, connection: &impl Connection) -> Result<(), Stranger> {
        let mut extras = Default::default();
        connection.connected().get_extras(&mut extras);
        match extras.get::<HttpInfo>() {
            Some(ends) => (self.0)(ends.local_addr(), ends.remote_addr()).map_err(Stranger),
            None => Err(Stranger("the other end of the connection can't be told".to_owned())),
        }
    }
}

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, connector: S) -> Guarded<S> {
        Guarded { connector, guard: self.clone() }
    }
}

/// A connector whose connections are judged.
#[derive(Clone)]
pub(super) struct Guarded<S> {
    connector: S,
    guard: Guard,
}

impl<S, T> Service<T> for Guarded<S>
where
    S: Service<T>,
    S::Response: Connection + Send,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.connector.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, target: T) -> Self::Future {
        let (connecting, guard) = (self.connector.call(target), self.guard.clone());
        Box::pin(async move {
            let connection = connecting.await.map_err(Into::into)?;
            guard.judge(&connection)?;
            Ok(connection)
        })
    }
}
