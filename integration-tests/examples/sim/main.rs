//! `./dev sim`: many seeds of the simulator's random cases, a tree of a hundred relays, or the replay of a capture.

mod tree;

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use fanlight_daemon::capture::Recording;
use fanlight_daemon::clock;
use fanlight_tests::sim::{random_case, replay, run};

/// What the command line asks for.
struct Options {
    seeds: Option<u64>,
    from: u64,
    tree: bool,
    replay: Option<String>,
}

/// Random cases unless the command line says how many.
const SEEDS: u64 = 1000;

fn main() -> ExitCode {
    match options() {
        Ok(Options {
            replay: Some(file), ..
        }) => play(&file),
        Ok(Options {
            seeds,
            from,
            tree: true,
            ..
        }) => tree::run(from..from + seeds.unwrap_or(1)),
        Ok(options) => random_cases(&options),
        Err(message) => refuse(&message),
    }
}

fn refuse(message: &str) -> ExitCode {
    eprintln!("sim: {message}");
    ExitCode::from(64)
}

/// Plays a capture, and prints each count beside what happened.
fn play(file: &str) -> ExitCode {
    let bytes = match std::fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) => return refuse(&format!("{file}: {error}")),
    };

    let recording = match Recording::parse(&bytes) {
        Ok(recording) => recording,
        Err(error) => return refuse(&format!("{file}: {error}")),
    };

    let records = &recording.records;
    let span = records
        .last()
        .zip(records.first())
        .map(|(last, first)| last.time.saturating_since(first.time));

    println!(
        "a {:?}'s capture: {} datagrams in {:.1?}",
        recording.role,
        records.len(),
        span.unwrap_or_default()
    );

    println!("{:<20} {:>10} {:>10}", "", "happened", "replayed");
    for count in replay(&recording) {
        let happened = count
            .happened
            .map_or("-".to_owned(), |happened| happened.to_string());
        println!("{:<20} {happened:>10} {:>10}", count.name, count.replayed);
    }

    // Whoever reads this through a pipe may have gone.
    let _ = std::io::stdout().flush();
    ExitCode::SUCCESS
}

fn options() -> Result<Options, String> {
    let mut options = Options {
        seeds: None,
        from: 0,
        tree: false,
        replay: None,
    };

    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        if word == "--tree" {
            options.tree = true;
            continue;
        }

        let value = words
            .next()
            .ok_or_else(|| format!("{word} needs a value"))?;
        let number = || {
            value
                .parse()
                .map_err(|_| format!("{word} takes a number, not {value}"))
        };

        match word.as_str() {
            "--seeds" => options.seeds = Some(number()?),
            "--from" => options.from = number()?,
            "--replay" => options.replay = Some(value),
            _ => {
                return Err(format!(
                    "takes --seeds N, --from N, --tree and --replay FILE, not {word}"
                ));
            }
        }
    }

    Ok(options)
}

/// Runs a random case for each seed, on every processor; the first seed that fails is told.
fn random_cases(options: &Options) -> ExitCode {
    let seeds = options.seeds.unwrap_or(SEEDS);
    let next = AtomicU64::new(options.from);
    let end = options.from + seeds;
    let failures = AtomicU64::new(0);
    let first = AtomicU64::new(u64::MAX);
    let events = AtomicU64::new(0);
    let begin = clock::now();
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return;
            }

            match catch_unwind(AssertUnwindSafe(|| run(&random_case(seed), seed))) {
                Ok(world) => _ = events.fetch_add(world.handled(), Ordering::Relaxed),
                Err(_) => {
                    failures.fetch_add(1, Ordering::Relaxed);
                    first.fetch_min(seed, Ordering::Relaxed);
                }
            }
        }
    };

    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });

    let seconds = clock::now().saturating_since(begin).as_secs_f64();
    let failures = failures.into_inner();
    let events = events.into_inner();
    println!(
        "{seeds} random_cases in {seconds:.1} s: {:.0} seeds/s, {:.2} million events/s, {failures} failed",
        seeds as f64 / seconds,
        events as f64 / seconds / 1e6
    );

    if failures == 0 {
        return ExitCode::SUCCESS;
    }

    println!(
        "the first to fail: FANLIGHT_SIM_SEED={} cargo test --test engines random_cases",
        first.into_inner()
    );

    ExitCode::FAILURE
}
