//! Checks the headers of a stream of ZMTP frames (<https://rfc.zeromq.org/spec/23/>), and nothing else of it. Pure: the
//! fuzz targets in `proto/fuzz` include this file.

use fanlight_proto::envelope::SEAL_BYTES;
use fanlight_proto::limits::{MAX_FRAME_BYTES, MAX_FRAME_PREFIX, MAX_STREAM_NAME};

/// Bytes of a ZMTP greeting (<https://rfc.zeromq.org/spec/23/>).
const GREETING_BYTES: usize = 64;

/// Largest command: READY with its properties has about 50 bytes.
pub(crate) const MAX_COMMAND: u64 = 512;

/// Parts of a message: topic and frame.
pub(crate) const MAX_PARTS: u8 = 2;

/// Largest message, both parts, sealed.
pub(crate) const MAX_MESSAGE: u64 =
    (MAX_STREAM_NAME + 1 + MAX_FRAME_PREFIX + MAX_FRAME_BYTES + SEAL_BYTES) as u64;

const MORE: u8 = 1;
const LONG: u8 = 2;
const COMMAND: u8 = 4;

/// Which bound a source broke.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Breach {
    #[error("it does not speak ZMTP 3")]
    Greeting,
    #[error("it announces a {what} of {length} bytes, and {limit} is the limit")]
    TooLong {
        what: &'static str,
        length: u64,
        limit: u64,
    },
    #[error("it sends messages of more than {MAX_PARTS} parts")]
    Parts,
}

/// What a frame is to the message it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// A part of a message, and others follow.
    First,
    /// The last part of a message, or the only one.
    Last,
    /// No part of a message: the greeting, or a command.
    Other,
}

/// What stands before a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Its own length in bytes.
    pub(crate) bytes: usize,
    /// What the body is.
    pub(crate) role: Role,
    /// Bytes of the body.
    pub(crate) body: usize,
}

/// Follows the headers of a stream of frames.
#[derive(Debug, Default)]
pub(crate) struct Inspector {
    greeted: bool,
    /// Of the message that has begun.
    parts: u8,
    message: u64,
}

impl Inspector {
    /// Reads the header that `bytes` begin with; none while it is not whole. The next one stands behind its body. After an
    /// error nothing more may be passed on.
    pub(crate) fn header(&mut self, bytes: &[u8]) -> Result<Option<Header>, Breach> {
        let Some((&flags, rest)) = bytes.split_first() else {
            return Ok(None);
        };
        if !self.greeted {
            if flags != 0xff {
                return Err(Breach::Greeting);
            }
            self.greeted = true;
            return Ok(Some(Header {
                bytes: 1,
                role: Role::Other,
                body: GREETING_BYTES - 1,
            }));
        }
        let field = if flags & LONG == 0 { 1 } else { 8 };
        let Some(field) = rest.get(..field) else {
            return Ok(None);
        };
        let length = field
            .iter()
            .fold(0, |length, byte| length << 8 | u64::from(*byte));
        self.check(flags, length)?;
        // What passed the check fits.
        let body = usize::try_from(length).unwrap_or(usize::MAX);
        let role = match (flags & COMMAND, flags & MORE) {
            (0, 0) => Role::Last,
            (0, _) => Role::First,
            _ => Role::Other,
        };
        Ok(Some(Header {
            bytes: 1 + field.len(),
            role,
            body,
        }))
    }

    fn check(&mut self, flags: u8, length: u64) -> Result<(), Breach> {
        if flags & COMMAND != 0 {
            let fits = length <= MAX_COMMAND;
            return fits.then_some(()).ok_or(Breach::TooLong {
                what: "command",
                length,
                limit: MAX_COMMAND,
            });
        }
        self.parts += 1;
        self.message = self.message.saturating_add(length);
        if self.message > MAX_MESSAGE {
            return Err(Breach::TooLong {
                what: "message",
                length: self.message,
                limit: MAX_MESSAGE,
            });
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

    /// The headers of a stream of which `step` more bytes can be seen each time, up to the first breach.
    fn headers(bytes: &[u8], step: usize) -> Result<Vec<Header>, Breach> {
        let (mut inspector, mut headers) = (Inspector::default(), Vec::new());
        let (mut at, mut seen) = (0, 0);
        while seen < bytes.len() {
            seen = (seen + step).min(bytes.len());
            while let Some(header) = bytes
                .get(at..seen)
                .map_or(Ok(None), |unread| inspector.header(unread))?
            {
                at += header.bytes + header.body;
                headers.push(header);
            }
        }
        Ok(headers)
    }

    #[test]
    fn a_good_stream_passes_however_it_is_cut() {
        let bytes = stream();
        let header = |bytes, role, body| Header { bytes, role, body };
        let mut expected = vec![header(1, Role::Other, 63), header(2, Role::Other, 5)];
        for body in [0, 300, 100_000] {
            expected.extend([header(2, Role::First, 4), header(9, Role::Last, body)]);
        }
        for step in [1, 2, 3, 7, 64, 1000, bytes.len()] {
            assert_eq!(
                headers(&bytes, step).as_ref(),
                Ok(&expected),
                "{step} bytes at a time"
            );
        }
    }

    #[test]
    fn a_length_over_the_limit_is_refused_at_its_last_header_byte() {
        for (flags, length) in [
            (0, 1 << 40),
            (MORE, 1 << 36),
            (0, u64::MAX),
            (COMMAND, 513),
            (0, MAX_MESSAGE + 1),
        ] {
            let mut bytes = stream();
            bytes.push(flags | LONG);
            bytes.extend_from_slice(&u64::to_be_bytes(length));
            headers(&bytes[..bytes.len() - 1], 1000).unwrap();
            assert!(
                matches!(headers(&bytes, 1000), Err(Breach::TooLong { length: l, .. }) if l == length)
            );
        }
    }

    #[test]
    fn a_message_that_never_ends_is_refused() {
        let begun = [&stream()[..], b"\x01\x00"].concat();
        headers(&begun, 1000).unwrap();
        assert_eq!(
            headers(&[&begun[..], b"\x01\x00"].concat(), 1000),
            Err(Breach::Parts)
        );
    }

    #[test]
    fn another_protocol_is_refused_at_its_first_byte() {
        assert_eq!(headers(b"HTTP/1.1 400", 1), Err(Breach::Greeting));
    }
}
