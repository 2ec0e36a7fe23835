//! A relay small enough to read, for tests of the viewer: one stream, one viewer, no socket.

use fanlight_proto::clock::Time;
use fanlight_proto::datagram::{DATA_BYTES, DataHeader, ToRelay, ToViewer};
use fanlight_proto::message::{
    Accept, Challenge, Format, FrameBuffer, FrameHeader, FrameId, Goodbye, Pulse, Refusal, Refuse, Repair, Report,
    State, Status, StreamInfo,
};
use fanlight_proto::shard::cut;

pub(crate) const STREAM: &str = "hall";

/// Frames kept for repair.
const RING: usize = 8;

/// See the module. Nothing in it is hurried or lossy by itself.
#[derive(Debug)]
pub(crate) struct MiniRelay {
    /// Distinguishes the starts of a relay: its tokens, sessions and alias.
    start: u64,
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
    paused: bool,
    withhold: u64,
    withheld: u64,
    sequence: u64,
    ring: Vec<(FrameId, Vec<u8>)>,
    lost_in_relay: u16,
}

impl MiniRelay {
    pub(crate) fn new(start: u64) -> Self {
        Self {
            start,
            session: None,
            sessions: 0,
            refusal: None,
            status: Status { state: State::Live as i32, ..Status::default() },
            rate_millihertz: 30_000,
            joins_seen: 0,
            wanted: String::new(),
            reports: Vec::new(),
            goodbyes: 0,
            keep_alives: 0,
            paused: false,
            withhold: 0,
            withheld: 0,
            sequence: 0,
            ring: Vec::new(),
            lost_in_relay: 0,
        }
    }

    fn alias(&self) -> u16 {
        self.start as u16 + 7
    }

    pub(crate) fn on_datagram(&mut self, now: Time, datagram: &[u8]) -> Vec<Vec<u8>> {
        match ToRelay::parse(datagram).expect("a viewer sends what a relay takes") {
            ToRelay::Join(join) => {
                self.joins_seen += 1;
                self.wanted.clone_from(&join.stream);
                self.paused = join.paused;
                vec![self.on_join(join.nonce, &join.token, join.list)]
            }
            ToRelay::KeepAlive(session, _) | ToRelay::Repair(session, _) | ToRelay::Goodbye(session, _)
                if self.session != Some(session) =>
            {
                vec![encoded(&ToViewer::Reset(session))]
            }
            ToRelay::KeepAlive(session, keep_alive) => {
                self.reports.extend(keep_alive.report);
                self.keep_alives += 1;
                self.paused = keep_alive.paused;
                vec![encoded(&ToViewer::Pulse(session, self.pulse(now, keep_alive.sent_us)))]
            }
            ToRelay::Repair(_, repair) => self.on_repair(&repair),
            ToRelay::Sealed(..) => panic!("there is no key in these tests"),
            ToRelay::Goodbye(..) => {
                self.session = None;
                self.goodbyes += 1;
                Vec::new()
            }
        }
    }

    /// A frame from the source, as the datagrams that go to the viewer.
    pub(crate) fn on_frame(&mut self, id: FrameId, body: &[u8], lost_upstream: u16) -> Vec<Vec<u8>> {
        self.sequence += 1;
        let lost_in_relay = std::mem::take(&mut self.lost_in_relay);
        let first = DataHeader {
            alias: self.alias(),
            index: 0,
            shards: 0,
            length: 0,
            id,
            received_us: 0,
            lost_upstream,
            lost_in_relay,
            sequence: self.sequence,
            ..DataHeader::default()
        };
        let mut packets = Vec::new();
        cut(first, body, &mut packets);
        let datagrams = packets.chunks(DATA_BYTES).map(<[u8]>::to_vec).collect();
        self.ring.truncate(RING - 1);
        self.ring.insert(0, (id, packets));
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
    pub(crate) fn tell_status(&self, now: Time) -> Vec<Vec<u8>> {
        let Some(session) = self.session else { return Vec::new() };
        vec![encoded(&ToViewer::Pulse(session, self.pulse(now, 0)))]
    }

    /// The farewell of a relay that stops.
    pub(crate) fn stop(&mut self) -> Vec<Vec<u8>> {
        let goodbye = |session| encoded(&ToViewer::Goodbye(session, Goodbye { reason: "relay stops".into() }));
        self.session.take().map(goodbye).into_iter().collect()
    }

    fn on_join(&mut self, nonce: u64, token: &[u8], list: bool) -> Vec<u8> {
        let own = (self.start ^ 0xabcd).to_be_bytes();
        if token != own {
            return encoded(&ToViewer::Challenge(Challenge {
                nonce,
                token: own.to_vec().into(),
                ..Challenge::default()
            }));
        }
        if let Some((refusal, retry_after_ms)) = self.refusal {
            let refuse = Refuse { nonce, refusal: refusal as i32, retry_after_ms, ..Refuse::default() };
            return encoded(&ToViewer::Refuse(refuse));
        }
        let stream = StreamInfo {
            name: STREAM.into(),
            alias: self.alias().into(),
            rate_millihertz: self.rate_millihertz,
            width: 64,
            height: 48,
            status: Some(self.status.clone()),
            ..StreamInfo::default()
        };
        if list {
            let accept = Accept { nonce, streams: vec![stream], total_streams: 1, ..Accept::default() };
            return encoded(&ToViewer::Accept(accept));
        }
        self.sessions += 1;
        let session = self.start * 1_000_000 + self.sessions;
        self.session = Some(session);
        let accept = Accept { nonce, session, stream: Some(stream), keep_alive_ms: 250, ..Accept::default() };
        encoded(&ToViewer::Accept(accept))
    }

    fn on_repair(&self, repair: &Repair) -> Vec<Vec<u8>> {
        assert_eq!(repair.alias, u32::from(self.alias()));
        let id = FrameId { epoch: repair.epoch, number: repair.number };
        let Some((_, packets)) = self.ring.iter().find(|(ringed, _)| *ringed == id) else { return Vec::new() };
        let ranges = repair.ranges.chunks(2);
        let indices = ranges.flat_map(|range| range[0] as usize..(range[0] + range[1]) as usize);
        indices.filter_map(|index| packets.chunks(DATA_BYTES).nth(index).map(<[u8]>::to_vec)).collect()
    }

    fn pulse(&self, now: Time, echo_us: u64) -> Pulse {
        Pulse {
            echo_us,
            relay_us: now.as_micros(),
            status: Some(self.status.clone()),
            frames_paced_out: self.withheld,
            ..Pulse::default()
        }
    }
}

/// An encoded `Frame` with `jpeg` in it.
pub(crate) fn frame_body(id: FrameId, captured_ns: u64, clock_id: u64, jpeg: &[u8]) -> bytes::Bytes {
    FrameBuffer::copy_of(jpeg).finish(FrameHeader {
        stream: STREAM.into(),
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

fn encoded(message: &ToViewer<'_>) -> Vec<u8> {
    let mut datagram = Vec::new();
    message.encode(&mut datagram);
    datagram
}
