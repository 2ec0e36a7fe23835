//! One peer: its state in str0m, and what it gets. On the WebRTC thread; no I/O here but for what `Transmit` asks.

mod backlog;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fanlight_daemon::clock;
use fanlight_live::access::Grant;
use fanlight_live::ledger::Charge;
use fanlight_live::whep::WhepError;
use fanlight_live::{ClientDetections, ClientHandle, Sent};
use fanlight_proto::clock::Time;
use fanlight_proto::message::{Detections, StreamName};
use str0m::bwe::{Bitrate, BweKind};
use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::channel::ChannelId;
use str0m::format::Codec;
use str0m::media::{Direction, Frequency, MediaKind, MediaTime, Mid, Pt};
use str0m::net::{Protocol, Receive, TcpType, Transmit};
use str0m::rtp::{AbsCaptureTime, Extension};
use str0m::{Candidate, Event, IceConnectionState, Input, Output, Rtc};

use crate::coordinates::{LABEL, Tracker};
use crate::encoder::{EncodedFrame, KeyRequest};
use crate::rung::{MAX_KBPS, Rung};
use crate::sdp::{self, Credentials};

/// A peer that the network carries no media to for so long is dropped.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// What a network is taken to carry, in kbit/s, before it is known: twice what its encoder begins with, because a peer's first key
/// frame is paced by it.
const START_KBPS: u32 = 2 * Rung::Full.start_kbps();

/// A peer that sends no STUN requests any more, as libnice does once it is connected, is there as long as its RTCP comes:
/// each 7.5 s at least (RFC 3550 section 6.3.1).
const MAX_SILENCE: Duration = Duration::from_secs(10);

/// Numbers of RTP extensions in an offer of ours, beside those that str0m has; offers of clients have their own.
const CAPTURE_TIME_ID: u8 = 6;
const PLAYOUT_DELAY_ID: u8 = 7;

/// Who watches what.
#[derive(Debug)]
pub(crate) struct Watcher {
    pub(crate) stream: StreamName,
    pub(crate) client: SocketAddr,
    /// What its operator calls it.
    pub(crate) name: String,
    /// What let the peer in.
    pub(crate) grant: Grant,
    /// What the memory of its session is charged to.
    pub(crate) charge: Charge,
}

/// A session.
pub(crate) struct Session {
    pub(crate) watcher: Watcher,
    rtc: Rtc,
    /// Candidates of ours; the first of the peer's protocol and family is where its packets are said to have come to.
    local: Vec<(Protocol, SocketAddr)>,
    mid: Option<Mid>,
    /// The client's offer, as it would be now.
    offer: String,
    /// Our offer, until it is answered.
    pending: Option<SdpPendingOffer>,
    tracker: Tracker,
    channels: Vec<ChannelId>,
    /// The engine was told that it has gone.
    told_gone: bool,
    connected: bool,
    /// No STUN request has come for long.
    has_lost_ice: bool,
    /// When RTCP last came.
    heard: Instant,
    /// It is to end.
    over: bool,
    rung: Rung,
    /// The one that it goes to with its next key frame; the same: nowhere.
    next_rung: Rung,
    last_rtp_time: u64,
    /// It lacks a frame that others refer to, and takes none until the next key frame.
    needs_key: bool,
    /// It is to ask for that one when it can take it.
    asks_key: bool,
    /// Frames that were left out because too much waited, since the last one that was not.
    skipped: u64,
    /// Since the caller looked.
    key_request: Option<KeyRequest>,
    kbps: Option<u32>,
    began: Instant,
    due: Instant,
    handle: ClientHandle,
}

impl Session {
    /// Answers an offer.
    ///
    /// # Errors
    /// [`WhepError::BadOffer`] and [`WhepError::NoCodec`].
    pub(crate) fn accept(
        now: Instant,
        offer: &str,
        local: Vec<(Protocol, SocketAddr)>,
        watcher: Watcher,
        handle: ClientHandle,
    ) -> Result<(Self, String), WhepError> {
        let mut session = Self::new(now, local, watcher, handle)?;
        let answer = session.accept_offer(offer)?;
        session.mid = sdp::video_mid(&answer).map(Mid::from);
        // Nothing is sent before the peer has spoken.
        session.drain(&mut |_| {});
        session.pt().ok_or(WhepError::NoCodec)?;
        Ok((session, answer))
    }

    /// Makes an offer; [`Session::answer`] takes its answer.
    ///
    /// # Errors
    /// [`WhepError::BadOffer`] when no offer can be made.
    pub(crate) fn offer(
        now: Instant,
        local: Vec<(Protocol, SocketAddr)>,
        watcher: Watcher,
        handle: ClientHandle,
    ) -> Result<(Self, String), WhepError> {
        let mut session = Self::new(now, local, watcher, handle)?;
        let mut changes = session.rtc.sdp_api();
        // Older clients add a track of their own to answer with.
        let direction = Direction::SendRecv;
        let mid = changes.add_media(MediaKind::Video, direction, None, None, None);
        let _ = changes.add_channel(LABEL.to_owned());
        let (offer, pending) = changes.apply().ok_or(WhepError::BadOffer)?;

        session.mid = Some(mid);
        session.pending = Some(pending);
        session.drain(&mut |_| {});
        Ok((session, offer.to_sdp_string()))
    }

    /// Takes the answer to our offer.
    ///
    /// # Errors
    /// [`WhepError::BadOffer`] and [`WhepError::NoCodec`].
    pub(crate) fn answer(&mut self, answer: &str) -> Result<(), WhepError> {
        let answer = SdpAnswer::from_sdp_string(answer).map_err(|_| WhepError::BadOffer)?;
        let pending = self.pending.take().ok_or(WhepError::BadOffer)?;
        self.rtc
            .sdp_api()
            .accept_answer(pending, answer)
            .map_err(|_| WhepError::BadOffer)?;
        self.drain(&mut |_| {});
        self.pt().map(drop).ok_or(WhepError::NoCodec)
    }

    /// Takes a fragment of SDP: candidates, which are not needed, or with other credentials an ICE restart; then those of
    /// ours are given back.
    ///
    /// # Errors
    /// [`WhepError::OldTag`] when `tag` is not that of the session, and [`WhepError::BadOffer`].
    pub(crate) fn patch(
        &mut self,
        tag: Option<&str>,
        fragment: &str,
    ) -> Result<Option<String>, WhepError> {
        let ours = self.rtc.direct_api().local_ice_credentials();
        if tag.is_some_and(|tag| tag != ours.ufrag) {
            return Err(WhepError::OldTag);
        }
        let Some(credentials) = Credentials::of(fragment) else {
            return Ok(None);
        };
        // A session of ours to offer has no offer of the client.
        if self.offer.is_empty() || Credentials::of(&self.offer) == Some(credentials) {
            return Ok(None);
        }

        let offer = credentials.put_into(&self.offer);
        let answer = self.accept_offer(&offer)?;
        self.drain(&mut |_| {});
        Ok(Some(sdp::fragment(&answer)))
    }

    fn accept_offer(&mut self, offer: &str) -> Result<String, WhepError> {
        let parsed = SdpOffer::from_sdp_string(offer).map_err(|_| WhepError::BadOffer)?;
        let answer = self.rtc.sdp_api().accept_offer(parsed);
        let answer = answer.map_err(|_| WhepError::BadOffer)?;
        offer.clone_into(&mut self.offer);
        Ok(answer.to_sdp_string())
    }

    fn new(
        now: Instant,
        local: Vec<(Protocol, SocketAddr)>,
        watcher: Watcher,
        handle: ClientHandle,
    ) -> Result<Self, WhepError> {
        let mut rtc = Rtc::builder()
            .set_ice_lite(true)
            .clear_codecs()
            .enable_vp8(true)
            .set_extension(CAPTURE_TIME_ID, Extension::AbsoluteCaptureTime)
            .set_extension(PLAYOUT_DELAY_ID, Extension::PlayoutDelay)
            .enable_bwe(Some(Bitrate::kbps(START_KBPS.into())))
            .build(now);
        for &(protocol, address) in &local {
            let candidate = match protocol {
                Protocol::Udp => Candidate::host(address, protocol),
                // Clients connect to us.
                _ => Candidate::builder()
                    .tcp()
                    .host(address)
                    .tcptype(TcpType::Passive)
                    .build(),
            };
            rtc.add_local_candidate(candidate.map_err(|_| WhepError::BadOffer)?);
        }
        rtc.bwe()
            .set_desired_bitrate(Bitrate::kbps(MAX_KBPS.into()));

        Ok(Self {
            watcher,
            rtc,
            local,
            mid: None,
            offer: String::new(),
            pending: None,
            tracker: Tracker::new(u64::from_le_bytes(clock::random_bytes())),
            channels: Vec::new(),
            told_gone: false,
            connected: false,
            has_lost_ice: false,
            heard: now,
            over: false,
            rung: Rung::Full,
            next_rung: Rung::Full,
            last_rtp_time: 0,
            needs_key: true,
            asks_key: false,
            skipped: 0,
            key_request: None,
            kbps: None,
            began: now,
            due: now,
            handle,
        })
    }

    /// Whether a packet from `source` is for this peer, which is then given it.
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        protocol: Protocol,
        source: SocketAddr,
        packet: &[u8],
    ) -> bool {
        let is_there = |(at, local): &&(Protocol, SocketAddr)| {
            *at == protocol && local.is_ipv4() == source.is_ipv4()
        };
        let Some(&(_, destination)) = self.local.iter().find(is_there) else {
            return false;
        };
        let Ok(receive) = Receive::new(protocol, source, destination, packet) else {
            return false;
        };

        let input = Input::Receive(now, receive);
        if !self.rtc.accepts(&input) {
            return false;
        }

        self.feed(input);
        // RFC 7983 tells RTP and RTCP by the first byte.
        if matches!(packet.first(), Some(128..=191)) {
            self.heard = now;
        }
        true
    }

    /// Does what is due, and gives `send` what is to be sent.
    pub(crate) fn run(&mut self, now: Instant, send: &mut impl FnMut(&Transmit)) {
        if now >= self.due || self.over {
            self.feed(Input::Timeout(now));
        }
        self.drain(send);

        if self.over {
            // What says so to the peer (RTCP BYE, and close_notify of DTLS) has been sent.
            self.rtc.disconnect();
        }
        let since = |then| now.saturating_duration_since(then);
        let is_late = !self.connected && since(self.began) > CONNECT_TIMEOUT;
        if is_late || (self.has_lost_ice && since(self.heard) > MAX_SILENCE) {
            self.rtc.disconnect();
        }
    }

    /// Sends a frame of its stream.
    pub(crate) fn write(&mut self, now: (Instant, Time), frame: &EncodedFrame) {
        if !self.connected || self.over {
            return;
        }
        if self.is_behind(now.0) {
            self.skipped += 1;
            self.needs_key = true;
            self.asks_key = true;
            return;
        }
        if !self.takes(frame) {
            if std::mem::take(&mut self.asks_key) {
                self.key_request.get_or_insert(KeyRequest::Lost);
            }
            return;
        }

        let Some((mid, pt)) = self.mid.zip(self.pt()) else {
            return;
        };
        let Some(writer) = self.rtc.writer(mid) else {
            return;
        };

        // Another rung may have been ahead.
        let rtp_time = frame.rtp_time.max(self.last_rtp_time + 1);
        let none = MediaTime::new(0, Frequency::HUNDREDTHS);
        let mut writer = writer.playout_delay(none, none);
        if let Some(capture_time) = frame.captured_utc {
            writer = writer.abs_capture_time(AbsCaptureTime {
                capture_time,
                clock_offset: None,
            });
        }
        let time = MediaTime::new(rtp_time, Frequency::NINETY_KHZ);
        let written = writer.write(pt, now.0, time, frame.data.clone());

        self.needs_key = written.is_err();
        if written.is_ok() {
            self.last_rtp_time = rtp_time;
            self.tracker.on_sent(now.1, rtp_time, frame);
            self.handle.note(
                now.1,
                Sent {
                    bytes: frame.data.len(),
                    skipped: std::mem::take(&mut self.skipped),
                    age_us: frame.age_us,
                },
            );
        }
    }

    /// Whether a frame is for it: of its rung, or the key frame with which it goes to the next one.
    fn takes(&mut self, frame: &EncodedFrame) -> bool {
        if frame.is_key && frame.rung == self.next_rung {
            self.rung = self.next_rung;
            return true;
        }
        frame.rung == self.rung && (frame.is_key || !self.needs_key)
    }

    /// Which encodings it takes frames of: that of now, and the next.
    pub(crate) const fn rungs(&self) -> (Rung, Rung) {
        (self.rung, self.next_rung)
    }

    /// Chooses the rung by what the network carries.
    pub(crate) fn choose_rung(&mut self) {
        if let Some(kbps) = self.kbps {
            self.next_rung = self.next_rung.after(kbps);
        }
    }

    /// Ends it; the peer is told by [`Session::run`].
    pub(crate) fn end(&mut self) {
        self.over = true;
        // Before there is a connection nobody can be told.
        if !self.connected || self.rtc.close().is_err() {
            self.rtc.disconnect();
        }
    }

    /// Ends it at once, and tells nobody.
    pub(crate) fn abandon(&mut self) {
        self.rtc.disconnect();
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.rtc.is_alive()
    }

    /// Whether it needs a key frame, since the last call.
    pub(crate) fn take_key_request(&mut self) -> Option<KeyRequest> {
        self.key_request.take()
    }

    /// What its network carries, in kbit/s, once that is known.
    pub(crate) fn kbps(&self) -> Option<u32> {
        self.kbps
    }

    /// When it must be run next.
    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    /// When [`Session::take_detections`] has something.
    pub(crate) fn tracker_due(&self) -> Option<Time> {
        self.tracker.due()
    }

    /// What its tracker found, when that is due, and at its end.
    pub(crate) fn take_detections(&mut self, now: Time) -> Option<ClientDetections> {
        let left = !self.is_alive() && self.tracker.is_open() && !self.told_gone;
        let (report, detections) = match self.tracker.take_report(now) {
            Some(report) => report,
            None if left => (self.tracker.report(now), Detections::default()),
            None => return None,
        };

        self.told_gone = left;
        Some(ClientDetections {
            client: self.handle.number(),
            name: self.watcher.name.clone(),
            address: self.watcher.client,
            stream: self.watcher.stream.clone(),
            report,
            detections,
            knows_clocks: false,
            screen: None,
            left,
        })
    }

    fn pt(&mut self) -> Option<Pt> {
        let writer = self.rtc.writer(self.mid?)?;
        writer
            .payload_params()
            .find(|params| params.spec().codec == Codec::Vp8)
            .map(str0m::format::PayloadParams::pt)
    }

    fn feed(&mut self, input: Input) {
        if self.rtc.is_alive() && self.rtc.handle_input(input).is_err() {
            self.rtc.disconnect();
        }
    }

    /// str0m must be drained after each change.
    fn drain(&mut self, send: &mut impl FnMut(&Transmit)) {
        while self.rtc.is_alive() {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(due)) => {
                    self.due = due;
                    return;
                }
                Ok(Output::Transmit(transmit)) => send(&transmit),
                Ok(Output::Event(event)) => self.on_event(&event),
                Err(_) => self.rtc.disconnect(),
            }
        }
    }

    fn on_event(&mut self, event: &Event) {
        match event {
            Event::Connected => {
                self.connected = true;
                self.key_request = Some(KeyRequest::Joined);
            }
            Event::ChannelOpen(channel, label) if label == LABEL => {
                self.channels.push(*channel);
                self.tracker.open();
            }
            Event::ChannelData(said) if self.channels.contains(&said.id) => {
                self.tracker.on_message(clock::now(), &said.data);
            }
            Event::KeyframeRequest(_) => {
                self.key_request.get_or_insert(KeyRequest::Lost);
            }
            // Ours, or that of a client without TWCC, such as aiortc.
            Event::EgressBitrateEstimate(
                BweKind::Twcc { estimate, .. } | BweKind::Remb { estimate, .. },
            ) => {
                let kbps = u32::try_from(estimate.as_u64() / 1_000).ok();
                // What we began with is no news.
                self.kbps = kbps.filter(|kbps| *kbps != START_KBPS).or(self.kbps);
            }
            Event::IceConnectionStateChange(state) => {
                self.has_lost_ice = *state == IceConnectionState::Disconnected;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
