//! `./dev soak`: programs that go on while everything around them changes; a CSV, a plot and a table of what they use.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use fanlight_tests::soak::{self, Row, Verdict};
use fanlight_tests::usage::MIB;

/// What is said of wrong words.
const USAGE: &str = "soak: [--minutes N] [--csv FILE] [--svg FILE]";

struct Options {
    length: Duration,
    csv: PathBuf,
    svg: PathBuf,
}

fn main() -> ExitCode {
    let Some(options) = options() else {
        eprintln!("{USAGE}");
        return ExitCode::from(64);
    };

    match soak(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::FAILURE
        }
    }
}

fn options() -> Option<Options> {
    let mut options = Options {
        length: Duration::from_secs(3600),
        csv: "soak.csv".into(),
        svg: "soak.svg".into(),
    };

    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next()?;
        match word.as_str() {
            "--minutes" => options.length = Duration::from_secs(60 * value.parse::<u64>().ok()?),
            "--csv" => options.csv = value.into(),
            "--svg" => options.svg = value.into(),
            _ => return None,
        }
    }

    (!options.length.is_zero()).then_some(options)
}

/// Whether all is flat.
fn soak(options: &Options) -> std::io::Result<bool> {
    let mut csv = BufWriter::new(File::create(&options.csv)?);
    writeln!(csv, "{}", Row::HEAD)?;
    let mut written = Ok(());
    let rows = soak::run(options.length, |row| {
        if written.is_ok() {
            written = writeln!(csv, "{row}").and_then(|()| csv.flush());
        }
    });
    written?;
    let Some(rows) = rows else { return Ok(false) };

    std::fs::write(&options.svg, soak::draw(&rows))?;
    println!(
        "| program | own memory, MiB | growth, MiB | MiB an hour | descriptors | threads | CPU, % of a core | flat |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let verdicts = soak::verdicts(&rows);
    verdicts.iter().for_each(print);
    Ok(verdicts.iter().all(Verdict::is_flat))
}

fn print(verdict: &Verdict) {
    let mib = |bytes: f64| bytes / MIB as f64;
    let both = |[before, after]: [f64; 2]| format!("{before:.1} → {after:.1}");
    println!(
        "| {} | {:.1} | {:+.2} | {:+.2} | {} | {} | {:.1} | {} |",
        verdict.program,
        mib(verdict.memory),
        mib(verdict.growth),
        mib(verdict.hourly),
        both(verdict.descriptors),
        both(verdict.threads),
        verdict.cpu,
        if verdict.is_flat() { "yes" } else { "NO" }
    );
}
