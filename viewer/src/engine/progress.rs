//! Says how far frames have been read that the socket does not hold, so that the relay sends on. The engine calls it for each
//! datagram of media, on the thread of its socket.

use fanlight_proto::datagram::DataHeader;
use fanlight_proto::message::Progress;

/// Datagrams from one message to the next, at least, whatever a relay asks for.
const LEAST: u32 = 8;

/// How far the newest frame of one session has been read.
#[derive(Debug)]
pub(super) struct ProgressMeter {
    /// Datagrams from one message to the next; 0: the relay wants none.
    every: u32,
    sequence: u64,
    told: u32,
}

impl ProgressMeter {
    /// As ACCEPT asks for it.
    pub(super) fn new(every: u32) -> Self {
        Self {
            every: if every == 0 { 0 } else { every.max(LEAST) },
            sequence: 0,
            told: 0,
        }
    }

    /// Takes a datagram; what to tell the relay, if it is time.
    pub(super) fn note(&mut self, header: &DataHeader) -> Option<Progress> {
        let is_small = u32::from(header.shards) <= self.every.saturating_mul(2);
        if self.every == 0 || is_small || header.sequence < self.sequence {
            return None;
        }

        if header.sequence > self.sequence {
            self.sequence = header.sequence;
            self.told = 0;
        }

        let reach = u32::from(header.index) + 1;
        if reach < self.told.saturating_add(self.every) {
            return None;
        }

        self.told = reach;
        Some(Progress {
            sequence: self.sequence,
            reach,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told of these datagrams, each of this sequence and index, of frames of 100 shards.
    fn told(every: u32, datagrams: &[(u64, u16)]) -> Vec<(u64, u32)> {
        let mut meter = ProgressMeter::new(every);
        let header = |(sequence, index)| DataHeader {
            sequence,
            index,
            shards: 100,
            ..DataHeader::default()
        };
        let told = datagrams.iter().filter_map(|at| meter.note(&header(*at)));
        told.map(|progress| (progress.sequence, progress.reach))
            .collect()
    }

    #[test]
    fn every_so_many_datagrams_of_a_large_frame_are_told_and_none_of_a_small_one() {
        let frame: Vec<_> = (0..100).map(|index| (1, index)).collect();
        let expected = [(1, 30), (1, 60), (1, 90)];
        assert_eq!(told(30, &frame), expected);
        assert_eq!(told(50, &frame), []);
        assert_eq!(told(0, &frame), []);
        // A relay that asks for one with each datagram gets fewer.
        assert_eq!(told(1, &frame).len(), 12);
    }

    #[test]
    fn lost_and_late_datagrams_count_by_how_far_was_read() {
        let gaps = [(1, 5), (1, 35), (1, 20), (1, 36), (1, 64), (1, 65)];
        assert_eq!(told(30, &gaps), [(1, 36), (1, 66)]);
        let next = [(1, 40), (2, 3), (1, 99), (2, 31)];
        assert_eq!(told(30, &next), [(1, 41), (2, 32)]);
    }
}
