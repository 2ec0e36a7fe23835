//! What receiving costs a viewer: its own way, trains of datagrams in batches that its engine puts in their places,
//! beside one call to the kernel for each datagram.
//!
//! `./dev bench receive [--rounds 5] [--quick]`. The relay's engine and sender feed each reader over loopback, a frame
//! at a time; only the reader's thread CPU time counts. Medians of ratios within one round.
//!
//! | method | |
//! |---|---|
//! | `viewer` | waits in the event loop, `recvmmsg` of trains (UDP_GRO), the engine; `viewer-sealed`: opens what it reads |
//! | `recv` | `recv` of each datagram, the engine; `recv-sealed` |
//! | `read-trains` | as `viewer`, but nothing is done with what is read |
//! | `read-batches` | `recvmmsg` of 32 single datagrams |
//! | `read-each` | `recv` of each datagram |
//!
//! Then, by count and not by time: what a socket loses of a frame that comes at once while nobody reads.

mod bare;
mod engine_harness;
mod measure;
mod readers;
mod sample;
mod serving;

use std::error::Error;
use std::io;
use std::net::SocketAddr;

use fanlight_proto::datagram::DATA_BYTES;
use fanlight_proto::limits::SHARD_BYTES;
use fanlight_relay::udp::{Socket, bind};
use fanlight_tests::flags::Flags;
use fanlight_viewer::udp::{self, GroBatches};
use measure::{cpu_nanos, median};
use readers::Reader;
use tokio::runtime::Runtime;

/// Thread CPU time of one cell.
const CELL_NANOS: u64 = 40_000_000;

/// The same where it only matters that it runs.
const QUICK_NANOS: u64 = 2_000_000;

const ROUNDS: usize = 5;

/// Bytes of a frame that a stalled reader is sent: a picture of 1920x1080 pixels.
const LARGE_FRAME: usize = 300_000;

/// Bytes that a socket keeps: the kernel's default, half of which is asked for because it doubles what is asked, and
/// what the viewer asks for.
const BUFFERS: [usize; 2] = [212_992 / 2, 4 << 20];

fn main() -> Result<(), Box<dyn Error>> {
    let flags = Flags::read(&["--rounds"], &[])?;
    let quick = flags.is_quick();
    let rounds = flags.number("--rounds", if quick { 1 } else { ROUNDS })?;
    let nanos = if quick { QUICK_NANOS } else { CELL_NANOS };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let bound = bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let from = bound.local_addr()?;
    let relay = runtime.block_on(async { Socket::new(bound) })?;
    let mut readers = readers::all(&runtime, &relay, from)?;
    let times = take_turns(&mut readers, rounds, nanos);

    let mut lines = print(&readers, &times);
    lines.extend(print_stalls(&runtime)?);
    lines.iter().for_each(|line| println!("{line}"));
    Ok(())
}

/// Nanoseconds for one datagram, in each round.
fn take_turns(readers: &mut [Reader<'_>], rounds: usize, nanos: u64) -> Vec<Vec<f64>> {
    let mut times = vec![Vec::new(); readers.len()];
    // The first round warms up.
    for round in 0..=rounds {
        for (reader, times) in readers.iter_mut().zip(&mut times) {
            let time = cell(reader, nanos);
            if round > 0 {
                times.push(time);
            }
        }
    }

    times
}

fn cell(reader: &mut Reader<'_>, nanos: u64) -> f64 {
    let mut spent = 0;
    let mut datagrams = 0;

    while spent < nanos {
        let sent = (reader.send)();
        let start = cpu_nanos();
        let read = (reader.read)();
        spent += cpu_nanos() - start;
        assert_eq!(
            read, sent,
            "{}: loopback loses nothing that a socket has room for",
            reader.name
        );

        datagrams += read;
    }

    spent as f64 / datagrams as f64
}

/// Prints the table; the lines of JSON that go with it.
fn print(readers: &[Reader<'_>], times: &[Vec<f64>]) -> Vec<String> {
    let times_of = |name| {
        readers
            .iter()
            .zip(times)
            .find(|(reader, _)| reader.name == name)
            .map(|(_, times)| times)
    };

    println!("{:<16} {:>14} {:>8} of", "reader", "ns a datagram", "ratio");
    let mut lines = Vec::new();

    for (reader, times) in readers.iter().zip(times) {
        let against =
            times_of(reader.against).expect("every reader is compared with one that is there");
        let ratio = median(
            times
                .iter()
                .zip(against)
                .map(|(ours, theirs)| ours / theirs)
                .collect(),
        );

        let ratio = ratio.expect("there are rounds");
        let nanos = median(times.clone()).expect("there are rounds");
        println!(
            "{:<16} {nanos:>14.0} {ratio:>8.2} {}",
            reader.name, reader.against
        );

        lines.push(format!(
            r#"{{"bench":"receive","rig":"loopback","method":"{}","against":"{}","ratio":{ratio:.3},"ns_per_datagram":{nanos:.1}}}"#,
            reader.name, reader.against
        ));
    }

    lines
}

/// Sends a large frame to a viewer's socket at once, and counts what is there when somebody reads at last. The lines of
/// JSON that go with what is printed.
fn print_stalls(runtime: &Runtime) -> io::Result<Vec<String>> {
    let mut lines = Vec::new();
    let _inside = runtime.enter();
    let count = LARGE_FRAME.div_ceil(SHARD_BYTES);
    println!("\na frame of {} kB while nobody reads", LARGE_FRAME / 1000);

    for asked in BUFFERS {
        let sender = std::net::UdpSocket::bind("127.0.0.1:0")?;
        let receiver = udp::Socket::connect(sender.local_addr()?, asked, None)?;
        let to = receiver.local_addr()?;

        for _ in 0..count {
            sender.send_to(&[0; DATA_BYTES], to)?;
        }

        let mut held = 0;
        readers::drain(runtime, &receiver, &mut GroBatches::default(), |_| {
            held += 1;
        });

        println!(
            "asked for {asked:>8} bytes: lost {:>3} of {count} datagrams",
            count - held
        );

        lines.push(format!(
            r#"{{"bench":"receive","rig":"loopback","method":"stall","receive_buffer":{asked},"datagrams":{count},"lost":{}}}"#,
            count - held
        ));
    }

    Ok(lines)
}
