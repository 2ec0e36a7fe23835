//! Cameras, relays that reach all of them, and screens that take directions: real programs on loopback, and what the relays
//! say of the screens over HTTP.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};

use serde_json::{Value, json};

use crate::TestEnv;
use crate::http::{Answer, Site};
use crate::program::{Launch, Program};
use crate::viewer_process::{Shown, ViewerCommand, ViewerProcess};
use crate::wait::{SOON, until};

/// The names of the cameras.
pub const CAMERAS: [&str; 4] = ["cam1", "cam2", "cam3", "cam4"];

/// The size of every camera's pictures.
pub const SIZE: (u32, u32) = (320, 240);

/// The programs but for the screens.
#[derive(Debug)]
pub struct VideoWall {
    /// Where they run.
    pub env: TestEnv,
    /// The sources of the first [`CAMERAS`].
    pub sources: Vec<Program>,
    /// The relays, which are started again when they end.
    pub relays: Vec<Program>,
}

impl VideoWall {
    /// With so many cameras, whose pictures tell number and time of each frame, and so many relays.
    #[must_use]
    #[track_caller]
    pub fn new(cameras: usize, relays: u16) -> Self {
        let env = TestEnv::new();
        let cameras = &CAMERAS[..cameras];
        let (width, height) = SIZE;
        let input = format!("--input pattern --size {width}x{height} --rate 30");
        let source = |name: &&str| env.source(name).flags(&input).ready();
        let sources = cameras.iter().map(source).collect();

        let endpoints: Vec<String> = cameras.iter().map(|name| env.ipc(name)).collect();
        let relay = |number| {
            let relay = env.relay(number, &endpoints);
            let relay = relay.flag("http", env.http_address(number).to_string());
            relay.ready()
        };
        let relays: Vec<_> = (0..relays).map(relay).collect();
        relays.iter().for_each(Program::keep);
        Self {
            env,
            sources,
            relays,
        }
    }

    /// The addresses by which screens reach the relays.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let numbers = 0..self.relays.len() as u16;
        numbers.map(|it| self.env.relay_address(it)).collect()
    }

    /// How a screen that watches by these addresses is started. By its own settings it shows the first camera.
    #[must_use]
    pub fn launch(&self, name: &str, relays: &[SocketAddr]) -> Launch {
        let viewer = relays
            .iter()
            .fold(self.env.program("viewer"), |viewer, relay| {
                viewer.flag("relay", relay.to_string())
            });
        viewer
            .flag("stream", CAMERAS[0])
            .flag("name", name)
            .flags("--directed")
            .flag("state-dir", self.env.path(name))
    }

    /// A screen without a window that watches by every relay.
    #[must_use]
    #[track_caller]
    pub fn screen(&self, name: &str) -> ViewerProcess {
        let launch = self.launch(name, &self.addresses());
        ViewerCommand::new(launch, &self.env).start()
    }

    /// Waits until each relay knows so many screens that take directions.
    #[track_caller]
    pub fn wait_known(&self, screens: usize) {
        for relay in 0..self.relays.len() {
            until("the relay knows every screen", SOON, || {
                let rows = self.rows(relay);
                let ready =
                    |row: &&Value| row["takes_directions"] == true && row["state"] != "away";
                (rows.iter().filter(ready).count() == screens).then_some(())
            });
        }
    }

    /// The HTTP of a relay.
    #[must_use]
    pub fn site(&self, relay: usize) -> Site {
        Site(self.env.http_address(relay as u16))
    }

    /// What a relay lists.
    #[must_use]
    #[track_caller]
    pub fn rows(&self, relay: usize) -> Vec<Value> {
        let answer = self.site(relay).get("/api/screens").json();
        answer["screens"].as_array().cloned().unwrap_or_default()
    }

    /// What a relay lists of one screen.
    #[must_use]
    #[track_caller]
    pub fn row(&self, relay: usize, screen: &str) -> Option<Value> {
        let mut rows = self.rows(relay).into_iter();
        rows.find(|row| row["name"] == screen)
    }

    /// Asks a relay to have a screen show a stream; with `query`, such as `?wait_ms=8000`.
    #[must_use]
    #[track_caller]
    pub fn put(&self, relay: usize, screen: &str, stream: &str, query: &str) -> Answer {
        let path = format!("/api/screens/{screen}{query}");
        let headers = [("Content-Type", "application/json")];
        let body = json!({ "streams": [stream] }).to_string();
        // A relay that has just begun hears of its screens and cameras within a second.
        until("the relay can direct the screen", SOON, || {
            let answer = self.site(relay).ask("PUT", &path, &headers, &body);
            (answer.status != 404).then_some(answer)
        })
    }

    /// Directs a screen, and gives its row once the relay has the proof.
    ///
    /// # Panics
    /// When it gets none.
    #[must_use]
    #[track_caller]
    pub fn direct(&self, relay: usize, screen: &str, stream: &str) -> Value {
        let answer = self.put(relay, screen, stream, "?wait_ms=8000");
        assert_eq!(answer.status, 200, "{screen} {stream}: {}", answer.json());
        answer.json()["screen"].clone()
    }

    /// The camera of each epoch.
    ///
    /// # Panics
    /// When a source does not tell its own.
    #[must_use]
    #[track_caller]
    pub fn cameras(&self) -> BTreeMap<u64, String> {
        let cameras = self.sources.iter().zip(CAMERAS);
        let pairs = cameras.map(|(source, camera)| {
            let line = source.wait_for_line("publishing").text;
            let epoch = line.rsplit_once("epoch=").map(|(_, it)| it.trim().parse());
            let epoch = epoch.and_then(Result::ok);
            (epoch.expect("a source tells its epoch"), camera.to_owned())
        });
        pairs.collect()
    }

    /// Waits until a relay answers.
    #[track_caller]
    pub fn wait_up(&self, relay: usize) {
        let site = self.site(relay);
        until("the relay answers", SOON, || {
            TcpStream::connect(site.0).ok()
        });
    }
}

/// The cameras that were shown, one after the other.
#[must_use]
pub fn order(shown: &[Shown], cameras: &BTreeMap<u64, String>) -> Vec<String> {
    let mut order: Vec<String> = shown.iter().map(|it| cameras[&it.epoch].clone()).collect();
    order.dedup();
    order
}
