//! The whole relay in this process: a ZeroMQ publisher before it, UDP sockets behind it.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use fanlight_daemon::Context;
use fanlight_proto::datagram::{DataHeader, ToRelay, ToViewer, VERSION};
use fanlight_proto::limits::{MAX_REPAIR_RANGES, SHARD_BYTES};
use fanlight_proto::message::{
    Accept, Format, FrameBuffer, FrameHeader, Join, KeepAlive, Repair, State,
};
use tokio::net::UdpSocket;
use tokio::time::timeout;
use zeromq::{PubSocket, Socket as _, SocketSend as _, ZmqMessage};

use super::Relay;
use crate::StartError;
use crate::config::{Access, Config, Gso};

/// Far above what anything here takes; reached only when it hangs.
const DEADLINE: Duration = Duration::from_secs(60);
const FRAMES: u64 = 30;

/// A viewer that hears nothing for so long asks for what is missing.
const SILENCE: Duration = Duration::from_millis(50);

fn encoded(number: u64) -> Bytes {
    let mut jpeg = vec![0; 100_000];
    jpeg.iter_mut()
        .enumerate()
        .for_each(|(at, byte)| *byte = (at as u64 * 31 + number) as u8);
    jpeg[..2].copy_from_slice(&[0xff, 0xd8]);
    jpeg[99_998..].copy_from_slice(&[0xff, 0xd9]);
    let header = FrameHeader {
        stream: "cam".into(),
        epoch: 9,
        number,
        width: 640,
        height: 480,
        format: Format::Jpeg as i32,
        state: State::Live as i32,
        rate_millihertz: 30_000,
        ..FrameHeader::default()
    };

    FrameBuffer::copy_of(&jpeg).finish(header)
}

struct Source(PubSocket);

impl Source {
    async fn publish(&mut self, body: Bytes) {
        let mut message = ZmqMessage::from(Bytes::from_static(b"cam/"));
        message.push_back(body);
        self.0.send(message).await.unwrap();
    }
}

struct Running {
    address: SocketAddr,
    context: Context,
    thread: Option<JoinHandle<std::io::Result<()>>>,
}

impl Running {
    async fn start(gso: Gso) -> (Self, Source) {
        let mut publisher = PubSocket::new();
        let source = publisher
            .bind("tcp://127.0.0.1:0")
            .await
            .unwrap()
            .to_string();

        let config = Config {
            sources: vec![source.parse().unwrap()],
            listen: "127.0.0.1:0".parse().unwrap(),
            gso,
            ..Config::default()
        };

        let relay = Relay::load(config).unwrap();
        let (address, context) = (relay.local_addr(), Context::default());
        let thread = std::thread::spawn({
            let context = context.clone();
            move || relay.run(&context)
        });

        (
            Self {
                address,
                context,
                thread: Some(thread),
            },
            Source(publisher),
        )
    }

    fn stop(&mut self) {
        self.context.shutdown.trigger();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap().unwrap();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A frame of which shards are missing.
struct OpenFrame {
    alias: u32,
    missing: BTreeSet<u16>,
    body: Vec<u8>,
}

impl OpenFrame {
    fn new(header: &DataHeader) -> Self {
        Self {
            alias: header.alias.into(),
            missing: (0..header.shards).collect(),
            body: vec![0; header.length as usize],
        }
    }

    fn take(&mut self, header: &DataHeader, shard: &[u8]) {
        self.missing.remove(&header.index);
        let start = usize::from(header.index) * SHARD_BYTES;
        let end = self.body.len().min(start + SHARD_BYTES);
        self.body[start..end].copy_from_slice(&shard[..end - start]);
    }
}

struct Viewer {
    socket: UdpSocket,
    session: u64,
    consent: u64,
    buffer: Vec<u8>,
}

impl Viewer {
    /// Joins; the source has to speak meanwhile, or there is no stream.
    async fn join(relay: SocketAddr, source: &mut Source) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(relay).await.unwrap();
        let mut viewer = Self {
            socket,
            session: 0,
            consent: 0,
            buffer: vec![0; 2048],
        };

        let mut join = Join {
            version: VERSION,
            nonce: 5,
            receive_capacity: 92,
            ..Join::default()
        };

        let joined = async {
            loop {
                source.publish(encoded(0)).await;
                viewer.say(&ToRelay::Join(join.clone())).await;
                let Ok(size) = timeout(
                    Duration::from_millis(50),
                    viewer.socket.recv(&mut viewer.buffer),
                )
                .await
                else {
                    continue;
                };

                match ToViewer::parse(&viewer.buffer[..size.unwrap()]).unwrap() {
                    ToViewer::Challenge(challenge) => join.token = challenge.token,
                    ToViewer::Accept(Accept { session, .. }) => return session,
                    _ => {}
                }
            }
        };

        viewer.session = timeout(DEADLINE, joined).await.expect("joins");
        viewer
    }

    async fn say(&self, message: &ToRelay<'_>) {
        let mut datagram = Vec::new();
        message.encode(&mut datagram);
        self.socket.send(&datagram).await.unwrap();
    }

    /// Makes room in the socket, which what was published while others joined has filled.
    fn forget_what_came(&mut self) {
        while self.socket.try_recv(&mut self.buffer).is_ok() {}
    }

    /// The encoded frames 1 to [`FRAMES`]. Asks for shards that do not come, as viewers do: a busy machine loses some.
    /// `newest` is the last frame that came whole.
    async fn watch(&mut self, newest: &Cell<u64>) -> BTreeMap<u64, Vec<u8>> {
        let mut open = BTreeMap::new();
        let mut whole = BTreeMap::new();
        let all = async {
            while whole.len() < FRAMES as usize {
                let coming = timeout(SILENCE, self.socket.recv(&mut self.buffer)).await;
                let Ok(size) = coming else {
                    self.ask_again(&open).await;
                    continue;
                };

                match ToViewer::parse(&self.buffer[..size.unwrap()]) {
                    Ok(ToViewer::Data(header, shard)) => {
                        let number = header.id.number;
                        if number == 0 || whole.contains_key(&number) {
                            continue;
                        }

                        let frame = open
                            .entry(number)
                            .or_insert_with(|| OpenFrame::new(&header));
                        frame.take(&header, shard);
                        if frame.missing.is_empty() {
                            whole.extend(open.remove(&number).map(|frame| (number, frame.body)));
                            newest.set(number);
                        }
                    }
                    Ok(ToViewer::Pulse(_, pulse)) => self.consent = pulse.consent,
                    _ => {}
                }
            }
        };

        let ended = timeout(DEADLINE, all).await;
        let missing = open.keys();
        assert!(ended.is_ok(), "{} are whole, not {missing:?}", whole.len());
        whole
    }

    /// Asks for what is missing of the frames that have begun, and keeps the session.
    async fn ask_again(&self, open: &BTreeMap<u64, OpenFrame>) {
        for (number, frame) in open {
            let missing = frame.missing.iter().take(MAX_REPAIR_RANGES);
            let repair = Repair {
                alias: frame.alias,
                epoch: 9,
                number: *number,
                ranges: missing.flat_map(|at| [u32::from(*at), 1]).collect(),
            };
            self.say(&ToRelay::Repair(self.session, repair)).await;
        }

        let keep_alive = KeepAlive {
            consent: self.consent,
            ..KeepAlive::default()
        };
        self.say(&ToRelay::KeepAlive(self.session, keep_alive))
            .await;
    }

    async fn hears_goodbye(&mut self) -> bool {
        let goodbye = async {
            loop {
                let size = self.socket.recv(&mut self.buffer).await.unwrap();
                if let Ok(ToViewer::Goodbye(session, _)) = ToViewer::parse(&self.buffer[..size]) {
                    return session == self.session;
                }
            }
        };

        timeout(DEADLINE, goodbye)
            .await
            .expect("the relay says goodbye")
    }
}

/// Publishes frames 1 to [`FRAMES`], each 33 ms after the last and when all `viewers` have it: on a machine that is busy,
/// one would overtake another, as it should.
async fn publish_all(source: &mut Source, viewers: &[Cell<u64>]) {
    for number in 1..=FRAMES {
        source.publish(encoded(number)).await;
        let mut every = tokio::time::interval(Duration::from_millis(33));
        every.tick().await;
        every.tick().await;
        while viewers.iter().any(|newest| newest.get() < number) {
            every.tick().await;
        }
    }
}

async fn three_viewers_get_every_frame(gso: Gso) {
    let (running, mut source) = Running::start(gso).await;
    let mut one = Viewer::join(running.address, &mut source).await;
    let mut two = Viewer::join(running.address, &mut source).await;
    let mut three = Viewer::join(running.address, &mut source).await;
    for viewer in [&mut one, &mut two, &mut three] {
        viewer.forget_what_came();
    }

    let newest: [Cell<u64>; 3] = Default::default();
    let watching = (
        one.watch(&newest[0]),
        two.watch(&newest[1]),
        three.watch(&newest[2]),
    );

    let publishing = timeout(DEADLINE, publish_all(&mut source, &newest));
    let (a, b, c, _) = tokio::join!(watching.0, watching.1, watching.2, publishing);

    for frames in [a, b, c] {
        for (number, body) in frames {
            assert_eq!(body, encoded(number));
        }
    }
}

#[tokio::test]
async fn three_viewers_with_small_sockets_get_every_frame_with_trains() {
    three_viewers_get_every_frame(Gso::On).await;
}

#[tokio::test]
async fn three_viewers_with_small_sockets_get_every_frame_without_trains() {
    three_viewers_get_every_frame(Gso::Off).await;
}

#[tokio::test]
async fn a_viewer_whose_port_is_closed_does_not_disturb_the_others() {
    let (running, mut source) = Running::start(Gso::Auto).await;
    let gone = Viewer::join(running.address, &mut source).await;
    let mut stays = Viewer::join(running.address, &mut source).await;
    drop(gone);
    let newest: [Cell<u64>; 1] = Default::default();
    let publishing = timeout(DEADLINE, publish_all(&mut source, &newest));
    let (frames, _) = tokio::join!(stays.watch(&newest[0]), publishing);
    assert_eq!(frames.len(), FRAMES as usize);
}

#[tokio::test]
async fn a_keep_alive_is_answered_while_frames_flow() {
    let (running, mut source) = Running::start(Gso::Auto).await;
    let mut viewer = Viewer::join(running.address, &mut source).await;
    let answers = async {
        for sent_us in 1..=10 {
            viewer
                .say(&ToRelay::KeepAlive(
                    viewer.session,
                    KeepAlive {
                        sent_us,
                        ..KeepAlive::default()
                    },
                ))
                .await;

            loop {
                let size = viewer.socket.recv(&mut viewer.buffer).await.unwrap();
                if let Ok(ToViewer::Pulse(_, pulse)) = ToViewer::parse(&viewer.buffer[..size])
                    && pulse.echo_us == sent_us
                {
                    break;
                }
            }
        }
    };

    let (answered, ()) = tokio::join!(timeout(DEADLINE, answers), publish_all(&mut source, &[]));
    answered.unwrap();
}

#[tokio::test]
async fn a_relay_that_is_asked_to_stop_says_goodbye_and_ends() {
    let (mut running, mut source) = Running::start(Gso::Auto).await;
    let mut viewer = Viewer::join(running.address, &mut source).await;
    viewer.forget_what_came();
    running.stop();
    assert!(viewer.hears_goodbye().await);
}

#[tokio::test]
async fn a_port_in_use_is_named_with_what_to_do() {
    let taken = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let listen = taken.local_addr().unwrap();
    let error = Relay::load(Config {
        listen,
        ..Config::default()
    })
    .unwrap_err();

    assert!(matches!(error, StartError::Bind(_)));
    assert_eq!(
        error.to_string(),
        format!("address {listen} in use: another relay? choose another --listen")
    );

    let nowhere = "192.0.2.1:5004".parse().unwrap();
    let access = Access::Open;
    let error = Relay::load(Config {
        listen: nowhere,
        access,
        ..Config::default()
    })
    .unwrap_err();

    assert!(error.to_string().contains("none of this host's"), "{error}");
}
