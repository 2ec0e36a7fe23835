//! What the fuzz targets do with their bytes. `tests/corpus.rs` runs the same on the committed corpus.
#![allow(dead_code, reason = "each fuzz target uses one of these")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use fanlight_proto::clock::Time;
use fanlight_proto::datagram::{
    DATA_BYTES, DATA_HEADER, DataHeader, SEALED_DATA_BYTES, ToRelay, ToViewer, write_checksum,
};
use fanlight_proto::envelope::{
    FeedKey, FeedbackOpener, FeedbackSealer, HEADER_BYTES, MAX_FEEDBACK_DETECTIONS,
    MAX_FEEDBACK_TOPIC, MAX_VIEWER_REPORTS, Opener, Sealer, is_feedback, is_question, parse_answer,
    parse_feedback, plain_answer, status_question,
};
use fanlight_proto::handshake::{
    Initiator, MAX_PAYLOAD, PrivateKey, RelayAccess, SharedKey, ViewerAccess, answer,
};
use fanlight_proto::limits::{MAX_DATAGRAM, MAX_FRAME_BYTES, MAX_OPEN_FRAMES, SHARD_BYTES};
use fanlight_proto::message::{Answer, FeedbackReport, FrameId, parse_frame};
use fanlight_proto::parity::{Encoder, recovery_count};
use fanlight_proto::reassembly::Reassembly;
use fanlight_proto::seal::MediaKey;
use fanlight_proto::shard::packetize;

/// Pure, and so shared: the crate around it would bring ZeroMQ and tokio.
#[path = "../../relay/src/upstream/inspector.rs"]
mod inspector;
use inspector::{Breach, Inspector, MAX_COMMAND, MAX_MESSAGE, MAX_PARTS, Role};

/// What either side parses, it writes again so that it parses to the same; also with the check sum put right, which no
/// fuzzer guesses.
pub fn datagram(bytes: &[u8]) {
    parsed(bytes);
    if bytes.len() >= DATA_HEADER {
        let mut stamped = bytes.to_vec();
        write_checksum(&mut stamped);
        parsed(&stamped);
    }
}

fn parsed(bytes: &[u8]) {
    let mut out = Vec::new();
    if let Ok(message) = ToRelay::parse(bytes) {
        message.encode(&mut out);
        assert!(out.len() <= MAX_DATAGRAM);
        assert_eq!(ToRelay::parse(&out), Ok(message));
    }
    if let Ok(message) = ToViewer::parse(bytes) {
        message.encode(&mut out);
        assert_eq!(ToViewer::parse(&out), Ok(message));
    }
}

/// The first byte chooses, the rest is what a stranger sends: to either side of a handshake, in a sealed session, as
/// sealed media. Nothing of it is taken, and what is true is taken afterwards.
pub fn handshake(bytes: &[u8]) {
    let Some((choice, bytes)) = bytes.split_first() else {
        return;
    };
    let pair = if choice & 1 == 0 { shared() } else { own() };
    match choice >> 1 & 3 {
        0 => assert!(answer(&pair.1, 1, &[2; 16], bytes, [3; 32]).is_err()),
        1 => finished(&pair, bytes),
        2 => opened(&pair, bytes),
        _ => unsealed(bytes),
    }
}

fn shared() -> (ViewerAccess, RelayAccess) {
    let key = SharedKey::new([7; 32]);
    (ViewerAccess::Psk(key.clone()), RelayAccess::Psk(key))
}

fn own() -> (ViewerAccess, RelayAccess) {
    let (viewer, relay) = (PrivateKey::new([8; 32]), PrivateKey::new([9; 32]));
    let viewers = vec![(viewer.public(), String::new())];
    (
        ViewerAccess::Keys {
            own: viewer,
            relay: relay.public(),
        },
        RelayAccess::Keys {
            own: relay,
            viewers,
        },
    )
}

fn finished((viewer, relay): &(ViewerAccess, RelayAccess), bytes: &[u8]) {
    let (mut initiator, first) =
        Initiator::begin(viewer, 1, &[2; 16], [4; 32]).expect("there is a key");
    assert!(initiator.finish(bytes).is_err());
    let responder = answer(relay, 1, &[2; 16], &first, [5; 32]).expect("the first message is true");
    let payload = &bytes[..bytes.len().min(MAX_PAYLOAD)];
    let (second, _) = responder.finish(payload).expect("the payload fits");
    assert_eq!(
        initiator
            .finish(&second)
            .expect("the second message is true")
            .0,
        payload
    );
}

fn opened((viewer, relay): &(ViewerAccess, RelayAccess), bytes: &[u8]) {
    let Some((counter, bytes)) = bytes.split_first_chunk() else {
        return;
    };
    let (mut initiator, first) =
        Initiator::begin(viewer, 1, &[2; 16], [4; 32]).expect("there is a key");
    let responder = answer(relay, 1, &[2; 16], &first, [5; 32]).expect("the first message is true");
    let (second, mut channel) = responder.finish(&[]).expect("nothing fits");
    let (_, mut peer) = initiator
        .finish(&second)
        .expect("the second message is true");
    assert_eq!(channel.open(u64::from_be_bytes(*counter), bytes), None);
    let (counter, sealed) = peer.seal(b"true");
    assert_eq!(channel.open(counter, &sealed), Some(b"true".to_vec()));
    assert_eq!(channel.open(counter, &sealed), None);
}

fn unsealed(bytes: &[u8]) {
    let key = MediaKey::new(1, [6; 16]);
    let mut datagram = bytes.to_vec();
    assert_eq!(key.open(&mut datagram), None);
    // What is sealed with the key opens, whatever its header says.
    datagram.clear();
    datagram.extend_from_slice(bytes);
    datagram.resize(SEALED_DATA_BYTES, 0);
    let shard = datagram[DATA_HEADER..DATA_BYTES].to_vec();
    key.seal(&mut datagram);
    assert_eq!(key.open(&mut datagram), Some(&shard[..]));
}

/// A payload that is taken obeys every bound.
pub fn frame(bytes: &[u8]) {
    let Some((length, rest)) = bytes.split_first() else {
        return;
    };
    let (topic, body) = rest.split_at(usize::from(*length).min(rest.len()));
    if let Ok(frame) = parse_frame(topic, Bytes::copy_from_slice(body), 1 << 16) {
        assert!(frame.jpeg.len() <= 1 << 16);
        assert!(frame.jpeg.is_empty() || frame.jpeg.ends_with(&[0xff, 0xd9]));
        assert_ne!(frame.id.epoch, 0);
    }
}

/// Shards of a few frames in an order, with contradictions and at times that the bytes choose: what comes out is what
/// went in, and every number is given out once or lost for one reason.
pub fn reassembly(bytes: &[u8]) {
    let mut reassembly = Reassembly::new(MAX_FRAME_BYTES);
    let mut now = Time::from_nanos(1 << 40);
    let mut out = BTreeMap::new();
    let mut frames = BTreeMap::new();
    for step in bytes.chunks_exact(6) {
        now = now + Duration::from_micros(u64::from(step[0]) * 100);
        if step[1] == 0xff {
            reassembly.on_away();
        }
        while let Some(repair) = reassembly.poll_repair(now) {
            assert!(repair.ranges.len().is_multiple_of(2));
        }
        let shards = u16::from(step[4] % 32).max(1);
        let first = DataHeader {
            alias: 1,
            id: FrameId {
                epoch: 1 + u64::from(step[2] >> 6),
                number: u64::from(step[3]) << (step[2] & 0x1f),
            },
            lost_upstream: u16::from(step[1] & 0x0f),
            lost_in_relay: u16::from(step[1] >> 4),
            sequence: 1,
            length: u32::from(shards) * SHARD_BYTES as u32 - u32::from(step[4] % 3),
            ..DataHeader::default()
        };
        let contradicts = step[2] & 0x20 != 0;
        let packets = frames
            .entry((first.id, first.length))
            .or_insert_with(|| packets_of(first));
        let datagram = shard_of(packets, first, u16::from(step[5]), contradicts);
        let Ok(ToViewer::Data(header, shard)) = ToViewer::parse(&datagram) else {
            panic!("a good header is taken")
        };
        let Some(whole) = reassembly.on_shard(now, &header, shard) else {
            continue;
        };
        assert_eq!(whole.id, header.id);
        assert_eq!(whole.body.len(), header.length as usize);
        assert!(
            whole.body == body(&header),
            "what comes out is not what went in"
        );
        let newest = out.entry(whole.id.epoch).or_insert(whole.id.number);
        // Far back means that the newer one was forged, which the bytes can do too.
        let (number, far) = (whole.id.number, 1 << 10);
        assert!(
            number >= *newest || *newest - number >= far - 3,
            "an older frame came after a newer one"
        );
        *newest = whole.id.number;
        reassembly.recycle(whole.body);
    }
    assert!(MAX_OPEN_FRAMES > 0 && reassembly.counts().whole >= out.len() as u64);
}

/// All datagrams of the frame that a header names, parity too.
fn packets_of(first: DataHeader) -> Vec<u8> {
    let mut packets = Vec::new();
    packetize(first, &body(&first), &mut packets);
    Encoder::new().append(&first, &mut packets);
    packets
}

/// One of them, with losses before the frame as `first` says; or one of data with a header that contradicts the others.
fn shard_of(packets: &[u8], first: DataHeader, choice: u16, contradicts: bool) -> Vec<u8> {
    let shards = first.length.div_ceil(SHARD_BYTES as u32) as u16;
    let parity = recovery_count(shards);
    let (index, parity) = if contradicts {
        (choice % shards, parity - 1)
    } else {
        (choice % (shards + parity), parity)
    };
    let shard = &packets[usize::from(index) * DATA_BYTES..][DATA_HEADER..DATA_BYTES];
    let mut datagram = Vec::new();
    ToViewer::Data(
        DataHeader {
            index,
            shards,
            parity,
            ..first
        },
        shard,
    )
    .encode(&mut datagram);
    datagram
}

/// The frame that a header names: no two are alike.
fn body(header: &DataHeader) -> Vec<u8> {
    let content = |index: usize| {
        (header.id.number as u8)
            ^ (header.id.epoch as u8).rotate_left(4)
            ^ (index as u8).rotate_left(2)
            ^ header.length as u8
    };
    (0..header.length as usize)
        .map(|at| content(at / SHARD_BYTES))
        .collect()
}

/// Shards of one frame, data and parity, as the bytes choose: some lost, some more than once, in any order. As many
/// different ones as the frame has bring it back as it was; fewer bring nothing, and more nothing further.
pub fn parity(bytes: &[u8]) {
    let Some(([size, tail], choices)) = bytes.split_first_chunk() else {
        return;
    };
    let length = (1 + u32::from(size % 64)) * SHARD_BYTES as u32 - u32::from(*tail);
    let first = DataHeader {
        id: FrameId {
            epoch: 1,
            number: 0,
        },
        sequence: 1,
        length,
        ..DataHeader::default()
    };
    let packets = packets_of(first);
    let shards = length.div_ceil(SHARD_BYTES as u32) as usize;
    let mut reassembly = Reassembly::new(MAX_FRAME_BYTES);
    let mut came = BTreeSet::new();
    for choice in choices {
        let at = usize::from(*choice) % (packets.len() / DATA_BYTES);
        let datagram = &packets[at * DATA_BYTES..][..DATA_BYTES];
        let Ok(ToViewer::Data(header, shard)) = ToViewer::parse(datagram) else {
            panic!("our own datagram parses")
        };
        let completes = came.insert(at) && came.len() == shards;
        let whole = reassembly.on_shard(Time::from_nanos(1), &header, shard);
        assert_eq!(whole.is_some(), completes);
        assert!(whole.is_none_or(|whole| whole.body == body(&first)));
    }
}

/// Nothing that was not sealed with the key is taken, whatever it looks like; what is taken again encodes to the same.
pub fn envelope(bytes: &[u8]) {
    const TOPIC: &[u8] = b"?00000000000000000000000000000000";
    let sealer = Sealer::new(&FeedKey::new([1; 32]), [2; 16]);
    let mut opener = Opener::new(FeedKey::new([1; 32]));
    assert!(opener.answer(TOPIC, bytes).is_err());
    opener
        .answer(TOPIC, &sealer.answer(TOPIC, Answer::default()))
        .expect("an answer with our key is taken");
    assert!(opener.frame(TOPIC, Bytes::copy_from_slice(bytes)).is_err());
    let _ = is_question(bytes);
    for topic in [TOPIC, status_question([0; 16]).as_bytes()] {
        if let Ok(answer) = parse_answer(topic, bytes) {
            assert_eq!(parse_answer(topic, &plain_answer(&answer)), Ok(answer));
        }
    }
    // A good envelope that the bytes damage.
    let mut good = sealer
        .frame(b"cam/", [&[0; HEADER_BYTES], bytes].concat(), HEADER_BYTES)
        .to_vec();
    for pair in bytes.chunks_exact(2) {
        let place = usize::from(pair[0]) % good.len();
        good[place] ^= pair[1];
    }
    if let Ok(opened) = opener.frame(b"cam/", Bytes::from(good)) {
        assert_eq!(opened, bytes);
    }
}

/// What a subscriber says behind the mark of a feedback. Nothing that was not sealed with the key is taken; what is taken in
/// the clear obeys every bound and is said again in the same way, and what the bytes encode is, too.
pub fn feedback(bytes: &[u8]) {
    const CHALLENGE: [u8; 16] = [3; 16];
    let sealer = Sealer::new(&FeedKey::new([1; 32]), [2; 16]);
    let topic = [b"!", bytes].concat();
    assert!(is_feedback(&topic) && !is_question(&topic));
    // The corpus has a feedback that is sealed for `CHALLENGE`.
    assert!(
        FeedbackOpener::new(Some(&sealer), [9; 16])
            .hear(&topic)
            .is_err()
    );
    let mut sealed = FeedbackOpener::new(Some(&sealer), CHALLENGE);
    if let Ok(feedback) = FeedbackOpener::new(None, CHALLENGE).hear(&topic) {
        said_again(&feedback, None);
    }
    if let Ok(feedback) = parse_feedback(bytes) {
        said_again(&feedback, None);
        said_again(&feedback, Some(&sealer));
    }
    // A good feedback that the bytes damage.
    let mut feedback_sealer = FeedbackSealer::new(Some(FeedKey::new([1; 32])), [4; 16]);
    feedback_sealer.on_answer(&Answer {
        challenge: CHALLENGE.to_vec(),
        ..Answer::default()
    });
    let good = feedback_sealer
        .topic(FeedbackReport::default())
        .expect("a short feedback is said")
        .into_bytes();
    let mut damaged = good.clone();
    for pair in bytes.chunks_exact(2) {
        let place = usize::from(pair[0]) % damaged.len();
        damaged[place] ^= pair[1];
    }
    assert_eq!(sealed.hear(&damaged).is_ok(), damaged == good);
    assert_eq!(
        sealed.hear(&good).is_ok(),
        damaged != good,
        "it is taken once"
    );
}

fn said_again(feedback: &FeedbackReport, sealer: Option<&Sealer>) {
    assert!(feedback.viewers.len() <= MAX_VIEWER_REPORTS);
    assert!(
        feedback
            .viewers
            .iter()
            .map(|seen| seen.detections.len())
            .sum::<usize>()
            <= MAX_FEEDBACK_DETECTIONS
    );
    let mut feedback_sealer = FeedbackSealer::new(sealer.map(|_| FeedKey::new([1; 32])), [4; 16]);
    feedback_sealer.on_answer(&Answer {
        challenge: vec![3; 16],
        ..Answer::default()
    });
    let topic = feedback_sealer
        .topic(feedback.clone())
        .expect("what is in its bounds can be said");
    assert!(topic.len() <= MAX_FEEDBACK_TOPIC);
    let heard = FeedbackOpener::new(sealer, [3; 16]).hear(topic.as_bytes());
    assert_eq!(
        heard,
        Ok(FeedbackReport {
            sequence: 1,
            ..feedback.clone()
        })
    );
}

/// The guard before the ZeroMQ library says the same however the bytes are cut, and passes nothing over its bounds.
pub fn guard(bytes: &[u8]) {
    let Some((size, bytes)) = bytes.split_first() else {
        return;
    };
    let verdict = inspect(bytes, 1);
    assert_eq!(inspect(bytes, usize::from(*size).max(1)), verdict);
    assert_eq!(inspect(bytes, bytes.len().max(1)), verdict);
    if verdict.is_none() {
        assert_within_bounds(bytes.get(64..).unwrap_or_default());
    }
}

/// The first breach in a stream of which so many more bytes can be seen each time.
fn inspect(bytes: &[u8], step: usize) -> Option<Breach> {
    let mut inspector = Inspector::default();
    let (mut at, mut seen, mut parts) = (0, 0_usize, 0);
    while seen < bytes.len() {
        seen = seen.saturating_add(step).min(bytes.len());
        while let Some(unread) = bytes.get(at..seen) {
            match inspector.header(unread) {
                Ok(Some(header)) => {
                    at += header.bytes + header.body;
                    parts = match header.role {
                        Role::First => parts + 1,
                        Role::Last => 0,
                        Role::Other => parts,
                    };
                    assert!(parts < MAX_PARTS);
                }
                Ok(None) => break,
                Err(breach) => return Some(breach),
            }
        }
    }
    None
}

/// Reads frames behind a greeting in the plainest way.
fn assert_within_bounds(mut bytes: &[u8]) {
    let (mut parts, mut message) = (0, 0);
    while let [flags, rest @ ..] = bytes {
        let field = if flags & 2 == 0 { 1 } else { 8 };
        let Some((field, rest)) = rest.split_at_checked(field) else {
            return;
        };
        let length = field
            .iter()
            .fold(0, |length, byte| length << 8 | u64::from(*byte));
        if flags & 4 != 0 {
            assert!(length <= MAX_COMMAND);
        } else {
            (parts, message) = (parts + 1, message + length);
            assert!(parts <= MAX_PARTS && message <= MAX_MESSAGE);
            if flags & 1 == 0 {
                (parts, message) = (0, 0);
            }
        }
        bytes = usize::try_from(length)
            .ok()
            .and_then(|length| rest.get(length..))
            .unwrap_or_default();
    }
}
