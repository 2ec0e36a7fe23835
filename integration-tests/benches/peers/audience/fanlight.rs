//! A light viewer that takes trains of datagrams whole (UDP GRO), as the real one does.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_proto::clock::Time;
use fanlight_proto::datagram::{DataHeader, ToRelay, ToViewer};
use fanlight_proto::limits::{KEEP_ALIVE_INTERVAL, MAX_OPEN_FRAMES};
use fanlight_proto::message::{FrameHeader, FrameId, Join, KeepAlive, Report};
use fanlight_tests::raw_client::join;
use prost::Message as _;
use quinn_udp::{RecvMeta, UdpSocketState};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::{RECEIVE_BUFFER, Seat};

/// Of a socket's memory, what the kernel charges a datagram of ours.
const CHARGED_PER_DATAGRAM: usize = 2304;

/// Between two requests to join.
const RETRY: Duration = Duration::from_millis(50);

/// The longest train.
const TRAIN_BYTES: usize = 1 << 16;

/// Trains that one call takes.
const TRAINS: usize = 4;

/// The tag of a frame's header, its first field, which is length-delimited.
const HEADER_TAG: u8 = 1 << 3 | 2;

/// Every so many keep-alives bring a report.
const REPORT_EVERY: u64 = 4;

struct Viewer {
    socket: UdpSocket,
    relay: SocketAddr,
    join: Join,
    session: Option<u64>,
    spoken: u64,
    report: Report,
    newest_sequence: u64,
    consent: u64,
    open: VecDeque<Open>,
    seat: Arc<Seat>,
}

/// A frame that shards have come of.
struct Open {
    id: FrameId,
    shards: u16,
    here: Vec<bool>,
    count: u16,
    taken: Option<Time>,
}

/// Watches the first stream that the relay has.
pub(super) async fn receive(
    socket: std::net::UdpSocket,
    relay: SocketAddr,
    seat: Arc<Seat>,
) -> io::Result<()> {
    let state = UdpSocketState::new((&socket).into())?;
    let receive_capacity = u32::try_from(RECEIVE_BUFFER / CHARGED_PER_DATAGRAM).unwrap_or(u32::MAX);
    let mut viewer = Viewer {
        socket: UdpSocket::from_std(socket)?,
        relay,
        join: Join {
            receive_capacity,
            ..join("")
        },
        session: None,
        spoken: 0,
        report: Report::default(),
        newest_sequence: 0,
        consent: 0,
        open: VecDeque::new(),
        seat,
    };

    let mut bytes = vec![0; TRAINS * TRAIN_BYTES];
    let mut meta = [RecvMeta::default(); TRAINS];
    let mut speak_at = tokio::time::Instant::now();

    loop {
        if speak_at <= tokio::time::Instant::now() {
            viewer.speak();
            speak_at += if viewer.session.is_some() {
                KEEP_ALIVE_INTERVAL
            } else {
                RETRY
            };
        }

        let received = async {
            let mut chunks = bytes.chunks_exact_mut(TRAIN_BYTES);
            let mut slices: [IoSliceMut<'_>; TRAINS] =
                std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
            let receive = || state.recv((&viewer.socket).into(), &mut slices, &mut meta);
            viewer.socket.async_io(Interest::READABLE, receive).await
        };

        // Silence is the relay's, and errors of the network are silence.
        let Ok(Ok(count)) = tokio::time::timeout_at(speak_at, received).await else {
            continue;
        };

        for (train, meta) in bytes.chunks_exact(TRAIN_BYTES).zip(&meta).take(count) {
            train[..meta.len]
                .chunks(meta.stride.max(1))
                .for_each(|datagram| viewer.take(datagram));
        }
    }
}

impl Viewer {
    fn speak(&mut self) {
        let Some(session) = self.session else {
            return self.say(&ToRelay::Join(self.join.clone()));
        };

        self.spoken += 1;
        let report = self
            .spoken
            .is_multiple_of(REPORT_EVERY)
            .then_some(self.report);

        let sent_us = clock::now().as_nanos() / 1000;
        let newest_sequence = self.newest_sequence;
        let consent = self.consent;
        self.say(&ToRelay::KeepAlive(
            session,
            KeepAlive {
                sent_us,
                report,
                newest_sequence,
                consent,
                ..KeepAlive::default()
            },
        ));
    }

    fn say(&self, message: &ToRelay<'_>) {
        let mut datagram = Vec::new();
        message.encode(&mut datagram);
        // What does not go out is lost, as datagrams are.
        let _ = self.socket.try_send_to(&datagram, self.relay);
    }

    fn take(&mut self, datagram: &[u8]) {
        match ToViewer::parse(datagram) {
            Ok(ToViewer::Data(header, shard)) => self.shard(&header, shard, datagram.len()),
            Ok(ToViewer::Challenge(challenge)) if self.session.is_none() => {
                self.join.token = challenge.token;
                self.speak();
            }
            Ok(ToViewer::Accept(accept)) => self.session = Some(accept.session),
            Ok(ToViewer::Pulse(_, pulse)) => self.consent = pulse.consent,
            _ => {}
        }
    }

    fn shard(&mut self, header: &DataHeader, shard: &[u8], bytes: usize) {
        self.report.datagrams += 1;
        self.report.bytes += bytes as u64;
        self.newest_sequence = self.newest_sequence.max(header.sequence);

        if self.open.back().is_none_or(|newest| header.id > newest.id) {
            if self.open.len() == MAX_OPEN_FRAMES {
                self.close();
            }

            self.open.push_back(Open::new(header));
        }

        let Some(open) = self.open.iter_mut().find(|open| open.id == header.id) else {
            return;
        };

        if open.add(header.index, shard) {
            self.report.frames_whole += 1;
            self.report.frames_shown += 1;
            self.seat.note(open.taken);
        }
    }

    fn close(&mut self) {
        let Some(open) = self.open.pop_front() else {
            return;
        };

        self.report.shards_expected += u64::from(open.shards);
        self.report.shards_missed += u64::from(open.shards.saturating_sub(open.count));
        let lost = u64::from(open.count < open.shards);
        self.report.frames_lost += lost;
        self.report.frames_unrecovered += lost;
    }
}

impl Open {
    fn new(header: &DataHeader) -> Self {
        let all = usize::from(header.shards + header.parity);
        Self {
            id: header.id,
            shards: header.shards,
            here: vec![false; all],
            count: 0,
            taken: None,
        }
    }

    /// Notes a shard; whether the frame has become whole by it.
    fn add(&mut self, index: u16, shard: &[u8]) -> bool {
        let Some(here) = self.here.get_mut(usize::from(index)).filter(|here| !**here) else {
            return false;
        };

        *here = true;
        if let (0, Some((&HEADER_TAG, rest))) = (index, shard.split_first()) {
            let header = FrameHeader::decode_length_delimited(rest).ok();
            self.taken = header.map(|header| Time::from_nanos(header.captured_ns));
        }

        self.count += 1;
        self.count == self.shards
    }
}
