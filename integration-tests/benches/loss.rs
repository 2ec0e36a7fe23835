//! What parity and repair are worth: the share of frames shown whole over links that lose, by what is done against it.
//!
//! `./dev bench loss [--frames N]`. The code that cuts, protects, asks and puts together is the real one; the link is
//! simulated with a seed (FANLIGHT_TEST_SEED), so that a table is the same each time. 30 frames a second, 2 ms there and
//! back; repairs and their answers are lost like anything else.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fanlight_tests::lossy::{Case, Channel, Outcome, Scheme, run};
use fanlight_tests::seeded::seed;

const FRAMES: u64 = 10_000;

const SHARDS: [u16; 3] = [50, 84, 250];

const CHANNELS: [(&str, Channel); 5] = [
    (
        "1 % random",
        Channel {
            share: 0.01,
            burst: 1,
        },
    ),
    (
        "5 % random",
        Channel {
            share: 0.05,
            burst: 1,
        },
    ),
    (
        "bursts of 3, 5 %",
        Channel {
            share: 0.05,
            burst: 3,
        },
    ),
    (
        "bursts of 10, 1 %",
        Channel {
            share: 0.01,
            burst: 10,
        },
    ),
    (
        "bursts of 10, 5 %",
        Channel {
            share: 0.05,
            burst: 10,
        },
    ),
];

const SCHEMES: [(&str, Scheme); 8] = [
    (
        "none",
        Scheme {
            level: 0,
            repair: false,
        },
    ),
    (
        "repair",
        Scheme {
            level: 0,
            repair: true,
        },
    ),
    (
        "10 %",
        Scheme {
            level: 1,
            repair: false,
        },
    ),
    (
        "10 % + repair",
        Scheme {
            level: 1,
            repair: true,
        },
    ),
    (
        "20 %",
        Scheme {
            level: 2,
            repair: false,
        },
    ),
    (
        "20 % + repair",
        Scheme {
            level: 2,
            repair: true,
        },
    ),
    (
        "30 %",
        Scheme {
            level: 3,
            repair: false,
        },
    ),
    (
        "30 % + repair",
        Scheme {
            level: 3,
            repair: true,
        },
    ),
];

struct Cell {
    channel: &'static str,
    scheme: &'static str,
    case: Case,
}

fn main() {
    let cells = cells(frames(), seed(1));
    let outcomes = run_all(&cells);
    for (row, of_row) in cells
        .chunks(SCHEMES.len())
        .zip(outcomes.chunks(SCHEMES.len()))
    {
        if row[0].channel == CHANNELS[0].0 {
            let names: String = SCHEMES
                .iter()
                .map(|(name, _)| format!(" {name:>13}"))
                .collect();
            println!("\n{:<18}{names}", format!("{} shards", row[0].case.shards));
        }

        let shares: String = of_row
            .iter()
            .map(|outcome| format!(" {:>13.3}", outcome.percent()))
            .collect();

        println!("{:<18}{shares}", row[0].channel);
    }

    println!();
    for (cell, outcome) in cells.iter().zip(&outcomes) {
        print_json(cell, outcome);
    }
}

/// After `--frames`; cargo adds `--bench`.
fn frames() -> u64 {
    let mut arguments = std::env::args()
        .skip_while(|argument| argument != "--frames")
        .skip(1);
    arguments.next().map_or(FRAMES, |count| {
        count.parse().expect("--frames takes a number")
    })
}

fn cells(frames: u64, seed: u64) -> Vec<Cell> {
    let round_trip = Duration::from_millis(2);
    let mut cells = Vec::new();

    for shards in SHARDS {
        for (channel_name, channel) in CHANNELS {
            for (scheme_name, scheme) in SCHEMES {
                let case = Case {
                    shards,
                    channel,
                    scheme,
                    round_trip,
                    frames,
                    seed,
                };

                cells.push(Cell {
                    channel: channel_name,
                    scheme: scheme_name,
                    case,
                });
            }
        }
    }

    cells
}

/// Each cell is a world of its own: as many at a time as there are processors.
fn run_all(cells: &[Cell]) -> Vec<Outcome> {
    let next = AtomicUsize::new(0);
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let work = || -> Vec<(usize, Outcome)> {
        let mine = std::iter::from_fn(|| {
            let at = next.fetch_add(1, Ordering::Relaxed);
            cells.get(at).map(|cell| (at, run(&cell.case)))
        });

        mine.collect()
    };

    let mut outcomes: Vec<(usize, Outcome)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("a cell runs to its end"))
            .collect()
    });

    outcomes.sort_by_key(|(at, _)| *at);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

fn print_json(cell: &Cell, outcome: &Outcome) {
    let Outcome { frames, counts, .. } = outcome;
    println!(
        r#"{{"bench":"loss","shards":{},"channel":"{}","scheme":"{}","frames":{frames},"shown_percent":{:.4},"repairs_a_frame":{:.3},"parity_a_frame":{:.3},"recovered_percent":{:.3}}}"#,
        cell.case.shards,
        cell.channel,
        cell.scheme,
        outcome.percent(),
        counts.repairs_asked as f64 / *frames as f64,
        counts.parity_shards as f64 / *frames as f64,
        100.0 * counts.recovered as f64 / *frames as f64,
    );
}
