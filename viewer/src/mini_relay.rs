//! A relay small enough to read, for tests of the viewer: one stream, one viewer, no socket.

use std::net::SocketAddrV4;
use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::datagram::{DataHeader, ToRelay, ToViewer};
use fanlight_proto::handshake::{self, Channels, RelayAccess, Responder};
use fanlight_proto::message::{
    Accept, Access, Challenge, Detections, Direct, Format, FrameBuffer, FrameHeader, FrameId,
    Goodbye, Join, Progress, Pulse, Refusal, Refuse, Repair, Report, ScreenReport, State, Status,
    StreamInfo, StreamKey, Verdict,
};
use fanlight_proto::seal::MediaKey;
use fanlight_proto::shard::packetize;
use prost::Message as _;

pub(crate) const STREAM: &str = "hall";

/// Frames kept for repair.
const RING: usize = 8;

/// A relay for tests. By itself it delays and loses nothing.
#[derive(Debug)]
pub(crate) struct MiniRelay {
    /// Distinguishes the starts of a relay: its tokens, sessions and alias.
    start: u64,
    pub(crate) stream: String,
    pub(crate) session: Option<u64>,
    sessions: u64,
    pub(crate) refusal: Option<(Refusal, u32)>,
    pub(crate) status: Status,
    pub(crate) rate_millihertz: u32,
    pub(crate) joins_seen: u64,
    pub(crate) wanted: String,
    pub(crate) reports: Vec<Report>,
    pub(crate) goodbyes: u64,
    pub(crate) keep_alives: u64,
    /// What the last keep-alive returned.
    pub(crate) consent: u64,
    paused: bool,
    withhold: u64,
    pub(crate) withheld: u64,
    pub(crate) sequence: u64,
    /// When the frame that it sends next came, and by how much its clock is ahead of that.
    pub(crate) received: Time,
    pub(crate) ahead: Duration,
    ring: Vec<(FrameId, Vec<Vec<u8>>)>,
    /// Whom it lets in, and what seals the session and the media of whom it has let in.
    pub(crate) access: RelayAccess,
    channel: Option<Channels>,
    key: MediaKey,
    next_key: Option<MediaKey>,
    /// The newest generation that the viewer says it has.
    pub(crate) acknowledged: u32,
    accepted: Accept,
    lost_in_relay: u16,
    /// What it offers, and whether the viewer says that it has joined and that it hears it.
    pub(crate) group: Option<SocketAddrV4>,
    pub(crate) joined: bool,
    pub(crate) group_heard: bool,
    /// What viewers found, and what the source makes of it.
    pub(crate) detections: Vec<Detections>,
    pub(crate) verdict: Option<Verdict>,
    /// What a screen says of itself.
    pub(crate) screen_reports: Vec<ScreenReport>,
    /// After how many datagrams a viewer is to say how far it has read, and what it said.
    pub(crate) progress_every: u32,
    pub(crate) progress: Vec<Progress>,
}

impl MiniRelay {
    pub(crate) fn new(start: u64) -> Self {
        Self {
            start,
            stream: STREAM.to_owned(),
            session: None,
            sessions: 0,
            refusal: None,
            status: Status {
                state: State::Live as i32,
                ..Status::default()
            },
            rate_millihertz: 30_000,
            joins_seen: 0,
            wanted: String::new(),
            reports: Vec::new(),
            goodbyes: 0,
            keep_alives: 0,
            consent: 0,
            paused: false,
            withhold: 0,
            withheld: 0,
            sequence: 0,
            received: Time::default(),
            ahead: Duration::ZERO,
            ring: Vec::new(),
            access: RelayAccess::Open,
            channel: None,
            key: MediaKey::new(1, [start as u8; 16]),
            next_key: None,
            acknowledged: 0,
            accepted: Accept::default(),
            lost_in_relay: 0,
            group: None,
            joined: false,
            group_heard: false,
            detections: Vec::new(),
            verdict: None,
            screen_reports: Vec::new(),
            progress_every: 0,
            progress: Vec::new(),
        }
    }

    fn alias(&self) -> u16 {
        self.start as u16 + 7
    }

    pub(crate) fn on_datagram(&mut self, now: Time, datagram: &[u8]) -> Vec<Vec<u8>> {
        match ToRelay::parse(datagram).expect("a viewer sends what a relay takes") {
            ToRelay::Sealed(session, counter, ciphertext) => {
                if self.session != Some(session) {
                    return vec![encoded(&ToViewer::Reset(session))];
                }

                let plaintext = self
                    .channel
                    .as_mut()
                    .and_then(|channel| channel.open(counter, ciphertext));

                // One that came twice does not open again.
                let Some(plaintext) = plaintext else {
                    return Vec::new();
                };

                self.on_message(
                    now,
                    ToRelay::parse_inner(session, &plaintext).expect("it takes that, too"),
                )
            }
            message => self.on_message(now, message),
        }
    }

    fn on_message(&mut self, now: Time, message: ToRelay<'_>) -> Vec<Vec<u8>> {
        match message {
            ToRelay::Join(join) => {
                self.joins_seen += 1;
                vec![self.on_join(&join)]
            }
            ToRelay::KeepAlive(session, _)
            | ToRelay::Repair(session, _)
            | ToRelay::Progress(session, _)
            | ToRelay::Detections(session, _)
            | ToRelay::ScreenReport(session, _)
            | ToRelay::Goodbye(session, _)
                if self.session != Some(session) =>
            {
                vec![encoded(&ToViewer::Reset(session))]
            }
            ToRelay::KeepAlive(session, keep_alive) => {
                self.reports.extend(keep_alive.report);
                self.keep_alives += 1;
                self.consent = keep_alive.consent;
                self.paused = keep_alive.paused;
                self.acknowledged = keep_alive.key_generation;
                self.joined = keep_alive.group_joined;
                self.group_heard = keep_alive.group_heard;
                let pulse = ToViewer::Pulse(session, self.pulse(now, keep_alive.sent_us));
                vec![self.in_session(&pulse)]
            }
            ToRelay::Repair(_, repair) => self.on_repair(&repair),
            ToRelay::Progress(_, progress) => {
                self.progress.push(progress);
                Vec::new()
            }
            ToRelay::Detections(_, detections) => {
                self.detections.push(detections);
                Vec::new()
            }
            ToRelay::ScreenReport(_, report) => {
                self.screen_reports.push(report);
                Vec::new()
            }
            ToRelay::Sealed(..) => panic!("a message is sealed once"),
            ToRelay::Goodbye(..) => {
                self.session = None;
                self.goodbyes += 1;
                Vec::new()
            }
        }
    }

    /// A frame from the source, as the datagrams that go to the viewer.
    pub(crate) fn on_frame(
        &mut self,
        id: FrameId,
        body: &[u8],
        lost_upstream: u16,
    ) -> Vec<Vec<u8>> {
        self.sequence += 1;
        let lost_in_relay = std::mem::take(&mut self.lost_in_relay);
        let first = DataHeader {
            alias: self.alias(),
            index: 0,
            shards: 0,
            length: 0,
            id,
            received_us: (self.received + self.ahead).as_micros() as u32,
            lost_upstream,
            lost_in_relay,
            key: self.channel.as_ref().map(|_| self.key.slot()),
            sequence: self.sequence,
            ..DataHeader::default()
        };

        let mut packets = Vec::new();
        packetize(first, body, &mut packets);
        if self.channel.is_some() {
            self.key.seal(&mut packets);
        }

        let datagrams: Vec<Vec<u8>> = packets
            .chunks(first.datagram_bytes())
            .map(<[u8]>::to_vec)
            .collect();

        self.ring.truncate(RING - 1);
        self.ring.insert(0, (id, datagrams.clone()));
        if self.session.is_none() || self.paused {
            return Vec::new();
        }

        if self.withhold > 0 {
            self.withhold -= 1;
            self.withheld += 1;
            return Vec::new();
        }

        datagrams
    }

    /// A frame that this relay skips.
    pub(crate) fn skip_frame(&mut self) {
        self.lost_in_relay += 1;
    }

    /// The next frame is not sent to this viewer.
    pub(crate) fn withhold_frame(&mut self) {
        self.withhold += 1;
    }

    /// The status, unasked.
    pub(crate) fn tell_status(&mut self, now: Time) -> Vec<Vec<u8>> {
        let Some(session) = self.session else {
            return Vec::new();
        };
        let pulse = ToViewer::Pulse(session, self.pulse(now, 0));
        vec![self.in_session(&pulse)]
    }

    /// What the screen shall show.
    pub(crate) fn direct(&mut self, direct: Direct) -> Vec<Vec<u8>> {
        let Some(session) = self.session else {
            return Vec::new();
        };
        vec![self.in_session(&ToViewer::Direct(session, direct))]
    }

    /// The farewell of a relay that stops.
    pub(crate) fn stop(&mut self) -> Vec<Vec<u8>> {
        let Some(session) = self.session.take() else {
            return Vec::new();
        };

        vec![self.in_session(&ToViewer::Goodbye(
            session,
            Goodbye {
                reason: "relay stops".into(),
            },
        ))]
    }

    /// Announces the next key of the media.
    pub(crate) fn announce_key(&mut self) {
        let generation = self.key.generation() + 1;
        self.next_key = Some(MediaKey::new(generation, [generation as u8; 16]));
    }

    /// Seals with the key that was announced.
    pub(crate) fn switch_key(&mut self) {
        self.key = self.next_key.take().expect("it has been announced");
    }

    fn in_session(&mut self, message: &ToViewer<'_>) -> Vec<u8> {
        let (
            Some(channel),
            ToViewer::Pulse(session, _)
            | ToViewer::Direct(session, _)
            | ToViewer::Goodbye(session, _),
        ) = (&mut self.channel, message)
        else {
            return encoded(message);
        };

        let mut plaintext = Vec::new();
        message.encode_inner(&mut plaintext);
        let (counter, ciphertext) = channel.seal(&plaintext);
        encoded(&ToViewer::Sealed(*session, counter, &ciphertext))
    }

    fn on_join(&mut self, join: &Join) -> Vec<u8> {
        let nonce = join.nonce;
        let own = (self.start ^ 0xabcd).to_be_bytes();

        if join.token != own[..] {
            let access = self.access.kind().into();
            return encoded(&ToViewer::Challenge(Challenge {
                nonce,
                token: own.to_vec().into(),
                access,
            }));
        }

        match self.join(join) {
            Ok(accept) => encoded(&ToViewer::Accept(accept)),
            Err(refuse) => encoded(&ToViewer::Refuse(refuse)),
        }
    }

    fn join(&mut self, join: &Join) -> Result<Accept, Refuse> {
        if self.access.kind() == Access::Open {
            return self.admit(join);
        }

        if self.accepted.nonce == join.nonce {
            return Ok(self.accepted.clone());
        }

        let answer = handshake::answer(
            &self.access,
            join.nonce,
            &join.token,
            &join.handshake,
            [9; 32],
        );

        let refuse = Refuse {
            nonce: join.nonce,
            refusal: Refusal::Key as i32,
            ..Refuse::default()
        };

        let responder = answer.map_err(|_| refuse)?;
        let join = join
            .with_request(responder.request())
            .expect("a viewer sends what a relay takes");
        let renewed = self.session.filter(|session| *session == join.session);
        let admitted = match self.admit(&join) {
            Ok(admitted) => admitted,
            Err(refuse) => return Err(sealed(refuse, responder)),
        };
        let accept = Accept {
            keys: self.keys(),
            ..admitted
        };

        let (handshake, channel) = responder
            .finish(&accept.encode_to_vec())
            .expect("it is short enough");
        match &mut self.channel {
            Some(channels) if renewed.is_some() => channels.offer(channel),
            channels => *channels = Some(Channels::new(channel)),
        }
        self.accepted = Accept {
            nonce: join.nonce,
            handshake: handshake.into(),
            ..Accept::default()
        };

        Ok(self.accepted.clone())
    }

    fn keys(&self) -> Vec<StreamKey> {
        std::iter::once(&self.key)
            .chain(&self.next_key)
            .map(MediaKey::to_message)
            .collect()
    }

    fn admit(&mut self, join: &Join) -> Result<Accept, Refuse> {
        let nonce = join.nonce;
        self.wanted.clone_from(&join.stream);
        self.paused = join.paused;
        if let Some((refusal, retry_after_ms)) = self.refusal {
            return Err(Refuse {
                nonce,
                refusal: refusal as i32,
                retry_after_ms,
                // Some that are no names, as a relay would not send them.
                streams: ["cam", "two words", "gate"].map(str::to_owned).into(),
                total_streams: 9,
                ..Refuse::default()
            });
        }

        let stream = StreamInfo {
            name: self.stream.clone(),
            alias: self.alias().into(),
            rate_millihertz: self.rate_millihertz,
            width: 64,
            height: 48,
            status: Some(self.status.clone()),
            ..StreamInfo::default()
        };

        if join.list {
            return Ok(Accept {
                nonce,
                streams: vec![stream],
                total_streams: 1,
                ..Accept::default()
            });
        }

        if self.session.is_none_or(|session| session != join.session) {
            self.sessions += 1;
            self.session = Some(self.start * 1_000_000 + self.sessions);
            self.joined = false;
            self.group_heard = false;
        }

        let session = self.session.unwrap_or_default();
        Ok(Accept {
            nonce,
            session,
            stream: Some(stream),
            keep_alive_ms: 250,
            progress_every: self.progress_every,
            ..Accept::default()
        })
    }

    fn on_repair(&self, repair: &Repair) -> Vec<Vec<u8>> {
        assert_eq!(repair.alias, u32::from(self.alias()));
        let id = FrameId {
            epoch: repair.epoch,
            number: repair.number,
        };

        let Some((_, datagrams)) = self.ring.iter().find(|(ringed, _)| *ringed == id) else {
            return Vec::new();
        };

        let ranges = repair.ranges.chunks(2);
        let indices = ranges.flat_map(|range| range[0] as usize..(range[0] + range[1]) as usize);
        indices
            .filter_map(|index| datagrams.get(index).cloned())
            .collect()
    }

    fn pulse(&self, now: Time, echo_us: u64) -> Pulse {
        let keys = if self.channel.is_some() {
            self.keys()
        } else {
            Vec::new()
        };

        Pulse {
            echo_us,
            relay_us: (now + self.ahead).as_micros(),
            status: Some(self.status.clone()),
            frames_skipped: self.withheld,
            keys,
            group: self.group.map(Into::into),
            verdict: self.verdict,
            consent: now.as_micros(),
            ..Pulse::default()
        }
    }
}

/// An encoded `Frame` with `jpeg` in it.
pub(crate) fn frame_body(
    id: FrameId,
    captured_ns: u64,
    clock_id: u64,
    jpeg: &[u8],
) -> bytes::Bytes {
    named_frame_body(STREAM, "", id, captured_ns, clock_id, jpeg)
}

/// As [`frame_body`], of a stream beside which there may be a canary.
pub(crate) fn named_frame_body(
    stream: &str,
    canary: &str,
    id: FrameId,
    captured_ns: u64,
    clock_id: u64,
    jpeg: &[u8],
) -> bytes::Bytes {
    FrameBuffer::copy_of(jpeg).finish(FrameHeader {
        stream: stream.into(),
        canary: canary.into(),
        epoch: id.epoch,
        number: id.number,
        captured_ns,
        clock_id,
        width: 64,
        height: 48,
        format: Format::Jpeg as i32,
        state: State::Live as i32,
        rate_millihertz: 30_000,
        ..FrameHeader::default()
    })
}

/// A REFUSE whose names of streams are sealed.
fn sealed(refuse: Refuse, responder: Responder) -> Refuse {
    let named = Refuse {
        streams: refuse.streams.clone(),
        total_streams: refuse.total_streams,
        ..Refuse::default()
    };
    let (handshake, _) = responder
        .finish(&named.encode_to_vec())
        .expect("it is short enough");
    Refuse {
        streams: Vec::new(),
        total_streams: 0,
        handshake,
        ..refuse
    }
}

fn encoded(message: &ToViewer<'_>) -> Vec<u8> {
    let mut datagram = Vec::new();
    message.encode(&mut datagram);
    datagram
}
