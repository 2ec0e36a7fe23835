//! The WebRTC output over loopback, with str0m as the client too.

#![expect(clippy::unwrap_used, reason = "every step of a test must succeed")]

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use fanlight_daemon::{Shutdown, clock};
use fanlight_live::access::{Grant, Role};
use fanlight_live::whep::{WhepAnswer, WhepClient, WhepCommand, WhepError};
use fanlight_live::{EngineFeed, OutputServer, StreamTable};
use fanlight_proto::limits::{MAX_FRAME_BYTES, SOURCE_STALE};
use fanlight_proto::message::{Format, FrameBuffer, FrameHeader, State, parse_frame};
use fanlight_webrtc::{Settings, WebRtc};
use str0m::change::SdpAnswer;
use str0m::media::{Direction, MediaKind};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc};

/// How long a test waits for what must come.
const SOON: Duration = Duration::from_secs(60);

const SIZE: (usize, usize) = (320, 240);

/// A WebRTC output with one live stream, `cam`.
struct Relay {
    table: Arc<StreamTable>,
    whep: WhepClient,
    shutdown: Shutdown,
    threads: Vec<JoinHandle<()>>,
    paused: Arc<AtomicBool>,
}

impl Relay {
    fn start() -> Self {
        let table = StreamTable::new(SOURCE_STALE);
        let shutdown = Shutdown::new();
        let settings = Settings {
            listen: "127.0.0.1:0".parse().unwrap(),
            addresses: Vec::new(),
            signalling: None,
        };
        let (output, whep) = WebRtc::bind(settings).unwrap();
        let serving = Box::new(output)
            .start(Arc::clone(&table), shutdown.clone())
            .unwrap();

        let paused = Arc::new(AtomicBool::new(false));
        publish(&table, 0);
        let publisher = {
            let (table, shutdown, paused) =
                (Arc::clone(&table), shutdown.clone(), Arc::clone(&paused));
            std::thread::spawn(move || {
                for number in 1.. {
                    if shutdown.wait_timeout(Duration::from_millis(33)) {
                        return;
                    }
                    if !paused.load(Relaxed) {
                        publish(&table, number);
                    }
                }
            })
        };

        Self {
            table,
            whep,
            shutdown,
            threads: vec![serving, publisher],
            paused,
        }
    }

    fn ask(&self, command: WhepCommand) -> Result<WhepAnswer, WhepError> {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(self.whep.ask(command))
    }

    fn offer(&self, stream: &str, sdp: &str) -> Result<WhepAnswer, WhepError> {
        self.ask(WhepCommand::Offer {
            stream: stream.parse().unwrap(),
            sdp: sdp.to_owned(),
            name: String::new(),
            client: "127.0.0.1:9".parse().unwrap(),
            grant: Grant::unlimited(Role::View),
            local: "127.0.0.1".parse().unwrap(),
        })
    }

    /// Who watches by WebRTC.
    fn peers(&self) -> usize {
        self.table.clients().count()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shutdown.trigger();
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

/// A grey picture whose brightness tells its number.
fn publish(table: &StreamTable, number: u64) {
    let pixels = vec![(number * 8 % 256) as u8; SIZE.0 * SIZE.1 * 3];
    let image = turbojpeg::Image {
        pixels: pixels.as_slice(),
        width: SIZE.0,
        pitch: SIZE.0 * 3,
        height: SIZE.1,
        format: turbojpeg::PixelFormat::RGB,
    };
    let jpeg = turbojpeg::compress(image, 80, turbojpeg::Subsamp::Sub2x1).unwrap();

    let header = FrameHeader {
        stream: "cam".into(),
        epoch: 1,
        number,
        width: SIZE.0 as u32,
        height: SIZE.1 as u32,
        format: Format::Jpeg as i32,
        state: State::Live as i32,
        ..FrameHeader::default()
    };
    let body = FrameBuffer::copy_of(&jpeg).finish(header);
    let frame = parse_frame(b"cam/", body.clone(), MAX_FRAME_BYTES).unwrap();
    table.publish(0, frame, body, clock::now()).unwrap();
}

/// A client that watches.
struct Peer {
    rtc: Rtc,
    socket: UdpSocket,
    address: SocketAddr,
    session: String,
    /// Where the relay's candidate says that its media comes from.
    port: SocketAddr,
}

impl Peer {
    fn join(relay: &Relay) -> Self {
        str0m::crypto::from_feature_flags().install_process_default();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let mut rtc = Rtc::builder().build(now());
        rtc.add_local_candidate(Candidate::host(address, Protocol::Udp).unwrap());

        let mut changes = rtc.sdp_api();
        changes.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
        let (offer, pending) = changes.apply().unwrap();
        let answer = relay.offer("cam", &offer.to_sdp_string());
        let Ok(WhepAnswer::Created { session, sdp }) = answer else {
            panic!("{answer:?}");
        };

        let port = sdp
            .split_whitespace()
            .skip_while(|word| *word != "127.0.0.1")
            .nth(1)
            .and_then(|port| port.parse().ok())
            .filter(|port| *port != 0)
            .map(|port| SocketAddr::from(([127, 0, 0, 1], port)))
            .unwrap_or_else(|| panic!("no candidate in {sdp}"));
        let answer = SdpAnswer::from_sdp_string(&sdp).unwrap();
        rtc.sdp_api().accept_answer(pending, answer).unwrap();
        Self {
            rtc,
            socket,
            address,
            session,
            port,
        }
    }

    /// Takes frames until `enough` of one says so.
    fn watch(&mut self, mut enough: impl FnMut(&[u8]) -> bool) {
        let end = now() + SOON;
        let mut buffer = [0; 2000];

        while now() < end {
            let due = match self.rtc.poll_output().unwrap() {
                Output::Transmit(transmit) => {
                    self.socket
                        .send_to(&transmit.contents, transmit.destination)
                        .unwrap();
                    continue;
                }
                Output::Event(Event::MediaData(media)) => {
                    if enough(&media.data) {
                        return;
                    }
                    continue;
                }
                Output::Event(_) => continue,
                Output::Timeout(due) => due,
            };

            let wait = due
                .saturating_duration_since(now())
                .clamp(Duration::from_millis(1), Duration::from_millis(100));
            self.socket.set_read_timeout(Some(wait)).unwrap();
            let input = match self.socket.recv_from(&mut buffer) {
                Ok((length, from)) => {
                    let datagram = &buffer[..length];
                    match Receive::new(Protocol::Udp, from, self.address, datagram) {
                        Ok(receive) => Input::Receive(now(), receive),
                        Err(_) => continue,
                    }
                }
                Err(_) => Input::Timeout(now()),
            };
            self.rtc.handle_input(input).unwrap();
        }

        panic!("what the test waits for did not come within {SOON:?}");
    }
}

fn now() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}

/// Whether a VP8 frame is a key frame (RFC 6386, 9.1).
fn is_key(frame: &[u8]) -> bool {
    frame[0] & 1 == 0
}

fn until(what: &str, mut good: impl FnMut() -> bool) {
    let end = now() + SOON;
    let pause = Shutdown::new();
    while !good() {
        assert!(now() < end, "not in time: {what}");
        let _ = pause.wait_timeout(Duration::from_millis(20));
    }
}

#[test]
fn a_client_of_whep_sees_a_key_frame_first_and_then_the_others() {
    let relay = Relay::start();
    let mut peer = Peer::join(&relay);

    let (mut frames, mut first) = (0, None);
    peer.watch(|frame| {
        first.get_or_insert(is_key(frame));
        frames += 1;
        frames == 30
    });
    assert_eq!(first, Some(true));
}

#[test]
fn one_who_joins_later_gets_a_key_frame_too() {
    let relay = Relay::start();
    let mut first = Peer::join(&relay);
    first.watch(|_| true);

    let mut second = Peer::join(&relay);
    let mut key = None;
    second.watch(|frame| *key.get_or_insert(is_key(frame)));
    assert_eq!(key, Some(true));
}

#[test]
fn a_stream_that_stands_still_goes_on_as_a_card() {
    let relay = Relay::start();
    let mut peer = Peer::join(&relay);
    peer.watch(|_| true);

    relay.paused.store(true, Relaxed);
    let (mut last, mut cards) = (now(), 0);
    peer.watch(|_| {
        let since = now() - std::mem::replace(&mut last, now());
        cards += u32::from(since > Duration::from_secs(1));
        cards == 2
    });
}

#[test]
fn delete_ends_a_session_and_its_encoder() {
    let relay = Relay::start();
    let feed = EngineFeed::new(Arc::clone(&relay.table));
    let mut peer = Peer::join(&relay);
    peer.watch(|_| true);
    assert_eq!(relay.peers(), 1);

    let end = || relay.ask(WhepCommand::End(peer.session.clone()));
    assert_eq!(end(), Ok(WhepAnswer::Done));
    until("the peer is no longer listed", || relay.peers() == 0);
    // The encoder is who watches the stream in the name of all peers.
    let mut watching = None;
    until("nobody watches the stream", || {
        while let Some((_, clients)) = feed.next_demand() {
            watching = Some(clients);
        }
        watching == Some(0)
    });
    assert_eq!(end(), Err(WhepError::NoSession));
}

#[test]
fn what_is_no_offer_or_has_no_codec_of_ours_is_refused() {
    let relay = Relay::start();
    assert_eq!(
        relay.offer("cam", "v=0\r\nnonsense"),
        Err(WhepError::BadOffer)
    );
    assert_eq!(relay.offer("cam", ""), Err(WhepError::BadOffer));

    let offer = |video: bool| {
        str0m::crypto::from_feature_flags().install_process_default();
        let mut rtc = Rtc::builder().clear_codecs().enable_h264(true).build(now());
        if video {
            rtc = Rtc::builder().build(now());
        }
        let mut changes = rtc.sdp_api();
        changes.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
        changes.apply().unwrap().0.to_sdp_string()
    };
    assert_eq!(relay.offer("cam", &offer(false)), Err(WhepError::NoCodec));
    assert_eq!(relay.offer("other", &offer(true)), Err(WhepError::NoStream));
}

#[test]
fn a_thousand_damaged_offers_and_datagrams_cost_a_peer_nothing() {
    let relay = Relay::start();
    let mut peer = Peer::join(&relay);
    peer.watch(|_| true);

    let mut rtc = Rtc::builder().build(now());
    let mut changes = rtc.sdp_api();
    changes.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
    let offer = changes.apply().unwrap().0.to_sdp_string();
    let flood = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = peer.port;

    let mut seed = 1_u64;
    let mut random = move |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as usize % below
    };
    for _ in 0..1_000 {
        let mut damaged = offer.clone().into_bytes();
        for _ in 0..=random(8) {
            let at = random(damaged.len());
            damaged[at] = b' ' + random(95) as u8;
        }
        damaged.truncate(random(damaged.len()) + 1);
        // Whatever the answer is, it comes.
        let answer = relay.offer("cam", &String::from_utf8_lossy(&damaged));
        if let Ok(WhepAnswer::Created { session, .. }) = answer {
            let _ = relay.ask(WhepCommand::End(session));
        }
        flood.send_to(&damaged, port).unwrap();
        // A STUN binding request with a user that nobody is (RFC 8489).
        flood
            .send_to(
                b"\0\x01\0\x08\x21\x12\xa4\x42............\0\x06\0\x04a:bc",
                port,
            )
            .unwrap();
    }

    let mut frames = 0;
    peer.watch(|_| {
        frames += 1;
        frames == 30
    });
    assert_eq!(relay.peers(), 1);
}
