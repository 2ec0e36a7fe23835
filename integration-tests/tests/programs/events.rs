//! Events of streams, as a command is told of them.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fanlight_tests::TestEnv;
use fanlight_tests::fake_source::FakeSource;
use fanlight_tests::jpeg;
use fanlight_tests::program::Program;
use fanlight_tests::wait::{SOON, pause, until};
use serde_json::Value;

/// A command that adds each event to `file`, a line of its own.
pub(crate) fn append(file: &Path) -> String {
    format!("sh,-c,cat >>{}", file.display())
}

/// States that the stream `name` had, by the events in `file`.
pub(crate) fn states(file: &Path, name: &str) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let events = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let of_stream = events.filter(|event| event["kind"] == "stream" && event["name"] == name);
    of_stream
        .map(|event| event["state"].as_str().unwrap().to_owned())
        .collect()
}

#[track_caller]
fn wait_states(file: &Path, name: &str, expected: &[&str]) {
    let what = format!("{name}: {expected:?}");
    until(&what, SOON, || {
        (states(file, name).len() >= expected.len()).then_some(())
    });
    assert_eq!(states(file, name), expected);
}

/// A pipe into which pictures go as long as they are wanted.
fn pipe_of_pictures(env: &TestEnv, flows: Arc<AtomicBool>) -> std::path::PathBuf {
    let pipe = env.path("pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let file = pipe.clone();
    std::thread::spawn(move || {
        let mut pipe = OpenOptions::new().write(true).open(file).unwrap();
        for number in 0.. {
            pause(Duration::from_millis(50));
            let is_wanted = flows.load(Ordering::Relaxed);
            // It ends with its reader, the source.
            if is_wanted && pipe.write_all(&jpeg::numbered(number, 320, 240)).is_err() {
                return;
            }
        }
    });
    pipe
}

/// A camera in the network that can be taken away: the relay that serves it, and the source that takes it.
fn network_camera(env: &TestEnv) -> (Program, [Program; 2]) {
    let ball = env.source("ball").flags("--input ball --size 320x240");
    let ball = ball.ready();
    let http = env.http_address(5);
    let camera = env.relay(5, &[env.ipc("ball")]);
    let camera = camera.flag("http", http.to_string()).ready();
    camera.wait_for_line("live stream=ball");
    let url = format!("http://{http}/stream/ball.mjpeg");
    let source = env.source("door").flag("input", url).ready();
    (camera, [ball, source])
}

#[test]
fn a_freeze_an_unplugging_and_a_stream_that_no_screen_decodes_are_one_event_and_one_end_each() {
    let env = TestEnv::new();
    let (camera, _sources) = network_camera(&env);
    let flows = Arc::new(AtomicBool::new(true));
    let pipe = pipe_of_pictures(&env, Arc::clone(&flows));
    let source = env
        .source("frozen")
        .flags("--input pipe")
        .stdin(&pipe)
        .ready();
    let damaged = jpeg::progressive(&jpeg::numbered(1, 320, 240));
    let undecodable = FakeSource::with_picture("cam", None, damaged);
    let file = env.path("events");
    let relay = env
        .relay(
            0,
            &[env.ipc("frozen"), env.ipc("door"), undecodable.endpoint()],
        )
        .flag("event-command", append(&file))
        .ready();
    for stream in ["frozen", "door"] {
        relay.wait_for_line(&format!("live stream={stream}"));
    }

    let viewer = env.viewer(env.relay_address(0), "cam").start();
    flows.store(false, Ordering::Relaxed);
    camera.kill();
    wait_states(&file, "frozen", &["frozen"]);
    wait_states(&file, "door", &["unplugged"]);
    wait_states(&file, "cam", &["undecodable"]);
    drop(viewer);
    flows.store(true, Ordering::Relaxed);
    camera.start_again();
    wait_states(&file, "frozen", &["frozen", "live"]);
    wait_states(&file, "door", &["unplugged", "live"]);
    wait_states(&file, "cam", &["undecodable", "live"]);
    drop(source);
}

#[test]
fn a_command_that_still_runs_ends_with_the_relay_and_with_what_it_has_started() {
    let env = TestEnv::new();
    let source = env.source("cam").flags("--input ball").ready();
    let started = env.path("started");
    let script = format!(
        "sleep 1000 & echo $! >{0}.new; mv {0}.new {0}; wait",
        started.display()
    );
    let relay = env
        .relay(0, &[env.ipc("cam")])
        .flag("event-command", format!("sh,-c,{script}"))
        .ready();
    relay.wait_for_line("live stream=cam");
    source.kill();
    let pid = until("the command runs", SOON, || {
        fs::read_to_string(&started).ok()
    });
    let running = Path::new("/proc").join(pid.trim()).join("cmdline");
    assert!(fs::read_to_string(&running).unwrap().contains("sleep"));
    relay.stop();
    until("it is gone", SOON, || {
        let command = fs::read_to_string(&running).unwrap_or_default();
        command.is_empty().then_some(())
    });
}

#[test]
fn a_command_that_is_not_there_is_named_and_harms_nothing() {
    let env = TestEnv::new();
    let source = env.source("cam").flags("--input ball").ready();
    let relay = env
        .relay(0, &[env.ipc("cam")])
        .flag("event-command", "/nowhere/to/be-found")
        .ready();
    relay.wait_for_line("live stream=cam");
    source.kill();
    relay.says(&["event_command", "cannot run /nowhere/to/be-found"]);
    source.start_again();
    env.viewer(env.relay_address(0), "cam")
        .start()
        .wait_shown(3);
}
