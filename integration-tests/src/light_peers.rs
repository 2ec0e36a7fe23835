//! Many WebRTC clients in one thread, by WHEP: they take the video of a stream, answer as clients do, and decode nothing. A
//! test is then limited by the relay and not by its clients.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Once};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use str0m::change::SdpAnswer;
use str0m::media::{Direction, MediaKind};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc};

use crate::http::Site;
use crate::wait::{SOON, pause, until};

/// When nothing has come, the thread rests so long.
const REST: Duration = Duration::from_millis(1);

/// Largest datagram.
const MAX_DATAGRAM: usize = 2_000;

/// Clients of one stream. They end their sessions with this value.
#[derive(Debug)]
pub struct LightPeers {
    frames: Vec<Arc<AtomicU64>>,
    sessions: Vec<String>,
    site: Site,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// How long after a client's offer was sent something came.
#[derive(Clone, Copy, Debug)]
pub struct FirstFrame {
    /// The answer.
    pub answered: Duration,
    /// The end of ICE and DTLS.
    pub connected: Duration,
    /// The first packet of media.
    pub packet: Duration,
    /// All of the first picture.
    pub frame: Duration,
}

/// One of them.
struct Peer {
    rtc: Rtc,
    socket: UdpSocket,
    address: SocketAddr,
    frames: Arc<AtomicU64>,
    due: Instant,
    offered: Instant,
    answered: Duration,
    connected: Option<Duration>,
    packet: Option<Duration>,
}

/// Lets one more client watch `stream` until it has a picture.
///
/// # Panics
/// When none comes.
#[must_use]
#[track_caller]
pub fn first_frame(site: Site, stream: &str) -> FirstFrame {
    let (mut peer, session) = Peer::join(site, &format!("/whep/{stream}"));
    while peer.frames.load(Relaxed) == 0 {
        assert!(now() - peer.offered < SOON, "no picture came");
        if peer.turn().is_none() {
            pause(REST);
        }
    }
    let frame = now() - peer.offered;

    let ended = site.ask("DELETE", &session, &[], "");
    assert_eq!(ended.status, 204);
    FirstFrame {
        answered: peer.answered,
        connected: peer.connected.expect("a picture takes a connection"),
        packet: peer.packet.expect("a picture has packets"),
        frame,
    }
}

impl LightPeers {
    /// Lets `count` clients on this host watch `stream`.
    ///
    /// # Panics
    /// When one is not let in.
    #[must_use]
    #[track_caller]
    pub fn join(site: Site, stream: &str, count: usize) -> Self {
        Self::join_at(site, &format!("/whep/{stream}"), count)
    }

    /// As [`join`](Self::join), where a server of whomever takes offers at `path`.
    ///
    /// # Panics
    /// When one is not let in.
    #[must_use]
    #[track_caller]
    pub fn join_at(site: Site, path: &str, count: usize) -> Self {
        let (mut peers, sessions): (Vec<_>, Vec<_>) =
            (0..count).map(|_| Peer::join(site, path)).unzip();
        let frames = peers.iter().map(|peer| Arc::clone(&peer.frames)).collect();
        let over = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            while !end.load(Relaxed) {
                let busy = peers.iter_mut().filter_map(Peer::turn).count() > 0;
                if !busy {
                    pause(REST);
                }
            }
        });

        Self {
            frames,
            sessions,
            site,
            over,
            thread: Some(thread),
        }
    }

    /// Frames that each has had.
    #[must_use]
    pub fn frames(&self) -> Vec<u64> {
        self.frames
            .iter()
            .map(|frames| frames.load(Relaxed))
            .collect()
    }

    /// Waits until each has had `count` frames more.
    ///
    /// # Panics
    /// When that takes too long.
    #[track_caller]
    pub fn wait_frames(&self, count: u64) {
        let before = self.frames();
        until("each WebRTC client has frames", SOON, || {
            let now = self.frames();
            let came = now
                .iter()
                .zip(&before)
                .all(|(now, before)| now - before >= count);
            came.then_some(())
        });
    }
}

impl Drop for LightPeers {
    fn drop(&mut self) {
        // Servers of others may have named none.
        for session in self.sessions.iter().filter(|path| !path.is_empty()) {
            // A relay that has gone has no sessions.
            let _ = self.site.begin("DELETE", session, &[], "");
        }

        self.over.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has panicked, and said so.
            let _ = thread.join();
        }
    }
}

impl Peer {
    #[track_caller]
    fn join(site: Site, path: &str) -> (Self, String) {
        let host = site.0.ip();
        let socket = UdpSocket::bind((host, 0)).expect("there is a free port");
        socket
            .set_nonblocking(true)
            .expect("a socket can be made non-blocking");
        let address = socket.local_addr().expect("a bound socket has an address");

        let mut rtc = client(now());
        let candidate = Candidate::host(address, Protocol::Udp).expect("it is an address");
        rtc.add_local_candidate(candidate);
        let mut changes = rtc.sdp_api();
        changes.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
        let (offer, pending) = changes.apply().expect("there is something to offer");

        let headers = [("Content-Type", "application/sdp")];
        let offered = now();
        let answer = site.ask("POST", path, &headers, &offer.to_sdp_string());
        let sdp = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.status, 201, "{sdp}");
        let parsed = SdpAnswer::from_sdp_string(&sdp).expect("the answer is SDP");
        rtc.sdp_api()
            .accept_answer(pending, parsed)
            .expect("the answer fits the offer");

        let peer = Self {
            rtc,
            socket,
            address,
            frames: Arc::new(AtomicU64::new(0)),
            due: now(),
            offered,
            answered: now() - offered,
            connected: None,
            packet: None,
        };
        (peer, answer.header("location").to_owned())
    }

    /// Does what there is to do; none: nothing.
    fn turn(&mut self) -> Option<()> {
        let mut buffer = [0; MAX_DATAGRAM];
        let mut busy = None;

        while let Ok((length, from)) = self.socket.recv_from(&mut buffer) {
            busy = Some(());
            // RTP, and no RTCP (RFC 5761, 4).
            if matches!(buffer[..2], [128..=191, kind] if !(192..=223).contains(&kind)) {
                self.packet.get_or_insert(now() - self.offered);
            }
            if let Ok(receive) = Receive::new(Protocol::Udp, from, self.address, &buffer[..length])
            {
                self.feed(Input::Receive(now(), receive));
            }
        }

        if now() >= self.due {
            self.feed(Input::Timeout(now()));
        }
        busy
    }

    fn feed(&mut self, input: Input<'_>) {
        if !self.rtc.is_alive() || self.rtc.handle_input(input).is_err() {
            return;
        }

        loop {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(due)) => {
                    self.due = due;
                    return;
                }
                Ok(Output::Transmit(sent)) => {
                    // What is lost here is lost as on any way.
                    let _ = self.socket.send_to(&sent.contents, sent.destination);
                }
                Ok(Output::Event(Event::MediaData(_))) => {
                    self.frames.fetch_add(1, Relaxed);
                }
                Ok(Output::Event(Event::Connected)) => {
                    self.connected = Some(now() - self.offered);
                }
                Ok(Output::Event(_)) => {}
                Err(_) => return,
            }
        }
    }
}

/// A client's side of str0m.
#[must_use]
pub fn client(now: Instant) -> Rtc {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| str0m::crypto::from_feature_flags().install_process_default());
    Rtc::builder().build(now)
}

/// An offer as a client makes it, to be damaged.
///
/// # Panics
/// Never: there is something to offer.
#[must_use]
pub fn offer(address: IpAddr) -> String {
    let mut rtc = client(now());
    let address = SocketAddr::new(address, 9);
    let candidate = Candidate::host(address, Protocol::Udp).expect("it is an address");
    rtc.add_local_candidate(candidate);
    let mut changes = rtc.sdp_api();
    changes.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
    let (offer, _) = changes.apply().expect("there is something to offer");
    offer.to_sdp_string()
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
