//! One connection to a source: what is subscribed to and asked there, and what becomes of what comes.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use fanlight_daemon::clock;
use fanlight_daemon::logline::Limited;
use fanlight_live::StreamTable;
use fanlight_proto::clock::Time;
use fanlight_proto::envelope::{self, FeedbackSealer, OpenError, Opener};
use fanlight_proto::message::{CheckedFrame, FeedbackReport, parse_frame};
use tokio::time::{sleep, timeout};
use zeromq::{Socket as _, SocketOptions, SocketRecv as _, SubSocket, ZmqMessage};

use super::asker::{Asker, same_clock};
use super::guard::Guard;
use super::{Ended, Upstream};

/// Longest that connecting and the handshake may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// What the library reads at a time. What it makes room for it also fills with zeros first.
const READ_BUFFER: usize = 4 << 10;

/// What it reads at most at a time of a body.
const MOST_READ: usize = 16 << 10;

/// A source whose frames are to be sealed has so long to answer a question; one on the other side of the earth takes a
/// third of a second. Whoever cannot must not keep the place of the source for longer.
pub(super) const PROOF_LIMIT: Duration = Duration::from_secs(2);

/// A picture so old has waited in the kernel while this process stood still, and a newer one is behind it (promise P4).
const TOO_OLD: Duration = Duration::from_millis(250);

/// When all pictures have been too old for so long, the source is slow, and an old picture is better than none.
const CATCH_UP: Duration = Duration::from_millis(500);

/// See the module.
pub(super) struct Session {
    upstream: Arc<Upstream>,
    taker: Arc<Mutex<Taker>>,
}

impl Session {
    /// One that is yet to be connected. `heard` is set when a frame is taken.
    pub(super) fn new(
        upstream: &Arc<Upstream>,
        table: &Arc<StreamTable>,
        heard: &Arc<AtomicBool>,
        refused: &Arc<Mutex<Limited>>,
    ) -> Self {
        let taker = Taker::new(upstream, table, heard, refused);
        Self {
            upstream: Arc::clone(upstream),
            taker: Arc::new(Mutex::new(taker)),
        }
    }

    /// Connects, and hands over what comes, until something fails.
    pub(super) async fn run(self) -> Result<Infallible, Ended> {
        let connected = timeout(CONNECT_TIMEOUT, Guard::connect(&self.upstream.endpoint)).await;
        let guard = connected
            .map_err(|_| Ended::NoAnswer)?
            .map_err(Ended::Connect)?;
        let mut socket = self.socket().await?;
        let private = guard.endpoint();
        let mut pump = tokio::spawn(guard.pump(Arc::clone(&self.taker)));
        tokio::select! {
            ended = &mut pump => return Err(ended?.into()),
            connected = timeout(CONNECT_TIMEOUT, socket.connect(&private)) => connected.map_err(|_| Ended::NoAnswer)??,
        }
        tracing::debug!(source = %self.upstream.endpoint, "connected");
        tokio::select! {
            ended = &mut pump => Err(ended?.into()),
            ended = self.converse(&mut socket) => ended,
        }
    }

    /// A socket of the library, with the subscriptions that it makes when it connects.
    async fn socket(&self) -> Result<SubSocket, Ended> {
        let mut options = SocketOptions::default();
        options.connect_timeout(CONNECT_TIMEOUT);
        options.read_buffer(READ_BUFFER, MOST_READ, 1);
        let mut socket = SubSocket::with_options(options);
        if self.upstream.streams.is_empty() {
            socket.subscribe("").await?;
        }
        for stream in &self.upstream.streams {
            socket.subscribe(&format!("{stream}/")).await?;
            socket.subscribe(&format!("{}/", stream.canary())).await?;
        }
        Ok(socket)
    }

    async fn converse(&self, socket: &mut SubSocket) -> Result<Infallible, Ended> {
        let mut silence = pin!(sleep(self.upstream.stale));
        let mut proof = pin!(sleep(PROOF_LIMIT));
        let mut question = pin!(sleep(Duration::ZERO));
        let outbox = &self.upstream.outbox;
        outbox.begin();
        loop {
            tokio::select! {
                message = socket.recv() => self.taker().take_from_library(message?),
                () = &mut question => {
                    // A source that is stopped may have no room for it.
                    timeout(self.upstream.stale, self.ask(socket)).await.map_err(|_| Ended::Silent)??;
                    question.set(sleep(self.until_question()));
                }
                () = outbox.filled(), if self.taker().feedback_sealer.may_speak() => {
                    let Some(feedback) = outbox.take() else { continue };
                    timeout(self.upstream.stale, self.say(socket, feedback)).await.map_err(|_| Ended::Silent)??;
                    if self.taker().asker.goes_along(clock::now()) {
                        timeout(self.upstream.stale, self.ask(socket)).await.map_err(|_| Ended::Silent)??;
                    }
                    question.set(sleep(self.until_question()));
                }
                () = &mut silence => {
                    let left = (self.taker().taken + self.upstream.stale).saturating_since(clock::now());
                    if left.is_zero() {
                        return Err(Ended::Silent);
                    }
                    silence.set(sleep(left));
                }
                () = &mut proof, if self.taker().is_unproven() => return Err(Ended::Unproven),
            }
        }
    }

    fn taker(&self) -> MutexGuard<'_, Taker> {
        lock(&self.taker)
    }

    fn until_question(&self) -> Duration {
        self.taker().asker.due().saturating_since(clock::now())
    }

    async fn ask(&self, socket: &mut SubSocket) -> Result<(), Ended> {
        let (topic, stale) = self.taker().asker.ask(clock::now(), clock::random_bytes());
        socket.subscribe(&topic).await?;
        // Afterwards, so that it does not hold the question up.
        if let Some(stale) = stale {
            socket.unsubscribe(&stale).await?;
        }
        Ok(())
    }

    async fn say(&self, socket: &mut SubSocket, feedback: FeedbackReport) -> Result<(), Ended> {
        let detections = feedback
            .viewers
            .iter()
            .any(|seen| !seen.detections.is_empty());
        let topic = self.taker().feedback_sealer.topic(feedback);
        match topic {
            Ok(topic) => {
                socket.subscribe(&topic).await?;
                // The source keeps no feedback, but the library would.
                socket.unsubscribe(&topic).await?;
            }
            Err(error) => {
                tracing::error!(source = %self.upstream.endpoint, "a feedback is not said: {error}");
            }
        }
        if detections {
            self.taker().asker.on_detections();
        }
        Ok(())
    }
}

/// Takes what comes on one connection: from the library what went into it, and from the guard what went past it. Each
/// message is taken before the next one is read.
pub(super) struct Taker {
    upstream: Arc<Upstream>,
    table: Arc<StreamTable>,
    heard: Arc<AtomicBool>,
    refused: Arc<Mutex<Limited>>,
    clock_id: u64,
    opener: Option<Opener>,
    asker: Asker,
    feedback_sealer: FeedbackSealer,
    behind: Behind,
    same_clock: bool,
    /// When the last message came.
    taken: Time,
    /// Messages that the library was given and has not given back.
    inside: usize,
}

impl Taker {
    fn new(
        upstream: &Arc<Upstream>,
        table: &Arc<StreamTable>,
        heard: &Arc<AtomicBool>,
        refused: &Arc<Mutex<Limited>>,
    ) -> Self {
        let (now, clock_id) = (clock::now(), clock::clock_id());
        Self {
            upstream: Arc::clone(upstream),
            table: Arc::clone(table),
            heard: Arc::clone(heard),
            refused: Arc::clone(refused),
            clock_id,
            opener: upstream.feed_key.clone().map(Opener::new),
            asker: Asker::new(now, clock_id),
            feedback_sealer: FeedbackSealer::new(upstream.feed_key.clone(), clock::random_bytes()),
            behind: Behind {
                clock_id,
                since: None,
            },
            same_clock: false,
            taken: now,
            inside: 0,
        }
    }

    /// A message goes into the library.
    pub(super) const fn on_given(&mut self) {
        self.inside += 1;
    }

    /// Whether nothing is in the library that a message past it would overtake.
    pub(super) const fn is_free(&self) -> bool {
        self.inside == 0
    }

    fn is_unproven(&self) -> bool {
        self.opener
            .as_ref()
            .is_some_and(|opener| !opener.is_proven())
    }

    fn take_from_library(&mut self, message: ZmqMessage) {
        self.inside = self
            .inside
            .checked_sub(1)
            .expect("the library gives back what it was given");
        let mut parts = message.into_vecdeque().into_iter();
        let (Some(topic), Some(body), None) = (parts.next(), parts.next(), parts.next()) else {
            return self.refuse(&"message is not a topic and a frame");
        };
        self.take(&topic, body);
    }

    /// Takes a message, whichever way it came.
    pub(super) fn take(&mut self, topic: &[u8], body: Bytes) {
        let now = clock::now();
        self.taken = now;
        if envelope::is_question(topic) {
            // An answer that nobody waits for any more is nobody's offence.
            if self.asker.awaits(topic) {
                self.take_answer(now, topic, &body);
            }
            return;
        }
        match self.open(topic, body) {
            Ok(Some(body)) => self.take_frame(now, topic, body),
            Ok(None) => {}
            Err(error) => self.refuse(&error),
        }
    }

    fn take_answer(&mut self, now: Time, topic: &[u8], body: &[u8]) {
        let opened = match &mut self.opener {
            Some(opener) => opener.answer(topic, body),
            None => envelope::parse_answer(topic, body),
        };
        match opened {
            Ok(mut answer) => {
                self.feedback_sealer.on_answer(&answer);
                if !answer.verdicts.is_empty() {
                    self.table
                        .put_verdicts(self.upstream.origin, std::mem::take(&mut answer.verdicts));
                }
                if let Some(clock) = self.asker.on_answer(now, &answer) {
                    self.table.put_clock(self.upstream.origin, clock);
                }
            }
            Err(error) => self.refuse(&error),
        }
    }

    /// The encoded frame in `body`; none when it is sealed and the source has yet to prove itself.
    fn open(&mut self, topic: &[u8], body: Bytes) -> Result<Option<Bytes>, OpenError> {
        match &mut self.opener {
            None if envelope::is_sealed(&body) => Err(OpenError::Sealed),
            None => Ok(Some(body)),
            Some(opener) if !opener.is_proven() && envelope::is_sealed(&body) => Ok(None),
            Some(opener) => opener.frame(topic, body).map(Some),
        }
    }

    fn take_frame(&mut self, now: Time, topic: &[u8], body: Bytes) {
        match parse_frame(topic, body.clone(), self.upstream.max_frame_bytes) {
            Ok(frame) => {
                self.heard.store(true, Ordering::Relaxed);
                self.note_clock(frame.header.clock_id);
                if !frame.jpeg.is_empty() && self.behind.passes_over(now, &frame) {
                    self.table.skip(self.upstream.origin, &frame);
                } else if let Err(refused) =
                    self.table.publish(self.upstream.origin, frame, body, now)
                {
                    self.refuse(&refused);
                }
            }
            Err(error) => self.refuse(&error),
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

    fn refuse(&self, reason: &dyn std::fmt::Display) {
        let due = self
            .refused
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .note(clock::now());
        if let Some(count) = due {
            tracing::warn!(source = %self.upstream.endpoint, count, "frames refused, the last: {reason}");
        }
    }
}

pub(super) fn lock(taker: &Mutex<Taker>) -> MutexGuard<'_, Taker> {
    taker.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Catching up after this process stood still.
#[derive(Debug)]
pub(super) struct Behind {
    pub(super) clock_id: u64,
    pub(super) since: Option<Time>,
}

impl Behind {
    /// Whether to wait for a newer picture than this. Only a source on the same host, whose clock is ours, can tell.
    pub(super) fn passes_over(&mut self, now: Time, frame: &CheckedFrame) -> bool {
        let age = now.saturating_since(Time::from_nanos(frame.header.captured_ns));
        if frame.header.clock_id != self.clock_id || age < TOO_OLD {
            self.since = None;
            return false;
        }
        now.saturating_since(*self.since.get_or_insert(now)) < CATCH_UP
    }
}
