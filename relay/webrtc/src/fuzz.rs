//! The fuzz targets of WebRTC: offers and answers of peers, and what they found.

use std::net::SocketAddr;
use std::sync::Once;
use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_live::StreamTable;
use fanlight_live::access::{Grant, Role};
use fanlight_proto::clock::Time;
use fanlight_proto::detections::decode;
use fanlight_proto::limits::SOURCE_STALE;
use fanlight_proto::message::FrameId;
use str0m::net::Protocol;

use crate::WEBRTC;
use crate::coordinates::Tracker;
use crate::encoder::EncodedFrame;
use crate::rung::Rung;
use crate::session::{Session, Watcher};

const CLIENT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9);

static CRYPTO: Once = Once::new();

/// An offer or, with an odd first byte, an answer to one of ours: a session that is made of it can be run.
///
/// # Panics
/// When something is wrong with the program.
pub fn whep(bytes: &[u8]) {
    CRYPTO.call_once(|| str0m::crypto::from_feature_flags().install_process_default());
    let Some((choice, sdp)) = bytes.split_first() else {
        return;
    };
    let Ok(sdp) = std::str::from_utf8(sdp) else {
        return;
    };

    let table = StreamTable::new(SOURCE_STALE);
    let stream = "cam".parse().expect("a good name");
    let handle = table.clients().add(clock::now(), WEBRTC, CLIENT, &stream);
    let watcher = Watcher {
        stream,
        client: CLIENT,
        name: String::new(),
        grant: Grant::unlimited(Role::View),
        charge: table.client_memory().open(CLIENT.ip(), 1),
    };

    let now = tokio::time::Instant::now().into_std();
    let local = vec![(Protocol::Udp, SocketAddr::from(([127, 0, 0, 1], 8189)))];
    let session = if choice & 1 == 0 {
        Session::accept(now, sdp, local, watcher, handle).map(|(session, _)| session)
    } else {
        let offered = Session::offer(now, local, watcher, handle);
        let (mut session, _) = offered.expect("an offer can be made");
        session.answer(sdp).map(|()| session)
    };

    if let Ok(mut session) = session {
        let _ = session.patch(None, sdp);
        for seconds in 0..3 {
            session.run(now + Duration::from_secs(seconds), &mut |_| {});
        }
    }
}

/// Messages of a data channel, one a line, while frames are sent: what they are taken for can be passed on.
///
/// # Panics
/// When something is wrong with the program.
pub fn coordinates(bytes: &[u8]) {
    let mut tracker = Tracker::new(1);
    tracker.open();
    let mut now = Time::from_nanos(1 << 40);

    for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        now = now + Duration::from_millis(33);
        let number = number as u64;
        let frame = EncodedFrame {
            stream: "cam".parse().expect("a good name"),
            rung: Rung::Full,
            scale: 1,
            origin: Some((FrameId { epoch: 1, number }, now)),
            rtp_time: number * 3000,
            is_key: number == 0,
            data: Vec::new().into(),
            age_us: None,
            captured_utc: None,
        };
        tracker.on_sent(now, frame.rtp_time, &frame);
        tracker.on_message(now, line);

        if let Some((_, told)) = tracker.take_report(now) {
            let taken = told.detections.iter().all(|bytes| decode(bytes).is_some());
            assert!(taken, "a source takes what clients found");
        }
        assert!(
            tracker.due().is_some_and(|due| due > now),
            "the thread spins"
        );
    }
}

#[cfg(test)]
mod tests {
    use fanlight_daemon::testing::replay_corpus;

    #[test]
    fn every_offer_and_answer_of_the_corpus_is_survived() {
        replay_corpus("whep", super::whep);
    }

    #[test]
    fn every_message_of_coordinates_of_the_corpus_is_survived() {
        replay_corpus("coordinates", super::coordinates);
    }
}
