//! The relay's WebRTC with clients of others: aiortc in Python, which finds the ball and tells where.

mod beside;
mod first_frame;
mod peers;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use fanlight_tests::TestEnv;
use fanlight_tests::http::Site;
use fanlight_tests::program::{Launch, Program};
use fanlight_tests::python::{python, script};
use fanlight_tests::viewer_process::{Report, ViewerProcess};
use fanlight_tests::wait::{SOON, until};
use serde::Deserialize;
use serde_json::Value;

use crate::verification::status as source_status;

/// Frames that a client shows at least.
const FRAMES: usize = 60;

/// Detections that are judged at least.
const DETECTIONS: u64 = 100;

/// Radius of the ball, in pixels.
const RADIUS: f64 = 20.0;

/// A bouncing ball, and a relay that speaks WebRTC.
struct Fixture {
    env: TestEnv,
    _source: Program,
    relay: Program,
    site: Site,
}

impl Fixture {
    fn new(relay_flags: &str) -> Self {
        Self::of(TestEnv::new(), relay_flags)
    }

    fn of(env: TestEnv, relay_flags: &str) -> Self {
        let source = env
            .source("cam")
            // How late a busy machine makes a client is not judged here.
            .flags("--input ball --size 640x480 --rate 30 --quality 90 --history-size 1000 --max-age 60s");
        Self::with(env, source, relay_flags)
    }

    fn with(env: TestEnv, source: Launch, relay_flags: &str) -> Self {
        let source = source.ready();
        let relay = env.webrtc_relay(relay_flags);
        let site = Site::of(&relay);
        Self {
            env,
            _source: source,
            relay,
            site,
        }
    }

    /// A client in Python; none, said aloud, where there is no aiortc.
    fn client(&self, words: &str) -> Option<Client> {
        let python = python()?;
        let program = self
            .env
            .launch("aiortc", python)
            .flags(&script("webrtc_ball.py").display().to_string())
            .flags(words);
        Some(Client(program.start()))
    }

    /// A viewer over UDP that tracks.
    fn viewer(&self, name: &str) -> ViewerProcess {
        self.env
            .viewer(self.env.relay_address(0), "cam")
            .flags(&format!("--track ball --name {name}"))
            .start()
    }

    /// Where the relay takes media.
    fn media(&self) -> SocketAddr {
        let line = self.relay.wait_for_line("WebRTC webrtc=").text;
        let (_, address) = line.split_once(" webrtc=").unwrap();
        address.trim().parse().unwrap()
    }

    /// What a viewer over UDP sees in so long.
    fn udp_watched(&self, length: Duration) -> Report {
        let flags = format!("--duration {}s", length.as_secs());
        let viewer = self
            .env
            .viewer(self.env.relay_address(0), "cam")
            .flags(&flags)
            .start();
        viewer.wait_end(length + SOON).0
    }

    /// Whether the relay has a thread that encodes.
    fn has_encoder(&self) -> bool {
        !self.niceness("vp8").is_empty()
    }

    /// How nice each thread of the relay is that has this name.
    fn niceness(&self, thread: &str) -> Vec<i32> {
        let threads = format!("/proc/{}/task", self.relay.pid().unwrap());
        let threads = std::fs::read_dir(threads).unwrap().flatten();
        let stats = threads.filter_map(|thread| {
            // It may have ended meanwhile.
            std::fs::read_to_string(thread.path().join("stat")).ok()
        });

        let name = format!("({thread})");
        let named = stats.filter(|stat| stat.contains(&name));
        // proc_pid_stat(5): the name is the second field, niceness the nineteenth.
        let niceness = named.map(|stat| stat.rsplit_once(") ")?.1.split(' ').nth(16)?.parse().ok());
        niceness.map(|nice| nice.expect("a line of stat")).collect()
    }

    /// How many clients watch this way.
    fn clients_by(&self, kind: &str) -> usize {
        let clients = self.clients().into_iter();
        clients.filter(|client| client["kind"] == kind).count()
    }

    /// Clients that the relay lists.
    fn clients(&self) -> Vec<Value> {
        let listed = self.site.get("/api/viewers").json();
        listed["viewers"].as_array().unwrap().clone()
    }
}

/// The row of the screen `name` in what the source says.
fn row(fixture: &Fixture, name: &str) -> Option<Value> {
    let screens = source_status(&fixture.env, "cam")["screens"].clone();
    let rows = screens.as_array().unwrap().iter();
    rows.into_iter().find(|row| row["name"] == name).cloned()
}

/// Waits until the source has judged `count` detections of the screen `name`; its row.
#[track_caller]
fn wait_judged(fixture: &Fixture, name: &str, count: u64) -> Value {
    until("the source judges the screen", 5 * SOON, || {
        row(fixture, name).filter(|row| row["error_total_px"]["count"].as_u64() >= Some(count))
    })
}

/// Asserts that a screen was judged right against the frames that it named.
#[track_caller]
fn assert_right(row: &Value) {
    let (error, frames) = (&row["error_total_px"], &row["frames"]);
    println!(
        "error {error} latency {} frames {frames}",
        row["latency_ms"]["capture_to_detection"]
    );
    let pixels = |value: &Value| value.as_f64().unwrap();
    assert!(
        pixels(&error["mean"]) < 1.0 && pixels(&error["max"]) < 2.0,
        "{row}"
    );
    assert_eq!(frames["mismatched"], 0, "{row}");
    assert_eq!(row["health"], "right picture", "{row}");
    assert_eq!(row["stream"], "cam", "{row}");
}

/// webrtc_ball.py at work.
struct Client(Program);

/// What it says of a frame.
#[derive(Debug, Deserialize)]
struct Seen {
    x: Option<f64>,
    y: Option<f64>,
    pts: i64,
    width: u32,
    height: u32,
}

impl Client {
    /// What it printed so far.
    fn said(&self) -> Vec<Value> {
        let lines = self.0.log().matching(0, "{");
        let own = lines.iter().filter(|line| line.from == "out");
        own.map(|line| serde_json::from_str(&line.text).unwrap())
            .collect()
    }

    /// The frames so far.
    fn seen(&self) -> Vec<Seen> {
        let said = self.said().into_iter();
        said.filter_map(|line| serde_json::from_value(line).ok())
            .collect()
    }

    #[track_caller]
    fn wait_seen(&self, frames: usize) -> Vec<Seen> {
        until("aiortc shows frames", 3 * SOON, || {
            let seen = self.seen();
            (seen.len() >= frames).then_some(seen)
        })
    }

    /// Ends its session; what it was answered.
    #[track_caller]
    fn end(&self) -> Value {
        let (exit, _) = self.0.stop();
        assert_eq!(exit.code(), Some(0));
        until("aiortc says how it ended", SOON, || {
            self.said()
                .into_iter()
                .find(|line| !line["ended"].is_null())
        })
    }
}

/// Asserts that the frames show the ball on its way: found, within the picture, never twice at one place.
#[track_caller]
fn assert_shows_the_ball(seen: &[Seen]) {
    for frame in seen {
        // Where this machine is too busy the relay sends half of the picture.
        let sizes = [(640, 480), (320, 240)];
        assert!(sizes.contains(&(frame.width, frame.height)), "{frame:?}");
    }

    let of_source = |frame: &Seen| {
        let scale = 640.0 / f64::from(frame.width);
        Some((frame.x? * scale, frame.y? * scale))
    };
    let found: Vec<_> = seen.iter().filter_map(of_source).collect();
    assert!(found.len() * 10 >= seen.len() * 9, "{seen:?}");

    for (x, y) in &found {
        let within = |at: &f64, length: f64| (RADIUS - 3.0..=length - RADIUS + 3.0).contains(at);
        assert!(within(x, 640.0) && within(y, 480.0), "{x} {y}");
    }

    let moved = |pair: &[(f64, f64)]| (pair[1].0 - pair[0].0).hypot(pair[1].1 - pair[0].1) > 1.0;
    let moves = found.windows(2).filter(|pair| moved(pair)).count();
    assert!(moves * 10 >= found.len() * 9, "{found:?}");
    assert!(
        seen.windows(2).all(|pair| pair[0].pts < pair[1].pts),
        "{seen:?}"
    );
}

#[test]
fn aiortc_sees_the_ball_by_whep_and_delete_ends_it() {
    let fixture = Fixture::new("");
    let url = fixture.site.url("/whep/cam");
    let Some(client) = fixture.client(&format!("whep {url}")) else {
        return;
    };

    assert_shows_the_ball(&client.wait_seen(FRAMES));
    let (encoders, fan_out) = (fixture.niceness("vp8"), fixture.niceness("fanlight-relay"));
    assert!(
        encoders.iter().min() > fan_out.iter().max(),
        "encoders give way to the fan-out: {encoders:?} {fan_out:?}"
    );
    let listed = fixture.clients();
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!(
        (&listed[0]["kind"], &listed[0]["stream"]),
        (&"webrtc".into(), &"cam".into())
    );

    let answers = client.end();
    assert_eq!(
        (&answers["ended"], &answers["again"]),
        (&204.into(), &404.into()),
        "{answers}"
    );
    until("nobody is listed", SOON, || {
        fixture.clients().is_empty().then_some(())
    });
    assert!(fixture.relay.exits().is_empty());
}

#[test]
fn the_ball_that_aiortc_finds_is_judged_in_the_frame_that_it_names() {
    let fixture = Fixture::new("");
    let url = fixture.site.url("/whep/cam?name=phone");
    let Some(client) = fixture.client(&format!("whep {url}")) else {
        return;
    };
    let udp = fixture.viewer("screen");

    assert_right(&wait_judged(&fixture, "phone", DETECTIONS));
    // In one table with a viewer over UDP.
    wait_judged(&fixture, "screen", DETECTIONS);
    drop(udp);

    client.end();
    until("the source knows that it left", SOON, || {
        row(&fixture, "phone").filter(|row| !row["left_s"].is_null())
    });
}

#[test]
fn the_older_client_answers_an_offer_over_tcp_and_is_judged_right_too() {
    let env = TestEnv::new();
    let host = env.relay_address(0).ip();
    let fixture = Fixture::of(env, &format!("--webrtc-signalling {host}:0"));
    let line = fixture.relay.wait_for_line(" signalling=").text;
    let (_, address) = line.split_once(" signalling=").unwrap();
    let (host, port) = address.trim().rsplit_once(':').unwrap();
    let Some(client) = fixture.client(&format!("tcp {host} {port}")) else {
        return;
    };

    assert_shows_the_ball(&client.wait_seen(FRAMES));
    assert_right(&wait_judged(&fixture, "", DETECTIONS));
    client.end();
    until("nobody is listed", SOON, || {
        fixture.clients().is_empty().then_some(())
    });
}

#[test]
fn signalling_that_is_none_ends_its_own_connection_only() {
    let env = TestEnv::new();
    let host = env.relay_address(0).ip();
    let fixture = Fixture::of(env, &format!("--webrtc-signalling {host}:0"));
    let line = fixture.relay.wait_for_line(" signalling=").text;
    let (_, address) = line.split_once(" signalling=").unwrap();

    for garbage in [
        "GET / HTTP/1.1\r\n\r\n",
        "{\"type\":\"offer\"}\n",
        "{\"type\":\"answer\",\"sdp\":\"v=0\"}\n",
    ] {
        let stream = TcpStream::connect(address.trim()).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut lines = BufReader::new(stream);
        let mut offer = String::new();
        lines.read_line(&mut offer).unwrap();
        let offer: Value = serde_json::from_str(&offer).unwrap();
        assert_eq!(offer["type"], "offer");
        assert!(offer["sdp"].as_str().unwrap().contains("a=sendrecv"));

        lines.get_mut().write_all(garbage.as_bytes()).unwrap();
        // It is closed; with something unread that is an error.
        let mut rest = Vec::new();
        let _ = lines.read_to_end(&mut rest);
        assert!(rest.is_empty());
    }
    until("no session is left", SOON, || {
        fixture.clients().is_empty().then_some(())
    });
}
