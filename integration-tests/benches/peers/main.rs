//! Fanlight beside others that send the same pictures to as many clients: processor time of all threads of the sender for
//! each gigabit delivered, and the age of a frame when its last byte is there.
//!
//! `./dev bench peers` (it installs the others); with words, only the rows that have them all: `./dev bench peers veth 100`;
//! `./dev bench http` is the relay's HTTP side beside those who speak HTTP, also go2rtc where `FANLIGHT_GO2RTC` is the path of
//! its program.
//! Each round measures every peer in turn, and medians of rounds are compared: ratios within one run. Delivered is what
//! came whole, in bytes of pictures. Receivers have a thread of this process, which is not counted. RTP carries no age.

use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_tests::wait::{Deadline, pause};

mod audience;
mod http;
mod peer;
mod pictures;
mod place;
use audience::Audience;
use peer::{Kind, Sender, Task, build_camera};
use pictures::Pictures;
use place::Place;

/// Interleaved measurements of each peer.
const ROUNDS: usize = 3;

/// Clients, and frames a second to each: so few to a hundred that the dearest peer keeps up on one core.
const CROWDS: [(usize, u32); 3] = [(1, 30), (10, 30), (100, 10)];

/// The same for those who speak HTTP alone, with the word `http`.
const HTTP_CROWDS: [(usize, u32); 4] = [(1, 30), (4, 30), (16, 30), (64, 10)];

/// How long is counted.
const LENGTH: Duration = Duration::from_secs(2);

/// Whole frames that each client has had before counting begins.
const WARM_UP: u64 = 3;

/// Fanlight's relay serves who has just come by a socket of its own for 2 s: what is measured is what comes after.
const SETTLED: Duration = Duration::from_millis(2500);

/// A peer whose clients have not had them by then is left out.
const PATIENCE: Duration = Duration::from_secs(10);

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();

    let over_http = wanted.iter().any(|word| word == "http");
    wanted.retain(|word| word != "http");
    let (kinds, crowds) = if over_http {
        (&Kind::HTTP[..], &HTTP_CROWDS[..])
    } else {
        (&Kind::ALL[..], &CROWDS[..])
    };

    let folder = tempfile::tempdir()?;
    let pictures = Pictures::write(&folder.path().join("pictures"))?;
    let camera = build_camera(folder.path())?;
    println!("pictures of {:.0} bytes", pictures.bytes());
    println!(
        "{:<15} {:>7} {:>5} {:<13} {:>13} {:>20} {:>9} {:>9} {:>10} {:>8} {:>8}",
        "",
        "clients",
        "rate",
        "",
        "CPU s/Gbit",
        "us/frame and client",
        "ratio",
        "min..max",
        "delivered",
        "p50, ms",
        "p99, ms"
    );

    let mut lines = Vec::new();
    for name in Place::NAMES {
        for &(clients, rate) in crowds {
            if !wanted
                .iter()
                .all(|word| *word == name || *word == clients.to_string())
            {
                continue;
            }

            let Some(place) = Place::open(name) else {
                continue;
            };

            let task = Task {
                place: &place,
                pictures: &pictures,
                camera: &camera,
                clients,
                rate,
            };

            lines.extend(table(name, kinds, &task)?);
        }
    }

    lines.iter().for_each(|line| println!("{line}"));
    Ok(())
}

/// What one peer did in one round.
struct Measured {
    cpu: Duration,
    /// Whole frames, over all clients.
    whole: u64,
    /// Of the frames that were due, how many came whole.
    delivered: f64,
    ages: Vec<Duration>,
}

/// Prints a rig's rows; gives their JSON lines.
fn table(rig: &str, kinds: &[Kind], task: &Task<'_>) -> Result<Vec<String>, Failure> {
    let mut results: Vec<(Kind, Vec<Measured>)> = kinds
        .iter()
        .copied()
        .filter(|kind| kind.is_here())
        .map(|kind| (kind, Vec::new()))
        .collect();
    for _ in 0..ROUNDS {
        for (kind, rounds) in &mut results {
            rounds.extend(measure(*kind, task)?);
        }
    }

    let cost = |measured: &Measured| measured.cpu.as_secs_f64() / measured.whole as f64;
    let costs = |rounds: &[Measured]| {
        let mut costs: Vec<f64> = rounds.iter().map(cost).collect();
        costs.sort_by(f64::total_cmp);
        costs
    };

    let own = costs(&results[0].1);
    let own = *own.get(own.len() / 2).ok_or("Fanlight delivers nothing")?;
    let mut lines = Vec::new();

    for (kind, rounds) in &results {
        let name = kind.name();
        let costs = costs(rounds);

        let Some(&cost) = costs.get(costs.len() / 2) else {
            println!(
                "{rig:<15} {:>7} {:>5} {name:<13} delivers nothing",
                task.clients, task.rate
            );
            continue;
        };

        let ratio = cost / own;
        let range = format!("{:.2}..{:.2}", costs[0] / own, costs[costs.len() - 1] / own);
        let per_gigabit = cost / (task.pictures.bytes() * 8e-9);
        let delivered =
            rounds.iter().map(|round| round.delivered).sum::<f64>() / rounds.len() as f64;
        let mut ages: Vec<Duration> = rounds
            .iter()
            .flat_map(|round| round.ages.iter().copied())
            .collect();

        ages.sort_unstable();
        let age = |hundredths: usize| {
            ages.get(ages.len() * hundredths / 100)
                .map(|age| age.as_secs_f64() * 1e3)
        };

        let said = |age: Option<f64>| age.map_or("-".to_owned(), |age| format!("{age:.2}"));
        let p50 = age(50);
        let p99 = age(99);
        println!(
            "{rig:<15} {:>7} {:>5} {name:<13} {per_gigabit:>13.3} {:>20.1} {ratio:>9.2} {range:>9} {:>9.1}% {:>8} {:>8}",
            task.clients,
            task.rate,
            cost * 1e6,
            100.0 * delivered,
            said(p50),
            said(p99)
        );

        let ages = p50.zip(p99).map_or(String::new(), |(p50, p99)| {
            format!(r#","age_p50_ms":{p50:.2},"age_p99_ms":{p99:.2}"#)
        });

        lines.push(format!(
            r#"{{"bench":"peers","rig":"{rig}","peer":"{name}","clients":{},"rate":{},"ratio_to_fanlight":{ratio:.2},"cpu_s_per_gigabit":{per_gigabit:.4},"delivered":{delivered:.3}{ages}}}"#,
            task.clients, task.rate
        ));
    }

    Ok(lines)
}

/// None when its clients get nothing.
fn measure(kind: Kind, task: &Task<'_>) -> Result<Option<Measured>, Failure> {
    let (sender, audience): (Sender, Audience) = Sender::start(kind, task)?;
    let patience = Deadline::after(PATIENCE);

    while audience.fewest() < WARM_UP {
        if patience.is_over() {
            return Ok(None);
        }

        pause(Duration::from_millis(10));
    }

    if kind == Kind::Fanlight {
        pause(SETTLED);
    }

    audience.ages();
    let cpu = sender.cpu();
    let whole = audience.whole();
    let began = clock::now();
    pause(LENGTH);
    let cpu = sender.cpu() - cpu;
    let whole = audience.whole() - whole;
    let length = clock::now().saturating_since(began);
    let due = length.as_secs_f64() * f64::from(task.rate) * task.clients as f64;
    Ok(Some(Measured {
        cpu,
        whole,
        delivered: whole as f64 / due,
        ages: audience.ages(),
    }))
}
