//! A receiver of JPEG over RTP (RFC 2435). A frame is whole when no packet is missing up to the one with the marker.

use std::io;
use std::sync::Arc;

use tokio::net::UdpSocket;

use super::Seat;

/// The longest packet.
const PACKET: usize = 1 << 16;

/// Bytes of an RTP header (RFC 3550 section 5.1).
const HEADER: usize = 12;

pub(super) async fn receive(socket: std::net::UdpSocket, seat: Arc<Seat>) -> io::Result<()> {
    let socket = UdpSocket::from_std(socket)?;
    let mut packet = vec![0; PACKET];
    let mut next = None;
    let mut whole = false;

    loop {
        let length = socket.recv(&mut packet).await?;
        let Some(header) = packet[..length].first_chunk::<HEADER>() else {
            continue;
        };

        let number = u16::from_be_bytes([header[2], header[3]]);
        whole &= next == Some(number);
        next = Some(number.wrapping_add(1));

        if header[1] & 0x80 != 0 {
            if whole {
                seat.note(None);
            }

            whole = true;
        }
    }
}
