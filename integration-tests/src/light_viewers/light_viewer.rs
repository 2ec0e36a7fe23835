//! One light viewer: joins, keeps its session, and counts frames by the headers of their shards.

use std::collections::VecDeque;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_proto::clock::Time;
use fanlight_proto::datagram::{DataHeader, ToRelay, ToViewer};
use fanlight_proto::limits::{KEEP_ALIVE_INTERVAL, MAX_DATAGRAM, MAX_OPEN_FRAMES};
use fanlight_proto::message::{FrameId, Join, KeepAlive, Report};
use rustix::net::sockopt;

use super::ViewerStats;
use crate::raw_client::join;

/// Of a socket's memory, what the kernel charges a datagram of ours.
const CHARGED_PER_DATAGRAM: usize = 2304;

/// Datagrams taken from one member's socket before the others have their turn.
const TURN: usize = 256;

/// Every so many keep-alives bring a report.
const REPORT_EVERY: u64 = 4;

/// What is told to all viewers of one thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conduct {
    /// Whom to join.
    pub(super) relay: SocketAddr,
    /// Whether to take what comes once there is a session.
    pub(super) reads: bool,
    /// Between two frames of the stream.
    pub(super) interval: Duration,
}

/// A light viewer.
#[derive(Debug)]
pub(super) struct LightViewer {
    socket: UdpSocket,
    conduct: Conduct,
    join: Join,
    session: Option<u64>,
    began: Time,
    speak_at: Time,
    spoken: u64,
    open: VecDeque<PartialFrame>,
    /// Since when is counted.
    begun: Time,
    /// The first frame that is counted, once it has been seen, and how many were missed before it.
    first: Option<u64>,
    missed_before: u64,
    newest_sequence: u64,
    consent: u64,
    seen: ViewerStats,
    report: Report,
}

/// A frame that shards have come of.
#[derive(Debug)]
struct PartialFrame {
    id: FrameId,
    since: Time,
    shards: u16,
    here: Vec<u64>,
    count: u16,
}

impl LightViewer {
    pub(super) fn new(socket: UdpSocket, conduct: Conduct, stream: &str, now: Time) -> Self {
        let held = sockopt::socket_recv_buffer_size(&socket).expect("a socket has a buffer")
            / CHARGED_PER_DATAGRAM;
        let join = Join {
            receive_capacity: u32::try_from(held).unwrap_or(u32::MAX),
            ..join(stream)
        };

        Self {
            socket,
            conduct,
            join,
            session: None,
            began: now,
            speak_at: now,
            spoken: 0,
            open: VecDeque::new(),
            begun: now,
            first: None,
            missed_before: 0,
            newest_sequence: 0,
            consent: 0,
            seen: ViewerStats::default(),
            report: Report::default(),
        }
    }

    pub(super) fn begin(&mut self, now: Time) {
        let ViewerStats {
            joined_after,
            first_whole_after,
            joins,
            refusals,
            ..
        } = self.seen;

        self.seen = ViewerStats {
            joined_after,
            first_whole_after,
            joins,
            refusals,
            ..ViewerStats::default()
        };

        self.begun = now;
        self.first = None;
        self.missed_before = 0;
    }

    pub(super) fn seen(&self, now: Time) -> ViewerStats {
        let expected = match (self.first, self.open.back()) {
            (Some(first), Some(newest)) => {
                let reach = newest.id.number + u64::from(newest.is_whole());
                self.missed_before + reach.saturating_sub(first) + self.missed(newest.since, now)
            }
            _ => self.missed(self.begun, now),
        };

        ViewerStats {
            expected,
            ..self.seen.clone()
        }
    }

    /// Frames that must have been sent since one was seen, and were not; one more may just be on its way.
    fn missed(&self, since: Time, now: Time) -> u64 {
        let frames =
            now.saturating_since(since).as_secs_f64() / self.conduct.interval.as_secs_f64();
        (frames as u64).saturating_sub(1)
    }

    /// Takes what has come and says what is due; whether anything has come.
    pub(super) fn turn(&mut self) -> bool {
        let mut buffer = [0; MAX_DATAGRAM];
        let now = clock::now();
        let mut came = false;

        if self.conduct.reads || self.session.is_none() {
            for _ in 0..TURN {
                // Refusals of the network are silence.
                let Ok(length) = self.socket.recv(&mut buffer) else {
                    break;
                };

                came = true;
                self.take(now, &buffer[..length]);
            }
        }

        if now >= self.speak_at {
            self.speak_at = now + KEEP_ALIVE_INTERVAL;
            self.speak(now);
        }

        came
    }

    fn take(&mut self, now: Time, datagram: &[u8]) {
        match ToViewer::parse(datagram) {
            Ok(ToViewer::Data(header, _)) => self.shard(now, &header, datagram.len()),
            Ok(ToViewer::Challenge(challenge))
                if challenge.nonce == self.join.nonce && self.session.is_none() =>
            {
                self.join.token = challenge.token;
                self.speak_at = now;
            }

            Ok(ToViewer::Accept(accept))
                if accept.nonce == self.join.nonce && self.session.is_none() =>
            {
                self.session = Some(accept.session);
                self.seen.joins += 1;
                self.seen
                    .joined_after
                    .get_or_insert(now.saturating_since(self.began));
            }
            Ok(ToViewer::Refuse(refuse)) if refuse.nonce == self.join.nonce => {
                self.seen.refusals += 1;
                self.speak_at = now
                    + Duration::from_millis(refuse.retry_after_ms.into()).max(KEEP_ALIVE_INTERVAL);
            }
            Ok(ToViewer::Pulse(session, pulse)) if Some(session) == self.session => {
                self.consent = pulse.consent;
            }
            Ok(ToViewer::Reset(session)) if Some(session) == self.session => self.rejoin(now),
            Ok(ToViewer::Goodbye(session, _)) if Some(session) == self.session => self.rejoin(now),
            _ => {}
        }
    }

    fn rejoin(&mut self, now: Time) {
        let fresh = join(&self.join.stream);
        self.join = Join {
            receive_capacity: self.join.receive_capacity,
            ..fresh
        };

        self.session = None;
        self.newest_sequence = 0;
        self.speak_at = now;
        self.report = Report::default();
    }

    fn speak(&mut self, now: Time) {
        let Some(session) = self.session else {
            return self.say(&ToRelay::Join(self.join.clone()));
        };

        self.spoken += 1;
        let report = self
            .spoken
            .is_multiple_of(REPORT_EVERY)
            .then_some(self.report);

        let keep_alive = KeepAlive {
            sent_us: now.as_nanos() / 1000,
            report,
            newest_sequence: self.newest_sequence,
            consent: self.consent,
            ..KeepAlive::default()
        };

        self.say(&ToRelay::KeepAlive(session, keep_alive));
    }

    pub(super) fn leave(&mut self) {
        if let Some(session) = self.session {
            self.say(&ToRelay::Goodbye(session, Default::default()));
        }
    }

    fn say(&self, message: &ToRelay<'_>) {
        let mut datagram = Vec::new();
        message.encode(&mut datagram);
        // What does not go out is lost, as datagrams are.
        let _ = self.socket.send_to(&datagram, self.conduct.relay);
    }

    fn shard(&mut self, now: Time, header: &DataHeader, bytes: usize) {
        self.seen.datagrams += 1;
        self.report.datagrams += 1;
        self.report.bytes += bytes as u64;
        self.newest_sequence = self.newest_sequence.max(header.sequence);

        let Some(open) = self.frame(now, header) else {
            return;
        };

        if !open.add(header.index) {
            return;
        }

        self.seen.whole += 1;
        self.report.frames_whole += 1;
        self.report.frames_shown += 1;
        let age = (now.as_nanos() / 1000) as u32;
        self.seen.ages.push(Duration::from_micros(
            age.wrapping_sub(header.received_us).into(),
        ));
        self.seen
            .first_whole_after
            .get_or_insert(now.saturating_since(self.began));
    }

    /// The frame of a shard, unless it has been given up.
    fn frame(&mut self, now: Time, header: &DataHeader) -> Option<&mut PartialFrame> {
        let newest = self
            .open
            .back()
            .filter(|open| open.id.epoch == header.id.epoch)
            .map(|open| open.id.number);

        if newest.is_none_or(|newest| header.id.number > newest) {
            if self.open.len() == MAX_OPEN_FRAMES {
                self.close();
            }

            if self.first.is_none() {
                self.first = Some(header.id.number);
                self.missed_before = self.missed(self.begun, now);
            }

            self.open.push_back(PartialFrame::new(now, header));
        }

        let counted = self.first.is_some_and(|first| header.id.number >= first);
        self.open
            .iter_mut()
            .find(|open| open.id == header.id)
            .filter(|_| counted)
    }

    fn close(&mut self) {
        let Some(open) = self.open.pop_front() else {
            return;
        };

        self.report.shards_expected += u64::from(open.shards);
        self.report.shards_missed += u64::from(open.shards.saturating_sub(open.count));

        if !open.is_whole() {
            self.report.frames_lost += 1;
            self.report.frames_unrecovered += 1;
            self.seen.partial += u64::from(self.first.is_some_and(|first| open.id.number >= first));
        }
    }
}

impl PartialFrame {
    fn new(now: Time, header: &DataHeader) -> Self {
        let all = usize::from(header.shards + header.parity);
        Self {
            id: header.id,
            since: now,
            shards: header.shards,
            here: vec![0; all.div_ceil(64)],
            count: 0,
        }
    }

    /// Notes a shard; whether the frame has become whole by it: any of its shards and of their parity do, as many as it
    /// has shards.
    fn add(&mut self, index: u16) -> bool {
        let word = usize::from(index) / 64;
        let bit = 1 << (index % 64);
        let Some(word) = self.here.get_mut(word).filter(|word| **word & bit == 0) else {
            return false;
        };

        *word |= bit;
        self.count += 1;
        self.count == self.shards
    }

    const fn is_whole(&self) -> bool {
        self.count >= self.shards
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::light_viewers::socket;

    fn member() -> LightViewer {
        let relay = (Ipv4Addr::LOCALHOST, 9).into();
        let conduct = Conduct {
            relay,
            reads: true,
            interval: Duration::from_millis(10),
        };

        LightViewer::new(socket(None), conduct, "cam", Time::from_nanos(0))
    }

    fn shard(number: u64, index: u16) -> DataHeader {
        let id = FrameId { epoch: 1, number };
        DataHeader {
            id,
            index,
            shards: 2,
            parity: 1,
            sequence: number + 1,
            ..DataHeader::default()
        }
    }

    #[test]
    fn frames_are_whole_with_any_shards_enough_and_partial_when_three_newer_ones_came() {
        let mut member = member();
        let now = Time::from_nanos(5_000_000);

        for (number, indices) in [
            (7, &[0, 0][..]),
            (8, &[0, 1, 2]),
            (9, &[2, 0]),
            (11, &[1, 0]),
            (12, &[0]),
        ] {
            indices
                .iter()
                .for_each(|index| member.shard(now, &shard(number, *index), 1200));
        }

        let seen = member.seen(now);
        assert_eq!((seen.whole, seen.partial, seen.expected), (3, 1, 5));
        assert_eq!(
            (seen.ages[0], member.newest_sequence),
            (Duration::from_millis(5), 13)
        );

        member.begin(now);
        member.shard(now, &shard(12, 1), 1200);
        let seen = member.seen(now);
        assert_eq!(
            (seen.whole, seen.expected),
            (0, 0),
            "it began before counting did"
        );
    }

    #[test]
    fn frames_that_no_shard_came_of_are_expected_all_the_same() {
        let ms = |ms: u64| Time::from_nanos(ms * 1_000_000);
        let mut member = member();
        member.begin(ms(0));
        assert_eq!(member.seen(ms(65)).expected, 5);
        (0..2).for_each(|index| member.shard(ms(65), &shard(7, index), 1200));
        assert_eq!(member.seen(ms(70)).expected, 6);
        assert_eq!(member.seen(ms(100)).expected, 8);
        assert!((member.seen(ms(100)).delivery() - 12.5).abs() < 1e-9);
    }
}
