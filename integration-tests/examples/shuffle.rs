//! One picture in datagrams, shuffled, some of them lost, and put together again by the viewer's own code:
//!
//! ```sh
//! cargo run -p fanlight-tests --example shuffle -- IN.jpg OUT.jpg [LOST_PERCENT]
//! ```
//!
//! OUT is written only when it can be put together. What is lost, parity restores as far as there is enough of it: as many
//! datagrams of parity as were lost of the picture. The shuffle is another each time; FANLIGHT_TEST_SEED makes it the same.

use std::error::Error;
use std::process::ExitCode;

use fanlight_daemon::clock;
use fanlight_proto::datagram::{DATA_BYTES, DATA_HEADER, DataHeader};
use fanlight_proto::limits::MAX_FRAME_BYTES;
use fanlight_proto::message::FrameId;
use fanlight_proto::parity::{Encoder, recovery_count};
use fanlight_proto::reassembly::Reassembly;
use fanlight_proto::shard::packetize;
use fanlight_tests::seeded::{Random, seed};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let done = match &words[..] {
        [from, to] => shuffle(from, to, 0.0),
        [from, to, lost] => match lost.parse() {
            Ok(percent @ 0.0..=100.0) => shuffle(from, to, percent),
            _ => Err(format!("LOST_PERCENT is {lost:?}; it must be 0 to 100").into()),
        },
        _ => Err("takes IN.jpg OUT.jpg [LOST_PERCENT]".into()),
    };

    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shuffle: {error}");
            ExitCode::FAILURE
        }
    }
}

fn shuffle(from: &str, to: &str, lost_percent: f64) -> Result<(), Box<dyn Error>> {
    let picture = std::fs::read(from).map_err(|error| format!("{from}: {error}"))?;
    if !(1..=MAX_FRAME_BYTES).contains(&picture.len()) {
        return Err(format!(
            "{from} has {} bytes; 1 to {MAX_FRAME_BYTES} fit",
            picture.len()
        )
        .into());
    }

    let first = DataHeader {
        id: FrameId {
            epoch: 1,
            number: 1,
        },
        sequence: 1,
        ..DataHeader::default()
    };

    let mut packets = Vec::new();
    let shards = packetize(first, &picture, &mut packets);
    let parity = recovery_count(shards);
    Encoder::new().append(&first, &mut packets);
    println!(
        "{} bytes: {shards} datagrams of {DATA_BYTES} bytes, and {parity} of parity",
        picture.len()
    );

    let mut random = Random::new(seed(clock::now().as_nanos()));
    let mut datagrams: Vec<&[u8]> = packets.chunks(DATA_BYTES).collect();
    mix(&mut datagrams, &mut random);
    datagrams.retain(|_| !random.chance(lost_percent / 100.0));

    let mut reassembly = Reassembly::new(MAX_FRAME_BYTES);
    for (at, datagram) in datagrams.iter().enumerate() {
        let header = DataHeader::of_media(datagram).ok_or("a datagram that is not of media")??;
        let shard = &datagram[DATA_HEADER..];
        if let Some(whole) = reassembly.on_shard(clock::now(), &header, shard) {
            std::fs::write(to, &whole.body).map_err(|error| format!("{to}: {error}"))?;
            let same = if whole.body == picture {
                "the same"
            } else {
                "not the same"
            };
            println!(
                "whole after {} of {} that came, {} restored by parity: {same} bytes, in {to}",
                at + 1,
                datagrams.len(),
                reassembly.counts().recovered
            );
            return Ok(());
        }
    }

    Err(format!(
        "{} of {} datagrams came, in whatever order: too few for the picture",
        datagrams.len(),
        shards + parity
    )
    .into())
}

/// Fisher and Yates' shuffle.
fn mix(datagrams: &mut [&[u8]], random: &mut Random) {
    for at in (1..datagrams.len()).rev() {
        datagrams.swap(at, random.below(at + 1));
    }
}
