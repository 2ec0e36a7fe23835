//! What the panels of a screen tell of the last second and minute. The timekeeper's thread asks for it.

use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::reassembly::Losses;

use super::{Counters, EndedSecond, SecondSummary};
use crate::engine::{LinkState, Summary};

/// What the panel of statistics and the name are made of.
#[derive(Clone, Debug, Default)]
pub struct Statistics {
    /// The second that ended last, in few words.
    pub summary: SecondSummary,
    /// The same second in more.
    pub second: EndedSecond,
    /// The age of the frame shown last.
    pub newest_age: Duration,
    /// The median age of each second of the last minute, the newest last; zero where no frame was shown.
    pub minute: Vec<Duration>,
    /// Frames lost since the start.
    pub losses: Losses,
    /// What the engine counts.
    pub engine: Summary,
    /// The link state.
    pub link_state: LinkState,
}

impl Counters {
    /// What there is to tell of the last second and minute.
    #[must_use]
    pub fn statistics(&self, now: Time) -> Statistics {
        let summary = self.last_second(now);
        let inner = self.0.lock();
        Statistics {
            summary,
            second: inner.minute.ended(),
            newest_age: inner.minute.newest_age(),
            minute: inner.minute.medians(),
            losses: inner.losses(),
            engine: inner.summary.clone(),
            link_state: inner.link_state.clone(),
        }
    }
}
