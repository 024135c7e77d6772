//! A carrier that has failed is done with. Sinks and streams made of others may panic when they are asked again after an
//! error or their end (`sink_map_err` does), and a channel is closed whatever came before: so nothing is ever asked again.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::{Sink, Stream};

type BoxedSink = Pin<Box<dyn Sink<Bytes, Error = io::Error> + Send>>;
type BoxedStream = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// The way out of a carrier, until it fails or is closed.
pub(crate) struct Out(Option<BoxedSink>);

impl Out {
    pub(crate) fn new(sink: impl Sink<Bytes, Error = io::Error> + Send + 'static) -> Self {
        Self(Some(Box::pin(sink)))
    }

    fn ask<T>(
        &mut self,
        ask: impl FnOnce(Pin<&mut (dyn Sink<Bytes, Error = io::Error> + Send)>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let Some(sink) = &mut self.0 else { return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())) };
        let answer = ready!(ask(sink.as_mut()));
        if answer.is_err() {
            self.0 = None;
        }
        Poll::Ready(answer)
    }
}

impl Sink<Bytes> for Out {
    type Error = io::Error;

    fn poll_ready(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ask(|sink| sink.poll_ready(context))
    }

    fn start_send(mut self: Pin<&mut Self>, message: Bytes) -> io::Result<()> {
        match self.ask(|sink| Poll::Ready(sink.start_send(message))) {
            Poll::Ready(answer) => answer,
            Poll::Pending => Ok(()),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ask(|sink| sink.poll_flush(context))
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = ready!(self.ask(|sink| sink.poll_close(context)));
        self.0 = None;
        Poll::Ready(closed)
    }
}

/// The way in, until it fails or ends.
pub(crate) struct In(Option<BoxedStream>);

impl In {
    pub(crate) fn new(stream: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Self {
        Self(Some(Box::pin(stream)))
    }
}

impl Stream for In {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(stream) = &mut self.0 else { return Poll::Ready(None) };
        let next = ready!(stream.as_mut().poll_next(context));
        if !matches!(next, Some(Ok(_))) {
            self.0 = None;
        }
        Poll::Ready(next)
    }
}
