//! What comes on a connection after the handshake.

use bytes::Bytes;

use super::frame::{COMMAND, FrameReader, MORE};
use super::security::{Opener, sealed_length};
use super::{
    MAX_COMMAND, MAX_MESSAGE, MAX_PING_CONTEXT, MAX_TOPIC, MAX_UPSTREAM, ProtocolError, Role,
    UPSTREAM, printable, short_string,
};

/// What a peer said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A subscriber wants every message whose topic begins so.
    Subscribe(Bytes),
    /// A subscriber takes back one such subscription.
    Cancel(Bytes),
    /// A user message of a subscriber, without its first byte.
    Upstream(Bytes),
    /// A publisher's message. A message of one part has an empty body.
    Message {
        /// The first part.
        topic: Bytes,
        /// The second part. A large one is not copied: it lies where it was read.
        body: Bytes,
    },
    /// The peer wants a [`pong`](super::Encoder::pong) with this context.
    Ping(Bytes),
}

/// Finds the events in what one peer sends. Holds at most one unfinished message and the bytes of the last read.
#[derive(Debug)]
pub struct Decoder {
    role: Role,
    reader: FrameReader,
    opener: Option<Opener>,
    /// The first part of a message whose second has yet to come.
    topic: Option<Bytes>,
}

impl Decoder {
    pub(super) const fn new(role: Role, reader: FrameReader, opener: Option<Opener>) -> Self {
        Self {
            role,
            reader,
            opener,
            topic: None,
        }
    }

    /// Where to append what has been read from the peer, for example with `rustix::buffer::spare_capacity`: it has
    /// room, and enough of it that a message like the last large one comes in one read.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        self.reader.buffer()
    }

    /// The next event; `None` when more bytes are needed.
    ///
    /// # Errors
    /// The rule that the peer broke; the connection must be closed.
    #[expect(clippy::should_implement_trait, reason = "None does not mean the end")]
    pub fn next(&mut self) -> Result<Option<Event>, ProtocolError> {
        loop {
            let longest = match self.role {
                Role::Publisher => MAX_UPSTREAM,
                Role::Subscriber => MAX_MESSAGE,
            };

            let limit = |flags| limit(self.role, self.topic.as_ref(), flags);
            let next = next_frame(&mut self.reader, self.opener.as_mut(), longest, limit)?;
            let Some((flags, body)) = next else {
                return Ok(None);
            };

            let event = match self.role {
                _ if flags & COMMAND != 0 => self.command(&body)?,
                Role::Publisher => Some(said_by_subscriber(&body)?),
                Role::Subscriber => self.part(body, flags & MORE != 0),
            };

            if event.is_some() {
                return Ok(event);
            }
        }
    }

    fn part(&mut self, body: Bytes, more: bool) -> Option<Event> {
        if more {
            self.topic = Some(body);
            return None;
        }

        Some(match self.topic.take() {
            Some(topic) => Event::Message { topic, body },
            None => Event::Message {
                topic: body,
                body: Bytes::new(),
            },
        })
    }

    /// Commands after the handshake, among them those of ZMTP 3.1 (<https://rfc.zeromq.org/spec/37/>). Unknown ones
    /// are ignored.
    fn command(&self, body: &Bytes) -> Result<Option<Event>, ProtocolError> {
        let (name, rest) = short_string(body).ok_or(ProtocolError::Command)?;
        let rest = body.slice_ref(rest);

        match (name, self.role) {
            (b"SUBSCRIBE", Role::Publisher) => Ok(Some(Event::Subscribe(rest))),
            (b"CANCEL", Role::Publisher) => Ok(Some(Event::Cancel(rest))),
            // Two bytes of time to live, which is of no use to us.
            (b"PING", _) if (2..=2 + MAX_PING_CONTEXT).contains(&rest.len()) => {
                Ok(Some(Event::Ping(rest.slice(2..))))
            }
            (b"PING", _) => Err(ProtocolError::Command),
            (b"ERROR", _) => Err(reported(&rest)),
            _ => Ok(None),
        }
    }
}

/// Flags and body of the next frame, opened if there is an `opener`. `limit` tells the longest body for its flags,
/// and `longest` the longest of all.
pub(super) fn next_frame(
    reader: &mut FrameReader,
    opener: Option<&mut Opener>,
    longest: usize,
    limit: impl FnOnce(u8) -> Result<usize, ProtocolError>,
) -> Result<Option<(u8, Bytes)>, ProtocolError> {
    let Some(opener) = opener else {
        let frame = reader.next(limit)?;
        return Ok(frame.map(|frame| (frame.flags, reader.take(&frame))));
    };

    let sealed = |flags| match flags & (MORE | COMMAND) {
        0 => Ok(sealed_length(longest)),
        _ => Err(ProtocolError::Seal),
    };

    let Some(frame) = reader.next(sealed)? else {
        return Ok(None);
    };

    opener.open(reader.body(&frame), limit).map(Some)
}

/// The longest body of a frame with these flags, behind the first part `topic` if that has come.
fn limit(role: Role, topic: Option<&Bytes>, flags: u8) -> Result<usize, ProtocolError> {
    let more = flags & MORE != 0;
    match (role, topic) {
        _ if flags & COMMAND != 0 => Ok(MAX_COMMAND),
        (Role::Publisher, _) if more => Err(ProtocolError::Message),
        (Role::Publisher, _) => Ok(MAX_UPSTREAM),
        (Role::Subscriber, Some(_)) if more => Err(ProtocolError::Parts),
        (Role::Subscriber, Some(topic)) => Ok(MAX_MESSAGE - topic.len()),
        (Role::Subscriber, None) => Ok(MAX_MESSAGE),
    }
}

/// ZMTP 3.0 has subscriptions as messages of one frame, and so have user messages of XSUB.
fn said_by_subscriber(body: &Bytes) -> Result<Event, ProtocolError> {
    let (&kind, rest) = body.split_first().ok_or(ProtocolError::Message)?;
    let rest = body.slice_ref(rest);

    if kind <= 1 && rest.len() > MAX_TOPIC {
        return Err(ProtocolError::TooLong {
            length: rest.len() as u64,
            limit: MAX_TOPIC,
        });
    }

    match kind {
        0 => Ok(Event::Cancel(rest)),
        1 => Ok(Event::Subscribe(rest)),
        UPSTREAM => Ok(Event::Upstream(rest)),
        _ => Err(ProtocolError::Message),
    }
}

/// What an ERROR command says.
pub(super) fn reported(rest: &[u8]) -> ProtocolError {
    let reason = short_string(rest).map_or(&[][..], |(reason, _)| reason);
    ProtocolError::Reported(printable(reason))
}
