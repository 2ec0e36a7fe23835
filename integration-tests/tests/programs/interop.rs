//! The source speaks ZeroMQ and protobuf as others do: libzmq, Google's protobuf and libjpeg through Python, and the
//! `zeromq` crate in Rust.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use fanlight_proto::limits::MAX_FRAME_BYTES;
use fanlight_proto::message::{CheckedFrame, parse_frame};
use fanlight_tests::lab::installed;
use fanlight_tests::python::{python, script};
use fanlight_tests::wait::SOON;
use fanlight_tests::{TestEnv, jpeg, skip};
use serde::Deserialize;
use zeromq::{Socket as _, SocketRecv as _, SubSocket};

const MANIFEST: &str = env!("CARGO_MANIFEST_DIR");

/// What `protoc` makes of the schema.
const DESCRIPTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../proto/fanlight.binpb");
const FRAMES: usize = 30;

/// What subscriber.py says of a frame.
#[derive(Debug, Deserialize)]
struct Seen {
    topic: String,
    stream: String,
    epoch: u64,
    number: u64,
    state: i32,
    truth: Option<String>,
    width: u32,
    height: u32,
    decoded: (u32, u32),
    format: String,
    whole: bool,
    sha256: String,
}

#[test]
fn a_libzmq_subscriber_in_python_reads_valid_pictures_over_ipc() {
    let env = TestEnv::new();
    let Some(python) = python() else { return };
    let _source = env
        .source("cam")
        .flags("--input ball --size 640x360 --rate 30")
        .ready();
    check(&python_reads(&python, &env.ipc("cam")));
}

#[test]
fn a_libzmq_subscriber_in_python_reads_valid_pictures_over_tcp() {
    let env = TestEnv::new();
    let Some(python) = python() else { return };
    let endpoint = format!("tcp://{}", env.source_address(0));
    let flags = format!("--stream cam --publish {endpoint} --input ball --size 640x360 --rate 30");
    let _source = env.program("source").flags(&flags).ready();
    check(&python_reads(&python, &endpoint));
}

#[test]
fn the_zeromq_crate_reads_frames_in_their_order_and_only_the_stream_it_asked_for() {
    let env = TestEnv::new();
    let _source = env
        .source("cam")
        .flags("--input pattern --size 640x360 --rate 60")
        .ready();

    let frames = runtime().block_on(async {
        let mut wanted = subscribed(&env.ipc("cam"), "cam/").await;
        let mut unwanted = subscribed(&env.ipc("cam"), "ca/").await;
        let frames = pictures(&mut wanted, FRAMES).await;
        assert!(
            tokio::time::timeout(Duration::from_millis(50), unwanted.recv())
                .await
                .is_err()
        );

        frames
    });

    assert!(
        frames
            .windows(2)
            .all(|pair| pair[1].id.number > pair[0].id.number
                && pair[1].id.epoch == pair[0].id.epoch)
    );

    for frame in &frames {
        let code = jpeg::read_number(&frame.jpeg).expect("the pattern has a block code");
        assert_eq!(
            (code.number, code.captured_ns),
            (frame.id.number, frame.header.captured_ns)
        );
    }
}

fn check(seen: &[Seen]) {
    assert_eq!(seen.len(), FRAMES);
    for frame in seen {
        assert_eq!(
            (frame.topic.as_str(), frame.stream.as_str()),
            ("cam/", "cam")
        );

        assert_eq!(
            (frame.width, frame.height, frame.decoded),
            (640, 360, (640, 360))
        );

        assert_eq!(
            (frame.format.as_str(), frame.truth.as_deref(), frame.state),
            ("JPEG", Some("ball"), 2)
        );

        assert!(frame.whole && frame.epoch == seen[0].epoch && frame.epoch != 0);
    }

    for pair in seen.windows(2) {
        assert!(pair[1].number > pair[0].number, "{pair:?}");
        assert_ne!(pair[1].sha256, pair[0].sha256, "the ball moves");
    }
}

#[test]
fn what_is_built_of_the_schema_is_made_of_its_present_text() {
    if !installed("protoc") {
        return skip("not installed: protobuf-compiler");
    }

    let env = TestEnv::new();
    let made = env.path("fanlight.binpb");
    let files = ["frame", "feed", "control"].map(|name| format!("fanlight/v1/{name}.proto"));
    let ended = Command::new("protoc")
        .current_dir(format!("{MANIFEST}/../proto/proto"))
        .args(["--include_imports", "--include_source_info", "-o"])
        .arg(&made)
        .args(files)
        .status()
        .unwrap();

    assert!(ended.success());
    assert!(
        std::fs::read(made).unwrap() == std::fs::read(DESCRIPTORS).unwrap(),
        "{DESCRIPTORS} is of another text: ./dev schema"
    );
}

fn python_reads(python: &Path, endpoint: &str) -> Vec<Seen> {
    let output = Command::new(python)
        .arg(script("subscriber.py"))
        .args([endpoint, "cam"])
        .arg(DESCRIPTORS)
        .arg(FRAMES.to_string())
        .output()
        .unwrap();

    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );

    let lines = String::from_utf8(output.stdout).unwrap();
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

async fn subscribed(endpoint: &str, topic: &str) -> SubSocket {
    let mut socket = SubSocket::new();
    socket.subscribe(topic).await.unwrap();
    socket.connect(endpoint).await.unwrap();
    socket
}

async fn pictures(socket: &mut SubSocket, count: usize) -> Vec<CheckedFrame> {
    let mut frames = Vec::new();
    while frames.len() < count {
        let message = tokio::time::timeout(SOON, socket.recv())
            .await
            .expect("the source publishes")
            .unwrap();

        assert_eq!(message.len(), 2);
        let frame = parse_frame(
            message.get(0).unwrap(),
            message.get(1).unwrap().clone(),
            MAX_FRAME_BYTES,
        )
        .unwrap();

        if !frame.jpeg.is_empty() {
            frames.push(frame);
        }
    }

    frames
}
