//! Sources that make a relay hold much.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use fanlight_daemon::clock;
use fanlight_proto::limits::MAX_FRAME_PREFIX;
use fanlight_proto::message::{Format, Frame, FrameHeader, State};
use prost::Message as _;

use super::{LOOK, Outcome, Scale, beside, shows, source};
use crate::TestEnv;
use crate::http::{Parts, Site, Socket};
use crate::jpeg;
use crate::raw_client::RawClient;
use crate::usage::MIB;
use crate::wait::{pause, throughout};
use crate::zmtp::{greeting, message, ready};

/// Between two rounds of frames: live streams send at least each second.
const ROUND: Duration = Duration::from_millis(200);

/// The size of the pictures.
const SIZE: (usize, usize) = (3840, 2160);

/// What the relay may hold beside its budget: its code, its connections, and buffers on their way.
const BESIDE: u64 = 64 * MIB;

/// Slow clients of each stream, which hold a frame and three copies each where nothing forbids it: twice the budget.
const MULTIPART_CLIENTS: usize = 4;
const SOCKET_CLIENTS: usize = 2;

/// Streams that are watched by WebRTC too: encoders of more would take all of the machine's time.
const ENCODED_STREAMS: usize = 4;

/// What a client of WebRTC says to watch; the encoder begins before anything else of it comes.
const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
    m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\n\
    a=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:\
    AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF\r\na=setup:actpass\r\n\
    a=mid:0\r\na=recvonly\r\na=rtcp-mux\r\na=rtpmap:96 VP8/90000\r\n";

/// What each of a source's streams is made of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Small pictures, and 4 MB in the name of the canary.
    CanaryNames,
    /// Pictures of 4 MB, for which 64 streams have room.
    Pictures,
}

/// A grey picture of `length` bytes, filled up with segments that nobody reads.
fn picture((width, height): (usize, usize), length: usize) -> Vec<u8> {
    let image = turbojpeg::Image {
        pixels: &vec![128; width * height][..],
        width,
        pitch: width,
        height,
        format: turbojpeg::PixelFormat::GRAY,
    };
    let jpeg = turbojpeg::compress(image, 50, turbojpeg::Subsamp::Gray);
    let jpeg = jpeg.expect("a grey picture can be compressed");

    jpeg::padded(&jpeg, length.max(jpeg.len()))
}

/// A source of `streams` streams, called s0, s1 and so on. It lasts as long as the process. Returns its endpoint.
fn publish(kind: Kind, streams: usize) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
    let address = listener.local_addr();
    let endpoint = format!("tcp://{}", address.expect("a bound socket has an address"));
    std::thread::spawn(move || {
        for relay in listener.incoming().flatten() {
            // An error is a relay that hung up.
            std::thread::spawn(move || serve(relay, kind, streams));
        }
    });
    endpoint
}

fn serve(mut relay: TcpStream, kind: Kind, streams: usize) -> std::io::Result<()> {
    relay.write_all(&[greeting(), ready("PUB")].concat())?;
    let mut words = relay.try_clone()?;
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while words.read(&mut buffer).is_ok_and(|count| count > 0) {}
    });

    let large = (4 << 20) - MAX_FRAME_PREFIX;
    let (jpeg, canary) = match kind {
        Kind::CanaryNames => (picture((64, 48), 1000), "x".repeat(large - 4096)),
        Kind::Pictures => (picture(SIZE, large), String::new()),
    };
    let jpeg = Bytes::from(jpeg);

    for number in 1.. {
        for stream in 0..streams {
            let name = format!("s{stream}");
            let header = FrameHeader {
                stream: name.clone(),
                epoch: 7 + stream as u64,
                number,
                captured_ns: clock::now().as_nanos(),
                clock_id: clock::clock_id(),
                width: SIZE.0 as u32,
                height: SIZE.1 as u32,
                format: Format::Jpeg as i32,
                state: State::Live as i32,
                rate_millihertz: 5000,
                canary: canary.clone(),
                ..FrameHeader::default()
            };
            // Not by a FrameBuffer, which has no room for such names.
            let frame = Frame {
                header: Some(header),
                jpeg: jpeg.clone(),
            };
            let frame = frame.encode_to_vec();
            relay.write_all(&message(format!("{name}/").as_bytes(), &frame))?;
        }
        pause(ROUND);
    }
    Ok(())
}

/// The most memory that a relay has while a source of `kind` sends and each of its streams has a viewer; and what an honest
/// viewer of another source had.
fn peak(kind: Kind, streams: usize, budget: u64, time: Duration) -> (u64, String) {
    let env = TestEnv::new();
    let _source = source(&env, "cam");
    let relay = env
        .relay(0, &[env.ipc("cam"), publish(kind, streams)])
        .flag("memory-budget", budget.to_string())
        .flags("--http 127.0.0.1:0 --http-connections-per-address 1024 --webrtc 127.0.0.1:0")
        .ready();

    let address = env.relay_address(0);
    let direct = env.viewer(address, "cam").start();
    shows(&direct, 10);

    let site = Site::of(&relay);
    let mut clients = Vec::new();
    let mut viewers: Vec<_> = (0..streams).map(|_| RawClient::to(address)).collect();
    let mut peak = 0;
    if kind == Kind::Pictures {
        for (stream, viewer) in viewers.iter_mut().enumerate() {
            let name = format!("s{stream}");
            viewer.join(&name);
            if stream < ENCODED_STREAMS {
                let kind = [("Content-Type", "application/sdp")];
                let answer = site.ask("POST", &format!("/whep/{name}"), &kind, OFFER);
                // There is memory for the first one, at least.
                let refused = stream > 0 && answer.status == 503;
                assert!(refused || answer.status == 201, "{}", answer.error());
            }
            clients.push(slow_clients(&site, &name));
        }
    }

    throughout(time, LOOK, || {
        viewers
            .iter_mut()
            .for_each(|viewer| viewer.drain(Duration::ZERO));
        peak = peak.max(relay.usage().resident);
    });
    drop(clients);
    (peak, beside(direct))
}

/// Clients of a stream that ask for frames and take none: what they hold is the relay's.
fn slow_clients(site: &Site, stream: &str) -> (Vec<Parts>, Vec<Socket>) {
    let path = format!("/stream/{stream}.mjpeg");
    let streams = (0..MULTIPART_CLIENTS).map(|_| site.stream(&path, &[]));
    let sockets = (0..SOCKET_CLIENTS).map(|_| {
        let mut socket = site.socket("/ws", &[]).expect("anybody on this host may");
        socket.subscribe(1, stream, None);
        socket
    });
    (streams.collect(), sockets.collect())
}

/// A source that hides megabytes in a name, and one that is merely as large as is allowed.
pub(super) fn large_sources(scale: Scale) -> Outcome {
    let streams = scale.pick(8, 63);
    let time = scale.pick(Duration::from_secs(4), Duration::from_secs(15));
    // Legal streams need four frames each at least: the one that comes, two on their way, and one for repairs. Half of the
    // budget is for clients.
    let budget = (streams as u64 + 1) * 16 * MIB * 2;
    let (canary, first) = peak(Kind::CanaryNames, streams, budget, time);
    let (legal, second) = peak(Kind::Pictures, streams, budget, time);
    Outcome {
        now: format!(
            "{streams} streams: {} MiB; with slow clients {} MiB of a budget of {}",
            canary / MIB,
            legal / MIB,
            budget / MIB
        ),
        honest: format!("{first}; {second}"),
        held: canary < 2 * BESIDE && legal < budget + BESIDE,
    }
}
