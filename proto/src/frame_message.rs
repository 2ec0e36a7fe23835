//! A frame that is sent whole in one binary message of a WebSocket: `relay/HTTP.md` draws the bytes before it. The relay's
//! HTTP output writes them, viewers over TCP read them.

use crate::message::FrameId;

/// Bytes before the frame.
pub const HEADER_BYTES: usize = 56;

/// The version of these messages. No control datagram begins with it.
const VERSION: u8 = 1;

/// What the message holds of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// The picture alone.
    Jpeg,
    /// The encoded `Frame`, as its source sent it.
    Frame,
}

/// What stands before the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameMessage {
    /// What follows.
    pub content: Content,
    /// What the frame was sent for.
    pub subscription: u32,
    /// The frame's identity.
    pub id: FrameId,
    /// When it was captured by the relay's clock, in microseconds; none: not known.
    pub captured_us: Option<i64>,
    /// When it was captured, in microseconds since 1970 in UTC by the source's wall clock.
    pub captured_utc_us: i64,
    /// Its age when it was handed to the socket, in microseconds; none: not known.
    pub age_us: Option<u32>,
    /// Frames of the stream between the last one sent for this subscription and this one.
    pub skipped: u32,
    /// Of these, the ones that the relay had: the client was not ready for them.
    pub superseded: u32,
    /// Pixels of the coded picture.
    pub size: (u16, u16),
}

impl FrameMessage {
    /// The bytes before the frame.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let kind = match self.content {
            Content::Jpeg => 1,
            Content::Frame => 2,
        };

        let mut bytes = [0; HEADER_BYTES];
        bytes[0] = VERSION;
        bytes[1] = kind;
        bytes[2..4].copy_from_slice(&(HEADER_BYTES as u16).to_be_bytes());
        bytes[4..8].copy_from_slice(&self.subscription.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.id.epoch.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.id.number.to_be_bytes());
        bytes[24..32].copy_from_slice(&self.captured_us.unwrap_or(i64::MIN).to_be_bytes());
        bytes[32..40].copy_from_slice(&self.captured_utc_us.to_be_bytes());
        bytes[40..44].copy_from_slice(&self.age_us.unwrap_or(u32::MAX).to_be_bytes());
        bytes[44..48].copy_from_slice(&self.skipped.to_be_bytes());
        bytes[48..50].copy_from_slice(&self.size.0.to_be_bytes());
        bytes[50..52].copy_from_slice(&self.size.1.to_be_bytes());
        bytes[52..56].copy_from_slice(&self.superseded.to_be_bytes());
        bytes
    }

    /// Whether a message is of this kind, and no control datagram.
    #[must_use]
    pub fn begins(message: &[u8]) -> bool {
        message.first() == Some(&VERSION)
    }

    /// What a message says before the frame, and the frame; none when it is no such message.
    #[must_use]
    pub fn parse(message: &[u8]) -> Option<(Self, &[u8])> {
        let head: &[u8; HEADER_BYTES] = message.first_chunk()?;
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let frame = message.get(length.max(HEADER_BYTES)..)?;
        let content = match (head[0], head[1]) {
            (VERSION, 1) => Content::Jpeg,
            (VERSION, 2) => Content::Frame,
            _ => return None,
        };

        let word = |at: usize| u32::from_be_bytes(std::array::from_fn(|i| head[at + i]));
        let long = |at: usize| u64::from_be_bytes(std::array::from_fn(|i| head[at + i]));
        let pixels = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
        let parsed = Self {
            content,
            subscription: word(4),
            id: FrameId {
                epoch: long(8),
                number: long(16),
            },
            captured_us: Some(long(24).cast_signed()).filter(|us| *us != i64::MIN),
            captured_utc_us: long(32).cast_signed(),
            age_us: Some(word(40)).filter(|us| *us != u32::MAX),
            skipped: word(44),
            superseded: word(52),
            size: (pixels(48), pixels(50)),
        };

        Some((parsed, frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> FrameMessage {
        FrameMessage {
            content: Content::Frame,
            subscription: 7,
            id: FrameId {
                epoch: 0x0102_0304_0506_0708,
                number: 9,
            },
            captured_us: Some(-5),
            captured_utc_us: 1_800_000_000_000_042,
            age_us: Some(500),
            skipped: 3,
            superseded: 2,
            size: (1280, 720),
        }
    }

    #[test]
    fn what_is_written_is_read_again_and_a_longer_header_is_skipped() {
        for (captured_us, age_us) in [(Some(-5), Some(500)), (None, None)] {
            let said = FrameMessage {
                captured_us,
                age_us,
                ..message()
            };

            let mut bytes = said.to_bytes().to_vec();
            bytes.extend(b"FRAME");
            assert_eq!(FrameMessage::parse(&bytes), Some((said, &b"FRAME"[..])));

            bytes[3] += 2;
            assert_eq!(FrameMessage::parse(&bytes), Some((said, &b"AME"[..])));
        }
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        let good = message().to_bytes();
        assert!(FrameMessage::parse(&good).is_some());
        assert_eq!(FrameMessage::parse(&good[..HEADER_BYTES - 1]), None);

        for (at, value) in [(0, 0xf1), (1, 0), (1, 3), (2, 1)] {
            let mut bad = good;
            bad[at] = value;
            assert_eq!(FrameMessage::parse(&bad), None, "{at}: {value}");
        }
    }
}
