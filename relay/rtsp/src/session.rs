//! One session: a stream on its way to one client, in its connection or by UDP. A client that is behind loses whole
//! pictures: the next one is taken when the one before has left.

use std::future::pending;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_live::{Arrival, FrameSubscription, LiveFrame};
use fanlight_proto::clock::Time;
use tokio::net::UdpSocket;

use crate::group::{Group, Player};
use crate::jpeg::Picture;
use crate::request::Wish;
use crate::rtp::RtpSender;

/// Between sender reports.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// Between bursts of packets by UDP: the shortest that the runtime's timer can wait.
const BURST_INTERVAL: Duration = Duration::from_millis(1);

/// A picture leaves by UDP in so many bursts at most, so that even a large one takes less than a frame interval.
const MAX_BURSTS: usize = 12;

/// Packets of a burst, unless the picture needs more: 180 Mbit/s.
const BURST: usize = 16;

/// How often an even port is tried with the odd one behind it (RFC 3550, 11).
const PORT_ATTEMPTS: usize = 32;

/// A session that was set up.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) subscription: FrameSubscription,
    pub(crate) transport: Transport,
    pub(crate) rtp: RtpSender,
    pub(crate) playing: bool,
    /// Taken by PLAY, to be sent first.
    first: Option<Arrival>,
    sending: Option<Sending>,
    next_report: Time,
}

/// Where packets go.
#[derive(Debug)]
pub(crate) enum Transport {
    /// Into the connection, on these channels: RTP and RTCP.
    Interleaved(u8, u8),
    /// By UDP.
    Udp(UdpPair),
    /// By the sender of a group, while there is a player.
    Multicast(Arc<Group>, Option<Player>),
}

/// Sockets for RTP and RTCP, connected to the client or a group.
#[derive(Debug)]
pub(crate) struct UdpPair {
    rtp: UdpSocket,
    rtcp: UdpSocket,
    /// Ours for RTP; the one for RTCP is the next.
    pub(crate) port: u16,
}

/// A picture on its way by UDP.
#[derive(Debug)]
struct Sending {
    picture: Arc<Picture>,
    timestamp: u32,
    offset: usize,
    burst: usize,
    next: Time,
}

/// What happens to a session.
pub(crate) enum Event {
    /// The next frame; none: the relay no longer has the stream.
    Frame(Option<Arrival>),
    /// More packets of the picture are due.
    Burst,
    /// The client sent RTCP: it is alive.
    Heard,
}

impl UdpPair {
    /// Binds two ports at `local` and connects them to those of the client.
    ///
    /// # Errors
    /// When there are no such ports.
    pub(crate) async fn bind(
        local: IpAddr,
        [to_rtp, to_rtcp]: [SocketAddr; 2],
    ) -> io::Result<Self> {
        let mut error = io::Error::from(io::ErrorKind::AddrInUse);
        for _ in 0..PORT_ATTEMPTS {
            let rtp = UdpSocket::bind((local, 0)).await?;
            let port = rtp.local_addr()?.port();
            if port % 2 == 1 {
                continue;
            }

            match UdpSocket::bind((local, port + 1)).await {
                Ok(rtcp) => {
                    rtp.connect(to_rtp).await?;
                    rtcp.connect(to_rtcp).await?;
                    return Ok(Self { rtp, rtcp, port });
                }
                Err(taken) => error = taken,
            }
        }
        Err(error)
    }

    /// How far what goes to a group goes, and whether this host gets it too. Linux sends it by the interface that has the
    /// address of the socket.
    pub(crate) fn reach(&self, ttl: u8, looped: bool) -> io::Result<()> {
        [&self.rtp, &self.rtcp].into_iter().try_for_each(|socket| {
            socket.set_multicast_ttl_v4(ttl.into())?;
            socket.set_multicast_loop_v4(looped)
        })
    }

    async fn heard(&self) {
        let mut packet = [0; 64];
        while self.rtcp.recv(&mut packet).await.is_err() {
            // An ICMP error of a port that the client has not opened yet.
            tokio::time::sleep(BURST_INTERVAL).await;
        }
    }
}

impl Session {
    pub(crate) fn new(subscription: FrameSubscription, transport: Transport) -> Self {
        Self {
            id: format!("{:016x}", clock::random_u64()),
            subscription,
            transport,
            rtp: RtpSender::new(),
            playing: false,
            first: None,
            sending: None,
            next_report: Time::default(),
        }
    }

    /// Its field `Transport`: what the client wished for, and what of it is ours to choose.
    pub(crate) fn way(&self, wish: Wish) -> String {
        let ssrc = self.rtp.ssrc;
        match (&self.transport, wish) {
            (Transport::Udp(UdpPair { port, .. }), Wish::Udp(rtp, rtcp)) => format!(
                "RTP/AVP;unicast;client_port={rtp}-{rtcp};server_port={port}-{};ssrc={ssrc:08X}",
                port + 1
            ),
            (Transport::Multicast(group, _), _) => {
                let (ip, port) = (group.address.ip(), group.address.port());
                let ttl = group.ttl;
                format!(
                    "RTP/AVP;multicast;destination={ip};port={port}-{};ttl={ttl}",
                    port + 1
                )
            }
            (Transport::Interleaved(rtp, rtcp), _) => {
                format!("RTP/AVP/TCP;unicast;interleaved={rtp}-{rtcp};ssrc={ssrc:08X}")
            }
            (Transport::Udp(_), _) => unreachable!("the transport is the one that was wished for"),
        }
    }

    /// Begins to play, or goes on: the RTP time of the next packet, if it is known.
    pub(crate) fn play(&mut self) -> Option<u32> {
        self.playing = true;
        if let Transport::Multicast(group, player) = &mut self.transport {
            player.get_or_insert_with(|| Player::new(group));
            // What the group gets has numbers of its own.
            return None;
        }
        if let Some(sending) = &self.sending {
            return Some(sending.timestamp);
        }

        let waiting = || self.subscription.try_next(clock::now());
        self.first = self.first.take().or_else(waiting);
        match &self.first {
            Some(first) => Some(self.rtp.timestamp(&first.frame)),
            None => self.rtp.first_timestamp(),
        }
    }

    /// Sends no picture any more, but the rest of one that was begun.
    pub(crate) fn pause(&mut self) {
        self.playing = false;
        self.first = None;
        if let Transport::Multicast(_, player) = &mut self.transport {
            *player = None;
        }
    }

    /// Waits for what happens next; `idle`: the connection has sent all that it was given. Cancel safe.
    pub(crate) async fn event(&mut self, idle: bool) -> Event {
        let next_burst = self.sending.as_ref().map(|sending| sending.next);
        let transport = &self.transport;
        let heard = async {
            match transport {
                Transport::Interleaved(..) | Transport::Multicast(..) => pending().await,
                Transport::Udp(sockets) => sockets.heard().await,
            }
        };
        let burst = async {
            let Some(next) = next_burst else {
                return pending().await;
            };
            tokio::time::sleep(next.saturating_since(clock::now())).await;
        };

        let wanted = self.playing && next_burst.is_none() && idle;
        if wanted && let Some(first) = self.first.take() {
            return Event::Frame(Some(first));
        }

        tokio::select! {
            () = heard => Event::Heard,
            () = burst => Event::Burst,
            arrival = self.subscription.next(), if wanted => Event::Frame(arrival),
        }
    }

    /// Begins to send `picture` of `frame`: what goes into the connection is appended to `out`.
    pub(crate) async fn begin(
        &mut self,
        frame: &LiveFrame,
        picture: Arc<Picture>,
        out: &mut Vec<u8>,
    ) {
        let timestamp = self.rtp.timestamp(frame);
        let now = clock::now();
        if now >= self.next_report {
            self.next_report = now + REPORT_INTERVAL;
            self.report(false, out).await;
        }

        match self.transport {
            // By the sender of the group.
            Transport::Multicast(..) => {}
            Transport::Interleaved(channel, _) => {
                let mut offset = 0;
                while offset < picture.scan.len() {
                    interleave(channel, out, |out| {
                        offset = self.rtp.packet(&picture, timestamp, offset, out);
                    });
                }
            }
            Transport::Udp(_) => {
                let packets = picture.scan.len() / crate::rtp::MAX_PACKET + 1;
                self.sending = Some(Sending {
                    picture,
                    timestamp,
                    offset: 0,
                    burst: BURST.max(packets.div_ceil(MAX_BURSTS)),
                    next: now,
                });
                self.burst().await;
            }
        }
    }

    /// Sends the packets that are due by UDP.
    pub(crate) async fn burst(&mut self) {
        let (Transport::Udp(sockets), Some(sending)) = (&self.transport, &mut self.sending) else {
            return;
        };

        let mut packet = Vec::with_capacity(crate::rtp::MAX_PACKET);
        for _ in 0..sending.burst {
            packet.clear();
            let Sending {
                picture,
                timestamp,
                offset,
                ..
            } = sending;
            *offset = self.rtp.packet(picture, *timestamp, *offset, &mut packet);

            // A client that is not there is found by its silence.
            let _ = sockets.rtp.send(&packet).await;
            if sending.offset == sending.picture.scan.len() {
                self.sending = None;
                return;
            }
        }
        sending.next = clock::now() + BURST_INTERVAL;
    }

    /// Sends a sender report, if there is something to report.
    pub(crate) async fn report(&self, bye: bool, out: &mut Vec<u8>) {
        let Some(report) = self.rtp.report("fanlight", bye) else {
            return;
        };
        match &self.transport {
            Transport::Multicast(..) => {}
            Transport::Interleaved(_, channel) => {
                interleave(*channel, out, |out| out.extend(report));
            }
            Transport::Udp(sockets) => {
                let _ = sockets.rtcp.send(&report).await;
            }
        }
    }
}

/// Appends to `out` what `write` appends, as interleaved data (RFC 2326, 10.12).
fn interleave(channel: u8, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.extend([b'$', channel, 0, 0]);
    let start = out.len();
    write(out);

    let length = u16::try_from(out.len() - start).expect("a packet has at most 1400 bytes");
    out[start - 2..start].copy_from_slice(&length.to_be_bytes());
}
