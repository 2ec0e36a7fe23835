//! The fuzz targets of RTSP: bytes of a connection, and pictures to be sent.

use std::net::Ipv4Addr;
use std::sync::Arc;

use bytes::Bytes;
use fanlight_daemon::clock;
use fanlight_live::access::{AccessMode, TokenFiles};
use fanlight_live::{LiveFrame, Output, StreamTable};
use fanlight_proto::limits::SOURCE_STALE;
use fanlight_proto::message::{CheckedFrame, Format, FrameHeader, FrameId, State};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::runtime::Builder;

use crate::auth::Authenticator;
use crate::connection::{Ends, serve_connection};
use crate::jpeg::Picture;
use crate::multicast::Groups;
use crate::pictures::Pictures;
use crate::rtp::{MAX_PACKET, RtpSender};
use crate::{App, Settings};

/// How often a connection may go on before more is said.
const TURNS: usize = 16;

/// Stands for the session that the server has named last.
const SESSION: &[u8] = b"%";

/// A picture that RTP/JPEG can carry.
pub(crate) const PICTURE: &[u8] = include_bytes!("../../../fuzz/corpus/rtp_jpeg/picture");

/// The first frame of a source.
pub(crate) const FIRST: FrameId = FrameId {
    epoch: 1,
    number: 0,
};

/// What a client says, in parts that end with a zero byte, each when the ones before are answered: answers are RTSP or
/// interleaved data.
///
/// # Panics
/// When something is wrong with the program.
pub fn rtsp(bytes: &[u8]) {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("there are descriptors left");
    runtime.block_on(async {
        let (ours, theirs) = tokio::io::duplex(1 << 18);
        let app = app();
        // Of an address where nobody listens.
        let ends = Ends {
            peer: (Ipv4Addr::new(127, 77, 77, 77), 9).into(),
            local: Ipv4Addr::LOCALHOST.into(),
            secure: false,
        };
        tokio::join!(serve_connection(&app, ours, ends), converse(theirs, bytes));
    });
}

/// A relay with one stream, `cam`, that has a picture.
pub(crate) fn app() -> Arc<App> {
    let settings = Settings {
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        access: AccessMode::Open,
        tokens: TokenFiles::default(),
        multicast: None,
        tls: None,
    };

    let app = Arc::new(App {
        output: Output::new(StreamTable::new(SOURCE_STALE)),
        authenticator: Authenticator::load(&settings).expect("no files are read"),
        groups: Groups::new(settings.multicast),
        pictures: Pictures::default(),
    });
    publish(&app, frame(FIRST, 0, 0, PICTURE));
    app
}

/// Gives the relay one more frame.
pub(crate) fn publish(app: &App, frame: CheckedFrame) {
    let table = app.output.table();
    let published = table.publish(0, frame, Bytes::new(), clock::now());
    published.expect("there is room for a stream");
}

/// A frame that was captured at `captured_ns` by its source's clock, which is `wall_offset_ns` before UTC.
pub(crate) fn frame(
    id: FrameId,
    captured_ns: u64,
    wall_offset_ns: i64,
    jpeg: &'static [u8],
) -> CheckedFrame {
    let header = FrameHeader {
        stream: "cam".into(),
        epoch: id.epoch,
        number: id.number,
        captured_ns,
        wall_offset_ns,
        width: 88,
        height: 56,
        format: Format::Jpeg.into(),
        state: State::Live.into(),
        ..FrameHeader::default()
    };
    CheckedFrame {
        stream: "cam".parse().expect("a good name"),
        id,
        header,
        jpeg: Bytes::from_static(jpeg),
        route: fanlight_proto::route::Route::default(),
    }
}

async fn converse(mut connection: DuplexStream, bytes: &[u8]) {
    let mut session = Vec::new();
    for part in bytes.split(|byte| *byte == 0) {
        let pieces: Vec<&[u8]> = part.split(|byte| SESSION.contains(byte)).collect();
        if connection
            .write_all(&pieces.join(&session[..]))
            .await
            .is_err()
        {
            break;
        }

        let answers = read(&mut connection).await;
        let named = b"\r\nSession: ";
        let found = answers.windows(named.len()).position(|text| text == named);
        if let Some(found) = found {
            let id = answers[found + named.len()..].iter().take(16);
            session = id.copied().collect();
        }
    }
}

/// What is there to read.
async fn read(connection: &mut DuplexStream) -> Vec<u8> {
    for _ in 0..TURNS {
        tokio::task::yield_now().await;
    }

    let mut answers = vec![0; 1 << 16];
    let read = tokio::select! {
        biased;
        read = connection.read(&mut answers) => read.unwrap_or_default(),
        () = tokio::task::yield_now() => 0,
    };
    answers.truncate(read);
    assert!(answers.is_empty() || answers.starts_with(b"RTSP/1.0 ") || answers[0] == b'$');
    answers
}

/// A picture: when it can be sent, its packets are bounded and come to an end.
///
/// # Panics
/// When something is wrong with the program.
pub fn rtp_jpeg(bytes: &[u8]) {
    let Ok(picture) = Picture::parse(&Bytes::copy_from_slice(bytes)) else {
        return;
    };

    let live = LiveFrame::new(0, frame(FIRST, 0, 0, PICTURE), Bytes::new(), clock::now());
    let mut sender = RtpSender::new();
    let timestamp = sender.timestamp(&live);
    let (mut offset, mut packet) = (0, Vec::new());
    while offset < picture.scan.len() {
        packet.clear();
        let next = sender.packet(&picture, timestamp, offset, &mut packet);
        assert!(next > offset && packet.len() <= MAX_PACKET);
        offset = next;
    }
}

#[cfg(test)]
mod tests {
    use fanlight_daemon::testing::replay_corpus;

    #[test]
    fn every_conversation_of_the_corpus_is_survived() {
        replay_corpus("rtsp", super::rtsp);
    }

    #[test]
    fn every_picture_of_the_corpus_is_sent_or_refused() {
        replay_corpus("rtp_jpeg", super::rtp_jpeg);
    }
}
