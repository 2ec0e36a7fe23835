//! What a viewer records, read back by ffmpeg and played again by a source.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use fanlight_tests::document::{Document, shell};
use fanlight_tests::lab::{MOUNT, installed, permitted};
use fanlight_tests::program::Program;
use fanlight_tests::viewer_process::{Report, Shown, ViewerProcess, hash};
use fanlight_tests::wait::{self, SOON};
use fanlight_tests::{TestEnv, skip};
use serde_json::Value;

/// One frame of the stream that is recorded, in seconds.
const INTERVAL: f64 = 1.0 / 30.0;

/// A source and a relay, and one viewer that records to `file`.
struct Recorded {
    env: TestEnv,
    source: Program,
    relay: Program,
}

impl Recorded {
    fn start(input: &str) -> Option<Self> {
        if Command::new("ffprobe").arg("-version").output().is_err() {
            skip("ffmpeg is not installed");
            return None;
        }

        let env = TestEnv::new();
        let source = env.source("cam").flags(input).ready();
        let relay = env.relay(0, &[env.ipc("cam")]).ready();
        Some(Self { env, source, relay })
    }

    fn ball() -> Option<Self> {
        Self::start("--input ball --size 640x360 --rate 30")
    }

    fn watch(&self, file: &Path, flags: &str) -> ViewerProcess {
        let viewer = self
            .env
            .viewer(self.env.relay_address(0), "cam")
            .flag("record", file)
            .flags(flags)
            .start();

        viewer.wait_shown(1);
        viewer
    }
}

/// What ffprobe says of the one stream of `file`.
fn probe(file: &Path) -> Value {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-of", "json", "-show_entries"])
        .arg("stream=codec_name,width,height,nb_read_packets,avg_frame_rate:packet=pts_time,size:format=duration")
        .arg("-count_packets")
        .arg(file)
        .output()
        .unwrap();

    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn seconds(value: &Value) -> f64 {
    value.as_str().unwrap().parse().unwrap()
}

fn duration(probed: &Value) -> f64 {
    seconds(&probed["format"]["duration"])
}

/// When each picture plays, in seconds.
fn moments(probed: &Value) -> Vec<f64> {
    let packets = probed["packets"].as_array().unwrap().iter();
    packets
        .filter(|packet| packet["size"] != "0")
        .map(|packet| seconds(&packet["pts_time"]))
        .collect()
}

/// The hash of each picture in `file`, as ffmpeg takes them out without decoding.
fn pictures(env: &TestEnv, file: &Path) -> Vec<u64> {
    let folder = env.path("pictures");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir(&folder).unwrap();
    let copied = Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(file)
        .args(["-c:v", "copy", "-copyts", "-f", "image2"])
        .arg(folder.join("%06d.jpg"))
        .output()
        .unwrap();

    assert!(copied.status.success(), "{copied:?}");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();

    files.sort();
    files
        .iter()
        .map(|file| hash(&std::fs::read(file).unwrap()))
        .filter(|picture| *picture != hash(&[]))
        .collect()
}

fn hashes(shown: &[Shown]) -> Vec<u64> {
    shown.iter().map(|shown| shown.hash).collect()
}

/// The frames of `shown` that are in `file`. Asserts that only those are missing which the recorder says that it dropped: a
/// machine that is too slow to write.
#[track_caller]
fn recorded(env: &TestEnv, file: &Path, shown: Vec<Shown>, report: &Report) -> Vec<Shown> {
    let found = pictures(env, file);
    let mut next = found.iter().peekable();
    let count = shown.len();
    let kept: Vec<Shown> = shown
        .into_iter()
        .filter(|frame| next.next_if_eq(&&frame.hash).is_some())
        .collect();

    assert_eq!(
        next.next(),
        None,
        "what ffmpeg takes out is what the viewer was sent"
    );

    let recording = report.recording.as_ref().unwrap();
    assert_eq!(
        (recording.frames, recording.dropped, &recording.failure),
        (kept.len() as u64, (count - kept.len()) as u64, &None)
    );

    kept
}

/// When each frame was captured, in seconds since the first.
fn captured(shown: &[Shown]) -> Vec<f64> {
    shown
        .iter()
        .map(|frame| {
            frame
                .captured
                .saturating_since(shown[0].captured)
                .as_secs_f64()
        })
        .collect()
}

#[track_caller]
fn assert_plays_when_captured(moments: &[f64], shown: &[Shown]) {
    for (number, (plays, captured)) in moments.iter().zip(captured(shown)).enumerate() {
        assert!(
            (plays - captured).abs() <= INTERVAL + 0.001,
            "frame {number}: {plays} for {captured}"
        );
    }
}

#[test]
fn an_avi_holds_the_frames_shown_byte_for_byte_and_plays_as_long_as_it_took() {
    let Some(live) = Recorded::ball() else { return };
    let file = live.env.path("film.avi");
    let viewer = live.watch(&file, "");
    viewer.wait_more(90);
    let (report, shown) = viewer.finish();
    let probed = probe(&file);
    assert_eq!(probed["streams"][0]["codec_name"], "mjpeg");
    assert_eq!(
        (
            &probed["streams"][0]["width"],
            &probed["streams"][0]["height"]
        ),
        (&640.into(), &360.into())
    );

    let shown = recorded(&live.env, &file, shown, &report);
    assert_plays_when_captured(&moments(&probed), &shown);
    let watched = captured(&shown).last().unwrap() + INTERVAL;
    assert!(
        (duration(&probed) - watched).abs() <= INTERVAL + 0.001,
        "{} for {watched}",
        duration(&probed)
    );
}

#[test]
fn a_second_without_frames_is_a_second_of_the_last_picture() {
    let Some(live) = Recorded::ball() else { return };
    let file = live.env.path("film.avi");
    let viewer = live.watch(&file, "");
    viewer.wait_more(30);
    live.relay.freeze();
    wait::pause(Duration::from_secs(1));
    let thawed = live.relay.thaw();
    viewer.wait_shown_after(thawed, SOON);
    viewer.wait_more(30);
    let (report, shown) = viewer.finish();
    let probed = probe(&file);
    let shown = recorded(&live.env, &file, shown, &report);
    assert_plays_when_captured(&moments(&probed), &shown);
    let recording = report.recording.unwrap();
    assert!(recording.repeated > 0, "{recording:?}");
}

#[test]
fn a_restarted_source_goes_on_in_the_same_film() {
    let Some(live) = Recorded::ball() else { return };
    let file = live.env.path("film.avi");
    let viewer = live.watch(&file, "");
    viewer.wait_more(30);
    live.source.kill();
    live.source.start_again();
    let again = live.source.wait_ready();
    viewer.wait_shown_after(again, SOON);
    viewer.wait_more(30);
    let (report, shown) = viewer.finish();
    let shown = recorded(&live.env, &file, shown, &report);
    let watched = captured(&shown).last().unwrap() + INTERVAL;
    let played = duration(&probe(&file));
    assert!(
        (played - watched).abs() < 3.0 * INTERVAL,
        "{played} for {watched}"
    );
}

#[test]
fn a_film_holds_the_frames_shown_byte_for_byte_at_the_times_of_their_capture() {
    let Some(live) = Recorded::ball() else { return };
    let films = ["film.mkv", "film.mp4"].map(|name| {
        let file = live.env.path(name);
        let viewer = live.watch(&file, "");
        (file, viewer)
    });
    for (_, viewer) in &films {
        viewer.wait_more(40);
    }

    live.source.kill();
    live.source.start_again();
    let again = live.source.wait_ready();
    for (file, viewer) in films {
        viewer.wait_shown_after(again, SOON);
        viewer.wait_more(40);
        let (report, shown) = viewer.finish();
        let probed = probe(&file);
        assert_eq!(probed["streams"][0]["codec_name"], "mjpeg");
        assert_eq!(probed["streams"][0]["width"], 640);
        let shown = recorded(&live.env, &file, shown, &report);
        assert_plays_at_its_time(&probed, &shown);
    }
}

/// To a tenth of a millisecond; what comes after a restart of the source goes on when it was shown.
#[track_caller]
fn assert_plays_at_its_time(probed: &Value, shown: &[Shown]) {
    let played = moments(probed);
    let first_run: Vec<_> = captured(shown)
        .into_iter()
        .zip(shown)
        .filter(|(_, frame)| frame.epoch == shown[0].epoch)
        .map(|(captured, _)| captured)
        .collect();

    for (number, captured) in first_run.iter().enumerate() {
        let played = played[number];
        assert!(
            (played - captured).abs() < 0.0002,
            "{number}: {played} for {captured}"
        );
    }

    assert!(played.is_sorted_by(|one, next| one < next), "{played:?}");
    let watched = captured(shown).last().copied().unwrap();
    for last in [*played.last().unwrap(), duration(probed)] {
        assert!(
            (last - watched).abs() < 3.0 * INTERVAL,
            "{last} for {watched}"
        );
    }
}

#[test]
fn the_film_of_a_killed_viewer_plays_to_its_last_frame() {
    let Some(live) = Recorded::ball() else { return };
    let films = ["film.avi", "film.mkv", "film.mp4"].map(|name| {
        let file = live.env.path(name);
        let viewer = live.watch(&file, "");
        (file, viewer)
    });

    for (file, viewer) in films {
        viewer.wait_more(75);
        viewer.program().kill();
        let shown = hashes(&viewer.shown());
        let found = pictures(&live.env, &file);
        assert!(
            shown.starts_with(&found) || found.starts_with(&shown),
            "{} of {} frames",
            found.len(),
            shown.len()
        );

        assert!(
            found.len() + 30 >= shown.len(),
            "{} of {} frames",
            found.len(),
            shown.len()
        );

        let decoded = Command::new("ffmpeg")
            .args(["-v", "error", "-i"])
            .arg(&file)
            .args(["-f", "null", "-"])
            .output();
        assert!(decoded.unwrap().status.success());
    }
}

#[test]
fn a_loop_keeps_the_newest_files_and_each_frame_in_one_of_them() {
    let Some(live) = Recorded::ball() else { return };
    let folder = live.env.path("loop");
    std::fs::create_dir(&folder).unwrap();
    let old = folder.join("cam-20200101T000000.000Z.mkv");
    let foreign = folder.join("holidays.mkv");
    for file in [&old, &foreign] {
        std::fs::write(file, vec![0; 9_900_000]).unwrap();
    }

    let viewer = live
        .env
        .viewer(live.env.relay_address(0), "cam")
        .flag("record-loop", &folder)
        .flags("--keep 10MB --segment 1s --loop-format mp4")
        .start();
    viewer.wait_shown(75);
    let (report, shown) = viewer.finish();

    assert!(!old.exists(), "the oldest makes room");
    std::fs::remove_file(foreign).expect("what is not a recording of the stream stays");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 3, "{files:?}");
    assert!(files.iter().all(|file| file.extension().unwrap() == "mp4"));

    let found: Vec<u64> = files
        .iter()
        .flat_map(|file| pictures(&live.env, file))
        .collect();
    let recording = report.recording.as_ref().unwrap();
    assert_eq!(recording.files, files.len() as u64);
    assert_eq!(
        (recording.frames, recording.dropped),
        (found.len() as u64, (shown.len() - found.len()) as u64)
    );

    // All but what a machine that is too slow to write has dropped, in order.
    let mut shown = hashes(&shown).into_iter();
    assert!(found.iter().all(|picture| shown.any(|it| it == *picture)));
}

#[test]
fn a_time_lapse_plays_a_frame_of_each_half_second_25_times_a_second() {
    let Some(live) = Recorded::ball() else { return };
    let file = live.env.path("film.mkv");
    let viewer = live.watch(&file, "--record-every 500ms");
    viewer.wait_more(65);
    let (_, shown) = viewer.finish();

    let played = moments(&probe(&file));
    let spent = captured(&shown).last().copied().unwrap();
    let expected = (spent / 0.5) as usize + 1;
    assert!(
        played.len().abs_diff(expected) <= 1,
        "{played:?} of {spent} s"
    );
    for (number, moment) in played.iter().enumerate() {
        assert!((moment - number as f64 / 25.0).abs() < 0.0002, "{played:?}");
    }

    let taken = pictures(&live.env, &file);
    let shown = hashes(&shown);
    assert!(taken.iter().all(|picture| shown.contains(picture)));
}

#[test]
fn a_source_plays_what_a_viewer_recorded() {
    let Some(live) = Recorded::ball() else { return };
    let file = live.env.path("film.avi");
    let viewer = live.watch(&file, "");
    viewer.wait_more(20);
    live.relay.freeze();
    wait::pause(Duration::from_millis(300));
    let thawed = live.relay.thaw();
    viewer.wait_shown_after(thawed, SOON);
    viewer.wait_more(10);
    let (report, shown) = viewer.finish();
    let recorded = hashes(&recorded(&live.env, &file, shown, &report));
    live.source.stop();
    let _again = live
        .env
        .source("cam")
        .flags("--input files --rate 30")
        .flag("path", &file)
        .ready();

    let viewer = live.env.viewer(live.env.relay_address(0), "cam").start();
    viewer.wait_shown(recorded.len() + 10);
    let (_, mut played) = viewer.finish();
    // The relay may have begun with the last frame of the source before.
    let epoch = played.last().unwrap().epoch;
    played.retain(|frame| frame.epoch == epoch);
    assert!(played.len() > recorded.len(), "it begins again at its end");

    for pair in played.windows(2) {
        let place = recorded
            .iter()
            .position(|hash| *hash == pair[0].hash)
            .expect("nothing but what was recorded plays");

        let step = (pair[1].number - pair[0].number) as usize;
        assert_eq!(
            pair[1].hash,
            recorded[(place + step) % recorded.len()],
            "frame {} follows",
            pair[1].number
        );
    }
}

#[test]
fn a_gif_shows_the_screen_with_its_mark_for_as_long_as_asked() {
    let Some(live) = Recorded::ball() else { return };
    let file = live.env.path("ball.gif");
    let recorder = live
        .env
        .program("gif")
        .flags("--stream cam --track ball --show-track --width 320 --fps 5 --length 3s")
        .flag("relay", live.env.relay_address(0).to_string())
        .flags(file.to_str().unwrap());

    recorder.ends_with(0);
    let probed = probe(&file);
    assert_eq!(
        (
            &probed["streams"][0]["width"],
            &probed["streams"][0]["height"]
        ),
        (&320.into(), &180.into())
    );

    let frames = moments(&probed).len();
    assert!(
        (12..=15).contains(&frames),
        "{frames} pictures in 3 s at 5 a second"
    );

    assert!(
        (2.7..=3.01).contains(&duration(&probed)),
        "{}",
        duration(&probed)
    );

    let pictures = Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(&file)
        .args(["-f", "rawvideo", "-pix_fmt", "rgb24", "-"])
        .output()
        .unwrap();

    // The ring's colour is ff5a36, which is nowhere in the ball's picture. Where the machine is busy some have none.
    let ring = |picture: &[u8]| {
        let pixels = picture.chunks(3);
        pixels
            .filter(|p| p[0] > 220 && (60..130).contains(&p[1]) && p[2] < 100)
            .count()
    };

    let rings: Vec<_> = pictures.stdout.chunks(320 * 180 * 3).map(ring).collect();
    assert!(rings.iter().any(|ring| *ring > 40), "{rings:?}");
}

#[test]
fn the_picture_goes_on_when_the_disk_is_full_and_the_film_plays_as_far_as_it_got() {
    let Some(()) = permitted(&MOUNT) else { return };
    let Some(live) = Recorded::ball() else { return };
    let disk = live.env.path("disk");
    std::fs::create_dir(&disk).unwrap();
    let kept = live.env.path("film.avi");
    // What was on the disk is kept when the viewer has ended, before the disk goes with it.
    let script = "mount -t tmpfs -o size=500k none \"$0\" || exit 99; \"$@\"; code=$?; cp \"$0/film.avi\" \"$0/..\"; exit $code";
    let viewer = live
        .env
        .viewer(live.env.relay_address(0), "cam")
        .flag("record", disk.join("film.avi"));

    let viewer = viewer.flags("--duration 6s").under(&[
        "unshare",
        "--mount",
        "sh",
        "-c",
        script,
        disk.to_str().unwrap(),
    ]);

    let viewer = viewer.start();
    let told = viewer.program().wait_for_line("cannot record to");
    for words in ["film.avi", "No space left", "--record"] {
        assert!(told.text.contains(words), "{told:?}");
    }

    viewer.wait_more(30);
    assert_eq!(
        viewer.program().wait_exit(SOON).code(),
        Some(1),
        "what was asked for was not done"
    );

    let shown = hashes(&viewer.shown());
    let found = pictures(&live.env, &kept);
    assert!(
        found.len() > 3 && shown.starts_with(&found),
        "{} of {}",
        found.len(),
        shown.len()
    );
}

#[test]
fn the_picture_goes_on_when_nothing_can_be_recorded_at_all() {
    let Some(live) = Recorded::ball() else { return };
    let viewer = live.watch(Path::new("/nowhere/film.avi"), "--duration 2s");
    viewer.wait_more(15);
    viewer.program().says(&[
        "cannot record to /nowhere/film.avi",
        "No such file",
        "--record",
    ]);

    assert_eq!(viewer.program().wait_exit(SOON).code(), Some(1));
}

#[test]
fn a_file_that_takes_nothing_holds_up_neither_the_picture_nor_the_end() {
    let Some(live) = Recorded::ball() else { return };
    // Nobody reads from it, so that opening it waits for ever.
    let pipe = live.env.path("pipe.avi");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );

    let viewer = live.watch(&pipe, "");
    viewer.wait_more(90);
    let (exit, _) = viewer.program().stop();
    assert_eq!(exit.code(), Some(1));
    viewer.program().says(&["pipe.avi", "not closed within"]);
}

#[test]
fn the_commands_of_the_document_record() {
    if !installed("ffprobe") {
        return skip("not installed: ffprobe");
    }

    let env = TestEnv::new();
    let _source = env
        .source("ball")
        .flags("--input ball --size 320x180")
        .ready();
    let _relay = env.relay(0, &[env.ipc("ball")]).ready();
    let programs = env.path("programs");
    std::fs::create_dir(&programs).unwrap();
    std::os::unix::fs::symlink(
        env.program("viewer").binary(),
        programs.join("fanlight-viewer"),
    )
    .unwrap();

    let relay = env.relay_address(0).to_string();
    Document::read("recording.md").run(|_, commands| {
        let commands = commands
            .replace("127.0.0.1:5004", &relay)
            .replace("3s", "1s");
        shell(&env, &["env"], &programs, &commands)
    });

    for kept in ["film.mkv", "lapse.mkv"] {
        assert!(!pictures(&env, &env.path(kept)).is_empty(), "{kept}");
    }
    assert!(std::fs::read_dir(env.path("films")).unwrap().count() > 0);
}
