//! How soon a WebRTC client has its first picture, and where the time goes.

use std::time::Duration;

use fanlight_tests::TestEnv;
use fanlight_tests::jpeg::with_noise;
use fanlight_tests::light_peers::{FirstFrame, LightPeers, first_frame};
use fanlight_tests::promise::judge;
use fanlight_tests::wait::{SOON, until};

use super::Fixture;

/// Longest from the offer to a whole picture.
const BOUND: Duration = Duration::from_millis(300);

/// Clients, one after the other.
const CLIENTS: usize = 20;

/// A camera with pictures of 1280x720 pixels and 107 kB each.
fn noisy() -> Fixture {
    let env = TestEnv::new();
    let folder = env.path("pictures");
    std::fs::create_dir(&folder).unwrap();
    for number in 0..2 {
        let jpeg = with_noise(number, 1280, 720, 20);
        std::fs::write(folder.join(format!("{number}.jpg")), jpeg).unwrap();
    }

    let source = env
        .source("cam")
        .flags("--input files --rate 30")
        .flag("path", folder);
    Fixture::with(env, source, "")
}

/// Clients that each come when nobody else watches, so that there is no encoder, or beside one who watches.
fn firsts(fixture: &Fixture, beside: bool) -> Vec<FirstFrame> {
    let watching = beside.then(|| LightPeers::join(fixture.site, "cam", 1));
    if let Some(watching) = &watching {
        watching.wait_frames(30);
    }

    let join = |_| {
        until("there is an encoder, or none", SOON, || {
            (fixture.has_encoder() == beside).then_some(())
        });
        first_frame(fixture.site, "cam")
    };
    (0..CLIENTS).map(join).collect()
}

/// So many of a hundred took at most this long.
fn percentile(times: impl Iterator<Item = Duration>, percent: usize) -> Duration {
    let mut times: Vec<_> = times.collect();
    times.sort_unstable();
    times[(times.len() * percent).div_ceil(100) - 1]
}

#[test]
#[ignore = "./dev promises"]
fn the_first_picture_of_webrtc_comes_within_300_ms() {
    judge("the first picture of WebRTC", |measurement| {
        for (camera, fixture) in [("640x480", Fixture::new("")), ("1280x720", noisy())] {
            for (who, beside) in [("first client", false), ("further client", true)] {
                let firsts = firsts(&fixture, beside);
                let median =
                    |of: fn(&FirstFrame) -> Duration| percentile(firsts.iter().map(of), 50);
                let what = format!(
                    "{camera}, {who}: p95 of {CLIENTS} (medians: answered {:.1?}, connected {:.1?}, first packet {:.1?}, picture {:.1?})",
                    median(|first| first.answered),
                    median(|first| first.connected),
                    median(|first| first.packet),
                    median(|first| first.frame),
                );
                let frames = firsts.iter().map(|first| first.frame);
                measurement.at_most(what, BOUND, percentile(frames, 95));
            }
        }
    });
}
