//! Many viewers in one thread, so that a load test is limited by the relay and not by its viewers. They join, keep their
//! sessions, send reports and read the headers of datagrams; they never decode a picture.

mod light_viewer;
mod stats;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use fanlight_daemon::clock;
use rustix::net::sockopt;

pub use stats::{ViewerStats, age_percentile, fairness};

use crate::wait::{pause, until};
use light_viewer::{Conduct, LightViewer};

/// When nothing has come, the thread rests so long; ages are measured as well as that.
const REST: Duration = Duration::from_micros(300);

/// A socket for a member, on the host that the calling thread is on. It holds as many bytes as asked, whatever the
/// system allows, when this process has the right; `None` leaves the kernel's default.
///
/// # Panics
/// When there is no socket to be had.
#[must_use]
pub fn socket(receive_buffer: Option<usize>) -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("there is a free port");
    socket
        .set_nonblocking(true)
        .expect("a socket can be made non-blocking");
    if let Some(bytes) = receive_buffer {
        let forced = sockopt::set_socket_recv_buffer_size_force(&socket, bytes);
        forced
            .or_else(|_| sockopt::set_socket_recv_buffer_size(&socket, bytes))
            .expect("the kernel takes any size");
    }

    socket
}

/// Viewers of one stream at one relay. They leave with this value.
#[derive(Debug)]
pub struct LightViewers {
    members: Arc<Mutex<Vec<LightViewer>>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl LightViewers {
    /// Lets a viewer join `stream` at `relay` from each of `sockets`, which come from [`socket()`]. The stream has a frame
    /// every `interval`: that tells how many were sent when none comes.
    #[must_use]
    pub fn join(
        sockets: Vec<UdpSocket>,
        relay: SocketAddr,
        stream: &str,
        interval: Duration,
    ) -> Self {
        let each = sockets
            .into_iter()
            .map(|socket| (socket, stream.to_owned()));
        Self::start(each, relay, interval, true)
    }

    /// Lets a viewer join a stream from each socket, as [`join`](Self::join).
    #[must_use]
    pub fn join_each(
        each: Vec<(UdpSocket, String)>,
        relay: SocketAddr,
        interval: Duration,
    ) -> Self {
        Self::start(each.into_iter(), relay, interval, true)
    }

    /// As [`join`](Self::join), but once in they read nothing any more, though they say that they are there.
    #[must_use]
    pub fn join_and_read_nothing(sockets: Vec<UdpSocket>, relay: SocketAddr, stream: &str) -> Self {
        let each = sockets
            .into_iter()
            .map(|socket| (socket, stream.to_owned()));
        Self::start(each, relay, Duration::MAX, false)
    }

    fn start(
        each: impl Iterator<Item = (UdpSocket, String)>,
        relay: SocketAddr,
        interval: Duration,
        reads: bool,
    ) -> Self {
        let now = clock::now();
        let conduct = Conduct {
            relay,
            reads,
            interval,
        };

        let members = each
            .map(|(socket, stream)| LightViewer::new(socket, conduct, &stream, now))
            .collect();

        let members = Arc::new(Mutex::new(members));
        let over = Arc::new(AtomicBool::new(false));
        let shared = Arc::clone(&members);
        let end = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                let came = lock(&shared)
                    .iter_mut()
                    .filter_map(|member| member.turn().then_some(()))
                    .count()
                    > 0;

                // Also under load: whoever looks at the members gets the lock then.
                if came {
                    std::thread::yield_now();
                } else {
                    pause(REST);
                }
            }

            lock(&shared).iter_mut().for_each(LightViewer::leave);
        });

        Self {
            members,
            over,
            thread: Some(thread),
        }
    }

    /// Waits until every member has a session.
    ///
    /// # Panics
    /// When one has none within `limit`.
    #[track_caller]
    pub fn wait_joined(&self, limit: Duration) {
        until("everybody is let in", limit, || {
            self.seen()
                .iter()
                .all(|seen| seen.joined_after.is_some())
                .then_some(())
        });
    }

    /// Waits until every member has had a whole frame.
    ///
    /// # Panics
    /// When one has had none within `limit`.
    #[track_caller]
    pub fn wait_served(&self, limit: Duration) {
        let served = |seen: &ViewerStats| seen.first_whole_after.is_some();
        until("everybody gets a frame", limit, || {
            self.seen().iter().all(served).then_some(())
        });
    }

    /// Counts frames and ages from now on.
    pub fn begin(&self) {
        let now = clock::now();
        lock(&self.members)
            .iter_mut()
            .for_each(|member| member.begin(now));
    }

    /// What each member has seen.
    #[must_use]
    pub fn seen(&self) -> Vec<ViewerStats> {
        let now = clock::now();
        lock(&self.members)
            .iter()
            .map(|member| member.seen(now))
            .collect()
    }
}

impl Drop for LightViewers {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // It has panicked only if its test has, or will on looking at the members.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn lock(members: &Mutex<Vec<LightViewer>>) -> MutexGuard<'_, Vec<LightViewer>> {
    members.lock().unwrap_or_else(PoisonError::into_inner)
}
