//! The ways to bring one frame to all viewers that are measured against each other.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;

use fanlight_daemon::clock;
use fanlight_relay::config::Gso;
use fanlight_relay::engine::FrameTransmit;
use fanlight_relay::udp::{Sender, Socket, bind};
use quinn_udp::{Transmit, UdpSocketState};
use tokio::io::Interest;
use tokio::runtime::Runtime;

use crate::engine_harness::{EngineHarness, Service, as_fan};
use crate::raw::Table;
use crate::serving::{Serving, send_all};

/// Datagrams of the longest train: with those of an open stream it is what UDP carries.
const LONG_TRAIN: usize = 54;

/// Datagrams of a train of the relay's.
const RELAY_TRAIN: usize = 27;

/// What a relay of ours may do, and what it and the bare loop that sends as much are called.
const SERVICES: [(Service, &str, &str); 3] = [
    (Service::OPEN, "relay", "raw"),
    (
        Service {
            parity: true,
            sealed: false,
        },
        "relay-parity",
        "raw-parity",
    ),
    (
        Service {
            parity: true,
            sealed: true,
        },
        "relay-sealed",
        "raw-sealed",
    ),
];

/// The sockets that the methods send by.
pub(crate) struct Outlets {
    runtime: Runtime,
    relay: Socket,
    plain: UdpSocket,
    evented: tokio::net::UdpSocket,
}

impl Outlets {
    /// Bound to `source`, each as the relay binds its own.
    pub(crate) fn new(source: SocketAddr) -> Result<Self, Box<dyn std::error::Error>> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let _inside = runtime.enter();
        let relay = Socket::new(bind(source)?)?;
        let evented = tokio::net::UdpSocket::from_std(bind(source)?)?;
        let plain = bind(source)?;
        drop(_inside);
        Ok(Self {
            runtime,
            relay,
            plain,
            evented,
        })
    }
}

/// One way to bring one frame to some viewers.
pub(crate) struct Method<'a> {
    /// As it is printed.
    pub(crate) name: &'static str,
    /// The bare loop that sends as many datagrams of that size.
    pub(crate) against: &'static str,
    /// How many viewers there are.
    pub(crate) viewers: usize,
    /// The frame's JPEG.
    pub(crate) frame_bytes: usize,
    /// What one frame comes to for all of them.
    pub(crate) datagrams: usize,
    /// The bytes of these.
    pub(crate) bytes: usize,
    /// Does it; whether all was sent.
    pub(crate) work: Box<dyn FnMut() -> bool + 'a>,
}

/// All methods for `viewers`, with frames of so many bytes.
pub(crate) fn all<'a>(
    outlets: &'a Outlets,
    viewers: &[SocketAddr],
    frame_bytes: usize,
) -> Vec<Method<'a>> {
    let mut methods = Vec::new();
    for (service, name, raw_name) in SERVICES {
        let (mut engine_harness, _) = EngineHarness::open(service, viewers, frame_bytes);
        let load = Load::of(&fan(&mut engine_harness), viewers, frame_bytes);
        methods.push(load.method(raw_name, raw_name, raw(&outlets.plain, &load, LONG_TRAIN)));

        if service == Service::OPEN {
            methods.push(load.method("send", raw_name, send(outlets, fan(&mut engine_harness))));
        }

        methods.push(load.method(
            name,
            raw_name,
            relay(outlets, engine_harness, load.datagrams()),
        ));

        if service == Service::OPEN {
            methods.push(load.method("raw-27", raw_name, raw(&outlets.plain, &load, RELAY_TRAIN)));
            methods.push(load.method(
                "raw-watched",
                raw_name,
                raw(&outlets.evented, &load, LONG_TRAIN),
            ));

            methods.push(load.method(
                "gso-each",
                raw_name,
                trains_one_by_one(outlets, load.clone()),
            ));

            methods.push(load.method("sendmmsg", raw_name, raw(&outlets.plain, &load, 1)));
            methods.push(load.method(
                "tokio",
                raw_name,
                datagrams_one_by_one(outlets, load.clone()),
            ));
        }
    }

    methods
}

/// The next frame of the harness.
fn fan(engine_harness: &mut EngineHarness) -> FrameTransmit {
    let mut fans = Vec::new();
    engine_harness.frame(|output| fans.extend(as_fan(output)));
    fans.pop().expect("viewers wait for each frame")
}

/// A frame that is cut, and who gets it.
#[derive(Clone)]
struct Load {
    bytes: Vec<u8>,
    stride: usize,
    frame_bytes: usize,
    viewers: Vec<SocketAddr>,
}

impl Load {
    fn of(fan: &FrameTransmit, viewers: &[SocketAddr], frame_bytes: usize) -> Self {
        let packets = &fan.packets;
        let count = packets.shards() + fan.targets[0].parity;
        Self {
            bytes: packets.datagrams(0..count).to_vec(),
            stride: packets.stride(),
            frame_bytes,
            viewers: viewers.to_vec(),
        }
    }

    fn datagrams(&self) -> usize {
        self.bytes.len() / self.stride * self.viewers.len()
    }

    fn method<'a>(
        &self,
        name: &'static str,
        against: &'static str,
        work: impl FnMut() -> bool + 'a,
    ) -> Method<'a> {
        let viewers = self.viewers.len();
        let datagrams = self.datagrams();
        Method {
            name,
            against,
            viewers,
            frame_bytes: self.frame_bytes,
            datagrams,
            bytes: self.bytes.len() * viewers,
            work: Box::new(work),
        }
    }
}

/// Prepared messages in batches, each a train of `segments` datagrams.
fn raw<'a, S: AsFd>(
    socket: &'a S,
    load: &Load,
    segments: usize,
) -> impl FnMut() -> bool + use<'a, S> {
    let mut table = Table::new(load.bytes.clone(), load.stride, segments, &load.viewers);
    move || table.send(socket.as_fd()).is_ok()
}

/// What the relay does once a frame is cut.
fn send(outlets: &Outlets, fan: FrameTransmit) -> impl FnMut() -> bool {
    let expected = fan
        .targets
        .iter()
        .map(|target| u64::from(fan.packets.shards() + target.parity))
        .sum::<u64>();

    let mut sender = Sender::new(Gso::Auto, outlets.relay.max_segments());
    move || {
        let before = sender.counts().datagrams;
        sender.start(clock::now(), fan.clone());
        send_all(&outlets.runtime, &mut sender, &outlets.relay);
        sender.counts().datagrams - before == expected
    }
}

/// All that the relay does with a frame once it is there.
fn relay(
    outlets: &Outlets,
    engine_harness: EngineHarness,
    expected: usize,
) -> impl FnMut() -> bool {
    let mut serving = Serving::new(&outlets.runtime, &outlets.relay, engine_harness);
    move || serving.frame() == expected as u64
}

/// One call to the kernel for each train, as `quinn-udp` offers it.
fn trains_one_by_one(outlets: &Outlets, load: Load) -> impl FnMut() -> bool {
    let state = UdpSocketState::new((&outlets.evented).into()).expect("the socket is one of UDP");
    move || {
        load.viewers.iter().all(|viewer| {
            let trains = load.bytes.chunks(LONG_TRAIN * load.stride);
            trains.into_iter().all(|train| {
                let segment_size = (train.len() > load.stride).then_some(load.stride);
                let train = Transmit {
                    destination: *viewer,
                    ecn: None,
                    contents: train,
                    segment_size,
                    src_ip: None,
                };

                outlets
                    .wait_to(|| state.try_send((&outlets.evented).into(), &train))
                    .is_ok()
            })
        })
    }
}

/// One call for each datagram, as tokio offers it.
fn datagrams_one_by_one(outlets: &Outlets, load: Load) -> impl FnMut() -> bool {
    move || {
        outlets.runtime.block_on(async {
            for viewer in &load.viewers {
                for datagram in load.bytes.chunks(load.stride) {
                    if outlets.evented.send_to(datagram, viewer).await.is_err() {
                        return false;
                    }
                }
            }

            true
        })
    }
}

impl Outlets {
    /// Calls `act` on the socket of the event loop until there is room for it.
    fn wait_to(&self, mut act: impl FnMut() -> io::Result<()>) -> io::Result<()> {
        loop {
            match self.evented.try_io(Interest::WRITABLE, &mut act) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.runtime.block_on(self.evented.writable())?;
                }
                result => return result,
            }
        }
    }
}
