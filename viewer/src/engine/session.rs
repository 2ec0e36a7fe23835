//! The viewer's state of one session.

use std::time::Duration;

use bytes::Bytes;
use fanlight_proto::clock::Time;
use fanlight_proto::datagram::{DATA_HEADER, DataHeader, ToRelay};
use fanlight_proto::frame_message::FrameMessage;
use fanlight_proto::handshake::{Channel, Channels};
use fanlight_proto::limits::KEEP_ALIVE_INTERVAL;
use fanlight_proto::message::{Accept, KeepAlive, Report, StreamInfo, StreamKey, StreamName};
use fanlight_proto::seal::MediaKey;

use super::directed::Told;
use super::progress::ProgressMeter;

/// Bounds on the interval of keep-alives that a relay may ask for.
const INTERVALS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(300));

/// Every so many keep-alives carry a report: one a second.
const REPORT_EVERY: u64 = 4;

/// When nothing of a stream comes for so many intervals, but at least [`LEAST_PROBE`], a keep-alive asks whether the relay
/// still sends here: a router on the way may have given this viewer another address.
const PROBE_INTERVALS: u32 = 3;

/// See [`PROBE_INTERVALS`].
const LEAST_PROBE: Duration = Duration::from_millis(100);

/// The same for media by the group, of a stream that does not say its rate.
const USUAL_GROUP_TIMEOUT: Duration = Duration::from_secs(1);

/// Generations of a stream's key that a viewer keeps: the one in use and the next.
const KEYS: usize = 2;

/// Frames that a relay may be ahead with over TCP, beyond the one that it may always send.
const MAX_AHEAD: u32 = 3;

/// Sealed media so many frames behind the newest is taken for a replay.
const REPLAY_FRAMES: u64 = 64;

#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: u64,
    pub(super) alias: u16,
    pub(super) name: StreamName,
    pub(super) topic: Bytes,
    /// When anything of it last came.
    pub(super) last_received: Time,
    pub(super) keep_alive_due: Time,
    /// `consent` of the newest PULSE.
    consent: u64,
    interval: Duration,
    keep_alives: u64,
    /// When media last came, and whether its absence has been asked about since.
    media: Time,
    probed: bool,
    probe_after: Duration,
    group_timeout: Duration,
    /// Highest sequence of its media.
    newest_sequence: u64,
    progress: ProgressMeter,
    /// The epoch of the newest of its media.
    pub(super) epoch: Option<u64>,
    /// What seals its messages and its media; none with an open relay.
    seal: Option<Seal>,
    jitter: Jitter,
    /// By so many frames the relay is ahead of what it would be with one credit for each frame that came.
    ahead: u32,
    /// The longest pause that the relay makes within a frame.
    pub(super) pause: Duration,
    /// Frames that the relay says it did not send to this session, or gave up on the way.
    pub(super) withheld: Withheld,
    /// Frames sent to this session that did not arrive whole, as of the last PULSE.
    unrecovered: u64,
    /// Detections sent in it, and the frames without a tracker that its messages counted.
    pub(super) detections: u64,
    pub(super) untracked: u64,
    /// What its relay was told of the screen last.
    pub(super) told: Option<Told>,
    /// What the counts were when the session opened: its report starts from zero.
    base: Report,
}

/// See [`Session::seal`].
#[derive(Debug)]
pub(super) struct Seal {
    channels: Channels,
    /// When a new handshake is due.
    renewal_due: Time,
    /// The newest two generations, newest first.
    keys: Vec<MediaKey>,
}

impl Seal {
    pub(super) fn new(channel: Channel, keys: &[StreamKey], renewal_due: Time) -> Self {
        let mut seal = Self {
            channels: Channels::new(channel),
            renewal_due,
            keys: Vec::new(),
        };
        seal.learn(keys);
        seal
    }

    fn learn(&mut self, keys: &[StreamKey]) {
        for key in keys.iter().take(KEYS) {
            if self
                .keys
                .iter()
                .all(|known| known.generation() != key.generation)
            {
                self.keys.extend(MediaKey::from_message(key));
            }
        }

        self.keys
            .sort_by_key(|key| std::cmp::Reverse(key.generation()));
        self.keys.truncate(KEYS);
    }
}

/// See `Pulse` in control.proto.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Withheld {
    pub(super) skipped: u64,
    pub(super) aborted: u64,
}

/// The mean deviation of the time between relay and viewer (RFC 3550 section 6.4.1), measured once a frame.
#[derive(Clone, Copy, Debug, Default)]
struct Jitter {
    /// The latest transit by two unrelated clocks, in microseconds modulo 2^32.
    transit: Option<u32>,
    /// In sixteenths of a microsecond.
    sixteenths: u64,
}

impl Jitter {
    fn note(&mut self, now: Time, received_us: u32) {
        let transit = (now.as_micros() as u32).wrapping_sub(received_us);
        if let Some(former) = self.transit.replace(transit) {
            let deviation = u64::from((transit.wrapping_sub(former) as i32).unsigned_abs());
            self.sixteenths = self.sixteenths + deviation - ((self.sixteenths + 8) >> 4);
        }
    }

    fn micros(&self) -> u32 {
        u32::try_from(self.sixteenths >> 4).unwrap_or(u32::MAX)
    }
}

/// What an ACCEPT says, checked.
pub(super) struct Opening<'a> {
    pub(super) id: u64,
    pub(super) alias: u16,
    pub(super) name: StreamName,
    pub(super) info: &'a StreamInfo,
    interval: Duration,
    progress_every: u32,
}

impl<'a> Opening<'a> {
    /// None when a field is missing or out of bounds.
    pub(super) fn of(accept: &'a Accept) -> Option<Self> {
        let info = accept.stream.as_ref()?;
        let interval = match accept.keep_alive_ms {
            0 => KEEP_ALIVE_INTERVAL,
            millis => Duration::from_millis(millis.into()).clamp(INTERVALS.0, INTERVALS.1),
        };

        let alias = u16::try_from(info.alias).ok()?;
        let id = Some(accept.session).filter(|id| *id != 0)?;
        Some(Self {
            id,
            alias,
            name: info.name.parse().ok()?,
            info,
            interval,
            progress_every: accept.progress_every,
        })
    }
}

impl Session {
    pub(super) fn new(now: Time, opening: &Opening<'_>, seal: Option<Seal>, base: Report) -> Self {
        let frames = Duration::from_secs(1000).checked_div(opening.info.rate_millihertz);
        let probe_after = (frames.unwrap_or_default() * PROBE_INTERVALS).max(LEAST_PROBE);
        Self {
            id: opening.id,
            alias: opening.alias,
            name: opening.name.clone(),
            topic: opening.name.topic(),
            last_received: now,
            keep_alive_due: now,
            consent: 0,
            interval: opening.interval,
            keep_alives: 0,
            media: now,
            probed: frames.is_none(),
            probe_after,
            group_timeout: frames.map_or(USUAL_GROUP_TIMEOUT, |_| probe_after),
            newest_sequence: 0,
            progress: ProgressMeter::new(opening.progress_every),
            epoch: None,
            seal,
            jitter: Jitter::default(),
            ahead: 0,
            pause: Duration::ZERO,
            withheld: Withheld::default(),
            unrecovered: 0,
            detections: 0,
            untracked: 0,
            told: None,
            base,
        }
    }

    /// For how long nothing may come by a group that works.
    pub(super) const fn group_timeout(&self) -> Duration {
        self.group_timeout
    }

    /// Whether what belongs to it is sealed.
    pub(super) const fn is_sealed(&self) -> bool {
        self.seal.is_some()
    }

    /// When its channel is to be replaced by that of a new handshake; none with an open relay.
    pub(super) fn renewal_due(&self) -> Option<Time> {
        self.seal.as_ref().map(|seal| seal.renewal_due)
    }

    /// Its channel is to be replaced at `due`.
    pub(super) fn renew_at(&mut self, due: Time) {
        if let Some(seal) = &mut self.seal {
            seal.renewal_due = due;
        }
    }

    /// Whether its channel is to be replaced now.
    pub(super) fn needs_renewal(&self, now: Time) -> bool {
        self.renewal_due().is_some_and(|due| due <= now)
    }

    /// The relay has answered a new handshake: what is said from now on goes by its channel, beginning with a keep-alive at
    /// once, which tells the relay so.
    pub(super) fn renew(&mut self, now: Time, anew: Seal) {
        if let Some(seal) = &mut self.seal {
            seal.channels.switch(anew.channels.into_current());
            seal.renewal_due = anew.renewal_due;
            self.last_received = now;
            self.keep_alive_due = now;
        }
    }

    /// The datagram of a message of this session.
    pub(super) fn encode(&mut self, message: &ToRelay<'_>) -> Vec<u8> {
        let mut datagram = Vec::new();
        match &mut self.seal {
            None => message.encode(&mut datagram),
            Some(seal) => {
                let mut plaintext = Vec::new();
                message.encode_inner(&mut plaintext);
                let (counter, ciphertext) = seal.channels.seal(&plaintext);
                ToRelay::Sealed(self.id, counter, &ciphertext).encode(&mut datagram);
            }
        }

        datagram
    }

    /// What a sealed message of this session says, in the form that [`ToViewer::parse_inner`] takes.
    ///
    /// [`ToViewer::parse_inner`]: fanlight_proto::datagram::ToViewer::parse_inner
    pub(super) fn open(&mut self, counter: u64, ciphertext: &[u8]) -> Option<Vec<u8>> {
        self.seal.as_mut()?.channels.open(counter, ciphertext)
    }

    /// The shard of a media datagram, if it is what this session's relay has sent and not a recording.
    pub(super) fn shard<'a>(
        &self,
        header: &DataHeader,
        datagram: &'a mut [u8],
    ) -> Option<&'a [u8]> {
        match (&self.seal, header.key) {
            (None, None) => Some(&datagram[DATA_HEADER..]),
            (Some(seal), Some(slot))
                if header.sequence.saturating_add(REPLAY_FRAMES) >= self.newest_sequence =>
            {
                seal.keys
                    .iter()
                    .find(|key| key.slot() == slot)?
                    .open(datagram)
            }
            _ => None,
        }
    }

    /// Takes what the next keep-alive returns.
    pub(super) const fn on_consent(&mut self, consent: u64) {
        self.consent = consent;
    }

    /// Takes the keys of the stream's media, which the relay repeats until it knows that they came.
    pub(super) fn learn(&mut self, keys: &[StreamKey]) {
        if let Some(seal) = &mut self.seal {
            seal.learn(keys);
        }
    }

    /// Whether its relay has sent nothing later that came: not what is late or was recorded.
    pub(super) const fn is_newest(&self, header: &DataHeader) -> bool {
        header.sequence >= self.newest_sequence
    }

    /// A media datagram came that was sent to this session alone. The message that says so, if it is time for one.
    pub(super) fn progress(&mut self, header: &DataHeader) -> Option<Vec<u8>> {
        let progress = self.progress.note(header)?;
        Some(self.encode(&ToRelay::Progress(self.id, progress)))
    }

    /// A media datagram of this session came.
    pub(super) fn on_media(&mut self, now: Time, header: &DataHeader) {
        self.media = now;
        self.probed = false;
        if header.sequence > self.newest_sequence {
            self.newest_sequence = header.sequence;
            self.epoch = Some(header.id.epoch);
            self.jitter.note(now, header.received_us);
        }
    }

    /// A frame of this session came whole over its connection. Gives the credit for more: one, and in advance as many as
    /// are on their way during a `round_trip` at least.
    pub(super) fn on_frame(
        &mut self,
        now: Time,
        said: &FrameMessage,
        round_trip: Option<Duration>,
        interval: Option<Duration>,
    ) -> u32 {
        self.media = now;
        self.probed = false;
        self.epoch = Some(said.id.epoch);
        self.withheld.skipped += u64::from(said.superseded);
        if let (Some(captured), Some(age)) = (said.captured_us, said.age_us) {
            self.jitter
                .note(now, captured.wrapping_add(age.into()) as u32);
        }

        let half_trips = round_trip.zip(interval).map_or(0, |(trip, interval)| {
            2 * trip.as_micros() / interval.as_micros().max(1)
        });
        let ahead = u32::try_from(half_trips).unwrap_or(u32::MAX).min(MAX_AHEAD);
        let more = ahead.saturating_sub(self.ahead);
        self.ahead += more;
        1 + more
    }

    /// The relay begins anew with the credit that it gives.
    pub(super) const fn on_resumed(&mut self) {
        self.ahead = 0;
    }

    /// Takes what the relay withheld so far; `total` are the counts since the engine began. Frames that are missing now
    /// and were not withheld are lost on the way. The relay says that it withheld a frame at the latest when it is missed here.
    pub(super) fn on_withheld(&mut self, withheld: Withheld, total: &Report) {
        self.withheld = withheld;
        let missing = total
            .frames_unrecovered
            .saturating_sub(self.base.frames_unrecovered);
        self.unrecovered = self
            .unrecovered
            .max(missing.saturating_sub(withheld.skipped));
    }

    /// When the next keep-alive is due.
    pub(super) fn due(&self, paused: bool) -> Time {
        if self.probed || paused {
            return self.keep_alive_due;
        }
        self.keep_alive_due.min(self.media + self.probe_after)
    }

    /// The keep-alive to send now; `total` are the counts since the engine began.
    pub(super) fn keep_alive(&mut self, now: Time, total: &Report, paused: bool) -> KeepAlive {
        self.probed |= self.media + self.probe_after <= now;
        self.keep_alive_due = now + self.interval;
        self.keep_alives += 1;
        let report = self
            .keep_alives
            .is_multiple_of(REPORT_EVERY)
            .then(|| self.report(total));

        KeepAlive {
            sent_us: now.as_micros(),
            report,
            paused,
            key_generation: self.key_generation(),
            newest_sequence: self.newest_sequence,
            consent: self.consent,
            ..KeepAlive::default()
        }
    }

    fn key_generation(&self) -> u32 {
        self.seal
            .as_ref()
            .and_then(|seal| seal.keys.first())
            .map_or(0, MediaKey::generation)
    }

    fn report(&self, total: &Report) -> Report {
        let base = &self.base;
        Report {
            frames_whole: total.frames_whole - base.frames_whole,
            frames_shown: total.frames_shown - base.frames_shown,
            frames_lost: total.frames_lost - base.frames_lost,
            datagrams: total.datagrams - base.datagrams,
            bytes: total.bytes - base.bytes,
            repairs_asked: total.repairs_asked - base.repairs_asked,
            repairs_received: total.repairs_received - base.repairs_received,
            age_us: total.age_us,
            shards_expected: total.shards_expected - base.shards_expected,
            shards_missed: total.shards_missed - base.shards_missed,
            frames_unrecovered: self.unrecovered,
            jitter_us: self.jitter.micros(),
            not_shown: total.not_shown,
            last_shown_ms: total.last_shown_ms,
        }
    }
}
