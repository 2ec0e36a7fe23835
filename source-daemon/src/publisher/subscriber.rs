//! One connected subscriber: its bounded queue, and the task that shakes hands, listens and sends.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Buf, Bytes};
use fanlight_daemon::clock;
use fanlight_daemon::stream_socket::StreamSocket;
use fanlight_proto::clock::Time;
use fanlight_proto::envelope::{CHALLENGE_BYTES, is_feedback, is_question};
use fanlight_proto::limits::MAX_STREAMS;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};

use super::answers::Questions;
use super::feedback::Words;
use super::zmtp::{self, Event, Parser, ProtocolError};
use super::{Hub, Registration};

/// Messages that wait for one subscriber under one topic: one that is being overtaken and the newest.
pub(super) const QUEUE_PER_TOPIC: usize = 2;

/// Subscriptions of one peer: a relay that is told which streams to take subscribes to each of them, and to its canary.
pub(super) const MAX_SUBSCRIPTIONS: usize = 2 * MAX_STREAMS;

/// PONGs that wait for one peer; a PING beyond them gets none.
const MAX_PONGS: usize = 4;

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
pub(super) enum Departure {
    #[error("it closed the connection")]
    Closed,
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    #[error("no handshake within {HANDSHAKE_LIMIT:?}")]
    Handshake,
    #[error("it took no byte for {WRITE_STALL_LIMIT:?}")]
    Stalled,
    #[error("more than {MAX_SUBSCRIPTIONS} subscriptions")]
    Subscriptions,
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Departure {
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
    outbox: Mutex<Outbox>,
    wake: Notify,
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
    pub(super) fn new(socket: StreamSocket) -> Self {
        Self {
            socket,
            outbox: Mutex::default(),
            wake: Notify::new(),
        }
    }

    /// Queues `message` if it is subscribed to. When nothing is before it and it may be sent `at_once`, this writes what
    /// there is room for: no other thread has to be woken for it.
    pub(super) fn offer(&self, message: &Message, at_once: bool) -> Offered {
        let mut outbox = self.outbox();
        if !outbox.wants(&message.topic) {
            return Offered::default();
        }
        if at_once && outbox.is_idle() {
            outbox.writer = Writer::Publisher;
            drop(outbox);
            return Offered {
                sent: self.send(message.clone()),
                dropped: false,
            };
        }
        let dropped = outbox.queue(message.clone());
        drop(outbox);
        self.wake.notify_one();
        Offered { sent: 0, dropped }
    }

    /// Writes what there is room for, and leaves the rest to the connection's task, as well as to see what is wrong.
    fn send(&self, Message { topic, body }: Message) -> usize {
        let length = body.len();
        let mut bytes = zmtp::message_prefix(&topic, length).chain(body);
        let mut parts = [IoSlice::new(&[]); 2];
        let count = bytes.chunks_vectored(&mut parts);
        let written = self.socket.try_write(&parts[..count]).unwrap_or(0);
        bytes.advance(written);
        let (prefix, body) = bytes.into_inner();
        let sent = length - body.len();
        let mut outbox = self.outbox();
        outbox.writer = Writer::Nobody;
        if !(prefix.is_empty() && body.is_empty()) {
            outbox.begun = Some((prefix, body));
        }
        let done = outbox.is_idle();
        drop(outbox);
        if !done {
            self.wake.notify_one();
        }
        sent
    }

    /// Whether it has any subscription.
    pub(super) fn is_subscribed(&self) -> bool {
        !self.outbox().subscriptions.is_empty()
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is next to be sent.
#[derive(Debug)]
enum Next {
    /// These bytes.
    Bytes(Bytes, Bytes),
    /// The answer to this question. It is made when it is sent, and not while the publisher may wait.
    Answer(Vec<u8>),
}

/// Who writes to the connection. Another one waits until that is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Writer {
    #[default]
    Nobody,
    Publisher,
    /// The connection's own task.
    Task,
}

/// What waits to be sent.
#[derive(Debug, Default)]
struct Outbox {
    writer: Writer,
    /// The rest of a message for which there was no room.
    begun: Option<(Bytes, Bytes)>,
    subscriptions: Vec<Vec<u8>>,
    messages: VecDeque<Message>,
    pongs: VecDeque<Bytes>,
    questions: Questions,
}

impl Outbox {
    fn wants(&self, topic: &[u8]) -> bool {
        self.subscriptions
            .iter()
            .any(|prefix| topic.starts_with(prefix))
    }

    /// Newest wins: tells whether the oldest under this topic had to go.
    fn queue(&mut self, message: Message) -> bool {
        let mut same = self
            .messages
            .iter()
            .enumerate()
            .filter(|(_, queued)| queued.topic == message.topic);
        let oldest = same.next().map(|(index, _)| index);
        let full = oldest.is_some() && 1 + same.count() >= QUEUE_PER_TOPIC;
        if let (Some(index), true) = (oldest, full) {
            self.messages.remove(index);
        }
        self.messages.push_back(message);
        full
    }

    /// Takes what the peer says, feedback excepted; tells whether its subscriptions have changed.
    fn on_event(&mut self, now: Time, event: Event) -> Result<bool, Departure> {
        match event {
            // Not kept, so that a relay which asks each second fills no list.
            Event::Subscribe(topic) if is_question(&topic) => self.questions.ask(now, topic),
            Event::Subscribe(_) if self.subscriptions.len() >= MAX_SUBSCRIPTIONS => {
                return Err(Departure::Subscriptions);
            }
            Event::Subscribe(prefix) => {
                self.subscriptions.push(prefix);
                return Ok(true);
            }
            Event::Cancel(prefix) => {
                if let Some(index) = self.subscriptions.iter().position(|held| *held == prefix) {
                    self.subscriptions.swap_remove(index);
                    return Ok(true);
                }
            }
            Event::Ping(context) if self.pongs.len() < MAX_PONGS => {
                self.pongs.push_back(zmtp::pong(&context));
            }
            Event::Greeted | Event::Ready | Event::Ping(_) => {}
        }
        Ok(false)
    }

    /// Whether nobody writes, nor has to.
    fn is_idle(&self) -> bool {
        let none = self.begun.is_none()
            && self.messages.is_empty()
            && self.pongs.is_empty()
            && self.questions.is_empty();
        none && self.writer == Writer::Nobody
    }

    /// What the task is to send next, if anything: it writes until it is told of nothing more.
    fn next(&mut self) -> Option<Next> {
        if self.writer == Writer::Publisher {
            return None;
        }
        let next = self.take();
        self.writer = if next.is_some() {
            Writer::Task
        } else {
            Writer::Nobody
        };
        next
    }

    /// What was begun, and then PONGs and answers: they are small and prove that we live.
    fn take(&mut self) -> Option<Next> {
        if let Some((prefix, body)) = self.begun.take() {
            return Some(Next::Bytes(prefix, body));
        }
        if let Some(pong) = self.pongs.pop_front() {
            return Some(Next::Bytes(pong, Bytes::new()));
        }
        if let Some(question) = self.questions.next() {
            return Some(Next::Answer(question));
        }
        let Message { topic, body } = self.messages.pop_front()?;
        Some(Next::Bytes(zmtp::message_prefix(&topic, body.len()), body))
    }
}

/// A peer with which hands are shaken.
struct Peer<'a> {
    /// What to call it in log lines.
    name: &'a str,
    hub: &'a Hub,
    registration: Registration<'a>,
    challenge: [u8; CHALLENGE_BYTES],
}

impl Peer<'_> {
    fn socket(&self) -> &StreamSocket {
        &self.registration.subscriber.socket
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.registration.subscriber.outbox()
    }

    fn tell_subscriptions(&self) {
        let topics = self.outbox().subscriptions.clone();
        self.hub
            .ear()
            .on_subscriptions(clock::now(), self.registration.number, &topics);
    }

    fn take_word(&self, feedback: &mut Words, topic: &[u8]) {
        let now = clock::now();
        match feedback.take(now, topic) {
            Ok(feedback) => {
                self.hub.counters.feedback.fetch_add(1, Relaxed);
                self.hub
                    .ear()
                    .on_feedback(now, self.registration.number, feedback);
            }
            Err(dropped) => self.hub.drop_word(self.name, &dropped),
        }
    }
}

/// Serves the connection of the peer called `name` until it ends.
pub(super) async fn serve(socket: StreamSocket, name: &str, hub: &Arc<Hub>) -> Departure {
    let mut parser = Parser::default();
    match timeout(HANDSHAKE_LIMIT, shake_hands(&socket, &mut parser)).await {
        Ok(Ok(())) => {}
        Ok(Err(departure)) => return departure,
        Err(_) => return Departure::Handshake,
    }
    let peer = Peer {
        name,
        hub,
        registration: Registration::new(hub, socket),
        challenge: clock::random_bytes(),
    };
    tokio::select! {
        departure = listen(&mut parser, &peer) => departure,
        departure = send(&peer) => departure,
    }
}

async fn shake_hands(socket: &StreamSocket, parser: &mut Parser) -> Result<(), Departure> {
    socket.write_all(&zmtp::greeting()).await?;
    loop {
        match parser.next()? {
            Some(Event::Greeted) => socket.write_all(&zmtp::ready()).await?,
            Some(_) => return Ok(()),
            None => drop(read_chunk(socket, parser).await?),
        }
    }
}

async fn listen(parser: &mut Parser, peer: &Peer<'_>) -> Departure {
    let mut feedback = Words::new(peer.hub.answerer.sealer(), peer.challenge);
    // That it has come is news.
    let (mut changed, mut next) = (true, Instant::now());
    loop {
        match parser.next() {
            Ok(Some(Event::Subscribe(topic))) if is_feedback(&topic) => {
                peer.take_word(&mut feedback, &topic);
            }
            Ok(Some(Event::Cancel(topic))) if is_feedback(&topic) => {}
            Ok(Some(event)) => {
                match peer.outbox().on_event(clock::now(), event) {
                    Ok(news) => changed |= news,
                    Err(departure) => return departure,
                }
                peer.registration.subscriber.wake.notify_one();
            }
            Ok(None) => {
                // Once for all that came together: who subscribes and cancels all the time costs no more.
                if std::mem::take(&mut changed) {
                    peer.tell_subscriptions();
                }
                let read = match read_chunk(peer.socket(), parser).await {
                    Ok(length) => length,
                    Err(departure) => return departure,
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

async fn read_chunk(socket: &StreamSocket, parser: &mut Parser) -> Result<usize, Departure> {
    let mut chunk = [0; READ_CHUNK];
    let length = socket.read(&mut chunk).await?;
    if length == 0 {
        return Err(Departure::Closed);
    }
    parser.push(&chunk[..length]);
    Ok(length)
}

async fn send(peer: &Peer<'_>) -> Departure {
    loop {
        let next = peer.outbox().next();
        let (prefix, body) = match next {
            Some(Next::Bytes(prefix, body)) => (prefix, body),
            Some(Next::Answer(question)) => {
                let answer =
                    peer.hub
                        .answerer
                        .answer(&question, peer.registration.number, &peer.challenge);
                (zmtp::message_prefix(&question, answer.len()), answer)
            }
            None => {
                peer.registration.subscriber.wake.notified().await;
                continue;
            }
        };
        let length = body.len();
        if let Err(departure) = write_all(peer.socket(), prefix.chain(body)).await {
            return departure;
        }
        peer.hub
            .counters
            .sent_bytes
            .fetch_add(length as u64, Relaxed);
    }
}

/// Writes everything, without joining the parts in memory, as long as some bytes move within each stall limit.
async fn write_all(socket: &StreamSocket, mut bytes: impl Buf) -> Result<(), Departure> {
    while bytes.has_remaining() {
        let mut parts = [IoSlice::new(&[]); 2];
        let count = bytes.chunks_vectored(&mut parts);
        let written = timeout(WRITE_STALL_LIMIT, socket.write(&parts[..count])).await;
        bytes.advance(written.map_err(|_| Departure::Stalled)??);
    }
    Ok(())
}
