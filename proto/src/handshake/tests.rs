//! What a handshake and its channel must hold.

use super::*;
use crate::datagram::ToViewer;
use crate::message::{Accept, StreamKey};

const NONCE: u64 = 0x0102_0304_0506_0708;
const TOKEN: &[u8] = &[0x77; 16];
const REQUEST: &[u8] = b"cam-a please";

/// Two sides that should get on with each other.
struct Pair {
    viewer: ViewerAccess,
    relay: RelayAccess,
}

impl Pair {
    fn psk() -> Self {
        let key = SharedKey::new([5; 32]);
        Self {
            viewer: ViewerAccess::Psk(key.clone()),
            relay: RelayAccess::Psk(key),
        }
    }

    fn keys() -> Self {
        let (viewer, relay) = (PrivateKey::new([6; 32]), PrivateKey::new([7; 32]));
        let viewers = vec![
            (key(9), "hall".to_owned()),
            (viewer.public(), "lobby".to_owned()),
        ];

        Self {
            viewer: ViewerAccess::Keys {
                own: viewer,
                relay: relay.public(),
            },
            relay: RelayAccess::Keys {
                own: relay,
                viewers,
            },
        }
    }

    fn both() -> [Self; 2] {
        [Self::psk(), Self::keys()]
    }

    fn begin(&self) -> (Initiator, Vec<u8>) {
        Initiator::begin(&self.viewer, NONCE, TOKEN, REQUEST, [1; 32]).expect("there is a key")
    }

    fn answer(&self, message: &[u8]) -> Result<Responder, HandshakeError> {
        answer(&self.relay, NONCE, TOKEN, message, [2; 32])
    }

    fn channels(&self) -> (Channel, Channel) {
        let (mut initiator, first) = self.begin();
        let (second, relay) = self.answer(&first).unwrap().finish(b"welcome").unwrap();
        let (payload, viewer) = initiator.finish(&second).unwrap();
        assert_eq!(payload, b"welcome");
        (viewer, relay)
    }
}

fn key(seed: u8) -> PublicKey {
    PrivateKey::new([seed; 32]).public()
}

fn flipped(message: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..message.len() * 8).map(|bit| {
        let mut damaged = message.to_vec();
        damaged[bit / 8] ^= 1 << (bit % 8);
        damaged
    })
}

/// What a viewer sends with its first message.
fn sealed_join(pair: &Pair) -> Join {
    let join = Join {
        version: 1,
        nonce: NONCE,
        token: TOKEN.into(),
        ..Join::default()
    };
    let (_, first) = pair.begin();
    join.envelope(&pair.viewer, first.into())
}

#[test]
fn a_join_shows_that_its_sender_knows_the_relay_and_no_field_of_it_can_be_changed() {
    for pair in Pair::both() {
        let mac = JoinMac::of_relay(&pair.relay).unwrap();
        let join = sealed_join(&pair);
        assert!(mac.holds(&join));

        let altered = |bytes: &Bytes| {
            let mut bytes = bytes.to_vec();
            bytes[3] ^= 1;
            Bytes::from(bytes)
        };
        let changed = [
            Join {
                nonce: NONCE + 1,
                ..join.clone()
            },
            Join {
                token: altered(&join.token),
                ..join.clone()
            },
            Join {
                handshake: altered(&join.handshake),
                ..join.clone()
            },
            Join {
                mac: altered(&join.mac),
                ..join.clone()
            },
            Join {
                mac: join.mac.slice(..15),
                ..join.clone()
            },
            Join {
                mac: Bytes::new(),
                ..join
            },
        ];
        assert!(changed.iter().all(|join| !mac.holds(join)));
    }

    let [psk, keys] = Pair::both();
    let by_keys = JoinMac::of_relay(&keys.relay).unwrap();
    assert!(!by_keys.holds(&sealed_join(&psk)));
    assert!(JoinMac::of_relay(&RelayAccess::Open).is_none());
    let join = Join::default().envelope(&keys.viewer, Bytes::new());
    assert!(
        join.mac.is_empty(),
        "without a handshake there is nothing to show"
    );
}

#[test]
fn both_sides_say_what_they_ask_for() {
    assert_eq!(
        [RelayAccess::Open.kind(), ViewerAccess::Open.kind()],
        [Access::Open; 2]
    );

    assert_eq!(
        Pair::both().map(|pair| pair.viewer.kind()),
        [Access::Psk, Access::Keys]
    );

    assert_eq!(
        Pair::both().map(|pair| pair.relay.kind()),
        [Access::Psk, Access::Keys]
    );
}

#[test]
fn who_has_the_key_gets_a_channel_both_ways() {
    for pair in Pair::both() {
        let (mut viewer, mut relay) = pair.channels();
        for count in 0..100_u64 {
            let (counter, sealed) = viewer.seal(b"keep alive");
            assert_eq!(
                (counter, relay.open(counter, &sealed)),
                (count, Some(b"keep alive".to_vec()))
            );

            let (counter, sealed) = relay.seal(b"pulse");
            assert_eq!(
                (counter, viewer.open(counter, &sealed)),
                (count, Some(b"pulse".to_vec()))
            );
        }
    }
}

#[test]
fn a_relay_knows_who_has_come_when_each_has_a_key() {
    let pair = Pair::keys();
    let responder = pair.answer(&pair.begin().1).unwrap();
    assert_eq!(
        (responder.identity(), responder.name()),
        (Some(&key(6)), Some("lobby"))
    );

    let pair = Pair::psk();
    let responder = pair.answer(&pair.begin().1).unwrap();
    assert_eq!((responder.identity(), responder.name()), (None, None));
}

#[test]
fn a_first_message_holds_for_its_nonce_and_token_only() {
    for pair in Pair::both() {
        let (_, first) = pair.begin();
        for (nonce, token) in [
            (NONCE + 1, TOKEN),
            (NONCE, &[0x78; 16][..]),
            (NONCE, &[]),
            (NONCE, &[0x77; 17]),
        ] {
            let refused = answer(&pair.relay, nonce, token, &first, [2; 32]).map(|_| ());
            assert_eq!(refused, Err(HandshakeError::Refused));
        }
    }
}

#[test]
fn a_handshake_with_any_bit_flipped_is_refused_and_the_true_answer_still_taken() {
    for pair in Pair::both() {
        let (mut initiator, first) = pair.begin();
        for damaged in flipped(&first) {
            assert_eq!(
                pair.answer(&damaged).map(|_| ()),
                Err(HandshakeError::Refused)
            );
        }

        let (second, _) = pair.answer(&first).unwrap().finish(b"welcome").unwrap();
        for damaged in flipped(&second) {
            assert_eq!(
                initiator.finish(&damaged).map(|_| ()),
                Err(HandshakeError::Refused)
            );
        }

        for cut in 0..second.len() {
            assert_eq!(
                initiator.finish(&second[..cut]).map(|_| ()),
                Err(HandshakeError::Refused)
            );
        }

        assert_eq!(initiator.finish(&second).unwrap().0, b"welcome");
        assert_eq!(
            initiator.finish(&second).map(|_| ()),
            Err(HandshakeError::Refused),
            "it is done once"
        );
    }
}

#[test]
fn a_first_message_that_is_cut_or_longer_is_refused() {
    for pair in Pair::both() {
        let (_, first) = pair.begin();
        for cut in 0..first.len() {
            assert_eq!(
                pair.answer(&first[..cut]).map(|_| ()),
                Err(HandshakeError::Refused)
            );
        }

        for more in [1, 16, MAX_HANDSHAKE, 70_000] {
            let longer = [&first[..], &vec![0; more]].concat();
            assert_eq!(
                pair.answer(&longer).map(|_| ()),
                Err(HandshakeError::Refused)
            );
        }
    }
}

#[test]
fn what_a_viewer_asks_for_comes_encrypted_and_whole() {
    let join = Join {
        version: 1,
        nonce: NONCE,
        token: TOKEN.into(),
        stream: "cam-a".into(),
        receive_capacity: 7,
        name: "lobby".into(),
        paused: true,
        ..Join::default()
    };

    for pair in Pair::both() {
        let begun = Initiator::begin(&pair.viewer, NONCE, TOKEN, &join.request(), [1; 32]);
        let sent = join.envelope(&pair.viewer, begun.unwrap().1.into());
        let bytes = sent.encode_to_vec();
        for name in [&b"cam-a"[..], b"lobby"] {
            assert!(!bytes.windows(name.len()).any(|window| window == name));
        }

        let responder = pair.answer(&sent.handshake).unwrap();
        let opened = sent.with_request(responder.request()).unwrap();
        let whole = Join {
            handshake: sent.handshake.clone(),
            mac: Bytes::new(),
            ..join.clone()
        };
        assert_eq!(opened, whole);
    }

    let long = Join {
        name: "x".repeat(MAX_VIEWER_NAME + 1),
        ..Join::default()
    };
    assert_eq!(join.with_request(&long.request()), None);
    assert_eq!(join.with_request(&[0xff]), None);
}

#[test]
fn a_wrong_key_is_refused() {
    let (mut psk, mut keys) = (Pair::psk(), Pair::keys());
    let (psk_first, keys_first) = (psk.begin().1, keys.begin().1);
    psk.relay = RelayAccess::Psk(SharedKey::new([4; 32]));
    assert_eq!(
        psk.answer(&psk_first).map(|_| ()),
        Err(HandshakeError::Refused)
    );

    assert_eq!(
        psk.answer(&keys_first).map(|_| ()),
        Err(HandshakeError::Refused)
    );

    let RelayAccess::Keys { own, .. } = &mut keys.relay else {
        unreachable!("keys were asked for")
    };

    *own = PrivateKey::new([8; 32]);
    assert_eq!(
        keys.answer(&keys_first).map(|_| ()),
        Err(HandshakeError::Refused)
    );

    assert_eq!(
        keys.answer(&psk_first).map(|_| ()),
        Err(HandshakeError::Refused)
    );
}

#[test]
fn an_unknown_viewer_is_told_from_garbage() {
    let mut pair = Pair::keys();
    let first = pair.begin().1;
    let RelayAccess::Keys { viewers, .. } = &mut pair.relay else {
        unreachable!("keys were asked for")
    };

    viewers.pop();
    assert_eq!(
        pair.answer(&first).map(|_| ()),
        Err(HandshakeError::Unknown(key(6)))
    );

    assert_eq!(
        pair.answer(&[0; 96]).map(|_| ()),
        Err(HandshakeError::Refused)
    );
}

#[test]
fn who_asks_for_nothing_takes_no_handshake() {
    assert!(Initiator::begin(&ViewerAccess::Open, NONCE, TOKEN, &[], [1; 32]).is_none());
    let refused = answer(
        &RelayAccess::Open,
        NONCE,
        TOKEN,
        &Pair::psk().begin().1,
        [2; 32],
    )
    .map(|_| ());

    assert_eq!(refused, Err(HandshakeError::NotAsked));
}

#[test]
fn another_relay_cannot_answer() {
    for pair in Pair::both() {
        let (mut initiator, _) = pair.begin();
        let (_, elsewhere) =
            Initiator::begin(&pair.viewer, NONCE, TOKEN, REQUEST, [3; 32]).expect("there is a key");
        let (second, _) = pair.answer(&elsewhere).unwrap().finish(b"welcome").unwrap();
        assert_eq!(
            initiator.finish(&second).map(|_| ()),
            Err(HandshakeError::Refused)
        );
    }
}

#[test]
fn a_point_of_small_order_gives_no_channel() {
    // With the shared key known, the first message of NNpsk0 can carry any ephemeral key: this side makes one of zeros.
    let key = SharedKey::new([5; 32]);
    let prologue = prologue(NONCE, TOKEN);
    let mut state = Builder::with_resolver(PSK.parse().unwrap(), Box::new(Zero))
        .prologue(&prologue)
        .and_then(|builder| builder.psk(0, key.bytes()))
        .and_then(Builder::build_initiator)
        .unwrap();

    let mut first = vec![0; 48];
    state.write_message(&[], &mut first).unwrap();
    assert_eq!(first[..32], [0; 32]);
    let responder = Pair::psk().answer(&first).unwrap();
    assert_eq!(
        responder.finish(b"welcome").map(|_| ()),
        Err(HandshakeError::Refused)
    );
}

#[test]
fn a_message_opens_once_in_any_order_within_the_window() {
    for pair in Pair::both() {
        let (mut viewer, mut relay) = pair.channels();
        let sealed: Vec<_> = (0..100_u8).map(|i| viewer.seal(&[i])).collect();
        for (counter, ciphertext) in sealed.iter().rev().take(64) {
            assert_eq!(relay.open(*counter, ciphertext), Some(vec![*counter as u8]));
        }

        for (counter, ciphertext) in &sealed {
            assert_eq!(
                relay.open(*counter, ciphertext),
                None,
                "seen, or older than the window"
            );
        }
    }
}

#[test]
fn a_sealed_message_with_any_bit_flipped_or_another_counter_is_refused_and_leaves_no_trace() {
    let (mut viewer, mut relay) = Pair::psk().channels();
    let (counter, sealed) = viewer.seal(b"keep alive");
    for damaged in flipped(&sealed) {
        assert_eq!(relay.open(counter, &damaged), None);
    }

    for other in [1, 64, 1 << 40, u64::MAX - 1, u64::MAX] {
        assert_eq!(relay.open(other, &sealed), None);
    }

    for cut in 0..sealed.len() {
        assert_eq!(relay.open(counter, &sealed[..cut]), None);
    }

    assert_eq!(
        viewer.open(counter, &sealed),
        None,
        "not what it has sealed itself"
    );

    assert_eq!(
        relay.open(counter, &sealed),
        Some(b"keep alive".to_vec()),
        "the window has not moved"
    );
}

#[test]
fn a_new_channel_takes_over_without_a_message_lost_and_the_former_is_forgotten() {
    for pair in Pair::both() {
        let (viewer, relay) = pair.channels();
        let (mut viewer, mut relay) = (Channels::new(viewer), Channels::new(relay));
        let begun = |seed| Initiator::begin(&pair.viewer, NONCE, TOKEN, REQUEST, [seed; 32]);
        let (mut initiator, first) = begun(11).unwrap();
        let responder = answer(&pair.relay, NONCE, TOKEN, &first, [12; 32]).unwrap();
        let (second, offered) = responder.finish(b"again").unwrap();

        let on_its_way = viewer.seal(b"before");
        relay.offer(offered);
        let pulse = relay.seal(b"still as before");
        viewer.switch(initiator.finish(&second).unwrap().1);
        assert_eq!(
            viewer.open(pulse.0, &pulse.1).unwrap(),
            b"still as before",
            "the relay does not know yet that the offer has come"
        );

        assert!(relay.is_offering());
        let anew = viewer.seal(b"anew");
        assert_eq!(relay.open(anew.0, &anew.1).unwrap(), b"anew");
        assert!(!relay.is_offering());
        assert_eq!(relay.open(anew.0, &anew.1), None, "once");
        assert_eq!(relay.open(on_its_way.0, &on_its_way.1).unwrap(), b"before");

        let late = relay.former.as_mut().unwrap().0.seal(b"late");
        for _ in 0..=FORMER_MESSAGES {
            let (counter, sealed) = relay.seal(b"pulse");
            assert!(viewer.open(counter, &sealed).is_some());
            let (counter, sealed) = viewer.seal(b"keep alive");
            assert!(relay.open(counter, &sealed).is_some());
        }

        assert!(viewer.former.is_none() && relay.former.is_none());
        assert_eq!(viewer.open(late.0, &late.1), None);
    }
}

#[test]
fn a_session_opens_nothing_of_another() {
    let (mut viewer, _) = Pair::psk().channels();
    let pair = Pair::psk();
    let first = pair.begin().1;
    let responder = answer(&pair.relay, NONCE, TOKEN, &first, [9; 32]).unwrap();
    let (_, mut relay) = responder.finish(b"welcome").unwrap();
    let (counter, sealed) = viewer.seal(b"keep alive");
    assert_eq!(relay.open(counter, &sealed), None);
}

#[test]
fn the_largest_message_fits_its_datagram() {
    let (mut viewer, mut relay) = Pair::keys().channels();
    let (counter, sealed) = relay.seal(&[1; MAX_PLAINTEXT]);
    let mut out = Vec::new();
    ToViewer::Sealed(9, counter, &sealed).encode(&mut out);
    assert_eq!(out.len(), MAX_DATAGRAM);
    assert_eq!(viewer.open(counter, &sealed), Some(vec![1; MAX_PLAINTEXT]));
    assert_eq!(viewer.open(counter + 1, &[0; MAX_DATAGRAM]), None);
}

#[test]
fn an_accept_with_the_largest_payload_is_smaller_than_a_join() {
    let pair = Pair::keys();
    let responder = || pair.answer(&pair.begin().1).unwrap();
    let (handshake, _) = responder().finish(&[1; MAX_PAYLOAD]).unwrap();
    let mut out = Vec::new();
    ToViewer::Accept(Accept {
        nonce: u64::MAX,
        handshake: handshake.into(),
        ..Accept::default()
    })
    .encode(&mut out);

    assert!(out.len() < JOIN_BYTES, "{}", out.len());
    let refused = responder().finish(&[1; MAX_PAYLOAD + 1]).map(|_| ());
    assert_eq!(refused, Err(HandshakeError::TooLong(MAX_PAYLOAD + 1)));
}

#[test]
fn no_debug_shows_a_key() {
    for pair in Pair::both() {
        let (initiator, first) = pair.begin();
        let responder = pair.answer(&first).unwrap();
        let shown = format!(
            "{:?} {:?} {initiator:?} {responder:?} {:?}",
            pair.viewer,
            pair.relay,
            pair.channels()
        );

        for secret in ["05", "06", "07"] {
            assert!(!shown.contains(&secret.repeat(4)), "{shown}");
        }

        for secret in ["5, 5", "6, 6", "7, 7"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }

    let message = StreamKey {
        generation: 3,
        secret: vec![5; 16],
    };

    assert_eq!(
        format!("{message:?}"),
        "StreamKey(generation 3, secret hidden)"
    );

    let accept = format!(
        "{:?}",
        Accept {
            keys: vec![message],
            ..Accept::default()
        }
    );

    assert!(
        accept.contains("hidden") && !accept.contains("5, 5"),
        "{accept}"
    );
}

/// A resolver whose ephemeral public key is zero, and which does not mind.
struct Zero;

impl snow::resolvers::CryptoResolver for Zero {
    fn resolve_rng(&self) -> Option<Box<dyn snow::types::Random>> {
        Some(Box::new(Self))
    }

    fn resolve_dh(&self, _: &snow::params::DHChoice) -> Option<Box<dyn snow::types::Dh>> {
        Some(Box::new(Self))
    }

    fn resolve_hash(&self, _: &snow::params::HashChoice) -> Option<Box<dyn snow::types::Hash>> {
        Some(Box::<crate::noise::Blake2s>::default())
    }

    fn resolve_cipher(
        &self,
        choice: &snow::params::CipherChoice,
    ) -> Option<Box<dyn snow::types::Cipher>> {
        snow::resolvers::RingResolver.resolve_cipher(choice)
    }
}

impl snow::types::Random for Zero {
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), snow::Error> {
        out.fill(0);
        Ok(())
    }
}

impl snow::types::Dh for Zero {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        32
    }

    fn priv_len(&self) -> usize {
        32
    }

    fn set(&mut self, _: &[u8]) {}

    fn generate(&mut self, _: &mut dyn snow::types::Random) -> Result<(), snow::Error> {
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &[0; 32]
    }

    fn privkey(&self) -> &[u8] {
        &[0; 32]
    }

    fn dh(&self, _: &[u8], _: &mut [u8]) -> Result<(), snow::Error> {
        Ok(())
    }
}
