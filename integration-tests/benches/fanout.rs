//! What the relay's sending costs a viewer: trains of datagrams (UDP GSO) against one call to the kernel for each.
//!
//! `./dev bench fanout`. The rig: sockets on loopback that are bound and never read. Ratios of thread CPU time within
//! one run; an absolute time means nothing.

use std::net::UdpSocket;
use std::sync::Arc;

use bytes::Bytes;
use fanlight_daemon::clock;
use fanlight_proto::clock::Time;
use fanlight_proto::datagram::{ToRelay, ToViewer, VERSION};
use fanlight_proto::handshake::RelayAccess;
use fanlight_proto::limits::MAX_FRAME_BYTES;
use fanlight_proto::message::{FrameBuffer, Join, parse_frame};
use fanlight_relay::config::Gso;
use fanlight_relay::engine::{Arrival, Engine, EngineConfig, Fan, Output, Route};
use fanlight_relay::udp::{Sender, Socket, Turn, bind};

mod meter;
mod sample;
use sample::{PICTURE, header};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _inside = runtime.enter();
    let socket = Socket::new(bind("127.0.0.1:0".parse()?)?)?;
    let mut rows = Vec::new();
    for (what, viewers) in [
        ("fan-out to 1 viewer: trains / one by one", 1),
        ("fan-out to 10 viewers: trains / one by one", 10),
        ("fan-out to 100 viewers: trains / one by one", 100),
    ] {
        let receivers: Vec<UdpSocket> =
            (0..viewers).map(|_| UdpSocket::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
        let fan = fan_for(&receivers)?;
        let mut trains = Sender::new(Gso::On, socket.max_segments());
        let mut singles = Sender::new(Gso::Off, socket.max_segments());
        rows.push(meter::compare(
            what,
            || send(&runtime, &mut trains, &socket, &fan),
            || send(&runtime, &mut singles, &socket, &fan),
        ));
    }
    meter::print(&rows);
    Ok(())
}

/// All of a frame, the pauses between its chunks left out: they cost no CPU time.
fn send(runtime: &tokio::runtime::Runtime, sender: &mut Sender, socket: &Socket, fan: &Fan) {
    let start = clock::now();
    sender.start(start, fan.clone());
    let mut now = start;
    loop {
        match sender.run(now, socket) {
            Turn::Idle => return,
            Turn::Again => {}
            Turn::At(time) => now = time,
            Turn::Blocked(_) => runtime.block_on(socket.writable()),
        }
    }
}

/// The fan-out of one frame to `receivers`, as the relay's engine makes it once they have joined.
fn fan_for(receivers: &[UdpSocket]) -> Result<Fan, Box<dyn std::error::Error>> {
    let mut engine = Engine::new(EngineConfig::default(), RelayAccess::Open, [7; 32]);
    let now = Time::from_nanos(1_000_000_000);
    engine.on_arrival(now, &arrival(now, 0)?);
    for receiver in receivers {
        join(&mut engine, now, Route { remote: receiver.local_addr()?, local: None });
    }
    engine.on_arrival(now, &arrival(now, 1)?);
    loop {
        match engine.poll_output().ok_or("the engine fans out a frame that viewers wait for")? {
            Output::Fan(fan) if !fan.welcome => return Ok(Fan { targets: Arc::clone(&fan.targets), ..fan }),
            Output::Fan(_) | Output::Send { .. } | Output::Resend(_) | Output::Isolate(_) | Output::Rejoin(_) => {}
        }
    }
}

fn join(engine: &mut Engine, now: Time, from: Route) {
    let mut request = Join { version: VERSION, nonce: 1, ..Join::default() };
    let mut datagram = Vec::new();
    for _ in 0..2 {
        ToRelay::Join(request.clone()).encode(&mut datagram);
        engine.on_datagram(now, from, &datagram);
        while let Some(output) = engine.poll_output() {
            let Output::Send { datagram, .. } = output else { continue };
            if let Ok(ToViewer::Challenge(challenge)) = ToViewer::parse(&datagram) {
                request.token = challenge.token;
            }
        }
    }
}

fn arrival(now: Time, number: u64) -> Result<Arrival, Box<dyn std::error::Error>> {
    let mut jpeg = vec![0x5a; PICTURE];
    jpeg[..2].copy_from_slice(&[0xff, 0xd8]);
    jpeg[PICTURE - 2..].copy_from_slice(&[0xff, 0xd9]);
    let body: Bytes = FrameBuffer::copy_of(&jpeg).finish(header(number));
    let frame = parse_frame(b"camera/", body.clone(), MAX_FRAME_BYTES)?;
    Ok(Arrival { origin: 0, frame, body, received: now, superseded: 0 })
}
