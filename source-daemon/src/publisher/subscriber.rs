//! One connected subscriber: its bounded queue, and the task that shakes hands, listens and sends.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Buf, Bytes};
use fanlight_daemon::clock;
use fanlight_proto::clock::Time;
use fanlight_proto::envelope::is_question;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::answers::{Answerer, Questions};
use super::zmtp::{self, Event, Parser, ProtocolError};
use super::{Hub, Registration};

/// Messages that wait for one subscriber under one topic: one that is being overtaken and the newest.
pub(super) const QUEUE_PER_TOPIC: usize = 2;

/// Subscriptions of one peer. A relay takes one a stream; a source has one stream.
pub(super) const MAX_SUBSCRIPTIONS: usize = 64;

/// PONGs that wait for one peer; a PING beyond them gets none.
const MAX_PONGS: usize = 4;

/// A peer has so long for greeting and READY together, or its place goes to another.
pub(super) const HANDSHAKE_LIMIT: Duration = Duration::from_secs(2);

/// A peer that takes not one byte for so long while there is something to send is dropped.
pub(super) const WRITE_STALL_LIMIT: Duration = Duration::from_secs(3);

/// Bytes read at a time from a subscriber.
const READ_CHUNK: usize = 1024;

/// The pause between chunks: at most 1 MB/s is read from a peer that floods, and the others keep their share.
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
#[derive(Debug, Default)]
pub(super) struct Subscriber {
    outbox: Mutex<Outbox>,
    wake: Notify,
}

impl Subscriber {
    /// Queues `message` if it is subscribed to; tells whether an older one fell out.
    pub(super) fn offer(&self, message: &Message) -> bool {
        let mut outbox = self.outbox();
        if !outbox.wants(&message.topic) {
            return false;
        }
        let dropped = outbox.queue(message.clone());
        drop(outbox);
        self.wake.notify_one();
        dropped
    }

    /// Whether it has any subscription.
    pub(super) fn is_subscribed(&self) -> bool {
        !self.outbox().subscriptions.is_empty()
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What waits to be sent.
#[derive(Debug, Default)]
struct Outbox {
    subscriptions: Vec<Vec<u8>>,
    messages: VecDeque<Message>,
    pongs: VecDeque<Bytes>,
    questions: Questions,
}

impl Outbox {
    fn wants(&self, topic: &[u8]) -> bool {
        self.subscriptions.iter().any(|prefix| topic.starts_with(prefix))
    }

    /// Newest wins: tells whether the oldest under this topic had to go.
    fn queue(&mut self, message: Message) -> bool {
        let mut same = self.messages.iter().enumerate().filter(|(_, queued)| queued.topic == message.topic);
        let oldest = same.next().map(|(index, _)| index);
        let full = oldest.is_some() && 1 + same.count() >= QUEUE_PER_TOPIC;
        if let (Some(index), true) = (oldest, full) {
            self.messages.remove(index);
        }
        self.messages.push_back(message);
        full
    }

    fn on_event(&mut self, now: Time, event: Event) -> Result<(), Departure> {
        match event {
            Event::Greeted | Event::Ready => {}
            // Not kept, so that a relay which asks each second fills no list.
            Event::Subscribe(topic) if is_question(&topic) => self.questions.ask(now, topic),
            Event::Subscribe(_) if self.subscriptions.len() >= MAX_SUBSCRIPTIONS => {
                return Err(Departure::Subscriptions);
            }
            Event::Subscribe(prefix) => self.subscriptions.push(prefix),
            Event::Cancel(prefix) => {
                if let Some(index) = self.subscriptions.iter().position(|held| *held == prefix) {
                    self.subscriptions.swap_remove(index);
                }
            }
            Event::Ping(context) if self.pongs.len() < MAX_PONGS => self.pongs.push_back(zmtp::pong(&context)),
            Event::Ping(_) => {}
        }
        Ok(())
    }

    /// The next bytes to send: PONGs and answers first, they are small and prove that we live.
    fn next(&mut self, answerer: &Answerer) -> Option<(Bytes, Bytes)> {
        if let Some(pong) = self.pongs.pop_front() {
            return Some((pong, Bytes::new()));
        }
        if let Some(question) = self.questions.next() {
            let answer = answerer.answer(&question);
            return Some((zmtp::message_prefix(&question, answer.len()), answer));
        }
        let Message { topic, body } = self.messages.pop_front()?;
        Some((zmtp::message_prefix(&topic, body.len()), body))
    }
}

/// Serves one connection until it ends.
pub(super) async fn serve(connection: impl AsyncRead + AsyncWrite, hub: &Arc<Hub>) -> Departure {
    let (mut reader, mut writer) = tokio::io::split(connection);
    let mut parser = Parser::default();
    match timeout(HANDSHAKE_LIMIT, shake_hands(&mut reader, &mut writer, &mut parser)).await {
        Ok(Ok(())) => {}
        Ok(Err(departure)) => return departure,
        Err(_) => return Departure::Handshake,
    }
    let registration = Registration::new(hub);
    let subscriber = &registration.subscriber;
    tokio::select! {
        departure = listen(&mut reader, &mut parser, subscriber) => departure,
        departure = send(&mut writer, subscriber, hub) => departure,
    }
}

async fn shake_hands<S: AsyncRead + AsyncWrite>(
    reader: &mut ReadHalf<S>,
    writer: &mut WriteHalf<S>,
    parser: &mut Parser,
) -> Result<(), Departure> {
    writer.write_all(&zmtp::greeting()).await?;
    loop {
        match parser.next()? {
            Some(Event::Greeted) => writer.write_all(&zmtp::ready()).await?,
            Some(_) => return Ok(()),
            None => read_chunk(reader, parser).await?,
        }
    }
}

async fn listen<S: AsyncRead>(reader: &mut ReadHalf<S>, parser: &mut Parser, subscriber: &Subscriber) -> Departure {
    loop {
        match parser.next() {
            Ok(Some(event)) => {
                if let Err(departure) = subscriber.outbox().on_event(clock::now(), event) {
                    return departure;
                }
                subscriber.wake.notify_one();
            }
            Ok(None) => {
                // Before and not after reading: what is asked after a silence is answered at once.
                sleep(READ_PAUSE).await;
                if let Err(departure) = read_chunk(reader, parser).await {
                    return departure;
                }
            }
            Err(error) => return error.into(),
        }
    }
}

async fn read_chunk<S: AsyncRead>(reader: &mut ReadHalf<S>, parser: &mut Parser) -> Result<(), Departure> {
    let mut chunk = [0; READ_CHUNK];
    let length = reader.read(&mut chunk).await?;
    if length == 0 {
        return Err(Departure::Closed);
    }
    parser.push(&chunk[..length]);
    Ok(())
}

async fn send<S: AsyncWrite>(writer: &mut WriteHalf<S>, subscriber: &Subscriber, hub: &Hub) -> Departure {
    loop {
        let next = subscriber.outbox().next(&hub.answerer);
        let Some((prefix, body)) = next else {
            subscriber.wake.notified().await;
            continue;
        };
        let length = body.len();
        if let Err(departure) = write_all(writer, prefix.chain(body)).await {
            return departure;
        }
        hub.counters.sent_bytes.fetch_add(length as u64, Relaxed);
    }
}

/// Writes everything, without joining the parts in memory, as long as some bytes move within each stall limit.
async fn write_all<S: AsyncWrite>(writer: &mut WriteHalf<S>, mut bytes: impl Buf) -> Result<(), Departure> {
    while bytes.has_remaining() {
        let written = timeout(WRITE_STALL_LIMIT, writer.write_buf(&mut bytes)).await;
        if written.map_err(|_| Departure::Stalled)?? == 0 {
            return Err(Departure::Closed);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(topic: &'static str, body: &'static str) -> Message {
        Message { topic: topic.into(), body: body.into() }
    }

    fn subscriber(prefixes: &[&str]) -> Subscriber {
        let subscriber = Subscriber::default();
        for prefix in prefixes {
            subscriber.outbox().on_event(Time::default(), Event::Subscribe(prefix.as_bytes().to_vec())).unwrap();
        }
        subscriber
    }

    fn drain(subscriber: &Subscriber) -> Vec<Bytes> {
        std::iter::from_fn(|| subscriber.outbox().next(&Answerer::new(None))).map(|(_, body)| body).collect()
    }

    #[test]
    fn a_full_queue_drops_the_oldest_of_its_own_topic() {
        let subscriber = subscriber(&[""]);
        let dropped = ["a1", "a2", "a3"].map(|body| subscriber.offer(&message("a/", body)));
        assert_eq!(dropped, [false, false, true]);
        assert!(!subscriber.offer(&message("b/", "b1")));
        assert!(subscriber.offer(&message("a/", "a4")));
        assert_eq!(drain(&subscriber), ["a3", "b1", "a4"]);
    }

    #[test]
    fn only_what_is_subscribed_to_is_queued() {
        let subscriber = subscriber(&["cam1/", "cam1/"]);
        subscriber.offer(&message("cam10/", "no"));
        subscriber.offer(&message("cam1/", "yes"));
        assert_eq!(drain(&subscriber), ["yes"]);
        subscriber.outbox().on_event(Time::default(), Event::Cancel(b"cam1/".to_vec())).unwrap();
        assert!(subscriber.is_subscribed(), "it had subscribed twice");
        subscriber.outbox().on_event(Time::default(), Event::Cancel(b"cam1/".to_vec())).unwrap();
        assert!(!subscriber.is_subscribed());
    }

    #[test]
    fn pongs_are_few_and_come_before_frames() {
        let subscriber = subscriber(&[""]);
        subscriber.offer(&message("a/", "frame"));
        for _ in 0..100 {
            subscriber.outbox().on_event(Time::default(), Event::Ping(b"x".to_vec())).unwrap();
        }
        let first = subscriber.outbox().next(&Answerer::new(None)).unwrap().0;
        assert_eq!(first, zmtp::pong(b"x"));
        assert_eq!(drain(&subscriber).len(), MAX_PONGS - 1 + 1);
    }
}
