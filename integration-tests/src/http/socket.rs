//! A WebSocket (RFC 6455) as a client: what the relay may send, and nothing else.

use std::io::{self, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use fanlight_daemon::clock;
use serde_json::{Value, json};

use crate::wait::SOON;

/// Bytes before the picture.
const HEADER: usize = 56;

/// Longest message that is taken.
const MAX_MESSAGE: u64 = 8 << 20;

/// A connection that speaks WebSocket.
#[derive(Debug)]
pub struct Socket {
    reader: BufReader<TcpStream>,
}

/// What the relay says.
#[derive(Clone, Debug)]
pub enum Said {
    /// JSON.
    Words(Value),
    /// A frame.
    Frame(Frame),
    /// A few bytes behind a frame that was not answered yet.
    TailProbe,
    /// It closes the connection, with that code.
    Close(u16),
}

/// A frame as its message has it.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "documented in relay/HTTP.md")]
pub struct Frame {
    pub subscription: u32,
    pub epoch: u64,
    pub number: u64,
    pub captured_us: i64,
    pub captured_utc_us: i64,
    pub age_us: u32,
    pub skipped: u32,
    pub width: u16,
    pub height: u16,
    pub jpeg: Vec<u8>,
}

impl Socket {
    pub(super) fn new(reader: BufReader<TcpStream>) -> Self {
        Self { reader }
    }

    /// The connection.
    #[must_use]
    pub fn stream(&self) -> &TcpStream {
        self.reader.get_ref()
    }

    /// Says something as JSON.
    ///
    /// # Panics
    /// When the connection is broken.
    pub fn say(&mut self, words: &Value) {
        self.send(1, words.to_string().as_bytes())
            .expect("the relay listens");
    }

    /// Subscribes to `stream`, of which there are to be `fps` frames a second at most.
    pub fn subscribe(&mut self, id: u32, stream: &str, fps: Option<f64>) {
        self.say(&json!({ "type": "subscribe", "id": id, "stream": stream, "fps": fps }));
    }

    /// Lets one more frame come.
    pub fn credit(&mut self, id: u32) {
        self.say(&json!({ "type": "credit", "id": id }));
    }

    /// Sends a message of any kind (RFC 6455 section 5.2).
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn send(&mut self, opcode: u8, bytes: &[u8]) -> io::Result<()> {
        let mut message = vec![0x80 | opcode];
        match u16::try_from(bytes.len()) {
            Ok(length @ 0..126) => message.push(0x80 | length as u8),
            Ok(length) => {
                message.push(0x80 | 126);
                message.extend(length.to_be_bytes());
            }
            Err(_) => {
                message.push(0x80 | 127);
                message.extend((bytes.len() as u64).to_be_bytes());
            }
        }

        let mask = [0x11, 0x22, 0x33, 0x44];
        message.extend(mask);
        message.extend(
            bytes
                .iter()
                .zip(mask.iter().cycle())
                .map(|(byte, mask)| byte ^ mask),
        );

        self.reader.get_mut().write_all(&message)
    }

    /// The next that the relay says; its pings are answered.
    ///
    /// # Errors
    /// When the connection ends, or nothing comes for as long as reads may take.
    ///
    /// # Panics
    /// When it is something that a relay does not say.
    pub fn hear(&mut self) -> io::Result<Said> {
        loop {
            let (opcode, bytes) = self.receive()?;
            match opcode {
                1 => {
                    return Ok(Said::Words(
                        serde_json::from_slice(&bytes).expect("text is JSON"),
                    ));
                }
                2 => return Ok(Said::Frame(frame(&bytes))),
                8 => {
                    return Ok(Said::Close(
                        bytes
                            .get(..2)
                            .map_or(1005, |code| u16::from_be_bytes([code[0], code[1]])),
                    ));
                }
                9 => self.send(10, &bytes)?,
                10 => return Ok(Said::TailProbe),
                opcode => panic!("the relay sends no messages of kind {opcode}"),
            }
        }
    }

    /// The next frame; words are passed over.
    ///
    /// # Errors
    /// As [`hear`](Self::hear), and when the relay closes the connection.
    pub fn frame(&mut self) -> io::Result<Frame> {
        loop {
            match self.hear()? {
                Said::Frame(frame) => return Ok(frame),
                Said::Close(code) => return Err(io::Error::other(format!("closed: {code}"))),
                Said::Words(_) | Said::TailProbe => {}
            }
        }
    }

    /// The next words of that type; frames and other words are passed over.
    ///
    /// # Panics
    /// When they do not come.
    #[track_caller]
    pub fn words(&mut self, kind: &str) -> Value {
        let deadline = clock::now() + SOON;
        loop {
            // Pings and other words come all the time.
            assert!(clock::now() < deadline, "not within {SOON:?}: {kind}");
            match self.hear().expect("the relay goes on") {
                Said::Words(words) if words["type"] == kind => return words,
                Said::Close(code) => panic!("closed: {code}"),
                _ => {}
            }
        }
    }

    /// How long a read may take from now on.
    ///
    /// # Panics
    /// When the connection is of no use.
    pub fn limit(&self, length: Duration) {
        super::limit(self.stream(), length);
    }

    fn receive(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let [first, second] = self.take::<2>()?;
        assert_eq!(first & 0x70, 0, "no extension was agreed on");
        assert_eq!(first & 0x80, 0x80, "the relay does not cut messages");
        assert_eq!(second & 0x80, 0, "a server masks nothing");
        let length = match second {
            126 => u64::from(u16::from_be_bytes(self.take()?)),
            127 => u64::from_be_bytes(self.take()?),
            length => length.into(),
        };

        assert!(length <= MAX_MESSAGE, "{length} bytes in a message");
        let mut bytes = vec![0; usize::try_from(length).expect("it is within the limit")];
        self.reader.read_exact(&mut bytes)?;
        Ok((first & 0x0f, bytes))
    }

    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

/// Takes a frame's message apart.
fn frame(bytes: &[u8]) -> Frame {
    let (header, jpeg) = bytes.split_at(HEADER);
    let at = |place: usize, length: usize| {
        header[place..place + length]
            .iter()
            .fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte))
    };

    assert_eq!(
        (at(0, 1), at(1, 1), at(2, 2)),
        (1, 1, HEADER as u64),
        "version, kind, length"
    );
    assert!(at(52, 4) <= at(44, 4), "of those skipped");

    Frame {
        subscription: at(4, 4) as u32,
        epoch: at(8, 8),
        number: at(16, 8),
        captured_us: at(24, 8).cast_signed(),
        captured_utc_us: at(32, 8).cast_signed(),
        age_us: at(40, 4) as u32,
        skipped: at(44, 4) as u32,
        width: at(48, 2) as u16,
        height: at(50, 2) as u16,
        jpeg: jpeg.to_vec(),
    }
}
