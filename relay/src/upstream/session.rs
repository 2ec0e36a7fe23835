//! One connection to a source, from its first subscription to its end: what is sent there, and what becomes of what
//! comes. Runs on the upstream thread.

use std::convert::Infallible;
use std::os::fd::AsFd as _;
use std::time::Duration;

use bytes::Bytes;
use fanlight_daemon::feed_connection::{Connection, ConnectionError};
use fanlight_daemon::rate_limit::StateLogLimiter;
use fanlight_daemon::{Shutdown, clock};
use fanlight_live::{ControlOrder, Problem, StreamTable};
use fanlight_proto::clock::Time;
use fanlight_proto::feed::{self, ANSWER_TOPIC};
use fanlight_proto::message::{
    CheckedFrame, ControlAnswer, ControlRequest, FeedbackReport, RefusedStream, RefusedStreams,
    SourceClock, StreamName, parse_frame,
};
use fanlight_proto::zmtp::{Encoder, Event, MAX_UPSTREAM};
use tokio::sync::{oneshot, watch};

use super::clock_probe::{ClockProbe, composed, same_clock};
use super::listing::Listing;
use super::{Ended, FeedKeys, Terms, Upstream};

/// A picture so old has waited in the kernel while this process stood still, and a newer one is behind it (promise P4).
const TOO_OLD: Duration = Duration::from_millis(250);

/// When all pictures have been too old for so long, the source is slow, and an old picture is better than none.
const CATCH_UP: Duration = Duration::from_millis(500);

/// Between two messages that say which streams are not taken.
const REFUSED_INTERVAL: Duration = Duration::from_secs(1);

/// Why a stream is not taken that another relay brings too.
const SPARE: &str = "another relay brings it too, and this one is asked when that is silent";

/// What a connection was opened for.
pub(super) struct Agreed {
    pub(super) terms: Terms,
    /// The streams to take; all of them when empty.
    pub(super) streams: Vec<StreamName>,
}

/// A conversation with one source.
pub(super) struct Session<'a> {
    upstream: &'a Upstream,
    agreed: Agreed,
    /// Tells when the list of sources has changed.
    keys: watch::Receiver<FeedKeys>,
    connection: Connection,
    receiver: FeedReceiver<'a>,
    shutdown: &'a Shutdown,
    listing: Listing,
    /// Of the newest feedback.
    sequence: u64,
    /// When the source may be told again which of its streams are not taken.
    refused_due: Time,
}

impl<'a> Session<'a> {
    /// On a connection that has only just been made.
    pub(super) fn new(
        upstream: &'a Upstream,
        agreed: Agreed,
        table: &'a StreamTable,
        refusals: &'a mut StateLogLimiter,
        connection: Connection,
        shutdown: &'a Shutdown,
    ) -> Self {
        let receiver = FeedReceiver::new(upstream, topics(&agreed.streams), table, refusals);
        let is_filtered = !agreed.streams.is_empty();
        let ask_at = is_filtered.then(|| clock::now() + upstream.stale / 2);
        Self {
            upstream,
            agreed,
            keys: upstream.keys.clone(),
            connection,
            receiver,
            shutdown,
            listing: Listing::new(ask_at),
            sequence: 0,
            refused_due: Time::default(),
        }
    }

    /// Whether a frame has been taken.
    pub(super) const fn has_heard(&self) -> bool {
        self.receiver.heard
    }

    /// Hands over what comes until something fails, and says what.
    pub(super) fn run(&mut self) -> Ended {
        match self.converse() {
            Ok(never) => match never {},
            Err(ended) => ended,
        }
    }

    fn converse(&mut self) -> Result<Infallible, Ended> {
        self.subscribe()?;
        self.upstream.feedback.begin();

        loop {
            while let Some(event) = self.connection.next()? {
                self.on_event(event)?;
            }

            self.check_terms()?;
            self.send_what_is_due()?;
            self.ask_for_streams()?;

            let silent = self.receiver.last + self.upstream.stale;
            if silent <= clock::now() {
                return Err(ConnectionError::Silent.into());
            }

            let deadline = self.listing.due.map_or(silent, |due| silent.min(due));
            let (wakes, deadline) = if self.connection.takes_upstream {
                let wakes = self.upstream.feedback.as_fd();
                (Some(wakes), deadline.min(self.receiver.probe.due()))
            } else {
                (None, deadline)
            };

            self.connection.wait(wakes, deadline, self.shutdown)?;
        }
    }

    fn subscribe(&mut self) -> Result<(), ConnectionError> {
        let topics = topics(&self.agreed.streams);
        if topics.is_empty() {
            return self.send(|encoder| encoder.subscribe(b""));
        }

        topics
            .iter()
            .try_for_each(|topic| self.send(|encoder| encoder.subscribe(topic)))
    }

    /// Ends the connection when the source is not to be taken any more as it was when it was opened. Sources that live
    /// say something every 250 ms, so a key that is taken out of the list is out of use that soon.
    fn check_terms(&mut self) -> Result<(), Ended> {
        // An error is a relay that ends.
        if !self.keys.has_changed().unwrap_or(false) {
            return Ok(());
        }

        let terms = self.keys.borrow_and_update().terms(&self.upstream.endpoint);
        match terms {
            Some(terms) if terms == self.agreed.terms => Ok(()),
            Some(_) => Err(Ended::Relisted),
            None => Err(Ended::NotListed),
        }
    }

    fn on_event(&mut self, event: Event) -> Result<(), ConnectionError> {
        match event {
            Event::Message { topic, body } if self.listing.is_answer(&topic) => {
                if let Some(problem) = self.listing.problem(&body, &self.agreed.streams) {
                    self.receiver.on_no_stream(problem);
                }
                Ok(())
            }
            Event::Message { topic, body } => {
                self.receiver.receive(&topic, body);
                Ok(())
            }
            Event::Ping(context) => self.send(|encoder| encoder.pong(&context)),
            Event::Subscribe(_) | Event::Cancel(_) | Event::Upstream(_) => Ok(()),
        }
    }

    /// When no stream of those wanted comes: which ones there are.
    fn ask_for_streams(&mut self) -> Result<(), ConnectionError> {
        if self.receiver.heard {
            self.listing.due = None;
        }

        match self.listing.take_due(clock::now()).map(str::to_owned) {
            Some(topic) => self.send(|encoder| encoder.subscribe(topic.as_bytes())),
            None => Ok(()),
        }
    }

    /// Feedback that waits, and a probe that is due.
    fn send_what_is_due(&mut self) -> Result<(), ConnectionError> {
        if !self.connection.takes_upstream {
            return Ok(());
        }

        if let Some(report) = self.upstream.feedback.take() {
            self.send_feedback(report)?;
        }

        let now = clock::now();
        if self.receiver.probe.due() <= now {
            let nonce = clock::random_u64();
            let probe = feed::encode_clock_probe(nonce);
            self.receiver.probe.on_sent(now, nonce);
            self.send(|encoder| encoder.upstream(&probe))?;
        }

        let sources = self.receiver.table.sources();
        if self.refused_due <= now && sources.is_partly_refused(now, self.upstream.origin) {
            self.refused_due = now + REFUSED_INTERVAL;
            self.send_refused(now)?;
        }

        self.send_order()
    }

    /// What an admin wants of the camera: one order at a time. It waits for the source's next word, 250 ms at most.
    fn send_order(&mut self) -> Result<(), ConnectionError> {
        let asked = &mut self.receiver.asked;
        if asked
            .as_ref()
            .is_some_and(|(_, answer)| !answer.is_closed())
        {
            return Ok(());
        }

        let sources = self.receiver.table.sources();
        let Some(ControlOrder { request, answer }) = sources.take_order(self.upstream.origin)
        else {
            *asked = None;
            return Ok(());
        };

        let number = clock::random_u64();
        *asked = Some((number, answer));
        let message = feed::encode_controls(ControlRequest {
            request: number,
            ..request
        });
        self.send(|encoder| encoder.upstream(&message))
    }

    /// Which streams are not taken, or only while another relay does not bring them: who publishes them is to know that nobody
    /// watches them here.
    fn send_refused(&mut self, now: Time) -> Result<(), ConnectionError> {
        let sources = self.receiver.table.sources().all(now).into_iter();
        let own = sources.filter(|source| source.origin == self.upstream.origin);
        let streams = own.flat_map(|source| {
            let refused = source.refused.into_iter();
            let refused = refused.map(|(stream, why)| (stream, why.to_string()));
            let spare = source.spare.into_iter();
            refused.chain(spare.map(|stream| (stream, SPARE.to_owned())))
        });
        let streams = streams.map(|(stream, reason)| RefusedStream {
            stream: stream.to_string(),
            reason,
        });

        let message = feed::encode_refused(RefusedStreams {
            relay: self.upstream.relay.clone(),
            streams: streams.collect(),
        });
        self.send(|encoder| encoder.upstream(&message))
    }

    fn send_feedback(&mut self, report: FeedbackReport) -> Result<(), ConnectionError> {
        let detections = report
            .viewers
            .iter()
            .any(|viewer| !viewer.detections.is_empty());

        self.sequence += 1;
        let message = feed::encode_feedback(FeedbackReport {
            sequence: self.sequence,
            ..report
        });

        if message.len() >= MAX_UPSTREAM {
            let bytes = message.len();
            tracing::error!(source = %self.upstream.endpoint, bytes, "feedback too long to be sent");
            return Ok(());
        }

        self.send(|encoder| encoder.upstream(&message))?;
        if detections {
            self.receiver.probe.on_detections();
        }

        Ok(())
    }

    fn send(&mut self, encode: impl FnOnce(&mut Encoder) -> Bytes) -> Result<(), ConnectionError> {
        let deadline = clock::now() + self.upstream.stale;
        self.connection.send(encode, deadline, self.shutdown)
    }
}

/// The topics of these streams and their canaries.
fn topics(streams: &[StreamName]) -> Vec<Bytes> {
    let of = |stream: &StreamName| [stream.topic(), stream.canary().topic()];
    streams.iter().flat_map(of).collect()
}

/// Takes the messages of one connection.
struct FeedReceiver<'a> {
    upstream: &'a Upstream,
    /// The only ones that frames may have; any when empty.
    topics: Vec<Bytes>,
    table: &'a StreamTable,
    refusals: &'a mut StateLogLimiter,
    clock_id: u64,
    probe: ClockProbe,
    catch_up: CatchUp,
    same_clock: bool,
    /// What is known of the clock of whoever publishes: of a source, or of a relay.
    publisher_clock: Option<SourceClock>,
    heard: bool,
    /// The order that the source is to answer, while somebody waits for it.
    asked: Option<(u64, oneshot::Sender<ControlAnswer>)>,
    /// When the last message came.
    last: Time,
}

impl<'a> FeedReceiver<'a> {
    fn new(
        upstream: &'a Upstream,
        topics: Vec<Bytes>,
        table: &'a StreamTable,
        refusals: &'a mut StateLogLimiter,
    ) -> Self {
        let now = clock::now();
        let clock_id = clock::clock_id();
        Self {
            upstream,
            topics,
            table,
            refusals,
            clock_id,
            probe: ClockProbe::new(now, clock_id),
            catch_up: CatchUp::new(clock_id),
            same_clock: false,
            publisher_clock: None,
            heard: false,
            asked: None,
            last: now,
        }
    }

    fn receive(&mut self, topic: &[u8], body: Bytes) {
        self.last = clock::now();
        if topic == ANSWER_TOPIC {
            return self.receive_answer(topic, &body);
        }

        let wanted = self.topics.iter().any(|wanted| topic.starts_with(wanted));
        if !wanted && !self.topics.is_empty() {
            return self.refuse(&"it publishes a stream that is not to be taken from it");
        }

        match parse_frame(topic, body.clone(), self.upstream.max_frame_bytes) {
            Ok(frame) => self.receive_frame(frame, body),
            Err(error) => self.refuse(&error),
        }
    }

    fn receive_answer(&mut self, topic: &[u8], body: &[u8]) {
        let Some(mut answer) = feed::parse_answer(topic, body) else {
            return self.refuse(&"the answer to a clock probe is malformed");
        };

        let origin = self.upstream.origin;
        if !answer.verdicts.is_empty() {
            self.table
                .put_verdicts(origin, std::mem::take(&mut answer.verdicts));
        }

        if let Some(told) = answer.controls.take()
            && let Some((_, waiting)) = self.asked.take_if(|(number, _)| *number == told.request)
        {
            // Who asked may not wait any more.
            let _ = waiting.send(told);
        }

        if let Some(clock) = self.probe.on_answer(self.last, &answer) {
            self.table.put_clock(origin, clock);
            self.publisher_clock = Some(clock);
        }

        for beyond in answer.source_clocks {
            if let Some(publisher) = self
                .publisher_clock
                .filter(|_| beyond.clock_id != self.clock_id)
            {
                self.table.put_clock(origin, composed(publisher, beyond));
            }
        }
    }

    fn receive_frame(&mut self, frame: CheckedFrame, body: Bytes) {
        if !std::mem::replace(&mut self.heard, true) {
            self.set_problem(None);
        }

        self.note_clock(frame.header.clock_id);
        let origin = self.upstream.origin;

        if !frame.jpeg.is_empty() && self.catch_up.skips(self.last, &frame) {
            self.table.skip(origin, &frame);
        } else if let Err(refused) = self.table.publish(origin, frame, body, self.last) {
            self.refuse(&refused);
        }
    }

    /// A source that answers nothing and has our clock says so in its frames.
    fn note_clock(&mut self, clock_id: u64) {
        let same = clock_id == self.clock_id;
        if same && !self.same_clock {
            self.table
                .put_clock(self.upstream.origin, same_clock(clock_id));
        }
        self.same_clock = same;
    }

    /// The source is there and has no stream of those wanted.
    fn on_no_stream(&mut self, problem: String) {
        self.last = clock::now();
        if let Some(count) = self.refusals.note(self.last, &problem) {
            tracing::warn!(source = %self.upstream.endpoint, count, "no stream: {problem}");
        }
        self.set_problem(Some(Problem::NoStream(problem)));
    }

    fn set_problem(&self, problem: Option<Problem>) {
        let sources = self.table.sources();
        sources.set_problem(self.upstream.origin, problem);
    }

    fn refuse(&mut self, reason: &dyn std::fmt::Display) {
        let reason = reason.to_string();
        if let Some(count) = self.refusals.note(clock::now(), &reason) {
            tracing::warn!(source = %self.upstream.endpoint, count, "frames refused, the last: {reason}");
        }
    }
}

/// Skips old pictures after this process stood still.
#[derive(Debug)]
pub(super) struct CatchUp {
    clock_id: u64,
    since: Option<Time>,
}

impl CatchUp {
    pub(super) const fn new(clock_id: u64) -> Self {
        Self {
            clock_id,
            since: None,
        }
    }

    /// Whether to wait for a newer picture than this. Only a source on the same host, whose clock is ours, can tell.
    pub(super) fn skips(&mut self, now: Time, frame: &CheckedFrame) -> bool {
        let age = now.saturating_since(Time::from_nanos(frame.header.captured_ns));
        if frame.header.clock_id != self.clock_id || age < TOO_OLD {
            self.since = None;
            return false;
        }
        now.saturating_since(*self.since.get_or_insert(now)) < CATCH_UP
    }
}
