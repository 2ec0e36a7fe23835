//! The line that the load tester prints each second.

use std::fmt::Write as _;
use std::time::Duration;

use fanlight_proto::clock::Time;

use super::processor::{Meter, RelayMeter};
use super::totals::{SessionTotals, Totals};
use fanlight_viewer::engine::LinkState;
use fanlight_viewer::stats::millis;

/// What had been counted at the latest line.
#[derive(Debug)]
pub(super) struct StatusLine {
    began: Time,
    bytes: u64,
    own: Duration,
    relays: Duration,
}

impl StatusLine {
    /// Tells what comes from `now` on; the meters have just been started.
    pub(super) const fn new(now: Time) -> Self {
        Self {
            began: now,
            bytes: 0,
            own: Duration::ZERO,
            relays: Duration::ZERO,
        }
    }

    /// Begins at `now`, when counting has begun anew.
    pub(super) const fn restart(&mut self, now: Time) {
        *self = Self::new(now);
    }

    /// Ends the present second and tells it in one line, such as
    /// `500 of 500 live  15000 frames/s  age 9.1/14.0/18.2 ms  lost 3  12.01 Gbit/s  relay 0.61 cores  load 0.93`;
    /// the ages are p50, p95 and p99, and the lost frames those since the sessions began.
    pub(super) fn line(
        &mut self,
        now: Time,
        totals: &Totals,
        own: &mut Result<Meter, String>,
        relays: &mut [RelayMeter],
    ) -> String {
        let length = now.saturating_since(self.began).as_secs_f64().max(1e-3);
        self.began = now;
        let sessions = totals.sessions();
        let live = sessions
            .iter()
            .filter(|session| session.link_state == LinkState::Live)
            .count();

        let mut line = format!("{live} of {} live", sessions.len());
        tell_ages(&mut line, totals, length);
        let bytes: u64 = sessions.iter().map(|session| session.bytes).sum();
        let gigabits =
            bytes.saturating_sub(std::mem::replace(&mut self.bytes, bytes)) as f64 * 8e-9;
        let lost: u64 = sessions.iter().map(SessionTotals::lost_in_all).sum();
        let _ = write!(line, "  lost {lost}  {:.3} Gbit/s", gigabits / length);
        let mut cores = |name, before: &mut Duration, spent: Duration| {
            let since = spent.saturating_sub(std::mem::replace(before, spent));
            let _ = write!(line, "  {name} {:.2} cores", since.as_secs_f64() / length);
        };

        let meters: Vec<_> = relays
            .iter_mut()
            .filter_map(|relay| relay.meter.as_mut().ok())
            .collect();

        if !meters.is_empty() {
            cores(
                "relay",
                &mut self.relays,
                meters.into_iter().map(Meter::read).sum(),
            );
        }

        if let Ok(own) = own {
            cores("load", &mut self.own, own.read());
        }

        line
    }
}

fn tell_ages(line: &mut String, totals: &Totals, length: f64) {
    let mut fan_out = totals.fan_out();
    let ages = &mut fan_out.second;
    let _ = write!(line, "  {:.0} frames/s", ages.count() as f64 / length);

    match [50, 95, 99].map(|hundredths| ages.percentile(hundredths).map(millis)) {
        [Some(p50), Some(p95), Some(p99)] => {
            let _ = write!(line, "  age {p50:.1}/{p95:.1}/{p99:.1} ms");
        }
        _ => line.push_str("  age -"),
    }

    ages.clear();
}
