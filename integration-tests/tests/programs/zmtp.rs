//! The ZMTP codec against other implementations, in both roles: libzmq through Python, with its heartbeats on, and the
//! `zeromq` crate.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanlight_daemon::feed_connection::{Connection, Resolver};
use fanlight_daemon::{Shutdown, clock};
use fanlight_proto::zmtp::{AcceptedSecurity, Event, Security};
use fanlight_tests::python::{python, script};
use fanlight_tests::wait::SOON;
use zeromq::{PubSocket, Socket as _, SocketRecv as _, SocketSend as _, SubSocket, ZmqMessage};

/// As in zmtp_peer.py.
const SIZES: [usize; 7] = [0, 1, 255, 256, 1000, 65_536, 300_000];

/// So many heartbeats of libzmq must be answered.
const LONG_ENOUGH: Duration = Duration::from_millis(600);

/// A Python at the other end, ended with the test.
struct Peer(Child);

impl Peer {
    fn start(arguments: &[&str]) -> Option<Self> {
        let child = Command::new(python()?)
            .arg(script("zmtp_peer.py"))
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn();
        Some(Self(child.unwrap()))
    }

    fn lines(&mut self) -> impl Iterator<Item = String> + use<> {
        let out = self.0.stdout.take().expect("standard output is read once");
        BufReader::new(out).lines().map(Result::unwrap)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn connect(endpoint: &str) -> Connection {
    let (resolver, shutdown) = (&mut Resolver::default(), Shutdown::new());
    let endpoint = endpoint.parse().unwrap();
    Connection::open(&endpoint, &Security::Null, resolver, &shutdown).unwrap()
}

fn send(connection: &mut Connection, bytes: Bytes) {
    let deadline = clock::now() + SOON;
    connection
        .send(|_| bytes, deadline, &Shutdown::new())
        .unwrap();
}

/// The next event; PINGs are answered.
fn next(connection: &mut Connection) -> Event {
    let (shutdown, deadline) = (Shutdown::new(), clock::now() + SOON);
    loop {
        match connection.next().unwrap() {
            Some(Event::Ping(context)) => {
                connection
                    .send(|encoder| encoder.pong(&context), deadline, &shutdown)
                    .unwrap();
            }
            Some(event) => return event,
            None => connection.wait(None, deadline, &shutdown).unwrap(),
        }

        assert!(clock::now() < deadline, "nothing comes");
    }
}

/// Reads good messages for a while.
fn read_messages(connection: &mut Connection) {
    let enough = clock::now() + LONG_ENOUGH;
    let mut last = None;

    while clock::now() < enough {
        let Event::Message { topic, body } = next(connection) else {
            panic!("a publisher publishes");
        };

        assert_eq!(topic, &b"cam/"[..]);
        let index = SIZES
            .iter()
            .position(|size| *size == body.len())
            .expect("a size");

        assert!(last.is_none_or(|last: usize| (last + 1) % SIZES.len() == index));
        assert!(body.iter().all(|byte| *byte == body[0]));
        last = Some(index);
    }
}

#[test]
fn libzmq_publishers_are_read_and_an_xpub_gets_user_messages() {
    for kind in ["pub", "xpub"] {
        let Some(mut peer) = Peer::start(&["bind", kind]) else {
            return;
        };

        let mut lines = peer.lines();
        let mut connection = connect(&lines.next().expect("it says where it is bound"));
        assert_eq!(connection.takes_upstream, kind == "xpub");

        let shutdown = Shutdown::new();
        let deadline = clock::now() + SOON;
        connection
            .send(|encoder| encoder.subscribe(b"cam/"), deadline, &shutdown)
            .unwrap();
        if connection.takes_upstream {
            connection
                .send(|encoder| encoder.upstream(b"hello"), deadline, &shutdown)
                .unwrap();
        }

        read_messages(&mut connection);
        if connection.takes_upstream {
            assert_eq!(
                lines.next().as_deref(),
                Some("0163616d2f"),
                "the subscription"
            );

            assert_eq!(
                lines.next().as_deref(),
                Some("0268656c6c6f"),
                "the user message"
            );
        }
    }
}

#[test]
fn libzmq_subscribers_are_served_and_an_xsub_sends_user_messages() {
    for kind in ["sub", "xsub"] {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
        let Some(mut peer) = Peer::start(&["connect", kind, &endpoint]) else {
            return;
        };

        let (socket, _) = listener.accept().unwrap();
        let security = Arc::new(AcceptedSecurity::null());
        let mut connection = Connection::accept(socket, security, &Shutdown::new()).unwrap();

        let subscribed = Event::Subscribe(Bytes::from_static(b"cam/"));
        assert_eq!(next(&mut connection), subscribed);

        if kind == "xsub" {
            let said = Event::Upstream(Bytes::from_static(b"hello"));
            assert_eq!(next(&mut connection), said);
        }

        for number in 0..50_u8 {
            let body = vec![number; SIZES[usize::from(number) % SIZES.len()]];
            let mut rest = Bytes::new();
            let deadline = clock::now() + SOON;
            let encode = |encoder: &mut fanlight_proto::zmtp::Encoder| {
                let encoded = encoder.message(b"cam/", body.into());
                rest = encoded.body;
                encoded.prefix
            };

            connection.send(encode, deadline, &Shutdown::new()).unwrap();
            send(&mut connection, rest);
        }

        let heard: Vec<_> = peer.lines().collect();
        let expected = SIZES
            .iter()
            .cycle()
            .take(50)
            .map(|size| format!("cam/ {size} True"));

        assert!(heard.iter().cloned().eq(expected), "{heard:?}");
    }
}

#[tokio::test]
async fn the_zeromq_crate_is_read_and_served() {
    let mut publisher = PubSocket::new();
    let bound = publisher
        .bind("tcp://127.0.0.1:0")
        .await
        .unwrap()
        .to_string();

    let reader = tokio::task::spawn_blocking(move || {
        let mut connection = connect(&bound);
        let deadline = clock::now() + SOON;
        let subscribe = connection.send(|e| e.subscribe(b"cam/"), deadline, &Shutdown::new());
        subscribe.unwrap();
        read_messages(&mut connection);
    });

    for number in 0.. {
        if reader.is_finished() {
            break;
        }
        let mut message = ZmqMessage::from(Bytes::from_static(b"cam/"));
        message.push_back(vec![7; SIZES[number % SIZES.len()]].into());
        publisher.send(message).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    reader.await.unwrap();

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
    let serving = std::thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        let security = Arc::new(AcceptedSecurity::null());
        let mut connection = Connection::accept(socket, security, &Shutdown::new()).unwrap();
        assert_eq!(
            next(&mut connection),
            Event::Subscribe(Bytes::from_static(b"cam/"))
        );

        send(&mut connection, Bytes::from_static(b"\x01\x04cam/\0\x02hi"));
        connection
    });

    let mut subscriber = SubSocket::new();
    subscriber.subscribe("cam/").await.unwrap();
    subscriber.connect(&endpoint).await.unwrap();
    let message = tokio::time::timeout(SOON, subscriber.recv())
        .await
        .unwrap()
        .unwrap();

    assert_eq!(message.get(1).unwrap(), &Bytes::from_static(b"hi"));
    drop(serving.join().unwrap());
}
