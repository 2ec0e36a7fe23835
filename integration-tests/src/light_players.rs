//! Many RTSP players: they take the pictures of a stream, every other one by UDP, and decode nothing.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::wait::{SOON, until};

/// Whether it is over is looked at so often by who waits for a datagram.
const LOOK: Duration = Duration::from_millis(100);

/// Largest RTP packet.
const MAX_PACKET: usize = 2_000;

/// Players of one stream. They end with this value.
#[derive(Debug)]
pub struct LightPlayers {
    players: Vec<Player>,
    over: Arc<AtomicBool>,
}

/// One of them.
#[derive(Debug)]
struct Player {
    connection: TcpStream,
    pictures: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl LightPlayers {
    /// Lets `count` players on this host play `stream` of the relay that has RTSP at `relay`.
    ///
    /// # Panics
    /// When one is refused.
    #[must_use]
    #[track_caller]
    pub fn play(relay: SocketAddr, stream: &str, count: usize) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let url = format!("rtsp://{relay}/{stream}");
        let play = |number: usize| Player::play(relay, &url, number % 2 == 1, &over);
        Self {
            players: (0..count).map(play).collect(),
            over,
        }
    }

    /// Pictures that each has had, by the markers of their last packets.
    #[must_use]
    pub fn pictures(&self) -> Vec<u64> {
        let pictures = |player: &Player| player.pictures.load(Relaxed);
        self.players.iter().map(pictures).collect()
    }

    /// Waits until each has had `count` pictures more.
    ///
    /// # Panics
    /// When that takes too long.
    #[track_caller]
    pub fn wait_pictures(&self, count: u64) {
        let before = self.pictures();
        until("each RTSP player has pictures", SOON, || {
            let now = self.pictures();
            let mut pairs = now.iter().zip(&before);
            pairs
                .all(|(now, before)| now - before >= count)
                .then_some(())
        });
    }
}

impl Drop for LightPlayers {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
        for player in &mut self.players {
            // A relay that has gone has closed it.
            let _ = player.connection.shutdown(Shutdown::Both);
            if let Some(thread) = player.thread.take() {
                // It has panicked, and said so.
                let _ = thread.join();
            }
        }
    }
}

impl Player {
    #[track_caller]
    fn play(relay: SocketAddr, url: &str, by_udp: bool, over: &Arc<AtomicBool>) -> Self {
        let connection = TcpStream::connect(relay).expect("the relay listens");
        let mut reader = BufReader::new(connection.try_clone().expect("a socket can be cloned"));
        let (media, transport) = if by_udp {
            let (socket, port) = port_pair(&connection);
            let transport = format!("RTP/AVP;unicast;client_port={port}-{}", port + 1);
            (Some(socket), transport)
        } else {
            (None, "RTP/AVP/TCP;unicast;interleaved=0-1".to_owned())
        };

        let track = format!("{url}/track0");
        let answer = ask(
            &mut reader,
            &format!("SETUP {track} RTSP/1.0\r\nTransport: {transport}"),
        );
        let session = answer
            .lines()
            .find_map(|line| line.strip_prefix("Session: "));
        let session = session.and_then(|line| line.split(';').next());
        let session = session.unwrap_or_else(|| panic!("no session: {answer}"));
        ask(
            &mut reader,
            &format!("PLAY {url} RTSP/1.0\r\nSession: {session}"),
        );

        let pictures = Arc::new(AtomicU64::new(0));
        let (count, over) = (Arc::clone(&pictures), Arc::clone(over));
        let thread = std::thread::spawn(move || match media {
            Some(socket) => take_datagrams(&socket, &count, &over),
            None => take_interleaved(&mut reader, &count),
        });
        Self {
            connection,
            pictures,
            thread: Some(thread),
        }
    }
}

/// Sends a request and reads the head of its answer, which says that all is well.
#[track_caller]
fn ask(reader: &mut BufReader<TcpStream>, request: &str) -> String {
    let request = format!("{request}\r\nCSeq: 1\r\n\r\n");
    let sent = reader.get_mut().write_all(request.as_bytes());
    sent.expect("the relay takes requests");

    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        let count = reader.read_line(&mut head).expect("the answer is text");
        assert_ne!(count, 0, "the relay ends the connection: {head}");
    }
    assert!(head.starts_with("RTSP/1.0 200 "), "{head}");
    head
}

/// A socket at an even port, which the odd one behind it would be RTCP's.
fn port_pair(connection: &TcpStream) -> (UdpSocket, u16) {
    let own = connection.local_addr().expect("it is connected").ip();
    loop {
        let socket = UdpSocket::bind((own, 0)).expect("there is a free port");
        let port = socket.local_addr().expect("it is bound").port();
        if port.is_multiple_of(2) {
            return (socket, port);
        }
    }
}

fn count_picture(packet: &[u8], pictures: &AtomicU64) {
    // The marker (RFC 3550, 5.1).
    if matches!(packet, [_, kind, ..] if kind & 0x80 != 0) {
        pictures.fetch_add(1, Relaxed);
    }
}

fn take_datagrams(socket: &UdpSocket, pictures: &AtomicU64, over: &AtomicBool) {
    let set = socket.set_read_timeout(Some(LOOK));
    set.expect("a socket can have a timeout");
    let mut packet = [0; MAX_PACKET];
    while !over.load(Relaxed) {
        if let Ok(length) = socket.recv(&mut packet) {
            count_picture(&packet[..length], pictures);
        }
    }
}

/// Until the connection ends.
fn take_interleaved(reader: &mut BufReader<TcpStream>, pictures: &AtomicU64) {
    let mut packet = Vec::new();
    loop {
        // `$`, channel and length (RFC 2326, 10.12).
        let mut head = [0; 4];
        if reader.read_exact(&mut head).is_err() {
            return;
        }
        let [b'$', channel, high, low] = head else {
            panic!("no interleaved packet begins with {head:?}");
        };
        packet.resize(u16::from_be_bytes([high, low]).into(), 0);
        if reader.read_exact(&mut packet).is_err() {
            return;
        }
        if channel == 0 {
            count_picture(&packet, pictures);
        }
    }
}
