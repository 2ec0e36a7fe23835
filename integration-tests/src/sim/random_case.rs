//! Random cases: any links, and any faults at any time.

use std::time::Duration;

use super::{
    Access, Action, Case, Clock, Display, Link, Node, RelayConfig, SourceConfig, Step, ViewerConfig,
};
use crate::seeded::Random;

/// How long the faults of a random case last.
const LENGTH: Duration = Duration::from_secs(6);

/// Most viewers of a random case.
const MAX_VIEWERS: usize = 3;

/// Most faults of a random case.
const MAX_FAULTS: usize = 12;

/// The case that follows from `seed`: one source, up to two relays, a few viewers, and faults.
#[must_use]
pub fn random_case(seed: u64) -> Case {
    let mut random = Random::new(seed ^ 0x5704_12b5);
    let random = &mut random;
    let relays: Vec<_> = (0..=random.below(2)).map(|_| relay(random)).collect();
    let access = if random.below(3) == 0 {
        Access::Keys
    } else {
        Access::Open
    };

    let relays: Vec<_> = relays
        .into_iter()
        .map(|relay| RelayConfig { access, ..relay })
        .collect();

    let viewers: Vec<_> = (0..=random.below(MAX_VIEWERS))
        .map(|_| viewer(random, access, relays.len()))
        .collect();
    let mut steps: Vec<_> = (0..=random.below(MAX_FAULTS))
        .flat_map(|_| fault(random, &relays, &viewers))
        .collect();
    // Without keys, who sits on the way can say anything.
    if access == Access::Keys && random.below(2) == 0 {
        steps.push(tampering(random, &viewers));
    }

    steps.sort_by_key(|step| step.at);
    Case {
        name: "random_case".into(),
        sentence: "whatever happens, in any order: nothing wrong is shown, every frame is accounted for, and all heals",
        sources: vec![SourceConfig {
            fps: [10, 25, 30, 60][random.below(4)],
            frame_bytes: [200, 1_500, 4_500, 12_000][random.below(4)],
            clock: clock(random),
            ..SourceConfig::default()
        }],
        relays,
        viewers,
        steps,
        length: LENGTH,
        checks: Vec::new(),
    }
}

fn relay(random: &mut Random) -> RelayConfig {
    RelayConfig {
        clock: clock(random),
        leg: micros(random, 100, 5_000),
        ..RelayConfig::default()
    }
}

fn viewer(random: &mut Random, access: Access, relays: usize) -> ViewerConfig {
    let capacity = [92, 500, 1820][random.below(3)];
    let first = random.below(relays);
    let paths = (0..=random.below(relays))
        .map(|path| ((first + path) % relays, link(random)))
        .collect();
    ViewerConfig {
        access,
        clock: clock(random),
        capacity,
        paths,
    }
}

fn clock(random: &mut Random) -> Clock {
    Clock {
        offset: Duration::from_nanos(random.number() >> 12),
        drift_ppm: random.below(401) as i32 - 200,
        wall_offset_ns: random.number() as i64 >> 1,
    }
}

/// A link that is bad in some ways, and good in others.
fn link(random: &mut Random) -> Link {
    let mut sometimes = |most: f64| {
        if random.below(2) == 0 {
            0.0
        } else {
            random.below(1000) as f64 / 1000.0 * most
        }
    };

    let loss = sometimes(0.1);
    let reorder = sometimes(0.1);
    let double = sometimes(0.05);
    let corrupt = sometimes(0.01);
    let rate = if random.below(4) == 0 {
        Some(200_000 + random.below(2_000_000) as u64)
    } else {
        None
    };

    let clean = Link::clean(micros(random, 100, 40_000));
    Link {
        loss,
        burst: 1.0 + random.below(8) as f64,
        jitter: micros(random, 0, 10_000),
        reorder,
        double,
        corrupt,
        ..rate.map_or(clean, |rate| clean.narrow(rate, 4_000 + rate / 10))
    }
}

/// Something bad, and its end after a while; the end may be missing, for healing to bring.
fn fault(random: &mut Random, relays: &[RelayConfig], viewers: &[ViewerConfig]) -> Vec<Step> {
    let viewer = random.below(viewers.len());
    let relay = random.below(relays.len());
    let path = random.below(viewers[viewer].paths.len());
    let node = [Node::Source(0), Node::Relay(relay), Node::Viewer(viewer)][random.below(3)];
    let steady = Link::clean(viewers[viewer].paths[path].1.delay);
    let (sentence, begin, end) = match random.below(12) {
        0 => (
            "a path is cut",
            Action::Cut { viewer, path },
            Some(Action::Join { viewer, path }),
        ),
        1 => (
            "a relay is cut from the source",
            Action::CutLeg(relay),
            Some(Action::JoinLeg(relay)),
        ),
        2 => (
            "the camera stands still",
            Action::StillCamera(0),
            Some(Action::MovingCamera(0)),
        ),
        3 => (
            "a node is killed",
            Action::Kill(node),
            Some(Action::Start(node)),
        ),
        4 => (
            "a node stands still",
            Action::Freeze(node),
            Some(Action::Thaw(node)),
        ),
        5 => (
            "a viewer's address changes",
            Action::Rebind { viewer, path },
            None,
        ),
        6 => (
            "a wall clock jumps",
            Action::StepWall(node, random.number() as i64 >> 4),
            None,
        ),
        9 => (
            "pictures cannot be decoded",
            Action::DamagePictures(0),
            Some(Action::MendPictures(0)),
        ),
        10 => (
            "a display stands still",
            Action::SetDisplay(viewer, Display::Stopped),
            Some(Action::SetDisplay(viewer, Display::Shows)),
        ),
        8 => ("a relay draws a new key", Action::RotateKey(relay), None),
        7 => (
            "a relay is stopped",
            Action::StopRelay(relay),
            Some(Action::Start(Node::Relay(relay))),
        ),
        _ => {
            let act = Action::SetLinks {
                viewer,
                path,
                up: link(random),
                down: link(random),
            };

            (
                "a link changes",
                act,
                Some(Action::SetLinks {
                    viewer,
                    path,
                    up: steady,
                    down: steady,
                }),
            )
        }
    };

    let at = micros(random, 0, LENGTH.as_micros() as usize);
    let over = at + micros(random, 1_000, 2_500_000);
    let end = end.filter(|_| over < LENGTH).map(|act| Step {
        at: over,
        sentence: "a fault ends",
        act,
    });

    [Step {
        at,
        sentence,
        act: begin,
    }]
    .into_iter()
    .chain(end)
    .collect()
}

fn tampering(random: &mut Random, viewers: &[ViewerConfig]) -> Step {
    let viewer = random.below(viewers.len());
    let path = random.below(viewers[viewer].paths.len());
    Step {
        at: micros(random, 0, LENGTH.as_micros() as usize),
        sentence: "somebody without a key tampers with what goes over a path",
        act: Action::Mutate { viewer, path },
    }
}

fn micros(random: &mut Random, least: usize, most: usize) -> Duration {
    Duration::from_micros((least + random.below(most - least)) as u64)
}
