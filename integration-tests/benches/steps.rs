//! What each step of a frame's way costs, as a ratio to the least that it could cost, measured in one run.
//!
//! `./dev bench steps` prints a table and, for machines, one JSON line a row. Times are thread CPU time: medians of
//! interleaved rounds, so that a noisy machine disturbs both sides of a ratio alike. An absolute time means nothing.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanlight_proto::clock::Time;
use fanlight_proto::datagram::{
    DATA_BYTES, DATA_HEADER, DataHeader, SEALED_DATA_BYTES, ToViewer, write_checksum,
};
use fanlight_proto::handshake::{Initiator, PrivateKey, RelayAccess, ViewerAccess, answer};
use fanlight_proto::keys::FeedKey;
use fanlight_proto::limits::{MAX_FRAME_BYTES, SHARD_BYTES};
use fanlight_proto::message::{Frame, FrameBuffer, FrameId};
use fanlight_proto::parity::{Decoder, Encoder, recovery_count};
use fanlight_proto::reassembly::Reassembly;
use fanlight_proto::seal::MediaKey;
use fanlight_proto::shard::packetize;
use fanlight_proto::token::TokenKey;
use fanlight_proto::zmtp::{AcceptedSecurity, Established, Handshake, Security};
use prost::Message;

mod cell;
mod measure;
mod meter;
mod sample;
use meter::{Row, compare};
use sample::{PICTURE, header};

fn main() {
    meter::print(&[
        publish(),
        sealing_the_feed(),
        opening_the_feed(),
        cutting(),
        checking(),
        sealing(),
        opening(),
        joining(),
        reassembling(),
        protecting(),
        mending(),
    ]);
}

/// The message with the picture left where it is, against an encoding that copies it.
fn publish() -> Row {
    let jpeg = bytes::Bytes::from(vec![0x5a; PICTURE]);
    compare(
        "publish: prefix in place / prost encoding",
        // Both sides begin with a picture that has just been copied out of the driver's buffer.
        || {
            let buffer = FrameBuffer::copy_of(&jpeg);
            black_box(buffer.finish(header(1)));
        },
        || {
            let copied = bytes::Bytes::copy_from_slice(&jpeg);
            black_box(
                Frame {
                    header: Some(header(1)),
                    jpeg: copied,
                }
                .encode_to_vec(),
            );
        },
    )
}

/// Both ends of a connection that is sealed by a shared key.
fn sealed_connection() -> (Established, Established) {
    let key = FeedKey::new([7; 32]);
    let accepted = AcceptedSecurity {
        shared_key: Some(key.clone()),
        ..AcceptedSecurity::default()
    };

    let mut publisher = Handshake::publisher(Arc::new(accepted), [1; 32]);
    let mut subscriber = Handshake::subscriber(&Security::SharedKey(key), [2; 32]);
    let mut ends = (None, None);

    while ends.0.is_none() || ends.1.is_none() {
        publisher.buffer().extend_from_slice(&subscriber.output());
        ends.0 = ends.0.or(publisher.advance().expect("both have the key"));
        subscriber.buffer().extend_from_slice(&publisher.output());
        ends.1 = ends.1.or(subscriber.advance().expect("both have the key"));
    }

    ends.0.zip(ends.1).expect("both are there")
}

/// Sealing a frame for one relay, against one copy of its bytes.
fn sealing_the_feed() -> Row {
    let body = Bytes::from(vec![0x5a; PICTURE]);
    let (mut source, _) = sealed_connection();
    compare(
        "feed: seal / copy",
        || drop(black_box(source.encoder.message(b"cam/", body.clone()))),
        || drop(black_box(body.to_vec())),
    )
}

/// Opening a sealed frame and sealing it before, against two copies of its bytes.
fn opening_the_feed() -> Row {
    let body = Bytes::from(vec![0x5a; PICTURE]);
    let (mut source, mut relay) = sealed_connection();
    compare(
        "feed: seal and open / two copies",
        || {
            let sealed = source.encoder.message(b"cam/", body.clone());
            let buffer = relay.decoder.buffer();
            buffer.extend_from_slice(&sealed.prefix);
            buffer.extend_from_slice(&sealed.body);
            black_box(relay.decoder.next().expect("it opens"));
        },
        || drop(black_box((body.to_vec(), body.to_vec()))),
    )
}

/// Cutting a frame for all its viewers, against one copy of its bytes.
fn cutting() -> Row {
    let body = vec![0x5a; PICTURE];
    let mut packets = Vec::new();
    let mut copy = vec![0; PICTURE];
    compare(
        "cut: datagrams / memcpy",
        || {
            black_box(packetize(first(1), &body, &mut packets));
        },
        || copy_of(&body, &mut copy),
    )
}

/// The check sums of all datagrams of a frame, against one copy of its bytes.
fn checking() -> Row {
    let mut packets = Vec::new();
    packetize(first(0), &vec![0x5a; PICTURE], &mut packets);
    let mut copy = vec![0; packets.len()];
    let source = packets.clone();
    compare(
        "check: check sums / memcpy",
        || {
            black_box(&mut packets)
                .chunks_mut(DATA_BYTES)
                .for_each(write_checksum);
        },
        || copy_of(&source, &mut copy),
    )
}

/// Sealing all datagrams of a frame, once for all its viewers, against one copy of its bytes.
fn sealing() -> Row {
    let (key, sealed) = sealed();
    let mut packets = sealed.clone();
    let mut copy = sealed.clone();
    compare(
        "seal: AES-GCM of all datagrams / memcpy",
        || key.seal(black_box(&mut packets)),
        || copy_of(&sealed, &mut copy),
    )
}

/// Opening all datagrams of a frame at a viewer, against one copy of its bytes. What is opened is gone, so that our side
/// copies them first, as the kernel does for both.
fn opening() -> Row {
    let (key, sealed) = sealed();
    let mut packets = sealed.clone();
    let mut copy = sealed.clone();
    compare(
        "open: memcpy and AES-GCM / memcpy",
        || {
            packets.copy_from_slice(&sealed);
            for datagram in packets.chunks_mut(SEALED_DATA_BYTES) {
                black_box(key.open(datagram)).expect("it was sealed with this key");
            }
        },
        || copy_of(&sealed, &mut copy),
    )
}

/// A frame that is sealed, and its key.
fn sealed() -> (MediaKey, Vec<u8>) {
    let key = MediaKey::new(1, [7; 16]);
    let body = vec![0x5a; PICTURE];
    let shards = PICTURE.div_ceil(SHARD_BYTES) as u16;
    let first = DataHeader {
        shards,
        key: Some(key.slot()),
        length: PICTURE as u32,
        ..first(1)
    };

    let mut packets = Vec::new();
    let mut datagram = Vec::new();

    for (index, shard) in (0..).zip(body.chunks(SHARD_BYTES)) {
        ToViewer::Data(DataHeader { index, ..first }, shard).encode(&mut datagram);
        packets.extend_from_slice(&datagram);
    }

    key.seal(&mut packets);
    (key, packets)
}

/// What a relay spends on a JOIN with a key, against the token that it checks before.
fn joining() -> Row {
    let relay = PrivateKey::new([1; 32]);
    let viewer = PrivateKey::new([2; 32]);
    let access = ViewerAccess::Keys {
        own: viewer.clone(),
        relay: relay.public(),
    };

    let known = RelayAccess::Keys {
        own: relay,
        viewers: vec![(viewer.public(), "engine_harness".to_owned())],
    };

    let token_key = TokenKey::new([3; 16]);
    let now = Time::from_nanos(1 << 40);
    let address = std::net::SocketAddr::from(([192, 0, 2, 1], 5000));
    let token = token_key.mint(now, address);
    let (_, first) = Initiator::begin(&access, 1, &token, &[], [4; 32]).expect("there is a key");
    compare(
        "join: handshake with a key / token check",
        || {
            let responder =
                answer(&known, 1, &token, black_box(&first), [5; 32]).expect("the key is known");
            black_box(
                responder
                    .finish(&[0; 300])
                    .expect("an ACCEPT of 300 bytes fits"),
            );
        },
        || assert!(token_key.holds(now, black_box(address), &token)),
    )
}

/// Parsing and putting together all datagrams of a frame, against one copy of its bytes.
fn reassembling() -> Row {
    let mut packets = Vec::new();
    packetize(first(0), &vec![0x5a; PICTURE], &mut packets);
    let mut reassembly = Reassembly::new(MAX_FRAME_BYTES);
    let mut number = 0_u64;
    let mut now = Time::from_nanos(1);
    let mut copy = vec![0; packets.len()];
    let source = packets.clone();
    compare(
        "reassemble: write_checksum, parse and place / memcpy",
        || {
            number += 1;
            now = now + Duration::from_millis(33);

            for datagram in packets.chunks_mut(DATA_BYTES) {
                datagram[24..32].copy_from_slice(&number.to_be_bytes());
                write_checksum(datagram);
                let Ok(ToViewer::Data(header, shard)) = ToViewer::parse(datagram) else {
                    unreachable!("a datagram of our own parses")
                };

                if let Some(whole) = reassembly.on_shard(now, &header, shard) {
                    reassembly.recycle(black_box(whole).body);
                }
            }
        },
        || copy_of(&source, &mut copy),
    )
}

/// Making all parity of a frame, 30 %, against one copy of its bytes.
fn protecting() -> Row {
    let mut packets = Vec::new();
    let shards = packetize(first(1), &vec![0x5a; PICTURE], &mut packets);
    let mut encoder = Encoder::new();
    let mut copy = vec![0; packets.len()];
    let source = packets.clone();
    compare(
        "parity: encode / memcpy",
        || {
            packets.truncate(usize::from(shards) * DATA_BYTES);
            encoder.append(&first(1), black_box(&mut packets));
        },
        || copy_of(&source, &mut copy),
    )
}

/// Restoring every twentieth shard of a frame from its parity, against one copy of its bytes.
fn mending() -> Row {
    let mut packets = Vec::new();
    let shards = packetize(first(1), &vec![0x5a; PICTURE], &mut packets);
    Encoder::new().append(&first(1), &mut packets);
    let shard = |index: u16| &packets[usize::from(index) * DATA_BYTES..][DATA_HEADER..DATA_BYTES];
    let mut body: Vec<u8> = (0..shards).flat_map(shard).copied().collect();
    let mut decoder = Decoder::new();
    let mut copy = vec![0; body.len()];
    let source = body.clone();
    compare(
        "parity: decode, 5 % lost / memcpy",
        || {
            let recovery = (0..shards.div_ceil(20)).map(|index| (index, shard(shards + index)));
            let code = (shards, recovery_count(shards));
            decoder.restore(
                code,
                black_box(&mut body),
                |index| !index.is_multiple_of(20),
                recovery,
            );
        },
        || copy_of(&source, &mut copy),
    )
}

fn first(number: u64) -> DataHeader {
    DataHeader {
        alias: 1,
        index: 0,
        shards: 0,
        length: 0,
        id: FrameId { epoch: 7, number },
        received_us: 0,
        lost_upstream: 0,
        lost_in_relay: 0,
        sequence: 1,
        ..DataHeader::default()
    }
}

/// memcpy, which the compiler may not leave out.
fn copy_of(bytes: &[u8], copy: &mut [u8]) {
    copy.copy_from_slice(black_box(bytes));
    black_box(copy);
}
