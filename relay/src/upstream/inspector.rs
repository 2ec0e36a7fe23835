//! Checks the headers of a stream of ZMTP frames (<https://rfc.zeromq.org/spec/23/>), and nothing else of it. Pure: the
//! fuzz targets in `proto/fuzz` include this file.

use fanlight_proto::envelope::SEAL_BYTES;
use fanlight_proto::limits::{MAX_FRAME_BYTES, MAX_FRAME_PREFIX, MAX_STREAM_NAME};

/// Bytes of a ZMTP greeting (<https://rfc.zeromq.org/spec/23/>).
pub(crate) const GREETING_BYTES: u64 = 64;

/// Largest command: READY with its properties has about 50 bytes.
pub(crate) const MAX_COMMAND: u64 = 512;

/// Parts of a message: topic and frame.
pub(crate) const MAX_PARTS: u8 = 2;

/// Largest message, both parts, sealed.
pub(crate) const MAX_MESSAGE: u64 = (MAX_STREAM_NAME + 1 + MAX_FRAME_PREFIX + MAX_FRAME_BYTES + SEAL_BYTES) as u64;

const MORE: u8 = 1;
const LONG: u8 = 2;
const COMMAND: u8 = 4;

/// Which bound a source broke.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Breach {
    #[error("it does not speak ZMTP 3")]
    Greeting,
    #[error("it announces a {what} of {length} bytes, and {limit} is the limit")]
    TooLong { what: &'static str, length: u64, limit: u64 },
    #[error("it sends messages of more than {MAX_PARTS} parts")]
    Parts,
}

/// Follows the frames of a stream of bytes, however it is cut.
#[derive(Debug, Default)]
pub(crate) struct Inspector {
    expects: Expects,
    /// Bytes still to pass before the next header.
    body: u64,
    /// Of the message that has begun.
    parts: u8,
    message: u64,
}

#[derive(Debug, Default)]
enum Expects {
    #[default]
    Greeting,
    Flags,
    Length {
        flags: u8,
        /// Bytes of it still to come, and what the others make so far.
        missing: u8,
        length: u64,
    },
}

impl Inspector {
    /// Looks at the next bytes; after an error nothing of them may be passed on.
    pub(crate) fn inspect(&mut self, mut bytes: &[u8]) -> Result<(), Breach> {
        loop {
            let skipped = usize::try_from(self.body).unwrap_or(usize::MAX).min(bytes.len());
            self.body -= skipped as u64;
            bytes = &bytes[skipped..];
            let Some((&byte, rest)) = bytes.split_first() else { return Ok(()) };
            bytes = rest;
            match self.expects {
                Expects::Greeting if byte != 0xff => return Err(Breach::Greeting),
                Expects::Greeting => {
                    self.body = GREETING_BYTES - 1;
                    self.expects = Expects::Flags;
                }
                Expects::Flags => {
                    let missing = if byte & LONG == 0 { 1 } else { 8 };
                    self.expects = Expects::Length { flags: byte, missing, length: 0 };
                }
                Expects::Length { flags, missing, length } => {
                    let length = length << 8 | u64::from(byte);
                    self.expects = Expects::Length { flags, missing: missing - 1, length };
                    if missing == 1 {
                        self.check(flags, length)?;
                        self.body = length;
                        self.expects = Expects::Flags;
                    }
                }
            }
        }
    }

    /// Bytes that pass unseen before the next header.
    pub(crate) const fn unseen(&self) -> u64 {
        self.body
    }

    /// Notes that so many of the [unseen](Self::unseen) bytes have passed; others have to be looked at.
    pub(crate) const fn skip(&mut self, bytes: u64) {
        self.body = self.body.saturating_sub(bytes);
    }

    fn check(&mut self, flags: u8, length: u64) -> Result<(), Breach> {
        if flags & COMMAND != 0 {
            let fits = length <= MAX_COMMAND;
            return fits.then_some(()).ok_or(Breach::TooLong { what: "command", length, limit: MAX_COMMAND });
        }
        self.parts += 1;
        self.message = self.message.saturating_add(length);
        if self.message > MAX_MESSAGE {
            return Err(Breach::TooLong { what: "message", length: self.message, limit: MAX_MESSAGE });
        }
        if flags & MORE == 0 {
            (self.parts, self.message) = (0, 0);
        } else if self.parts == MAX_PARTS {
            return Err(Breach::Parts);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> Vec<u8> {
        let mut bytes = vec![0xff; 64];
        bytes.extend_from_slice(b"\x04\x05READY");
        for length in [0_u64, 300, 100_000] {
            bytes.extend_from_slice(b"\x01\x04cam/");
            bytes.push(LONG);
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.resize(bytes.len() + usize::try_from(length).unwrap(), 0xfe);
        }
        bytes
    }

    #[test]
    fn a_good_stream_passes_however_it_is_cut() {
        let bytes = stream();
        for size in [1, 2, 3, 7, 64, 1000, bytes.len()] {
            let mut inspector = Inspector::default();
            bytes.chunks(size).for_each(|chunk| inspector.inspect(chunk).unwrap());
        }
    }

    #[test]
    fn a_length_over_the_limit_is_refused_at_its_last_header_byte() {
        for (flags, length) in [(0, 1 << 40), (MORE, 1 << 36), (0, u64::MAX), (COMMAND, 513), (0, MAX_MESSAGE + 1)] {
            let mut bytes = stream();
            bytes.push(flags | LONG);
            bytes.extend_from_slice(&u64::to_be_bytes(length));
            let mut inspector = Inspector::default();
            inspector.inspect(&bytes[..bytes.len() - 1]).unwrap();
            let last = &bytes[bytes.len() - 1..];
            assert!(matches!(inspector.inspect(last), Err(Breach::TooLong { length: l, .. }) if l == length));
        }
    }

    #[test]
    fn a_message_that_never_ends_is_refused() {
        let mut inspector = Inspector::default();
        inspector.inspect(&stream()).unwrap();
        inspector.inspect(b"\x01\x00").unwrap();
        assert!(matches!(inspector.inspect(b"\x01\x00"), Err(Breach::Parts)));
    }

    #[test]
    fn another_protocol_is_refused_at_its_first_byte() {
        assert!(matches!(Inspector::default().inspect(b"HTTP/1.1 400"), Err(Breach::Greeting)));
    }
}
