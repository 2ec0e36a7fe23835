//! What a viewer tells the source: of the frames it shows, and of the canary beside them.

use std::collections::HashMap;
use std::net::SocketAddr;

use fanlight_proto::datagram::ToRelay;
use fanlight_proto::detections::decode;
use fanlight_proto::message::{Detection, Detections, Health, Verdict};
use parking_lot::{Mutex, MutexGuard};

use super::*;
use crate::mini_relay::named_frame_body;
use crate::track::Format;

/// Between a canary's frames.
const CANARY_INTERVAL: Duration = Duration::from_millis(100);

/// Longest that anything is waited for.
const SOON: Duration = Duration::from_secs(60);

const VERDICT: Verdict = Verdict {
    health: Health::Right as i32,
    error: 0.25,
    mean: 0.25,
    max: 0.5,
    deviation: 0.125,
    latency_us: 34_000,
    count: 9,
};

/// What the fake source does, and what its relay received.
#[derive(Default)]
struct RelayState {
    /// The canary that frames name.
    canary: &'static str,
    captures: bool,
    /// What viewers found, by stream.
    received: HashMap<String, Vec<Detections>>,
    joined: Vec<String>,
    left: Vec<String>,
    stop: bool,
}

/// A relay of a camera and two canaries, which serves one viewer of each.
struct Relay {
    state: Arc<Mutex<RelayState>>,
    address: String,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    fn start(canary: &'static str) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap().to_string();
        let state = Arc::new(Mutex::new(RelayState {
            canary,
            captures: true,
            ..RelayState::default()
        }));

        let shared = Arc::clone(&state);
        Self {
            state,
            address,
            thread: Some(thread::spawn(move || serve(&socket, &shared))),
        }
    }

    fn state(&self) -> MutexGuard<'_, RelayState> {
        self.state.lock()
    }

    #[track_caller]
    fn wait(&self, what: &str, there: impl Fn(&RelayState) -> bool) {
        let began = clock::now();
        while !there(&self.state()) {
            assert!(clock::now().saturating_since(began) < SOON, "{what}");
            let _ = Shutdown::new().wait_timeout(Duration::from_millis(5));
        }
    }

    fn detections(&self, stream: &str) -> Vec<Detection> {
        let received = self
            .state()
            .received
            .get(stream)
            .cloned()
            .unwrap_or_default();

        received
            .into_iter()
            .flat_map(|message| message.detections)
            .map(|bytes| decode(&bytes).unwrap())
            .collect()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.state.lock().stop = true;
        let ended = self.thread.take().unwrap().join();
        assert!(thread::panicking() || ended.is_ok());
    }
}

/// One stream as its viewer has it.
struct Served {
    relay: MiniRelay,
    viewer: Option<SocketAddr>,
    interval: Duration,
    due: Time,
    number: u64,
}

fn serve(socket: &UdpSocket, state: &Mutex<RelayState>) {
    let serve = |(start, stream): (u64, &str)| {
        let mut relay = MiniRelay::new(start);
        relay.stream = stream.to_owned();
        relay.verdict = Some(VERDICT);
        let interval = if stream == STREAM {
            INTERVAL
        } else {
            CANARY_INTERVAL
        };

        Served {
            relay,
            viewer: None,
            interval,
            due: clock::now(),
            number: 0,
        }
    };

    let mut streams: Vec<_> = [(1, STREAM), (2, "one.canary"), (3, "two.canary")]
        .into_iter()
        .map(serve)
        .collect();

    let mut buffer = [0; 2048];
    while !state.lock().stop {
        for stream in &mut streams {
            stream.capture(socket, &state.lock());
        }

        socket
            .set_read_timeout(Some(Duration::from_millis(2)))
            .unwrap();
        let Ok((length, from)) = socket.recv_from(&mut buffer) else {
            continue;
        };

        if let Ok(ToRelay::Join(join)) = ToRelay::parse(&buffer[..length]) {
            let wanted = if join.stream.is_empty() {
                STREAM
            } else {
                &join.stream
            };

            streams
                .iter_mut()
                .find(|served| served.relay.stream == wanted)
                .unwrap()
                .viewer = Some(from);
        }

        let served = streams
            .iter_mut()
            .find(|served| served.viewer == Some(from))
            .expect("it has joined");

        served.hear(socket, &buffer[..length], &mut state.lock());
    }
}

impl Served {
    fn capture(&mut self, socket: &UdpSocket, state: &RelayState) {
        let now = clock::now();
        let camera = self.relay.stream == STREAM;
        if now < self.due || (camera && !state.captures) {
            return;
        }

        self.due = now + self.interval;
        let id = FrameId {
            epoch: 5,
            number: self.number,
        };

        self.number += 1;
        let (picture, canary) = if camera {
            (
                jpeg(FrameBarcode {
                    number: id.number,
                    captured_ns: now.as_nanos(),
                }),
                state.canary,
            )
        } else {
            (ball(id.number), "")
        };

        let body = named_frame_body(
            &self.relay.stream,
            canary,
            id,
            now.as_nanos(),
            clock::clock_id(),
            &picture,
        );

        for datagram in self.relay.on_frame(id, &body, 0) {
            socket.send_to(&datagram, self.viewer.unwrap()).unwrap();
        }
    }

    fn hear(&mut self, socket: &UdpSocket, datagram: &[u8], state: &mut RelayState) {
        let session = self.relay.session;
        let goodbyes = self.relay.goodbyes;

        for answer in self.relay.on_datagram(clock::now(), datagram) {
            // The viewer may have gone meanwhile.
            let _ = socket.send_to(&answer, self.viewer.unwrap());
        }

        let name = || self.relay.stream.clone();
        if self.relay.session.is_some() && self.relay.session != session {
            state.joined.push(name());
        }

        if self.relay.goodbyes > goodbyes {
            state.left.push(name());
        }

        state
            .received
            .entry(name())
            .or_default()
            .append(&mut self.relay.detections);
    }
}

/// Where the ball is in a canary's frame.
fn truth(number: u64) -> (f32, f32) {
    (
        40.25 + (number * 7 % 80) as f32,
        40.5 + (number * 3 % 40) as f32,
    )
}

fn ball(number: u64) -> Vec<u8> {
    let width = 160;
    let height = 120;
    let (x, y) = truth(number);
    let pixels: Vec<u8> = (0..width * height)
        .map(|i| {
            let column = (i % width) as f32 + 0.5;
            let row = (i / width) as f32 + 0.5;
            let cover = (10.5 - (column - x).hypot(row - y)).clamp(0.0, 1.0);
            (60.0 + 180.0 * cover) as u8
        })
        .collect();

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

/// A viewer on a thread. It ends when it is asked to.
struct Watching {
    folder: tempfile::TempDir,
    shutdown: Shutdown,
    thread: JoinHandle<anyhow::Result<()>>,
}

impl Watching {
    fn start(config: Config) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let extra = Extra {
            duration: None,
            ..headless(&folder, Duration::ZERO)
        };

        let context = Context::default();
        let shutdown = context.shutdown.clone();
        let thread = thread::spawn(move || run(&config, &extra, None, &context).map(drop));
        Self {
            folder,
            shutdown,
            thread,
        }
    }

    /// Its report and the lines of its trace.
    fn finish(self) -> (Value, Vec<Value>) {
        self.shutdown.trigger();
        self.thread.join().unwrap().unwrap();
        let report = std::fs::read_to_string(self.folder.path().join("report.json")).unwrap();
        (
            serde_json::from_str(&report).unwrap(),
            lines(Some(self.folder.path().join("trace.jsonl"))),
        )
    }
}

#[test]
fn a_canary_is_watched_and_its_ball_is_told_to_be_where_it_was() {
    let relay = Relay::start("one.canary");
    let watching = Watching::start(config(&relay.address));
    relay.wait("the canary is told of", |state| {
        state
            .received
            .get("one.canary")
            .is_some_and(|received| !received.is_empty())
    });

    relay.wait("many detections", |state| {
        state.received["one.canary"].len() > 15
    });
    let (report, trace) = watching.finish();
    // The viewer has ended; what it said last may still be on its way through the relay's thread.
    relay.wait("both conversations take leave", |state| {
        state.left.len() == 2
    });

    let detections = relay.detections("one.canary");

    for detection in &detections {
        let (x, y) = truth(detection.number);
        let ball = detection.ball.expect("there is a ball in each frame");
        assert!(
            (ball.x - x).hypot(ball.y - y) < 0.5,
            "{detection:?}: {x} {y}"
        );

        assert!(
            detection.epoch == 5 && detection.clock_error_us == 0,
            "{detection:?}"
        );
    }

    assert!(
        detections
            .windows(2)
            .all(|pair| pair[0].number < pair[1].number)
    );

    let received = relay.state().received.remove("one.canary").unwrap();
    let canary_status = received.last().unwrap().canary_status.clone().unwrap();
    assert!(
        canary_status.stream == STREAM
            && canary_status.shown > 20
            && canary_status.silent_ms < 1000,
        "{canary_status:?}"
    );

    assert_eq!(received.last().unwrap().sent, detections.len() as u64);
    let screens: std::collections::HashSet<u64> =
        received.iter().map(|message| message.screen).collect();
    assert_eq!(screens.len(), 1);
    let canary = &report["canary"];
    assert_eq!(
        (&canary["stream"], &canary["undecodable"]),
        (&"one.canary".into(), &0.into()),
        "{report}"
    );

    assert!(
        canary["found"].as_u64() >= Some(detections.len() as u64),
        "{report}"
    );

    assert_eq!(
        (&canary["verdict"]["health"], &canary["verdict"]["error_px"]),
        (&"right".into(), &0.25.into())
    );

    let judged: Vec<_> = trace
        .iter()
        .filter(|line| line.get("told_ns").is_some())
        .collect();

    assert_eq!(judged.len(), 1, "{judged:?}");
    assert_eq!(
        (&judged[0]["stream"], &judged[0]["verdict"]["latency_ms"]),
        (&"one.canary".into(), &34.0.into())
    );
}

#[test]
fn when_the_picture_stops_the_canary_goes_on_and_says_for_how_long() {
    let relay = Relay::start("one.canary");
    let watching = Watching::start(config(&relay.address));
    relay.wait("the canary is told of", |state| {
        state
            .received
            .get("one.canary")
            .is_some_and(|received| !received.is_empty())
    });

    relay.state().captures = false;
    relay.wait("the silence is told", |state| {
        let newest = state.received["one.canary"]
            .last()
            .and_then(|received| received.canary_status.clone())
            .unwrap_or_default();
        newest.silent_ms > 1500
    });

    relay.state().captures = true;
    relay.wait("the silence is over", |state| {
        state.received["one.canary"]
            .last()
            .and_then(|received| received.canary_status.clone())
            .unwrap_or_default()
            .silent_ms
            < 500
    });

    watching.finish();
}

#[test]
fn the_canary_changes_with_the_name_and_ends_with_it() {
    let relay = Relay::start("one.canary");
    let watching = Watching::start(config(&relay.address));
    relay.wait("the first is joined", |state| {
        state.joined.contains(&"one.canary".to_owned())
    });
    relay.state().canary = "two.canary";
    relay.wait("the second is joined", |state| {
        state.joined.contains(&"two.canary".to_owned())
    });
    assert_eq!(relay.state().left, ["one.canary"]);
    relay.state().canary = "";
    relay.wait("the second is left", |state| {
        state.left.contains(&"two.canary".to_owned())
    });
    // It names itself, or what is no name: there is nothing to watch.
    for name in [STREAM, "no/name"] {
        relay.state().canary = name;
        assert!(!Shutdown::new().wait_timeout(Duration::from_millis(400)));
    }

    let (report, _) = watching.finish();
    assert_eq!(relay.state().joined, [STREAM, "one.canary", "two.canary"]);
    assert!(report.get("canary").is_none(), "{report}");
}

#[test]
fn no_canary_is_watched_when_that_is_switched_off() {
    let relay = Relay::start("one.canary");
    let watching = Watching::start(Config {
        canary: config::Canary::Off,
        ..config(&relay.address)
    });

    relay.wait("the picture is joined", |state| !state.joined.is_empty());
    assert!(!Shutdown::new().wait_timeout(Duration::from_millis(800)));
    watching.finish();
    let state = relay.state();
    assert_eq!(
        (&state.joined, &state.left),
        (&vec![STREAM.to_owned()], &vec![STREAM.to_owned()])
    );

    drop(state);
}

#[test]
fn what_trackers_say_of_each_frame_shown_is_told_in_the_session_of_its_stream() {
    // The lowest byte of the frame's number stands at offset 24.
    let rest = 48 + WIDTH * HEIGHT - 25;
    let words = r#"echo "{\"epoch\":\"0000000000000005\",\"number\":$n,\"took_us\":70,
        \"found\":{\"x\":1.5,\"y\":$n,\"radius\":2,\"confidence\":1}}" | tr -d '\n'; echo"#;
    let number = "head -c 24 >/dev/null; head -c 1 | od -An -tu1 | tr -d ' '";
    let relay = Relay::start("");
    let watching = Watching::start(Config {
        tracker_command: Some(format!(
            "while n=$({number}) && [ \"$n\" ]; do head -c {rest} >/dev/null; {words}; done"
        )),
        tracker_format: Format::Grey,
        trackers: 2,
        ..config(&relay.address)
    });

    relay.wait("many detections", |state| {
        state.received.get(STREAM).is_some_and(|received| {
            received
                .iter()
                .map(|message| message.detections.len())
                .sum::<usize>()
                > 60
        })
    });

    let (report, trace) = watching.finish();
    let detections = relay.detections(STREAM);
    let shown: Vec<&Value> = trace
        .iter()
        .filter(|line| line.get("presented_ns").is_some())
        .collect();

    for detection in &detections {
        let frame = shown
            .iter()
            .find(|line| line["number"] == detection.number)
            .expect("it was shown");

        let ball = detection.ball.unwrap();
        assert_eq!(
            (ball.x, ball.y, detection.looked_us),
            (1.5, detection.number as f32, 70)
        );

        let stages =
            detection.transit_us + detection.wait_us + detection.decode_us + detection.present_us;
        let age = frame["age_us"].as_u64().unwrap();
        assert!(age.abs_diff(stages.into()) < 10, "{frame} {detection:?}");
        let tracked = trace
            .iter()
            .find(|line| line.get("tracked_ns").is_some() && line["number"] == detection.number);
        let took = tracked.unwrap()["tracked_ns"].as_u64().unwrap()
            - frame["presented_ns"].as_u64().unwrap();
        assert!(
            (took / 1000).abs_diff(detection.track_us.into()) < 10,
            "{detection:?} {tracked:?}"
        );
    }

    let numbers: std::collections::HashSet<u64> = detections
        .iter()
        .map(|detection| detection.number)
        .collect();

    assert_eq!(numbers.len(), detections.len(), "none is told twice");
    let tracking = &report["tracking"];
    let count = |key: &str| tracking[key].as_u64().unwrap();
    let answered = count("found") + count("none");
    assert_eq!(tracking["detections"]["dropped"], 0);
    // Those of the last 100 ms may not have gone out.
    assert!(
        detections.len() as u64 + 6 > answered,
        "{} of {answered}: {tracking}",
        detections.len()
    );

    assert_eq!(tracking["verdict"]["max_px"], 0.5, "{tracking}");
    assert!(
        relay.state().received[STREAM]
            .iter()
            .all(|message| message.canary_status.is_none())
    );
}
