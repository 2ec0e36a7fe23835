//! ICE over TCP (RFC 6544), for clients whose networks carry no UDP: they connect, and send and get the packets that others
//! have as datagrams, framed by RFC 4571. Tasks on the WebRTC thread, one for each connection.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fanlight_live::ledger::{ConnectionLimits, ConnectionPermit, SharedRefusals};
use fanlight_live::listener;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

use crate::{MAX_DATAGRAM, MAX_PEERS, MAX_PEERS_PER_NETWORK};

/// Connections at a time, and of those from one network: a client may try one from each of its addresses.
const MAX_CONNECTIONS: usize = 2 * MAX_PEERS;
const MAX_CONNECTIONS_PER_NETWORK: usize = 2 * MAX_PEERS_PER_NETWORK;

/// The first packet must be there within this; it is a STUN request for one of our peers, or the connection ends.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(3);

/// Each further one within this: a client sends STUN requests, or RTCP each 7.5 s.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Packets that wait for a connection, 0.4 s at 2.5 Mbit/s; further ones are lost as on any slow way.
const MAX_QUEUED: usize = 128;

/// Packets that wait for the WebRTC thread.
const MAX_WAITING: usize = 64;

/// One that came, whence, and how to answer.
#[derive(Debug)]
pub(crate) struct TcpPacket {
    pub(crate) source: SocketAddr,
    pub(crate) data: Vec<u8>,
    pub(crate) connection: TcpConnection,
}

/// What the WebRTC thread has of a connection.
#[derive(Clone, Debug)]
pub(crate) struct TcpConnection {
    queue: mpsc::Sender<Vec<u8>>,
    unwanted: Arc<Notify>,
}

impl TcpConnection {
    /// Sends a packet, unless too many wait.
    pub(crate) fn send(&self, packet: &[u8]) {
        let Ok(length) = u16::try_from(packet.len()) else {
            return;
        };
        let framed = [&length.to_be_bytes(), packet].concat();
        // Asked for again, as what a network loses.
        let _ = self.queue.try_send(framed);
    }

    /// Ends it: what came by it was for no peer of ours.
    pub(crate) fn end(&self) {
        self.unwanted.notify_one();
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.queue.is_closed()
    }
}

/// Begins to serve; what comes is taken from the channel.
///
/// # Errors
/// When the port is of no use.
pub(crate) fn start(
    listener: std::net::TcpListener,
    refusals: SharedRefusals,
) -> io::Result<mpsc::Receiver<TcpPacket>> {
    let listener = TcpListener::from_std(listener)?;
    let limits = ConnectionLimits::new(MAX_CONNECTIONS, MAX_CONNECTIONS_PER_NETWORK, &[], refusals);

    let (packets, received) = mpsc::channel(MAX_WAITING);
    tokio::spawn(listener::accept(
        listener,
        limits,
        move |stream, client, permit| {
            tokio::spawn(serve_connection(stream, client, permit, packets.clone()));
        },
    ));
    Ok(received)
}

async fn serve_connection(
    stream: TcpStream,
    client: SocketAddr,
    _permit: ConnectionPermit,
    packets: mpsc::Sender<TcpPacket>,
) {
    let source = SocketAddr::new(client.ip().to_canonical(), client.port());
    let (reader, writer) = stream.into_split();
    let (queue, queued) = mpsc::channel(MAX_QUEUED);
    let connection = TcpConnection {
        queue,
        unwanted: Arc::default(),
    };
    let unwanted = Arc::clone(&connection.unwanted);

    let ended = tokio::select! {
        ended = receive(reader, source, connection, packets) => ended,
        ended = send(writer, queued) => ended,
        () = unwanted.notified() => Err(io::Error::other("a packet for no peer of ours")),
    };
    if let Err(error) = ended {
        tracing::debug!(%client, "ICE over TCP has ended: {error}");
    }
}

async fn receive(
    mut reader: OwnedReadHalf,
    source: SocketAddr,
    connection: TcpConnection,
    packets: mpsc::Sender<TcpPacket>,
) -> io::Result<()> {
    let mut limit = BEGIN_TIMEOUT;
    loop {
        let data = timeout(limit, read_packet(&mut reader)).await??;
        limit = IDLE_TIMEOUT;
        let packet = TcpPacket {
            source,
            data,
            connection: connection.clone(),
        };
        if packets.send(packet).await.is_err() {
            return Ok(());
        }
    }
}

/// A length and so many bytes (RFC 4571).
async fn read_packet(reader: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let length = usize::from(reader.read_u16().await?);
    if length > MAX_DATAGRAM {
        let error = format!("a packet of {length} bytes: at most {MAX_DATAGRAM} are taken");
        return Err(io::Error::new(io::ErrorKind::InvalidData, error));
    }
    let mut packet = vec![0; length];
    reader.read_exact(&mut packet).await?;
    Ok(packet)
}

async fn send(mut writer: OwnedWriteHalf, mut queued: mpsc::Receiver<Vec<u8>>) -> io::Result<()> {
    while let Some(packet) = queued.recv().await {
        writer.write_all(&packet).await?;
    }
    pending().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_packet_is_as_long_as_its_two_bytes_say_and_no_longer_than_a_datagram() {
        let mut stream = &b"\0\x03abc\0\0\x07\xd1"[..];
        assert_eq!(read_packet(&mut stream).await.unwrap(), b"abc");
        assert_eq!(read_packet(&mut stream).await.unwrap(), b"");
        let error = read_packet(&mut stream).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let cut = read_packet(&mut &b"\0\x03ab"[..]).await.unwrap_err();
        assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof);
    }
}
