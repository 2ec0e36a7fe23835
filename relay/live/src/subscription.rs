//! One subscriber of one stream: it gets the newest frame whenever it is ready for one, and nothing queues for it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_proto::clock::Time;
use fanlight_proto::message::{FrameId, StreamName};
use tokio::sync::Notify;

use crate::clients::{ClientHandle, OutputKind, Sent};
use crate::frame::{Arrival, LiveFrame};
use crate::ledger::{Charge, Resource};
use crate::output::Output;
use crate::output_waker::OutputWaker;
use crate::slot::Slot;
use crate::table::StreamTable;
use crate::throttle::Throttle;

/// Frames that a client may be ahead with its credit: one that it draws, one on its way, and as many again for a long
/// link.
pub const MAX_CREDIT: u32 = 4;

/// A moment that has not quite come is not slept for again and again.
const SHORTEST_SLEEP: Duration = Duration::from_millis(1);

/// How a client wants a stream.
#[derive(Debug, Default)]
pub struct Subscribe {
    /// Lists the client, and counts what it gets.
    pub client: Option<(OutputKind, SocketAddr)>,
    /// Frames a second at most; none: all.
    pub fps: Option<f64>,
    /// Frames that the client takes until it gives more [credit](FrameSubscription::add_credit); none: no limit.
    pub credit: Option<u32>,
    /// What the client's connection is charged for its frames; none: somebody else answers for them.
    pub charge: Option<Arc<Charge>>,
    /// Notified when there may be something to do. A task that serves several subscriptions gives them one `Notify`.
    pub wake: Arc<Notify>,
}

/// A subscription to one stream.
#[derive(Debug)]
pub struct FrameSubscription {
    table: Arc<StreamTable>,
    slot: Arc<Slot>,
    output: Arc<OutputWaker>,
    wake: Arc<Notify>,
    /// Frames wake the output, and a frame that is not taken in time is its loss.
    active: bool,
    client: Option<ClientHandle>,
    throttle: Throttle,
    credit: Option<u32>,
    charge: Option<Arc<Charge>>,
    last: Option<FrameId>,
    /// Frames since the last one for which there was no memory.
    refused: u64,
    taken: Taken,
}

impl Output {
    /// Subscribes a client to a stream; none when the relay has no such stream.
    #[must_use]
    pub fn subscribe(&self, stream: &StreamName, options: Subscribe) -> Option<FrameSubscription> {
        let slot = self.table().slot(stream)?;
        Some(FrameSubscription::new(
            self.table(),
            slot,
            self.waker(),
            options,
        ))
    }
}

/// What a subscriber took, and what it did not get since.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    epoch: u64,
    /// The place of the last frame among those of its epoch.
    index: u64,
    superseded: u64,
    unwatched: u64,
    heartbeat: u64,
}

impl FrameSubscription {
    pub(crate) fn new(
        table: &Arc<StreamTable>,
        slot: Arc<Slot>,
        output: &Arc<OutputWaker>,
        options: Subscribe,
    ) -> Self {
        let client = options
            .client
            .map(|(kind, address)| table.clients().add(clock::now(), kind, address, &slot.name));
        let mut subscription = Self::inactive(table, slot, output, options.wake);
        subscription.client = client;
        subscription.throttle = Throttle::new(options.fps);
        subscription.credit = options.credit;
        subscription.charge = options.charge;

        // What came before is not this subscriber's loss.
        if let Some((newest, _)) = subscription.slot.newest() {
            subscription.taken.epoch = newest.id.epoch;
            subscription.taken.index = newest.index - 1;
        }

        subscription.set_active(true);
        subscription
    }

    /// One that gets every frame that it looks for, from the first on, and is woken by none until it is
    /// [active](Self::set_active).
    pub(crate) fn inactive(
        table: &Arc<StreamTable>,
        slot: Arc<Slot>,
        output: &Arc<OutputWaker>,
        wake: Arc<Notify>,
    ) -> Self {
        Self {
            table: Arc::clone(table),
            slot,
            output: Arc::clone(output),
            wake,
            active: false,
            client: None,
            throttle: Throttle::default(),
            credit: None,
            charge: None,
            last: None,
            refused: 0,
            taken: Taken::default(),
        }
    }

    /// The stream.
    #[must_use]
    pub fn stream(&self) -> &StreamName {
        &self.slot.name
    }

    /// Its client, if it is listed.
    #[must_use]
    pub const fn client(&self) -> Option<&ClientHandle> {
        self.client.as_ref()
    }

    /// The relay no longer has the stream: no frame will come.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.slot.is_closed()
    }

    /// Waits for the next frame that is due; none when the relay no longer has the stream. Cancel safe.
    ///
    /// Call it when there is room for a frame: a slow client then gets the newest one of that moment.
    pub async fn next(&mut self) -> Option<Arrival> {
        loop {
            if self.is_closed() {
                return None;
            }

            let now = clock::now();
            if let Some(arrival) = self.try_next(now) {
                return Some(arrival);
            }

            match self.deadline() {
                Some(due) => {
                    let wait = due.saturating_since(now).max(SHORTEST_SLEEP);
                    let _ = tokio::time::timeout(wait, self.wake.notified()).await;
                }
                None => self.wake.notified().await,
            }
        }
    }

    /// Takes the frame that is due at `now`, if there is one.
    pub fn try_next(&mut self, now: Time) -> Option<Arrival> {
        let (frame, between) = self.waiting()?;
        if !self.allows(&frame, between, now) || !self.has_memory(&frame) {
            return None;
        }

        self.throttle.on_sent(now);
        if let Some(credit) = &mut self.credit {
            *credit -= 1;
        }

        let arrival = self.take(frame);
        if let Some(client) = &self.client {
            let frame = &arrival.frame;
            client.note(
                now,
                Sent {
                    bytes: frame.jpeg.len(),
                    skipped: arrival.skipped,
                    age_us: frame.age_us(now),
                },
            );
        }

        Some(arrival)
    }

    /// Whether [`FrameSubscription::try_next`] would give a frame at `now`.
    #[must_use]
    pub fn is_due(&self, now: Time) -> bool {
        self.waiting()
            .is_some_and(|(frame, between)| self.allows(&frame, between, now))
    }

    /// When a frame that is there already becomes due, unless a newer one comes before.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        self.waiting()
            .map(|(_, between)| self.throttle.latest(between))
    }

    /// A newer frame is there, and the client has given no credit for it yet.
    #[must_use]
    pub fn awaits_credit(&self) -> bool {
        self.credit == Some(0)
            && self
                .slot
                .newest()
                .is_some_and(|(frame, _)| self.is_new(&frame))
    }

    /// The client can take one more frame.
    pub fn add_credit(&mut self) {
        self.credit = self.credit.map(|credit| (credit + 1).min(MAX_CREDIT));
    }

    /// Changes the rate, from the next frame on.
    pub fn set_rate(&mut self, fps: Option<f64>) {
        self.throttle = Throttle::new(fps);
    }

    /// Takes the newest heartbeat that came after the last frame.
    pub(crate) fn try_heartbeat(&mut self) -> Option<Arrival> {
        let (number, frame) = self.slot.heartbeat()?;
        if std::mem::replace(&mut self.taken.heartbeat, number) == number {
            return None;
        }

        Some(Arrival {
            frame,
            superseded: 0,
            unwatched: 0,
            skipped: 0,
        })
    }

    /// Whether frames wake the output. What passed an inactive subscription is counted as unwatched.
    pub(crate) fn set_active(&mut self, active: bool) {
        if active == self.active {
            return;
        }

        if let Some((newest, _)) = self.slot.newest()
            && newest.id.epoch == self.taken.epoch
            && newest.index > self.taken.index
        {
            self.note_missed(newest.index);
            self.taken.index = newest.index - 1;
        }

        self.active = active;
        if active {
            self.slot.attach(&self.output, &self.wake);
        } else {
            self.slot.detach(&self.output, &self.wake);
        }

        self.table.tell_demand(clock::now(), &self.slot);
    }

    /// A picture that the client does not have and has credit for, and the time between two.
    fn waiting(&self) -> Option<(Arc<LiveFrame>, Option<Duration>)> {
        if self.credit == Some(0) {
            return None;
        }
        self.slot.newest().filter(|(frame, _)| self.is_new(frame))
    }

    /// Whether the client's connection may hold `frame`; if not it is skipped.
    fn has_memory(&mut self, frame: &LiveFrame) -> bool {
        let covers = |charge: &Arc<Charge>| charge.covers(frame.body.len());
        if self.charge.as_ref().is_none_or(covers) {
            return true;
        }

        self.table.refusals().note(Resource::Memory, 1);
        let last = self.last.replace(frame.id);
        self.refused += 1 + last.map_or(0, |last| skipped(last, frame.id));
        false
    }

    fn is_new(&self, frame: &LiveFrame) -> bool {
        Some(frame.id) != self.last
    }

    fn allows(&self, frame: &LiveFrame, between: Option<Duration>, now: Time) -> bool {
        frame.received >= self.throttle.earliest(between) || now >= self.throttle.latest(between)
    }

    fn take(&mut self, frame: Arc<LiveFrame>) -> Arrival {
        if self.taken.epoch != frame.id.epoch {
            // Frames of an epoch that has ended are nobody's loss.
            self.taken = Taken {
                epoch: frame.id.epoch,
                heartbeat: self.taken.heartbeat,
                ..Taken::default()
            };
        }

        self.note_missed(frame.index);
        self.taken.index = frame.index;
        let skipped = self
            .last
            .replace(frame.id)
            .map_or(0, |last| skipped(last, frame.id))
            + std::mem::take(&mut self.refused);

        Arrival {
            frame,
            superseded: std::mem::take(&mut self.taken.superseded),
            unwatched: std::mem::take(&mut self.taken.unwatched),
            skipped,
        }
    }

    /// Counts the frames between the one taken last and the one at `index`.
    fn note_missed(&mut self, index: u64) {
        let missed = index.saturating_sub(self.taken.index + 1);
        if self.active {
            self.taken.superseded += missed;
        } else {
            self.taken.unwatched += missed;
        }
    }
}

impl Drop for FrameSubscription {
    fn drop(&mut self) {
        self.set_active(false);
    }
}

/// Frames of the stream between two.
fn skipped(last: FrameId, next: FrameId) -> u64 {
    if last.epoch == next.epoch {
        next.number.saturating_sub(last.number).saturating_sub(1)
    } else {
        0
    }
}
