//! A relay's engine and those of its viewers, joined on virtual time, without a socket between them: frames come in,
//! and what is to be sent comes out.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanlight_live::{Arrival, LiveFrame};
use fanlight_proto::clock::Time;
use fanlight_proto::handshake::{RelayAccess, SharedKey, ViewerAccess};
use fanlight_proto::limits::{MAX_FRAME_BYTES, REKEY_INTERVAL, SHARD_BYTES};
use fanlight_proto::message::{FrameBuffer, parse_frame};
use fanlight_relay::engine::{self as relay, FrameTransmit, Output, Route};
use fanlight_viewer::engine::{self as viewer, Redundancy, Request};

use crate::sample::header;

/// Datagrams that each viewer says its socket holds: a buffer of 4 MB.
const RECEIVE_CAPACITY: u32 = 3640;

/// Between two frames.
const FRAME_TIME: Duration = Duration::from_millis(33);

/// Between two looks at what viewers have to say.
const STEP: Duration = Duration::from_millis(3);

/// A viewer has joined and reported well before so many frames.
const MAX_FRAMES: u32 = 200;

/// The shard that a lossy way swallows of each frame: of 100 kB more than one in a hundred, which takes the first level of parity.
const SWALLOWED: u16 = 7;

/// What the relay does besides cutting a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Service {
    /// Each viewer's way loses a shard in a hundred, so that the relay makes and sends parity.
    pub(crate) parity: bool,
    /// All is sealed with the stream's key.
    pub(crate) sealed: bool,
}

impl Service {
    /// The frame and nothing else.
    pub(crate) const OPEN: Self = Self {
        parity: false,
        sealed: false,
    };

    fn relay_access(self) -> RelayAccess {
        if self.sealed {
            RelayAccess::Psk(SharedKey::new([9; 32]))
        } else {
            RelayAccess::Open
        }
    }

    fn viewer_access(self) -> ViewerAccess {
        if self.sealed {
            ViewerAccess::Psk(SharedKey::new([9; 32]))
        } else {
            ViewerAccess::Open
        }
    }
}

/// See the module.
pub(crate) struct EngineHarness {
    service: Service,
    engine: relay::Engine,
    now: Time,
    arrival: Arrival,
}

/// The engines of viewers by their addresses.
pub(crate) type Viewers = BTreeMap<SocketAddr, viewer::Engine>;

impl EngineHarness {
    /// One with JPEGs of `frame_bytes` whose viewers at `addresses` have joined and said how their ways are, and their engines. From here on time
    /// stands still: what viewers say four times a second is not what a bench of frames measures.
    pub(crate) fn open(
        service: Service,
        addresses: &[SocketAddr],
        frame_bytes: usize,
    ) -> (Self, Viewers) {
        let now = Time::from_nanos(1_000_000_000_000);
        let mut engine_harness = Self {
            service,
            engine: relay::Engine::new(
                relay::EngineConfig::default(),
                service.relay_access(),
                [7; 32],
            ),
            now,
            arrival: arrival(now, frame_bytes),
        };

        let mut viewers: Viewers = (1..)
            .zip(addresses)
            .map(|(n, address)| (*address, viewer(service, n)))
            .collect();

        for _ in 0..MAX_FRAMES {
            let mut fans = engine_harness.pass_frame_time(&mut viewers);
            let served = fans.pop().is_some_and(|fan| {
                fan.targets.len() == viewers.len() && engine_harness.is_steady(&fan)
            });

            if served {
                return (engine_harness, viewers);
            }
        }

        panic!("viewers on virtual time have joined and reported within {MAX_FRAMES} frames");
    }

    /// The next frame comes in; `each` gets what is to be sent for it.
    pub(crate) fn frame(&mut self, mut each: impl FnMut(Output)) {
        let frame = Arc::get_mut(&mut self.arrival.frame).expect("nobody else holds the frame");
        frame.id.number += 1;
        frame.received = self.now;
        self.engine.on_arrival(self.now, &self.arrival);
        while let Some(output) = self.engine.poll_output() {
            each(output);
        }
    }

    /// Whether every viewer gets all that it is to get, at once: as much parity as the others.
    fn is_steady(&self, fan: &FrameTransmit) -> bool {
        let parity = fan.targets[0].parity;
        (parity > 0) == self.service.parity
            && fan
                .targets
                .iter()
                .all(|target| target.parity == parity && target.spread.is_zero())
    }

    /// A frame comes in, and viewers and relay talk until the next. The frames that were fanned out.
    fn pass_frame_time(&mut self, viewers: &mut Viewers) -> Vec<FrameTransmit> {
        let mut outputs = Vec::new();
        self.frame(|output| outputs.push(output));
        let mut fans = self.deliver(outputs, viewers);
        let until = self.now + FRAME_TIME;

        while self.now < until {
            self.now = self.now + STEP;
            viewers
                .values_mut()
                .for_each(|viewer| viewer.on_tick(self.now));
            fans.extend(self.talk(viewers));
        }

        fans
    }

    /// Brings what viewers say to the relay and its answers back, until nobody has more to say.
    fn talk(&mut self, viewers: &mut Viewers) -> Vec<FrameTransmit> {
        let mut fans = Vec::new();
        loop {
            let said = said(viewers);
            if said.is_empty() {
                return fans;
            }

            for (from, datagram) in said {
                self.engine.on_datagram(
                    self.now,
                    Route {
                        remote: from,
                        local: None,
                    },
                    &datagram,
                );
            }

            let outputs = std::iter::from_fn(|| self.engine.poll_output()).collect();
            fans.extend(self.deliver(outputs, viewers));
        }
    }

    /// Brings `outputs` to the viewers. The frames among them that are for all.
    fn deliver(&self, outputs: Vec<Output>, viewers: &mut Viewers) -> Vec<FrameTransmit> {
        let mut hear = |to: Route, datagram: &[u8]| {
            if let Some(viewer) = viewers.get_mut(&to.remote) {
                viewer.on_datagram(self.now, 0, &mut datagram.to_vec());
            }
        };

        let mut fans = Vec::new();
        for output in outputs {
            match output {
                Output::Send { to, datagram } => hear(to, &datagram),
                Output::Retransmit(resend) => {
                    let indices = resend.ranges.iter().cloned().flatten();
                    indices.for_each(|index| {
                        hear(resend.to, &resend.packets.datagrams(index..index + 1));
                    });
                }
                Output::Transmit(fan) => {
                    self.deliver_fan(&fan, &mut hear);
                    fans.extend(as_fan(Output::Transmit(fan)));
                }
                Output::Progress(_)
                | Output::Isolate(_)
                | Output::Rejoin(_)
                | Output::Feedback { .. } => {}
            }
        }

        fans
    }

    fn deliver_fan(&self, fan: &FrameTransmit, hear: &mut impl FnMut(Route, &[u8])) {
        for target in fan.targets.iter() {
            for index in 0..fan.packets.shards() + target.parity {
                if !(self.service.parity && index == SWALLOWED) {
                    hear(target.route, &fan.packets.datagrams(index..index + 1));
                }
            }
        }
    }
}

/// What the viewers have to say; frames that they have put together are done with.
fn said(viewers: &mut Viewers) -> Vec<(SocketAddr, Vec<u8>)> {
    let mut said = Vec::new();
    for (address, viewer) in viewers {
        while let Some(output) = viewer.poll_output() {
            match output {
                viewer::Output::Send(_, datagram) => said.push((*address, datagram)),
                viewer::Output::Frame(arrived) => viewer.recycle(arrived.whole.body),
                viewer::Output::LinkState(_)
                | viewer::Output::List(..)
                | viewer::Output::JoinGroup(..)
                | viewer::Output::LeaveGroup(_)
                | viewer::Output::Credit(..)
                | viewer::Output::Direct(_)
                | viewer::Output::Transport(..) => {}
            }
        }
    }

    said
}

/// A frame that is for all.
pub(crate) fn as_fan(output: Output) -> Option<FrameTransmit> {
    match output {
        Output::Transmit(fan) if !fan.catch_up => Some(fan),
        _ => None,
    }
}

fn viewer(service: Service, number: u64) -> viewer::Engine {
    let config = viewer::EngineConfig {
        request: Request::Stream(None),
        name: String::new(),
        max_frame_bytes: MAX_FRAME_BYTES,
        receive_capacity: RECEIVE_CAPACITY,
        paths: vec![viewer::Carrier::Udp(service.viewer_access())],
        redundancy: Redundancy::Both,
        rekey_interval: REKEY_INTERVAL,
    };

    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&number.to_le_bytes());
    viewer::Engine::new(config, seed)
}

/// The first frame, as an upstream hands it over.
fn arrival(now: Time, bytes: usize) -> Arrival {
    let mut jpeg = vec![0x5a; bytes];
    jpeg[..2].copy_from_slice(&[0xff, 0xd8]);
    jpeg[bytes - 2..].copy_from_slice(&[0xff, 0xd9]);
    let body: Bytes = FrameBuffer::copy_of(&jpeg).finish(header(0));
    let frame = parse_frame(b"camera/", body.clone(), MAX_FRAME_BYTES)
        .expect("a frame of our own is a frame");
    assert!(
        body.len() > SHARD_BYTES * usize::from(SWALLOWED + 1),
        "a frame has the shard that is swallowed"
    );

    Arrival::first(LiveFrame::new(0, frame, body, now))
}
