//! Promise P39: 1 000 directions for six screens, two of them windows, at two relays that are killed, stand still and are cut
//! off from some of the screens. What a person sees is read from screenshots.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use fanlight_tests::program::Program;
use fanlight_tests::promise::{Measurement, judge};
use fanlight_tests::seeded::{Random, seed};
use fanlight_tests::udp_proxy::{Impairment, UdpProxy};
use fanlight_tests::video_wall::{CAMERAS, SIZE, VideoWall, order};
use fanlight_tests::viewer_process::{Shown, ViewerCommand, ViewerProcess, read_trace};
use fanlight_tests::wait::{SOON, pause, until};
use serde_json::Value;

use super::window::display::{Display, Monitor};

const DIRECTIONS: usize = 1000;

/// Directions that are given before something else is wrong.
const PER_FAULT: usize = 40;

/// The first ones have windows.
const SCREENS: [&str; 6] = ["left", "right", "bar", "hall", "stairs", "yard"];

/// Longest that 95 of 100 screens take from being asked until the frame is shown.
const SWITCHED: Duration = Duration::from_millis(100);

/// Between two screenshots: some of each picture.
const SHOT_INTERVAL: Duration = Duration::from_millis(8);

const WHOLE: Monitor = Monitor {
    x: 0,
    y: 0,
    width: SIZE.0,
    height: SIZE.1,
};

/// What is wrong while directions are given.
#[derive(Clone, Debug, PartialEq)]
enum Fault {
    Nothing,
    Killed(usize),
    Still(usize),
    /// These screens are cut off from the second relay, which takes directions for them all the same.
    CutOff(BTreeSet<usize>),
}

impl Fault {
    const fn word(&self) -> &'static str {
        match self {
            Self::Nothing => "while nothing is wrong",
            Self::Killed(_) => "while the other relay is killed",
            Self::Still(_) => "while the other relay stands still",
            Self::CutOff(_) => "while screens are cut off from one relay",
        }
    }
}

/// A direction that was given.
#[derive(Debug)]
struct Given {
    /// Its version and origin: the greatest is the newest.
    stamp: (u64, String),
    camera: &'static str,
    proof: Option<Proof>,
}

/// The frame by which a relay took a direction for shown, and the capture time that a screenshot had then.
#[derive(Debug)]
struct Proof {
    epoch: u64,
    number: u64,
    painted: Option<u64>,
}

/// All of it.
struct Trial<'a> {
    wall: VideoWall,
    displays: &'a [Display; 2],
    windows: Vec<(Program, PathBuf)>,
    others: Vec<ViewerProcess>,
    ways: Vec<UdpProxy>,
    random: Random,
    /// By screen.
    given: Vec<Vec<Given>>,
    took: BTreeMap<&'static str, Vec<Duration>>,
}

impl<'a> Trial<'a> {
    fn open(displays: &'a [Display; 2]) -> Self {
        let wall = VideoWall::new(CAMERAS.len(), 2);
        let [first, second] = [0, 1].map(|relay| wall.env.relay_address(relay));
        let clean = Impairment {
            delay: Duration::ZERO,
            loss: 0.0,
            seed: 1,
        };
        let ways: Vec<_> = SCREENS.map(|_| UdpProxy::to(second, clean)).into();
        let launch = |screen: usize| {
            let launch = wall.launch(SCREENS[screen], &[first, ways[screen].address()]);
            launch.flags("--redundancy both")
        };

        let window = |(screen, display): (usize, &Display)| {
            let trace = wall.env.path(&format!("window-{screen}.json"));
            let launch = launch(screen).flags("--fullscreen").flag("trace", &trace);
            let launch = launch.envs(display.variables());
            (launch.start(), trace)
        };
        let windows = displays.iter().enumerate().map(window).collect();
        let others = displays.len()..SCREENS.len();
        let others = others
            .map(|it| ViewerCommand::new(launch(it), &wall.env).start())
            .collect();
        wall.wait_known(SCREENS.len());
        for display in displays {
            until("a picture", SOON, || display.screenshot().code(WHOLE));
        }

        Self {
            windows,
            others,
            wall,
            displays,
            ways,
            random: Random::new(seed(21)),
            given: SCREENS.map(|_| Vec::new()).into(),
            took: BTreeMap::new(),
        }
    }

    /// Lets something else go wrong, or nothing.
    fn fail(&mut self, turn: usize) -> Fault {
        let relay = self.random.below(2);
        match turn % 4 {
            1 => {
                self.wall.relays[relay].kill();
                Fault::Killed(relay)
            }
            2 => {
                self.wall.relays[relay].freeze();
                Fault::Still(relay)
            }
            3 => {
                let cut: BTreeSet<_> = (0..SCREENS.len())
                    .filter(|_| self.random.chance(0.5))
                    .collect();
                cut.iter().for_each(|screen| self.ways[*screen].cut(true));
                Fault::CutOff(cut)
            }
            _ => Fault::Nothing,
        }
    }

    /// Mends it, and waits until both relays have the proof of the newest direction of each screen.
    fn mend(&self, fault: &Fault) {
        match fault {
            Fault::Nothing => {}
            Fault::Killed(relay) => self.wall.wait_up(*relay),
            Fault::Still(relay) => _ = self.wall.relays[*relay].thaw(),
            Fault::CutOff(cut) => cut.iter().for_each(|screen| self.ways[*screen].cut(false)),
        }

        for relay in 0..2 {
            until("the proof of each newest direction", SOON, || {
                let rows = self.wall.rows(relay);
                let is_proved = |(screen, given): (&&str, &Vec<Given>)| {
                    let row = rows.iter().find(|row| row["name"] == **screen);
                    let newest = given.iter().map(|it| &it.stamp).max();
                    row.is_some_and(|row| newest.is_none_or(|newest| is_showing(row, newest)))
                };
                SCREENS.iter().zip(&self.given).all(is_proved).then_some(())
            });
        }
    }

    /// Directs any screen by a relay that is there, and takes the proof where the screen can be reached.
    fn direct(&mut self, fault: &Fault) {
        let (screen, camera) = (
            self.random.below(SCREENS.len()),
            CAMERAS[self.random.below(4)],
        );
        let relay = match fault {
            Fault::Killed(gone) | Fault::Still(gone) => 1 - gone,
            Fault::Nothing | Fault::CutOff(_) => self.random.below(2),
        };
        let is_cut = matches!(fault, Fault::CutOff(cut) if relay == 1 && cut.contains(&screen));
        let (query, status) = if is_cut {
            ("", 202)
        } else {
            ("?wait_ms=20000", 200)
        };
        let answer = self.wall.put(relay, SCREENS[screen], camera, query);
        let body = answer.json();
        assert_eq!(
            answer.status, status,
            "{} {camera}, {fault:?}: {body}",
            SCREENS[screen]
        );
        let shot = self
            .displays
            .get(screen)
            .filter(|_| !is_cut)
            .map(Display::screenshot);

        let row = &body["screen"];
        let proof = (!is_cut).then(|| {
            assert_eq!(row["showing"][0]["stream"], camera, "{body}");
            let took = row["shown_after_ms"].as_u64().map(Duration::from_millis);
            self.took.entry(fault.word()).or_default().extend(took);
            Proof {
                epoch: hexadecimal(&row["showing"][0]["epoch"]),
                number: row["showing"][0]["number"].as_u64().unwrap(),
                painted: shot.map(|shot| shot.code(WHOLE).expect("a picture").captured_ns),
            }
        });
        let stamp = stamp(&body);
        self.given[screen].push(Given {
            stamp,
            camera,
            proof,
        });
    }

    /// Gives all directions; returns the capture time that each screenshot of each window had meanwhile.
    fn run(&mut self) -> Vec<Vec<Option<u64>>> {
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let done = &done;
            let watch = |display| scope.spawn(move || watch(display, done));
            let watchers: Vec<_> = self.displays.iter().map(watch).collect();
            for turn in 0..DIRECTIONS / PER_FAULT {
                let fault = self.fail(turn);
                (0..PER_FAULT).for_each(|_| self.direct(&fault));
                self.mend(&fault);
            }
            done.store(true, Ordering::Relaxed);
            let seen = watchers.into_iter().map(|watcher| watcher.join().unwrap());
            seen.collect()
        })
    }

    /// Ends the screens; returns what each showed by its own word.
    fn finish(&mut self) -> Vec<Vec<Shown>> {
        let windows = self.windows.drain(..).map(|(program, trace)| {
            assert_eq!(program.stop().0.code(), Some(0));
            read_trace(&trace)
        });
        let others = self.others.drain(..).map(|screen| screen.finish().1);
        windows.chain(others).collect()
    }
}

/// Takes screenshots until it is done; the painted capture times, of which none is next to its like.
fn watch(display: &Display, done: &AtomicBool) -> Vec<Option<u64>> {
    let mut seen = Vec::new();
    while !done.load(Ordering::Relaxed) {
        let shot = display.screenshot();
        let code = shot.code(WHOLE);
        if code.is_none() {
            shot.keep("video-wall");
        }
        seen.push(code.map(|code| code.captured_ns));
        seen.dedup();
        pause(SHOT_INTERVAL);
    }
    seen
}

fn stamp(place: &Value) -> (u64, String) {
    let origin = place["origin"].as_str().unwrap();
    (place["version"].as_u64().unwrap(), origin.to_owned())
}

fn hexadecimal(digits: &Value) -> u64 {
    u64::from_str_radix(digits.as_str().unwrap(), 16).unwrap()
}

fn is_showing(row: &Value, newest: &(u64, String)) -> bool {
    row["state"] == "showing" && stamp(&row["direction"]) == *newest
}

/// Whether all of `some` stand in `all`, in this order.
fn is_within<A: PartialEq<B>, B>(some: &[A], all: &[B]) -> bool {
    let mut all = all.iter();
    some.iter().all(|one| all.any(|other| one == other))
}

/// Checks all that was seen of a screen; `painted` has the frame of each capture time.
fn check(
    name: &str,
    (given, shown): (&mut [Given], &[Shown]),
    shots: Option<&Vec<Option<u64>>>,
    painted: &BTreeMap<u64, (u64, u64)>,
    cameras: &BTreeMap<u64, String>,
) {
    given.sort_by(|a, b| a.stamp.cmp(&b.stamp));
    let told: Vec<_> = [CAMERAS[0]]
        .into_iter()
        .chain(given.iter().map(|it| it.camera))
        .collect();
    let mut proved: Vec<_> = given
        .iter()
        .filter(|it| it.proof.is_some())
        .map(|it| it.camera)
        .collect();
    proved.dedup();
    let order = order(shown, cameras);
    assert!(
        is_within(&order, &told),
        "{name}: a picture of a third stream"
    );
    assert!(
        is_within(&proved, &order),
        "{name}: a proof of what was not shown"
    );
    assert_eq!(
        order.last().unwrap(),
        told.last().unwrap(),
        "{name}: the newest"
    );

    let frames: BTreeSet<_> = shown.iter().map(|it| (it.epoch, it.number)).collect();
    for proof in given.iter().filter_map(|it| it.proof.as_ref()) {
        assert!(
            frames.contains(&(proof.epoch, proof.number)),
            "{name}: {proof:?}"
        );
        let seen = proof.painted.map(|captured| painted[&captured]);
        let is_true = |seen: (u64, u64)| seen.0 == proof.epoch && seen.1 >= proof.number;
        assert!(seen.is_none_or(is_true), "{name}: {proof:?}, {seen:?}");
    }

    let camera = |shot: &Option<u64>| {
        let captured = shot.expect("every screenshot has a picture");
        cameras[&painted[&captured].0].as_str()
    };
    let mut seen: Vec<_> = shots.into_iter().flatten().map(camera).collect();
    seen.dedup();
    assert!(
        is_within(&seen, &told),
        "{name}: a screenshot of a third stream"
    );
}

#[test]
#[ignore = "./dev promises"]
fn six_screens_end_at_the_newest_of_1000_directions_and_every_proof_is_true() {
    let display = || Display::single(SIZE.0, SIZE.1);
    let (Some(left), Some(right)) = (display(), display()) else {
        return;
    };

    let displays = [left, right];
    judge("P39: 1 000 directions", |measurement| {
        let mut trial = Trial::open(&displays);
        let cameras = trial.wall.cameras();
        let screenshots = trial.run();
        let shown = trial.finish();
        let frames = shown.iter().flatten();
        let painted =
            frames.filter_map(|it| Some((it.code_captured?.as_nanos(), (it.epoch, it.number))));
        let painted = painted.collect();
        for (screen, shown) in shown.iter().enumerate() {
            let given = &mut trial.given[screen];
            check(
                SCREENS[screen],
                (given, shown),
                screenshots.get(screen),
                &painted,
                &cameras,
            );
        }
        report(measurement, &trial, &screenshots);
    });
}

fn report(measurement: &mut Measurement, trial: &Trial<'_>, screenshots: &[Vec<Option<u64>>]) {
    let given: usize = trial.given.iter().map(Vec::len).sum();
    let proofs = trial
        .given
        .iter()
        .flatten()
        .filter(|it| it.proof.is_some())
        .count();
    let pictures: usize = screenshots.iter().map(Vec::len).sum();
    let what = format!(
        "{given} directions, {proofs} true proofs, {pictures} pictures on screenshots, none black"
    );
    measurement.compare(what, "all", "all", "", true);
    for (fault, took) in &trial.took {
        let mut took = took.clone();
        took.sort_unstable();
        let (p50, p95) = (took[took.len() / 2], took[took.len() * 95 / 100]);
        let what = format!(
            "{fault}: from asked to shown, p95 of {} (median {p50:?})",
            took.len()
        );
        measurement.at_most(what, SWITCHED, p95);
    }
}
