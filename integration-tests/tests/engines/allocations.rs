//! Once warm, a frame costs the relay and the viewer no memory that they do not have already: the allocator counts.
//!
//! The relay is measured from the frame that waits in the stream table to the last call to the kernel, by the real engine, the
//! real fan-out and the real socket; the viewer from the datagram to the whole frame, by the real engine.

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use allocation_counter::measure;
use bytes::Bytes;
use fanlight_live::{EngineFeed, StreamTable};
use fanlight_proto::clock::Time;
use fanlight_proto::datagram::{DATA_BYTES, SEALED_DATA_BYTES};
use fanlight_proto::handshake::{RelayAccess, ViewerAccess};
use fanlight_proto::keys::SharedKey;
use fanlight_proto::limits::{MAX_FRAME_BYTES, REKEY_INTERVAL, SOURCE_STALE};
use fanlight_proto::message::{Format, FrameBuffer, FrameHeader, State, parse_frame};
use fanlight_relay::config::Gso;
use fanlight_relay::engine::{
    Engine as Relay, EngineConfig as RelayConfig, Output as FromRelay, Route,
};
use fanlight_relay::udp::{Buffers, NextRun, Sender, Socket, bind};
use fanlight_viewer::engine::{
    Carrier, Engine as Viewer, EngineConfig, Output, Presentation, Redundancy, Request,
};
use rustix::net::sockopt;

/// Viewers, on sockets that exist.
const VIEWERS: usize = 20;

/// Bytes of a picture: 84 datagrams.
const PICTURE: usize = 100_000;

/// The stream's, and the pace of the virtual clock.
const INTERVAL: Duration = Duration::from_millis(33);

/// Six seconds: viewers have left the sockets of their own that they begin on, and every list has had its longest.
const WARM_UP: u64 = 180;

/// Frames that are measured.
const MEASURED: u64 = 120;

/// What was allocated, and how often that was looked at.
#[derive(Debug, Default)]
struct AllocationCounts {
    relay: u64,
    viewer: u64,
    frames: u64,
    shards: u64,
}

/// A viewer and the socket that it hears by.
struct Seat {
    engine: Viewer,
    socket: UdpSocket,
    route: Route,
    shown: u64,
    said: Vec<Output>,
}

/// A relay with its viewers; the relay's media goes through the kernel, everything else from hand to hand.
struct Rig {
    relay: Relay,
    sender: Sender,
    socket: Socket,
    table: Arc<StreamTable>,
    feed: EngineFeed,
    seats: Vec<Seat>,
    now: Time,
    /// Of so many shards that come to a viewer one is lost; 0: none.
    loss: u64,
    counts: AllocationCounts,
    /// What the relay wants done besides the frame.
    told: Vec<FromRelay>,
}

impl Rig {
    /// Must be called within a runtime.
    fn new(relay: RelayAccess, viewer: &ViewerAccess, loss: u64) -> Self {
        let socket = Socket::new(bind("127.0.0.1:0".parse().unwrap()).unwrap()).unwrap();
        let sender = Sender::new(Gso::Auto, socket.max_segments());
        let seats =
            (0..VIEWERS).map(|number| Seat::new(viewer.clone(), u8::try_from(number).unwrap()));
        let table = StreamTable::new(SOURCE_STALE);
        Self {
            relay: Relay::new(RelayConfig::default(), relay, [1; 32]),
            sender,
            socket,
            feed: EngineFeed::new(Arc::clone(&table)),
            table,
            seats: seats.collect(),
            now: Time::from_nanos(1_000_000_000),
            loss,
            counts: AllocationCounts::default(),
            told: Vec::with_capacity(100),
        }
    }

    /// One frame, and what belongs to its time.
    fn frame(&mut self, number: u64) {
        self.now = self.now + INTERVAL;
        for at in 0..self.seats.len() {
            self.seats[at].engine.on_tick(self.now);
            self.hear_viewer(at);
        }

        self.relay.on_tick(self.now);
        self.hear_relay();
        let body = picture(number);
        let frame = parse_frame(b"cam/", body.clone(), MAX_FRAME_BYTES).unwrap();
        self.table.publish(0, frame, body, self.now).unwrap();
        self.counts.relay += measure(|| self.fan_out()).count_total;
        self.counts.frames += 1;
        self.hear_relay();
        self.receive();
    }

    /// What the relay's event loop does with a frame.
    fn fan_out(&mut self) {
        let Self {
            relay,
            sender,
            socket,
            feed,
            ..
        } = self;

        let busy = |stream: &_| relay.alias(stream).is_some_and(|alias| sender.busy(alias));
        let arrival = feed.next_arrival(busy).unwrap();
        relay.on_arrival(self.now, &arrival);

        while let Some(output) = relay.poll_output() {
            match output {
                FromRelay::Transmit(fan) => sender.start(self.now, fan),
                other => self.told.push(other),
            }
        }

        while sender.run(self.now, &*socket) != NextRun::Idle {
            self.now = self.now + Duration::from_micros(100);
        }
    }

    /// Does what the relay wants done besides frames.
    fn hear_relay(&mut self) {
        while let Some(output) = self.told.pop().or_else(|| self.relay.poll_output()) {
            match output {
                FromRelay::Send { to, mut datagram } => {
                    let at = self.seats.iter().position(|seat| seat.route == to).unwrap();
                    self.seats[at]
                        .engine
                        .on_datagram(self.now, 0, &mut datagram);
                    self.hear_viewer(at);
                }
                FromRelay::Transmit(fan) => self.sender.start(self.now, fan),
                FromRelay::Retransmit(resend) => self.sender.retransmit(&self.socket, &resend),
                FromRelay::Progress(progress) => self.sender.on_progress(&progress),
                FromRelay::Isolate(route) => self.socket.isolate(route).unwrap(),
                FromRelay::Rejoin(route) => {
                    self.socket
                        .rejoin(route, &mut Buffers::default(), |_, _| {});
                }
                FromRelay::Feedback { .. } => {}
            }
        }

        while self.sender.run(self.now, &self.socket) != NextRun::Idle {
            self.now = self.now + Duration::from_micros(100);
        }
    }

    /// Gives the relay what a viewer says.
    fn hear_viewer(&mut self, at: usize) {
        let said = |seat: &mut Seat| seat.said.pop().or_else(|| seat.engine.poll_output());
        while let Some(output) = said(&mut self.seats[at]) {
            if let Output::Send(_, datagram) = output {
                self.relay
                    .on_datagram(self.now, self.seats[at].route, &datagram);
            }
        }
    }

    /// Reads what the kernel has for the viewers.
    fn receive(&mut self) {
        let mut buffer = [0; 2048];
        for at in 0..self.seats.len() {
            let seat = &mut self.seats[at];
            while let Ok(length) = seat.socket.recv(&mut buffer) {
                assert!(
                    [DATA_BYTES, SEALED_DATA_BYTES].contains(&length),
                    "a shard has {length} bytes"
                );

                self.counts.shards += 1;
                if self.loss > 0 && self.counts.shards.is_multiple_of(self.loss) {
                    continue;
                }

                let shard = &mut buffer[..length];
                self.counts.viewer += measure(|| seat.take_shard(self.now, shard)).count_total;
            }

            self.hear_viewer(at);
        }

        self.hear_relay();
    }
}

impl Seat {
    fn new(access: ViewerAccess, number: u8) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        sockopt::set_socket_recv_buffer_size(&socket, 1 << 20).unwrap();
        socket.set_nonblocking(true).unwrap();
        let config = EngineConfig {
            request: Request::Stream(None),
            name: format!("screen {number}"),
            max_frame_bytes: MAX_FRAME_BYTES,
            receive_capacity: 3640,
            paths: vec![Carrier::Udp(access)],
            redundancy: Redundancy::Both,
            rekey_interval: REKEY_INTERVAL,
        };

        let route = Route {
            remote: socket.local_addr().unwrap(),
            local: None,
        };

        Self {
            engine: Viewer::new(config, [number; 32]),
            socket,
            route,
            shown: 0,
            said: Vec::with_capacity(100),
        }
    }

    /// What the viewer does with a shard: a whole frame goes to the decoder, which gives its memory back.
    fn take_shard(&mut self, now: Time, shard: &mut [u8]) {
        self.engine.on_datagram(now, 0, shard);
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Frame(arrived) => {
                    self.shown += 1;
                    self.engine.on_presentation(Presentation {
                        shown: self.shown,
                        ..Presentation::default()
                    });

                    self.engine.recycle(arrived.whole.body);
                }
                other => self.said.push(other),
            }
        }
    }
}

fn picture(number: u64) -> Bytes {
    let mut jpeg = vec![0x5a; PICTURE];
    jpeg[..2].copy_from_slice(&[0xff, 0xd8]);
    jpeg[PICTURE - 2..].copy_from_slice(&[0xff, 0xd9]);
    FrameBuffer::copy_of(&jpeg).finish(FrameHeader {
        stream: "cam".into(),
        epoch: 7,
        number,
        width: 1280,
        height: 720,
        format: Format::Jpeg as i32,
        state: State::Live as i32,
        rate_millihertz: 30_000,
        ..FrameHeader::default()
    })
}

/// The allocations of [`MEASURED`] frames after the warm-up.
fn measured(relay: RelayAccess, viewer: &ViewerAccess, loss: u64) -> AllocationCounts {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();

    let _inside = runtime.enter();
    let mut rig = Rig::new(relay, viewer, loss);
    (0..WARM_UP).for_each(|number| rig.frame(number));
    let shown = |rig: &Rig| rig.seats.iter().map(|seat| seat.shown).sum::<u64>();
    let before = shown(&rig);
    let parity = rig.sender.counts().parity;
    rig.counts = AllocationCounts::default();
    (WARM_UP..WARM_UP + MEASURED).for_each(|number| rig.frame(number));
    let shown = shown(&rig) - before;
    let sent = MEASURED * VIEWERS as u64;
    // Loss lowers the rate of some; the others show every frame.
    assert!(
        if loss == 0 {
            shown == sent
        } else {
            shown > sent / 2
        },
        "{shown} of {sent} shown"
    );

    assert_eq!(
        rig.sender.counts().parity > parity,
        loss > 0,
        "there is parity when shards are lost"
    );

    assert_eq!(rig.relay.dedicated_sockets(), 0);
    eprintln!("measured: {:?}", rig.counts);
    rig.counts
}

#[track_caller]
fn assert_none(counts: &AllocationCounts) {
    assert_eq!((counts.relay, counts.viewer), (0, 0), "{counts:?}");
}

#[test]
fn a_frame_in_the_open_allocates_nothing() {
    assert_none(&measured(RelayAccess::Open, &ViewerAccess::Open, 0));
}

#[test]
fn a_frame_with_parity_allocates_nothing() {
    assert_none(&measured(RelayAccess::Open, &ViewerAccess::Open, 150));
}

#[test]
fn a_sealed_frame_allocates_nothing() {
    let key = || SharedKey::new([3; 32]);
    assert_none(&measured(
        RelayAccess::Psk(key()),
        &ViewerAccess::Psk(key()),
        0,
    ));
}

#[test]
fn the_allocator_counts() {
    let counted = measure(|| drop(std::hint::black_box(Box::new(5_u64))));
    assert_eq!(counted.count_total, 1);
}
