//! The publisher against real sockets: the library that the relay uses, and peers that mean harm.

mod feedback;

use std::time::Duration;

use fanlight_proto::feed::{ANSWER_TOPIC, encode_clock_probe, parse_answer};
use fanlight_proto::keys::FeedKey;
use fanlight_proto::zmtp::{Decoder, Established, Event, Handshake, Security};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{interval, sleep, timeout};
use zeromq::{Socket as _, SocketRecv as _, SubSocket};

use super::places::MAX_PER_ADDRESS;
use super::subscriber::WRITE_STALL_LIMIT;
use super::*;

const DEADLINE: Duration = Duration::from_secs(10);
const TOPIC: Bytes = Bytes::from_static(b"cam/");
const READY_SUB: &[u8] = b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03SUB";
const SUBSCRIBE_ALL: &[u8] = b"\0\x01\x01";
/// What the publisher sends in its handshake: a greeting, and READY of an XPUB.
const HANDSHAKE_BYTES: usize = 64 + 28;
const PONG: &[u8] = b"\x04\x08\x04PONGabc";

fn greeting() -> Vec<u8> {
    let mut bytes = b"\xff\0\0\0\0\0\0\0\0\x7f\x03\0NULL".to_vec();
    bytes.resize(64, 0);
    bytes
}

fn publisher() -> Publisher {
    Publisher::bind(
        &["tcp://127.0.0.1:0".parse().unwrap()],
        AcceptedSecurity::null(),
        Arc::new(NullSink),
    )
    .unwrap()
}

fn port(publisher: &Publisher) -> u16 {
    publisher
        .endpoints()
        .iter()
        .find_map(|e| {
            if let Endpoint::Tcp(_, port) = e {
                Some(*port)
            } else {
                None
            }
        })
        .unwrap()
}

/// A message whose body begins with its number.
fn numbered(number: u64, length: usize) -> Bytes {
    let mut body = number.to_be_bytes().to_vec();
    body.resize(length, 0x5a);
    body.into()
}

async fn until(what: &str, mut fact: impl FnMut() -> bool) {
    let wait = async {
        while !fact() {
            sleep(Duration::from_millis(2)).await;
        }
    };

    timeout(DEADLINE, wait)
        .await
        .unwrap_or_else(|_| panic!("not within {DEADLINE:?}: {what}"));
}

async fn subscribe(endpoint: &Endpoint) -> SubSocket {
    let mut socket = SubSocket::new();
    socket.subscribe("cam/").await.unwrap();
    socket.connect(&endpoint.to_string()).await.unwrap();
    socket
}

async fn receive(socket: &mut SubSocket) -> (u64, usize) {
    let message = timeout(DEADLINE, socket.recv())
        .await
        .expect("a message in time")
        .unwrap();

    assert_eq!(message.get(0).unwrap(), &TOPIC);
    let body = message.get(1).unwrap();
    (
        u64::from_be_bytes(body[..8].try_into().unwrap()),
        body.len(),
    )
}

/// Says `bytes` to the publisher.
async fn peer(publisher: &Publisher, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port(publisher)))
        .await
        .unwrap();
    // The publisher may have had enough before everything is said.
    let _ = stream.write_all(bytes).await;
    stream
}

fn handshake() -> Vec<u8> {
    [&greeting()[..], READY_SUB].concat()
}

/// Reads until the publisher closes.
async fn is_cut_off(mut stream: TcpStream) -> bool {
    let mut sink = Vec::new();
    timeout(DEADLINE, stream.read_to_end(&mut sink))
        .await
        .is_ok()
}

#[tokio::test]
async fn the_relays_library_reads_every_message_over_ipc_and_tcp() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("source.ipc");
    let endpoints = [
        Endpoint::Ipc(path.clone()),
        "tcp://127.0.0.1:0".parse().unwrap(),
    ];

    let publisher =
        Publisher::bind(&endpoints, AcceptedSecurity::null(), Arc::new(NullSink)).unwrap();
    let mut sockets = Vec::new();
    for endpoint in publisher.endpoints() {
        sockets.push(subscribe(endpoint).await);
    }

    until("both have subscribed", || {
        publisher.stats().subscribers == 2
    })
    .await;

    for (number, length) in [8, 255, 256, 100_000, 4 << 20].into_iter().enumerate() {
        publisher.publish(TOPIC, numbered(number as u64, length));
        publisher.publish(
            Bytes::from_static(b"cam10/"),
            Bytes::from_static(b"not subscribed to"),
        );

        for socket in &mut sockets {
            assert_eq!(receive(socket).await, (number as u64, length));
        }
    }

    assert_eq!(publisher.stats().dropped, 0);
    publisher.close();
    assert!(!path.exists());
}

#[tokio::test]
async fn a_subscriber_that_never_reads_costs_bounded_memory_and_the_others_lose_nothing() {
    let publisher = publisher();
    let lazy = peer(&publisher, &[&handshake(), SUBSCRIBE_ALL].concat()).await;
    let mut keen = subscribe(&publisher.endpoints()[0]).await;
    until("both have subscribed", || {
        publisher.stats().subscribers == 2
    })
    .await;

    let mut bodies = Vec::new();
    let mut ticks = interval(Duration::from_millis(5));
    let mut meant_for_both = 0;

    for number in 0..200 {
        ticks.tick().await;
        let body = numbered(number, 1 << 20);
        bodies.push(body.clone());
        publisher.publish(TOPIC, body);
        assert_eq!(receive(&mut keen).await.0, number);
        // A slow machine takes so long that the lazy one is cut off meanwhile.
        if publisher.stats().connections == 2 {
            meant_for_both = number + 1;
        }
    }

    // What is still shared with the publisher is what it holds for the lazy one, two waiting, one on its way, and the newest,
    // for who subscribes now.
    let held = || bodies.iter().filter(|body| !body.is_unique()).count();
    until("the keen one holds nothing", || {
        held() <= send_queue::QUEUE_PER_TOPIC + 2
    })
    .await;

    let stats = publisher.stats();
    assert!(stats.dropped + 50 >= meant_for_both, "{stats:?}");
    until("the lazy one is cut off", || {
        publisher.stats().connections == 1
    })
    .await;

    assert_eq!(held(), 1, "the newest");
    publisher
        .hub
        .newest
        .lock()
        .forget_old(clock::now() + DEADLINE);
    assert_eq!(held(), 0);
    assert_eq!(publisher.stats().refused, 1);
    drop(lazy);
}

#[tokio::test]
async fn a_slow_subscriber_gets_the_newest_and_keeps_its_connection() {
    let publisher = publisher();
    let mut slow = peer(&publisher, &[&handshake(), SUBSCRIBE_ALL].concat()).await;
    until("it has subscribed", || publisher.stats().subscribers == 1).await;
    let mut taken = vec![0; 64 << 10];
    let start = tokio::time::Instant::now();
    let mut ticks = interval(Duration::from_millis(5));
    let mut number = 0;

    while start.elapsed() < WRITE_STALL_LIMIT + Duration::from_secs(1) {
        ticks.tick().await;
        publisher.publish(TOPIC, numbered(number, 1 << 20));
        slow.read_exact(&mut taken).await.unwrap();
        number += 1;
    }

    assert_eq!(publisher.stats().connections, 1);
    assert!(publisher.stats().dropped > 100, "{:?}", publisher.stats());
}

#[tokio::test]
async fn a_peer_that_breaks_a_rule_is_cut_off_and_the_others_lose_nothing() {
    let many: Vec<u8> = (0..1000).flat_map(|_| b"\0\x03\x01ab".to_vec()).collect();
    let endless_more = b"\x01\0".repeat(5000);
    let mut curve = greeting();
    curve[12..17].copy_from_slice(b"CURVE");
    let long = |length: u64| [&[2][..], &length.to_be_bytes()].concat();
    let after = |bytes: &[u8]| [&handshake(), bytes].concat();
    let attacks = [
        ("garbage", b"\x9b\x17garbage".repeat(400)),
        (
            "garbage behind a signature's first byte",
            [&b"\xff"[..], &b"\x9b\x17garbage".repeat(400)].concat(),
        ),
        ("http", b"GET / HTTP/1.0\r\n\r\n".to_vec()),
        (
            "a length of 2^36 before the handshake",
            [&greeting()[..], &long(1 << 36)[..]].concat(),
        ),
        (
            "a length of 2^40 after the handshake",
            after(&long(1 << 40)),
        ),
        (
            "a length of 2^63 after the handshake",
            after(&long(1 << 63)),
        ),
        ("too many subscriptions", after(&many)),
        (
            "a topic of 600 bytes",
            after(&[&long(601)[..], &[1; 601]].concat()),
        ),
        ("a message that never ends", after(&endless_more)),
        (
            "a malformed READY",
            [&greeting()[..], &b"\x04\x05\x09REA!"[..]].concat(),
        ),
        ("CURVE", [&curve, READY_SUB].concat()),
        (
            "another socket type",
            [
                &greeting()[..],
                &b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03REQ"[..],
            ]
            .concat(),
        ),
    ];

    let publisher = publisher();
    let mut keen = subscribe(&publisher.endpoints()[0]).await;
    until("it has subscribed", || publisher.stats().subscribers == 1).await;

    for (number, (what, bytes)) in attacks.iter().enumerate() {
        assert!(is_cut_off(peer(&publisher, bytes).await).await, "{what}");
        until(what, || publisher.stats().refused == 1 + number as u64).await;
        publisher.publish(TOPIC, numbered(number as u64, 1000));
        assert_eq!(
            receive(&mut keen).await,
            (number as u64, 1000),
            "after {what}"
        );
    }

    until("all places are free", || publisher.stats().connections == 1).await;
}

#[tokio::test]
async fn crowds_that_say_nothing_or_stop_halfway_keep_no_relay_out() {
    for said in [Vec::new(), greeting(), handshake()] {
        let publisher = publisher();
        let mut keen = subscribe(&publisher.endpoints()[0]).await;
        until("it has subscribed", || publisher.stats().subscribers == 1).await;

        let mut crowd = Vec::new();
        for number in 0..100 {
            crowd.push(peer(&publisher, &said).await);
            publisher.publish(TOPIC, numbered(number, 1000));
            assert_eq!(receive(&mut keen).await.0, number);
        }

        let mut late = subscribe(&publisher.endpoints()[0]).await;
        until("a late one has subscribed", || {
            publisher.stats().subscribers == 2
        })
        .await;

        publisher.publish(TOPIC, numbered(100, 8));
        assert_eq!(receive(&mut keen).await.0, 100);
        // First it may get what came before it.
        while receive(&mut late).await.0 < 100 {}
        assert!(publisher.stats().connections <= 2 * MAX_PER_ADDRESS);
        assert!(is_cut_off(crowd.swap_remove(0)).await, "it made way");
    }
}

#[tokio::test]
async fn a_ping_gets_its_pong_between_frames() {
    let publisher = publisher();
    let mut theirs = greeting();
    theirs[11] = 1;
    let said = [
        &theirs,
        READY_SUB,
        b"\x04\x0a\x09SUBSCRIBE",
        b"\x04\x0a\x04PING\0\x64abc",
    ]
    .concat();

    let mut peer = peer(&publisher, &said).await;
    let mut answer = vec![0; HANDSHAKE_BYTES + PONG.len()];
    timeout(DEADLINE, peer.read_exact(&mut answer))
        .await
        .unwrap()
        .unwrap();

    assert!(answer.ends_with(PONG));
    publisher.publish(TOPIC, Bytes::from_static(b"frame"));
    let mut message = [0; 13];
    timeout(DEADLINE, peer.read_exact(&mut message))
        .await
        .unwrap()
        .unwrap();

    assert_eq!(&message, b"\x01\x04cam/\0\x05frame");
}

#[tokio::test]
async fn who_subscribes_late_gets_the_newest_message_of_its_topics_and_then_each_once() {
    let publisher = publisher();
    for number in 0..3 {
        publisher.publish(TOPIC, numbered(number, 1000));
    }
    publisher.publish(Bytes::from_static(b"other/"), numbered(9, 1000));

    let mut late = subscribe(&publisher.endpoints()[0]).await;
    assert_eq!(receive(&mut late).await.0, 2);
    for number in 3..10 {
        publisher.publish(TOPIC, numbered(number, 1000));
        assert_eq!(receive(&mut late).await.0, number);
    }
}

#[tokio::test]
async fn five_hundred_that_come_and_go_leave_nothing_behind() {
    let publisher = publisher();
    let mut keen = subscribe(&publisher.endpoints()[0]).await;
    until("it has subscribed", || publisher.stats().subscribers == 1).await;

    for number in 0..500 {
        let said = [&handshake(), SUBSCRIBE_ALL].concat();
        let cut = 1 + (number as usize * 7) % said.len();
        let guest = peer(&publisher, &said[..cut]).await;
        publisher.publish(TOPIC, numbered(number, 10_000));
        drop(guest);
        assert_eq!(receive(&mut keen).await, (number, 10_000));
    }

    until("all are gone", || {
        publisher.stats().connections == 1 && publisher.stats().subscribers == 1
    })
    .await;
}

#[tokio::test]
async fn closing_waits_for_no_peer() {
    let publisher = publisher();
    let lazy = peer(&publisher, &[&handshake(), SUBSCRIBE_ALL].concat()).await;
    until("it has subscribed", || publisher.stats().subscribers == 1).await;

    for number in 0..20 {
        publisher.publish(TOPIC, numbered(number, 4 << 20));
    }

    let closed = tokio::task::spawn_blocking(|| publisher.close());
    timeout(Duration::from_millis(500), closed)
        .await
        .expect("closed at once")
        .unwrap();

    assert!(is_cut_off(lazy).await);
}

#[tokio::test]
async fn who_probes_is_answered_on_its_own_connection_and_nobody_else_is() {
    let publisher = publisher();
    let (mut stream, mut relay) = connect(&publisher, &Security::Null).await;
    let mut other = peer(&publisher, &[&handshake(), SUBSCRIBE_ALL].concat()).await;
    other.read_exact(&mut [0; HANDSHAKE_BYTES]).await.unwrap();
    until("the other has subscribed", || {
        publisher.stats().subscribers == 1
    })
    .await;

    for round in 0..40 {
        // At most twenty a second are answered.
        sleep(Duration::from_millis(55)).await;
        let before = clock::now().as_nanos();
        let probe = relay.encoder.upstream(&encode_clock_probe(round));
        stream.write_all(&probe).await.unwrap();
        let (topic, body) = next_message(&mut stream, &mut relay.decoder).await;
        let answer = parse_answer(&topic, &body).unwrap();
        assert_eq!(topic, ANSWER_TOPIC);
        assert_eq!((answer.nonce, answer.clock_id), (round, clock::clock_id()));
        assert!((before..=clock::now().as_nanos()).contains(&answer.clock_ns));
    }

    publisher.publish(TOPIC, Bytes::from_static(b"frame"));
    let mut message = [0; 13];
    timeout(DEADLINE, other.read_exact(&mut message))
        .await
        .unwrap()
        .unwrap();

    assert_eq!(
        &message, b"\x01\x04cam/\0\x05frame",
        "the first that it gets is no answer"
    );

    assert_eq!(
        (publisher.stats().subscribers, publisher.stats().refused),
        (1, 0)
    );
}

/// A relay that speaks our codec, which has shaken hands.
async fn connect(publisher: &Publisher, security: &Security) -> (TcpStream, Established) {
    let mut stream = TcpStream::connect(("127.0.0.1", port(publisher)))
        .await
        .unwrap();
    let mut handshake = Handshake::subscriber(security, clock::random_bytes());
    loop {
        let advanced = handshake.advance().unwrap();
        stream.write_all(&handshake.output()).await.unwrap();
        if let Some(established) = advanced {
            return (stream, established);
        }
        let read = stream.read_buf(handshake.buffer());
        assert_ne!(timeout(DEADLINE, read).await.unwrap().unwrap(), 0);
    }
}

/// The next message that comes on the connection.
async fn next_message(stream: &mut TcpStream, decoder: &mut Decoder) -> (Bytes, Bytes) {
    loop {
        match decoder.next().unwrap() {
            Some(Event::Message { topic, body }) => return (topic, body),
            Some(event) => panic!("a publisher says {event:?}"),
            None => {}
        }
        let read = stream.read_buf(decoder.buffer());
        assert_ne!(timeout(DEADLINE, read).await.unwrap().unwrap(), 0);
    }
}

#[tokio::test]
async fn a_relay_with_the_key_reads_what_others_cannot() {
    let key = FeedKey::new([7; 32]);
    let accepted = AcceptedSecurity {
        shared_key: Some(key.clone()),
        ..AcceptedSecurity::default()
    };

    let endpoints = ["tcp://127.0.0.1:0".parse().unwrap()];
    let publisher = Publisher::bind(&endpoints, accepted, Arc::new(NullSink)).unwrap();
    let (mut stream, mut relay) = connect(&publisher, &Security::SharedKey(key)).await;
    stream
        .write_all(&relay.encoder.subscribe(b"cam/"))
        .await
        .unwrap();

    until("it has subscribed", || publisher.stats().subscribers == 1).await;
    for number in 0..50 {
        let body = numbered(number, 200_000);
        publisher.publish(TOPIC, body.clone());
        assert_eq!(
            next_message(&mut stream, &mut relay.decoder).await,
            (TOPIC, body)
        );
    }

    let other = Security::SharedKey(FeedKey::new([8; 32]));
    let mut handshake = Handshake::subscriber(&other, [1; 32]);
    handshake.advance().unwrap();
    let mut stranger = peer(&publisher, &handshake.output()).await;
    let told = loop {
        stranger.read_buf(handshake.buffer()).await.unwrap();
        match handshake.advance() {
            Ok(_) => stranger.write_all(&handshake.output()).await.unwrap(),
            Err(error) => break error.to_string(),
        }
    };

    assert!(told.contains("different feed keys"), "{told}");
    until("it is refused", || publisher.stats().refused == 1).await;
}
