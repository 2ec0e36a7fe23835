//! The whole path, from each kind of input to three screens: every frame is the one that was captured.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use fanlight_tests::program::{Launch, Program};
use fanlight_tests::promise::{Measurement, judge};
use fanlight_tests::viewer_process::{Report, Shown, hash};
use fanlight_tests::{TestEnv, jpeg, skip};

/// Median age that a local viewer at 720p30 stays below.
const AGE_LIMIT: Duration = Duration::from_millis(20);

/// Frames that each viewer shows at least.
const FRAMES: usize = 90;

/// What three viewers saw of `source`.
struct Seen {
    viewers: Vec<(Report, Vec<Shown>)>,
    _programs: [Program; 2],
}

/// Takes the stream `cam` of `source` through a relay to three viewers, and asserts what holds for any input.
#[track_caller]
fn watched_by_three(env: &TestEnv, source: Launch) -> Seen {
    let source = source.ready();
    let relay = env.relay(0, &[env.ipc("cam")]).ready();
    let viewers = [(); 3].map(|()| env.viewer(env.relay_address(0), "cam").start());
    viewers.iter().for_each(|viewer| viewer.wait_shown(FRAMES));
    let seen = Seen {
        viewers: viewers.into_iter().map(|viewer| viewer.finish()).collect(),
        _programs: [source, relay],
    };

    seen.check();
    seen
}

impl Seen {
    #[track_caller]
    fn check(&self) {
        let mut hashes = HashMap::new();
        for (report, frames) in &self.viewers {
            report.assert_one_session();
            assert_eq!(report.frames.shown, frames.len() as u64);
            let missing: u64 = frames
                .windows(2)
                .map(|pair| follows(&pair[0], &pair[1]))
                .sum();

            assert!(
                missing <= report.frames.lost.total,
                "{missing} are missing: {report:?}"
            );

            for frame in frames {
                let first = *hashes.entry(frame.number).or_insert(frame.hash);
                assert_eq!(
                    first, frame.hash,
                    "all viewers see the same picture {}",
                    frame.number
                );
            }
        }
    }

    fn frames(&self) -> impl Iterator<Item = &Shown> {
        self.viewers.iter().flat_map(|(_, frames)| frames)
    }

    /// Judges ages and losses.
    fn judge(&self, measurement: &mut Measurement) {
        for (report, _) in &self.viewers {
            let ages = &report.age_ms;
            let [p50, p99] = [ages.p50, ages.p99].map(|age| age.expect("frames were shown"));
            measurement.at_most(
                format!("median age (99th percentile {p99:.1} ms)"),
                AGE_LIMIT,
                Duration::from_secs_f64(p50 / 1e3),
            );

            report.judge_nearly_lossless("a viewer", measurement);
        }
    }
}

/// How many frames are missing between two that were shown one after the other.
#[track_caller]
fn follows(before: &Shown, after: &Shown) -> u64 {
    assert_eq!(before.epoch, after.epoch);
    assert!(
        before.number < after.number && before.captured < after.captured,
        "{before:?} {after:?}"
    );
    after.number - before.number - 1
}

/// A directory of `count` pictures, and the hash of each.
fn pictures(env: &TestEnv, count: u64) -> (PathBuf, Vec<u64>) {
    let folder = env.path("pictures");
    std::fs::create_dir(&folder).unwrap();
    let hashes = (0..count).map(|number| {
        let picture = jpeg::numbered(number, 640, 360);
        std::fs::write(folder.join(format!("{number:03}.jpg")), &picture).unwrap();
        hash(&picture)
    });

    let hashes = hashes.collect();
    (folder, hashes)
}

/// Asserts that pictures come in the order of `hashes`, over and over.
#[track_caller]
fn in_order(seen: &Seen, hashes: &[u64]) {
    for (_, frames) in &seen.viewers {
        for pair in frames.windows(2) {
            let [before, after] =
                [0, 1].map(|at| hashes.iter().position(|hash| *hash == pair[at].hash));
            let step = (pair[1].number - pair[0].number) as usize % hashes.len();
            assert_eq!(
                (before.unwrap() + step) % hashes.len(),
                after.unwrap(),
                "{pair:?}"
            );
        }
    }
}

#[test]
#[ignore = "./dev promises"]
fn the_ball_reaches_three_screens_whole_and_young() {
    judge("the ball at three screens", |measurement| {
        let env = TestEnv::new();
        let source = env
            .source("cam")
            .flags("--input ball --size 1280x720 --rate 30");
        let seen = watched_by_three(&env, source);
        seen.judge(measurement);

        for (report, _) in &seen.viewers {
            measurement.compare(
                "frames a second",
                "28 to 32",
                format!("{:.1}", report.fps),
                "30",
                (28.0..32.0).contains(&report.fps),
            );
        }
    });
}

#[test]
fn each_picture_of_the_pattern_says_the_number_and_the_time_that_its_frame_has() {
    let env = TestEnv::new();
    let source = env
        .source("cam")
        .flags("--input pattern --size 1280x720 --rate 30");
    let seen = watched_by_three(&env, source);
    for frame in seen.frames() {
        assert_eq!(
            (frame.code, frame.code_captured),
            (Some(frame.number), Some(frame.captured)),
            "{frame:?}"
        );
    }
}

#[test]
fn the_code_in_the_pattern_survives_quality_50_and_half_the_size() {
    let env = TestEnv::new();
    let source = env
        .source("cam")
        .flags("--input pattern --size 1280x720 --rate 30 --quality 50 --scale 0.5");
    let seen = watched_by_three(&env, source);
    assert!(seen.frames().all(|frame| frame.code == Some(frame.number)));
}

#[test]
fn files_are_shown_as_they_are_in_order_and_again() {
    let env = TestEnv::new();
    let (folder, hashes) = pictures(&env, 12);
    let source = env
        .source("cam")
        .flags("--input files --rate 30")
        .flag("path", &folder);

    let seen = watched_by_three(&env, source);
    in_order(&seen, &hashes);
}

#[test]
fn a_file_of_concatenated_jpegs_is_a_film() {
    let env = TestEnv::new();
    let (folder, hashes) = pictures(&env, 12);
    let film = env.path("film.mjpeg");
    let bytes = (0..12).flat_map(|n| std::fs::read(folder.join(format!("{n:03}.jpg"))).unwrap());
    std::fs::write(&film, bytes.collect::<Vec<_>>()).unwrap();
    let source = env
        .source("cam")
        .flags("--input files --rate 30")
        .flag("path", &film);

    in_order(&watched_by_three(&env, source), &hashes);
}

#[test]
fn what_a_command_writes_is_shown_untouched() {
    let env = TestEnv::new();
    let (folder, hashes) = pictures(&env, 12);
    // Ends with its reader, which the fixture kills.
    let command = format!(
        "while true; do for f in {}/*; do cat $f || exit; sleep 0.04; done; done",
        folder.display()
    );

    let source = env
        .source("cam")
        .flags("--input pipe")
        .flag("command", command);

    in_order(&watched_by_three(&env, source), &hashes);
}

#[test]
fn what_comes_on_standard_input_is_shown_untouched() {
    let env = TestEnv::new();
    let (folder, hashes) = pictures(&env, 12);
    let pipe = env.path("stdin");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );

    let script = format!(
        "exec >{}; while cat {}/*; do sleep 0.1; done",
        pipe.display(),
        folder.display()
    );

    let mut writer = Command::new("sh").args(["-c", &script]).spawn().unwrap();
    let source = env.source("cam").flags("--input pipe").stdin(&pipe);
    let seen = {
        let source = source.ready();
        let relay = env.relay(0, &[env.ipc("cam")]).ready();
        let viewer = env.viewer(env.relay_address(0), "cam").start();
        viewer.wait_shown(FRAMES / 3);
        (viewer.finish(), source, relay)
    };

    writer.kill().unwrap();
    writer.wait().unwrap();
    assert!(seen.0.1.iter().all(|frame| hashes.contains(&frame.hash)));
    seen.0.0.assert_balanced();
}

#[test]
fn a_command_that_ends_is_started_again() {
    let env = TestEnv::new();
    let (folder, hashes) = pictures(&env, 5);
    let command = format!(
        "for f in {}/*; do cat $f; sleep 0.05; done",
        folder.display()
    );

    let _source = env
        .source("cam")
        .flags("--input pipe")
        .flag("command", command)
        .ready();

    let _relay = env.relay(0, &[env.ipc("cam")]).ready();
    let viewer = env.viewer(env.relay_address(0), "cam").start();
    viewer.wait_shown(15);
    let (report, frames) = viewer.finish();
    report.assert_balanced();
    assert!(frames.iter().all(|frame| hashes.contains(&frame.hash)));
    assert!(
        frames
            .windows(2)
            .all(|pair| pair[0].epoch == pair[1].epoch && pair[0].number < pair[1].number)
    );
}

#[test]
fn whatever_ffmpeg_opens_can_be_the_camera() {
    let env = TestEnv::new();
    if Command::new("ffmpeg").arg("-version").output().is_err() {
        return skip("ffmpeg is not installed");
    }

    let command =
        "ffmpeg -loglevel error -re -f lavfi -i testsrc=size=640x360:rate=30 -q:v 3 -f mjpeg -";
    let source = env
        .source("cam")
        .flags("--input pipe")
        .flag("command", command);

    watched_by_three(&env, source);
}
