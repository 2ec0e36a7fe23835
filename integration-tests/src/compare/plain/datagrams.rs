//! Plain UDP: a frame in datagrams, nothing against loss.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use fanlight_daemon::clock;
use fanlight_proto::clock::Time;
use rustix::net::sockopt;

use super::{Buffer, Camera, LOOK, Screen};

/// Number, capture time, index and count, big-endian.
const HEAD: usize = 8 + 8 + 2 + 2;

/// What fits into one packet of Ethernet, head included.
pub(super) const ONE_PACKET: usize = 1472;

/// What UDP can carry.
const LARGEST: usize = 65_507;

/// A frame that the screen collects.
#[derive(Default)]
struct Collected {
    number: u64,
    captured: u64,
    parts: Vec<Option<Vec<u8>>>,
    missing: usize,
}

/// Sends to who said something last.
pub(super) fn send(
    address: SocketAddr,
    mut camera: Camera,
    datagram: usize,
) -> std::io::Result<()> {
    let socket = UdpSocket::bind(address)?;
    println!("listens on {address}");
    let mut hello = [0; 1];
    let (_, screen) = socket.recv_from(&mut hello)?;
    let room = datagram.clamp(HEAD + 1, LARGEST) - HEAD;
    let mut packet = Vec::with_capacity(datagram);

    camera.restart();
    loop {
        let (number, captured, jpeg) = camera.take();
        let count = jpeg.len().div_ceil(room) as u16;
        for (index, part) in (0..count).zip(jpeg.chunks(room)) {
            packet.clear();
            packet.extend(number.to_be_bytes());
            packet.extend(captured.as_nanos().to_be_bytes());
            packet.extend(index.to_be_bytes());
            packet.extend(count.to_be_bytes());
            packet.extend(part);
            // What cannot be sent is lost, as on the way.
            let _ = socket.send_to(&packet, screen);
        }
    }
}

/// Starts the screen's thread; its socket is made here.
pub(super) fn show(address: SocketAddr, buffer: Buffer, screen: Arc<Screen>) -> JoinHandle<()> {
    let socket = UdpSocket::bind((any(address), 0)).expect("the system has a port");
    if let Some(bytes) = buffer.bytes() {
        sockopt::set_socket_recv_buffer_size(&socket, bytes).expect("a socket takes the option");
    }

    socket.connect(address).expect("there is a route");
    socket
        .set_read_timeout(Some(LOOK))
        .expect("a socket can wait for a time");
    std::thread::spawn(move || read(&socket, &screen))
}

const fn any(address: SocketAddr) -> IpAddr {
    match address.ip() {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
    }
}

/// Until the measurement is over. Asks again while nothing comes.
fn read(socket: &UdpSocket, screen: &Screen) {
    let mut packet = vec![0; LARGEST];
    let mut frame = Collected::default();
    let mut asked: Option<Time> = None;
    while !screen.is_over() {
        if frame.parts.is_empty()
            && asked.is_none_or(|asked| clock::now().saturating_since(asked) >= LOOK)
        {
            asked = Some(clock::now());
            // Said again as long as no answer comes.
            let _ = socket.send(b"!");
        }

        match socket.recv(&mut packet) {
            Ok(length) => frame.take(&packet[..length], screen),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => panic!("the screen cannot read: {error}"),
        }
    }
}

impl Collected {
    fn take(&mut self, packet: &[u8], screen: &Screen) {
        let Some((head, part)) = packet.split_at_checked(HEAD) else {
            return;
        };

        let number = |at: usize, length: usize| {
            let bytes = &head[at..at + length];
            bytes
                .iter()
                .fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte))
        };

        let of_frame = number(0, 8);
        let index = number(16, 2) as usize;
        let count = number(18, 2) as usize;
        let first = self.parts.is_empty();
        if first || of_frame > self.number {
            if self.missing > 0 {
                screen.incomplete.fetch_add(1, Ordering::Relaxed);
            }

            let skipped = if first { 0 } else { of_frame - self.number - 1 };
            screen.incomplete.fetch_add(skipped, Ordering::Relaxed);
            *self = Self {
                number: of_frame,
                captured: number(8, 8),
                parts: vec![None; count],
                missing: count,
            };
        }

        if of_frame < self.number || index >= self.parts.len() || self.parts[index].is_some() {
            return;
        }

        self.parts[index] = Some(part.to_vec());
        self.missing -= 1;
        if self.missing == 0 {
            let jpeg: Vec<u8> = self.parts.iter().flatten().flatten().copied().collect();
            screen.show(self.number, Time::from_nanos(self.captured), &jpeg);
        }
    }
}
