//! Frames that come whole over a connection, beside those that are put together from shards.

use crate::clock::Time;
use crate::message::FrameId;

use super::{CompleteFrame, MAX_JUMP, MAX_NUMBER, Reassembly};

impl Reassembly {
    /// Takes a frame that came whole over a connection; gives it, unless it is decided already. Its relay says that
    /// `lost_upstream` frames before it never came there. Other paths may bring shards of the same stream.
    pub fn on_frame(
        &mut self,
        now: Time,
        id: FrameId,
        body: &[u8],
        lost_upstream: u64,
    ) -> Option<CompleteFrame> {
        if body.len() > self.limit || id.number > MAX_NUMBER {
            self.counts.refused += 1;
            return None;
        }

        if !self.is_current(now, id) || (id.number < self.settled && !self.falls_back(id.number)) {
            self.counts.late += 1;
            return None;
        }

        self.far_behind = 0;
        if id.number - self.settled > MAX_JUMP {
            self.counts.refused += 1;
            return None;
        }

        let mut memory = match self.open.iter().position(|open| open.id == id) {
            Some(at) => {
                let open = self.open.swap_remove(at);
                self.note_shards(open.shards, open.unasked());
                open.into_memory()
            }
            None => {
                self.interval.on_first(now, id.number);
                self.unused_memory()
            }
        };

        self.note_away(id.number, lost_upstream);
        self.settle_below(id.number, lost_upstream, 0);
        self.settled = id.number + 1;
        self.heard = now;
        self.counts.whole += 1;
        let mut whole = std::mem::take(&mut memory.body);
        self.keep(memory);
        whole.clear();
        whole.extend_from_slice(body);
        Some(CompleteFrame {
            id,
            body: whole,
            first: now,
            received_us: 0,
        })
    }
}
