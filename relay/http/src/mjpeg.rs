//! A stream as one answer that does not end: `multipart/x-mixed-replace`, a part for each picture.

use std::convert::Infallible;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::{Buf as _, Bytes};
use fanlight_live::access::Grant;
use fanlight_live::{FrameSubscription, LiveFrame, Subscribe};
use fanlight_proto::message::{self, StreamName};
use hyper::body::Frame;

use super::api_error::ApiError;
use super::authorize::{number, query};
use super::body::{Chunk, StreamingBody, chunk};
use super::gateway::Peer;
use super::origin;
use super::snapshot::{name, timestamp};
use super::{AppState, MJPEG};

/// What stands between parts. No JPEG holds it: it would be 26 chosen bytes.
const BOUNDARY: &str = "fanlight-next-picture-9f3c";

/// Most frames a second that a client may ask for; more than any camera has.
pub(super) const MOST_FPS: f64 = 1_000.0;

/// Fewest, so that a client that asks for less is told and does not wait for ever.
pub(super) const FEWEST_FPS: f64 = 0.01;

/// What `fps` is, for those who give something else.
const FPS: &str = "a number of frames a second, 0.01 to 1000";

/// `GET /stream/NAME.mjpeg`.
pub(super) async fn stream(
    state: State<Arc<AppState>>,
    Path(file): Path<String>,
    request: Request,
) -> Response {
    match file
        .strip_suffix(".mjpeg")
        .or_else(|| file.strip_suffix(".mjpg"))
    {
        Some(name) => of(state, Some(name.to_owned()), request).await,
        None => ApiError::not_found().into_response(),
    }
}

/// The pictures of `stream`, or of the first that has a source.
pub(super) async fn of(
    State(app): State<Arc<AppState>>,
    stream: Option<String>,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    begin(
        app,
        stream,
        &parts.uri,
        &parts.headers,
        parts.extensions.get().cloned(),
        parts.extensions.get().cloned(),
    )
    .into_response()
}

fn begin(
    app: Arc<AppState>,
    stream: Option<String>,
    uri: &Uri,
    headers: &HeaderMap,
    peer: Option<Peer>,
    grant: Option<Grant>,
) -> Result<Response, ApiError> {
    let framing = Framing::of(uri, headers)?;
    let fps = number(uri, "fps", FEWEST_FPS..=MOST_FPS, FPS)?;
    let name = name(&app, stream)?;
    if origin::is_cross_site(&app.settings, headers) {
        check_awake(&app, &name)?;
    }

    let memory = app.table().client_memory();
    let charge = peer.as_ref().map(|peer| memory.open(peer.address.ip(), 1));
    let options = Subscribe {
        client: peer.map(|peer| (MJPEG, peer.address)),
        charge: charge.map(Arc::new),
        fps,
        ..Subscribe::default()
    };

    let subscription = app
        .output
        .subscribe(&name, options)
        .ok_or_else(|| ApiError::no_such_stream(name.as_str()))?;

    tracing::Span::current().record("stream", name.as_str());
    let feed = Feed {
        app,
        subscription,
        framing,
        any: false,
        over: Box::pin(async move {
            match grant {
                Some(grant) => grant.over().await,
                None => pending().await,
            }
        }),
    };

    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static(
                "multipart/x-mixed-replace; boundary=fanlight-next-picture-9f3c",
            ),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];

    Ok(StreamingBody::response(headers, Parts::new(feed)))
}

/// A page of another site may show a stream that is there, but wakes no camera.
fn check_awake(app: &AppState, name: &StreamName) -> Result<(), ApiError> {
    let entry = app.table().entry(name);
    if entry.is_none_or(|entry| entry.state == message::State::Live && !entry.source_gone) {
        return Ok(());
    }

    let message = format!(
        "{name} is not live, and a page of another site wakes no camera: open the stream itself, or list the page's origin in \
         http_origins"
    );
    Err(ApiError::new(StatusCode::FORBIDDEN, "cross_site", message))
}

/// How parts are framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// Each part tells its length and its time before the picture: what players like.
    Plain,
    /// The head of the next part follows each picture at once, and so tells neither. Browsers show a picture when the
    /// next head has come: with plain framing, a picture late.
    Advance,
}

impl Framing {
    fn of(uri: &Uri, headers: &HeaderMap) -> Result<Self, ApiError> {
        match query(uri, "framing") {
            Some("plain") => Ok(Self::Plain),
            Some("advance") => Ok(Self::Advance),
            Some(_) => Err(ApiError::bad_request("framing is plain or advance")),
            None => {
                let agent = headers
                    .get(header::USER_AGENT)
                    .and_then(|agent| agent.to_str().ok())
                    .unwrap_or_default();

                Ok(if agent.starts_with("Mozilla/") {
                    Self::Advance
                } else {
                    Self::Plain
                })
            }
        }
    }

    /// What is sent for a picture, which is the `first` of the answer or not.
    fn part(self, picture: &LiveFrame, first: bool) -> Chunk {
        let jpeg = picture.jpeg.clone();
        let (before, after) = match self {
            Self::Plain => {
                let head = format!(
                    "--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\nX-Timestamp: {}\r\n\r\n",
                    jpeg.len(),
                    timestamp(picture)
                );
                // At once: GStreamer's multipartdemux shows a picture when the two bytes after it have come.
                (head.into(), Bytes::from_static(b"\r\n"))
            }
            Self::Advance if first => (advance_head("--"), advance_head("\r\n--")),
            Self::Advance => (Bytes::new(), advance_head("\r\n--")),
        };

        before.chain(jpeg).chain(after)
    }

    /// What ends the answer after `any` pictures.
    fn end(self, any: bool) -> Bytes {
        match self {
            // There is a head already, of a part that will be empty.
            Self::Advance if any => format!("\r\n--{BOUNDARY}--\r\n").into(),
            _ => format!("--{BOUNDARY}--\r\n").into(),
        }
    }
}

fn advance_head(before: &str) -> Bytes {
    format!("{before}{BOUNDARY}\r\nContent-Type: image/jpeg\r\n\r\n").into()
}

/// Where the pictures of one answer come from.
struct Feed {
    app: Arc<AppState>,
    subscription: FrameSubscription,
    framing: Framing,
    any: bool,
    /// Ready when what let the client in does so no longer.
    over: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Feed {
    /// What to send next, as soon as there is something; none at the end. It is asked when the socket has room: a slow
    /// client gets the newest picture of that moment, and nothing waits for it.
    async fn next(&mut self) -> Option<Chunk> {
        tokio::select! {
            biased;
            () = &mut self.over => None,
            arrival = self.subscription.next() => {
                let arrival = arrival?;
                let is_first = !std::mem::replace(&mut self.any, true);
                Some(self.framing.part(&arrival.frame, is_first))
            }
            () = self.app.shutdown.wait() => None,
        }
    }
}

type Step = Pin<Box<dyn Future<Output = (Feed, Option<Chunk>)> + Send>>;

/// The body of an answer, which gives a part whenever it is asked for one.
struct Parts {
    /// None after the end.
    step: Option<Step>,
}

impl Parts {
    fn new(feed: Feed) -> Self {
        Self {
            step: Some(step(feed)),
        }
    }
}

fn step(mut feed: Feed) -> Step {
    Box::pin(async move {
        let part = feed.next().await;
        (feed, part)
    })
}

impl hyper::body::Body for Parts {
    type Data = Chunk;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Chunk>, Infallible>>> {
        let Some(pending) = &mut self.step else {
            return Poll::Ready(None);
        };

        let (feed, part) = ready!(pending.as_mut().poll(context));
        let part = match part {
            Some(part) => {
                self.step = Some(step(feed));
                part
            }
            None => {
                self.step = None;
                chunk(feed.framing.end(feed.any))
            }
        };

        Poll::Ready(Some(Ok(Frame::data(part))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::picture_of;

    fn picture() -> LiveFrame {
        picture_of("cam", 7)
    }

    fn sent(framing: Framing) -> String {
        let parts = [true, false].map(|first| framing.part(&picture(), first));
        let sent = parts
            .into_iter()
            .flat_map(|mut part| part.copy_to_bytes(part.remaining()));
        String::from_utf8(sent.chain(framing.end(true)).collect()).unwrap()
    }

    #[test]
    fn plain_parts_tell_length_and_time() {
        let part = format!(
            "--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: 4\r\nX-Timestamp: 1800000000.000042\r\n\r\nJPEG\r\n"
        );
        assert_eq!(
            sent(Framing::Plain),
            format!("{part}{part}--{BOUNDARY}--\r\n")
        );
    }

    /// GStreamer's multipartdemux waits for them.
    #[test]
    fn the_two_bytes_after_a_picture_go_with_it_and_not_with_the_next() {
        for first in [true, false] {
            assert_eq!(
                Framing::Plain.part(&picture(), first).into_inner().1,
                "\r\n"
            );
        }
    }

    #[test]
    fn in_advance_framing_the_next_head_follows_each_picture() {
        let head = format!("--{BOUNDARY}\r\nContent-Type: image/jpeg\r\n\r\n");
        assert_eq!(
            sent(Framing::Advance),
            format!("{head}JPEG\r\n{head}JPEG\r\n{head}\r\n--{BOUNDARY}--\r\n")
        );
    }

    #[test]
    fn browsers_get_advance_framing_and_players_plain_unless_they_ask() {
        let framing = |uri: &str, agent: &'static str| {
            let headers =
                HeaderMap::from_iter([(header::USER_AGENT, HeaderValue::from_static(agent))]);
            Framing::of(&uri.parse().unwrap(), &headers)
        };

        assert_eq!(
            framing("/stream/a.mjpeg", "Mozilla/5.0 (X11)"),
            Ok(Framing::Advance)
        );

        assert_eq!(framing("/stream/a.mjpeg", "Lavf/61"), Ok(Framing::Plain));
        assert_eq!(
            framing("/stream/a.mjpeg?framing=plain", "Mozilla/5.0"),
            Ok(Framing::Plain)
        );

        assert_eq!(
            framing("/stream/a.mjpeg?framing=advance", "curl/8"),
            Ok(Framing::Advance)
        );

        framing("/stream/a.mjpeg?framing=x", "curl/8").unwrap_err();
    }
}
