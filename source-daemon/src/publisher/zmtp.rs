//! The part of ZMTP 3.0 (<https://rfc.zeromq.org/spec/23/>) that a publisher without security needs, as pure functions
//! and one parser: bytes in, events out. A subscriber has little to say, so everything it says is capped.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use fanlight_proto::envelope::{MAX_FEEDBACK_TOPIC, is_feedback};

/// Largest frame that a subscriber may send, but for feedback. A subscription is a topic of at most 65 bytes and a byte.
pub(super) const MAX_INBOUND_FRAME: usize = 512;

/// Largest frame that says a feedback, or takes it back.
pub(super) const MAX_FEEDBACK_FRAME: usize = 1 + MAX_FEEDBACK_TOPIC;

/// Longest context of a PING (ZMTP 3.1 says 16 bytes) that is sent back.
const MAX_PING_CONTEXT: usize = 16;

/// Bytes of a greeting.
const GREETING_BYTES: usize = 64;

const MORE: u8 = 1;
const LONG: u8 = 2;
const COMMAND: u8 = 4;

/// What each side sends first: signature, version 3.0, mechanism NULL, not a server.
pub(super) fn greeting() -> Bytes {
    let mut bytes = [0; GREETING_BYTES];
    bytes[0] = 0xff;
    bytes[9] = 0x7f;
    bytes[10] = 3;
    bytes[12..16].copy_from_slice(b"NULL");
    Bytes::copy_from_slice(&bytes)
}

/// The handshake command that says we are a PUB socket.
pub(super) fn ready() -> Bytes {
    const BODY: &[u8] = b"\x05READY\x0bSocket-Type\0\0\0\x03PUB";
    command(&[BODY])
}

/// The answer to a PING with `context`.
pub(super) fn pong(context: &[u8]) -> Bytes {
    command(&[b"\x04PONG", context])
}

/// Everything of the message `[topic][body]` that comes before the body's bytes.
pub(super) fn message_prefix(topic: &[u8], body_length: usize) -> Bytes {
    let mut prefix = BytesMut::with_capacity(2 * 9 + topic.len());
    put_header(&mut prefix, topic.len(), MORE);
    prefix.put_slice(topic);
    put_header(&mut prefix, body_length, 0);
    prefix.freeze()
}

fn command(parts: &[&[u8]]) -> Bytes {
    let length = parts.iter().map(|part| part.len()).sum();
    let mut frame = BytesMut::with_capacity(9 + length);
    put_header(&mut frame, length, COMMAND);
    parts.iter().for_each(|part| frame.put_slice(part));
    frame.freeze()
}

fn put_header(out: &mut BytesMut, length: usize, flags: u8) {
    if let Ok(short) = u8::try_from(length) {
        out.put_slice(&[flags, short]);
    } else {
        out.put_u8(flags | LONG);
        out.put_u64(length as u64);
    }
}

/// What a subscriber said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A greeting that fits ours; READY is to be sent now.
    Greeted,
    /// It is a SUB or XSUB socket: the handshake is complete.
    Ready,
    /// It wants every message whose topic begins so.
    Subscribe(Vec<u8>),
    /// It takes back one such subscription.
    Cancel(Vec<u8>),
    /// It wants a PONG with this context.
    Ping(Vec<u8>),
}

/// Why a peer is dropped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ProtocolError {
    #[error("it does not speak ZMTP 3")]
    Greeting,
    #[error("it wants security mechanism {0:?}, and there is none but NULL")]
    Mechanism(String),
    #[error("a frame has the unknown flags {0:#04x}")]
    Flags(u8),
    #[error(
        "it announces a frame of {0} bytes and may send {MAX_INBOUND_FRAME}, or a feedback of {MAX_FEEDBACK_FRAME}"
    )]
    Oversized(u64),
    #[error("its handshake is malformed")]
    Handshake,
    #[error("it is a {0:?} socket, and only SUB and XSUB can read from a PUB")]
    SocketType(String),
    #[error("it sends messages that are no subscriptions")]
    Message,
    #[error("a command is malformed")]
    Command,
    #[error("it reports an error: {0:?}")]
    Reported(String),
}

/// Parses what one subscriber sends. Holds at most one unfinished frame and the bytes of the last push.
#[derive(Debug, Default)]
pub(super) struct Parser {
    stage: Stage,
    unread: BytesMut,
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Greeting,
    Handshake,
    Traffic,
}

impl Parser {
    /// Takes bytes as they came.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
    }

    /// The next thing said, `None` when more bytes are needed. After an error the connection is of no use.
    pub(super) fn next(&mut self) -> Result<Option<Event>, ProtocolError> {
        if matches!(self.stage, Stage::Greeting) {
            return self.greeted();
        }
        while let Some((flags, body)) = self.frame()? {
            let event = match self.stage {
                Stage::Traffic => traffic(flags, &body)?,
                Stage::Greeting | Stage::Handshake => {
                    check_ready(flags, &body)?;
                    self.stage = Stage::Traffic;
                    Some(Event::Ready)
                }
            };
            if event.is_some() {
                return Ok(event);
            }
        }
        Ok(None)
    }

    fn greeted(&mut self) -> Result<Option<Event>, ProtocolError> {
        if self.unread.first().is_some_and(|first| *first != 0xff) {
            return Err(ProtocolError::Greeting);
        }
        if self.unread.len() < GREETING_BYTES {
            return Ok(None);
        }
        let theirs = self.unread.split_to(GREETING_BYTES);
        if theirs[9] & 1 == 0 || theirs[10] < 3 {
            return Err(ProtocolError::Greeting);
        }
        let mechanism = theirs[12..32]
            .split(|byte| *byte == 0)
            .next()
            .unwrap_or_default();
        if mechanism != b"NULL" {
            return Err(ProtocolError::Mechanism(printable(mechanism)));
        }
        self.stage = Stage::Handshake;
        Ok(Some(Event::Greeted))
    }

    /// The next whole frame. Its length is checked before a byte of its body is waited for.
    fn frame(&mut self) -> Result<Option<(u8, BytesMut)>, ProtocolError> {
        let Some(&flags) = self.unread.first() else {
            return Ok(None);
        };
        if flags & !(MORE | LONG | COMMAND) != 0 || flags & (MORE | COMMAND) == MORE | COMMAND {
            return Err(ProtocolError::Flags(flags));
        }
        let header = if flags & LONG == 0 { 2 } else { 9 };
        if self.unread.len() < header {
            return Ok(None);
        }
        let mut field = &self.unread[1..header];
        let length = if flags & LONG == 0 {
            u64::from(field.get_u8())
        } else {
            field.get_u64()
        };
        let body = usize::try_from(length)
            .ok()
            .filter(|length| *length <= self.longest(flags));
        let body = body.ok_or(ProtocolError::Oversized(length))?;
        if body > MAX_INBOUND_FRAME && !may_begin_feedback(&self.unread[header..]) {
            return Err(ProtocolError::Oversized(length));
        }
        if self.unread.len() < header + body {
            return Ok(None);
        }
        self.unread.advance(header);
        Ok(Some((flags, self.unread.split_to(body))))
    }

    /// The longest frame with these flags: feedback are messages of one frame, after the handshake.
    const fn longest(&self, flags: u8) -> usize {
        let feedback = matches!(self.stage, Stage::Traffic) && flags & (MORE | COMMAND) == 0;
        if feedback {
            MAX_FEEDBACK_FRAME
        } else {
            MAX_INBOUND_FRAME
        }
    }
}

/// Whether what has come of a frame may be the beginning of a feedback.
fn may_begin_feedback(body: &[u8]) -> bool {
    match body {
        [] => true,
        [subscribe, topic @ ..] => *subscribe <= 1 && (topic.is_empty() || is_feedback(topic)),
    }
}

fn traffic(flags: u8, body: &[u8]) -> Result<Option<Event>, ProtocolError> {
    if flags & COMMAND != 0 {
        return spoken(body);
    }
    // ZMTP 3.0 has subscriptions as messages of one frame; nothing else makes sense from a subscriber.
    match body {
        [1, topic @ ..] if flags & MORE == 0 => Ok(Some(Event::Subscribe(topic.to_vec()))),
        [0, topic @ ..] if flags & MORE == 0 => Ok(Some(Event::Cancel(topic.to_vec()))),
        _ => Err(ProtocolError::Message),
    }
}

/// Commands after the handshake, among them those of ZMTP 3.1 (<https://rfc.zeromq.org/spec/37/>). Unknown ones are
/// passed over.
fn spoken(body: &[u8]) -> Result<Option<Event>, ProtocolError> {
    let (name, rest) = short_string(body).ok_or(ProtocolError::Command)?;
    match name {
        b"SUBSCRIBE" => Ok(Some(Event::Subscribe(rest.to_vec()))),
        b"CANCEL" => Ok(Some(Event::Cancel(rest.to_vec()))),
        b"PING" => match rest {
            [_, _, context @ ..] if context.len() <= MAX_PING_CONTEXT => {
                Ok(Some(Event::Ping(context.to_vec())))
            }
            _ => Err(ProtocolError::Command),
        },
        b"ERROR" => Err(ProtocolError::Reported(printable(
            short_string(rest).unwrap_or_default().0,
        ))),
        _ => Ok(None),
    }
}

fn check_ready(flags: u8, body: &[u8]) -> Result<(), ProtocolError> {
    let (name, mut metadata) = short_string(body).ok_or(ProtocolError::Handshake)?;
    if flags & COMMAND == 0 || name != b"READY" {
        return Err(ProtocolError::Handshake);
    }
    while !metadata.is_empty() {
        let (key, rest) = short_string(metadata).ok_or(ProtocolError::Handshake)?;
        let (length, rest) = rest
            .split_first_chunk::<4>()
            .ok_or(ProtocolError::Handshake)?;
        let length =
            usize::try_from(u32::from_be_bytes(*length)).map_err(|_| ProtocolError::Handshake)?;
        let (value, rest) = rest
            .split_at_checked(length)
            .ok_or(ProtocolError::Handshake)?;
        if key.eq_ignore_ascii_case(b"Socket-Type") {
            return match value {
                b"SUB" | b"XSUB" => Ok(()),
                other => Err(ProtocolError::SocketType(printable(other))),
            };
        }
        metadata = rest;
    }
    Err(ProtocolError::Handshake)
}

/// A byte of length, so many bytes, and the rest.
fn short_string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(*length))
}

/// For error texts: a hostile peer must not write into a terminal.
fn printable(bytes: &[u8]) -> String {
    bytes
        .iter()
        .take(32)
        .map(|byte| {
            if byte.is_ascii_graphic() {
                char::from(*byte)
            } else {
                '?'
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const READY_SUB: &[u8] = b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03SUB";

    fn events(bytes: &[u8]) -> Result<Vec<Event>, ProtocolError> {
        let mut parser = Parser::default();
        parser.push(bytes);
        let mut events = Vec::new();
        while let Some(event) = parser.next()? {
            events.push(event);
        }
        Ok(events)
    }

    fn after_handshake(bytes: &[u8]) -> Result<Vec<Event>, ProtocolError> {
        let mut events = events(&[&greeting(), READY_SUB, bytes].concat())?;
        assert_eq!(
            events.drain(..2).collect::<Vec<_>>(),
            [Event::Greeted, Event::Ready]
        );
        Ok(events)
    }

    #[test]
    fn our_bytes_are_those_of_the_specification() {
        let mut expected = b"\xff\0\0\0\0\0\0\0\0\x7f\x03\0NULL".to_vec();
        expected.resize(64, 0);
        assert_eq!(greeting(), expected);
        assert_eq!(
            ready().as_ref(),
            b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03PUB"
        );
        assert_eq!(pong(b"ab").as_ref(), b"\x04\x07\x04PONGab");
        assert_eq!(
            message_prefix(b"cam/", 255).as_ref(),
            b"\x01\x04cam/\x00\xff"
        );
        assert_eq!(
            message_prefix(b"cam/", 256).as_ref(),
            b"\x01\x04cam/\x02\0\0\0\0\0\0\x01\0"
        );
    }

    #[test]
    fn subscriptions_come_as_messages_and_as_commands() {
        let said = b"\0\x05\x01cam/\0\x05\0cam/\x04\x0e\x09SUBSCRIBEcam/\x04\x0b\x06CANCELcam/\x04\x07\x04PING\0\x64";
        let topic = || b"cam/".to_vec();
        let expected = [
            Event::Subscribe(topic()),
            Event::Cancel(topic()),
            Event::Subscribe(topic()),
            Event::Cancel(topic()),
            Event::Ping(Vec::new()),
        ];
        assert_eq!(after_handshake(said).unwrap(), expected);
    }

    #[test]
    fn bytes_may_come_one_by_one() {
        let all = [
            &greeting(),
            READY_SUB,
            b"\0\x01\x01\x02\0\0\0\0\0\0\0\x02\x01a",
        ]
        .concat();
        let mut parser = Parser::default();
        let mut events = Vec::new();
        for byte in all {
            parser.push(&[byte]);
            events.extend(parser.next().unwrap());
        }
        let expected = [
            Event::Greeted,
            Event::Ready,
            Event::Subscribe(vec![]),
            Event::Subscribe(b"a".to_vec()),
        ];
        assert_eq!(events, expected);
    }

    #[test]
    fn a_length_is_refused_before_its_bytes_are_waited_for() {
        for length in [
            MAX_FEEDBACK_FRAME as u64 + 1,
            1 << 36,
            1 << 40,
            1 << 63,
            u64::MAX,
        ] {
            let header = [&[LONG][..], &length.to_be_bytes()].concat();
            assert_eq!(
                after_handshake(&header),
                Err(ProtocolError::Oversized(length))
            );
            assert_eq!(
                events(&[&greeting(), &header[..]].concat()),
                Err(ProtocolError::Oversized(length))
            );
        }
        assert_eq!(after_handshake(b"\x02\0\0\0\0\0\0\x02\0").unwrap(), []);
    }

    #[test]
    fn only_a_word_may_be_longer_than_a_subscription_and_only_after_the_handshake() {
        let long = |flags: u8, length: u64, body: &[u8]| {
            [&[LONG | flags], &length.to_be_bytes()[..], body].concat()
        };
        let feedback = [b"\x01!", &[b'A'; MAX_FEEDBACK_TOPIC - 1][..]].concat();
        let heard = after_handshake(&long(0, feedback.len() as u64, &feedback)).unwrap();
        assert_eq!(heard, [Event::Subscribe(feedback[1..].to_vec())]);
        let refused = Err(ProtocolError::Oversized(513));
        for (flags, body) in [
            (0, &b"\x01a"[..]),
            (0, b"\x02"),
            (0, b"\0?"),
            (COMMAND, b"\x01!"),
            (MORE, b"\x01!"),
        ] {
            assert_eq!(
                after_handshake(&long(flags, 513, body)),
                refused,
                "{flags} {body:?}"
            );
        }
        assert_eq!(
            events(&[&greeting()[..], &long(0, 513, b"\x01!")].concat()),
            refused
        );
        assert_eq!(
            events(&[&greeting()[..], &long(COMMAND, 513, b"")].concat()),
            refused
        );
        for waiting in [&b""[..], b"\x01", b"\0", b"\x01!", b"\0!abc"] {
            assert_eq!(after_handshake(&long(0, 513, waiting)).unwrap(), []);
        }
    }

    #[test]
    fn a_peer_that_speaks_otherwise_is_refused_at_its_first_wrong_byte() {
        assert_eq!(events(b"GET / HTTP/1.0\r\n"), Err(ProtocolError::Greeting));
        let mut old = greeting().to_vec();
        old[10] = 2;
        assert_eq!(events(&old), Err(ProtocolError::Greeting));
        let mut curve = greeting().to_vec();
        curve[12..17].copy_from_slice(b"CURVE");
        assert_eq!(
            events(&curve),
            Err(ProtocolError::Mechanism("CURVE".into()))
        );
        assert_eq!(after_handshake(b"\x08"), Err(ProtocolError::Flags(8)));
        assert_eq!(after_handshake(b"\x05"), Err(ProtocolError::Flags(5)));
        assert_eq!(after_handshake(b"\x01\0"), Err(ProtocolError::Message));
        assert_eq!(after_handshake(b"\0\0"), Err(ProtocolError::Message));
        assert_eq!(
            after_handshake(b"\x01\x02\x01a"),
            Err(ProtocolError::Message)
        );
        assert_eq!(
            after_handshake(b"\x04\x02\x09x"),
            Err(ProtocolError::Command)
        );
        assert_eq!(
            after_handshake(b"\x04\x06\x04PINGx"),
            Err(ProtocolError::Command)
        );
        assert_eq!(
            after_handshake(b"\x04\x09\x05ERROR\x02no"),
            Err(ProtocolError::Reported("no".into()))
        );
    }

    #[test]
    fn a_malformed_handshake_is_refused() {
        for (bad, why) in [
            (&b"\x04\x05\x09REA?"[..], ProtocolError::Handshake),
            (b"\0\x06\x05READY", ProtocolError::Handshake),
            (b"\x04\x06\x05READY", ProtocolError::Handshake),
            (
                b"\x04\x19\x05READY\x0bSocket-Type\xff\0\0\x03SUB",
                ProtocolError::Handshake,
            ),
            (
                b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03REQ",
                ProtocolError::SocketType("REQ".into()),
            ),
        ] {
            assert_eq!(events(&[&greeting(), bad].concat()), Err(why), "{bad:?}");
        }
        let with_identity = b"\x04\x25\x05READY\x08Identity\0\0\0\0\x0bsocket-type\0\0\0\x04XSUB";
        let length = u8::try_from(with_identity.len() - 2).unwrap();
        let mut ready = with_identity.to_vec();
        ready[1] = length;
        assert_eq!(
            events(&[&greeting()[..], &ready].concat()).unwrap(),
            [Event::Greeted, Event::Ready]
        );
    }

    #[test]
    fn no_bytes_panic_the_parser() {
        let good = [
            &greeting(),
            READY_SUB,
            b"\x04\x0e\x09SUBSCRIBEcam/\x04\x07\x04PING\0\x64",
        ]
        .concat();
        for position in 0..good.len() {
            for value in [0, 1, 4, 0x7f, 0x80, 0xff] {
                let mut bytes = good.clone();
                bytes[position] = value;
                let _ = events(&bytes);
                let _ = events(&bytes[..position]);
            }
        }
    }
}
