//! `fanlight-viewer compare`: the relays' addresses, one after the other, each at several receive buffers, as a table. It
//! tells who runs it whether UDP or TCP serves better over their own network.

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use fanlight_daemon::{Context, Shutdown, clock};

use super::{print, run};
use crate::config::{Comparison, Config, Extra};
use crate::stats::Report;

/// Those of docs/tcp-or-udp.md; the configured one comes last.
const BUFFERS: [usize; 3] = [1000, 10_000, 30_000];

/// How often to see whether the user has had enough.
const TURN: Duration = Duration::from_millis(100);

const HEAD: &str = "\
| relay | buffer | fps | age p50 | p95 | p99, ms | longest freeze, ms | Mbit/s | not shown |
|---|---|---|---|---|---|---|---|---|
";

/// Prints a row for each address and buffer. It succeeds when any of them showed a frame.
///
/// # Errors
/// When a row cannot begin.
pub(super) fn compare(
    config: &Config,
    comparison: &Comparison,
    context: &Context,
) -> anyhow::Result<ExitCode> {
    print(HEAD);
    let mut shown = 0;
    for relay in &config.relay {
        for buffer in BUFFERS.into_iter().chain([config.receive_buffer]) {
            let config = Config {
                relay: vec![relay.clone()],
                receive_buffer: buffer,
                stats: Some(false),
                ..config.clone()
            };

            let report = receive(&config, comparison.each, &context.shutdown)
                .with_context(|| format!("{relay} with a receive buffer of {buffer} bytes"))?;
            if context.shutdown.requested() {
                return Ok(ExitCode::FAILURE);
            }

            shown += report.frames.shown;
            print(&row(relay, buffer, &report));
        }
    }

    Ok(match shown {
        0 => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    })
}

/// Receives for `length`, or until the user has had enough.
fn receive(config: &Config, length: Duration, asked_to_end: &Shutdown) -> anyhow::Result<Report> {
    let context = Context::default();
    let extra = Extra {
        headless: true,
        ..Extra::default()
    };

    let end = clock::now() + length;
    let row = context.shutdown.clone();
    thread::scope(|scope| {
        scope.spawn(move || {
            while !row.wait_timeout(TURN.min(end.saturating_since(clock::now()))) {
                if asked_to_end.requested() || clock::now() >= end {
                    row.trigger();
                }
            }
        });

        let report = run(config, &extra, None, &context);
        context.shutdown.trigger();
        report
    })
    .map(|report| report.expect("only --list ends without a report"))
}

fn row(relay: &str, buffer: usize, report: &Report) -> String {
    let ms = |age: Option<f64>| age.map_or("-".to_owned(), |age| format!("{age:.1}"));
    let ages = &report.age_ms;
    let lost = report.frames.lost.by_reason.iter();
    let mut reasons: Vec<String> = lost
        .filter(|(_, count)| **count > 0)
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();

    if report.frames.shown == 0 {
        reasons.extend(report.link_states.last().map(|last| last.reason.clone()));
    }

    format!(
        "| {relay} | {buffer} | {:.1} | {} | {} | {} | {} | {:.1} | {} |\n",
        report.frames.shown as f64 / report.duration_s,
        ms(ages.p50),
        ms(ages.p95),
        ms(ages.p99),
        ms(report.longest_freeze_ms),
        report.bytes as f64 * 8e-6 / report.duration_s,
        reasons.join(", ")
    )
}
