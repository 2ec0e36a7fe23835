//! A session and a client in one process, on a clock that the test turns on.

use std::sync::Arc;

use fanlight_live::StreamTable;
use fanlight_live::access::Role;
use fanlight_proto::limits::SOURCE_STALE;
use str0m::media::Direction;

use super::*;
use crate::WEBRTC;

const SERVER: ([u8; 4], u16) = ([127, 0, 0, 1], 5_000);
const CLIENT: ([u8; 4], u16) = ([127, 0, 0, 1], 6_000);

/// Between two frames.
const INTERVAL: Duration = Duration::from_millis(33);

/// What is turned on at once.
const STEP: Duration = Duration::from_millis(1);

/// A session, its client, and the time.
struct Pair {
    session: Session,
    client: Rtc,
    now: Instant,
    time: Time,
    /// Frames of the client.
    frames: u64,
}

impl Pair {
    fn connected() -> Self {
        str0m::crypto::from_feature_flags().install_process_default();
        let now = tokio::time::Instant::now().into_std();
        let mut client = Rtc::builder().build(now);
        let candidate = Candidate::host(CLIENT.into(), Protocol::Udp).unwrap();
        client.add_local_candidate(candidate);
        let mut changes = client.sdp_api();
        changes.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
        let (offer, pending) = changes.apply().unwrap();

        let table = StreamTable::new(SOURCE_STALE);
        let stream: StreamName = "cam".parse().unwrap();
        let address: SocketAddr = CLIENT.into();
        let handle = table
            .clients()
            .add(Time::default(), WEBRTC, address, &stream);
        let watcher = Watcher {
            stream,
            client: address,
            name: String::new(),
            grant: Grant::unlimited(Role::View),
            charge: table.client_memory().open(address.ip(), 1),
        };
        let offer = offer.to_sdp_string();
        let made = Session::accept(
            now,
            &offer,
            vec![(Protocol::Udp, SERVER.into())],
            watcher,
            handle,
        );
        let (session, answer) = made.unwrap_or_else(|error| panic!("{error:?}"));
        let answer = SdpAnswer::from_sdp_string(&answer).unwrap();
        client.sdp_api().accept_answer(pending, answer).unwrap();

        let mut pair = Self {
            session,
            client,
            now,
            time: Time::default(),
            frames: 0,
        };
        for _ in 0..5_000 {
            if pair.session.connected {
                return pair;
            }
            pair.step();
        }
        panic!("no connection");
    }

    /// Carries what there is both ways, and lets time pass.
    fn step(&mut self) {
        let mut sent = Vec::new();
        self.session
            .run(self.now, &mut |packet| sent.push(packet.contents.to_vec()));
        for datagram in sent {
            let receive = Receive::new(Protocol::Udp, SERVER.into(), CLIENT.into(), &datagram);
            let input = Input::Receive(self.now, receive.unwrap());
            self.client.handle_input(input).unwrap();
            self.drain_client();
        }

        self.client.handle_input(Input::Timeout(self.now)).unwrap();
        self.drain_client();
        self.now += STEP;
        self.time = self.time + STEP;
    }

    fn drain_client(&mut self) {
        loop {
            match self.client.poll_output().unwrap() {
                Output::Timeout(_) => return,
                Output::Transmit(transmit) => {
                    let (protocol, source) = (transmit.proto, transmit.source);
                    let packet = &transmit.contents;
                    self.session.receive(self.now, protocol, source, packet);
                }
                Output::Event(Event::MediaData(_)) => self.frames += 1,
                Output::Event(_) => {}
            }
        }
    }

    /// Writes a frame of so many bytes.
    fn write(&mut self, number: u64, bytes: usize, is_key: bool) {
        // The first bit of VP8 says whether a frame refers to others (RFC 6386, 9.1).
        let mut data = vec![0; bytes];
        data[0] = u8::from(!is_key);
        let frame = EncodedFrame {
            stream: self.session.watcher.stream.clone(),
            rung: Rung::Full,
            scale: 1,
            data: Arc::from(data),
            is_key,
            rtp_time: number * 3_000,
            origin: None,
            age_us: None,
            captured_utc: None,
        };
        self.session.write((self.now, self.time), &frame);
    }

    /// Lets the time to the next frame pass.
    fn wait(&mut self) {
        for _ in 0..INTERVAL.as_millis() {
            self.step();
        }
    }
}

#[test]
fn a_peer_that_sends_no_stun_is_there_as_long_as_its_rtcp_comes() {
    let mut pair = Pair::connected();
    pair.wait();
    let heard = pair.session.heard;
    let look_after = |session: &mut Session, seconds| {
        session.has_lost_ice = true;
        session.run(heard + Duration::from_secs(seconds), &mut |_| {});
        session.is_alive()
    };
    assert!(look_after(&mut pair.session, 9));
    assert!(!look_after(&mut pair.session, 11));
}

#[test]
fn a_peer_that_is_behind_by_a_second_gets_no_frame_until_that_has_left_and_then_asks_for_a_key_frame()
 {
    let mut pair = Pair::connected();
    assert_eq!(pair.session.take_key_request(), Some(KeyRequest::Joined));

    // Five times what str0m thinks that the network carries.
    pair.write(1, 100_000, true);
    let mut number = 1;
    while pair.session.skipped == 0 {
        number += 1;
        assert!(number < 300, "frames queue for ever");
        pair.wait();
        pair.write(number, 100_000, false);
    }
    assert_eq!(pair.session.take_key_request(), None);

    let before = number;
    while pair.session.take_key_request() != Some(KeyRequest::Lost) {
        number += 1;
        assert!(number < before + 200, "it does not catch up");
        pair.wait();
        pair.write(number, 1_000, false);
    }

    // What refers to frames that it does not have is left out, and the key frame comes.
    let frames = pair.frames;
    pair.write(number + 1, 1_000, false);
    pair.wait();
    pair.write(number + 2, 1_000, true);
    for _ in 0..100 {
        pair.wait();
        if pair.frames > frames {
            return;
        }
    }
    panic!("the key frame does not come");
}
