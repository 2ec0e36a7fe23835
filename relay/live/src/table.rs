//! The table of live streams: the one place between inputs and outputs. Used by all threads.

mod admission;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{
    AtomicU64, AtomicUsize, Ordering::Acquire, Ordering::Relaxed, Ordering::Release,
};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use fanlight_daemon::clock;
use fanlight_proto::clock::Time;
use fanlight_proto::limits::MAX_STREAMS;
use fanlight_proto::message::{
    CheckedFrame, FrameHeader, SourceClock, StreamName, ViewerReport, ViewerVerdict,
};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::client_detections::{ClientDetections, MAX_WAITING};
use crate::clients::Clients;
use crate::clocks::Clocks;
use crate::downstream::Downstream;
use crate::frame::LiveFrame;
use crate::ledger::{ClientMemory, SharedRefusals};
use crate::output_waker::OutputWaker;
use crate::screens::{self, ScreenOrder};
use crate::slot::{Refused, Slot, Way};
use crate::sources::{SourceEntry, Sources};
use crate::status::{EngineStatus, ListedStream, StreamEntry};
use crate::traffic::{Sample, Traffic, TrafficTotals};

/// Clocks that wait for the engine, which takes them with the next frame or viewer: two for each stream there can be.
const MAX_CLOCKS: usize = 2 * MAX_STREAMS;

/// The newest frame of each stream, and who watches it.
#[derive(Debug)]
pub struct StreamTable {
    /// A source that has been silent for so long has lost its streams to whoever has them now.
    stale: Duration,
    streams: Mutex<BTreeMap<StreamName, Arc<Slot>>>,
    /// Changes when a stream comes or goes.
    version: AtomicU64,
    traffic: Mutex<TrafficTotals>,
    clients: Clients,
    sources: Sources,
    status: watch::Sender<Arc<EngineStatus>>,
    list_version: watch::Sender<u64>,
    listed: Mutex<(Vec<ListedStream>, Vec<SourceEntry>)>,
    engine: Arc<OutputWaker>,
    pub(crate) for_engine: Mutex<ForEngine>,
    refusals: SharedRefusals,
    client_memory: ClientMemory,
    /// What all streams may hold together, in bytes.
    stream_memory: AtomicUsize,
    /// Names the run of this relay.
    pub(crate) relay: u64,
    /// Where all frames go on to other relays.
    pub(crate) downstream: OnceLock<Arc<dyn Downstream>>,
    /// By the names of the outputs that need a peer, why they have none.
    output_problems: Mutex<BTreeMap<&'static str, Option<String>>>,
}

/// What waits for the engine: the newest of each, and each bounded by the number of sources or streams, or by a `MAX_WAITING`.
#[derive(Debug, Default)]
pub(crate) struct ForEngine {
    pub(crate) clocks: Clocks<SourceClock>,
    new_clocks: VecDeque<(usize, SourceClock)>,
    verdicts: BTreeMap<usize, Vec<ViewerVerdict>>,
    demand: BTreeMap<StreamName, u32>,
    detections: VecDeque<ClientDetections>,
    orders: VecDeque<ScreenOrder>,
    pub(crate) reports: VecDeque<ViewerReport>,
}

impl StreamTable {
    /// An empty table. A source that is silent for `stale` is gone.
    #[must_use]
    pub fn new(stale: Duration) -> Arc<Self> {
        Arc::new(Self {
            stale,
            streams: Mutex::default(),
            version: AtomicU64::new(0),
            traffic: Mutex::default(),
            clients: Clients::default(),
            sources: Sources::default(),
            status: watch::Sender::default(),
            list_version: watch::Sender::default(),
            listed: Mutex::default(),
            engine: Arc::default(),
            for_engine: Mutex::default(),
            refusals: SharedRefusals::default(),
            client_memory: ClientMemory::default(),
            stream_memory: AtomicUsize::new(usize::MAX),
            relay: clock::random_u64().max(1),
            downstream: OnceLock::new(),
            output_problems: Mutex::default(),
        })
    }

    /// Takes a frame or a heartbeat that came from source `origin` as `body` at `received`, and wakes who watches the
    /// stream.
    ///
    /// # Errors
    /// When there is no room for its stream or for so large a frame, or another source has it and is no relay with the same run.
    pub fn publish(
        &self,
        origin: usize,
        frame: CheckedFrame,
        body: Bytes,
        received: Time,
    ) -> Result<(), Refused> {
        let mut frame = LiveFrame::new(origin, frame, body, received);
        frame.captured_us = self.captured_us(origin, &frame.header);
        let sample = frame.is_picture().then(|| Sample::of(&frame));

        // Held while the frame is put, so that no stream is closed meanwhile.
        let mut streams = self.streams.lock();
        let refused = |stream: &StreamName, why: &Refused| {
            self.sources.refuse(received, origin, stream, *why);
        };

        let slot = self
            .check_route(&frame)
            .and_then(|()| self.check_size(&streams, &frame))
            .and_then(|()| self.slot_for(&mut streams, &frame))
            .inspect_err(|why| refused(&frame.stream, why))?;
        let published = slot
            .publish(frame, self.stale)
            .inspect_err(|why| refused(&slot.name, why))?;
        drop(streams);

        match published.way {
            Way::Own => {}
            Way::Spare => self.sources.note_spare(received, origin, &slot.name),
            Way::TakenFrom(former) => self.sources.tell_change(&slot.name, former, origin),
        }

        published.wake();
        if published.is_news {
            self.engine.wake();
        }

        if let (Some(downstream), Some(frame)) = (self.downstream.get(), &published.taken) {
            downstream.on_frame(frame);
        }

        if let Some(sample) = sample {
            self.traffic.lock().note(&slot.name, sample);
        }

        Ok(())
    }

    /// Counts a picture that came too late to be of use as superseded by the next one.
    pub fn skip(&self, origin: usize, frame: &CheckedFrame) {
        if let Some(slot) = self.slot(&frame.stream) {
            slot.skip(origin, frame.id);
        }
    }

    /// Notes what is known of the clock of source `origin`.
    pub fn put_clock(&self, origin: usize, clock: SourceClock) {
        let mut waiting = self.for_engine.lock();
        waiting.clocks.put(origin, clock.clock_id, clock);
        if waiting.new_clocks.len() == MAX_CLOCKS {
            waiting.new_clocks.pop_front();
        }
        waiting.new_clocks.push_back((origin, clock));
        drop(waiting);
        self.wake_watching_engine();
    }

    /// Leaves what source `origin` makes of its viewers.
    pub fn put_verdicts(&self, origin: usize, verdicts: Vec<ViewerVerdict>) {
        if let Some(downstream) = self.downstream.get() {
            downstream.on_verdicts(&verdicts);
        }
        self.for_engine.lock().verdicts.insert(origin, verdicts);
        self.wake_watching_engine();
    }

    /// Leaves what a client's tracker found.
    pub fn put_detections(&self, detections: ClientDetections) {
        let mut waiting = self.for_engine.lock();
        if waiting.detections.len() == MAX_WAITING {
            waiting.detections.pop_front();
        }
        waiting.detections.push_back(detections);
        drop(waiting);
        self.engine.wake();
    }

    /// Leaves what an admin wants of a screen. When too many wait it is dropped, as is its answer.
    pub fn put_order(&self, order: ScreenOrder) {
        let mut waiting = self.for_engine.lock();
        if waiting.orders.len() < screens::MAX_WAITING {
            waiting.orders.push_back(order);
        }
        drop(waiting);
        self.engine.wake();
    }

    /// The clients of all outputs but UDP.
    #[must_use]
    pub const fn clients(&self) -> &Clients {
        &self.clients
    }

    /// The sources of the settings, and what keeps them from being heard.
    #[must_use]
    pub const fn sources(&self) -> &Sources {
        &self.sources
    }

    /// What outputs but UDP asked for and did not get.
    #[must_use]
    pub const fn refusals(&self) -> &SharedRefusals {
        &self.refusals
    }

    /// What clients of outputs but UDP may hold.
    #[must_use]
    pub const fn client_memory(&self) -> &ClientMemory {
        &self.client_memory
    }

    /// All streams may hold `bytes` from now on.
    pub fn set_stream_memory(&self, bytes: usize) {
        self.stream_memory.store(bytes, Relaxed);
    }

    /// Notes what keeps the output `name` from its peer, such as a broker; none: nothing does.
    pub fn set_output_problem(&self, name: &'static str, problem: Option<String>) {
        self.output_problems.lock().insert(name, problem);
    }

    /// The outputs that need a peer, and what keeps them from it.
    #[must_use]
    pub fn output_problems(&self) -> BTreeMap<&'static str, Option<String>> {
        self.output_problems.lock().clone()
    }

    /// What came from sources since the relay began, by the name of the stream.
    #[must_use]
    pub fn traffic(&self) -> Vec<(String, Traffic)> {
        self.traffic.lock().all()
    }

    /// What the engine published last.
    #[must_use]
    pub fn status(&self) -> Arc<EngineStatus> {
        Arc::clone(&self.status.borrow())
    }

    /// Tells when the engine publishes.
    #[must_use]
    pub fn watch_status(&self) -> watch::Receiver<Arc<EngineStatus>> {
        self.status.subscribe()
    }

    /// Tells when [`StreamTable::list`] changes in more than rates and ages, or [`StreamTable::sources`].
    #[must_use]
    pub fn watch_list(&self) -> watch::Receiver<u64> {
        self.list_version.subscribe()
    }

    /// All streams.
    #[must_use]
    pub fn list(&self, now: Time) -> Vec<ListedStream> {
        let listed = |entry: &StreamEntry| {
            let slot = self.slot(&entry.name);
            let newest = slot.as_ref().and_then(|slot| slot.newest());
            let newest = newest.as_ref().map(|(frame, _)| frame);
            ListedStream {
                entry: entry.clone(),
                canary: newest
                    .map(|frame| frame.header.canary.clone())
                    .unwrap_or_default(),
                clients: slot.as_ref().map_or(0, |slot| slot.watchers(&self.engine)),
                fps: slot.as_ref().map_or(0.0, |slot| slot.fps(now)),
                age_us: newest.map(|frame| age_us(frame, now)),
            }
        };

        self.status().streams.iter().map(listed).collect()
    }

    /// What the engine knows of one stream.
    #[must_use]
    pub fn entry(&self, stream: &StreamName) -> Option<StreamEntry> {
        let status = self.status();
        status
            .streams
            .iter()
            .find(|entry| entry.name == *stream)
            .cloned()
    }

    /// The stream for a client that does not choose: the first that has a source, or else the first. A canary only if
    /// there is nothing else.
    #[must_use]
    pub fn first(&self, now: Time) -> Option<StreamName> {
        let list = self.list(now);
        let is_canary = |stream: &ListedStream| {
            list.iter()
                .any(|other| other.canary == stream.entry.name.as_str())
        };

        let first = list
            .iter()
            .min_by_key(|stream| (is_canary(stream), stream.entry.source_gone));
        first.map(|stream| stream.entry.name.clone())
    }

    /// Whether the relay has this stream.
    #[must_use]
    pub fn has(&self, stream: &StreamName) -> bool {
        self.slot(stream).is_some()
    }

    /// The source that has this stream, or had it last.
    #[must_use]
    pub fn origin(&self, stream: &StreamName) -> Option<usize> {
        Some(self.slot(stream)?.origin())
    }

    /// The newest picture of a stream.
    #[must_use]
    pub fn newest(&self, stream: &StreamName) -> Option<Arc<LiveFrame>> {
        self.slot(stream)?.newest().map(|(frame, _)| frame)
    }

    /// The time between two pictures of a stream, as measured.
    #[must_use]
    pub fn interval(&self, stream: &StreamName) -> Option<Duration> {
        self.slot(stream)?.interval()
    }

    /// A client asks for a single picture of a stream: its source is to be awake for a while.
    pub fn ask(&self, now: Time, stream: &StreamName) {
        if let Some(slot) = self.slot(stream) {
            slot.ask(now);
            self.tell_demand(now, &slot);
        }
    }

    pub(crate) fn slot(&self, stream: &StreamName) -> Option<Arc<Slot>> {
        self.streams.lock().get(stream).cloned()
    }

    pub(crate) fn slots(&self) -> Vec<Arc<Slot>> {
        self.streams.lock().values().cloned().collect()
    }

    pub(crate) fn version(&self) -> u64 {
        self.version.load(Acquire)
    }

    pub(crate) const fn engine_waker(&self) -> &Arc<OutputWaker> {
        &self.engine
    }

    /// Tells the engine how many clients watch a stream, if that has changed.
    pub(crate) fn tell_demand(&self, now: Time, slot: &Slot) {
        if let Some(demand) = slot.new_demand(now, &self.engine) {
            self.for_engine
                .lock()
                .demand
                .insert(slot.name.clone(), demand);
            self.engine.wake();
        }
    }

    pub(crate) fn next_clock(&self) -> Option<(usize, SourceClock)> {
        self.for_engine.lock().new_clocks.pop_front()
    }

    pub(crate) fn next_verdicts(&self) -> Option<(usize, Vec<ViewerVerdict>)> {
        self.for_engine.lock().verdicts.pop_first()
    }

    pub(crate) fn next_demand(&self) -> Option<(StreamName, u32)> {
        self.for_engine.lock().demand.pop_first()
    }

    pub(crate) fn next_detections(&self) -> Option<ClientDetections> {
        self.for_engine.lock().detections.pop_front()
    }

    pub(crate) fn next_viewer_report(&self) -> Option<ViewerReport> {
        self.for_engine.lock().reports.pop_front()
    }

    pub(crate) fn next_order(&self) -> Option<ScreenOrder> {
        self.for_engine.lock().orders.pop_front()
    }

    pub(crate) fn publish_status(&self, status: EngineStatus) {
        let now = status.at;
        self.close_forgotten(&status);
        self.status.send_replace(Arc::new(status));

        for slot in self.slots() {
            self.tell_demand(now, &slot);
        }

        let list: Vec<_> = self.list(now).iter().map(ListedStream::lasting).collect();
        let list = (list, self.sources.all(now));
        let mut listed = self.listed.lock();

        if *listed != list {
            *listed = list;
            self.list_version.send_modify(|version| *version += 1);
        }
    }

    /// Closes streams that the engine has forgotten. A stream that has just come is not yet known to it.
    fn close_forgotten(&self, status: &EngineStatus) {
        self.streams.lock().retain(|name, slot| {
            let is_known = status.streams.iter().any(|stream| stream.name == *name);
            let stays = is_known || !slot.is_silent(status.at, self.stale);
            if !stays {
                slot.close();
                self.version.fetch_add(1, Release);
            }
            stays
        });
    }

    /// The slot of the frame's stream, which may be new.
    fn slot_for(
        &self,
        streams: &mut BTreeMap<StreamName, Arc<Slot>>,
        frame: &LiveFrame,
    ) -> Result<Arc<Slot>, Refused> {
        if let Some(slot) = streams.get(&frame.stream) {
            return Ok(Arc::clone(slot));
        }

        if streams.len() >= MAX_STREAMS {
            let idle = streams
                .values()
                .find(|slot| slot.is_silent(frame.received, self.stale) && !slot.is_watched())
                .cloned();
            let idle = idle.ok_or(Refused::TooMany)?;
            idle.close();
            streams.remove(&idle.name);
        }

        let slot = Slot::new(frame.stream.clone(), frame.origin, frame.received);
        let slot = Arc::new(slot);
        streams.insert(frame.stream.clone(), Arc::clone(&slot));
        self.version.fetch_add(1, Release);
        Ok(slot)
    }

    /// When a frame of source `origin` was captured by our clock; none when its clock is not known.
    fn captured_us(&self, origin: usize, header: &FrameHeader) -> Option<i64> {
        let clock = *self.for_engine.lock().clocks.get(origin, header.clock_id)?;
        let captured_ns = i64::try_from(header.captured_ns).ok()?;
        Some(captured_ns.saturating_sub(clock.offset_ns) / 1_000)
    }

    /// Clocks and verdicts are for viewers: without any they wait until the engine looks.
    fn wake_watching_engine(&self) {
        if self.engine.is_watching() {
            self.engine.wake();
        }
    }
}

/// The age of a picture: since its capture or, when that is not known here, since it came.
fn age_us(frame: &LiveFrame, now: Time) -> u64 {
    let since_received = now.saturating_since(frame.received).as_micros();
    frame
        .age_us(now)
        .unwrap_or(u64::try_from(since_received).unwrap_or(u64::MAX))
}

#[cfg(test)]
pub(crate) mod tests;
