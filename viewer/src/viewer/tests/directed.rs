//! A viewer that a relay directs.

use fanlight_proto::datagram::ToRelay;
use fanlight_proto::message::{Direct, Direction, Notice, ScreenReport};
use parking_lot::Mutex;

use super::*;
use crate::mini_relay::named_frame_body;

/// Longest that anything is waited for.
const SOON: Duration = Duration::from_secs(60);

/// How often a relay says a direction again.
const REPEAT: Duration = Duration::from_millis(100);

#[derive(Default)]
struct RelayState {
    /// What is said until the screen has it.
    direct: Option<Direct>,
    /// The stream of the session, and what the screen said last.
    stream: String,
    report: Option<ScreenReport>,
    stop: bool,
}

/// A relay that has every stream that is asked for, and one viewer.
struct Relay {
    state: Arc<Mutex<RelayState>>,
    address: String,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap().to_string();
        let state = Arc::new(Mutex::new(RelayState::default()));
        let shared = Arc::clone(&state);
        Self {
            state,
            address,
            thread: Some(thread::spawn(move || serve(&socket, &shared))),
        }
    }

    fn say(&self, direct: Direct) {
        self.state.lock().direct = Some(direct);
    }

    /// Waits for a report on a session of `stream`.
    #[track_caller]
    fn wait(&self, what: &str, stream: &str, there: impl Fn(&ScreenReport) -> bool) {
        let began = clock::now();
        loop {
            let state = self.state.lock();
            let is_there = state.report.as_ref().is_some_and(&there) && state.stream == stream;
            let report = state.report.clone();
            drop(state);
            if is_there {
                return;
            }
            let waited = clock::now().saturating_since(began);
            assert!(waited < SOON, "{what}: {report:?}");
            let _ = Shutdown::new().wait_timeout(Duration::from_millis(5));
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.state.lock().stop = true;
        let ended = self.thread.take().unwrap().join();
        assert!(thread::panicking() || ended.is_ok());
    }
}

fn serve(socket: &UdpSocket, state: &Mutex<RelayState>) {
    let mut relay = MiniRelay::new(1);
    let mut viewer = None;
    let mut number = 0;
    let mut capture_due = clock::now();
    let mut direct_due = clock::now();
    let mut buffer = [0; 2048];
    let wait = Some(Duration::from_millis(2));
    socket.set_read_timeout(wait).unwrap();

    while !state.lock().stop {
        let now = clock::now();
        if capture_due <= now {
            capture_due = now + INTERVAL;
            number += 1;
            let id = FrameId { epoch: 5, number };
            let captured_ns = now.as_nanos();
            let picture = jpeg(FrameBarcode {
                number,
                captured_ns,
            });
            let stream = relay.stream.clone();
            let clock_id = clock::clock_id();
            let body = named_frame_body(&stream, "", id, captured_ns, clock_id, &picture);
            send(socket, viewer, relay.on_frame(id, &body, 0));
        }

        if direct_due <= now
            && let Some(direct) = state.lock().direct.clone()
        {
            direct_due = now + REPEAT;
            send(socket, viewer, relay.direct(direct));
        }

        let Ok((length, from)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        viewer = Some(from);
        if let Ok(ToRelay::Join(join)) = ToRelay::parse(&buffer[..length]) {
            relay.stream = if join.stream.is_empty() {
                STREAM.to_owned()
            } else {
                join.stream
            };
        }

        let said = relay.on_datagram(clock::now(), &buffer[..length]);
        send(socket, viewer, said);
        let mut state = state.lock();
        if let Some(report) = relay.screen_reports.pop() {
            state.stream.clone_from(&relay.stream);
            state.report = Some(report);
        }
    }
}

fn send(socket: &UdpSocket, viewer: Option<std::net::SocketAddr>, datagrams: Vec<Vec<u8>>) {
    for datagram in datagrams {
        // The viewer may have gone meanwhile.
        let _ = viewer.map(|viewer| socket.send_to(&datagram, viewer));
    }
}

/// A viewer without a window.
struct Running {
    shutdown: Shutdown,
    thread: JoinHandle<()>,
}

impl Running {
    fn start(relay: &Relay, folder: &tempfile::TempDir) -> Self {
        let context = Context::default();
        let shutdown = context.shutdown.clone();
        let config = Config {
            name: Some("wall".into()),
            directed: true,
            state_dir: Some(folder.path().to_owned()),
            ..config(&relay.address)
        };
        let extra = Extra {
            headless: true,
            ..Extra::default()
        };
        let thread = thread::spawn(move || {
            run(&config, &extra, None, &context).unwrap();
        });
        Self { shutdown, thread }
    }

    fn stop(self) {
        self.shutdown.trigger();
        self.thread.join().unwrap();
    }
}

fn direction(version: u64, stream: &str) -> Direction {
    Direction {
        version,
        origin: 3,
        streams: vec![stream.to_owned()],
        ..Direction::default()
    }
}

fn direct(direction: Direction) -> Direct {
    Direct {
        direction: Some(direction),
        notice: None,
    }
}

/// Whether it shows a picture because of direction `version`.
fn obeys(report: &ScreenReport, version: u64) -> bool {
    let direction = report.direction.as_ref();
    direction.is_some_and(|it| it.version == version) && report.in_force && report.epoch == 5
}

#[test]
fn a_screen_shows_what_it_is_told_to_proves_it_and_still_knows_it_after_a_restart() {
    let relay = Relay::start();
    let folder = tempfile::tempdir().unwrap();
    let viewer = Running::start(&relay, &folder);
    relay.wait("its own stream", STREAM, |report| {
        report.epoch == 5 && report.direction.is_none() && !report.in_force
    });

    relay.say(direct(direction(1, "gate")));
    relay.wait("the directed stream", "gate", |report| obeys(report, 1));
    relay.say(Direct {
        direction: None,
        notice: Some(Notice {
            id: 9,
            lasts_ms: 300,
            stream: "door".into(),
            ..Notice::default()
        }),
    });
    relay.wait("the stream of a notice", "door", |report| {
        report.notice == 9
    });
    relay.wait("the directed stream again", "gate", |report| {
        report.epoch == 5 && report.notice == 9
    });

    relay.say(direct(Direction {
        card: "closed".into(),
        ..direction(2, "gate")
    }));
    relay.wait("a card, and no picture", "gate", |report| {
        report.direction.as_ref().is_some_and(|it| it.version == 2) && report.epoch == 0
    });
    relay.say(direct(direction(3, "yard")));
    relay.wait("another stream", "yard", |report| obeys(report, 3));
    viewer.stop();

    let other = Relay::start();
    let viewer = Running::start(&other, &folder);
    other.wait("the stream from before", "yard", |report| obeys(report, 3));
    other.say(direct(direction(2, "gate")));
    other.say(direct(Direction {
        streams: Vec::new(),
        ..direction(4, "gate")
    }));
    other.wait("its own stream again", STREAM, |report| obeys(report, 4));
    viewer.stop();
}
