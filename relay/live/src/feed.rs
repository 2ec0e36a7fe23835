//! The table as the engine of the UDP side sees it. Owned by its event loop.

use std::sync::Arc;

use fanlight_proto::message::{SourceClock, StreamName, ViewerReport, ViewerVerdict};
use tokio::sync::Notify;

use crate::client_detections::ClientDetections;
use crate::frame::Arrival;
use crate::screens::ScreenOrder;
use crate::status::EngineStatus;
use crate::subscription::FrameSubscription;
use crate::table::StreamTable;

/// Everything that the table has for the engine. There is one for each table.
///
/// The event loop is woken for the frames of watched streams, and for news: a stream that comes or is in another
/// state, and changed demand. All else is there when it looks.
#[derive(Debug)]
pub struct EngineFeed {
    table: Arc<StreamTable>,
    wake: Arc<Notify>,
    /// The version of the table's streams that `subscriptions` has.
    version: u64,
    subscriptions: Vec<FrameSubscription>,
    /// Where to look next.
    at: usize,
}

impl EngineFeed {
    /// The feed of `table`.
    #[must_use]
    pub fn new(table: Arc<StreamTable>) -> Self {
        Self {
            table,
            wake: Arc::default(),
            version: 0,
            subscriptions: Vec::new(),
            at: 0,
        }
    }

    /// Clients of the outputs may hold `limit` bytes from now on.
    pub fn set_client_memory(&self, limit: usize) {
        self.table.client_memory().set_limit(limit);
    }

    /// Streams may hold `bytes` together from now on.
    pub fn set_stream_memory(&self, bytes: usize) {
        self.table.set_stream_memory(bytes);
    }

    /// Waits until there may be something that the event loop must see now.
    pub async fn changed(&self) {
        self.table.engine_waker().woken().await;
    }

    /// Takes a frame or a heartbeat, but no frame of a stream that is `busy` with its last one. None when all streams
    /// have been looked at: then the next call begins anew.
    pub fn next_arrival(&mut self, busy: impl Fn(&StreamName) -> bool) -> Option<Arrival> {
        if self.at == 0 {
            self.follow_streams();
        }

        while let Some(subscription) = self.subscriptions.get_mut(self.at) {
            if !busy(subscription.stream())
                && let Some(arrival) = subscription.try_next(fanlight_proto::clock::Time::default())
            {
                return Some(arrival);
            }
            self.at += 1;
            if let Some(heartbeat) = subscription.try_heartbeat() {
                return Some(heartbeat);
            }
        }

        self.at = 0;
        None
    }

    /// Says which streams have viewers: only their frames wake the event loop.
    pub fn set_watched(&mut self, is_watched: impl Fn(&StreamName) -> bool) {
        for subscription in &mut self.subscriptions {
            let watched = is_watched(subscription.stream());
            subscription.set_active(watched);
        }
    }

    /// Takes what is newly known of the clock of a source, and of which.
    #[must_use]
    pub fn next_clock(&self) -> Option<(usize, SourceClock)> {
        self.table.next_clock()
    }

    /// Takes what a source makes of its viewers, and which.
    #[must_use]
    pub fn next_verdicts(&self) -> Option<(usize, Vec<ViewerVerdict>)> {
        self.table.next_verdicts()
    }

    /// Takes a stream whose number of clients of other outputs has changed, and the number.
    #[must_use]
    pub fn next_demand(&self) -> Option<(StreamName, u32)> {
        self.table.next_demand()
    }

    /// Takes what a client's tracker found.
    #[must_use]
    pub fn next_detections(&self) -> Option<ClientDetections> {
        self.table.next_detections()
    }

    /// Takes what another relay, which has its stream from this one, says of a viewer.
    #[must_use]
    pub fn next_viewer_report(&self) -> Option<ViewerReport> {
        self.table.next_viewer_report()
    }

    /// Takes what an admin wants of a screen.
    #[must_use]
    pub fn next_order(&self) -> Option<ScreenOrder> {
        self.table.next_order()
    }

    /// Publishes what the engine knows, for other outputs to show.
    pub fn publish_status(&self, status: EngineStatus) {
        self.table.publish_status(status);
    }

    fn follow_streams(&mut self) {
        let version = self.table.version();
        if version == self.version {
            return;
        }

        self.version = version;
        self.subscriptions
            .retain(|subscription| !subscription.is_closed());
        for slot in self.table.slots() {
            let known = self
                .subscriptions
                .iter()
                .any(|known| *known.stream() == slot.name);

            if !known {
                let waker = self.table.engine_waker();
                let wake = Arc::clone(&self.wake);
                let new = FrameSubscription::inactive(&self.table, slot, waker, wake);
                self.subscriptions.push(new);
            }
        }
    }
}
