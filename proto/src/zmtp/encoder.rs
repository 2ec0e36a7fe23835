//! What either side writes after the handshake.

use bytes::Bytes;

use super::UPSTREAM;
use super::frame::{COMMAND, MAX_HEADER, MORE, put_header};
use super::security::{Sealer, sealed_length};

/// Encodes what goes out on one connection. What it gives must be written in the order in which it was encoded.
#[derive(Debug)]
pub struct Encoder {
    sealer: Option<Sealer>,
}

/// A message in two parts, so that a large body is written from where it lies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    /// To be written first.
    pub prefix: Bytes,
    /// To be written behind it.
    pub body: Bytes,
}

impl Encoder {
    pub(super) const fn new(sealer: Option<Sealer>) -> Self {
        Self { sealer }
    }

    /// The message `[topic][body]` of a publisher.
    pub fn message(&mut self, topic: &[u8], body: Bytes) -> Encoded {
        let Some(sealer) = &mut self.sealer else {
            let mut prefix = Vec::with_capacity(2 * MAX_HEADER + topic.len());
            put_header(&mut prefix, MORE, topic.len());
            prefix.extend_from_slice(topic);
            put_header(&mut prefix, 0, body.len());
            return Encoded {
                prefix: prefix.into(),
                body,
            };
        };

        let mut prefix = Vec::with_capacity(2 * MAX_HEADER + sealed_length(topic.len()) + 21);
        sealer.header(MORE, topic.len(), &mut prefix);
        sealer.body(topic, &mut prefix);
        sealer.header(0, body.len(), &mut prefix);
        let mut sealed = Vec::with_capacity(sealed_length(body.len()));
        sealer.body(&body, &mut sealed);
        Encoded {
            prefix: prefix.into(),
            body: sealed.into(),
        }
    }

    /// A subscription to every topic that begins with `prefix`.
    pub fn subscribe(&mut self, prefix: &[u8]) -> Bytes {
        self.frame(0, &[&[1], prefix])
    }

    /// Takes back one such subscription.
    pub fn cancel(&mut self, prefix: &[u8]) -> Bytes {
        self.frame(0, &[&[0], prefix])
    }

    /// A user message from a subscriber to its publisher. Together with its first byte it must not be longer than
    /// [`MAX_UPSTREAM`](super::MAX_UPSTREAM), or the publisher closes the connection.
    pub fn upstream(&mut self, message: &[u8]) -> Bytes {
        self.frame(0, &[&[UPSTREAM], message])
    }

    /// The answer to a PING with `context`.
    pub fn pong(&mut self, context: &[u8]) -> Bytes {
        self.frame(COMMAND, &[b"\x04PONG", context])
    }

    fn frame(&mut self, flags: u8, parts: &[&[u8]]) -> Bytes {
        let Some(sealer) = &mut self.sealer else {
            return frame(flags, parts).into();
        };

        let body = parts.concat();
        let mut out = Vec::with_capacity(MAX_HEADER + sealed_length(body.len()));
        sealer.header(flags, body.len(), &mut out);
        sealer.body(&body, &mut out);
        out.into()
    }
}

/// One frame in the clear.
pub(super) fn frame(flags: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length = parts.iter().map(|part| part.len()).sum();
    let mut frame = Vec::with_capacity(MAX_HEADER + length);
    put_header(&mut frame, flags, length);
    for part in parts {
        frame.extend_from_slice(part);
    }
    frame
}
