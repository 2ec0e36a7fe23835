//! What the fuzz targets do with their bytes. `tests/corpus.rs` runs the same on the corpus.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanlight_proto::clock::Time;
use fanlight_proto::datagram::{
    DATA_BYTES, DATA_HEADER, DataHeader, SEALED_DATA_BYTES, ToRelay, ToViewer, write_checksum,
};
use fanlight_proto::feed::{
    ANSWER_TOPIC, FromRelay, MAX_CONTROLS_SET, MAX_FEEDBACK_DETECTIONS, MAX_REFUSED_STREAMS,
    MAX_VERDICTS, MAX_VIEWER_REPORTS, encode_controls, encode_feedback, encode_refused,
    parse_answer, parse_to_source,
};
use fanlight_proto::handshake::{
    Initiator, MAX_PAYLOAD, PrivateKey, RelayAccess, SharedKey, ViewerAccess, answer,
};
use fanlight_proto::keys::FeedKey;
use fanlight_proto::limits::{MAX_DATAGRAM, MAX_FRAME_BYTES, MAX_OPEN_FRAMES, SHARD_BYTES};
use fanlight_proto::message::{FrameId, parse_frame};
use fanlight_proto::parity::{Encoder, recovery_count};
use fanlight_proto::reassembly::Reassembly;
use fanlight_proto::seal::MediaKey;
use fanlight_proto::shard::packetize;
use fanlight_proto::zmtp::{
    AcceptedSecurity, Event, Handshake, MAX_MESSAGE, MAX_TOPIC, MAX_UPSTREAM, ProtocolError, Role,
    Security,
};

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
        Initiator::begin(viewer, 1, &[2; 16], &[], [4; 32]).expect("there is a key");
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
        Initiator::begin(viewer, 1, &[2; 16], &[], [4; 32]).expect("there is a key");
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
    let mut epoch = 0;

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

        // Either may have been forged: this one may be left for it, and begin anew with an older frame.
        if first.id.epoch != epoch {
            epoch = 0;
        }

        let contradicts = step[2] & 0x20 != 0;
        let packets = frames
            .entry((first.id, first.length))
            .or_insert_with(|| packets_of(first));
        let datagram = shard_of(packets, first, u16::from(step[5]), contradicts);
        let Ok(ToViewer::Data(header, shard)) = ToViewer::parse(&datagram) else {
            panic!("a good header is taken")
        };

        if step[5] & 1 == 0 {
            reassembly.on_newest(now, header.id, Some(1 + u64::from(step[5] >> 6)));
        }

        let Some(whole) = reassembly.on_shard(now, &header, shard) else {
            continue;
        };

        if epoch != whole.id.epoch {
            epoch = whole.id.epoch;
            out.insert(epoch, whole.id.number);
        }

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

/// What a peer says in the clear: both ends say the same of it however its bytes are cut, never hold more than they may,
/// and the events are those of the simplest reading.
pub fn zmtp(bytes: &[u8]) {
    let Some((step, bytes)) = bytes.split_first() else {
        return;
    };

    for role in [Role::Publisher, Role::Subscriber] {
        let whole = events(role, bytes, bytes.len().max(1));
        assert_eq!(events(role, bytes, 1), whole);
        assert_eq!(events(role, bytes, usize::from(*step).max(1)), whole);
        for event in &whole.0 {
            assert_within_bounds(role, event);
        }
    }
}

/// The events in `bytes` that come `step` at a time, and what ends them.
fn events(role: Role, bytes: &[u8], step: usize) -> (Vec<Event>, Option<ProtocolError>) {
    let mut handshake = match role {
        Role::Publisher => Handshake::publisher(Arc::new(AcceptedSecurity::null()), [1; 32]),
        Role::Subscriber => Handshake::subscriber(&Security::Null, [1; 32]),
    };

    let mut decoder = None;
    let mut events = Vec::new();

    for chunk in bytes.chunks(step) {
        if decoder.is_none() {
            handshake.buffer().extend_from_slice(chunk);
            match handshake.advance() {
                Ok(established) => decoder = established.map(|established| established.decoder),
                Err(error) => return (events, Some(error)),
            }
        } else if let Some(decoder) = &mut decoder {
            decoder.buffer().extend_from_slice(chunk);
        }

        let Some(decoder) = &mut decoder else {
            continue;
        };

        loop {
            match decoder.next() {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(error) => return (events, Some(error)),
            }
        }

        let buffer = decoder.buffer();
        assert!(
            buffer.capacity() <= 3 * (bytes.len() + (64 << 10)),
            "nothing from a claimed length"
        );
    }

    (events, None)
}

fn assert_within_bounds(role: Role, event: &Event) {
    match event {
        Event::Subscribe(topic) | Event::Cancel(topic) => {
            assert!(role == Role::Publisher && topic.len() <= MAX_TOPIC);
        }
        Event::Upstream(message) => {
            assert!(role == Role::Publisher && message.len() < MAX_UPSTREAM);
            upstream(message);
        }
        Event::Message { topic, body } => {
            assert!(role == Role::Subscriber && topic.len() + body.len() <= MAX_MESSAGE);
        }
        Event::Ping(context) => assert!(context.len() <= 16),
    }
}

/// A sealed connection takes nothing but what its other end has sealed, in order, whatever is changed on the way.
pub fn noise(bytes: &[u8]) {
    let key = FeedKey::new([1; 32]);
    let accepted = AcceptedSecurity {
        shared_key: Some(key.clone()),
        ..AcceptedSecurity::default()
    };

    let mut publisher = Handshake::publisher(Arc::new(accepted), [2; 32]);
    let mut subscriber = Handshake::subscriber(&Security::SharedKey(key), [3; 32]);
    let mut ends = (None, None);

    for _ in 0..4 {
        ends.0 = ends.0.or(publisher.advance().expect("both have the key"));
        subscriber.buffer().extend_from_slice(&publisher.output());
        ends.1 = ends.1.or(subscriber.advance().expect("both have the key"));
        let said = subscriber.output();
        if ends.0.is_none() {
            publisher.buffer().extend_from_slice(&said);
        }
    }

    let (Some(mut publisher), Some(mut subscriber)) = ends else {
        panic!("the handshake is over after two rounds");
    };

    let sealed = publisher
        .encoder
        .message(b"cam/", Bytes::copy_from_slice(bytes));
    let good = [sealed.prefix, sealed.body].concat();
    let mut damaged = good.clone();

    for pair in bytes.chunks_exact(2) {
        let place = usize::from(pair[0]) % damaged.len();
        damaged[place] ^= pair[1];
    }

    subscriber.decoder.buffer().extend_from_slice(&damaged);
    match subscriber.decoder.next() {
        Ok(Some(Event::Message { topic, body })) => {
            assert_eq!((&topic[..], &body[..]), (&b"cam/"[..], bytes));
            assert_eq!(damaged, good);
        }
        Ok(Some(event)) => panic!("nobody has said {event:?}"),
        Ok(None) | Err(_) => assert_ne!(damaged, good),
    }
}

/// A user message of a subscriber: what is taken obeys every bound, and is said again in the same way.
pub fn upstream(bytes: &[u8]) {
    if let Some(answer) = parse_answer(ANSWER_TOPIC, bytes) {
        assert!(answer.status.is_empty() && answer.verdicts.len() <= MAX_VERDICTS);
    }

    let report = match parse_to_source(bytes) {
        Ok(FromRelay::Feedback(report)) => report,
        Ok(FromRelay::Refused(refused)) => {
            assert!(refused.streams.len() <= MAX_REFUSED_STREAMS);
            let again = parse_to_source(&encode_refused(refused.clone()));
            return assert_eq!(again, Ok(FromRelay::Refused(refused)));
        }
        Ok(FromRelay::Controls(request)) => {
            assert!(request.set.len() <= MAX_CONTROLS_SET);
            let again = parse_to_source(&encode_controls(request.clone()));
            return assert_eq!(again, Ok(FromRelay::Controls(request)));
        }
        Ok(FromRelay::ClockProbe(_)) | Err(_) => return,
    };

    assert!(report.viewers.len() <= MAX_VIEWER_REPORTS);
    let detections = report.viewers.iter().map(|viewer| viewer.detections.len());
    assert!(detections.sum::<usize>() <= MAX_FEEDBACK_DETECTIONS);
    let again = parse_to_source(&encode_feedback(report.clone()));
    assert_eq!(again, Ok(FromRelay::Feedback(report)));
}
