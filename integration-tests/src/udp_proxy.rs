//! A UDP proxy between a viewer and its relay that delays every datagram and loses some, tampers with them, or is cut. It
//! stands in for netem, which the kernels of test machines lack, and for somebody on the way.
//!
//! ```no_run
//! # use std::time::Duration;
//! # use fanlight_tests::udp_proxy::{UdpProxy, Impairment};
//! # let relay = "127.0.0.1:5004".parse().unwrap();
//! let proxy = UdpProxy::to(relay, Impairment { delay: Duration::from_millis(50), loss: 0.05, seed: 1 });
//! // … a viewer with `--relay {proxy.address()}`
//! ```

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_proto::clock::Time;
use fanlight_proto::limits::MAX_DATAGRAM;
use rustix::net::sockopt;

use crate::mutator::Mutator;
use crate::seeded::Random;
use crate::wait;

/// Datagrams held in one direction: a second of 30 Mbit/s and parity. More are dropped.
const MAX_UNDER_WAY: usize = 8192;

/// Asked for on each side: a frame with all its parity comes at once.
const SOCKET_BUFFER: usize = 4 << 20;

/// How often an idle thread checks whether the proxy has ended.
const LOOK: Duration = Duration::from_millis(100);

/// What the proxy does to each datagram, in both directions.
#[derive(Clone, Copy, Debug)]
pub struct Impairment {
    /// How long the proxy holds it.
    pub delay: Duration,
    /// The share that never arrives, 0 to 1, each datagram for itself.
    pub loss: f64,
    /// Decides which.
    pub seed: u64,
}

/// The proxy of one viewer to one relay. It ends when this is dropped.
#[derive(Debug)]
pub struct UdpProxy {
    address: SocketAddr,
    state: Arc<State>,
    threads: Vec<JoinHandle<()>>,
}

/// What the threads of a proxy look at.
#[derive(Debug, Default)]
struct State {
    closed: AtomicBool,
    cut: AtomicBool,
}

impl UdpProxy {
    /// Starts a proxy to `relay`, which listens on [`address`](Self::address).
    ///
    /// # Panics
    /// When the system has no sockets or threads to give.
    #[must_use]
    pub fn to(relay: SocketAddr, way: Impairment) -> Self {
        Self::start(relay, way, false)
    }

    /// One that alters, replays, drops and swaps fields of every fifth datagram, as a [`Mutator`] does.
    ///
    /// # Panics
    /// As [`to`](Self::to).
    #[must_use]
    pub fn tampering(relay: SocketAddr, seed: u64) -> Self {
        let way = Impairment {
            delay: Duration::ZERO,
            loss: 0.0,
            seed,
        };
        Self::start(relay, way, true)
    }

    fn start(relay: SocketAddr, way: Impairment, tampers: bool) -> Self {
        let front = socket((relay.ip(), 0).into());
        let back = socket((relay.ip(), 0).into());
        back.connect(relay).expect("a UDP socket can be connected");
        let address = front.local_addr().expect("a bound socket has an address");
        let front = Arc::new(front);
        let back = Arc::new(back);
        let state = Arc::new(State::default());
        let viewer = Arc::new(OnceLock::new());
        let mut threads = Vec::new();
        let mut direction = |from: &Arc<UdpSocket>, to: &Arc<UdpSocket>, seed, towards: Towards| {
            let (sender, receiver) = mpsc::sync_channel(MAX_UNDER_WAY);
            let from = Arc::clone(from);
            let to = Arc::clone(to);
            let state = Arc::clone(&state);
            let (learn, known) = match towards {
                Towards::Relay => (Some(Arc::clone(&viewer)), None),
                Towards::Viewer => (None, Some(Arc::clone(&viewer))),
            };

            let way = Impairment { seed, ..way };
            threads.push(thread::spawn(move || {
                let mutator = tampers.then(|| Mutator::new(way.seed));
                take_in(&from, &sender, way, mutator, (learn.as_deref(), &state));
            }));
            threads.push(thread::spawn(move || {
                let_out(&to, &receiver, known.as_deref());
            }));
        };

        direction(&front, &back, way.seed, Towards::Relay);
        direction(&back, &front, way.seed ^ u64::MAX, Towards::Viewer);
        Self {
            address,
            state,
            threads,
        }
    }

    /// Lets nothing pass from now on, or everything again.
    pub fn cut(&self, is_cut: bool) {
        self.state.cut.store(is_cut, Ordering::Relaxed);
    }

    /// Where the viewer finds the relay.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for UdpProxy {
    fn drop(&mut self) {
        self.state.closed.store(true, Ordering::Relaxed);
        self.threads
            .drain(..)
            .for_each(|thread| drop(thread.join()));
    }
}

#[derive(Clone, Copy)]
enum Towards {
    Relay,
    Viewer,
}

/// A datagram under way, and when it arrives.
type UnderWay = (Time, Vec<u8>);

fn socket(address: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind(address).expect("the system has a port");
    // The system may grant less.
    sockopt::set_socket_recv_buffer_size(&socket, SOCKET_BUFFER)
        .expect("a socket takes the option");
    sockopt::set_socket_send_buffer_size(&socket, SOCKET_BUFFER)
        .expect("a socket takes the option");
    socket
        .set_read_timeout(Some(LOOK))
        .expect("a socket can wait for a time");
    socket
}

/// Reads until the way is closed. The first who sends is the viewer.
fn take_in(
    from: &UdpSocket,
    sender: &SyncSender<UnderWay>,
    way: Impairment,
    mut mutator: Option<Mutator>,
    (viewer, state): (Option<&OnceLock<SocketAddr>>, &State),
) {
    let mut random = Random::new(way.seed);
    let mut buffer = [0; MAX_DATAGRAM];

    while !state.closed.load(Ordering::Relaxed) {
        let (length, peer) = match from.recv_from(&mut buffer) {
            Ok(received) => received,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                continue;
            }

            // The relay is away for a moment: its host says so for former datagrams.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => continue,
            Err(error) => panic!("the way cannot be read: {error}"),
        };

        if let Some(viewer) = viewer {
            viewer.get_or_init(|| peer);
        }

        if state.cut.load(Ordering::Relaxed) || random.chance(way.loss) {
            continue;
        }

        let datagram = buffer[..length].to_vec();
        let passed = match &mut mutator {
            Some(mutator) => mutator.pass(datagram),
            None => vec![datagram],
        };
        for datagram in passed {
            // When too many are under way it is lost.
            let _ = sender.try_send((clock::now() + way.delay, datagram));
        }
    }
}

/// Sends what is due until nobody takes in any more.
fn let_out(to: &UdpSocket, receiver: &Receiver<UnderWay>, viewer: Option<&OnceLock<SocketAddr>>) {
    for (due, datagram) in receiver {
        wait::pause(due.saturating_since(clock::now()));
        // What cannot be sent is lost.
        let _ = match viewer {
            None => to.send(&datagram),
            Some(viewer) => viewer
                .get()
                .map_or(Ok(0), |viewer| to.send_to(&datagram, viewer)),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_take_their_time_and_some_are_lost() {
        let relay = socket("127.0.0.1:0".parse().expect("an address"));
        let delay = Duration::from_millis(10);
        let proxy = UdpProxy::to(
            relay.local_addr().expect("bound"),
            Impairment {
                delay,
                loss: 0.2,
                seed: 3,
            },
        );

        let viewer = socket("127.0.0.1:0".parse().expect("an address"));
        let mut buffer = [0; MAX_DATAGRAM];
        let mut arrived = 0;

        for number in 0..40_u8 {
            let sent = clock::now();
            viewer
                .send_to(&[number], proxy.address())
                .expect("loopback takes it");
            let Ok((_, from)) = relay.recv_from(&mut buffer) else {
                continue;
            };

            assert_eq!(buffer[0], number);
            assert!(clock::now().saturating_since(sent) >= delay);
            relay
                .send_to(&[number, 1], from)
                .expect("loopback takes it");
            let Ok((length, _)) = viewer.recv_from(&mut buffer) else {
                continue;
            };

            assert_eq!(buffer[..length], [number, 1]);
            assert!(clock::now().saturating_since(sent) >= 2 * delay);
            arrived += 1;
        }

        assert!(
            (15..38).contains(&arrived),
            "{arrived} of 40 made both ways"
        );
    }
}
