//! Receivers that cost as little as they can: one thread for all of them, which looks at headers and counts whole frames.
//! Each kind of sender has its kind of receiver; of those that carry the time in the picture, or before it, the age of a
//! frame is the time from its being taken to its last byte's being here.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fanlight_daemon::{Shutdown, clock};
use fanlight_proto::clock::Time;
use fanlight_tests::light_viewers;

use crate::place::Place;

mod fanlight;
mod http;
mod rtp;

/// What a receiver's socket holds: several frames.
const RECEIVE_BUFFER: usize = 4 << 20;

/// What one receiver has got, seen from outside.
#[derive(Debug, Default)]
pub(crate) struct Seat {
    whole: AtomicU64,
    ages: Mutex<Vec<Duration>>,
}

impl Seat {
    /// Notes a frame that has just become whole, and when it was taken, if that is known.
    fn note(&self, taken: Option<Time>) {
        self.whole.fetch_add(1, Ordering::Relaxed);
        if let Some(taken) = taken {
            let age = clock::now().saturating_since(taken);
            self.ages
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(age);
        }
    }
}

type Receiver = Pin<Box<dyn Future<Output = io::Result<()>>>>;

/// Sockets that wait for RTP.
pub(crate) struct Ears(Vec<UdpSocket>);

impl Ears {
    pub(crate) fn open(place: &Place, count: usize) -> Self {
        Self(place.at_receivers(|| {
            (0..count)
                .map(|_| light_viewers::socket(Some(RECEIVE_BUFFER)))
                .collect()
        }))
    }

    /// Where they listen.
    pub(crate) fn ports(&self) -> io::Result<Vec<u16>> {
        self.0
            .iter()
            .map(|socket| Ok(socket.local_addr()?.port()))
            .collect()
    }
}

/// Receivers at work, until this value is dropped.
pub(crate) struct Audience {
    seats: Vec<Arc<Seat>>,
    shutdown: Shutdown,
    thread: Option<JoinHandle<()>>,
}

impl Audience {
    /// So many clients of the HTTP server at `server`, who ask for `path`.
    pub(crate) fn http(
        place: &Place,
        count: usize,
        server: SocketAddr,
        path: &'static str,
    ) -> io::Result<Self> {
        let streams: io::Result<Vec<TcpStream>> =
            place.at_receivers(|| (0..count).map(|_| TcpStream::connect(server)).collect());
        Self::start(streams?, move |stream, seat| {
            Box::pin(http::receive(stream, path, seat))
        })
    }

    /// Those who listen at `ears`.
    pub(crate) fn rtp(ears: Ears) -> io::Result<Self> {
        Self::start(ears.0, |socket, seat| Box::pin(rtp::receive(socket, seat)))
    }

    /// So many viewers of the relay at `relay`.
    pub(crate) fn fanlight(place: &Place, count: usize, relay: SocketAddr) -> io::Result<Self> {
        Self::start(Ears::open(place, count).0, move |socket, seat| {
            Box::pin(fanlight::receive(socket, relay, seat))
        })
    }

    fn start<S: Send + 'static>(
        sockets: Vec<S>,
        receiver: impl Fn(S, Arc<Seat>) -> Receiver + Send + 'static,
    ) -> io::Result<Self> {
        let seats: Vec<Arc<Seat>> = sockets.iter().map(|_| Arc::default()).collect();
        let taken = seats.clone();
        let shutdown = Shutdown::new();
        let over = shutdown.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let thread = thread::Builder::new()
            .name("audience".to_owned())
            .spawn(move || {
                let local = tokio::task::LocalSet::new();
                for (socket, seat) in sockets.into_iter().zip(taken) {
                    let receiving = receiver(socket, seat);
                    local.spawn_local(async move {
                        if let Err(error) = receiving.await {
                            eprintln!("a receiver: {error}");
                        }
                    });
                }

                local.block_on(&runtime, over.wait());
            })?;

        Ok(Self {
            seats,
            shutdown,
            thread: Some(thread),
        })
    }

    /// Whole frames that all have got together.
    pub(crate) fn whole(&self) -> u64 {
        self.each().sum()
    }

    /// The fewest whole frames that one has got.
    pub(crate) fn fewest(&self) -> u64 {
        self.each().min().unwrap_or(0)
    }

    fn each(&self) -> impl Iterator<Item = u64> {
        self.seats
            .iter()
            .map(|seat| seat.whole.load(Ordering::Relaxed))
    }

    /// The ages since the last look, sorted.
    pub(crate) fn ages(&self) -> Vec<Duration> {
        let ages = self.seats.iter().map(|seat| {
            std::mem::take(&mut *seat.ages.lock().unwrap_or_else(PoisonError::into_inner))
        });

        let mut ages: Vec<Duration> = ages.flatten().collect();
        ages.sort_unstable();
        ages
    }
}

impl Drop for Audience {
    fn drop(&mut self) {
        self.shutdown.trigger();
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
