//! What waits to be sent to one subscriber, bounded, and who may write it. Shared by the publishing thread and the
//! connection's task.

use std::collections::VecDeque;

use bytes::Bytes;
use fanlight_proto::clock::Time;
use fanlight_proto::feed::is_status_topic;
use fanlight_proto::limits::MAX_STREAMS;
use fanlight_proto::zmtp::{Encoded, Event};

use super::answers::{Question, Questions};
use super::newest::Newest;
use super::subscriber::{DisconnectReason, Message};

/// Messages that wait for one subscriber under one topic: one that is being overtaken and the newest.
pub(super) const QUEUE_PER_TOPIC: usize = 2;

/// Subscriptions of one peer: a relay that is told which streams to take subscribes to each of them, and to its canary.
pub(super) const MAX_SUBSCRIPTIONS: usize = 2 * MAX_STREAMS;

/// Messages that one connection gets because it subscribed after they were published: a frame and a heartbeat for each
/// subscription. Who cancels and subscribes again and again draws no more frames so.
pub(super) const MAX_CAUGHT_UP: usize = 2 * MAX_SUBSCRIPTIONS;

/// PONGs that wait for one peer; a PING beyond them gets none.
pub(super) const MAX_PONGS: usize = 4;

/// What is next to be sent.
#[derive(Debug)]
pub(super) enum Next {
    /// The rest of what has been encoded.
    Rest(Encoded),
    /// A PONG with this context.
    Pong(Bytes),
    /// The answer to this question. It is made when it is sent, and not while the publisher may wait.
    Answer(Question),
    /// This message.
    Message(Message),
}

/// Who writes to the connection. Another one waits until that is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Writer {
    #[default]
    Nobody,
    Publisher,
    /// The connection's own task.
    Task,
}

/// What waits to be sent.
#[derive(Debug, Default)]
pub(super) struct SendQueue {
    pub(super) writer: Writer,
    /// The rest of a message for which there was no room.
    pub(super) begun: Option<Encoded>,
    pub(super) subscriptions: Vec<Bytes>,
    messages: VecDeque<Message>,
    pongs: VecDeque<Bytes>,
    questions: Questions,
    /// Messages that it got because it subscribed after they were published: at most [`MAX_CAUGHT_UP`].
    caught_up: usize,
}

impl SendQueue {
    pub(super) fn wants(&self, topic: &[u8]) -> bool {
        self.subscriptions
            .iter()
            .any(|prefix| topic.starts_with(prefix))
    }

    /// Newest wins: tells whether the oldest under this topic had to go.
    pub(super) fn push(&mut self, message: Message) -> bool {
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

    /// Takes what the peer says, feedback excepted; tells whether its subscriptions have changed. Who subscribes gets what is
    /// `newest` under its prefix.
    pub(super) fn on_event(
        &mut self,
        now: Time,
        event: Event,
        newest: &Newest,
    ) -> Result<bool, DisconnectReason> {
        match event {
            // Not kept, so that who asks each second fills no list.
            Event::Subscribe(topic) if is_status_topic(&topic) => {
                self.questions.ask(now, Question::Status(topic));
            }
            Event::Subscribe(_) if self.subscriptions.len() >= MAX_SUBSCRIPTIONS => {
                return Err(DisconnectReason::Subscriptions);
            }
            Event::Subscribe(prefix) => {
                self.catch_up(&prefix, now, newest);
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
                self.pongs.push_back(context);
            }
            Event::Ping(_) | Event::Upstream(_) | Event::Message { .. } => {}
        }

        Ok(false)
    }

    fn catch_up(&mut self, prefix: &[u8], now: Time, newest: &Newest) {
        for message in newest.under(prefix, now) {
            let is_new = !self.wants(&message.topic);
            if is_new && self.caught_up < MAX_CAUGHT_UP {
                self.caught_up += 1;
                self.push(message.clone());
            }
        }
    }

    /// A relay probes the clock.
    pub(super) fn on_probe(&mut self, now: Time, nonce: u64) {
        self.questions.ask(now, Question::Clock(nonce));
    }

    /// Whether nobody writes, nor has to.
    pub(super) fn is_idle(&self) -> bool {
        let none = self.begun.is_none()
            && self.messages.is_empty()
            && self.pongs.is_empty()
            && self.questions.is_empty();
        none && self.writer == Writer::Nobody
    }

    /// What the task is to send next, if anything: it writes until it is told of nothing more.
    pub(super) fn next(&mut self) -> Option<Next> {
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
        if let Some(rest) = self.begun.take() {
            return Some(Next::Rest(rest));
        }

        if let Some(context) = self.pongs.pop_front() {
            return Some(Next::Pong(context));
        }

        if let Some(question) = self.questions.next() {
            return Some(Next::Answer(question));
        }

        self.messages.pop_front().map(Next::Message)
    }
}
