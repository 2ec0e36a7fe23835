//! The detections of one viewer until its source has got them, and the source's verdict on them.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use fanlight_proto::clock::Time;
use fanlight_proto::limits::{DETECTIONS_PER_SECOND, MAX_DETECTIONS, PRESENT_HOLDS};
use fanlight_proto::message::{CanaryStatus, Detections, Verdict, ViewerReport};

use fanlight_daemon::rate_limit::TokenBucket;
use fanlight_live::ledger::KEPT_DETECTIONS_PER_SECOND;

/// Detections of one viewer that wait for a report: as many as two reports carry.
const MAX_WAITING: usize = 2 * MAX_DETECTIONS;

/// A verdict holds for so long.
const VERDICT_LIFETIME: Duration = PRESENT_HOLDS;

/// What one viewer has to tell its source.
#[derive(Debug)]
pub(super) struct ViewerFeedback {
    /// Names the viewer to the source.
    pub(super) number: u64,
    /// There is something to report besides detections.
    pub(super) news: bool,
    screen: u64,
    sent: u64,
    untracked: u64,
    dropped: u64,
    canary_status: Option<CanaryStatus>,
    waiting: VecDeque<Bytes>,
    messages: TokenBucket,
    detections: TokenBucket,
    verdict: Option<(Time, Verdict)>,
}

impl ViewerFeedback {
    /// For the `number`th viewer of this run, which has not been reported.
    pub(super) fn new(number: u64) -> Self {
        Self {
            number,
            news: true,
            screen: 0,
            sent: 0,
            untracked: 0,
            dropped: 0,
            canary_status: None,
            waiting: VecDeque::new(),
            messages: TokenBucket::new(DETECTIONS_PER_SECOND, DETECTIONS_PER_SECOND),
            detections: TokenBucket::new(KEPT_DETECTIONS_PER_SECOND, KEPT_DETECTIONS_PER_SECOND),
            verdict: None,
        }
    }

    /// Takes what the viewer found. Returns how many detections were dropped: those beyond the viewer's limits, and the
    /// oldest where too many wait.
    pub(super) fn take(&mut self, now: Time, said: Detections) -> u64 {
        // The same datagram twice.
        if said.sent == self.sent && !said.detections.is_empty() {
            return 0;
        }

        let before = self.dropped;
        if !self.messages.try_take(now, 1) {
            self.drop(said.detections.len());
            return self.dropped - before;
        }

        self.screen = said.screen;
        if said.sent >= self.sent {
            self.sent = said.sent;
            self.untracked = said.untracked;
            self.canary_status = said.canary_status;
        }

        for detection in said.detections {
            if self.detections.try_take(now, 1) {
                self.waiting.push_back(detection);
            } else {
                self.drop(1);
            }
        }

        let over = self.waiting.len().saturating_sub(MAX_WAITING);
        self.waiting.drain(..over);
        self.drop(over);
        self.dropped - before
    }

    /// Counts detections that the source will not get.
    pub(super) const fn drop(&mut self, detections: usize) {
        self.dropped = self.dropped.saturating_add(detections as u64);
    }

    /// Whether there is something to report.
    pub(super) fn has_news(&self) -> bool {
        self.news || !self.waiting.is_empty()
    }

    /// Drops the oldest detections when more wait than this viewer's `share` of one report; how many.
    pub(super) fn cut(&mut self, share: usize) -> u64 {
        let over = if share < MAX_DETECTIONS {
            self.waiting.len().saturating_sub(share)
        } else {
            0
        };

        self.waiting.drain(..over);
        self.drop(over);
        over as u64
    }

    /// The report, with the oldest detections that fit. Call [`ViewerFeedback::on_reported`] when it is sent.
    pub(super) fn report(&self) -> ViewerReport {
        ViewerReport {
            viewer: self.number,
            screen: self.screen,
            detections: self.waiting.iter().take(MAX_DETECTIONS).cloned().collect(),
            sent: self.sent,
            untracked: self.untracked,
            dropped: self.dropped,
            canary_status: self.canary_status.clone(),
            ..ViewerReport::default()
        }
    }

    /// A report with `detections` of those that wait was sent.
    pub(super) fn on_reported(&mut self, detections: usize) {
        self.news = false;
        self.waiting.drain(..detections.min(self.waiting.len()));
    }

    /// Takes the source's verdict.
    pub(super) const fn note_verdict(&mut self, now: Time, verdict: Verdict) {
        self.verdict = Some((now, verdict));
    }

    /// The source's last verdict, as long as it holds.
    pub(super) fn verdict(&self, now: Time) -> Option<Verdict> {
        let (since, verdict) = self.verdict?;
        (now.saturating_since(since) < VERDICT_LIFETIME).then_some(verdict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Time = Time::from_nanos(1 << 40);

    fn said(sent: u64, numbers: impl Iterator<Item = u64>) -> Detections {
        let detections = numbers
            .map(|number: u64| number.to_be_bytes().to_vec().into())
            .collect();

        Detections {
            screen: 3,
            detections,
            sent,
            ..Detections::default()
        }
    }

    #[test]
    fn so_many_messages_and_detections_are_kept_in_a_second_and_the_rest_is_counted() {
        let mut queue = ViewerFeedback::new(1);
        let (mut sent, mut told) = (0, 0);

        for millis in 0..1000 {
            sent += 4;
            queue.take(
                START + Duration::from_millis(millis),
                said(sent, sent - 4..sent),
            );

            told += queue.report().detections.len() as u64;
            queue.on_reported(MAX_DETECTIONS);
        }

        // A full bucket, and what comes into it meanwhile.
        let taken = 4 * u64::from(2 * DETECTIONS_PER_SECOND - 1);
        assert_eq!((told, queue.report().dropped), (taken, sent - told));
        let later = START + Duration::from_secs(5);

        for _ in 0..10 {
            sent += 16;
            queue.take(later, said(sent, 0..16));
            told += queue.report().detections.len() as u64;
            queue.on_reported(MAX_DETECTIONS);
        }

        assert_eq!(told, taken + u64::from(KEPT_DETECTIONS_PER_SECOND));
        assert_eq!(told + queue.report().dropped, sent);
    }

    #[test]
    fn a_datagram_that_comes_twice_counts_once() {
        let mut queue = ViewerFeedback::new(1);
        assert_eq!(queue.take(START, said(6, 4..6)), 0);
        assert_eq!(queue.take(START, said(6, 4..6)), 0);
        let seen = queue.report();
        assert_eq!(
            (seen.detections.len(), seen.sent, seen.dropped, seen.screen),
            (2, 6, 0, 3)
        );
    }

    #[test]
    fn the_oldest_go_when_nobody_takes_them() {
        let mut queue = ViewerFeedback::new(1);
        for number in 0..40 {
            queue.take(
                START + Duration::from_millis(100 * number),
                said(number + 1, number..number + 1),
            );
        }

        let oldest = 40 - MAX_WAITING as u64;
        assert_eq!(queue.report().detections[0][..], oldest.to_be_bytes());
        assert_eq!(queue.report().dropped, 40 - MAX_WAITING as u64);
        assert_eq!(
            queue.cut(MAX_DETECTIONS),
            0,
            "who has a whole feedback's share tells the rest later"
        );

        assert_eq!(queue.cut(2), MAX_WAITING as u64 - 2);
        assert_eq!(queue.report().detections, said(0, 38..40).detections);
    }

    #[test]
    fn a_verdict_is_told_while_it_is_of_the_present() {
        let mut queue = ViewerFeedback::new(1);
        let verdict = Verdict {
            error: 0.5,
            ..Verdict::default()
        };

        queue.note_verdict(START, verdict);
        assert_eq!(
            queue.verdict(START + Duration::from_millis(1199)),
            Some(verdict)
        );

        assert_eq!(queue.verdict(START + VERDICT_LIFETIME), None);
    }
}
