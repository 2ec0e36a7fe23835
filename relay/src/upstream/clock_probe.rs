//! When the relay probes the source's clock, and what the answers tell of it. Used by the upstream thread.

use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::clock_filter::{ClockFilter, Estimate};
use fanlight_proto::message::{Answer, SourceClock};

/// How many probes follow each other quickly, until one has met no queue on its way.
const QUICK_PROBES: u32 = 8;

/// Between those.
const QUICK_INTERVAL: Duration = Duration::from_millis(250);

/// Between the others: in it two clocks part by 0.1 ms at most.
const INTERVAL: Duration = Duration::from_secs(1);

/// The same while the source is told what viewers find: the answers bring the verdicts, which are to be less than a second
/// old on the screens.
const DETECTIONS_INTERVAL: Duration = Duration::from_millis(500);

/// Probes the clock on one connection. One probe is open at a time.
#[derive(Debug)]
pub(super) struct ClockProbe {
    own_clock: u64,
    open: Option<OpenProbe>,
    sent: u32,
    last: Time,
    due: Time,
    clock_id: u64,
    clock_filter: ClockFilter,
}

#[derive(Debug)]
struct OpenProbe {
    nonce: u64,
    sent: Time,
}

impl ClockProbe {
    /// For a connection that is ready. The first probe is due at once.
    pub(super) fn new(now: Time, own_clock: u64) -> Self {
        Self {
            own_clock,
            open: None,
            sent: 0,
            last: now,
            due: now,
            clock_id: 0,
            clock_filter: ClockFilter::new(),
        }
    }

    /// When the next probe is due.
    pub(super) const fn due(&self) -> Time {
        self.due
    }

    /// A probe with this random `nonce` is sent now.
    pub(super) fn on_sent(&mut self, now: Time, nonce: u64) {
        self.sent = self.sent.saturating_add(1);
        let quick = self.sent < QUICK_PROBES;
        self.due = now + if quick { QUICK_INTERVAL } else { INTERVAL };
        self.last = now;
        self.open = Some(OpenProbe { nonce, sent: now });
    }

    /// The source has been told what viewers found: what it makes of that is to be known soon.
    pub(super) fn on_detections(&mut self) {
        self.due = self.due.min(self.last + DETECTIONS_INTERVAL);
    }

    /// Takes the answer to the open probe, which is open no more. What is known of the source's clock.
    pub(super) fn on_answer(&mut self, received: Time, answer: &Answer) -> Option<SourceClock> {
        let open = self.open.take_if(|open| open.nonce == answer.nonce)?;
        if answer.clock_id == self.own_clock {
            return Some(same_clock(self.own_clock));
        }

        if answer.clock_id != self.clock_id {
            self.clock_id = answer.clock_id;
            self.clock_filter = ClockFilter::new();
        }

        let answered = Time::from_nanos(answer.clock_ns);
        self.clock_filter.on_answer(open.sent, received, answered);
        let Estimate {
            offset_ns, error, ..
        } = self.clock_filter.estimate(received)?;
        let error_us = u32::try_from(error.as_nanos().div_ceil(1000)).unwrap_or(u32::MAX);
        Some(SourceClock {
            clock_id: answer.clock_id,
            offset_ns,
            error_us,
        })
    }
}

/// What is known of a source that reads the clock that we read.
pub(super) const fn same_clock(clock_id: u64) -> SourceClock {
    SourceClock {
        clock_id,
        offset_ns: 0,
        error_us: 0,
    }
}

/// What a relay said of a clock may be two seconds old, in which two clocks part by 100 ppm at most.
const OLD_US: u32 = 200;

/// What is known of a source's clock by a relay, of whose clock this is known.
pub(super) const fn composed(relay: SourceClock, source: SourceClock) -> SourceClock {
    let exact = source.offset_ns == 0 && source.error_us == 0;
    let old_us = if exact { 0 } else { OLD_US };
    SourceClock {
        clock_id: source.clock_id,
        offset_ns: relay.offset_ns.saturating_add(source.offset_ns),
        error_us: relay
            .error_us
            .saturating_add(source.error_us)
            .saturating_add(old_us),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: u64 = 5;

    fn ms(millis: u64) -> Time {
        Time::from_nanos((1_000_000 + millis) * 1_000_000)
    }

    fn answer(nonce: u64, clock_id: u64, at: Time) -> Answer {
        Answer {
            nonce,
            clock_ns: at.as_nanos(),
            clock_id,
            ..Answer::default()
        }
    }

    #[test]
    fn eight_probes_come_quickly_and_then_one_a_second() {
        let mut probe = ClockProbe::new(ms(0), OWN);
        let mut times = Vec::new();

        while times.len() < 11 {
            times.push(probe.due().saturating_since(ms(0)).as_millis());
            probe.on_sent(probe.due(), 0);
        }

        assert_eq!(
            times,
            [0, 250, 500, 750, 1000, 1250, 1500, 1750, 2750, 3750, 4750]
        );
    }

    #[test]
    fn while_detections_flow_it_probes_twice_a_second() {
        let mut probe = ClockProbe::new(ms(0), OWN);
        for _ in 0..QUICK_PROBES {
            probe.on_sent(probe.due(), 0);
        }

        let last = probe.due();
        probe.on_sent(last, 0);
        probe.on_detections();
        assert_eq!(probe.due(), last + DETECTIONS_INTERVAL);
        probe.on_sent(probe.due(), 0);
        assert_eq!(probe.due(), last + DETECTIONS_INTERVAL + INTERVAL);
    }

    #[test]
    fn only_the_answer_to_the_open_probe_counts_and_only_once() {
        let mut probe = ClockProbe::new(ms(0), OWN);
        probe.on_sent(ms(0), 1);
        probe.on_sent(ms(0), 2);
        assert_eq!(probe.on_answer(ms(2), &answer(1, 9, ms(500_001))), None);
        let clock = probe.on_answer(ms(2), &answer(2, 9, ms(500_001))).unwrap();
        assert_eq!((clock.clock_id, clock.offset_ns), (9, 500_000_000_000));
        assert!((1000..1010).contains(&clock.error_us), "{clock:?}");
        assert_eq!(probe.on_answer(ms(2), &answer(2, 9, ms(500_001))), None);
    }

    #[test]
    fn a_sources_clock_is_known_by_that_of_the_relay_before_us() {
        let relay = SourceClock {
            clock_id: 7,
            offset_ns: 500,
            error_us: 30,
        };
        let source = SourceClock {
            clock_id: 9,
            offset_ns: -2_000,
            error_us: 40,
        };
        let known = composed(relay, source);
        assert_eq!((known.clock_id, known.offset_ns), (9, -1_500));
        assert_eq!(known.error_us, 30 + 40 + OLD_US);
        let same_host = SourceClock {
            clock_id: 7,
            ..SourceClock::default()
        };
        assert_eq!(composed(relay, same_host), relay);
    }

    #[test]
    fn a_source_with_our_clock_needs_no_estimate() {
        let mut probe = ClockProbe::new(ms(0), OWN);
        probe.on_sent(ms(0), 1);
        let clock = probe.on_answer(ms(900), &answer(1, OWN, ms(1)));
        assert_eq!(clock, Some(same_clock(OWN)));
    }

    #[test]
    fn another_clock_is_not_measured_by_the_last_ones_answers() {
        let mut probe = ClockProbe::new(ms(0), OWN);
        probe.on_sent(ms(0), 1);
        probe.on_answer(ms(1), &answer(1, 9, ms(700)));
        probe.on_sent(ms(250), 2);
        let clock = probe.on_answer(ms(280), &answer(2, 10, ms(765))).unwrap();
        assert_eq!((clock.clock_id, clock.offset_ns), (10, 500_000_000));
    }
}
