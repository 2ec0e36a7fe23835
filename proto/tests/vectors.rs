//! The test vectors of `tests/vectors/`, by which another implementation can be checked: this one makes the same bytes
//! of the same inputs, and takes them back.
//!
//! After a change of the wire format, `FANLIGHT_WRITE_VECTORS=1 cargo test -p fanlight-proto --test vectors` writes the
//! files anew.

#![expect(clippy::unwrap_used, reason = "what fails in a test fails the test")]

use std::path::PathBuf;

use fanlight_proto::clock::Time;
use fanlight_proto::datagram::{
    DATA_HEADER, DataHeader, KeySlot, SEAL_BYTES, SEALED_DATA_BYTES, ToRelay, ToViewer, VERSION,
};
use fanlight_proto::handshake::{
    Channel, Initiator, JoinMac, PrivateKey, RelayAccess, SharedKey, ViewerAccess, answer,
};
use fanlight_proto::limits::SHARD_BYTES;
use fanlight_proto::message::{Accept, FrameId, Join, KeepAlive, Pulse, StreamInfo};
use fanlight_proto::seal::MediaKey;
use fanlight_proto::secrets::Secrets;
use fanlight_proto::token::TokenKey;
use serde_json::{Value, json};

const NONCE: u64 = 0x0123_4567_89ab_cdef;
const SESSION: u64 = 0xfeed_face_cafe_beef;

#[test]
fn tokens_are_those_of_the_file() {
    let file = check("token", &tokens());
    for case in file["cases"].as_array().unwrap() {
        let token_key = TokenKey::new(bytes(&file["secret"]).try_into().unwrap());
        let now = Time::from_nanos(case["time_ns"].as_u64().unwrap());
        assert!(token_key.holds(
            now,
            case["address"].as_str().unwrap().parse().unwrap(),
            &bytes(&case["token"])
        ));
    }
}

#[test]
fn media_datagrams_are_those_of_the_file() {
    let file = check("media", &media());
    let key = MediaKey::new(
        file["generation"].as_u64().unwrap() as u32,
        bytes(&file["secret"]).try_into().unwrap(),
    );

    for case in file["sealed"].as_array().unwrap() {
        let mut datagram = bytes(&case["datagram"]);
        assert_eq!(datagram.len(), SEALED_DATA_BYTES);
        assert_eq!(datagram[..DATA_HEADER], bytes(&case["header"]));
        assert!(
            matches!(ToViewer::parse(&datagram), Ok(ToViewer::Data(header, _)) if header.key == Some(key.slot()))
        );
        assert_eq!(key.open(&mut datagram), Some(&bytes(&case["shard"])[..]));
    }

    let datagram = bytes(&file["unsealed"]["datagram"]);
    let Ok(ToViewer::Data(header, shard)) = ToViewer::parse(&datagram) else {
        panic!("a good datagram")
    };

    assert_eq!(
        (header, shard),
        (
            self::header(0, None),
            &bytes(&file["unsealed"]["shard"])[..]
        )
    );
}

#[test]
fn handshakes_are_those_of_the_file() {
    let file = check("handshake", &json!([psk(), keys()]));
    for case in file.as_array().unwrap() {
        take_back(case);
    }
}

/// What the file says, which must be what `made` is.
#[track_caller]
fn check(name: &str, made: &Value) -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/vectors/{name}.json"));
    if std::env::var_os("FANLIGHT_WRITE_VECTORS").is_some() {
        std::fs::write(&path, serde_json::to_string_pretty(made).unwrap() + "\n").unwrap();
    }

    let file: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert!(
        file == *made,
        "{} differs from what is made",
        path.display()
    );

    file
}

fn tokens() -> Value {
    let secret: [u8; 16] = std::array::from_fn(|i| i as u8);
    let case = |address: &str, time_ns: u64| {
        let token = TokenKey::new(secret).mint(Time::from_nanos(time_ns), address.parse().unwrap());
        json!({ "address": address, "time_ns": time_ns, "token": hex(&token) })
    };

    json!({
        "about": "SipHash-2-4-128 under the secret of: \"token\", the span of 10 s as u64, the port as u16, the address; \
            integers little-endian. Nobody but the relay that made a token reads it.",
        "secret": hex(&secret),
        "cases": [
            case("192.0.2.1:5000", 0),
            case("192.0.2.1:5000", 9_999_999_999),
            case("192.0.2.1:5000", 10_000_000_000),
            case("192.0.2.1:5001", 0),
            case("[2001:db8::1]:5000", 0),
            case("[::ffff:192.0.2.1]:5000", 0),
        ],
    })
}

fn media() -> Value {
    let secret: [u8; 16] = std::array::from_fn(|i| 0xf0 | i as u8);
    let key = MediaKey::new(3, secret);
    let sealed = |index| {
        let header = header(index, Some(key.slot()));
        let mut datagram = encoded(&ToViewer::Data(header, &shard(index)));
        key.seal(&mut datagram);
        json!({
            "header": hex(&header.to_bytes()),
            "nonce": hex(&[&header.sequence.to_be_bytes()[..], &index.to_be_bytes(), &[0; 2]].concat()),
            "shard": hex(&shard(index)),
            "datagram": hex(&datagram),
        })
    };

    json!({
        "about": "AES-128-GCM: the header is authenticated, the shard encrypted, the tag of 16 bytes follows it.",
        "generation": key.generation(),
        "secret": hex(&secret),
        "sealed": [sealed(0), sealed(1), sealed(2)],
        "unsealed": {
            "shard": hex(&shard(0)),
            "datagram": hex(&encoded(&ToViewer::Data(header(0, None), &shard(0)))),
        },
    })
}

/// Of a frame of two shards and one of parity.
fn header(index: u16, key: Option<KeySlot>) -> DataHeader {
    DataHeader {
        alias: 7,
        index,
        shards: 2,
        parity: 1,
        key,
        length: SHARD_BYTES as u32 + 100,
        id: FrameId {
            epoch: 0x1122_3344_5566_7788,
            number: 1_000_000,
        },
        received_us: 0x0a0b_0c0d,
        lost_upstream: 1,
        lost_in_relay: 2,
        sequence: 0x0102_0304_0506,
    }
}

fn shard(index: u16) -> Vec<u8> {
    (0..SHARD_BYTES)
        .map(|i| (i as u8).wrapping_mul(7) ^ index as u8)
        .collect()
}

/// Inputs of both handshakes.
const TOKEN: [u8; 16] = *b"sixteen of token";
const SEEDS: [[u8; 32]; 2] = [[0xa1; 32], [0xb2; 32]];

fn psk() -> Value {
    let bytes = std::array::from_fn(|i| i as u8);
    let key = SharedKey::new(bytes);
    let keys = json!({ "psk": hex(&bytes), "psk_file": *key.to_text() });
    handshake(
        "NNpsk0",
        &keys,
        &ViewerAccess::Psk(key.clone()),
        &RelayAccess::Psk(key),
    )
}

fn keys() -> Value {
    let (viewer, relay) = (PrivateKey::new([0x11; 32]), PrivateKey::new([0x22; 32]));
    let keys = json!({
        "viewer_private": hex(&[0x11; 32]),
        "viewer_file": *viewer.to_text(),
        "viewer_public": viewer.public().to_string(),
        "relay_private": hex(&[0x22; 32]),
        "relay_public": relay.public().to_string(),
    });

    let viewers = vec![(viewer.public(), "lobby".to_owned())];
    let viewer = ViewerAccess::Keys {
        own: viewer,
        relay: relay.public(),
    };

    handshake(
        "IK",
        &keys,
        &viewer,
        &RelayAccess::Keys {
            own: relay,
            viewers,
        },
    )
}

fn handshake(pattern: &str, keys: &Value, viewer: &ViewerAccess, relay: &RelayAccess) -> Value {
    let request = request().request();
    let (mut initiator, first) =
        Initiator::begin(viewer, NONCE, &TOKEN, &request, SEEDS[0]).unwrap();
    let responder = answer(relay, NONCE, &TOKEN, &first, SEEDS[1]).unwrap();
    let payload = prost::Message::encode_to_vec(&welcome());
    let (second, mut at_relay) = responder.finish(&payload).unwrap();
    let (_, mut at_viewer) = initiator.finish(&second).unwrap();
    let join = self::request().envelope(viewer, first.clone().into());

    let accept = Accept {
        nonce: NONCE,
        handshake: second.clone().into(),
        ..Accept::default()
    };

    json!({
        "protocol": format!("Noise_{pattern}_25519_ChaChaPoly_BLAKE2s"),
        "nonce": hex(&NONCE.to_be_bytes()),
        "token": hex(&TOKEN),
        "prologue": hex(&[&b"fanlight 1"[..], &NONCE.to_be_bytes(), &TOKEN].concat()),
        "keys": keys,
        "viewer_ephemeral_private": hex(&ephemeral(SEEDS[0])),
        "relay_ephemeral_private": hex(&ephemeral(SEEDS[1])),
        "request": hex(&request),
        "first_message": hex(&first),
        "mac": hex(&join.mac),
        "join": hex(&encoded_to_relay(&ToRelay::Join(join))),
        "payload": hex(&payload),
        "second_message": hex(&second),
        "accept": hex(&encoded(&ToViewer::Accept(accept))),
        "session": hex(&SESSION.to_be_bytes()),
        "from_viewer": (0..3).map(|i| from_viewer(&mut at_viewer, i)).collect::<Vec<_>>(),
        "from_relay": (0..3).map(|i| from_relay(&mut at_relay, i)).collect::<Vec<_>>(),
    })
}

/// The private key that the implementation makes of a seed; another one draws it at random.
fn ephemeral(seed: [u8; 32]) -> [u8; 32] {
    Secrets::new(seed).bytes()
}

fn request() -> Join {
    Join {
        version: VERSION,
        nonce: NONCE,
        token: TOKEN.to_vec().into(),
        stream: "ball".into(),
        receive_capacity: 1820,
        name: "lobby".into(),
        ..Join::default()
    }
}

fn welcome() -> Accept {
    Accept {
        nonce: NONCE,
        session: SESSION,
        stream: Some(StreamInfo {
            name: "ball".into(),
            alias: 7,
            epoch: 9,
            ..StreamInfo::default()
        }),
        keep_alive_ms: 250,
        idle_timeout_ms: 3000,
        keys: vec![MediaKey::new(3, [0x33; 16]).to_message()],
        ..Accept::default()
    }
}

fn from_viewer(channel: &mut Channel, i: u64) -> Value {
    let mut plaintext = Vec::new();
    let message = KeepAlive {
        sent_us: 1000 + i,
        key_generation: 3,
        ..KeepAlive::default()
    };

    ToRelay::KeepAlive(SESSION, message).encode_inner(&mut plaintext);
    let (counter, ciphertext) = channel.seal(&plaintext);
    let datagram = encoded_to_relay(&ToRelay::Sealed(SESSION, counter, &ciphertext));
    json!({ "counter": counter, "plaintext": hex(&plaintext), "datagram": hex(&datagram) })
}

fn from_relay(channel: &mut Channel, i: u64) -> Value {
    let mut plaintext = Vec::new();
    ToViewer::Pulse(
        SESSION,
        Pulse {
            echo_us: 1000 + i,
            ..Pulse::default()
        },
    )
    .encode_inner(&mut plaintext);

    let (counter, ciphertext) = channel.seal(&plaintext);
    let datagram = encoded(&ToViewer::Sealed(SESSION, counter, &ciphertext));
    json!({ "counter": counter, "plaintext": hex(&plaintext), "datagram": hex(&datagram) })
}

/// Plays both sides with the messages of the file.
fn take_back(case: &Value) {
    let (viewer, relay) = accesses(&case["keys"]);
    let request = request().request();
    let (mut initiator, _) = Initiator::begin(&viewer, NONCE, &TOKEN, &request, SEEDS[0]).unwrap();
    let join = bytes(&case["join"]);

    let Ok(ToRelay::Join(join)) = ToRelay::parse(&join) else {
        panic!("a good JOIN")
    };

    assert_eq!(join.mac, bytes(&case["mac"]));
    assert!(JoinMac::of_relay(&relay).unwrap().holds(&join));
    let responder = answer(&relay, join.nonce, &join.token, &join.handshake, SEEDS[1]).unwrap();
    assert_eq!(responder.request(), bytes(&case["request"]));
    let (_, mut at_relay) = responder.finish(&bytes(&case["payload"])).unwrap();
    let accept = bytes(&case["accept"]);

    let Ok(ToViewer::Accept(accept)) = ToViewer::parse(&accept) else {
        panic!("a good ACCEPT")
    };

    let (payload, mut at_viewer) = initiator.finish(&accept.handshake).unwrap();
    assert_eq!(payload, bytes(&case["payload"]));
    assert_eq!(
        <Accept as prost::Message>::decode(&payload[..]),
        Ok(welcome())
    );

    for message in case["from_viewer"].as_array().unwrap() {
        let datagram = bytes(&message["datagram"]);
        let Ok(ToRelay::Sealed(SESSION, counter, sealed)) = ToRelay::parse(&datagram) else {
            panic!("a sealed one")
        };

        assert_eq!(
            sealed.len(),
            bytes(&message["plaintext"]).len() + SEAL_BYTES
        );

        assert_eq!(
            at_relay.open(counter, sealed),
            Some(bytes(&message["plaintext"]))
        );
    }

    for message in case["from_relay"].as_array().unwrap() {
        let datagram = bytes(&message["datagram"]);
        let Ok(ToViewer::Sealed(SESSION, counter, sealed)) = ToViewer::parse(&datagram) else {
            panic!("a sealed one")
        };

        assert_eq!(
            at_viewer.open(counter, sealed),
            Some(bytes(&message["plaintext"]))
        );
    }
}

fn accesses(keys: &Value) -> (ViewerAccess, RelayAccess) {
    if let Some(file) = keys["psk_file"].as_str() {
        let key = SharedKey::parse(file).unwrap();
        return (ViewerAccess::Psk(key.clone()), RelayAccess::Psk(key));
    }

    let viewer = PrivateKey::parse(keys["viewer_file"].as_str().unwrap()).unwrap();
    let relay = PrivateKey::new(bytes(&keys["relay_private"]).try_into().unwrap());
    assert_eq!(
        viewer.public().to_string(),
        keys["viewer_public"].as_str().unwrap()
    );

    let viewers = vec![(viewer.public(), "lobby".to_owned())];
    let to_relay = keys["relay_public"].as_str().unwrap().parse().unwrap();
    (
        ViewerAccess::Keys {
            own: viewer,
            relay: to_relay,
        },
        RelayAccess::Keys {
            own: relay,
            viewers,
        },
    )
}

fn encoded(message: &ToViewer) -> Vec<u8> {
    let mut out = Vec::new();
    message.encode(&mut out);
    out
}

fn encoded_to_relay(message: &ToRelay) -> Vec<u8> {
    let mut out = Vec::new();
    message.encode(&mut out);
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &Value) -> Vec<u8> {
    let hex = hex.as_str().unwrap();
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}
