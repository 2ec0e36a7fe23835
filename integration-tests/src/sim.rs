//! The simulator: the real engines of relay and viewer between a scripted source and links of any kind, on a virtual
//! clock. What happens follows from a [`Case`] and a seed, and is the same each time.
//!
//! A case is data: nodes, links, and steps with a sentence each. [`run`] checks in every case what must hold always
//! (the module `monitor`), and at the end that everything heals; a case adds what it is about.

mod clock;
mod link;
mod monitor;
mod random_case;
mod relay_node;
mod replay;
mod source;
mod tree;
mod viewer_node;
mod world;

use std::borrow::Cow;
use std::time::Duration;

pub use clock::Clock;
pub use link::{Carried, Link, Rate};
pub use monitor::{LONGEST_LIE, Lost, Monitor};
pub use random_case::random_case;
pub use replay::{Compared, replay};
pub use source::SourceConfig;
pub use tree::{Tree, Trouble};
pub use viewer_node::ViewerCounts;
pub use world::{Trace, What, World};

/// After the last disturbance every viewer is live again within this.
pub const HEALS_WITHIN: Duration = Duration::from_secs(3);

/// For so long after that it is watched to lose nothing.
const CLEAN_TAIL: Duration = Duration::from_secs(1);

/// A viewer hears from its relay so often, and a little.
const ANSWERED_WITHIN: Duration = Duration::from_millis(350);

/// A node, by its number among those of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "they are what they are called")]
pub enum Node {
    Source(usize),
    Relay(usize),
    Viewer(usize),
}

/// What a viewer's display does with the frames that come to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Display {
    /// It shows those that can be decoded.
    #[default]
    Shows,
    /// It takes none, as a compositor that stands still.
    Stopped,
    /// It shows none and says that it did: a lie, to try the oracle with.
    Pretends,
}

/// What the relays of a case ask of viewers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Nothing.
    #[default]
    Open,
    /// A key of each viewer's own.
    Keys,
}

/// A relay. It takes all sources, or has their streams from other relays.
#[derive(Clone, Debug)]
pub struct RelayConfig {
    /// What it asks of viewers.
    pub access: Access,
    /// What its clock shows.
    pub clock: Clock,
    /// How long a message of a source, or of the relay above, takes to it.
    pub leg: Duration,
    /// The relays that publish for it; none: the sources do.
    pub above: Vec<usize>,
}

impl Default for RelayConfig {
    /// On another host than the source.
    fn default() -> Self {
        let clock = Clock {
            offset: Duration::from_secs(100_000),
            drift_ppm: -20,
            wall_offset_ns: 0,
        };

        Self {
            access: Access::Open,
            clock,
            leg: Duration::from_micros(300),
            above: Vec::new(),
        }
    }
}

/// A viewer.
#[derive(Clone, Debug)]
pub struct ViewerConfig {
    /// What its relays ask of it.
    pub access: Access,
    /// What its clock shows.
    pub clock: Clock,
    /// Datagrams that its socket holds.
    pub capacity: u32,
    /// The relays that it asks, each over a link that is the same in both directions.
    pub paths: Vec<(usize, Link)>,
}

impl ViewerConfig {
    /// One that asks relay 0 over `link`.
    #[must_use]
    pub fn over(link: Link) -> Self {
        let clock = Clock {
            offset: Duration::from_secs(7),
            drift_ppm: 35,
            wall_offset_ns: 0,
        };

        Self {
            access: Access::Open,
            clock,
            capacity: 1820,
            paths: vec![(0, link)],
        }
    }
}

/// A simulation as data.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it is called, in snake_case.
    pub name: Cow<'static, str>,
    /// What it is about.
    pub sentence: &'static str,
    /// The sources.
    pub sources: Vec<SourceConfig>,
    /// The relays.
    pub relays: Vec<RelayConfig>,
    /// The viewers.
    pub viewers: Vec<ViewerConfig>,
    /// What happens, in the order of time.
    pub steps: Vec<Step>,
    /// When everything that is still wrong is healed; the case goes on for [`HEALS_WITHIN`] and a little.
    pub length: Duration,
    /// What it shows, besides what holds always.
    pub checks: Vec<Check>,
}

impl Case {
    /// A source, a relay, and one viewer that reaches it over `link`; for `length`.
    #[must_use]
    pub fn simple(
        name: &'static str,
        sentence: &'static str,
        link: Link,
        length: Duration,
    ) -> Self {
        Self {
            name: name.into(),
            sentence,
            sources: vec![SourceConfig::default()],
            relays: vec![RelayConfig::default()],
            viewers: vec![ViewerConfig::over(link)],
            steps: Vec::new(),
            length,
            checks: Vec::new(),
        }
    }

    /// The case with one more step.
    #[must_use]
    pub fn step(mut self, at: Duration, sentence: &'static str, act: Action) -> Self {
        assert!(
            self.steps.last().is_none_or(|last| last.at <= at),
            "steps stand in the order of time"
        );
        self.steps.push(Step { at, sentence, act });
        self
    }

    /// The case with one more check.
    #[must_use]
    pub fn check(mut self, sentence: &'static str, expect: Expect) -> Self {
        self.checks.push(Check { sentence, expect });
        self
    }
}

/// Something that happens.
#[derive(Clone, Debug)]
pub struct Step {
    /// When.
    pub at: Duration,
    /// What it is, in words.
    pub sentence: &'static str,
    /// What it is.
    pub act: Action,
}

/// See [`Step`]. Paths are named by viewer and number.
#[derive(Clone, Debug)]
#[expect(
    missing_docs,
    reason = "documented at the methods of World of the same names"
)]
#[expect(
    clippy::large_enum_variant,
    reason = "a case has a few, and they are not moved"
)]
pub enum Action {
    SetLinks {
        viewer: usize,
        path: usize,
        up: Link,
        down: Link,
    },
    Cut {
        viewer: usize,
        path: usize,
    },
    Join {
        viewer: usize,
        path: usize,
    },
    CutLeg(usize),
    JoinLeg(usize),
    Rebind {
        viewer: usize,
        path: usize,
    },
    StillCamera(usize),
    MovingCamera(usize),
    DamagePictures(usize),
    MendPictures(usize),
    SetDisplay(usize, Display),
    StepWall(Node, i64),
    Kill(Node),
    StopRelay(usize),
    Start(Node),
    Freeze(Node),
    Thaw(Node),
    RotateKey(usize),
    Expel {
        relay: usize,
        viewer: usize,
    },
    Tap {
        viewer: usize,
        by: usize,
    },
    Mutate {
        viewer: usize,
        path: usize,
    },
    Record {
        viewer: usize,
        path: usize,
    },
    Replay {
        viewer: usize,
        path: usize,
    },
    Heal,
}

impl Action {
    fn apply(&self, world: &mut World) {
        match self {
            Self::SetLinks {
                viewer,
                path,
                up,
                down,
            } => world.set_links(*viewer, *path, *up, *down),
            Self::Cut { viewer, path } => world.cut(*viewer, *path, true),
            Self::Join { viewer, path } => world.cut(*viewer, *path, false),
            Self::CutLeg(relay) => world.cut_leg(*relay, true),
            Self::JoinLeg(relay) => world.cut_leg(*relay, false),
            Self::Rebind { viewer, path } => world.rebind(*viewer, *path),
            Self::StillCamera(source) => world.capture(*source, false),
            Self::MovingCamera(source) => world.capture(*source, true),
            Self::DamagePictures(source) => world.damage(*source, true),
            Self::MendPictures(source) => world.damage(*source, false),
            Self::SetDisplay(viewer, display) => world.set_display(*viewer, *display),
            Self::StepWall(node, nanos) => world.step_wall(*node, *nanos),
            Self::Kill(node) => world.kill(*node),
            Self::StopRelay(relay) => world.stop_relay(*relay),
            Self::Start(node) => world.start(*node),
            Self::Freeze(node) => world.freeze(*node),
            Self::Thaw(node) => world.thaw(*node),
            Self::RotateKey(relay) => world.rotate_key(*relay),
            Self::Expel { relay, viewer } => world.expel(*relay, *viewer),
            Self::Tap { viewer, by } => world.tap(*viewer, *by),
            Self::Mutate { viewer, path } => world.mutate(*viewer, *path),
            Self::Record { viewer, path } => world.record(*viewer, *path),
            Self::Replay { viewer, path } => world.replay(*viewer, *path),
            Self::Heal => world.heal(),
        }
    }
}

/// Something that a case shows.
#[derive(Clone, Debug)]
pub struct Check {
    /// In words.
    pub sentence: &'static str,
    /// As a figure.
    pub expect: Expect,
}

/// See [`Check`].
#[derive(Clone, Debug)]
pub enum Expect {
    /// The viewer gives out a frame within so long of a moment.
    FrameWithin {
        /// Which viewer.
        viewer: usize,
        /// Of when.
        of: Duration,
        /// So long.
        within: Duration,
    },
    /// No two of its frames in a span are further apart.
    GapAtMost {
        /// Which viewer.
        viewer: usize,
        /// The span's begin.
        from: Duration,
        /// The span's end.
        to: Duration,
        /// So far.
        gap: Duration,
    },
    /// So many frames a second, at least.
    FpsAtLeast {
        /// Which viewer.
        viewer: usize,
        /// The span's begin.
        from: Duration,
        /// The span's end.
        to: Duration,
        /// So many.
        fps: f64,
    },
    /// All frames that were published in the span but so many.
    MissesAtMost {
        /// Which viewer.
        viewer: usize,
        /// The span's begin.
        from: Duration,
        /// The span's end.
        to: Duration,
        /// So many.
        frames: usize,
    },
    /// What the link does not deliver of the relay's datagrams.
    LinkLossAtMost {
        /// Which viewer.
        viewer: usize,
        /// The span's begin, in whole seconds.
        from: Duration,
        /// The span's end, in whole seconds.
        to: Duration,
        /// The share.
        share: f64,
    },
    /// It gives out no frame.
    Nothing {
        /// Which viewer.
        viewer: usize,
        /// The span's begin.
        from: Duration,
        /// The span's end.
        to: Duration,
    },
    /// The signal does not say live.
    NotLive {
        /// Which viewer.
        viewer: usize,
        /// When.
        at: Duration,
    },
    /// Its sessions.
    JoinsAtMost {
        /// Which viewer.
        viewer: usize,
        /// So many.
        joins: u64,
    },
}

impl Expect {
    /// What is wrong, if it does not hold.
    fn missed(&self, world: &World) -> Option<String> {
        let wrong = |bad: bool, what: String| bad.then_some(what);
        match *self {
            Self::FrameWithin { viewer, of, within } => {
                let first = world
                    .watch(viewer)
                    .frames_between(of, Duration::MAX)
                    .first()
                    .map(|(at, _)| *at - of);

                wrong(
                    first.is_none_or(|first| first > within),
                    format!("the first frame came after {first:?}"),
                )
            }
            Self::GapAtMost {
                viewer,
                from,
                to,
                gap,
            } => {
                let frames = world.watch(viewer).frames_between(from, to);
                let longest = frames.windows(2).map(|pair| pair[1].0 - pair[0].0).max();
                wrong(
                    longest.is_none_or(|longest| longest > gap),
                    format!("the longest gap is {longest:?}"),
                )
            }
            Self::FpsAtLeast {
                viewer,
                from,
                to,
                fps,
            } => {
                let rate = world.watch(viewer).frames_between(from, to).len() as f64
                    / (to - from).as_secs_f64();
                let second = |at: u64| {
                    world
                        .watch(viewer)
                        .frames_between(seconds(at), seconds(at + 1))
                        .len()
                };

                let each: Vec<_> = (0..to.as_secs()).map(second).collect();
                wrong(
                    rate < fps,
                    format!("{rate:.1} frames a second; in each second: {each:?}"),
                )
            }
            Self::MissesAtMost {
                viewer,
                from,
                to,
                frames,
            } => {
                let given = world
                    .watch(viewer)
                    .frames_between(from, to + Duration::from_secs(1));
                let given: std::collections::HashSet<_> = given.iter().map(|(_, id)| *id).collect();
                let missed = world
                    .published(0, from, to)
                    .filter(|id| !given.contains(id))
                    .count();

                wrong(missed > frames, format!("{missed} frames are missing"))
            }
            Self::LinkLossAtMost {
                viewer,
                from,
                to,
                share,
            } => {
                let seconds =
                    &world.seconds(viewer, 0)[from.as_secs() as usize..to.as_secs() as usize];
                let (offered, missing) = seconds
                    .iter()
                    .fold((0, 0), |sum, s| (sum.0 + s.0, sum.1 + s.1));
                let lost = missing as f64 / offered.max(1) as f64;
                wrong(
                    lost > share,
                    format!("{missing} of {offered} datagrams are lost"),
                )
            }
            Self::Nothing { viewer, from, to } => {
                let frames = world.watch(viewer).frames_between(from, to).len();
                wrong(frames > 0, format!("{frames} frames are given out"))
            }
            Self::NotLive { viewer, at } => {
                let word = world.watch(viewer).signal_at(at);
                wrong(
                    word == viewer_node::Viewer::live(),
                    format!("it says {word}"),
                )
            }
            Self::JoinsAtMost { viewer, joins } => {
                let joined = world.tally(viewer).joins;
                wrong(joined > joins, format!("{joined} sessions"))
            }
        }
    }
}

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Runs a case: its steps, then healing, then its checks.
///
/// # Panics
/// When something does not hold that must; the seed is printed then.
pub fn run(case: &Case, seed: u64) -> World {
    run_with(case, seed, |_| {})
}

/// Runs a case after `prepare`.
///
/// # Panics
/// As [`run`].
pub fn run_with(case: &Case, seed: u64, prepare: impl FnOnce(&mut World)) -> World {
    let mut told = Told {
        case,
        seed,
        at: "the beginning",
    };

    let mut world = World::new(seed, &case.sources, &case.relays, &case.viewers);
    prepare(&mut world);

    for step in &case.steps {
        world.run_until(step.at);
        told.at = step.sentence;
        step.act.apply(&mut world);
    }

    world.run_until(case.length);
    told.at = "everything is healed";
    world.heal();
    check_healing(&mut world, case);

    for check in &case.checks {
        told.at = check.sentence;
        if let Some(wrong) = check.expect.missed(&world) {
            panic!("{}: {wrong}", check.sentence);
        }
    }

    world
}

/// Every viewer is live within [`HEALS_WITHIN`], loses nothing from then on but what the relay withholds until it
/// trusts the way again, and has counted every frame.
fn check_healing(world: &mut World, case: &Case) {
    world.run_until(case.length + HEALS_WITHIN);
    let before: Vec<ViewerCounts> = (0..world.viewers())
        .map(|viewer| world.tally(viewer))
        .collect();
    let from = world.now();
    let to = world.now() + CLEAN_TAIL;
    // What is on its way at the end has a second to come.
    world.run_until(to + Duration::from_secs(1));

    for (viewer, before) in before
        .into_iter()
        .enumerate()
        .filter(|(viewer, _)| !world.is_expelled(*viewer))
    {
        // A second and more since `before`, in which each session got new keys, and lost no frame.
        let sealed = case.viewers[viewer].access == Access::Keys;
        assert!(
            !sealed || world.tally(viewer).renewals > before.renewals,
            "viewer {viewer} has no new handshake though one is due each second"
        );

        let word = world.watch(viewer).signal_at(from);
        assert_eq!(
            word,
            viewer_node::Viewer::live(),
            "viewer {viewer} is not live {HEALS_WITHIN:?} after all is well"
        );

        let tally = world.tally(viewer);
        // Of two paths that both leave frames out, the quicker one's next frame overtakes what the other spreads out.
        let several = case.viewers[viewer].paths.len() > 1;
        let overtaken = |tally: &ViewerCounts| if several { tally.losses.incomplete } else { 0 };
        let lost = tally.lost_for_good() - overtaken(&tally);
        let former = before.lost_for_good() - overtaken(&before);
        assert!(
            lost <= former,
            "viewer {viewer} loses frames though all is well: {tally:?}, before {before:?}"
        );

        // What the relay withholds counts as lost on the link until it says so, with the next answer to a keep-alive.
        let now = world.now();
        let unsaid = ANSWERED_WITHIN + Duration::from_millis(50);
        let untold = tally.losses.link.saturating_sub(before.losses.link) as usize;
        let recent = world.published(0, now - unsaid, now).count();
        assert!(
            untold <= recent,
            "viewer {viewer} misses {untold} frames: {tally:?}, before {before:?}"
        );

        let withheld = (tally.losses.total() - before.losses.total()) as usize;
        let clean = Expect::MissesAtMost {
            viewer,
            from,
            to,
            frames: withheld,
        };

        assert_eq!(
            clean.missed(world),
            None,
            "viewer {viewer}, though all is well"
        );
    }

    world.check_sums();
}

/// Says how to see a failure again.
struct Told<'a> {
    case: &'a Case,
    seed: u64,
    at: &'a str,
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Case { name, sentence, .. } = self.case;
            eprintln!(
                "{name}: {sentence}\n  at: {}\n  again: {SEED}={} cargo test --test sim {name}",
                self.at, self.seed
            );
            for Step { at, sentence, act } in &self.case.steps {
                eprintln!("  {at:?}: {sentence}: {act:?}");
            }
        }
    }
}

/// The environment variable that chooses one seed.
const SEED: &str = "FANLIGHT_SIM_SEED";

/// The seeds to run: those given, or the one that FANLIGHT_SIM_SEED names.
pub fn seeds(usual: std::ops::Range<u64>) -> impl Iterator<Item = u64> {
    let chosen = std::env::var(SEED)
        .ok()
        .and_then(|text| text.parse::<u64>().ok());
    chosen.map_or(usual, |seed| seed..seed + 1)
}
