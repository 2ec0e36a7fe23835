//! The whole viewer on loopback, with a relay of 200 lines and real time.

use std::net::UdpSocket;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use fanlight_daemon::Shutdown;
use fanlight_proto::clock::Time;
use fanlight_proto::frame_barcode::FrameBarcode;
use fanlight_proto::handshake::ViewerAccess;
use fanlight_proto::message::FrameId;
use serde_json::Value;

use super::*;
use crate::mini_relay::{MiniRelay, STREAM, frame_body};
use crate::trace;

mod directed;
mod feedback;
mod undecodable;

const WIDTH: u32 = 640;
const HEIGHT: u32 = 360;
const INTERVAL: Duration = Duration::from_millis(33);

/// A relay and a source on a thread. They stop when this is dropped.
struct Live {
    address: String,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<(u64, u64)>>>,
}

impl Live {
    fn start(address: &str, start: u64, first_number: u64) -> Self {
        Self::start_with(address, start, first_number, |_, jpeg| jpeg)
    }

    /// `harm` sees each frame's number and picture before they are sent.
    fn start_with(
        address: &str,
        start: u64,
        first_number: u64,
        harm: fn(u64, Vec<u8>) -> Vec<u8>,
    ) -> Self {
        let socket = UdpSocket::bind(address).unwrap();
        let address = socket.local_addr().unwrap().to_string();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = Some(thread::spawn(move || {
            serve(&socket, start, first_number, harm, &stopped)
        }));
        Self {
            address,
            stop,
            thread,
        }
    }

    /// Each frame's number and the hash of its JPEG.
    fn stop(mut self) -> Vec<(u64, u64)> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn serve(
    socket: &UdpSocket,
    start: u64,
    first_number: u64,
    harm: fn(u64, Vec<u8>) -> Vec<u8>,
    stop: &AtomicBool,
) -> Vec<(u64, u64)> {
    let mut relay = MiniRelay::new(start);
    let mut viewer = None;
    let mut sent = Vec::new();
    let mut capture_due = clock::now();
    let mut buffer = [0; 2048];

    while !stop.load(Ordering::Relaxed) {
        let now = clock::now();
        if capture_due <= now {
            capture_due = capture_due + INTERVAL;
            let id = FrameId {
                epoch: 5,
                number: first_number + sent.len() as u64,
            };

            let jpeg = harm(
                id.number,
                jpeg(FrameBarcode {
                    number: id.number,
                    captured_ns: now.as_nanos(),
                }),
            );

            sent.push((id.number, trace::hash(&jpeg)));
            let body = frame_body(id, now.as_nanos(), clock::clock_id(), &jpeg);
            for datagram in relay.on_frame(id, &body, 0) {
                socket.send_to(&datagram, viewer.unwrap()).unwrap();
            }
        }

        let patience = capture_due
            .saturating_since(clock::now())
            .max(Duration::from_millis(1));
        socket.set_read_timeout(Some(patience)).unwrap();
        if let Ok((length, from)) = socket.recv_from(&mut buffer) {
            viewer = Some(from);
            for answer in relay.on_datagram(clock::now(), &buffer[..length]) {
                socket.send_to(&answer, from).unwrap();
            }
        }
    }

    sent
}

fn jpeg(code: FrameBarcode) -> Vec<u8> {
    let mut pixels: Vec<u8> = (0..WIDTH * HEIGHT).map(|i| (i * 7 % 251) as u8).collect();
    code.paint(WIDTH, HEIGHT, |block, white| {
        for y in block.y..block.y + block.height {
            let row = (y * WIDTH + block.x) as usize;
            pixels[row..row + block.width as usize].fill(if white { 235 } else { 16 });
        }
    });

    let width = WIDTH as usize;
    let height = HEIGHT as usize;
    let image = turbojpeg::Image {
        pixels: &pixels[..],
        width,
        pitch: width,
        height,
        format: turbojpeg::PixelFormat::GRAY,
    };

    turbojpeg::compress(image, 80, turbojpeg::Subsamp::Gray)
        .unwrap()
        .to_vec()
}

fn headless(folder: &tempfile::TempDir, duration: Duration) -> Extra {
    let file = |name| Some(folder.path().join(name));
    Extra {
        headless: true,
        duration: Some(duration),
        report: file("report.json"),
        snapshot: file("newest.jpg"),
        trace: file("trace.jsonl"),
        ..Extra::default()
    }
}

fn config(relay: &str) -> Config {
    Config {
        relay: vec![relay.to_owned()],
        stats: Some(false),
        ..Config::default()
    }
}

fn lines(path: Option<PathBuf>) -> Vec<Value> {
    let text = std::fs::read_to_string(path.unwrap()).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn each_frame_sent_is_shown_once_as_it_was() {
    let live = Live::start("127.0.0.1:0", 1, 0);
    let folder = tempfile::tempdir().unwrap();
    let extra = headless(&folder, Duration::from_millis(2500));
    run(&config(&live.address), &extra, None, &Context::default()).unwrap();
    let sent = live.stop();
    let trace = lines(extra.trace);
    assert!(trace.len() > 40, "{} frames", trace.len());

    for line in &trace {
        let number = line["number"].as_u64().unwrap();
        assert_eq!(line["code_number"], number);
        assert_eq!(line["code_captured_ns"], line["captured_ns"]);
        assert_eq!(line["hash"], format!("{:016x}", sent[number as usize].1));
        assert_eq!(line["epoch"], "0000000000000005");
    }

    assert!(
        trace
            .windows(2)
            .all(|pair| pair[0]["number"].as_u64() < pair[1]["number"].as_u64())
    );

    let report: Value =
        serde_json::from_str(&std::fs::read_to_string(extra.report.unwrap()).unwrap()).unwrap();
    let frames = &report["frames"];
    let count = |value: &Value| value.as_u64().unwrap();
    assert_eq!(count(&frames["shown"]), trace.len() as u64);
    let span = count(&trace[trace.len() - 1]["number"]) - count(&trace[0]["number"]) + 1;
    assert_eq!(
        count(&frames["shown"]) + count(&frames["lost"]["total"]) + count(&frames["pending"]),
        span,
        "{report}"
    );

    assert_eq!(
        (&report["joins"], &report["stream"], &report["clock"]),
        (&1.into(), &STREAM.into(), &"monotonic".into())
    );

    assert!(report["age_ms"]["p50"].is_f64(), "{report}");
    let states: Vec<&str> = report["link_states"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["state"].as_str().unwrap())
        .collect();

    assert_eq!(states, ["connecting", "live"]);
    let newest = trace::hash(&std::fs::read(extra.snapshot.unwrap()).unwrap());
    assert_eq!(trace[trace.len() - 1]["hash"], format!("{newest:016x}"));
}

#[test]
fn a_relay_that_comes_back_is_on_the_screen_within_a_second_and_a_half() {
    let live = Live::start("127.0.0.1:0", 1, 0);
    let address = live.address.clone();
    let folder = tempfile::tempdir().unwrap();
    let extra = headless(&folder, Duration::from_secs(4));
    let viewer = {
        let config = config(&address);
        let extra = extra.clone();
        thread::spawn(move || run(&config, &extra, None, &Context::default()).map(drop))
    };

    let never = Shutdown::new();
    assert!(!never.wait_timeout(Duration::from_millis(1000)));
    live.stop();
    assert!(!never.wait_timeout(Duration::from_millis(250)));
    let _again = Live::start(&address, 2, 100);
    viewer.join().unwrap().unwrap();
    let trace = lines(extra.trace);
    let presented = |line: &Value| Duration::from_nanos(line["presented_ns"].as_u64().unwrap());
    let longest = trace
        .windows(2)
        .map(|pair| presented(&pair[1]) - presented(&pair[0]))
        .max()
        .unwrap();

    assert!(longest < Duration::from_millis(1500), "{longest:?}");
    assert!(trace.last().unwrap()["number"].as_u64().unwrap() > 100);
    let report: Value =
        serde_json::from_str(&std::fs::read_to_string(extra.report.unwrap()).unwrap()).unwrap();
    assert_eq!(report["joins"], 2, "{report}");
}

#[test]
fn a_frame_that_is_no_picture_is_counted_and_never_shown() {
    let live = Live::start_with("127.0.0.1:0", 1, 0, |number, mut jpeg| {
        if number % 4 == 1 {
            jpeg.truncate(jpeg.len() / 2);
            jpeg.extend([0xff, 0xd9]);
        }
        jpeg
    });

    let folder = tempfile::tempdir().unwrap();
    let extra = headless(&folder, Duration::from_millis(1500));
    run(&config(&live.address), &extra, None, &Context::default()).unwrap();
    let trace = lines(extra.trace);
    assert!(trace.len() > 20, "{} frames", trace.len());
    assert!(
        trace
            .iter()
            .all(|line| line["number"].as_u64().unwrap() % 4 != 1
                && line["code_number"] == line["number"])
    );

    let report: Value =
        serde_json::from_str(&std::fs::read_to_string(extra.report.unwrap()).unwrap()).unwrap();
    let undecodable = report["frames"]["lost"]["undecodable"].as_u64().unwrap();
    assert!(
        (trace.len() as u64 / 3).abs_diff(undecodable) <= 2,
        "{report}"
    );

    assert_eq!(report["decode"]["errors"], undecodable);
}

#[test]
fn a_run_without_a_frame_fails_and_says_why() {
    let nobody = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();

    let extra = Extra {
        headless: true,
        duration: Some(Duration::from_millis(300)),
        ..Extra::default()
    };

    let error = run(&config(&nobody), &extra, None, &Context::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "no frame was shown in 300ms: no answer from the relay: nobody listens at {nobody}"
        )
    );
}

#[test]
fn a_viewer_ends_when_it_is_asked_to() {
    let live = Live::start("127.0.0.1:0", 1, 0);
    let context = Context::default();
    let shutdown = context.shutdown.clone();
    let config = config(&live.address);
    let viewer = thread::spawn(move || {
        run(
            &config,
            &Extra {
                headless: true,
                ..Extra::default()
            },
            None,
            &context,
        )
        .map(drop)
    });

    assert!(!Shutdown::new().wait_timeout(Duration::from_millis(500)));
    shutdown.trigger();
    viewer.join().unwrap().unwrap();
}

#[test]
fn a_relay_tells_what_it_has_and_a_missing_one_is_named() {
    let live = Live::start("127.0.0.1:0", 1, 0);
    let route = |relay: &str| Route {
        relays: vec![relay.to_owned()],
        found: crate::found_relays::FoundRelays::default(),
        keys: Default::default(),
        accesses: vec![ViewerAccess::Open],
        tcp: crate::tcp::Options::default(),
        replaces: Vec::new(),
        receive_buffer: 1 << 20,
        multicast: true,
        capture: None,
        own: None,
    };

    let table = listing::table(&route(&live.address), "test".into(), &Shutdown::new()).unwrap();
    assert_eq!(table.lines().nth(1), Some("hall    64x48  30.0  live"));
    let by_name = live.address.replace("127.0.0.1", "localhost");
    assert_eq!(
        listing::table(&route(&by_name), "test".into(), &Shutdown::new()).unwrap(),
        table
    );

    let address = live.address.clone();
    live.stop();
    let error = listing::table(&route(&address), "test".into(), &Shutdown::new()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("no relay answers at {address}: nobody listens at {address}")
    );
}
