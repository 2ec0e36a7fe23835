//! The WebRTC output over loopback, with str0m as the client too.

#![expect(clippy::unwrap_used, reason = "every step of a test must succeed")]

mod narrow;
mod tcp;

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use fanlight_daemon::{Shutdown, clock};
use fanlight_live::access::{Grant, Role};
use fanlight_live::ledger::Resource;
use fanlight_live::whep::{WhepAnswer, WhepClient, WhepCommand, WhepError, tag};
use fanlight_live::{EngineFeed, OutputServer, StreamTable};
use fanlight_proto::limits::{MAX_FRAME_BYTES, SOURCE_STALE};
use fanlight_proto::message::{Format, FrameBuffer, FrameHeader, State, parse_frame};
use fanlight_webrtc::{Settings, WebRtc};
use str0m::change::SdpAnswer;
use str0m::media::{Direction, KeyframeRequestKind, MediaKind};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc};

use narrow::Link;

/// How long a test waits for what must come.
const SOON: Duration = Duration::from_secs(60);

const SIZE: (usize, usize) = (320, 240);

/// That of a camera in another mode.
const OTHER_SIZE: (usize, usize) = (160, 128);

/// A WebRTC output with one live stream, `cam`.
struct Relay {
    table: Arc<StreamTable>,
    whep: WhepClient,
    shutdown: Shutdown,
    threads: Vec<JoinHandle<()>>,
    paused: Arc<AtomicBool>,
    restarted: Arc<AtomicBool>,
}

impl Relay {
    fn start() -> Self {
        Self::with(SIZE)
    }

    /// One whose pictures have this size.
    fn with(pictures: (usize, usize)) -> Self {
        Self::showing(pictures, move |number| grey(pictures, number))
    }

    /// One whose pictures have this size, and are made by `picture`.
    fn showing(size: (usize, usize), picture: impl Fn(u64) -> Vec<u8> + Send + 'static) -> Self {
        let table = StreamTable::new(SOURCE_STALE);
        let shutdown = Shutdown::new();
        let settings = Settings {
            listen: "127.0.0.1:0".parse().unwrap(),
            addresses: Vec::new(),
            tcp: Some("127.0.0.1:0".parse().unwrap()),
            signalling: None,
        };
        let (output, whep) = WebRtc::bind(settings).unwrap();
        let serving = Box::new(output)
            .start(Arc::clone(&table), shutdown.clone())
            .unwrap();

        let [paused, restarted] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        publish(&table, 1, size, 0, &picture(0));
        let publisher = {
            let (table, shutdown) = (Arc::clone(&table), shutdown.clone());
            let (paused, restarted) = (Arc::clone(&paused), Arc::clone(&restarted));
            std::thread::spawn(move || {
                for number in 1.. {
                    if shutdown.wait_timeout(Duration::from_millis(33)) {
                        return;
                    }
                    if restarted.load(Relaxed) {
                        publish(&table, 2, OTHER_SIZE, number, &grey(OTHER_SIZE, number));
                    } else if !paused.load(Relaxed) {
                        publish(&table, 1, size, number, &picture(number));
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
            restarted,
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
fn grey((width, height): (usize, usize), number: u64) -> Vec<u8> {
    let pixels = vec![(number * 8 % 256) as u8; width * height * 3];
    let image = turbojpeg::Image {
        pixels: pixels.as_slice(),
        width,
        pitch: width * 3,
        height,
        format: turbojpeg::PixelFormat::RGB,
    };
    let jpeg = turbojpeg::compress(image, 80, turbojpeg::Subsamp::Sub2x1).unwrap();
    jpeg.to_vec()
}

fn publish(
    table: &StreamTable,
    epoch: u64,
    (width, height): (usize, usize),
    number: u64,
    jpeg: &[u8],
) {
    let header = FrameHeader {
        stream: "cam".into(),
        epoch,
        number,
        width: width as u32,
        height: height as u32,
        format: Format::Jpeg as i32,
        state: State::Live as i32,
        ..FrameHeader::default()
    };
    let body = FrameBuffer::copy_of(jpeg).finish(header);
    let frame = parse_frame(b"cam/", body.clone(), MAX_FRAME_BYTES).unwrap();
    table.publish(0, frame, body, clock::now()).unwrap();
}

/// A client that watches.
struct Peer {
    rtc: Rtc,
    socket: UdpSocket,
    address: SocketAddr,
    session: String,
    /// The relay's answer.
    answer: String,
    /// Where the relay's candidate says that its media comes from.
    port: SocketAddr,
    /// What the relay's datagrams come through.
    link: Option<Link>,
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

        let port = candidate(&sdp, "udp");
        let answer = SdpAnswer::from_sdp_string(&sdp).unwrap();
        rtc.sdp_api().accept_answer(pending, answer).unwrap();
        Self {
            rtc,
            socket,
            address,
            session,
            answer: sdp,
            port,
            link: None,
        }
    }

    /// Begins ICE again, by a PATCH.
    fn restart_ice(&mut self, relay: &Relay) {
        let mut changes = self.rtc.sdp_api();
        changes.ice_restart(true);
        let (offer, pending) = changes.apply().unwrap();
        let offer = offer.to_sdp_string();
        let [ufrag, password] = credentials(&offer);
        let patched = self.patch(relay, None, &format!("{ufrag}\r\n{password}\r\n"));
        let Ok(WhepAnswer::Restarted(fragment)) = patched else {
            panic!("{patched:?}");
        };

        let [old, new] = [&self.answer, &fragment].map(|sdp| credentials(sdp));
        assert!(old[0] != new[0] && old[1] != new[1], "{fragment}");
        assert!(fragment.contains("a=candidate:"), "{fragment}");
        self.answer = self
            .answer
            .replace(&old[0], &new[0])
            .replace(&old[1], &new[1]);
        let answer = SdpAnswer::from_sdp_string(&self.answer).unwrap();
        self.rtc.sdp_api().accept_answer(pending, answer).unwrap();
    }

    fn patch(
        &self,
        relay: &Relay,
        tag: Option<&str>,
        fragment: &str,
    ) -> Result<WhepAnswer, WhepError> {
        relay.ask(WhepCommand::Patch {
            session: self.session.clone(),
            tag: tag.map(str::to_owned),
            fragment: fragment.to_owned(),
        })
    }

    /// Takes frames until `enough` of one says so.
    fn watch(&mut self, enough: impl FnMut(&[u8]) -> bool) {
        assert!(self.watch_while_open(enough), "the relay has ended it");
    }

    /// As [`watch`](Self::watch); false: the relay has ended the session.
    fn watch_while_open(&mut self, mut enough: impl FnMut(&[u8]) -> bool) -> bool {
        let end = now() + SOON;
        let mut buffer = [0; 2000];

        while now() < end {
            if !self.rtc.is_alive() {
                return false;
            }
            let due = match self.rtc.poll_output().unwrap() {
                Output::Transmit(transmit) => {
                    self.socket
                        .send_to(&transmit.contents, transmit.destination)
                        .unwrap();
                    continue;
                }
                Output::Event(Event::MediaData(media)) => {
                    if self.link.is_some() && !media.contiguous {
                        let mut writer = self.rtc.writer(media.mid).unwrap();
                        let _ = writer.request_keyframe(None, KeyframeRequestKind::Pli);
                    }
                    if enough(&media.data) {
                        return true;
                    }
                    continue;
                }
                Output::Event(_) => continue,
                Output::Timeout(due) => due,
            };

            let wait = due
                .saturating_duration_since(now())
                .clamp(Duration::from_millis(1), Duration::from_millis(100));
            let input = match self.receive(wait, &mut buffer) {
                Some((length, from)) => {
                    let datagram = &buffer[..length];
                    match Receive::new(Protocol::Udp, from, self.address, datagram) {
                        Ok(receive) => Input::Receive(now(), receive),
                        Err(_) => continue,
                    }
                }
                None => Input::Timeout(now()),
            };
            self.rtc.handle_input(input).unwrap();
        }

        panic!("what the test waits for did not come within {SOON:?}");
    }
}

impl Peer {
    /// The next datagram, if one comes within `wait`: its length, and whence.
    fn receive(&mut self, wait: Duration, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
        let Some(link) = &mut self.link else {
            self.socket.set_read_timeout(Some(wait)).unwrap();
            return self.socket.recv_from(buffer).ok();
        };

        let wait = wait.min(link.next_in()).max(Duration::from_millis(1));
        self.socket.set_read_timeout(Some(wait)).unwrap();
        if let Ok((length, from)) = self.socket.recv_from(buffer) {
            link.put(&buffer[..length], from);
        }
        link.take(buffer)
    }
}

fn now() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}

/// Where the relay's candidate of this protocol is (RFC 8839, 5.1).
fn candidate(sdp: &str, protocol: &str) -> SocketAddr {
    let lines = sdp.lines().filter(|line| line.starts_with("a=candidate:"));
    let words = lines.map(|line| line.split(' ').collect::<Vec<_>>());
    let found = words.into_iter().find(|words| words[2] == protocol);
    let words = found.unwrap_or_else(|| panic!("no candidate of {protocol} in {sdp}"));
    SocketAddr::new(words[4].parse().unwrap(), words[5].parse().unwrap())
}

/// The lines with the credentials of ICE.
fn credentials(sdp: &str) -> [String; 2] {
    ["a=ice-ufrag:", "a=ice-pwd:"].map(|name| {
        let mut lines = sdp.lines();
        lines
            .find(|line| line.starts_with(name))
            .unwrap()
            .to_owned()
    })
}

/// Width and height of a VP8 key frame (RFC 6386, 9.1).
fn size(frame: &[u8]) -> Option<(usize, usize)> {
    let number = |at: usize| usize::from(u16::from_le_bytes([frame[at], frame[at + 1]]) & 0x3fff);
    is_key(frame).then(|| (number(6), number(8)))
}

/// Whether a VP8 frame is a key frame (RFC 6386, 9.1).
fn is_key(frame: &[u8]) -> bool {
    frame[0] & 1 == 0
}

/// Offers to watch, and says nothing more.
fn offered(relay: &Relay) -> Result<(), WhepError> {
    let mut rtc = Rtc::builder().build(now());
    let mut changes = rtc.sdp_api();
    changes.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
    let (offer, _) = changes.apply().unwrap();
    relay.offer("cam", &offer.to_sdp_string()).map(drop)
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
fn a_source_that_restarts_with_another_size_goes_on_within_the_session() {
    let relay = Relay::start();
    let mut peer = Peer::join(&relay);
    peer.watch(|frame| size(frame) == Some(SIZE));

    relay.paused.store(true, Relaxed);
    // The card has the size of the picture before.
    peer.watch(|frame| size(frame).is_none());
    relay.restarted.store(true, Relaxed);
    peer.watch(|frame| size(frame) == Some(OTHER_SIZE));
    let mut frames = 0;
    peer.watch(|_| {
        frames += 1;
        frames == 10
    });
}

#[test]
fn ice_begins_again_by_patch_and_the_picture_goes_on() {
    let relay = Relay::start();
    let mut peer = Peer::join(&relay);
    peer.watch(|_| true);
    let tag = tag(&peer.answer).to_owned();
    let candidates = "a=candidate:1 1 udp 1 127.0.0.1 9 typ host\r\n";
    for tag in [None, Some(tag.as_str())] {
        assert_eq!(peer.patch(&relay, tag, candidates), Ok(WhepAnswer::Done));
    }

    peer.restart_ice(&relay);
    let old = peer.patch(&relay, Some(&tag), candidates);
    assert_eq!(old, Err(WhepError::OldTag));

    // More than may have been on their way.
    let mut frames = 0;
    peer.watch(|_| {
        frames += 1;
        frames == 60
    });
}

#[test]
fn a_peer_that_the_relay_ends_is_told() {
    let relay = Relay::start();
    let mut peers = [(); 2].map(|()| Peer::join(&relay));
    for peer in &mut peers {
        peer.watch(|_| true);
    }

    let [ended, other] = &mut peers;
    let end = WhepCommand::End(ended.session.clone());
    assert_eq!(relay.ask(end), Ok(WhepAnswer::Done));
    assert!(!ended.watch_while_open(|_| false));
    other.watch(|_| true);

    relay.shutdown.trigger();
    assert!(!other.watch_while_open(|_| false));
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

/// One address may take as much as is left to all others.
#[test]
fn a_peer_and_its_picture_are_as_large_as_the_memory_that_there_is() {
    let relay = Relay::with((1280, 720));
    let memory = relay.table.client_memory();
    memory.set_limit(40 << 20);
    let mut peer = Peer::join(&relay);
    let mut first = None;
    peer.watch(|frame| {
        first = size(frame);
        first.is_some()
    });
    assert_eq!(first, Some((640, 360)), "a picture of 42 MiB is halved");
    assert!((14 << 20..20 << 20).contains(&memory.bytes()));

    memory.set_limit(24 << 20);
    assert_eq!(offered(&relay), Err(WhepError::Busy));
    assert_eq!(relay.table.refusals().of(Resource::Memory), 1);

    memory.set_limit(256 << 20);
    peer.watch(|frame| size(frame) == Some((1280, 720)));
}

#[test]
fn the_last_peer_of_a_stream_gives_all_memory_back() {
    let relay = Relay::start();
    let mut peer = Peer::join(&relay);
    peer.watch(|_| true);
    let memory = relay.table.client_memory();
    assert!(memory.bytes() > 4 << 20);
    let end = WhepCommand::End(peer.session.clone());
    assert_eq!(relay.ask(end), Ok(WhepAnswer::Done));
    until("all is given back", || memory.bytes() == 0);
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
    for number in 0..1_000 {
        // A client that says nothing for long is given up, and a busy machine takes long.
        if number % 50 == 0 {
            peer.watch(|_| true);
        }
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
