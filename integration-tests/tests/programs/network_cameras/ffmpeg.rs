//! What ffmpeg opens for a source: cameras that speak RTSP, real servers all of them, and what is told where ffmpeg is missing.

use std::fs;
use std::process::Command;
use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_proto::clock::Time;
use fanlight_tests::program::Program;
use fanlight_tests::promise::judge;
use fanlight_tests::wait::SOON;
use fanlight_tests::{TestEnv, jpeg, npm, python, skip};

use crate::camera::subscriber::{Arrival, Subscriber};

use super::{Chain, password_file};

/// The interpreter of Debian's python3-gi.
const DEBIAN_PYTHON: &str = "/usr/bin/python3";

/// What the camera needs.
const SERVER: &str = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer";

/// The port of the camera.
pub(super) const PORT: u16 = 8554;

pub(super) fn has_ffmpeg() -> bool {
    let runs = |program: &str| Command::new(program).arg("-version").output().is_ok();
    if !runs("ffmpeg") || !runs("ffprobe") {
        skip("ffmpeg is not installed");
        return false;
    }
    true
}

/// A camera made of GStreamer.
pub(super) fn camera(env: &TestEnv, coding: &str, password: &str) -> Option<Program> {
    if let Err(missing) = npm::runs(DEBIAN_PYTHON, &["-c", SERVER]) {
        skip(&format!(
            "no RTSP server of GStreamer for Python: {missing}"
        ));
        return None;
    }

    let script = python::script("rtsp_camera.py").display().to_string();
    let address = env.http_address(0).ip();
    let camera = env
        .launch("camera", DEBIAN_PYTHON.into())
        .flags(&format!("{script} {address} {PORT} {coding}"))
        .env("PASSWORD", password)
        .start();
    camera.wait_for_line("ready");
    Some(camera)
}

/// The words of all commands of this host.
fn commands() -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let words = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    words
        .map(|words| String::from_utf8_lossy(&words).into_owned())
        .collect()
}

#[test]
fn a_camera_that_speaks_rtsp_is_shown_and_its_password_is_in_no_list_of_processes() {
    let env = TestEnv::new();
    // No test beside this one has the same word in a command.
    let first = "spoken-geheim/'%";
    let (true, Some(server)) = (has_ffmpeg(), camera(&env, "vp8", first)) else {
        return;
    };

    let file = password_file(&env, first).display().to_string();
    let url = format!("rtsp://admin@{}:{PORT}/cam", env.http_address(0).ip());
    let chain = Chain::of(env, &url, &format!("--input-password {file}"));
    chain.viewer.wait_shown(5);
    chain.source.wait_for_line("sends_jpegs=false");
    let commands = commands();
    assert!(commands.iter().any(|words| words.starts_with("ffmpeg")));
    let tell = |secret| commands.iter().any(|words: &String| words.contains(secret));
    assert!(!tell("spoken-geheim"));

    let marks = chain.marks();
    server.kill();
    chain.says_from(marks, "cannot be reached: nobody listens there");

    let marks = chain.marks();
    let server = camera(&chain.env, "jpeg", "second-geheim");
    chain.says_from(marks, "refuses the password");

    let now = clock::now();
    password_file(&chain.env, "second-geheim");
    chain.viewer.wait_shown_after(now, SOON);
    chain.source.wait_for_line("sends_jpegs=true");
    drop(server);
    chain.never_says("geheim");
}

#[test]
fn the_rtsp_of_a_relay_is_a_camera() {
    let env = TestEnv::new();
    if !has_ffmpeg() {
        return;
    }

    let ball = env.source("ball").flags("--input ball --size 320x240");
    let _ball = ball.ready();
    let address = format!("{}:{PORT}", env.relay_address(5).ip());
    let far = env.relay(5, &[env.ipc("ball")]).flag("rtsp", &address);
    let far = far.ready();
    far.wait_for_line("live stream=ball");

    let chain = Chain::of(env, &format!("rtsp://{address}/ball"), "");
    chain.viewer.wait_shown(10);
    chain.source.wait_for_line("sends_jpegs=true");

    let there_is_none = format!("rtsp://{address}/none");
    let source = chain.env.source("none").flag("input", there_is_none);
    source
        .ready()
        .wait_for_line("the camera has nothing there (404)");
}

#[test]
fn without_ffmpeg_the_package_to_install_is_named() {
    let env = TestEnv::new();
    for (number, input) in ["rtsp://127.0.0.1:1/", "screen"].into_iter().enumerate() {
        let source = env.source(&format!("cam{number}")).flag("input", input);
        let source = source.env("PATH", env.directory()).env("DISPLAY", ":0");
        source.ready().wait_for_line("apt install ffmpeg");
    }
}

#[test]
#[ignore = "./dev promises"]
fn an_rtsp_camera_is_back_within_two_seconds_of_its_return_or_of_a_key_frame() {
    judge("an RTSP camera returns", |measurement| {
        // In VP8 a key frame comes each second, and ffmpeg may have just missed one.
        for (coding, bound) in [("jpeg", 2), ("vp8", 3)] {
            let env = TestEnv::new();
            let large = format!("{coding} 1280 720");
            let (true, Some(server)) = (has_ffmpeg(), camera(&env, &large, "geheim")) else {
                return;
            };

            let file = password_file(&env, "geheim").display().to_string();
            let url = format!("rtsp://admin@{}:{PORT}/cam", env.http_address(0).ip());
            let chain = Chain::of(env, &url, &format!("--input-password {file}"));
            chain.viewer.wait_shown(5);
            let (marks, mark) = (chain.marks(), server.log().mark());
            server.kill();
            chain.says_from(marks, "cannot be reached: nobody listens there");
            server.start_again();
            server.wait_for_line_from(mark, "ready", SOON);
            let back = clock::now();
            let shown = chain.viewer.wait_shown_after(back, SOON);
            let took = shown.at.saturating_since(back);
            measurement.at_most(format!("{coding}: back"), Duration::from_secs(bound), took);
        }
    });
}

/// From the time that a pattern has painted in, as a camera's own stamp, until a subscriber of the source has the picture.
#[test]
#[ignore = "./dev promises"]
fn input_age() {
    if !has_ffmpeg() {
        return;
    }

    judge("input age by way, 1280x720 at 30 fps", |measurement| {
        let env = TestEnv::new();
        let pattern = env.source("first");
        let _pattern = pattern.flags("--input pattern --rate 30").ready();
        let (http, rtsp) = (
            env.http_address(5),
            format!("{}:{PORT}", env.relay_address(5).ip()),
        );
        let far = env.relay(5, &[env.ipc("first")]);
        let far = far.flag("http", http.to_string()).flag("rtsp", &rtsp);
        let far = far.ready();
        far.wait_for_line("live stream=first");

        for (way, input, limit) in [
            (
                "MJPEG over HTTP",
                format!("http://{http}/stream/first.mjpeg"),
                100,
            ),
            ("RTSP, JPEGs by ffmpeg", format!("rtsp://{rtsp}/first"), 500),
        ] {
            let source = env.source("cam").flag("input", input);
            let source = source.ready();
            let mut subscriber = Subscriber::new(env.ipc("cam"));
            subscriber.pictures(30);
            let mut ages: Vec<_> = subscriber.pictures(90).iter().map(age).collect();
            ages.sort_unstable();
            for (what, age) in [("median", ages[45]), ("95 of 100", ages[85])] {
                measurement.at_most(format!("{way}, {what}"), Duration::from_millis(limit), age);
            }
            source.kill();
        }
    });
}

fn age(arrival: &Arrival) -> Duration {
    let painted = jpeg::read_number(&arrival.frame.jpeg).expect("the pattern has it");
    arrival
        .time
        .saturating_since(Time::from_nanos(painted.captured_ns))
}
