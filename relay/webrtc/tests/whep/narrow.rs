//! Peers behind links that carry less than the whole picture needs.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{Peer, Relay, now, size};

/// What a camera shows, and half of it.
const SIZE: (usize, usize) = (1280, 720);
const HALF: (usize, usize) = (640, 360);

/// The longest that a datagram waits before the link; then it is lost.
const QUEUE: Duration = Duration::from_millis(500);

/// Different pictures that a camera shows one after the other.
const PICTURES: u64 = 8;

/// A link that carries so many kilobits a second.
pub(crate) struct Link {
    kilobits: u64,
    free_at: Instant,
    queue: VecDeque<(Instant, SocketAddr, Vec<u8>)>,
}

impl Link {
    fn new(kilobits: u64) -> Self {
        Self {
            kilobits,
            free_at: now(),
            queue: VecDeque::new(),
        }
    }

    /// A datagram has come to its beginning.
    pub(crate) fn put(&mut self, datagram: &[u8], from: SocketAddr) {
        let start = self.free_at.max(now());
        if start - now() < QUEUE {
            let bits = 8 * datagram.len() as u64;
            self.free_at = start + Duration::from_micros(bits * 1_000 / self.kilobits);
            self.queue
                .push_back((self.free_at, from, datagram.to_vec()));
        }
    }

    /// The datagram that has come to its end.
    pub(crate) fn take(&mut self, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
        self.queue.front().filter(|(at, ..)| *at <= now())?;
        let (_, from, datagram) = self.queue.pop_front()?;
        buffer[..datagram.len()].copy_from_slice(&datagram);
        Some((datagram.len(), from))
    }

    /// When the next one does.
    pub(crate) fn next_in(&self) -> Duration {
        let next = self
            .queue
            .front()
            .map(|(at, ..)| at.saturating_duration_since(now()));
        next.unwrap_or(QUEUE)
    }
}

/// A picture of noise: 107 kB.
fn noise(number: u64) -> Vec<u8> {
    let mut state = number + 1;
    let pixels: Vec<u8> = (0..SIZE.0 * SIZE.1)
        .flat_map(|at| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let (x, y, noise) = (at % SIZE.0, at / SIZE.0, (state >> 33) as usize % 24);
            [x * 200 / SIZE.0 + noise, y * 200 / SIZE.1 + noise, noise].map(|value| value as u8)
        })
        .collect();
    let image = turbojpeg::Image {
        pixels: pixels.as_slice(),
        width: SIZE.0,
        pitch: SIZE.0 * 3,
        height: SIZE.1,
        format: turbojpeg::PixelFormat::RGB,
    };
    let jpeg = turbojpeg::compress(image, 80, turbojpeg::Subsamp::Sub2x2).unwrap();
    jpeg.to_vec()
}

/// A relay whose camera shows noise, and a peer behind a link.
fn behind(kilobits: u64) -> (Relay, Peer) {
    let pictures: Vec<_> = (0..PICTURES).map(noise).collect();
    let picture = move |number: u64| pictures[(number % PICTURES) as usize].clone();
    let relay = Relay::showing(SIZE, picture);
    let mut peer = Peer::join(&relay);
    peer.link = Some(Link::new(kilobits));
    (relay, peer)
}

#[test]
fn a_peer_behind_450_kbit_a_second_gets_half_of_the_picture_and_goes_on() {
    let (_relay, mut peer) = behind(450);
    peer.watch(|frame| size(frame) == Some(HALF));
    let mut frames = 0;
    peer.watch(|_| {
        frames += 1;
        frames == 5
    });
}
