//! `./dev sim`: many seeds of the simulator's storms, or the replay of a capture.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use fanlight_daemon::clock;
use fanlight_tests::sim::{run, storm};

/// What the command line asks for.
struct Options {
    seeds: u64,
    from: u64,
}

fn main() -> ExitCode {
    match options() {
        Ok(options) => storms(&options),
        Err(message) => {
            eprintln!("sim: {message}");
            ExitCode::from(64)
        }
    }
}

fn options() -> Result<Options, String> {
    let mut options = Options { seeds: 1000, from: 0 };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || {
            let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
            value.parse().map_err(|_| format!("{word} takes a number, not {value}"))
        };
        match word.as_str() {
            "--seeds" => options.seeds = number()?,
            "--from" => options.from = number()?,
            _ => return Err(format!("takes --seeds N and --from N, not {word}")),
        }
    }
    Ok(options)
}

/// Runs a storm for each seed, on every processor; the first seed that fails is told.
fn storms(options: &Options) -> ExitCode {
    let (next, end) = (AtomicU64::new(options.from), options.from + options.seeds);
    let (failures, first, events) = (AtomicU64::new(0), AtomicU64::new(u64::MAX), AtomicU64::new(0));
    let begin = clock::now();
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return;
            }
            match catch_unwind(AssertUnwindSafe(|| run(&storm(seed), seed))) {
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
    let (failures, events) = (failures.into_inner(), events.into_inner());
    println!(
        "{} storms in {seconds:.1} s: {:.0} seeds/s, {:.2} million events/s, {failures} failed",
        options.seeds,
        options.seeds as f64 / seconds,
        events as f64 / seconds / 1e6
    );
    if failures == 0 {
        return ExitCode::SUCCESS;
    }
    println!("the first to fail: FANLIGHT_SIM_SEED={} cargo test --test sim storm", first.into_inner());
    ExitCode::FAILURE
}
