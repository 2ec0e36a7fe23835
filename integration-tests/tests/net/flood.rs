//! Promises P17 and P18: a flood of requests under borrowed names.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_proto::datagram::ToRelay;
use fanlight_proto::message::Join;
use fanlight_tests::lab::Host;
use fanlight_tests::light_viewers::{LightViewers, ViewerStats};
use fanlight_tests::long;
use fanlight_tests::promise::{Alone, Measurement};
use fanlight_tests::raw_client::join;
use fanlight_tests::seeded::{Random, seed};
use fanlight_tests::usage::MIB;
use fanlight_tests::wait::{SOON, pause};

use crate::fixture::{Fixture, USUAL};

/// Requests a second.
const RATE: u64 = 20_000;

/// They come in so many bursts a second.
const BURSTS: u64 = 200;

/// Addresses that they come from: all of [`BORROWED`].
const BORROWED: &str = "10.94.0.0/16";

/// Of a hundred frames, what valid viewers get.
const DELIVERY: f64 = 99.9;

/// Valid viewers.
const VIEWERS: usize = 5;

/// A request of the flood: mostly JOINs, half of them with a token that is made up, and some messages of no session.
fn request(random: &mut Random, out: &mut Vec<u8>) {
    match random.below(8) {
        0 => ToRelay::KeepAlive(random.number().max(1), Default::default()).encode(out),
        1..4 => ToRelay::Join(join("cam")).encode(out),
        _ => ToRelay::Join(Join {
            token: random.bytes(16).into(),
            ..join("cam")
        })
        .encode(out),
    }
}

/// Sends the flood, as fast as [`RATE`] says; how many were sent.
fn flood(fixture: &Fixture, attacker: &Host, length: Duration) -> u64 {
    let relay = fixture.address();
    let mut random = Random::new(seed(18));
    attacker.within(|| {
        let mut sent = 0;
        let mut datagram = Vec::new();
        let began = clock::now();

        loop {
            let due = (clock::now().saturating_since(began).as_secs_f64() * RATE as f64) as u64;
            for _ in 0..due.saturating_sub(sent).min(RATE / 10) {
                let [high, low, ..] = random.number().to_be_bytes();
                let socket = UdpSocket::bind((Ipv4Addr::new(10, 94, high, low), 40_000)).unwrap();
                request(&mut random, &mut datagram);
                // A full queue on the way is the flood's own affair.
                let _ = socket.send_to(&datagram, relay);
                sent += 1;
            }

            if clock::now().saturating_since(began) >= length {
                return sent;
            }

            pause(Duration::from_secs(1) / BURSTS as u32);
        }
    })
}

#[test]
#[ignore = "./dev promises"]
fn a_flood_from_65000_addresses_costs_no_memory_no_frame_and_is_not_amplified() {
    let alone = Alone::wait();
    let Some(fixture) = Fixture::open(USUAL) else {
        return;
    };

    let attacker = fixture.lab.host("attacker");
    let host = fixture.lab.host("screens");
    attacker.run(&format!("ip route add local {BORROWED} dev lo"));
    fixture.host.run(&format!(
        "ip route add {BORROWED} via {}",
        attacker.address()
    ));

    for name in ["asked", "answered"] {
        fixture.lab.counter(name);
    }

    fixture
        .lab
        .rule(&format!("ip saddr {BORROWED} counter name asked"));
    // Whoever the addresses belong to is elsewhere.
    fixture
        .lab
        .rule(&format!("ip daddr {BORROWED} counter name answered drop"));
    let light_viewers = fixture.light_viewers(&host, VIEWERS);
    light_viewers.wait_served(SOON);
    // What the relay holds when it has been at work for a while.
    pause(Duration::from_secs(1));
    let before = fixture.relay.usage().resident;
    alone.judge("P17, P18: a flood of requests", |measurement| {
        endure(&fixture, &attacker, &light_viewers, before, measurement);
    });

    assert!(
        light_viewers.seen().iter().all(|seen| seen.joins == 1),
        "{:?}",
        light_viewers.seen()
    );
}

/// Lets the flood come. Asserts what a busy machine is no excuse for; judges whether the flood was one and nobody missed a
/// frame.
#[track_caller]
fn endure(
    fixture: &Fixture,
    attacker: &Host,
    light_viewers: &LightViewers,
    before: u64,
    measurement: &mut Measurement,
) {
    light_viewers.begin();
    let length = Duration::from_secs(if long() { 60 } else { 6 });
    let rate = flood(fixture, attacker, length) as f64 / length.as_secs_f64();

    let seen = light_viewers.seen();
    let least = seen.iter().map(ViewerStats::delivery).fold(100.0, f64::min);
    let grown = fixture.relay.usage().resident.saturating_sub(before);
    let [asked, answered] = ["asked", "answered"].map(|name| fixture.lab.counted(name));
    let amplification = answered.bytes as f64 / asked.bytes as f64;
    assert!(
        answered.packets > 0 && amplification <= 1.0,
        "{asked:?} {answered:?}"
    );

    assert!(grown <= MIB, "grown by {grown} from {before}");

    let least_rate = 0.9 * RATE as f64;
    measurement.compare(
        "requests a second",
        format!(">= {least_rate}"),
        format!("{rate:.0}"),
        format!("{RATE}"),
        rate >= least_rate,
    );

    measurement.compare(
        "frames of the worst served viewer",
        format!(">= {DELIVERY} %"),
        format!("{least:.2} %"),
        "",
        least >= DELIVERY,
    );

    measurement.compare(
        "bytes back for a byte",
        "<= 1",
        format!("{amplification:.3}"),
        "",
        true,
    );

    measurement.compare(
        "the relay grows by",
        "<= 1024 KiB",
        format!("{} KiB", grown / 1024),
        "",
        true,
    );
}
