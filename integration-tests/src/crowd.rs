//! Many viewers in one thread, so that the relay is what a test of load wears out: they join, keep their sessions, send
//! reports, and look at the headers of what comes, never at a picture.

use std::collections::VecDeque;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_proto::clock::Time;
use fanlight_proto::datagram::{DataHeader, ToRelay, ToViewer};
use fanlight_proto::limits::{KEEP_ALIVE_INTERVAL, MAX_DATAGRAM, MAX_OPEN_FRAMES};
use fanlight_proto::message::{FrameId, Join, KeepAlive, Report};
use rustix::net::sockopt;

use crate::stranger::join;
use crate::wait::{pause, until};

/// Of a socket's memory, what the kernel charges a datagram of ours.
const CHARGED_PER_DATAGRAM: usize = 2304;

/// Datagrams taken from one member's socket before the others have their turn.
const TURN: usize = 256;

/// When nothing has come, the thread rests so long; ages are measured as well as that.
const REST: Duration = Duration::from_micros(300);

/// Every so many keep-alives bring a report.
const REPORT_EVERY: u64 = 4;

/// What one member has seen since it joined, or since [`Crowd::begin`].
#[derive(Clone, Default)]
pub struct Seen {
    /// Frames that came whole.
    pub whole: u64,
    /// Frames that came in part.
    pub partial: u64,
    /// Frames that the stream had meanwhile.
    pub expected: u64,
    /// Datagrams that came.
    pub datagrams: u64,
    /// Of each whole frame, the time from the relay's taking it to its last shard.
    pub ages: Vec<Duration>,
    /// From the first JOIN to ACCEPT, when there is a session.
    pub joined_after: Option<Duration>,
    /// From the first JOIN to the first whole frame ever.
    pub first_whole_after: Option<Duration>,
    /// Sessions had.
    pub joins: u64,
    /// How often the relay refused.
    pub refusals: u64,
}

impl Seen {
    /// Of a hundred frames, how many came whole.
    #[must_use]
    pub fn delivery(&self) -> f64 {
        100.0 * self.whole as f64 / self.expected.max(1) as f64
    }
}

impl fmt::Debug for Seen {
    /// Without the ages, which are many.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { whole, partial, expected, joins, refusals, .. } = self;
        write!(f, "{whole} of {expected} frames, {partial} in part, {joins} joins, {refusals} refusals")
    }
}

/// The age that so many of a hundred whole frames of these members do not exceed; none when no frame was whole.
#[must_use]
pub fn age_percentile(seen: &[Seen], hundredths: usize) -> Option<Duration> {
    let mut ages: Vec<Duration> = seen.iter().flat_map(|seen| seen.ages.iter().copied()).collect();
    ages.sort_unstable();
    ages.get(ages.len() * hundredths / 100).or(ages.last()).copied()
}

/// How evenly whole frames came to these members, by Jain's index: 1 when all got the same, 1/n when one got all.
#[must_use]
pub fn fairness(seen: &[Seen]) -> f64 {
    let counts = || seen.iter().map(|seen| seen.whole as f64);
    let squares: f64 = counts().map(|count| count * count).sum();
    counts().sum::<f64>().powi(2) / (seen.len() as f64 * squares.max(1.0))
}

/// A socket for a member, on the host that the calling thread is on. It holds as many bytes as asked, whatever the
/// system allows, when this process has the right; `None` leaves the kernel's default.
///
/// # Panics
/// When there is no socket to be had.
#[must_use]
pub fn socket(receive_buffer: Option<usize>) -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("there is a free port");
    socket.set_nonblocking(true).expect("a socket can be made non-blocking");
    if let Some(bytes) = receive_buffer {
        let forced = sockopt::set_socket_recv_buffer_size_force(&socket, bytes);
        forced.or_else(|_| sockopt::set_socket_recv_buffer_size(&socket, bytes)).expect("the kernel takes any size");
    }
    socket
}

/// Viewers of one stream at one relay. They leave with this value.
#[derive(Debug)]
pub struct Crowd {
    members: Arc<Mutex<Vec<Member>>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Crowd {
    /// Lets a viewer join `stream` at `relay` from each of `sockets`, which come from [`socket()`]. The stream has a frame
    /// every `interval`: that tells how many were sent when none comes.
    #[must_use]
    pub fn join(sockets: Vec<UdpSocket>, relay: SocketAddr, stream: &str, interval: Duration) -> Self {
        Self::start(sockets, relay, stream, interval, true)
    }

    /// As [`join`](Self::join), but once in they read nothing any more, though they say that they are there.
    #[must_use]
    pub fn join_and_read_nothing(sockets: Vec<UdpSocket>, relay: SocketAddr, stream: &str) -> Self {
        Self::start(sockets, relay, stream, Duration::MAX, false)
    }

    fn start(sockets: Vec<UdpSocket>, relay: SocketAddr, stream: &str, interval: Duration, reads: bool) -> Self {
        let now = clock::now();
        let member = |socket| Member { reads, interval, ..Member::new(socket, relay, stream, now) };
        let members = sockets.into_iter().map(member).collect();
        let members = Arc::new(Mutex::new(members));
        let over = Arc::new(AtomicBool::new(false));
        let (shared, end) = (Arc::clone(&members), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                let came = lock(&shared).iter_mut().fold(false, |came, member| member.turn() || came);
                // Also under load: whoever looks at the members gets the lock then.
                if came { std::thread::yield_now() } else { pause(REST) }
            }
            lock(&shared).iter_mut().for_each(Member::leave);
        });
        Self { members, over, thread: Some(thread) }
    }

    /// Waits until every member has a session.
    ///
    /// # Panics
    /// When one has none within `limit`.
    #[track_caller]
    pub fn wait_joined(&self, limit: Duration) {
        until("everybody is let in", limit, || {
            self.seen().iter().all(|seen| seen.joined_after.is_some()).then_some(())
        });
    }

    /// Waits until every member has had a whole frame.
    ///
    /// # Panics
    /// When one has had none within `limit`.
    #[track_caller]
    pub fn wait_served(&self, limit: Duration) {
        let served = |seen: &Seen| seen.first_whole_after.is_some();
        until("everybody gets a frame", limit, || self.seen().iter().all(served).then_some(()));
    }

    /// Counts frames and ages from now on.
    pub fn begin(&self) {
        let now = clock::now();
        lock(&self.members).iter_mut().for_each(|member| member.begin(now));
    }

    /// What each member has seen.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        let now = clock::now();
        lock(&self.members).iter().map(|member| member.seen(now)).collect()
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // It has panicked only if its test has, or will on looking at the members.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn lock(members: &Mutex<Vec<Member>>) -> MutexGuard<'_, Vec<Member>> {
    members.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct Member {
    socket: UdpSocket,
    relay: SocketAddr,
    reads: bool,
    join: Join,
    session: Option<u64>,
    began: Time,
    speak_at: Time,
    spoken: u64,
    open: VecDeque<Open>,
    interval: Duration,
    /// Since when is counted.
    begun: Time,
    /// The first frame that is counted, once it has been seen, and how many were missed before it.
    first: Option<u64>,
    missed_before: u64,
    newest_sequence: u64,
    seen: Seen,
    report: Report,
}

/// A frame that shards have come of.
#[derive(Debug)]
struct Open {
    id: FrameId,
    since: Time,
    shards: u16,
    here: Vec<u64>,
    count: u16,
}

impl Member {
    fn new(socket: UdpSocket, relay: SocketAddr, stream: &str, now: Time) -> Self {
        let held = sockopt::socket_recv_buffer_size(&socket).expect("a socket has a buffer") / CHARGED_PER_DATAGRAM;
        let join = Join { receive_capacity: u32::try_from(held).unwrap_or(u32::MAX), ..join(stream) };
        Self {
            socket,
            relay,
            reads: true,
            join,
            session: None,
            began: now,
            speak_at: now,
            spoken: 0,
            open: VecDeque::new(),
            interval: Duration::MAX,
            begun: now,
            first: None,
            missed_before: 0,
            newest_sequence: 0,
            seen: Seen::default(),
            report: Report::default(),
        }
    }

    fn begin(&mut self, now: Time) {
        let Seen { joined_after, first_whole_after, joins, refusals, .. } = self.seen;
        self.seen = Seen { joined_after, first_whole_after, joins, refusals, ..Seen::default() };
        (self.begun, self.first, self.missed_before) = (now, None, 0);
    }

    fn seen(&self, now: Time) -> Seen {
        let expected = match (self.first, self.open.back()) {
            (Some(first), Some(newest)) => {
                let reach = newest.id.number + u64::from(newest.is_whole());
                self.missed_before + reach.saturating_sub(first) + self.missed(newest.since, now)
            }
            _ => self.missed(self.begun, now),
        };
        Seen { expected, ..self.seen.clone() }
    }

    /// Frames that must have been sent since one was seen, and were not; one more may just be on its way.
    fn missed(&self, since: Time, now: Time) -> u64 {
        let frames = now.saturating_since(since).as_secs_f64() / self.interval.as_secs_f64();
        (frames as u64).saturating_sub(1)
    }

    /// Takes what has come and says what is due; whether anything has come.
    fn turn(&mut self) -> bool {
        let mut buffer = [0; MAX_DATAGRAM];
        let now = clock::now();
        let mut came = false;
        if self.reads || self.session.is_none() {
            for _ in 0..TURN {
                // Refusals of the network are silence.
                let Ok(length) = self.socket.recv(&mut buffer) else { break };
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
            Ok(ToViewer::Challenge(challenge)) if challenge.nonce == self.join.nonce && self.session.is_none() => {
                self.join.token = challenge.token;
                self.speak_at = now;
            }
            Ok(ToViewer::Accept(accept)) if accept.nonce == self.join.nonce && self.session.is_none() => {
                self.session = Some(accept.session);
                self.seen.joins += 1;
                self.seen.joined_after.get_or_insert(now.saturating_since(self.began));
            }
            Ok(ToViewer::Refuse(refuse)) if refuse.nonce == self.join.nonce => {
                self.seen.refusals += 1;
                self.speak_at = now + Duration::from_millis(refuse.retry_after_ms.into()).max(KEEP_ALIVE_INTERVAL);
            }
            Ok(ToViewer::Reset(session)) if Some(session) == self.session => self.rejoin(now),
            Ok(ToViewer::Goodbye(session, _)) if Some(session) == self.session => self.rejoin(now),
            _ => {}
        }
    }

    fn rejoin(&mut self, now: Time) {
        let fresh = join(&self.join.stream);
        self.join = Join { receive_capacity: self.join.receive_capacity, ..fresh };
        (self.session, self.speak_at, self.report) = (None, now, Report::default());
    }

    fn speak(&mut self, now: Time) {
        let Some(session) = self.session else { return self.say(&ToRelay::Join(self.join.clone())) };
        self.spoken += 1;
        let report = self.spoken.is_multiple_of(REPORT_EVERY).then(|| self.report.clone());
        let keep_alive = KeepAlive {
            sent_us: now.as_nanos() / 1000,
            report,
            newest_sequence: self.newest_sequence,
            ..KeepAlive::default()
        };
        self.say(&ToRelay::KeepAlive(session, keep_alive));
    }

    fn leave(&mut self) {
        if let Some(session) = self.session {
            self.say(&ToRelay::Goodbye(session, Default::default()));
        }
    }

    fn say(&self, message: &ToRelay<'_>) {
        let mut datagram = Vec::new();
        message.encode(&mut datagram);
        // What does not go out is lost, as datagrams are.
        let _ = self.socket.send_to(&datagram, self.relay);
    }

    fn shard(&mut self, now: Time, header: &DataHeader, bytes: usize) {
        self.seen.datagrams += 1;
        self.report.datagrams += 1;
        self.report.bytes += bytes as u64;
        self.newest_sequence = self.newest_sequence.max(header.sequence);
        let Some(open) = self.frame(now, header) else { return };
        if !open.add(header.index) {
            return;
        }
        self.seen.whole += 1;
        self.report.frames_whole += 1;
        self.report.frames_shown += 1;
        let age = (now.as_nanos() / 1000) as u32;
        self.seen.ages.push(Duration::from_micros(age.wrapping_sub(header.received_us).into()));
        self.seen.first_whole_after.get_or_insert(now.saturating_since(self.began));
    }

    /// The frame of a shard, unless it has been given up.
    fn frame(&mut self, now: Time, header: &DataHeader) -> Option<&mut Open> {
        let newest = self.open.back().filter(|open| open.id.epoch == header.id.epoch).map(|open| open.id.number);
        if newest.is_none_or(|newest| header.id.number > newest) {
            if self.open.len() == MAX_OPEN_FRAMES {
                self.close();
            }
            if self.first.is_none() {
                (self.first, self.missed_before) = (Some(header.id.number), self.missed(self.begun, now));
            }
            self.open.push_back(Open::new(now, header));
        }
        let counted = self.first.is_some_and(|first| header.id.number >= first);
        self.open.iter_mut().find(|open| open.id == header.id).filter(|_| counted)
    }

    fn close(&mut self) {
        let Some(open) = self.open.pop_front() else { return };
        self.report.shards_expected += u64::from(open.shards);
        self.report.shards_missed += u64::from(open.shards.saturating_sub(open.count));
        if !open.is_whole() {
            self.report.frames_lost += 1;
            self.report.frames_unrecovered += 1;
            self.seen.partial += u64::from(self.first.is_some_and(|first| open.id.number >= first));
        }
    }
}

impl Open {
    fn new(now: Time, header: &DataHeader) -> Self {
        let all = usize::from(header.shards + header.parity);
        Self { id: header.id, since: now, shards: header.shards, here: vec![0; all.div_ceil(64)], count: 0 }
    }

    /// Notes a shard; whether the frame has become whole by it: any of its shards and of their parity do, as many as it
    /// has shards.
    fn add(&mut self, index: u16) -> bool {
        let (word, bit) = (usize::from(index) / 64, 1 << (index % 64));
        let Some(word) = self.here.get_mut(word).filter(|word| **word & bit == 0) else { return false };
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
    use super::*;

    fn member() -> Member {
        Member::new(socket(None), (Ipv4Addr::LOCALHOST, 9).into(), "cam", Time::from_nanos(0))
    }

    fn shard(number: u64, index: u16) -> DataHeader {
        let id = FrameId { epoch: 1, number };
        DataHeader { id, index, shards: 2, parity: 1, sequence: number + 1, ..DataHeader::default() }
    }

    #[test]
    fn frames_are_whole_with_any_shards_enough_and_partial_when_three_newer_ones_came() {
        let mut member = member();
        let now = Time::from_nanos(5_000_000);
        for (number, indices) in [(7, &[0, 0][..]), (8, &[0, 1, 2]), (9, &[2, 0]), (11, &[1, 0]), (12, &[0])] {
            indices.iter().for_each(|index| member.shard(now, &shard(number, *index), 1200));
        }
        let seen = member.seen(now);
        assert_eq!((seen.whole, seen.partial, seen.expected), (3, 1, 5));
        assert_eq!((seen.ages[0], member.newest_sequence), (Duration::from_millis(5), 13));
        member.begin(now);
        member.shard(now, &shard(12, 1), 1200);
        let seen = member.seen(now);
        assert_eq!((seen.whole, seen.expected), (0, 0), "it began before counting did");
    }

    #[test]
    fn frames_that_no_shard_came_of_are_expected_all_the_same() {
        let ms = |ms| Time::from_nanos(ms * 1_000_000);
        let mut member = Member { interval: Duration::from_millis(10), ..member() };
        member.begin(ms(0));
        assert_eq!(member.seen(ms(65)).expected, 5);
        [0, 1].map(|index| member.shard(ms(65), &shard(7, index), 1200));
        assert_eq!(member.seen(ms(70)).expected, 6);
        assert_eq!(member.seen(ms(100)).expected, 8);
        assert!((member.seen(ms(100)).delivery() - 12.5).abs() < 1e-9);
    }

    #[test]
    fn fairness_is_one_when_all_get_the_same_and_small_when_one_gets_all() {
        let seen = |whole| Seen { whole, ..Seen::default() };
        assert!((fairness(&[seen(5), seen(5)]) - 1.0).abs() < 1e-9);
        assert!((fairness(&[seen(5), seen(0), seen(0), seen(0)]) - 0.25).abs() < 1e-9);
    }
}
