//! Viewers over UDP beside clients of WebRTC and RTSP.

use std::time::Duration;

use fanlight_tests::light_peers::LightPeers;
use fanlight_tests::light_players::LightPlayers;
use fanlight_tests::promise::Alone;
use fanlight_tests::viewer_process::Report;

use super::{Fixture, TestEnv};

/// Clients of each kind.
const CLIENTS: usize = 20;

/// How long is watched, each time.
const LENGTH: Duration = Duration::from_secs(8);

/// By how much a viewer's pictures may be older, in milliseconds: half of them, and 95 of 100. The clients of the test take
/// most of what the machine has.
const OLDER: [f64; 2] = [5.0, 15.0];

/// A part of the pictures that a client must have to count as one. Encoders give way to the fan-out where a machine is busy.
const SERVED: [(&str, f64); 2] = [("WebRTC", 0.2), ("RTSP", 0.93)];

/// Frames that it may lose more.
const LOST: u64 = 2;

#[test]
#[ignore = "./dev promises"]
fn viewers_over_udp_notice_nothing_of_twenty_webrtc_and_twenty_rtsp_clients() {
    // The clients need what the machine has.
    Alone::wait().judge(
        "P38: viewers over UDP beside 20 WebRTC and 20 RTSP clients",
        |measurement| {
            let env = TestEnv::new();
            let host = env.relay_address(0).ip();
            let fixture = Fixture::of(env, &format!("--rtsp {host}:0"));
            let line = fixture.relay.wait_for_line(" rtsp=").text;
            let rtsp = line
                .split_once(" rtsp=")
                .unwrap()
                .1
                .split(' ')
                .next()
                .unwrap();

            let before = fixture.udp_watched(LENGTH);
            let peers = LightPeers::join(fixture.site, "cam", CLIENTS);
            let players = LightPlayers::play(rtsp.parse().unwrap(), "cam", CLIENTS);
            peers.wait_frames(30);
            players.wait_pictures(30);
            let pictures = || [peers.frames(), players.pictures()];
            let counted = pictures();
            let beside = fixture.udp_watched(LENGTH);
            for ((what, part), (now, before)) in SERVED.iter().zip(pictures().iter().zip(&counted))
            {
                let came = now.iter().zip(before).map(|(now, before)| now - before);
                let (least, frames) = (came.min().unwrap(), beside.frames.shown);
                measurement.compare(
                    format!("pictures of the {what} client that has fewest"),
                    format!(">= {part} x"),
                    least.to_string(),
                    format!("{frames} over UDP"),
                    least as f64 >= part * frames as f64,
                );
            }
            drop((peers, players));
            let after = fixture.udp_watched(LENGTH);

            let ages = |report: &Report| {
                [report.age_ms.p50, report.age_ms.p95].map(|age| age.unwrap_or(f64::INFINITY))
            };
            let (seen, alone) = (ages(&beside), [ages(&before), ages(&after)]);
            for (at, what) in ["median of age over UDP", "95th percentile of age over UDP"]
                .iter()
                .enumerate()
            {
                let control = alone[0][at].max(alone[1][at]);
                measurement.compare(
                    *what,
                    format!("+ {} ms", OLDER[at]),
                    format!("{:.1} ms", seen[at]),
                    format!("{:.1} and {:.1} ms", alone[0][at], alone[1][at]),
                    seen[at] <= control + OLDER[at],
                );
            }
            let lost = |report: &Report| report.frames.lost.total;
            let control = lost(&before).max(lost(&after));
            measurement.compare(
                "frames lost over UDP",
                format!("+ {LOST}"),
                lost(&beside).to_string(),
                format!("{} and {}", lost(&before), lost(&after)),
                lost(&beside) <= control + LOST,
            );
        },
    );
}
