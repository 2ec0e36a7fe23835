//! A connection as a client sees it, over a pipe in place of TCP.

use std::net::Ipv4Addr;
use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::message::FrameId;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::*;
use crate::fuzz::{PICTURE, app, frame, publish};

/// Bytes on their way in a connection that is not slow.
const PIPE: usize = 1 << 20;

/// How long a test waits for what must come.
const SOON: Duration = Duration::from_secs(20);

/// Between two frames, as units of RTP time too.
const INTERVAL_NS: u64 = 50_000_000;
const INTERVAL_TICKS: u32 = 4_500;

/// A picture of 48 x 32 pixels.
const SMALL: &[u8] = include_bytes!("../../../../fuzz/corpus/rtp_jpeg/small");

/// What a receiver report is for a server: a sign of life.
const RECEIVER_REPORT: [u8; 8] = [0x80, 201, 0, 1, 0, 0, 0, 7];

fn ends() -> Ends {
    Ends {
        peer: (Ipv4Addr::LOCALHOST, 9).into(),
        local: Ipv4Addr::LOCALHOST.into(),
        secure: false,
    }
}

/// Publishes frame `number` of a source, which has been captured that many intervals after its first one.
fn put(app: &App, epoch: u64, number: u64, jpeg: &'static [u8]) {
    let id = FrameId { epoch, number };
    publish(app, frame(id, number * INTERVAL_NS, 0, jpeg));
}

/// Runs `script` as the client of a connection with room for `pipe` bytes.
fn converse<T>(app: &Arc<App>, pipe: usize, script: impl AsyncFnOnce(Peer) -> T) -> T {
    with_runtime(async {
        let (ours, theirs) = tokio::io::duplex(pipe);
        tokio::select! {
            done = script(Peer::new(theirs)) => done,
            () = app.output.run() => unreachable!("an output runs for ever"),
            () = async { serve_connection(app, ours, ends()).await; std::future::pending().await } => unreachable!(),
        }
    })
}

fn with_runtime<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async { timeout(SOON, work).await.expect("it takes no time") })
}

/// A packet of a picture.
#[derive(Clone, Copy, Debug)]
struct Packet {
    sequence: u16,
    timestamp: u32,
    is_last: bool,
    offset: u32,
    /// Width and height in units of 8 pixels.
    size: (u8, u8),
}

impl Packet {
    fn of(bytes: &[u8]) -> Self {
        Self {
            sequence: u16::from_be_bytes([bytes[2], bytes[3]]),
            timestamp: u32::from_be_bytes(bytes[4..8].try_into().unwrap()),
            is_last: bytes[1] & 0x80 != 0,
            offset: u32::from_be_bytes([0, bytes[13], bytes[14], bytes[15]]),
            size: (bytes[18], bytes[19]),
        }
    }
}

/// A client.
struct Peer {
    stream: DuplexStream,
    input: Vec<u8>,
    /// Packets of RTCP that have come.
    rtcp: Vec<Vec<u8>>,
}

impl Peer {
    fn new(stream: DuplexStream) -> Self {
        Self {
            stream,
            input: Vec::new(),
            rtcp: Vec::new(),
        }
    }

    async fn need(&mut self, length: usize) {
        while self.input.len() < length {
            let read = self.stream.read_buf(&mut self.input).await.unwrap();
            assert!(read > 0, "the connection has ended");
        }
    }

    async fn say(&mut self, method: &str, fields: &str) {
        let request = format!("{method} rtsp://h/cam/track0 RTSP/1.0\r\nCSeq: 1\r\n{fields}\r\n");
        self.stream.write_all(request.as_bytes()).await.unwrap();
    }

    /// The answer to a request. Packets that come before it must be RTCP.
    async fn ask(&mut self, method: &str, fields: &str) -> String {
        self.say(method, fields).await;
        while let Some((channel, packet)) = self.interleaved().await {
            assert_eq!(channel, 1, "a picture came");
            self.rtcp.push(packet);
        }

        let end = b"\r\n\r\n";
        let length = loop {
            let found = self.input.windows(4).position(|bytes| bytes == end);
            match found {
                Some(found) => break found + end.len(),
                None => self.need(self.input.len() + 1).await,
            }
        };
        let answer = self.input.drain(..length).collect();
        String::from_utf8(answer).unwrap()
    }

    /// The packet that comes next; none: it is an answer.
    async fn interleaved(&mut self) -> Option<(u8, Vec<u8>)> {
        self.need(4).await;
        let [b'$', channel, high, low] = self.input[..4] else {
            return None;
        };
        let length = 4 + usize::from(u16::from_be_bytes([high, low]));
        self.need(length).await;
        let packet = self.input.drain(..length).skip(4).collect();
        Some((channel, packet))
    }

    /// The first packet of the next picture, which comes whole.
    async fn picture(&mut self) -> Packet {
        let mut first = None;
        loop {
            let (channel, packet) = self.interleaved().await.expect("no answer is due");
            if channel == 1 {
                self.rtcp.push(packet);
                continue;
            }

            let packet = Packet::of(&packet);
            let is_last = packet.is_last;
            let first = *first.get_or_insert(packet);
            assert_eq!(first.offset, 0, "the beginning of a picture");
            if is_last {
                return first;
            }
        }
    }

    /// Sets a session up in the connection, and plays; the session, and what PLAY was answered.
    async fn play(&mut self) -> (String, String) {
        let session = self.set_up("RTP/AVP/TCP;unicast;interleaved=0-1").await;
        let answer = self.ask("PLAY", &session).await;
        (session, answer)
    }

    /// Sets a session up; the field that names it.
    async fn set_up(&mut self, transport: &str) -> String {
        let answer = self
            .ask("SETUP", &format!("Transport: {transport}\r\n"))
            .await;
        assert!(answer.starts_with("RTSP/1.0 200 "), "{answer}");
        let session = field(&answer, "Session");
        let (id, rest) = session.split_once(';').unwrap();
        assert_eq!(rest, "timeout=60");
        format!("Session: {id}\r\n")
    }
}

fn field<'a>(answer: &'a str, name: &str) -> &'a str {
    let mut lines = answer.lines();
    let found = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    found.unwrap_or_else(|| panic!("no {name} in {answer}"))
}

/// What PLAY was told of the next packet: its sequence number and RTP time.
fn told(answer: &str) -> (u16, u32) {
    let info = field(answer, "RTP-Info");
    let parameter = |name: &str| {
        let mut parts = info.split(';');
        let found = parts.find_map(|part| part.strip_prefix(name));
        found.unwrap_or_else(|| panic!("no {name} in {info}"))
    };
    assert_eq!(field(answer, "Range"), "npt=now-");
    (
        parameter("seq=").parse().unwrap(),
        parameter("rtptime=").parse().unwrap(),
    )
}

#[test]
fn play_tells_number_and_time_of_the_packet_that_comes_next_also_after_pause() {
    let app = app();
    converse(&app, PIPE, async |mut peer: Peer| {
        let (session, answer) = peer.play().await;
        put(&app, 1, 1, PICTURE);
        let first = peer.picture().await;
        assert_eq!((first.sequence, first.timestamp), told(&answer));

        let answer = peer.ask("PAUSE", &session).await;
        assert!(answer.starts_with("RTSP/1.0 200 "), "{answer}");
        for number in 2..=4 {
            put(&app, 1, number, PICTURE);
            // A picture that came all the same would stand before the answer.
            peer.ask("GET_PARAMETER", &session).await;
        }

        let answer = peer.ask("PLAY", &session).await;
        let again = peer.picture().await;
        assert_eq!((again.sequence, again.timestamp), told(&answer));
        let since = again.timestamp.wrapping_sub(first.timestamp);
        assert_eq!(since, 3 * INTERVAL_TICKS, "the newest one comes");
    });
}

#[test]
fn a_client_that_stops_reading_gets_the_newest_picture_afterwards_and_none_between() {
    let app = app();
    converse(&app, 512, async |mut peer: Peer| {
        let (session, _) = peer.play().await;
        put(&app, 1, 1, PICTURE);
        peer.need(1).await;
        for number in 2..=100 {
            put(&app, 1, number, PICTURE);
            tokio::task::yield_now().await;
        }

        let (first, next) = (peer.picture().await, peer.picture().await);
        let since = next.timestamp.wrapping_sub(first.timestamp);
        assert_eq!(since, 99 * INTERVAL_TICKS);
        // Numbers of packets have no gap: none was lost, they were never made.
        let packets = next.sequence.wrapping_sub(first.sequence);
        assert!(packets < 5, "{packets}");
        peer.ask("GET_PARAMETER", &session).await;
    });
}

#[test]
fn size_and_source_may_change_while_a_session_plays() {
    let app = app();
    converse(&app, PIPE, async |mut peer: Peer| {
        peer.play().await;
        let mut last = None;
        for (epoch, number, jpeg, size) in [
            (1, 1, PICTURE, (11, 7)),
            (1, 2, SMALL, (6, 4)),
            // A source that has started again counts anew.
            (2, 0, PICTURE, (11, 7)),
            (2, 1, SMALL, (6, 4)),
        ] {
            put(&app, epoch, number, jpeg);
            let Packet {
                size: seen,
                timestamp,
                ..
            } = peer.picture().await;
            assert_eq!(seen, size);
            let since = last.map(|last| timestamp.wrapping_sub(last));
            assert!(since.is_none_or(|since| since > 0 && since < 1 << 31));
            last = Some(timestamp);
        }
    });
}

#[test]
fn teardown_ends_the_session_with_a_goodbye_and_the_connection_may_set_up_another() {
    let app = app();
    converse(&app, PIPE, async |mut peer: Peer| {
        let (session, _) = peer.play().await;
        put(&app, 1, 1, PICTURE);
        peer.picture().await;
        assert!(!is_goodbye(&peer.rtcp.concat()));

        let answer = peer.ask("TEARDOWN", &session).await;
        assert!(answer.starts_with("RTSP/1.0 200 "), "{answer}");
        assert!(is_goodbye(peer.rtcp.last().unwrap()));
        let answer = peer.ask("PLAY", &session).await;
        assert!(answer.starts_with("RTSP/1.0 454 "), "{answer}");

        put(&app, 1, 2, PICTURE);
        peer.play().await;
        put(&app, 1, 3, PICTURE);
        peer.picture().await;
    });
}

/// Whether RTCP ends with BYE (RFC 3550, 6.6).
fn is_goodbye(rtcp: &[u8]) -> bool {
    matches!(rtcp, [.., 0x81, 203, 0, 1, _, _, _, _])
}

/// Lets all time of a session without a sign of life pass but `left`.
fn grow_silent(connection: &mut Connection<'_>, left: Duration) -> Time {
    let silence = Duration::from_secs(SESSION_TIMEOUT_S) - left;
    let now = clock::now().as_nanos();
    let heard = Time::from_nanos(now - u64::try_from(silence.as_nanos()).unwrap());
    (connection.heard, connection.progress) = (heard, heard);
    heard
}

/// Runs the connection for `script`, which ends before it.
async fn during<T>(
    connection: &mut Connection<'_>,
    ours: &mut DuplexStream,
    script: impl Future<Output = T>,
) -> T {
    let output = &connection.app.output;
    tokio::select! {
        done = script => done,
        () = output.run() => unreachable!("an output runs for ever"),
        () = connection.run(ours) => panic!("the connection has ended"),
    }
}

/// Runs the connection until it has heard of the client after `before`.
async fn until_heard(connection: &mut Connection<'_>, ours: &mut DuplexStream, before: Time) {
    while connection.heard == before {
        let _ = timeout(Duration::from_millis(5), connection.run(&mut *ours)).await;
    }
}

#[test]
fn a_request_or_a_receiver_report_keeps_a_session_alive() {
    let app = app();
    with_runtime(async {
        let (mut ours, theirs) = tokio::io::duplex(PIPE);
        let (mut peer, mut connection) = (Peer::new(theirs), Connection::new(&app, ends()));
        let way = "RTP/AVP/TCP;unicast;interleaved=0-1";
        let session = during(&mut connection, &mut ours, peer.set_up(way)).await;

        for method in ["OPTIONS", "GET_PARAMETER"] {
            let before = grow_silent(&mut connection, SOON);
            peer.say(method, &session).await;
            until_heard(&mut connection, &mut ours, before).await;
        }

        let before = grow_silent(&mut connection, SOON);
        peer.stream.write_all(b"$\x01\0\x08").await.unwrap();
        peer.stream.write_all(&RECEIVER_REPORT).await.unwrap();
        until_heard(&mut connection, &mut ours, before).await;
    });
}

#[test]
fn a_session_by_udp_lives_by_receiver_reports_and_ends_when_its_client_is_gone() {
    let app = app();
    with_runtime(async {
        let (mut ours, theirs) = tokio::io::duplex(PIPE);
        let (mut peer, mut connection) = (Peer::new(theirs), Connection::new(&app, ends()));
        let rtp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let rtcp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let [port, rtcp_port] = [&rtp, &rtcp].map(|socket| socket.local_addr().unwrap().port());
        let way = format!("RTP/AVP;unicast;client_port={port}-{rtcp_port}");
        let play = async {
            let session = peer.set_up(&way).await;
            peer.ask("PLAY", &session).await;
            put(&app, 1, 1, PICTURE);
            let mut packet = [0; 1500];
            rtp.recv(&mut packet).await.unwrap();
            let (length, from) = rtcp.recv_from(&mut packet).await.unwrap();
            assert!(!is_goodbye(&packet[..length]));
            from
        };
        let server = during(&mut connection, &mut ours, play).await;

        let before = grow_silent(&mut connection, SOON);
        rtcp.send_to(&RECEIVER_REPORT, server).await.unwrap();
        until_heard(&mut connection, &mut ours, before).await;

        grow_silent(&mut connection, Duration::ZERO);
        connection.serve(ours).await;
        let mut packet = [0; 1500];
        let length = rtcp.recv(&mut packet).await.unwrap();
        assert!(is_goodbye(&packet[..length]));
    });
}
