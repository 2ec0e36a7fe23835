//! Viewers with keys: who is let in, what is sealed, how keys follow each other and how they are taken away.

use bytes::Bytes;
use fanlight_live::ledger::HANDSHAKES_PER_SOURCE;
use fanlight_proto::datagram::SEALED_DATA_BYTES;
use fanlight_proto::handshake::{
    Channel, Initiator, PrivateKey, PublicKey, RelayAccess, SharedKey, ViewerAccess,
};
use fanlight_proto::limits::JOIN_BYTES;
use fanlight_proto::message::{Access, Detections, Refusal, Report, StreamKey};
use fanlight_proto::seal::MediaKey;
use prost::Message as _;

use super::*;

const SHARED: [u8; 32] = [9; 32];
const RELAYS: [u8; 32] = [1; 32];

fn psk() -> Rig {
    let mut rig = Rig::guarded(
        EngineConfig::default(),
        RelayAccess::Psk(SharedKey::new(SHARED)),
    );
    rig.frame("cam", 1, 100, 0);
    rig
}

/// The key of the viewer `n`, and its public half.
fn private(n: u8) -> (PrivateKey, PublicKey) {
    let key = PrivateKey::new([n; 32]);
    let public = key.public();
    (key, public)
}

fn known(viewers: &[u8]) -> RelayAccess {
    let viewers = viewers
        .iter()
        .map(|n| (private(*n).1, format!("screen {n}")))
        .collect();

    RelayAccess::Keys {
        own: PrivateKey::new(RELAYS),
        viewers,
    }
}

fn keys(viewers: &[u8]) -> Rig {
    let mut rig = Rig::guarded(EngineConfig::default(), known(viewers));
    rig.frame("cam", 1, 100, 0);
    rig
}

fn with_psk() -> ViewerAccess {
    ViewerAccess::Psk(SharedKey::new(SHARED))
}

fn with_key(n: u8) -> ViewerAccess {
    ViewerAccess::Keys {
        own: private(n).0,
        relay: PrivateKey::new(RELAYS).public(),
    }
}

/// A viewer with its side of the channel.
struct Guest {
    at: SocketAddr,
    session: u64,
    channel: Channel,
    keys: Vec<MediaKey>,
    accept: Vec<u8>,
    join: Join,
}

/// The datagrams for `message`, as they leave.
fn raw(rig: &mut Rig, from: SocketAddr, message: &ToRelay<'_>) -> Vec<Vec<u8>> {
    let mut datagram = Vec::new();
    message.encode(&mut datagram);
    rig.outputs();
    rig.engine.on_datagram(
        rig.now,
        Route {
            remote: from,
            local: None,
        },
        &datagram,
    );

    sent(rig, from)
}

fn sent(rig: &mut Rig, to: SocketAddr) -> Vec<Vec<u8>> {
    let datagram = |output| match output {
        Output::Send {
            to: route,
            datagram,
        } if route.remote == to => Some(datagram),
        _ => None,
    };

    rig.outputs().into_iter().filter_map(datagram).collect()
}

/// A JOIN with a good token and a handshake made with `access`.
fn good_join(
    rig: &mut Rig,
    at: SocketAddr,
    nonce: u64,
    access: &ViewerAccess,
) -> (Join, Option<Initiator>) {
    let token = rig.engine.token_key.mint(rig.now, at).to_vec();
    let join = Join {
        token: token.into(),
        ..join(nonce)
    };
    asking(join, access)
}

/// `join` with a handshake made with `access`, which says what it asks for.
fn asking(join: Join, access: &ViewerAccess) -> (Join, Option<Initiator>) {
    let ephemeral = [join.nonce as u8; 32];
    let begun = Initiator::begin(access, join.nonce, &join.token, &join.request(), ephemeral);
    match begun {
        Some((initiator, message)) => (join.envelope(access, message.into()), Some(initiator)),
        None => (join, None),
    }
}

impl Guest {
    fn join(rig: &mut Rig, n: u16, access: &ViewerAccess) -> Self {
        let at = viewer(n);
        let (join, initiator) = good_join(rig, at, u64::from(n), access);
        let answers = raw(rig, at, &ToRelay::Join(join.clone()));

        let [accept] = answers.as_slice() else {
            panic!("{answers:?}")
        };

        let Ok(ToViewer::Accept(outer)) = ToViewer::parse(accept) else {
            panic!("{:?}", ToViewer::parse(accept))
        };

        assert_eq!(
            (outer.session, outer.stream.as_ref(), outer.keys.len()),
            (0, None, 0)
        );

        let (payload, channel) = initiator.unwrap().finish(&outer.handshake).unwrap();
        let inner = Accept::decode(payload.as_slice()).unwrap();
        assert_eq!((inner.nonce, outer.nonce), (u64::from(n), u64::from(n)));
        let mut guest = Self {
            at,
            session: inner.session,
            channel,
            keys: Vec::new(),
            accept: accept.clone(),
            join,
        };

        guest.learn(&inner.keys);
        assert_eq!(guest.keys.len(), inner.keys.len());
        guest
    }

    fn learn(&mut self, keys: &[StreamKey]) {
        for key in keys.iter().filter_map(MediaKey::from_message) {
            self.keys.retain(|known| known.slot() != key.slot());
            self.keys.push(key);
        }
    }

    fn generation(&self) -> u32 {
        self.keys
            .iter()
            .map(MediaKey::generation)
            .max()
            .unwrap_or(0)
    }

    fn sealed(&mut self, message: &ToRelay<'_>) -> Vec<u8> {
        let (mut inner, mut outer) = (Vec::new(), Vec::new());
        message.encode_inner(&mut inner);
        let (counter, ciphertext) = self.channel.seal(&inner);
        ToRelay::Sealed(self.session, counter, &ciphertext).encode(&mut outer);
        outer
    }

    fn tell(&mut self, rig: &mut Rig, message: &ToRelay<'_>) -> Vec<Vec<u8>> {
        let datagram = self.sealed(&rig.read(message));
        rig.outputs();
        rig.engine.on_datagram(
            rig.now,
            Route {
                remote: self.at,
                local: None,
            },
            &datagram,
        );

        sent(rig, self.at)
    }

    /// Says what it found.
    fn find(&mut self, rig: &mut Rig, sent: u64) {
        let body = Detections {
            screen: 5,
            detections: vec![Bytes::new()],
            sent,
            ..Detections::default()
        };

        self.tell(rig, &ToRelay::Detections(self.session, body));
    }

    /// Says that it is there and what it knows; the answer.
    fn keep_alive(&mut self, rig: &mut Rig) -> Option<Pulse> {
        let body = KeepAlive {
            sent_us: 5,
            key_generation: self.generation(),
            // Whatever was sent since the last time, it has it all.
            report: Some(Report {
                frames_whole: rig.now.as_nanos(),
                ..Report::default()
            }),
            newest_sequence: rig.newest_sequence(),
            ..KeepAlive::default()
        };

        let answers = self.tell(rig, &ToRelay::KeepAlive(self.session, body));
        answers.iter().find_map(|answer| self.hear(answer))
    }

    /// Reads a datagram that has to be sealed for it; keys in it are learnt.
    fn hear(&mut self, datagram: &[u8]) -> Option<Pulse> {
        let Ok(ToViewer::Sealed(session, counter, ciphertext)) = ToViewer::parse(datagram) else {
            return None;
        };

        assert_eq!(session, self.session);
        let plaintext = self.channel.open(counter, ciphertext)?;

        match ToViewer::parse_inner(session, &plaintext).unwrap() {
            ToViewer::Pulse(_, pulse) => {
                self.learn(&pulse.keys);
                Some(pulse)
            }
            ToViewer::Goodbye(..) => None,
            other => panic!("{other:?}"),
        }
    }

    /// Whether it can open every datagram of a frame.
    fn opens(&self, transmit: &FrameTransmit) -> bool {
        let packets = &transmit.packets;
        let last = packets.shards() + packets.parity() - 1;
        [0, last].iter().all(|at| {
            let datagram = packets.datagrams(*at..at + 1);
            self.keys
                .iter()
                .any(|key| key.open(&mut datagram.to_vec()).is_some())
        })
    }
}

fn next_frame(rig: &mut Rig, number: u64) -> FrameTransmit {
    rig.outputs();
    rig.frame("cam", 1, number, 0);
    rig.fans().pop().expect("somebody watches")
}

#[test]
fn a_recorded_join_of_a_former_session_does_not_end_the_present_one() {
    let mut rig = psk();
    let access = ViewerAccess::Psk(SharedKey::new(SHARED));
    let recorded = Guest::join(&mut rig, 1, &access).join;
    let (anew, _) = good_join(&mut rig, viewer(1), 99, &access);
    let answers = raw(&mut rig, viewer(1), &ToRelay::Join(anew));
    assert!(matches!(
        ToViewer::parse(&answers[0]),
        Ok(ToViewer::Accept(_))
    ));

    let joins = rig.engine.counts().joins;
    assert!(raw(&mut rig, viewer(1), &ToRelay::Join(recorded)).is_empty());
    assert_eq!(
        (rig.engine.counts().joins, rig.engine.viewers()),
        (joins, 1)
    );
}

#[test]
fn a_recorded_join_opens_no_session_after_its_own_has_ended() {
    let mut rig = psk();
    let mut guest = Guest::join(&mut rig, 1, &with_psk());
    let session = guest.session;
    guest.tell(&mut rig, &ToRelay::Goodbye(session, Goodbye::default()));
    assert_eq!(rig.engine.viewers(), 0);

    let recorded = ToRelay::Join(guest.join.clone());
    for _ in 0..300 {
        rig.pass(Duration::from_millis(100));
        let answers = raw(&mut rig, viewer(1), &recorded);
        // When its token is too old it is asked for another one, which it cannot make.
        assert!(
            answers
                .iter()
                .all(|answer| matches!(ToViewer::parse(answer), Ok(ToViewer::Challenge(_)))),
            "{answers:?}"
        );
        assert_eq!(rig.engine.viewers(), 0);
    }
}

#[test]
fn a_recorded_join_that_was_refused_opens_no_session_later() {
    let shared = RelayAccess::Psk(SharedKey::new(SHARED));
    let mut rig = Rig::guarded(EngineConfig::default(), shared);
    let (join, _) = good_join(&mut rig, viewer(1), 7, &with_psk());
    let recorded = ToRelay::Join(join);
    let Said::Refuse(refuse) = only(rig.say(viewer(1), &recorded)) else {
        panic!()
    };
    assert_eq!(refuse.refusal(), Refusal::NoStreams);

    rig.frame("cam", 1, 100, 0);
    assert!(raw(&mut rig, viewer(1), &recorded).is_empty());
    assert_eq!(rig.engine.viewers(), 0);
    let (join, _) = good_join(&mut rig, viewer(1), 8, &with_psk());
    assert_eq!(raw(&mut rig, viewer(1), &ToRelay::Join(join)).len(), 1);
    assert_eq!(rig.engine.viewers(), 1);
}

#[test]
fn the_streams_that_there_are_are_named_to_who_has_a_key_and_to_nobody_else() {
    for (mut rig, access) in [(psk(), with_psk()), (keys(&[4]), with_key(4))] {
        rig.frame("gate", 1, 100, 0);
        rig.frame("gate.canary", 1, 100, 0);
        let (join, _) = good_join(&mut rig, viewer(1), 7, &ViewerAccess::Open);
        let wanted = Join {
            stream: "lobby".into(),
            ..join
        };

        let (join, initiator) = asking(wanted, &access);
        let Said::Refuse(refuse) = only(rig.say(viewer(1), &ToRelay::Join(join))) else {
            panic!()
        };
        assert_eq!(refuse.refusal(), Refusal::NoSuchStream);
        assert!(refuse.streams.is_empty() && refuse.total_streams == 0);

        let (payload, _) = initiator.unwrap().finish(&refuse.handshake).unwrap();
        let named = Refuse::decode(&payload[..]).unwrap();
        assert_eq!(named.streams, ["cam", "gate"], "canaries are not named");
        assert_eq!(named.total_streams, 2);
    }
}

#[test]
fn what_a_join_asks_for_cannot_be_rewritten_on_its_way() {
    for (mut rig, access) in [(psk(), with_psk()), (keys(&[4]), with_key(4))] {
        rig.frame("other", 1, 100, 0);
        let (join, _) = good_join(&mut rig, viewer(1), 7, &ViewerAccess::Open);
        let wanted = Join {
            stream: "other".into(),
            ..join
        };
        let (join, initiator) = asking(wanted, &access);
        let rewritten = Join {
            stream: "cam".into(),
            list: true,
            paused: true,
            receive_capacity: 1,
            name: "somebody else".into(),
            ..join
        };

        let answers = raw(&mut rig, viewer(1), &ToRelay::Join(rewritten));
        let Ok(ToViewer::Accept(outer)) = ToViewer::parse(&answers[0]) else {
            panic!("{answers:?}")
        };
        let (payload, _) = initiator.unwrap().finish(&outer.handshake).unwrap();
        let accept = Accept::decode(&payload[..]).unwrap();
        assert_eq!(accept.stream.unwrap().name, "other");
        let status = rig.engine.status(rig.now);
        assert!(!status.viewers[0].paused && status.viewers[0].name != "somebody else");
    }
}

#[test]
fn nobody_on_the_way_reads_names_or_keys_of_a_viewer_in_join_or_refuse() {
    let name = "hall";
    for (mut rig, access) in [
        (psk(), with_psk()),
        (keys(&[4]), with_key(4)),
        (keys(&[3]), with_key(4)),
    ] {
        let (join, _) = good_join(&mut rig, viewer(1), 7, &ViewerAccess::Open);
        let wanted = Join {
            stream: "nowhere".into(),
            ..join
        };
        let (join, _) = asking(wanted, &access);
        let mut asked = Vec::new();
        ToRelay::Join(join.clone()).encode(&mut asked);
        let answer = raw(&mut rig, viewer(1), &ToRelay::Join(join)).remove(0);
        let Ok(ToViewer::Refuse(refuse)) = ToViewer::parse(&answer) else {
            panic!("{:?}", ToViewer::parse(&answer))
        };

        let key = private(4).1.to_string();
        for secret in [name, "nowhere", &key] {
            let bytes = secret.as_bytes();
            let reads = |datagram: &[u8]| datagram.windows(bytes.len()).any(|at| at == bytes);
            assert!(!reads(&asked) && !reads(&answer), "{secret}");
        }
        assert!(!refuse.message.is_empty());
    }
}

#[test]
fn a_log_line_says_the_listed_name_first_and_a_viewers_own_as_claimed() {
    use crate::engine::sessions::label;
    assert_eq!(label(Some("lobby"), "lobby"), r#""lobby""#);
    assert_eq!(
        label(Some("lobby"), "hall"),
        r#""lobby", claims to be "hall""#
    );
    assert_eq!(label(None, "hall\n"), r#"claims to be "hall\n""#);
    assert_eq!(label(None, ""), "unnamed");
}

#[test]
fn the_challenge_says_what_is_asked() {
    for (mut rig, access) in [
        (Rig::live(), Access::Open),
        (psk(), Access::Psk),
        (keys(&[3]), Access::Keys),
    ] {
        let answers = raw(&mut rig, viewer(1), &ToRelay::Join(join(1)));
        let Ok(ToViewer::Challenge(challenge)) = ToViewer::parse(&answers[0]) else {
            panic!()
        };
        assert_eq!(challenge.access(), access);
    }
}

#[test]
fn who_has_the_key_is_let_in_and_opens_what_is_sent() {
    for (mut rig, access) in [(psk(), with_psk()), (keys(&[3, 4]), with_key(4))] {
        let mut guest = Guest::join(&mut rig, 1, &access);
        assert!(guest.keep_alive(&mut rig).unwrap().status.is_some());
        let transmit = next_frame(&mut rig, 101);
        assert_eq!(transmit.packets.stride(), SEALED_DATA_BYTES);
        assert!(guest.opens(&transmit));
        assert!(
            rig.engine.counts().unauthentic == 0 && rig.engine.counts().handshakes_refused == 0
        );
    }
}

#[test]
fn who_has_not_the_key_is_refused_and_leaves_nothing_behind() {
    let others = ViewerAccess::Psk(SharedKey::new([8; 32]));
    let stranger = ViewerAccess::Keys {
        own: private(3).0,
        relay: PublicKey::new([5; 32]).unwrap_or(private(7).1),
    };

    for (mut rig, access) in [
        (psk(), others),
        (psk(), ViewerAccess::Open),
        (psk(), with_key(3)),
        (keys(&[3]), with_key(4)),
        (keys(&[3]), stranger),
        (keys(&[3]), with_psk()),
        (keys(&[]), with_key(3)),
    ] {
        for list in [false, true] {
            let (join, _) = good_join(&mut rig, viewer(1), 7, &access);
            let Said::Refuse(refuse) =
                only(rig.say(viewer(1), &ToRelay::Join(Join { list, ..join })))
            else {
                panic!()
            };
            assert_eq!((refuse.refusal(), refuse.nonce), (Refusal::Key, 7));
        }
        assert_eq!(
            (rig.engine.viewers(), rig.engine.counts().handshakes_refused),
            (0, 2)
        );
        rig.frame("cam", 1, 101, 0);
        assert!(rig.outputs().is_empty());
    }
}

#[test]
fn who_does_not_know_the_relay_uses_up_no_handshakes() {
    let wrong = ViewerAccess::Psk(SharedKey::new([8; 32]));
    let mut rig = psk();
    for n in 0..5000 {
        let (join, _) = good_join(&mut rig, viewer(1), n, &wrong);
        let Said::Refuse(refuse) = only(rig.say(viewer(1), &ToRelay::Join(join))) else {
            panic!()
        };
        assert_eq!(refuse.refusal(), Refusal::Key);
    }

    assert_eq!(rig.engine.counts().handshakes_refused, 5000);
    assert_eq!(rig.engine.refusals().of(Resource::Handshakes), 0);
    Guest::join(&mut rig, 1, &with_psk());
}

/// From issue 14: the 1000 handshakes of a second went to whoever sent most. These know the relay's public key, which is no
/// secret, and so pass the first check.
#[test]
fn a_flood_of_garbage_from_40_addresses_keeps_neither_a_newcomer_nor_a_known_viewer_out() {
    let mut rig = keys(&[1, 2]);
    let known = SocketAddr::from(([10, 3, 0, 1], 7));
    let (join, _) = good_join(&mut rig, known, 1, &with_key(1));
    assert_eq!(raw(&mut rig, known, &ToRelay::Join(join)).len(), 1);
    rig.pass(SESSION_IDLE + SECOND);
    assert_eq!(rig.engine.viewers(), 0);

    let attackers: Vec<_> = (0..40)
        .map(|host| SocketAddr::from(([10, 4, 0, host], 7)))
        .collect();
    let mut nonce = 1000;
    let mut flood = |rig: &mut Rig, length: Duration| {
        // 4000 a second, four times what the relay works on.
        for _ in 0..length.as_millis() / 10 {
            for at in &attackers {
                nonce += 1;
                let join = garbage(rig, *at, nonce, &with_key(9));
                rig.say(*at, &ToRelay::Join(join));
            }
            rig.pass(Duration::from_millis(10));
        }
    };

    flood(&mut rig, SECOND);
    assert!(rig.engine.refusals().of(Resource::Handshakes) > 2000);
    let (join, _) = good_join(&mut rig, known, 2, &with_key(1));
    raw(&mut rig, known, &ToRelay::Join(join));
    assert_eq!(rig.engine.viewers(), 1, "who was in lately is at once");

    flood(&mut rig, SECOND);
    let newcomer = SocketAddr::from(([10, 5, 0, 1], 7));
    let (join, _) = good_join(&mut rig, newcomer, 1, &with_key(2));
    raw(&mut rig, newcomer, &ToRelay::Join(join));
    assert_eq!(rig.engine.viewers(), 2, "and so is a newcomer");
}

#[test]
fn a_handshake_is_not_looked_at_before_the_token() {
    let mut rig = psk();
    let (join, _) = good_join(&mut rig, viewer(1), 7, &with_psk());

    for stolen in [viewer(2), viewer(3)] {
        assert!(matches!(
            only(rig.say(stolen, &ToRelay::Join(join.clone()))),
            Said::Challenge(_)
        ));
    }

    assert_eq!(
        (rig.engine.viewers(), rig.engine.counts().handshakes_refused),
        (0, 0)
    );
}

#[test]
fn another_shared_key_ends_all_sessions_and_the_same_one_none() {
    let mut rig = psk();
    let guest = Guest::join(&mut rig, 1, &with_psk());
    let access = |byte| RelayAccess::Psk(SharedKey::new([byte; 32]));
    rig.engine
        .set_access(rig.now, RelayAccess::Psk(SharedKey::new(SHARED)));
    assert_eq!(
        (rig.engine.viewers(), sent(&mut rig, guest.at).len()),
        (1, 0)
    );

    rig.engine.set_access(rig.now, access(99));
    assert_eq!(rig.engine.viewers(), 0);
    assert_eq!(rig.engine.counts().revoked, 1);
    let (join, _) = good_join(&mut rig, viewer(2), 2, &with_psk());
    assert!(matches!(
        only(rig.say(viewer(2), &ToRelay::Join(join))),
        Said::Refuse(_)
    ));
    Guest::join(&mut rig, 3, &ViewerAccess::Psk(SharedKey::new([99; 32])));
}

/// From issue 14: one key of a list held 40 of 40 sessions.
#[test]
fn one_key_that_has_all_sessions_keeps_no_other_key_out() {
    let config = EngineConfig {
        max_viewers: 40,
        ..EngineConfig::default()
    };
    let mut rig = Rig::guarded(config, known(&[1, 2]));
    rig.frame("cam", 1, 100, 0);
    for n in 0..40 {
        Guest::join(&mut rig, n, &with_key(1));
    }

    Guest::join(&mut rig, 100, &with_key(2));
    assert_eq!(rig.engine.viewers(), 40);
    assert_eq!(rig.engine.counts().evicted, 1);
}

#[test]
fn one_key_gets_as_many_sessions_as_the_settings_say_from_wherever_it_comes() {
    let config = EngineConfig {
        sessions: SessionLimits {
            per_key: 2,
            ..SessionLimits::default()
        },
        ..EngineConfig::default()
    };
    let mut rig = Rig::guarded(config, known(&[1, 2]));
    rig.frame("cam", 1, 100, 0);
    Guest::join(&mut rig, 1, &with_key(1));
    Guest::join(&mut rig, 2, &with_key(1));

    // By a place that another key has: that one has left it.
    Guest::join(&mut rig, 3, &with_key(2));
    for at in [viewer(3), SocketAddr::from(([10, 0, 0, 9], 7))] {
        let (join, _) = good_join(&mut rig, at, 77, &with_key(1));
        let Said::Refuse(refuse) = only(rig.say(at, &ToRelay::Join(join))) else {
            panic!()
        };
        assert_eq!(refuse.refusal(), Refusal::Busy);
    }

    assert_eq!(rig.engine.viewers(), 3);
    assert_eq!(rig.engine.refusals().of(Resource::Sessions), 2);
}

/// What somebody sends from `at` who knows the relay and has no key that it knows.
fn garbage(rig: &mut Rig, at: SocketAddr, nonce: u64, access: &ViewerAccess) -> Join {
    let token = rig.engine.token_key.mint(rig.now, at).to_vec();
    let join = Join {
        token: token.into(),
        ..join(nonce)
    };
    join.envelope(access, vec![7; 160].into())
}

#[test]
fn handshakes_are_limited_for_each_source_and_for_all() {
    let mut rig = psk();
    for n in 0..200 {
        let join = garbage(&mut rig, viewer(1), n, &with_psk());
        rig.say(viewer(1), &ToRelay::Join(join));
    }

    let counts = *rig.engine.counts();
    assert_eq!(counts.handshakes_refused, u64::from(HANDSHAKES_PER_SOURCE));
    assert_eq!(
        rig.engine.refusals().of(Resource::Handshakes),
        200 - u64::from(HANDSHAKES_PER_SOURCE)
    );

    let elsewhere = SocketAddr::from(([10, 0, 0, 2], 5));
    let (join, _) = good_join(&mut rig, elsewhere, 1, &with_psk());
    assert_eq!(raw(&mut rig, elsewhere, &ToRelay::Join(join)).len(), 1);
    assert_eq!(rig.engine.viewers(), 1);
}

#[test]
fn the_same_join_again_gets_the_same_bytes_until_the_session_has_been_used() {
    let mut rig = psk();
    let mut guest = Guest::join(&mut rig, 1, &with_psk());

    for _ in 0..3 {
        let join = ToRelay::Join(guest.join.clone());
        assert_eq!(raw(&mut rig, guest.at, &join), [guest.accept.clone()]);
    }

    guest.keep_alive(&mut rig).unwrap();
    let join = ToRelay::Join(guest.join.clone());
    assert!(raw(&mut rig, guest.at, &join).is_empty());
    assert!(guest.keep_alive(&mut rig).is_some());
    assert_eq!(rig.engine.counts().joins, 1);
}

#[test]
fn messages_that_the_viewer_has_not_sealed_do_nothing() {
    let mut rig = psk();
    let mut guest = Guest::join(&mut rig, 1, &with_psk());
    let session = guest.session;
    let plain = [
        ToRelay::KeepAlive(
            session,
            KeepAlive {
                paused: true,
                sent_us: 1,
                ..KeepAlive::default()
            },
        ),
        ToRelay::Goodbye(session, Goodbye::default()),
        ToRelay::Repair(
            session,
            Repair {
                epoch: 1,
                number: 100,
                ranges: vec![0, 9],
                ..Repair::default()
            },
        ),
        ToRelay::Sealed(session, 0, &[7; 40]),
    ];

    for message in &plain {
        assert!(raw(&mut rig, guest.at, message).is_empty(), "{message:?}");
    }

    assert_eq!(rig.engine.counts().unauthentic, plain.len() as u64);
    // They do not keep the session either.
    for _ in 0..4 {
        rig.pass(SECOND);
        raw(&mut rig, guest.at, &plain[0]);
    }

    assert_eq!(rig.engine.viewers(), 0);
    assert!(guest.keep_alive(&mut rig).is_none());
}

#[test]
fn a_message_that_comes_twice_counts_once() {
    let mut rig = psk();
    let mut guest = Guest::join(&mut rig, 1, &with_psk());
    let body = KeepAlive {
        sent_us: 1,
        ..KeepAlive::default()
    };

    let datagram = guest.sealed(&ToRelay::KeepAlive(guest.session, body));
    let mut answers = 0;

    for _ in 0..10 {
        rig.outputs();
        rig.engine.on_datagram(
            rig.now,
            Route {
                remote: guest.at,
                local: None,
            },
            &datagram,
        );

        answers += sent(&mut rig, guest.at).len();
    }

    assert_eq!((answers, rig.engine.counts().unauthentic), (1, 9));
}

#[test]
fn a_session_that_is_gone_is_told_so_openly_and_a_goodbye_is_sealed() {
    let mut rig = psk();
    let mut guest = Guest::join(&mut rig, 1, &with_psk());
    rig.engine.shut_down();
    let farewell = sent(&mut rig, guest.at);
    assert!(matches!(
        ToViewer::parse(&farewell[0]),
        Ok(ToViewer::Sealed(..))
    ));

    let body = KeepAlive {
        sent_us: 1,
        ..KeepAlive::default()
    };

    let message = guest.sealed(&ToRelay::KeepAlive(guest.session, body));
    rig.engine.on_datagram(
        rig.now,
        Route {
            remote: guest.at,
            local: None,
        },
        &message,
    );

    let answer = sent(&mut rig, guest.at).pop().unwrap();
    assert_eq!(ToViewer::parse(&answer), Ok(ToViewer::Reset(guest.session)));
    assert!(answer.len() < message.len());
}

#[test]
fn a_list_is_sealed_too() {
    let mut rig = psk();
    for n in 0..60 {
        rig.heartbeat(&format!("{n:060}"), 1, 5, State::Live);
    }

    let (join, _) = good_join(&mut rig, viewer(1), 7, &ViewerAccess::Open);
    let (join, initiator) = asking(Join { list: true, ..join }, &with_psk());
    let answers = raw(&mut rig, viewer(1), &ToRelay::Join(join));

    assert!(answers[0].len() <= JOIN_BYTES);
    let Ok(ToViewer::Accept(outer)) = ToViewer::parse(&answers[0]) else {
        panic!()
    };

    assert!(outer.streams.is_empty());
    let (payload, _) = initiator.unwrap().finish(&outer.handshake).unwrap();
    let list = Accept::decode(payload.as_slice()).unwrap();
    assert!(list.streams.len() > 5 && list.keys.is_empty());
    assert_eq!(rig.engine.viewers(), 0);
}

#[test]
fn a_viewer_that_joins_opens_its_first_picture_also_just_after_a_rotation() {
    let mut rig = psk();
    rig.engine.config.key_rotation = SECOND;
    let mut first = Guest::join(&mut rig, 1, &with_psk());
    let shown = rig
        .engine
        .streams
        .iter()
        .next()
        .unwrap()
        .retransmit_buffer()
        .find(FrameId {
            epoch: 1,
            number: 100,
        })
        .unwrap()
        .clone();

    for _ in 0..12 {
        rig.pass(SECOND / 4);
        rig.heartbeat("cam", 1, 100, State::Live);
        first.keep_alive(&mut rig);
    }

    assert!(rig.engine.counts().keys_rotated >= 1);
    rig.frame("cam", 1, 101, 0);
    let (join, initiator) = good_join(&mut rig, viewer(2), 9, &with_psk());
    rig.outputs();
    let mut datagram = Vec::new();
    ToRelay::Join(join).encode(&mut datagram);
    rig.engine.on_datagram(
        rig.now,
        Route {
            remote: viewer(2),
            local: None,
        },
        &datagram,
    );

    let (mut accept, mut welcome) = (None, None);
    for output in rig.outputs() {
        match output {
            Output::Send { datagram, .. } => accept = Some(datagram),
            Output::Transmit(transmit) => welcome = Some(transmit),
            _ => {}
        }
    }

    let Ok(ToViewer::Accept(outer)) = ToViewer::parse(accept.as_ref().unwrap()) else {
        panic!()
    };

    let (payload, _) = initiator.unwrap().finish(&outer.handshake).unwrap();
    let keys: Vec<_> = Accept::decode(payload.as_slice())
        .unwrap()
        .keys
        .iter()
        .filter_map(MediaKey::from_message)
        .collect();

    let mut datagram = welcome.unwrap().packets.datagrams(0..1).to_vec();
    assert!(
        keys.iter()
            .any(|key| key.open(&mut datagram.clone()).is_some())
    );

    assert!(
        keys.iter()
            .all(|key| key.open(&mut shown.datagrams(0..1).to_vec()).is_none())
    );

    datagram[50] ^= 1;
    assert!(
        keys.iter()
            .all(|key| key.open(&mut datagram.clone()).is_none())
    );
}

#[test]
fn a_hundred_rotations_with_a_fiftieth_of_all_messages_lost_cost_no_frame() {
    let mut rig = psk();
    rig.engine.config.key_rotation = SECOND;
    let mut guests: Vec<_> = (1..=5)
        .map(|n| Guest::join(&mut rig, n, &with_psk()))
        .collect();
    let mut lost = 0_u64;
    let mut number = 100;
    let mut dropped = |rig: &mut Rig| {
        lost += 1;
        let _ = rig;
        lost.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32 < (1 << 32) / 50
    };

    while rig.engine.counts().keys_rotated < 100 {
        number += 1;
        for guest in &mut guests {
            let body = KeepAlive {
                sent_us: 5,
                key_generation: guest.generation(),
                report: Some(Report {
                    frames_whole: number,
                    ..Report::default()
                }),
                ..KeepAlive::default()
            };

            if number % 8 == 0 && !dropped(&mut rig) {
                for answer in guest.tell(&mut rig, &ToRelay::KeepAlive(guest.session, body)) {
                    if !dropped(&mut rig) {
                        guest.hear(&answer).unwrap();
                    }
                }
            }
        }

        rig.outputs();
        rig.pass(FRAME_TIME);

        for output in rig.outputs() {
            let Output::Send { to, datagram } = output else {
                continue;
            };

            let guest = guests
                .iter_mut()
                .find(|guest| guest.at == to.remote)
                .unwrap();

            if !dropped(&mut rig) {
                guest.hear(&datagram).unwrap();
            }
        }

        let transmit = next_frame(&mut rig, number);
        assert!(
            guests.iter().all(|guest| guest.opens(&transmit)),
            "frame {number}"
        );
    }

    assert_eq!(rig.engine.viewers(), 5);
}

#[test]
fn a_viewer_whose_key_is_taken_out_opens_nothing_two_seconds_later_and_the_others_everything() {
    let mut rig = keys(&[3, 4]);
    let mut stays = Guest::join(&mut rig, 1, &with_key(3));
    let mut goes = Guest::join(&mut rig, 2, &with_key(4));
    // In the worst case the next key has just been announced to it.
    rig.engine.config.key_rotation = Duration::ZERO;
    rig.outputs();
    rig.pass(Duration::from_millis(100));

    for output in rig.outputs() {
        let Output::Send { to, datagram } = output else {
            continue;
        };

        if to.remote == goes.at {
            goes.hear(&datagram)
        } else {
            stays.hear(&datagram)
        };
    }

    rig.engine.config.key_rotation = KEY_ROTATION;
    assert_eq!(goes.generation(), 2);
    rig.engine.set_access(rig.now, known(&[3]));
    let mut number = 200;

    for output in rig.outputs() {
        let Output::Send { to, datagram } = output else {
            continue;
        };

        if to.remote == goes.at {
            assert!(goes.hear(&datagram).is_none());
        } else {
            stays.hear(&datagram);
        }
    }

    assert_eq!((rig.engine.viewers(), rig.engine.counts().revoked), (1, 1));
    let revoked = rig.now;

    while rig.now.saturating_since(revoked) < SECOND * 4 {
        rig.pass(FRAME_TIME);
        number += 1;
        let transmit = next_frame(&mut rig, number);
        assert!(stays.opens(&transmit));

        if rig.now.saturating_since(revoked) > Duration::from_millis(1200) {
            assert!(!goes.opens(&transmit));
        }

        if number % 8 == 0 {
            stays.keep_alive(&mut rig).unwrap();
        }
    }

    let (join, _) = good_join(&mut rig, viewer(2), 77, &with_key(4));
    assert!(
        matches!(only(rig.say(viewer(2), &ToRelay::Join(join))), Said::Refuse(refuse) if refuse.refusal() == Refusal::Key)
    );
}

#[test]
fn the_relay_begins_each_life_with_another_key() {
    let mut rig = psk();
    let first = Guest::join(&mut rig, 1, &with_psk())
        .keys
        .pop()
        .unwrap()
        .to_message();

    let mut again = Rig {
        engine: Engine::new(
            EngineConfig::default(),
            RelayAccess::Psk(SharedKey::new(SHARED)),
            [6; 32],
        ),
        now: rig.now,
    };

    again.frame("cam", 1, 100, 0);
    assert_ne!(
        Guest::join(&mut again, 1, &with_psk())
            .keys
            .pop()
            .unwrap()
            .to_message(),
        first
    );
}

#[test]
fn no_key_stands_in_what_is_printed() {
    let mut rig = keys(&[3]);
    Guest::join(&mut rig, 1, &with_key(3));
    let printed = format!("{:?}", rig.engine);
    assert!(printed.contains("hidden"), "{printed}");
}

#[test]
fn detections_are_taken_sealed_and_not_in_the_clear() {
    let mut rig = psk();
    let mut guest = Guest::join(&mut rig, 1, &with_psk());
    let body = Detections {
        screen: 6,
        detections: vec![Bytes::new()],
        sent: 9,
        ..Detections::default()
    };

    raw(
        &mut rig,
        guest.at,
        &ToRelay::Detections(guest.session, body),
    );

    assert_eq!(
        (
            rig.engine.counts().unauthentic,
            rig.engine.counts().detections
        ),
        (1, 0)
    );

    guest.find(&mut rig, 1);
    let sealed = guest.sealed(&ToRelay::Detections(
        guest.session,
        Detections {
            screen: 5,
            ..Detections::default()
        },
    ));

    rig.engine.on_datagram(
        rig.now,
        Route {
            remote: viewer(2),
            local: None,
        },
        &sealed,
    );

    assert_eq!(
        (
            rig.engine.counts().unauthentic,
            rig.engine.counts().detections
        ),
        (1, 1)
    );

    rig.pass(SECOND);
    let feedback = |output| {
        if let Output::Feedback { feedback, .. } = output {
            Some(feedback)
        } else {
            None
        }
    };

    let feedback: Vec<FeedbackReport> = rig.outputs().into_iter().filter_map(feedback).collect();
    let seen: Vec<_> = feedback
        .iter()
        .flat_map(|feedback| &feedback.viewers)
        .filter(|seen| seen.screen != 0)
        .collect();

    assert!(!seen.is_empty() && seen.iter().all(|seen| seen.screen == 5));
}

#[test]
fn a_new_handshake_within_a_session_changes_its_channel_and_nothing_else() {
    for (mut rig, access) in [(psk(), with_psk()), (keys(&[4]), with_key(4))] {
        let mut guest = Guest::join(&mut rig, 1, &access);
        guest.keep_alive(&mut rig).unwrap();
        let (plain, _) = good_join(&mut rig, guest.at, 99, &ViewerAccess::Open);
        let session = guest.session;
        let (join, initiator) = asking(Join { session, ..plain }, &access);
        let answers = raw(&mut rig, guest.at, &ToRelay::Join(join.clone()));
        let Ok(ToViewer::Accept(outer)) = ToViewer::parse(&answers[0]) else {
            panic!("{answers:?}")
        };

        // Until the viewer shows that it has the answer, both its keep-alives and the answers go by the former channel.
        guest.keep_alive(&mut rig).unwrap();
        let again = raw(&mut rig, guest.at, &ToRelay::Join(join.clone()));
        assert_eq!(again, answers, "its answer may have been lost");

        let (payload, channel) = initiator.unwrap().finish(&outer.handshake).unwrap();
        let accept = Accept::decode(&payload[..]).unwrap();
        assert_eq!(accept.session, session);
        guest.channel = channel;
        guest.keep_alive(&mut rig).unwrap();
        assert!(guest.opens(&next_frame(&mut rig, 101)));
        let counts = rig.engine.counts();
        assert_eq!(
            (counts.joins, counts.renewals, counts.unauthentic),
            (1, 1, 0)
        );

        // What was recorded of it changes nothing.
        assert!(raw(&mut rig, guest.at, &ToRelay::Join(join)).is_empty());
        guest.keep_alive(&mut rig).unwrap();
    }
}

#[test]
fn a_handshake_that_names_the_session_of_another_viewer_opens_its_own() {
    let mut rig = keys(&[3, 4]);
    let guest = Guest::join(&mut rig, 1, &with_key(3));
    let (plain, _) = good_join(&mut rig, viewer(2), 99, &ViewerAccess::Open);
    let session = guest.session;
    let (join, _) = asking(Join { session, ..plain }, &with_key(4));
    raw(&mut rig, viewer(2), &ToRelay::Join(join));
    assert_eq!((rig.engine.viewers(), rig.engine.counts().renewals), (2, 0));
}
