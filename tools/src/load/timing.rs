//! The main thread of a load test: waits until all have joined, measures, and prints a line each second.

use std::net::SocketAddr;
use std::time::Duration;

use fanlight_daemon::{Context, Shutdown, WatchdogFeeder, clock};
use fanlight_proto::clock::Time;

use super::flags::Load;
use super::processor::{self, Meter, RelayMeter};
use super::session_threads::SessionThreads;
use super::status_line::StatusLine;
use super::totals::Totals;
use fanlight_viewer::config::Config;

/// So long after the last viewer has asked to join, the measuring begins without those that have no frame. A relay that
/// has not let anybody in so long after the first one asked is not there.
const JOIN_TIMEOUT: Duration = Duration::from_secs(5);

/// How often to see whether all have a frame.
const JOIN_INTERVAL: Duration = Duration::from_millis(50);

/// How often the line is told.
const LINE_INTERVAL: Duration = Duration::from_secs(1);

/// What was measured, and when.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    pub(super) began: Time,
    pub(super) ended: Time,
    pub(super) own: Result<Meter, String>,
    pub(super) relays: Vec<RelayMeter>,
}

/// Keeps the time of a load test.
pub(super) struct Timekeeper<'a> {
    load: &'a Load,
    /// How each relay is called, where it is, and its process if the operator names it.
    relays: Vec<(String, SocketAddr, Option<u32>)>,
    ramp: Duration,
    tells: bool,
    shutdown: &'a Shutdown,
    watchdog: WatchdogFeeder,
    line_due: Time,
    status_line: StatusLine,
    own: Result<Meter, String>,
    meters: Vec<RelayMeter>,
}

impl<'a> Timekeeper<'a> {
    /// The time runs from now on; the last viewer asks after `ramp`.
    pub(super) fn new(
        config: &Config,
        load: &'a Load,
        addresses: Vec<SocketAddr>,
        ramp: Duration,
        context: &'a Context,
    ) -> Self {
        let processes = load
            .relay_pid
            .iter()
            .copied()
            .map(Some)
            .chain(std::iter::repeat(None));

        let relays = config.relay.iter().cloned().zip(addresses).zip(processes);
        let now = clock::now();
        Self {
            load,
            relays: relays
                .map(|((relay, address), process)| (relay, address, process))
                .collect(),
            ramp,
            tells: config.stats.unwrap_or(true),
            shutdown: &context.shutdown,
            watchdog: WatchdogFeeder::new(context.notify.clone()),
            line_due: now + LINE_INTERVAL,
            status_line: StatusLine::new(now),
            own: processor::start(std::process::id()),
            meters: Vec::new(),
        }
    }

    /// Waits until the load has joined and was measured, or cannot be, or shall end.
    pub(super) fn keep(mut self, totals: &Totals, threads: &SessionThreads) -> Measured {
        let joined = self.wait_joined(totals, threads);
        let began = clock::now();
        self.begin(began, totals);

        if joined {
            let end = began + self.load.duration;
            while clock::now() < end && !threads.is_broken() && !self.rest_until(end, totals) {}
        }

        totals.end();
        let ended = clock::now();
        self.meters
            .iter_mut()
            .filter_map(|relay| relay.meter.as_mut().ok())
            .for_each(|meter| _ = meter.read());

        self.own.iter_mut().for_each(|meter| _ = meter.read());
        Measured {
            began,
            ended,
            own: self.own,
            relays: self.meters,
        }
    }

    /// Waits until there is something to be measured; false when there will not be.
    fn wait_joined(&mut self, totals: &Totals, threads: &SessionThreads) -> bool {
        let asked = clock::now();
        loop {
            let sessions = totals.sessions();
            let now = clock::now();
            let served = sessions
                .iter()
                .filter(|session| session.served.is_some())
                .count();

            if served == sessions.len() {
                return true;
            }

            if asked + self.ramp + JOIN_TIMEOUT <= now {
                tracing::warn!(
                    "{} of {} viewers have no frame: it is measured without them",
                    sessions.len() - served,
                    sessions.len()
                );
                return served > 0;
            }

            let nobody = sessions.iter().all(|session| session.joined.is_none());
            if nobody && asked + JOIN_TIMEOUT <= now
                || threads.is_broken()
                || self.rest_until(now + JOIN_INTERVAL, totals)
            {
                return false;
            }
        }
    }

    fn begin(&mut self, now: Time, totals: &Totals) {
        let start = |(relay, address, process): &(String, SocketAddr, Option<u32>)| {
            RelayMeter::start(relay, *address, *process)
        };
        self.meters = self.relays.iter().map(start).collect();
        self.own = processor::start(std::process::id());
        self.status_line.restart(now);
        self.line_due = now + LINE_INTERVAL;
        totals.begin();
    }

    /// Rests until `due` at the latest, telling the line when it is due; whether the load shall end.
    fn rest_until(&mut self, due: Time, totals: &Totals) -> bool {
        let now = clock::now();
        let watchdog = self.watchdog.turn(now);
        let due = due.min(self.line_due).min(watchdog.unwrap_or(due));
        let ends = self.shutdown.wait_timeout(due.saturating_since(now));
        let now = clock::now();

        if self.line_due <= now {
            self.line_due = now.max(self.line_due + LINE_INTERVAL);
            let line = self
                .status_line
                .line(now, totals, &mut self.own, &mut self.meters);
            if self.tells {
                self.load.tell(&format!("{line}\n"));
            }
        }

        ends
    }
}
