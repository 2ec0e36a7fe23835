//! A client on the relay's UDP port that sends any datagram, and counts what it sent and what came back.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use fanlight_proto::datagram::{ToRelay, ToViewer, VERSION};
use fanlight_proto::message::{Accept, Join};

use crate::wait::{Deadline, SOON};

/// Between two tries of a handshake.
const RETRY: Duration = Duration::from_millis(200);

/// A socket of its own, connected to a relay.
#[derive(Debug)]
pub struct RawClient {
    socket: UdpSocket,
    /// Datagrams and bytes sent.
    pub sent: Traffic,
    /// Datagrams and bytes that came back.
    pub received: Traffic,
}

/// Datagrams and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// How many.
    pub datagrams: u64,
    /// Their payloads together.
    pub bytes: u64,
}

impl Traffic {
    fn add(&mut self, bytes: usize) {
        self.datagrams += 1;
        self.bytes += bytes as u64;
    }
}

impl RawClient {
    /// A socket that talks to `relay`.
    ///
    /// # Panics
    /// When there is no socket to be had.
    #[must_use]
    pub fn to(relay: SocketAddr) -> Self {
        Self::between(Ipv4Addr::UNSPECIFIED, relay)
    }

    /// A socket at the address `own` that talks to `relay`.
    ///
    /// # Panics
    /// When there is no socket to be had.
    #[must_use]
    pub fn between(own: Ipv4Addr, relay: SocketAddr) -> Self {
        let socket = UdpSocket::bind((own, 0)).expect("there is a free port");
        socket.connect(relay).expect("the address can be reached");
        Self {
            socket,
            sent: Traffic::default(),
            received: Traffic::default(),
        }
    }

    /// Sends `bytes`.
    pub fn send(&mut self, bytes: &[u8]) {
        // Refused when the relay is away at present: lost, as datagrams are.
        if self.socket.send(bytes).is_ok() {
            self.sent.add(bytes.len());
        }
    }

    /// Sends `message`.
    pub fn say(&mut self, message: &ToRelay<'_>) {
        let mut datagram = Vec::new();
        message.encode(&mut datagram);
        self.send(&datagram);
    }

    /// The next datagram that comes within `limit`; with a zero limit, the next that has come.
    ///
    /// # Panics
    /// When the socket fails otherwise than by silence or a refusal.
    pub fn receive(&mut self, limit: Duration) -> Option<Vec<u8>> {
        self.socket
            .set_nonblocking(limit.is_zero())
            .expect("a socket has both modes");
        self.socket
            .set_read_timeout(Some(limit).filter(|limit| !limit.is_zero()))
            .expect("the time is not zero");
        let mut buffer = vec![0; 65_536];
        match self.socket.recv(&mut buffer) {
            Ok(length) => {
                self.received.add(length);
                buffer.truncate(length);
                Some(buffer)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                None
            }
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => None,
            Err(error) => panic!("receiving from the relay: {error}"),
        }
    }

    /// Takes everything that comes until nothing has come for `quiet`.
    pub fn drain(&mut self, quiet: Duration) {
        while self.receive(quiet).is_some() {}
    }

    /// Goes through the whole handshake for `stream`.
    ///
    /// # Panics
    /// When no session comes of it within [`SOON`].
    #[track_caller]
    pub fn join(&mut self, stream: &str) -> Accept {
        self.join_as(stream, "")
    }

    /// The same, with a name for its screen.
    ///
    /// # Panics
    /// When no session comes of it within [`SOON`].
    #[track_caller]
    pub fn join_as(&mut self, stream: &str, name: &str) -> Accept {
        self.join_with(Join {
            name: name.to_owned(),
            ..join(stream)
        })
    }

    /// The same, for a JOIN of any kind without a handshake.
    ///
    /// # Panics
    /// When no session comes of it within [`SOON`].
    #[track_caller]
    pub fn join_with(&mut self, mut join: Join) -> Accept {
        let deadline = Deadline::after(SOON);
        while !deadline.is_over() {
            self.say(&ToRelay::Join(join.clone()));
            let Some(answer) = self.receive(RETRY) else {
                continue;
            };

            match ToViewer::parse(&answer) {
                Ok(ToViewer::Challenge(challenge)) if challenge.nonce == join.nonce => {
                    join.token = challenge.token;
                }
                Ok(ToViewer::Accept(accept)) if accept.nonce == join.nonce => return accept,
                _ => {}
            }
        }

        panic!("no session within {SOON:?}");
    }
}

/// A JOIN without token.
#[must_use]
pub fn join(stream: &str) -> Join {
    Join {
        version: VERSION,
        nonce: fanlight_daemon::clock::random_u64(),
        stream: stream.into(),
        ..Join::default()
    }
}
