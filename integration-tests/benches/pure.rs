//! The pure steps of a frame's way, one by one, for frames of 84 and of 250 shards: what a change of one of them does.
//!
//! `./dev bench pure [FILTER]`. Each step is shown beside the same step in the run before; what one step costs beside
//! another, in one run and disturbed alike, is `./dev bench steps`.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::PathBuf;
use std::time::Duration;

use fanlight_daemon::clock;
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

/// A step is measured for so long; most take some microseconds.
const MEASUREMENT: Duration = Duration::from_millis(800);

/// Times at which the clock is read during [`MEASUREMENT`].
const SAMPLES: u32 = 40;

fn main() {
    let mut group = Group::new();
    for shards in SHARDS {
        group.shards = shards;
        let frame = Frame::new(shards);
        frame.cut(&mut group);
        frame.encode(&mut group);
        frame.seal(&mut group);
        frame.open(&mut group);
        frame.parse(&mut group);
        frame.reassemble(&mut group);
        frame.restore(&mut group);
    }

    group.finish();
}

/// Measures steps, and keeps what they cost for the next run.
struct Group {
    shards: u16,
    filter: String,
    /// Nanoseconds of each step: of the run before, updated by this one.
    costs: BTreeMap<String, f64>,
}

impl Group {
    fn new() -> Self {
        let former = std::fs::read(Self::file()).unwrap_or_default();
        let words = std::env::args().skip(1);
        Self {
            shards: 0,
            filter: words.filter(|word| word != "--bench").collect(),
            costs: serde_json::from_slice(&former).unwrap_or_default(),
        }
    }

    fn file() -> PathBuf {
        PathBuf::from(concat!(env!("CARGO_TARGET_TMPDIR"), "/pure.json"))
    }

    /// Measures `step`; prints the median of its samples and the change since the run before.
    fn bench(&mut self, name: &str, mut step: impl FnMut()) {
        self.bench_with(name, || (), |()| step());
    }

    /// As [`Self::bench`], with something that `prepare` makes for each turn and whose time does not count.
    fn bench_with<T>(
        &mut self,
        name: &str,
        mut prepare: impl FnMut() -> T,
        mut step: impl FnMut(T),
    ) {
        let name = format!("{} shards, {name}", self.shards);
        if !name.contains(&self.filter) {
            return;
        }

        let mut turns = 1;
        let mut samples = Vec::new();

        while samples.len() < SAMPLES as usize {
            let inputs: Vec<T> = (0..turns).map(|_| prepare()).collect();
            let began = clock::now();
            inputs.into_iter().for_each(&mut step);
            let took = clock::now().saturating_since(began);

            if took < MEASUREMENT / SAMPLES / 2 && turns < 1 << 12 {
                // Still warming up.
                turns *= 2;
            } else {
                samples.push(took.as_secs_f64() * 1e9 / f64::from(turns));
            }
        }

        samples.sort_by(f64::total_cmp);
        let median = samples[samples.len() / 2];
        let a_shard = median / f64::from(self.shards);
        let change = self.costs.insert(name.clone(), median);
        let change = change.map_or_else(String::new, |former| {
            format!(
                "{:+.1} % since the run before",
                (median / former - 1.0) * 100.0
            )
        });

        println!(
            "{name:28}{:10.2} us{a_shard:9.1} ns a shard   {change}",
            median / 1e3
        );
    }

    fn finish(self) {
        let costs = serde_json::to_vec(&self.costs).expect("a map of numbers is JSON");
        if let Err(error) = std::fs::write(Self::file(), costs) {
            eprintln!("what the steps cost cannot be kept for the next run: {error}");
        }
    }
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

    fn cut(&self, group: &mut Group) {
        let mut packets = Vec::new();
        group.bench("cut", || {
            packetize(self.header, black_box(&self.body), &mut packets);
        });
    }

    fn encode(&self, group: &mut Group) {
        let (mut packets, mut encoder) = (self.packets(self.header), Encoder::new());
        let length = packets.len();
        group.bench("encode parity", || {
            packets.truncate(length);
            encoder.append(&self.header, black_box(&mut packets));
        });
    }

    fn seal(&self, group: &mut Group) {
        let mut packets = self.packets(self.sealed_header());
        group.bench("seal", || self.key.seal(black_box(&mut packets)));
    }

    fn open(&self, group: &mut Group) {
        let mut packets = self.packets(self.sealed_header());
        self.key.seal(&mut packets);
        let open_all = |mut packets: Vec<u8>| {
            for datagram in packets.chunks_exact_mut(SEALED_DATA_BYTES) {
                black_box(self.key.open(datagram)).expect("it was sealed with this key");
            }
        };

        group.bench_with("open", || packets.clone(), open_all);
    }

    fn parse(&self, group: &mut Group) {
        let packets = self.packets(self.header);
        group.bench("parse", || {
            for datagram in packets.chunks_exact(DATA_BYTES) {
                black_box(ToViewer::parse(black_box(datagram)))
                    .expect("a datagram of our own parses");
            }
        });
    }

    /// Shards that have been parsed, each a frame's next.
    fn reassemble(&self, group: &mut Group) {
        let length = u32::try_from(self.body.len()).expect("MAX_FRAME_BYTES fits 32 bits");
        let parity = recovery_count(self.shards);
        let mut header = DataHeader {
            shards: self.shards,
            parity,
            length,
            ..self.header
        };

        let (mut reassembly, mut now) = (Reassembly::new(MAX_FRAME_BYTES), Time::from_nanos(1));
        group.bench("reassemble", || {
            header.id.number += 1;
            now = now + FRAME_TIME;
            let mut whole = None;
            for (index, shard) in (0..).zip(self.body.chunks_exact(SHARD_BYTES)) {
                whole = reassembly.on_shard(now, &DataHeader { index, ..header }, black_box(shard));
            }
            reassembly.recycle(whole.expect("all shards make a frame").body);
        });
    }

    /// One shard in [`LOST_OF`] from as many of parity.
    fn restore(&self, group: &mut Group) {
        let mut packets = self.packets(self.header);
        Encoder::new().append(&self.header, &mut packets);
        let recovery = packets
            .chunks_exact(DATA_BYTES)
            .skip(self.shards.into())
            .map(|datagram| &datagram[DATA_HEADER..]);

        let recovery: Vec<(u16, &[u8])> =
            (0..self.shards.div_ceil(LOST_OF)).zip(recovery).collect();
        let (mut body, mut decoder) = (self.body.clone(), Decoder::new());
        let code = (self.shards, recovery_count(self.shards));
        let there = |index: u16| !index.is_multiple_of(LOST_OF);
        group.bench("restore", || {
            decoder.restore(code, black_box(&mut body), there, recovery.iter().copied());
        });
        assert_eq!(body, self.body, "what was lost is there again");
    }
}
