//! Adds up what all paths received and lost, for the report to the relays and for the summary.

use fanlight_proto::clock::Time;
use fanlight_proto::message::{NotShown, Report};
use fanlight_proto::reassembly::Losses;

use super::{Engine, LinkState, PathSummary};

impl Engine {
    /// The losses so far. A frame that a relay withheld is not the link's.
    pub(super) fn losses(&self) -> Losses {
        let mut withheld = self.withheld_before;
        for session in self.paths.iter().filter_map(|path| path.session.as_ref()) {
            withheld.skipped += session.withheld.skipped;
            withheld.aborted += session.withheld.aborted;
        }

        self.reassembly
            .losses()
            .with_withheld(withheld.skipped, withheld.aborted)
    }

    pub(super) fn total_report(&self, now: Time) -> Report {
        let counts = self.reassembly.counts();
        let losses = self.reassembly.losses();
        let sum = |count: fn(&PathSummary) -> u64| {
            self.paths.iter().map(|path| count(&path.summary)).sum()
        };
        // Of what several relays send none can be blamed for a shard that is missing, and each makes good the others'.
        let alone = self.paths.len() == 1;
        Report {
            frames_whole: counts.whole,
            frames_shown: self.presentation.shown,
            frames_lost: losses.total() + self.presentation.lost,
            datagrams: sum(|path| path.datagrams),
            bytes: sum(|path| path.bytes),
            repairs_asked: counts.repairs_asked,
            repairs_received: counts.repairs_received,
            age_us: self.presentation.age_us,
            shards_expected: if alone { counts.shards_expected } else { 0 },
            shards_missed: if alone { counts.shards_missed } else { 0 },
            frames_unrecovered: losses.link + losses.incomplete,
            not_shown: match self.link_state {
                LinkState::NotShown(reason) => reason.into(),
                _ => NotShown::Unspecified.into(),
            },
            last_shown_ms: self.display.last_shown_ms(now),
            ..Report::default()
        }
    }
}
