mod conversation;

use std::convert::Infallible;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use bytes::Bytes;
use fanlight_daemon::{Shutdown, clock};
use fanlight_live::{Arrival, EngineFeed};
use fanlight_proto::clock::Time;
use fanlight_proto::keys::FeedKey;
use fanlight_proto::limits::MAX_FRAME_BYTES;
use fanlight_proto::message::{Format, FrameBuffer, FrameHeader, SourceClock, State, parse_frame};
use tokio::time::timeout;
use zeromq::{PubSocket, Socket as _, SocketSend as _, ZmqMessage};

use super::session::CatchUp;
use super::*;

/// Far above what anything here takes; reached only when it hangs.
const DEADLINE: Duration = Duration::from_secs(10);

fn header(stream: &str, epoch: u64, number: u64) -> FrameHeader {
    FrameHeader {
        stream: stream.into(),
        epoch,
        number,
        state: State::Live as i32,
        ..FrameHeader::default()
    }
}

/// An encoded frame with a picture of `size` bytes.
pub(crate) fn frame(stream: &str, epoch: u64, number: u64, size: usize) -> Bytes {
    let (jpeg, header) = picture(stream, epoch, number, size);
    FrameBuffer::copy_of(&jpeg).finish(header)
}

/// A picture of `size` bytes, and its header.
fn picture(stream: &str, epoch: u64, number: u64, size: usize) -> (Vec<u8>, FrameHeader) {
    let mut jpeg = vec![0x11; size.max(4)];
    let end = jpeg.len() - 2;
    jpeg[..2].copy_from_slice(&[0xff, 0xd8]);
    jpeg[end..].copy_from_slice(&[0xff, 0xd9]);
    let (width, height) = (640, 480);
    (
        jpeg,
        FrameHeader {
            width,
            height,
            format: Format::Jpeg as i32,
            ..header(stream, epoch, number)
        },
    )
}

/// An encoded heartbeat.
pub(crate) fn heartbeat(stream: &str, epoch: u64, number: u64) -> Bytes {
    FrameBuffer::with_capacity(0).finish(header(stream, epoch, number))
}

/// A running upstream, stopped when dropped.
struct Subscription {
    feed: Mutex<EngineFeed>,
    feedback: Arc<FeedbackQueue>,
    shutdown: Shutdown,
    thread: Option<JoinHandle<()>>,
}

impl Subscription {
    fn to(endpoint: &str) -> Self {
        Self::start(endpoint, &[], MAX_FRAME_BYTES)
    }

    fn start(endpoint: &str, streams: &[&str], max_frame_bytes: usize) -> Self {
        Self::of(endpoint, streams, max_frame_bytes, FeedKeys::default())
    }

    fn sealed(endpoint: &str) -> Self {
        Self::of(
            endpoint,
            &[],
            MAX_FRAME_BYTES,
            FeedKeys::shared(FeedKey::new([7; 32])),
        )
    }

    fn of(endpoint: &str, streams: &[&str], max_frame_bytes: usize, keys: FeedKeys) -> Self {
        let table = StreamTable::new(Duration::from_millis(500));
        let feedback = Arc::new(FeedbackQueue::new().unwrap());
        let shutdown = Shutdown::new();
        let upstream = Upstream {
            origin: 0,
            endpoint: endpoint.parse().unwrap(),
            relay: "test".to_owned(),
            streams: streams.iter().map(|name| name.parse().unwrap()).collect(),
            max_frame_bytes,
            stale: Duration::from_millis(500),
            keys: watch::channel(keys).1,
            feedback: Arc::clone(&feedback),
        };

        let thread = upstream
            .start(Arc::clone(&table), shutdown.clone())
            .unwrap();
        Self {
            feed: Mutex::new(EngineFeed::new(table)),
            feedback,
            shutdown,
            thread: Some(thread),
        }
    }

    /// What `look` finds, as soon as it finds something.
    async fn wait_for<T>(&self, mut look: impl FnMut(&mut EngineFeed) -> Option<T>) -> T {
        let found = async {
            loop {
                if let Some(found) = look(&mut self.feed.lock().unwrap()) {
                    return found;
                }
                // Nothing wakes the engine for a stream without viewers.
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };

        timeout(DEADLINE, found).await.expect("something comes")
    }

    /// The next thing that comes.
    async fn next(&self) -> Arrival {
        self.wait_for(|feed| feed.next_arrival(|_| false)).await
    }

    /// What is newly known of the source's clock.
    async fn next_clock(&self) -> SourceClock {
        let (origin, clock) = self.wait_for(|feed| feed.next_clock()).await;
        assert_eq!(origin, 0);
        clock
    }

    /// Whether nothing comes while `connections` tells of three.
    async fn hears_nothing(&self, connections: mpsc::Receiver<usize>) -> bool {
        let third =
            tokio::task::spawn_blocking(
                move || while connections.recv_timeout(DEADLINE).unwrap() < 2 {},
            );
        third.await.unwrap();
        self.feed.lock().unwrap().next_arrival(|_| false).is_none()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.shutdown.trigger();
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Publishes `bodies` over and over until something else is ready.
async fn publish_forever(
    socket: &mut PubSocket,
    topic: &'static str,
    mut body: impl FnMut(u64) -> Bytes,
) -> Infallible {
    let mut every = tokio::time::interval(Duration::from_millis(10));
    let mut number = 0;

    loop {
        every.tick().await;
        let mut message = ZmqMessage::from(Bytes::from_static(topic.as_bytes()));
        message.push_back(body(number));
        socket.send(message).await.unwrap();
        number += 1;
    }
}

/// A TCP publisher that serves each connection by `serve` and tells when one came.
fn fake(serve: impl Fn(usize, TcpStream) + Send + 'static) -> (String, mpsc::Receiver<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        for (count, stream) in listener.incoming().enumerate() {
            if tell.send(count).is_err() {
                return;
            }
            serve(count, stream.unwrap());
        }
    });

    (endpoint, told)
}

fn greeting() -> [u8; 64] {
    let mut greeting = [0; 64];
    greeting[0] = 0xff;
    greeting[9] = 0x7f;
    greeting[10] = 3;
    greeting[12..16].copy_from_slice(b"NULL");
    greeting
}

fn greet(mut stream: &TcpStream) {
    stream.write_all(&greeting()).unwrap();
    stream.read_exact(&mut [0; 64]).unwrap();
    stream
        .write_all(b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03PUB")
        .unwrap();
}

fn long_header(flags: u8, length: u64) -> Vec<u8> {
    let mut bytes = vec![flags];
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes
}

fn message(topic: &[u8], body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![1, u8::try_from(topic.len()).unwrap()];
    bytes.extend_from_slice(topic);
    bytes.extend(long_header(2, body.len() as u64));
    bytes.extend_from_slice(body);
    bytes
}

/// Keeps a connection open without a feedback, until the other side closes it.
fn wait_for_end(mut stream: &TcpStream) {
    let mut sink = [0; 1024];
    while stream.read(&mut sink).is_ok_and(|count| count > 0) {}
}

/// A publisher that does `evil` to the first two connections and is good to the third.
async fn recovers_from(evil: impl Fn(&TcpStream) + Send + 'static) {
    let (endpoint, connections) = fake(move |count, stream| {
        if count < 2 {
            evil(&stream);
        } else {
            greet(&stream);
            let good = message(b"cam/", &frame("cam", 1, 7, 100_000));
            let _ = (&stream).write_all(&good);
            wait_for_end(&stream);
        }
    });

    let subscription = Subscription::to(&endpoint);
    assert_eq!(subscription.next().await.frame.id.number, 7);
    assert!(connections.try_iter().count() >= 3);
}

#[tokio::test]
async fn frames_of_a_zeromq_publisher_come_over_tcp_and_ipc() {
    let folder = tempfile::tempdir().unwrap();
    let ipc = format!("ipc://{}", folder.path().join("source.ipc").display());

    for endpoint in ["tcp://127.0.0.1:0".to_owned(), ipc] {
        let mut publisher = PubSocket::new();
        let bound = publisher.bind(&endpoint).await.unwrap().to_string();
        let subscription = Subscription::to(&bound);
        let arrival = tokio::select! {
            arrival = subscription.next() => arrival,
            never = publish_forever(&mut publisher, "cam/", |n| frame("cam", 9, n, 200_000)) => match never {},
        };

        assert_eq!(
            (arrival.frame.stream.as_str(), arrival.frame.id.epoch),
            ("cam", 9)
        );

        assert!(arrival.frame.body == frame("cam", 9, arrival.frame.id.number, 200_000));
    }
}

#[tokio::test]
async fn only_the_streams_asked_for_come() {
    let mut publisher = PubSocket::new();
    let bound = publisher
        .bind("tcp://127.0.0.1:0")
        .await
        .unwrap()
        .to_string();

    let subscription = Subscription::start(&bound, &["cam10"], MAX_FRAME_BYTES);
    let both = async {
        let mut every = tokio::time::interval(Duration::from_millis(10));
        loop {
            every.tick().await;
            for name in ["cam1", "cam10", "cam100"] {
                let mut message = ZmqMessage::from(Bytes::from(format!("{name}/")));
                message.push_back(heartbeat(name, 1, 1));
                publisher.send(message).await.unwrap();
            }
        }
    };

    let three = async {
        for _ in 0..3 {
            assert_eq!(subscription.next().await.frame.stream.as_str(), "cam10");
        }
    };

    tokio::select! { () = three => {}, never = both => never }
}

#[tokio::test]
async fn a_frame_over_the_limit_or_malformed_is_passed_over() {
    let mut publisher = PubSocket::new();
    let bound = publisher
        .bind("tcp://127.0.0.1:0")
        .await
        .unwrap()
        .to_string();

    let subscription = Subscription::start(&bound, &[], 10_000);
    let bodies = |n: u64| match n % 3 {
        0 => frame("cam", 1, n, 20_000),
        1 => Bytes::from_static(b"\xff\xff\xff no protobuf"),
        _ => frame("cam", 1, n, 1000),
    };

    let good = async {
        for _ in 0..3 {
            assert_eq!(subscription.next().await.frame.id.number % 3, 2);
        }
    };

    tokio::select! {
        () = good => {}
        never = publish_forever(&mut publisher, "cam/", bodies) => match never {},
    }
}

#[tokio::test]
async fn a_source_that_announces_a_huge_frame_does_not_end_the_relay() {
    recovers_from(|stream| {
        greet(stream);
        let _ = (&*stream).write_all(&long_header(2, 1 << 40));
        wait_for_end(stream);
    })
    .await;
}

#[tokio::test]
async fn a_huge_frame_before_the_handshake_does_not_end_the_relay() {
    recovers_from(|mut stream| {
        let mut bytes = greeting().to_vec();
        bytes.extend(long_header(6, 1 << 40));
        let _ = stream.write_all(&bytes);
        wait_for_end(stream);
    })
    .await;
}

#[tokio::test]
async fn a_source_that_closes_right_after_ready_is_found_again() {
    recovers_from(greet).await;
}

#[tokio::test]
async fn a_source_that_stops_within_a_frame_is_found_again() {
    recovers_from(|mut stream| {
        greet(stream);
        let half = message(b"cam/", &frame("cam", 1, 6, 100_000));
        let _ = stream.write_all(&half[..half.len() / 2]);
        wait_for_end(stream);
    })
    .await;
}

#[tokio::test]
async fn a_source_that_never_says_a_word_is_aborted_and_tried_again() {
    recovers_from(wait_for_end).await;
}

#[tokio::test]
async fn garbage_is_aborted_and_tried_again() {
    recovers_from(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        wait_for_end(stream);
    })
    .await;

    recovers_from(|mut stream| {
        greet(stream);
        let _ = stream.write_all(&[0x04, 0x03, 0xff, 0xff, 0xff]);
        wait_for_end(stream);
    })
    .await;
}

#[tokio::test]
async fn a_source_that_comes_late_is_found_within_a_second() {
    // An address that no other test listens on, so that nobody takes the port meanwhile.
    let listener = TcpListener::bind("127.77.1.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let subscription = Subscription::to(&format!("tcp://{address}"));
    // The absence that the test is about: by now the pauses between tries are at their longest.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let mut publisher = PubSocket::new();
    publisher.bind(&format!("tcp://{address}")).await.unwrap();
    let bound = clock::now();

    tokio::select! {
        _ = subscription.next() => {}
        never = publish_forever(&mut publisher, "cam/", |n| frame("cam", 9, n, 1000)) => match never {},
    }

    let took = clock::now().saturating_since(bound);
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[test]
fn the_thread_ends_at_once_when_asked() {
    let (endpoint, _connections) = fake(|_, stream| wait_for_end(&stream));
    for endpoint in [
        endpoint.as_str(),
        "ipc:///nowhere/source.ipc",
        "tcp://127.0.0.1:1",
    ] {
        let subscription = Subscription::to(endpoint);
        let asked = clock::now();
        drop(subscription);
        let took = clock::now().saturating_since(asked);
        assert!(took < Duration::from_millis(300), "{took:?}");
    }
}

#[test]
fn pictures_that_waited_while_the_relay_stood_still_are_passed_over_but_a_slow_source_is_not() {
    let mut catch_up = CatchUp::new(5);
    let ms = |n| Time::default() + Duration::from_millis(n);
    let captured = |n, clock_id| {
        let body = frame("cam", 1, n, 100);
        let mut frame = parse_frame(b"cam/", body, MAX_FRAME_BYTES).unwrap();
        frame.header.captured_ns = ms(n).as_nanos();
        frame.header.clock_id = clock_id;
        frame
    };

    assert!(!catch_up.skips(ms(20), &captured(10, 5)));
    assert!(catch_up.skips(ms(9000), &captured(43, 5)));
    assert!(catch_up.skips(ms(9001), &captured(76, 5)));
    assert!(!catch_up.skips(ms(9002), &captured(8990, 5)));
    assert!(
        !catch_up.skips(ms(9003), &captured(90, 6)),
        "another host's clock says nothing"
    );

    for now in (10_000..20_000).step_by(33) {
        let waits = catch_up.skips(ms(now), &captured(now - 300, 5));
        assert_eq!(waits, now < 10_000 + 500, "{now}");
    }
}
