//! What is sent, and connections that do not wait for ever to send it.

use std::convert::Infallible;
use std::future::Future as _;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::response::{IntoResponse, IntoResponseParts, Response};
use bytes::buf::Chain;
use bytes::{Buf as _, Bytes};
use hyper::body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// Who takes nothing of what is sent to it for so long is cut off.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// A stream on which a write fails that made no progress for too long.
#[derive(Debug)]
pub(super) struct WriteTimeout<S> {
    stream: S,
    patience: Duration,
    /// Runs while a write waits for room.
    limit: Pin<Box<Sleep>>,
    waiting: bool,
}

impl<S> WriteTimeout<S> {
    /// One whose writes wait so long.
    pub(super) fn new(stream: S, patience: Duration) -> Self {
        Self {
            stream,
            patience,
            limit: Box::pin(tokio::time::sleep(patience)),
            waiting: false,
        }
    }

    /// Passes on what a write came to, unless it has waited too long.
    fn judge<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = false;
            return written;
        }

        if !std::mem::replace(&mut self.waiting, true) {
            let until = Instant::now() + self.patience;
            self.limit.as_mut().reset(until);
        }

        ready!(self.limit.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteTimeout<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteTimeout<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judge(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.judge(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.judge(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = Pin::new(&mut self.stream).poll_shutdown(context);
        self.judge(context, ended)
    }
}

/// What goes out together, and where the system takes it in one call: a picture with what stands before and behind it.
pub(super) type Chunk = Chain<Chain<Bytes, Bytes>, Bytes>;

/// A chunk of nothing but `bytes`.
pub(super) fn chunk(bytes: Bytes) -> Chunk {
    Bytes::new().chain(bytes).chain(Bytes::new())
}

type Chunks = Pin<Box<dyn Body<Data = Chunk, Error = Infallible> + Send>>;

/// A body of pieces. One of axum's is made of single slices, each of which would go out by itself when it is large; so
/// this one travels beside it, to the [`ResponseBody`].
#[derive(Clone)]
pub(super) struct StreamingBody(Arc<Mutex<Option<Chunks>>>);

impl StreamingBody {
    /// A response with those headers and that body.
    pub(super) fn response(
        headers: impl IntoResponseParts,
        body: impl Body<Data = Chunk, Error = Infallible> + Send + 'static,
    ) -> Response {
        let mut response = (headers, axum::body::Body::new(UnknownLength)).into_response();
        response
            .extensions_mut()
            .insert(Self(Arc::new(Mutex::new(Some(Box::pin(body))))));
        response
    }
}

/// Stands for a body whose length nobody knows.
struct UnknownLength;

impl Body for UnknownLength {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }
}

/// The body that hyper sends.
pub(super) enum ResponseBody {
    /// As axum has it.
    Plain(axum::body::Body),
    /// See [`StreamingBody`].
    StreamingBody(Chunks),
}

impl ResponseBody {
    /// The response with the body that was meant.
    pub(super) fn of(mut response: Response) -> hyper::Response<Self> {
        let direct = response.extensions_mut().remove::<StreamingBody>();
        let direct = direct.and_then(|StreamingBody(body)| body.lock().take());
        response.map(|body| direct.map_or(Self::Plain(body), Self::StreamingBody))
    }
}

impl Body for ResponseBody {
    type Data = Chunk;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Chunk>, axum::Error>>> {
        match &mut *self {
            Self::Plain(body) => {
                let frame = ready!(Pin::new(body).poll_frame(context));
                Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(chunk))))
            }
            Self::StreamingBody(body) => {
                let frame = ready!(body.as_mut().poll_frame(context));
                Poll::Ready(frame.map(|frame| frame.map_err(|never| match never {})))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Plain(body) => body.is_end_stream(),
            Self::StreamingBody(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Plain(body) => body.size_hint(),
            Self::StreamingBody(body) => body.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn who_takes_nothing_is_cut_off_and_who_takes_a_little_is_not() {
        let (near, mut far) = tokio::io::duplex(16);
        let mut near = WriteTimeout::new(near, Duration::from_millis(200));
        let taking = async {
            for _ in 0..10 {
                tokio::time::sleep(Duration::from_millis(30)).await;
                far.read_exact(&mut [0; 8]).await.unwrap();
            }
        };

        // Ten times eight bytes are taken, sixteen fit, and of the rest nobody takes any.
        let (written, ()) = tokio::join!(near.write_all(&[7; 80]), taking);
        written.unwrap();
        let written = near.write_all(&[7; 80]).await;
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
