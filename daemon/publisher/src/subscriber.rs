//! One connected subscriber: its bounded queue, and the task that shakes hands, listens and sends.

#[cfg(test)]
mod tests;

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use bytes::{Buf, Bytes};
use fanlight_daemon::clock;
use fanlight_daemon::stream_socket::StreamSocket;
use fanlight_proto::feed::{ANSWER_TOPIC, FromRelay, encode_control_answer, parse_to_source};
use fanlight_proto::keys::{FeedKey, PublicKey};
use fanlight_proto::zmtp::{
    AcceptedSecurity, Decoder, Encoded, Encoder, Established, Event, Handshake, ProtocolError,
};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::places::{NoPlace, Place};
use super::send_queue::{MAX_SUBSCRIPTIONS, Next, SendQueue, Writer};
use super::upstream_limiter::UpstreamLimiter;
use super::{Hub, Registration};

/// A peer has so long for greeting and READY together, or its place goes to another.
pub(super) const HANDSHAKE_LIMIT: Duration = Duration::from_secs(2);

/// A peer that takes not one byte for so long while there is something to send is dropped.
pub(super) const WRITE_STALL_LIMIT: Duration = Duration::from_secs(3);

/// Bytes read at a time from a subscriber: a third of the longest feedback.
const READ_CHUNK: usize = 4096;

/// Bytes for which reading pauses one [`READ_PAUSE`].
const READ_PORTION: usize = 1024;

/// At most 1 MB/s is read from a peer that floods, and the others keep their share.
const READ_PAUSE: Duration = Duration::from_millis(1);

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum DisconnectReason {
    #[error("it closed the connection")]
    Closed,
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    #[error("no handshake within {HANDSHAKE_LIMIT:?}")]
    Handshake,
    #[error("it took no byte for {WRITE_STALL_LIMIT:?}")]
    Stalled,
    #[error(transparent)]
    NoPlace(#[from] NoPlace),
    #[error("others need its place, and it has not subscribed")]
    Displaced,
    #[error("its key has been taken out of relay_keys, or feed_key has changed")]
    Unlisted,
    #[error("more than {MAX_SUBSCRIPTIONS} subscriptions")]
    Subscriptions,
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl DisconnectReason {
    /// Whether the peer broke a rule, as opposed to having gone.
    pub(super) fn is_offence(&self) -> bool {
        !matches!(self, Self::Closed | Self::Io(_))
    }
}

/// A message that all subscribers share.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) topic: Bytes,
    pub(super) body: Bytes,
}

/// What publisher and connection share of one subscriber.
#[derive(Debug)]
pub(super) struct Subscriber {
    socket: StreamSocket,
    /// Used by whoever writes, so that frames are sealed in the order in which they are written.
    encoder: Mutex<Encoder>,
    queue: Mutex<SendQueue>,
    wake: Notify,
    /// It has said something that only relays say.
    is_relay: AtomicBool,
}

/// What became of a message for one subscriber.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Offered {
    /// Bytes of the body that are written already.
    pub(super) sent: usize,
    /// Whether an older message fell out.
    pub(super) dropped: bool,
}

impl Subscriber {
    pub(super) fn new(socket: StreamSocket, encoder: Encoder) -> Self {
        Self {
            socket,
            encoder: Mutex::new(encoder),
            queue: Mutex::default(),
            wake: Notify::new(),
            is_relay: AtomicBool::new(false),
        }
    }

    /// Queues `message` if it is subscribed to. When nothing is before it and it may be sent `at_once`, this writes what
    /// there is room for: no other thread has to be woken for it.
    pub(super) fn offer(&self, message: &Message, at_once: bool) -> Offered {
        let mut queue = self.queue();
        if !queue.wants(&message.topic) {
            return Offered::default();
        }

        if at_once && queue.is_idle() {
            queue.writer = Writer::Publisher;
            drop(queue);
            return Offered {
                sent: self.send(message),
                dropped: false,
            };
        }

        let dropped = queue.push(message.clone());
        drop(queue);
        self.wake.notify_one();
        Offered { sent: 0, dropped }
    }

    /// Writes what there is room for, and leaves the rest to the connection's task, as well as to see what is wrong.
    fn send(&self, message: &Message) -> usize {
        let Encoded { prefix, body } = self.encode(message);
        let length = body.len();
        let mut bytes = prefix.chain(body);
        let mut parts = [IoSlice::new(&[]); 2];
        let count = bytes.chunks_vectored(&mut parts);
        let written = self.socket.try_write(&parts[..count]).unwrap_or(0);
        bytes.advance(written);
        let (prefix, body) = bytes.into_inner();
        let sent = length - body.len();

        let mut queue = self.queue();
        queue.writer = Writer::Nobody;
        if !(prefix.is_empty() && body.is_empty()) {
            queue.begun = Some(Encoded { prefix, body });
        }

        let done = queue.is_idle();
        drop(queue);
        if !done {
            self.wake.notify_one();
        }

        sent
    }

    fn encode(&self, message: &Message) -> Encoded {
        self.encoder().message(&message.topic, message.body.clone())
    }

    fn encoder(&self) -> MutexGuard<'_, Encoder> {
        self.encoder.lock()
    }

    /// Queues an answer, before the frames that come from now on.
    pub(super) fn answer(&self, body: Bytes) {
        let topic = Bytes::from_static(ANSWER_TOPIC);
        self.queue().push(Message { topic, body });
        self.wake.notify_one();
    }

    /// Whether it is a relay, as far as is known.
    pub(super) fn is_relay(&self) -> bool {
        self.is_relay.load(Relaxed)
    }

    /// Whether it has any subscription.
    pub(super) fn is_subscribed(&self) -> bool {
        !self.queue().subscriptions.is_empty()
    }

    fn queue(&self) -> MutexGuard<'_, SendQueue> {
        self.queue.lock()
    }
}

/// A peer with which hands are shaken.
struct Peer<'a> {
    /// What to call it in log lines.
    name: &'a str,
    hub: &'a Hub,
    place: &'a Place,
    registration: Registration<'a>,
}

impl Peer<'_> {
    fn socket(&self) -> &StreamSocket {
        &self.registration.subscriber.socket
    }

    fn queue(&self) -> MutexGuard<'_, SendQueue> {
        self.registration.subscriber.queue()
    }

    /// It subscribes, cancels or asks for a sign of life: whether its subscriptions have changed.
    fn take_event(&self, event: Event) -> Result<bool, DisconnectReason> {
        // Nothing is published meanwhile: it gets what is the newest now, and then all that comes.
        let _publishing = self.hub.subscribers();
        let newest = self.hub.newest.lock();
        self.queue().on_event(clock::now(), event, &newest)
    }

    fn tell_subscriptions(&self) {
        let topics: Vec<_> = self
            .queue()
            .subscriptions
            .iter()
            .map(|topic| topic.to_vec())
            .collect();

        self.place.set_subscribed(!topics.is_empty());
        self.hub
            .sink()
            .on_subscriptions(clock::now(), self.registration.number, &topics);
    }

    /// A relay says something.
    fn take_upstream(&self, limiter: &mut UpstreamLimiter, message: &[u8]) {
        let now = clock::now();
        self.registration.subscriber.is_relay.store(true, Relaxed);
        let allowed = limiter.take(now, message.len());
        let parsed = allowed.and_then(|()| Ok(parse_to_source(message)?));

        match parsed {
            Ok(FromRelay::ClockProbe(nonce)) => {
                self.queue().on_probe(now, nonce);
                self.registration.subscriber.wake.notify_one();
            }
            Ok(FromRelay::Feedback(report)) => {
                self.hub.counters.feedback.fetch_add(1, Relaxed);
                self.hub
                    .sink()
                    .on_feedback(now, self.registration.number, report);
            }
            Ok(FromRelay::Refused(refused)) => {
                let sink = self.hub.sink();
                sink.on_refused(now, self.registration.number, refused);
            }
            Ok(FromRelay::Controls(request)) => {
                let subscriber = Arc::downgrade(&self.registration.subscriber);
                let reply = move |answer| {
                    if let Some(subscriber) = subscriber.upgrade() {
                        subscriber.answer(encode_control_answer(answer));
                    }
                };
                if let Some(controls) = self.hub.controls.get() {
                    Arc::clone(controls).request(request, Box::new(reply));
                }
            }
            Err(dropped) => self.hub.drop_feedback(self.name, &dropped),
        }
    }
}

/// Serves the connection of the peer called `name` until it ends.
pub(super) async fn serve(
    socket: StreamSocket,
    name: &str,
    place: &Place,
    hub: &Hub,
) -> DisconnectReason {
    let mut accepted = hub.security.subscribe();
    let security = Arc::clone(&accepted.borrow_and_update());
    let shared = security.shared_key.clone();
    let established = match timeout(HANDSHAKE_LIMIT, shake_hands(&socket, security)).await {
        Ok(Ok(established)) => established,
        Ok(Err(reason)) => return reason,
        Err(_) => return DisconnectReason::Handshake,
    };

    if let Err(refused) = place.establish() {
        return refused.into();
    }

    let Established {
        mut decoder,
        encoder,
        relay,
        ..
    } = established;

    if let Some((key, relay)) = &relay {
        tracing::debug!(peer = name, relay, %key, "relay connected");
    }

    let subscriber = Subscriber::new(socket, encoder);
    let peer = Peer {
        name,
        hub,
        place,
        registration: Registration::new(hub, subscriber),
    };

    tokio::select! {
        reason = listen(&mut decoder, &peer) => reason,
        reason = send(&peer) => reason,
        reason = lose_key(relay, shared, accepted) => reason,
    }
}

/// Waits until a relay's key is not accepted any more: its own, or the `shared` one.
async fn lose_key(
    relay: Option<(PublicKey, String)>,
    shared: Option<FeedKey>,
    mut accepted: watch::Receiver<Arc<AcceptedSecurity>>,
) -> DisconnectReason {
    let gone = accepted.wait_for(|accepted| match &relay {
        Some((key, _)) => accepted.name_of(key).is_none(),
        None => accepted.shared_key != shared,
    });
    // An error is a publisher that ends.
    drop(gone.await);
    DisconnectReason::Unlisted
}

async fn shake_hands(
    socket: &StreamSocket,
    security: Arc<AcceptedSecurity>,
) -> Result<Established, DisconnectReason> {
    let mut handshake = Handshake::publisher(security, clock::random_bytes());
    loop {
        let advanced = handshake.advance();
        socket.write_all(&handshake.output()).await?;
        if let Some(established) = advanced? {
            return Ok(established);
        }
        read_chunk(socket, handshake.buffer()).await?;
    }
}

async fn listen(decoder: &mut Decoder, peer: &Peer<'_>) -> DisconnectReason {
    let mut limiter = UpstreamLimiter::default();
    // That it has come is news.
    let (mut changed, mut next) = (true, Instant::now());

    loop {
        match decoder.next() {
            Ok(Some(Event::Upstream(message))) => peer.take_upstream(&mut limiter, &message),
            Ok(Some(event)) => {
                match peer.take_event(event) {
                    Ok(news) => changed |= news,
                    Err(reason) => return reason,
                }
                peer.registration.subscriber.wake.notify_one();
            }
            Ok(None) => {
                // Once for all that came together: who subscribes and cancels all the time costs no more.
                if std::mem::take(&mut changed) {
                    peer.tell_subscriptions();
                }

                let read = match read_chunk(peer.socket(), decoder.buffer()).await {
                    Ok(length) => length,
                    Err(reason) => return reason,
                };

                // What is asked after a silence is answered at once.
                let now = Instant::now();
                if now < next {
                    sleep_until(next).await;
                }

                next = next.max(now)
                    + READ_PAUSE
                        * u32::try_from(read / READ_PORTION)
                            .unwrap_or(u32::MAX)
                            .max(1);
            }
            Err(error) => return error.into(),
        }
    }
}

async fn read_chunk(
    socket: &StreamSocket,
    buffer: &mut Vec<u8>,
) -> Result<usize, DisconnectReason> {
    match socket.read_onto(buffer, READ_CHUNK).await? {
        0 => Err(DisconnectReason::Closed),
        length => Ok(length),
    }
}

async fn send(peer: &Peer<'_>) -> DisconnectReason {
    let subscriber = &*peer.registration.subscriber;
    loop {
        let next = subscriber.queue().next();
        let Encoded { prefix, body } = match next {
            Some(Next::Rest(rest)) => rest,
            Some(Next::Pong(context)) => Encoded {
                prefix: subscriber.encoder().pong(&context),
                body: Bytes::new(),
            },
            Some(Next::Answer(question)) => {
                let answer = peer
                    .hub
                    .answerer
                    .answer(&question, peer.registration.number);
                subscriber.encoder().message(question.topic(), answer)
            }
            Some(Next::Message(message)) => subscriber.encode(&message),
            None => {
                subscriber.wake.notified().await;
                continue;
            }
        };

        let length = body.len();
        if let Err(reason) = write_all(&subscriber.socket, prefix.chain(body)).await {
            return reason;
        }

        peer.hub
            .counters
            .sent_bytes
            .fetch_add(length as u64, Relaxed);
    }
}

/// Writes everything, without joining the parts in memory, as long as some bytes move within each stall limit.
async fn write_all(socket: &StreamSocket, mut bytes: impl Buf) -> Result<(), DisconnectReason> {
    while bytes.has_remaining() {
        let mut parts = [IoSlice::new(&[]); 2];
        let count = bytes.chunks_vectored(&mut parts);
        let written = timeout(WRITE_STALL_LIMIT, socket.write(&parts[..count])).await;
        bytes.advance(written.map_err(|_| DisconnectReason::Stalled)??);
    }
    Ok(())
}
