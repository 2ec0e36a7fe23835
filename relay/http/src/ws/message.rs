//! What is said on the wire.

use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use fanlight_live::{Arrival, ScreenReport};
use fanlight_proto::clock::Time;
use fanlight_proto::frame_message::{Content, FrameMessage, HEADER_BYTES};
use fanlight_proto::message::NotShown;
use serde::Deserialize;

/// What a client says.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(super) enum ClientMessage {
    /// Frames of a stream, under a number of the client's choice.
    Subscribe {
        id: u32,
        stream: String,
        fps: Option<f64>,
    },
    /// One more frame may come.
    Credit { id: u32 },
    /// So many a second at most; all without a number.
    Rate { id: u32, fps: Option<f64> },
    /// No more.
    Unsubscribe { id: u32 },
    /// How the screen fares that shows the frames of a subscription.
    Shown(Shown),
    /// What time it is here; `t` comes back.
    Ping { t: f64 },
}

/// What a client says of its screen, each second and when it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Shown {
    pub(super) id: u32,
    /// Frames drawn so far.
    frames: u64,
    /// How long ago the newest was drawn; none: none yet.
    last_shown_ms: Option<u32>,
    /// Why those that come are not drawn; none while they are.
    not_shown: Option<Reason>,
}

/// In the words of viewers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Reason {
    Undecodable,
    NotDisplayed,
}

impl Shown {
    pub(super) fn report(self) -> ScreenReport {
        let last_shown = self.last_shown_ms.map(u64::from);
        ScreenReport {
            frames_shown: self.frames,
            last_shown: last_shown.map(Duration::from_millis),
            not_shown: match self.not_shown {
                None => NotShown::Unspecified,
                Some(Reason::Undecodable) => NotShown::Undecodable,
                Some(Reason::NotDisplayed) => NotShown::Display,
            },
        }
    }
}

/// The message of a frame that is handed to the socket at `now`.
pub(super) fn frame(now: Time, subscription: u32, content: Content, arrival: &Arrival) -> Bytes {
    let frame = &arrival.frame;
    let age = frame.age_us(now);
    let pixels = |length: u32| u16::try_from(length).unwrap_or(u16::MAX);
    let count = |frames: u64| u32::try_from(frames).unwrap_or(u32::MAX);
    let head = FrameMessage {
        content,
        subscription,
        id: frame.id,
        captured_us: frame.captured_us,
        captured_utc_us: frame.captured_utc_us(),
        age_us: age.map(|age| u32::try_from(age).unwrap_or(u32::MAX - 1)),
        skipped: count(arrival.skipped),
        superseded: count(arrival.superseded.min(arrival.skipped)),
        size: (pixels(frame.size().0), pixels(frame.size().1)),
    };

    let bytes = match content {
        Content::Jpeg => &frame.jpeg,
        Content::Frame => &frame.body,
    };

    let mut message = BytesMut::with_capacity(HEADER_BYTES + bytes.len());
    message.put_slice(&head.to_bytes());
    message.put_slice(bytes);
    message.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::picture_of;

    #[test]
    fn what_clients_say_is_understood() {
        let ask = |text| serde_json::from_str::<ClientMessage>(text);
        let subscribe = ClientMessage::Subscribe {
            id: 1,
            stream: "cam1".to_owned(),
            fps: Some(10.0),
        };

        assert_eq!(
            ask(r#"{"type":"subscribe","id":1,"stream":"cam1","fps":10}"#).unwrap(),
            subscribe
        );

        assert_eq!(
            ask(r#"{"type":"rate","id":2,"fps":null}"#).unwrap(),
            ClientMessage::Rate { id: 2, fps: None }
        );

        assert_eq!(
            ask(r#"{"type":"credit","id":3}"#).unwrap(),
            ClientMessage::Credit { id: 3 }
        );

        assert_eq!(
            ask(r#"{"type":"ping","t":1.5}"#).unwrap(),
            ClientMessage::Ping { t: 1.5 }
        );

        let shown = r#"{"type":"shown","id":4,"frames":9,"last_shown_ms":40,"not_shown":null}"#;
        let Ok(ClientMessage::Shown(shown)) = ask(shown) else {
            panic!("it is understood")
        };
        assert_eq!(
            shown.report(),
            ScreenReport {
                frames_shown: 9,
                last_shown: Some(Duration::from_millis(40)),
                not_shown: NotShown::Unspecified,
            }
        );

        let blind = r#"{"type":"shown","id":4,"frames":0,"not_shown":"undecodable"}"#;
        assert!(matches!(
            ask(blind).unwrap(),
            ClientMessage::Shown(shown) if shown.report().not_shown == NotShown::Undecodable
        ));

        for bad in [
            r#"{"type":"shown","id":4,"frames":-1}"#,
            r#"{"type":"shown","id":4,"frames":1,"not_shown":"tired"}"#,
            "",
            "{}",
            r#"{"type":"credit"}"#,
            r#"{"type":"credit","id":-1}"#,
            r#"{"type":"shout","id":1}"#,
        ] {
            ask(bad).unwrap_err();
        }
    }

    #[test]
    fn a_frame_has_its_header_before_the_picture() {
        let mut picture = picture_of("cam", 9);
        picture.captured_us = Some(1_000);
        let mut arrival = Arrival {
            superseded: 2,
            skipped: 3,
            ..Arrival::first(picture)
        };

        let now = Time::from_nanos(1_500_000);
        let bytes = frame(now, 7, Content::Jpeg, &arrival);
        let mut expected = vec![
            1, 1, 0, 56, 0, 0, 0, 7, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0, 9,
        ];
        expected.extend(1_000_i64.to_be_bytes());
        expected.extend(1_800_000_000_000_042_i64.to_be_bytes());
        expected.extend([0, 0, 0x01, 0xf4, 0, 0, 0, 3, 5, 0, 2, 0xd0, 0, 0, 0, 2]);
        assert_eq!(bytes[..HEADER_BYTES], expected);
        assert_eq!(&bytes[HEADER_BYTES..], b"JPEG");

        let mut picture = picture_of("cam", 9);
        picture.body = Bytes::from_static(b"BODY");
        arrival = Arrival::first(picture);
        let unknown = frame(Time::default(), 7, Content::Frame, &arrival);
        assert_eq!(unknown[1], 2);
        assert_eq!(unknown[24..32], i64::MIN.to_be_bytes());
        assert_eq!(unknown[40..44], u32::MAX.to_be_bytes());
        assert_eq!(&unknown[HEADER_BYTES..], b"BODY");
    }
}
