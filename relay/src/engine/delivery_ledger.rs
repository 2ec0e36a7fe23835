//! Counts the frames that were sent to one viewer and did not arrive, by what the relay has sent and how
//! many whole frames the viewer has. Only the relay can tell a lost frame from one that it never sent.

use std::collections::VecDeque;

/// Sent frames that are remembered: more than two seconds at 120 fps. Keep-alives come four times a
/// second.
const MAX_OPEN: usize = 256;

/// Whole frames beyond those sent that still count: a frame counted as lost may have been repaired since.
/// Further ones came by another relay, and replace nothing that this one loses later.
const MAX_SURPLUS: u64 = 8;

/// The ledger of one session.
#[derive(Debug)]
pub(super) struct DeliveryLedger {
    sent: u64,
    /// The sequences of the last frames sent, oldest first.
    open: VecDeque<u64>,
    lost: u64,
    /// Whole frames that came from other relays.
    foreign: u64,
}

impl Default for DeliveryLedger {
    /// Allocates all that it will need, so that no frame costs an allocation.
    fn default() -> Self {
        Self {
            sent: 0,
            open: VecDeque::with_capacity(MAX_OPEN),
            lost: 0,
            foreign: 0,
        }
    }
}

impl DeliveryLedger {
    /// A frame is sent to the viewer.
    pub(super) fn on_sent(&mut self, sequence: u64) {
        if self.open.len() == MAX_OPEN {
            self.open.pop_front();
        }
        self.sent += 1;
        self.open.push_back(sequence);
    }

    /// The newest frame was not sent after all.
    pub(super) fn on_withdrawn(&mut self) {
        self.sent -= u64::from(self.open.pop_back().is_some());
    }

    /// The sequence of the newest frame sent.
    pub(super) fn newest(&self) -> Option<u64> {
        self.open.back().copied()
    }

    /// Frames lost so far, when the viewer has `whole` frames and has seen a part of frame `newest`, which
    /// may still be in flight: one too few at most. Never falls.
    pub(super) fn lost(&mut self, newest: u64, whole: u64) -> u64 {
        let open = self
            .open
            .iter()
            .rev()
            .take_while(|sequence| **sequence >= newest)
            .count() as u64;

        let settled = self.sent.saturating_sub(open);
        self.foreign = self
            .foreign
            .max(whole.saturating_sub(self.sent - self.lost.min(self.sent) + MAX_SURPLUS));
        self.lost = self
            .lost
            .max(settled.saturating_sub(whole.saturating_sub(self.foreign)));
        self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_and_did_not_come_is_lost_and_what_is_on_its_way_is_not() {
        let mut ledger = DeliveryLedger::default();
        // Every third frame of the stream is sent.
        (1..=10).for_each(|frame| ledger.on_sent(frame * 3));
        assert_eq!(ledger.lost(30, 9), 0, "the newest is on its way");
        assert_eq!(ledger.lost(30, 10), 0);
        assert_eq!(ledger.lost(15, 4), 0, "as were five more");
        assert_eq!(ledger.lost(30, 6), 3);
        assert_eq!(ledger.lost(30, 7), 3, "it does not fall");
        assert_eq!(ledger.lost(31, 6), 4, "something later has come");
    }

    #[test]
    fn what_comes_by_another_relay_hides_no_later_loss() {
        let mut ledger = DeliveryLedger::default();
        (1..=10).for_each(|frame| ledger.on_sent(frame));
        assert_eq!(ledger.lost(10, 500), 0);
        (11..=100).for_each(|frame| ledger.on_sent(frame));
        assert_eq!(ledger.lost(100, 500), 90 - 1 - MAX_SURPLUS);
    }

    #[test]
    fn a_frame_that_is_withdrawn_was_not_sent() {
        let mut ledger = DeliveryLedger::default();
        (1..=4).for_each(|frame| ledger.on_sent(frame));
        ledger.on_withdrawn();
        assert_eq!((ledger.newest(), ledger.lost(9, 3)), (Some(3), 0));
    }

    #[test]
    fn a_viewer_that_claims_anything_costs_no_more_memory() {
        let mut ledger = DeliveryLedger::default();
        for frame in 0..10_000 {
            ledger.on_sent(frame);
            ledger.lost(0, 0);
        }
        assert_eq!(ledger.open.len(), MAX_OPEN);
        assert_eq!(ledger.lost(u64::MAX, u64::MAX), ledger.lost(0, 0));
    }
}
