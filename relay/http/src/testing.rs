//! What unit tests of this crate share.

use bytes::Bytes;
use fanlight_live::LiveFrame;
use fanlight_live::access::{AccessMode, TokenFiles};
use fanlight_proto::clock::Time;
use fanlight_proto::message::{CheckedFrame, FrameHeader, FrameId};

use crate::settings::{Readiness, Settings};
use crate::site::Peers;

/// A picture of four bytes, 1280x720, whose source's wall clock said 1800000000.000042 s.
pub(super) fn picture_of(stream: &str, number: u64) -> LiveFrame {
    let header = FrameHeader {
        stream: stream.into(),
        epoch: 0x0102_0304_0506_0708,
        number,
        width: 1280,
        height: 720,
        wall_offset_ns: 1_800_000_000_000_042_000,
        ..FrameHeader::default()
    };

    let frame = CheckedFrame {
        stream: stream.parse().expect("a good name"),
        id: FrameId {
            epoch: header.epoch,
            number,
        },
        header,
        jpeg: Bytes::from_static(b"JPEG"),
        route: fanlight_proto::route::Route::default(),
    };

    LiveFrame::new(0, frame, Bytes::new(), Time::default())
}

/// Those of a relay that everyone may use.
pub(super) fn settings() -> Settings {
    Settings {
        listen: "127.0.0.1:0".parse().expect("a good address"),
        access: AccessMode::Open,
        tokens: TokenFiles::default(),
        tls: None,
        origins: Vec::new(),
        names: Vec::new(),
        basic_plain: false,
        proxies: Vec::new(),
        connections: 1024,
        connections_per_address: 256,
        ready: Readiness::Any,
        streams: Vec::new(),
        whep: None,
        name: "relay".to_owned(),
        peers: Peers::default(),
        history: None,
        state_dir: None,
        links: None,
        scenes: None,
    }
}
