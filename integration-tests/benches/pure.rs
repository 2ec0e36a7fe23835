//! The pure steps of a frame's way, one by one, for frames of 84 and of 250 shards: what a change of one of them does.
//!
//! `./dev bench pure [FILTER]`. Criterion compares with the run before; what one step costs beside another, in one run
//! and disturbed alike, is `./dev bench steps`.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use fanlight_proto::clock::Time;
use fanlight_proto::datagram::{DATA_BYTES, DATA_HEADER, DataHeader, SEALED_DATA_BYTES, ToViewer};
use fanlight_proto::limits::{MAX_FRAME_BYTES, SHARD_BYTES};
use fanlight_proto::message::FrameId;
use fanlight_proto::parity::{Decoder, Encoder, recovery_count};
use fanlight_proto::reassembly::Reassembly;
use fanlight_proto::seal::MediaKey;
use fanlight_proto::shard::packetize;

/// Shards of a picture of about 100 kB and of one of 300 kB.
const SHARDS: [u16; 2] = [84, 250];

/// Of so many shards one is lost where parity restores.
const LOST_OF: u16 = 20;

/// Between two frames.
const FRAME_TIME: Duration = Duration::from_millis(33);

/// Short: a step takes some microseconds, and there are fourteen of them.
const WARM_UP: Duration = Duration::from_millis(200);
/// See [`WARM_UP`].
const MEASUREMENT: Duration = Duration::from_millis(800);
/// See [`WARM_UP`].
const SAMPLES: usize = 20;

type Group<'a> = BenchmarkGroup<'a, WallTime>;

fn main() {
    let criterion = Criterion::default()
        .warm_up_time(WARM_UP)
        .measurement_time(MEASUREMENT)
        .sample_size(SAMPLES);
    let mut criterion = criterion.without_plots().configure_from_args();
    for shards in SHARDS {
        let mut group = criterion.benchmark_group(format!("{shards} shards"));
        group.throughput(Throughput::Elements(shards.into()));
        let frame = Frame::new(shards);
        frame.cut(&mut group);
        frame.encode(&mut group);
        frame.seal(&mut group);
        frame.open(&mut group);
        frame.parse(&mut group);
        frame.reassemble(&mut group);
        frame.restore(&mut group);
        group.finish();
    }

    criterion.final_summary();
}

/// A frame that all steps are about.
struct Frame {
    shards: u16,
    body: Vec<u8>,
    header: DataHeader,
    key: MediaKey,
}

impl Frame {
    fn new(shards: u16) -> Self {
        let body = (0..usize::from(shards) * SHARD_BYTES)
            .map(|at| (at * 31 % 251) as u8)
            .collect();
        let id = FrameId {
            epoch: 7,
            number: 1,
        };

        let header = DataHeader {
            alias: 1,
            id,
            sequence: 1,
            ..DataHeader::default()
        };
        Self {
            shards,
            body,
            header,
            key: MediaKey::new(1, [7; 16]),
        }
    }

    /// The header for datagrams that will be sealed.
    fn sealed_header(&self) -> DataHeader {
        DataHeader {
            key: Some(self.key.slot()),
            ..self.header
        }
    }

    /// The datagrams, without parity.
    fn packets(&self, header: DataHeader) -> Vec<u8> {
        let mut packets = Vec::new();
        packetize(header, &self.body, &mut packets);
        packets
    }

    fn cut(&self, group: &mut Group<'_>) {
        let mut packets = Vec::new();
        group.bench_function("cut", |bencher| {
            bencher.iter(|| packetize(self.header, black_box(&self.body), &mut packets));
        });
    }

    fn encode(&self, group: &mut Group<'_>) {
        let mut packets = self.packets(self.header);
        let mut encoder = Encoder::new();
        let length = packets.len();
        group.bench_function("encode parity", |bencher| {
            bencher.iter(|| {
                packets.truncate(length);
                encoder.append(&self.header, black_box(&mut packets));
            });
        });
    }

    fn seal(&self, group: &mut Group<'_>) {
        let mut packets = self.packets(self.sealed_header());
        group.bench_function("seal", |bencher| {
            bencher.iter(|| self.key.seal(black_box(&mut packets)));
        });
    }

    fn open(&self, group: &mut Group<'_>) {
        let mut packets = self.packets(self.sealed_header());
        self.key.seal(&mut packets);
        let open_all = |mut packets: Vec<u8>| {
            for datagram in packets.chunks_exact_mut(SEALED_DATA_BYTES) {
                black_box(self.key.open(datagram)).expect("it was sealed with this key");
            }

            packets
        };

        group.bench_function("open", |bencher| {
            bencher.iter_batched(|| packets.clone(), open_all, BatchSize::LargeInput);
        });
    }

    fn parse(&self, group: &mut Group<'_>) {
        let packets = self.packets(self.header);
        group.bench_function("parse", |bencher| {
            bencher.iter(|| {
                for datagram in packets.chunks_exact(DATA_BYTES) {
                    black_box(ToViewer::parse(black_box(datagram)))
                        .expect("a datagram of our own parses");
                }
            });
        });
    }

    /// Shards that have been parsed, each a frame's next.
    fn reassemble(&self, group: &mut Group<'_>) {
        let length = u32::try_from(self.body.len()).expect("MAX_FRAME_BYTES fits 32 bits");
        let parity = recovery_count(self.shards);
        let mut header = DataHeader {
            shards: self.shards,
            parity,
            length,
            ..self.header
        };

        let mut reassembly = Reassembly::new(MAX_FRAME_BYTES);
        let mut now = Time::from_nanos(1);
        group.bench_function("reassemble", |bencher| {
            bencher.iter(|| {
                header.id.number += 1;
                now = now + FRAME_TIME;
                let mut whole = None;
                for (index, shard) in (0..).zip(self.body.chunks_exact(SHARD_BYTES)) {
                    whole =
                        reassembly.on_shard(now, &DataHeader { index, ..header }, black_box(shard));
                }

                reassembly.recycle(whole.expect("all shards make a frame").body);
            });
        });
    }

    /// One shard in [`LOST_OF`] from as many of parity.
    fn restore(&self, group: &mut Group<'_>) {
        let mut packets = self.packets(self.header);
        Encoder::new().append(&self.header, &mut packets);
        let recovery = packets
            .chunks_exact(DATA_BYTES)
            .skip(self.shards.into())
            .map(|datagram| &datagram[DATA_HEADER..]);
        let recovery: Vec<(u16, &[u8])> =
            (0..self.shards.div_ceil(LOST_OF)).zip(recovery).collect();
        let mut body = self.body.clone();
        let mut decoder = Decoder::new();
        let code = (self.shards, recovery_count(self.shards));
        let there = |index: u16| !index.is_multiple_of(LOST_OF);
        group.bench_function("restore", |bencher| {
            bencher.iter(|| {
                decoder.restore(code, black_box(&mut body), there, recovery.iter().copied());
            });
        });

        assert_eq!(body, self.body, "what was lost is there again");
    }
}
