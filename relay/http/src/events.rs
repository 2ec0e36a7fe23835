//! `GET /api/events`: what changes of screens, and problems of streams and screens, as server-sent events
//! (<https://html.spec.whatwg.org/multipage/server-sent-events.html>). One task for each client on the HTTP thread.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use fanlight_daemon::clock;
use fanlight_live::access::Grant;
use fanlight_live::events::{LOOK_INTERVAL, Monitor};
use hyper::body::Frame;
use serde_json::Value;
use tokio::sync::mpsc;

use super::body::{Chunk, StreamingBody, chunk};
use super::{AppState, screens};

/// Problems that wait for a slow client; the oldest give way.
pub(super) const MAX_WAITING: usize = 64;

/// Least time between two lists of the screens.
const LIST_INTERVAL: Duration = Duration::from_millis(100);

/// When nothing else is sent for so long a line goes out that means nothing, by which either side notices that the other is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Looks for problems, which all clients are told. Runs for ever.
pub(super) async fn follow(app: &AppState) {
    let mut monitor = Monitor::default();
    let mut looks = tokio::time::interval(LOOK_INTERVAL);
    loop {
        looks.tick().await;
        for event in monitor.look(app.table(), clock::now()) {
            // An error says that nobody listens.
            let _ = app.problems.send(text("problem", &event.json()));
        }
    }
}

/// `GET /api/events`.
pub(super) async fn events(
    State(app): State<Arc<AppState>>,
    Extension(grant): Extension<Grant>,
) -> Response {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let stopped = app.shutdown.clone();
        tokio::select! {
            () = tell(&app, &sender) => {}
            () = grant.over() => {}
            () = stopped.wait() => {}
            () = sender.closed() => {}
        }
    });

    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/event-stream"),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    StreamingBody::response(headers, Received(receiver))
}

/// Tells one client what happens, until it is gone. While it takes nothing, nothing is made for it.
async fn tell(app: &AppState, sender: &mpsc::Sender<Bytes>) {
    let mut problems = app.problems.subscribe();
    let mut changes = app.table().watch_status();
    let mut told = Value::Null;
    let mut sent = clock::now();
    changes.mark_changed();

    loop {
        let next = tokio::select! {
            Ok(()) = changes.changed() => {
                let all = screens::all(app);
                let lasting = lasting(&all);
                let is_news = lasting != told;
                told = lasting;
                is_news.then(|| text("screens", &all))
            }
            problem = problems.recv() => problem.ok(),
            else => return,
        };

        let now = clock::now();
        let is_quiet = now.saturating_since(sent) >= KEEP_ALIVE;
        let next = next.or_else(|| is_quiet.then(|| Bytes::from_static(b":\n\n")));
        if let Some(next) = next {
            sent = now;
            if sender.send(next).await.is_err() {
                return;
            }
        }
        tokio::time::sleep(LIST_INTERVAL).await;
    }
}

/// The same without what changes all the time.
pub(super) fn lasting(all: &Value) -> Value {
    let mut rows = all["screens"].clone();
    for row in rows.as_array_mut().into_iter().flatten() {
        row["asked_ms_ago"] = Value::Null;
        if row["notice"].is_object() {
            row["notice"]["seconds"] = Value::Null;
        }
        for frame in row["showing"].as_array_mut().into_iter().flatten() {
            frame["number"] = Value::Null;
            frame["age_us"] = Value::Null;
        }
    }
    rows
}

fn text(event: &str, data: &Value) -> Bytes {
    format!("event: {event}\ndata: {data}\n\n").into()
}

/// A body of what comes through a channel.
struct Received(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Received {
    type Data = Chunk;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Chunk>, Infallible>>> {
        let received = ready!(self.0.poll_recv(context));
        Poll::Ready(received.map(|bytes| Ok(Frame::data(chunk(bytes)))))
    }
}
