//! Clients whose network carries TCP only.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;

use str0m::net::TcpType;

use super::*;

/// Connections from one network, and some more.
const CROWD: usize = 70;

/// A client that has no UDP.
struct TcpPeer {
    rtc: Rtc,
    stream: TcpStream,
    address: SocketAddr,
    relay: SocketAddr,
    /// What came of the next packet.
    came: Vec<u8>,
}

impl TcpPeer {
    fn join(relay: &Relay) -> Self {
        str0m::crypto::from_feature_flags().install_process_default();
        let mut rtc = Rtc::builder().build(now());
        let mut changes = rtc.sdp_api();
        changes.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
        let (offer, pending) = changes.apply().unwrap();
        let answer = relay.offer("cam", &offer.to_sdp_string());
        let Ok(WhepAnswer::Created { sdp, .. }) = answer else {
            panic!("{answer:?}");
        };
        assert!(sdp.contains(" tcptype passive"), "{sdp}");

        let relay = candidate(&sdp, "tcp");
        let stream = TcpStream::connect(relay).unwrap();
        let address = stream.local_addr().unwrap();
        let own = Candidate::builder().tcp().host(address);
        rtc.add_local_candidate(own.tcptype(TcpType::Active).build().unwrap());
        let answer = SdpAnswer::from_sdp_string(&sdp).unwrap();
        rtc.sdp_api().accept_answer(pending, answer).unwrap();
        Self {
            rtc,
            stream,
            address,
            relay,
            came: Vec::new(),
        }
    }

    /// Takes so many frames.
    fn watch(&mut self, frames: usize) {
        let (end, mut count) = (now() + SOON, 0);
        while count < frames {
            assert!(now() < end, "{count} frames within {SOON:?}");
            match self.rtc.poll_output().unwrap() {
                Output::Transmit(transmit) => {
                    assert_eq!(transmit.proto, Protocol::Tcp);
                    self.stream.write_all(&framed(&transmit.contents)).unwrap();
                }
                Output::Event(Event::MediaData(_)) => count += 1,
                Output::Event(_) => {}
                Output::Timeout(due) => {
                    let wait = due.saturating_duration_since(now());
                    self.take(wait.max(Duration::from_millis(1)));
                }
            }
        }
    }

    /// Takes the next packet, or lets `wait` pass without one.
    fn take(&mut self, wait: Duration) {
        let packet = self.whole().or_else(|| {
            self.read(wait);
            self.whole()
        });
        let input = match &packet {
            Some(packet) => {
                let receive = Receive::new(Protocol::Tcp, self.relay, self.address, packet);
                Input::Receive(now(), receive.unwrap())
            }
            None => Input::Timeout(now()),
        };
        self.rtc.handle_input(input).unwrap();
    }

    /// The next packet, when all of it has come.
    fn whole(&mut self) -> Option<Vec<u8>> {
        let (&[high, low], rest) = self.came.split_first_chunk()?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        let packet = rest.get(..length)?.to_vec();
        self.came.drain(..2 + length);
        Some(packet)
    }

    fn read(&mut self, wait: Duration) {
        let mut chunk = [0; 4096];
        self.stream.set_read_timeout(Some(wait)).unwrap();
        match self.stream.read(&mut chunk) {
            Ok(0) => panic!("the relay has closed the connection"),
            Ok(count) => self.came.extend(&chunk[..count]),
            // Nothing came.
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
        }
    }
}

/// A packet behind its length (RFC 4571).
fn framed(packet: &[u8]) -> Vec<u8> {
    let length = u16::try_from(packet.len()).unwrap();
    [&length.to_be_bytes(), packet].concat()
}

/// Whether the relay closes a connection that says this.
fn ends(relay: SocketAddr, said: &[u8]) -> bool {
    let mut stream = TcpStream::connect(relay).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(said).unwrap();
    match stream.read(&mut [0]) {
        Ok(count) => count == 0,
        // What it said was not all read.
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

#[test]
fn a_client_that_has_only_tcp_sees_the_stream() {
    let relay = Relay::start();
    let mut peer = TcpPeer::join(&relay);
    peer.watch(30);
    assert_eq!(relay.peers(), 1);
}

#[test]
fn what_comes_by_tcp_for_no_peer_ends_its_own_connection_only() {
    let relay = Relay::start();
    let mut peer = TcpPeer::join(&relay);
    peer.watch(1);
    let stun = framed(b"\0\x01\0\x08\x21\x12\xa4\x42............\0\x06\0\x04a:bc");
    let (silent, garbage) = (&b""[..], &b"GET / HTTP/1.1\r\n\r\n"[..]);
    let address = peer.relay;
    std::thread::scope(|scope| {
        for said in [&stun[..], b"\xff\xff", b"\0\x01", b"\0\0", garbage, silent] {
            scope.spawn(move || assert!(ends(address, said), "{said:?}"));
        }
    });
    peer.watch(10);
}

#[test]
fn connections_of_one_network_are_bounded_and_peers_of_others_go_on() {
    let relay = Relay::start();
    let mut peer = TcpPeer::join(&relay);
    peer.watch(1);
    let crowd: Vec<_> = (0..CROWD)
        .map(|_| TcpStream::connect(peer.relay).unwrap())
        .collect();
    until("some are refused", || {
        relay.table.refusals().of(Resource::Connections) > 0
    });
    peer.watch(10);
    drop(crowd);
}
