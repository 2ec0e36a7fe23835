//! The whole source in one process: a fake camera at one end, the relay's ZeroMQ library at the other.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Condvar, Mutex};

use fanlight_daemon::Shutdown;
use fanlight_promise::{Measurement, judge};
use fanlight_proto::limits::{HEARTBEAT_INTERVAL, MAX_FRAME_BYTES};
use fanlight_proto::message::{CheckedFrame, FrameBuffer, State, parse_frame, truth};
use fanlight_proto::zmtp::AcceptedSecurity;
use tempfile::TempDir;
use tokio::time::{Instant, timeout};
use zeromq::{Socket as _, SocketRecv as _, SubSocket};

use super::*;
use crate::camera::{Camera, CameraError, CapturedFrame, Content, Input, PixelFormat, Raw};
use crate::picture::{PictureOptions, PictureProcessor};
use crate::supervisor::{IdlePolicy, NO_VIEWERS, STALL_LIMIT, Supervisor, WAKING};
use crate::verification::health::Limits;

const DEADLINE: Duration = Duration::from_secs(60);

/// What the fake device does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Delivers pictures of this width.
    Live(u32),
    Unplugged,
    /// Blocks in the driver.
    Hung,
    /// Delivers whole JPEGs, which pass untouched.
    Whole,
    /// Delivers JPEGs without their ends.
    Half,
    /// Delivers JPEGs with an end, and with nothing in their scans.
    Empty,
    /// Its driver library panics.
    Panics,
    /// Delivers one last picture and ends.
    Ending,
    Ended,
}

#[derive(Debug)]
struct Device {
    mode: Mutex<Mode>,
    changed: Condvar,
    interval: Duration,
    opened: AtomicUsize,
}

impl Device {
    fn new(mode: Mode, interval: Duration) -> Arc<Self> {
        Arc::new(Self {
            mode: Mutex::new(mode),
            changed: Condvar::new(),
            interval,
            opened: AtomicUsize::new(0),
        })
    }

    fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
        self.changed.notify_all();
    }

    /// How often it is open.
    fn open(&self) -> usize {
        self.opened.load(Relaxed)
    }

    /// Waits one frame interval, or less when the mode changes, or for ever while it hangs.
    fn wait(&self) -> Mode {
        let mode = self.mode.lock().unwrap();
        let before = *mode;
        let (mode, _) = self
            .changed
            .wait_timeout_while(mode, self.interval, |mode| *mode == before)
            .unwrap();

        *self
            .changed
            .wait_while(mode, |mode| *mode == Mode::Hung)
            .unwrap()
    }
}

struct FakeInput(Arc<Device>);

impl Input for FakeInput {
    fn open(&mut self) -> Result<Box<dyn Camera>, CameraError> {
        match *self.0.mode.lock().unwrap() {
            Mode::Unplugged => Err(CameraError::Unplugged("camera unplugged: fake".into())),
            _ => {
                self.0.opened.fetch_add(1, Relaxed);
                Ok(Box::new(FakeCamera(Arc::clone(&self.0))))
            }
        }
    }

    fn describe(&self) -> String {
        "fake".into()
    }
}

struct FakeCamera(Arc<Device>);

impl Drop for FakeCamera {
    fn drop(&mut self) {
        self.0.opened.fetch_sub(1, Relaxed);
    }
}

impl Camera for FakeCamera {
    fn next(&mut self, _number: u64, raw: &mut Raw) -> Result<CapturedFrame, CameraError> {
        let content = match self.0.wait() {
            Mode::Live(width) => {
                fill(raw, width);
                Content::Raw
            }
            Mode::Ending => {
                self.0.set(Mode::Ended);
                fill(raw, 64);
                Content::Raw
            }
            Mode::Whole => Content::Jpeg(FrameBuffer::copy_of(&jpeg())),
            Mode::Empty => {
                let whole = jpeg();
                let scan = whole.windows(2).position(|w| w == [0xff, 0xda]).unwrap();
                let damaged = [&whole[..scan + 14], &[0xff, 0xd9]].concat();
                Content::Jpeg(FrameBuffer::copy_of(&damaged))
            }
            Mode::Half => {
                let whole = jpeg();
                Content::Jpeg(FrameBuffer::copy_of(&whole[..whole.len() - 20]))
            }
            Mode::Unplugged => return Err(CameraError::Unplugged("camera unplugged: fake".into())),
            Mode::Ended => return Err(CameraError::Ended("it is over".into())),
            Mode::Panics => panic!("as a driver library does"),
            Mode::Hung => unreachable!("the wait ends when it does not hang"),
        };

        Ok(CapturedFrame {
            captured: clock::now(),
            skipped: 1,
            truth: None,
            content,
        })
    }

    fn rate_millihertz(&self) -> u32 {
        u32::try_from(1_000_000 / self.0.interval.as_millis()).unwrap()
    }
}

fn fill(raw: &mut Raw, width: u32) {
    (raw.format, raw.width, raw.height) = (PixelFormat::Rgb, width, 48);
    raw.data.clear();
    raw.data.resize(width as usize * 48 * 3, 99);
}

fn jpeg() -> Vec<u8> {
    let mut raw = Raw::default();
    fill(&mut raw, 64);
    let shot = CapturedFrame {
        captured: Time::default(),
        skipped: 0,
        truth: None,
        content: Content::Raw,
    };

    let mut pipeline = PictureProcessor::new(&PictureOptions::default()).unwrap();
    pipeline
        .process(shot, &mut raw, 0)
        .unwrap()
        .jpeg
        .jpeg()
        .to_vec()
}

/// A publisher in `folder`, and the proof behind it.
fn base(folder: &TempDir) -> PublisherParts {
    let wake = Arc::<Notify>::default();
    let limits = Limits {
        max_error: 2.0,
        max_age: Duration::from_secs(1),
    };

    let verifier = Arc::new(Verifier::new(clock::now(), limits, 30, Arc::clone(&wake)));
    let sink = Arc::clone(&verifier);
    let publisher = Publisher::bind(
        &[Endpoint::Ipc(folder.path().join("source.ipc"))],
        AcceptedSecurity::null(),
        sink,
    )
    .unwrap();

    PublisherParts {
        publisher,
        verifier,
        wake,
    }
}

fn parts(device: &Arc<Device>, supervisor: Supervisor) -> StreamParts {
    StreamParts {
        stream: "cam".parse().unwrap(),
        input: Box::new(FakeInput(Arc::clone(device))),
        picture: PictureOptions::default(),
        supervisor,
        slow_interval: Duration::from_millis(400),
    }
}

/// A source that runs on a thread of its own, and a subscriber to it.
struct Rig {
    device: Arc<Device>,
    shutdown: Shutdown,
    ended: Receiver<anyhow::Result<ExitCode>>,
    socket: SubSocket,
    folder: TempDir,
}

impl Rig {
    async fn new(mode: Mode) -> Self {
        Self::with_interval(mode, Duration::from_millis(20)).await
    }

    async fn with_interval(mode: Mode, interval: Duration) -> Self {
        Self::with_rest(mode, interval, IdlePolicy::Keep).await
    }

    async fn with_rest(mode: Mode, interval: Duration, rest: IdlePolicy) -> Self {
        let device = Device::new(mode, interval);
        let folder = tempfile::tempdir().unwrap();
        let supervisor =
            Supervisor::new(STALL_LIMIT).with_idle_policy(rest, Duration::from_millis(500));
        let source = Source::start(base(&folder), parts(&device, supervisor), None).unwrap();
        let socket = subscribe(&source, "cam/").await;
        let (shutdown, ended) = run(source);
        Self {
            device,
            shutdown,
            ended,
            socket,
            folder,
        }
    }

    async fn next(&mut self) -> CheckedFrame {
        receive(&mut self.socket).await
    }

    /// Everything up to the first that fits, and how long that took.
    async fn until(
        &mut self,
        what: &str,
        fits: impl Fn(&CheckedFrame) -> bool,
    ) -> (CheckedFrame, Duration) {
        let start = Instant::now();
        while start.elapsed() < DEADLINE {
            let frame = self.next().await;
            if fits(&frame) {
                return (frame, start.elapsed());
            }
        }

        panic!("not within {DEADLINE:?}: {what}");
    }

    async fn until_state(&mut self, state: State) -> (CheckedFrame, Duration) {
        self.until(state.label(), |frame| frame.header.state == state as i32)
            .await
    }

    async fn until_picture(&mut self) -> (CheckedFrame, Duration) {
        self.until("a picture", |frame| !frame.jpeg.is_empty())
            .await
    }
}

impl Drop for Rig {
    /// Lets a thread that hangs in the driver end.
    fn drop(&mut self) {
        self.shutdown.trigger();
        self.device.set(Mode::Unplugged);
    }
}

fn run(source: Source) -> (Shutdown, Receiver<anyhow::Result<ExitCode>>) {
    let context = Context::default();
    let shutdown = context.shutdown.clone();
    let (end, ended) = sync_channel(1);
    std::thread::spawn(move || end.send(source.run(&context)));
    (shutdown, ended)
}

async fn subscribe(source: &Source, topic: &str) -> SubSocket {
    let mut socket = SubSocket::new();
    socket.subscribe(topic).await.unwrap();
    socket
        .connect(&source.endpoints()[0].to_string())
        .await
        .unwrap();
    socket
}

async fn receive(socket: &mut SubSocket) -> CheckedFrame {
    let message = timeout(DEADLINE, socket.recv())
        .await
        .expect("a message in time")
        .unwrap();

    parse_frame(
        message.get(0).unwrap(),
        message.get(1).unwrap().clone(),
        MAX_FRAME_BYTES,
    )
    .unwrap()
}

#[tokio::test]
async fn frames_come_with_their_identity_and_their_clock() {
    let mut rig = Rig::new(Mode::Live(64)).await;
    let (first, _) = rig.until_picture().await;
    let mut last = first.id.number;

    for _ in 0..20 {
        let frame = rig.until_picture().await.0;
        assert_eq!(frame.id.epoch, first.id.epoch);
        assert!(
            frame.id.number >= last + 2,
            "the device says that it lost one before each"
        );

        assert_eq!(frame.id.number % 2, 1);
        last = frame.id.number;
        assert_eq!((frame.header.width, frame.header.height), (64, 48));
        assert_eq!(frame.header.rate_millihertz, 50_000);
        assert_eq!(frame.header.clock_id, clock::clock_id());
        let captured = Time::from_nanos(frame.header.captured_ns);
        assert!(clock::now().saturating_since(captured) < DEADLINE);
        assert!(
            frame
                .header
                .wall_offset_ns
                .abs_diff(clock::wall_offset_ns())
                < 1_000_000_000
        );

        assert!(frame.header.prepared_us > 0);
    }
}

/// Measures in real time.
fn judge_in_runtime(promise: &str, measure: &impl AsyncFn(&mut Measurement)) {
    judge(promise, |measurement| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(measure(measurement));
    });
}

#[test]
#[ignore = "./dev promises"]
fn a_camera_is_told_unplugged_within_a_second_and_a_half_and_live_within_three_of_its_return() {
    judge_in_runtime("P16: a camera is unplugged", &unplug);
}

async fn unplug(measurement: &mut Measurement) {
    let mut rig = Rig::new(Mode::Live(64)).await;
    let (before, _) = rig.until_picture().await;
    rig.device.set(Mode::Unplugged);
    let (gone, after) = rig.until_state(State::Unplugged).await;
    measurement.at_most("told unplugged", Duration::from_millis(1500), after);
    assert_eq!(gone.header.reason, "camera unplugged: fake");
    let mut heard = Instant::now();
    let mut longest = Duration::ZERO;
    let away = Instant::now();

    while away.elapsed() < Duration::from_secs(4) {
        let frame = rig.next().await;
        assert_eq!(frame.header.state, State::Unplugged as i32);
        longest = longest.max(heard.elapsed());
        heard = Instant::now();
    }

    measurement.at_most("between two heartbeats", 3 * HEARTBEAT_INTERVAL, longest);
    rig.device.set(Mode::Live(64));
    let (back, after) = rig.until_picture().await;
    measurement.at_most("live after its return", Duration::from_secs(3), after);
    assert_eq!(back.id.epoch, before.id.epoch);
    assert!(back.id.number > before.id.number);
}

#[test]
#[ignore = "./dev promises"]
fn a_driver_that_hangs_is_stalled_at_two_seconds_and_ends_the_run_at_ten() {
    judge_in_runtime("P16: a driver hangs", &hang);
}

async fn hang(measurement: &mut Measurement) {
    let mut rig = Rig::new(Mode::Live(64)).await;
    rig.until_picture().await;
    let start = Instant::now();
    rig.device.set(Mode::Hung);
    let (stalled, _) = rig.until_state(State::Stalled).await;
    let after = start.elapsed();
    assert!(after.as_millis() >= 1900, "{after:?}");
    measurement.at_most("told stalled", Duration::from_millis(2500), after);
    assert!(stalled.jpeg.is_empty());
    let ended = rig.ended.recv_timeout(DEADLINE).unwrap();
    let after = start.elapsed();
    assert!(after.as_millis() >= 9900, "{after:?}");
    measurement.at_most("the run ends", Duration::from_millis(10_500), after);
    assert!(
        ended
            .unwrap_err()
            .to_string()
            .contains("has not returned for 10 s")
    );
}

#[tokio::test]
async fn half_a_jpeg_is_never_published_and_does_not_pass_for_live() {
    let mut rig = Rig::new(Mode::Live(64)).await;
    rig.until_picture().await;
    rig.device.set(Mode::Half);
    // Whatever comes is whole: `receive` refuses everything else.
    let (failed, _) = rig.until_state(State::Failed).await;
    assert!(
        failed.header.reason.contains("short"),
        "{}",
        failed.header.reason
    );

    rig.device.set(Mode::Live(64));
    rig.until_picture().await;
}

#[tokio::test]
async fn a_stream_whose_jpegs_are_damaged_is_told_so_and_none_is_published_until_one_is_whole() {
    let mut rig = Rig::new(Mode::Empty).await;
    let is_told = |frame: &CheckedFrame| {
        assert!(frame.jpeg.is_empty(), "a damaged picture was published");
        frame.header.state == State::Failed as i32
    };
    let (told, _) = rig.until("it has failed", is_told).await;
    let reason = told.header.reason;
    assert!(reason.contains("damaged"), "{reason}");
    rig.device.set(Mode::Whole);
    rig.until_picture().await;
    rig.until_state(State::Live).await;

    // A sample of what is published is decoded afterwards.
    rig.device.set(Mode::Empty);
    rig.until_state(State::Failed).await;
    rig.device.set(Mode::Whole);
    rig.until_state(State::Live).await;
}

#[tokio::test]
async fn a_camera_may_change_its_size() {
    let mut rig = Rig::new(Mode::Live(64)).await;
    for width in [64, 128, 32] {
        rig.device.set(Mode::Live(width));
        let (frame, _) = rig
            .until("the new size", |frame| frame.header.width == width)
            .await;
        assert!(!frame.jpeg.is_empty());
    }
}

#[tokio::test]
async fn a_driver_library_that_panics_is_a_failure_like_another() {
    let mut rig = Rig::new(Mode::Live(64)).await;
    rig.until_picture().await;
    rig.device.set(Mode::Panics);
    rig.until_state(State::Failed).await;
    rig.device.set(Mode::Live(64));
    rig.until_picture().await;
}

#[tokio::test]
async fn an_input_that_ends_shows_its_last_picture_before_it_is_over() {
    let mut rig = Rig::new(Mode::Live(32)).await;
    rig.until_picture().await;
    rig.device.set(Mode::Ending);
    let (last, _) = rig
        .until("the last picture", |frame| frame.header.width == 64)
        .await;
    let (ended, _) = rig.until_state(State::Ended).await;
    assert_eq!(ended.id, last.id, "a heartbeat repeats the newest number");
    assert_eq!(ended.header.reason, "it is over");
}

#[test]
#[ignore = "./dev promises"]
fn heartbeats_fill_the_time_between_the_frames_of_a_slow_camera() {
    judge_in_runtime("heartbeats of a slow camera", &heartbeats);
}

async fn heartbeats(measurement: &mut Measurement) {
    let mut rig = Rig::with_interval(Mode::Live(64), Duration::from_secs(1)).await;
    rig.until_picture().await;

    for _ in 0..2 {
        let start = Instant::now();
        let mut heartbeats = 0;
        while rig.next().await.jpeg.is_empty() {
            heartbeats += 1;
        }

        measurement.compare(
            "heartbeats between two frames",
            ">= 2",
            heartbeats.to_string(),
            format!("in {:.1?}", start.elapsed()),
            heartbeats >= 2 || start.elapsed() < Duration::from_millis(700),
        );
    }
}

#[test]
#[ignore = "./dev promises"]
fn a_shutdown_takes_less_than_half_a_second_even_when_the_driver_hangs() {
    judge_in_runtime("P25: the source ends in any state", &shut_down);
}

async fn shut_down(measurement: &mut Measurement) {
    for mode in [Mode::Live(64), Mode::Hung, Mode::Unplugged] {
        let mut rig = Rig::new(Mode::Live(64)).await;
        rig.until_picture().await;
        rig.device.set(mode);
        rig.next().await;
        let start = Instant::now();
        rig.shutdown.trigger();
        let ended = rig.ended.recv_timeout(DEADLINE).unwrap();
        measurement.at_most(
            format!("the end with {mode:?}"),
            Duration::from_millis(500),
            start.elapsed(),
        );

        assert_eq!(ended.unwrap(), ExitCode::SUCCESS);
        assert!(!rig.folder.path().join("source.ipc").exists());
    }
}

#[tokio::test]
async fn the_ball_is_published_with_its_true_centre() {
    let mut config = Config {
        input: crate::config::InputKind::Ball,
        ..Config::default()
    };

    config.publish = vec!["tcp://127.0.0.1:0".parse().unwrap()];
    config.size = Some("320x240".parse().unwrap());
    let source = Source::load(&config).unwrap();
    let mut socket = subscribe(&source, "camera/").await;
    let (shutdown, ended) = run(source);
    let mut pictures = 0;

    while pictures < 10 {
        let frame = receive(&mut socket).await;
        if !frame.jpeg.is_empty() {
            let Some(truth::Kind::Ball(ball)) = frame.header.truth.and_then(|truth| truth.kind)
            else {
                panic!()
            };

            assert!(
                (0.0..320.0).contains(&ball.x) && (0.0..240.0).contains(&ball.y),
                "{ball:?}"
            );

            pictures += 1;
        }
    }

    shutdown.trigger();
    ended.recv_timeout(DEADLINE).unwrap().unwrap();
}

#[test]
#[ignore = "./dev promises"]
fn an_input_that_nobody_watches_is_closed_and_opened_at_once_for_who_comes() {
    judge_in_runtime("an idle camera is opened for who comes", &wake_up);
}

async fn wake_up(measurement: &mut Measurement) {
    let mut rig =
        Rig::with_rest(Mode::Live(64), Duration::from_millis(20), IdlePolicy::Close).await;
    let before = rig.until_picture().await.0.id;
    assert_eq!(rig.device.open(), 1);
    let endpoint = format!("ipc://{}", rig.folder.path().join("source.ipc").display());
    std::mem::replace(&mut rig.socket, SubSocket::new())
        .close()
        .await;
    let deadline = Instant::now() + DEADLINE;
    while rig.device.open() > 0 {
        assert!(Instant::now() < deadline, "the input is not closed");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    let start = Instant::now();
    let asked = clock::now().as_nanos();
    rig.socket.subscribe("cam/").await.unwrap();
    rig.socket.connect(&endpoint).await.unwrap();
    let mut reasons = Vec::new();
    let picture = loop {
        let frame = rig.next().await;
        if frame.jpeg.is_empty() {
            reasons.push(frame.header.reason);
        } else if frame.header.captured_ns >= asked {
            // Before it there may be the last one from before the camera was closed.
            break frame;
        }
    };

    measurement.at_most(
        "the first picture",
        Duration::from_millis(500),
        start.elapsed(),
    );

    assert!(
        reasons
            .iter()
            .all(|reason| [NO_VIEWERS, WAKING].contains(&reason.as_str())),
        "{reasons:?}"
    );

    assert_eq!(picture.id.epoch, before.epoch);
    assert!(picture.id.number > before.number);
    assert_eq!(rig.device.open(), 1);
}

#[tokio::test]
async fn the_canary_runs_while_the_camera_is_unplugged_and_its_stream_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let device = Device::new(Mode::Unplugged, Duration::from_millis(20));
    let config = Config {
        canary: crate::config::Canary::On,
        ..Config::default()
    };

    let mut canary = config.canary_parts().unwrap().unwrap();
    canary.stream = "cam.canary".parse().unwrap();
    let main = parts(&device, Supervisor::new(STALL_LIMIT));
    let source = Source::start(base(&folder), main, Some(canary)).unwrap();
    let (mut beside, mut socket) = (
        subscribe(&source, "cam/").await,
        subscribe(&source, "cam.canary/").await,
    );

    let (shutdown, ended) = run(source);
    for _ in 0..5 {
        let frame = loop {
            let frame = receive(&mut socket).await;
            if !frame.jpeg.is_empty() {
                break frame;
            }
        };

        assert_eq!(
            (
                frame.header.width,
                frame.header.height,
                frame.header.canary.as_str()
            ),
            (160, 120, "")
        );

        assert!(
            frame.header.truth.is_some() && frame.jpeg.len() < 2500,
            "{} bytes",
            frame.jpeg.len()
        );

        let heartbeat = receive(&mut beside).await;
        assert_eq!(
            (heartbeat.header.canary.as_str(), heartbeat.jpeg.len()),
            ("cam.canary", 0)
        );
    }

    shutdown.trigger();
    ended.recv_timeout(DEADLINE).unwrap().unwrap();
}
