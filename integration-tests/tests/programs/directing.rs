//! Real screens at real relays: each ends at the newest direction whatever is killed meanwhile, shows nothing else on the way,
//! and every proof is true.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::time::Duration;

use fanlight_tests::TestEnv;
use fanlight_tests::http::Site;
use fanlight_tests::program::Program;
use fanlight_tests::promise::judge;
use fanlight_tests::seeded::{Random, seed};
use fanlight_tests::viewer_process::{Shown, ViewerProcess};
use fanlight_tests::wait::{SOON, until};
use serde_json::{Value, json};

const CAMERAS: [&str; 4] = ["cam1", "cam2", "cam3", "cam4"];

/// Directions in a test, and in the promise of how fast a screen switches.
const DIRECTIONS: usize = 24;
const SWITCHES: usize = 100;

/// Longest that 95 of 100 screens take from being asked until the frame is shown.
const SWITCHED: Duration = Duration::from_millis(100);

/// Cameras, relays that all of them reach, and screens that watch by both.
struct House {
    env: TestEnv,
    sources: Vec<Program>,
    relays: Vec<Program>,
    screens: BTreeMap<String, ViewerProcess>,
}

impl House {
    fn new(cameras: &[&str], relays: u16, screens: usize) -> Self {
        let env = TestEnv::new();
        let sources = cameras.iter().map(|name| {
            let source = env
                .source(name)
                .flags("--input ball --size 320x240 --rate 30");
            source.ready()
        });
        let sources = sources.collect();
        let endpoints: Vec<String> = cameras.iter().map(|name| env.ipc(name)).collect();
        let relays: Vec<Program> = (0..relays)
            .map(|number| {
                let relay = env.relay(number, &endpoints);
                relay
                    .flag("http", env.http_address(number).to_string())
                    .ready()
            })
            .collect();
        relays.iter().for_each(Program::keep);

        let mut house = Self {
            env,
            sources,
            relays,
            screens: BTreeMap::new(),
        };
        for number in 1..=screens {
            let name = format!("screen-{number}");
            house.screens.insert(name.clone(), house.screen(&name));
        }
        for relay in 0..house.relays.len() {
            until("the relay knows every screen", SOON, || {
                let rows = house.rows(relay);
                let ready = |row: &&Value| row["takes_directions"] == true;
                (rows.iter().filter(ready).count() == screens).then_some(())
            });
        }
        house
    }

    fn screen(&self, name: &str) -> ViewerProcess {
        let relays = 0..self.relays.len() as u16;
        let mut viewer = self.env.viewer(self.env.relay_address(0), CAMERAS[0]);
        for further in relays.skip(1) {
            viewer = viewer.flag("relay", self.env.relay_address(further).to_string());
        }
        let viewer = viewer.flag("name", name).flags("--directed");
        viewer.flag("state-dir", self.env.path(name)).start()
    }

    fn site(&self, relay: usize) -> Site {
        Site(self.env.http_address(relay as u16))
    }

    fn rows(&self, relay: usize) -> Vec<Value> {
        let answer = self.site(relay).get("/api/screens").json();
        answer["screens"].as_array().cloned().unwrap_or_default()
    }

    fn row(&self, relay: usize, screen: &str) -> Option<Value> {
        self.rows(relay)
            .into_iter()
            .find(|row| row["name"] == screen)
    }

    /// Directs a screen, and gives its row once the relay has the proof.
    fn direct(&self, relay: usize, screen: &str, stream: &str) -> Value {
        let path = format!("/api/screens/{screen}?wait_ms=8000");
        let headers = [("Content-Type", "application/json")];
        let body = json!({ "streams": [stream] }).to_string();
        // A relay that has just begun hears of its screens and cameras within a second.
        let answer = until("the relay can direct the screen", SOON, || {
            let answer = self.site(relay).ask("PUT", &path, &headers, &body);
            (answer.status != 404).then_some(answer)
        });
        assert_eq!(answer.status, 200, "{screen} {stream}: {}", answer.json());
        answer.json()["screen"].clone()
    }

    /// The camera of each epoch.
    fn streams(&self) -> BTreeMap<u64, String> {
        let cameras = self.sources.iter().zip(CAMERAS);
        let pairs = cameras.map(|(source, camera)| {
            let line = source.wait_for_line("publishing").text;
            let (_, epoch) = line
                .rsplit_once("epoch=")
                .expect("a source tells its epoch");
            (epoch.trim().parse().unwrap(), camera.to_owned())
        });
        pairs.collect()
    }

    /// Waits until a relay answers.
    fn wait_up(&self, relay: usize) {
        let site = self.site(relay);
        until("the relay answers", SOON, || {
            TcpStream::connect(site.0).ok()
        });
    }
}

/// The streams that were shown, one after the other.
fn order(shown: &[Shown], streams: &BTreeMap<u64, String>) -> Vec<String> {
    let mut order: Vec<String> = shown.iter().map(|it| streams[&it.epoch].clone()).collect();
    order.dedup();
    order
}

#[test]
fn every_screen_ends_at_the_newest_direction_though_relays_are_killed_and_stand_still() {
    let house = House::new(&CAMERAS, 2, 3);
    let streams = house.streams();
    let mut random = Random::new(seed(21));
    let names: Vec<String> = house.screens.keys().cloned().collect();
    let mut told: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for name in &names {
        told.insert(name, vec![CAMERAS[0].to_owned()]);
    }

    for step in 0..DIRECTIONS {
        let relay = random.below(2);
        let other = &house.relays[1 - relay];
        let frozen = step % 8 == 3;
        if step % 8 == 6 {
            other.kill();
        } else if frozen {
            other.freeze();
        }

        let (screen, stream) = (&names[random.below(3)], CAMERAS[random.below(4)]);
        let row = house.direct(relay, screen, stream);
        assert_eq!(row["state"], "showing", "{row}");
        assert_eq!(row["showing"][0]["stream"], stream, "{row}");
        told.get_mut(screen.as_str())
            .unwrap()
            .push(stream.to_owned());

        if frozen {
            other.thaw();
        }
        house.wait_up(1 - relay);
    }

    for (screen, streams) in &told {
        let last = streams.last().unwrap();
        for relay in 0..2 {
            until(
                "both relays have the proof of the newest direction",
                SOON,
                || {
                    let row = house.row(relay, screen)?;
                    let is_own = row["direction"].is_null() && streams.len() == 1;
                    let is_proved =
                        row["state"] == "showing" && row["direction"]["streams"] == json!([last]);
                    (is_own || is_proved).then_some(())
                },
            );
        }
    }

    for (name, screen) in house.screens {
        let (_, shown) = screen.finish();
        let mut told = told[name.as_str()].clone();
        told.dedup();
        assert_eq!(
            order(&shown, &streams),
            told,
            "{name} shows what it was told and nothing else"
        );
    }
    assert!(house.sources.iter().all(|source| source.exits().is_empty()));
}

#[test]
fn a_screen_keeps_its_direction_over_its_own_restart_and_that_of_its_relay() {
    let mut house = House::new(&CAMERAS[..2], 1, 1);
    let streams = house.streams();
    house.direct(0, "screen-1", "cam2");
    let (_, shown) = house.screens.remove("screen-1").unwrap().finish();
    assert_eq!(order(&shown, &streams), ["cam1", "cam2"]);

    house.relays[0].kill();
    house.wait_up(0);
    let again = house.screen("screen-1");
    let row = until("the new relay hears of the direction", SOON, || {
        house
            .row(0, "screen-1")
            .filter(|row| row["state"] == "showing")
    });
    assert_eq!(row["direction"]["streams"], json!(["cam2"]), "{row}");
    let (_, shown) = again.finish();
    assert_eq!(order(&shown, &streams), ["cam2"], "never its own setting");
}

#[test]
#[ignore = "./dev promises"]
fn a_screen_switches_within_100_ms_and_without_a_gap() {
    judge("P39: a screen is switched", |measurement| {
        let mut house = House::new(&CAMERAS[..2], 1, 1);
        let mut took = Vec::new();
        for switch in 0..SWITCHES {
            let row = house.direct(0, "screen-1", CAMERAS[(switch + 1) % 2]);
            took.push(Duration::from_secs_f64(
                row["shown_after_ms"].as_f64().unwrap() / 1e3,
            ));
        }

        took.sort_unstable();
        let p95 = took[SWITCHES * 95 / 100];
        let what = format!(
            "from asked to shown, p95 of {SWITCHES} (median {:.1?})",
            took[SWITCHES / 2]
        );
        measurement.at_most(what, SWITCHED, p95);

        let (_, shown) = house.screens.remove("screen-1").unwrap().finish();
        let switches = shown
            .windows(2)
            .filter(|pair| pair[0].epoch != pair[1].epoch);
        let mut gaps: Vec<Duration> = switches
            .map(|pair| pair[1].at.saturating_since(pair[0].at))
            .collect();
        gaps.sort_unstable();
        let what = "from the last frame of one stream to the first of the other, p95";
        measurement.at_most(what, SWITCHED, gaps[gaps.len() * 95 / 100]);
    });
}
