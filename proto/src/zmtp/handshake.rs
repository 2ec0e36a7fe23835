//! Greetings and the mechanism's handshake, up to where messages flow.

use std::sync::Arc;

use bytes::Bytes;

use super::decoder::{next_frame, reported};
use super::encoder::frame;
use super::frame::{COMMAND, FrameReader};
use super::security::{NoiseHandshake, Opener, Sealer, cure};
use super::{
    AcceptedSecurity, Decoder, Encoder, MAX_COMMAND, ProtocolError, Role, Security, printable,
    short_string,
};
use crate::keys::PublicKey;

/// Bytes of a greeting.
const GREETING_BYTES: usize = 64;

/// Of these, what a publisher sends before it has seen the peer's mechanism: signature and version.
const BEFORE_MECHANISM: usize = 12;

/// Both halves of a connection on which messages flow.
#[derive(Debug)]
pub struct Established {
    /// For what comes.
    pub decoder: Decoder,
    /// For what goes.
    pub encoder: Encoder,
    /// The relay's key and what the publisher's list calls it, if it has a key of its own.
    pub relay: Option<(PublicKey, String)>,
    /// Whether the connection is sealed.
    pub sealed: bool,
    /// Whether the peer is an XPUB, which takes user messages. A plain PUB does not expect any.
    pub takes_upstream: bool,
}

/// A handshake that is under way. To drive it, repeat: call [`advance`](Self::advance), write [`output`](Self::output),
/// and unless it is established read into [`buffer`](Self::buffer). The caller limits its time. Also what `output` has
/// after an error is worth writing: it tells the peer what is wrong.
#[derive(Debug)]
pub struct Handshake {
    side: Side,
    step: Step,
    reader: FrameReader,
    output: Vec<u8>,
    /// For the ephemeral key.
    seed: [u8; 32],
    relay: Option<(PublicKey, String)>,
    takes_upstream: bool,
}

#[derive(Debug)]
enum Side {
    Publisher(Arc<AcceptedSecurity>),
    Subscriber(Security),
}

#[derive(Debug)]
enum Step {
    Greeting,
    /// READY in the clear is due.
    Ready,
    /// A subscriber waits for the second Noise message.
    Welcome(NoiseHandshake),
    /// A publisher waits for the first Noise message.
    Hello(NoiseHandshake),
    /// A publisher waits for READY, sealed.
    SealedReady(Sealer, Opener),
    Done,
}

impl Handshake {
    /// The source's end of a new connection. `seed` is random and used for nothing else.
    #[must_use]
    pub fn publisher(security: Arc<AcceptedSecurity>, seed: [u8; 32]) -> Self {
        let output = greeting("")[..BEFORE_MECHANISM].to_vec();
        Self::new(Side::Publisher(security), output, seed)
    }

    /// The subscriber's end of a new connection. `seed` is random and used for nothing else.
    #[must_use]
    pub fn subscriber(security: &Security, seed: [u8; 32]) -> Self {
        let output = greeting(security.mechanism()).to_vec();
        Self::new(Side::Subscriber(security.clone()), output, seed)
    }

    fn new(side: Side, output: Vec<u8>, seed: [u8; 32]) -> Self {
        let reader = FrameReader::default();
        Self {
            side,
            step: Step::Greeting,
            reader,
            output,
            seed,
            relay: None,
            takes_upstream: false,
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
        if matches!(self.step, Step::Greeting) {
            let Some(step) = self.on_greeting()? else {
                return Ok(None);
            };
            self.step = step;
        }

        while let Some(message) = self.next_command()? {
            match std::mem::replace(&mut self.step, Step::Done) {
                Step::Greeting | Step::Done => return Ok(None),
                Step::Ready => {
                    self.check_metadata(&message)?;
                    return Ok(Some(self.established(None)));
                }
                Step::Welcome(noise) => return self.on_welcome(noise, &message).map(Some),
                Step::Hello(noise) => self.step = self.on_hello(noise, &message)?,
                Step::SealedReady(sealer, opener) => {
                    self.check_metadata(&message)?;
                    return Ok(Some(self.established(Some((sealer, opener)))));
                }
            }
        }

        Ok(None)
    }

    const fn role(&self) -> Role {
        match self.side {
            Side::Publisher(_) => Role::Publisher,
            Side::Subscriber(_) => Role::Subscriber,
        }
    }

    /// Takes the peer's greeting, when all of it has come, and gives the next step.
    fn on_greeting(&mut self) -> Result<Option<Step>, ProtocolError> {
        if self
            .reader
            .pending()
            .first()
            .is_some_and(|first| *first != 0xff)
        {
            return Err(ProtocolError::Greeting);
        }
        let Some(theirs) = self.reader.take_array::<GREETING_BYTES>() else {
            return Ok(None);
        };

        if theirs[9] & 1 == 0 || theirs[10] < 3 {
            return Err(ProtocolError::Greeting);
        }

        let asked = theirs[12..32]
            .split(|byte| *byte == 0)
            .next()
            .unwrap_or_default();

        let (ours, accepted) = match &self.side {
            Side::Subscriber(security) => {
                let ours = security.mechanism();
                (ours, ours.as_bytes() == asked)
            }
            Side::Publisher(security) => match security.choose(asked) {
                Ok(ours) => (ours, true),
                Err(ours) => (ours, false),
            },
        };

        let own = greeting(ours);
        if self.role() == Role::Publisher {
            self.output.extend_from_slice(&own[BEFORE_MECHANISM..]);
        }

        if !accepted {
            let theirs = printable(asked);
            let cure = cure(self.role(), &theirs, ours);
            return Err(ProtocolError::Mechanism { theirs, ours, cure });
        }

        let noise = match &self.side {
            Side::Subscriber(security) => security.begin([&own, &theirs], self.seed),
            Side::Publisher(security) => security.begin(ours, [&theirs, &own], self.seed),
        };

        self.begin(noise).map(Some)
    }

    /// The first command after the greetings: READY, or what Noise begins with.
    fn begin(&mut self, noise: Option<NoiseHandshake>) -> Result<Step, ProtocolError> {
        match (noise, &self.side) {
            (None, _) => {
                let ready = frame(COMMAND, &[b"\x05READY", &metadata(self.role())]);
                self.output.extend(ready);
                Ok(Step::Ready)
            }
            (Some(mut noise), Side::Subscriber(_)) => {
                let message = noise.write(&[])?;
                self.output
                    .extend(frame(COMMAND, &[b"\x05HELLO", &message]));
                Ok(Step::Welcome(noise))
            }
            (Some(noise), Side::Publisher(_)) => Ok(Step::Hello(noise)),
        }
    }

    /// The rest of the next command, which must be the one that is due; `None` until it has come.
    fn next_command(&mut self) -> Result<Option<Bytes>, ProtocolError> {
        let (name, opener): (&[u8], _) = match &mut self.step {
            Step::Greeting | Step::Done => return Ok(None),
            Step::Ready => (b"READY", None),
            Step::Welcome(_) => (b"WELCOME", None),
            Step::Hello(_) => (b"HELLO", None),
            Step::SealedReady(_, opener) => (b"READY", Some(opener)),
        };

        let next = next_frame(&mut self.reader, opener, MAX_COMMAND, |_| Ok(MAX_COMMAND))?;
        let Some((flags, body)) = next else {
            return Ok(None);
        };

        match short_string(&body) {
            _ if flags & COMMAND == 0 => Err(ProtocolError::Handshake),
            Some((found, rest)) if found == name => Ok(Some(body.slice_ref(rest))),
            Some((b"ERROR", reason)) => Err(reported(reason)),
            _ => Err(ProtocolError::Handshake),
        }
    }

    /// The publisher takes the first Noise message and answers with the second.
    fn on_hello(
        &mut self,
        mut noise: NoiseHandshake,
        message: &[u8],
    ) -> Result<Step, ProtocolError> {
        let Side::Publisher(security) = &self.side else {
            return Err(ProtocolError::Handshake);
        };

        let read = noise.read(message).and_then(|_| security.identify(&noise));
        self.relay = read.inspect_err(|error| {
            let told = told(error);
            let parts: [&[u8]; 3] = [b"\x05ERROR", &[told.len() as u8], told.as_bytes()];
            self.output.extend(frame(COMMAND, &parts));
        })?;

        let message = noise.write(&metadata(Role::Publisher))?;
        self.output
            .extend(frame(COMMAND, &[b"\x07WELCOME", &message]));
        let (sealer, opener) = noise.finish();
        Ok(Step::SealedReady(sealer, opener))
    }

    /// The subscriber takes the second Noise message, and shows by its sealed READY that it has the keys.
    fn on_welcome(
        &mut self,
        mut noise: NoiseHandshake,
        message: &[u8],
    ) -> Result<Established, ProtocolError> {
        self.check_metadata(&noise.read(message)?)?;

        let (mut sealer, opener) = noise.finish();
        let ready = [b"\x05READY", &metadata(Role::Subscriber)[..]].concat();
        sealer.header(COMMAND, ready.len(), &mut self.output);
        sealer.body(&ready, &mut self.output);
        Ok(self.established(Some((sealer, opener))))
    }

    /// Checks that the peer's socket type fits ours. Other properties are ignored.
    fn check_metadata(&mut self, mut metadata: &[u8]) -> Result<(), ProtocolError> {
        loop {
            let (key, value, rest) = property(metadata).ok_or(ProtocolError::Handshake)?;
            if !key.eq_ignore_ascii_case(b"Socket-Type") {
                metadata = rest;
                continue;
            }

            if !self.role().accepts(value) {
                let ours = self.role().socket_type();
                return Err(ProtocolError::SocketType {
                    theirs: printable(value),
                    ours,
                });
            }

            self.takes_upstream = value == b"XPUB";
            return Ok(());
        }
    }

    fn established(&mut self, keys: Option<(Sealer, Opener)>) -> Established {
        let sealed = keys.is_some();
        let (sealer, opener) = keys.unzip();
        let reader = std::mem::take(&mut self.reader);
        Established {
            decoder: Decoder::new(self.role(), reader, opener),
            encoder: Encoder::new(sealer),
            relay: self.relay.take(),
            sealed,
            takes_upstream: self.takes_upstream,
        }
    }
}

/// What a relay is told that is turned away: at most 32 letters, of which it shows no more.
const fn told(error: &ProtocolError) -> &'static str {
    match error {
        ProtocolError::OtherSourceWanted(_) => "my key is not the one you list",
        ProtocolError::UnknownKey(_) => "your key is not in my relay_keys",
        _ => "we have different feed keys",
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

/// The property that says which socket we are.
fn metadata(role: Role) -> Vec<u8> {
    let socket_type = role.socket_type().as_bytes();
    let length = u32::try_from(socket_type.len()).expect("a socket type has a few letters");
    [b"\x0bSocket-Type", &length.to_be_bytes()[..], socket_type].concat()
}

/// Name and value of the first property, and the rest.
fn property(metadata: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (key, rest) = short_string(metadata)?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (value, rest) = rest.split_at_checked(length)?;
    Some((key, value, rest))
}
