use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::keys::{FeedKey, PrivateKey};

const SECURITY: Security = Security::Null;

fn greeting() -> Vec<u8> {
    let mut bytes = b"\xff\0\0\0\0\0\0\0\0\x7f\x03\0NULL".to_vec();
    bytes.resize(64, 0);
    bytes
}

fn ready(socket_type: &str) -> Vec<u8> {
    let length = socket_type.len() as u8;
    let body = [
        b"\x05READY\x0bSocket-Type\0\0\0",
        &[length][..],
        socket_type.as_bytes(),
    ]
    .concat();

    [&[4, body.len() as u8][..], &body].concat()
}

/// The header of a long frame.
fn claim(flags: u8, length: u64) -> Vec<u8> {
    [&[flags | 2][..], &length.to_be_bytes()].concat()
}

/// Everything that a good publisher sends.
fn published() -> Vec<u8> {
    let mut bytes = [greeting(), ready("PUB")].concat();
    for length in [0_usize, 300, 100_000, 70_000, 16_384] {
        bytes.extend_from_slice(b"\x01\x04cam/");
        bytes.extend(claim(0, length as u64));
        bytes.extend((0..length).map(|at| at as u8));
    }
    bytes
}

/// What one end makes of `bytes` that come `step` at a time.
fn events(role: Role, bytes: &[u8], step: usize) -> Result<Vec<Event>, ProtocolError> {
    let mut handshake = match role {
        Role::Publisher => Handshake::publisher(Arc::new(AcceptedSecurity::null()), [1; 32]),
        Role::Subscriber => Handshake::subscriber(&SECURITY, [1; 32]),
    };

    let mut chunks = bytes.chunks(step);
    let mut decoder = loop {
        if let Some(established) = handshake.advance()? {
            break established.decoder;
        }
        let Some(chunk) = chunks.next() else {
            return Ok(Vec::new());
        };
        handshake.buffer().extend_from_slice(chunk);
    };

    let mut events = Vec::new();
    loop {
        while let Some(event) = decoder.next()? {
            events.push(event);
        }
        let Some(chunk) = chunks.next() else {
            return Ok(events);
        };
        decoder.buffer().extend_from_slice(chunk);
    }
}

/// What a publisher makes of `bytes` behind a good handshake.
fn subscriber_says(bytes: &[u8]) -> Result<Vec<Event>, ProtocolError> {
    events(
        Role::Publisher,
        &[&greeting(), &ready("SUB"), bytes].concat(),
        1000,
    )
}

/// What a subscriber makes of `bytes` behind a good handshake.
fn publisher_says(bytes: &[u8]) -> Result<Vec<Event>, ProtocolError> {
    events(
        Role::Subscriber,
        &[&greeting(), &ready("PUB"), bytes].concat(),
        1000,
    )
}

fn encoder() -> Encoder {
    let mut handshake = Handshake::publisher(Arc::new(AcceptedSecurity::null()), [1; 32]);
    handshake
        .buffer()
        .extend([greeting(), ready("XSUB")].concat());
    handshake.advance().unwrap().unwrap().encoder
}

#[test]
fn our_bytes_are_those_of_the_specification() {
    let mut handshake = Handshake::publisher(Arc::new(AcceptedSecurity::null()), [1; 32]);
    assert_eq!(handshake.output(), greeting()[..12]);
    handshake.buffer().extend(greeting());
    assert!(handshake.advance().unwrap().is_none());
    assert_eq!(
        handshake.output(),
        [&greeting()[12..], &ready("XPUB")].concat()
    );

    let mut handshake = Handshake::subscriber(&SECURITY, [1; 32]);
    assert_eq!(handshake.output(), greeting());

    let mut encoder = encoder();
    assert_eq!(encoder.pong(b"ab"), &b"\x04\x07\x04PONGab"[..]);
    assert_eq!(encoder.subscribe(b"cam/"), &b"\0\x05\x01cam/"[..]);
    assert_eq!(encoder.cancel(b"cam/"), &b"\0\x05\0cam/"[..]);
    assert_eq!(encoder.upstream(b"hi"), &b"\0\x03\x02hi"[..]);
    let mut prefix = |length| encoder.message(b"cam/", vec![0; length].into()).prefix;
    assert_eq!(prefix(255), &b"\x01\x04cam/\x00\xff"[..]);
    assert_eq!(prefix(256), &b"\x01\x04cam/\x02\0\0\0\0\0\0\x01\0"[..]);
}

#[test]
fn subscriptions_come_as_messages_and_as_commands() {
    let said = b"\0\x05\x01cam/\0\x05\0cam/\x04\x0e\x09SUBSCRIBEcam/\x04\x0b\x06CANCELcam/\
                 \0\x03\x02up\x04\x09\x04PING\0\x64ab\x04\x05\x04PONG";
    let topic = || Bytes::from_static(b"cam/");
    let expected = [
        Event::Subscribe(topic()),
        Event::Cancel(topic()),
        Event::Subscribe(topic()),
        Event::Cancel(topic()),
        Event::Upstream(Bytes::from_static(b"up")),
        Event::Ping(Bytes::from_static(b"ab")),
    ];

    assert_eq!(subscriber_says(said).unwrap(), expected);
}

#[test]
fn messages_are_the_same_however_their_bytes_are_cut() {
    let bytes = published();
    let expected = events(Role::Subscriber, &bytes, bytes.len()).unwrap();
    assert_eq!(expected.len(), 5);

    for step in [1, 2, 3, 7, 64, 1000, 4096, 99_999] {
        assert_eq!(
            events(Role::Subscriber, &bytes, step).as_ref(),
            Ok(&expected),
            "{step}"
        );
    }
}

#[test]
fn a_large_body_lies_where_it_was_read() {
    let mut handshake = Handshake::subscriber(&SECURITY, [1; 32]);
    handshake
        .buffer()
        .extend([greeting(), ready("PUB")].concat());
    let mut decoder = handshake.advance().unwrap().unwrap().decoder;
    let message = encoder().message(b"cam/", vec![7; 100_000].into());

    for round in 0..3 {
        let buffer = decoder.buffer();
        let room = buffer.capacity() - buffer.len();
        assert!(
            room < 110_000 && (round == 0 || room > 100_000),
            "{round}: {room}"
        );

        buffer.extend_from_slice(&message.prefix);
        buffer.extend_from_slice(&message.body);
        let read = buffer.as_ptr_range();

        let Some(Event::Message { body, .. }) = decoder.next().unwrap() else {
            panic!("a message");
        };

        assert_eq!(body, message.body);
        assert!(read.contains(&body.as_ptr()), "{round}");
    }
}

#[test]
fn the_memory_of_a_large_body_that_nobody_holds_any_more_is_read_into_again() {
    let mut handshake = Handshake::subscriber(&SECURITY, [1; 32]);
    handshake
        .buffer()
        .extend([greeting(), ready("PUB")].concat());
    let mut decoder = handshake.advance().unwrap().unwrap().decoder;
    let mut read = |fill: u8| {
        let message = encoder().message(b"cam/", vec![fill; 3_000_000].into());
        let buffer = decoder.buffer();
        buffer.extend_from_slice(&message.prefix);
        buffer.extend_from_slice(&message.body);
        match decoder.next().unwrap() {
            Some(Event::Message { body, .. }) => body,
            _ => panic!("a message"),
        }
    };

    let mut newest = read(0);
    let mut places = BTreeSet::new();
    for fill in 1..50 {
        let body = read(fill);
        assert!(newest.iter().all(|byte| *byte == fill - 1));
        places.insert(body.as_ptr());
        newest = body;
    }

    assert!(places.len() <= 4, "{} buffers", places.len());

    // One that somebody holds is not written over.
    let held = newest;
    (100..110).for_each(|fill| drop(read(fill)));
    assert!(held.iter().all(|byte| *byte == 49));
}

#[test]
fn a_small_body_does_not_keep_the_room_for_a_large_one() {
    let mut handshake = Handshake::subscriber(&SECURITY, [1; 32]);
    handshake
        .buffer()
        .extend([greeting(), ready("PUB")].concat());
    let mut decoder = handshake.advance().unwrap().unwrap().decoder;
    for length in [3_000_000, 20_000] {
        let message = encoder().message(b"cam/", vec![7; length].into());
        let buffer = decoder.buffer();
        buffer.extend_from_slice(&message.prefix);
        buffer.extend_from_slice(&message.body);
        let read = buffer.as_ptr_range();

        let Some(Event::Message { body, .. }) = decoder.next().unwrap() else {
            panic!("a message");
        };

        assert_eq!(read.contains(&body.as_ptr()), length == 3_000_000);
    }
}

#[test]
fn nothing_is_allocated_from_a_claimed_length() {
    let mut handshake = Handshake::subscriber(&SECURITY, [1; 32]);
    handshake
        .buffer()
        .extend([greeting(), ready("PUB"), claim(0, 32 << 20)].concat());
    let mut decoder = handshake.advance().unwrap().unwrap().decoder;
    assert_eq!(decoder.next(), Ok(None));
    assert!(decoder.buffer().capacity() < 100_000);
}

#[test]
fn a_length_over_the_limit_is_refused_before_its_bytes_are_waited_for() {
    for length in [1 << 36, 1 << 40, 1 << 63, u64::MAX, MAX_MESSAGE as u64 + 1] {
        let refused = |result: Result<Vec<Event>, _>| matches!(result, Err(ProtocolError::TooLong { length: l, .. }) if l == length);
        assert!(refused(publisher_says(&claim(0, length))));
        assert!(refused(publisher_says(&claim(1, length))));
        assert!(refused(publisher_says(&claim(4, length))));
        assert!(refused(subscriber_says(&claim(0, length))));
        let early = [greeting(), claim(0, length)].concat();
        assert!(refused(events(Role::Publisher, &early, 1000)));
        assert!(refused(events(Role::Subscriber, &early, 1000)));
    }

    let both = [&b"\x01\x04cam/"[..], &claim(0, MAX_MESSAGE as u64 - 3)].concat();
    assert!(matches!(
        publisher_says(&both),
        Err(ProtocolError::TooLong { .. })
    ));
}

#[test]
fn a_user_message_is_capped_and_so_is_a_subscription() {
    let says = |kind: u8, length: usize| {
        let body = [&[kind][..], &vec![b'a'; length - 1]].concat();
        subscriber_says(&[claim(0, length as u64), body].concat())
    };

    assert!(says(UPSTREAM, MAX_UPSTREAM).is_ok());
    assert!(says(UPSTREAM, MAX_UPSTREAM + 1).is_err());
    assert!(says(1, 1 + MAX_TOPIC).is_ok());
    assert!(says(1, 2 + MAX_TOPIC).is_err());
    assert_eq!(says(3, 10), Err(ProtocolError::Message));
    assert_eq!(subscriber_says(b"\0\0"), Err(ProtocolError::Message));
    assert_eq!(
        subscriber_says(b"\x01\x02\x01a"),
        Err(ProtocolError::Message)
    );
}

#[test]
fn a_message_of_more_than_two_parts_is_refused_and_one_of_one_part_has_no_body() {
    assert_eq!(
        publisher_says(b"\x01\x00\x01\x00"),
        Err(ProtocolError::Parts)
    );

    let single = Event::Message {
        topic: Bytes::from_static(b"a"),
        body: Bytes::new(),
    };

    assert_eq!(publisher_says(b"\0\x01a"), Ok(vec![single]));
}

#[test]
fn who_does_not_fit_is_refused_with_the_reason() {
    let publisher = |bytes: &[u8]| events(Role::Publisher, bytes, 1);
    assert_eq!(publisher(b"HTTP/1.1"), Err(ProtocolError::Greeting));
    let mut old = greeting();
    old[10] = 2;
    assert_eq!(publisher(&old), Err(ProtocolError::Greeting));

    let mut plain = greeting();
    plain[12..17].copy_from_slice(b"PLAIN");
    let error = publisher(&plain).unwrap_err().to_string();
    assert!(error.contains("PLAIN") && error.contains("NULL"), "{error}");

    for (role, theirs) in [(Role::Publisher, "PUB"), (Role::Subscriber, "SUB")] {
        let error = events(role, &[greeting(), ready(theirs)].concat(), 9).unwrap_err();
        assert!(matches!(error, ProtocolError::SocketType { .. }), "{error}");
    }

    let says = |command: &[u8]| publisher(&[&greeting(), command].concat());
    assert_eq!(says(b"\x04\x06\x05READY"), Err(ProtocolError::Handshake));
    assert_eq!(says(b"\x00\x06\x05READY"), Err(ProtocolError::Handshake));
    assert_eq!(says(b"\x04\x05\x09READY"), Err(ProtocolError::Handshake));
    assert_eq!(
        says(b"\x04\x0a\x05ERROR\x03no\x1b"),
        Err(ProtocolError::Reported("no?".into()))
    );
}

#[test]
fn broken_frames_are_refused_after_the_handshake() {
    assert_eq!(publisher_says(b"\x08\x00"), Err(ProtocolError::Flags(8)));
    assert_eq!(publisher_says(b"\x05\x00"), Err(ProtocolError::Flags(5)));
    assert_eq!(publisher_says(b"\x04\x01\x05"), Err(ProtocolError::Command));
    assert_eq!(
        publisher_says(b"\x04\x05\x04PING"),
        Err(ProtocolError::Command)
    );

    let long = [&b"\x04\x18\x04PING\0\0"[..], &[b'c'; 17]].concat();
    assert_eq!(publisher_says(&long), Err(ProtocolError::Command));
    assert_eq!(publisher_says(b"\x04\x06\x05OTHER"), Ok(Vec::new()));
}

/// The two ends of a connection, with everything that they say to each other carried over.
fn connect(
    security: &Security,
    accepted: AcceptedSecurity,
) -> (
    Result<Established, ProtocolError>,
    Result<Established, ProtocolError>,
) {
    connect_with(security, accepted, [1, 2])
}

/// The same, with what the ephemeral keys of subscriber and publisher come of.
fn connect_with(
    security: &Security,
    accepted: AcceptedSecurity,
    seeds: [u8; 2],
) -> (
    Result<Established, ProtocolError>,
    Result<Established, ProtocolError>,
) {
    let mut subscriber = Handshake::subscriber(security, [seeds[0]; 32]);
    let mut publisher = Handshake::publisher(Arc::new(accepted), [seeds[1]; 32]);
    let mut ends = (None, None);

    for _ in 0..8 {
        ends.0 = ends.0.or_else(|| subscriber.advance().transpose());
        let said = subscriber.output();

        if let Some(Ok(Established { decoder, .. })) = &mut ends.1 {
            decoder.buffer().extend_from_slice(&said);
        } else {
            publisher.buffer().extend_from_slice(&said);
        }

        ends.1 = ends.1.or_else(|| publisher.advance().transpose());
        let said = publisher.output();
        subscriber.buffer().extend_from_slice(&said);
    }

    let silent = || Err(ProtocolError::Handshake);
    (ends.0.unwrap_or_else(silent), ends.1.unwrap_or_else(silent))
}

fn shared(byte: u8) -> FeedKey {
    FeedKey::new([byte; 32])
}

fn accept_shared(byte: u8) -> AcceptedSecurity {
    AcceptedSecurity {
        shared_key: Some(shared(byte)),
        ..AcceptedSecurity::default()
    }
}

fn keys() -> (Security, AcceptedSecurity) {
    let [relay, source] = [3, 4].map(|byte| PrivateKey::new([byte; 32]));
    let security = Security::Keys {
        own: relay.clone(),
        source: source.public(),
    };

    let relays = vec![(relay.public(), "hall".to_owned())];
    let keys = Some(PublisherKeys {
        own: source,
        relays,
    });

    (
        security,
        AcceptedSecurity {
            keys,
            ..AcceptedSecurity::default()
        },
    )
}

#[test]
fn messages_pass_both_ways_under_every_mechanism() {
    let (relay, source) = keys();
    for (security, accepted, sealed) in [
        (Security::Null, AcceptedSecurity::null(), false),
        (Security::SharedKey(shared(7)), accept_shared(7), true),
        (relay, source, true),
    ] {
        let (mut subscriber, mut publisher) = match connect(&security, accepted) {
            (Ok(subscriber), Ok(publisher)) => (subscriber, publisher),
            failed => panic!("{failed:?}"),
        };
        assert_eq!((subscriber.sealed, publisher.sealed), (sealed, sealed));
        for length in [0, 1, 65_519, 65_520, 300_000] {
            let body = Bytes::from(vec![0x55; length]);
            let said = publisher.encoder.message(b"cam/", body.clone());
            let shown = said.body.windows(8).any(|part| part == [0x55; 8]);
            assert_eq!(shown, !sealed && length >= 8);
            let buffer = subscriber.decoder.buffer();
            buffer.extend_from_slice(&said.prefix);
            buffer.extend_from_slice(&said.body);
            let heard = Event::Message {
                topic: Bytes::from_static(b"cam/"),
                body,
            };

            assert_eq!(subscriber.decoder.next(), Ok(Some(heard)));

            let said = subscriber.encoder.upstream(b"up");
            publisher.decoder.buffer().extend_from_slice(&said);
            let heard = Event::Upstream(Bytes::from_static(b"up"));
            assert_eq!(publisher.decoder.next(), Ok(Some(heard)));
        }
    }
}

#[test]
fn a_relay_with_a_key_of_its_own_is_known_by_name_and_another_is_refused() {
    let (security, accepted) = keys();
    let (_, publisher) = connect(&security, accepted.clone());
    let relay = publisher.unwrap().relay.unwrap();
    assert_eq!(
        relay,
        (PrivateKey::new([3; 32]).public(), "hall".to_owned())
    );

    let Security::Keys { source, .. } = security else {
        unreachable!()
    };

    let stranger = Security::Keys {
        own: PrivateKey::new([5; 32]),
        source,
    };

    let (subscriber, publisher) = connect(&stranger, accepted);
    assert!(matches!(publisher, Err(ProtocolError::UnknownKey(_))));
    let told = subscriber.unwrap_err().to_string();
    assert!(told.contains("your key is not in my relay_keys"), "{told}");
}

#[test]
fn a_source_with_another_key_than_the_listed_one_is_refused_and_both_sides_know_why() {
    let (security, mut accepted) = keys();
    let own = PrivateKey::new([6; 32]);
    accepted.keys.as_mut().unwrap().own = own.clone();
    let (subscriber, publisher) = connect(&security, accepted);
    let told = subscriber.unwrap_err().to_string();
    assert!(told.contains("my key is not the one you list"), "{told}");
    let wanted = ProtocolError::OtherSourceWanted(own.public());
    assert_eq!(publisher.unwrap_err(), wanted);
}

/// It cannot compute the second Noise message; here it sends back what a relay has said to the true source, and noise.
#[test]
fn a_source_that_only_knows_the_public_keys_cannot_complete_a_handshake() {
    let (security, accepted) = keys();
    for welcome in [[7; 96], [0; 96]] {
        let mut relay = Handshake::subscriber(&security, [1; 32]);
        let mut source = Handshake::publisher(Arc::new(accepted.clone()), [2; 32]);
        source.buffer().extend_from_slice(&relay.output());
        source.advance().unwrap();
        relay.buffer().extend_from_slice(&source.output());
        relay.advance().unwrap();
        let command = [&[4, 8 + 96][..], b"\x07WELCOME", &welcome].concat();
        relay.buffer().extend_from_slice(&command);
        assert_eq!(relay.advance().unwrap_err(), ProtocolError::OtherSource);
    }
}

#[test]
fn a_source_is_asked_by_whoever_has_its_own_key() {
    let (_, accepted) = keys();
    let own = accepted.keys.as_ref().unwrap().own.clone();
    let source = own.public();
    let (_, publisher) = connect(&Security::Keys { own, source }, accepted);
    assert_eq!(publisher.unwrap().relay.unwrap().0, source);
}

/// Both static keys are the same each time, as they are for whoever learns them later.
#[test]
fn every_connection_has_transport_keys_of_its_own_whatever_the_keys_in_files_are() {
    let (security, accepted) = keys();
    let sealed = |seeds: [u8; 2]| {
        let (relay, source) = connect_with(&security, accepted.clone(), seeds);
        let said = source
            .unwrap()
            .encoder
            .message(b"cam/", Bytes::from_static(b"picture"));
        ([said.prefix, said.body].concat(), relay.unwrap().decoder)
    };

    let (recorded, _) = sealed([1, 2]);
    assert_eq!(sealed([1, 2]).0, recorded, "the ephemeral keys decide");
    for seeds in [[1, 9], [9, 2], [9, 9]] {
        let (other, mut decoder) = sealed(seeds);
        assert_ne!(other, recorded);
        decoder.buffer().extend_from_slice(&recorded);
        assert_eq!(decoder.next(), Err(ProtocolError::Seal));
    }
}

#[test]
fn another_key_or_mechanism_is_refused_and_both_sides_know_why() {
    let (subscriber, publisher) = connect(&Security::SharedKey(shared(7)), accept_shared(8));
    assert_eq!(publisher.unwrap_err(), ProtocolError::Key);
    let told = subscriber.unwrap_err().to_string();
    assert!(told.contains("different feed keys"), "{told}");

    let (relay, _) = keys();
    for (security, accepted, subscriber_cure) in [
        (Security::Null, accept_shared(7), "set feed_key"),
        (
            Security::SharedKey(shared(7)),
            AcceptedSecurity::null(),
            "give its source the same feed_key",
        ),
        (relay, accept_shared(7), "set feed_identity at the source"),
    ] {
        let (subscriber, publisher) = connect(&security, accepted);
        assert!(matches!(publisher, Err(ProtocolError::Mechanism { .. })));
        let told = subscriber.unwrap_err().to_string();
        assert!(told.contains(subscriber_cure), "{told}");
    }
}

#[test]
fn a_publisher_takes_the_mechanism_that_its_peer_asks_for() {
    let accepted = AcceptedSecurity {
        null: true,
        ..accept_shared(7)
    };

    for security in [Security::Null, Security::SharedKey(shared(7))] {
        let (subscriber, publisher) = connect(&security, accepted.clone());
        assert_eq!(subscriber.unwrap().sealed, publisher.unwrap().sealed);
    }
}

#[test]
fn a_recorded_handshake_is_of_no_use_on_another_connection() {
    let security = Security::SharedKey(shared(7));
    let mut relay = Handshake::subscriber(&security, [1; 32]);
    let mut publishers =
        [2, 3].map(|seed| Handshake::publisher(Arc::new(accept_shared(7)), [seed; 32]));
    let mut said = relay.output().to_vec();
    publishers[0].buffer().extend_from_slice(&said);

    for _ in 0..2 {
        publishers[0].advance().unwrap();
        relay.buffer().extend_from_slice(&publishers[0].output());
        relay.advance().unwrap();
        let more = relay.output();
        publishers[0].buffer().extend_from_slice(&more);
        said.extend_from_slice(&more);
    }

    assert!(publishers[0].advance().unwrap().is_some());

    publishers[1].buffer().extend_from_slice(&said);
    assert_eq!(publishers[1].advance().unwrap_err(), ProtocolError::Seal);
}

#[test]
fn a_changed_cut_repeated_or_left_out_sealed_frame_is_noticed() {
    let fresh = || {
        let (subscriber, publisher) = connect(&Security::SharedKey(shared(7)), accept_shared(7));
        (subscriber.unwrap().decoder, publisher.unwrap().encoder)
    };

    let opens = |mut decoder: Decoder, bytes: &[u8]| {
        decoder.buffer().extend_from_slice(bytes);
        decoder.next()
    };

    let message = |encoder: &mut Encoder| {
        let said = encoder.message(b"cam/", Bytes::from_static(b"picture"));
        [said.prefix, said.body].concat()
    };

    let (_, mut encoder) = fresh();
    let (first, second) = (message(&mut encoder), message(&mut encoder));
    assert!(opens(fresh().0, &first).unwrap().is_some());

    for at in 0..first.len() {
        let mut changed = first.clone();
        changed[at] ^= 1;
        assert!(!matches!(opens(fresh().0, &changed), Ok(Some(_))), "{at}");
    }

    assert_eq!(opens(fresh().0, &second), Err(ProtocolError::Seal));
    let mut decoder = fresh().0;
    decoder
        .buffer()
        .extend_from_slice(&[&first[..], &first].concat());
    assert!(decoder.next().unwrap().is_some());
    assert_eq!(decoder.next(), Err(ProtocolError::Seal));

    // A frame in the clear is none behind a handshake.
    assert_eq!(
        opens(fresh().0, b"\x04\x05\x04PING"),
        Err(ProtocolError::Seal)
    );
}
