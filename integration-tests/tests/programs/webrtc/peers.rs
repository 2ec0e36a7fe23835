//! Many WebRTC clients, hostile ones, and what the others notice of them.

use std::net::UdpSocket;
use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_tests::light_peers::{LightPeers, offer};
use fanlight_tests::promise::judge;
use fanlight_tests::seeded::Random;
use fanlight_tests::usage::threads_cpu;
use fanlight_tests::viewer_process::Report;
use fanlight_tests::wait::{SOON, until};

use super::Fixture;

/// Damaged offers, and forged requests of STUN for each.
const HOSTILE_OFFERS: u64 = 1_000;
const STUN_PER_OFFER: usize = 10;

/// A binding request with a user that nobody is (RFC 8489).
const STUN: &[u8] = b"\0\x01\0\x08\x21\x12\xa4\x42............\0\x06\0\x04a:bc";

/// Clients of whom the others must notice nothing.
const CROWD: usize = 20;

/// How long an encoder may live without a peer.
const ENCODER_LINGERS: Duration = Duration::from_secs(2);

/// What a peer may cost beside the encoder, as a part of a core.
const CORE_PER_PEER: f64 = 0.005;

/// What one of many may have fewer frames than one alone: a part of them.
const SAME_RATE: f64 = 0.93;

/// How long is measured.
const LENGTH: Duration = Duration::from_secs(8);

#[test]
fn a_thousand_hostile_offers_and_a_flood_of_stun_end_nobody() {
    let fixture = Fixture::new("");
    let host = fixture.site.0.ip();
    let peers = LightPeers::join(fixture.site, "cam", 2);
    let viewer = fixture.viewer("screen");
    peers.wait_frames(5);
    viewer.wait_shown(5);

    let good = offer(host);
    let flood = UdpSocket::bind((host, 0)).unwrap();
    let media = fixture.media();
    let mut random = Random::new(1);
    let headers = [("Content-Type", "application/sdp")];
    for _ in 0..HOSTILE_OFFERS {
        let damaged = damaged(&good, &mut random);
        let answer = fixture.site.ask("POST", "/whep/cam", &headers, &damaged);
        if answer.status == 201 {
            let session = answer.header("location").to_owned();
            let _ = fixture.site.ask("DELETE", &session, &[], "");
        }

        flood.send_to(damaged.as_bytes(), media).unwrap();
        for _ in 0..STUN_PER_OFFER {
            flood.send_to(STUN, media).unwrap();
        }
    }

    peers.wait_frames(30);
    viewer.wait_shown(30);
    assert!(fixture.relay.exits().is_empty());
    assert_eq!(fixture.clients_by("webrtc"), 2);
    assert!(fixture.relay.log().matching(0, "panicked").is_empty());
}

/// `text` with some characters changed, and perhaps cut off.
fn damaged(text: &str, random: &mut Random) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..=random.below(8) {
        let at = random.below(bytes.len());
        bytes[at] = b' ' + random.below(95) as u8;
    }
    if random.chance(0.5) {
        bytes.truncate(random.below(bytes.len()));
    }
    String::from_utf8(bytes).unwrap()
}

#[test]
#[ignore = "./dev promises"]
fn twenty_webrtc_clients_cost_little_and_viewers_over_udp_notice_nothing() {
    judge("20 WebRTC clients beside viewers over UDP", |measurement| {
        let fixture = Fixture::new("");
        let pid = fixture.relay.pid().unwrap();
        let spent = || threads_cpu(pid, |name| name == "webrtc");
        let watched = |fixture: &Fixture| {
            let (cpu, begun) = (spent(), clock::now());
            let report = fixture.udp_watched(LENGTH);
            let length = clock::now().saturating_since(begun);
            (report, (spent() - cpu).as_secs_f64() / length.as_secs_f64())
        };

        // The encoder's frames come to the thread for one peer as for twenty.
        let [alone, crowd] = [1, CROWD].map(|count| {
            let peers = LightPeers::join(fixture.site, "cam", count);
            peers.wait_frames(30);
            let frames = peers.frames();
            let (report, cpu) = watched(&fixture);
            let now = peers.frames().into_iter();
            let came = now.zip(frames).map(|(now, before)| now - before);
            (report, cpu, came.min().unwrap() as f64)
        });
        let ((before, one, rate), (beside, many, least)) = (alone, crowd);

        let each = (many - one) / (CROWD - 1) as f64;
        measurement.compare(
            "a core's share for each further WebRTC client",
            format!("<= {:.1} %", 100.0 * CORE_PER_PEER),
            format!("{:.2} %", 100.0 * each),
            format!("{:.2} % for one", 100.0 * one),
            each <= CORE_PER_PEER,
        );
        measurement.compare(
            "frames of the client that has fewest",
            format!(">= {SAME_RATE} x"),
            least.to_string(),
            rate.to_string(),
            least >= SAME_RATE * rate,
        );
        let age = |report: &Report| report.age_ms.p95.unwrap_or(f64::INFINITY);
        measurement.compare(
            "95th percentile of age over UDP",
            "+ 15 ms",
            format!("{:.1} ms", age(&beside)),
            format!("{:.1} ms", age(&before)),
            age(&beside) < age(&before) + 15.0,
        );
        let lost = |report: &Report| report.frames.lost.total;
        measurement.compare(
            "frames lost over UDP",
            "+ 2",
            lost(&beside).to_string(),
            lost(&before).to_string(),
            lost(&beside) <= lost(&before) + 2,
        );
    });
}

#[test]
#[ignore = "./dev promises"]
fn the_encoder_is_gone_two_seconds_after_the_last_client() {
    judge("the encoder after the last WebRTC client", |measurement| {
        let fixture = Fixture::new("");
        let took = (0..3).map(|_| {
            let peers = LightPeers::join(fixture.site, "cam", 2);
            peers.wait_frames(5);
            assert!(fixture.has_encoder());
            drop(peers);
            let begun = clock::now();
            until("the encoder ends", SOON, || {
                (!fixture.has_encoder()).then_some(())
            });
            clock::now().saturating_since(begun)
        });
        measurement.all_at_most("from the last DELETE", ENCODER_LINGERS, took);
    });
}
