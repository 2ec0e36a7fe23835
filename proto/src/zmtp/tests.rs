use bytes::Bytes;

use super::*;

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
        Role::Publisher => Handshake::publisher(&SECURITY, [1; 32]),
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
    let mut handshake = Handshake::publisher(&SECURITY, [1; 32]);
    handshake
        .buffer()
        .extend([greeting(), ready("XSUB")].concat());
    handshake.advance().unwrap().unwrap().encoder
}

#[test]
fn our_bytes_are_those_of_the_specification() {
    let mut handshake = Handshake::publisher(&SECURITY, [1; 32]);
    assert_eq!(handshake.output(), greeting());
    handshake.buffer().extend(greeting());
    assert!(handshake.advance().unwrap().is_none());
    assert_eq!(handshake.output(), ready("XPUB"));

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
        .extend([greeting(), ready("PUB"), claim(0, 4 << 20)].concat());
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
