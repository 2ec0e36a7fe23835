//! Greeting and READY, up to where messages flow.

use bytes::Bytes;

use super::decoder::reported;
use super::encoder::frame;
use super::frame::{COMMAND, FrameReader};
use super::{Decoder, Encoder, MAX_COMMAND, ProtocolError, Role, printable, short_string};

/// Bytes of a greeting.
const GREETING_BYTES: usize = 64;

/// How a connection is secured.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Security {
    /// Mechanism NULL: in the clear, for every ZeroMQ program.
    #[default]
    Null,
}

impl Security {
    const fn mechanism(&self) -> &'static str {
        match self {
            Self::Null => "NULL",
        }
    }
}

/// Both halves of a connection on which messages flow.
#[derive(Debug)]
pub struct Established {
    /// For what comes.
    pub decoder: Decoder,
    /// For what goes.
    pub encoder: Encoder,
}

/// A handshake that is under way. To drive it, repeat: call [`advance`](Self::advance), write [`output`](Self::output),
/// and unless it is established read into [`buffer`](Self::buffer). The caller limits its time.
#[derive(Debug)]
pub struct Handshake {
    role: Role,
    security: Security,
    stage: Stage,
    reader: FrameReader,
    output: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Greeting,
    Ready,
    Done,
}

impl Handshake {
    /// The source's end of a new connection. `seed` is random and used for nothing else.
    #[must_use]
    pub fn publisher(security: &Security, seed: [u8; 32]) -> Self {
        Self::new(Role::Publisher, security, seed)
    }

    /// The subscriber's end of a new connection. `seed` is random and used for nothing else.
    #[must_use]
    pub fn subscriber(security: &Security, seed: [u8; 32]) -> Self {
        Self::new(Role::Subscriber, security, seed)
    }

    fn new(role: Role, security: &Security, _seed: [u8; 32]) -> Self {
        Self {
            role,
            security: security.clone(),
            stage: Stage::Greeting,
            reader: FrameReader::default(),
            output: greeting(security.mechanism()).to_vec(),
        }
    }

    /// What is to be written now; empty when there is nothing.
    #[must_use]
    pub fn output(&mut self) -> Bytes {
        std::mem::take(&mut self.output).into()
    }

    /// Where to append what has been read from the peer.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        self.reader.buffer()
    }

    /// Goes on with what has been read. When the handshake is complete it gives both halves of the connection, with
    /// all bytes that came behind the handshake; what [`output`](Self::output) still has must be written first.
    ///
    /// # Errors
    /// The rule that the peer broke; the connection must be closed.
    pub fn advance(&mut self) -> Result<Option<Established>, ProtocolError> {
        if self.stage == Stage::Greeting {
            if !self.read_greeting()? {
                return Ok(None);
            }
            self.output.extend(ready(self.role));
            self.stage = Stage::Ready;
        }
        if self.stage == Stage::Done || !self.read_ready()? {
            return Ok(None);
        }

        self.stage = Stage::Done;
        let reader = std::mem::take(&mut self.reader);
        Ok(Some(Established {
            decoder: Decoder::new(self.role, reader),
            encoder: Encoder::new(),
        }))
    }

    fn read_greeting(&mut self) -> Result<bool, ProtocolError> {
        if self
            .reader
            .pending()
            .first()
            .is_some_and(|first| *first != 0xff)
        {
            return Err(ProtocolError::Greeting);
        }
        let Some(theirs) = self.reader.take_exact(GREETING_BYTES) else {
            return Ok(false);
        };
        if theirs[9] & 1 == 0 || theirs[10] < 3 {
            return Err(ProtocolError::Greeting);
        }

        let mechanism = theirs[12..32]
            .split(|byte| *byte == 0)
            .next()
            .unwrap_or_default();
        let ours = self.security.mechanism();
        if mechanism != ours.as_bytes() {
            return Err(ProtocolError::Mechanism {
                theirs: printable(mechanism),
                ours,
            });
        }
        Ok(true)
    }

    fn read_ready(&mut self) -> Result<bool, ProtocolError> {
        let Some(frame) = self.reader.next(|_| Ok(MAX_COMMAND))? else {
            return Ok(false);
        };
        let body = self.reader.body(&frame);
        let (name, metadata) = short_string(body).ok_or(ProtocolError::Handshake)?;
        match name {
            b"READY" if frame.is_command() => check_metadata(self.role, metadata)?,
            b"ERROR" if frame.is_command() => return Err(reported(metadata)),
            _ => return Err(ProtocolError::Handshake),
        }
        Ok(true)
    }
}

/// What each side sends first: signature, version 3.0, mechanism, not a server.
fn greeting(mechanism: &str) -> [u8; GREETING_BYTES] {
    let mut bytes = [0; GREETING_BYTES];
    bytes[0] = 0xff;
    bytes[9] = 0x7f;
    bytes[10] = 3;
    bytes[12..12 + mechanism.len()].copy_from_slice(mechanism.as_bytes());
    bytes
}

/// The command that says which socket we are.
fn ready(role: Role) -> Vec<u8> {
    let socket_type = role.socket_type().as_bytes();
    let length = u32::try_from(socket_type.len()).expect("a socket type has a few letters");
    let name = b"\x05READY\x0bSocket-Type";
    frame(COMMAND, &[name, &length.to_be_bytes(), socket_type])
}

/// Checks that the peer's socket type fits ours. Other properties are ignored.
fn check_metadata(role: Role, mut metadata: &[u8]) -> Result<(), ProtocolError> {
    loop {
        let (key, value, rest) = property(metadata).ok_or(ProtocolError::Handshake)?;
        if !key.eq_ignore_ascii_case(b"Socket-Type") {
            metadata = rest;
            continue;
        }
        if role.accepts(value) {
            return Ok(());
        }
        let ours = role.socket_type();
        return Err(ProtocolError::SocketType {
            theirs: printable(value),
            ours,
        });
    }
}

/// Name and value of the first property, and the rest.
fn property(metadata: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (key, rest) = short_string(metadata)?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (value, rest) = rest.split_at_checked(length)?;
    Some((key, value, rest))
}
