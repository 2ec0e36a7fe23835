//! The relay's WebRTC with clients of others: aiortc in Python.

use fanlight_tests::TestEnv;
use fanlight_tests::http::Site;
use fanlight_tests::program::Program;
use fanlight_tests::python::{python, script};
use fanlight_tests::wait::{SOON, until};
use serde::Deserialize;
use serde_json::Value;

/// Frames that a client shows at least.
const FRAMES: usize = 60;

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
        let env = TestEnv::new();
        let source = env
            .source("cam")
            .flags("--input ball --size 640x480 --rate 30")
            .ready();
        let host = env.relay_address(0).ip();
        let relay = env
            .relay(0, &[env.ipc("cam")])
            .flag("http", format!("{host}:0"))
            .flag("webrtc", format!("{host}:0"))
            .flags(relay_flags)
            .ready();

        let site = Site::of(&relay);
        relay.wait_for_line("live stream=cam");
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

    /// Clients that the relay lists.
    fn clients(&self) -> Vec<Value> {
        let listed = self.site.get("/api/viewers").json();
        listed["viewers"].as_array().unwrap().clone()
    }
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
    let found: Vec<_> = seen
        .iter()
        .filter_map(|frame| frame.x.zip(frame.y))
        .collect();
    assert!(found.len() * 10 >= seen.len() * 9, "{seen:?}");

    for frame in seen {
        assert_eq!((frame.width, frame.height), (640, 480), "{frame:?}");
    }
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
