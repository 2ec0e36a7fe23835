//! One WebSocket for any number of streams. The client gives credit for each frame and says how many a second it wants of
//! each stream. It always gets the newest frame; at most one waits in its socket. One task per client on the HTTP thread.
//!
//! A viewer over TCP says the rest as it does over UDP, by control datagrams in binary messages.

mod message;
mod subscription;
mod viewer;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use fanlight_daemon::clock;
use fanlight_daemon::rate_limit::TokenBucket;
use fanlight_live::EngineStatus;
use fanlight_live::access::Grant;
use fanlight_live::ledger::Charge;
use fanlight_proto::clock::Time;
use serde_json::json;
use tokio::sync::{Notify, watch};
use tracing::Instrument as _;

use super::api_error::ApiError;
use super::gateway::Peer;
use super::mjpeg::{FEWEST_FPS, MOST_FPS};
use super::{AppState, api, readiness};
use message::ClientMessage;
use subscription::Subscription;

/// Largest message that a client may send, in bytes: all that it can say fits a tenth of it.
const MAX_MESSAGE_BYTES: usize = 4 << 10;

/// Subscriptions of one client: each stream that a relay carries.
pub(super) const MAX_SUBSCRIPTIONS: usize = fanlight_proto::limits::MAX_STREAMS;

/// Messages that a client may send in a second: a credit for each of 64 streams at 60 frames a second.
const MESSAGES_PER_SECOND: u32 = 4_096;

/// Copies of a frame that a connection holds: the message, and the buffer that it is written from, which grows by doubling and
/// stays.
const COPIES: usize = 3;

/// How often a client is asked whether it is there, when it says nothing.
const PING_INTERVAL: Duration = Duration::from_secs(5);

/// Who has said nothing for so long, three pings unanswered, is cut off.
const SILENCE: Duration = Duration::from_secs(16);

/// Least time between two lists of the streams.
const LIST_INTERVAL: Duration = Duration::from_millis(250);

/// A moment that has not quite come is not slept for again and again.
const SHORTEST_SLEEP: Duration = Duration::from_millis(1);

/// `GET /ws`.
pub(super) async fn upgrade(
    State(app): State<Arc<AppState>>,
    Extension(grant): Extension<Grant>,
    Extension(peer): Extension<Peer>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade
            .max_message_size(MAX_MESSAGE_BYTES)
            .max_frame_size(MAX_MESSAGE_BYTES),
        Err(error) => {
            return ApiError::bad_request(format!("this address is a WebSocket: {error}"))
                .into_response();
        }
    };

    // The upgraded connection outlives the task that the client's span belongs to.
    let span = tracing::info_span!("websocket", client = %peer.address);
    let serve = async move |socket| {
        let mut session = Session::new(Arc::clone(&app), grant, peer.address);
        let reason = tokio::select! {
            ended = session.run(socket) => ended,
            () = shutdown_deadline(&app) => return,
        };
        tracing::debug!("ended: {reason}");
        drop(peer);
    };

    upgrade.on_upgrade(move |socket| serve(socket).instrument(span))
}

/// The relay stops, and this session had time to say goodbye.
async fn shutdown_deadline(app: &AppState) {
    app.shutdown.wait().await;
    tokio::time::sleep(super::SHUTDOWN_TIMEOUT / 2).await;
}

/// One client.
pub(super) struct Session {
    app: Arc<AppState>,
    grant: Grant,
    address: SocketAddr,
    charge: Arc<Charge>,
    wake: Arc<Notify>,
    pub(super) subscriptions: Vec<Subscription>,
    /// Where to look first for a frame that is due: each in its turn.
    turn: usize,
    list_version: watch::Receiver<u64>,
    /// What the engine knows of screens, for a viewer that is one.
    status: watch::Receiver<Arc<EngineStatus>>,
    /// When the list of streams is due, if it has changed.
    list_due: Option<Time>,
    /// When it was sent last.
    listed: Time,
    /// A frame is what was sent last.
    ends_in_frame: bool,
    heard: Time,
    pinged: Time,
    messages: TokenBucket,
}

/// Why a session ends.
pub(super) type Ended = &'static str;

impl Session {
    pub(super) fn new(app: Arc<AppState>, grant: Grant, address: SocketAddr) -> Self {
        let now = clock::now();
        Self {
            list_version: app.table().watch_list(),
            status: app.table().watch_status(),
            charge: Arc::new(app.table().client_memory().open(address.ip(), COPIES)),
            app,
            grant,
            address,
            wake: Arc::default(),
            subscriptions: Vec::new(),
            turn: 0,
            list_due: Some(now),
            listed: now,
            ends_in_frame: false,
            heard: now,
            pinged: now,
            messages: TokenBucket::new(MESSAGES_PER_SECOND, MESSAGES_PER_SECOND),
        }
    }

    async fn run(&mut self, mut socket: WebSocket) -> Ended {
        match self.talk(&mut socket).await {
            Ok(never) => match never {},
            Err((code, reason)) => {
                let _ = socket
                    .send(Message::Close(Some(CloseFrame {
                        code,
                        reason: reason.into(),
                    })))
                    .await;
                reason
            }
        }
    }

    /// Until something ends it: the code and the reason to close with.
    async fn talk(&mut self, socket: &mut WebSocket) -> Result<Infallible, (u16, Ended)> {
        let gone = |_| (close_code::ABNORMAL, "the connection is broken");
        let app = Arc::clone(&self.app);
        let mut stop = pin!(app.shutdown.wait());
        let grant = self.grant.clone();
        let mut over = pin!(grant.over());
        socket.send(self.hello()).await.map_err(gone)?;

        loop {
            let now = clock::now();
            if now.saturating_since(self.heard) > SILENCE {
                return Err((close_code::AWAY, "nothing was heard for too long"));
            }

            self.attach();
            let due = self.due(now);
            let wait = self.deadline(now).saturating_since(now);

            tokio::select! {
                biased;
                () = &mut stop => return Err((close_code::AWAY, "the relay stops")),
                () = &mut over => {
                    return Err((close_code::POLICY, "what let this client in has expired, or was signed out"));
                }
                message = socket.recv() => {
                    let message = match message {
                        None => return Err((close_code::NORMAL, "the client has closed it")),
                        Some(message) => message.map_err(|_| (close_code::PROTOCOL, "a message is too long or none"))?,
                    };
                    for answer in self.take(&message)? {
                        self.ends_in_frame = false;
                        socket.send(answer).await.map_err(gone)?;
                    }
                }
                due = async { due }, if due.is_some() => {
                    if let Some(message) = due.and_then(|due| self.make(due)) {
                        socket.send(message).await.map_err(gone)?;
                    }
                }
                () = self.wake.notified() => {}
                changed = self.list_version.changed(), if self.list_due.is_none() => {
                    changed.map_err(|_| (close_code::AWAY, "the relay stops"))?;
                    self.list_due = Some(self.listed + LIST_INTERVAL);
                }
                changed = self.status.changed(), if self.is_directed() => {
                    changed.map_err(|_| (close_code::AWAY, "the relay stops"))?;
                    if let Some(message) = self.direct_of_change() {
                        socket.send(message).await.map_err(gone)?;
                    }
                }
                () = tokio::time::sleep(wait.max(SHORTEST_SLEEP)) => {}
            }
        }
    }

    fn hello(&self) -> Message {
        let now_us = clock::now().as_micros();
        text(&json!({
            "type": "hello", "version": 1, "server": api::server(), "role": self.grant.role().word(), "now_us": now_us,
            "webrtc": self.app.settings.whep.is_some(),
        }))
    }

    /// Attaches subscriptions to streams that have come, and detaches them from those that are gone.
    pub(super) fn attach(&mut self) {
        for subscription in &mut self.subscriptions {
            subscription.attach(&self.app.output, self.address, &self.charge, &self.wake);
        }
    }

    /// What is to be sent now. News of the streams and questions go before frames; frames go by turns.
    pub(super) fn due(&self, now: Time) -> Option<Due> {
        if self.list_due.is_some_and(|due| due <= now) {
            return Some(Due::List);
        }

        if self.quiet_until() <= now {
            return Some(Due::Ping);
        }

        let count = self.subscriptions.len();
        let mut places = (0..count).map(|step| (self.turn + step) % count);
        places
            .find(|place| self.subscriptions[*place].is_due(now))
            .map(Due::Frame)
            .or_else(|| self.needs_tail_probe().then_some(Due::TailProbe))
    }

    /// The stream goes on, and the client has not yet answered the frame that was sent last. If the network lost the last
    /// packet of it, TCP finds out by what follows, and waits 200 ms when nothing does.
    fn needs_tail_probe(&self) -> bool {
        self.ends_in_frame && self.subscriptions.iter().any(Subscription::awaits_credit)
    }

    /// When the client is asked whether it is there, if it says nothing until then.
    fn quiet_until(&self) -> Time {
        self.heard.max(self.pinged) + PING_INTERVAL
    }

    /// When something may be due without anything happening.
    fn deadline(&self, now: Time) -> Time {
        let frames = self.subscriptions.iter().filter_map(Subscription::deadline);
        frames
            .chain(self.list_due)
            .chain([self.quiet_until()])
            .min()
            .unwrap_or(now)
    }

    pub(super) fn make(&mut self, due: Due) -> Option<Message> {
        let now = clock::now();
        self.ends_in_frame = matches!(due, Due::Frame(_));
        match due {
            Due::List => {
                self.list_due = None;
                self.listed = now;
                if let Some(pulse) = self.pulse_of_change(now) {
                    return Some(pulse);
                }

                Some(text(&json!({
                    "type": "streams",
                    "streams": api::list(&self.app, now),
                    "problems": readiness::problems(&self.app, now, Some(self.grant.role())),
                })))
            }
            Due::Ping => {
                self.pinged = now;
                Some(Message::Ping(Bytes::new()))
            }
            // One that nobody asked for, which nobody answers (RFC 6455, section 5.5.3).
            Due::TailProbe => Some(Message::Pong(Bytes::new())),
            Due::Frame(place) => {
                self.turn = place + 1;
                self.subscriptions[place].take(now).map(Message::Binary)
            }
        }
    }

    /// Does what a message says, and gives what is to be answered.
    pub(super) fn take(&mut self, message: &Message) -> Result<Vec<Message>, (u16, Ended)> {
        let now = clock::now();
        self.heard = now;
        if !self.messages.try_take(now, 1) {
            return Err((close_code::POLICY, "too many messages"));
        }

        match message {
            Message::Text(text) => Ok(self.answer(now, text)),
            Message::Binary(datagram) => Ok(self.answer_viewer(now, datagram)),
            Message::Ping(_) | Message::Pong(_) => Ok(Vec::new()),
            Message::Close(_) => Err((close_code::NORMAL, "the client has closed it")),
        }
    }

    fn answer(&mut self, now: Time, message: &str) -> Vec<Message> {
        match serde_json::from_str(message) {
            Err(wrong) => vec![error(None, "bad_message", &wrong.to_string())],
            Ok(ClientMessage::Ping { t }) => vec![text(
                &json!({ "type": "pong", "t": t, "now_us": now.as_micros() }),
            )],
            Ok(ClientMessage::Subscribe { id, stream, fps }) => {
                self.subscribe(id, &stream, fps).into_iter().collect()
            }
            Ok(ClientMessage::Unsubscribe { id }) => {
                self.subscriptions
                    .retain(|subscription| subscription.id != id);
                Vec::new()
            }
            Ok(ClientMessage::Shown(shown)) => {
                if let Some(client) = self.find(shown.id).and_then(|it| it.client()) {
                    client.report(now, shown.report());
                }
                Vec::new()
            }
            Ok(ClientMessage::Credit { id }) => {
                self.find(id).into_iter().for_each(Subscription::add_credit);
                Vec::new()
            }
            Ok(ClientMessage::Rate { id, fps }) => match rate(fps) {
                Err(message) => vec![error(Some(id), "bad_message", message)],
                Ok(fps) => {
                    self.find(id)
                        .into_iter()
                        .for_each(|subscription| subscription.set_rate(fps));
                    Vec::new()
                }
            },
        }
    }

    /// The error to tell, if there is one.
    fn subscribe(&mut self, id: u32, stream: &str, fps: Option<f64>) -> Option<Message> {
        let fps = match rate(fps) {
            Ok(fps) => fps,
            Err(message) => return Some(error(Some(id), "bad_message", message)),
        };

        let Ok(stream) = stream.parse() else {
            return Some(error(
                Some(id),
                "no_such_stream",
                "a stream can have no such name",
            ));
        };

        self.subscriptions
            .retain(|subscription| subscription.id != id);
        if self.subscriptions.len() == MAX_SUBSCRIPTIONS {
            let message = format!("a connection takes {MAX_SUBSCRIPTIONS} subscriptions");
            return Some(error(Some(id), "too_many", &message));
        }

        let known = self.app.table().has(&stream);
        self.subscriptions.push(Subscription::new(id, stream, fps));
        (!known).then(|| {
            error(
                Some(id),
                "no_such_stream",
                "the relay has no such stream: its frames come when it has",
            )
        })
    }

    fn find(&mut self, id: u32) -> Option<&mut Subscription> {
        self.subscriptions
            .iter_mut()
            .find(|subscription| subscription.id == id)
    }
}

/// What is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    List,
    Ping,
    /// A few bytes behind a frame, by which TCP notices the loss of its end.
    TailProbe,
    /// A frame of the subscription at that place.
    Frame(usize),
}

fn rate(fps: Option<f64>) -> Result<Option<f64>, &'static str> {
    match fps {
        Some(fps) if !(FEWEST_FPS..=MOST_FPS).contains(&fps) => {
            Err("fps is a number of frames a second, 0.01 to 1000")
        }
        fps => Ok(fps),
    }
}

fn error(id: Option<u32>, code: &str, message: &str) -> Message {
    text(&json!({ "type": "error", "id": id, "code": code, "message": message }))
}

fn text(value: &serde_json::Value) -> Message {
    Message::Text(value.to_string().into())
}
