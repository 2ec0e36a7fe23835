//! What multicast saves the relay when all viewers are on its own host, where the kernel hands each a copy all the same:
//! one train to a group against a train to each.
//!
//! `./dev bench multicast`. The rig: sockets on loopback that receive trains (UDP GRO), as a viewer's do. Measured is the
//! thread that sends, in whose time the kernel delivers on loopback; the reading between is not. Ratios of thread CPU time
//! within one run; an absolute time means nothing. On a wire the saving is simpler: one copy, whoever listens.

use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanlight_daemon::clock;
use fanlight_live::{Arrival, LiveFrame};
use fanlight_proto::clock::Time;
use fanlight_proto::datagram::{ToRelay, ToViewer, VERSION};
use fanlight_proto::handshake::RelayAccess;
use fanlight_proto::limits::MAX_FRAME_BYTES;
use fanlight_proto::message::{FrameBuffer, Join, parse_frame};
use fanlight_relay::config::Gso;
use fanlight_relay::engine::{Engine, EngineConfig, FrameTransmit, Output, Route, Target};
use fanlight_relay::udp::{MulticastOptions, NextRun, Sender, Socket, bind};
use quinn_udp::{RecvMeta, UdpSocketState};
use rustix::time::{ClockId, clock_gettime};
use socket2::{Domain, Type};

mod sample;
use sample::{PICTURE, header};

/// Frames to each, of which the medians are told. The first ones warm up.
const ROUNDS: usize = 200;
const WARM_UP: usize = 20;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let _inside = runtime.enter();
    println!(
        "{:<46} {:>12} {:>12} {:>7}",
        "", "group, us", "each, us", "ratio"
    );

    let mut lines = Vec::new();
    for viewers in [1, 10, 50] {
        let [group, each] = Rig::new(viewers)?.measure(&runtime)?;
        let ratio = group / each;
        println!(
            "{:<46} {group:>12.2} {each:>12.2} {ratio:>7.2}",
            format!("a frame of 100 kB to {viewers} viewers")
        );

        lines.push(format!(
            r#"{{"bench":"multicast","rig":"loopback","viewers":{viewers},"ratio_to_unicast":{ratio:.3}}}"#
        ));
    }

    lines.iter().for_each(|line| println!("{line}"));
    Ok(())
}

/// A relay's socket and its viewers, which have a socket for unicast and one for the group.
struct Rig {
    socket: Socket,
    fans: [FrameTransmit; 2],
    receivers: [Vec<Receiver>; 2],
}

impl Rig {
    fn new(viewers: usize) -> Result<Self> {
        let socket = bind("127.0.0.1:0".parse()?)?;
        MulticastOptions {
            interface: Ipv4Addr::LOCALHOST,
            ttl: 1,
            looped: true,
        }
        .apply(&socket)?;

        let relay = socket.local_addr()?;
        let group = SocketAddrV4::new(Ipv4Addr::new(239, 255, 42, 99), relay.port());
        let alone: Vec<Receiver> = (0..viewers)
            .map(|_| Receiver::new(relay, None))
            .collect::<io::Result<_>>()?;
        let joined: Vec<Receiver> = (0..viewers)
            .map(|_| Receiver::new(relay, Some(group)))
            .collect::<io::Result<_>>()?;
        let each = fan_for(&alone)?;
        let route = Route {
            remote: group.into(),
            local: None,
        };

        let target = Target {
            route,
            capacity: u32::MAX,
            parity: 0,
            own_socket: false,
            spread: Duration::ZERO,
        };

        let to_group = FrameTransmit {
            targets: Arc::new(vec![target]),
            first: 0,
            ..each.clone()
        };

        Ok(Self {
            socket: Socket::new(socket)?,
            fans: [to_group, each],
            receivers: [joined, alone],
        })
    }

    /// Microseconds of CPU time for a frame: to the group, and to each.
    fn measure(&self, runtime: &tokio::runtime::Runtime) -> Result<[f64; 2]> {
        let mut sender = Sender::new(Gso::On, self.socket.max_segments());
        let mut spent = [Vec::new(), Vec::new()];

        for round in 0..ROUNDS + WARM_UP {
            for ((fan, receivers), spent) in self.fans.iter().zip(&self.receivers).zip(&mut spent) {
                let began = cpu_nanos();
                send(runtime, &mut sender, &self.socket, fan);
                let nanos = cpu_nanos() - began;

                if round >= WARM_UP {
                    spent.push(nanos as f64 / 1e3);
                }

                for receiver in receivers {
                    let came = receiver.drain()?;
                    if came != usize::from(fan.packets.shards()) {
                        // A cell with losses measures something else.
                        return Err(
                            format!("{came} of {} datagrams came", fan.packets.shards()).into()
                        );
                    }
                }
            }
        }

        Ok(spent.map(|mut spent| {
            spent.sort_by(f64::total_cmp);
            spent[spent.len() / 2]
        }))
    }
}

struct Receiver {
    socket: UdpSocket,
    state: UdpSocketState,
}

impl Receiver {
    fn new(relay: SocketAddr, group: Option<SocketAddrV4>) -> io::Result<Self> {
        let socket = socket2::Socket::new(Domain::IPV4, Type::DGRAM, None)?;
        socket.set_recv_buffer_size(4 << 20)?;
        socket.set_nonblocking(true)?;

        match group {
            None => socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?,
            Some(group) => {
                socket.set_reuse_address(true)?;
                socket.bind(&group.into())?;
                socket.join_multicast_v4(group.ip(), &Ipv4Addr::LOCALHOST)?;
            }
        }

        socket.connect(&relay.into())?;
        let state = UdpSocketState::new((&socket).into())?;
        Ok(Self {
            socket: socket.into(),
            state,
        })
    }

    /// How many datagrams are there; they are gone then.
    fn drain(&self) -> io::Result<usize> {
        let mut buffer = vec![0; 1 << 16];
        let mut count = 0;

        loop {
            let mut meta = [RecvMeta::default()];
            match self.state.recv(
                (&self.socket).into(),
                &mut [IoSliceMut::new(&mut buffer)],
                &mut meta,
            ) {
                Ok(_) => count += meta[0].len.div_ceil(meta[0].stride.max(1)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(count),
                Err(error) => return Err(error),
            }
        }
    }
}

/// All of a frame, the pauses between its chunks left out: they cost no CPU time.
fn send(
    runtime: &tokio::runtime::Runtime,
    sender: &mut Sender,
    socket: &Socket,
    fan: &FrameTransmit,
) {
    let start = clock::now();
    sender.start(start, fan.clone());
    let mut now = start;

    loop {
        match sender.run(now, socket) {
            NextRun::Idle => return,
            NextRun::Again => {}
            NextRun::At(time) => now = time,
            NextRun::Blocked(_) => runtime.block_on(socket.writable()),
        }
    }
}

/// The fan-out of one frame to `receivers`, as the relay's engine makes it once they have joined.
fn fan_for(receivers: &[Receiver]) -> Result<FrameTransmit> {
    let mut engine = Engine::new(EngineConfig::default(), RelayAccess::Open, [7; 32]);
    let now = Time::from_nanos(1_000_000_000);
    engine.on_arrival(now, &arrival(now, 0)?);

    for receiver in receivers {
        join(
            &mut engine,
            now,
            Route {
                remote: receiver.socket.local_addr()?,
                local: None,
            },
        );
    }

    engine.on_arrival(now, &arrival(now, 1)?);
    loop {
        match engine
            .poll_output()
            .ok_or("the engine fans out a frame that viewers wait for")?
        {
            Output::Transmit(fan) if !fan.catch_up => return Ok(fan),
            Output::Transmit(_) | Output::Send { .. } | Output::Retransmit(_) => {}
            Output::Progress(_)
            | Output::Isolate(_)
            | Output::Rejoin(_)
            | Output::Feedback { .. } => {}
        }
    }
}

fn join(engine: &mut Engine, now: Time, from: Route) {
    let mut request = Join {
        version: VERSION,
        nonce: 1,
        receive_capacity: 3640,
        ..Join::default()
    };

    let mut datagram = Vec::new();
    for _ in 0..2 {
        ToRelay::Join(request.clone()).encode(&mut datagram);
        engine.on_datagram(now, from, &datagram);

        while let Some(output) = engine.poll_output() {
            let Output::Send { datagram, .. } = output else {
                continue;
            };

            if let Ok(ToViewer::Challenge(challenge)) = ToViewer::parse(&datagram) {
                request.token = challenge.token;
            }
        }
    }
}

fn arrival(now: Time, number: u64) -> Result<Arrival> {
    let mut jpeg = vec![0x5a; PICTURE];
    jpeg[..2].copy_from_slice(&[0xff, 0xd8]);
    jpeg[PICTURE - 2..].copy_from_slice(&[0xff, 0xd9]);
    let body: Bytes = FrameBuffer::copy_of(&jpeg).finish(header(number));
    let frame = parse_frame(b"camera/", body.clone(), MAX_FRAME_BYTES)?;
    Ok(Arrival::first(LiveFrame::new(0, frame, body, now)))
}

fn cpu_nanos() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
