//! What the table keeps of one stream.

use std::sync::Arc;
use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::limits::MAX_HOPS;
use fanlight_proto::message::{FrameId, StreamName};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::frame::LiveFrame;
use crate::output_waker::{Channel, OutputWaker};
use crate::rate_meter::RateMeter;

/// A source that speaks again after this is announced to the engine at once. Live ones speak every 250 ms, and the
/// engine declares none gone before 500 ms.
const SILENCE: Duration = Duration::from_millis(500);

/// A client that asked for a single picture counts as a watcher for so long: polling keeps a source awake.
const LINGER: Duration = Duration::from_secs(5);

/// Why a frame was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A stream more than [`MAX_STREAMS`](fanlight_proto::limits::MAX_STREAMS).
    #[error("the relay has all the streams it can carry")]
    TooMany,
    /// Another source, which is still alive, has a stream of this name: its place in the settings.
    #[error("source {} has a stream of that name: give one of the two another name", .0 + 1)]
    Taken(usize),
    /// It came back to the relay that had it from its source.
    #[error(
        "it comes from this relay: two relays take streams from each other, so leave one out of the other's `sources`"
    )]
    Loop,
    /// It has passed as many relays as it may.
    #[error(
        "it has passed {MAX_HOPS} relays, and may not pass more: take the stream from a relay nearer to its source"
    )]
    TooFar,
    /// Larger than what the memory budget leaves each stream.
    #[error(
        "its frame of {bytes} bytes is over {limit}, a quarter of its share of the relay's memory_budget: raise that, or send smaller frames"
    )]
    TooLarge {
        /// Bytes of the frame.
        bytes: usize,
        /// How many it may have.
        limit: usize,
    },
}

/// One for each output that watches a stream.
type Channels = Arc<Vec<Arc<Channel>>>;

/// By which way a frame came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the source that has the stream.
    Own,
    /// From the source that has it from now on; the one before has been silent.
    TakenFrom(usize),
    /// From a spare: the source that has the stream lives, and both are relays that have it from the same source.
    Spare,
}

/// Whom a frame that was taken concerns. To be told when no lock is held that they take.
#[derive(Debug)]
pub(crate) struct Published {
    /// It says something about the stream that the engine must know at once.
    pub(crate) is_news: bool,
    /// How the stream came to this source, when that is not as it was.
    pub(crate) way: Way,
    /// The frame or heartbeat; none when the slot had a newer picture.
    pub(crate) taken: Option<Arc<LiveFrame>>,
    watching: Option<Channels>,
}

impl Published {
    /// Wakes who watches the stream.
    pub(crate) fn wake(&self) {
        let watching = self.watching.iter().flat_map(|channels| channels.iter());
        watching.for_each(|channel| channel.wake());
    }
}

/// One stream of the table.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) name: StreamName,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The source that has the stream, by its place in the settings.
    origin: usize,
    /// When that source spoke last.
    heard: Time,
    /// Epoch, state and reason as its source said last.
    said: Option<(u64, i32, String)>,
    newest: Option<Arc<LiveFrame>>,
    /// A heartbeat that came after the picture, with its number among all heartbeats.
    heartbeat: Option<(u64, Arc<LiveFrame>)>,
    heartbeats: u64,
    /// The epoch whose pictures are counted, and how many there were.
    counted: (u64, u64),
    meter: RateMeter,
    /// Shared, so that they can be woken when the locks are free.
    channels: Channels,
    /// Until then a client counts as watching that asked for one picture.
    linger: Option<Time>,
    /// How many watch by other relays.
    downstream: u32,
    /// How many watch, as the engine was told last.
    told_demand: u32,
    closed: bool,
}

impl Slot {
    pub(crate) fn new(name: StreamName, origin: usize, now: Time) -> Self {
        let state = State {
            origin,
            heard: now,
            said: None,
            newest: None,
            heartbeat: None,
            heartbeats: 0,
            counted: (0, 0),
            meter: RateMeter::default(),
            channels: Channels::default(),
            linger: None,
            downstream: 0,
            told_demand: 0,
            closed: false,
        };

        Self {
            name,
            state: Mutex::new(state),
        }
    }

    /// Takes a frame. Another source than the stream's is refused until that has been silent for `stale`, unless both are relays
    /// with the same run of the stream: then a frame is taken from whichever brings it first (decision 140).
    pub(crate) fn publish(
        &self,
        mut frame: LiveFrame,
        stale: Duration,
    ) -> Result<Published, Refused> {
        let mut state = self.state.lock();
        let silent = frame.received.saturating_since(state.heard);
        let way = match state.origin {
            origin if origin == frame.origin => Way::Own,
            origin if silent >= stale => Way::TakenFrom(origin),
            _ if state.is_same_run(&frame) => Way::Spare,
            origin => return Err(Refused::Taken(origin)),
        };

        let mut published = Published {
            is_news: false,
            way,
            taken: None,
            watching: None,
        };
        if way == Way::Spare {
            if !frame.is_picture() {
                return Ok(published);
            }
            // For all others it is as if the source of the stream had brought it.
            frame.origin = state.origin;
        } else {
            let news = matches!(way, Way::TakenFrom(_)) || silent >= SILENCE;
            published.is_news = state.notes_said(&frame) || news;
            state.origin = frame.origin;
            state.heard = state.heard.max(frame.received);
        }

        // The memory of what is replaced is given back after the lock.
        let replaced = if !frame.is_picture() {
            let heartbeat = published.taken.insert(Arc::new(frame));
            state.heartbeats += 1;
            let heartbeat = (state.heartbeats, Arc::clone(heartbeat));
            state.heartbeat.replace(heartbeat).map(|(_, frame)| frame)
        } else if state.is_newer(&frame) {
            published.watching = Some(Arc::clone(&state.channels));
            let picture = published.taken.insert(state.counted(frame));
            state.newest.replace(Arc::clone(picture))
        } else {
            None
        };

        drop(state);
        drop(replaced);
        Ok(published)
    }

    /// The source that has the stream.
    pub(crate) fn origin(&self) -> usize {
        self.state.lock().origin
    }

    /// Counts a picture that came too late to be of use: subscribers count it as superseded by the next.
    pub(crate) fn skip(&self, origin: usize, id: FrameId) {
        let mut state = self.state.lock();
        if state.origin == origin {
            state.count(id.epoch);
        }
    }

    /// The newest picture, and the time between two as measured.
    pub(crate) fn newest(&self) -> Option<(Arc<LiveFrame>, Option<Duration>)> {
        let state = self.state.lock();
        Some((state.newest.clone()?, state.meter.interval()))
    }

    pub(crate) fn heartbeat(&self) -> Option<(u64, Arc<LiveFrame>)> {
        self.state.lock().heartbeat.clone()
    }

    pub(crate) fn interval(&self) -> Option<Duration> {
        self.state.lock().meter.interval()
    }

    pub(crate) fn fps(&self, now: Time) -> f64 {
        self.state.lock().meter.fps(now)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// Whether nobody would miss it: its source has been silent for `stale`.
    pub(crate) fn is_silent(&self, now: Time, stale: Duration) -> bool {
        now.saturating_since(self.state.lock().heard) >= stale
    }

    pub(crate) fn is_watched(&self) -> bool {
        let state = self.state.lock();
        !state.channels.is_empty() || state.downstream > 0
    }

    /// No frame will come to this slot any more. Wakes its subscribers, who are to notice that.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.channels.iter().for_each(|channel| channel.wake());
    }

    /// Wakes `client` of `output` by each picture from now on.
    pub(crate) fn attach(&self, output: &Arc<OutputWaker>, client: &Arc<Notify>) {
        let mut state = self.state.lock();
        let known = state
            .channels
            .iter()
            .position(|channel| channel.is_of(output));

        let at = known.unwrap_or_else(|| {
            Arc::make_mut(&mut state.channels).push(Channel::open(output));
            state.channels.len() - 1
        });

        state.channels[at].add(Arc::clone(client));
    }

    pub(crate) fn detach(&self, output: &Arc<OutputWaker>, client: &Arc<Notify>) {
        let mut state = self.state.lock();
        let known = state
            .channels
            .iter()
            .position(|channel| channel.is_of(output));

        if let Some(at) = known
            && state.channels[at].remove(client)
        {
            Arc::make_mut(&mut state.channels).swap_remove(at);
        }
    }

    /// A client asks for one picture.
    pub(crate) fn ask(&self, now: Time) {
        self.state.lock().linger = Some(now + LINGER);
    }

    /// So many watch by other relays.
    pub(crate) fn set_downstream(&self, downstream: u32) {
        self.state.lock().downstream = downstream;
    }

    /// How many clients of other outputs than `engine` watch.
    pub(crate) fn watchers(&self, engine: &Arc<OutputWaker>) -> u32 {
        self.state.lock().watchers(engine)
    }

    /// The demand of other outputs than `engine` at `now`, when it is not what was told last.
    pub(crate) fn new_demand(&self, now: Time, engine: &Arc<OutputWaker>) -> Option<u32> {
        let mut state = self.state.lock();
        let lingers = state.linger.is_some_and(|until| now < until);
        let clients = state.watchers(engine).saturating_add(state.downstream);
        let demand = clients.max(u32::from(lingers));
        let told = std::mem::replace(&mut state.told_demand, demand);
        (told != demand).then_some(demand)
    }
}

impl State {
    /// Notes epoch, state and reason; whether one of them is new.
    fn notes_said(&mut self, frame: &LiveFrame) -> bool {
        let header = &frame.header;
        let same = self.said.as_ref().is_some_and(|(epoch, state, reason)| {
            *epoch == frame.id.epoch && *state == header.state && *reason == header.reason
        });
        if !same {
            self.said = Some((frame.id.epoch, header.state, header.reason.clone()));
        }

        !same
    }

    /// Counts a picture and gives its place in its epoch.
    fn count(&mut self, epoch: u64) -> u64 {
        if self.counted.0 != epoch {
            self.counted = (epoch, 0);
        }
        self.counted.1 += 1;
        self.counted.1
    }

    /// Whether a frame is of the run of the source that was heard last, and both came by other relays. A source that is heard
    /// directly shares its stream with nobody.
    fn is_same_run(&self, frame: &LiveFrame) -> bool {
        let relayed = |frame: &LiveFrame| frame.route.hops > 0;
        let heartbeat = self.heartbeat.as_ref().map(|(_, heartbeat)| heartbeat);
        heartbeat
            .or(self.newest.as_ref())
            .is_some_and(|last| relayed(last) && relayed(frame) && last.id.epoch == frame.id.epoch)
    }

    /// Whether a picture is newer than the newest.
    fn is_newer(&self, frame: &LiveFrame) -> bool {
        self.newest.as_ref().is_none_or(|newest| {
            newest.id.epoch != frame.id.epoch || newest.id.number < frame.id.number
        })
    }

    /// A picture that is the newest from now on, with its place among those of its epoch.
    fn counted(&mut self, mut frame: LiveFrame) -> Arc<LiveFrame> {
        frame.index = self.count(frame.id.epoch);
        self.meter.note(frame.received);
        // The picture's header is newer than what the heartbeat said.
        self.heartbeat = None;
        Arc::new(frame)
    }

    fn watchers(&self, engine: &Arc<OutputWaker>) -> u32 {
        let others = self
            .channels
            .iter()
            .filter(|channel| !channel.is_of(engine));
        let count = others.map(|channel| channel.len()).sum::<usize>();
        u32::try_from(count).unwrap_or(u32::MAX)
    }
}
