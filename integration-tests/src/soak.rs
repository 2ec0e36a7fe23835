//! Programs that go on while everything around them changes: a source restarts in another size, a relay comes and goes,
//! viewers join and leave, streams change, datagrams are lost. `./dev soak` runs it for an hour, promise P12 for two minutes.

mod plot;
mod verdict;

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_proto::clock::Time;

pub use plot::draw;
pub use verdict::{MOST_GROWTH, Verdict, verdicts};

use crate::TestEnv;
use crate::http::Site;
use crate::lab::{Host, Lab};
use crate::light_viewers::{self, LightViewers};
use crate::program::{Launch, Program};
use crate::usage::{Usage, proportional_memory};
use crate::wait::throughout;
use crate::xvfb::Xvfb;

/// What does not restart, in the order of `Scenario::steady`.
pub const STEADY: [&str; 4] = ["source", "relay", "viewer", "window"];

/// The sizes of the source that restarts, one after the other.
const SIZES: [&str; 3] = ["640x360", "1280x720", "320x240"];

/// Frames a second of the sources.
const RATE: u32 = 25;

/// UDP and HTTP ports of the first relay; the second has the next ones.
const PORT: u16 = 5004;
const HTTP_PORT: u16 = 8080;

/// A viewer joins, and another leaves, so often: five a second.
const JOIN_INTERVAL: Duration = Duration::from_millis(200);

/// Joins in a second, and so many viewers are there at once.
const JOINS: usize = 5;

/// Of a hundred datagrams, how many are lost on their way to each host.
const LOSS: f64 = 2.0;

/// The source restarts at least so often, and in a short soak twelve times.
const MOST_SOURCE_LIFE: Duration = Duration::from_secs(60);
const SOURCE_LIVES: u32 = 12;

/// A look at a program.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Since the begin.
    pub at: Duration,
    /// Which: one of [`STEADY`], or what restarts.
    pub program: &'static str,
    /// What it uses.
    pub usage: Usage,
    /// See [`proportional_memory`].
    pub proportional: u64,
}

impl Row {
    /// What the columns of a row are.
    pub const HEAD: &str = "seconds,program,private_bytes,proportional_bytes,resident_bytes,descriptors,threads,cpu_ms";
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Usage {
            resident,
            private,
            descriptors,
            threads,
            cpu,
        } = self.usage;
        write!(
            f,
            "{:.1},{},{private},{},{resident},{descriptors},{threads},{}",
            self.at.as_secs_f64(),
            self.program,
            self.proportional,
            cpu.as_millis()
        )
    }
}

/// Goes on for `length`; `note` is told of each row at once. None where a network laboratory or a display cannot be had.
///
/// # Panics
/// When a program that is to go on ends, or a viewer has shown nothing.
#[must_use]
pub fn run(length: Duration, mut note: impl FnMut(&Row)) -> Option<Vec<Row>> {
    let display = Xvfb::start(1280, 720)?;
    let lab = Lab::open()?;
    let mut stage = Scenario::open(&lab, &display, length);
    let mut rows = Vec::new();
    let mut turns = 0;

    throughout(length, JOIN_INTERVAL, || {
        stage.join_and_leave(turns);
        if turns % JOINS == 0 {
            stage.ask_over_http();
            stage.change();
            rows.extend(stage.look().inspect(&mut note));
        }
        turns += 1;
    });

    stage.close();
    Some(rows)
}

/// The programs, and when what restarts does so. Programs end before their hosts.
struct Scenario {
    members: VecDeque<LightViewers>,
    steady: Vec<Program>,
    /// The source that restarts, and how often it has.
    source: Program,
    lives: usize,
    /// The relay that restarts, now and then by being killed.
    relay: Program,
    life: Duration,
    source_ends: Time,
    relay_ends: Time,
    began: Time,
    crowd: Host,
    host: Host,
    _screen: Host,
    env: TestEnv,
}

impl Scenario {
    fn open(lab: &Lab, display: &Xvfb, length: Duration) -> Self {
        let env = TestEnv::new();
        let host = lab.host("relay");
        let screen = lab.host("screen");
        let crowd = lab.host("crowd");
        let hosts = [&host, &screen, &crowd];
        hosts.iter().for_each(|host| host.lose(LOSS));

        let door = env.source("door").flags("--input ball --size 640x360");
        let door = door.flag("rate", RATE.to_string()).ready();
        let source = restarting_source(&env, 0).ready();
        let first = relay(&env, &host, 0).ready();
        let second = relay(&env, &host, 1).ready();
        let viewer = viewer(&env, &host, &screen, "viewer").flags("--headless --stream hall");
        let window = viewer_in_window(&env, &host, &screen, display);
        let life = MOST_SOURCE_LIFE.min(length / SOURCE_LIVES);
        let began = clock::now();

        Self {
            members: VecDeque::new(),
            steady: vec![door, first, viewer.start(), window.start()],
            source,
            lives: 1,
            relay: second,
            life,
            source_ends: began + life,
            relay_ends: began + life * 3 / 4,
            began,
            crowd,
            host,
            _screen: screen,
            env,
        }
    }

    /// One more viewer, and one that was there for a second goes.
    fn join_and_leave(&mut self, turn: usize) {
        let sockets = self.crowd.within(|| vec![light_viewers::socket(None)]);
        let relay = (self.host.address(), PORT + (turn % 2) as u16).into();
        let stream = ["hall", "door"][turn / 2 % 2];
        let interval = Duration::from_secs(1) / RATE;
        let joined = LightViewers::join(sockets, relay, stream, interval);
        self.members.push_back(joined);
        if self.members.len() > JOINS {
            self.members.pop_front();
        }
    }

    /// A picture and the begin of a stream, from the relay that stays.
    fn ask_over_http(&self) {
        let site = Site((self.host.address(), HTTP_PORT).into());
        self.crowd.within(|| {
            // Whether there is a picture yet is not the question.
            let _ = site.get("/snapshot/door.jpg");
            let _ = site.ask("GET", "/api/status", &[], "");
        });
    }

    /// Restarts what has lived long enough.
    fn change(&mut self) {
        if clock::now() >= self.source_ends {
            self.source.stop();
            self.source = restarting_source(&self.env, self.lives).start();
            self.lives += 1;
            self.source_ends = self.source_ends + self.life;
        }

        if clock::now() >= self.relay_ends {
            if self.lives.is_multiple_of(2) {
                self.relay.kill();
            } else {
                self.relay.stop();
            }
            self.relay.start_again();
            self.relay_ends = self.relay_ends + self.life;
        }
    }

    fn look(&self) -> impl Iterator<Item = Row> {
        let steady = STEADY.into_iter().zip(&self.steady);
        let restarted = [
            ("source that restarts", &self.source),
            ("relay that restarts", &self.relay),
        ];
        steady.chain(restarted).filter_map(|(program, running)| {
            let pid = running.pid()?;
            Some(Row {
                at: clock::now().saturating_since(self.began),
                program,
                usage: Usage::of(pid)?,
                proportional: proportional_memory(pid)?,
            })
        })
    }

    /// Ends all, and asserts that what was to go on did.
    #[track_caller]
    fn close(mut self) {
        self.members.clear();
        for (name, program) in STEADY.iter().zip(&self.steady).rev() {
            let (exit, _) = program.stop();
            assert_eq!(exit.code(), Some(0), "{name}");
            assert_eq!(program.exits().len(), 1, "{name} ended before its time");
        }

        for name in ["viewer", "window"] {
            let report = std::fs::read_to_string(self.env.path(&format!("{name}.json")));
            let report: crate::viewer_process::Report =
                serde_json::from_str(&report.expect("a viewer writes its report"))
                    .expect("a report is JSON");
            report.assert_balanced();
            eprintln!("{name}: {:?}, {} joins", report.frames, report.joins);
            assert!(report.frames.shown > 0, "{name} has shown nothing");
        }
    }
}

fn restarting_source(env: &TestEnv, lives: usize) -> Launch {
    env.source("hall")
        .flags("--input ball")
        .flag("size", SIZES[lives % SIZES.len()])
        .flag("rate", RATE.to_string())
}

fn relay(env: &TestEnv, host: &Host, number: u16) -> Launch {
    let at = |port| SocketAddr::from((host.address(), port)).to_string();
    env.program("relay")
        .flag("sources", [env.ipc("hall"), env.ipc("door")].join(","))
        .flag("listen", at(PORT + number))
        .flag("http", at(HTTP_PORT + number))
        .flags("--access open --http-access open --discovery=false")
        .under(&host.enter())
}

/// A viewer on `screen`, of both relays.
fn viewer(env: &TestEnv, relays: &Host, screen: &Host, name: &str) -> Launch {
    let relay = |number| SocketAddr::from((relays.address(), PORT + number)).to_string();
    env.program("viewer")
        .flag("relay", relay(0))
        .flag("relay", relay(1))
        .flag("report", env.path(&format!("{name}.json")))
        .under(&screen.enter())
}

/// One whose stream changes, and which records in a loop.
fn viewer_in_window(env: &TestEnv, relays: &Host, screen: &Host, display: &Xvfb) -> Launch {
    viewer(env, relays, screen, "window")
        .flags("--stream hall --stream door --cycle 5s")
        .flags("--keep 20MB --segment 10s")
        .flag("record-loop", env.path("films"))
        .env("DISPLAY", display.name())
        .env("WAYLAND_DISPLAY", "")
}
