//! Pictures on standard output.

use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};

use fanlight_proto::frame_barcode::FrameBarcode;
use fanlight_tests::program::Program;
use fanlight_tests::wait::{SOON, until};
use fanlight_tests::{TestEnv, jpeg};
use rustix::process::{Pid, Signal, kill_process};

/// Pictures that are read.
const PICTURES: usize = 20;

/// A viewer that writes to a pipe; it is killed with it.
struct Viewer {
    child: Child,
    _others: [Program; 2],
}

impl Viewer {
    /// With a source of the test pattern, and its relay.
    fn start(env: &TestEnv, output: &str) -> (Self, ChildStdout) {
        let source = env.source("cam").flags("--input pattern --size 320x240");
        let source = source.ready();
        let relay = env.relay(0, &[env.ipc("cam")]).ready();
        let mut child = Command::new(env.program("viewer").binary())
            .args(["--relay", &env.relay_address(0).to_string()])
            .args(["--stream", "cam", "--output", output])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let pipe = child.stdout.take().unwrap();
        let _others = [source, relay];
        (Self { child, _others }, pipe)
    }

    fn code(&mut self) -> Option<i32> {
        let status = until("the viewer ends", SOON, || self.child.try_wait().unwrap());
        status.code()
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The JPEGs that lie one after the other in `bytes`; the last one may be cut off.
fn pictures(bytes: &[u8]) -> Vec<&[u8]> {
    let starts: Vec<usize> = (0..bytes.len())
        .filter(|at| bytes[*at..].starts_with(&[0xff, 0xd8, 0xff]))
        .collect();
    starts
        .windows(2)
        .map(|pair| &bytes[pair[0]..pair[1]])
        .collect()
}

#[test]
fn pictures_leave_by_a_pipe_one_after_the_other_until_its_reader_has_gone() {
    let env = TestEnv::new();
    let (mut viewer, mut pipe) = Viewer::start(&env, "pipe:mjpeg");
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 1 << 16];

    while pictures(&bytes).len() < PICTURES {
        let length = pipe.read(&mut buffer).unwrap();
        assert_ne!(length, 0, "the viewer ended by itself");
        bytes.extend_from_slice(&buffer[..length]);
    }

    let numbers: Vec<u64> = pictures(&bytes)
        .into_iter()
        .map(|picture| jpeg::read_number(picture).expect("a whole picture").number)
        .collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");

    drop(pipe);
    assert_eq!(viewer.code(), Some(0));
}

#[test]
fn uncompressed_pictures_leave_by_a_pipe_with_their_size_and_rate() {
    let env = TestEnv::new();
    let (_viewer, pipe) = Viewer::start(&env, "pipe:y4m");
    let mut pipe = BufReader::new(pipe);
    let mut header = String::new();
    pipe.read_line(&mut header).unwrap();
    assert!(
        header.starts_with("YUV4MPEG2 W320 H240 F30000:1000 "),
        "{header}"
    );

    let mut numbers = Vec::new();
    let mut frame = vec![0; 6 + 320 * 240 * 3 / 2];
    for _ in 0..PICTURES {
        pipe.read_exact(&mut frame).unwrap();
        let brightness = frame.strip_prefix(b"FRAME\n").unwrap();
        let code = FrameBarcode::read(brightness, 320, 320, 240);
        numbers.push(code.expect("a whole picture").number);
    }
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
}

#[test]
fn a_reader_that_does_not_read_does_not_keep_the_viewer_from_ending() {
    let env = TestEnv::new();
    let (mut viewer, pipe) = Viewer::start(&env, "pipe:y4m");
    until("the pipe is full", SOON, || {
        let waiting = rustix::io::ioctl_fionread(&pipe).unwrap();
        (waiting > 60_000).then_some(())
    });
    kill_process(Pid::from_child(&viewer.child), Signal::TERM).unwrap();
    assert_eq!(viewer.code(), Some(0));
}

#[test]
fn a_report_cannot_go_where_pictures_go() {
    let env = TestEnv::new();
    env.program("viewer")
        .flags("--output pipe:mjpeg --report -")
        .ends_with(64)
        .says(&["--output"]);
}
