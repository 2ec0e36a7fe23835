//! What each step of a frame's way costs, as a ratio to the least that it could cost, measured in one run.
//!
//! `./dev bench steps` prints a table and, for machines, one JSON line a row. Times are thread CPU time: medians of
//! interleaved rounds, so that a noisy machine disturbs both sides of a ratio alike. An absolute time means nothing.

use std::hint::black_box;
use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::datagram::{DATA_BYTES, DataHeader, ToViewer, stamp};
use fanlight_proto::limits::MAX_FRAME_BYTES;
use fanlight_proto::message::{Frame, FrameBuffer, FrameId};
use fanlight_proto::reassembly::Reassembly;
use fanlight_proto::shard::cut;
use prost::Message;

mod meter;
mod sample;
use meter::{Row, compare};
use sample::{PICTURE, header};

fn main() {
    meter::print(&[publish(), cutting(), checking(), reassembling()]);
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
            black_box(Frame { header: Some(header(1)), jpeg: copied }.encode_to_vec());
        },
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
            black_box(cut(first(1), &body, &mut packets));
        },
        || copy.copy_from_slice(black_box(&body)),
    )
}

/// The check sums of all datagrams of a frame, against one copy of its bytes.
fn checking() -> Row {
    let mut packets = Vec::new();
    cut(first(0), &vec![0x5a; PICTURE], &mut packets);
    let mut copy = vec![0; packets.len()];
    let source = packets.clone();
    compare(
        "check: check sums / memcpy",
        || black_box(&mut packets).chunks_mut(DATA_BYTES).for_each(stamp),
        || copy.copy_from_slice(black_box(&source)),
    )
}

/// Parsing and putting together all datagrams of a frame, against one copy of its bytes.
fn reassembling() -> Row {
    let mut packets = Vec::new();
    cut(first(0), &vec![0x5a; PICTURE], &mut packets);
    let mut reassembly = Reassembly::new(MAX_FRAME_BYTES);
    let (mut number, mut now) = (0_u64, Time::from_nanos(1));
    let mut copy = vec![0; packets.len()];
    let source = packets.clone();
    compare(
        "reassemble: stamp, parse and place / memcpy",
        || {
            number += 1;
            now = now + Duration::from_millis(33);
            for datagram in packets.chunks_mut(DATA_BYTES) {
                datagram[24..32].copy_from_slice(&number.to_be_bytes());
                stamp(datagram);
                let Ok(ToViewer::Data(header, shard)) = ToViewer::parse(datagram) else {
                    unreachable!("a datagram of our own parses")
                };
                if let Some(whole) = reassembly.on_shard(now, &header, shard) {
                    reassembly.recycle(black_box(whole).body);
                }
            }
        },
        || copy.copy_from_slice(black_box(&source)),
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
