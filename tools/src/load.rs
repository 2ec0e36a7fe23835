//! `fanlight-load`: many viewers in one process, to measure relays. Each viewer is a real engine with its own sockets,
//! so keys, parity, repairs and several relays work as on a screen; but nothing is decoded.
//!
//! The receiving threads (`session_threads`) drive the sessions. Each session checks its frames (`session`) and counts
//! them (`totals`). The main thread (`timing`) prints a line each second and makes the report.

mod fan_out;
mod flags;
mod gaps;
mod processor;
mod report;
mod session;
mod session_threads;
mod status_line;
mod timing;
mod totals;

use std::io::Write as _;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use fanlight_daemon::{Context, Program, descriptors};
use fanlight_viewer::config::{self, Config};
use fanlight_viewer::engine::LinkState;
use fanlight_viewer::udp::Route;
pub use flags::Load;
pub use report::{FanOutAges, Frames, Interruptions, Processor, Processors, Report, Sessions};
use session_threads::{Plan, SessionThreads};
use timing::Timekeeper;
use totals::{SessionTotals, Totals};

/// Files that a process has open besides the sockets of its sessions: the log, event loops, what is looked up in /proc.
const OTHER_FILES: u64 = 64;

/// `fanlight-load`. It takes the settings of a viewer; those of the screen have no effect.
#[derive(Debug)]
pub struct LoadTester;

impl Program for LoadTester {
    const NAME: &'static str = "fanlight-load";
    const ABOUT: &'static str = "Is many viewers at once, to measure relays: frames, gaps, ages, the relays' processor time";
    type Config = Config;
    type Extra = Load;

    fn check(config: &Config) -> anyhow::Result<()> {
        config::check(config)
    }

    fn check_extra(config: &Config, load: &Load) -> anyhow::Result<()> {
        load.check(config)
    }

    /// The exit code is 0 when every viewer got frames.
    fn run(mut config: Config, load: Load, context: Context) -> anyhow::Result<ExitCode> {
        // What is measured must be known beforehand.
        config.discovery = false;
        config.relay = config::relays(&config);
        run(&config, &load, &context)
    }
}

/// Runs the load until it has been measured, or is asked to end.
///
/// # Errors
/// When it cannot begin, or a viewer got no frame: in a sentence that says why.
fn run(config: &Config, load: &Load, context: &Context) -> anyhow::Result<ExitCode> {
    let relays = config
        .relay
        .iter()
        .map(|relay| looked_up(relay))
        .collect::<anyhow::Result<Vec<_>>>()?;

    let sockets = u64::from(load.viewers) * relays.len() as u64;
    descriptors::allow(sockets + OTHER_FILES)
        .with_context(|| format!("cannot be {} viewers", load.viewers))?;
    let plan = plan(config, load, &relays)?;

    let totals = Arc::new(Totals::new(plan.sessions));
    let threads = SessionThreads::start(&plan, &totals, &context.shutdown)?;
    context.notify.ready();

    let measured =
        Timekeeper::new(config, load, relays, plan.ramp(), context).keep(&totals, &threads);

    context.shutdown.trigger();
    threads.join()?;
    write(load, &Report::of(&totals, measured))?;
    exit_code(&totals.sessions(), config)
}

/// The address of a relay. A session that looked for itself would do so beside hundreds of others.
fn looked_up(relay: &str) -> anyhow::Result<SocketAddr> {
    let found = relay.to_socket_addrs().map(|mut found| found.next());
    found
        .with_context(|| format!("cannot find {relay}"))?
        .with_context(|| format!("{relay} has no address"))
}

fn plan(config: &Config, load: &Load, relays: &[SocketAddr]) -> anyhow::Result<Plan> {
    let route = Route {
        relays: relays.iter().map(ToString::to_string).collect(),
        capture: None,
        ..config::route(config)?
    };

    let engine = config::engine(config, &route)?;
    Ok(Plan {
        sessions: load.viewers as usize,
        threads: load.threads.min(load.viewers) as usize,
        step: Duration::from_secs(1) / load.ramp,
        route,
        engine,
    })
}

fn write(load: &Load, report: &Report) -> anyhow::Result<()> {
    load.tell(&report.to_string());
    let Some(path) = &load.json else {
        return Ok(());
    };

    let mut json = serde_json::to_string_pretty(report)?;
    json.push('\n');

    if load.json_on_stdout() {
        std::io::stdout()
            .write_all(json.as_bytes())
            .context("cannot write to standard output")
    } else {
        std::fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Whether every viewer got frames; if not, why.
fn exit_code(sessions: &[SessionTotals], config: &Config) -> anyhow::Result<ExitCode> {
    let relays = config.relay.join(", ");
    let unserved = sessions
        .iter()
        .filter(|session| session.served.is_none())
        .count();

    let joined = sessions.iter().any(|session| session.joined.is_some());
    match (report::most_common_state(sessions), unserved) {
        (_, 0) => Ok(ExitCode::SUCCESS),
        (LinkState::Connecting, _) if !joined => {
            bail!("no relay answers at {relays}: is fanlight-relay running there?")
        }
        (LinkState::Unreachable(why), _) if !joined => bail!("no relay answers at {relays}: {why}"),
        (why, _) if !joined => bail!("no viewer was let in at {relays}: {why}"),
        (why, _) => bail!(
            "{unserved} of {} viewers got no frame: {why}",
            sessions.len()
        ),
    }
}
