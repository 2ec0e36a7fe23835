//! What the table has for relays that have their streams from this one, and hears of them. Used by the output that publishes.

use std::fmt;

use fanlight_proto::message::{SourceClock, StreamName, ViewerReport, ViewerVerdict};

use super::frame::LiveFrame;
use super::table::StreamTable;

/// Reports of viewers that wait for the engine: as many as a source hears in two seconds.
pub(crate) const MAX_WAITING: usize = 2048;

/// Gets all frames and heartbeats as they come, on the thread of their source. It must not wait.
pub trait Downstream: fmt::Debug + Send + Sync {
    /// A frame or heartbeat was taken: the table had no newer picture.
    fn on_frame(&self, frame: &LiveFrame);

    /// A source says what it makes of viewers, which may be those of other relays.
    fn on_verdicts(&self, verdicts: &[ViewerVerdict]);
}

impl StreamTable {
    /// Gives all frames to `downstream` from now on. There is one for each table.
    pub fn set_downstream(&self, downstream: std::sync::Arc<dyn Downstream>) {
        // There is one output that publishes, and it starts once.
        let _ = self.downstream.set(downstream);
    }

    /// Names the run of this relay. Drawn at random.
    #[must_use]
    pub const fn relay(&self) -> u64 {
        self.relay
    }

    /// What is known of the clocks of all sources.
    #[must_use]
    pub fn source_clocks(&self) -> Vec<SourceClock> {
        self.for_engine.lock().clocks.values().copied().collect()
    }

    /// How many watch by other relays, of each stream that this one has.
    pub fn set_downstream_demand(
        &self,
        now: fanlight_proto::clock::Time,
        demand: impl Fn(&StreamName) -> u32,
    ) {
        for slot in self.slots() {
            slot.set_downstream(demand(&slot.name));
            self.tell_demand(now, &slot);
        }
    }

    /// Leaves what other relays say of their viewers. When too many wait, the oldest give way.
    pub fn put_viewer_reports(&self, reports: Vec<ViewerReport>) {
        let mut waiting = self.for_engine.lock();
        waiting.reports.extend(reports);
        let surplus = waiting.reports.len().saturating_sub(MAX_WAITING);
        waiting.reports.drain(..surplus);
        drop(waiting);
        self.engine_waker().wake();
    }
}
