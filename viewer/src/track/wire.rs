//! What a viewer says to a tracker and what it answers; TRACKER.md tells it to those who write one.
//!
//! A frame is a header of [`HEADER_BYTES`] bytes and a payload. All numbers are little endian:
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 4 | `FLTR`: here begins a frame |
//! | 4 | 1 | version of this layout, 1 |
//! | 5 | 1 | length of the header, 48; a later version may be longer |
//! | 6 | 1 | format of the payload: 1 JPEG, 2 grey (a byte a pixel), 3 RGB (three bytes a pixel) |
//! | 7 | 1 | 0 |
//! | 8 | 4 | columns |
//! | 12 | 4 | rows |
//! | 16 | 8 | epoch: the run of the source |
//! | 24 | 8 | number of the frame in it |
//! | 32 | 8 | when it was captured, in nanoseconds by the source's clock |
//! | 40 | 4 | length of the payload |
//! | 44 | 4 | 0 |
//!
//! Rows of grey and RGB pixels follow each other from the top, without gaps.

use clap::ValueEnum;
use fanlight_proto::limits::{MAX_FRAME_BYTES, MAX_HEIGHT, MAX_WIDTH};
use fanlight_proto::message::FrameId;
use serde::{Deserialize, Serialize};

use super::ball::Ball;

/// Length of the header.
pub const HEADER_BYTES: usize = 48;

/// Longest answer, in bytes: many times what is needed.
pub const MAX_ANSWER: usize = 1024;

const MAGIC: [u8; 4] = *b"FLTR";
const VERSION: u8 = 1;

/// Largest payload: an RGB picture of the largest size, or the largest JPEG.
const MAX_PAYLOAD: usize = {
    let pixels = 3 * MAX_WIDTH as usize * MAX_HEIGHT as usize;
    if pixels > MAX_FRAME_BYTES {
        pixels
    } else {
        MAX_FRAME_BYTES
    }
};

/// What a tracker is given of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The JPEG as it came.
    Jpeg,
    /// A byte a pixel.
    Grey,
    /// Three bytes a pixel: red, green, blue.
    Rgb,
}

fanlight_daemon::display_choice!(Format);

impl Format {
    const fn code(self) -> u8 {
        match self {
            Self::Jpeg => 1,
            Self::Grey => 2,
            Self::Rgb => 3,
        }
    }

    fn of(code: u8) -> Option<Self> {
        [Self::Jpeg, Self::Grey, Self::Rgb]
            .into_iter()
            .find(|format| format.code() == code)
    }
}

/// What stands before a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What follows.
    pub format: Format,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// The frame's identity.
    pub id: FrameId,
    /// When it was captured.
    pub captured_ns: u64,
    /// Bytes that follow.
    pub length: u32,
}

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Something else.
    #[error("this is no frame: it does not begin with FLTR")]
    Magic,
    /// Another layout.
    #[error("this is version {0} of a frame's header, not {VERSION}")]
    Version(u8),
    /// A value that no frame has.
    #[error("a frame's header is out of bounds: {0}")]
    Bounds(&'static str),
}

impl Header {
    /// The bytes of it.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..7].copy_from_slice(&[VERSION, HEADER_BYTES as u8, self.format.code()]);
        bytes[8..12].copy_from_slice(&self.width.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.height.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.id.epoch.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.id.number.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.captured_ns.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.length.to_le_bytes());
        bytes
    }

    /// Reads it back.
    ///
    /// # Errors
    /// See [`HeaderError`].
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, HeaderError> {
        let four = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        let eight = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        if bytes[..4] != MAGIC {
            return Err(HeaderError::Magic);
        }

        if bytes[4] != VERSION || usize::from(bytes[5]) != HEADER_BYTES {
            return Err(HeaderError::Version(bytes[4]));
        }

        let header = Self {
            format: Format::of(bytes[6]).ok_or(HeaderError::Bounds("format"))?,
            width: four(8),
            height: four(12),
            id: FrameId {
                epoch: eight(16),
                number: eight(24),
            },
            captured_ns: eight(32),
            length: four(40),
        };

        if !(1..=MAX_WIDTH).contains(&header.width) || !(1..=MAX_HEIGHT).contains(&header.height) {
            return Err(HeaderError::Bounds("size"));
        }

        if header.length as usize > MAX_PAYLOAD {
            return Err(HeaderError::Bounds("length"));
        }

        Ok(header)
    }
}

/// What a tracker says of a frame: one line of JSON, such as
/// `{"epoch":"00c0ffee00c0ffee","number":7,"found":{"x":320.5,"y":12.25,"radius":20.0,"confidence":0.9},"took_us":900}`;
/// `"found":null` when there is nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The frame's epoch, in 16 hexadecimal digits: a number of 64 bits is not safe in JSON.
    epoch: String,
    /// The frame's number.
    number: u64,
    /// What was found.
    #[serde(deserialize_with = "Option::deserialize")]
    found: Option<Found>,
    /// How long the looking took, in microseconds, if the tracker tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    took_us: Option<u64>,
}

/// Where a tracker found it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// Pixels from the left edge of the picture; the middle of the first pixel is at 0.5.
    pub x: f64,
    /// Pixels from the upper edge.
    pub y: f64,
    /// Pixels.
    pub radius: f64,
    /// How sure the tracker is, 0 to 1.
    pub confidence: f64,
}

impl Found {
    /// Whether it can be meant: near the picture, and of a size that fits into one.
    fn is_sane(&self) -> bool {
        let near =
            |value: f64, most: u32| value.is_finite() && value.abs() <= 2.0 * f64::from(most);
        near(self.x, MAX_WIDTH)
            && near(self.y, MAX_HEIGHT)
            && near(self.radius, MAX_WIDTH)
            && self.radius > 0.0
            && (0.0..=1.0).contains(&self.confidence)
    }
}

impl From<Ball> for Found {
    fn from(ball: Ball) -> Self {
        let [x, y, radius, confidence] =
            [ball.x, ball.y, ball.radius, ball.confidence].map(f64::from);
        Self {
            x,
            y,
            radius,
            confidence,
        }
    }
}

impl Answer {
    /// The answer for a frame.
    #[must_use]
    pub fn new(id: FrameId, found: Option<Found>, took_us: u64) -> Self {
        Self {
            epoch: format!("{:016x}", id.epoch),
            number: id.number,
            found,
            took_us: Some(took_us),
        }
    }

    /// Reads a line; none when it is no answer. `line` is at most [`MAX_ANSWER`] bytes.
    #[must_use]
    pub fn parse(line: &[u8]) -> Option<(FrameId, Option<Found>, Option<u64>)> {
        let Self {
            epoch,
            number,
            found,
            took_us,
        } = serde_json::from_slice(line).ok()?;

        let spelled = epoch.len() == 16 && epoch.bytes().all(|digit| digit.is_ascii_hexdigit());
        let epoch = u64::from_str_radix(&epoch, 16).ok().filter(|_| spelled)?;
        let sane = found.is_none_or(|found| found.is_sane());
        sane.then_some((FrameId { epoch, number }, found, took_us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: FrameId = FrameId {
        epoch: 0x00c0_ffee_00c0_ffee,
        number: 7,
    };

    fn header() -> Header {
        Header {
            format: Format::Grey,
            width: 640,
            height: 480,
            id: ID,
            captured_ns: 99,
            length: 640 * 480,
        }
    }

    #[test]
    fn a_header_is_read_back_and_lies_byte_by_byte_where_the_table_says() {
        let bytes = header().encode();
        assert_eq!(Header::decode(&bytes), Ok(header()));
        assert_eq!(
            &bytes[..16],
            b"FLTR\x01\x30\x02\x00\x80\x02\x00\x00\xe0\x01\x00\x00"
        );

        assert_eq!(bytes[16..24], [0xee, 0xff, 0xc0, 0, 0xee, 0xff, 0xc0, 0]);
        assert_eq!(
            (bytes[24], bytes[32], &bytes[40..]),
            (7, 99, &[0, 0xb0, 4, 0, 0, 0, 0, 0][..])
        );
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let with = |at: usize, value: u8| {
            let mut bytes = header().encode();
            bytes[at] = value;
            Header::decode(&bytes).unwrap_err()
        };

        assert_eq!(with(0, b'X'), HeaderError::Magic);
        assert_eq!(with(4, 2), HeaderError::Version(2));
        assert_eq!(with(6, 9), HeaderError::Bounds("format"));
        assert_eq!(with(11, 1), HeaderError::Bounds("size"));
        assert_eq!(with(43, 0xff), HeaderError::Bounds("length"));
    }

    #[test]
    fn an_answer_is_read_back() {
        let found = Found {
            x: 320.5,
            y: -1.25,
            radius: 20.0,
            confidence: 0.5,
        };

        for found in [Some(found), None] {
            let line = serde_json::to_vec(&Answer::new(ID, found, 900)).unwrap();
            assert!(line.len() < MAX_ANSWER);
            assert_eq!(Answer::parse(&line), Some((ID, found, Some(900))));
        }

        let line = br#"{"epoch":"00c0ffee00c0ffee","number":7,"found":null}"#;
        assert_eq!(Answer::parse(line), Some((ID, None, None)));
    }

    #[test]
    fn what_cannot_be_meant_is_no_answer() {
        let found = |x: &str, y: &str, radius: &str, confidence: &str| {
            format!(
                r#"{{"epoch":"00c0ffee00c0ffee","number":7,"found":{{"x":{x},"y":{y},"radius":{radius},"confidence":{confidence}}}}}"#
            )
        };

        assert!(Answer::parse(found("1", "2", "3", "1").as_bytes()).is_some());
        for line in [
            String::new(),
            "hello".to_owned(),
            "{}".to_owned(),
            r#"{"epoch":"00c0ffee00c0ffee","number":7}"#.to_owned(),
            r#"{"epoch":"c0ffee","number":7,"found":null}"#.to_owned(),
            r#"{"epoch":"+0c0ffee00c0ffee","number":7,"found":null}"#.to_owned(),
            r#"{"epoch":"00c0ffee00c0ffee","number":-7,"found":null}"#.to_owned(),
            found("1e9", "2", "3", "1"),
            found("1e999", "2", "3", "1"),
            found("null", "2", "3", "1"),
            found("1", "2", "0", "1"),
            found("1", "2", "-3", "1"),
            found("1", "2", "3", "1.5"),
            format!("{}{}", "[".repeat(500), "]".repeat(500)),
        ] {
            assert_eq!(Answer::parse(line.as_bytes()), None, "{line}");
        }
    }
}
