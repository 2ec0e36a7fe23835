//! One WebSocket for any number of streams. The client gives credit for each frame, and says how many a second it wants
//! of each stream: it is always at the newest, and nothing waits for it but one frame in its socket.

mod message;
mod subscription;

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
use fanlight_proto::clock::Time;
use serde_json::json;
use tokio::sync::{Notify, watch};

use super::access::Role;
use super::clients::Kind;
use super::fault::Fault;
use super::gateway::Peer;
use super::mjpeg::{FEWEST_FPS, MOST_FPS};
use super::{Hall, api};
use message::Ask;
use subscription::Subscription;

/// Largest message that a client may send, in bytes: all that it can say fits a tenth of it.
const MAX_MESSAGE_BYTES: usize = 4 << 10;

/// Subscriptions of one client: each stream that a relay carries.
const MAX_SUBSCRIPTIONS: usize = fanlight_proto::limits::MAX_STREAMS;

/// Messages that a client may send in a second: a credit for each of 64 streams at 60 frames a second.
const MESSAGES_PER_SECOND: u32 = 4_096;

/// How often a client is asked whether it is there, when it says nothing.
const PING_INTERVAL: Duration = Duration::from_secs(5);

/// Who has said nothing for so long, three pings unanswered, is cut off.
const SILENCE: Duration = Duration::from_secs(16);

/// Least time between two lists of the streams.
const ROLL_INTERVAL: Duration = Duration::from_millis(250);

/// A moment that has not quite come is not slept for again and again.
const SHORTEST_SLEEP: Duration = Duration::from_millis(1);

/// `GET /ws`.
pub(super) async fn upgrade(
    State(hall): State<Arc<Hall>>,
    Extension(role): Extension<Role>,
    Extension(peer): Extension<Peer>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade
            .max_message_size(MAX_MESSAGE_BYTES)
            .max_frame_size(MAX_MESSAGE_BYTES),
        Err(error) => {
            return Fault::bad_request(format!("this address is a WebSocket: {error}"))
                .into_response();
        }
    };
    upgrade.on_upgrade(async move |socket| {
        let mut session = Session::new(Arc::clone(&hall), role, peer.address);
        let reason = tokio::select! {
            ended = session.run(socket) => ended,
            () = silenced(&hall) => return,
        };
        tracing::debug!(client = %peer.address, "WebSocket ended: {reason}");
        drop(peer);
    })
}

/// The relay stops, and this session had time to say goodbye.
async fn silenced(hall: &Hall) {
    hall.shutdown.wait().await;
    tokio::time::sleep(super::FAREWELL_PATIENCE / 2).await;
}

/// One client.
struct Session {
    hall: Arc<Hall>,
    role: Role,
    address: SocketAddr,
    wake: Arc<Notify>,
    subscriptions: Vec<Subscription>,
    /// Where to look first for a frame that is due: each in its turn.
    turn: usize,
    news: watch::Receiver<u64>,
    /// When the list of streams is due, if it has changed.
    roll_due: Option<Time>,
    /// When it was sent last.
    rolled: Time,
    heard: Time,
    pinged: Time,
    /// Messages of the second that began then.
    messages: (Time, u32),
}

/// Why a session ends.
type Ended = &'static str;

impl Session {
    fn new(hall: Arc<Hall>, role: Role, address: SocketAddr) -> Self {
        let now = clock::now();
        Self {
            news: hall.wall.news(),
            hall,
            role,
            address,
            wake: Arc::default(),
            subscriptions: Vec::new(),
            turn: 0,
            roll_due: Some(now),
            rolled: now,
            heard: now,
            pinged: now,
            messages: (now, 0),
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
        let hall = Arc::clone(&self.hall);
        let mut stop = pin!(hall.shutdown.wait());
        socket.send(self.hello()).await.map_err(gone)?;
        loop {
            let now = clock::now();
            if now.saturating_since(self.heard) > SILENCE {
                return Err((close_code::AWAY, "nothing was heard for too long"));
            }
            self.attach(now);
            let due = self.due(now);
            let wait = self.deadline(now).saturating_since(now);
            tokio::select! {
                biased;
                () = &mut stop => return Err((close_code::AWAY, "the relay stops")),
                message = socket.recv() => {
                    let message = match message {
                        None => return Err((close_code::NORMAL, "the client has closed it")),
                        Some(message) => message.map_err(|_| (close_code::PROTOCOL, "a message is too long or none"))?,
                    };
                    for answer in self.take(&message)? {
                        socket.send(answer).await.map_err(gone)?;
                    }
                }
                due = async { due }, if due.is_some() => {
                    if let Some(message) = due.and_then(|due| self.make(due)) {
                        socket.send(message).await.map_err(gone)?;
                    }
                }
                () = self.wake.notified() => {}
                changed = self.news.changed(), if self.roll_due.is_none() => {
                    changed.map_err(|_| (close_code::AWAY, "the relay stops"))?;
                    self.roll_due = Some(self.rolled + ROLL_INTERVAL);
                }
                () = tokio::time::sleep(wait.max(SHORTEST_SLEEP)) => {}
            }
        }
    }

    fn hello(&self) -> Message {
        let now_us = clock::now().as_micros();
        text(&json!({
            "type": "hello", "version": 1, "server": api::server(), "role": self.role.word(), "now_us": now_us,
        }))
    }

    /// Seats subscriptions at streams that have come, and takes them from those that are no more.
    fn attach(&mut self, now: Time) {
        for subscription in &mut self.subscriptions {
            subscription.attach(|stream| {
                let slot = self.hall.wall.slot(stream)?;
                let seat = self.hall.clients.seat(now, Kind::Ws, self.address, stream);
                Some((slot.watch(Arc::clone(&self.wake)), seat))
            });
        }
    }

    /// What is to be sent now. News of the streams and questions go before frames; frames go by turns.
    fn due(&self, now: Time) -> Option<Due> {
        if self.roll_due.is_some_and(|due| due <= now) {
            return Some(Due::Roll);
        }
        if self.quiet_until() <= now {
            return Some(Due::Ping);
        }
        let count = self.subscriptions.len();
        let mut places = (0..count).map(|step| (self.turn + step) % count);
        places
            .find(|place| self.subscriptions[*place].picture(now).is_some())
            .map(Due::Frame)
    }

    /// When the client is asked whether it is there, if it says nothing until then.
    fn quiet_until(&self) -> Time {
        self.heard.max(self.pinged) + PING_INTERVAL
    }

    /// When something may be due without anything happening.
    fn deadline(&self, now: Time) -> Time {
        let frames = self.subscriptions.iter().filter_map(Subscription::deadline);
        frames
            .chain(self.roll_due)
            .chain([self.quiet_until()])
            .min()
            .unwrap_or(now)
    }

    fn make(&mut self, due: Due) -> Option<Message> {
        let now = clock::now();
        match due {
            Due::Roll => {
                (self.roll_due, self.rolled) = (None, now);
                Some(text(
                    &json!({ "type": "streams", "streams": api::roll(&self.hall, now) }),
                ))
            }
            Due::Ping => {
                self.pinged = now;
                Some(Message::Ping(Bytes::new()))
            }
            Due::Frame(place) => {
                self.turn = place + 1;
                self.subscriptions[place].take(now).map(Message::Binary)
            }
        }
    }

    /// Does what a message says, and gives what is to be answered.
    fn take(&mut self, message: &Message) -> Result<Vec<Message>, (u16, Ended)> {
        let now = clock::now();
        self.heard = now;
        if now.saturating_since(self.messages.0) >= Duration::from_secs(1) {
            self.messages = (now, 0);
        }
        self.messages.1 += 1;
        if self.messages.1 > MESSAGES_PER_SECOND {
            return Err((close_code::POLICY, "too many messages"));
        }
        match message {
            Message::Text(text) => Ok(self.answer(now, text)),
            Message::Binary(_) => Ok(vec![error(
                None,
                "bad_message",
                "messages are JSON, as text",
            )]),
            Message::Ping(_) | Message::Pong(_) => Ok(Vec::new()),
            Message::Close(_) => Err((close_code::NORMAL, "the client has closed it")),
        }
    }

    fn answer(&mut self, now: Time, message: &str) -> Vec<Message> {
        match serde_json::from_str(message) {
            Err(wrong) => vec![error(None, "bad_message", &wrong.to_string())],
            Ok(Ask::Ping { t }) => vec![text(
                &json!({ "type": "pong", "t": t, "now_us": now.as_micros() }),
            )],
            Ok(Ask::Subscribe { id, stream, fps }) => {
                self.subscribe(id, &stream, fps).into_iter().collect()
            }
            Ok(Ask::Unsubscribe { id }) => {
                self.subscriptions
                    .retain(|subscription| subscription.id() != id);
                Vec::new()
            }
            Ok(Ask::Credit { id }) => {
                self.find(id).into_iter().for_each(Subscription::credit);
                Vec::new()
            }
            Ok(Ask::Rate { id, fps }) => match rate(fps) {
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
            .retain(|subscription| subscription.id() != id);
        if self.subscriptions.len() == MAX_SUBSCRIPTIONS {
            let message = format!("a connection takes {MAX_SUBSCRIPTIONS} subscriptions");
            return Some(error(Some(id), "too_many", &message));
        }
        let known = self.hall.wall.slot(&stream).is_some();
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
            .find(|subscription| subscription.id() == id)
    }
}

/// What is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Roll,
    Ping,
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
