//! Each program stopped in turn (SIGSTOP): no surface goes on saying of a screen what held before.

use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_tests::TestEnv;
use fanlight_tests::browser::{Browser, Look, Page};
use fanlight_tests::http::Site;
use fanlight_tests::program::Program;
use fanlight_tests::promise::judge;
use fanlight_tests::wait::{SOON, pause, until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::window::display::Display;

/// Longest that a surface may go on as before (promise P32).
const LIE: Duration = Duration::from_millis(1500);

/// The ground of a card.
const CARD: u32 = 0x11_15_1c;

/// A screen with all that speaks of it.
struct Wall<'a> {
    source: Program,
    relay: Program,
    viewer: Program,
    site: Site,
    page: Page<'a>,
    display: Display,
    env: TestEnv,
}

/// What is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stopped {
    Nothing,
    Source,
    Relay,
    Viewer,
}

impl<'a> Wall<'a> {
    fn open(browser: &'a Browser, display: Display) -> Self {
        let env = TestEnv::new();
        let source = env
            .source("cam")
            .flags("--input ball --size 320x240 --rate 30")
            .ready();
        let relay = env
            .relay(0, &[env.ipc("cam")])
            .flag("http", format!("{}:0", env.relay_address(0).ip()))
            .ready();
        let viewer = env
            .program("viewer")
            .flag("relay", env.relay_address(0).to_string())
            .flags("--stream cam --fullscreen --name hall --track ball --overlay figures")
            .envs(display.variables())
            .start();

        let site = Site::of(&relay);
        let page = browser.open(&site.url("/"), &Look::default());
        Self {
            source,
            relay,
            viewer,
            site,
            page,
            display,
            env,
        }
    }

    /// What still says that all is well though it is not; while nothing is stopped, what does not say so.
    fn untrue(&self, stopped: Stopped) -> Vec<String> {
        let well = stopped == Stopped::Nothing;
        let mut surfaces = Vec::new();
        // What stands still cannot be asked, and says nothing.
        if stopped != Stopped::Source {
            surfaces.push(("status", self.status_is_right()));
        }

        if stopped != Stopped::Relay {
            surfaces.push(("/api/viewers", self.row_is_right()));
        }

        if stopped != Stopped::Viewer {
            surfaces.push(("window's state", self.window_says_live()));
            surfaces.push(("window's picture", self.window_has_picture()));
            // None before it knows the streams.
            let panes = self.page.panes(1.0);
            let is_live = panes.first().is_some_and(|pane| pane.state == "live");
            surfaces.push(("page", is_live));
        }

        if matches!(stopped, Stopped::Nothing | Stopped::Source) {
            surfaces.push(("/readyz", self.site.get("/readyz").status == 200));
            let metrics = self.site.get("/metrics").body;
            let up = "fanlight_relay_stream_up{stream=\"cam\"} 1.0";
            let is_up = String::from_utf8_lossy(&metrics).contains(up);
            surfaces.push(("/metrics", is_up));
            let streams = self.site.get("/api/streams").json();
            let gone = streams["streams"][0]["source_gone"] == true;
            surfaces.push(("/api/streams", !gone));
        }

        surfaces
            .into_iter()
            .filter(|(_, says_well)| *says_well != well)
            .map(|(surface, _)| surface.to_owned())
            .collect()
    }

    fn status_is_right(&self) -> bool {
        let asked = self.env.program("source").flags("status --json");
        let (exit, program) = asked.flag("at", self.env.ipc("cam")).run();
        if exit.code() != Some(0) {
            return false;
        }

        let report: Value = until("an answer of status", SOON, || {
            let lines = program.log().matching(0, "");
            let out = lines.iter().filter(|line| line.from == "out");
            let out: String = out.map(|line| line.text.as_str()).collect();
            serde_json::from_str(&out).ok()
        });

        let screens = report["screens"].as_array().unwrap();
        screens
            .iter()
            .any(|screen| screen["name"] == "hall" && is_well(&screen["health"]))
    }

    fn row_is_right(&self) -> bool {
        let viewers = self.site.get("/api/viewers").json()["viewers"].clone();
        let viewers = viewers.as_array().unwrap().iter();
        viewers
            .filter(|viewer| viewer["name"] == "hall")
            .any(|viewer| is_well(&viewer["health"]))
    }

    fn window_says_live(&self) -> bool {
        let lines = self.viewer.log().matching(0, "link_state=");
        lines
            .last()
            .is_some_and(|line| line.text.contains("link_state=\"live\""))
    }

    fn window_has_picture(&self) -> bool {
        let shot = self.display.screenshot();
        let ground = shot.points().filter(|(.., colour)| *colour == CARD);
        ground.count() * 2 < (shot.width * shot.height) as usize
    }

    fn program(&self, stopped: Stopped) -> &Program {
        match stopped {
            Stopped::Source => &self.source,
            Stopped::Relay => &self.relay,
            Stopped::Viewer => &self.viewer,
            Stopped::Nothing => unreachable!("nothing is no program"),
        }
    }

    #[track_caller]
    fn wait_true(&self, stopped: Stopped) {
        let mut last = Vec::new();
        let deadline = fanlight_tests::wait::Deadline::after(SOON);
        while !deadline.is_over() {
            last = self.untrue(stopped);
            if last.is_empty() {
                return;
            }
            pause(Duration::from_millis(50));
        }

        panic!("{stopped:?} stands still, and these do not say so: {last:?}");
    }

    fn verify_is_content(&self) -> bool {
        let asked = self.env.program("source").flags("verify --for 1s --quiet");
        let (exit, _) = asked.flag("at", self.env.ipc("cam")).run();
        exit.code() == Some(0)
    }
}

/// Whether a health is that of a screen that shows the right picture now.
fn is_well(health: &Value) -> bool {
    ["right", "right picture", "late"]
        .iter()
        .any(|word| health == word)
}

#[test]
fn whatever_program_stands_still_no_surface_goes_on_saying_that_all_is_well() {
    let (Some(browser), Some(display)) = (Browser::start(&[]), Display::single(320, 240)) else {
        return;
    };

    let wall = Wall::open(&browser, display);
    for stopped in [Stopped::Source, Stopped::Relay, Stopped::Viewer] {
        wall.wait_true(Stopped::Nothing);
        wall.program(stopped).freeze();
        wall.wait_true(stopped);
        assert!(
            !wall.verify_is_content(),
            "verify, {stopped:?} stands still"
        );
        if stopped == Stopped::Source {
            assert!(!wall.status_is_right());
        }

        wall.program(stopped).thaw();
    }

    wall.wait_true(Stopped::Nothing);
}

#[test]
fn a_tracker_that_stands_still_is_replaced_and_the_picture_stays_live() {
    let (Some(browser), Some(display)) = (Browser::start(&[]), Display::single(320, 240)) else {
        return;
    };

    let wall = Wall::open(&browser, display);
    wall.wait_true(Stopped::Nothing);
    let tracker = children(wall.viewer.pid().unwrap());
    assert!(!tracker.is_empty(), "the tracker is a process of its own");
    for pid in &tracker {
        let pid = Pid::from_raw(*pid).unwrap();
        kill_process(pid, Signal::STOP).unwrap();
    }

    wall.viewer.wait_for_line("a tracker is replaced");
    wall.wait_true(Stopped::Nothing);
    let now = children(wall.viewer.pid().unwrap());
    assert!(now.iter().all(|pid| !tracker.contains(pid)), "{now:?}");
}

/// The processes that `parent` started.
fn children(parent: u32) -> Vec<i32> {
    let tasks = std::fs::read_dir(format!("/proc/{parent}/task")).unwrap();
    tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|pids| {
            pids.split_whitespace()
                .map(|pid| pid.parse().unwrap())
                .collect::<Vec<i32>>()
        })
        .collect()
}

#[test]
#[ignore = "./dev promises"]
fn a_program_that_stands_still_is_told_within_a_second_and_a_half() {
    let (Some(browser), Some(display)) = (Browser::start(&[]), Display::single(320, 240)) else {
        return;
    };

    let wall = Wall::open(&browser, display);
    judge("a program that stands still is told", |measurement| {
        for stopped in [Stopped::Source, Stopped::Relay, Stopped::Viewer] {
            wall.wait_true(Stopped::Nothing);
            // The control: what a look at all surfaces takes, of which the last finds the truth.
            let began = clock::now();
            wall.untrue(Stopped::Nothing);
            let look = clock::now().saturating_since(began);

            let began = clock::now();
            wall.program(stopped).freeze();
            wall.wait_true(stopped);
            let told = clock::now().saturating_since(began);
            wall.program(stopped).thaw();
            let what = format!("{stopped:?} stopped until all surfaces say so, looks {look:.0?}");
            measurement.at_most(what, LIE + 2 * look, told);
        }
    });
}
