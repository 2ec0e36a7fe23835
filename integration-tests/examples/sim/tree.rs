//! `./dev sim --tree`: a hundred relays in three levels and ten thousand viewers through kills and partitions, and tables of what
//! came of it. All that the simulator demands of a run is demanded of this one.

use std::collections::HashMap;
use std::ops::Range;
use std::process::ExitCode;
use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_proto::message::FrameId;
use fanlight_tests::sim::{self, Case, Lost, Tree, World};
use fanlight_tests::usage::{MIB, Usage};

/// Runs the large tree for each seed. A seed that fails ends the process, and is printed.
pub(crate) fn run(seeds: Range<u64>) -> ExitCode {
    let tree = Tree::LARGE;
    let case = tree.case();
    for seed in seeds {
        let begin = clock::now();
        let before = resident();
        let world = sim::run(&case, seed);
        let seconds = clock::now().saturating_since(begin).as_secs_f64();
        let memory = resident().saturating_sub(before);
        println!(
            "seed {seed}: {} relays, {} viewers, {} frames a second, {:.1} s of theirs in {seconds:.0} s; \
             {:.1} million events, {} MiB, {} KiB a viewer with all that is kept of it to be checked",
            tree.relays(),
            world.viewers(),
            tree.fps,
            world.now().as_secs_f64(),
            world.handled() as f64 / 1e6,
            memory / MIB,
            memory / 1024 / world.viewers() as u64,
        );
        let frames: HashMap<_, _> = world
            .frames_of(0)
            .iter()
            .map(|(at, id)| (*id, *at))
            .collect();
        levels(&tree, &world, &frames);
        losses(&tree, &world);
        troubles(&tree, &case, &world);
    }

    ExitCode::SUCCESS
}

/// Frames and ages of each level.
fn levels(tree: &Tree, world: &World, frames: &HashMap<FrameId, Duration>) {
    println!(
        "\n| level | relays | viewers | frames to show | shown | age p50 | p99 | p99.9 | longest |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for level in 1..=3 {
        let relays = (0..tree.relays()).filter(|relay| tree.level(*relay) == level);
        let viewers = of_level(tree, world, level);
        let viewers: Vec<_> = viewers.collect();
        let shown = viewers
            .iter()
            .flat_map(|viewer| &world.watch(*viewer).frames);
        let mut ages: Vec<_> = shown.map(|(at, id)| *at - frames[id]).collect();
        ages.sort_unstable();
        let due = frames.len() * viewers.len();
        println!(
            "| {level} | {} | {} | {due} | {:.2} % | {} | {} | {} | {} |",
            relays.count(),
            viewers.len(),
            100.0 * ages.len() as f64 / due as f64,
            millis(part(&ages, 0.5)),
            millis(part(&ages, 0.99)),
            millis(part(&ages, 0.999)),
            millis(part(&ages, 1.0)),
        );
    }
}

/// Why frames were lost, by level.
fn losses(tree: &Tree, world: &World) {
    let lost = |level| {
        let viewers = of_level(tree, world, level);
        let lost = viewers.map(|viewer| world.watch(viewer).lost(&world.tally(viewer)));
        lost.reduce(|mut sum, lost| {
            let both = sum.iter_mut().zip(lost);
            both.for_each(|((_, sum), (_, more)): (&mut Lost, Lost)| *sum += more);
            sum
        })
        .unwrap_or_default()
    };
    let levels = [1, 2, 3].map(lost);

    println!("\n| lost because of | level 1 | level 2 | level 3 |");
    println!("|---|---|---|---|");
    for (at, (reason, _)) in levels[0].iter().enumerate() {
        let counts = levels.map(|lost| lost[at].1);
        if counts.iter().any(|count| *count > 0) {
            println!(
                "| {reason} | {} | {} | {} |",
                counts[0], counts[1], counts[2]
            );
        }
    }
}

/// How long after each trouble all have the picture again, and the longest gap of who had it by another way.
fn troubles(tree: &Tree, case: &Case, world: &World) {
    println!(
        "\n| what happens | for | viewers without a picture | back p50 | p99 | last | viewers with another way | their longest gap |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let all: Vec<_> = (0..case.viewers.len()).collect();
    row(world, "all start at once", [Duration::ZERO; 2], &all, &[]);
    for trouble in tree.troubles() {
        let span = [trouble.from, trouble.to];
        row(
            world,
            trouble.sentence,
            span,
            &trouble.dark,
            &trouble.spared,
        );
    }
}

fn row(world: &World, what: &str, [from, to]: [Duration; 2], dark: &[usize], spared: &[usize]) {
    let first = |viewer: &usize| {
        let frames = world.watch(*viewer).frames_between(to, Duration::MAX);
        frames[0].0 - to
    };
    let mut back: Vec<_> = dark.iter().map(first).collect();
    back.sort_unstable();

    let gaps = spared.iter().flat_map(|viewer| {
        let frames = world.watch(*viewer).frames_between(from, to);
        frames.windows(2).map(|pair| pair[1].0 - pair[0].0)
    });
    println!(
        "| {what} | {} | {} | {} | {} | {} | {} | {} |",
        millis(to - from),
        dark.len(),
        millis(part(&back, 0.5)),
        millis(part(&back, 0.99)),
        millis(part(&back, 1.0)),
        spared.len(),
        gaps.max().map_or("-".to_owned(), millis),
    );
}

fn of_level(tree: &Tree, world: &World, level: usize) -> impl Iterator<Item = usize> {
    (0..world.viewers()).filter(move |viewer| tree.level(tree.relay_of(*viewer)) == level)
}

/// What `share` of `sorted` is at most.
fn part(sorted: &[Duration], share: f64) -> Duration {
    let last = sorted.len().saturating_sub(1);
    let at = (last as f64 * share).ceil() as usize;
    sorted.get(at).copied().unwrap_or_default()
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

/// Bytes of memory that this process has.
fn resident() -> u64 {
    Usage::of(std::process::id()).map_or(0, |usage| usage.resident)
}
