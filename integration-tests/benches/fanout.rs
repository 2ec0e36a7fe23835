//! What sending one frame to many viewers costs: the relay's ways beside the least that it can cost, a loop that hands
//! prepared trains of datagrams to the kernel, and beside simpler ways.
//!
//! `./dev bench fanout [--rig loopback,loopback-gro,loopback-read,ifb-uso,ifb-gso] [--viewers 1,10,100,500]
//! [--bytes 100000] [--rounds 5] [--svg FILE] [--quick]`.
//! Thread CPU time in cells that take turns, medians of ratios within one round; an absolute time means nothing. The
//! rigs stand in `rig/mod.rs`, the methods in `methods/mod.rs`:
//!
//! | method | |
//! |---|---|
//! | `raw` | `sendmmsg` of prepared trains of 54 datagrams; `raw-parity` and `raw-sealed` send what the relay sends then |
//! | `send` | the relay's sender with a frame that is cut |
//! | `relay` | all that the relay does once a frame is there: cut, send; `relay-parity`: parity too; `relay-sealed`: and AES |
//! | `raw-27` | `raw` with trains as short as the relay's |
//! | `raw-watched` | `raw` by a socket that an event loop waits for: the kernel wakes it for each buffer that is freed |
//! | `gso-each` | one call to the kernel for each train, through `quinn-udp` |
//! | `sendmmsg` | prepared datagrams without trains |
//! | `tokio` | `send_to` for each datagram |

mod cell;
mod engine_harness;
mod figures;
mod measure;
mod methods;
mod plot;
mod raw;
mod rig;
mod sample;
mod serving;

use std::collections::BTreeMap;
use std::error::Error;

use cell::cell;
use fanlight_tests::flags::Flags;
use figures::Figure;
use measure::median;
use methods::{Method, Outlets};
use rig::{Built, Rig};

/// Thread CPU time of one cell.
const CELL_NANOS: u64 = 70_000_000;

/// The same where it only matters that it runs.
const QUICK_NANOS: u64 = 2_000_000;

const ROUNDS: usize = 5;

const VIEWERS: [usize; 4] = [1, 10, 100, 500];

/// How many viewers the cost of one is compared with.
const REFERENCE: usize = 10;

/// What the command line asks for.
struct Wish {
    rigs: Vec<Rig>,
    viewers: Vec<usize>,
    /// Sizes of the frame.
    bytes: Vec<usize>,
    rounds: usize,
    nanos: u64,
    svg: Option<String>,
    /// Run by ourselves, in a namespace of its own: prints nothing but lines of JSON.
    inside: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let wish = Wish::read()?;
    if wish.inside {
        figures::print_lines(&measure(&wish, wish.rigs[0])?);
        return Ok(());
    }

    let mut found = Vec::new();
    for rig in &wish.rigs {
        match wish.measure_where_it_must(*rig) {
            Ok(figures) => found.extend(figures),
            Err(why) => fanlight_tests::skip(&format!("{}: {why}", rig.name())),
        }
    }

    figures::print_tables(&found);
    figures::print_lines(&found);
    if let Some(file) = &wish.svg {
        std::fs::write(file, plot::draw(&found))?;
    }

    Ok(())
}

impl Wish {
    fn read() -> Result<Self, Box<dyn Error>> {
        let flags = Flags::read(
            &["--rig", "--viewers", "--bytes", "--rounds", "--svg"],
            &["--inside"],
        )?;

        let quick = flags.is_quick();
        let rigs = flags.get("--rig").map_or(Ok(Rig::ALL.to_vec()), rigs)?;
        let usual: &[usize] = if quick { &[1, REFERENCE] } else { &VIEWERS };

        Ok(Self {
            rigs,
            viewers: flags.numbers("--viewers", usual)?,
            bytes: flags.numbers("--bytes", &[sample::PICTURE])?,
            rounds: flags.number("--rounds", if quick { 1 } else { ROUNDS })?,
            nanos: if quick { QUICK_NANOS } else { CELL_NANOS },
            svg: flags.get("--svg").map(str::to_owned),
            inside: flags.has("--inside"),
        })
    }

    /// Here, or in a namespace.
    fn measure_where_it_must(&self, rig: Rig) -> Result<Vec<Figure>, String> {
        if !rig.needs_namespace() {
            return measure(self, rig).map_err(|error| error.to_string());
        }

        let viewers: Vec<String> = self.viewers.iter().map(usize::to_string).collect();
        let mut words = vec!["--inside", "--rig", rig.name(), "--viewers"]
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>();

        let bytes: Vec<String> = self.bytes.iter().map(usize::to_string).collect();
        words.extend([
            viewers.join(","),
            "--bytes".to_owned(),
            bytes.join(","),
            "--rounds".to_owned(),
            self.rounds.to_string(),
        ]);

        words.extend((self.nanos == QUICK_NANOS).then(|| "--quick".to_owned()));
        let lines = rig::in_namespace(&words)?;
        lines
            .lines()
            .map(|line| serde_json::from_str(line).map_err(|error| error.to_string()))
            .collect()
    }
}

fn rigs(names: &str) -> Result<Vec<Rig>, String> {
    names
        .split(',')
        .map(|name| Rig::named(name).ok_or(format!("there is no rig {name}")))
        .collect()
}

/// Lets all methods take turns on one rig.
fn measure(wish: &Wish, rig: Rig) -> Result<Vec<Figure>, Box<dyn Error>> {
    let most = wish.viewers.iter().copied().max().unwrap_or_default();
    let built = Built::new(rig, most)?;
    let outlets = Outlets::new(built.source())?;
    let mut methods: Vec<Method<'_>> = Vec::new();
    for bytes in &wish.bytes {
        let counts = wish.viewers.iter();
        methods
            .extend(counts.flat_map(|count| methods::all(&outlets, built.viewers(*count), *bytes)));
    }

    let mut times = vec![Vec::new(); methods.len()];
    // The first round warms up.
    for round in 0..=wish.rounds {
        for (method, times) in methods.iter_mut().zip(&mut times) {
            let time = measure_cell(wish.nanos, &built, method);
            if round > 0 {
                times.push(time);
            }
        }
    }

    Ok(figures_of(rig, &methods, &times))
}

/// Nanoseconds for one frame; none when something was lost.
fn measure_cell(nanos: u64, built: &Built, method: &mut Method<'_>) -> Option<f64> {
    let before = built.tally();
    let mut whole = true;
    let mut bytes = 0;
    let time = cell(nanos, &mut || {
        whole &= (method.work)();
        bytes += method.bytes as u64;
    });

    (whole && built.tally().carried(&before, bytes)).then_some(time)
}

fn figures_of(rig: Rig, methods: &[Method<'_>], times: &[Vec<Option<f64>>]) -> Vec<Figure> {
    let by_name: BTreeMap<(usize, usize, &str), &Vec<Option<f64>>> = methods
        .iter()
        .zip(times)
        .map(|(method, times)| ((method.frame_bytes, method.viewers, method.name), times))
        .collect();

    let time = |bytes, viewers, name| {
        median(
            by_name
                .get(&(bytes, viewers, name))?
                .iter()
                .flatten()
                .copied()
                .collect(),
        )
    };

    let figure = |method: &Method<'_>| {
        let bytes = method.frame_bytes;
        let own = by_name[&(bytes, method.viewers, method.name)];
        let nanos = time(bytes, method.viewers, method.name)?;
        let against = time(bytes, REFERENCE, method.name);
        let per_viewer = nanos / method.viewers as f64;
        Some(Figure {
            bench: "fanout".to_owned(),
            rig: rig.name().to_owned(),
            frame_bytes: bytes,
            viewers: method.viewers,
            method: method.name.to_owned(),
            ratio_to_raw: rounded(ratio(
                own,
                by_name[&(bytes, method.viewers, method.against)],
            )?),
            per_viewer_to_10: against
                .map(|reference| rounded(per_viewer * REFERENCE as f64 / reference)),
            ns_per_datagram: rounded(nanos / method.datagrams as f64),
            us_per_viewer: rounded(per_viewer / 1e3),
            void: own.iter().filter(|time| time.is_none()).count(),
        })
    };

    methods.iter().filter_map(figure).collect()
}

/// The median of what one is of the other in each round.
fn ratio(ours: &[Option<f64>], theirs: &[Option<f64>]) -> Option<f64> {
    let rounds = ours.iter().zip(theirs);
    median(
        rounds
            .filter_map(|(ours, theirs)| Some((*ours)? / (*theirs)?))
            .collect(),
    )
}

/// To a thousandth: more is noise.
fn rounded(figure: f64) -> f64 {
    (figure * 1e3).round() / 1e3
}
