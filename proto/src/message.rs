//! The protobuf messages, and types whose values are checked when they are made.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use prost::Message as _;
use zeroize::Zeroize as _;

use crate::limits::{MAX_FRAME_BYTES, MAX_FRAME_PREFIX, MAX_REASON, MAX_STREAM_NAME};
use crate::route::Route;

/// What prost made of `proto/fanlight/v1/*.proto`.
#[allow(missing_docs, clippy::pedantic, unreachable_pub, reason = "generated")]
mod schema {
    include!(concat!(env!("OUT_DIR"), "/fanlight.v1.rs"));
}
pub use schema::*;

impl fmt::Debug for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "StreamKey(generation {}, secret hidden)",
            self.generation
        )
    }
}

impl Drop for StreamKey {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl State {
    /// The state in words for people.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unspecified => "unknown",
            Self::Opening => "opening",
            Self::Live => "live",
            Self::Stalled => "stalled",
            Self::Unplugged => "unplugged",
            Self::Busy => "busy",
            Self::WrongFormat => "wrong format",
            Self::Failed => "failed",
            Self::Ended => "ended",
            Self::Idle => "idle",
        }
    }
}

impl NotShown {
    /// The reason as people read it, such as `pictures come but cannot be decoded: damaged JPEG`; empty for
    /// [`NotShown::Unspecified`].
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unspecified => "",
            Self::InvalidFrame => "what comes is no frame of this stream",
            Self::Damaged => "pictures come but cannot be decoded: damaged JPEG",
            Self::TooLarge => {
                "pictures come but cannot be shown: larger than max_side or max_frame_bytes of the viewer"
            }
            Self::Progressive => "pictures come but cannot be decoded: progressive JPEG",
            Self::Arithmetic => "pictures come but cannot be decoded: arithmetic-coded JPEG",
            Self::Lossless => "pictures come but cannot be decoded: lossless JPEG",
            Self::Precision => "pictures come but cannot be decoded: more than 8 bits a colour",
            Self::Sampling => "pictures come but cannot be decoded: unusual chroma sampling",
            Self::Scans => "pictures come but cannot be decoded: too many scans",
            Self::Undecodable => "pictures come but cannot be decoded",
            Self::Display => "pictures come but the display does not take them",
            Self::Directed => "the screen was told to show a text, or to keep a picture",
        }
    }
}

/// A stream's name: 1 to [`MAX_STREAM_NAME`] bytes of `[A-Za-z0-9._-]`, not beginning with a dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamName(String);

/// A text that is no [`StreamName`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a stream name has 1 to 64 characters of A-Z a-z 0-9 . _ - and does not begin with a dot; this is {0:?}"
)]
pub struct StreamNameError(String);

impl FromStr for StreamName {
    type Err = StreamNameError;

    fn from_str(text: &str) -> Result<Self, StreamNameError> {
        let fits = (1..=MAX_STREAM_NAME).contains(&text.len()) && !text.starts_with('.');
        if fits
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        {
            Ok(Self(text.to_owned()))
        } else {
            Err(StreamNameError(
                text.chars().take(MAX_STREAM_NAME + 1).collect(),
            ))
        }
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Ends the name of a canary.
const CANARY_SUFFIX: &str = ".canary";

impl StreamName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the canary beside this stream: `NAME.canary`, with the name cut to where that fits.
    #[must_use]
    pub fn canary(&self) -> Self {
        // A name is ASCII.
        let stem = &self.0[..self.0.len().min(MAX_STREAM_NAME - CANARY_SUFFIX.len())];
        Self(format!("{stem}{CANARY_SUFFIX}"))
    }

    /// The ZeroMQ topic: the name and a slash, because a subscription is a prefix and `cam1` would match `cam10`.
    #[must_use]
    pub fn topic(&self) -> Bytes {
        Bytes::from(format!("{}/", self.0))
    }
}

/// Identifies a frame of a stream, for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FrameId {
    /// Which run of the source.
    pub epoch: u64,
    /// Which capture of that run.
    pub number: u64,
}

impl fmt::Display for FrameId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}/{}", self.epoch, self.number)
    }
}

/// Room for a picture with [`MAX_FRAME_PREFIX`] bytes free before it, so that [`FrameBuffer::finish`] can put the
/// message's prefix there without moving the picture.
#[derive(Debug)]
pub struct FrameBuffer(Vec<u8>);

impl FrameBuffer {
    /// An empty picture with room for `capacity` bytes.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        let mut bytes = Vec::with_capacity(MAX_FRAME_PREFIX + capacity);
        bytes.resize(MAX_FRAME_PREFIX, 0);
        Self(bytes)
    }

    /// A copy of `jpeg`.
    #[must_use]
    pub fn copy_of(jpeg: &[u8]) -> Self {
        let mut buffer = Self::with_capacity(jpeg.len());
        buffer.extend_from_slice(jpeg);
        buffer
    }

    /// Appends to the picture.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Makes the picture `length` bytes long, with zeros where it grows.
    pub fn resize(&mut self, length: usize) {
        self.0.resize(MAX_FRAME_PREFIX + length, 0);
    }

    /// The picture so far.
    #[must_use]
    pub fn jpeg(&self) -> &[u8] {
        &self.0[MAX_FRAME_PREFIX..]
    }

    /// The encoded [`Frame`] of `header` and this picture, without moving the picture; byte for byte what prost would
    /// encode. A reason past [`MAX_REASON`] bytes is cut, which keeps the prefix within its room.
    #[must_use]
    pub fn finish(mut self, mut header: FrameHeader) -> Bytes {
        truncate_reason(&mut header.reason);
        let jpeg_length = self.jpeg().len();
        let mut prefix = Frame {
            header: Some(header),
            jpeg: Bytes::new(),
        }
        .encode_to_vec();

        if jpeg_length > 0 {
            prost::encoding::encode_key(
                JPEG_TAG,
                prost::encoding::WireType::LengthDelimited,
                &mut prefix,
            );
            prost::encoding::encode_varint(jpeg_length as u64, &mut prefix);
        }

        let start = MAX_FRAME_PREFIX
            .checked_sub(prefix.len())
            .expect("a header of bounded strings and scalars is shorter than its room");
        self.0[start..MAX_FRAME_PREFIX].copy_from_slice(&prefix);
        Bytes::from(self.0).slice(start..)
    }
}

/// The tag of `Frame.jpeg` in frame.proto.
const JPEG_TAG: u32 = 15;

/// Cuts `reason` to [`MAX_REASON`] bytes at a character's border.
pub fn truncate_reason(reason: &mut String) {
    reason.truncate(reason.floor_char_boundary(MAX_REASON));
}

/// Why a payload from the ZeroMQ side is refused.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Longer than the configured limit.
    #[error(
        "frame of {length} bytes is over the limit of {limit} bytes: set max_frame_bytes, up to {MAX_FRAME_BYTES}"
    )]
    TooLarge {
        /// Bytes of the payload.
        length: usize,
        /// The limit in force.
        limit: usize,
    },
    /// Not a `Frame` in protobuf.
    #[error("frame is no protobuf Frame: {0}")]
    Malformed(#[from] prost::DecodeError),
    /// A header field that is missing or out of bounds.
    #[error("frame header field {field} is missing or out of bounds")]
    Field {
        /// Its name in frame.proto.
        field: &'static str,
    },
    /// What is not the picture is longer than [`MAX_FRAME_PREFIX`].
    #[error(
        "{length} bytes beside the picture are more than a header may have, {MAX_FRAME_PREFIX}"
    )]
    Prefix {
        /// Bytes that are not the picture.
        length: usize,
    },
    /// Published under a topic that is not its stream's.
    #[error("topic is not {expected:?}, the frame's own stream and a slash")]
    Topic {
        /// What the topic should have been.
        expected: String,
    },
    /// The picture does not begin with SOI or does not end with EOI.
    #[error(
        "picture of {length} bytes is no complete JPEG: it must begin with FFD8 and end with FFD9"
    )]
    Picture {
        /// Bytes of the picture.
        length: usize,
    },
}

/// A payload that has been checked.
#[derive(Clone, Debug)]
pub struct CheckedFrame {
    /// The stream it belongs to.
    pub stream: StreamName,
    /// Its identity.
    pub id: FrameId,
    /// Everything its source said of it.
    pub header: FrameHeader,
    /// The picture; empty in a heartbeat.
    pub jpeg: Bytes,
    /// Which way it came.
    pub route: Route,
}

/// Decodes and checks what came under `topic`. The picture is not copied.
///
/// # Errors
/// Says which bound was broken; nothing is allocated from a length that the payload claims.
pub fn parse_frame(topic: &[u8], body: Bytes, limit: usize) -> Result<CheckedFrame, FrameError> {
    let limit = limit.min(MAX_FRAME_BYTES);
    if body.len() > limit {
        return Err(FrameError::TooLarge {
            length: body.len(),
            limit,
        });
    }

    let (topic, route) = Route::split(topic);
    let total = body.len();
    let frame = Frame::decode(body)?;
    let header = frame.header.ok_or(FrameError::Field { field: "header" })?;
    let stream: StreamName = header
        .stream
        .parse()
        .map_err(|_| FrameError::Field { field: "stream" })?;

    if topic.strip_suffix(b"/") != Some(stream.as_str().as_bytes()) {
        return Err(FrameError::Topic {
            expected: format!("{stream}/"),
        });
    }

    check_header(&header, frame.jpeg.is_empty())?;
    let length = frame.jpeg.len();
    if total - length > MAX_FRAME_PREFIX {
        return Err(FrameError::Prefix {
            length: total - length,
        });
    }

    if length > 0 && !(frame.jpeg.starts_with(&[0xff, 0xd8]) && frame.jpeg.ends_with(&[0xff, 0xd9]))
    {
        return Err(FrameError::Picture { length });
    }
    Ok(CheckedFrame {
        id: FrameId {
            epoch: header.epoch,
            number: header.number,
        },
        stream,
        header,
        jpeg: frame.jpeg,
        route,
    })
}

fn check_header(header: &FrameHeader, heartbeat: bool) -> Result<(), FrameError> {
    let field = |ok: bool, field| {
        if ok {
            Ok(())
        } else {
            Err(FrameError::Field { field })
        }
    };

    field(header.epoch != 0, "epoch")?;
    field(header.reason.len() <= MAX_REASON, "reason")?;
    field(
        header.canary.is_empty() || header.canary.parse::<StreamName>().is_ok(),
        "canary",
    )?;
    field(
        State::try_from(header.state).is_ok_and(|s| s != State::Unspecified),
        "state",
    )?;

    if !heartbeat {
        field(header.format == Format::Jpeg as i32, "format")?;
        field((1..=u32::from(u16::MAX)).contains(&header.width), "width")?;
        field((1..=u32::from(u16::MAX)).contains(&header.height), "height")?;
    }

    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> FrameHeader {
        FrameHeader {
            stream: "cam-1".into(),
            epoch: 7,
            number: 300,
            captured_ns: 1,
            wall_offset_ns: -5,
            clock_id: 9,
            width: 640,
            height: 480,
            format: Format::Jpeg as i32,
            state: State::Live as i32,
            reason: String::new(),
            truth: Some(Truth {
                kind: Some(truth::Kind::Ball(Ball {
                    x: 1.5,
                    y: 2.5,
                    radius: 20.0,
                })),
            }),
            prepared_us: 12,
            rate_millihertz: 30_000,
            canary: "cam-1.canary".into(),
        }
    }

    #[test]
    fn a_canarys_name_is_that_of_its_stream_cut_where_it_must_be() {
        let canary = |name: &str| name.parse::<StreamName>().unwrap().canary().to_string();
        assert_eq!(canary("cam"), "cam.canary");
        assert_eq!(
            canary(&"x".repeat(64)),
            format!("{}.canary", "x".repeat(57))
        );
        assert!(canary(&"x".repeat(64)).parse::<StreamName>().is_ok());
    }

    const JPEG: &[u8] = &[0xff, 0xd8, 1, 2, 3, 0xff, 0xd9];

    #[test]
    fn a_finished_buffer_is_what_prost_encodes() {
        for jpeg in [JPEG.to_vec(), vec![0x5a; 200_000], Vec::new()] {
            let theirs = Frame {
                header: Some(header()),
                jpeg: jpeg.clone().into(),
            }
            .encode_to_vec();
            assert_eq!(FrameBuffer::copy_of(&jpeg).finish(header()), theirs);
        }
    }

    #[test]
    fn the_longest_header_fits_before_the_picture() {
        let longest = FrameHeader {
            stream: "s".repeat(MAX_STREAM_NAME),
            number: u64::MAX,
            width: u32::MAX,
            height: u32::MAX,
            state: i32::MIN,
            format: i32::MIN,
            reason: "é".repeat(4096),
            prepared_us: u32::MAX,
            rate_millihertz: u32::MAX,
            ..header()
        };

        let body = FrameBuffer::copy_of(&vec![1; MAX_FRAME_BYTES]).finish(longest);
        assert!(body.len() > MAX_FRAME_BYTES);
    }

    #[test]
    fn a_frame_comes_back_as_it_was_sent_without_a_copy() {
        let body = FrameBuffer::copy_of(JPEG).finish(header());
        let frame = parse_frame(b"cam-1/", body.clone(), MAX_FRAME_BYTES).unwrap();
        assert_eq!(frame.header, header());
        assert_eq!(frame.jpeg, JPEG);
        let place = body.as_ptr() as usize..body.as_ptr() as usize + body.len();
        assert!(place.contains(&(frame.jpeg.as_ptr() as usize)));
    }

    #[test]
    fn a_frame_under_a_foreign_topic_or_cut_short_or_too_large_is_refused() {
        let body = FrameBuffer::copy_of(JPEG).finish(header());
        assert!(matches!(
            parse_frame(b"cam-10/", body.clone(), 1000),
            Err(FrameError::Topic { .. })
        ));

        assert!(matches!(
            parse_frame(b"cam-1/", body.clone(), 10),
            Err(FrameError::TooLarge { .. })
        ));

        assert!(parse_frame(b"cam-1/", body.slice(..body.len() - 1), 1000).is_err());
        let cut = FrameBuffer::copy_of(&JPEG[..5]).finish(header());
        assert!(matches!(
            parse_frame(b"cam-1/", cut, 1000),
            Err(FrameError::Picture { length: 5 })
        ));

        let padded = [&body[..], &[0x82, 0x20, 0xd8, 0x04], &[0; 600]].concat();
        assert!(matches!(
            parse_frame(b"cam-1/", padded.into(), 2000),
            Err(FrameError::Prefix { .. })
        ));

        let unborn = FrameBuffer::copy_of(JPEG).finish(FrameHeader {
            epoch: 0,
            ..header()
        });

        assert!(matches!(
            parse_frame(b"cam-1/", unborn, 1000),
            Err(FrameError::Field { field: "epoch" })
        ));
    }

    #[test]
    fn a_canarys_name_is_a_stream_name_or_empty() {
        for (canary, good) in [
            (String::new(), true),
            ("cam-1.canary".to_owned(), true),
            ("two words".to_owned(), false),
            ("x".repeat(65), false),
        ] {
            let named = FrameHeader { canary, ..header() };
            let body = FrameBuffer::copy_of(JPEG).finish(named);
            assert_eq!(parse_frame(b"cam-1/", body, 1000).is_ok(), good);
        }
    }

    #[test]
    fn no_prefix_of_a_frame_panics() {
        let body = FrameBuffer::copy_of(JPEG).finish(header());
        for end in 0..body.len() {
            // Cut exactly behind its header, a frame is a heartbeat; anywhere else it is refused.
            let heartbeat =
                parse_frame(b"cam-1/", body.slice(..end), 1000).is_ok_and(|f| f.jpeg.is_empty());
            assert_eq!(heartbeat, end + JPEG.len() + 2 == body.len(), "{end}");
        }
    }

    #[test]
    fn stream_names_are_checked() {
        for good in ["a", "cam-1", "Lobby_2.front", &"x".repeat(64)] {
            assert!(good.parse::<StreamName>().is_ok(), "{good}");
        }
        for bad in ["", ".hidden", "a/b", "ä", "a b", &"x".repeat(65)] {
            assert!(bad.parse::<StreamName>().is_err(), "{bad}");
        }
    }
}
